//! Key pairs, signatures, and their verification.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use zeroize::Zeroizing;

use super::{CryptoError, thumbprint};
use crate::algorithm::{Algorithm, RsaBits};
use crate::jwk::PublicKey;
use crate::key::{KeyPair, Secret};

/// A secret that is ready to sign. The library wipes it when it is dropped.
pub struct SigningKey(Inner);

enum Inner {
    Rsa(RsaKeyPair),
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// Makes a key pair.
///
/// # Errors
///
/// [`CryptoError::Generate`].
pub fn generate(algorithm: Algorithm) -> Result<KeyPair, CryptoError> {
    let (signing_key, pkcs8) = match algorithm {
        Algorithm::Rs256(bits) => generate_rsa(bits),
        Algorithm::Es256 => generate_p256(),
        Algorithm::EdDsa => generate_ed25519(),
    }?;
    let public = signing_key.public_key();
    let thumbprint = thumbprint(&public);
    Ok(KeyPair { secret: Secret::new(pkcs8), public, thumbprint })
}

type Made = Result<(SigningKey, Zeroizing<Vec<u8>>), CryptoError>;

fn generate_rsa(bits: RsaBits) -> Made {
    let size = match bits {
        RsaBits::B2048 => KeySize::Rsa2048,
        RsaBits::B3072 => KeySize::Rsa3072,
        RsaBits::B4096 => KeySize::Rsa4096,
    };
    let pair = RsaKeyPair::generate(size).map_err(|_| CryptoError::Generate)?;
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| CryptoError::Generate)?;
    let pkcs8 = Zeroizing::new(der.as_ref().to_vec());
    Ok((SigningKey(Inner::Rsa(pair)), pkcs8))
}

fn generate_p256() -> Made {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
        .map_err(|_| CryptoError::Generate)?;
    let document = pair.to_pkcs8v1().map_err(|_| CryptoError::Generate)?;
    let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
    Ok((SigningKey(Inner::P256(pair)), pkcs8))
}

fn generate_ed25519() -> Made {
    let pair = Ed25519KeyPair::generate().map_err(|_| CryptoError::Generate)?;
    let document = pair.to_pkcs8v1().map_err(|_| CryptoError::Generate)?;
    let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
    Ok((SigningKey(Inner::Ed25519(pair)), pkcs8))
}

impl SigningKey {
    /// Makes a secret ready to sign.
    ///
    /// # Errors
    ///
    /// [`CryptoError::Secret`] when it is not one of `algorithm`.
    pub fn new(algorithm: Algorithm, secret: &Secret) -> Result<Self, CryptoError> {
        let pkcs8 = secret.expose();
        let inner = match algorithm {
            Algorithm::Rs256(bits) => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| CryptoError::Secret)?;
                if pair.public_modulus_len() * 8 != bits.as_u32() as usize {
                    return Err(CryptoError::Secret);
                }
                Inner::Rsa(pair)
            }
            Algorithm::Es256 => Inner::P256(
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8)
                    .map_err(|_| CryptoError::Secret)?,
            ),
            Algorithm::EdDsa => Inner::Ed25519(
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8)
                    .map_err(|_| CryptoError::Secret)?,
            ),
        };
        Ok(Self(inner))
    }

    /// Signs `message` (RFC 7515, section 5.1, step 5).
    ///
    /// # Errors
    ///
    /// [`CryptoError::Sign`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let rng = SystemRandom::new();
        match &self.0 {
            Inner::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &rng, message, &mut signature)
                    .map_err(|_| CryptoError::Sign)?;
                Ok(signature)
            }
            Inner::P256(pair) => {
                let signature = pair.sign(&rng, message).map_err(|_| CryptoError::Sign)?;
                Ok(signature.as_ref().to_vec())
            }
            Inner::Ed25519(pair) => {
                let signature = pair.try_sign(message).map_err(|_| CryptoError::Sign)?;
                Ok(signature.as_ref().to_vec())
            }
        }
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match &self.0 {
            Inner::Rsa(pair) => {
                let public = pair.public_key();
                PublicKey::Rsa {
                    n: public.modulus().big_endian_without_leading_zero().to_vec(),
                    e: public.exponent().big_endian_without_leading_zero().to_vec(),
                }
            }
            Inner::P256(pair) => {
                // SEC 1, section 2.3.3: 0x04, then both coordinates.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                PublicKey::P256 { x: x.to_vec(), y: y.to_vec() }
            }
            Inner::Ed25519(pair) => PublicKey::Ed25519 { x: pair.public_key().as_ref().to_vec() },
        }
    }
}

/// Verifies a signature.
///
/// # Errors
///
/// [`CryptoError::Verify`] when it is not one of this key over this message.
pub fn verify(public: &PublicKey, message: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
    let verified = match public {
        PublicKey::Rsa { n, e } => {
            RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
        }
        PublicKey::P256 { x, y } => {
            let point = [&[4], x.as_slice(), y.as_slice()].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(message, signature)
        }
        PublicKey::Ed25519 { x } => UnparsedPublicKey::new(&ED25519, x).verify(message, signature),
    };
    verified.map_err(|_| CryptoError::Verify)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Verifies with an implementation that did not sign.
    fn verify_independently(public: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
        match public {
            PublicKey::Rsa { n, e } => {
                use rsa::signature::Verifier;
                let n = rsa::BigUint::from_bytes_be(n);
                let e = rsa::BigUint::from_bytes_be(e);
                let key = rsa::RsaPublicKey::new(n, e).unwrap();
                let key = rsa::pkcs1v15::VerifyingKey::<rsa::sha2::Sha256>::new(key);
                let signature = rsa::pkcs1v15::Signature::try_from(signature).unwrap();
                key.verify(message, &signature).is_ok()
            }
            PublicKey::P256 { x, y } => {
                use p256::ecdsa::signature::Verifier;
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
                let signature = p256::ecdsa::Signature::from_slice(signature).unwrap();
                key.verify(message, &signature).is_ok()
            }
            PublicKey::Ed25519 { x } => {
                let x: [u8; 32] = x.as_slice().try_into().unwrap();
                let key = ed25519_dalek::VerifyingKey::from_bytes(&x).unwrap();
                let signature = ed25519_dalek::Signature::from_slice(signature).unwrap();
                key.verify_strict(message, &signature).is_ok()
            }
        }
    }

    #[test]
    fn every_algorithm_signs_what_another_implementation_verifies() {
        for algorithm in Algorithm::ALL {
            let pair = generate(algorithm).unwrap();
            let key = SigningKey::new(algorithm, &pair.secret).unwrap();
            assert!(key.public_key() == pair.public, "{algorithm}");
            let signature = key.sign(b"message").unwrap();
            assert!(verify_independently(&pair.public, b"message", &signature), "{algorithm}");
            assert!(!verify_independently(&pair.public, b"massage", &signature), "{algorithm}");
            assert_eq!(verify(&pair.public, b"message", &signature), Ok(()), "{algorithm}");
            assert!(verify(&pair.public, b"massage", &signature).is_err(), "{algorithm}");
        }
    }

    #[test]
    fn a_secret_of_another_algorithm_is_refused() {
        let secrets = Algorithm::ALL.map(|algorithm| generate(algorithm).unwrap().secret);
        for (made_for, secret) in Algorithm::ALL.iter().zip(&secrets) {
            for algorithm in Algorithm::ALL {
                let opened = SigningKey::new(algorithm, secret).is_ok();
                assert_eq!(opened, algorithm == *made_for, "{made_for} as {algorithm}");
            }
        }
    }
}
