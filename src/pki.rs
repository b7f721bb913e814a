//! A development CA (RFC 5280): its own certificate, and those of servers and clients.
//!
//! Keys are P-256, in PKCS #8 version 1 (RFC 5208), which every OpenSSL reads. There is no
//! revocation and no renewal: whoever needs them needs another CA. What names may be in a
//! certificate is in [`names`]; what becomes of the files is in [`files`]. What certificates of signing
//! keys say is in [`signing_key`].

pub mod files;
pub mod names;
pub mod signing_key;

use std::time::Duration;

use jwksd_keystore::crypto::{self, CryptoError};
use jwksd_keystore::time::Time;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use zeroize::Zeroizing;

use self::names::{CaName, CertificateName, ServerName};
use crate::san::San;
use crate::tls::{Standing, Validity};

/// How far back a certificate begins, for clocks that are behind.
const BACKDATED: Duration = Duration::from_mins(5);

/// A certificate could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    /// There was no randomness.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
    /// The key or the certificate could not be made.
    #[error("cannot make the certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// Why a CA cannot issue. No variant says what its key file holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// The file is not one certificate in PEM.
    #[error("the CA's certificate is not one certificate in PEM")]
    NotACertificate,
    /// It is a certificate, but not one that may issue others.
    #[error("the certificate is not that of a CA: it may not sign certificates")]
    NotACa,
    /// Another CA stands above it, whose certificate servers would have to send as well.
    #[error("the CA was not signed by itself: have certificates issued where its own CA is kept")]
    NotItsOwn,
    /// It is too late.
    #[error("the CA expired at {0}: make another in a new folder, and issue everything anew")]
    Expired(Time),
    /// It is too early.
    #[error("the CA is not valid before {0}: is the clock wrong?")]
    NotYet(Time),
    /// The key is not a key in PEM.
    #[error("the CA's key is not a private key in PEM")]
    NotAKey,
    /// The key belongs to another certificate.
    #[error("the CA's key does not belong to its certificate")]
    OtherKey,
}

/// A certificate and its key, as they go into files.
pub struct Issued {
    /// The certificate in PEM, without the CA's, which those who trust it have.
    pub certificate: String,
    /// The key in PEM: PKCS #8.
    pub key: Zeroizing<String>,
    /// The last second in which the certificate is valid.
    pub expires_at: Time,
    /// Whether it is valid for as long as was asked.
    pub lifetime: Lifetime,
}

/// Whether a certificate is valid for as long as was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// Yes.
    AsAsked,
    /// No, only for as long as the CA is: nobody would accept it afterwards.
    CutToCa,
}

/// What a certificate is for, and who its owner is.
#[derive(Clone, Debug)]
pub enum Purpose {
    /// To be shown by a server under these names.
    Server(Vec<ServerName>),
    /// To be shown by a client, who is known by this one name.
    Client(San),
}

/// Makes a CA that is valid from now on for `lifetime`, and issues to servers and clients alone.
///
/// # Errors
///
/// [`PkiError`].
pub fn make_ca(name: &CaName, lifetime: Duration, now: Time) -> Result<Issued, PkiError> {
    let key = Zeroizing::new(KeyPair::generate()?);
    let expires_at = whole_seconds(now + lifetime);
    let mut params = params(name.as_str(), now.before(BACKDATED), expires_at)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&*key)?.pem();
    let lifetime = Lifetime::AsAsked;
    Ok(Issued { certificate, key: pem(&key), expires_at, lifetime })
}

/// A CA that can issue.
pub struct Ca {
    certificate: Vec<u8>,
    key: Zeroizing<KeyPair>,
    validity: Validity,
}

impl Ca {
    /// A CA from its certificate and its key, both in PEM.
    ///
    /// # Errors
    ///
    /// [`CaError`], where either is no such thing, they do not belong together, or the CA may not
    /// issue at `now`.
    pub fn parse(certificate: &str, key: &[u8], now: Time) -> Result<Self, CaError> {
        let certificate = only_certificate(certificate)?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&certificate)
            .map_err(|_| CaError::NotACertificate)?;
        check_may_issue(&parsed)?;
        let validity = Validity::of_parsed(&parsed);
        match validity.at(now) {
            Standing::NotYet => return Err(CaError::NotYet(validity.begins)),
            Standing::Ended => return Err(CaError::Expired(validity.ends)),
            Standing::Good | Standing::EndsSoon => {}
        }
        let key = std::str::from_utf8(key).map_err(|_| CaError::NotAKey)?;
        let key = Zeroizing::new(KeyPair::from_pem(key).map_err(|_| CaError::NotAKey)?);
        if key.subject_public_key_info() != parsed.public_key().raw {
            return Err(CaError::OtherKey);
        }
        Ok(Self { certificate, key, validity })
    }

    /// Makes a key and a certificate for it that is valid from now on for `lifetime`, but no longer
    /// than the CA.
    ///
    /// # Errors
    ///
    /// [`PkiError`].
    pub fn issue(
        &self,
        name: &CertificateName,
        purpose: &Purpose,
        lifetime: Duration,
        now: Time,
    ) -> Result<Issued, PkiError> {
        let key = Zeroizing::new(KeyPair::generate()?);
        let asked = whole_seconds(now + lifetime);
        let expires_at = asked.min(self.validity.ends);
        let not_before = now.before(BACKDATED).max(self.validity.begins);
        let mut params = params(name.as_str(), not_before, expires_at)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match purpose {
            Purpose::Server(_) => ExtendedKeyUsagePurpose::ServerAuth,
            Purpose::Client(_) => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.subject_alt_names = alternative_names(purpose)?;
        let issuer = Issuer::from_ca_cert_der(&self.certificate.as_slice().into(), &*self.key)?;
        let certificate = params.signed_by(&*key, &issuer)?.pem();
        let lifetime = if expires_at < asked { Lifetime::CutToCa } else { Lifetime::AsAsked };
        Ok(Issued { certificate, key: pem(&key), expires_at, lifetime })
    }
}

/// What all certificates have: a subject, a time, and a serial number of 128 random bits.
fn params(
    common_name: &str,
    not_before: Time,
    not_after: Time,
) -> Result<CertificateParams, PkiError> {
    let instant =
        |time: Time| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(time.as_secs());
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = instant(not_before);
    params.not_after = instant(not_after);
    // The 1 in front keeps the number positive and of one length.
    let serial = [[1].as_slice(), crypto::random::<16>()?.as_slice()].concat();
    params.serial_number = Some(SerialNumber::from(serial));
    Ok(params)
}

fn alternative_names(purpose: &Purpose) -> Result<Vec<SanType>, PkiError> {
    let of_server = |name: &ServerName| {
        Ok(match name {
            ServerName::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
            ServerName::Ip(address) => SanType::IpAddress(*address),
        })
    };
    match purpose {
        Purpose::Server(names) => names.iter().map(of_server).collect(),
        Purpose::Client(San::Dns(name)) => Ok(vec![SanType::DnsName(name.as_str().try_into()?)]),
        Purpose::Client(San::Spiffe(id)) => Ok(vec![SanType::URI(id.as_str().try_into()?)]),
    }
}

fn pem(key: &KeyPair) -> Zeroizing<String> {
    Zeroizing::new(key.serialize_pem())
}

/// The one certificate that is in this text, as DER.
fn only_certificate(text: &str) -> Result<Vec<u8>, CaError> {
    let blocks: Result<Vec<Pem>, _> = Pem::iter_from_buffer(text.as_bytes()).collect();
    match blocks.map_err(|_| CaError::NotACertificate)?.as_mut_slice() {
        [block] if block.label == "CERTIFICATE" => Ok(std::mem::take(&mut block.contents)),
        _ => Err(CaError::NotACertificate),
    }
}

fn check_may_issue(certificate: &X509Certificate<'_>) -> Result<(), CaError> {
    let usage = certificate.key_usage().map_err(|_| CaError::NotACertificate)?;
    if !certificate.is_ca() || usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(CaError::NotACa);
    }
    certificate.verify_signature(None).map_err(|_| CaError::NotItsOwn)
}

/// Certificates know no fractions of a second.
fn whole_seconds(time: Time) -> Time {
    Time::from_millis(time.as_secs().saturating_mul(1000))
}

#[cfg(test)]
mod tests;
