//! Generate, sign, verify, digest, encrypt: this file and those below it are the only ones that
//! name the cryptographic library.
//!
//! All randomness comes from the library's own generator, seeded by the operating system.

mod chunks;
mod derived;
pub(crate) mod parts;
pub(crate) mod passphrase;
#[cfg(test)]
pub(crate) mod samples;
mod signing;
pub(crate) mod stack;
#[cfg(test)]
mod vectors;

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use crate::jwk::{PublicKey, Thumbprint};

pub(crate) use chunks::{ChunkKey, Follows, TAG_BYTES};
pub(crate) use derived::{DerivedKeys, NONCE_BYTES, SALT_BYTES};
pub use signing::{SigningKey, generate, verify};

/// Cryptography failed. The library gives no reason, so as not to help anyone who probes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// No key could be made, or no randomness be had.
    #[error("the cryptographic library could not make a key")]
    Generate,
    /// The secret is not one of this algorithm.
    #[error("the secret is not a key of its algorithm")]
    Secret,
    /// Signing failed.
    #[error("the cryptographic library could not sign")]
    Sign,
    /// The signature is not one of this key over this message.
    #[error("the signature does not verify")]
    Verify,
    /// The ciphertext was not made with this key and these associated data.
    #[error("the ciphertext does not open")]
    Open,
}

/// The RFC 7638 thumbprint of a public key.
#[must_use]
pub fn thumbprint(public: &PublicKey) -> Thumbprint {
    Thumbprint::from_digest(&sha256(public.thumbprint_input().as_bytes()))
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    out
}

/// Bytes in hexadecimal, as digests are written.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Whether two byte strings are equal, in time that does not tell where they differ.
#[must_use]
pub fn equal_in_constant_time(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// Random bytes.
///
/// # Errors
///
/// [`CryptoError::Generate`] when the operating system has none.
pub fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, CryptoError> {
    let mut out = Zeroizing::new([0; N]);
    fill_with_random(out.as_mut())?;
    Ok(out)
}

/// Fills `out` with random bytes. To ask once for many costs much less than to ask often.
///
/// # Errors
///
/// [`CryptoError::Generate`] when the operating system has none.
pub fn fill_with_random(out: &mut [u8]) -> Result<(), CryptoError> {
    aws_lc_rs::rand::fill(out).map_err(|_| CryptoError::Generate)
}
