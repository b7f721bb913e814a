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
    /// ECDSA on P-256 with SHA-256 (RFC 7518, section 3.4).
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519 (RFC 8037, section 3.1).
    #[serde(rename = "EdDSA")]
    EdDsa,
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

/// The `kty` of a JWK (RFC 7517, section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// RFC 7518, section 6.3.
    Rsa,
    /// RFC 7518, section 6.2.
    Ec,
    /// RFC 8037, section 2.
    Okp,
}

impl Algorithm {
    /// Every algorithm, each RSA size counted as one of its own.
    pub const ALL: [Self; 5] = [
        Self::Rs256(RsaBits::B2048),
        Self::Rs256(RsaBits::B3072),
        Self::Rs256(RsaBits::B4096),
        Self::Es256,
        Self::EdDsa,
    ];

    /// The name in the `alg` header and member (RFC 7518, section 3.1).
    #[must_use]
    pub const fn jose_name(self) -> &'static str {
        match self {
            Self::Rs256(_) => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The kind of key that the algorithm signs with.
    #[must_use]
    pub const fn key_type(self) -> KeyType {
        match self {
            Self::Rs256(_) => KeyType::Rsa,
            Self::Es256 => KeyType::Ec,
            Self::EdDsa => KeyType::Okp,
        }
    }
}

impl fmt::Display for Algorithm {
    /// The JOSE name, for RSA with the size: `RS256-2048`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rs256(bits) => write!(f, "RS256-{}", bits.as_u32()),
            Self::Es256 | Self::EdDsa => f.write_str(self.jose_name()),
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

impl KeyType {
    /// The value of the `kty` member.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::Ec => "EC",
            Self::Okp => "OKP",
        }
    }
}
