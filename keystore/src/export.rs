//! PURE: the public half of a key in the forms that verifiers take: a JWK, a PEM, OpenSSH's line.
//!
//! What is written here is read back by [`crate::import`], ML-DSA aside, which is not imported yet.
//! Certificates are made where there is a library for them; of a key they take what is here.

use pkcs8::der::asn1::{AnyRef, BitStringRef, ObjectIdentifier, UintRef};
use pkcs8::der::pem::LineEnding;
use pkcs8::der::{self, Document, Encode};
use pkcs8::spki::{self, AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use ssh_key::public::{EcdsaPublicKey, Ed25519PublicKey, KeyData, RsaPublicKey};
use ssh_key::{Mpint, PublicKey as SshPublicKey};

use crate::algorithm::{Curve, MlDsa};
use crate::id::KeyId;
use crate::jwk::{PublicJwk, PublicKey};

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const ML_DSA_44: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.17");
const ML_DSA_65: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");
const ML_DSA_87: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19");

/// Why a public key cannot be had in a form.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// OpenSSH has no such keys.
    #[error("OpenSSH has no keys of {0}; take the key as JWK or PEM")]
    NotOfOpenSsh(&'static str),
    /// Its numbers cannot be encoded, which no key that was ever published comes to.
    #[error("the public key cannot be encoded as {0}")]
    Encode(&'static str),
}

/// The JWK as it is published, in one line (RFC 7517, section 4).
///
/// # Errors
///
/// [`ExportError::Encode`].
pub fn jwk(key: &PublicJwk) -> Result<String, ExportError> {
    let text = serde_json::to_string(key).map_err(|_| ExportError::Encode("JWK"))?;
    Ok(text + "\n")
}

/// A `SubjectPublicKeyInfo` in PEM (RFC 7468, section 13).
///
/// # Errors
///
/// [`ExportError::Encode`].
pub fn pem(key: &PublicKey) -> Result<String, ExportError> {
    let failed = |_: der::Error| ExportError::Encode("SubjectPublicKeyInfo");
    let info = subject_public_key_info(key).map_err(failed)?;
    info.to_pem("PUBLIC KEY", LineEnding::LF).map_err(failed)
}

/// The line of OpenSSH (RFC 4253, section 6.6; RFC 5656; RFC 8709), with the kid as its comment: that
/// is made of characters which mean nothing in a line.
///
/// # Errors
///
/// [`ExportError::NotOfOpenSsh`] for ML-DSA, [`ExportError::Encode`].
pub fn openssh(key: &PublicKey, kid: &KeyId) -> Result<String, ExportError> {
    let failed = |_: ssh_key::Error| ExportError::Encode("OpenSSH's line");
    let data = match key {
        PublicKey::Rsa { n, e } => KeyData::Rsa(RsaPublicKey {
            n: Mpint::from_positive_bytes(n).map_err(failed)?,
            e: Mpint::from_positive_bytes(e).map_err(failed)?,
        }),
        PublicKey::Ec { x, y, .. } => {
            KeyData::Ecdsa(EcdsaPublicKey::from_sec1_bytes(&point(x, y)).map_err(failed)?)
        }
        PublicKey::Ed25519 { x } => {
            KeyData::Ed25519(Ed25519PublicKey::try_from(x.as_slice()).map_err(failed)?)
        }
        PublicKey::Akp { alg, .. } => return Err(ExportError::NotOfOpenSsh(alg.name())),
    };
    let line = SshPublicKey::new(data, kid.as_str()).to_openssh().map_err(failed)?;
    Ok(line + "\n")
}

/// The bits of a `subjectPublicKey` (RFC 5280, section 4.1): what certificates hold of a key besides
/// the name of its kind.
///
/// # Errors
///
/// [`ExportError::Encode`].
pub fn subject_public_key(key: &PublicKey) -> Result<Vec<u8>, ExportError> {
    bits(key).map_err(|_| ExportError::Encode("SubjectPublicKeyInfo"))
}

fn subject_public_key_info(key: &PublicKey) -> der::Result<Document> {
    let bits = bits(key)?;
    let subject_public_key = BitStringRef::from_bytes(&bits)?;
    let info = SubjectPublicKeyInfoRef { algorithm: kind(key), subject_public_key };
    Document::try_from(info).map_err(|error| match error {
        spki::Error::Asn1(error) => error,
        _ => der::ErrorKind::Failed.into(),
    })
}

fn bits(key: &PublicKey) -> der::Result<Vec<u8>> {
    match key {
        // RFC 8017, appendix A.1.1.
        PublicKey::Rsa { n, e } => {
            let (modulus, public_exponent) = (UintRef::new(n)?, UintRef::new(e)?);
            pkcs1::RsaPublicKey { modulus, public_exponent }.to_der()
        }
        PublicKey::Ec { x, y, .. } => Ok(point(x, y)),
        PublicKey::Ed25519 { x } => Ok(x.clone()),
        PublicKey::Akp { public, .. } => Ok(public.clone()),
    }
}

/// SEC 1, section 2.3.3.
fn point(x: &[u8], y: &[u8]) -> Vec<u8> {
    [&[4], x, y].concat()
}

/// What a `SubjectPublicKeyInfo` says of the kind of a key.
fn kind(key: &PublicKey) -> AlgorithmIdentifierRef<'static> {
    let (oid, parameters) = match key {
        // RFC 3279, section 2.3.1.
        PublicKey::Rsa { .. } => (RSA, Some(AnyRef::NULL)),
        // RFC 5480, section 2.1.1.
        PublicKey::Ec { crv: Curve::P256, .. } => (EC, Some((&P256).into())),
        PublicKey::Ec { crv: Curve::P384, .. } => (EC, Some((&P384).into())),
        PublicKey::Ec { crv: Curve::P521, .. } => (EC, Some((&P521).into())),
        // RFC 8410, section 3.
        PublicKey::Ed25519 { .. } => (ED25519, None),
        // RFC 9881, section 2.
        PublicKey::Akp { alg: MlDsa::P44, .. } => (ML_DSA_44, None),
        PublicKey::Akp { alg: MlDsa::P65, .. } => (ML_DSA_65, None),
        PublicKey::Akp { alg: MlDsa::P87, .. } => (ML_DSA_87, None),
    };
    AlgorithmIdentifierRef { oid, parameters }
}

#[cfg(test)]
mod tests;
