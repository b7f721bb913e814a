//! The decisions: one method for each rule, in the order in which they are asked.

mod import;

use std::time::Duration;

use super::{
    Answer, Departure, FormerMaxAge, Intent, Keyset, Life, Now, Number, Origin, Plan, PlannedBy,
    Refusal, RotateAt, State, Step,
};
use crate::facts::{Facts, FirstKey};
use crate::planted::{self, Fault};
use crate::schedule::Rotation;
use crate::time::Time;

/// How long a plan may take from its instant until nothing signs by what was before.
const TAKES_EFFECT: Duration = Duration::from_mins(1);

/// Decides what is to be done to `set` for `intent`.
///
/// `facts` are those of the configuration, `None` when the set is missing from it: then it stops
/// signing and serves its last keys until they retire.
///
/// # Errors
///
/// A [`Refusal`] says why the intent cannot be followed; then nothing is to be done.
pub fn plan(
    set: &Keyset,
    facts: Option<&Facts>,
    intent: &Intent,
    now: Now,
) -> Result<Plan, Refusal> {
    let mut planner = Planner { set: set.clone(), steps: Vec::new(), now };
    let answer = match (intent, facts) {
        (Intent::Tick, None) => planner.wind_down(),
        (Intent::Tick, Some(facts)) => planner.tick(facts)?,
        (Intent::Unserved { from, to }, facts) => planner.discount(facts, *from, *to),
        (Intent::ServedFrom { keys, from }, facts) => planner.begin_waits(facts, keys, *from),
        (
            Intent::Rotate { .. }
            | Intent::Import { .. }
            | Intent::Trust { .. }
            | Intent::TrustUntil { .. },
            None,
        ) => return Err(Refusal::NotConfigured),
        (Intent::Rotate { expect, when }, Some(facts)) => {
            // Not by facts that no commit has adopted: the ring does not serve by them yet.
            planner.tick(facts)?;
            planner.rotate(facts, *expect, *when)?
        }
        (Intent::Revoke(number), facts) => planner.revoke(facts, *number)?,
        (Intent::RevokeAll { expect }, facts) => planner.revoke_all(facts, *expect)?,
        (Intent::Retire(number), _) => planner.retire(*number)?,
        (Intent::Import { may_replace }, Some(facts)) => planner.import(facts, *may_replace)?,
        (Intent::Trust { algorithm, until }, Some(facts)) => {
            planner.trust(facts, *algorithm, *until)?
        }
        (Intent::TrustUntil { number, until }, Some(_)) => planner.trust_until(*number, *until)?,
        (Intent::NoteExport(number), _) => planner.note_export(*number)?,
    };
    Ok(Plan { steps: planner.steps, answer })
}

/// The set as it will be after the steps so far.
struct Planner {
    set: Keyset,
    steps: Vec<Step>,
    now: Now,
}

impl Planner {
    fn tick(&mut self, facts: &Facts) -> Result<Answer, Refusal> {
        self.catch_up(facts)?;
        self.ensure_standby(facts);
        self.plan_ahead(facts);
        Ok(Answer::Done)
    }

    /// What follows from the time that passed and from changed facts.
    fn catch_up(&mut self, facts: &Facts) -> Result<(), Refusal> {
        self.retire_due();
        self.adopt(facts)?;
        self.extend_lifetimes(facts);
        self.ensure_signer(facts);
        self.end_superseded(facts);
        Ok(())
    }

    /// What becomes of the pending keys.
    fn plan_ahead(&mut self, facts: &Facts) {
        self.plan_activations(facts);
        self.drop_replaced(facts);
        self.hold_to_wait(facts);
    }

    /// A set missing from the configuration: nothing signs, standbys stay while an ended key
    /// does, so that a set that comes back soon has a signer that verifiers know. A key that never
    /// signed here keeps none.
    fn wind_down(&mut self) -> Answer {
        self.retire_due();
        let clock_skew = self.set.facts.as_ref().map_or(Duration::ZERO, |facts| facts.clock_skew);
        for life in self.unended() {
            if self.may_have_signed(&life) {
                self.end(&life, clock_skew);
            } else if life.activates.is_some() {
                self.set_activation(life.number, None, PlannedBy::Nobody);
            }
        }
        if self.last_ended().is_none() {
            for life in self.unended() {
                self.bury(life.number, Departure::Replaced);
            }
        }
        Answer::Done
    }

    /// Time in which a pending key was not served does not count towards its wait, also when the
    /// wait was over: longer ones may come into force. A key whose wait was not over waits the
    /// rest, unless it signs by now and the key before it has ended: a set that signs goes on to.
    fn discount(&mut self, facts: Option<&Facts>, from: Time, to: Time) -> Answer {
        self.prolong_former_max_age(from, to);
        for life in self.pending_at(from) {
            let missing = to.since(from.max(life.served_from));
            if missing.is_zero() {
                continue;
            }
            let waited = self.waited_under_either(&life, facts);
            let waits_on = waited > from && life.planned_by.waits();
            self.take(Step::Unserved {
                number: life.number,
                served_from: life.served_from + missing,
                may_have_signed: waits_on && self.may_have_signed(&life),
            });
            let earliest = waited + missing;
            if waits_on && life.activates.is_some_and(|activates| activates < earliest) {
                if self.signs_first(life.number) {
                    // The one before has ended meanwhile, and has no secret any more.
                    self.set_activation(life.number, life.activates, PlannedBy::Recovery);
                } else {
                    self.set_activation(life.number, Some(earliest), life.planned_by);
                }
            }
        }
        Answer::Done
    }

    /// Whether the keys before this one have ended, so that none of them could sign now.
    fn signs_first(&self, number: Number) -> bool {
        let active = |life: &&Life| life.state_at(self.now.lifecycle) == State::Active;
        let active = self.set.lives.iter().filter(active).map(|life| life.number);
        active.min() == Some(number)
    }

    /// A key waits as if it had been published at `from`. That its activation has passed does not
    /// matter: whoever asks did not let it sign meanwhile, or does not know.
    fn begin_waits(&mut self, facts: Option<&Facts>, keys: &[Number], from: Time) -> Answer {
        let keys = self.unended().into_iter().filter(|life| keys.contains(&life.number));
        for mut life in keys.filter(|life| life.served_from < from).collect::<Vec<_>>() {
            life.served_from = from;
            self.take(Step::Unserved {
                number: life.number,
                served_from: from,
                may_have_signed: self.may_have_signed(&life),
            });
            let earliest = self.waited_under_either(&life, facts);
            let is_early = life.activates.is_some_and(|activates| activates < earliest);
            if life.planned_by.waits() && is_early {
                self.set_activation(life.number, Some(earliest), life.planned_by);
            }
        }
        Answer::Done
    }

    /// A ring in doubt may have served under the longer max-age all the time.
    fn prolong_former_max_age(&mut self, from: Time, to: Time) {
        let FormerMaxAge { max_age, until } = self.set.former_max_age;
        let missing = to.since(from);
        if let Some(facts) = self.set.facts.clone()
            && until > from
            && !missing.is_zero()
        {
            let former_max_age = FormerMaxAge { max_age, until: until + missing };
            self.take(Step::Adopt { facts, former_max_age });
        }
    }

    /// When the wait of a key is over by the facts in force as well as by the configured ones,
    /// which may not have come into force yet.
    fn waited_under_either(&self, life: &Life, configured: Option<&Facts>) -> Time {
        let both = [self.set.facts.as_ref(), configured];
        both.into_iter().flatten().map(|facts| life.waited_at(facts)).max().unwrap_or_default()
    }

    /// A key leaves the set when its last token has expired.
    fn retire_due(&mut self) {
        let now = self.now.lifecycle;
        for life in self.set.lives.clone() {
            if life.retires.is_some_and(|retires| retires <= now) {
                self.bury(life.number, Departure::Retired);
            }
        }
    }

    /// Changed facts come into force. Copies of the set served under a longer max-age stay in
    /// mind for as long as they can be in use.
    fn adopt(&mut self, facts: &Facts) -> Result<(), Refusal> {
        if self.set.facts.as_ref() == Some(facts) {
            return Ok(());
        }
        self.set.admits(facts)?;
        let now = self.now.lifecycle;
        let mut former_max_age = self.set.former_max_age;
        if let Some(old) = &self.set.facts
            && old.jwks_max_age > facts.jwks_max_age
            && !planted::is_planted(Fault::FormerMaxAgeForgotten)
        {
            let until = now + old.jwks_max_age + old.jwks_max_age.max(old.verifier_cache);
            let still =
                if former_max_age.until > now { former_max_age.max_age } else { Duration::ZERO };
            former_max_age = FormerMaxAge {
                max_age: old.jwks_max_age.max(still),
                until: until.max(former_max_age.until),
            };
        }
        self.take(Step::Adopt { facts: facts.clone(), former_max_age });
        Ok(())
    }

    /// A longer lifetime is committed before it counts. A shorter one changes nothing here: a
    /// token of the longer one may exist.
    fn extend_lifetimes(&mut self, facts: &Facts) {
        for life in self.unended() {
            if life.longest_ttl < facts.max_token_ttl {
                let longest_ttl = facts.max_token_ttl;
                self.take(Step::Extend { number: life.number, longest_ttl });
            }
        }
    }

    /// The first key activates at once. A set that came back to the configuration goes on with
    /// the standby it still has.
    fn ensure_signer(&mut self, facts: &Facts) {
        let now = self.now.lifecycle;
        if self.set.signer_at(now).is_some() {
            return;
        }
        let waits_for_import = self.waits_for_import(facts);
        if let Some(standby) = self.set.standby_at(facts, now) {
            self.set_activation(standby.number, Some(now), PlannedBy::Recovery);
        } else if !waits_for_import {
            self.create(facts, Origin::Generated, Some(now), PlannedBy::FirstKey);
        }
    }

    /// Whether the first key of the set is to come from elsewhere, and did not yet.
    fn waits_for_import(&self, facts: &Facts) -> bool {
        facts.first_key == FirstKey::Import && self.set.next_number == Number::default()
    }

    /// Every key below the signer will never sign again.
    fn end_superseded(&mut self, facts: &Facts) {
        let Some(signer) = self.set.signer_at(self.now.lifecycle).map(|life| life.number) else {
            return;
        };
        if planted::is_planted(Fault::EraseLate)
            && let an_hour_ago = self.now.lifecycle.before(Duration::from_hours(1))
            && self.set.signer_at(an_hour_ago).is_none_or(|life| life.number != signer)
        {
            return;
        }
        for life in self.unended().into_iter().filter(|life| life.number < signer) {
            self.end_or_bury(&life, facts.clock_skew);
        }
    }

    /// A published key of the right algorithm is always there to sign next.
    fn ensure_standby(&mut self, facts: &Facts) {
        let now = self.now.lifecycle;
        let has_standby = self.set.pending_at(now).any(|life| life.algorithm == facts.algorithm);
        if planted::is_planted(Fault::LostStandby)
            && let Some(signer) = self.set.signer_at(now)
            && matches!(signer.planned_by, PlannedBy::Revocation)
        {
            return;
        }
        if !has_standby && self.set.signer_at(now).is_some() {
            self.create(facts, Origin::Generated, None, PlannedBy::Nobody);
        }
    }

    /// The schedule plans what nobody planned, and plans anew what another schedule planned. What
    /// an admin planned stays, and the key that takes a planned key's place follows its plan; a
    /// planned key whose place was to be taken, and is not, keeps its own.
    fn plan_activations(&mut self, facts: &Facts) {
        let now = self.now.lifecycle;
        let wanted = planner_of(&facts.rotate);
        let asked = self
            .pending_at(now)
            .into_iter()
            .find(|life| life.planned_by == PlannedBy::Admin && life.algorithm != facts.algorithm);
        for life in self.pending_at(now) {
            let earliest = life.waited_at(facts);
            let (activates, by) = match &asked {
                Some(asked) if life.algorithm == facts.algorithm && follows(&life, asked) => {
                    (asked.activates.map(|at| at.max(earliest)), PlannedBy::Admin)
                }
                _ if life.planned_by == PlannedBy::Admin || life.planned_by == wanted => continue,
                _ => (facts.rotate.next_after(earliest.max(now)), wanted.clone()),
            };
            if life.activates != activates || life.planned_by != by {
                self.set_activation(life.number, activates, by);
            }
        }
    }

    /// A pending key of another algorithm stays until one of the right algorithm has waited.
    fn drop_replaced(&mut self, facts: &Facts) {
        let now = self.now.lifecycle;
        let pending = self.pending_at(now);
        let right = |life: &Life| life.algorithm == facts.algorithm;
        let successor_waited =
            pending.iter().any(|life| right(life) && life.waited_at(facts) <= now);
        let keep = if successor_waited {
            None
        } else {
            self.set.standby_at(facts, now).filter(|life| !right(life)).map(|life| life.number)
        };
        for life in pending.iter().filter(|life| !right(life) && Some(life.number) != keep) {
            self.end_or_bury(life, facts.clock_skew);
        }
    }

    /// Nothing activates before it has waited, also when the facts asked for a shorter wait at
    /// the time of the decision.
    fn hold_to_wait(&mut self, facts: &Facts) {
        for life in self.pending_at(self.now.lifecycle) {
            let earliest = life.waited_at(facts);
            if life.planned_by.waits() && life.activates.is_some_and(|at| at < earliest) {
                self.set_activation(life.number, Some(earliest), life.planned_by);
            }
        }
    }

    fn rotate(&mut self, facts: &Facts, expect: Number, when: RotateAt) -> Result<Answer, Refusal> {
        let now = self.now.lifecycle;
        let signer = self.set.signer_at(now).ok_or(Refusal::NoSigner)?;
        if signer.number != expect && !planted::is_planted(Fault::DoubleRotation) {
            return self.already_rotated(signer, expect);
        }
        let standby = self.set.standby_at(facts, now).cloned().ok_or(Refusal::NoSigner)?;
        let earliest = standby.waited_at(facts).max(now);
        let (activates, by) = match when {
            RotateAt::Waited => (earliest, PlannedBy::Admin),
            RotateAt::At(time) if time < earliest => return Err(Refusal::TooEarly { earliest }),
            RotateAt::At(time) => (time, PlannedBy::Admin),
            RotateAt::Now => (now, PlannedBy::AdminNow),
        };
        if standby.activates != Some(activates) || standby.planned_by != by {
            self.set_activation(standby.number, Some(activates), by);
        }
        let refused_until = (activates < earliest).then_some(earliest);
        Ok(Answer::Rotation { from: expect, to: standby.number, activates, refused_until })
    }

    /// A retry after a lost answer finds its own work done: the key after the expected one
    /// signs, because an admin said so.
    fn already_rotated(&self, signer: &Life, expect: Number) -> Result<Answer, Refusal> {
        let active = signer.number;
        let by_admin = matches!(signer.planned_by, PlannedBy::Admin | PlannedBy::AdminNow);
        let below =
            self.set.lives.iter().rfind(|life| life.number < active && life.is_signing_key());
        if by_admin && below.is_some_and(|life| life.number == expect) {
            Ok(Answer::AlreadyRotated { active })
        } else {
            Err(Refusal::ActiveChanged { active })
        }
    }

    fn revoke(&mut self, facts: Option<&Facts>, number: Number) -> Result<Answer, Refusal> {
        let now = self.now.lifecycle;
        self.set.life(number).ok_or(Refusal::NoSuchKey)?;
        let was_signer = self.set.signer_at(now).is_some_and(|life| life.number == number);
        self.bury(number, Departure::Revoked);
        if let Some(facts) = facts.filter(|_| was_signer) {
            // Those below the revoked key had stopped to sign; ending them later would let the
            // newest of them sign again now.
            for life in self.unended() {
                if life.state_at(now) == State::Active {
                    self.end(&life, facts.clock_skew);
                }
            }
            self.promote(facts);
        }
        Ok(Answer::Done)
    }

    fn promote(&mut self, facts: &Facts) {
        let now = self.now.lifecycle;
        match self.set.standby_at(facts, now).map(|life| life.number) {
            Some(standby) => {
                self.set_activation(standby, Some(now), PlannedBy::Revocation);
            }
            None => self.create(facts, Origin::Generated, Some(now), PlannedBy::Revocation),
        }
    }

    fn revoke_all(&mut self, facts: Option<&Facts>, expect: Number) -> Result<Answer, Refusal> {
        let now = self.now.lifecycle;
        if let Some(signer) = self.last_signer()
            && signer.number != expect
        {
            let active = signer.number;
            return if Self::made_by_revocation(signer) && self.all_from(active) && expect < active {
                Ok(Answer::AlreadyRotated { active })
            } else {
                Err(Refusal::ActiveChanged { active })
            };
        }
        if facts.is_some_and(|facts| self.waits_for_import(facts)) {
            return Err(Refusal::NoSigner);
        }
        for life in self.set.lives.clone() {
            self.bury(life.number, Departure::Revoked);
        }
        if let Some(facts) = facts {
            self.create(facts, Origin::Generated, Some(now), PlannedBy::Revocation);
        }
        Ok(Answer::Done)
    }

    /// The key that signs, or in a set that signs nothing the one that was the last to.
    fn last_signer(&self) -> Option<&Life> {
        self.set.signer_at(self.now.lifecycle).or_else(|| self.last_ended())
    }

    fn last_ended(&self) -> Option<&Life> {
        self.set.lives.iter().rfind(|life| life.ended.is_some() && life.is_signing_key())
    }

    /// Whether a revocation made the key, and did not only promote it: a standby was there while
    /// the revoked key was, and whoever could copy the one could copy the other.
    fn made_by_revocation(life: &Life) -> bool {
        life.planned_by == PlannedBy::Revocation && life.activates == Some(life.created)
    }

    fn all_from(&self, number: Number) -> bool {
        self.set.lives.iter().all(|life| life.number >= number)
    }

    fn retire(&mut self, number: Number) -> Result<Answer, Refusal> {
        let life = self.set.life(number).ok_or(Refusal::NoSuchKey)?;
        match life.state_at(self.now.lifecycle) {
            State::Pending => Err(Refusal::RetirePending),
            State::Active => Err(Refusal::RetireActive),
            State::VerifyOnly => {
                self.bury(number, Departure::RetiredEarly);
                Ok(Answer::Done)
            }
        }
    }

    fn create(
        &mut self,
        facts: &Facts,
        origin: Origin,
        activates: Option<Time>,
        planned_by: PlannedBy,
    ) {
        self.take(Step::Create(Life { activates, planned_by, ..self.new_life(facts, origin) }));
    }

    fn new_life(&self, facts: &Facts, origin: Origin) -> Life {
        let now = self.now.lifecycle;
        let former = self.set.former_max_age;
        let stale = if former.until > now { former.max_age } else { Duration::ZERO };
        Life {
            number: self.set.next_number,
            algorithm: facts.algorithm,
            created: now,
            published: now,
            served_from: now,
            stale_max_age: facts.jwks_max_age.max(stale),
            activates: None,
            planned_by: PlannedBy::Nobody,
            longest_ttl: facts.max_token_ttl,
            may_have_signed: false,
            ended: None,
            retires: None,
            origin,
            exported: None,
        }
    }

    /// What a key that activates in a moment signs before this takes effect, verifies for as long as
    /// it lives.
    fn end_or_bury(&mut self, life: &Life, clock_skew: Duration) {
        let soon = self.now.lifecycle + TAKES_EFFECT;
        if self.may_have_signed(life) {
            self.end(life, clock_skew);
        } else if life.activates.is_some_and(|activates| activates <= soon) {
            self.end(life, clock_skew + TAKES_EFFECT);
        } else {
            self.bury(life.number, Departure::Replaced);
        }
    }

    fn end(&mut self, life: &Life, clock_skew: Duration) {
        let mut longest_ttl = life.longest_ttl;
        if planted::is_planted(Fault::RetireEarly) {
            longest_ttl /= 2;
        }
        if planted::is_planted(Fault::LongestLifetimeForgotten) {
            longest_ttl = self.set.facts.as_ref().map_or(longest_ttl, |facts| facts.max_token_ttl);
        }
        self.take(Step::End {
            number: life.number,
            ended: self.now.lifecycle,
            retires: self.now.latest() + longest_ttl + clock_skew,
        });
    }

    fn bury(&mut self, number: Number, departure: Departure) {
        self.take(Step::Bury { number, departure });
    }

    fn set_activation(&mut self, number: Number, activates: Option<Time>, by: PlannedBy) {
        self.take(Step::Plan { number, activates, by });
    }

    fn may_have_signed(&self, life: &Life) -> bool {
        life.may_have_signed || life.state_at(self.now.lifecycle) == State::Active
    }

    fn unended(&self) -> Vec<Life> {
        self.set.lives.iter().filter(|life| life.ended.is_none()).cloned().collect()
    }

    fn pending_at(&self, now: Time) -> Vec<Life> {
        self.set.pending_at(now).cloned().collect()
    }

    fn take(&mut self, step: Step) {
        self.set.apply(&step);
        self.steps.push(step);
    }
}

/// Whether a pending key takes the place of one that an admin planned.
fn follows(life: &Life, asked: &Life) -> bool {
    life.number > asked.number || life.planned_by != PlannedBy::Admin
}

fn planner_of(rotate: &Rotation) -> PlannedBy {
    match rotate {
        Rotation::Manual => PlannedBy::Nobody,
        Rotation::Scheduled(schedule) => PlannedBy::Schedule {
            cron: schedule.text().to_owned(),
            time_zone: schedule.zone_name().to_owned(),
        },
    }
}
