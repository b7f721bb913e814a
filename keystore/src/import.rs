//! Key files that other programs wrote: read, checked, and brought into the form of generated keys.
//!
//! A pure parser: bytes in, a key or the reason out. It reads no file, asks for no passphrase and
//! stores nothing. Read are
//!
//! - private keys in PEM: PKCS#8 (also encrypted with PBES2), PKCS#1 and SEC1 (also with the
//!   `DEK-Info` of old), and OpenSSH's own format (also encrypted);
//! - public keys in PEM (`SubjectPublicKeyInfo`, PKCS#1), and OpenSSH's public line;
//! - JWKs, private and public (RFC 7517), or a JWK Set with one key;
//!
//! of RSA (2048, 3072, 4096 bits), P-256, P-384, P-521 and Ed25519.
//!
//! A key is taken only if its parts belong together, nothing known makes it weak, and what it signs
//! verifies. An [`ImportError`] says what is wrong and holds nothing of the file. Whatever held a
//! part of a secret on the way is wiped. A file cannot make this run for long: what may be spent on
//! a passphrase is bounded.

mod encrypted;
mod error;
#[cfg(test)]
mod faults;
mod jwk;
mod openssh;
mod pem;
mod pkcs;
mod points;
mod rsa;
#[cfg(test)]
mod vectors;

use std::fmt;

use zeroize::Zeroizing;

pub use self::error::{ExponentFault, Form, ImportError, PemFault};
use crate::algorithm::{Algorithm, Curve, RsaBits};
use crate::crypto::{self, stack};
use crate::id::KeyId;
use crate::jwk::{PublicJwk, PublicKey, Thumbprint};
use crate::key::KeyPair;
use crate::second_opinion;

/// How long a key file may be in bytes. An RSA key of 16384 bits takes 13,000.
pub const FILE_LIMIT: usize = 65_536;

/// What a key file is encrypted with. Its bytes are wiped on drop, and nothing prints them.
pub struct Passphrase(Zeroizing<Vec<u8>>);

/// A key that was read and checked.
pub struct Imported {
    material: Material,
    kind: Kind,
    kid: Option<KeyId>,
    declared: Option<&'static str>,
}

/// What a file held of a key.
pub enum Material {
    /// Both halves, as if the key had been generated.
    Pair(KeyPair),
    /// The public half alone.
    Public(PublicKey),
}

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RSA with a modulus of that size.
    Rsa(RsaBits),
    /// On that curve.
    Ec(Curve),
    /// Ed25519.
    Ed25519,
}

/// Reads a key file. The passphrase counts only where the file is encrypted.
///
/// # Errors
///
/// Says what is wrong with the file or the key, in words that hold nothing of it.
pub fn read(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Imported, ImportError> {
    stack::wiped(|| read_text(bytes, passphrase))
}

fn read_text(bytes: &[u8], passphrase: Option<&Passphrase>) -> Result<Imported, ImportError> {
    let text = text(bytes)?;
    if text.starts_with('{') {
        return jwk::read(text);
    }
    refuse_known_formats(text)?;
    let material = match pem::only_key(text)? {
        Some(block) => pkcs::read(&block, passphrase)?,
        None => openssh::read_public(text)?,
    };
    Imported::checked(material)
}

impl Passphrase {
    /// Takes the bytes over, all of them: a line break at the end would be a part of it.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl Imported {
    /// A key of which nothing is known but itself, once what it signs verifies.
    fn checked(material: Material) -> Result<Self, ImportError> {
        let kind = Kind::of(material.public())?;
        if let Material::Pair(pair) = &material {
            let jwk = PublicJwk {
                kid: pair.thumbprint.clone().into(),
                algorithm: kind.probe(),
                public: pair.public.clone(),
            };
            second_opinion::check(pair, &jwk)?;
        }
        Ok(Self { material, kind, kid: None, declared: None })
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        self.material.public()
    }

    /// The `kid` that its JWK has.
    #[must_use]
    pub fn kid(&self) -> Option<&KeyId> {
        self.kid.as_ref()
    }

    /// Whether a key set with `algorithm` can have it.
    ///
    /// # Errors
    ///
    /// [`ImportError::Misfit`] for a key of another kind, [`ImportError::OtherAlgorithm`] where its
    /// JWK says that it is for another algorithm.
    pub fn fits(&self, algorithm: Algorithm) -> Result<(), ImportError> {
        if !self.public().fits(algorithm) {
            return Err(ImportError::Misfit { kind: self.kind, wanted: algorithm });
        }
        match self.declared {
            Some(declared) if declared != algorithm.jose_name() => {
                Err(ImportError::OtherAlgorithm { declared, wanted: algorithm })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The algorithm with which a key set with `wanted` can serve it for verifiers alone: the same by
    /// its JOSE name, of RSA with keys of its own size.
    ///
    /// # Errors
    ///
    /// As [`Imported::fits`].
    pub fn verifies(&self, wanted: Algorithm) -> Result<Algorithm, ImportError> {
        let own = match self.kind {
            Kind::Rsa(bits) => Algorithm::named(wanted.jose_name(), bits).unwrap_or(wanted),
            Kind::Ec(_) | Kind::Ed25519 => wanted,
        };
        self.fits(own)?;
        Ok(own)
    }

    /// The RFC 7638 thumbprint of its public half.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        crypto::thumbprint(self.public())
    }

    /// Both halves, which stay here.
    ///
    /// # Errors
    ///
    /// [`ImportError::PublicOnly`].
    pub fn pair(&self) -> Result<&KeyPair, ImportError> {
        match &self.material {
            Material::Pair(pair) => Ok(pair),
            Material::Public(_) => Err(ImportError::PublicOnly),
        }
    }

    /// The same without its private half, which is wiped.
    #[must_use]
    pub fn without_secret(self) -> Self {
        Self { material: Material::Public(self.public().clone()), ..self }
    }

    /// What the file held.
    #[must_use]
    pub fn into_material(self) -> Material {
        self.material
    }

    /// Both halves.
    ///
    /// # Errors
    ///
    /// [`ImportError::PublicOnly`].
    pub fn into_pair(self) -> Result<KeyPair, ImportError> {
        match self.material {
            Material::Pair(pair) => Ok(pair),
            Material::Public(_) => Err(ImportError::PublicOnly),
        }
    }
}

impl Material {
    /// The public half.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        match self {
            Self::Pair(pair) => &pair.public,
            Self::Public(public) => public,
        }
    }
}

impl Kind {
    fn of(public: &PublicKey) -> Result<Self, ImportError> {
        match public {
            PublicKey::Rsa { n, .. } => rsa::size(n).map(Self::Rsa),
            PublicKey::Ec { crv, .. } => Ok(Self::Ec(*crv)),
            PublicKey::Ed25519 { .. } => Ok(Self::Ed25519),
            PublicKey::Akp { .. } => Err(ImportError::UnknownKind("ML-DSA")),
        }
    }

    /// An algorithm to try a key of this kind with.
    fn probe(self) -> Algorithm {
        match self {
            Self::Rsa(bits) => Algorithm::Rs256(bits),
            Self::Ec(Curve::P256) => Algorithm::Es256,
            Self::Ec(Curve::P384) => Algorithm::Es384,
            Self::Ec(Curve::P521) => Algorithm::Es512,
            Self::Ed25519 => Algorithm::EdDsa,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA of {} bits", bits.as_u32()),
            Self::Ec(curve) => write!(f, "on {}", curve.name()),
            Self::Ed25519 => f.write_str("Ed25519"),
        }
    }
}

/// The text of a file, without what is around it.
fn text(bytes: &[u8]) -> Result<&str, ImportError> {
    const JAVA_KEY_STORES: [[u8; 4]; 2] = [[0xFE, 0xED, 0xFE, 0xED], [0xCE, 0xCE, 0xCE, 0xCE]];
    const UTF8_MARK: char = '\u{FEFF}';
    if bytes.len() > FILE_LIMIT {
        return Err(ImportError::TooLarge { bytes: bytes.len(), limit: FILE_LIMIT });
    }
    if JAVA_KEY_STORES.iter().any(|magic| bytes.starts_with(magic)) {
        return Err(ImportError::JavaKeyStore);
    }
    if is_pkcs12(bytes) {
        return Err(ImportError::Pkcs12);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| ImportError::NotText)?;
    if text.contains('\0') {
        return Err(ImportError::NotText);
    }
    let text = text.trim_start_matches(UTF8_MARK).trim();
    if text.is_empty() { Err(ImportError::Empty) } else { Ok(text) }
}

/// Whether it begins as a `PFX` (RFC 7292, section 4): a sequence that begins with version 3.
fn is_pkcs12(bytes: &[u8]) -> bool {
    let [0x30, length, rest @ ..] = bytes else {
        return false;
    };
    let length_bytes = if *length > 0x80 { usize::from(*length & 0x7F) } else { 0 };
    rest.get(length_bytes..).is_some_and(|body| body.starts_with(&[2, 1, 3]))
}

fn refuse_known_formats(text: &str) -> Result<(), ImportError> {
    if text.starts_with("PuTTY-User-Key-File-") {
        return Err(ImportError::Putty);
    }
    if text.starts_with("pkcs11:") {
        return Err(ImportError::Hardware);
    }
    Ok(())
}
