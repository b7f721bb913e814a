//! Who is at the other end: by the peer of a Unix socket, by bearer token over TCP.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::HttpRequest;
use actix_web::dev::Extensions;
use actix_web::http::header::AUTHORIZATION;
use actix_web::rt::net::UnixStream;

use crate::api::{Code, Problem};
use crate::custody::{Asker, Custody, Peer};

/// Notes the peer of a Unix socket when a connection comes in.
pub fn on_connect(connection: &dyn Any, notes: &mut Extensions) {
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
    let known = match request.conn_data::<Peer>() {
        Some(peer) => custody.caller_by_peer(*peer).ok_or_else(|| {
            format!("no caller in the configuration has uid {} or gid {}", peer.uid, peer.gid)
        }),
        None => match bearer_token(request) {
            Some(token) => {
                custody.caller_by_token(token).ok_or_else(|| "the bearer token is not known".into())
            }
            None => Err("send the bearer token: Authorization: Bearer jwksd_...".into()),
        },
    };
    known.map(|caller| Custody::asker(caller, ids.next())).map_err(|detail| {
        custody.count_unknown_caller();
        Problem::new(Code::UnknownCaller, detail)
    })
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1).
fn bearer_token(request: &HttpRequest) -> Option<&str> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
