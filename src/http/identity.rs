//! Who is at the other end: by the peer of a Unix socket; over TCP by client certificate, or else by
//! bearer token.

pub(super) mod basic;

use std::any::Any;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_http::Request;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::HttpRequest;
use actix_web::body::BoxBody;
use actix_web::dev::{Extensions, ServiceRequest, ServiceResponse};
use actix_web::http::header::{AUTHORIZATION, HeaderMap};
use actix_web::middleware::Next;
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::web::Data;
use rustix::rand::GetRandomFlags;
use zeroize::Zeroizing;

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
    pub fn new() -> io::Result<Self> {
        // Not of the cryptographic library, which gathers its entropy while the daemon starts: the
        // listeners need not wait for that.
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, GetRandomFlags::empty())?;
        let process = format!("{:016x}", u64::from_be_bytes(random));
        Ok(Self { process, next: AtomicU64::new(0) })
    }

    pub(super) fn next(&self) -> String {
        [&self.process, "-", &self.next.fetch_add(1, Ordering::Relaxed).to_string()].concat()
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
    Sender::from(request).identify(custody, ids, || basic::password(request))
}

/// What a request shows of who sent it.
#[derive(Clone, Copy)]
pub(super) struct Sender<'r> {
    connection: Option<&'r Rc<Connection>>,
    peer: Option<Peer>,
    shown: Option<&'r Shown>,
    headers: &'r HeaderMap,
}

impl<'r> From<&'r HttpRequest> for Sender<'r> {
    fn from(request: &'r HttpRequest) -> Self {
        Self {
            connection: Connection::of(request),
            peer: request.conn_data::<Peer>().copied(),
            shown: request.conn_data::<Shown>(),
            headers: request.headers(),
        }
    }
}

impl<'r> From<&'r Request> for Sender<'r> {
    fn from(request: &'r Request) -> Self {
        Self {
            connection: request.conn_data::<Rc<Connection>>(),
            peer: request.conn_data::<Peer>().copied(),
            shown: request.conn_data::<Shown>(),
            headers: &request.head().headers,
        }
    }
}

impl Sender<'_> {
    /// Whether it showed a certificate that names no caller any more, as in [`refuse_strangers`].
    pub(super) fn shows_what_is_nobodys(&self, custody: &Custody) -> bool {
        self.shown.is_some_and(|shown| by_certificate(shown, custody).is_err())
    }

    /// As [`identify`] does; `password` is what came by HTTP Basic, where that may come.
    pub(super) fn identify(
        &self,
        custody: &Custody,
        ids: &RequestIds,
        password: impl FnOnce() -> Option<Zeroizing<String>>,
    ) -> Result<Asker, Problem> {
        let known = match (self.peer, self.shown) {
            (Some(peer), _) => by_peer(peer, custody),
            (None, Some(shown)) => by_certificate(shown, custody),
            (None, None) => by_token(self.headers, custody, password),
        };
        let caller = known.map_err(|detail| self.stranger(custody, detail))?;
        let (connection, desk) = self.desk()?;
        let request_id = ids.next();
        let begun = custody.begin(caller, desk, request_id.clone());
        let asker = begun.map_err(|over| Problem {
            // As in the audit's line about it.
            request_id: Some(request_id),
            ..problem::of_over(&over)
        })?;
        connection.hold(asker.slot());
        Ok(match self.shown {
            Some(Ok(certificate)) => asker.with_certificate(certificate.clone()),
            Some(Err(_)) | None => asker,
        })
    }

    /// Counts a request of someone unknown.
    fn stranger(&self, custody: &Custody, detail: String) -> Problem {
        let counted = self.desk().and_then(|(connection, desk)| {
            custody.take_unknown_caller(desk).map_err(|over| {
                // To try the next token takes another connection.
                connection.take_no_more();
                problem::of_over(&over)
            })
        });
        counted.err().unwrap_or_else(|| Problem::new(Code::UnknownCaller, detail))
    }

    /// The connection, and where it is that callers are known.
    fn desk(&self) -> Result<(&Connection, Desk), Problem> {
        let found =
            self.connection.and_then(|connection| Some((&**connection, connection.desk()?)));
        found.ok_or_else(|| Problem::new(Code::UnknownCaller, "nobody is known here"))
    }
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
    Some(Sender::from(request.request()).stranger(custody, detail))
}

/// Looks at the asker anew when its request is there, which may be long after it began.
///
/// # Errors
///
/// [`Code::UnknownCaller`].
pub(super) fn still(asker: &mut Asker, custody: &Custody) -> Result<(), Problem> {
    custody.bring_in_force(asker).ok_or_else(|| {
        Problem::new(Code::UnknownCaller, "the caller was taken away while the request was sent")
    })
}

fn by_peer(peer: Peer, custody: &Custody) -> Result<Arc<Caller>, String> {
    custody.caller_by_peer(peer).ok_or_else(|| {
        format!("no caller in the configuration has uid {} or gid {}", peer.uid, peer.gid)
    })
}

/// A certificate that was shown names the caller; no bearer token takes its place.
fn by_certificate(shown: &Shown, custody: &Custody) -> Result<Arc<Caller>, String> {
    let certificate = shown.as_ref().map_err(CertificateError::to_string)?;
    let names = certificate.names().map_err(|error| error.to_string())?;
    custody.caller_by_names(names).map_err(|error| error.to_string())
}

fn by_token(
    headers: &HeaderMap,
    custody: &Custody,
    password: impl FnOnce() -> Option<Zeroizing<String>>,
) -> Result<Arc<Caller>, String> {
    if let Some(token) = bearer_token(headers) {
        return custody
            .caller_by_token(token)
            .ok_or_else(|| "the bearer token is not known".into());
    }
    if let Some(password) = password() {
        let known = custody.caller_by_token(&password);
        return known.ok_or_else(|| "the password is not a token that is known".into());
    }
    Err("show a client certificate, or send a token: Authorization: Bearer jwksd_...".into())
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1).
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
