//! The decisions about keys that were made elsewhere, and about what is given out of ours.

use std::time::Duration;

use super::Planner;
use crate::algorithm::Algorithm;
use crate::facts::Facts;
use crate::lifecycle::{
    Answer, LONGEST_TRUST, Life, Number, Origin, PlannedBy, Refusal, Replaceable, State, Step,
};
use crate::time::Time;

impl Planner {
    /// The first key of a set that waits for one signs at once, since nobody waits for anything.
    /// Any other takes the place of the standby: published, it waits like one that was made here,
    /// and follows an admin's plan.
    pub(super) fn import(
        &mut self,
        facts: &Facts,
        may_replace: Replaceable,
    ) -> Result<Answer, Refusal> {
        self.catch_up(facts)?;
        let now = self.now.lifecycle;
        let number = self.set.next_number;
        if self.set.signer_at(now).is_none() {
            self.create(facts, Origin::Imported, Some(now), PlannedBy::FirstKey);
            return Ok(Answer::Imported { number, replaced: Vec::new() });
        }
        let standbys = self.pending_at(now).into_iter();
        let standbys: Vec<_> = standbys.filter(|life| life.algorithm == facts.algorithm).collect();
        if may_replace == Replaceable::NotExported {
            none_exported(&standbys)?;
        }
        for life in &standbys {
            self.end_or_bury(life, facts.clock_skew);
        }
        self.create(facts, Origin::Imported, None, PlannedBy::Nobody);
        self.follow(facts, number, &standbys);
        self.plan_ahead(facts);
        let replaced = standbys.iter().map(|life| life.number).collect();
        Ok(Answer::Imported { number, replaced })
    }

    /// What an admin planned for one of the `standbys`, the key that takes their place keeps. One
    /// that was kept from it beyond its time has none left.
    fn follow(&mut self, facts: &Facts, number: Number, standbys: &[Life]) {
        let asked = standbys.iter().find(|life| life.planned_by == PlannedBy::Admin);
        if let (Some(asked), Some(life)) = (asked, self.set.life(number)) {
            let activates = asked.activates.unwrap_or_default().max(life.waited_at(facts));
            self.set_activation(number, Some(activates), PlannedBy::Admin);
        }
    }

    /// A key of another issuer has ended when it comes. The first key comes before it: a set that
    /// waits for one to be imported serves nothing.
    pub(super) fn trust(
        &mut self,
        facts: &Facts,
        algorithm: Algorithm,
        until: Time,
    ) -> Result<Answer, Refusal> {
        self.check_trust(until)?;
        let now = self.now.lifecycle;
        self.set.signer_at(now).ok_or(Refusal::NoSigner)?;
        let life = Life {
            algorithm,
            longest_ttl: Duration::ZERO,
            ended: Some(now),
            retires: Some(until),
            ..self.new_life(facts, Origin::Trusted)
        };
        let number = life.number;
        self.take(Step::Create(life));
        Ok(Answer::Trusted { number })
    }

    pub(super) fn trust_until(&mut self, number: Number, until: Time) -> Result<Answer, Refusal> {
        let life = self.set.life(number).filter(|life| life.origin == Origin::Trusted);
        let retires = life.ok_or(Refusal::NoSuchKey)?.retires;
        if retires != Some(until) {
            self.check_trust(until)?;
            self.take(Step::TrustUntil { number, retires: until });
        }
        Ok(Answer::Trusted { number })
    }

    fn check_trust(&self, until: Time) -> Result<(), Refusal> {
        let now = self.now.lifecycle;
        let latest = now + LONGEST_TRUST;
        if until > now && until <= latest { Ok(()) } else { Err(Refusal::TrustEnd { now, latest }) }
    }

    pub(super) fn note_export(&mut self, number: Number) -> Result<Answer, Refusal> {
        let now = self.now.lifecycle;
        let life = self.set.life(number).ok_or(Refusal::NoSuchKey)?;
        if life.state_at(now) == State::Pending && life.exported.is_none() {
            self.take(Step::NoteExport { number, exported: now });
        }
        Ok(Answer::Done)
    }
}

fn none_exported(standbys: &[Life]) -> Result<(), Refusal> {
    let exported = |life: &Life| life.exported.map(|exported| (life.number, exported));
    match standbys.iter().find_map(exported) {
        Some((standby, exported)) => Err(Refusal::StandbyExported { standby, exported }),
        None => Ok(()),
    }
}
