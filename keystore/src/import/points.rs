//! Keys on curves: P-256, P-384, P-521 and Ed25519.
//!
//! The public half is computed from the private one by other code than that which will sign, so
//! both have to agree.

use p256::elliptic_curve::sec1::ToEncodedPoint;
use zeroize::Zeroizing;

use super::Material;
use super::error::ImportError;
use crate::algorithm::Curve;
use crate::crypto::parts;
use crate::jwk::PublicKey;

/// A key pair on a curve, from its private half and, where the file has it, its public one.
pub(super) fn ec_pair(
    curve: Curve,
    private: &[u8],
    stated: Option<&[u8]>,
) -> Result<Material, ImportError> {
    let scalar = scalar(curve, private)?;
    let computed = point_of(curve, &scalar).ok_or(ImportError::PrivateHalf(curve.name()))?;
    if let Some(stated) = stated
        && uncompressed(curve, stated)? != computed
    {
        return Err(ImportError::Mismatch);
    }
    parts::ec_pair(curve, &scalar, &computed).map(Material::Pair).map_err(|_| ImportError::Mismatch)
}

/// A public key on a curve (SEC 1, section 2.3.3, compressed or not).
pub(super) fn ec_public(curve: Curve, point: &[u8]) -> Result<Material, ImportError> {
    let point = uncompressed(curve, point)?;
    let (x, y) = point[1..].split_at(curve.coordinate_bytes());
    Ok(Material::Public(PublicKey::Ec { crv: curve, x: x.to_vec(), y: y.to_vec() }))
}

/// A key pair of Ed25519, from its seed and, where the file has it, its public half.
pub(super) fn ed25519_pair(seed: &[u8], stated: Option<&[u8]>) -> Result<Material, ImportError> {
    let pair = parts::ed25519_pair(seed).map_err(|_| ImportError::PrivateHalf("Ed25519"))?;
    let PublicKey::Ed25519 { x } = &pair.public else {
        return Err(ImportError::Mismatch);
    };
    if stated.is_some_and(|stated| stated != x.as_slice()) {
        return Err(ImportError::Mismatch);
    }
    Ok(Material::Pair(pair))
}

/// A public key of Ed25519.
pub(super) fn ed25519_public(x: &[u8]) -> Result<Material, ImportError> {
    let bytes: &[u8; 32] = x.try_into().map_err(|_| ImportError::NotOnCurve("Ed25519"))?;
    let key = ed25519_dalek::VerifyingKey::from_bytes(bytes)
        .map_err(|_| ImportError::NotOnCurve("Ed25519"))?;
    if key.is_weak() {
        return Err(ImportError::WeakPoint);
    }
    Ok(Material::Public(PublicKey::Ed25519 { x: x.to_vec() }))
}

/// As long as the curve says. Some programs leave out zeros at its beginning, some add them.
fn scalar(curve: Curve, private: &[u8]) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let zeros = private.iter().take_while(|byte| **byte == 0).count();
    let digits = &private[zeros..];
    let length = curve.coordinate_bytes();
    let mut scalar = Zeroizing::new(vec![0; length]);
    let begin = length.checked_sub(digits.len()).ok_or(ImportError::PrivateHalf(curve.name()))?;
    scalar[begin..].copy_from_slice(digits);
    Ok(scalar)
}

/// The point of a scalar, unless that is zero or not below the order of the curve.
fn point_of(curve: Curve, scalar: &[u8]) -> Option<Vec<u8>> {
    let point = match curve {
        Curve::P256 => {
            let key = p256::SecretKey::from_slice(scalar).ok()?;
            key.public_key().to_encoded_point(false).as_bytes().to_vec()
        }
        Curve::P384 => {
            let key = p384::SecretKey::from_slice(scalar).ok()?;
            key.public_key().to_encoded_point(false).as_bytes().to_vec()
        }
        Curve::P521 => {
            let key = p521::SecretKey::from_slice(scalar).ok()?;
            key.public_key().to_encoded_point(false).as_bytes().to_vec()
        }
    };
    Some(point)
}

/// A point with both coordinates, once it is known to be on the curve.
fn uncompressed(curve: Curve, point: &[u8]) -> Result<Vec<u8>, ImportError> {
    let wrong = |_| ImportError::NotOnCurve(curve.name());
    Ok(match curve {
        Curve::P256 => {
            let key = p256::PublicKey::from_sec1_bytes(point).map_err(wrong)?;
            key.to_encoded_point(false).as_bytes().to_vec()
        }
        Curve::P384 => {
            let key = p384::PublicKey::from_sec1_bytes(point).map_err(wrong)?;
            key.to_encoded_point(false).as_bytes().to_vec()
        }
        Curve::P521 => {
            let key = p521::PublicKey::from_sec1_bytes(point).map_err(wrong)?;
            key.to_encoded_point(false).as_bytes().to_vec()
        }
    })
}
