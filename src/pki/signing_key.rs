//! A signing key's certificate by itself, and its request for one by a CA.
//!
//! The key signs where it is, in the key store; what a certificate says is decided here. It is the
//! one part of [`super`] that the daemon uses.

use std::time::Duration;

use jwksd_keystore::algorithm::{Algorithm, Curve, Family, MlDsa, RsaScheme};
use jwksd_keystore::export::{self, ExportError};
use jwksd_keystore::jwk::PublicJwk;
use jwksd_keystore::ring::Signer;
use jwksd_keystore::time::Time;
use rcgen::{CertificateParams, IsCa, KeyUsagePurpose, SignatureAlgorithm};

use super::names::Subject;
use super::{BACKDATED, PkiError, params, whole_seconds};

/// The longest that a key's certificate of itself is valid, in days.
pub const MAX_DAYS: u32 = 3650;

/// A key that signs certificates, as `rcgen` wants it.
pub struct SigningKey<'a> {
    signer: &'a Signer,
    public: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl<'a> SigningKey<'a> {
    /// The key `signer`, whose public half is `published`.
    ///
    /// # Errors
    ///
    /// [`ExportError`].
    pub fn new(signer: &'a Signer, published: &PublicJwk) -> Result<Self, ExportError> {
        let public = export::subject_public_key(&published.public)?;
        Ok(Self { signer, public, algorithm: named(published.algorithm) })
    }

    /// A certificate (RFC 5280) of the key by itself, in PEM, for `lifetime` from `now` on. It
    /// begins a little earlier, for clocks that are behind, but not before the key was `published`.
    ///
    /// # Errors
    ///
    /// [`PkiError`].
    pub fn certificate(
        &self,
        subject: &Subject,
        published: Time,
        lifetime: Duration,
        now: Time,
    ) -> Result<String, PkiError> {
        let begins = now.before(BACKDATED).max(published);
        let params = params(subject.as_str(), begins, whole_seconds(now + lifetime))?;
        Ok(for_signatures(params).self_signed(self)?.pem())
    }

    /// A request for a certificate (RFC 2986), in PEM.
    ///
    /// # Errors
    ///
    /// [`PkiError`].
    pub fn request(&self, subject: &Subject) -> Result<String, PkiError> {
        let mut params = params(subject.as_str(), Time::EPOCH, Time::EPOCH)?;
        // That and the times are for the CA to say.
        params.serial_number = None;
        Ok(for_signatures(params).serialize_request(self)?.pem()?)
    }
}

fn for_signatures(mut params: CertificateParams) -> CertificateParams {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

impl rcgen::PublicKeyData for SigningKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}

impl rcgen::SigningKey for SigningKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.signer.certify(message).map_err(|error| {
            tracing::error!(kid = %self.signer.kid(), %error, "a key could not sign a certificate");
            rcgen::Error::RemoteKeyError
        })
    }
}

/// What [`Signer::certify`] signs with.
fn named(algorithm: Algorithm) -> &'static SignatureAlgorithm {
    match algorithm.family() {
        Family::Rsa(RsaScheme::Pkcs1Sha256 | RsaScheme::PssSha256, _) => &rcgen::PKCS_RSA_SHA256,
        Family::Rsa(RsaScheme::Pkcs1Sha384 | RsaScheme::PssSha384, _) => &rcgen::PKCS_RSA_SHA384,
        Family::Rsa(RsaScheme::Pkcs1Sha512 | RsaScheme::PssSha512, _) => &rcgen::PKCS_RSA_SHA512,
        Family::Ec(Curve::P256) => &rcgen::PKCS_ECDSA_P256_SHA256,
        Family::Ec(Curve::P384) => &rcgen::PKCS_ECDSA_P384_SHA384,
        Family::Ec(Curve::P521) => &rcgen::PKCS_ECDSA_P521_SHA512,
        Family::Ed25519 => &rcgen::PKCS_ED25519,
        Family::MlDsa(MlDsa::P44) => &rcgen::PKCS_ML_DSA_44,
        Family::MlDsa(MlDsa::P65) => &rcgen::PKCS_ML_DSA_65,
        Family::MlDsa(MlDsa::P87) => &rcgen::PKCS_ML_DSA_87,
    }
}
