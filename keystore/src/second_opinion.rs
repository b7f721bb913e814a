//! A second opinion on a new key before it is published.
//!
//! A JWK that verifiers cannot use, once published, breaks every one of them. So the bytes that
//! would be published are parsed back and tried, where it can be had with other code than that
//! which made them: p256, p384 and p521 verify for their curves, and jsonwebkey computes the
//! thumbprint of RSA and P-256 keys, the only ones it knows.
//!
//! Elsewhere the library verifies with the key parsed back. For RSA there is no other choice: the
//! `rsa` crate signs with a timing leak that has no fix, and must not be near. A public key of
//! Ed25519 or ML-DSA is one string of bytes of a fixed length, so all that could go wrong on its
//! way into a JWK shows in this too; that is not worth a second implementation of ML-DSA, young as
//! they are, in every binary. The tests have one for each algorithm.

use crate::algorithm::{Algorithm, Curve, Family};
use crate::crypto::{self, SigningKey};
use crate::jwk::{PublicJwk, PublicKey};
use crate::key::KeyPair;

/// A new key that must not be published.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
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
    match jwk.algorithm.family() {
        Family::Rsa(..) => {
            same_thumbprint(&published, pair)?;
            verify_with_library(jwk.algorithm, &parsed, PROBE, &signature)
        }
        Family::Ec(curve) => {
            if curve == Curve::P256 {
                same_thumbprint(&published, pair)?;
            }
            verify_on_curve(curve, &parsed, PROBE, &signature)
        }
        Family::Ed25519 | Family::MlDsa(_) => {
            verify_with_library(jwk.algorithm, &parsed, PROBE, &signature)
        }
    }
}

fn same_thumbprint(published: &[u8], pair: &KeyPair) -> Result<(), SecondOpinionError> {
    let parse = |_| SecondOpinionError::Parse;
    // jsonwebkey refuses an `alg` other than RS256 and ES256; the thumbprint is not over it.
    let mut members: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(published).map_err(parse)?;
    members.remove("alg");
    let jwk: jsonwebkey::JsonWebKey = serde_json::from_value(members.into()).map_err(parse)?;
    if jwk.key.thumbprint() == pair.thumbprint.as_str() {
        Ok(())
    } else {
        Err(SecondOpinionError::Thumbprint)
    }
}

fn verify_with_library(
    algorithm: Algorithm,
    parsed: &PublicKey,
    probe: &[u8],
    signature: &[u8],
) -> Result<(), SecondOpinionError> {
    crypto::verify(algorithm, parsed, probe, signature).map_err(|_| SecondOpinionError::Signature)
}

fn verify_on_curve(
    curve: Curve,
    parsed: &PublicKey,
    probe: &[u8],
    signature: &[u8],
) -> Result<(), SecondOpinionError> {
    use p256::ecdsa::signature::Verifier;
    let PublicKey::Ec { crv, x, y } = parsed else {
        return Err(SecondOpinionError::Parse);
    };
    if *crv != curve {
        return Err(SecondOpinionError::Parse);
    }
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    let (parse, wrong) = (|_| SecondOpinionError::Parse, |_| SecondOpinionError::Signature);
    match curve {
        Curve::P256 => {
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(parse)?;
            let signature = p256::ecdsa::Signature::from_slice(signature).map_err(wrong)?;
            key.verify(probe, &signature).map_err(wrong)
        }
        Curve::P384 => {
            let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(parse)?;
            let signature = p384::ecdsa::Signature::from_slice(signature).map_err(wrong)?;
            key.verify(probe, &signature).map_err(wrong)
        }
        Curve::P521 => {
            let key = p521::ecdsa::VerifyingKey::from_sec1_bytes(&point).map_err(parse)?;
            let signature = p521::ecdsa::Signature::from_slice(signature).map_err(wrong)?;
            key.verify(probe, &signature).map_err(wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::samples;

    fn jwk_of(pair: &KeyPair, algorithm: Algorithm) -> PublicJwk {
        let kid = pair.thumbprint.clone().into();
        PublicJwk { kid, algorithm, public: pair.public.clone() }
    }

    #[test]
    fn a_new_key_of_every_algorithm_passes() {
        for algorithm in Algorithm::ALL {
            let pair = samples::pair(algorithm);
            assert_eq!(check(&pair, &jwk_of(&pair, algorithm)), Ok(()), "{algorithm}");
        }
    }

    #[test]
    fn a_key_published_with_another_public_half_does_not_pass() {
        for algorithm in Algorithm::ALL {
            let pair = samples::pair(algorithm);
            let mut jwk = jwk_of(&pair, algorithm);
            jwk.public = samples::other_pair(algorithm).public;
            assert!(check(&pair, &jwk).is_err(), "{algorithm}");
        }
    }
}
