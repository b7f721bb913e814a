//! What the library asks during a handshake, answered by what is in force at that moment.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jwksd_keystore::time::Time;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName};
use rustls::{Error as RustlsError, SignatureScheme};

use super::certificate;
use super::listener::{InForce, Tls};

/// The TLS of a listener, as the library asks for it.
pub(super) struct Live {
    tls: Arc<Tls>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Live {
    pub(super) fn new(tls: Arc<Tls>, algorithms: WebPkiSupportedAlgorithms) -> Self {
        Self { tls, algorithms }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Live").field(&self.tls.table).finish()
    }
}

impl TimeProvider for Live {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix_time(self.tls.now()))
    }
}

impl ResolvesServerCert for Live {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.tls.in_force().material.shown.clone())
    }
}

impl ClientCertVerifier for Live {
    fn offer_client_auth(&self) -> bool {
        self.tls.in_force().material.clients.is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    /// None: whoever asks need not learn which CAs are trusted.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        let current = self.tls.in_force();
        current.verify(end_entity, intermediates, now).inspect_err(|error| {
            tracing::debug!("{}: a client certificate was refused: {error}", self.tls.table);
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, RustlsError> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl InForce {
    /// Whether a client's certificate leads to a CA that is trusted, is valid at `now`, and is for
    /// clients.
    pub(super) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, RustlsError> {
        let untrusted = RustlsError::InvalidCertificate(CertificateError::UnknownIssuer);
        let clients = self.material.clients.as_ref().ok_or(untrusted)?;
        let verified = clients.verify_client_cert(end_entity, intermediates, now)?;
        // webpki takes a certificate without any extended key usage for one of every use.
        match certificate::client_names(end_entity) {
            Ok(_) => Ok(verified),
            Err(certificate::CertificateError::NotForClients) => {
                Err(RustlsError::InvalidCertificate(CertificateError::InvalidPurpose))
            }
            Err(certificate::CertificateError::SeveralUris) => Err(
                RustlsError::InvalidCertificate(CertificateError::ApplicationVerificationFailure),
            ),
            Err(certificate::CertificateError::Malformed) => {
                Err(RustlsError::InvalidCertificate(CertificateError::BadEncoding))
            }
        }
    }
}

pub(super) fn unix_time(time: Time) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_millis(time.as_millis()))
}
