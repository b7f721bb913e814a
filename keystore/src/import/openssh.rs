//! OpenSSH: its private keys (`PROTOCOL.key`), and the line that is a public key.

mod ecdsa;

use ssh_key::private::KeypairData;
use ssh_key::public::KeyData;
use ssh_key::{Kdf, Mpint, PrivateKey, PublicKey};

use super::encrypted::{affordable, needed};
use super::error::{Form, ImportError};
use super::{Material, Passphrase, points, rsa};

/// Some seconds. `ssh-keygen` takes 16 or 24, those who care 100 or 200.
const ROUNDS_LIMIT: u64 = 500;

const DAMAGED: ImportError = ImportError::Damaged(Form::OpenSsh);

/// A private key, from the bytes of its PEM block.
pub(super) fn read_private(
    bytes: &[u8],
    passphrase: Option<&Passphrase>,
) -> Result<Material, ImportError> {
    if let Some((public, section)) = ecdsa::sections(bytes) {
        return ecdsa::pair(public, section);
    }
    let key = PrivateKey::from_bytes(bytes).map_err(|error| refused(&error))?;
    if !key.is_encrypted() {
        return private(key.key_data());
    }
    let Kdf::Bcrypt { rounds, .. } = key.kdf() else {
        return Err(ImportError::UnknownCipher);
    };
    affordable((*rounds).into(), "rounds of bcrypt", ROUNDS_LIMIT)?;
    let passphrase = needed(passphrase)?;
    if key.algorithm().is_ecdsa() {
        let public = key.public_key().to_bytes().map_err(|error| refused(&error))?;
        let section = ecdsa::decrypted(&key, bytes, passphrase);
        return ecdsa::pair(&public, &section.ok_or(ImportError::WrongPassphrase)?);
    }
    let key = key.decrypt(passphrase.expose()).map_err(|error| match error {
        ssh_key::Error::PublicKey => ImportError::Mismatch,
        _ => ImportError::WrongPassphrase,
    })?;
    private(key.key_data())
}

/// A public key, from its line.
pub(super) fn read_public(text: &str) -> Result<Material, ImportError> {
    const BEGINNINGS: [&str; 4] = ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"];
    let mut lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let Some(line) = lines.next() else {
        return Err(ImportError::Empty);
    };
    let algorithm = line.split_ascii_whitespace().next().unwrap_or_default();
    if !BEGINNINGS.iter().any(|beginning| algorithm.starts_with(beginning)) {
        return Err(ImportError::UnknownFormat);
    }
    if algorithm.contains("-cert-v0") {
        return Err(ImportError::Certificate);
    }
    let others = lines.count();
    if others > 0 {
        return Err(ImportError::Several(others + 1));
    }
    public(PublicKey::from_openssh(line).map_err(|error| refused(&error))?.key_data())
}

fn private(key: &KeypairData) -> Result<Material, ImportError> {
    match key {
        KeypairData::Rsa(pair) => rsa::pair(&rsa::Numbers {
            n: digits(&pair.public.n)?,
            e: digits(&pair.public.e)?,
            d: digits(&pair.private.d)?,
            p: digits(&pair.private.p)?,
            q: digits(&pair.private.q)?,
            crt: None,
        }),
        KeypairData::Ed25519(pair) => {
            points::ed25519_pair(pair.private.as_ref(), Some(pair.public.as_ref()))
        }
        KeypairData::Dsa(_) => Err(ImportError::UnknownKind("DSA")),
        KeypairData::SkEcdsaSha2NistP256(_) | KeypairData::SkEd25519(_) => {
            Err(ImportError::Hardware)
        }
        _ => Err(ImportError::UnknownKind("a kind that is not known here")),
    }
}

fn public(key: &KeyData) -> Result<Material, ImportError> {
    match key {
        KeyData::Rsa(key) => rsa::public(digits(&key.n)?, digits(&key.e)?),
        KeyData::Ecdsa(key) => points::ec_public(ecdsa::curve_of(key.curve()), key.as_sec1_bytes()),
        KeyData::Ed25519(key) => points::ed25519_public(key.as_ref()),
        KeyData::Dsa(_) => Err(ImportError::UnknownKind("DSA")),
        KeyData::SkEcdsaSha2NistP256(_) | KeyData::SkEd25519(_) => Err(ImportError::Hardware),
        _ => Err(ImportError::UnknownKind("a kind that is not known here")),
    }
}

fn digits(number: &Mpint) -> Result<&[u8], ImportError> {
    number.as_positive_bytes().ok_or(DAMAGED)
}

fn refused(error: &ssh_key::Error) -> ImportError {
    match error {
        ssh_key::Error::PublicKey => ImportError::Mismatch,
        _ => DAMAGED,
    }
}
