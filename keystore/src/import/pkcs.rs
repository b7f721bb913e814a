//! What PEM blocks hold: PKCS#8, PKCS#1, SEC1 and `SubjectPublicKeyInfo`, all of them DER.

use pkcs8::PrivateKeyInfo;
use pkcs8::der::Decode;
use pkcs8::der::asn1::{ObjectIdentifier, OctetStringRef};
use pkcs8::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};

use super::error::{Form, ImportError};
use super::pem::{Block, Label};
use super::{Material, Passphrase, encrypted, openssh, points, rsa};
use crate::algorithm::Curve;

/// The key of a block.
pub(super) fn read(
    block: &Block<'_>,
    passphrase: Option<&Passphrase>,
) -> Result<Material, ImportError> {
    let Some(dek_info) = block.encryption else {
        return match block.label {
            Label::EncryptedPkcs8 => encrypted_pkcs8(&block.content, passphrase),
            Label::OpenSsh => openssh::read_private(&block.content, passphrase),
            label => plain(label, &block.content),
        };
    };
    if !matches!(block.label, Label::Pkcs1 | Label::Sec1 | Label::Pkcs8) {
        return Err(ImportError::UnknownCipher);
    }
    let content = encrypted::decrypt_legacy(dek_info, &block.content, passphrase)?;
    plain(block.label, &content).map_err(wrong_passphrase)
}

fn plain(label: Label, der: &[u8]) -> Result<Material, ImportError> {
    match label {
        Label::Pkcs8 => pkcs8(der),
        Label::Pkcs1 => pkcs1(der),
        Label::Sec1 => sec1(der, None),
        Label::Spki => spki(der),
        Label::Pkcs1Public => pkcs1_public(der),
        Label::EncryptedPkcs8 | Label::OpenSsh => Err(ImportError::UnknownFormat),
    }
}

/// RFC 5958, section 3.
fn encrypted_pkcs8(der: &[u8], passphrase: Option<&Passphrase>) -> Result<Material, ImportError> {
    let content = encrypted::decrypt(der, passphrase)?;
    pkcs8(&content).map_err(wrong_passphrase)
}

/// What a wrong passphrase gives that passes for padded is not DER.
fn wrong_passphrase(error: ImportError) -> ImportError {
    match error {
        ImportError::Damaged(_) => ImportError::WrongPassphrase,
        other => other,
    }
}

/// RFC 5208, section 5, and RFC 5958, section 2.
fn pkcs8(der: &[u8]) -> Result<Material, ImportError> {
    let damaged = |_| ImportError::Damaged(Form::Pkcs8);
    let info = PrivateKeyInfo::from_der(der).map_err(damaged)?;
    match kind(&info.algorithm)? {
        KeyKind::Rsa => pkcs1(info.private_key),
        KeyKind::Ec(curve) => sec1(info.private_key, Some(curve)),
        KeyKind::Ed25519 => {
            // RFC 8410, section 7.
            let seed = OctetStringRef::from_der(info.private_key).map_err(damaged)?;
            points::ed25519_pair(seed.as_bytes(), info.public_key)
        }
    }
}

/// RFC 8017, appendix A.1.2.
fn pkcs1(der: &[u8]) -> Result<Material, ImportError> {
    let key = pkcs1::RsaPrivateKey::from_der(der).map_err(|_| ImportError::Damaged(Form::Pkcs1))?;
    if key.other_prime_infos.is_some() {
        return Err(ImportError::RsaMultiPrime);
    }
    rsa::pair(&rsa::Numbers {
        n: key.modulus.as_bytes(),
        e: key.public_exponent.as_bytes(),
        d: key.private_exponent.as_bytes(),
        p: key.prime1.as_bytes(),
        q: key.prime2.as_bytes(),
        crt: Some(rsa::Crt {
            dp: key.exponent1.as_bytes(),
            dq: key.exponent2.as_bytes(),
            qinv: key.coefficient.as_bytes(),
        }),
    })
}

/// RFC 8017, appendix A.1.1.
fn pkcs1_public(der: &[u8]) -> Result<Material, ImportError> {
    let key = pkcs1::RsaPublicKey::from_der(der).map_err(|_| ImportError::Damaged(Form::Pkcs1))?;
    rsa::public(key.modulus.as_bytes(), key.public_exponent.as_bytes())
}

/// RFC 5915, section 3. PKCS#8 names the curve around it.
fn sec1(der: &[u8], curve: Option<Curve>) -> Result<Material, ImportError> {
    let damaged = ImportError::Damaged(Form::Sec1);
    let key = sec1::EcPrivateKey::from_der(der).map_err(|_| damaged.clone())?;
    let named = match key.parameters.and_then(sec1::EcParameters::named_curve) {
        Some(oid) => Some(named_curve(oid)?),
        None => None,
    };
    let curve = match (named, curve) {
        (Some(named), Some(curve)) if named != curve => return Err(damaged),
        (named, curve) => named.or(curve).ok_or(damaged)?,
    };
    points::ec_pair(curve, key.private_key, key.public_key)
}

/// RFC 5280, section 4.1.2.7.
fn spki(der: &[u8]) -> Result<Material, ImportError> {
    let damaged = || ImportError::Damaged(Form::Spki);
    let info = SubjectPublicKeyInfoRef::from_der(der).map_err(|_| damaged())?;
    let key = info.subject_public_key.as_bytes().ok_or_else(damaged)?;
    match kind(&info.algorithm)? {
        KeyKind::Rsa => pkcs1_public(key),
        KeyKind::Ec(curve) => points::ec_public(curve, key),
        KeyKind::Ed25519 => points::ed25519_public(key),
    }
}

enum KeyKind {
    Rsa,
    Ec(Curve),
    Ed25519,
}

fn kind(algorithm: &AlgorithmIdentifierRef<'_>) -> Result<KeyKind, ImportError> {
    const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
    const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
    const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
    const KINDS: [(&str, &str); 13] = [
        ("1.2.840.113549.1.1.10", "RSASSA-PSS with parameters of its own"),
        ("1.2.840.10040.4.1", "DSA"),
        ("1.2.840.113549.1.3.1", "Diffie-Hellman"),
        ("1.2.840.10046.2.1", "Diffie-Hellman"),
        ("1.3.101.110", "X25519"),
        ("1.3.101.111", "X448"),
        ("1.3.101.113", "Ed448"),
        ("2.16.840.1.101.3.4.3.17", "ML-DSA"),
        ("2.16.840.1.101.3.4.3.18", "ML-DSA"),
        ("2.16.840.1.101.3.4.3.19", "ML-DSA"),
        ("2.16.840.1.101.3.4.4.1", "ML-KEM"),
        ("2.16.840.1.101.3.4.4.2", "ML-KEM"),
        ("2.16.840.1.101.3.4.4.3", "ML-KEM"),
    ];
    let oid = algorithm.oid;
    if oid == RSA {
        return Ok(KeyKind::Rsa);
    }
    if oid == EC {
        let explicit = |_| ImportError::UnknownCurve("a curve that is not named");
        return named_curve(algorithm.parameters_oid().map_err(explicit)?).map(KeyKind::Ec);
    }
    if oid == ED25519 {
        return Ok(KeyKind::Ed25519);
    }
    let known = KINDS.iter().find(|(known, _)| ObjectIdentifier::new(known) == Ok(oid));
    Err(ImportError::UnknownKind(known.map_or("a kind that is not known here", |(_, name)| name)))
}

/// RFC 5480, section 2.1.1.1.
fn named_curve(oid: ObjectIdentifier) -> Result<Curve, ImportError> {
    const CURVES: [(&str, &str); 7] = [
        ("1.3.132.0.10", "secp256k1"),
        ("1.3.132.0.33", "P-224"),
        ("1.2.840.10045.3.1.1", "P-192"),
        ("1.3.36.3.3.2.8.1.1.7", "brainpoolP256r1"),
        ("1.3.36.3.3.2.8.1.1.11", "brainpoolP384r1"),
        ("1.3.36.3.3.2.8.1.1.13", "brainpoolP512r1"),
        ("1.2.156.10197.1.301", "SM2"),
    ];
    for (curve, known) in [
        (Curve::P256, "1.2.840.10045.3.1.7"),
        (Curve::P384, "1.3.132.0.34"),
        (Curve::P521, "1.3.132.0.35"),
    ] {
        if ObjectIdentifier::new(known) == Ok(oid) {
            return Ok(curve);
        }
    }
    let known = CURVES.iter().find(|(known, _)| ObjectIdentifier::new(known) == Ok(oid));
    Err(ImportError::UnknownCurve(known.map_or("a curve that is not known here", |(_, name)| name)))
}
