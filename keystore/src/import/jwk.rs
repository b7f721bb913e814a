//! JWKs (RFC 7517), private and public; a JWK Set where it has one key.
//!
//! Own code, since jsonwebkey knows only RSA and P-256. Texts are borrowed from the file, so that
//! no copy of a secret is left behind.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use zeroize::Zeroizing;

use super::error::ImportError;
use super::{Imported, Material, points, rsa};
use crate::algorithm::{Algorithm, Curve};
use crate::id::KeyId;

#[derive(Deserialize)]
struct Jwk<'a> {
    #[serde(borrow)]
    kty: Option<&'a str>,
    #[serde(borrow)]
    keys: Option<Vec<&'a serde_json::value::RawValue>>,
    #[serde(rename = "use", borrow)]
    intended: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key_ops: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow)]
    alg: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    crv: Option<&'a str>,
    #[serde(borrow)]
    x: Option<&'a str>,
    #[serde(borrow)]
    y: Option<&'a str>,
    #[serde(borrow)]
    n: Option<&'a str>,
    #[serde(borrow)]
    e: Option<&'a str>,
    #[serde(borrow)]
    d: Option<&'a str>,
    #[serde(borrow)]
    p: Option<&'a str>,
    #[serde(borrow)]
    q: Option<&'a str>,
    #[serde(borrow)]
    dp: Option<&'a str>,
    #[serde(borrow)]
    dq: Option<&'a str>,
    #[serde(borrow)]
    qi: Option<&'a str>,
    oth: Option<IgnoredAny>,
}

/// The key of a JWK, or of a JWK Set with one.
pub(super) fn read(text: &str) -> Result<Imported, ImportError> {
    let jwk = parse(text)?;
    match &jwk.keys {
        None => key(&jwk),
        Some(keys) => match keys.as_slice() {
            [] => Err(ImportError::Empty),
            [only] => key(&parse(only.get())?),
            several => Err(ImportError::Several(several.len())),
        },
    }
}

fn parse(text: &str) -> Result<Jwk<'_>, ImportError> {
    // The words of serde_json name values, and one may be a secret.
    serde_json::from_str(text)
        .map_err(|error| ImportError::Json { line: error.line(), column: error.column() })
}

fn key(jwk: &Jwk<'_>) -> Result<Imported, ImportError> {
    let declared = declared(jwk)?;
    let kid = match jwk.kid.as_deref() {
        Some(kid) => Some(kid.parse::<KeyId>().map_err(|_| ImportError::JwkMember("kid"))?),
        None => None,
    };
    let material = match jwk.kty {
        Some("RSA") => rsa_key(jwk),
        Some("EC") => ec_key(jwk),
        Some("OKP") => okp_key(jwk),
        Some("oct") => Err(ImportError::UnknownKind("one symmetric secret")),
        Some("AKP") => Err(ImportError::UnknownKind("ML-DSA")),
        Some(_) | None => Err(ImportError::JwkMember("kty")),
    }?;
    let imported = Imported::checked(material)?;
    Ok(Imported { kid, declared, ..imported })
}

/// What it says it is for (RFC 7517, sections 4.2 to 4.4).
fn declared(jwk: &Jwk<'_>) -> Result<Option<&'static str>, ImportError> {
    if jwk.intended.as_deref().is_some_and(|intended| intended != "sig") {
        return Err(ImportError::NotForSigning("use"));
    }
    let signs = |operation: &Cow<'_, str>| matches!(operation.as_ref(), "sign" | "verify");
    if jwk.key_ops.as_deref().is_some_and(|operations| !operations.iter().any(signs)) {
        return Err(ImportError::NotForSigning("key_ops"));
    }
    match jwk.alg.as_deref() {
        None => Ok(None),
        // RFC 9864 gives EdDSA with Ed25519 this name.
        Some("Ed25519") => Ok(Some(Algorithm::EdDsa.jose_name())),
        Some(alg) => match Algorithm::names().into_iter().find(|name| *name == alg) {
            Some(name) => Ok(Some(name)),
            None => Err(ImportError::NotForSigning("alg")),
        },
    }
}

/// RFC 7518, section 6.3.
fn rsa_key(jwk: &Jwk<'_>) -> Result<Material, ImportError> {
    let (modulus, exponent) = (bytes("n", jwk.n)?, bytes("e", jwk.e)?);
    if [jwk.d, jwk.p, jwk.q, jwk.dp, jwk.dq, jwk.qi].iter().all(Option::is_none) {
        return rsa::public(&modulus, &exponent);
    }
    if jwk.oth.is_some() {
        return Err(ImportError::RsaMultiPrime);
    }
    let private = bytes("d", jwk.d)?;
    let primes = [bytes("p", jwk.p)?, bytes("q", jwk.q)?];
    let crt = match (jwk.dp, jwk.dq, jwk.qi) {
        (None, None, None) => None,
        (dp, dq, qi) => Some([bytes("dp", dp)?, bytes("dq", dq)?, bytes("qi", qi)?]),
    };
    rsa::pair(&rsa::Numbers {
        n: &modulus,
        e: &exponent,
        d: &private,
        p: &primes[0],
        q: &primes[1],
        crt: crt.as_ref().map(|[dp, dq, qinv]| rsa::Crt { dp, dq, qinv }),
    })
}

/// RFC 7518, section 6.2.
fn ec_key(jwk: &Jwk<'_>) -> Result<Material, ImportError> {
    let curve = match jwk.crv {
        Some("P-256") => Curve::P256,
        Some("P-384") => Curve::P384,
        Some("P-521") => Curve::P521,
        Some("secp256k1") => return Err(ImportError::UnknownCurve("secp256k1")),
        Some(_) => return Err(ImportError::UnknownCurve("a curve that is not known here")),
        None => return Err(ImportError::JwkMember("crv")),
    };
    let (x, y) = (bytes("x", jwk.x)?, bytes("y", jwk.y)?);
    for (name, coordinate) in [("x", &x), ("y", &y)] {
        if coordinate.len() != curve.coordinate_bytes() {
            return Err(ImportError::JwkMember(name));
        }
    }
    let point = [&[4], x.as_slice(), y.as_slice()].concat();
    match jwk.d {
        None => points::ec_public(curve, &point),
        Some(_) => points::ec_pair(curve, &bytes("d", jwk.d)?, Some(&point)),
    }
}

/// RFC 8037, section 2.
fn okp_key(jwk: &Jwk<'_>) -> Result<Material, ImportError> {
    match jwk.crv {
        Some("Ed25519") => (),
        Some("Ed448") => return Err(ImportError::UnknownKind("Ed448")),
        Some("X25519") => return Err(ImportError::UnknownKind("X25519")),
        Some("X448") => return Err(ImportError::UnknownKind("X448")),
        Some(_) | None => return Err(ImportError::JwkMember("crv")),
    }
    let x = bytes("x", jwk.x)?;
    match jwk.d {
        None => points::ed25519_public(&x),
        Some(_) => points::ed25519_pair(&bytes("d", jwk.d)?, Some(&x)),
    }
}

fn bytes(name: &'static str, text: Option<&str>) -> Result<Zeroizing<Vec<u8>>, ImportError> {
    let text = text.ok_or(ImportError::JwkMember(name))?;
    let mut bytes = Zeroizing::new(vec![0; text.len().div_ceil(4) * 3]);
    let length = BASE64_URL_SAFE_NO_PAD
        .decode_slice(text, &mut bytes)
        .map_err(|_| ImportError::JwkMember(name))?;
    if length == 0 {
        return Err(ImportError::JwkMember(name));
    }
    bytes.truncate(length);
    Ok(bytes)
}
