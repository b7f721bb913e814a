//! One step of one key set: load, plan, make and seal, record the intent, commit, record the
//! outcome, publish. Time and admins share it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jwksd_keystore::id::{KeyId, KeysetName, Revision};
use jwksd_keystore::lifecycle::{
    self, Answer, Departure, Intent, Keyset, Now, Number, Plan, Refusal, Step,
};
use jwksd_keystore::ring::{Ring, Signing};
use jwksd_keystore::store::{Change, Head, Loaded, Record, StoreError, Tombstone};
use jwksd_keystore::time::Time;

use super::command::kids_of;
use super::{Actor, Command, Gone, Outcome, Rotator, StepError, WARM_AHEAD};
use crate::audit::{Decision, Line};

/// How often a step is planned anew after a conflict or an unknown outcome.
const TRIES: usize = 3;

/// The caller in the audit when nobody asked.
const NOBODY: &str = "jwksd";

/// From which delay between commit and publication on a key's wait is counted anew.
const LATE: Duration = Duration::from_secs(1);

/// What a command comes to, given what is stored.
enum Resolved {
    /// The rules decide.
    Intent(Intent),
    /// An earlier try took effect.
    Already,
    /// A key that left the set is to be marked as revoked.
    Mark(Box<Tombstone>),
}

/// Who wants a step, for the audit.
struct Asked<'a> {
    caller: &'a str,
    request_id: Option<&'a str>,
    action: &'static str,
    reason: Option<&'a str>,
}

impl Asked<'static> {
    /// Time or the configuration.
    const BY_TIME: Self =
        Self { caller: NOBODY, request_id: None, action: "schedule", reason: None };
}

impl Rotator {
    /// Takes a step for time. Returns when the set is due again: at once, if the step changed
    /// anything.
    pub(super) fn step_of_time(
        &mut self,
        keyset: &KeysetName,
        intent: &Intent,
    ) -> Result<Option<Time>, StepError> {
        self.with_retries(|rotator| {
            let loaded = rotator.load(keyset)?;
            let was_committed = loaded.revision != Revision::default();
            if !was_committed && !rotator.facts.contains_key(keyset) {
                return Ok(None);
            }
            let now = rotator.parts.clock.now();
            let plan = rotator.plan(keyset, &loaded, intent, now)?;
            if plan.steps.is_empty() {
                if !rotator.published.contains_key(keyset) {
                    rotator.publish(keyset, loaded.clone());
                }
                // A pair that a changed plan left over: no secret stays without a purpose.
                rotator.stock.remove(keyset);
                rotator.warm(keyset, now.lifecycle);
                return Ok(next_due(&loaded.keyset(), now.lifecycle));
            }
            rotator.carry_out(keyset, &loaded, &plan, &Asked::BY_TIME, now)?;
            Ok(Some(now.lifecycle))
        })
    }

    /// Takes a step for an admin.
    pub(super) fn step_of_command(
        &mut self,
        keyset: &KeysetName,
        command: &Command,
        actor: &Actor,
    ) -> Result<Outcome, StepError> {
        let asked = Asked {
            caller: &actor.name,
            request_id: actor.request_id.as_deref(),
            action: command.name(),
            reason: command.reason(),
        };
        self.with_retries(|rotator| {
            let loaded = rotator.load(keyset)?;
            let now = rotator.parts.clock.now();
            match rotator.resolve(keyset, &loaded, command, now.lifecycle)? {
                Resolved::Already => {
                    Ok(outcome(&loaded, &loaded, Answer::Done, Vec::new(), now.lifecycle, true))
                }
                Resolved::Mark(tombstone) => rotator.mark(keyset, &loaded, *tombstone, &asked, now),
                Resolved::Intent(intent) => {
                    let plan = rotator.plan(keyset, &loaded, &intent, now)?;
                    let already = matches!(plan.answer, Answer::AlreadyRotated { .. });
                    let after = if plan.steps.is_empty() {
                        loaded.clone()
                    } else {
                        rotator.carry_out(keyset, &loaded, &plan, &asked, now)?
                    };
                    let gone = gone(&loaded, &plan.steps);
                    Ok(outcome(&loaded, &after, plan.answer, gone, now.lifecycle, already))
                }
            }
        })
    }

    /// A revocation takes effect in memory at once, whatever the store can do: on the set as it
    /// is published, earlier revocations that are not durable yet included.
    pub(super) fn take_effect_in_memory(&mut self, keyset: &KeysetName, command: &Command) {
        let Some(published) = self.published.get(keyset).cloned() else {
            return;
        };
        let number = |kid: &KeyId| published.record_of(kid).map(|record| record.life.number);
        let intent = match command {
            Command::Revoke { kid, .. } => number(kid).map(Intent::Revoke),
            Command::RevokeAll { expect, .. } => {
                let expect = expect.as_ref().map_or(Some(Number::NONE), number);
                expect.map(|expect| Intent::RevokeAll { expect })
            }
            Command::Rotate { .. } | Command::Retire { .. } => None,
        };
        let now = self.parts.clock.now();
        let plan = intent.map(|intent| self.plan(keyset, &published, &intent, now));
        if let Some(Ok(plan)) = plan
            && !plan.steps.is_empty()
        {
            self.publish(keyset, after(&published, &plan.steps, HashMap::new()));
        }
    }

    fn with_retries<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        for _ in 1..TRIES {
            match attempt(self) {
                Err(StepError::Store(StoreError::Conflict | StoreError::Unknown(_))) => {}
                settled => return settled,
            }
        }
        attempt(self)
    }

    /// What is stored, published first if an earlier step committed it without knowing.
    fn load(&mut self, keyset: &KeysetName) -> Result<Loaded, StepError> {
        let mut loaded = self.parts.store.load(keyset)?;
        if let Some(since) = self.in_doubt.get(keyset).copied() {
            loaded = self.end_doubt(keyset, loaded, since)?;
        }
        Ok(loaded)
    }

    /// The store answers again after a commit of unknown outcome. Keys of that commit were not
    /// served meanwhile, so that time is discounted before what is stored is published.
    fn end_doubt(
        &mut self,
        keyset: &KeysetName,
        loaded: Loaded,
        since: Time,
    ) -> Result<Loaded, StepError> {
        let now = self.parts.clock.now();
        let intent = Intent::Unserved { from: since, to: now.lifecycle };
        let plan = self.plan(keyset, &loaded, &intent, now)?;
        let is_late = now.lifecycle.since(since) > LATE;
        let loaded = if is_late && !plan.steps.is_empty() {
            let after = after(&loaded, &plan.steps, HashMap::new());
            let changes = changes(&loaded, &after, &plan.steps, None, now.lifecycle);
            let summary = describe(&loaded, &after, &plan.steps);
            self.commit(keyset, &loaded, &changes, &Asked::BY_TIME, &summary, now)?;
            after
        } else {
            loaded
        };
        self.in_doubt.remove(keyset);
        if self.revoking.contains_key(keyset) {
            self.republish(keyset);
        } else {
            self.publish(keyset, loaded.clone());
        }
        Ok(loaded)
    }

    fn plan(
        &self,
        keyset: &KeysetName,
        loaded: &Loaded,
        intent: &Intent,
        now: Now,
    ) -> Result<Plan, StepError> {
        lifecycle::plan(&loaded.keyset(), self.facts.get(keyset), intent, now)
            .map_err(|refusal| refused(loaded, refusal))
    }

    /// Turns kids into numbers, and finds what an earlier try of the same did.
    fn resolve(
        &self,
        keyset: &KeysetName,
        loaded: &Loaded,
        command: &Command,
        now: Time,
    ) -> Result<Resolved, StepError> {
        let living = |kid: &KeyId| loaded.record_of(kid).map(|record| record.life.number);
        if loaded.revision == Revision::default() {
            return Err(StepError::UnknownKeyset(keyset.clone()));
        }
        match command {
            Command::Rotate { expect, when } => {
                let expect = self.number_of(keyset, loaded, expect)?;
                Ok(Resolved::Intent(Intent::Rotate { expect, when: *when }))
            }
            Command::RevokeAll { expect, .. } => {
                let expect = match expect {
                    Some(kid) => self.number_of(keyset, loaded, kid)?,
                    None => Number::NONE,
                };
                Ok(Resolved::Intent(Intent::RevokeAll { expect }))
            }
            Command::Retire { kid } => match (living(kid), self.tombstone(keyset, kid)?) {
                (Some(number), _) => Ok(Resolved::Intent(Intent::Retire(number))),
                (None, Some(_)) => Ok(Resolved::Already),
                (None, None) => Err(StepError::UnknownKey(kid.clone())),
            },
            Command::Revoke { kid, reason } => match (living(kid), self.tombstone(keyset, kid)?) {
                (Some(number), _) => Ok(Resolved::Intent(Intent::Revoke(number))),
                (None, Some(tombstone)) if tombstone.revoked.is_some() => Ok(Resolved::Already),
                (None, Some(tombstone)) => Ok(Resolved::Mark(Box::new(Tombstone {
                    revoked: Some(now),
                    reason: Some(reason.clone()),
                    ..tombstone
                }))),
                (None, None) => Err(StepError::UnknownKey(kid.clone())),
            },
        }
    }

    /// The number of a key that is or was in the set.
    fn number_of(
        &self,
        keyset: &KeysetName,
        loaded: &Loaded,
        kid: &KeyId,
    ) -> Result<Number, StepError> {
        if let Some(record) = loaded.record_of(kid) {
            return Ok(record.life.number);
        }
        let tombstone = self.tombstone(keyset, kid)?;
        tombstone
            .map(|tombstone| tombstone.life.number)
            .ok_or_else(|| StepError::UnknownKey(kid.clone()))
    }

    fn tombstone(&self, keyset: &KeysetName, kid: &KeyId) -> Result<Option<Tombstone>, StepError> {
        Ok(self.parts.store.tombstone(keyset, kid)?)
    }

    /// Makes a plan durable, then publishes it.
    fn carry_out(
        &mut self,
        keyset: &KeysetName,
        loaded: &Loaded,
        plan: &Plan,
        asked: &Asked<'_>,
        now: Now,
    ) -> Result<Loaded, StepError> {
        let made = self.made_records(keyset, loaded, &plan.steps)?;
        let created = !made.is_empty();
        let after = after(loaded, &plan.steps, made);
        let changes = changes(loaded, &after, &plan.steps, asked.reason, now.lifecycle);
        let summary = describe(loaded, &after, &plan.steps);
        self.commit(keyset, loaded, &changes, asked, &summary, now)?;
        tracing::info!(%keyset, caller = asked.caller, action = asked.action, "{summary}");
        self.publish(keyset, after.clone());
        if created {
            self.count_late_publication(keyset, now.lifecycle);
        }
        Ok(after)
    }

    /// Intent to the audit, changes to the store, outcome to the audit.
    fn commit(
        &mut self,
        keyset: &KeysetName,
        loaded: &Loaded,
        changes: &[Change],
        asked: &Asked<'_>,
        summary: &str,
        now: Now,
    ) -> Result<(), StepError> {
        let recorded = self.record(keyset, asked, Decision::Intent, summary, now);
        let is_revocation = asked.action == "revoke" || asked.action == "revoke-all";
        if recorded.is_err() && !is_revocation {
            return Err(StepError::Audit);
        }
        let committed = self.parts.store.commit(keyset, loaded.revision, changes, now.lifecycle);
        let (decision, detail) = match &committed {
            Ok(_) => (Decision::Done, summary.to_owned()),
            Err(error) => (Decision::Failed, format!("{summary}: {error}")),
        };
        if self.record(keyset, asked, decision, &detail, now).is_err() {
            tracing::error!(%keyset, "the outcome of a commit is not in the audit: {detail}");
        }
        match committed {
            Ok(_) => {
                self.seen = now.lifecycle;
                self.parts.health.clear("store");
                Ok(())
            }
            Err(error @ StoreError::Unknown(_)) => {
                self.doubt(keyset, now.lifecycle);
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// From now on it is not known what the store holds: the ring goes on with its signer.
    fn doubt(&mut self, keyset: &KeysetName, now: Time) {
        self.in_doubt.entry(keyset.clone()).or_insert(now);
        self.republish(keyset);
    }

    fn record(
        &self,
        keyset: &KeysetName,
        asked: &Asked<'_>,
        decision: Decision,
        detail: &str,
        now: Now,
    ) -> Result<(), crate::audit::AuditError> {
        self.parts.audit.record_durably(&Line {
            keyset: Some(keyset),
            reason: Some(detail),
            request_id: asked.request_id,
            ..Line::new(now.wall, asked.caller, asked.action, decision)
        })
    }

    fn mark(
        &mut self,
        keyset: &KeysetName,
        loaded: &Loaded,
        tombstone: Tombstone,
        asked: &Asked<'_>,
        now: Now,
    ) -> Result<Outcome, StepError> {
        let kid = tombstone.kid.clone();
        let retires = tombstone.life.retires;
        let summary = format!("mark {kid}, which left before, as revoked");
        let changes = [Change::Mark(Box::new(tombstone))];
        self.commit(keyset, loaded, &changes, asked, &summary, now)?;
        let after = Loaded { revision: loaded.revision.next(), ..loaded.clone() };
        self.publish(keyset, after.clone());
        let gone = vec![Gone { kid, retires }];
        Ok(outcome(loaded, &after, Answer::Done, gone, now.lifecycle, false))
    }

    /// The records of the keys that a plan creates, from the stock of key pairs.
    ///
    /// # Errors
    ///
    /// [`StepError::NeedsKey`] when pairs are missing; they were ordered then.
    fn made_records(
        &mut self,
        keyset: &KeysetName,
        loaded: &Loaded,
        steps: &[Step],
    ) -> Result<HashMap<Number, Record>, StepError> {
        let created: Vec<_> = steps
            .iter()
            .filter_map(|step| match step {
                Step::Create(life) => Some(life),
                _ => None,
            })
            .collect();
        let stock = self.stock.entry(keyset.clone()).or_default();
        let mut missing: Vec<_> = created.iter().map(|life| life.algorithm).collect();
        for (algorithm, _) in stock.iter() {
            if let Some(index) = missing.iter().position(|wanted| wanted == algorithm) {
                missing.swap_remove(index);
            }
        }
        if !missing.is_empty() {
            if !self.ordered.contains_key(keyset) {
                self.ordered.insert(keyset.clone(), missing.len());
                for algorithm in missing {
                    self.keygen.order(keyset, algorithm);
                }
            }
            return Err(StepError::NeedsKey);
        }
        let mut made = HashMap::new();
        let revision = loaded.revision.next();
        for life in created {
            let index = stock.iter().position(|(algorithm, _)| *algorithm == life.algorithm);
            let (_, pair) = stock.swap_remove(index.ok_or(StepError::NeedsKey)?);
            let keys = &self.parts.master_keys;
            let record = Record::of_new_key(keyset, life.clone(), revision, pair, keys)?;
            made.insert(life.number, record);
        }
        if stock.is_empty() {
            self.stock.remove(keyset);
        }
        Ok(made)
    }

    /// Publishes the ring of `loaded`.
    fn publish(&mut self, keyset: &KeysetName, loaded: Loaded) {
        let signing = if self.facts.contains_key(keyset) { Signing::On } else { Signing::Off };
        let previous = self.parts.rings.ring(keyset);
        let ring = Ring::new(
            keyset,
            &loaded.records,
            loaded.head.facts.as_ref(),
            signing,
            &self.parts.master_keys,
            previous.as_deref(),
        )
        .frozen_at(self.in_doubt.get(keyset).copied());
        self.parts.rings.publish(keyset, Arc::new(ring));
        self.published.insert(keyset.clone(), loaded);
        let now = self.now();
        self.warm(keyset, now);
    }

    /// Publishes a ring again, after what it depends on besides the store has changed.
    pub(super) fn republish(&mut self, keyset: &KeysetName) {
        if let Some(loaded) = self.published.get(keyset).cloned() {
            self.publish(keyset, loaded);
        }
    }

    /// Opens secrets before a request would have to.
    fn warm(&self, keyset: &KeysetName, now: Time) {
        let Some(ring) = self.parts.rings.ring(keyset) else {
            return;
        };
        if let Err(error) = ring.warm(now, now + WARM_AHEAD) {
            tracing::error!(%keyset, %error, "a secret does not open");
            self.parts.health.report(format!("secret of key set {keyset}"), error.to_string());
        }
    }

    /// A key that was published long after the moment its record says has to wait that much
    /// longer: what counts is time in which it was served.
    fn count_late_publication(&mut self, keyset: &KeysetName, recorded: Time) {
        let served = self.now();
        if served.since(recorded) > LATE {
            let intent = Intent::Unserved { from: recorded, to: served };
            self.intents.insert(keyset.clone(), intent);
        }
    }
}

impl Command {
    /// Its name in the audit.
    const fn name(&self) -> &'static str {
        match self {
            Self::Rotate { .. } => "rotate",
            Self::Revoke { .. } => "revoke",
            Self::RevokeAll { .. } => "revoke-all",
            Self::Retire { .. } => "retire",
        }
    }

    fn reason(&self) -> Option<&str> {
        match self {
            Self::Revoke { reason, .. } | Self::RevokeAll { reason, .. } => Some(reason),
            Self::Rotate { .. } | Self::Retire { .. } => None,
        }
    }
}

/// The set as it will be stored after `steps`. Keys that are to be created and are not among
/// `made` are left out.
fn after(loaded: &Loaded, steps: &[Step], mut made: HashMap<Number, Record>) -> Loaded {
    let mut set = loaded.keyset();
    for step in steps {
        set.apply(step);
    }
    let living = loaded.records.iter().cloned().chain(steps.iter().filter_map(|step| match step {
        Step::Create(life) => made.remove(&life.number),
        _ => None,
    }));
    let records = living
        .filter_map(|mut record| {
            record.life = set.life(record.life.number)?.clone();
            if record.life.ended.is_some() {
                record.secret = None;
            }
            Some(record)
        })
        .collect();
    Loaded {
        revision: loaded.revision.next(),
        head: Head {
            facts: set.facts,
            former_max_age: set.former_max_age,
            next_number: set.next_number,
        },
        records,
    }
}

/// What to write to get from `before` to `after`.
fn changes(
    before: &Loaded,
    after: &Loaded,
    steps: &[Step],
    reason: Option<&str>,
    now: Time,
) -> Vec<Change> {
    let mut changes = Vec::new();
    for step in steps {
        match step {
            Step::Adopt { facts, former_max_age } => changes.push(Change::Adopt {
                facts: Box::new(facts.clone()),
                former_max_age: *former_max_age,
            }),
            Step::Bury { number, departure } => {
                if let Some(record) = before.record(*number) {
                    let tombstone = record.tombstone(*departure, now, reason);
                    changes.push(Change::Bury(Box::new(tombstone)));
                }
            }
            Step::Create(_)
            | Step::Plan { .. }
            | Step::Unserved { .. }
            | Step::Extend { .. }
            | Step::End { .. } => {}
        }
    }
    let altered = after
        .records
        .iter()
        .filter(|record| before.record(record.life.number).is_none_or(|old| old != *record));
    changes.extend(altered.map(|record| Change::Put(Box::new(record.clone()))));
    changes
}

/// The keys that leave the living by an admin's command.
fn gone(before: &Loaded, steps: &[Step]) -> Vec<Gone> {
    let admins = [Departure::Revoked, Departure::RetiredEarly];
    steps
        .iter()
        .filter_map(|step| match step {
            Step::Bury { number, departure } if admins.contains(departure) => {
                before.record(*number)
            }
            _ => None,
        })
        .map(|record| Gone { kid: record.kid.clone(), retires: record.life.retires })
        .collect()
}

fn outcome(
    before: &Loaded,
    after: &Loaded,
    answer: Answer,
    gone: Vec<Gone>,
    now: Time,
    already: bool,
) -> Outcome {
    let mut kids = kids_of(before);
    kids.extend(kids_of(after));
    let set = after.keyset();
    let active = set.signer_at(now).map(|life| life.number);
    Outcome {
        already,
        answer,
        active: active.and_then(|number| after.record(number)).map(|record| record.kid.clone()),
        kids,
        gone,
        set,
        revision: after.revision,
        at: now,
    }
}

fn refused(loaded: &Loaded, refusal: Refusal) -> StepError {
    let active = match &refusal {
        Refusal::ActiveChanged { active } => {
            loaded.record(*active).map(|record| record.kid.clone())
        }
        _ => None,
    };
    StepError::Refused { refusal, active }
}

/// When time next asks something of the set: the next change, or a moment before an activation.
fn next_due(set: &Keyset, now: Time) -> Option<Time> {
    let next = lifecycle::next_change(set, now);
    let warm = set
        .pending_at(now)
        .filter_map(|life| life.activates)
        .map(|activates| activates.before(WARM_AHEAD))
        .filter(|&time| time > now)
        .min();
    next.into_iter().chain(warm).min()
}

/// The steps of a plan in words, for the audit and the log.
fn describe(before: &Loaded, after: &Loaded, steps: &[Step]) -> String {
    let kid = |number: &Number| {
        let record = before.record(*number).or_else(|| after.record(*number));
        record.map_or_else(|| format!("key {number}"), |record| record.kid.to_string())
    };
    let describe = |step: &Step| match step {
        Step::Adopt { .. } => "put changed facts in force".to_owned(),
        Step::Create(life) => format!("create and publish {}", kid(&life.number)),
        Step::Plan { number, activates: Some(at), .. } => {
            format!("{} activates at {at}", kid(number))
        }
        Step::Plan { number, activates: None, .. } => {
            format!("{} activates when asked", kid(number))
        }
        Step::Unserved { number, .. } => format!("{} waits longer", kid(number)),
        Step::Extend { number, .. } => format!("tokens of {} may live longer", kid(number)),
        Step::End { number, retires, .. } => {
            format!("{} ended, its secret is erased, it retires at {retires}", kid(number))
        }
        Step::Bury { number, departure } => match departure {
            Departure::Retired => format!("{} retired", kid(number)),
            Departure::RetiredEarly => format!("{} retired early", kid(number)),
            Departure::Revoked => format!("{} revoked", kid(number)),
            Departure::Replaced => format!("{} replaced before it signed", kid(number)),
        },
    };
    steps.iter().map(describe).collect::<Vec<_>>().join("; ")
}
