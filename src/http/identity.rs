//! Who is at the other end: by the peer of a Unix socket; over TCP by client certificate, or else by
//! bearer token.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::HttpRequest;
use actix_web::body::BoxBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::ConnectionType;
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::web::Data;

use super::problem::respond;
use crate::api::{Code, Problem};
use crate::custody::{Asker, Custody, Peer};
use crate::policy::Caller;
use crate::tls::{CertificateError, PeerCertificate, Tls};

/// What a client showed in the handshake.
type Shown = Result<Arc<PeerCertificate>, CertificateError>;

/// Notes who is at the other end when a connection comes in: the peer of a Unix socket, and the
/// certificate that was shown to a listener with this TLS.
pub fn on_connect(connection: &dyn Any, tls: Option<&Arc<Tls>>, notes: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<TlsStream<TcpStream>>()
        && let Some(tls) = tls
        && let Some(chain) = stream.get_ref().1.peer_certificates()
    {
        let shown: Shown = PeerCertificate::new(tls.clone(), chain).map(Arc::new);
        notes.insert(shown);
    }
    if let Some(stream) = connection.downcast_ref::<UnixStream>()
        && let Ok(credentials) = stream.peer_cred()
    {
        notes.insert(Peer { uid: credentials.uid(), gid: credentials.gid() });
    }
}

/// Makes the ids of requests: a random part for the process, then a number.
pub struct RequestIds {
    process: String,
    next: AtomicU64,
}

impl RequestIds {
    /// Ids of this process.
    ///
    /// # Errors
    ///
    /// When the operating system has no randomness.
    pub fn new() -> Result<Self, jwksd_keystore::crypto::CryptoError> {
        let random = u64::from_be_bytes(*jwksd_keystore::crypto::random::<8>()?);
        Ok(Self { process: format!("{random:016x}"), next: AtomicU64::new(0) })
    }

    fn next(&self) -> String {
        format!("{}-{}", self.process, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Recognises the caller.
///
/// # Errors
///
/// [`Code::UnknownCaller`].
pub fn identify(
    request: &HttpRequest,
    custody: &Custody,
    ids: &RequestIds,
) -> Result<Asker, Problem> {
    let certificate = request.conn_data::<Shown>();
    let known = match (request.conn_data::<Peer>(), certificate) {
        (Some(peer), _) => by_peer(*peer, custody),
        (None, Some(shown)) => by_certificate(shown, custody),
        (None, None) => by_token(request, custody),
    };
    let caller = known.map_err(|detail| {
        custody.count_unknown_caller();
        Problem::new(Code::UnknownCaller, detail)
    })?;
    let asker = Custody::asker(caller, ids.next());
    Ok(match certificate {
        Some(Ok(certificate)) => asker.with_certificate(certificate.clone()),
        Some(Err(_)) | None => asker,
    })
}

/// Ends a connection whose certificate names no caller any more, before its request is read. Those
/// that pass are recognised when their request is there, by [`identify`].
///
/// # Errors
///
/// None of its own.
pub async fn refuse_strangers(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let refused = match request.request().conn_data::<Shown>() {
        Some(shown) => {
            let custody = request.app_data::<Data<Custody>>();
            custody.and_then(|custody| {
                by_certificate(shown, custody).err().map(|why| {
                    custody.count_unknown_caller();
                    Problem::new(Code::UnknownCaller, why)
                })
            })
        }
        None => None,
    };
    match refused {
        Some(problem) => {
            let mut response = respond(&problem);
            response.head_mut().set_connection_type(ConnectionType::Close);
            Ok(request.into_response(response))
        }
        None => next.call(request).await,
    }
}

fn by_peer(peer: Peer, custody: &Custody) -> Result<Caller, String> {
    custody.caller_by_peer(peer).ok_or_else(|| {
        format!("no caller in the configuration has uid {} or gid {}", peer.uid, peer.gid)
    })
}

/// A certificate that was shown names the caller; no bearer token takes its place.
fn by_certificate(shown: &Shown, custody: &Custody) -> Result<Caller, String> {
    let certificate = shown.as_ref().map_err(CertificateError::to_string)?;
    let names = certificate.names().map_err(|error| error.to_string())?;
    custody.caller_by_names(names).map_err(|error| error.to_string())
}

fn by_token(request: &HttpRequest, custody: &Custody) -> Result<Caller, String> {
    let token = bearer_token(request)
        .ok_or("show a client certificate, or send a token: Authorization: Bearer jwksd_...")?;
    custody.caller_by_token(token).ok_or_else(|| "the bearer token is not known".into())
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1).
fn bearer_token(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
