//! Key pairs, signatures, and their verification.

mod x509;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED, ECDSA_P521_SHA512_FIXED_SIGNING,
    ED25519, EcdsaKeyPair, EcdsaSigningAlgorithm, EcdsaVerificationAlgorithm, Ed25519KeyPair,
    KeyPair as _, ML_DSA_44, ML_DSA_44_SIGNING, ML_DSA_65, ML_DSA_65_SIGNING, ML_DSA_87,
    ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm, PqdsaVerificationAlgorithm,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use zeroize::Zeroizing;

use super::{CryptoError, stack, thumbprint};
use crate::algorithm::{Algorithm, Curve, Family, MlDsa, RsaBits, RsaScheme};
use crate::jwk::PublicKey;
use crate::key::{KeyPair, Secret};

/// A secret that is ready to sign. The library wipes it when it is dropped.
pub struct SigningKey(Inner);

pub(super) enum Inner {
    Rsa(RsaScheme, RsaKeyPair),
    Ec(Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    MlDsa(MlDsa, PqdsaKeyPair),
}

/// Makes a key pair.
///
/// # Errors
///
/// [`CryptoError::Generate`].
pub fn generate(algorithm: Algorithm) -> Result<KeyPair, CryptoError> {
    let (inner, pkcs8) = stack::wiped(|| match algorithm.family() {
        Family::Rsa(scheme, bits) => generate_rsa(scheme, bits),
        Family::Ec(curve) => generate_ec(curve),
        Family::Ed25519 => generate_ed25519(),
        Family::MlDsa(parameters) => generate_ml_dsa(parameters),
    })?;
    let public = SigningKey(inner).public_key();
    let thumbprint = thumbprint(&public);
    Ok(KeyPair { secret: Secret::new(pkcs8), public, thumbprint })
}

type Made = Result<(Inner, Zeroizing<Vec<u8>>), CryptoError>;

fn generate_rsa(scheme: RsaScheme, bits: RsaBits) -> Made {
    let size = match bits {
        RsaBits::B2048 => KeySize::Rsa2048,
        RsaBits::B3072 => KeySize::Rsa3072,
        RsaBits::B4096 => KeySize::Rsa4096,
    };
    let pair = RsaKeyPair::generate(size).map_err(|_| CryptoError::Generate)?;
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| CryptoError::Generate)?;
    let pkcs8 = Zeroizing::new(der.as_ref().to_vec());
    Ok((Inner::Rsa(scheme, pair), pkcs8))
}

fn generate_ec(curve: Curve) -> Made {
    let pair = EcdsaKeyPair::generate(ecdsa(curve).0).map_err(|_| CryptoError::Generate)?;
    let document = pair.to_pkcs8v1().map_err(|_| CryptoError::Generate)?;
    let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
    Ok((Inner::Ec(curve, pair), pkcs8))
}

fn generate_ed25519() -> Made {
    let pair = Ed25519KeyPair::generate().map_err(|_| CryptoError::Generate)?;
    let document = pair.to_pkcs8v1().map_err(|_| CryptoError::Generate)?;
    let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
    Ok((Inner::Ed25519(pair), pkcs8))
}

/// The PKCS#8 holds the seed of 32 bytes, not the key of up to 4,896 that is expanded from it.
fn generate_ml_dsa(parameters: MlDsa) -> Made {
    let pair = PqdsaKeyPair::generate(ml_dsa(parameters).0).map_err(|_| CryptoError::Generate)?;
    let document = pair.to_pkcs8v1().map_err(|_| CryptoError::Generate)?;
    let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
    Ok((Inner::MlDsa(parameters, pair), pkcs8))
}

impl SigningKey {
    pub(super) fn of(inner: Inner) -> Self {
        Self(inner)
    }

    /// Makes a secret ready to sign.
    ///
    /// # Errors
    ///
    /// [`CryptoError::Secret`] when it is not one of `algorithm`. A secret of RSA does not tell
    /// with which scheme it signs.
    pub fn new(algorithm: Algorithm, secret: &Secret) -> Result<Self, CryptoError> {
        stack::wiped(|| Self::parse(algorithm, secret))
    }

    fn parse(algorithm: Algorithm, secret: &Secret) -> Result<Self, CryptoError> {
        let pkcs8 = secret.expose();
        let refused = |_| CryptoError::Secret;
        Ok(Self(match algorithm.family() {
            Family::Rsa(scheme, bits) => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(refused)?;
                if pair.public_modulus_len() != bits.bytes() {
                    return Err(CryptoError::Secret);
                }
                Inner::Rsa(scheme, pair)
            }
            Family::Ec(curve) => {
                let pair = EcdsaKeyPair::from_pkcs8(ecdsa(curve).0, pkcs8).map_err(refused)?;
                Inner::Ec(curve, pair)
            }
            Family::Ed25519 => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(refused)?;
                Inner::Ed25519(pair)
            }
            Family::MlDsa(parameters) => {
                let pair = PqdsaKeyPair::from_pkcs8(ml_dsa(parameters).0, pkcs8);
                Inner::MlDsa(parameters, pair.map_err(refused)?)
            }
        }))
    }

    /// Signs `message` (RFC 7515, section 5.1, step 5).
    ///
    /// # Errors
    ///
    /// [`CryptoError::Sign`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let rng = SystemRandom::new();
        let failed = |_| CryptoError::Sign;
        match &self.0 {
            Inner::Rsa(scheme, pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(rsa(*scheme).0, &rng, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Inner::Ec(_, pair) => Ok(pair.sign(&rng, message).map_err(failed)?.as_ref().to_vec()),
            Inner::Ed25519(pair) => Ok(pair.try_sign(message).map_err(failed)?.as_ref().to_vec()),
            Inner::MlDsa(parameters, pair) => {
                let mut signature = vec![0; ml_dsa(*parameters).0.signature_len()];
                pair.sign(message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
        }
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        match &self.0 {
            Inner::Rsa(_, pair) => {
                let public = pair.public_key();
                PublicKey::Rsa {
                    n: public.modulus().big_endian_without_leading_zero().to_vec(),
                    e: public.exponent().big_endian_without_leading_zero().to_vec(),
                }
            }
            Inner::Ec(curve, pair) => {
                // SEC 1, section 2.3.3: 0x04, then both coordinates.
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(curve.coordinate_bytes());
                PublicKey::Ec { crv: *curve, x: x.to_vec(), y: y.to_vec() }
            }
            Inner::Ed25519(pair) => PublicKey::Ed25519 { x: pair.public_key().as_ref().to_vec() },
            Inner::MlDsa(parameters, pair) => {
                PublicKey::Akp { alg: *parameters, public: pair.public_key().as_ref().to_vec() }
            }
        }
    }
}

/// Verifies a signature.
///
/// # Errors
///
/// [`CryptoError::Verify`] when it is not one of this key over this message, or when the key is
/// not one for `algorithm`.
pub fn verify(
    algorithm: Algorithm,
    public: &PublicKey,
    message: &[u8],
    signature: &[u8],
) -> Result<(), CryptoError> {
    // The library would take some keys in other encodings too.
    if !public.fits(algorithm) {
        return Err(CryptoError::Verify);
    }
    let verified = match (public, algorithm.family()) {
        (PublicKey::Rsa { n, e }, Family::Rsa(scheme, _)) => {
            RsaPublicKeyComponents { n, e }.verify(rsa(scheme).1, message, signature)
        }
        (PublicKey::Ec { x, y, .. }, Family::Ec(curve)) => {
            let point = [&[4], x.as_slice(), y.as_slice()].concat();
            UnparsedPublicKey::new(ecdsa(curve).1, point).verify(message, signature)
        }
        (PublicKey::Ed25519 { x }, Family::Ed25519) => {
            UnparsedPublicKey::new(&ED25519, x).verify(message, signature)
        }
        (PublicKey::Akp { public, .. }, Family::MlDsa(parameters)) => {
            UnparsedPublicKey::new(ml_dsa(parameters).1, public).verify(message, signature)
        }
        (_, Family::Rsa(..) | Family::Ec(_) | Family::Ed25519 | Family::MlDsa(_)) => {
            return Err(CryptoError::Verify);
        }
    };
    verified.map_err(|_| CryptoError::Verify)
}

/// The library's names for an RSA scheme. Its salts are as long as the hash, as RFC 7518,
/// section 3.5 wants.
fn rsa(scheme: RsaScheme) -> (&'static dyn RsaEncoding, &'static RsaParameters) {
    match scheme {
        RsaScheme::Pkcs1Sha256 => (&RSA_PKCS1_SHA256, &RSA_PKCS1_2048_8192_SHA256),
        RsaScheme::Pkcs1Sha384 => (&RSA_PKCS1_SHA384, &RSA_PKCS1_2048_8192_SHA384),
        RsaScheme::Pkcs1Sha512 => (&RSA_PKCS1_SHA512, &RSA_PKCS1_2048_8192_SHA512),
        RsaScheme::PssSha256 => (&RSA_PSS_SHA256, &RSA_PSS_2048_8192_SHA256),
        RsaScheme::PssSha384 => (&RSA_PSS_SHA384, &RSA_PSS_2048_8192_SHA384),
        RsaScheme::PssSha512 => (&RSA_PSS_SHA512, &RSA_PSS_2048_8192_SHA512),
    }
}

/// The library's names for ECDSA on a curve, with signatures as RFC 7518, section 3.4 wants them.
pub(super) fn ecdsa(
    curve: Curve,
) -> (&'static EcdsaSigningAlgorithm, &'static EcdsaVerificationAlgorithm) {
    match curve {
        Curve::P256 => (&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_FIXED),
        Curve::P384 => (&ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED),
        Curve::P521 => (&ECDSA_P521_SHA512_FIXED_SIGNING, &ECDSA_P521_SHA512_FIXED),
    }
}

/// The library's names for ML-DSA: pure, with an empty context, as RFC 9964, section 5 wants.
fn ml_dsa(
    parameters: MlDsa,
) -> (&'static PqdsaSigningAlgorithm, &'static PqdsaVerificationAlgorithm) {
    match parameters {
        MlDsa::P44 => (&ML_DSA_44_SIGNING, &ML_DSA_44),
        MlDsa::P65 => (&ML_DSA_65_SIGNING, &ML_DSA_65),
        MlDsa::P87 => (&ML_DSA_87_SIGNING, &ML_DSA_87),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::algorithm::KeyType;
    use crate::crypto::samples::{self, keys_are_alike};

    /// Verifies with an implementation that did not sign.
    fn verify_independently(
        algorithm: Algorithm,
        public: &PublicKey,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        match (public, algorithm.family()) {
            (PublicKey::Rsa { n, e }, Family::Rsa(scheme, _)) => {
                rsa_verifies(scheme, (n, e), message, signature)
            }
            (PublicKey::Ec { crv, x, y }, Family::Ec(_)) => {
                let point = [&[4], x.as_slice(), y.as_slice()].concat();
                ec_verifies(*crv, &point, message, signature)
            }
            (PublicKey::Ed25519 { x }, Family::Ed25519) => {
                let x: [u8; 32] = x.as_slice().try_into().unwrap();
                let key = ed25519_dalek::VerifyingKey::from_bytes(&x).unwrap();
                let signature = ed25519_dalek::Signature::from_slice(signature).unwrap();
                key.verify_strict(message, &signature).is_ok()
            }
            (PublicKey::Akp { alg, public }, Family::MlDsa(_)) => match alg {
                MlDsa::P44 => ml_dsa_verifies::<ml_dsa::MlDsa44>(public, message, signature),
                MlDsa::P65 => ml_dsa_verifies::<ml_dsa::MlDsa65>(public, message, signature),
                MlDsa::P87 => ml_dsa_verifies::<ml_dsa::MlDsa87>(public, message, signature),
            },
            _ => panic!("not a key of {algorithm}"),
        }
    }

    fn rsa_verifies(
        scheme: RsaScheme,
        (n, e): (&[u8], &[u8]),
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        use rsa::sha2::{Sha256, Sha384, Sha512};
        use rsa::signature::Verifier;
        use rsa::{BigUint, RsaPublicKey, pkcs1v15, pss};
        let (n, e) = (BigUint::from_bytes_be(n), BigUint::from_bytes_be(e));
        let key = RsaPublicKey::new(n, e).unwrap();
        let pkcs1v15 = pkcs1v15::Signature::try_from(signature).unwrap();
        let pss = pss::Signature::try_from(signature).unwrap();
        let verified = match scheme {
            RsaScheme::Pkcs1Sha256 => {
                pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &pkcs1v15)
            }
            RsaScheme::Pkcs1Sha384 => {
                pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(message, &pkcs1v15)
            }
            RsaScheme::Pkcs1Sha512 => {
                pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(message, &pkcs1v15)
            }
            // They take a salt of no other length than the hash's.
            RsaScheme::PssSha256 => pss::VerifyingKey::<Sha256>::new(key).verify(message, &pss),
            RsaScheme::PssSha384 => pss::VerifyingKey::<Sha384>::new(key).verify(message, &pss),
            RsaScheme::PssSha512 => pss::VerifyingKey::<Sha512>::new(key).verify(message, &pss),
        };
        verified.is_ok()
    }

    fn ec_verifies(crv: Curve, point: &[u8], message: &[u8], signature: &[u8]) -> bool {
        use p256::ecdsa::signature::Verifier;
        let verified = match crv {
            Curve::P256 => p256::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .unwrap()
                .verify(message, &p256::ecdsa::Signature::from_slice(signature).unwrap()),
            Curve::P384 => p384::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .unwrap()
                .verify(message, &p384::ecdsa::Signature::from_slice(signature).unwrap()),
            Curve::P521 => p521::ecdsa::VerifyingKey::from_sec1_bytes(point)
                .unwrap()
                .verify(message, &p521::ecdsa::Signature::from_slice(signature).unwrap()),
        };
        verified.is_ok()
    }

    fn ml_dsa_verifies<P: ml_dsa::MlDsaParams>(
        public: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        let public = ml_dsa::EncodedVerifyingKey::<P>::try_from(public).unwrap();
        let key = ml_dsa::VerifyingKey::<P>::decode(&public);
        let signature = ml_dsa::Signature::<P>::try_from(signature).unwrap();
        key.verify_with_context(message, b"", &signature)
    }

    #[test]
    fn every_algorithm_signs_what_another_implementation_verifies() {
        for algorithm in Algorithm::ALL {
            let pair = samples::pair(algorithm);
            let public = &pair.public;
            let signature = SigningKey::new(algorithm, &pair.secret).unwrap().sign(b"message");
            let signature = signature.unwrap();
            assert!(verify_independently(algorithm, public, b"message", &signature), "{algorithm}");
            assert!(
                !verify_independently(algorithm, public, b"massage", &signature),
                "{algorithm}"
            );
            assert_eq!(verify(algorithm, public, b"message", &signature), Ok(()), "{algorithm}");
            assert!(verify(algorithm, public, b"massage", &signature).is_err(), "{algorithm}");
        }
    }

    #[test]
    fn a_signature_is_as_long_as_its_algorithm_says_and_of_no_other_algorithm() {
        for signed_with in Algorithm::ALL {
            let pair = samples::pair(signed_with);
            let signature = SigningKey::new(signed_with, &pair.secret).unwrap().sign(b"m").unwrap();
            let length = match signed_with.family() {
                Family::Rsa(_, bits) => bits.bytes(),
                Family::Ec(Curve::P256) | Family::Ed25519 => 64,
                Family::Ec(Curve::P384) => 96,
                Family::Ec(Curve::P521) => 132,
                Family::MlDsa(MlDsa::P44) => 2420,
                Family::MlDsa(MlDsa::P65) => 3309,
                Family::MlDsa(MlDsa::P87) => 4627,
            };
            assert_eq!(signature.len(), length, "{signed_with}");
            for algorithm in Algorithm::ALL {
                let verified = verify(algorithm, &pair.public, b"m", &signature).is_ok();
                assert_eq!(verified, algorithm == signed_with, "{signed_with} as {algorithm}");
            }
        }
    }

    #[test]
    fn a_new_key_is_not_the_one_before() {
        // RSA of more bits is made by the same call.
        for algorithm in Algorithm::ALL.into_iter().filter(|a| a.key_type() != KeyType::Rsa) {
            let (one, other) = (generate(algorithm).unwrap(), generate(algorithm).unwrap());
            assert_ne!(one.public, other.public, "{algorithm}");
        }
    }

    #[test]
    fn a_secret_of_another_kind_of_key_is_refused() {
        for made_for in Algorithm::ALL {
            let secret = samples::pair(made_for).secret;
            for algorithm in Algorithm::ALL {
                let opened = SigningKey::new(algorithm, &secret).is_ok();
                let alike = keys_are_alike(made_for, algorithm);
                assert_eq!(opened, alike, "{made_for} as {algorithm}");
            }
        }
    }

    #[test]
    fn the_secret_of_ml_dsa_is_its_seed() {
        for algorithm in [Algorithm::MlDsa44, Algorithm::MlDsa65, Algorithm::MlDsa87] {
            let length = samples::pair(algorithm).secret.expose().len();
            assert!(length < 64, "{algorithm}: {length} bytes");
        }
    }
}
