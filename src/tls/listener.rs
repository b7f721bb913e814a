//! The TLS of one listener, and of all: what is in force, and how other files come to be.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use jwksd_keystore::time::Time;
use rustls::ServerConfig;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::{NoServerSessionStorage, ParsedCertificate};

use super::certificate::Standing;
use super::handshake::Live;
use super::material::{Contents, Files, Material, MaterialError};
use super::provider;
use crate::clock::Clock;
use crate::health::{Health, Subject};
use crate::hosts::Host;
use crate::secret_file::Reader;

/// How often the files are looked at.
pub const WATCH_EVERY: Duration = Duration::from_secs(2);

/// The tables `[public.tls]`, `[internal.tls]` and `[admin.tls]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// `[public.tls]`
    pub public: Option<Files>,
    /// `[internal.tls]`
    pub internal: Option<Files>,
    /// `[admin.tls]`
    pub admin: Option<Files>,
}

/// The TLS of the listeners that have a table.
pub struct OfListeners {
    /// Of the public listener.
    pub public: Option<Arc<Tls>>,
    /// Of the internal listener.
    pub internal: Option<Arc<Tls>>,
    /// Of the admin listener.
    pub admin: Option<Arc<Tls>>,
}

/// The TLS of a listener.
pub struct Tls {
    pub(super) table: &'static str,
    clock: Arc<dyn Clock>,
    current: ArcSwap<InForce>,
    watch: Mutex<Watch>,
}

/// What is in force.
pub(super) struct InForce {
    pub(super) material: Material,
    /// Counts what was in force, from 1.
    pub(super) generation: u64,
}

/// What is known of the files.
struct Watch {
    files: Files,
    /// Why they were of no use at the last look.
    failed: Option<String>,
    /// What the log has heard of how long the certificate is valid.
    told: Option<String>,
}

/// What a reload read, not in force yet.
pub struct Prepared {
    public: Option<(Files, Material)>,
    internal: Option<(Files, Material)>,
    admin: Option<(Files, Material)>,
}

/// Why a listener cannot have TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Its files cannot be used.
    #[error("[{table}]: {error}")]
    Files {
        /// The table of the listener.
        table: &'static str,
        /// Why.
        error: MaterialError,
    },
    /// The library refuses.
    #[error("TLS: {0}")]
    Library(#[from] rustls::Error),
}

impl Tables {
    /// Reads the files of all tables for whoever checks a configuration, and says what is worth
    /// saying of them.
    ///
    /// # Errors
    ///
    /// The first that cannot be used.
    pub fn check(&self, now: Time) -> Result<Vec<String>, TlsError> {
        let mut warnings = Vec::new();
        let tables = [(PUBLIC, &self.public), (INTERNAL, &self.internal), (ADMIN, &self.admin)];
        for (table, files) in tables {
            let Some(files) = files else { continue };
            let said = match Material::read(files, Reader::Checker) {
                Ok(material) => material.warning(now),
                Err(error) => match error.missing_credential() {
                    Some(path) => Some(format!(
                        "{} is there only while the service runs, and was not checked",
                        path.display()
                    )),
                    None => return Err(TlsError::Files { table, error }),
                },
            };
            warnings.extend(said.map(|said| format!("{table}: {said}")));
        }
        Ok(warnings)
    }

    /// Reads the files of all tables.
    ///
    /// # Errors
    ///
    /// The first that cannot be used.
    pub fn read(&self) -> Result<Prepared, TlsError> {
        let read = |table, files: &Option<Files>| {
            let read = |files: &Files| Ok((files.clone(), Material::read(files, Reader::User)?));
            files.as_ref().map(read).transpose().map_err(|error| TlsError::Files { table, error })
        };
        Ok(Prepared {
            public: read(PUBLIC, &self.public)?,
            internal: read(INTERNAL, &self.internal)?,
            admin: read(ADMIN, &self.admin)?,
        })
    }
}

const PUBLIC: &str = "public.tls";
const INTERNAL: &str = "internal.tls";
const ADMIN: &str = "admin.tls";

impl OfListeners {
    /// The TLS of the listeners with what was read. Certificates are judged at the wall clock.
    #[must_use]
    pub fn new(prepared: Prepared, clock: &Arc<dyn Clock>) -> Self {
        let tls = |table, read: Option<(Files, Material)>| {
            read.map(|(files, material)| Arc::new(Tls::new(table, files, material, clock.clone())))
        };
        Self {
            public: tls(PUBLIC, prepared.public),
            internal: tls(INTERNAL, prepared.internal),
            admin: tls(ADMIN, prepared.admin),
        }
    }

    /// Puts in force what a reload read. A table that came or went waits for the next start.
    pub fn put_in_force(&self, prepared: Prepared, health: &Health) {
        let pairs = [
            (&self.public, prepared.public),
            (&self.internal, prepared.internal),
            (&self.admin, prepared.admin),
        ];
        for (tls, read) in pairs {
            if let (Some(tls), Some((files, material))) = (tls, read) {
                tls.put_in_force(files, material, health);
            }
        }
    }

    /// Looks whether the files have changed, and takes what fits together. What does not is told at
    /// the second look: at the first, someone may be about to write the rest.
    pub fn look(&self, health: &Health) {
        for tls in self.all() {
            tls.look(health);
        }
    }

    /// When the certificate ends that each listener shows, by the names of the listeners.
    pub fn certificate_ends(&self) -> impl Iterator<Item = (&'static str, Time)> {
        let listeners =
            [("public", &self.public), ("internal", &self.internal), ("admin", &self.admin)];
        listeners.into_iter().filter_map(|(listener, tls)| {
            Some((listener, tls.as_ref()?.in_force().material.validity.ends))
        })
    }

    /// Whether any listener has TLS.
    #[must_use]
    pub fn are_any(&self) -> bool {
        self.all().next().is_some()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Tls>> {
        [&self.public, &self.internal, &self.admin].into_iter().flatten()
    }
}

impl Tls {
    fn new(table: &'static str, files: Files, material: Material, clock: Arc<dyn Clock>) -> Self {
        let current = ArcSwap::from_pointee(InForce { material, generation: 1 });
        let watch = Mutex::new(Watch { files, failed: None, told: None });
        Self { table, clock, current, watch }
    }

    /// What the sockets of the listener speak from now on, whatever comes in force later.
    ///
    /// # Errors
    ///
    /// [`TlsError::Library`].
    pub fn server_config(self: &Arc<Self>) -> Result<ServerConfig, TlsError> {
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms;
        let live = Arc::new(Live::new(self.clone(), algorithms));
        let mut config = ServerConfig::builder_with_details(provider, live.clone())
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(live.clone())
            .with_cert_resolver(live);
        // Whoever resumes a session shows no certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// Whether the certificate that is shown has this name, as clients judge it.
    #[must_use]
    pub fn is_for(&self, host: &Host) -> bool {
        let in_force = self.in_force();
        let certificate = in_force.material.shown.end_entity_cert();
        let parsed = certificate.and_then(ParsedCertificate::try_from);
        let name = match host {
            Host::Name(name) => ServerName::try_from(name.as_str()).ok(),
            Host::Address(address) => Some(ServerName::from(*address)),
        };
        parsed
            .ok()
            .zip(name)
            .is_some_and(|(parsed, name)| verify_server_name(&parsed, &name).is_ok())
    }

    pub(super) fn now(&self) -> Time {
        self.clock.wall()
    }

    pub(super) fn in_force(&self) -> Guard<Arc<InForce>> {
        self.current.load()
    }

    fn put_in_force(&self, files: Files, material: Material, health: &Health) {
        let mut watch = self.watch();
        watch.files = files;
        self.take(&mut watch, material, health);
    }

    fn look(&self, health: &Health) {
        let mut watch = self.watch();
        match self.changed(&watch.files) {
            Ok(Some(material)) => self.take(&mut watch, material, health),
            Ok(None) => {
                self.forgive(&mut watch, health);
                self.tell_validity(&mut watch, health);
            }
            Err(error) => self.take_clients_alone(&mut watch, &error, health),
        }
    }

    /// Leaves what is shown in force, because of `error`, and takes the CAs of clients all the same:
    /// one that was taken away must be gone. If they cannot be read, that is no mere warning.
    fn take_clients_alone(&self, watch: &mut Watch, error: &MaterialError, health: &Health) {
        let found = self.current.load().material.with_clients_of(&watch.files);
        match found {
            Ok(clients) => {
                health.clear(&Subject::ClientCa(self.table));
                if let Some(material) = clients {
                    self.replace(material);
                    tracing::info!("{}: other CAs of clients are in force", self.table);
                }
            }
            Err(error) if watch.failed.is_some() => {
                let why = format!("{error}; clients of the CAs before are let in");
                health.report(Subject::ClientCa(self.table), &why);
            }
            Err(_) => {}
        }
        self.blame(watch, error, health);
        self.tell_validity(watch, health);
    }

    /// What the files hold, if it is another than what is in force.
    fn changed(&self, files: &Files) -> Result<Option<Material>, MaterialError> {
        let contents = Contents::read(files, Reader::User)?;
        if contents.digest() == self.current.load().material.digest {
            return Ok(None);
        }
        Material::of(&contents, files).map(Some)
    }

    fn take(&self, watch: &mut Watch, material: Material, health: &Health) {
        let (now, current) = (self.now(), self.current.load());
        if !material.validity.holds_at(now) && current.material.validity.holds_at(now) {
            let path = watch.files.certificate.clone();
            let why = material.warning(now).unwrap_or_default();
            return self.take_clients_alone(
                watch,
                &MaterialError::NotValidNow { path, why },
                health,
            );
        }
        if material.digest != current.material.digest {
            let ends = material.validity.ends;
            self.replace(material);
            tracing::info!(
                "{}: new files are in force; the certificate ends at {ends}",
                self.table
            );
        }
        self.forgive(watch, health);
        self.tell_validity(watch, health);
    }

    fn replace(&self, material: Material) {
        let generation = self.current.load().generation + 1;
        self.current.store(Arc::new(InForce { material, generation }));
    }

    fn forgive(&self, watch: &mut Watch, health: &Health) {
        watch.failed = None;
        health.clear(&Subject::ClientCa(self.table));
        health.clear(&Subject::TlsFiles(self.table));
    }

    fn blame(&self, watch: &mut Watch, error: &MaterialError, health: &Health) {
        let why = error.to_string();
        if watch.failed.as_ref() == Some(&why) {
            let why = format!("{why}; what was in force before stays");
            if health.warn(Subject::TlsFiles(self.table), &why) {
                tracing::error!("{}: {why}", self.table);
            }
        }
        watch.failed = Some(why);
    }

    fn tell_validity(&self, watch: &mut Watch, health: &Health) {
        let (now, current) = (self.now(), self.current.load());
        let warning = current.material.warning(now);
        let what = Subject::Certificate(self.table);
        match (&warning, current.material.validity.at(now)) {
            (Some(why), Standing::Ended | Standing::NotYet) => health.report(what, why),
            (Some(why), Standing::EndsSoon | Standing::Good) => {
                health.warn(what, why);
            }
            (None, _) => health.clear(&what),
        }
        if watch.told != warning {
            if let Some(why) = &warning {
                tracing::warn!("{}: {why}", self.table);
            }
            watch.told = warning;
        }
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
