//! Generate, sign, verify, digest, encrypt: the only file that names the cryptographic library.
//!
//! All randomness comes from the library's own generator, seeded by the operating system.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::hkdf;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair,
    Ed25519KeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents, UnparsedPublicKey,
};
use zeroize::Zeroizing;

use crate::algorithm::{Algorithm, RsaBits};
use crate::jwk::{PublicKey, Thumbprint};
use crate::key::{KeyPair, Secret};

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

/// The keys derived from one master key: to seal with, to authenticate what is stored, and to
/// authenticate the audit.
pub(crate) struct DerivedKeys {
    seal: LessSafeKey,
    authenticate: hmac::Key,
    audit: hmac::Key,
    /// What the master key is known by; says nothing about it.
    pub(crate) id: [u8; 8],
}

/// The length of a nonce in front of a ciphertext.
pub(crate) const NONCE_BYTES: usize = NONCE_LEN;

impl DerivedKeys {
    /// Derives the keys with HKDF-SHA-256 (RFC 5869), each under a label of its own.
    pub(crate) fn derive(master_key: &[u8; 32]) -> Result<Self, CryptoError> {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"jwksd master key v1");
        let prk = salt.extract(master_key);
        let mut seal = Zeroizing::new([0; 32]);
        let mut authenticate = Zeroizing::new([0; 32]);
        let mut audit = Zeroizing::new([0; 32]);
        let mut id = [0; 8];
        expand(&prk, b"seal aes-256-gcm-siv", seal.as_mut())?;
        expand(&prk, b"authenticate hmac-sha-256", authenticate.as_mut())?;
        expand(&prk, b"audit hmac-sha-256", audit.as_mut())?;
        expand(&prk, b"id", &mut id)?;
        let seal = UnboundKey::new(&AES_256_GCM_SIV, seal.as_ref());
        Ok(Self {
            seal: LessSafeKey::new(seal.map_err(|_| CryptoError::Generate)?),
            authenticate: hmac::Key::new(hmac::HMAC_SHA256, authenticate.as_ref()),
            audit: hmac::Key::new(hmac::HMAC_SHA256, audit.as_ref()),
            id,
        })
    }

    /// Encrypts with AES-256-GCM-SIV (RFC 8452); returns the nonce and the ciphertext with its
    /// tag.
    pub(crate) fn encrypt(
        &self,
        associated: &[u8],
        plaintext: &[u8],
    ) -> Result<([u8; NONCE_BYTES], Vec<u8>), CryptoError> {
        let nonce: [u8; NONCE_BYTES] = *random()?;
        let mut buffer = Zeroizing::new(Vec::with_capacity(plaintext.len() + 16));
        buffer.extend_from_slice(plaintext);
        self.seal
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(associated),
                &mut *buffer,
            )
            .map_err(|_| CryptoError::Generate)?;
        Ok((nonce, buffer.to_vec()))
    }

    /// Decrypts what [`DerivedKeys::encrypt`] made with the same associated data.
    pub(crate) fn decrypt(
        &self,
        associated: &[u8],
        nonce: [u8; NONCE_BYTES],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        let length = self
            .seal
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut buffer)
            .map_err(|_| CryptoError::Open)?
            .len();
        buffer.truncate(length);
        Ok(buffer)
    }

    /// The HMAC-SHA-256 of `message`.
    pub(crate) fn tag(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.authenticate, message).as_ref().to_vec()
    }

    /// Whether `tag` is the HMAC-SHA-256 of `message`.
    pub(crate) fn tag_matches(&self, message: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.authenticate, message, tag).is_ok()
    }

    /// The HMAC-SHA-256 of `message` under the key of the audit.
    pub(crate) fn audit_tag(&self, message: &[u8]) -> Vec<u8> {
        hmac::sign(&self.audit, message).as_ref().to_vec()
    }

    /// Whether `tag` is what [`DerivedKeys::audit_tag`] makes of `message`.
    pub(crate) fn audit_tag_matches(&self, message: &[u8], tag: &[u8]) -> bool {
        hmac::verify(&self.audit, message, tag).is_ok()
    }
}

fn expand(prk: &hkdf::Prk, label: &[u8], out: &mut [u8]) -> Result<(), CryptoError> {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let labels = [label];
    let okm = prk.expand(&labels, Length(out.len())).map_err(|_| CryptoError::Generate)?;
    okm.fill(out).map_err(|_| CryptoError::Generate)
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
