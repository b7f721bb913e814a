//! What a connection may hold, and for how long, whatever its peer does.
//!
//! The HTTP library limits only how long the first head may take. So each connection has a
//! deadline: until its first request, from one request to the next, and for an answer to be taken.
//! Whoever misses it is cut off. A body has its own time, in `body`.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_http::Request;
use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::{Extensions, Response, Service, ServiceRequest, ServiceResponse};
use actix_web::http::header::{CONTENT_LENGTH, HeaderMap, HeaderValue, TRANSFER_ENCODING};
use actix_web::http::{ConnectionType, KeepAlive};
use actix_web::rt::net::{TcpStream, UnixStream};
use actix_web::web::Bytes;
use actix_web::{Error, HttpRequest, HttpResponse};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::Shutdown;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::problem;
use super::room::{Room, Seat};
use crate::api::{Code, Problem};
use crate::limits::{Desk, Slot};
use crate::tls::Tls;

/// What a connection has after its time was up, to take the last answer.
const GRACE: Duration = Duration::from_secs(1);

/// After how many bytes of answers it is looked whether the peer takes them. To look costs a system
/// call, so not for each; what a peer that takes none has us keep grows by no more than that.
const LOOK_AFTER: u64 = 16 * 1024;

/// What the head of an answer counts for.
const HEAD_BYTES: u64 = 512;

/// How long a peer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From the connection to the end of the TLS handshake, where there is one. What follows counts
    /// from there.
    pub handshake: Duration,
    /// From the connection to the end of the first head.
    pub head: Duration,
    /// From the end of a head to the end of its body.
    pub body: Duration,
    /// To take an answer, but for the last of it, which is in the kernel's hands.
    pub answer: Duration,
    /// From the answer to one request to the end of the next head.
    pub idle: Duration,
}

impl Default for Timeouts {
    /// As long as a proxy keeps connections open that it may use again, and no batch's answer
    /// takes longer than its 30 seconds at 300 KB a second.
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            head: Duration::from_secs(10),
            body: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            idle: Duration::from_secs(75),
        }
    }
}

/// Whom a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Anyone, who has nothing to send.
    Anyone,
    /// Callers.
    Callers(Desk),
    /// Whoever watches the daemon, who has nothing to send either.
    Monitors,
}

impl Audience {
    /// What the threads of its listener are called, for whoever looks at the process.
    #[must_use]
    pub fn name(self) -> &'static CStr {
        match self {
            Self::Anyone => c"public",
            Self::Callers(Desk::Internal) => c"internal",
            Self::Callers(Desk::Admin) => c"admin",
            Self::Monitors => c"metrics",
        }
    }
}

/// Until when a peer must have done its part.
struct Deadline {
    /// `None` while it is our turn.
    at: Cell<Option<Instant>>,
    /// Tells that there is one again.
    is_set: Notify,
}

/// A connection, from when it is accepted until it is closed.
pub(super) struct Connection {
    audience: Audience,
    pub(super) timeouts: Timeouts,
    /// What it has for the next request.
    idle: Duration,
    socket: OwnedFd,
    deadline: Rc<Deadline>,
    watch: AbortHandle,
    /// How many bytes of answers there were since the peer was last seen to take them.
    unseen: Cell<u64>,
    /// Whether the request that is under way is the last.
    is_last: Cell<bool>,
    /// What the request that is under way holds of its caller's limits.
    slot: RefCell<Option<Arc<Slot>>>,
    /// Whether a caller was recognised on it.
    is_known: Cell<bool>,
    _seat: Seat,
}

/// Notes a connection when it comes in, and watches over it.
pub fn note(
    stream: &dyn Any,
    notes: &mut Extensions,
    audience: Audience,
    timeouts: Timeouts,
    room: &Arc<Room>,
) {
    if let Some(connection) = Connection::of_stream(stream, audience, timeouts, room.seat()) {
        notes.insert(connection);
    }
}

impl Connection {
    fn of_stream(
        stream: &dyn Any,
        audience: Audience,
        timeouts: Timeouts,
        seat: Seat,
    ) -> Option<Rc<Self>> {
        // The socket is kept open by this copy until the connection's notes are dropped with it.
        let socket = socket_of(stream)?.try_clone_to_owned().ok()?;
        // TLS wants to be taken leave of: there the HTTP library ends it in time, where nothing came.
        let idle = if is_tls(stream) { timeouts.idle + GRACE } else { timeouts.idle };
        let at = Cell::new(Some(now() + timeouts.head + GRACE));
        let deadline = Rc::new(Deadline { at, is_set: Notify::new() });
        Some(Rc::new_cyclic(|connection| Self {
            audience,
            timeouts,
            idle,
            socket,
            watch: actix_web::rt::spawn(watch(deadline.clone(), connection.clone())).abort_handle(),
            deadline,
            unseen: Cell::new(0),
            is_last: Cell::new(false),
            slot: RefCell::new(None),
            is_known: Cell::new(false),
            _seat: seat,
        }))
    }

    /// The connection that a request came over. There is none where there was no file descriptor
    /// left to watch over it with.
    pub(super) fn of(request: &HttpRequest) -> Option<&Rc<Self>> {
        request.conn_data::<Rc<Self>>()
    }

    /// Where callers are known, if this listener is for them.
    pub(super) fn desk(&self) -> Option<Desk> {
        match self.audience {
            Audience::Anyone | Audience::Monitors => None,
            Audience::Callers(desk) => Some(desk),
        }
    }

    /// Keeps a known caller's slot until the answer is sent.
    pub(super) fn hold(&self, slot: Arc<Slot>) {
        self.is_known.set(true);
        self.slot.replace(Some(slot));
    }

    /// Whether the request that is under way is the last: also where callers are known and nobody
    /// was, so that strangers keep no connection.
    pub(super) fn is_last(&self) -> bool {
        self.is_last.get() || (self.desk().is_some() && !self.is_known.get())
    }

    /// Takes no request after the one that is under way.
    pub(super) fn take_no_more(&self) {
        self.is_last.set(true);
    }

    fn end_request(&self) {
        self.slot.replace(None);
        self.set_deadline(if self.is_last() { GRACE } else { self.idle });
    }

    fn set_deadline(&self, span: Duration) {
        if self.deadline.at.replace(Some(now() + span)).is_none() {
            self.deadline.is_set.notify_one();
        }
    }

    /// Whether the peer takes what it is sent. Where it asks again without, answers would pile up.
    fn takes_answers(&self) -> bool {
        if self.unseen.get() >= LOOK_AFTER && self.is_writable() {
            self.unseen.set(0);
        }
        self.unseen.get() < LOOK_AFTER
    }

    fn is_writable(&self) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::OUT)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        rustix::event::poll(&mut fds, Some(&at_once)).is_ok_and(|ready| ready == 1)
    }

    /// The answer is there: the peer has its time to take it.
    fn is_answered(&self, size: BodySize) {
        self.set_deadline(self.timeouts.answer);
        let bytes = match size {
            BodySize::None => 0,
            BodySize::Sized(bytes) => bytes,
            BodySize::Stream => LOOK_AFTER,
        };
        self.unseen.set(self.unseen.get().saturating_add(HEAD_BYTES).saturating_add(bytes));
    }

    /// Why a request with this head is not looked at.
    fn refusal(&self, headers: &HeaderMap) -> Option<Problem> {
        if !self.takes_answers() {
            self.cut();
            return Some(Problem::new(Code::Busy, "take the answers that wait for you first"));
        }
        if self.desk().is_none() && has_body(headers) {
            self.take_no_more();
            return Some(Problem::new(Code::BodyTooLarge, "no path here takes a body"));
        }
        None
    }

    /// Whoever serves it finds it closed.
    fn cut(&self) {
        // It may be closed already.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Both);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

fn socket_of(stream: &dyn Any) -> Option<BorrowedFd<'_>> {
    let unix = || stream.downcast_ref::<UnixStream>().map(AsFd::as_fd);
    let tcp = || stream.downcast_ref::<TcpStream>().map(AsFd::as_fd);
    let tls = || stream.downcast_ref::<TlsStream<TcpStream>>().map(|tls| tls.get_ref().0.as_fd());
    unix().or_else(tcp).or_else(tls)
}

fn is_tls(stream: &dyn Any) -> bool {
    stream.is::<TlsStream<TcpStream>>()
}

/// For how long the HTTP library keeps a connection with nothing to do: its timer is set anew with
/// each answer, so it has one only where its way of closing is better than ours.
#[must_use]
pub fn kept_by_library(tls: Option<&Arc<Tls>>, timeouts: Timeouts) -> KeepAlive {
    match tls {
        Some(_) => KeepAlive::Timeout(timeouts.idle),
        None => KeepAlive::Os,
    }
}

/// Cuts a connection off when its deadline is over.
async fn watch(deadline: Rc<Deadline>, connection: Weak<Connection>) {
    loop {
        match deadline.at.get() {
            None => deadline.is_set.notified().await,
            Some(at) if now() < at => real_time_is(at).await,
            Some(_) => return connection.upgrade().iter().for_each(|connection| connection.cut()),
        }
    }
}

/// Peers take real time, as in the HTTP library, whatever the daemon's clock says.
#[expect(clippy::disallowed_methods, reason = "peers take real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "peers take real time")]
async fn real_time_is(at: Instant) {
    sleep_until(at).await;
}

/// Keeps a request in time: the outermost layer of every listener.
pub(crate) fn in_time<S>(
    request: ServiceRequest,
    service: &S,
) -> impl Future<Output = Result<ServiceResponse<Answer>, Error>> + use<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<BoxBody>, Error = Error>,
{
    let connection = Connection::of(request.request()).cloned();
    let under_way = connection.map(UnderWay::begin);
    let answer = match refusal(&request, under_way.as_ref()) {
        Some(problem) => Err(request.into_response(problem::respond(&problem))),
        None => Ok(service.call(request)),
    };
    async move {
        let mut answer = match answer {
            Ok(answer) => answer.await?,
            Err(refused) => refused,
        };
        answer = problem::named(answer);
        if let Some(UnderWay(connection)) = &under_way {
            connection.is_answered(answer.response().body().size());
        }
        if under_way.as_ref().is_none_or(UnderWay::is_last) {
            answer.response_mut().head_mut().set_connection_type(ConnectionType::Close);
        }
        Ok(answer.map_body(|_, body| Answer { body, _under_way: under_way }))
    }
}

/// Answers a request before any route is looked for. What there is something to be said against is
/// left to [`in_time`].
pub(super) fn answer_at_once(
    request: &Request,
    answer: impl FnOnce() -> Option<HttpResponse>,
) -> Option<Response<Answer>> {
    let connection = unopposed(request)?;
    let answer = answer()?;
    let under_way = UnderWay(connection.clone());
    connection.is_answered(answer.body().size());
    Some(Response::from(answer).map_body(|_, body| Answer { body, _under_way: Some(under_way) }))
}

/// Does the same where the answer has to be waited for; gives the request back where there is something
/// to be said against it.
pub(super) fn answer_without_route<F>(
    request: Request,
    answer: impl FnOnce(Request, Rc<Connection>) -> F,
) -> Result<AtOnce, Request>
where
    F: Future<Output = HttpResponse> + 'static,
{
    let Some(connection) = unopposed(&request).cloned() else { return Err(request) };
    let under_way = UnderWay::begin(connection.clone());
    let answer = answer(request, connection);
    Ok(AtOnce::Later(Box::pin(async move {
        let mut answer = Response::from(answer.await);
        under_way.0.is_answered(answer.body().size());
        if under_way.is_last() {
            answer.head_mut().set_connection_type(ConnectionType::Close);
        }
        answer.map_body(|_, body| Answer { body, _under_way: Some(under_way) })
    })))
}

/// The connection of a request, if there is nothing to be said against it.
fn unopposed(request: &Request) -> Option<&Rc<Connection>> {
    let connection = request.conn_data::<Rc<Connection>>()?;
    connection.refusal(&request.head().headers).is_none().then_some(connection)
}

/// An answer for which no route is looked for.
pub(crate) enum AtOnce {
    /// It is there.
    Now(Response<Answer>),
    /// It has to be waited for.
    Later(Pin<Box<dyn Future<Output = Response<Answer>>>>),
}

/// Why a request is not looked at.
fn refusal(request: &ServiceRequest, under_way: Option<&UnderWay>) -> Option<Problem> {
    let Some(UnderWay(connection)) = under_way else {
        return Some(Problem::new(Code::Busy, "there are too many connections"));
    };
    connection.refusal(request.headers())
}

fn has_body(headers: &HeaderMap) -> bool {
    let is_empty = |length: &HeaderValue| length.as_bytes().iter().all(|digit| *digit == b'0');
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| !is_empty(length))
}

/// A request from its head to the end of its answer, or of whatever took care of it.
struct UnderWay(Rc<Connection>);

impl UnderWay {
    fn begin(connection: Rc<Connection>) -> Self {
        connection.deadline.at.set(None);
        Self(connection)
    }

    fn is_last(&self) -> bool {
        self.0.is_last()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.end_request();
    }
}

/// An answer that is sent while its connection is watched. What it holds, it holds until all but
/// the last 48 KiB are in the kernel's hands.
pub(crate) struct Answer {
    body: BoxBody,
    _under_way: Option<UnderWay>,
}

impl MessageBody for Answer {
    type Error = Box<dyn std::error::Error>;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
