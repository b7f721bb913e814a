//! Random histories of one key set, driven through the real rules, with an honest model of the
//! world beside them: clocks, caches, verifiers, tokens, a store that fails and a daemon that dies.
//!
//! What the model takes for granted of the daemon (each was needed; without it a rule breaks):
//!
//! * Nothing is signed or served after a start before [`Intent::Unserved`] is durable.
//! * A ring serves and signs by the facts in force (the durable ones), never by configured facts
//!   that no commit has adopted. A set missing from the configuration signs nothing.
//! * A commit whose outcome stays unknown while the store is silent freezes the ring: it keeps the
//!   signer that it had, and the first intent afterwards is [`Intent::Unserved`] from that moment.
//!   So it is wherever a set was not served as it is stored; the daemon's own simulation has those.
//! * Every ring published while a revocation is not durable leaves the revoked key out.
//!
//! What lies outside the promises, and is excluded here as tightly as we know:
//!
//! * Tokens signed at a lifecycle time later than the one that a restart begins with: the wall
//!   clock was ahead, nothing durable had seen it, and then it was set back.
//! * Caches are judged by true time, so a key is not held against forward steps of lifecycle time
//!   of more than S in all since the copy in question (the real clock holds such steps back).
//! * Tokens of a standby that only a revocation in memory promoted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::algorithm::RsaBits;
use crate::facts::{FirstKey, KeyTypes};
use crate::schedule::{Rotation, Schedule};

const START: Time = Time::from_millis(1_795_000_000_000);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

// ---------------------------------------------------------------------------------------------
// Facts to choose from

/// Facts as choices, so that a reload can change one of them.
type Choice = [usize; 6];
const CHOICES: Choice = [6, 3, 3, 3, 3, 3];

fn facts_of(choice: Choice) -> Facts {
    let cron = |text, zone| Rotation::Scheduled(Schedule::parse(text, zone).unwrap());
    let [rotate, max_age, verifier_cache, ttl, skew, algorithm] = choice;
    Facts {
        rotate: match rotate {
            0 => cron("0 3 1 * *", "UTC"),
            1 => cron("0 3 * * MON", "UTC"),
            2 => cron("30 2 1,15 * *", "Europe/Berlin"),
            3 => cron("0 0 1 */3 *", "UTC"),
            4 => cron("0 3 1 * *", "Asia/Tokyo"),
            _ => Rotation::Manual,
        },
        jwks_max_age: [Duration::from_mins(5), HOUR * 5, DAY * 2][max_age],
        verifier_cache: [HOUR, DAY, DAY * 4][verifier_cache],
        max_token_ttl: [HOUR, DAY, DAY * 20][ttl],
        clock_skew: [Duration::ZERO, Duration::from_mins(1), Duration::from_mins(10)][skew],
        algorithm: Algorithm::Rs256([RsaBits::B2048, RsaBits::B3072, RsaBits::B4096][algorithm]),
        first_key: FirstKey::Generate,
        key_types: KeyTypes::One,
    }
}

/// Those choices that [`Facts::check`] lets pass.
fn checked(choice: Choice) -> Option<Facts> {
    static TABLE: OnceLock<BTreeMap<Choice, Facts>> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        let mut table = BTreeMap::new();
        for index in 0..CHOICES[..5].iter().product() {
            let mut rest: usize = index;
            let mut choice = [0; 6];
            for (at, count) in CHOICES[..5].iter().enumerate() {
                choice[at] = rest % count;
                rest /= count;
            }
            // S is of minutes and decides nothing here; the algorithm neither.
            let judged = [choice[0], choice[1], choice[2], choice[3], 0, 0];
            let passes = match choice[4] {
                0 => facts_of(judged).check(START).is_ok(),
                _ => table.contains_key(&judged),
            };
            for algorithm in (0..CHOICES[5]).filter(|_| passes) {
                choice[5] = algorithm;
                table.insert(choice, facts_of(choice));
            }
        }
        table
    });
    table.get(&choice).cloned()
}

fn facts_checked(choice: Choice, first_key: FirstKey) -> Option<Facts> {
    checked(choice).map(|facts| Facts { first_key, ..facts })
}

// ---------------------------------------------------------------------------------------------
// Operations

#[derive(Clone, Debug)]
enum Op {
    /// Time passes, the rotator wakes when it should, or not at all.
    Advance {
        span: Duration,
        wakes: bool,
    },
    /// The rotator wakes out of turn.
    Wake,
    /// The daemon is down; the wall clock may be set meanwhile.
    Down {
        span: Duration,
        step: i64,
    },
    /// The wall clock is set.
    Step(i64),
    /// A caller gets a token for this share of the longest lifetime (in 256ths).
    Sign(u8),
    Rotate {
        when: When,
        stale: bool,
    },
    Revoke(u8),
    RevokeAll {
        stale: bool,
    },
    Retire(u8),
    Import(Replaceable),
    Trust {
        size: usize,
        span: Duration,
    },
    TrustUntil {
        pick: u8,
        span: Duration,
    },
    NoteExport(u8),
    /// The last request is sent once more, exactly.
    Retry,
    /// One fact changes.
    Reload {
        field: usize,
        value: usize,
    },
    Remove,
    Restore,
    /// Another place where the set is served has the pending keys only now.
    PlacedLate,
    /// What becomes of the next commit.
    NextCommit(Outcome),
}

#[derive(Clone, Copy, Debug)]
enum When {
    Waited,
    In(Duration),
    Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok,
    /// Nothing persisted.
    Failed,
    /// Persisted, reported as an error, and the store can be read again at once.
    Unknown,
    /// Persisted, reported as an error, and the store is silent until the next wake-up.
    Silent,
    CrashBefore,
    CrashAfter,
}

fn spans() -> impl Strategy<Value = Duration> {
    prop_oneof![
        2 => (1u64..600).prop_map(Duration::from_secs),
        3 => (1u64..48).prop_map(Duration::from_hours),
        3 => (1u64..40).prop_map(|days| DAY * u32::try_from(days).unwrap()),
        1 => (40u64..200).prop_map(|days| DAY * u32::try_from(days).unwrap()),
    ]
}

/// For how long a key is to be trusted, sometimes for longer than it can be.
fn trusts() -> impl Strategy<Value = Duration> {
    (spans(), 1u32..4).prop_map(|(span, times)| span * times)
}

fn steps() -> impl Strategy<Value = i64> {
    (spans(), any::<bool>()).prop_map(|(span, back)| {
        let millis = i64::try_from(span.as_millis()).unwrap();
        if back { -millis } else { millis }
    })
}

fn ops() -> impl Strategy<Value = Op> {
    let when = || prop_oneof![Just(When::Waited), spans().prop_map(When::In), Just(When::Now)];
    let outcome = prop_oneof![
        Just(Outcome::Failed),
        Just(Outcome::Unknown),
        Just(Outcome::Silent),
        Just(Outcome::CrashBefore),
        Just(Outcome::CrashAfter),
    ];
    prop_oneof![
        14 => (spans(), prop::bool::weighted(0.75))
            .prop_map(|(span, wakes)| Op::Advance { span, wakes }),
        2 => Just(Op::Wake),
        4 => (spans(), prop_oneof![3 => Just(0), 1 => steps()])
            .prop_map(|(span, step)| Op::Down { span, step }),
        2 => steps().prop_map(Op::Step),
        10 => any::<u8>().prop_map(Op::Sign),
        5 => (when(), prop::bool::weighted(0.1)).prop_map(|(when, stale)| Op::Rotate { when, stale }),
        3 => any::<u8>().prop_map(Op::Revoke),
        1 => prop::bool::weighted(0.2).prop_map(|stale| Op::RevokeAll { stale }),
        1 => any::<u8>().prop_map(Op::Retire),
        4 => prop_oneof![3 => Just(Replaceable::NotExported), 1 => Just(Replaceable::Any)]
            .prop_map(Op::Import),
        3 => (0usize..3, trusts()).prop_map(|(size, span)| Op::Trust { size, span }),
        1 => (any::<u8>(), trusts()).prop_map(|(pick, span)| Op::TrustUntil { pick, span }),
        2 => any::<u8>().prop_map(Op::NoteExport),
        4 => Just(Op::Retry),
        8 => (0usize..6, 0usize..6).prop_map(|(field, value)| Op::Reload { field, value }),
        1 => Just(Op::Remove),
        2 => Just(Op::Restore),
        2 => Just(Op::PlacedLate),
        4 => outcome.prop_map(Op::NextCommit),
    ]
}

fn first_choice() -> impl Strategy<Value = Choice> {
    (0usize..6, 0usize..2, 0usize..2, 0usize..2, 0usize..3)
        .prop_map(|(a, b, c, d, e)| [a, b, c, d, e, 0])
}

fn first_key() -> impl Strategy<Value = FirstKey> {
    prop_oneof![4 => Just(FirstKey::Generate), 1 => Just(FirstKey::Import)]
}

// ---------------------------------------------------------------------------------------------
// The world

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rule {
    OneSigner,
    ServedBeforeItSigns,
    CachesKnowTheSigner,
    TokensOutliveNoKey,
    EndedForGood,
    NumbersGrow,
    SecretsGo,
    Durable,
    Fixpoint,
    NextChange,
    Retries,
    AlreadyMeansDone,
    Standby,
    FewPending,
    ScheduleIsKept,
    LongestTtl,
    ImportedIsNext,
    TrustedNeverSigns,
    TrustedUntil,
    ExportedStays,
}

#[derive(Default)]
struct Ring {
    set: Keyset,
    revision: Option<u64>,
    signs: bool,
    frozen: Option<Time>,
}

#[derive(Clone, Debug)]
struct Token {
    number: Number,
    expires: Time,
    signed: Time,
    ttl: Duration,
}

/// The last copy of the JWK Set that was handed out with one max-age.
#[derive(Clone, Copy, Debug)]
struct Copy {
    verifier_cache: Duration,
    real: Time,
    lifecycle: Time,
    ahead: Duration,
}

/// How a key was served.
#[derive(Debug)]
struct Served {
    since: Time,
    span: Duration,
    /// By max-age, the copies without the key.
    stale: BTreeMap<Duration, Copy>,
}

#[derive(Clone, Debug)]
struct Request {
    intent: Intent,
    persisted: bool,
    disturbed: bool,
}

struct World {
    /// True time.
    real: Time,
    /// What the wall clock shows beyond true time.
    offset: i64,
    lifecycle: Time,
    /// All that lifecycle time ever gained on true time.
    ahead: Duration,
    up: bool,
    started: bool,
    /// When the rotator last found nothing more to do.
    settled: Option<Time>,
    choice: Choice,
    first_key: FirstKey,
    config: Option<Facts>,
    durable: Keyset,
    revision: u64,
    seen: Time,
    ring: Ring,
    next_outcome: Outcome,
    in_doubt: Option<Time>,
    unconfirmed: Vec<Intent>,
    tokens: Vec<Token>,
    copies: BTreeMap<Duration, Copy>,
    served: BTreeMap<Number, Served>,
    admitted: BTreeSet<Number>,
    secrets: BTreeSet<Number>,
    buried: BTreeMap<Number, (Departure, Time)>,
    ends: BTreeMap<Number, (Time, Duration)>,
    left: BTreeSet<Number>,
    longest: BTreeMap<Number, Duration>,
    waits: BTreeMap<Number, BTreeSet<Time>>,
    /// Until when keys of others were asked to be served.
    trusted: BTreeMap<Number, Time>,
    exported: BTreeMap<Number, Time>,
    next_number: Number,
    /// The last intent of which something became durable.
    persisted: Option<Intent>,
    request: Option<Request>,
    broken: Vec<(Rule, String)>,
}

/// A rule, judged: `Err` says how it was broken.
type Holds = fn(&World) -> Result<(), String>;

/// What came of one step of the rotator.
enum Stepped {
    Nothing(Answer),
    Committed,
    Refused(Refusal),
    Failed,
    Crashed,
}

impl World {
    fn new(choice: Choice, first_key: FirstKey) -> Self {
        let choice = if checked(choice).is_some() { choice } else { [0; 6] };
        let mut world = Self {
            real: START,
            offset: 0,
            lifecycle: START,
            ahead: Duration::ZERO,
            up: false,
            started: false,
            settled: None,
            choice,
            first_key,
            config: facts_checked(choice, first_key),
            durable: Keyset::default(),
            revision: 0,
            seen: START,
            ring: Ring::default(),
            next_outcome: Outcome::Ok,
            in_doubt: None,
            unconfirmed: Vec::new(),
            tokens: Vec::new(),
            copies: BTreeMap::new(),
            served: BTreeMap::new(),
            admitted: BTreeSet::new(),
            secrets: BTreeSet::new(),
            buried: BTreeMap::new(),
            ends: BTreeMap::new(),
            left: BTreeSet::new(),
            longest: BTreeMap::new(),
            waits: BTreeMap::new(),
            trusted: BTreeMap::new(),
            exported: BTreeMap::new(),
            next_number: Number::default(),
            persisted: None,
            request: None,
            broken: Vec::new(),
        };
        world.start();
        world
    }

    // --- clocks

    fn wall(&self) -> Time {
        Time::from_millis(self.real.as_millis().saturating_add_signed(self.offset))
    }

    fn now(&self) -> Now {
        Now { lifecycle: self.lifecycle, wall: self.wall() }
    }

    /// Lifecycle time follows the wall clock, and never goes back.
    fn follow(&mut self, elapsed: Duration) {
        let before = self.lifecycle;
        self.lifecycle = before.max(self.wall());
        let gained = self.lifecycle.since(before);
        self.ahead += gained.saturating_sub(elapsed);
        for life in &self.ring.set.lives {
            if let Some(served) = self.served.get_mut(&life.number) {
                served.span += gained;
            }
        }
        self.hand_out();
        self.admit_signer();
    }

    fn elapse(&mut self, span: Duration) {
        self.real = self.real + span;
        self.follow(span);
    }

    /// True time from now until the lifecycle shows `time`.
    fn until(&self, time: Time) -> Duration {
        time.since(self.wall())
    }

    fn advance(&mut self, span: Duration, wakes: bool) {
        let end = self.real + span;
        while self.real < end {
            let now = self.lifecycle;
            let activations = self.ring.set.lives.iter().filter_map(|life| life.activates);
            let wake = next_change(&self.durable, now).filter(|_| wakes);
            let next = activations.filter(|&time| time > now).chain(wake).min();
            let span = end.since(self.real);
            let span = next.map_or(span, |next| span.min(self.until(next)));
            self.elapse(span);
            if wakes && self.in_doubt.is_none() {
                self.renew_seen();
            }
            if wake.is_some_and(|wake| wake <= self.lifecycle) {
                self.settle();
            }
        }
    }

    /// Hourly while the store is there.
    fn renew_seen(&mut self) {
        let hours = self.lifecycle.since(self.seen).as_millis() / HOUR.as_millis();
        self.seen = self.seen + HOUR * u32::try_from(hours).unwrap();
    }

    fn crash(&mut self, span: Duration, step: i64) {
        self.up = false;
        self.disturb();
        self.ring = Ring::default();
        self.in_doubt = None;
        // What a revocation in memory took out is back: the answer was "not durable".
        self.unconfirmed.clear();
        let crashed = self.lifecycle;
        self.real = self.real + span;
        self.offset += step;
        self.lifecycle = self.seen.max(self.wall());
        self.ahead += self.lifecycle.since(crashed).saturating_sub(span);
        let now = self.lifecycle;
        self.tokens.retain(|token| token.signed <= now);
        for copy in self.copies.values_mut() {
            copy.lifecycle = copy.lifecycle.min(now);
        }
        self.start();
    }

    fn start(&mut self) {
        let intent = Intent::Unserved { from: self.seen, to: self.lifecycle };
        loop {
            match self.commit_plan(&intent) {
                Stepped::Failed => {}
                Stepped::Crashed => return,
                Stepped::Refused(refusal) => panic!("at start: {refusal}"),
                Stepped::Nothing(_) | Stepped::Committed => break,
            }
        }
        self.up = true;
        self.publish();
        self.settle();
    }

    // --- the rotator

    fn step(&mut self, intent: &Intent) -> Stepped {
        if let Some(from) = self.in_doubt {
            let unserved = Intent::Unserved { from, to: self.lifecycle };
            match self.commit_plan(&unserved) {
                Stepped::Nothing(_) | Stepped::Committed => {
                    self.in_doubt = None;
                    self.ring.frozen = None;
                }
                Stepped::Failed => {
                    if let Ok(plan) = self.decide(intent) {
                        self.revoke_in_memory(intent, &plan.steps);
                    }
                    return Stepped::Failed;
                }
                other => return other,
            }
        }
        self.publish();
        self.commit_plan(intent)
    }

    fn decide(&self, intent: &Intent) -> Result<Plan, Refusal> {
        plan(&self.durable, self.config.as_ref(), intent, self.now())
    }

    fn commit_plan(&mut self, intent: &Intent) -> Stepped {
        let plan = match self.decide(intent) {
            Err(refusal) => return Stepped::Refused(refusal),
            Ok(plan) if plan.steps.is_empty() => return Stepped::Nothing(plan.answer),
            Ok(plan) => plan,
        };
        match std::mem::replace(&mut self.next_outcome, Outcome::Ok) {
            Outcome::Ok => {
                self.persist(intent, &plan.steps);
                self.publish();
                Stepped::Committed
            }
            Outcome::Failed => {
                self.revoke_in_memory(intent, &plan.steps);
                Stepped::Failed
            }
            Outcome::Unknown => {
                self.persist(intent, &plan.steps);
                self.publish();
                if is_found_again(intent) {
                    return Stepped::Committed;
                }
                match self.commit_plan(intent) {
                    Stepped::Nothing(_) | Stepped::Refused(_) => Stepped::Committed,
                    other => other,
                }
            }
            Outcome::Silent if self.up => {
                self.in_doubt.get_or_insert(self.lifecycle);
                self.ring.frozen.get_or_insert(self.lifecycle);
                self.revoke_in_memory(intent, &plan.steps);
                self.persist(intent, &plan.steps);
                Stepped::Failed
            }
            Outcome::Silent => {
                self.persist(intent, &plan.steps);
                Stepped::Failed
            }
            Outcome::CrashBefore => {
                self.crash(Duration::from_mins(2), 0);
                Stepped::Crashed
            }
            Outcome::CrashAfter => {
                self.persist(intent, &plan.steps);
                self.crash(Duration::from_mins(2), 0);
                Stepped::Crashed
            }
        }
    }

    fn persist(&mut self, intent: &Intent, steps: &[Step]) {
        self.persisted = Some(intent.clone());
        if let Intent::TrustUntil { number, until } = intent {
            self.trusted.insert(*number, *until);
        }
        let skew = self.config.as_ref().or(self.durable.facts.as_ref()).map(|f| f.clock_skew);
        for step in steps {
            match step {
                Step::Create(life) => {
                    if life.number < self.next_number || life.number != self.durable.next_number {
                        self.broken.push((Rule::NumbersGrow, format!("{step:?}")));
                    }
                    if life.origin == Origin::Trusted {
                        self.trusted.insert(life.number, life.retires.unwrap_or_default());
                    } else {
                        self.secrets.insert(life.number);
                    }
                }
                Step::End { number, ended, .. } => {
                    self.secrets.remove(number);
                    self.ends.insert(*number, (*ended, skew.unwrap_or_default()));
                }
                Step::Bury { number, departure } => {
                    self.secrets.remove(number);
                    self.buried.insert(*number, (*departure, self.lifecycle));
                }
                Step::NoteExport { number, exported } => {
                    if self.exported.insert(*number, *exported).is_some() {
                        self.broken.push((Rule::ExportedStays, format!("twice: {step:?}")));
                    }
                }
                Step::Adopt { .. }
                | Step::Plan { .. }
                | Step::Unserved { .. }
                | Step::Extend { .. }
                | Step::TrustUntil { .. } => {}
            }
            self.durable.apply(step);
            for facts in self.config.iter().chain(&self.durable.facts) {
                for life in &self.durable.lives {
                    self.waits.entry(life.number).or_default().insert(life.waited_at(facts));
                }
            }
        }
        self.revision += 1;
        self.seen = self.seen.max(self.lifecycle);
    }

    /// A revocation takes effect in the ring whatever becomes of its commit; keys that it makes
    /// do not.
    fn revoke_in_memory(&mut self, intent: &Intent, steps: &[Step]) {
        if !self.up || !matches!(intent, Intent::Revoke(_) | Intent::RevokeAll { .. }) {
            return;
        }
        if !self.unconfirmed.contains(intent) {
            self.unconfirmed.push(intent.clone());
        }
        for step in steps.iter().filter(|step| !matches!(step, Step::Create(_))) {
            self.ring.set.apply(step);
        }
        self.ring.frozen = None;
    }

    fn publish(&mut self) {
        let signs = self.config.is_some();
        let live = self.ring.revision == Some(self.revision) && self.ring.signs == signs;
        if !self.up || live || self.in_doubt.is_some() {
            return;
        }
        self.hand_out();
        let mut set = self.durable.clone();
        for intent in &self.unconfirmed {
            if let Ok(plan) = plan(&set, self.config.as_ref(), intent, self.now()) {
                for step in plan.steps.iter().filter(|step| !matches!(step, Step::Create(_))) {
                    set.apply(step);
                }
            }
        }
        for old in self.ring.set.lives.iter().map(|life| life.number) {
            if set.life(old).is_none() && self.unconfirmed.is_empty() {
                self.left.insert(old);
            }
        }
        self.ring = Ring { set, revision: Some(self.revision), signs, frozen: None };
        for life in &self.ring.set.lives {
            let fresh = || Served {
                since: self.lifecycle,
                span: Duration::ZERO,
                stale: self.copies.clone(),
            };
            self.served.entry(life.number).or_insert_with(fresh);
            if life.state_at(self.lifecycle) == State::Pending {
                self.admitted.remove(&life.number);
            }
        }
        self.hand_out();
        self.admit_signer();
        if let Err(why) = self.tokens_outlive_no_key() {
            self.broken.push((Rule::TokensOutliveNoKey, why));
        }
    }

    fn settle(&mut self) {
        self.settled = None;
        while let Some(intent) = self.unconfirmed.first().cloned() {
            match self.step(&intent) {
                Stepped::Failed | Stepped::Crashed => return,
                // Refused: the outcome was unknown, and it was done.
                _ if self.unconfirmed.is_empty() => {}
                _ => {
                    self.unconfirmed.remove(0);
                    self.ring.revision = None;
                    self.publish();
                }
            }
        }
        for _ in 0..8 {
            match self.step(&Intent::Tick) {
                Stepped::Nothing(_) => {
                    self.settled = Some(self.lifecycle);
                    self.started |= self.config.is_some() && !self.waits_for_import();
                    return;
                }
                Stepped::Committed => {}
                Stepped::Failed | Stepped::Crashed => return,
                Stepped::Refused(refusal) => panic!("a tick was refused: {refusal}"),
            }
        }
        self.broken.push((Rule::Fixpoint, format!("never settles: {:#?}", self.durable)));
    }

    fn waits_for_import(&self) -> bool {
        self.first_key == FirstKey::Import && self.durable.next_number == Number::default()
    }

    fn signer(&self) -> Option<&Life> {
        let now = self.ring.frozen.unwrap_or(self.lifecycle);
        self.ring.set.signer_at(now).filter(|_| self.up && self.ring.signs)
    }

    fn disturb(&mut self) {
        if let Some(request) = &mut self.request {
            request.disturbed = true;
        }
    }

    // --- caches

    /// Someone fetches the JWK Set at every moment.
    fn hand_out(&mut self) {
        let Some(facts) = self.ring.set.facts.as_ref().filter(|_| self.up) else { return };
        let copy = Copy {
            verifier_cache: facts.verifier_cache,
            real: self.real,
            lifecycle: self.lifecycle,
            ahead: self.ahead,
        };
        self.copies.insert(facts.jwks_max_age, copy);
    }

    /// Judges a key at the moment it starts to sign.
    fn admit_signer(&mut self) {
        let Some(life) = self.signer().cloned() else { return };
        if !self.admitted.insert(life.number) || !life.planned_by.waits() {
            return;
        }
        for (rule, verdict) in [
            (Rule::ServedBeforeItSigns, self.served_before_it_signs(&life)),
            (Rule::CachesKnowTheSigner, self.caches_know_the_signer(&life)),
        ] {
            if let Err(why) = verdict {
                self.broken.push((rule, why));
            }
        }
    }

    // --- operations

    fn run(&mut self, op: &Op) {
        match op {
            Op::Advance { span, wakes } => self.advance(*span, *wakes),
            Op::Wake => self.settle(),
            Op::Down { span, step } => self.crash(*span, *step),
            Op::Step(step) => {
                self.offset += step;
                self.follow(Duration::ZERO);
            }
            Op::Sign(share) => self.sign(*share),
            Op::Rotate { when, stale } => {
                let Some(expect) = self.expected(*stale) else { return };
                let when = match when {
                    When::Waited => RotateAt::Waited,
                    When::In(span) => RotateAt::At(self.lifecycle + *span),
                    When::Now => RotateAt::Now,
                };
                self.ask(Intent::Rotate { expect, when });
            }
            Op::Revoke(pick) => {
                if let Some(number) = self.pick(*pick, |_| true) {
                    self.ask(Intent::Revoke(number));
                }
            }
            Op::RevokeAll { stale } => {
                let Some(expect) = self.expected(*stale) else { return };
                self.ask(Intent::RevokeAll { expect });
            }
            Op::Retire(pick) => {
                if let Some(number) = self.pick(*pick, |life| life.ended.is_some()) {
                    self.ask(Intent::Retire(number));
                }
            }
            Op::Import(may_replace) => self.import(*may_replace),
            Op::Trust { size, span } => {
                let bits = [RsaBits::B2048, RsaBits::B3072, RsaBits::B4096][*size];
                let until = self.lifecycle + *span;
                self.ask(Intent::Trust { algorithm: Algorithm::Rs256(bits), until });
            }
            Op::TrustUntil { pick, span } => {
                let until = self.lifecycle + *span;
                if let Some(number) = self.pick(*pick, |life| life.origin == Origin::Trusted) {
                    self.ask(Intent::TrustUntil { number, until });
                }
            }
            Op::NoteExport(pick) => {
                if let Some(number) = self.pick(*pick, |_| true) {
                    self.ask(Intent::NoteExport(number));
                }
            }
            Op::Retry => self.retry(),
            Op::Reload { field, value } => {
                let mut choice = self.choice;
                choice[*field] = value % CHOICES[*field];
                let facts = facts_checked(choice, self.first_key);
                if let Some(facts) = facts.filter(|_| self.config.is_some()) {
                    self.choice = choice;
                    self.configure(Some(facts));
                }
            }
            Op::Remove => self.configure(None),
            Op::Restore => self.configure(facts_checked(self.choice, self.first_key)),
            Op::PlacedLate => {
                let keys = self.durable.pending_at(self.lifecycle).map(|life| life.number);
                let intent = Intent::ServedFrom { keys: keys.collect(), from: self.lifecycle };
                self.disturb();
                self.step(&intent);
                self.settle();
            }
            Op::NextCommit(outcome) => self.next_outcome = *outcome,
        }
    }

    fn configure(&mut self, config: Option<Facts>) {
        self.disturb();
        self.started &= config.is_some();
        self.config = config;
        // A set without configuration stops at once; it signs again when a commit says so.
        self.ring.signs &= self.config.is_some();
        self.settle();
    }

    fn expected(&self, stale: bool) -> Option<Number> {
        let signer = self.signer()?.number;
        let expect = if stale { Number(signer.0.saturating_sub(1)) } else { signer };
        // The rotator takes a key that never signs here for none: nobody saw it sign.
        Some(if self.trusted.contains_key(&expect) { Number::NONE } else { expect })
    }

    fn pick(&self, pick: u8, of: impl Fn(&Life) -> bool) -> Option<Number> {
        let lives: Vec<_> = self.ring.set.lives.iter().filter(|life| of(life)).collect();
        let index = usize::from(pick).checked_rem(lives.len())?;
        Some(lives[index].number)
    }

    fn ask(&mut self, intent: Intent) {
        self.ask_with(intent, |_, _| {});
    }

    fn ask_with(&mut self, intent: Intent, judge: impl FnOnce(&mut Self, &Stepped)) {
        self.persisted = None;
        let stepped = self.step(&intent);
        judge(self, &stepped);
        if let Stepped::Nothing(Answer::AlreadyRotated { .. }) = stepped
            && let Err(why) = self.already_means_done(&intent)
        {
            self.broken.push((Rule::AlreadyMeansDone, why));
        }
        let persisted = match stepped {
            Stepped::Committed | Stepped::Nothing(Answer::Rotation { .. }) => true,
            _ => self.persisted.as_ref() == Some(&intent),
        };
        self.request = Some(Request { intent, persisted, disturbed: false });
        self.settle();
    }

    fn retry(&mut self) {
        let Some(request) = self.request.clone() else { return };
        self.settle();
        if request.persisted && self.fresh() {
            let plan = self.decide(&request.intent);
            if let Ok(plan) = plan
                && let Err(why) = self.retries_do_nothing(&request, &plan)
            {
                self.broken.push((Rule::Retries, why));
            }
        }
        if request.persisted && is_found_again(&request.intent) {
            self.settle();
        } else if request.persisted {
            self.step(&request.intent);
            self.settle();
        } else {
            self.ask(request.intent);
        }
    }

    fn import(&mut self, may_replace: Replaceable) {
        let before = self.durable.clone();
        let intent = Intent::Import { may_replace };
        self.ask_with(intent, |world, stepped| {
            if let Stepped::Committed = stepped
                && world.up
                && let Err(why) = world.imported_is_next(&before)
            {
                world.broken.push((Rule::ImportedIsNext, why));
            }
            if let Err(why) = world.exported_stays(&before, may_replace) {
                world.broken.push((Rule::ExportedStays, why));
            }
        });
    }

    fn sign(&mut self, share: u8) {
        let Some(signer) = self.signer() else { return };
        let in_force = self.ring.set.facts.as_ref().map(|facts| facts.max_token_ttl);
        let longest = in_force.unwrap_or_default().min(signer.longest_ttl);
        let number = signer.number;
        let ttl = longest * (u32::from(share) + 1) / 256;
        let token = Token { number, expires: self.wall() + ttl, signed: self.lifecycle, ttl };
        if self.unconfirmed.is_empty() {
            self.tokens.push(token);
        }
    }

    // --- rules

    fn judge(&mut self) {
        let rules: [(Rule, Holds); 14] = [
            (Rule::OneSigner, Self::one_signer),
            (Rule::TokensOutliveNoKey, Self::tokens_outlive_no_key),
            (Rule::EndedForGood, Self::ended_for_good),
            (Rule::NumbersGrow, Self::numbers_grow),
            (Rule::SecretsGo, Self::secrets_go),
            (Rule::Durable, Self::durable),
            (Rule::Fixpoint, Self::fixpoint),
            (Rule::NextChange, Self::next_change_never_lies),
            (Rule::Standby, Self::standby),
            (Rule::ScheduleIsKept, Self::schedule_is_kept),
            (Rule::LongestTtl, Self::longest_ttl),
            (Rule::FewPending, Self::few_pending),
            (Rule::TrustedNeverSigns, Self::trusted_never_signs),
            (Rule::TrustedUntil, Self::trusted_until),
        ];
        for (rule, holds) in rules {
            if let Err(why) = holds(self) {
                self.broken.push((rule, why));
            }
        }
        self.next_number = self.durable.next_number;
        for life in &self.durable.lives {
            self.longest.insert(life.number, life.longest_ttl);
        }
        let now = self.lifecycle;
        self.tokens.retain(|token| now < token.expires + DAY);
    }

    /// A configured set that has started has a signer in its ring.
    fn one_signer(&self) -> Result<(), String> {
        let excused = !self.started || self.in_doubt.is_some() || !self.unconfirmed.is_empty();
        if excused || self.signer().is_some() {
            return Ok(());
        }
        Err(format!("no signer at {}: {:#?}", self.lifecycle, self.ring.set))
    }

    /// A key that waits was served for `publish_ahead`, with the longest max-age of copies without
    /// it that were about when it was published, before it signs.
    fn served_before_it_signs(&self, life: &Life) -> Result<(), String> {
        let served = &self.served[&life.number];
        let facts = self.ring.set.facts.as_ref().unwrap();
        let about = served.stale.iter().filter(|(max_age, copy)| {
            copy.lifecycle + **max_age + copy.verifier_cache.max(**max_age) > served.since
        });
        let max_age = about.map(|(max_age, _)| *max_age).max().unwrap_or_default();
        let needed = facts.waits().with_max_age_of_at_least(max_age).publish_ahead();
        if served.span >= needed {
            return Ok(());
        }
        Err(format!(
            "at {} key {} signs, served {:?} of {needed:?}: {life:#?}",
            self.lifecycle, life.number, served.span
        ))
    }

    /// When a key that waits starts to sign, no verifier can still hold a copy without it: a
    /// shared cache handed it out until it was as old as its max-age, the verifier kept it for the
    /// longer of that and V.
    fn caches_know_the_signer(&self, life: &Life) -> Result<(), String> {
        let facts = self.ring.set.facts.as_ref().unwrap();
        for (max_age, copy) in &self.served[&life.number].stale {
            let promised = self.ahead <= copy.ahead + facts.clock_skew;
            let gone = copy.real + *max_age + facts.verifier_cache.max(*max_age);
            if promised && self.real < gone {
                return Err(format!(
                    "at {} (true time) key {} signs, a copy without it with max-age {max_age:?} \
                     is kept until {gone}",
                    self.real, life.number
                ));
            }
        }
        Ok(())
    }

    /// A key is served until S after the expiry of the last token that it signed, unless an admin
    /// took it out.
    fn tokens_outlive_no_key(&self) -> Result<(), String> {
        for token in &self.tokens {
            if self.ring.set.life(token.number).is_some() || !self.unconfirmed.is_empty() {
                continue;
            }
            let departure = self.buried.get(&token.number).map(|(departure, _)| *departure);
            let skew = self.ends.get(&token.number).map_or(Duration::ZERO, |(_, skew)| *skew);
            let by_admin = matches!(departure, Some(Departure::Revoked | Departure::RetiredEarly));
            if !by_admin && self.lifecycle < token.expires + skew {
                return Err(format!("at {} gone ({departure:?}): {token:?}", self.lifecycle));
            }
        }
        Ok(())
    }

    /// A key that ended never signs again and stays ended until it is buried; a buried one never
    /// comes back, also not to the ring.
    fn ended_for_good(&self) -> Result<(), String> {
        let durable = self.durable.lives.iter().filter(|life| life.ended.is_none());
        if let Some(life) = durable.into_iter().find(|life| self.ends.contains_key(&life.number)) {
            return Err(format!("not ended any more: {life:#?}"));
        }
        if let Some(signer) = self.signer().filter(|life| self.ends.contains_key(&life.number)) {
            return Err(format!("ended and signs: {signer:#?}"));
        }
        let back = |life: &&Life| self.buried.contains_key(&life.number);
        if let Some(life) = self.durable.lives.iter().find(back) {
            return Err(format!("buried and back: {life:#?}"));
        }
        match self.ring.set.lives.iter().find(|life| self.left.contains(&life.number)) {
            Some(life) => Err(format!("left the ring and is back: {life:#?}")),
            None => Ok(()),
        }
    }

    /// Numbers are in order, below `next_number`, and `next_number` never falls.
    fn numbers_grow(&self) -> Result<(), String> {
        let lives = &self.durable.lives;
        let ordered = lives.windows(2).all(|pair| pair[0].number < pair[1].number);
        let below = lives.iter().all(|life| life.number < self.durable.next_number);
        if ordered && below && self.durable.next_number >= self.next_number {
            return Ok(());
        }
        Err(format!("{:#?}", self.durable))
    }

    /// Secrets are those of the living keys that did not end, and none lies below the signer of a
    /// settled set; a settled set without configuration has none that could sign.
    fn secrets_go(&self) -> Result<(), String> {
        let unended = self.durable.lives.iter().filter(|life| life.ended.is_none());
        let unended: BTreeSet<Number> = unended.map(|life| life.number).collect();
        if self.secrets != unended {
            return Err(format!("secrets of {:?}, un-ended {unended:?}", self.secrets));
        }
        if !self.fresh() {
            return Ok(());
        }
        let signer = self.durable.signer_at(self.lifecycle).map(|life| life.number);
        let superfluous = match (signer, &self.config) {
            (Some(signer), Some(_)) => self.secrets.iter().any(|number| *number < signer),
            (signer, None) => signer.is_some(),
            (None, Some(_)) => false,
        };
        if superfluous {
            Err(format!("at {}: {:#?}", self.lifecycle, self.durable))
        } else {
            Ok(())
        }
    }

    /// Nothing in the ring is not durable, revocation excepted.
    fn durable(&self) -> Result<(), String> {
        if !self.up || !self.unconfirmed.is_empty() || self.in_doubt.is_some() {
            return Ok(());
        }
        let same = self.ring.revision != Some(self.revision) || self.ring.set == self.durable;
        let known = |life: &Life| life.number < self.durable.next_number;
        if same && self.ring.set.lives.iter().all(known) {
            return Ok(());
        }
        Err(format!("ring {:#?}\ndurable {:#?}", self.ring.set, self.durable))
    }

    /// A settled plan is a fixpoint.
    fn fixpoint(&self) -> Result<(), String> {
        if self.fresh() { self.quiet_at(self.lifecycle) } else { Ok(()) }
    }

    /// Before the moment that `next_change` names there is nothing to do.
    fn next_change_never_lies(&self) -> Result<(), String> {
        if !self.fresh() {
            return Ok(());
        }
        let next = next_change(&self.durable, self.lifecycle);
        let next = next.unwrap_or(self.lifecycle + DAY * 400);
        let ahead = next.since(self.lifecycle);
        self.quiet_at(self.lifecycle + ahead / 3)?;
        self.quiet_at(next.before(Duration::from_millis(1)).max(self.lifecycle))
    }

    /// A settled configured set has a pending standby of the configured algorithm.
    fn standby(&self) -> Result<(), String> {
        let Some(facts) = self.config.as_ref().filter(|_| self.fresh()) else { return Ok(()) };
        if self.waits_for_import() {
            return Ok(());
        }
        let mut pending = self.durable.pending_at(self.lifecycle);
        if pending.any(|life| life.algorithm == facts.algorithm) {
            return Ok(());
        }
        Err(format!("no standby at {}: {:#?}", self.lifecycle, self.durable))
    }

    /// A settled set has at most the standby and the one that it replaces.
    fn few_pending(&self) -> Result<(), String> {
        if self.fresh() && self.durable.pending_at(self.lifecycle).count() > 2 {
            return Err(format!("at {}: {:#?}", self.lifecycle, self.durable));
        }
        Ok(())
    }

    /// What the schedule planned activates at a fire of it, or at the end of a wait.
    fn schedule_is_kept(&self) -> Result<(), String> {
        let Some(facts) = self.config.as_ref().filter(|_| self.fresh()) else { return Ok(()) };
        for life in self.durable.pending_at(self.lifecycle) {
            let PlannedBy::Schedule { cron, time_zone } = &life.planned_by else {
                if life.planned_by == PlannedBy::Nobody && facts.rotate != Rotation::Manual {
                    return Err(format!("nobody planned {life:#?}"));
                }
                continue;
            };
            let Some(activates) = life.activates else { return Err(format!("never: {life:#?}")) };
            let schedule = Schedule::parse(cron, time_zone).unwrap();
            let fires =
                schedule.next_after(activates.before(Duration::from_millis(1))) == Some(activates);
            let waited = self.waits[&life.number].contains(&activates);
            if facts.rotate != Rotation::Scheduled(schedule) || !(fires || waited) {
                return Err(format!("under {:?}: {life:#?}", facts.rotate));
            }
        }
        Ok(())
    }

    /// `longest_ttl` never falls and covers each token; once settled, also each that can come.
    fn longest_ttl(&self) -> Result<(), String> {
        if let Some(facts) = self.config.as_ref().filter(|_| self.fresh()) {
            let short = |life: &&Life| life.longest_ttl < facts.max_token_ttl;
            let mut unended = self.durable.lives.iter().filter(|life| life.ended.is_none());
            if let Some(life) = unended.find(short) {
                return Err(format!("T is {:?}: {life:#?}", facts.max_token_ttl));
            }
        }
        for life in &self.durable.lives {
            let tokens = self.tokens.iter().filter(|token| token.number == life.number);
            let longest = tokens.map(|token| token.ttl).max().unwrap_or_default();
            let before = self.longest.get(&life.number).copied().unwrap_or_default();
            if life.longest_ttl < longest.max(before) {
                return Err(format!("signed {longest:?}, was {before:?}: {life:#?}"));
            }
        }
        Ok(())
    }

    /// A request whose first try took effect does nothing more: what is settled stays, and the
    /// next rotation does not move.
    fn retries_do_nothing(&self, request: &Request, plan: &Plan) -> Result<(), String> {
        let signer = self.durable.signer_at(self.lifecycle).map(|life| life.number);
        let holds = match &request.intent {
            Intent::Rotate { expect, .. } if signer != Some(*expect) => plan.steps.is_empty(),
            Intent::Rotate { .. } => request.disturbed || plan.steps.is_empty(),
            Intent::RevokeAll { .. } | Intent::Revoke(_) | Intent::Retire(_) => {
                plan.steps.is_empty()
            }
            Intent::TrustUntil { .. } | Intent::NoteExport(_) => plan.steps.is_empty(),
            // Of a key that was taken in, the rotator finds the earlier try, and asks no rule.
            Intent::Tick
            | Intent::Unserved { .. }
            | Intent::ServedFrom { .. }
            | Intent::Import { .. }
            | Intent::Trust { .. } => true,
        };
        if holds { Ok(()) } else { Err(format!("{request:?}\n{plan:#?}\n{:#?}", self.durable)) }
    }

    /// Who asked for a revocation of all keys and hears that it was done finds no key that lived
    /// together with the key that he expected.
    fn already_means_done(&self, intent: &Intent) -> Result<(), String> {
        let Intent::RevokeAll { expect } = intent else { return Ok(()) };
        let Some((_, buried)) = self.buried.get(expect) else {
            return Err(format!("{expect} was not revoked"));
        };
        match self.durable.lives.iter().find(|life| life.created < *buried) {
            Some(life) => Err(format!("{expect} was revoked at {buried}, but not {life:#?}")),
            None => Ok(()),
        }
    }

    /// A key that was taken in signs at once where it is the first, and else is the only standby of
    /// its algorithm: it waits, and not for less than an admin's plan for the one it replaced.
    fn imported_is_next(&self, before: &Keyset) -> Result<(), String> {
        let now = self.lifecycle;
        let life = self.durable.lives.last().filter(|life| life.origin == Origin::Imported);
        let Some(life) = life else { return Err(format!("not there: {:#?}", self.durable)) };
        if before.next_number == Number::default() && self.first_key == FirstKey::Import {
            let signs = self.durable.signer_at(now) == Some(life);
            return if signs { Ok(()) } else { Err(format!("is first, does not sign: {life:#?}")) };
        }
        let standbys = self.durable.pending_at(now).filter(|l| l.algorithm == life.algorithm);
        let alone = standbys.eq([life]) && life.planned_by.waits();
        let gone = |old: &&Life| self.durable.life(old.number).is_none_or(|l| l.ended.is_some());
        let followed = before.pending_at(now).filter(gone).all(|old| {
            old.planned_by != PlannedBy::Admin
                || (life.planned_by == PlannedBy::Admin && life.activates >= old.activates)
        });
        if alone && followed { Ok(()) } else { Err(format!("{before:#?}\n{:#?}", self.durable)) }
    }

    /// What was exported is not replaced by an import that was not forced.
    fn exported_stays(&self, before: &Keyset, may_replace: Replaceable) -> Result<(), String> {
        let replaced = |life: &&Life| {
            self.buried.get(&life.number).is_some_and(|(why, _)| *why == Departure::Replaced)
        };
        let mut exported = before.lives.iter().filter(|life| life.exported.is_some());
        match exported.find(replaced).filter(|_| may_replace == Replaceable::NotExported) {
            Some(life) => Err(format!("{life:#?}")),
            None => Ok(()),
        }
    }

    /// Keys of others never sign here and have no secret.
    fn trusted_never_signs(&self) -> Result<(), String> {
        let lives = self.durable.lives.iter().chain(&self.ring.set.lives);
        for life in lives.filter(|life| life.origin == Origin::Trusted) {
            let never = life.activates.is_none() && life.ended.is_some();
            if !never || self.secrets.contains(&life.number) {
                return Err(format!("{life:#?}"));
            }
        }
        let signer = self.signer().filter(|life| !life.is_signing_key());
        signer.map_or(Ok(()), |life| Err(format!("signs: {life:#?}")))
    }

    /// Keys of others are served until the instant that was asked for, unless an admin took them
    /// out, and in a settled set no longer.
    fn trusted_until(&self) -> Result<(), String> {
        for (number, until) in &self.trusted {
            let departure = self.buried.get(number).map(|(departure, _)| *departure);
            let by_admin = matches!(departure, Some(Departure::Revoked | Departure::RetiredEarly));
            let living = self.durable.life(*number).is_some();
            let early = !living && !by_admin && self.lifecycle < *until;
            let late = living && self.fresh() && self.lifecycle >= *until;
            if early || late {
                let now = self.lifecycle;
                return Err(format!("{number} until {until}, at {now}: {:#?}", self.durable));
            }
        }
        Ok(())
    }

    /// Whether the rotator has settled at this very moment.
    fn fresh(&self) -> bool {
        self.up && self.in_doubt.is_none() && self.settled == Some(self.lifecycle)
    }

    fn quiet_at(&self, lifecycle: Time) -> Result<(), String> {
        let now = Now { lifecycle, wall: lifecycle.min(self.wall()) };
        let plan = plan(&self.durable, self.config.as_ref(), &Intent::Tick, now).unwrap();
        if plan.steps.is_empty() {
            return Ok(());
        }
        Err(format!("at {lifecycle}: {:#?}\n{:#?}", plan.steps, self.durable))
    }
}

// ---------------------------------------------------------------------------------------------
// Properties

/// Histories for the property that judges all rules. The named ones run proptest's default;
/// `PROPTEST_CASES=50000` makes all of them run more.
const CASES: u32 = 2000;

/// How long the shortest history that breaks a rule is looked for; less by `PROPTEST_MAX_SHRINK_ITERS`.
const SHRINKS: u32 = 20_000;

/// Whether the rotator finds the key of an earlier try by itself, and does not ask the rules.
fn is_found_again(intent: &Intent) -> bool {
    matches!(intent, Intent::Import { .. } | Intent::Trust { .. })
}

/// Runs random histories and asks that none breaks a rule in `judged`.
fn in_every_history(cases: u32, judged: impl Fn(Rule) -> bool) {
    let default = Config::default();
    let cases = cases.max(default.cases);
    let max_shrink_iters = default.max_shrink_iters.min(SHRINKS);
    let config = Config { cases, max_shrink_iters, failure_persistence: None, ..default };
    let histories = (first_choice(), first_key(), prop::collection::vec(ops(), 1..60));
    let outcome = TestRunner::new(config).run(&histories, |(choice, first_key, ops)| {
        let mut world = World::new(choice, first_key);
        world.judge();
        for op in &ops {
            world.run(op);
            world.judge();
            if let Some((rule, why)) = world.broken.iter().find(|(rule, _)| judged(*rule)) {
                return Err(TestCaseError::fail(format!("{rule:?} after {op:?}: {why}")));
            }
            world.broken.clear();
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

mod properties {
    use super::{CASES, Rule, in_every_history};

    #[test]
    fn no_history_breaks_a_rule() {
        in_every_history(CASES, |_| true);
    }

    macro_rules! rules {
        ($($name:ident: $rule:ident,)*) => {
            $(
                #[test]
                fn $name() {
                    in_every_history(0, |rule| rule == Rule::$rule);
                }
            )*
        };
    }

    rules! {
        a_configured_set_always_has_a_signer: OneSigner,
        a_key_is_served_for_its_wait_before_it_signs: ServedBeforeItSigns,
        no_cache_lacks_the_key_that_signs: CachesKnowTheSigner,
        a_key_is_served_as_long_as_its_tokens_live: TokensOutliveNoKey,
        an_ended_key_never_signs_again: EndedForGood,
        numbers_only_grow: NumbersGrow,
        secrets_of_superseded_keys_are_erased: SecretsGo,
        nothing_in_the_ring_is_not_durable: Durable,
        a_settled_plan_is_a_fixpoint: Fixpoint,
        nothing_is_due_before_next_change: NextChange,
        a_retry_does_nothing_twice: Retries,
        revoke_all_that_was_already_done_left_no_key: AlreadyMeansDone,
        a_settled_set_has_a_standby: Standby,
        few_keys_are_pending: FewPending,
        the_schedule_is_kept: ScheduleIsKept,
        longest_ttl_covers_every_token: LongestTtl,
        an_imported_key_is_the_next_to_sign: ImportedIsNext,
        a_trusted_key_never_signs: TrustedNeverSigns,
        a_trusted_key_is_served_until_its_end: TrustedUntil,
        an_exported_standby_is_replaced_only_by_force: ExportedStays,
    }
}

// ---------------------------------------------------------------------------------------------
// Known traps

/// Monthly in UTC; A = 5 min, V = 1 h, T = 1 h, S = 0.
const PLAIN: Choice = [0; 6];

fn world(choice: Choice) -> World {
    assert!(checked(choice).is_some(), "{choice:?} does not pass the check");
    World::new(choice, FirstKey::Generate)
}

fn waiting_for_import() -> World {
    World::new(PLAIN, FirstKey::Import)
}

impl World {
    /// Runs operations, none of which may break a rule.
    fn after(mut self, ops: impl IntoIterator<Item = Op>) -> Self {
        for op in ops {
            self.run(&op);
            self.judge();
            assert!(self.broken.is_empty(), "after {op:?}: {:?}", self.broken);
        }
        self
    }

    fn signs(&self) -> Option<u64> {
        self.signer().map(|life| life.number.0)
    }

    fn serves(&self) -> Vec<u64> {
        self.ring.set.lives.iter().map(|life| life.number.0).collect()
    }

    fn key(&self, number: u64) -> &Life {
        self.durable.life(Number(number)).unwrap()
    }
}

fn pass(span: Duration) -> Op {
    Op::Advance { span, wakes: true }
}

fn rotate(when: When) -> Op {
    Op::Rotate { when, stale: false }
}

fn down(span: Duration) -> Op {
    Op::Down { span, step: 0 }
}

fn reload(field: usize, value: usize) -> Op {
    Op::Reload { field, value }
}

#[test]
fn a_lowered_lifetime_does_not_retire_the_key_of_a_live_token() {
    let world = world([0, 0, 0, 1, 0, 0]);
    let world = world.after([Op::Sign(255), reload(3, 0), rotate(When::Now), pass(HOUR * 23)]);
    assert_eq!(world.serves(), [0, 1, 2]);
    assert_eq!(world.after([pass(HOUR)]).serves(), [1, 2]);
}

#[test]
fn revoking_the_active_key_does_not_bring_its_predecessor_back() {
    // The rotator sleeps while key 1 takes over, so that nothing ended key 0.
    let mut world = world(PLAIN).after([Op::Advance { span: DAY * 20, wakes: false }]);
    assert_eq!((world.signs(), world.key(0).ended), (Some(1), None));
    world.ask(Intent::Revoke(Number(1)));
    assert_eq!((world.signs(), world.serves()), (Some(2), vec![0, 2, 3]));
    assert!(world.key(0).ended.is_some());
}

#[test]
fn a_retried_rotation_does_not_move_the_next_one() {
    for when in [When::Now, When::Waited] {
        let world = world(PLAIN).after([pass(HOUR * 2), rotate(when)]);
        let next = world.key(2).activates;
        let world = world.after([Op::Retry, pass(HOUR), Op::Retry]);
        assert_eq!((world.signs(), world.key(2).activates), (Some(1), next));
    }
}

#[test]
fn a_retried_plan_stays_where_it_was() {
    let world = world(PLAIN).after([rotate(When::In(DAY * 60)), pass(HOUR)]);
    let planned = world.key(1).activates;
    assert_eq!(planned, Some(START + DAY * 60));
    assert_eq!(world.after([Op::Retry, pass(DAY), Op::Retry]).key(1).activates, planned);
}

#[test]
fn a_clock_set_back_leaves_a_signer() {
    let back = -i64::try_from((DAY * 40).as_millis()).unwrap();
    let world = world(PLAIN).after([rotate(When::Now), Op::Step(back), pass(DAY)]);
    assert_eq!(world.signs(), Some(1));
    let world = world.after([Op::Down { span: HOUR, step: back }, pass(DAY)]);
    assert_eq!(world.signs(), Some(1));
}

#[test]
fn months_of_downtime_collapse_missed_fires_into_one_rotation() {
    let world = world(PLAIN).after([pass(DAY), down(DAY * 150)]);
    assert_eq!((world.signs(), world.durable.next_number), (Some(1), Number(3)));
    assert!(world.key(2).activates > Some(world.lifecycle));
}

#[test]
fn a_key_whose_wait_was_interrupted_waits_the_rest_while_its_predecessor_signs() {
    let wait = DAY * 4 + Duration::from_mins(5);
    let world = world([0, 0, 2, 0, 0, 0]).after([rotate(When::Waited), pass(DAY)]);
    assert_eq!(world.key(1).activates, Some(START + wait));
    let world = world.after([down(DAY * 10)]);
    assert_eq!((world.signs(), world.key(1).activates), (Some(0), Some(START + wait + DAY * 10)));
    assert_eq!(world.after([pass(wait.saturating_sub(DAY))]).signs(), Some(1));
}

#[test]
fn an_algorithm_change_keeps_the_old_standby_until_the_new_one_has_waited() {
    let changed = || world(PLAIN).after([pass(DAY), reload(5, 1)]);
    assert_eq!(changed().serves(), [0, 1, 2]);
    assert_eq!(changed().after([Op::Revoke(0)]).signs(), Some(1));
    assert_eq!(changed().after([pass(HOUR * 2)]).serves(), [0, 2]);
}

#[test]
fn an_admins_plan_survives_a_reload() {
    let planned = Some(START + DAY * 60);
    let world = world(PLAIN).after([rotate(When::In(DAY * 60)), reload(0, 1), reload(2, 1)]);
    assert_eq!((world.key(1).activates, &world.key(1).planned_by), (planned, &PlannedBy::Admin));
    let world = world.after([reload(5, 1), pass(DAY * 2)]);
    assert_eq!((world.key(2).activates, &world.key(2).planned_by), (planned, &PlannedBy::Admin));
}

#[test]
fn a_removed_set_that_comes_back_goes_on_with_its_standby() {
    let world = world(PLAIN).after([pass(DAY), Op::Remove, pass(Duration::from_mins(30))]);
    assert_eq!((world.signs(), world.serves()), (None, vec![0, 1]));
    let world = world.after([Op::Restore]);
    assert_eq!((world.signs(), world.serves()), (Some(1), vec![0, 1, 2]));
}

#[test]
fn a_removed_set_is_empty_when_its_last_token_has_expired() {
    let world = world(PLAIN).after([pass(DAY), Op::Sign(255), Op::Remove, pass(HOUR)]);
    assert!(world.serves().is_empty());
}

#[test]
fn a_lowered_max_age_does_not_shorten_the_wait_for_copies_handed_out() {
    let world = world([0, 2, 0, 0, 0, 0]).after([pass(DAY), reload(1, 0), Op::Revoke(1)]);
    let world = world.after([rotate(When::Waited)]);
    assert_eq!(world.key(2).activates, Some(world.lifecycle + DAY * 4));
}

#[test]
fn a_key_that_another_place_did_not_have_waits_from_the_moment_it_has() {
    // Its wait was over, and an admin's plan would have let it sign within the new one.
    let world = world([5, 0, 1, 0, 0, 0]).after([pass(DAY * 3), rotate(When::In(HOUR))]);
    let world = world.after([Op::PlacedLate]);
    let wait = DAY + Duration::from_mins(5);
    assert_eq!(world.key(1).activates, Some(START + DAY * 3 + wait));
    assert!(!world.key(1).may_have_signed);
}

#[test]
fn a_key_that_was_kept_from_signing_waits_after_its_activation_has_passed() {
    let mut world = world(PLAIN).after([pass(HOUR * 2), rotate(When::In(DAY))]);
    let late = world.lifecycle + DAY * 2;
    let now = Now { lifecycle: late, wall: late };
    let kept = Intent::ServedFrom { keys: vec![Number(1)], from: late };
    let plan = plan(&world.durable, world.config.as_ref(), &kept, now).unwrap();
    for step in &plan.steps {
        world.durable.apply(step);
    }
    assert_eq!(world.durable.signer_at(late).map(|life| life.number), Some(Number(0)));
    assert!(world.key(1).activates > Some(late) && world.key(1).may_have_signed);
}

/// A slow start: the wait was over and the key before it ended before the listeners served.
#[test]
fn time_that_was_not_served_takes_no_signer_away_whose_predecessor_has_ended() {
    let world = world(PLAIN).after([rotate(When::Waited), pass(HOUR * 2)]);
    let activated = world.key(1).activates.unwrap();
    assert!(world.durable.life(Number(0)).is_none_or(|life| life.ended.is_some()));
    let second = Duration::from_secs(1);
    let now = Now { lifecycle: activated + second, wall: activated + second };
    let unserved = Intent::Unserved { from: activated.before(second), to: now.lifecycle };
    let plan = plan(&world.durable, world.config.as_ref(), &unserved, now).unwrap();
    let mut after = world.durable.clone();
    plan.steps.iter().for_each(|step| after.apply(step));
    let signer = after.signer_at(now.lifecycle).unwrap();
    assert_eq!((signer.number, signer.activates), (Number(1), Some(activated)));
    assert_eq!(signer.planned_by, PlannedBy::Recovery);
    assert_eq!(signer.served_from, world.key(1).served_from + second * 2);
}

/// What was last recorded as served is older than the rotation, and the next one came while it was down.
#[test]
fn of_two_keys_whose_activations_were_not_served_the_first_signs_whose_predecessor_has_ended() {
    let world = world(PLAIN).after([rotate(When::Waited), pass(HOUR * 2)]);
    let mut set = world.durable.clone();
    let activated = world.key(1).activates.unwrap();
    let next = set.lives.iter_mut().find(|life| life.number == Number(2)).unwrap();
    (next.activates, next.planned_by) = (Some(activated + DAY * 30), PlannedBy::Admin);
    let late = activated + DAY * 40;
    let now = Now { lifecycle: late, wall: late };
    let unserved = Intent::Unserved { from: activated.before(Duration::from_secs(1)), to: late };
    let plan = plan(&set, world.config.as_ref(), &unserved, now).unwrap();
    plan.steps.iter().for_each(|step| set.apply(step));
    assert_eq!(set.signer_at(late).map(|life| life.number), Some(Number(1)));
    assert!(set.life(Number(2)).unwrap().activates > Some(late));
}

#[test]
fn a_wait_that_grows_later_does_not_count_downtime() {
    // The wait of key 1 was over before the daemon was down, then V grows to four days.
    let world = world(PLAIN).after([pass(DAY), down(DAY * 10), reload(2, 2)]);
    let world = world.after([rotate(When::Waited)]);
    assert_eq!(world.key(1).activates, Some(START + DAY * 14 + Duration::from_mins(5)));
}

#[test]
fn downtime_of_a_removed_set_does_not_count() {
    let world = world(PLAIN).after([reload(3, 2), Op::Remove]);
    let world = world.after([down(DAY * 10)]);
    assert_eq!(world.key(1).served_from, START + DAY * 10);
}

#[test]
fn after_one_revocation_revoke_all_still_takes_the_promoted_standby() {
    let mut world = world(PLAIN).after([pass(HOUR), Op::Revoke(0)]);
    assert_eq!(world.signs(), Some(1));
    let all = Intent::RevokeAll { expect: Number(0) };
    assert!(
        matches!(world.step(&all), Stepped::Refused(Refusal::ActiveChanged { active: Number(1) })),
        "key 1 was there when key 0 was stolen"
    );
}

#[test]
fn a_retried_revoke_all_does_not_revoke_the_fresh_key() {
    let world = world(PLAIN).after([Op::RevokeAll { stale: false }, pass(HOUR), Op::Retry]);
    assert_eq!((world.signs(), world.serves()), (Some(2), vec![2, 3]));
    // Also when the set was removed meanwhile.
    let world = world.after([Op::Remove, Op::Retry]);
    assert_eq!((world.signs(), world.serves()), (None, vec![2, 3]));
}

#[test]
fn a_ring_in_doubt_never_signs_with_a_key_that_ended() {
    let silent = || Op::NextCommit(Outcome::Silent);
    let late = |span| Op::Advance { span, wakes: false };
    let world = world(PLAIN).after([late(HOUR * 2), silent(), reload(3, 1), silent()]);
    world.after([late(DAY * 13), reload(3, 0), Op::Sign(255), late(HOUR), Op::Wake, late(HOUR)]);
}

#[test]
fn a_rotation_puts_the_facts_in_force_that_it_reckons_with() {
    let failed = Op::NextCommit(Outcome::Failed);
    let world = world([0, 0, 1, 0, 0, 0]).after([pass(HOUR * 2), failed, reload(2, 0)]);
    assert_eq!(world.durable.facts.as_ref().map(|facts| facts.verifier_cache), Some(DAY));
    let world = world.after([rotate(When::Waited)]);
    assert_eq!(world.durable.facts.as_ref().map(|facts| facts.verifier_cache), Some(HOUR));
    assert_eq!(world.signs(), Some(1));
}
#[test]
fn copies_that_a_ring_in_doubt_hands_out_are_waited_for() {
    let late = |span| Op::Advance { span, wakes: false };
    let silent = Op::NextCommit(Outcome::Silent);
    let world = world([5, 1, 0, 0, 0, 0]).after([late(HOUR * 10), silent, reload(1, 0)]);
    let world = world.after([late(HOUR * 10), Op::Revoke(0), rotate(When::Waited)]);
    assert_eq!(world.key(2).stale_max_age, HOUR * 5);
    assert_eq!(world.key(2).activates, Some(world.lifecycle + HOUR * 10));
}

#[test]
fn a_key_stays_for_the_skew_after_the_expiry_of_its_last_token() {
    let world = world([0, 0, 0, 0, 2, 0]).after([Op::Sign(255), rotate(When::Now)]);
    let world = world.after([pass(HOUR + Duration::from_mins(9))]);
    assert_eq!(world.serves(), [0, 1, 2]);
    assert_eq!(world.after([pass(Duration::from_mins(1))]).serves(), [1, 2]);
}

#[test]
fn a_revocation_in_memory_does_not_bring_the_predecessor_back() {
    let world = world(PLAIN).after([Op::Advance { span: DAY * 20, wakes: false }]);
    let mut world = world.after([Op::NextCommit(Outcome::Failed)]);
    world.step(&Intent::Revoke(Number(1)));
    assert_eq!((world.signs(), world.serves()), (None, vec![0]));
    assert_eq!(world.after([Op::Wake]).signs(), Some(2));
}

#[test]
fn a_key_that_signed_before_it_waits_again_is_served_while_its_tokens_live() {
    // Nothing durable saw that key 1 signs: the store was away until the daemon died.
    let late = Op::Advance { span: HOUR * 2, wakes: false };
    let world = world([0, 0, 0, 1, 0, 0]).after([rotate(When::Waited), late, Op::Sign(255)]);
    assert_eq!(world.signs(), Some(1));
    let world = world.after([down(Duration::from_mins(1))]);
    assert_eq!((world.signs(), world.key(1).may_have_signed), (Some(0), true));
    let world = world.after([rotate(When::In(DAY * 20)), reload(5, 1), pass(HOUR * 2)]);
    assert_eq!(world.serves(), [0, 1, 2]);
    assert_eq!(world.after([pass(DAY)]).serves(), [0, 2]);
}

#[test]
fn a_shorter_wait_that_is_not_in_force_yet_does_not_let_a_key_sign_after_downtime() {
    let failed = Op::NextCommit(Outcome::Failed);
    let world = world(PLAIN).after([reload(1, 2), failed, pass(HOUR * 2), reload(1, 0)]);
    assert_eq!(world.after([down(DAY * 40)]).signs(), Some(0));
}

#[test]
fn the_schedule_counts_from_the_end_of_the_wait() {
    // Key 2 is made on a Saturday and waits over Monday.
    let world = world([1, 0, 2, 0, 0, 0]).after([pass(DAY * 3), rotate(When::Now)]);
    assert_eq!(world.key(2).activates.unwrap().to_string(), "2026-11-30T03:00:00Z");
}

#[test]
fn a_rotation_that_an_admin_puts_off_is_put_off_for_the_replacement_too() {
    let world = world(PLAIN).after([reload(5, 1), rotate(When::Waited)]);
    let world = world.after([rotate(When::In(DAY * 30)), pass(DAY * 29)]);
    assert_eq!((world.signs(), world.serves()), (Some(0), vec![0, 2]));
    assert_eq!(world.after([pass(DAY)]).signs(), Some(2));
}

#[test]
fn an_algorithm_change_that_is_taken_back_leaves_an_admins_plan_where_it_was() {
    // The replacement would have waited for longer than the plan.
    let planned = Some(START + DAY + HOUR);
    let world = world(PLAIN).after([pass(DAY), rotate(When::In(HOUR)), reload(5, 1)]);
    assert!(world.key(2).activates > planned);
    let world = world.after([reload(5, 0)]);
    assert_eq!((world.key(1).activates, world.serves()), (planned, vec![0, 1]));
}

const IMPORT: Op = Op::Import(Replaceable::NotExported);

fn trust(span: Duration) -> Op {
    Op::Trust { size: 2, span }
}

#[test]
fn a_set_that_waits_for_its_first_key_signs_with_the_imported_one_at_once() {
    let world = waiting_for_import().after([pass(DAY)]);
    assert_eq!((world.signs(), world.durable.next_number), (None, Number(0)));
    let world = world.after([IMPORT]);
    assert_eq!((world.signs(), world.serves()), (Some(0), vec![0, 1]));
    assert_eq!(world.key(0).planned_by, PlannedBy::FirstKey);
    assert_eq!(world.key(1).origin, Origin::Generated);
}

#[test]
fn an_imported_standby_waits_like_one_that_was_made_here() {
    let world = world(PLAIN).after([pass(DAY), IMPORT]);
    assert_eq!((world.signs(), world.serves()), (Some(0), vec![0, 2]));
    let waited = world.lifecycle + HOUR + Duration::from_mins(5);
    let world = world.after([rotate(When::Waited)]);
    assert_eq!(world.key(2).activates, Some(waited));
    assert_eq!(world.after([pass(HOUR * 2)]).signs(), Some(2));
}

#[test]
fn an_imported_standby_follows_the_plan_of_an_admin() {
    let planned = START + DAY * 60;
    let world = world(PLAIN).after([pass(DAY), rotate(When::In(DAY * 59)), IMPORT]);
    assert_eq!(world.key(2).activates, Some(planned));
    assert_eq!(world.key(2).planned_by, PlannedBy::Admin);
    // Not before it has waited.
    let world = world.after([pass(DAY * 58 + HOUR * 23), IMPORT]);
    assert_eq!(world.key(3).activates, Some(planned + Duration::from_mins(5)));
}

#[test]
fn a_replaced_standby_that_may_have_signed_stays_while_its_tokens_live() {
    let late = Op::Advance { span: HOUR * 2, wakes: false };
    let world = world([0, 0, 0, 1, 0, 0]).after([rotate(When::Waited), late, Op::Sign(255)]);
    let world = world.after([down(Duration::from_mins(1)), IMPORT]);
    assert_eq!((world.signs(), world.serves()), (Some(0), vec![0, 1, 2]));
    assert!(world.key(1).ended.is_some());
    // Until then the plan of the admin holds for the key that took its place.
    let world = world.after([rotate(When::In(DAY * 20)), pass(DAY)]);
    assert_eq!(world.serves(), [0, 2]);
}

#[test]
fn a_standby_that_is_replaced_a_moment_before_it_activates_stays_while_its_tokens_live() {
    let begun = world([0, 0, 0, 1, 0, 0]).after([pass(DAY), rotate(When::In(HOUR * 9))]);
    let moment = HOUR * 8 + Duration::from_millis(3_599_999);
    let world = begun.after([pass(moment), IMPORT]);
    assert_eq!((world.signs(), world.serves()), (Some(0), vec![0, 1, 2]));
    // Also those of the moment until that takes effect.
    let longest = DAY + Duration::from_mins(1);
    assert_eq!(world.key(1).retires, Some(world.lifecycle + longest));
    assert_eq!(world.after([pass(DAY + Duration::from_mins(2))]).serves(), [0, 2, 3]);
}

#[test]
fn an_exported_standby_makes_way_only_by_force() {
    let mut world = world(PLAIN).after([pass(HOUR), Op::NoteExport(1), pass(HOUR)]);
    assert_eq!(world.key(1).exported, Some(START + HOUR));
    let refused = Refusal::StandbyExported { standby: Number(1), exported: START + HOUR };
    let import = Intent::Import { may_replace: Replaceable::NotExported };
    assert!(matches!(world.step(&import), Stepped::Refused(why) if why == refused));
    let world = world.after([Op::Import(Replaceable::Any)]);
    assert_eq!(world.serves(), [0, 2]);
}

#[test]
fn only_the_first_export_of_a_pending_key_is_noted() {
    let world = world(PLAIN).after([Op::NoteExport(0), Op::NoteExport(1), pass(HOUR)]);
    let world = world.after([Op::NoteExport(1)]);
    assert_eq!((world.key(0).exported, world.key(1).exported), (None, Some(START)));
}

#[test]
fn an_import_after_a_change_of_the_algorithm_is_the_standby_that_the_old_one_waits_for() {
    let world = world(PLAIN).after([pass(DAY), reload(5, 1), IMPORT]);
    assert_eq!(world.serves(), [0, 1, 3]);
    assert_eq!(world.after([pass(HOUR * 2)]).serves(), [0, 3]);
}

#[test]
fn a_trusted_key_is_served_until_its_end_through_rotations_and_downtime() {
    let world = world(PLAIN).after([trust(DAY * 30), rotate(When::Now), down(DAY * 29)]);
    assert!(world.serves().contains(&2));
    assert_eq!(world.key(2).algorithm, Algorithm::Rs256(RsaBits::B4096));
    assert!(!world.after([pass(DAY)]).serves().contains(&2));
}

#[test]
fn a_trusted_key_is_no_key_that_a_rotation_came_from() {
    // Number 1 is the standby, 2 is trusted: the retry of a rotation from 0 to 1 is one still, and
    // so is that from 1 to 3 with 2 between them.
    let world = world(PLAIN).after([trust(DAY * 99), pass(HOUR * 2), rotate(When::Waited)]);
    let mut world = world.after([Op::Retry, pass(HOUR * 2), rotate(When::Waited)]);
    assert_eq!(world.signs(), Some(3));
    let again = Intent::Rotate { expect: Number(1), when: RotateAt::Waited };
    assert!(matches!(
        world.step(&again),
        Stepped::Nothing(Answer::AlreadyRotated { active: Number(3) })
    ));
    let never_signed = Intent::Rotate { expect: Number(2), when: RotateAt::Waited };
    assert!(matches!(
        world.step(&never_signed),
        Stepped::Refused(Refusal::ActiveChanged { active: Number(3) })
    ));
}

#[test]
fn a_trusted_key_keeps_no_standby_in_a_removed_set() {
    let world = world(PLAIN).after([pass(DAY), trust(DAY * 30), Op::Remove, pass(HOUR)]);
    assert_eq!(world.serves(), [2]);
}

#[test]
fn a_removed_set_knows_its_last_signer_beside_a_trusted_key() {
    let mut world = world(PLAIN).after([trust(DAY * 30), Op::Remove]);
    let last = Intent::RevokeAll { expect: Number(0) };
    assert!(matches!(world.step(&last), Stepped::Committed));
    assert!(world.serves().is_empty());
}

#[test]
fn no_key_is_trusted_in_a_set_that_waits_for_its_first_key() {
    let mut world = waiting_for_import();
    let algorithm = world.config.as_ref().unwrap().algorithm;
    let trust = Intent::Trust { algorithm, until: START + DAY };
    assert!(matches!(world.step(&trust), Stepped::Refused(Refusal::NoSigner)));
}

#[test]
fn a_set_that_waits_for_its_first_key_has_none_to_revoke_and_gets_none_for_it() {
    let mut world = waiting_for_import();
    let all = Intent::RevokeAll { expect: Number::NONE };
    assert!(matches!(world.step(&all), Stepped::Refused(Refusal::NoSigner)));
    assert_eq!(world.durable.next_number, Number(0));
}

#[test]
fn a_key_is_trusted_for_at_most_400_days_from_now_on() {
    let mut world = world(PLAIN);
    let algorithm = world.config.as_ref().unwrap().algorithm;
    let refused = Refusal::TrustEnd { now: START, latest: START + DAY * 400 };
    for until in [START, START + DAY * 400 + Duration::from_millis(1)] {
        let trust = Intent::Trust { algorithm, until };
        assert!(matches!(world.step(&trust), Stepped::Refused(why) if why == refused), "{until}");
    }
    let mut world = world.after([trust(DAY * 400), pass(DAY)]);
    let longer = Intent::TrustUntil { number: Number(2), until: START + DAY * 401 };
    assert!(matches!(world.step(&longer), Stepped::Committed));
    let longer = Intent::TrustUntil { number: Number(2), until: START + DAY * 402 };
    assert!(matches!(world.step(&longer), Stepped::Refused(Refusal::TrustEnd { .. })));
}

#[test]
fn an_admin_takes_a_trusted_key_out_before_its_end() {
    let early = world(PLAIN).after([trust(DAY * 30), pass(HOUR), Op::Retire(0)]);
    assert_eq!(early.buried[&Number(2)].0, Departure::RetiredEarly);
    let revoked = world(PLAIN).after([trust(DAY * 30), pass(HOUR), Op::Revoke(2)]);
    assert_eq!((revoked.buried[&Number(2)].0, revoked.signs()), (Departure::Revoked, Some(0)));
}

#[test]
fn only_a_trusted_key_has_an_end_that_an_admin_moves() {
    let move_signer = Intent::TrustUntil { number: Number(0), until: START + DAY };
    assert!(matches!(world(PLAIN).step(&move_signer), Stepped::Refused(Refusal::NoSuchKey)));
}

// ---------------------------------------------------------------------------------------------
// Forecasts

/// How far ahead forecasts go here.
const AHEAD: Duration = Duration::from_hours(400 * 24);

/// What each living key may do, by its number.
type States = BTreeMap<Number, State>;

impl World {
    /// Nothing fails any more, and the clocks agree.
    fn calm(&mut self) {
        self.next_outcome = Outcome::Ok;
        self.settle();
        assert!(self.unconfirmed.is_empty() && self.in_doubt.is_none());
        let offset = i128::from(self.lifecycle.as_millis()) - i128::from(self.real.as_millis());
        self.offset = i64::try_from(offset).unwrap();
    }

    fn foresee(&self, keys: usize) -> Forecast {
        let reach = Reach { until: self.lifecycle + AHEAD, keys };
        forecast(&self.durable, self.config.as_ref(), |_, _| {}, self.now(), reach)
    }

    fn states(&self) -> States {
        let state = |life: &Life| (life.number, life.state_at(self.lifecycle));
        self.durable.lives.iter().map(state).collect()
    }

    /// Lets everything come that is foreseen, and looks before and at each of its instants.
    fn lives_through(&mut self, forecast: &Forecast) -> Result<(), TestCaseError> {
        self.settle();
        let (now, until) = (self.lifecycle, self.lifecycle + AHEAD);
        let comes = |instant: &Time| (now..=until).contains(instant);
        for instant in forecast.instants().into_iter().filter(comes) {
            for time in [instant.before(Duration::from_millis(1)).max(now), instant] {
                self.advance(self.until(time), true);
                prop_assert_eq!(self.states(), forecast.states_at(time), "at {}", time);
            }
        }
        self.advance(self.until(until), true);
        let living = forecast.keys.iter().filter(|key| key.left.is_none());
        let living: Vec<_> = living.map(|key| key.life.clone()).collect();
        prop_assert_eq!(&self.durable.lives, &living);
        let left = forecast.keys.iter().filter_map(|key| Some((key.life.number, key.left?)));
        for (number, (at, departure)) in left {
            prop_assert_eq!(self.buried.get(&number), Some(&(departure, at)));
        }
        Ok(())
    }
}

impl Forecast {
    fn states_at(&self, time: Time) -> States {
        let is_living = |key: &&Foreseen| {
            key.life.published <= time && key.left.is_none_or(|(left, _)| time < left)
        };
        let state = |key: &Foreseen| {
            let ended = key.life.ended.filter(|&ended| ended <= time);
            (key.life.number, Life { ended, ..key.life.clone() }.state_at(time))
        };
        self.keys.iter().filter(is_living).map(state).collect()
    }

    /// When anything happens to a key.
    fn instants(&self) -> BTreeSet<Time> {
        let of_key = |key: &Foreseen| {
            let left = key.left.map(|(at, _)| at);
            [Some(key.life.published), key.life.activates, key.life.ended, left]
        };
        self.keys.iter().flat_map(of_key).flatten().collect()
    }
}

#[test]
fn what_is_foreseen_comes_true_after_every_history() {
    let config = Config { failure_persistence: None, ..Config::default() };
    let histories = (first_choice(), first_key(), prop::collection::vec(ops(), 0..40));
    let outcome = TestRunner::new(config).run(&histories, |(choice, first_key, ops)| {
        let mut world = World::new(choice, first_key);
        for op in &ops {
            world.run(op);
        }
        world.calm();
        // What is due at once is foreseen too.
        world.run(&Op::Advance { span: DAY * 3, wakes: false });
        let forecast = world.foresee(usize::MAX);
        prop_assert_eq!(&forecast.end, &End::Whole);
        world.lives_through(&forecast)
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

#[test]
fn a_forecast_that_is_cut_is_the_beginning_of_the_whole_one() {
    for choice in [PLAIN, [1, 0, 1, 0, 0, 0], [2, 1, 0, 1, 1, 0]] {
        let world = world(choice).after([pass(DAY * 2), rotate(When::In(DAY * 9)), reload(5, 1)]);
        let whole = world.foresee(usize::MAX);
        for keys in 0..6 {
            let begun = world.foresee(keys);
            let End::Cut(cut) = begun.end else { panic!("{:?} with {keys} keys", begun.end) };
            let before = whole.instants().into_iter().filter(|&instant| instant < cut);
            for instant in before {
                assert_eq!(begun.states_at(instant), whole.states_at(instant), "{instant}");
            }
            assert_eq!(begun.keys.len(), world.durable.lives.len() + keys);
        }
    }
}

#[test]
fn a_key_that_is_held_back_is_not_foreseen_to_sign() {
    let world = world(PLAIN).after([pass(DAY)]);
    let hold = |life: &mut Life, _: Time| {
        if life.number == Number(1) {
            life.activates = None;
        }
    };
    let reach = Reach { until: world.lifecycle + AHEAD, keys: 9 };
    let foreseen = forecast(&world.durable, world.config.as_ref(), hold, world.now(), reach);
    assert_eq!((foreseen.keys.len(), foreseen.end), (2, End::Whole));
    assert!(foreseen.keys.iter().all(|key| key.left.is_none() && key.life.ended.is_none()));
    assert_eq!(foreseen.keys[1].life.activates, None);
}
