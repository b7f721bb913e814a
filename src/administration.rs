//! What admins may ask for: each method decides, records, carries out and answers.
//!
//! It knows no HTTP. Every method waits for the disk, so none is for a thread that serves requests.

mod backup;
mod export;
mod fetchers;
pub(crate) mod import;
mod incident;
pub(crate) mod plan;
mod signatures;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jwksd_keystore::id::{KeyId, KeysetName, Revision};
use jwksd_keystore::import::ImportError;
use jwksd_keystore::lifecycle::{Answer, Keyset, Number, Refusal, RotateAt};
use jwksd_keystore::store::backup::BackupError;
use jwksd_keystore::store::{Loaded, Store, StoreError, Tombstone};
use jwksd_keystore::time::Time;

use tokio::sync::Semaphore;

use crate::api;
use crate::audit::Recorded;
use crate::clock::LifecycleClock;
use crate::config::{self, Config, ConfigError};
use crate::custody::{Asker, Custody};
use crate::errands::Errands;
use crate::fetchers::Fetchers;
use crate::gate::{Denied, Permit};
use crate::health::{Health, Subject};
use crate::incident::trusted_until;
use crate::master_key;
use crate::metrics::exposition::Exposition;
use crate::policy::Action;
use crate::rotator::{Actor, Command, Handle, Outcome, ReloadError, StepError};
use crate::sink::{Standing, Standings};
use crate::tls::{OfListeners, TlsError};
use crate::verifiers::UnknownVerifier;
use crate::view;

pub use self::backup::{Backups, Made};
pub use export::ExportError;
pub use import::{ImportOrder, Purpose};
pub use incident::Incidents;

/// The longest reason of a revocation, in characters.
const LONGEST_REASON: usize = 500;

/// For how long an answer waits for what the file of a key set has to say.
const FILE_PATIENCE: Duration = Duration::from_secs(1);

/// What admins may ask for.
pub struct Administration {
    /// Identity and gate.
    pub custody: Arc<Custody>,
    /// What carries commands out.
    pub rotator: Handle,
    /// To read from.
    pub store: Arc<dyn Store>,
    /// Lifecycle time.
    pub clock: Arc<LifecycleClock>,
    /// What is not well.
    pub health: Arc<Health>,
    /// The file that a reload reads.
    pub config_path: PathBuf,
    /// The configuration at the start, to tell what a change of it needs a restart for.
    pub started_with: Config,
    /// The TLS of the listeners.
    pub tls: Arc<OfListeners>,
    /// How the files of JWK Sets stand.
    pub standings: Arc<Standings>,
    /// What backups are made with.
    pub backups: Backups,
    /// One reload at a time, so that configuration and TLS are of the same.
    pub reloading: Mutex<()>,
    /// Room for key files that are being read.
    pub reading: Semaphore,
    /// What is counted and measured.
    pub metrics: Exposition,
    /// The file of the master key.
    pub master_key: master_key::Watch,
    /// Who has fetched what.
    pub fetchers: Arc<Fetchers>,
    /// What reports on incidents are made with.
    pub incidents: Incidents,
    /// Room for plans that are being made, in key sets.
    pub planning: Semaphore,
    /// Room for lists that are being made, in key sets.
    pub listing: Semaphore,
    /// What has acts carried out that may wait.
    pub errands: Errands,
}

/// How many key sets are listed at once: an answer about this many takes 70 MB while it is made.
const LISTED_AT_ONCE: usize = 10_000;

/// Room for lists of as many key sets as are made at once.
pub(crate) fn room_for_lists() -> Semaphore {
    Semaphore::new(LISTED_AT_ONCE)
}

/// Why an admin did not get what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The gate denied it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// There is no such key set.
    #[error("there is no key set {0}")]
    UnknownKeyset(KeysetName),
    /// `expect_active` is missing.
    #[error("give expect_active, the kid that signs now: {0}")]
    ExpectActive(KeyId),
    /// Both `now` and `at`.
    #[error("give either now or at")]
    NowAndAt,
    /// A reason that says nothing, or too much.
    #[error("give a reason of 1 to {LONGEST_REASON} characters")]
    Reason,
    /// `at` is no instant.
    #[error("{0:?} is not an instant: write it like 2026-11-22T03:00:00Z")]
    NotAnInstant(String),
    /// As many key files are being read as may.
    #[error("enough key files are being read already; try again in a moment")]
    Reading,
    /// As many reports are being made as may.
    #[error("enough reports are being made already; try again in a moment")]
    Reports,
    /// The audit cannot be read.
    #[error("the audit cannot be read: {0}")]
    AuditUnreadable(std::io::Error),
    /// As many lines of the audit as are never given.
    #[error("last: give 1 to {}", api::MOST_LINES)]
    Last,
    /// As many plans are being made as may.
    #[error("enough plans are being made already; try again in a moment, or ask for one key set")]
    Planning,
    /// As many lists are being made as may.
    #[error("enough lists are being made already; try again in a moment, or ask for one key set")]
    Listing,
    /// The key file cannot be read.
    #[error(transparent)]
    Key(#[from] ImportError),
    /// A revocation took effect and is durable, but the audit has no line of it.
    #[error("the revocation is durable, but the audit could not record it")]
    NotRecorded,
    /// The rotator did not do it.
    #[error(transparent)]
    Step(#[from] StepError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No backup could be made.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The configuration on disk is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration on disk cannot be put in force.
    #[error(transparent)]
    Reload(#[from] ReloadError),
    /// The files of a listener's TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no such verifier.
    #[error(transparent)]
    Verifier(#[from] UnknownVerifier),
    /// The key cannot be exported so.
    #[error(transparent)]
    Export(#[from] ExportError),
}

impl Administration {
    /// Does something that may wait, on a thread for that. Nothing where it panicked.
    pub async fn errand<T: Send + 'static>(
        self: &Arc<Self>,
        errand: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Option<T> {
        let administration = self.clone();
        let taken = self.errands.take(move || errand(&administration));
        match &taken.no_thread {
            None => self.health.clear(&Subject::Threads),
            Some(error) => {
                let why =
                    format!("none can be started ({error}): acts are done one after the other");
                if self.health.warn(Subject::Threads, &why) {
                    tracing::error!(%error, "no thread can be started for an act");
                }
            }
        }
        taken.done.await.ok()
    }

    /// The key sets that the asker may read.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; [`AdminError::Listing`] where there is no room for all these key sets.
    pub fn list(&self, asker: &Asker) -> Result<api::KeysetList, AdminError> {
        let config = self.custody.config();
        let many = u32::try_from(config.keysets.len().min(LISTED_AT_ONCE)).unwrap_or(u32::MAX);
        let _room = self.listing.try_acquire_many(many).map_err(|_| AdminError::Listing)?;
        let names = self.readable(asker, &config)?;
        let keysets =
            names.iter().map(|name| self.view(&config, name)).collect::<Result<_, _>>()?;
        Ok(api::KeysetList { keysets })
    }

    /// All key sets that the asker may read.
    fn readable(&self, asker: &Asker, config: &Config) -> Result<Vec<KeysetName>, AdminError> {
        let mut names = self.store.keysets()?;
        names.extend(config.keysets.keys().cloned());
        names.retain(|name| self.custody.may(asker, Action::Read, name));
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// One key set: its keys with states and times, and what happens next.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn show(&self, asker: &Asker, keyset: &KeysetName) -> Result<api::Keyset, AdminError> {
        self.permit(asker, Action::Read, "show", keyset, None, None)?;
        self.view(&self.custody.config(), keyset)
    }

    /// Lets the standby sign.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn rotate(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
        request: &api::RotateRequest,
    ) -> Result<api::RotateResponse, AdminError> {
        let when = rotate_at(request)?;
        let detail = match when {
            RotateAt::Waited => "when the standby has waited".to_owned(),
            RotateAt::At(time) => format!("at {time}"),
            RotateAt::Now => "now, without the wait".to_owned(),
        };
        let expect = request.expect_active.as_ref();
        if expect.is_none() && self.custody.may(asker, Action::Rotate, keyset) {
            return Err(self.expect_active(keyset));
        }
        let permit = self.permit(asker, Action::Rotate, "rotate", keyset, expect, Some(&detail))?;
        let expect = expect.cloned().ok_or_else(|| self.expect_active(keyset))?;
        let command = Command::Rotate { expect: expect.clone(), when };
        let outcome = self.rotator.command(permit, keyset, command, actor(asker))?;
        let mut answer = rotated(keyset, expect, &outcome);
        answer.waits_for = self.file_without(keyset, &answer.to);
        answer.fetchers = self.fetchers_of(keyset, &answer.to);
        Ok(answer)
    }

    /// Takes a key out at once.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn revoke(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
        kid: &KeyId,
        request: api::RevokeRequest,
    ) -> Result<api::RevokeResponse, AdminError> {
        check_reason(&request.reason)?;
        let detail = Some(request.reason.as_str());
        let permit = self.permit(asker, Action::Revoke, "revoke", keyset, Some(kid), detail)?;
        let command = Command::Revoke { kid: kid.clone(), reason: request.reason };
        self.carry_out_revocation(asker, permit, keyset, command, Some(kid))
    }

    /// Takes all keys out at once and starts with a fresh one.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn revoke_all(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
        request: api::RevokeAllRequest,
    ) -> Result<api::RevokeResponse, AdminError> {
        check_reason(&request.reason)?;
        if request.expect_active.is_none()
            && self.custody.may(asker, Action::Revoke, keyset)
            && let Some(active) = self.active(keyset)
        {
            return Err(AdminError::ExpectActive(active));
        }
        let detail = Some(request.reason.as_str());
        let permit = self.permit(asker, Action::Revoke, "revoke-all", keyset, None, detail)?;
        let command = Command::RevokeAll { expect: request.expect_active, reason: request.reason };
        self.carry_out_revocation(asker, permit, keyset, command, None)
    }

    /// Takes a verify-only key out before its time.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn retire(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
        kid: &KeyId,
    ) -> Result<api::RetireResponse, AdminError> {
        let permit = self.permit(asker, Action::Rotate, "retire", keyset, Some(kid), None)?;
        let command = Command::Retire { kid: kid.clone() };
        let outcome = self.rotator.command(permit, keyset, command, actor(asker))?;
        let cuts_off_until = outcome.gone.iter().find_map(|gone| gone.retires);
        Ok(api::RetireResponse {
            keyset: keyset.clone(),
            retired: kid.clone(),
            already: outcome.already,
            cuts_off_until: cuts_off_until.map(|time| time.to_string()),
        })
    }

    /// Reads the configuration again.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; then the old one stays in force as a whole.
    pub fn reload(&self, asker: &Asker) -> Result<api::ReloadResponse, AdminError> {
        self.custody.permit(asker, Action::Operate, "reload", None, None, None)?;
        self.reload_for(actor(asker))
    }

    /// The same for the signal, which needs no grant: whoever can send it owns the process.
    ///
    /// # Errors
    ///
    /// As [`Administration::reload`].
    pub fn reload_unasked(&self) -> Result<api::ReloadResponse, AdminError> {
        self.reload_for(Actor { name: "SIGHUP".to_owned(), request_id: None })
    }

    /// That a configuration could not be put in force stays to be seen until one could.
    fn reload_for(&self, actor: Actor) -> Result<api::ReloadResponse, AdminError> {
        let (caller, request_id) = (actor.name.clone(), actor.request_id.clone());
        let outcome = self.try_reload_for(actor);
        match &outcome {
            Ok(reloaded) => {
                log_reload(reloaded, &caller, request_id.as_deref());
                self.health.clear(&Subject::Reload);
            }
            Err(error) => {
                let why = format!("the old configuration stays in force: {error}");
                self.health.warn(Subject::Reload, &why);
            }
        }
        outcome
    }

    fn try_reload_for(&self, actor: Actor) -> Result<api::ReloadResponse, AdminError> {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        let config = Config::load(&self.config_path, self.clock.now().wall)?;
        let needs_restart = self.started_with.needs_restart(&config);
        let tls = config.tls.read()?;
        let before = self.custody.config();
        let changed = self.rotator.reload(config, actor)?;
        self.tls.put_in_force(tls, &self.health);
        // What was read may have been written anew meanwhile.
        self.tls.look(&self.health);
        let after = self.custody.config();
        self.fetchers.put_in_force(after.fetchers.clone());
        let is_gone = |name: &&KeysetName| !after.keysets.contains_key(*name);
        // So that whoever acts on the answer does not act on a file that was not looked at yet.
        self.standings.wait(&changed, FILE_PATIENCE, |standing| standing.asked.is_none());
        let removed = before.keysets.keys().filter(is_gone).cloned().collect();
        // Not before a key set that came with it can sign.
        self.rotator.wait_for_signers();
        Ok(api::ReloadResponse {
            changed,
            removed,
            needs_restart,
            callers_added: callers_beyond(&after, &before),
            callers_removed: callers_beyond(&before, &after),
            warnings: after.warnings().into_iter().chain(self.file_troubles(&after)).collect(),
        })
    }

    /// What the threads of files had to say. No file is looked at here: that may take for ever.
    fn file_troubles(&self, config: &Config) -> Vec<String> {
        let troubles = self.standings.troubles(self.clock.now().lifecycle);
        let configured = troubles.into_iter().filter(|(name, _)| config.keysets.contains_key(name));
        let told = configured.map(|(name, trouble)| format!("keysets.{name}.jwks_file: {trouble}"));
        told.collect()
    }

    /// Whether all is well.
    ///
    /// # Errors
    ///
    /// [`AdminError::Denied`] for a caller without any grant to operate.
    pub fn status(&self, asker: &Asker) -> Result<api::Status, AdminError> {
        match self.custody.permit(asker, Action::Operate, "status", None, None, None) {
            // Who asks what is not well must hear that it is the audit.
            Ok(_) | Err(Denied::Audit(_)) => {}
            Err(denied) => return Err(denied.into()),
        }
        self.master_key.look(&self.health);
        Ok(view::status(&self.health.findings()))
    }

    fn permit(
        &self,
        asker: &Asker,
        action: Action,
        name: &str,
        keyset: &KeysetName,
        kid: Option<&KeyId>,
        detail: Option<&str>,
    ) -> Result<Permit, Denied> {
        self.custody.permit(asker, action, name, Some(keyset), kid, detail)
    }

    fn carry_out_revocation(
        &self,
        asker: &Asker,
        permit: Permit,
        keyset: &KeysetName,
        command: Command,
        kid: Option<&KeyId>,
    ) -> Result<api::RevokeResponse, AdminError> {
        let recorded = permit.recorded();
        let outcome = self.rotator.command(permit, keyset, command, actor(asker))?;
        if recorded == Recorded::No {
            return Err(AdminError::NotRecorded);
        }
        let gone: Vec<KeyId> = outcome.gone.iter().map(|gone| gone.kid.clone()).collect();
        self.record_incident(asker, keyset, &gone);
        let left = kid.and_then(|kid| self.left(keyset, kid)).unwrap_or(outcome.at);
        let exported = self.exported(keyset, kid.map_or(&gone[..], std::slice::from_ref));
        let revoked = if outcome.already { kid.cloned().into_iter().collect() } else { gone };
        Ok(api::RevokeResponse {
            keyset: keyset.clone(),
            revoked,
            already: outcome.already,
            active: outcome.active,
            trusted_until: trusted_until(outcome.set.facts.as_ref(), left).to_string(),
            exported,
            still_in: self.file_still_with_left(keyset),
        })
    }

    /// The file of a key set that this key waits for.
    fn file_without(&self, keyset: &KeysetName, kid: &KeyId) -> Option<String> {
        let standing = self.standings.of(keyset)?;
        let is_held = standing.held.values().any(|held| held.kid == *kid);
        is_held.then(|| standing.file.display().to_string())
    }

    /// The file of a key set that may have keys which left the set, after a moment.
    fn file_still_with_left(&self, keyset: &KeysetName) -> Option<String> {
        let is_clean = |standing: &Standing| standing.stale.is_empty();
        self.standings.wait(std::slice::from_ref(keyset), FILE_PATIENCE, is_clean);
        let standing = self.standings.of(keyset)?;
        (!is_clean(&standing)).then(|| standing.file.display().to_string())
    }

    /// Why nothing is done without `expect_active`: it must be given so that a retry does nothing
    /// twice.
    fn expect_active(&self, keyset: &KeysetName) -> AdminError {
        let is_configured = self.custody.config().keysets.contains_key(keyset);
        let refusal = match (self.custody.ring(keyset), self.active(keyset)) {
            (_, Some(kid)) => return AdminError::ExpectActive(kid),
            (None, None) if !is_configured => return AdminError::UnknownKeyset(keyset.clone()),
            (_, None) if is_configured => Refusal::NoSigner,
            (_, None) => Refusal::NotConfigured,
        };
        StepError::Refused { refusal, active: None }.into()
    }

    /// The kid that signs, as published: also while the store is not available.
    fn active(&self, keyset: &KeysetName) -> Option<KeyId> {
        let ring = self.custody.ring(keyset)?;
        let signer = ring.signer_at(self.clock.now().lifecycle).ok()?;
        Some(signer.kid().clone())
    }

    fn view(&self, config: &Config, keyset: &KeysetName) -> Result<api::Keyset, AdminError> {
        let configured = config.keysets.get(keyset);
        let loaded = self.known(configured, keyset)?;
        let tombstones = self.store.tombstones(keyset)?;
        Ok(self.view_of(keyset, configured, &loaded, &tombstones))
    }

    fn view_of(
        &self,
        keyset: &KeysetName,
        configured: Option<&config::Keyset>,
        loaded: &Loaded,
        tombstones: &[Tombstone],
    ) -> api::Keyset {
        let (now, standing) = (self.clock.now().lifecycle, self.standings.of(keyset));
        view::of_keyset(keyset, configured, standing.as_ref(), loaded, tombstones, now)
    }

    /// What is stored of a key set that there is.
    fn known(
        &self,
        configured: Option<&config::Keyset>,
        keyset: &KeysetName,
    ) -> Result<Loaded, AdminError> {
        let loaded = self.store.load(keyset)?;
        if configured.is_none() && loaded.revision == Revision::default() {
            return Err(AdminError::UnknownKeyset(keyset.clone()));
        }
        Ok(loaded)
    }
}

fn log_reload(reloaded: &api::ReloadResponse, caller: &str, request_id: Option<&str>) {
    let names = |names: &[KeysetName]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
    tracing::info!(
        caller,
        request_id,
        changed = ?names(&reloaded.changed),
        removed = ?names(&reloaded.removed),
        needs_restart = ?reloaded.needs_restart,
        callers_added = ?reloaded.callers_added,
        callers_removed = ?reloaded.callers_removed,
        warnings = reloaded.warnings.len(),
        "reloaded"
    );
}

/// The names of the callers that only the first configuration has.
fn callers_beyond(config: &Config, other: &Config) -> Vec<String> {
    let is_other = |name: &str| other.callers.iter().any(|caller| caller.name == name);
    let names = config.callers.iter().map(|caller| &caller.name);
    names.filter(|name| !is_other(name)).cloned().collect()
}

fn check_reason(reason: &str) -> Result<(), AdminError> {
    let is_told = !reason.trim().is_empty() && reason.chars().count() <= LONGEST_REASON;
    if is_told { Ok(()) } else { Err(AdminError::Reason) }
}

fn actor(asker: &Asker) -> Actor {
    Actor { name: asker.name().to_owned(), request_id: Some(asker.request_id.clone()) }
}

fn rotate_at(request: &api::RotateRequest) -> Result<RotateAt, AdminError> {
    match (&request.at, request.now) {
        (None, false) => Ok(RotateAt::Waited),
        (None, true) => Ok(RotateAt::Now),
        (Some(text), false) => {
            text.parse().map(RotateAt::At).map_err(|_| AdminError::NotAnInstant(text.clone()))
        }
        (Some(_), true) => Err(AdminError::NowAndAt),
    }
}

fn rotated(keyset: &KeysetName, expect: KeyId, outcome: &Outcome) -> api::RotateResponse {
    let (to, activates, refused_until) = match &outcome.answer {
        Answer::Rotation { to, activates, refused_until, .. } => {
            (*to, Some(*activates), *refused_until)
        }
        Answer::AlreadyRotated { active } => (*active, activation(&outcome.set, *active), None),
        Answer::Done | Answer::Imported { .. } | Answer::Trusted { .. } => {
            (Number::NONE, None, None)
        }
    };
    api::RotateResponse {
        keyset: keyset.clone(),
        already: outcome.already,
        to: outcome.kid(to).cloned().unwrap_or_else(|| expect.clone()),
        from: expect,
        activates: activates.map(|time| time.to_string()),
        refused_until: refused_until.map(|time| time.to_string()),
        waits_for: None,
        fetchers: None,
        skips: skips(outcome, to).map(|time| time.to_string()),
    }
}

/// The scheduled rotation that a later one takes the place of.
fn skips(outcome: &Outcome, to: Number) -> Option<Time> {
    let (life, facts) = (outcome.set.life(to)?, outcome.set.facts.as_ref()?);
    view::skipped_by(life, facts, outcome.at)
}

fn activation(set: &Keyset, number: Number) -> Option<Time> {
    set.life(number).and_then(|life| life.activates)
}
