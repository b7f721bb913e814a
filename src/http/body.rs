//! The body of a request: received within a size and a time.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use actix_web::body::{BodyStream, MessageBody};
use actix_web::dev;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use actix_web::web::{Bytes, BytesMut, Payload};
use actix_web::{Error, FromRequest, HttpRequest};
use jwksd_keystore::facts::Span;
use zeroize::Zeroizing;

use super::BODY_LIMIT;
use super::connection::Connection;
use crate::api::{Code, Problem};

/// Receives a body of at most `limit` bytes, in the time that the listener allows.
pub(super) async fn received(
    request: &HttpRequest,
    body: Payload,
    limit: usize,
) -> Result<Bytes, Problem> {
    received_over(connection_of(request)?, body.into_inner(), limit).await
}

/// The same over this connection.
pub(super) async fn received_over(
    connection: &Connection,
    body: dev::Payload,
    limit: usize,
) -> Result<Bytes, Problem> {
    in_time(connection, whole(body, limit)).await
}

/// All of a body. Most come in one piece, which is not copied.
async fn whole(body: dev::Payload, limit: usize) -> Result<Bytes, Problem> {
    let mut pieces = pin!(BodyStream::new(body));
    let mut next = async || {
        let next = poll_fn(|context| pieces.as_mut().poll_next(context)).await;
        next.transpose().map_err(|_| broken())
    };
    let fits = |length| if length > limit { Err(too_large(limit)) } else { Ok(()) };
    let Some(first) = next().await? else { return Ok(Bytes::new()) };
    fits(first.len())?;
    let Some(mut piece) = next().await? else { return Ok(first) };
    let mut all = BytesMut::from(&*first);
    loop {
        fits(all.len() + piece.len())?;
        all.extend_from_slice(&piece);
        match next().await? {
            Some(next) => piece = next,
            None => return Ok(all.freeze()),
        }
    }
}

/// The same of a body with secrets in it, which is wiped on drop. What the HTTP library read it with
/// is not ours to wipe.
pub(super) async fn received_secret(
    request: &HttpRequest,
    body: Payload,
    limit: usize,
) -> Result<Zeroizing<Vec<u8>>, Problem> {
    in_time(connection_of(request)?, async {
        // Of its full size from the start: a buffer that grows leaves copies behind.
        let mut received = Zeroizing::new(Vec::with_capacity(limit));
        let mut pieces = pin!(BodyStream::new(body));
        while let Some(piece) = poll_fn(|context| pieces.as_mut().poll_next(context)).await {
            let piece = piece.map_err(|_| broken())?;
            if received.len() + piece.len() > limit {
                return Err(too_large(limit));
            }
            received.extend_from_slice(&piece);
        }
        Ok(received)
    })
    .await
}

/// Receives what `body` does, in the time that the listener allows.
async fn in_time<T>(
    connection: &Connection,
    body: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let mut body = pin!(body);
    if let Some(received) = without_waiting(body.as_mut()).await {
        return received;
    }
    let within = connection.timeouts.body;
    tokio::time::timeout(within, body).await.unwrap_or_else(|_| {
        connection.take_no_more();
        Err(unread(format!("the body did not arrive within {}", Span(within))))
    })
}

/// What comes of `future` if it need not wait for the peer. The HTTP library hands over what it read
/// together with the head only after the handler was called, so it is looked at twice.
async fn without_waiting<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    let mut was_polled = false;
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
        Poll::Pending if was_polled => Poll::Ready(None),
        Poll::Pending => {
            was_polled = true;
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

fn connection_of(request: &HttpRequest) -> Result<&Connection, Problem> {
    Connection::of(request)
        .map(|connection| &**connection)
        .ok_or_else(|| unread("no connection".into()))
}

fn unread(why: String) -> Problem {
    Problem::new(Code::InvalidRequest, why)
}

fn broken() -> Problem {
    Problem::new(Code::InvalidRequest, "the body could not be read")
}

/// Receives a body of the usual size, if it is JSON.
pub(super) async fn received_json(request: &HttpRequest, body: Payload) -> Result<Bytes, Problem> {
    // It is received all the same, so that the connection goes on.
    let body = received(request, body, BODY_LIMIT).await;
    check_type(request.headers())?;
    body
}

/// A body of a type that is not stated counts as JSON. What is stated must be JSON: all that a
/// browser sends to another site without asking there first is something else.
pub(super) fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let is_json = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    };
    if headers.get_all(CONTENT_TYPE).all(is_json) {
        Ok(())
    } else {
        let detail = "send it with Content-Type: application/json (curl: --json instead of -d)";
        Err(Problem::new(Code::UnsupportedMediaType, detail))
    }
}

/// Reads over a body of the usual size that nobody wants: what is not read ends the connection, and
/// who was refused may ask again.
pub(super) async fn passed_over(request: &HttpRequest, body: Payload) {
    if let Some(connection) = Connection::of(request) {
        passed_over_on(connection, body.into_inner()).await;
    }
}

/// The same over this connection.
pub(super) async fn passed_over_on(connection: &Connection, body: dev::Payload) {
    if !connection.is_last() {
        // It ends the connection where it is too large or late.
        let _ = received_over(connection, body, BODY_LIMIT).await;
    }
}

pub(super) fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the limit is {limit} bytes"))
}

/// A body of the usual size in JSON, received before the handler is called.
pub(super) struct Body(pub(super) Result<Bytes, Problem>);

impl FromRequest for Body {
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self, Error>>>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let (request, payload) = (request.clone(), Payload::from_request(request, payload));
        Box::pin(async move { Ok(Self(received_json(&request, payload.await?).await)) })
    }
}
