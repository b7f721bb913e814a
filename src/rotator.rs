//! The only writer of the store: load, plan, carry out, commit, publish.
//!
//! One thread does it all, one step at a time, for time and admins alike. It sleeps until the
//! next change of any key set, and never polls. Key pairs are made by another thread; whoever needs
//! one is taken up again when it is there. Admins overtake whatever time asks for.

mod changes;
mod command;
mod due;
mod files;
mod inbox;
mod incoming;
mod keygen;
mod news;
mod publication;
mod revocation;
mod round;
mod step;
mod supply;
mod unserved;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::facts::Facts;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::key::KeyPair;
use jwksd_keystore::lifecycle::{Intent, Refusal};
use jwksd_keystore::planted::{self, Fault};
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::{Loaded, Store, StoreError};
use jwksd_keystore::time::Time;

use crate::audit::events::KeyEvent;
use crate::audit::{Audit, AuditError, Decision, Line};
use crate::clock::LifecycleClock;
use crate::config::Config;
use crate::custody::Custody;
use crate::gate::Permit;
use crate::health::{Health, Subject};
use crate::metrics::Metrics;
use crate::outlook::Outlooks;
use crate::rings::Rings;
use crate::sink::{self, Report, Standings};

pub use command::{Command, Gone, Outcome, StepError};
use due::Due;
use files::{Files, files_of};
use inbox::Inbox;
pub use incoming::{Incoming, Used};
use keygen::{Keygen, Made, Ordered, Until};
use news::By;
use publication::LATE;
use revocation::InEffect;
use unserved::Unserved;

/// How often lifecycle time is recorded, so that a start knows for how long nothing was served.
const SEEN_EVERY: Duration = Duration::from_hours(1);

/// How long before its activation a key is made ready to sign.
const WARM_AHEAD: Duration = Duration::from_mins(1);

/// The first and the longest wait before what failed is tried again.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_mins(1);

/// Of how many key sets what time asks for is done at once: who asks for something meanwhile waits
/// for no more than that.
const ROUND: usize = 64;

/// The same before anything is served, when nobody waits.
const ROUND_AT_START: usize = 512;

/// What the rotator works with.
pub struct Parts {
    /// Where key sets are kept.
    pub store: Arc<dyn Store>,
    /// What secrets are sealed with.
    pub master_keys: Arc<MasterKeys>,
    /// Lifecycle time.
    pub clock: Arc<LifecycleClock>,
    /// Where intents and outcomes are recorded.
    pub audit: Arc<Audit>,
    /// Where rings are published.
    pub rings: Arc<Rings>,
    /// Where a configuration is put in force.
    pub custody: Arc<Custody>,
    /// Where failures are reported.
    pub health: Arc<Health>,
    /// What the files of JWK Sets are kept with.
    pub sink: sink::Means,
    /// Where it is told how they stand.
    pub standings: Arc<Standings>,
    /// Where it is told what is to come.
    pub outlooks: Arc<Outlooks>,
    /// Where what becomes of keys is counted.
    pub metrics: Arc<Metrics>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The caller's name.
    pub name: String,
    /// The request.
    pub request_id: Option<String>,
}

/// The way to the rotator's thread. All its methods wait for the answer.
pub struct Handle {
    messages: Sender<Message>,
}

/// Why the rotator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A key set does not open, or a first commit failed.
    #[error("key set {keyset}: {error}")]
    Keyset {
        /// The key set.
        keyset: KeysetName,
        /// Why.
        error: StepError,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// Why a configuration was not put in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The keys of a set do not allow its new facts.
    #[error("keysets.{keyset}: {refusal}")]
    Refused {
        /// The key set.
        keyset: KeysetName,
        /// Why.
        refusal: Refusal,
    },
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit could not record it.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The rotator has stopped.
    #[error("the daemon is stopping")]
    Stopping,
}

enum Message {
    Command(Request),
    Reload(Box<Config>, Actor, Sender<Result<Vec<KeysetName>, ReloadError>>),
    Made(Made),
    File(Report),
    Settle(Until, Sender<()>),
    Serving(Time),
    NotServing,
    Stop,
}

#[derive(Clone)]
struct Request {
    keyset: KeysetName,
    command: Command,
    actor: Actor,
    reply: Sender<Result<Outcome, StepError>>,
    /// Of a revocation in effect.
    in_effect: Option<InEffect>,
    /// Of a revocation in effect: the keys that it took out, until the audit has a line of them.
    gone: Vec<KeyEvent>,
}

impl Handle {
    /// Carries out a command on one key set.
    ///
    /// # Errors
    ///
    /// [`StepError`].
    pub fn command(
        &self,
        _permit: Permit,
        keyset: &KeysetName,
        command: Command,
        actor: Actor,
    ) -> Result<Outcome, StepError> {
        let (reply, answer) = mpsc::channel();
        let (keyset, in_effect, gone) = (keyset.clone(), None, Vec::new());
        let request = Request { keyset, command, actor, reply, in_effect, gone };
        self.messages.send(Message::Command(request)).map_err(|_| StepError::Stopping)?;
        answer.recv().map_err(|_| StepError::Stopping)?
    }

    /// Puts a configuration in force; returns the key sets whose facts or files changed.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]; then the old one stays in force as a whole.
    pub fn reload(&self, config: Config, actor: Actor) -> Result<Vec<KeysetName>, ReloadError> {
        let (reply, answer) = mpsc::channel();
        let message = Message::Reload(Box::new(config), actor, reply);
        self.messages.send(message).map_err(|_| ReloadError::Stopping)?;
        answer.recv().map_err(|_| ReloadError::Stopping)?
    }

    /// Waits until nothing is due and no key is being made. What a start took is not due before
    /// [`Self::serving`].
    pub fn settle(&self) {
        self.wait(Until::AllAreMade);
    }

    /// The same, but does not wait for standbys that take what others leave, which may be nothing:
    /// their sets sign meanwhile.
    pub fn wait_for_signers(&self) {
        self.wait(Until::SignersAreMade);
    }

    fn wait(&self, until: Until) {
        let (reply, answer) = mpsc::channel();
        if self.messages.send(Message::Settle(until, reply)).is_ok() {
            // An error means that the rotator has stopped, which is settled too.
            let _ = answer.recv();
        }
    }

    /// Says that the listeners have begun by `now`, a lifecycle time: time before does not count as
    /// served.
    pub fn serving(&self, now: Time) {
        self.tell(Message::Serving(now));
    }

    /// Says that the listeners are about to end: time from now on does not count as served.
    pub fn not_serving(&self) {
        self.tell(Message::NotServing);
    }

    /// Ends the thread after what it is at.
    pub fn stop(&self) {
        self.tell(Message::Stop);
    }

    fn tell(&self, message: Message) {
        // An error means that the thread has ended.
        let _ = self.messages.send(message);
    }
}

/// Opens every key set, takes its first step, publishes its ring, and starts the thread.
/// `down_since` is the last lifecycle time recorded before this start.
///
/// # Errors
///
/// [`StartError`]: what does not open is fatal, and nothing is healed by making new keys.
pub fn start(
    parts: Parts,
    down_since: Time,
) -> Result<(Handle, thread::JoinHandle<()>), StartError> {
    let (messages, received) = mpsc::channel();
    let deliver = messages.clone();
    let keygen = Keygen::start(move |made| {
        // An error means that the rotator has stopped.
        let _ = deliver.send(Message::Made(made));
    })?;
    let deliver = messages.clone();
    let files = Files::new(
        parts.sink.clone(),
        parts.standings.clone(),
        Arc::new(move |report| {
            // An error means that the rotator has stopped.
            let _ = deliver.send(Message::File(report));
        }),
    );
    let mut rotator = Rotator::new(parts, keygen, files, received);
    rotator.begin(down_since)?;
    let thread = thread::Builder::new().name("rotator".into()).spawn(move || rotator.run())?;
    Ok((Handle { messages }, thread))
}

struct Rotator {
    parts: Parts,
    messages: Inbox,
    keygen: Keygen,
    files: Files,
    /// The facts of the configuration.
    facts: BTreeMap<KeysetName, Facts>,
    /// What each ring was made of.
    published: HashMap<KeysetName, Loaded>,
    due: Due,
    /// When sets were not served as they are stored: their rings stand still until that is made up for.
    unserved: HashMap<KeysetName, Unserved>,
    /// How often in a row each key set failed.
    failures: HashMap<KeysetName, u32>,
    /// Key pairs made and not used yet.
    stock: HashMap<KeysetName, Vec<(Algorithm, KeyPair)>>,
    /// The key pairs that are being made.
    ordered: HashMap<KeysetName, Ordered>,
    /// Commands that wait for a key pair.
    parked: HashMap<KeysetName, Vec<Request>>,
    /// Revocations in effect, but not durable yet. No ring has the keys that they take out.
    revoking: HashMap<KeysetName, VecDeque<Request>>,
    settling: Vec<(Until, Sender<()>)>,
    /// The keys of which the log was told last that they sign.
    signers: HashMap<KeysetName, Option<KeyId>>,
    /// When lifecycle time is recorded next.
    seen_due: Time,
    /// Until when the daemon served before this start, while that time is being made up for.
    down_since: Option<Time>,
    /// Since when nothing is served: before the listeners begin, and when they end.
    silent_since: Option<Time>,
}

impl Rotator {
    fn new(parts: Parts, keygen: Keygen, files: Files, messages: Receiver<Message>) -> Self {
        let config = parts.custody.config();
        let facts = facts_of(&config);
        Self {
            parts,
            messages: Inbox::of(messages),
            keygen,
            files,
            facts,
            published: HashMap::new(),
            due: Due::default(),
            unserved: HashMap::new(),
            failures: HashMap::new(),
            stock: HashMap::new(),
            ordered: HashMap::new(),
            parked: HashMap::new(),
            revoking: HashMap::new(),
            settling: Vec::new(),
            signers: HashMap::new(),
            seen_due: Time::EPOCH,
            down_since: None,
            silent_since: None,
        }
    }

    /// The first step of every key set: time in which nothing was served is made up for before the
    /// first ring is published.
    fn begin(&mut self, down_since: Time) -> Result<(), StartError> {
        let mut names: BTreeSet<KeysetName> = self.facts.keys().cloned().collect();
        names.extend(self.parts.store.keysets()?);
        let mut sets = Vec::with_capacity(names.len());
        for keyset in &names {
            let failed = |error| StartError::Keyset { keyset: keyset.clone(), error };
            sets.push((keyset.clone(), self.admitted(keyset).map_err(failed)?));
        }
        self.files.assign(&files_of(&self.parts.custody.config()));
        let now = self.now();
        self.down_since = Some(down_since);
        let mut from = down_since;
        if planted::is_planted(Fault::WaitCountedWhileDown) {
            from = now;
        }
        let intent = Intent::Unserved { from, to: now };
        self.first_steps(sets, &intent)
            .map_err(|(keyset, error)| StartError::Keyset { keyset, error })?;
        for keyset in &names {
            let due = self.due_after_first(keyset);
            self.due.set(keyset, due);
        }
        self.down_since = None;
        let later = self.now();
        if later.since(now) > LATE {
            // Nothing was served meanwhile either. That is stored while the listeners serve.
            for keyset in &names {
                self.stand_still(keyset, now, later);
            }
        }
        for keyset in &names {
            self.tell_signer(keyset, By::default());
        }
        self.silent_since = Some(later);
        Ok(self.parts.store.record_seen(now)?)
    }

    /// The listeners have begun by `now`: what was made before was not served until then. What that
    /// and the start took is made up for from now on.
    fn begin_to_serve(&mut self, now: Time) {
        let silent = self.silent_since.take();
        if let Some(since) = silent.filter(|since| now.since(*since) > LATE) {
            for keyset in self.published.keys().cloned().collect::<Vec<_>>() {
                self.stand_still(&keyset, since, now);
            }
        }
        for keyset in self.unserved.keys() {
            self.due.set(keyset, Some(now));
        }
    }

    /// A key set as it is stored; its keys must allow the configured facts.
    fn admitted(&self, keyset: &KeysetName) -> Result<Loaded, StepError> {
        let loaded = self.parts.store.load(keyset)?;
        if let Some(facts) = self.facts.get(keyset) {
            let admitted = loaded.keyset().admits(facts);
            admitted.map_err(|refusal| StepError::Refused { refusal, active: None })?;
        }
        Ok(loaded)
    }

    fn run(mut self) {
        loop {
            while let Some(message) = self.messages.next() {
                if self.handle(message).is_break() {
                    return;
                }
            }
            let due = self.due.take_some(self.now(), ROUND);
            if !due.is_empty() {
                self.at_work(&due, |rotator| rotator.round(&due));
                continue;
            }
            if self.now() >= self.seen_due {
                self.record_seen();
                continue;
            }
            // Who is dropped is answered.
            self.settling.retain(|(until, _)| !until.is_over(self.ordered.values()));
            let wait = self.until_next();
            match self.messages.wait(wait) {
                Ok(message) => {
                    if self.handle(message).is_break() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn handle(&mut self, message: Message) -> std::ops::ControlFlow<()> {
        match message {
            Message::Command(request) => {
                let keyset = [request.keyset.clone()];
                self.at_work(&keyset, |rotator| rotator.command(request));
            }
            Message::Reload(config, actor, reply) => {
                // An error means that nobody waits any more.
                let _ = reply.send(self.recorded_reload(&config, &actor));
            }
            Message::Made(made) => self.take_delivery(made),
            Message::File(report) => self.take_report(report),
            Message::Settle(until, reply) => self.settling.push((until, reply)),
            Message::Serving(since) => self.begin_to_serve(since),
            Message::NotServing => {
                self.record_seen();
                self.silent_since = Some(self.now());
            }
            Message::Stop => {
                self.finish_all_revocations();
                self.files.finish();
                return std::ops::ControlFlow::Break(());
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Whoever looks from outside can tell when this takes too long.
    fn at_work(&mut self, keysets: &[KeysetName], work: impl FnOnce(&mut Self)) {
        self.parts.outlooks.begin(keysets, self.now());
        work(self);
        self.parts.outlooks.end();
    }

    fn now(&self) -> Time {
        self.parts.clock.now().lifecycle
    }

    fn until_next(&mut self) -> Duration {
        let now = self.now();
        let seen = self.seen_due.since(now);
        let next = self.due.next().map_or(seen, |due| due.since(now).min(seen));
        // Never so short that rounding could make it spin.
        next.clamp(Duration::from_millis(1), SEEN_EVERY)
    }

    fn record_seen(&mut self) {
        self.put_off_held();
        let now = self.now();
        match self.parts.store.record_seen(self.served_until(now)) {
            Ok(()) => {
                self.seen_due = now + SEEN_EVERY;
                self.parts.health.clear(&Subject::Store);
            }
            Err(error) => {
                self.seen_due = now + RETRY_LONGEST;
                tracing::error!(%error, "cannot record lifecycle time");
                self.parts.health.report(Subject::Store, &error.to_string());
            }
        }
    }

    /// What time or the configuration asks of one key set.
    fn tick(&mut self, keyset: &KeysetName) {
        self.tell_signer(keyset, By::default());
        if !self.finish_revocations(keyset) {
            return;
        }
        if self.waits_to_be_served(keyset) {
            return;
        }
        let intent = self.intent_of_time(keyset);
        let outcome = self.step_of_time(keyset, &intent);
        self.ticked(keyset, &intent, outcome);
    }

    /// What time, the configuration or a file asks for now.
    fn intent_of_time(&self, keyset: &KeysetName) -> Intent {
        self.files.confirmed(keyset).unwrap_or(Intent::Tick)
    }

    /// What follows from the outcome of what time asked for.
    fn ticked(
        &mut self,
        keyset: &KeysetName,
        intent: &Intent,
        outcome: Result<Option<Time>, StepError>,
    ) {
        match outcome {
            Ok(next) => {
                if let Intent::ServedFrom { keys, .. } = intent {
                    self.files.release(keyset, keys);
                    self.republish(keyset);
                }
                self.failures.remove(keyset);
                self.parts.health.clear(&Subject::Steps(keyset.clone()));
                self.parts.outlooks.is_done(keyset);
                self.due.set(keyset, next);
            }
            Err(StepError::NeedsKey | StepError::Unserved) => {}
            Err(error) => self.retry_later(keyset, &error),
        }
    }

    /// That the store failed someone is told, until it did something. It is asked for that soon.
    fn blame_store(&mut self, error: &StepError) {
        let StepError::Store(error) = error else { return };
        match error {
            StoreError::Conflict | StoreError::Used => {}
            StoreError::Missing(_)
            | StoreError::Locked(_)
            | StoreError::Unknown(_)
            | StoreError::Unavailable(_)
            | StoreError::Occupied(_)
            | StoreError::Damaged { .. }
            | StoreError::OtherMasterKey { .. }
            | StoreError::UnknownFormat { .. } => {
                self.parts.health.report(Subject::Store, &error.to_string());
                self.seen_due = self.seen_due.min(self.now() + RETRY_FIRST);
            }
        }
    }

    fn retry_later(&mut self, keyset: &KeysetName, error: &StepError) {
        self.blame_store(error);
        let failures = self.failures.entry(keyset.clone()).or_insert(0);
        let wait = RETRY_FIRST.saturating_mul(1 << (*failures).min(6)).min(RETRY_LONGEST);
        *failures += 1;
        tracing::error!(%keyset, %error, retry_in = ?wait, "a step failed");
        self.parts.health.report(Subject::Steps(keyset.clone()), &error.to_string());
        let now = self.now();
        self.parts.outlooks.is_not_done(keyset, now);
        self.due.set(keyset, Some(now + wait));
    }

    fn command(&mut self, request: Request) {
        let keyset = request.keyset.clone();
        self.note_silence(&keyset);
        if request.command.is_revocation() {
            self.revoke(request);
            return;
        }
        if !self.finish_revocations(&keyset) {
            answer(&request, Err(StepError::RevocationPending));
            return;
        }
        if self.ordered.contains_key(&keyset) {
            // What time asks for comes first, and waits for a key.
            self.park(request);
            return;
        }
        match self.step_of_command(&request) {
            Err(StepError::NeedsKey) => self.park(request),
            outcome => {
                if let Err(error) = &outcome {
                    self.blame_store(error);
                }
                answer(&request, outcome);
                let now = self.now();
                self.due.set(&keyset, Some(now));
            }
        }
    }

    /// A reload is in the audit before it takes effect: it changes who may do what.
    fn recorded_reload(
        &mut self,
        config: &Config,
        actor: &Actor,
    ) -> Result<Vec<KeysetName>, ReloadError> {
        let (audit, clock) = (self.parts.audit.clone(), self.parts.clock.clone());
        let record = |decision, reason: &str| {
            audit.record_durably(&Line {
                reason: Some(reason),
                request_id: actor.request_id.as_deref(),
                ..Line::new(clock.now().wall, &actor.name, "reload", decision)
            })
        };
        record(Decision::Intent, "put the configuration in force")?;
        let outcome = self.reload(config);
        let (decision, reason) = match &outcome {
            Ok(changed) => (Decision::Done, format!("facts of {} key sets changed", changed.len())),
            Err(error) => (Decision::Failed, error.to_string()),
        };
        if record(decision, &reason).is_err() {
            tracing::error!("the outcome of a reload is not in the audit: {reason}");
        }
        outcome
    }

    fn reload(&mut self, config: &Config) -> Result<Vec<KeysetName>, ReloadError> {
        let facts = facts_of(config);
        for (keyset, facts) in &facts {
            let loaded = self.parts.store.load(keyset)?;
            let admitted = loaded.keyset().admits(facts);
            admitted.map_err(|refusal| ReloadError::Refused { keyset: keyset.clone(), refusal })?;
        }
        let old = std::mem::replace(&mut self.facts, facts);
        let names: BTreeSet<&KeysetName> = old.keys().chain(self.facts.keys()).collect();
        let moved = self.files.assign(&files_of(config));
        let changed: Vec<KeysetName> = names
            .into_iter()
            .filter(|name| old.get(name) != self.facts.get(name) || moved.contains(name))
            .cloned()
            .collect();
        self.parts.clock.tolerate(config.smallest_skew());
        self.parts.custody.put_in_force(config.clone());
        for keyset in &changed {
            let is_in = self.facts.contains_key(keyset);
            if old.contains_key(keyset) != is_in || moved.contains(keyset) {
                // It stops to sign before its keys end, or may sign again; or another file holds
                // back its keys.
                self.republish(keyset);
            }
        }
        for some in changed.chunks(ROUND) {
            self.round(some);
            // They do not wait until all is done.
            while let Some(request) = self.messages.next_revocation() {
                let keyset = [request.keyset.clone()];
                self.at_work(&keyset, |rotator| rotator.command(request));
            }
        }
        Ok(changed)
    }
}

fn facts_of(config: &Config) -> BTreeMap<KeysetName, Facts> {
    config.keysets.iter().map(|(name, keyset)| (name.clone(), keyset.facts.clone())).collect()
}

fn answer(request: &Request, outcome: Result<Outcome, StepError>) {
    // An error means that whoever asked has gone or was answered.
    let _ = request.reply.send(outcome);
}
