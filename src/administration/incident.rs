//! What an incident needs: of one key, or of all in a set; and what is recorded of it by itself.
//!
//! The facts come from the audit, which may be long. So it is read on a thread of low priority, one
//! report at a time and for a bounded time, and nothing that has to be quick waits for it: a revocation
//! is answered before.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{io, thread};

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::{Number, Origin};
use jwksd_keystore::store::{Loaded, Tombstone};
use jwksd_keystore::time::Time;
use tokio::sync::Semaphore;

use super::{AdminError, Administration};
use crate::api::{self, KeyState};
use crate::audit::usage::{self, Asked, Birth, OfKey, Question, Usage};
use crate::audit::{Audit, Decision, Line, newest};
use crate::clock::Clock;
use crate::custody::Asker;
use crate::fetchers::Fetcher;
use crate::incident::{self, Departed, Known, Target};
use crate::policy::Action;
use crate::rotator::StepError;
use crate::threads;
use crate::verifiers::Catalogue;

/// The act's name in the audit.
const NAME: &str = crate::audit::INCIDENT;

/// For how long the audit is read for one report.
const BUDGET: Duration = Duration::from_secs(10);

/// How many lines of the audit are given where nobody says how many.
const LINES: usize = 50;

/// How many fetchers are named.
const MOST_FETCHERS: usize = 50;

/// How many reports may wait for their turn.
const MOST_WAITING: usize = 4;

/// How many revocations may wait to be recorded with what their keys signed. Whoever revokes on and on has
/// the rest of them in the log alone.
const MOST_OWED: usize = 32;

/// What reports are made with.
pub struct Incidents(Arc<Shared>);

struct Shared {
    path: PathBuf,
    audit: Arc<Audit>,
    clock: Arc<dyn Clock>,
    budget: Duration,
    /// One report at a time.
    turn: Mutex<()>,
    /// Room for those who ask.
    waiting: Semaphore,
    /// One revocation at a time that is to be recorded, so that those who ask have their turn.
    recording: Mutex<()>,
    /// How many revocations are still to be recorded.
    owed: Mutex<usize>,
    paid: Condvar,
}

/// A key that a report is about.
struct Subject {
    kid: KeyId,
    number: Number,
    record: Stored,
    state: KeyState,
}

enum Stored {
    Living(jwksd_keystore::lifecycle::Life),
    Left(Box<Tombstone>),
}

impl Incidents {
    /// Reports from the audit at `path`.
    #[must_use]
    pub fn new(path: PathBuf, audit: Arc<Audit>, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Shared {
            path,
            audit,
            clock,
            budget: BUDGET,
            turn: Mutex::default(),
            waiting: Semaphore::new(MOST_WAITING),
            recording: Mutex::default(),
            owed: Mutex::default(),
            paid: Condvar::new(),
        }))
    }

    /// Holds all reports up for as long as what is returned is kept: for tests of what must not wait.
    #[must_use]
    pub fn hold_up(&self) -> impl Drop + '_ {
        lock(&self.0.turn)
    }

    /// Waits until all revocations so far are recorded with what their keys signed, or cannot be.
    pub fn settle(&self) {
        let owed = lock(&self.0.owed);
        let is_owed = |owed: &mut usize| *owed > 0;
        // Nothing is wrong with a number of which a thread panicked.
        drop(self.0.paid.wait_while(owed, is_owed));
    }

    /// What the audit says of these keys.
    fn usage(&self, keyset: &KeysetName, keys: &[Asked]) -> Result<Usage, AdminError> {
        let _room = self.0.waiting.try_acquire().map_err(|_| AdminError::Reports)?;
        let read = thread::scope(|scope| {
            let reader = thread::Builder::new().name("incident".into());
            let read = reader.spawn_scoped(scope, || self.0.read(keyset, keys))?;
            read.join().map_err(|_| io::Error::other("the thread that read it ended"))?
        });
        read.map_err(AdminError::AuditUnreadable)
    }

    /// Records, some time after, what revoked keys had signed. Nothing waits for it.
    pub(super) fn record(&self, keyset: &KeysetName, keys: Vec<Asked>, request_id: &str) {
        let (shared, keyset) = (self.0.clone(), keyset.clone());
        let request_id = request_id.to_owned();
        if !shared.owe() {
            tracing::warn!(%keyset, "what revoked keys had signed is not recorded: too many wait");
            return;
        }
        let recorded = {
            let shared = shared.clone();
            thread::Builder::new().name("incident".into()).spawn(move || {
                shared.record(&keyset, &keys, &request_id);
                shared.pay();
            })
        };
        if let Err(error) = recorded {
            tracing::error!(%error, "what revoked keys had signed is not recorded");
            shared.pay();
        }
    }
}

impl Shared {
    /// Reads the audit in its turn, giving way to whatever else is to be done.
    fn read(&self, keyset: &KeysetName, keys: &[Asked]) -> io::Result<Usage> {
        if let Err(error) = threads::give_way() {
            tracing::warn!(%error, "the thread that reads the audit keeps its priority");
        }
        let _turn = lock(&self.turn);
        let (now, begun) = (self.clock.wall(), self.clock.since_boot());
        let question = Question { keyset, keys, now };
        let may_go_on = || self.clock.since_boot().saturating_sub(begun) < self.budget;
        usage::read(&self.path, question, may_go_on)
    }

    fn record(&self, keyset: &KeysetName, keys: &[Asked], request_id: &str) {
        let _recording = lock(&self.recording);
        let usage = match self.read(keyset, keys) {
            Ok(usage) => usage,
            Err(error) => {
                tracing::error!(%keyset, %error, "what revoked keys had signed is not known");
                return;
            }
        };
        for (kid, of_key) in &usage.keys {
            let summary = incident::summary(of_key, &usage.read);
            tracing::warn!(event = "incident", %keyset, %kid, request_id, "incident: the revoked key {summary}");
            let line = Line {
                keyset: Some(keyset),
                kid: Some(kid),
                reason: Some(&summary),
                request_id: Some(request_id),
                ..Line::new(self.clock.wall(), crate::audit::DAEMON, NAME, Decision::Done)
            };
            if let Err(error) = self.audit.record_durably(&line) {
                tracing::warn!(%keyset, %kid, %error, "an incident is not in the audit");
            }
        }
    }

    /// Whether there is room for one more.
    fn owe(&self) -> bool {
        let mut owed = lock(&self.owed);
        let is_room = *owed < MOST_OWED;
        *owed += usize::from(is_room);
        is_room
    }

    fn pay(&self) {
        *lock(&self.owed) -= 1;
        self.paid.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Administration {
    /// What an incident needs to know of a key, whatever became of it. Reads the audit for at most ten
    /// seconds, after the reports that were asked for before.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn incident(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
        kid: &KeyId,
    ) -> Result<api::Incident, AdminError> {
        self.permit(asker, Action::Read, NAME, keyset, Some(kid), None)?;
        let of_set = self.of_set(keyset)?;
        let subject = of_set.subject(kid).ok_or_else(|| StepError::UnknownKey(kid.clone()))?;
        let mut reports = self.reports(keyset, &of_set, &[subject])?;
        reports.pop().ok_or_else(|| StepError::UnknownKey(kid.clone()).into())
    }

    /// The same of all keys in the JWK Set, and of those that were revoked and may be trusted still.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn keyset_incident(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
    ) -> Result<api::KeysetIncident, AdminError> {
        self.permit(asker, Action::Read, NAME, keyset, None, None)?;
        let of_set = self.of_set(keyset)?;
        let now = self.clock.now().lifecycle;
        let facts = of_set.loaded.head.facts.as_ref();
        let subjects = of_set.subjects().filter(|subject| match &subject.record {
            Stored::Living(_) => true,
            Stored::Left(tombstone) => {
                tombstone.revoked.is_some() && incident::trusted_until(facts, tombstone.left) > now
            }
        });
        let subjects: Vec<Subject> = subjects.collect();
        let keys = self.reports(keyset, &of_set, &subjects)?;
        let revoking = self.revoking(keyset, &of_set, Target::All);
        let revoking = revoking.filter(|_| !of_set.loaded.records.is_empty());
        Ok(api::KeysetIncident { keyset: keyset.clone(), revoking, keys })
    }

    /// The newest lines of the audit. Whoever may see all may look without a line about it, which would
    /// push another out of sight; who may not is refused, and that is recorded.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn audit_tail(
        &self,
        asker: &Asker,
        last: Option<usize>,
    ) -> Result<api::AuditTail, AdminError> {
        let last = last.unwrap_or(LINES);
        if !self.custody.may_operate(asker) {
            self.custody.permit(asker, Action::Operate, "audit-tail", None, None, None)?;
        }
        if !(1..=api::MOST_LINES).contains(&last) {
            return Err(AdminError::Last);
        }
        let lines = newest::lines(&self.incidents.0.path, last);
        Ok(api::AuditTail { lines: lines.map_err(AdminError::AuditUnreadable)? })
    }

    /// When a key left the JWK Set.
    pub(super) fn left(&self, keyset: &KeysetName, kid: &KeyId) -> Option<Time> {
        Some(self.tombstone(keyset, kid)?.left)
    }

    /// Those of keys that left which were exported while they were pending.
    pub(super) fn exported(&self, keyset: &KeysetName, kids: &[KeyId]) -> Vec<KeyId> {
        let is_exported = |kid: &&KeyId| {
            self.tombstone(keyset, kid).is_some_and(|tombstone| tombstone.life.exported.is_some())
        };
        kids.iter().filter(is_exported).cloned().collect()
    }

    /// What a key left; nothing where the store does not say.
    fn tombstone(&self, keyset: &KeysetName, kid: &KeyId) -> Option<Tombstone> {
        self.store.tombstone(keyset, kid).ok().flatten()
    }

    /// Records what revoked keys had signed, when there is time for it.
    pub(super) fn record_incident(&self, asker: &Asker, keyset: &KeysetName, kids: &[KeyId]) {
        let birth = |kid: &KeyId| {
            self.tombstone(keyset, kid)
                .map_or(Birth::Elsewhere, |tombstone| birth(tombstone.life.origin))
        };
        if !kids.is_empty() {
            let keys =
                kids.iter().map(|kid| Asked { kid: kid.clone(), birth: birth(kid) }).collect();
            self.incidents.record(keyset, keys, &asker.request_id);
        }
    }

    fn of_set(&self, keyset: &KeysetName) -> Result<OfSet, AdminError> {
        let config = self.custody.config();
        let configured = config.keysets.get(keyset);
        let loaded = self.known(configured, keyset)?;
        let tombstones = self.store.tombstones(keyset)?;
        let view = self.view_of(keyset, configured, &loaded, &tombstones);
        Ok(OfSet { loaded, tombstones, view })
    }

    fn reports(
        &self,
        keyset: &KeysetName,
        of_set: &OfSet,
        subjects: &[Subject],
    ) -> Result<Vec<api::Incident>, AdminError> {
        let asked: Vec<Asked> = subjects.iter().map(Subject::asked).collect();
        let usage = self.incidents.usage(keyset, &asked)?;
        let (nothing, now) = (OfKey::default(), self.clock.now().lifecycle);
        let standing = self.standings.of(keyset);
        let config = self.custody.config();
        let stated = config.keysets.get(keyset).map_or(&[][..], |keyset| &keyset.verifiers);
        let catalogue = Catalogue::built_in();
        let clients = catalogue.chosen(stated)?;
        let file = standing.as_ref().map(|standing| standing.file.display().to_string());
        let report = |subject: &Subject| {
            let is_stale = standing.as_ref().is_some_and(|it| it.stale.contains(&subject.kid));
            let revoking = self.revoking_one(keyset, of_set, subject);
            let fetchers = self.holding(keyset, &subject.kid, now);
            let known = Known {
                keyset,
                kid: &subject.kid,
                life: subject.life(),
                departed: subject.departed(),
                state: subject.state,
                facts: of_set.loaded.head.facts.as_ref(),
                usage: usage.keys.get(&subject.kid).unwrap_or(&nothing),
                read: &usage.read,
                still_in: file.as_deref().filter(|_| is_stale),
                revoking: revoking.as_ref(),
                clients: &clients,
                fetchers: fetchers.as_ref(),
            };
            incident::of_key(&known, now)
        };
        Ok(subjects.iter().map(report).collect())
    }

    /// Who has fetched the JWK Set with a key, and not since, where anybody watches.
    fn holding(
        &self,
        keyset: &KeysetName,
        kid: &KeyId,
        now: Time,
    ) -> Option<api::IncidentFetchers> {
        let (watch, ring) = (self.fetchers.watch()?, self.custody.ring(keyset)?);
        let known = watch.tally(keyset, &ring, now).known;
        let mut holding = watch.holding(keyset, &ring, kid, now);
        holding.sort_by_key(|fetcher| fetcher.last);
        let of_fetcher = |fetcher: &Fetcher| api::IncidentFetcher {
            who: fetcher.who.clone(),
            user_agent: fetcher.user_agent.clone(),
            last: fetcher.last.to_string(),
        };
        Some(api::IncidentFetchers {
            since: watch.since().to_string(),
            known,
            holding: holding.len() as u64,
            named: holding.iter().take(MOST_FETCHERS).map(of_fetcher).collect(),
        })
    }

    fn revoking_one(
        &self,
        keyset: &KeysetName,
        of_set: &OfSet,
        subject: &Subject,
    ) -> Option<api::Revoking> {
        match &subject.record {
            Stored::Living(_) => self.revoking(keyset, of_set, Target::One(subject.number)),
            Stored::Left(tombstone) if tombstone.revoked.is_some() => None,
            Stored::Left(tombstone) => {
                let facts = of_set.loaded.head.facts.as_ref();
                let trusted_until = incident::trusted_until(facts, tombstone.left);
                Some(api::Revoking {
                    revoked: vec![subject.kid.clone()],
                    active: of_set.view.active.clone(),
                    fresh: false,
                    refused_until: None,
                    trusted_until: trusted_until.to_string(),
                })
            }
        }
    }

    fn revoking(
        &self,
        keyset: &KeysetName,
        of_set: &OfSet,
        target: Target,
    ) -> Option<api::Revoking> {
        let (config, now) = (self.custody.config(), self.clock.now());
        let mut set = of_set.loaded.keyset();
        if let Some(standing) = self.standings.of(keyset) {
            set.lives.iter_mut().for_each(|life| standing.hold(life, now.lifecycle));
        }
        let kid = |number| of_set.loaded.record(number).map(|record| record.kid.clone());
        let facts = config.keysets.get(keyset).map(|keyset| &keyset.facts);
        incident::revoking(&set, kid, facts, target, now)
    }
}

/// All that is stored of a key set.
struct OfSet {
    loaded: Loaded,
    tombstones: Vec<Tombstone>,
    view: api::Keyset,
}

impl OfSet {
    fn subject(&self, kid: &KeyId) -> Option<Subject> {
        self.subjects().find(|subject| subject.kid == *kid)
    }

    /// All keys that are or were in the set.
    fn subjects(&self) -> impl Iterator<Item = Subject> {
        self.view.keys.iter().filter_map(|key| {
            let left = self.tombstones.iter().find(|tombstone| tombstone.kid == key.kid);
            let record = match (self.loaded.record_of(&key.kid), left) {
                (Some(record), _) => Stored::Living(record.life.clone()),
                (None, Some(tombstone)) => Stored::Left(Box::new(tombstone.clone())),
                // It changed while it was looked at.
                (None, None) => return None,
            };
            let (kid, number) = (key.kid.clone(), Number(key.number));
            Some(Subject { kid, number, record, state: key.state })
        })
    }
}

impl Subject {
    const fn life(&self) -> &jwksd_keystore::lifecycle::Life {
        match &self.record {
            Stored::Living(life) => life,
            Stored::Left(tombstone) => &tombstone.life,
        }
    }

    fn departed(&self) -> Option<Departed<'_>> {
        match &self.record {
            Stored::Living(_) => None,
            Stored::Left(tombstone) => {
                Some(Departed { left: tombstone.left, reason: tombstone.reason.as_deref() })
            }
        }
    }

    fn asked(&self) -> Asked {
        Asked { kid: self.kid.clone(), birth: birth(self.life().origin) }
    }
}

const fn birth(origin: Origin) -> Birth {
    match origin {
        Origin::Generated => Birth::Here,
        Origin::Imported | Origin::Trusted => Birth::Elsewhere,
    }
}
