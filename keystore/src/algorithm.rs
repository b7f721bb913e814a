//! The signature algorithms that a key set can have: one closed enum.
//!
//! It names them and says what kind of key each takes. It does no cryptography.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A signature algorithm together with the size of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518, section 3.3).
    #[serde(rename = "RS256")]
    Rs256(RsaBits),
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    #[serde(rename = "RS384")]
    Rs384(RsaBits),
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    #[serde(rename = "RS512")]
    Rs512(RsaBits),
    /// RSASSA-PSS with SHA-256, and a salt as long as the hash (RFC 7518, section 3.5).
    #[serde(rename = "PS256")]
    Ps256(RsaBits),
    /// RSASSA-PSS with SHA-384.
    #[serde(rename = "PS384")]
    Ps384(RsaBits),
    /// RSASSA-PSS with SHA-512.
    #[serde(rename = "PS512")]
    Ps512(RsaBits),
    /// ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4).
    #[serde(rename = "ES256")]
    Es256,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ES384")]
    Es384,
    /// ECDSA on P-521 with SHA-512.
    #[serde(rename = "ES512")]
    Es512,
    /// Ed25519 (RFC 8037, section 3.1).
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ML-DSA-44, pure and with an empty context (RFC 9964, section 5).
    #[serde(rename = "ML-DSA-44")]
    MlDsa44,
    /// ML-DSA-65.
    #[serde(rename = "ML-DSA-65")]
    MlDsa65,
    /// ML-DSA-87.
    #[serde(rename = "ML-DSA-87")]
    MlDsa87,
}

/// What an algorithm consists of. Keys of RSA algorithms that differ only in the scheme look alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// How a message is hashed and padded, and the size of the key.
    Rsa(RsaScheme, RsaBits),
    /// ECDSA with the hash that JOSE ties to the curve.
    Ec(Curve),
    /// Ed25519.
    Ed25519,
    /// ML-DSA (FIPS 204).
    MlDsa(MlDsa),
}

/// How a message is hashed and padded before RSA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RsaScheme {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Pkcs1Sha256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Pkcs1Sha384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Pkcs1Sha512,
    /// RSASSA-PSS with SHA-256.
    PssSha256,
    /// RSASSA-PSS with SHA-384.
    PssSha384,
    /// RSASSA-PSS with SHA-512.
    PssSha512,
}

/// The size of an RSA modulus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RsaBits {
    /// 2048 bits: what every verifier takes.
    #[serde(rename = "2048")]
    B2048,
    /// 3072 bits.
    #[serde(rename = "3072")]
    B3072,
    /// 4096 bits.
    #[serde(rename = "4096")]
    B4096,
}

/// The `crv` of an elliptic-curve key (RFC 7518, section 6.2.1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Curve {
    /// NIST P-256.
    #[default]
    #[serde(rename = "P-256")]
    P256,
    /// NIST P-384.
    #[serde(rename = "P-384")]
    P384,
    /// NIST P-521.
    #[serde(rename = "P-521")]
    P521,
}

/// A parameter set of ML-DSA (FIPS 204, section 4): the `alg` of an AKP key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MlDsa {
    /// ML-DSA-44.
    #[serde(rename = "ML-DSA-44")]
    P44,
    /// ML-DSA-65.
    #[serde(rename = "ML-DSA-65")]
    P65,
    /// ML-DSA-87.
    #[serde(rename = "ML-DSA-87")]
    P87,
}

/// The `kty` of a JWK (RFC 7517, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// RFC 7518, section 6.3.
    Rsa,
    /// RFC 7518, section 6.2.
    Ec,
    /// RFC 8037, section 2.
    Okp,
    /// Algorithm key pair: RFC 9964, section 3.
    Akp,
}

impl Algorithm {
    /// Every algorithm, each RSA size counted as one of its own.
    pub const ALL: [Self; 25] = {
        use RsaBits::{B2048, B3072, B4096};
        [
            Self::Rs256(B2048),
            Self::Rs256(B3072),
            Self::Rs256(B4096),
            Self::Rs384(B2048),
            Self::Rs384(B3072),
            Self::Rs384(B4096),
            Self::Rs512(B2048),
            Self::Rs512(B3072),
            Self::Rs512(B4096),
            Self::Ps256(B2048),
            Self::Ps256(B3072),
            Self::Ps256(B4096),
            Self::Ps384(B2048),
            Self::Ps384(B3072),
            Self::Ps384(B4096),
            Self::Ps512(B2048),
            Self::Ps512(B3072),
            Self::Ps512(B4096),
            Self::Es256,
            Self::Es384,
            Self::Es512,
            Self::EdDsa,
            Self::MlDsa44,
            Self::MlDsa65,
            Self::MlDsa87,
        ]
    };

    /// The JOSE names, each once.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        let mut names = Self::ALL.map(Self::jose_name).to_vec();
        names.dedup();
        names
    }

    /// The algorithm of this JOSE name; one of RSA with keys of this size.
    #[must_use]
    pub fn named(name: &str, rsa_bits: RsaBits) -> Option<Self> {
        let has_size = |algorithm: &Self| match algorithm.family() {
            Family::Rsa(_, bits) => bits == rsa_bits,
            Family::Ec(_) | Family::Ed25519 | Family::MlDsa(_) => true,
        };
        Self::ALL.into_iter().filter(has_size).find(|algorithm| algorithm.jose_name() == name)
    }

    /// The name in the `alg` header and member (RFC 7518, section 3.1; RFC 8037, section 3.1;
    /// RFC 9964, section 5).
    #[must_use]
    pub const fn jose_name(self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Rs384(_) => "RS384",
            Self::Rs512(_) => "RS512",
            Self::Ps256(_) => "PS256",
            Self::Ps384(_) => "PS384",
            Self::Ps512(_) => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
            Self::MlDsa44 => MlDsa::P44.name(),
            Self::MlDsa65 => MlDsa::P65.name(),
            Self::MlDsa87 => MlDsa::P87.name(),
        }
    }

    /// What it consists of.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Rs256(bits) => Family::Rsa(RsaScheme::Pkcs1Sha256, bits),
            Self::Rs384(bits) => Family::Rsa(RsaScheme::Pkcs1Sha384, bits),
            Self::Rs512(bits) => Family::Rsa(RsaScheme::Pkcs1Sha512, bits),
            Self::Ps256(bits) => Family::Rsa(RsaScheme::PssSha256, bits),
            Self::Ps384(bits) => Family::Rsa(RsaScheme::PssSha384, bits),
            Self::Ps512(bits) => Family::Rsa(RsaScheme::PssSha512, bits),
            Self::Es256 => Family::Ec(Curve::P256),
            Self::Es384 => Family::Ec(Curve::P384),
            Self::Es512 => Family::Ec(Curve::P521),
            Self::EdDsa => Family::Ed25519,
            Self::MlDsa44 => Family::MlDsa(MlDsa::P44),
            Self::MlDsa65 => Family::MlDsa(MlDsa::P65),
            Self::MlDsa87 => Family::MlDsa(MlDsa::P87),
        }
    }

    /// The kind of key that the algorithm signs with.
    #[must_use]
    pub const fn key_type(self) -> KeyType {
        match self.family() {
            Family::Rsa(..) => KeyType::Rsa,
            Family::Ec(_) => KeyType::Ec,
            Family::Ed25519 => KeyType::Okp,
            Family::MlDsa(_) => KeyType::Akp,
        }
    }
}

impl fmt::Display for Algorithm {
    /// The JOSE name, for RSA with the size: `RS256-2048`. Sealed secrets are bound to this text,
    /// so it is of one algorithm and never changes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.jose_name())?;
        match self.family() {
            Family::Rsa(_, bits) => write!(f, "-{}", bits.as_u32()),
            Family::Ec(_) | Family::Ed25519 | Family::MlDsa(_) => Ok(()),
        }
    }
}

impl RsaBits {
    /// The number of bits.
    #[must_use]
    pub const fn as_u32(self) -> u32 {
        match self {
            Self::B2048 => 2048,
            Self::B3072 => 3072,
            Self::B4096 => 4096,
        }
    }

    /// The length of the modulus, and of a signature, in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        self.as_u32() as usize / 8
    }

    /// The size of that many bits, where jwksd makes keys of it.
    #[must_use]
    pub const fn from_u32(bits: u32) -> Option<Self> {
        match bits {
            2048 => Some(Self::B2048),
            3072 => Some(Self::B3072),
            4096 => Some(Self::B4096),
            _ => None,
        }
    }
}

impl Curve {
    /// The value of the `crv` member.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P256 => "P-256",
            Self::P384 => "P-384",
            Self::P521 => "P-521",
        }
    }

    /// The length of `x`, of `y`, and of half a signature in bytes (RFC 7518, section 3.4).
    #[must_use]
    pub const fn coordinate_bytes(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// Whether it is P-256, the curve of a stored key that names none.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(crate) fn is_p256(&self) -> bool {
        *self == Self::P256
    }
}

impl MlDsa {
    /// The value of the `alg` member.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::P44 => "ML-DSA-44",
            Self::P65 => "ML-DSA-65",
            Self::P87 => "ML-DSA-87",
        }
    }

    /// The length of a public key in bytes (FIPS 204, table 2).
    #[must_use]
    pub const fn public_bytes(self) -> usize {
        match self {
            Self::P44 => 1312,
            Self::P65 => 1952,
            Self::P87 => 2592,
        }
    }
}

impl KeyType {
    /// The value of the `kty` member.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ec => "EC",
            Self::Okp => "OKP",
            Self::Akp => "AKP",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_algorithm_and_size_has_a_name_and_a_stored_form_of_its_own() {
        let names: BTreeSet<String> = Algorithm::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(names.len(), Algorithm::ALL.len());
        for algorithm in Algorithm::ALL {
            let stored = serde_json::to_string(&algorithm).unwrap();
            assert_eq!(serde_json::from_str::<Algorithm>(&stored).unwrap(), algorithm, "{stored}");
        }
    }

    #[test]
    fn an_algorithm_is_found_by_its_jose_name_and_size() {
        for algorithm in Algorithm::ALL {
            let bits = match algorithm.family() {
                Family::Rsa(_, bits) => bits,
                Family::Ec(_) | Family::Ed25519 | Family::MlDsa(_) => RsaBits::B2048,
            };
            assert_eq!(Algorithm::named(algorithm.jose_name(), bits), Some(algorithm));
        }
        assert_eq!(Algorithm::named("HS256", RsaBits::B2048), None);
        assert_eq!(Algorithm::names().len(), 13);
    }
}
