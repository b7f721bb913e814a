//! The world: a host with the real daemon, admins, callers, verifiers, and what goes wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jwksd::clock::{Clock, ManualClock};
use jwksd::custody::TokenError;
use jwksd::health::Check;
use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::facts::Facts;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::{self, Intent, Life, Number, Replaceable, State};
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::{Loaded, MemoryRows, MemoryStore, Store};
use jwksd_keystore::time::Time;

use crate::audit_device::AuditDevice;
use crate::configuration::{self, Choice, FILE, First, Role};
use crate::daemon::{Daemon, Host, folder, served, signer};
use crate::disk::FullDisk;
use crate::ledger::{Ledger, Manner, Moment, Seen, Token};
use crate::operation::{Brought, Expect, Operation, Rotator, Step, When};
use crate::request::{Answer, KeyFile, Request, Wanted};
use crate::store::Faults;

/// When it begins: 1980-11-22T03:00:00Z. The library that reads schedules knows no year after 2100, and a century has to
/// end five years before, with room for a wall clock that is set ahead.
const START: Time = Time::from_millis(343_710_000_000);

/// What [`ManualClock`] begins with.
const BOOTED_FOR: Duration = Duration::from_hours(1);

const MINUTE: Duration = Duration::from_mins(1);

/// How long the service manager waits before it starts a process anew.
const RESTART: Duration = Duration::from_secs(1);

/// A key set of the configuration, or one that was taken out of it.
#[derive(Clone, Copy, Debug)]
struct Configured {
    role: Role,
    choice: Choice,
    is_in: bool,
}

pub(crate) struct World {
    host: Host,
    daemon: Option<Daemon>,
    truth: MemoryStore,
    /// What is stored of each key set, and as of which commit.
    stored: BTreeMap<KeysetName, (u64, Arc<Loaded>)>,
    configured: Vec<Configured>,
    first: First,
    ledgers: Vec<Ledger>,
    moment: Moment,
    glimpses: Arc<Mutex<Vec<Glimpse>>>,
    /// How often a process was started.
    starts: u64,
    last: Option<(usize, Request)>,
    disk: Arc<FullDisk>,
    audit: AuditDevice,
    key_files: Vec<Arc<KeyFile>>,
    pub(crate) operations: u64,
    /// How rules were broken.
    pub(crate) broken: Vec<String>,
    _folder: tempfile::TempDir,
}

/// What was served at a moment within a commit.
struct Glimpse {
    wall: Time,
    since_boot: Duration,
    lifecycle: Time,
    seen: Vec<Seen>,
    signers: Vec<Option<KeyId>>,
}

impl World {
    /// A host with these key sets, that was started for the first time.
    pub(crate) fn new(keysets: &[(Role, Choice)], first: First) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let (rows, dir) = (MemoryRows::default(), folder());
        let disk = Arc::new(FullDisk::default());
        let text = MasterKeys::generate_file().unwrap();
        let master_keys = Arc::new(MasterKeys::parse(&text).unwrap());
        let truth = MemoryStore::open(rows.clone(), master_keys.clone()).unwrap();
        let host = Host {
            faults: Arc::new(Faults::new(clock.clone())),
            clock,
            rows,
            master_keys,
            sink: disk.means(),
            folder: dir.path().to_owned(),
        };
        let audit = AuditDevice::new(dir.path());
        let moment = Moment { real: START, wall: START, lifecycle: START, gained: Duration::ZERO };
        let configured =
            keysets.iter().map(|&(role, choice)| Configured { role, choice, is_in: true });
        let mut world = Self {
            host,
            daemon: None,
            truth,
            stored: BTreeMap::new(),
            configured: configured.collect(),
            first,
            ledgers: keysets.iter().map(|(role, _)| Ledger::new(*role)).collect(),
            moment,
            glimpses: Arc::default(),
            starts: 0,
            last: None,
            disk,
            audit,
            key_files: Vec::new(),
            operations: 0,
            broken: Vec::new(),
            _folder: dir,
        };
        world.agree();
        world.start();
        world.settle();
        world.judge();
        world
    }

    /// How much true time has passed.
    pub(crate) fn age(&self) -> Duration {
        self.moment.real.since(START)
    }

    pub(crate) fn run(&mut self, operation: &Operation) {
        self.operations += 1;
        self.observe();
        match *operation {
            Operation::Advance { span, rotator } => self.advance(span, rotator),
            Operation::Rotate { set, when, expect } => {
                let set = self.pick(set);
                let Some(expect) = self.expected(set, expect) else { return };
                let when = match when {
                    When::Waited => Wanted::Waited,
                    When::In(span) => Wanted::At(self.moment.lifecycle + span),
                    When::Now => Wanted::Now,
                };
                self.ask(set, &Request::Rotate { expect, when });
            }
            Operation::Revoke { set, key } => {
                let set = self.pick(set);
                let Some(kid) = self.pick_key(set, key, |_| true) else { return };
                self.ask(set, &Request::Revoke { kid });
            }
            Operation::RevokeAll { set, expect } => {
                let set = self.pick(set);
                let expect = self.expected(set, expect);
                self.ask(set, &Request::RevokeAll { expect });
            }
            Operation::Retire { set, key } => {
                let set = self.pick(set);
                let Some(kid) = self.pick_key(set, key, |life| life.ended.is_some()) else {
                    return;
                };
                self.ask(set, &Request::Retire { kid });
            }
            Operation::Retry => {
                if let Some((set, request)) = self.last.clone() {
                    self.ask(set, &request);
                }
            }
            Operation::Reload { set, field, value } => self.reload(set, field, value),
            Operation::Restart(span) => self.restart(span),
            Operation::Kill(span) => self.kill(span),
            Operation::Import { key, may_replace } => self.import(key, may_replace),
            Operation::Trust(span) => self.trust(span),
            Operation::Remove(set) => self.set_in(set, false),
            Operation::PutBack(set) => self.set_in(set, true),
            Operation::FillAudit => self.audit.fill(),
            Operation::FillDisk => self.disk.set_full(true),
            Operation::EmptyDisk => self.disk.set_full(false),
            Operation::Fault(fault) => self.host.faults.add(fault),
            Operation::FailLoad => self.host.faults.fail_next_load(),
            Operation::CrashAtLoad => self.host.faults.crash_at_next_load(),
            Operation::TearLoad => self.host.faults.tear_next_load(),
            Operation::SilenceStore => self.host.faults.fall_silent(),
            Operation::MendStore => self.mend(),
            Operation::SetClock(step) => self.set_clock(step),
            Operation::CutOff(whom) => self.ledgers.iter_mut().for_each(|it| it.cut_off(whom)),
            Operation::Connect => self.ledgers.iter_mut().for_each(Ledger::connect),
            Operation::Attack(attack) => self.ledgers.iter_mut().for_each(|it| it.attack(attack)),
            Operation::RestartVerifiers(pick) => {
                self.ledgers.iter_mut().for_each(|ledger| ledger.restart_verifier(pick));
            }
        }
        self.settle();
        self.judge();
    }

    // --- clocks

    fn real(&self) -> Time {
        START + self.host.clock.since_boot().saturating_sub(BOOTED_FOR)
    }

    /// Goes on to the moment that the clocks show, with what was served until then.
    fn pass(&mut self) {
        let lifecycle = self.daemon.as_ref().map(|daemon| daemon.now().lifecycle);
        let (real, wall) = (self.real(), self.host.clock.wall());
        self.pass_to(real, wall, lifecycle);
    }

    fn pass_to(&mut self, real: Time, wall: Time, lifecycle: Option<Time>) {
        let before = self.moment;
        // While it is down, it would run on.
        let lifecycle = lifecycle.unwrap_or_else(|| before.lifecycle + real.since(before.real));
        if lifecycle < before.lifecycle && self.daemon.is_some() {
            self.breaks("lifecycle time went back", &format!("{before:?}, {lifecycle}"));
        }
        let gained = lifecycle.since(before.lifecycle).saturating_sub(real.since(before.real));
        self.moment = Moment { real, wall, lifecycle, gained: before.gained + gained };
        for ledger in &mut self.ledgers {
            ledger.pass(before, self.moment);
        }
    }

    fn advance(&mut self, span: Duration, rotator: Rotator) {
        match rotator {
            Rotator::Wakes => self.advance_by(span, Rotator::Wakes),
            Rotator::Sleeps => {
                self.host.faults.sleep();
                self.advance_by(span, Rotator::Sleeps);
                self.host.faults.wake();
            }
        }
    }

    fn advance_by(&mut self, span: Duration, rotator: Rotator) {
        let end = self.real() + span;
        while self.real() < end {
            let rest = end.since(self.real());
            let step = self.until_next_event().map_or(rest, |next| next.min(rest));
            self.host.clock.advance(step);
            self.observe();
            if rotator == Rotator::Wakes {
                self.settle();
            }
            if self.is_broken() {
                return;
            }
        }
    }

    /// How long it takes until something happens by itself, or just before.
    fn until_next_event(&mut self) -> Option<Duration> {
        self.daemon.as_ref()?;
        let now = self.moment.lifecycle;
        let mut next = None;
        for set in 0..self.ledgers.len() {
            let keyset = self.stored(set).keyset();
            let activations = keyset.lives.iter().filter_map(|life| life.activates);
            let before =
                activations.flat_map(|at| [at.before(MINUTE), at.before(Duration::from_millis(1))]);
            let events = before.filter(|at| *at > now).chain(lifecycle::next_change(&keyset, now));
            next = events.chain(next).min();
        }
        // Where the wall clock was set back a little, lifecycle time waits for it.
        let behind = now.since(self.moment.wall);
        let waits = if behind <= self.tolerated() { behind } else { Duration::ZERO };
        let cannot_heal = self.host.faults.is_silent() || self.audit.is_full();
        let may_heal = self.is_well().is_err() && !cannot_heal;
        let trouble = may_heal.then_some(MINUTE + RESTART);
        next.map(|next| next.since(now) + waits).into_iter().chain(trouble).min()
    }

    /// Somebody sets the wall clock.
    fn set_clock(&mut self, step: Step) {
        let wall = self.host.clock.wall();
        let wall = match step {
            Step::Ahead(span) => wall + span,
            Step::Back(span) => wall.before(span),
        };
        let (before, tolerated) = (self.moment.lifecycle, self.tolerated());
        self.host.clock.set_wall(wall);
        let after = self.daemon.as_ref().map_or(before, |daemon| daemon.now().lifecycle);
        if after.since(before) > tolerated {
            self.breaks("a jump is believed when it has lasted", &format!("{before}, {after}"));
        }
    }

    /// The store answers again. What waits for it is tried again within a minute of lifecycle time, which stands
    /// still until a wall clock that was set back by what is tolerated has caught up.
    fn mend(&mut self) {
        self.host.faults.mend();
        if self.audit.is_full() {
            self.restart(RESTART);
        } else if self.daemon.is_none() {
            self.start();
        }
        self.settle();
        self.advance(2 * MINUTE + self.tolerated(), Rotator::Wakes);
        if !self.is_broken()
            && let Err(why) = self.is_well()
        {
            self.breaks("it recovers by itself", &why);
        }
    }

    fn tolerated(&self) -> Duration {
        let config = self.daemon.as_ref().map(|daemon| daemon.custody().config());
        config.map_or(Duration::ZERO, |config| config.smallest_skew())
    }

    // --- processes

    fn start(&mut self) {
        for _ in 0..20 {
            let hits = self.host.faults.hits();
            match self.host.start() {
                Ok(daemon) => {
                    self.begin(daemon);
                    return;
                }
                Err(_) if self.host.faults.is_silent() => return,
                Err(why) if self.host.faults.hits() == hits => {
                    self.breaks("it does not start", &why);
                    return;
                }
                Err(_) => self.host.clock.advance(RESTART),
            }
        }
        self.breaks("it does not start", "after 20 tries");
    }

    fn begin(&mut self, daemon: Daemon) {
        self.starts += 1;
        let lifecycle = daemon.now().lifecycle;
        let (real, before) = (self.real(), self.moment);
        let gained = lifecycle.since(before.lifecycle).saturating_sub(real.since(before.real));
        self.moment.lifecycle = lifecycle;
        self.moment.gained += gained;
        for set in 0..self.ledgers.len() {
            let stored = self.stored(set);
            let pending =
                stored.records.iter().filter(|it| it.life.state_at(lifecycle) == State::Pending);
            self.ledgers[set].restarted(pending.map(|record| &record.kid), lifecycle);
        }
        let (administration, clock) =
            (Arc::downgrade(&daemon.administration), self.host.clock.clone());
        let (glimpses, names) = (self.glimpses.clone(), self.names());
        let folder = self.host.folder.clone();
        self.host.faults.watch(Arc::new(move || {
            let Some(administration) = administration.upgrade() else { return };
            let (custody, now) = (&administration.custody, administration.clock.now().lifecycle);
            let seen = |name| Seen { daemon: served(custody, name), file: file_of(&folder) };
            glimpses.lock().unwrap().push(Glimpse {
                wall: clock.wall(),
                since_boot: clock.since_boot(),
                lifecycle: now,
                seen: names.iter().map(seen).collect(),
                signers: names.iter().map(|name| signer(custody, name, now)).collect(),
            });
        }));
        self.daemon = Some(daemon);
        self.observe();
    }

    fn names(&self) -> Vec<KeysetName> {
        self.ledgers.iter().map(|ledger| ledger.name.clone()).collect()
    }

    fn restart(&mut self, span: Duration) {
        if let Some(daemon) = self.daemon.take() {
            daemon.stop();
        }
        self.stay_down(span);
    }

    fn kill(&mut self, span: Duration) {
        // Its clock may have believed a jump within its last commit.
        self.last_is_served();
        if let Some(daemon) = self.daemon.take() {
            daemon.kill(&self.host.faults);
        }
        self.stay_down(span);
    }

    fn stay_down(&mut self, span: Duration) {
        self.last_is_served();
        self.ledgers.iter_mut().for_each(Ledger::ended);
        self.host.clock.advance(span);
        self.pass();
        self.show_tokens();
        self.audit.empty();
        self.start();
    }

    /// What was served until the process ended was served until now.
    fn last_is_served(&mut self) {
        self.take_glimpses();
        self.pass();
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            self.settle_once();
            if !self.host.faults.is_killed() {
                break;
            }
            // The process was killed within a commit.
            self.kill(RESTART);
        }
        if self.is_well().is_ok() {
            self.ledgers.iter_mut().for_each(|ledger| ledger.unconfirmed = false);
        }
        self.observe();
    }

    fn settle_once(&self) {
        let Some(daemon) = &self.daemon else { return };
        daemon.settle();
        let names = self.names();
        let is_full = self.disk.is_full();
        daemon.administration.standings.wait(&names, Duration::from_secs(20), |standing| {
            standing.is_confirmed() || (is_full && standing.problem.is_some())
        });
        daemon.settle();
    }

    // --- configuration

    fn configure(&self) {
        let keysets: Vec<(Role, Choice)> = self
            .configured
            .iter()
            .filter(|set| set.is_in)
            .map(|set| (set.role, set.choice))
            .collect();
        let text = configuration::text(&self.host.folder, self.first, &keysets);
        std::fs::write(self.host.config_path(), text).unwrap();
    }

    /// Facts that contradict each other, or make a schedule too dense, become the usual ones.
    fn agree(&mut self) {
        for set in 0..self.configured.len() {
            self.configure();
            let path = self.host.config_path();
            if jwksd::config::Config::load(&path, self.host.clock.wall()).is_err() {
                self.configured[set].choice = Choice::USUAL;
            }
        }
        self.configure();
    }

    fn reload(&mut self, set: u8, field: usize, value: usize) {
        let set = self.pick(set);
        let old = self.configured[set];
        self.configured[set].choice = old.choice.with(field, value);
        if !self.take_configuration() {
            self.configured[set] = old;
            self.configure();
        }
    }

    fn set_in(&mut self, set: u8, is_in: bool) {
        let set = self.pick(set);
        let (old, others) = (self.configured[set], self.configured.iter().filter(|it| it.is_in));
        if old.is_in == is_in || (!is_in && others.count() == 1) {
            return;
        }
        self.configured[set].is_in = is_in;
        // One that comes back goes on with what it has, or with a first key.
        self.ledgers[set].vouchers += 1;
        if !self.take_configuration() {
            self.configured[set] = old;
            self.configure();
        }
    }

    /// Returns whether the configuration as it is written is in force.
    fn take_configuration(&mut self) -> bool {
        self.configure();
        let Some(daemon) = &self.daemon else { return false };
        if daemon.administration.reload_unasked().is_err() {
            return false;
        }
        let config = daemon.custody().config();
        for ledger in &mut self.ledgers {
            if let Some(keyset) = config.keysets.get(&ledger.name) {
                ledger.lower_skew(keyset.facts.clock_skew);
            }
        }
        true
    }

    // --- requests

    fn importing(&self) -> Option<usize> {
        self.ledgers.iter().position(|ledger| ledger.role == Role::Importing)
    }

    fn import(&mut self, key: Brought, may_replace: Replaceable) {
        let Some(set) = self.importing() else { return };
        let key = match key {
            Brought::Again(pick) if !self.key_files.is_empty() => {
                self.key_files[usize::from(pick) % self.key_files.len()].clone()
            }
            Brought::New | Brought::Again(_) => {
                let facts = self.stored(set).head.facts.clone();
                let algorithm = facts.map_or(Algorithm::Es256, |facts| facts.algorithm);
                self.key_files.push(Arc::new(KeyFile::new(algorithm)));
                self.key_files[self.key_files.len() - 1].clone()
            }
        };
        self.ask(set, &Request::Import { key, may_replace });
    }

    fn trust(&mut self, span: Duration) {
        let Some(set) = self.importing() else { return };
        let facts = self.stored(set).head.facts.clone();
        let algorithm = facts.map_or(Algorithm::Es256, |facts| facts.algorithm);
        let (key, until) = (Arc::new(KeyFile::new(algorithm)), self.moment.lifecycle + span);
        self.ask(set, &Request::Trust { key, until });
    }

    fn pick(&self, set: u8) -> usize {
        usize::from(set) % self.ledgers.len()
    }

    fn pick_key(&mut self, set: usize, key: u8, of: impl Fn(&Life) -> bool) -> Option<KeyId> {
        let stored = self.stored(set);
        let keys: Vec<_> = stored.records.iter().filter(|record| of(&record.life)).collect();
        let index = usize::from(key).checked_rem(keys.len())?;
        Some(keys[index].kid.clone())
    }

    fn expected(&mut self, set: usize, expect: Expect) -> Option<KeyId> {
        match expect {
            Expect::Active => self.daemon.as_ref()?.signer(&self.ledgers[set].name),
            Expect::Another(key) => self.pick_key(set, key, |_| true),
        }
    }

    fn ask(&mut self, set: usize, request: &Request) {
        self.last = Some((set, request.clone()));
        let (name, before) = (self.ledgers[set].name.clone(), self.stored(set));
        let (starts, lifecycle) = (self.starts, self.moment.lifecycle);
        let was_confirmed = !self.ledgers[set].unconfirmed;
        // What could not be stored yet puts off what is planned.
        let was_well = self.is_well().is_ok();
        let Some(daemon) = &self.daemon else { return };
        let signer = daemon.signer(&name);
        let standby = {
            let (keyset, facts) = (before.keyset(), before.head.facts.as_ref());
            let standby = facts.and_then(|facts| keyset.standby_at(facts, lifecycle));
            standby.and_then(|life| before.record(life.number)).map(|it| it.kid.clone())
        };
        match request {
            Request::Rotate { when: Wanted::Now, .. } => self.ledgers[set].vouchers += 1,
            Request::Rotate { .. } | Request::Import { .. } | Request::Trust { .. } => {}
            Request::Revoke { kid } => {
                // Of another key, it lets nothing sign at once.
                let is_of_signer = signer.as_ref().is_none_or(|signer| signer == kid);
                self.ledgers[set].vouchers += u32::from(is_of_signer);
                self.ledgers[set].forsake(kid);
            }
            Request::Retire { kid } => self.ledgers[set].forsake(kid),
            Request::RevokeAll { .. } => {
                self.ledgers[set].vouchers += 1;
                self.ledgers[set].forsake_all();
            }
        }
        let answer = request.send(daemon, &name);
        self.ledgers[set].unconfirmed |= answer == Answer::InEffect;
        if self.host.faults.is_killed() {
            match request {
                Request::Revoke { kid } => self.ledgers[set].may_be_lost(Some(kid)),
                Request::RevokeAll { .. } => self.ledgers[set].may_be_lost(None),
                _ => {}
            }
        }
        self.settle();
        let is_same = was_confirmed && self.starts == starts && self.moment.lifecycle == lifecycle;
        let now = self.daemon.as_ref().and_then(|daemon| daemon.signer(&name));
        if let Request::Rotate { expect, when } = request
            && is_same
        {
            let may_take_over = signer.as_ref() == Some(expect);
            // Without a standby, the one that is made takes over.
            let is_next = standby.is_none() || now == standby;
            let may = now == signer || (may_take_over && is_next);
            let is_done = matches!(answer, Answer::Rotated { .. }) && *when == Wanted::Now;
            let must = !may_take_over || !is_done || (now != signer && is_next);
            if !may || !must {
                let why = format!("{request:?}: {answer:?}; {signer:?} signed, then {now:?}");
                self.breaks("one rotation for one request", &why);
            }
        }
        if let (Request::Revoke { kid }, Some(signer)) = (request, &signer)
            && is_same
            && kid != signer
            && now.as_ref() != Some(signer)
        {
            let why = format!("{kid}: {answer:?}; {signer} signed, then {now:?}");
            self.breaks("a revocation of another key leaves the signer", &why);
        }
        if let (Answer::Gone(_), Some(signer)) = (&answer, &signer)
            && is_same
            && self.daemon.is_some()
            && now.is_none()
        {
            self.breaks("a revocation leaves a signer", &format!("{request:?}: {signer} signed"));
        }
        if let Answer::Rotated { to, activates: Some(activates) } = &answer
            && is_same
            && was_well
            && let Some(record) = self.stored(set).record_of(to)
            && record.life.activates != Some(*activates)
        {
            self.breaks("a rotation is as it was told", &format!("{answer:?}: {record:?}"));
        }
        if let (Request::Import { key, .. }, Answer::In(kid)) = (request, &answer)
            && self.ledgers[set].keys.get(&key.kid).is_some_and(|known| known.is_gone)
        {
            self.breaks("no key comes back", &kid.to_string());
        }
        if let Answer::In(kid) = &answer
            && is_same
            && self.stored(set).record_of(kid).is_none()
        {
            self.breaks("what was acknowledged is durable", &format!("{request:?}: {kid}"));
        }
        self.judge_gone(set, request, &answer, starts);
    }

    /// What an admin heard to be gone is gone.
    fn judge_gone(&mut self, set: usize, request: &Request, answer: &Answer, starts: u64) {
        let gone = match (answer, request) {
            (Answer::Gone(gone), _) => gone.clone(),
            (Answer::InEffect, Request::Revoke { kid }) if self.starts == starts => {
                vec![kid.clone()]
            }
            _ => return,
        };
        for kid in gone {
            if self.ledgers[set].serves(&kid) {
                self.breaks("what is gone is not served", &format!("{request:?}: {kid}"));
            }
            let stone = self.truth.tombstone(&self.ledgers[set].name, &kid).unwrap();
            if matches!(answer, Answer::Gone(_)) && stone.is_none() {
                self.breaks("what was acknowledged is durable", &format!("{request:?}: {kid}"));
            }
        }
    }

    // --- what is seen

    fn stored(&mut self, set: usize) -> Arc<Loaded> {
        let (name, commits) = (&self.ledgers[set].name, self.host.faults.commits());
        if let Some((as_of, loaded)) = self.stored.get(name)
            && *as_of == commits
        {
            return loaded.clone();
        }
        let loaded = Arc::new(self.truth.load(name).unwrap());
        self.stored.insert(name.clone(), (commits, loaded.clone()));
        loaded
    }

    fn take_glimpses(&mut self) {
        let glimpses = std::mem::take(&mut *self.glimpses.lock().unwrap());
        for Glimpse { wall, since_boot, lifecycle, seen, signers } in glimpses {
            let real = START + since_boot.saturating_sub(BOOTED_FOR);
            if real < self.moment.real {
                continue;
            }
            self.pass_to(real, wall, Some(lifecycle));
            for (set, (seen, signer)) in seen.iter().zip(signers).enumerate() {
                self.see(set, seen);
                let stored = self.stored(set);
                if let Some(record) = signer.and_then(|kid| stored.record_of(&kid)) {
                    let facts = stored.head.facts.as_ref();
                    self.begins_to_sign(set, &record.kid, &record.life, facts);
                }
            }
        }
    }

    /// Looks at all that can be seen from outside.
    fn observe(&mut self) {
        self.take_glimpses();
        self.pass();
        for set in 0..self.ledgers.len() {
            let name = self.ledgers[set].name.clone();
            let served = self.daemon.as_ref().and_then(|daemon| daemon.served(&name));
            let seen = Seen { daemon: served, file: file_of(&self.host.folder) };
            self.see(set, &seen);
            self.sign(set);
            if self.daemon.is_some()
                && !self.ledgers[set].unconfirmed
                && let Err(why) = self.ledgers[set].tokens_outlive_no_key(self.moment)
            {
                self.breaks("a key is served as long as its tokens live", &why);
            }
        }
        self.show_tokens();
    }

    fn see(&mut self, set: usize, seen: &Seen) {
        let stored = self.stored(set);
        let moment = self.moment;
        self.ledgers[set].see(seen, stored.head.facts.as_ref(), moment);
        let name = self.ledgers[set].name.clone();
        let kids: Vec<KeyId> = self.ledgers[set]
            .current()
            .map_or_else(Vec::new, |version| version.keys.keys().cloned().collect());
        for kid in kids {
            if self.ledgers[set].keys[&kid].is_gone {
                self.breaks("what is gone is not served", &kid.to_string());
            }
            if stored.record_of(&kid).is_none()
                && self.truth.tombstone(&name, &kid).unwrap().is_none()
            {
                self.breaks("nothing is served before it is durable", &kid.to_string());
            }
        }
    }

    /// A caller asks for the longest token that it may have.
    fn sign(&mut self, set: usize) {
        let Some(daemon) = &self.daemon else { return };
        let name = self.ledgers[set].name.clone();
        let config = daemon.custody().config();
        let Some(configured) = config.keysets.get(&name) else { return };
        let asked = configured.facts.max_token_ttl;
        let (ttl, signed) = match daemon.sign(&name, asked.as_secs()) {
            Err(TokenError::TtlTooLong { longest, .. }) => {
                (longest, daemon.sign(&name, longest.as_secs()))
            }
            signed => (asked, signed),
        };
        let stored = self.stored(set);
        let token = match signed {
            Ok(token) => token,
            Err(error) => {
                let is_failing = self.audit.is_full();
                if !is_failing
                    && self.is_well().is_ok()
                    && self.has_begun(set)
                    && !self.ledgers[set].unconfirmed
                {
                    self.breaks("a set has a signer", &format!("{name}: {error}"));
                }
                return;
            }
        };
        let Some(record) = stored.record_of(&token.kid) else {
            // What a store that says nothing may have taken out, does not begin to sign; but a revocation
            // promotes what it can.
            let has_left = self.truth.tombstone(&name, &token.kid).unwrap().is_some();
            let may_be_promoted = self.ledgers[set].unconfirmed;
            if (has_left && !may_be_promoted) || self.is_well().is_ok() {
                self.breaks("who signs is durable", &token.kid.to_string());
            }
            return;
        };
        let (kid, life) = (token.kid, &record.life);
        if self.audit.is_full() {
            self.breaks("nothing is signed that is not recorded", &kid.to_string());
        }
        if ttl > life.longest_ttl {
            let longest = life.longest_ttl;
            self.breaks(
                "no token outlives what is durable",
                &format!("{kid}: {ttl:?} {longest:?}"),
            );
        }
        if life.ended.is_some() && self.is_well().is_ok() {
            self.breaks("an ended key never signs again", &format!("{life:?}"));
        }
        self.begins_to_sign(set, &kid, life, stored.head.facts.as_ref());
        let apart = self.moment.wall.since(self.moment.lifecycle);
        let apart = apart.max(self.moment.lifecycle.since(self.moment.wall));
        if apart <= self.tolerated() && !self.ledgers[set].unconfirmed {
            let (signed, skew) = (self.moment.lifecycle, configured.facts.clock_skew);
            self.ledgers[set].note_token(&kid, Token { expires: token.expires, signed, skew });
        }
    }

    fn begins_to_sign(&mut self, set: usize, kid: &KeyId, life: &Life, facts: Option<&Facts>) {
        let number = life.number.0;
        let before = self.ledgers[set].signer.clone();
        if before.as_ref().is_some_and(|(signer, _)| signer == kid) {
            return;
        }
        self.ledgers[set].signer = Some((kid.clone(), number));
        let Some(facts) = facts.filter(|_| !self.ledgers[set].has_begun(kid)) else { return };
        let now = self.moment;
        let waited = self.ledgers[set].served_its_wait(kid, facts, now);
        let manner = if waited.is_ok() { Manner::Waited } else { Manner::AtOnce };
        if let Err(why) = waited {
            let is_asked = !life.planned_by.waits() || self.ledgers[set].unconfirmed;
            if !is_asked || self.ledgers[set].vouchers == 0 {
                self.breaks("a key is served before it signs", &format!("{why}: {life:?}"));
            }
            self.ledgers[set].vouchers = self.ledgers[set].vouchers.saturating_sub(1);
        }
        self.ledgers[set].begins(kid, manner, facts, now);
    }

    fn show_tokens(&mut self) {
        let (is_reachable, moment) = (self.daemon.is_some(), self.moment);
        for set in 0..self.ledgers.len() {
            if let Err(why) = self.ledgers[set].show_tokens(is_reachable, moment) {
                self.breaks("every verifier takes every good token", &why);
            }
            self.ledgers[set].tidy(moment);
        }
    }

    // --- rules

    pub(crate) fn is_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    fn breaks(&mut self, rule: &str, why: &str) {
        self.broken.push(format!("broken after {} operations: {rule}: {why}", self.operations));
    }

    /// Whether the daemon runs and says that it gets its work done.
    fn is_well(&self) -> Result<(), String> {
        let Some(daemon) = &self.daemon else { return Err("it is down".to_owned()) };
        if self.host.faults.is_silent() {
            return Err("the store is silent".to_owned());
        }
        let work = [Check::Store, Check::Steps, Check::Secrets, Check::Audit];
        let trouble = daemon.troubles().into_iter().find(|(check, _)| work.contains(check));
        trouble.map_or(Ok(()), |(_, why)| Err(why))
    }

    /// Whether the set is to sign: the first of its keys is there.
    fn has_begun(&mut self, set: usize) -> bool {
        let waits = self.first == First::Imported && self.ledgers[set].role == Role::Importing;
        !waits || self.stored(set).head.next_number > Number::default()
    }

    /// What holds whenever nothing is left to do.
    fn judge(&mut self) {
        if self.is_well().is_err() {
            return;
        }
        for set in 0..self.ledgers.len() {
            // What a file lacks counts otherwise than it is stored.
            if self.ledgers[set].role == Role::Filed && self.is_held_back(set) {
                continue;
            }
            if let Err(why) = self.all_is_done(set) {
                let name = self.ledgers[set].name.clone();
                let (rule, why) = why.split_once(": ").unwrap_or((&why, ""));
                self.breaks(rule, &format!("{name}: {why}"));
            }
        }
    }

    fn is_held_back(&self, set: usize) -> bool {
        let standings = self.daemon.as_ref().map(|daemon| &daemon.administration.standings);
        let standing = standings.and_then(|standings| standings.of(&self.ledgers[set].name));
        standing.is_some_and(|standing| !standing.is_confirmed() || !standing.held.is_empty())
    }

    fn all_is_done(&mut self, set: usize) -> Result<(), String> {
        let (stored, begun) = (self.stored(set), self.has_begun(set));
        let (name, now) = (self.ledgers[set].name.clone(), self.moment.lifecycle);
        let Some(daemon) = &self.daemon else { return Ok(()) };
        let config = daemon.custody().config();
        let (facts, keyset) = (config.keysets.get(&name).map(|set| &set.facts), stored.keyset());
        let signer = keyset.signer_at(now);
        for record in &stored.records {
            let (life, has_secret) = (&record.life, record.secret.is_some());
            let superseded = signer.is_some_and(|signer| life.number < signer.number);
            if life.ended.is_some() == has_secret || (superseded && life.ended.is_none()) {
                return Err(format!("secrets of superseded keys are erased: {life:?}"));
            }
            if !self.ledgers[set].serves(&record.kid) {
                return Err(format!("what is stored is served: {life:?}"));
            }
        }
        let served = self.ledgers[set].current().map_or(0, |version| version.keys.len());
        if served != stored.records.len() {
            let stored = stored.records.len();
            return Err(format!("nothing else is served: {served} keys are, {stored} stored"));
        }
        let signs = daemon.signer(&name);
        let stored_signer = signer.and_then(|life| stored.record(life.number)).map(|it| &it.kid);
        if facts.is_some() && signs.as_ref() != stored_signer {
            return Err(format!("who signs is who is stored to: {signs:?}, {stored_signer:?}"));
        }
        if let Some(facts) = facts.filter(|_| begun) {
            if stored.head.facts.as_ref() != Some(facts) {
                return Err("the configured facts are in force".to_owned());
            }
            if !keyset.pending_at(now).any(|life| life.algorithm == facts.algorithm) {
                return Err("a standby is there".to_owned());
            }
        }
        let plan = lifecycle::plan(&keyset, facts, &Intent::Tick, daemon.now());
        match plan {
            Ok(plan) if plan.steps.is_empty() => {}
            plan => return Err(format!("nothing is due: {plan:?}")),
        }
        self.departed_are_buried(set, &stored)
    }

    /// Each key that left, left a tombstone, and does not come back.
    fn departed_are_buried(&mut self, set: usize, stored: &Loaded) -> Result<(), String> {
        let ledger = &mut self.ledgers[set];
        for (kid, known) in ledger.keys.iter_mut().filter(|(_, known)| !known.is_gone) {
            if stored.record_of(kid).is_none() {
                if self.truth.tombstone(&ledger.name, kid).unwrap().is_none() {
                    return Err(format!("who left has a tombstone: {kid}"));
                }
                known.is_gone = true;
            }
        }
        Ok(())
    }
}

impl Drop for World {
    /// Its threads end, and leave the processor to the next.
    fn drop(&mut self) {
        self.host.faults.wake();
        self.disk.set_full(false);
        if let Some(daemon) = self.daemon.take().filter(|_| !std::thread::panicking()) {
            daemon.kill(&self.host.faults);
        }
    }
}

/// What whoever serves the file has.
fn file_of(folder: &Path) -> Option<Vec<u8>> {
    std::fs::read(folder.join(FILE)).ok()
}
