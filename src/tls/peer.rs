//! The certificate that a client showed, for the life of its connection.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::pki_types::CertificateDer;

use super::certificate::{CertificateError, Validity, client_names};
use super::handshake::unix_time;
use super::listener::Tls;
use crate::san::San;

/// The certificate of the client at the other end of a connection, with what leads to its CA. The
/// handshake has shown that the client holds its key; whether it is trusted is asked at each
/// request.
pub struct PeerCertificate {
    tls: Arc<Tls>,
    chain: Vec<CertificateDer<'static>>,
    names: Vec<San>,
    validity: Validity,
    /// In which generation of the listener's files it was found good; 0 before the first request.
    /// What was in force during the handshake may have been replaced since.
    verified_in: AtomicU64,
}

/// The certificate is good no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the client certificate is not trusted any more: {0}")]
pub struct Untrusted(String);

impl PeerCertificate {
    /// The certificate that a connection of this listener was made with.
    ///
    /// # Errors
    ///
    /// [`CertificateError`].
    pub fn new(tls: Arc<Tls>, chain: &[CertificateDer<'_>]) -> Result<Self, CertificateError> {
        let [end_entity, issuers @ ..] = chain else {
            return Err(CertificateError::Malformed);
        };
        let mut validity = Validity::of(end_entity)?;
        for issuer in issuers {
            let of_issuer = Validity::of(issuer)?;
            validity.begins = validity.begins.max(of_issuer.begins);
            validity.ends = validity.ends.min(of_issuer.ends);
        }
        Ok(Self {
            names: client_names(end_entity)?,
            chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
            verified_in: AtomicU64::new(0),
            validity,
            tls,
        })
    }

    /// The names in it, if it is trusted at this moment. Costs next to nothing while neither the
    /// listener's files nor the times in the chain say otherwise than before.
    ///
    /// # Errors
    ///
    /// [`Untrusted`].
    pub fn names(&self) -> Result<&[San], Untrusted> {
        let (now, in_force) = (self.tls.now(), self.tls.in_force());
        let is_known = self.verified_in.load(Ordering::Relaxed) == in_force.generation;
        if is_known && self.validity.holds_at(now) {
            return Ok(&self.names);
        }
        let untrusted = |error: &dyn fmt::Display| Untrusted(error.to_string());
        let [end_entity, issuers @ ..] = self.chain.as_slice() else {
            return Err(untrusted(&CertificateError::Malformed));
        };
        in_force.verify(end_entity, issuers, unix_time(now)).map_err(|error| untrusted(&error))?;
        self.verified_in.store(in_force.generation, Ordering::Relaxed);
        Ok(&self.names)
    }
}

impl fmt::Debug for PeerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { names, validity, .. } = self;
        let mut shown = f.debug_struct("PeerCertificate");
        shown.field("names", names).field("validity", validity).finish_non_exhaustive()
    }
}
