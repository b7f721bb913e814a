//! The only writer of the store: load, plan, carry out, commit, publish.
//!
//! One thread does it all, one step at a time, for time and admins alike. It sleeps until the
//! next change of any key set, and never polls. Key pairs are made by another thread; whoever needs
//! one is taken up again when it is there. Admins overtake whatever time asks for.

mod changes;
mod command;
mod due;
mod keygen;
mod publication;
mod step;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::facts::Facts;
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::key::KeyPair;
use jwksd_keystore::lifecycle::{Intent, Refusal};
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::{Loaded, Store, StoreError};
use jwksd_keystore::time::Time;

use crate::audit::Audit;
use crate::clock::LifecycleClock;
use crate::config::Config;
use crate::custody::Custody;
use crate::gate::Permit;
use crate::health::Health;
use crate::rings::Rings;

pub use command::{Command, Gone, Outcome, StepError};
use due::Due;
use keygen::{Keygen, Made};

/// How often lifecycle time is recorded, so that a start knows for how long nothing was served.
const SEEN_EVERY: Duration = Duration::from_hours(1);

/// How long before its activation a key is made ready to sign.
const WARM_AHEAD: Duration = Duration::from_mins(1);

/// The first and the longest wait before what failed is tried again.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_mins(1);

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
    /// The rotator has stopped.
    #[error("the daemon is stopping")]
    Stopping,
}

enum Message {
    Command(Request),
    Reload(Box<Config>, Sender<Result<Vec<KeysetName>, ReloadError>>),
    Made(Made),
    Settle(Sender<()>),
    Stop,
}

struct Request {
    keyset: KeysetName,
    command: Command,
    actor: Actor,
    reply: Sender<Result<Outcome, StepError>>,
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
        let request = Request { keyset: keyset.clone(), command, actor, reply };
        self.messages.send(Message::Command(request)).map_err(|_| StepError::Stopping)?;
        answer.recv().map_err(|_| StepError::Stopping)?
    }

    /// Puts a configuration in force; returns the key sets whose facts changed.
    ///
    /// # Errors
    ///
    /// [`ReloadError`]; then the old one stays in force as a whole.
    pub fn reload(&self, config: Config) -> Result<Vec<KeysetName>, ReloadError> {
        let (reply, answer) = mpsc::channel();
        let message = Message::Reload(Box::new(config), reply);
        self.messages.send(message).map_err(|_| ReloadError::Stopping)?;
        answer.recv().map_err(|_| ReloadError::Stopping)?
    }

    /// Waits until nothing is due and no key is being made.
    pub fn settle(&self) {
        let (reply, answer) = mpsc::channel();
        if self.messages.send(Message::Settle(reply)).is_ok() {
            // An error means that the rotator has stopped, which is settled too.
            let _ = answer.recv();
        }
    }

    /// Ends the thread after what it is at.
    pub fn stop(&self) {
        // An error means that it has ended.
        let _ = self.messages.send(Message::Stop);
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
    let mut rotator = Rotator::new(parts, keygen, received);
    rotator.begin(down_since)?;
    let thread = thread::Builder::new().name("rotator".into()).spawn(move || rotator.run())?;
    Ok((Handle { messages }, thread))
}

struct Rotator {
    parts: Parts,
    messages: Receiver<Message>,
    keygen: Keygen,
    /// The facts of the configuration.
    facts: BTreeMap<KeysetName, Facts>,
    /// What each ring was made of.
    published: HashMap<KeysetName, Loaded>,
    due: Due,
    /// Intents of time that are not carried out yet. Without one it is [`Intent::Tick`].
    intents: HashMap<KeysetName, Intent>,
    /// How often in a row each key set failed.
    failures: HashMap<KeysetName, u32>,
    /// Key pairs made and not used yet.
    stock: HashMap<KeysetName, Vec<(Algorithm, KeyPair)>>,
    /// How many key pairs are being made.
    ordered: HashMap<KeysetName, usize>,
    /// Commands that wait for a key pair.
    parked: Vec<Request>,
    /// Revocations in effect, but not durable yet. While a set has an entry, what is stored is not
    /// published.
    revoking: HashMap<KeysetName, VecDeque<Request>>,
    /// Since when it is not known what the store holds of a set: its ring is frozen meanwhile.
    in_doubt: HashMap<KeysetName, Time>,
    settling: Vec<Sender<()>>,
    seen: Time,
}

impl Rotator {
    fn new(parts: Parts, keygen: Keygen, messages: Receiver<Message>) -> Self {
        let config = parts.custody.config();
        let facts = facts_of(&config);
        Self {
            parts,
            messages,
            keygen,
            facts,
            published: HashMap::new(),
            due: Due::default(),
            intents: HashMap::new(),
            failures: HashMap::new(),
            stock: HashMap::new(),
            ordered: HashMap::new(),
            parked: Vec::new(),
            revoking: HashMap::new(),
            in_doubt: HashMap::new(),
            settling: Vec::new(),
            seen: Time::EPOCH,
        }
    }

    /// The first step of every key set: time in which nothing was served is made up for before the
    /// first ring is published.
    fn begin(&mut self, down_since: Time) -> Result<(), StartError> {
        let mut names: BTreeSet<KeysetName> = self.facts.keys().cloned().collect();
        names.extend(self.parts.store.keysets()?);
        let now = self.now();
        let intent = Intent::Unserved { from: down_since, to: now };
        for keyset in names {
            self.admit(&keyset)
                .and_then(|()| self.step_of_time(&keyset, &intent))
                .map_err(|error| StartError::Keyset { keyset: keyset.clone(), error })?;
            self.due.set(&keyset, Some(now));
        }
        Ok(())
    }

    /// The keys there are must allow the configured facts.
    fn admit(&self, keyset: &KeysetName) -> Result<(), StepError> {
        let Some(facts) = self.facts.get(keyset) else {
            return Ok(());
        };
        let loaded = self.parts.store.load(keyset)?;
        let admitted = loaded.keyset().admits(facts);
        admitted.map_err(|refusal| StepError::Refused { refusal, active: None })
    }

    fn run(mut self) {
        loop {
            while let Ok(message) = self.messages.try_recv() {
                if self.handle(message).is_break() {
                    return;
                }
            }
            if let Some(keyset) = self.due.take(self.now()) {
                self.tick(&keyset);
                continue;
            }
            if self.ordered.is_empty() {
                self.settling.clear();
            }
            let wait = self.until_next();
            match self.messages.recv_timeout(wait) {
                Ok(message) => {
                    if self.handle(message).is_break() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.record_seen_if_due(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn handle(&mut self, message: Message) -> std::ops::ControlFlow<()> {
        match message {
            Message::Command(request) => self.command(request),
            Message::Reload(config, reply) => {
                // An error means that nobody waits any more.
                let _ = reply.send(self.reload(&config));
            }
            Message::Made(made) => self.take_delivery(made),
            // Dropped, and with it answered, when nothing is due.
            Message::Settle(reply) => self.settling.push(reply),
            Message::Stop => {
                self.record_seen();
                return std::ops::ControlFlow::Break(());
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn now(&self) -> Time {
        self.parts.clock.now().lifecycle
    }

    fn until_next(&mut self) -> Duration {
        let now = self.now();
        let seen = (self.seen + SEEN_EVERY).since(now);
        let next = self.due.next().map_or(seen, |due| due.since(now).min(seen));
        // Never so short that rounding could make it spin.
        next.clamp(Duration::from_millis(1), SEEN_EVERY)
    }

    fn record_seen_if_due(&mut self) {
        if self.now().since(self.seen) >= SEEN_EVERY {
            self.record_seen();
        }
    }

    fn record_seen(&mut self) {
        let now = self.now();
        match self.parts.store.record_seen(now) {
            Ok(()) => {
                self.seen = now;
                self.parts.health.clear("store");
            }
            Err(error) => {
                tracing::error!(%error, "cannot record lifecycle time");
                self.parts.health.report("store", error.to_string());
            }
        }
    }

    /// What time or the configuration asks of one key set.
    fn tick(&mut self, keyset: &KeysetName) {
        if !self.finish_revocations(keyset) {
            return;
        }
        let intent = self.intents.remove(keyset).unwrap_or(Intent::Tick);
        match self.step_of_time(keyset, &intent) {
            Ok(next) => {
                self.failures.remove(keyset);
                self.parts.health.clear(&format!("key set {keyset}"));
                self.due.set(keyset, next);
            }
            Err(StepError::NeedsKey) => {
                self.keep_intent(keyset, intent);
            }
            Err(error) => {
                self.keep_intent(keyset, intent);
                self.retry_later(keyset, &error);
            }
        }
    }

    fn keep_intent(&mut self, keyset: &KeysetName, intent: Intent) {
        if intent != Intent::Tick {
            self.intents.entry(keyset.clone()).or_insert(intent);
        }
    }

    fn retry_later(&mut self, keyset: &KeysetName, error: &StepError) {
        let failures = self.failures.entry(keyset.clone()).or_insert(0);
        let wait = RETRY_FIRST.saturating_mul(1 << (*failures).min(6)).min(RETRY_LONGEST);
        *failures += 1;
        tracing::error!(%keyset, %error, retry_in = ?wait, "a step failed");
        self.parts.health.report(format!("key set {keyset}"), error.to_string());
        let now = self.now();
        self.due.set(keyset, Some(now + wait));
    }

    fn command(&mut self, request: Request) {
        let keyset = request.keyset.clone();
        if matches!(request.command, Command::Revoke { .. } | Command::RevokeAll { .. }) {
            self.revoke(request);
            return;
        }
        if !self.finish_revocations(&keyset) {
            answer(&request, Err(StepError::RevocationPending));
            return;
        }
        if self.ordered.contains_key(&keyset) {
            // What time asks for comes first, and waits for a key.
            self.parked.push(request);
            return;
        }
        match self.step_of_command(&keyset, &request.command, &request.actor) {
            Err(StepError::NeedsKey) => self.parked.push(request),
            outcome => {
                answer(&request, outcome);
                let now = self.now();
                self.due.set(&keyset, Some(now));
            }
        }
    }

    /// A revocation is in effect before anything else is tried, and is tried until it is durable.
    fn revoke(&mut self, request: Request) {
        let keyset = request.keyset.clone();
        self.take_effect_in_memory(&keyset, &request.command);
        self.revoking.entry(keyset.clone()).or_default().push_back(request);
        self.finish_revocations(&keyset);
    }

    /// Tries to make the revocations of a key set durable, in their order. Returns whether all
    /// are: nothing else is done to the set before.
    fn finish_revocations(&mut self, keyset: &KeysetName) -> bool {
        if !self.revoking.contains_key(keyset) {
            return true;
        }
        while let Some(request) = self.revoking.get_mut(keyset).and_then(VecDeque::pop_front) {
            match self.step_of_command(keyset, &request.command, &request.actor) {
                Err(StepError::NeedsKey) => {
                    self.put_back(request);
                    return false;
                }
                Err(StepError::Store(error)) => {
                    self.put_back(request);
                    let error = error.to_string();
                    self.retry_later(keyset, &StepError::NotDurable(error.clone()));
                    // Whoever asked is told once; the retries go on without.
                    for waiting in &self.revoking[keyset] {
                        answer(waiting, Err(StepError::NotDurable(error.clone())));
                    }
                    return false;
                }
                outcome => answer(&request, outcome),
            }
        }
        self.revoking.remove(keyset);
        self.failures.remove(keyset);
        self.parts.health.clear(&format!("key set {keyset}"));
        self.republish(keyset);
        let now = self.now();
        self.due.set(keyset, Some(now));
        true
    }

    fn put_back(&mut self, revocation: Request) {
        let keyset = revocation.keyset.clone();
        self.revoking.entry(keyset).or_default().push_front(revocation);
    }

    fn take_delivery(&mut self, made: Made) {
        let keyset = made.keyset;
        if let Some(ordered) = self.ordered.get_mut(&keyset) {
            *ordered -= 1;
            if *ordered == 0 {
                self.ordered.remove(&keyset);
            }
        }
        match made.pair {
            Ok(pair) => {
                self.stock.entry(keyset.clone()).or_default().push((made.algorithm, pair));
                if !self.ordered.contains_key(&keyset) {
                    self.tick(&keyset);
                    self.take_up_parked(&keyset);
                }
            }
            Err(error) => {
                self.retry_later(&keyset, &StepError::NoKeyPair(error));
                for request in self.unpark(&keyset) {
                    answer(&request, Err(StepError::NoKeyPair(error)));
                }
            }
        }
    }

    fn take_up_parked(&mut self, keyset: &KeysetName) {
        for request in self.unpark(keyset) {
            self.command(request);
        }
    }

    fn unpark(&mut self, keyset: &KeysetName) -> Vec<Request> {
        let (unparked, parked) = std::mem::take(&mut self.parked)
            .into_iter()
            .partition(|request| request.keyset == *keyset);
        self.parked = parked;
        unparked
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
        let changed: Vec<KeysetName> = names
            .into_iter()
            .filter(|name| old.get(name) != self.facts.get(name))
            .cloned()
            .collect();
        self.parts.clock.tolerate(config.smallest_skew());
        self.parts.custody.put_in_force(config.clone());
        for keyset in &changed {
            if !self.facts.contains_key(keyset) {
                // It stops to sign before its keys end.
                self.republish(keyset);
            }
            self.tick(keyset);
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
