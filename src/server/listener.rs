//! The listeners: what each serves, on how many workers, and within which limits.

use std::num::NonZero;
use std::sync::Arc;

use actix_web::dev::Server;
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, PayloadConfig, ServiceConfig};
use actix_web::{App, HttpServer};

use super::{DRAIN_SECONDS, Sockets, StartError};
use crate::administration::Administration;
use crate::config::Connections;
use crate::http;
use crate::http::connection::{Audience, Timeouts};
use crate::http::identity::RequestIds;
use crate::http::room::Room;
use crate::limits::Desk;
use crate::listeners::{Bound, SocketFile};
use crate::pool::Pool;
use crate::threads;
use crate::tls::Tls;

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
    let public = listen((sockets.public, &tls.public), anyone, &mut files, move |service| {
        service.app_data(for_public.0.clone()).app_data(for_public.1.clone());
        service.app_data(fetchers.clone());
        http::health::configure(service);
        http::public::configure(service);
    })?;

    let callers = rules(Audience::Callers(Desk::Internal));
    let batches = Data::new(http::batch::Service::new(pool.clone()));
    let for_internal = (custody.clone(), ids.clone(), batches);
    let internal =
        listen((sockets.internal, &tls.internal), callers, &mut files, move |service| {
            service.app_data(for_internal.0.clone()).app_data(for_internal.1.clone());
            service.app_data(for_internal.2.clone());
            http::internal::configure(service);
        })?;

    let admins = rules(Audience::Callers(Desk::Admin));
    let for_admin = (Data::new(administration.clone()), ids, custody);
    let admin = listen((sockets.admin, &tls.admin), admins, &mut files, move |service| {
        service.app_data(for_admin.0.clone()).app_data(for_admin.1.clone());
        service.app_data(for_admin.2.clone());
        http::admin::configure(service);
    })?;

    let monitors = rules(Audience::Monitors);
    let for_monitors = Data::new(administration.clone());
    let metrics = listen((sockets.metrics, &None), monitors, &mut files, move |service| {
        service.app_data(for_monitors.clone());
        http::metrics::configure(service);
    })?;
    Ok(([public, internal, admin, metrics].into_iter().flatten().collect(), files))
}

/// One listener. Its Unix sockets and its TCP places have workers and connections of their own, so
/// that strangers on the network take none from those on this machine.
fn listen(
    (sockets, tls): (Vec<Bound>, &Option<Arc<Tls>>),
    rules: Rules,
    files: &mut Vec<SocketFile>,
    configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> Result<Vec<Server>, StartError> {
    let (unix, tcp): (Vec<_>, Vec<_>) =
        sockets.into_iter().partition(|socket| matches!(socket, Bound::Unix(..)));
    let kinds = [(unix, None), (tcp, tls.clone())].into_iter();
    let used = kinds.filter(|(sockets, _)| !sockets.is_empty());
    used.map(|sockets| serve(sockets, rules, files, configure.clone())).collect()
}

/// Sockets on their own workers.
fn serve(
    (sockets, tls): (Vec<Bound>, Option<Arc<Tls>>),
    rules: Rules,
    files: &mut Vec<SocketFile>,
    configure: impl Fn(&mut ServiceConfig) + Clone + Send + 'static,
) -> Result<Server, StartError> {
    let Rules { audience, workers, connections, hang_up, timeouts } = rules;
    let factory = move || {
        // Each worker comes by here, once for each of its sockets.
        threads::be_called(audience.name());
        App::new()
            .app_data(PayloadConfig::new(http::BODY_LIMIT))
            .app_data(audience)
            .configure(configure.clone())
            .default_service(web::to(http::problem::not_found))
            .wrap(from_fn(http::identity::refuse_strangers))
            .wrap(from_fn(http::guard::own_pages_only))
            .wrap_fn(http::connection::in_time)
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
