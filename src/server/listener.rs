//! The listeners: what each serves, on how many workers, and within which limits.

use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use actix_http::Request;
use actix_service::{IntoServiceFactory, apply_fn_factory};
use actix_web::dev::{AppConfig, Response, Server, Service, ServiceFactory, ServiceResponse};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, PayloadConfig, ServiceConfig};
use actix_web::{App, HttpServer};

use super::{DRAIN_SECONDS, Sockets, StartError};
use crate::administration::Administration;
use crate::config::Connections;
use crate::http;
use crate::http::connection::{Answer, AtOnce, Audience, Timeouts};
use crate::http::identity::RequestIds;
use crate::http::room::Room;
use crate::limits::Desk;
use crate::listeners::{Bound, SocketFile};
use crate::pool::Pool;
use crate::threads;
use crate::tls::Tls;

/// How late a worker's timers may be: the library sets one twice a second for the time in `Date`, which
/// is in whole seconds, and all others are for peers that take seconds too long.
const LATE: Duration = Duration::from_millis(500);

/// What becomes of a request whose caller closes its side of the connection before the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HangUp {
    /// It is answered all the same: the caller may still be listening.
    Ignored,
    /// It is dropped, unless it was answered at once: nobody waits for the rest of a batch.
    Heeded,
}

/// What holds for a listener.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    audience: Audience,
    workers: NonZero<usize>,
    /// How many there may be over all workers, on Unix sockets and again over TCP.
    connections: NonZero<usize>,
    hang_up: HangUp,
    timeouts: Timeouts,
}

impl Rules {
    /// Only signing takes a worker for each core.
    pub(super) fn of(
        audience: Audience,
        most: &Connections,
        cores: NonZero<usize>,
        timeouts: Timeouts,
    ) -> Self {
        let one = NonZero::<usize>::MIN;
        let (workers, connections, hang_up) = match audience {
            Audience::Anyone => (one, most.public, HangUp::Ignored),
            Audience::Callers(Desk::Internal) => (cores, most.internal, HangUp::Heeded),
            Audience::Callers(Desk::Admin) => (one, most.admin, HangUp::Ignored),
            Audience::Monitors => (one, most.metrics, HangUp::Ignored),
        };
        Self { audience, workers, connections, hang_up, timeouts }
    }
}

/// All listeners, at work, and the files of their Unix sockets.
///
/// # Errors
///
/// [`StartError`], where one of them cannot be started.
pub(super) fn listen_all(
    sockets: Sockets,
    administration: &Arc<Administration>,
    pool: &Pool,
    rules: impl Fn(Audience) -> Rules,
) -> Result<(Vec<Server>, Vec<SocketFile>), StartError> {
    let custody = Data::from(administration.custody.clone());
    let ids = Data::new(RequestIds::new()?);
    let tls = &administration.tls;
    let mut files = Vec::new();

    let anyone = rules(Audience::Anyone);
    let fetchers = Data::from(administration.fetchers.clone());
    let for_public = (custody.clone(), Data::new(administration.health.clone()));
    let of_sets = (custody.clone(), fetchers.clone());
    let at_once = move |request: Request| {
        let answer = http::public::at_once(&request, &of_sets.0, &of_sets.1);
        answer.map(AtOnce::Now).ok_or(request)
    };
    let configure = move |service: &mut ServiceConfig| {
        service.app_data(for_public.0.clone()).app_data(for_public.1.clone());
        service.app_data(fetchers.clone());
        http::health::configure(service);
        http::public::configure(service);
    };
    let public = listen((sockets.public, &tls.public), anyone, &mut files, at_once, configure)?;

    let callers = rules(Audience::Callers(Desk::Internal));
    let batches = Data::new(http::batch::Service::new(pool.clone()));
    let for_internal = (custody.clone(), ids.clone(), batches);
    let of_tokens = (custody.clone(), ids.clone());
    let at_once = move |request| http::internal::at_once(request, &of_tokens.0, &of_tokens.1);
    let configure = move |service: &mut ServiceConfig| {
        service.app_data(for_internal.0.clone()).app_data(for_internal.1.clone());
        service.app_data(for_internal.2.clone());
        http::internal::configure(service);
    };
    let internal =
        listen((sockets.internal, &tls.internal), callers, &mut files, at_once, configure)?;

    let admins = rules(Audience::Callers(Desk::Admin));
    let for_admin = (Data::new(administration.clone()), ids, custody);
    let admin = listen((sockets.admin, &tls.admin), admins, &mut files, nothing, move |service| {
        service.app_data(for_admin.0.clone()).app_data(for_admin.1.clone());
        service.app_data(for_admin.2.clone());
        http::admin::configure(service);
    })?;

    let monitors = rules(Audience::Monitors);
    let for_monitors = Data::new(administration.clone());
    let metrics =
        listen((sockets.metrics, &None), monitors, &mut files, nothing, move |service| {
            service.app_data(for_monitors.clone());
            http::metrics::configure(service);
        })?;
    Ok(([public, internal, admin, metrics].into_iter().flatten().collect(), files))
}

/// Where nothing is answered before a route is looked for.
fn nothing(request: Request) -> Result<AtOnce, Request> {
    Err(request)
}

/// One listener. Its Unix sockets and its TCP places have workers and connections of their own, so
/// that strangers on the network take none from those on this machine.
fn listen(
    (sockets, tls): (Vec<Bound>, &Option<Arc<Tls>>),
    rules: Rules,
    files: &mut Vec<SocketFile>,
    at_once: impl Fn(Request) -> Result<AtOnce, Request> + Clone + Send + 'static,
    configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> Result<Vec<Server>, StartError> {
    let (unix, tcp): (Vec<_>, Vec<_>) =
        sockets.into_iter().partition(|socket| matches!(socket, Bound::Unix(..)));
    let kinds = [(unix, None), (tcp, tls.clone())].into_iter();
    let used = kinds.filter(|(sockets, _)| !sockets.is_empty());
    used.map(|sockets| serve(sockets, rules, files, at_once.clone(), configure.clone())).collect()
}

/// Sockets on their own workers.
fn serve(
    (sockets, tls): (Vec<Bound>, Option<Arc<Tls>>),
    rules: Rules,
    files: &mut Vec<SocketFile>,
    at_once: impl Fn(Request) -> Result<AtOnce, Request> + Clone + Send + 'static,
    configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> Result<Server, StartError> {
    let Rules { audience, workers, connections, hang_up, timeouts } = rules;
    let factory = move || {
        // Each worker comes by here, once for each of its sockets.
        threads::be_called(audience.name());
        threads::take_time(LATE);
        let app = App::new()
            .app_data(PayloadConfig::new(http::BODY_LIMIT))
            .app_data(audience)
            .configure(configure.clone())
            .default_service(web::to(http::problem::not_found))
            .wrap(from_fn(http::identity::refuse_strangers))
            .wrap(from_fn(http::guard::own_pages_only))
            .wrap_fn(http::connection::in_time);
        unless_at_once(app, at_once.clone())
    };
    let of_peers = tls.clone();
    let room = Room::new(audience.name().to_str().unwrap_or_default(), connections.get());
    let mut server = HttpServer::new(factory)
        .workers(workers.get())
        .max_connections(connections.get().div_ceil(workers.get()))
        .client_request_timeout(timeouts.head)
        .keep_alive(http::connection::kept_by_library(tls.as_ref(), timeouts))
        .on_connect(move |stream, notes| {
            http::identity::on_connect(stream, of_peers.as_ref(), notes);
            http::connection::note(stream, notes, audience, timeouts, &room);
        })
        .tls_handshake_timeout(timeouts.handshake)
        // All of them: where fewer are allowed, those that only connect keep the others out.
        .max_connection_rate(usize::MAX)
        .h1_allow_half_closed(hang_up == HangUp::Ignored)
        .disable_signals()
        .shutdown_timeout(DRAIN_SECONDS);
    for socket in sockets {
        server = match socket {
            Bound::Tcp(listener) => match &tls {
                Some(tls) => server.listen_rustls_0_23(listener, tls.server_config()?)?,
                None => server.listen(listener)?,
            },
            Bound::Unix(listener, file) => {
                files.push(file);
                server.listen_uds(listener)?
            }
        };
    }
    Ok(server.run())
}

/// The app, but for what is answered without it.
fn unless_at_once<I, S>(
    app: I,
    at_once: impl Fn(Request) -> Result<AtOnce, Request> + Clone,
) -> impl ServiceFactory<
    Request,
    Config = AppConfig,
    Response = Response<Answer>,
    Error = S::Error,
    InitError = S::InitError,
>
where
    I: IntoServiceFactory<S, Request>,
    S: ServiceFactory<Request, Config = AppConfig, Response = ServiceResponse<Answer>>,
{
    apply_fn_factory(app, move |request: Request, app: &S::Service| {
        let answer = at_once(request).map_err(|request| app.call(request));
        async move {
            match answer {
                Ok(AtOnce::Now(answer)) => Ok(answer),
                Ok(AtOnce::Later(answer)) => Ok(answer.await),
                Err(answer) => Ok(answer.await?.into()),
            }
        }
    })
}
