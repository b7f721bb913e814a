//! Who is at the other end: by the peer of a Unix socket; over TCP by client certificate, or else by
//! bearer token.

pub(super) mod basic;

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::HttpRequest;
use actix_web::body::BoxBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::header::AUTHORIZATION;
use actix_web::middleware::Next;
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::web::Data;

use super::connection::Connection;
use super::problem;
use crate::api::{Code, Problem};
use crate::custody::{Asker, Custody, Peer};
use crate::limits::Desk;
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

    pub(super) fn next(&self) -> String {
        format!("{}-{}", self.process, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

/// Recognises the caller, and begins its request, which is under way until the answer is sent.
///
/// # Errors
///
/// [`Code::UnknownCaller`], or that it asks for more than it may.
pub fn identify(
    request: &HttpRequest,
    custody: &Custody,
    ids: &RequestIds,
) -> Result<Asker, Problem> {
    let known = match (request.conn_data::<Peer>(), request.conn_data::<Shown>()) {
        (Some(peer), _) => by_peer(*peer, custody),
        (None, Some(shown)) => by_certificate(shown, custody),
        (None, None) => by_token(request, custody),
    };
    let caller = known.map_err(|detail| stranger(request, custody, detail))?;
    let (connection, desk) = desk_of(request)?;
    let request_id = ids.next();
    let begun = custody.begin(caller, desk, request_id.clone());
    let asker = begun.map_err(|over| Problem {
        // As in the audit's line about it.
        request_id: Some(request_id),
        ..problem::of_over(&over)
    })?;
    connection.hold(asker.slot());
    Ok(match request.conn_data::<Shown>() {
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
    match refusal(&request) {
        Some(problem) => Ok(request.into_response(problem::respond(&problem))),
        None => next.call(request).await,
    }
}

fn refusal(request: &ServiceRequest) -> Option<Problem> {
    let custody = request.app_data::<Data<Custody>>()?;
    let shown = request.request().conn_data::<Shown>()?;
    let detail = by_certificate(shown, custody).err()?;
    if let Some(connection) = Connection::of(request.request()) {
        connection.take_no_more();
    }
    Some(stranger(request.request(), custody, detail))
}

/// Counts a request of someone unknown.
fn stranger(request: &HttpRequest, custody: &Custody, detail: String) -> Problem {
    let counted = desk_of(request).and_then(|(connection, desk)| {
        custody.take_unknown_caller(desk).map_err(|over| {
            // To try the next token takes another connection.
            connection.take_no_more();
            problem::of_over(&over)
        })
    });
    counted.err().unwrap_or_else(|| Problem::new(Code::UnknownCaller, detail))
}

/// Looks at the asker anew when its request is there, which may be long after it began.
///
/// # Errors
///
/// [`Code::UnknownCaller`].
pub(super) fn still(asker: Asker, custody: &Custody) -> Result<Asker, Problem> {
    custody.asker_in_force(asker).ok_or_else(|| {
        Problem::new(Code::UnknownCaller, "the caller was taken away while the request was sent")
    })
}

/// The connection, and where it is that callers are known.
fn desk_of(request: &HttpRequest) -> Result<(&Connection, Desk), Problem> {
    let connection = Connection::of(request);
    let found = connection.and_then(|connection| Some((&**connection, connection.desk()?)));
    found.ok_or_else(|| Problem::new(Code::UnknownCaller, "nobody is known here"))
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
    if let Some(token) = bearer_token(request) {
        return custody
            .caller_by_token(token)
            .ok_or_else(|| "the bearer token is not known".into());
    }
    if let Some(password) = basic::password(request) {
        let known = custody.caller_by_token(&password);
        return known.ok_or_else(|| "the password is not a token that is known".into());
    }
    Err("show a client certificate, or send a token: Authorization: Bearer jwksd_...".into())
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1).
fn bearer_token(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
