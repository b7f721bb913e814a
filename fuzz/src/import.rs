//! What must hold of every key file, whatever its form.

use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::crypto::{SigningKey, thumbprint, verify};
use jwksd_keystore::import::{self, ImportError, Imported, Material, Passphrase};
use zeroize::Zeroizing;

/// What the encrypted test keys are encrypted with.
const PASSPHRASE: &[u8] = b"a test passphrase, not a secret";

/// No message of an error is longer, but for what it says of sizes.
const LONGEST_MESSAGE: usize = 250;

/// Reads a file without a passphrase, and with one if it wants one.
pub fn read(bytes: &[u8]) -> Option<Imported> {
    let read = match import::read(bytes, None) {
        Err(ImportError::PassphraseNeeded) => {
            let passphrase = Passphrase::new(Zeroizing::new(PASSPHRASE.to_vec()));
            import::read(bytes, Some(&passphrase))
        }
        read => read,
    };
    read.inspect_err(check_error).ok()
}

/// An error has nothing of the file.
fn check_error(error: &ImportError) {
    let message = error.to_string();
    assert!(message.len() <= LONGEST_MESSAGE && message.is_ascii(), "{message}");
    let words = message.split(|c: char| !c.is_ascii_alphanumeric());
    assert!(words.into_iter().all(|word| word.len() <= 20), "{message}");
}

/// A key that is taken signs, and what it signs verifies with its public half.
///
/// # Panics
///
/// When that does not hold.
pub fn check(imported: Imported) {
    let public = imported.public().clone();
    let mut algorithms = Algorithm::ALL.into_iter().filter(|&algorithm| public.fits(algorithm));
    let algorithm = algorithms.next().expect("a key that was taken is for an algorithm");
    let misfits = Algorithm::ALL.into_iter().filter(|&algorithm| !public.fits(algorithm));
    assert!(misfits.into_iter().all(|algorithm| imported.fits(algorithm).is_err()));
    let Material::Pair(pair) = imported.into_material() else { return };
    assert!(pair.public == public && pair.thumbprint == thumbprint(&public));
    let key = SigningKey::new(algorithm, &pair.secret).unwrap();
    let signature = key.sign(b"message").unwrap();
    assert_eq!(verify(algorithm, &public, b"message", &signature), Ok(()));
}
