//! Public keys as JWKs: types that cannot hold a private half.
//!
//! Every JWK has exactly `kty use alg kid` and its public members, in this order. More members,
//! such as `key_ops` or `x5c`, make some verifiers refuse the key or the whole set.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::algorithm::{Algorithm, Curve, Family, MlDsa};
use crate::id::KeyId;

/// How long a JWK Set may be in bytes: nimbus-jose-jwt, the strictest of the verifiers that were
/// measured, reads no more.
pub const JWK_SET_LIMIT: usize = 51_200;

/// The public members of a key, as raw bytes; numbers are big-endian.
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
    /// A point on a curve: RFC 7518, section 6.2.1.
    #[serde(rename = "EC")]
    Ec {
        /// The curve. A key that is stored without one is of P-256, once the only curve.
        #[serde(default, skip_serializing_if = "Curve::is_p256")]
        crv: Curve,
        /// As long as the curve says.
        #[serde(with = "base64url")]
        x: Vec<u8>,
        /// As long as the curve says.
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
    /// RFC 9964, section 3.
    #[serde(rename = "AKP")]
    Akp {
        /// The algorithm, which is a part of the key.
        alg: MlDsa,
        /// As long as the algorithm says.
        #[serde(rename = "pub", with = "base64url")]
        public: Vec<u8>,
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
            Self::Ec { crv, x, y } => {
                let (crv, x, y) = (crv.name(), encode(x), encode(y));
                format!(r#"{{"crv":"{crv}","kty":"EC","x":"{x}","y":"{y}"}}"#)
            }
            Self::Ed25519 { x } => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x))
            }
            Self::Akp { alg, public } => {
                let (alg, public) = (alg.name(), encode(public));
                format!(r#"{{"alg":"{alg}","kty":"AKP","pub":"{public}"}}"#)
            }
        }
    }

    /// Whether it is a key for `algorithm`: of its type and curve, with members of its lengths.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        match (self, algorithm.family()) {
            (Self::Rsa { n, .. }, Family::Rsa(_, bits)) => n.len() == bits.bytes(),
            (Self::Ec { crv, x, y }, Family::Ec(curve)) => {
                *crv == curve && [x, y].iter().all(|n| n.len() == curve.coordinate_bytes())
            }
            (Self::Ed25519 { x }, Family::Ed25519) => x.len() == 32,
            (Self::Akp { alg, public }, Family::MlDsa(parameters)) => {
                *alg == parameters && public.len() == parameters.public_bytes()
            }
            (Self::Rsa { .. } | Self::Ec { .. } | Self::Ed25519 { .. } | Self::Akp { .. }, _) => {
                false
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
            PublicKey::Ec { crv, x, y } => {
                members.serialize_entry("crv", crv.name())?;
                members.serialize_entry("x", &encode(x))?;
                members.serialize_entry("y", &encode(y))?;
            }
            PublicKey::Ed25519 { x } => {
                members.serialize_entry("crv", "Ed25519")?;
                members.serialize_entry("x", &encode(x))?;
            }
            // Its `alg` stands above: that of the algorithm.
            PublicKey::Akp { public, .. } => members.serialize_entry("pub", &encode(public))?,
        }
        members.end()
    }
}

impl PublicJwk {
    /// The length of the JWK of a key for `algorithm` in bytes, where its kid is a thumbprint.
    #[must_use]
    pub fn length(algorithm: Algorithm) -> usize {
        const FRAME: &str = r#"{"kty":"","use":"sig","alg":"","kid":""}"#;
        let base64url = |bytes: usize| (bytes * 4).div_ceil(3);
        let member = |name: &str, value: usize| r#","":"""#.len() + name.len() + value;
        let members = match algorithm.family() {
            // 65537 takes three bytes.
            Family::Rsa(_, bits) => {
                member("n", base64url(bits.bytes())) + member("e", base64url(3))
            }
            Family::Ec(curve) => {
                let coordinate = base64url(curve.coordinate_bytes());
                member("crv", curve.name().len()) + 2 * member("x", coordinate)
            }
            Family::Ed25519 => member("crv", "Ed25519".len()) + member("x", base64url(32)),
            Family::MlDsa(parameters) => member("pub", base64url(parameters.public_bytes())),
        };
        let names = algorithm.key_type().name().len() + algorithm.jose_name().len();
        FRAME.len() + names + base64url(32) + members
    }
}

impl JwkSet {
    /// The length of a set of `keys` such JWKs in bytes.
    #[must_use]
    pub fn length(algorithm: Algorithm, keys: usize) -> usize {
        // One comma fewer than keys.
        r#"{"keys":[]}"#.len() + keys * (PublicJwk::length(algorithm) + 1) - keys.min(1)
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
    use crate::crypto::samples;
    use crate::facts::{Checked, LIVE_KIDS_LIMIT};

    #[test]
    fn a_jwk_has_exactly_the_members_that_every_verifier_takes() {
        let jwk = PublicJwk {
            kid: "k1".parse().unwrap(),
            algorithm: Algorithm::Es256,
            public: PublicKey::Ec { crv: Curve::P256, x: vec![1; 32], y: vec![2; 32] },
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

    #[test]
    fn an_akp_jwk_has_its_algorithm_once() {
        let jwk = PublicJwk {
            kid: "k1".parse().unwrap(),
            algorithm: Algorithm::MlDsa44,
            public: PublicKey::Akp { alg: MlDsa::P44, public: vec![1, 2, 3] },
        };
        assert_eq!(
            serde_json::to_string(&jwk).unwrap(),
            r#"{"kty":"AKP","use":"sig","alg":"ML-DSA-44","kid":"k1","pub":"AQID"}"#
        );
    }

    #[test]
    fn the_length_of_a_set_is_known_before_its_keys_are_made() {
        for algorithm in Algorithm::ALL {
            let pair = samples::pair(algorithm);
            let kid = pair.thumbprint.into();
            let jwk = PublicJwk { kid, algorithm, public: pair.public };
            for keys in [0, 1, 7] {
                let set = serde_json::to_vec(&JwkSet { keys: vec![jwk.clone(); keys] }).unwrap();
                assert_eq!(set.len(), JwkSet::length(algorithm, keys), "{keys} of {algorithm}");
            }
        }
    }

    #[test]
    fn no_schedule_that_is_allowed_publishes_more_than_verifiers_read() {
        let densest = Checked { smallest_gap: None, live_kids: LIVE_KIDS_LIMIT };
        for algorithm in Algorithm::ALL {
            let length = JwkSet::length(algorithm, densest.published_keys() as usize);
            assert!(length <= JWK_SET_LIMIT, "{algorithm}: {length} bytes");
        }
    }

    #[test]
    fn a_key_of_another_length_fits_nothing() {
        for algorithm in Algorithm::ALL {
            let mut public = samples::pair(algorithm).public;
            match &mut public {
                PublicKey::Rsa { n: bytes, .. }
                | PublicKey::Ec { y: bytes, .. }
                | PublicKey::Ed25519 { x: bytes }
                | PublicKey::Akp { public: bytes, .. } => bytes.push(0),
            }
            assert!(!Algorithm::ALL.iter().any(|&any| public.fits(any)), "{algorithm}");
        }
    }

    #[test]
    fn a_key_fits_its_own_algorithm_and_those_with_keys_alike() {
        for made_for in Algorithm::ALL {
            let public = samples::pair(made_for).public;
            for algorithm in Algorithm::ALL {
                let alike = samples::keys_are_alike(made_for, algorithm);
                assert_eq!(public.fits(algorithm), alike, "{made_for} as {algorithm}");
            }
        }
    }
}
