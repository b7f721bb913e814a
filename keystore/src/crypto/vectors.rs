//! What the RFCs give as examples, in `vectors.json`: keys, thumbprints and signatures.
//!
//! RFC 7520 stands in for RSASSA-PSS, of which RFC 7515 has no example.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::{SigningKey, thumbprint, verify};
use crate::algorithm::{Algorithm, Family, MlDsa, RsaBits};
use crate::jwk::PublicKey;
use crate::key::Secret;

#[derive(Deserialize)]
struct Vector {
    source: String,
    alg: String,
    jwk: Value,
    thumbprint: Option<String>,
    jws: Option<String>,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn decode(text: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()
}

impl Vector {
    fn algorithm(&self) -> Algorithm {
        Algorithm::named(&self.alg, RsaBits::B2048).unwrap()
    }

    fn public(&self) -> PublicKey {
        serde_json::from_value(self.jwk.clone()).unwrap()
    }

    fn member(&self, name: &str) -> Option<Vec<u8>> {
        self.jwk[name].as_str().map(decode)
    }

    /// What is signed, and the signature.
    fn signed(&self) -> Option<(&str, Vec<u8>)> {
        let (signed, signature) = self.jws.as_deref()?.rsplit_once('.').unwrap();
        Some((signed, decode(signature)))
    }

    /// The private half as PKCS#8, where the vector has one.
    fn secret(&self) -> Option<Secret> {
        let pkcs8 = match self.algorithm().family() {
            Family::Rsa(..) => rsa_pkcs8(|name| self.member(name))?,
            Family::Ec(_) => return None,
            Family::Ed25519 => pkcs8(&[0x2b, 0x65, 0x70], 0x04, &self.member("d")?),
            Family::MlDsa(parameters) => {
                let last = match parameters {
                    MlDsa::P44 => 0x11,
                    MlDsa::P65 => 0x12,
                    MlDsa::P87 => 0x13,
                };
                let oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, last];
                pkcs8(&oid, 0x80, &self.member("priv")?)
            }
        };
        Some(Secret::new(Zeroizing::new(pkcs8)))
    }
}

fn rsa_pkcs8(member: impl Fn(&str) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    use rsa::pkcs8::EncodePrivateKey;
    let number = |name: &str| member(name).map(|bytes| rsa::BigUint::from_bytes_be(&bytes));
    let primes = vec![number("p")?, number("q")?];
    let key = rsa::RsaPrivateKey::from_components(number("n")?, number("e")?, number("d")?, primes);
    Some(key.unwrap().to_pkcs8_der().unwrap().as_bytes().to_vec())
}

/// PKCS#8 v1 of a key that is `seed` (RFC 8410, section 7; RFC 9881, section 6).
fn pkcs8(oid: &[u8], tag: u8, seed: &[u8]) -> Vec<u8> {
    let der =
        |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap()], content].concat();
    let version = der(0x02, &[0]);
    let algorithm = der(0x30, &der(0x06, oid));
    let key = der(0x04, &der(tag, seed));
    der(0x30, &[version, algorithm, key].concat())
}

#[test]
fn the_public_keys_of_the_rfcs_are_parsed() {
    for vector in vectors() {
        assert!(vector.public().fits(vector.algorithm()), "{}", vector.source);
    }
}

#[test]
fn the_thumbprints_are_those_of_the_rfcs() {
    let given = vectors().into_iter().filter(|vector| vector.thumbprint.is_some());
    let checked = given.map(|vector| {
        let found = thumbprint(&vector.public());
        assert_eq!(Some(found.as_str()), vector.thumbprint.as_deref(), "{}", vector.source);
    });
    // RFC 7638, RFC 8037, and three of RFC 9964.
    assert_eq!(checked.count(), 5);
}

#[test]
fn the_signatures_of_the_rfcs_verify() {
    for vector in vectors() {
        let (algorithm, public) = (vector.algorithm(), vector.public());
        let Some((signed, signature)) = vector.signed() else { continue };
        let verified = verify(algorithm, &public, signed.as_bytes(), &signature);
        assert_eq!(verified, Ok(()), "{algorithm} of {}", vector.source);
        let other = format!("{signed}A");
        let verified = verify(algorithm, &public, other.as_bytes(), &signature);
        assert!(verified.is_err(), "{algorithm} of {}", vector.source);
    }
}

#[test]
fn the_private_keys_of_the_rfcs_have_their_public_halves() {
    let mut opened = Vec::new();
    for vector in vectors() {
        let Some(secret) = vector.secret() else { continue };
        let key = SigningKey::new(vector.algorithm(), &secret).unwrap();
        assert_eq!(key.public_key(), vector.public(), "{}", vector.source);
        opened.push(vector.alg);
    }
    assert_eq!(opened, ["RS256", "EdDSA", "ML-DSA-44", "ML-DSA-65", "ML-DSA-87"]);
}

#[test]
fn the_signatures_that_cannot_vary_are_made_again() {
    for vector in vectors() {
        let is_unique = matches!(vector.algorithm(), Algorithm::Rs256(_) | Algorithm::EdDsa);
        if let (true, Some(secret), Some((signed, signature))) =
            (is_unique, vector.secret(), vector.signed())
        {
            let key = SigningKey::new(vector.algorithm(), &secret).unwrap();
            assert_eq!(key.sign(signed.as_bytes()).unwrap(), signature, "{}", vector.source);
        }
    }
}
