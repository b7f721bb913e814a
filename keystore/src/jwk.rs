//! Public keys as JWKs: types that cannot hold a private half.
//!
//! Every JWK has exactly `kty use alg kid` and its public members, in this order. More members,
//! such as `key_ops` or `x5c`, make some verifiers refuse the key or the whole set.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::algorithm::Algorithm;
use crate::id::KeyId;

/// The public members of a key, as raw big-endian bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kty")]
pub enum PublicKey {
    /// RFC 7518, section 6.3.1.
    #[serde(rename = "RSA")]
    Rsa {
        /// The modulus, without leading zeros.
        #[serde(with = "base64url")]
        n: Vec<u8>,
        /// The exponent, without leading zeros.
        #[serde(with = "base64url")]
        e: Vec<u8>,
    },
    /// A point on P-256: RFC 7518, section 6.2.1.
    #[serde(rename = "EC")]
    P256 {
        /// 32 bytes.
        #[serde(with = "base64url")]
        x: Vec<u8>,
        /// 32 bytes.
        #[serde(with = "base64url")]
        y: Vec<u8>,
    },
    /// RFC 8037, section 2.
    #[serde(rename = "OKP")]
    Ed25519 {
        /// 32 bytes.
        #[serde(with = "base64url")]
        x: Vec<u8>,
    },
}

/// A published key (RFC 7517, section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicJwk {
    /// Its `kid`.
    pub kid: KeyId,
    /// Its `alg`.
    pub algorithm: Algorithm,
    /// Its public members.
    pub public: PublicKey,
}

/// A JWK Set (RFC 7517, section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JwkSet {
    /// The keys, in the order of their numbers.
    pub keys: Vec<PublicJwk>,
}

/// An RFC 7638 thumbprint with SHA-256, as base64url text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Thumbprint(String);

impl PublicKey {
    /// The members in the lexicographic order of RFC 7638, section 3: the input of the thumbprint.
    #[must_use]
    pub fn thumbprint_input(&self) -> String {
        match self {
            Self::Rsa { n, e } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n))
            }
            Self::P256 { x, y } => {
                let (x, y) = (encode(x), encode(y));
                format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            Self::Ed25519 { x } => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x))
            }
        }
    }
}

impl Serialize for PublicJwk {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut members = out.serialize_map(None)?;
        members.serialize_entry("kty", self.algorithm.key_type().name())?;
        members.serialize_entry("use", "sig")?;
        members.serialize_entry("alg", self.algorithm.jose_name())?;
        members.serialize_entry("kid", self.kid.as_str())?;
        match &self.public {
            PublicKey::Rsa { n, e } => {
                members.serialize_entry("n", &encode(n))?;
                members.serialize_entry("e", &encode(e))?;
            }
            PublicKey::P256 { x, y } => {
                members.serialize_entry("crv", "P-256")?;
                members.serialize_entry("x", &encode(x))?;
                members.serialize_entry("y", &encode(y))?;
            }
            PublicKey::Ed25519 { x } => {
                members.serialize_entry("crv", "Ed25519")?;
                members.serialize_entry("x", &encode(x))?;
            }
        }
        members.end()
    }
}

impl Thumbprint {
    /// The thumbprint whose SHA-256 digest is `digest`.
    #[must_use]
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        Self(encode(digest))
    }

    /// As base64url text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Thumbprint> for KeyId {
    fn from(thumbprint: Thumbprint) -> Self {
        // 43 characters of base64url are always a kid.
        Self::try_from(thumbprint.0).unwrap_or_else(|_| unreachable!("base64url is a kid"))
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Bytes as base64url text without padding (RFC 7515, section 2).
pub(crate) mod base64url {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&BASE64_URL_SAFE_NO_PAD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(input)?;
        BASE64_URL_SAFE_NO_PAD.decode(text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jwk_has_exactly_the_members_that_every_verifier_takes() {
        let jwk = PublicJwk {
            kid: "k1".parse().unwrap(),
            algorithm: Algorithm::Es256,
            public: PublicKey::P256 { x: vec![1; 32], y: vec![2; 32] },
        };
        let one = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE";
        let two = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI";
        assert_eq!(
            serde_json::to_string(&JwkSet { keys: vec![jwk] }).unwrap(),
            format!(
                r#"{{"keys":[{{"kty":"EC","use":"sig","alg":"ES256","kid":"k1","crv":"P-256","x":"{one}","y":"{two}"}}]}}"#
            )
        );
    }
}
