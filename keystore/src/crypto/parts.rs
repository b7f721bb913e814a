//! Key pairs from parts that someone else made, in the form that [`super::generate`] gives.
//!
//! The library checks that the parts belong together. What it does not check, and words for what
//! is wrong, are in [`crate::import`].

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::signature::{EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use zeroize::Zeroizing;

use super::signing::{Inner, SigningKey, ecdsa};
use super::{CryptoError, thumbprint};
use crate::algorithm::{Curve, RsaScheme};
use crate::key::{KeyPair, Secret};

/// From an `RSAPrivateKey` (RFC 8017, appendix A.1.2).
///
/// # Errors
///
/// [`CryptoError::Secret`] when its numbers do not belong together, or with a modulus of fewer than
/// 2048 or more than 8192 bits.
pub(crate) fn rsa_pair(pkcs1: &[u8]) -> Result<KeyPair, CryptoError> {
    let pair = RsaKeyPair::from_der(pkcs1).map_err(|_| CryptoError::Secret)?;
    let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&pair).map_err(|_| CryptoError::Secret)?;
    let pkcs8 = Zeroizing::new(der.as_ref().to_vec());
    // All schemes have the same keys.
    Ok(finish(Inner::Rsa(RsaScheme::Pkcs1Sha256, pair), pkcs8))
}

/// From a scalar as long as the curve says, and its point (SEC 1, section 2.3.3).
///
/// # Errors
///
/// [`CryptoError::Secret`] when they do not belong together.
pub(crate) fn ec_pair(curve: Curve, scalar: &[u8], point: &[u8]) -> Result<KeyPair, CryptoError> {
    let refused = |_| CryptoError::Secret;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(ecdsa(curve).0, scalar, point);
    let pair = pair.map_err(refused)?;
    let document = pair.to_pkcs8v1().map_err(|_| CryptoError::Secret)?;
    let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
    Ok(finish(Inner::Ec(curve, pair), pkcs8))
}

/// From a seed (RFC 8032, section 5.1.5).
///
/// # Errors
///
/// [`CryptoError::Secret`] when it is not 32 bytes long.
pub(crate) fn ed25519_pair(seed: &[u8]) -> Result<KeyPair, CryptoError> {
    if seed.len() != 32 {
        return Err(CryptoError::Secret);
    }
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| CryptoError::Secret)?;
    let document = pair.to_pkcs8v1().map_err(|_| CryptoError::Secret)?;
    let pkcs8 = Zeroizing::new(document.as_ref().to_vec());
    Ok(finish(Inner::Ed25519(pair), pkcs8))
}

fn finish(inner: Inner, pkcs8: Zeroizing<Vec<u8>>) -> KeyPair {
    let public = SigningKey::of(inner).public_key();
    let thumbprint = thumbprint(&public);
    KeyPair { secret: Secret::new(pkcs8), public, thumbprint }
}
