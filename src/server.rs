//! The only place that wires: from a configuration to a daemon that serves.

use std::ffi::CStr;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data, PayloadConfig, ServiceConfig};
use actix_web::{App, HttpServer};
use jwksd_keystore::crypto::CryptoError;
use jwksd_keystore::facts::FirstKey;
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::{Store, StoreError};

use crate::administration::Administration;
use crate::audit::{Audit, AuditError};
use crate::clock::{Clock, LifecycleClock};
use crate::config::{Config, Connections, Listen};
use crate::custody::Custody;
use crate::health::Health;
use crate::http;
use crate::http::connection::{Audience, Timeouts};
use crate::http::identity::RequestIds;
use crate::limits::{Desk, Limits};
use crate::listeners::{Access, BindError, Bound, Passed, PassedError, SocketFile, bind};
use crate::pool::{self, Pool};

use crate::rings::Rings;
use crate::rotator;
use crate::threads;
use crate::tls::{Listeners, Tls, TlsError};

/// For how many seconds requests that are under way may go on after a stop was asked.
const DRAIN_SECONDS: u64 = 10;

/// For how long of that time batches go on. Then their rest is refused, so that their callers hear
/// of all that was signed before they are cut off.
pub const BATCHES_DRAIN: Duration = Duration::from_secs(DRAIN_SECONDS / 2);

/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(5);

/// All sockets of the daemon.
pub struct Sockets {
    public: Vec<Bound>,
    internal: Vec<Bound>,
    admin: Vec<Bound>,
}

/// What a daemon is made of.
pub struct Foundation {
    /// What it shall do.
    pub config: Config,
    /// Where a reload finds its configuration.
    pub config_path: PathBuf,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where key sets are kept.
    pub store: Arc<dyn Store>,
    /// What secrets are sealed with.
    pub master_keys: Arc<MasterKeys>,
    /// Where it listens.
    pub sockets: Sockets,
    /// How long peers may take.
    pub timeouts: Timeouts,
}

/// A daemon that serves.
pub struct Daemon {
    /// What callers may ask for.
    pub custody: Arc<Custody>,
    /// What admins may ask for.
    pub administration: Arc<Administration>,
    /// What is not well.
    pub health: Arc<Health>,
    /// Where the listeners are: public, internal, admin.
    pub places: Places,
    /// The listeners at work. Each ends only when it is stopped.
    pub servers: Vec<Server>,
    /// The rotator's thread. It ends only when it is stopped.
    pub rotator: JoinHandle<()>,
    /// What signs batches.
    pub pool: Pool,
    /// Tells when threads of the pool ended. They end only when they are stopped.
    pub pool_ends: pool::Ends,
    kept: Kept,
}

/// What is kept until the end, and closed then.
struct Kept {
    /// Removed on drop.
    _socket_files: Vec<SocketFile>,
    audit: Arc<Audit>,
}

/// Where the listeners are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// For everyone.
    pub public: Vec<Listen>,
    /// For callers.
    pub internal: Vec<Listen>,
    /// For admins.
    pub admin: Vec<Listen>,
}

/// Why there are no sockets.
#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    /// A place cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A passed socket is at no place of the configuration.
    #[error(transparent)]
    Passed(#[from] PassedError),
}

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit cannot be written.
    #[error("{}: {error}", path.display())]
    Audit {
        /// The file.
        path: PathBuf,
        /// Why.
        error: AuditError,
    },
    /// A key set cannot be opened or begun.
    #[error(transparent)]
    Rotator(#[from] rotator::StartError),
    /// The first key of a set could not be made.
    #[error("the key set {keyset} has no active key: {why}")]
    NoFirstKey {
        /// The key set.
        keyset: KeysetName,
        /// What is not well.
        why: String,
    },
    /// There is no randomness.
    #[error(transparent)]
    Random(#[from] CryptoError),
    /// A listener cannot be started.
    #[error("cannot start a listener: {0}")]
    Io(#[from] io::Error),
    /// A listener cannot have the TLS of its table.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Sockets {
    /// All sockets of a configuration: those that were passed, and the others bound.
    ///
    /// # Errors
    ///
    /// The first that was passed and is not wanted, or cannot be bound; the others are released.
    pub fn bind(config: &Config, mut passed: Passed) -> Result<Self, SocketsError> {
        let places = config.public.listen.iter().chain(&config.internal).chain(&config.admin);
        passed.check_named(&places.collect::<Vec<_>>())?;
        let mut all = |places: &[Listen], access| {
            let bind = |place| bind(place, access, &mut passed);
            places.iter().map(bind).collect::<Result<Vec<_>, _>>()
        };
        let (internal, admin) = config.socket_access();
        Ok(Self {
            public: all(&config.public.listen, Access::Everyone)?,
            internal: all(&config.internal, internal)?,
            admin: all(&config.admin, admin)?,
        })
    }

    fn places(&self) -> Places {
        let places = |bound: &[Bound]| bound.iter().map(Bound::place).collect();
        Places {
            public: places(&self.public),
            internal: places(&self.internal),
            admin: places(&self.admin),
        }
    }
}

/// Starts everything: opens the key sets, takes their first steps, then serves.
///
/// # Errors
///
/// [`StartError`]; nothing was served.
pub fn start(foundation: Foundation) -> Result<Daemon, StartError> {
    let Foundation { config, config_path, clock, store, master_keys, sockets, timeouts } =
        foundation;
    let seen = store.seen()?;
    let (wall, since_boot) = (clock.clone(), clock.clone());
    let connections = config.connections;
    let tls = Arc::new(Listeners::new(config.tls.read()?, &clock));
    let clock = Arc::new(LifecycleClock::new(clock, seen, config.smallest_skew()));
    let started_with = config.clone();
    let audit = Audit::open(config.audit.clone(), master_keys.clone(), wall)
        .map_err(|error| StartError::Audit { path: config.audit.path.clone(), error })?;
    let audit = Arc::new(audit);
    let health = Arc::new(Health::new(audit.clone(), clock.clone()));
    tls.look(&health);
    let rings = Arc::new(Rings::default());
    let limits = Limits::new(since_boot, &config.callers);
    let custody = Custody::new(config, rings.clone(), clock.clone(), audit.clone(), limits);
    let custody = Arc::new(custody);
    let parts = rotator::Parts {
        store: store.clone(),
        master_keys,
        clock: clock.clone(),
        audit: audit.clone(),
        rings,
        custody: custody.clone(),
        health: health.clone(),
    };
    let (handle, thread) = rotator::start(parts, seen)?;
    handle.settle();
    check_signers(&custody, &clock, &health)?;
    let administration = Arc::new(Administration {
        custody: custody.clone(),
        rotator: handle,
        store,
        clock,
        health: health.clone(),
        config_path,
        started_with,
        tls: tls.clone(),
    });
    let ids = Data::new(RequestIds::new()?);
    let cores = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let (pool, pool_ends) = Pool::start(cores)?;
    let places = sockets.places();
    let mut socket_files = Vec::new();
    let for_public = (Data::from(custody.clone()), Data::new(health.clone()));
    let for_internal = (
        Data::from(custody.clone()),
        ids.clone(),
        Data::new(http::batch::Service::new(pool.clone())),
    );
    let for_admin = (Data::new(administration.clone()), ids, Data::from(custody.clone()));
    let rules = |audience| Rules::of(audience, &connections, cores, timeouts);
    let files = &mut socket_files;
    let public =
        listen((sockets.public, &tls.public), rules(Audience::Anyone), files, move |service| {
            service.app_data(for_public.0.clone()).app_data(for_public.1.clone());
            http::health::configure(service);
            http::public::configure(service);
        })?;
    let desk = rules(Audience::Callers(Desk::Internal));
    let internal = listen((sockets.internal, &tls.internal), desk, files, move |service| {
        service.app_data(for_internal.0.clone()).app_data(for_internal.1.clone());
        service.app_data(for_internal.2.clone());
        http::internal::configure(service);
    })?;
    let desk = rules(Audience::Callers(Desk::Admin));
    let admin = listen((sockets.admin, &tls.admin), desk, files, move |service| {
        service.app_data(for_admin.0.clone()).app_data(for_admin.1.clone());
        service.app_data(for_admin.2.clone());
        http::admin::configure(service);
    })?;
    let servers = [public, internal, admin].into_iter().flatten().collect();
    administration.rotator.serving();
    let kept = Kept { _socket_files: socket_files, audit };
    Ok(Daemon {
        custody,
        administration,
        health,
        places,
        servers,
        rotator: thread,
        pool,
        pool_ends,
        kept,
    })
}

/// A daemon is ready when every set signs, but those that wait for an import.
fn check_signers(
    custody: &Custody,
    clock: &LifecycleClock,
    health: &Health,
) -> Result<(), StartError> {
    let now = clock.now().lifecycle;
    for (keyset, settings) in &custody.config().keysets {
        let signs = custody.ring(keyset).is_some_and(|ring| ring.signer_at(now).is_ok());
        if !signs && settings.facts.first_key == FirstKey::Generate {
            let why = health.problems().join("; ");
            return Err(StartError::NoFirstKey { keyset: keyset.clone(), why });
        }
    }
    Ok(())
}

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
struct Rules {
    audience: Audience,
    workers: NonZero<usize>,
    /// How many there may be over all workers, on Unix sockets and again over TCP.
    connections: NonZero<usize>,
    hang_up: HangUp,
    timeouts: Timeouts,
}

impl Rules {
    /// Only signing takes a worker for each core.
    fn of(
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
        };
        Self { audience, workers, connections, hang_up, timeouts }
    }
}

/// What the threads of a listener are called, for whoever looks at the process.
fn name_of(audience: Audience) -> &'static CStr {
    match audience {
        Audience::Anyone => c"public",
        Audience::Callers(Desk::Internal) => c"internal",
        Audience::Callers(Desk::Admin) => c"admin",
    }
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
        threads::be_called(name_of(audience));
        App::new()
            .app_data(PayloadConfig::new(http::BODY_LIMIT))
            .configure(configure.clone())
            .default_service(web::to(http::problem::not_found))
            .wrap(from_fn(http::identity::refuse_strangers))
            .wrap_fn(http::connection::in_time)
    };
    let of_peers = tls.clone();
    let mut server = HttpServer::new(factory)
        .workers(workers.get())
        .max_connections(connections.get().div_ceil(workers.get()))
        .client_request_timeout(timeouts.head)
        .keep_alive(timeouts.idle)
        .on_connect(move |stream, notes| {
            http::identity::on_connect(stream, of_peers.as_ref(), notes);
            http::connection::note(stream, notes, audience, timeouts);
        })
        .tls_handshake_timeout(HANDSHAKE_WITHIN)
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

impl Drop for Kept {
    fn drop(&mut self) {
        self.audit.close();
    }
}

impl Daemon {
    /// The handles that stop the listeners.
    #[must_use]
    pub fn handles(&self) -> Vec<ServerHandle> {
        self.servers.iter().map(Server::handle).collect()
    }

    /// Takes apart what is to be watched from what is to be kept until the end.
    #[must_use]
    pub fn into_parts(self) -> (Vec<Server>, JoinHandle<()>, pool::Ends, impl Sized) {
        (self.servers, self.rotator, self.pool_ends, self.kept)
    }
}
