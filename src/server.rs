//! The only place that wires: from a configuration to a daemon that serves.

mod listener;

use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use jwksd_keystore::facts::FirstKey;
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::{Store, StoreError};

use self::listener::{Rules, listen_all};
use crate::administration::{self, Administration, Backups, Incidents, import, plan};
use crate::audit::{Audit, AuditError};
use crate::clock::{Clock, LifecycleClock};
use crate::config::{Config, Connections, Listen};
use crate::custody::Custody;
use crate::errands::Errands;
use crate::fetchers::Fetchers;
use crate::health::Health;
use crate::http::connection::Timeouts;
use crate::limits::Limits;
use crate::listeners::{Access, BindError, Bound, Passed, PassedError, SocketFile, bind};
use crate::master_key;
use crate::metrics::exposition::Exposition;
use crate::metrics::{self, Metrics};
use crate::outlook::Outlooks;
use crate::pool::{self, Pool};
use crate::rings::Rings;
use crate::rotator;
use crate::sink::{self, Standings};
use crate::tls::{Files, OfListeners, TlsError};

/// For how many seconds requests that are under way may go on after a stop was asked.
const DRAIN_SECONDS: u64 = 10;

/// For how long of that time batches go on. Then their rest is refused, so that their callers hear
/// of all that was signed before they are cut off.
pub const BATCHES_DRAIN: Duration = Duration::from_secs(DRAIN_SECONDS / 2);

/// All sockets of the daemon.
pub struct Sockets {
    public: Vec<Bound>,
    internal: Vec<Bound>,
    admin: Vec<Bound>,
    metrics: Vec<Bound>,
    /// How many connections each listener may have at once.
    connections: Connections,
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
    /// What the files of JWK Sets are kept with.
    pub sink: sink::Means,
}

/// A daemon that serves.
pub struct Daemon {
    /// What callers may ask for.
    pub custody: Arc<Custody>,
    /// What admins may ask for.
    pub administration: Arc<Administration>,
    /// What is not well.
    pub health: Arc<Health>,
    /// Where the listeners are.
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
    /// For whoever watches the daemon.
    pub metrics: Vec<Listen>,
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
    /// A name such as `localhost` leads elsewhere.
    #[error("{0} is not a loopback address, and a listener for callers or admins needs TLS there")]
    NotLoopback(Listen),
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
        let places = places.chain(&config.metrics);
        passed.check_named(&places.collect::<Vec<_>>())?;
        let mut all = |places: &[Listen], access| {
            let bind = |place| bind(place, access, &mut passed);
            places.iter().map(bind).collect::<Result<Vec<_>, _>>()
        };
        let (internal, admin) = config.socket_access();
        let sockets = Self {
            public: all(&config.public.listen, Access::Everyone)?,
            internal: all(&config.internal, internal)?,
            admin: all(&config.admin, admin)?,
            metrics: all(&config.metrics, Access::Group(None))?,
            connections: config.connections,
        };
        check_loopback(&sockets.internal, config.tls.internal.as_ref())?;
        check_loopback(&sockets.admin, config.tls.admin.as_ref())?;
        Ok(sockets)
    }

    /// The same with room for fewer connections than the configuration allows.
    #[must_use]
    pub fn with_connections(self, connections: Connections) -> Self {
        Self { connections, ..self }
    }

    fn places(&self) -> Places {
        let places = |bound: &[Bound]| bound.iter().map(Bound::place).collect();
        Places {
            public: places(&self.public),
            internal: places(&self.internal),
            admin: places(&self.admin),
            metrics: places(&self.metrics),
        }
    }
}

/// The configuration was judged by its words; what they led to is known only now.
fn check_loopback(sockets: &[Bound], tls: Option<&Files>) -> Result<(), SocketsError> {
    let elsewhere = sockets.iter().map(Bound::place).find(|place| !place.is_local());
    match elsewhere {
        Some(place) if tls.is_none() => Err(SocketsError::NotLoopback(place)),
        Some(_) | None => Ok(()),
    }
}

/// Starts everything: opens the key sets, takes their first steps, then serves.
///
/// # Errors
///
/// [`StartError`]; nothing was served.
pub fn start(foundation: Foundation) -> Result<Daemon, StartError> {
    let Foundation { config, config_path, clock, store, master_keys, sockets, timeouts, sink } =
        foundation;
    let connections = sockets.connections;
    let (administration, rotator, audit) =
        open(config, config_path, clock, store, master_keys, sink)?;
    let cores = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let (pool, pool_ends) = Pool::start(cores)?;
    let places = sockets.places();
    let rules = |audience| Rules::of(audience, &connections, cores, timeouts);
    let (servers, socket_files) = listen_all(sockets, &administration, &pool, rules)?;
    administration.rotator.serving(administration.clock.now().lifecycle);
    Ok(Daemon {
        custody: administration.custody.clone(),
        health: administration.health.clone(),
        administration,
        places,
        servers,
        rotator,
        pool,
        pool_ends,
        kept: Kept { _socket_files: socket_files, audit },
    })
}

/// What there is to serve, the thread of its rotator, which ends only when it is stopped, and its audit,
/// which is to be closed after that.
pub type Opened = (Arc<Administration>, JoinHandle<()>, Arc<Audit>);

/// Opens the key sets and takes their first steps. Nothing listens: for who serves it by other means
/// than sockets, and says so with [`rotator::Handle::serving`].
///
/// # Errors
///
/// [`StartError`]; nothing was served.
pub fn open(
    config: Config,
    config_path: PathBuf,
    clock: Arc<dyn Clock>,
    store: Arc<dyn Store>,
    master_keys: Arc<MasterKeys>,
    sink: sink::Means,
) -> Result<Opened, StartError> {
    let seen = store.seen()?;
    let (wall, since_boot, of_reports) = (clock.clone(), clock.clone(), clock.clone());
    let fetchers = Arc::new(Fetchers::new(clock.clone(), config.fetchers.clone()));
    let metrics = Arc::new(Metrics::new(clock.wall(), &config));
    let store: Arc<dyn Store> =
        Arc::new(metrics::store::Timed::new(store, metrics.store().clone()));
    let tls = Arc::new(OfListeners::new(config.tls.read()?, &clock));
    let clock = Arc::new(LifecycleClock::new(clock, seen, config.smallest_skew()));
    let started_with = config.clone();
    let audit = Audit::open(config.audit.clone(), master_keys.clone(), wall)
        .map_err(|error| StartError::Audit { path: config.audit.path.clone(), error })?;
    let audit = Arc::new(audit);
    let incidents = Incidents::new(config.audit.path.clone(), audit.clone(), of_reports);
    let standings = Arc::new(Standings::default());
    let outlooks = Arc::new(Outlooks::default());
    let (standing, outlook) = (standings.clone(), outlooks.clone());
    let health = Arc::new(Health::new(audit.clone(), clock.clone(), standing, outlook));
    tls.look(&health);
    let rings = Arc::new(Rings::default());
    let limits = Limits::new(since_boot, &config.callers);
    let custody =
        Custody::new(config, rings.clone(), clock.clone(), audit.clone(), limits, metrics.clone());
    let custody = Arc::new(custody);
    let parts = rotator::Parts {
        store: store.clone(),
        master_keys: master_keys.clone(),
        clock: clock.clone(),
        audit: audit.clone(),
        rings,
        custody: custody.clone(),
        health: health.clone(),
        sink,
        standings: standings.clone(),
        outlooks,
        metrics: metrics.clone(),
    };
    let (rotator, thread) = rotator::start(parts, seen)?;
    rotator.wait_for_signers();
    check_signers(&custody, &clock, &health)?;
    let master_key = master_key::Watch::new(&started_with.store.master_key, &master_keys);
    let sources = metrics::exposition::Sources {
        metrics,
        custody: custody.clone(),
        clock: clock.clone(),
        health: health.clone(),
        audit: audit.clone(),
        tls: tls.clone(),
        standings: standings.clone(),
        fetchers: fetchers.clone(),
    };
    let administration = Administration {
        custody,
        rotator,
        store,
        clock,
        health,
        config_path,
        started_with,
        tls,
        standings,
        backups: Backups { master_keys, audit: audit.clone(), one_at_a_time: Mutex::default() },
        reloading: Mutex::default(),
        reading: import::room(),
        metrics: Exposition::of(sources),
        master_key,
        fetchers,
        incidents,
        planning: plan::room(),
        listing: administration::room_for_lists(),
        errands: Errands::start()?,
    };
    Ok((Arc::new(administration), thread, audit))
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
            let findings = health.findings();
            let why = findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            return Err(StartError::NoFirstKey { keyset: keyset.clone(), why });
        }
    }
    Ok(())
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
