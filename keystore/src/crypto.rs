//! Generate, sign, verify, digest, encrypt: this file and those below it are the only ones that
//! name the cryptographic library.
//!
//! All randomness comes from the library's own generator, seeded by the operating system.

mod derived;
mod signing;

use aws_lc_rs::digest;
use zeroize::Zeroizing;

use crate::jwk::{PublicKey, Thumbprint};

pub(crate) use derived::{DerivedKeys, NONCE_BYTES};
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
    aws_lc_rs::rand::fill(out.as_mut()).map_err(|_| CryptoError::Generate)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_thumbprint_is_that_of_rfc_7638() {
        // RFC 7638, section 3.1, and RFC 8037, appendix A.3.
        use base64::Engine;
        use base64::prelude::BASE64_URL_SAFE_NO_PAD;
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6\
                 tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-\
                 65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNL\
                 yrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awap\
                 JzKnqDKgw";
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let rsa = PublicKey::Rsa { n: decode(n), e: decode("AQAB") };
        assert_eq!(thumbprint(&rsa).as_str(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        let okp = PublicKey::Ed25519 { x: decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo") };
        assert_eq!(thumbprint(&okp).as_str(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
