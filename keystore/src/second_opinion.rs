//! A second opinion on a new key before it is published.
//!
//! A JWK that verifiers cannot use, once published, breaks every one of them. So the bytes that
//! would be published are parsed back and tried with other code than that which made them: p256
//! verifies for P-256, jsonwebkey computes the thumbprint of RSA and P-256 keys. For RSA and
//! Ed25519 no second implementation is in the shipped tree (the `rsa` crate signs with a timing
//! leak that has no fix, and must not be near), so the library verifies with the key parsed back.

use crate::algorithm::Algorithm;
use crate::crypto::{self, SigningKey};
use crate::jwk::{PublicJwk, PublicKey};
use crate::key::KeyPair;

/// A new key that must not be published.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SecondOpinionError {
    /// The JWK cannot be parsed back.
    #[error("the JWK of the new key cannot be parsed back")]
    Parse,
    /// A second implementation has another thumbprint.
    #[error("a second implementation computes another thumbprint for the new key")]
    Thumbprint,
    /// What the key signs does not verify.
    #[error("a signature of the new key does not verify with its JWK")]
    Signature,
}

/// Tries the key as a verifier would, from the bytes that would be published.
pub(crate) fn check(pair: &KeyPair, jwk: &PublicJwk) -> Result<(), SecondOpinionError> {
    const PROBE: &[u8] = b"jwksd: does a verifier take this key?";
    let published = serde_json::to_vec(jwk).map_err(|_| SecondOpinionError::Parse)?;
    let parsed: PublicKey =
        serde_json::from_slice(&published).map_err(|_| SecondOpinionError::Parse)?;
    let signature = SigningKey::new(jwk.algorithm, &pair.secret)
        .and_then(|key| key.sign(PROBE))
        .map_err(|_| SecondOpinionError::Signature)?;
    match jwk.algorithm {
        Algorithm::Rs256(_) => {
            same_thumbprint(&published, pair)?;
            verify_with_library(&parsed, PROBE, &signature)
        }
        Algorithm::Es256 => {
            same_thumbprint(&published, pair)?;
            verify_with_p256(&parsed, PROBE, &signature)
        }
        Algorithm::EdDsa => verify_with_library(&parsed, PROBE, &signature),
    }
}

fn same_thumbprint(published: &[u8], pair: &KeyPair) -> Result<(), SecondOpinionError> {
    let jwk =
        jsonwebkey::JsonWebKey::try_from_slice(published).map_err(|_| SecondOpinionError::Parse)?;
    if jwk.key.thumbprint() == pair.thumbprint.as_str() {
        Ok(())
    } else {
        Err(SecondOpinionError::Thumbprint)
    }
}

fn verify_with_library(
    parsed: &PublicKey,
    probe: &[u8],
    signature: &[u8],
) -> Result<(), SecondOpinionError> {
    crypto::verify(parsed, probe, signature).map_err(|_| SecondOpinionError::Signature)
}

fn verify_with_p256(
    parsed: &PublicKey,
    probe: &[u8],
    signature: &[u8],
) -> Result<(), SecondOpinionError> {
    use p256::ecdsa::signature::Verifier;
    use p256::ecdsa::{Signature, VerifyingKey};
    let PublicKey::P256 { x, y } = parsed else {
        return Err(SecondOpinionError::Parse);
    };
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    let key = VerifyingKey::from_sec1_bytes(&point).map_err(|_| SecondOpinionError::Parse)?;
    let signature = Signature::from_slice(signature).map_err(|_| SecondOpinionError::Signature)?;
    key.verify(probe, &signature).map_err(|_| SecondOpinionError::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwk_of(pair: &KeyPair, algorithm: Algorithm) -> PublicJwk {
        let kid = pair.thumbprint.clone().into();
        PublicJwk { kid, algorithm, public: pair.public.clone() }
    }

    #[test]
    fn a_new_key_of_every_algorithm_passes() {
        for algorithm in Algorithm::ALL {
            let pair = crypto::generate(algorithm).unwrap();
            assert_eq!(check(&pair, &jwk_of(&pair, algorithm)), Ok(()), "{algorithm}");
        }
    }

    #[test]
    fn a_key_published_with_another_public_half_does_not_pass() {
        for algorithm in Algorithm::ALL {
            let pair = crypto::generate(algorithm).unwrap();
            let other = crypto::generate(algorithm).unwrap();
            let mut jwk = jwk_of(&pair, algorithm);
            jwk.public = other.public;
            assert!(check(&pair, &jwk).is_err(), "{algorithm}");
        }
    }
}
