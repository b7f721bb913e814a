//! Time in which a key set was not served as it is stored, until that is stored too.
//!
//! Such time counts towards no wait, so an activation that the store has for it is too early. Until
//! that is made up for, the ring stands still, and no other step of the set is taken: whatever it was
//! for, it would go by that activation.

use std::collections::HashSet;

use jwksd_keystore::id::KeysetName;
use jwksd_keystore::lifecycle::{Intent, Life};
use jwksd_keystore::planted::{self, Fault};
use jwksd_keystore::store::Loaded;
use jwksd_keystore::time::Time;

use super::publication::LATE;
use super::step::{Asked, Part};
use super::{Rotator, StepError};

/// When a key set was not served as it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unserved {
    pub(super) from: Time,
    /// None while it is not known what the store holds.
    to: Option<Time>,
}

impl Unserved {
    /// Both, and what lies between them.
    fn with(self, other: Self) -> Self {
        let to = self.to.zip(other.to).map(|(one, other)| one.max(other));
        Self { from: self.from.min(other.from), to }
    }
}

impl Rotator {
    /// A set was not served between these times, and an activation may come before that is stored.
    pub(super) fn stand_still(&mut self, keyset: &KeysetName, from: Time, to: Time) {
        self.note_unserved(keyset, from, to);
        self.republish(keyset);
    }

    /// The same of a set that is published next.
    pub(super) fn note_unserved(&mut self, keyset: &KeysetName, from: Time, to: Time) {
        self.note(keyset, Unserved { from, to: Some(to) });
    }

    /// From `now` on it is not known what the store holds of a set.
    pub(super) fn doubt(&mut self, keyset: &KeysetName, now: Time) {
        self.note(keyset, Unserved { from: now, to: None });
        self.republish(keyset);
    }

    fn note(&mut self, keyset: &KeysetName, unserved: Unserved) {
        let noted = self.unserved.entry(keyset.clone()).or_insert(unserved);
        *noted = noted.with(unserved);
    }

    pub(super) fn is_in_doubt(&self, keyset: &KeysetName) -> bool {
        self.unserved.get(keyset).is_some_and(|unserved| unserved.to.is_none())
    }

    /// While nothing is served, time does nothing to a set whose standby is to sign by then: whether
    /// that is too early is known when something is served again. Returns whether the set waits for
    /// that.
    pub(super) fn waits_to_be_served(&mut self, keyset: &KeysetName) -> bool {
        let Some(since) = self.silent_since else { return false };
        let now = self.now();
        let is_then = |activates| since < activates && activates <= now + LATE;
        let comes = |life: &Life| life.planned_by.waits() && life.activates.is_some_and(is_then);
        let published = self.published.get(keyset);
        let waits =
            published.is_some_and(|loaded| loaded.records.iter().any(|record| comes(&record.life)));
        if waits {
            self.stand_still(keyset, since, now);
        }
        waits
    }

    /// Where nothing is served since a while, no command goes by that while.
    pub(super) fn note_silence(&mut self, keyset: &KeysetName) {
        let now = self.now();
        if let Some(since) = self.silent_since.filter(|since| now.since(*since) > LATE)
            && self.published.contains_key(keyset)
        {
            self.stand_still(keyset, since, now);
        }
    }

    /// What makes up for the time that is noted, where it is known when it ended.
    pub(super) fn intent_to_make_up(&self, keyset: &KeysetName) -> Option<Intent> {
        let Unserved { from, to } = *self.unserved.get(keyset)?;
        Some(Intent::Unserved { from, to: to? })
    }

    /// What is noted was made up for, as planned at `now`. What a commit of unknown outcome created is
    /// not served before it is published.
    pub(super) fn end_unserved(&mut self, keyset: &KeysetName, now: Time) {
        let noted = self.unserved.remove(keyset);
        if noted.is_some_and(|unserved| unserved.to.is_none()) {
            self.count_late_publication(keyset, now);
        }
    }

    /// Until when all that is stored was served for certain: not while a start makes up for the time
    /// before it, not while that is to be made up for of a set or a revocation is not durable, and
    /// not while a file lacks a key.
    pub(super) fn served_until(&self, now: Time) -> Time {
        self.served_until_but_for(&[], now)
    }

    /// The same for what is stored with these parts, which make up for all that is noted of theirs.
    pub(super) fn served_until_but_for(&self, parts: &[Part<'_>], now: Time) -> Time {
        let parts: HashSet<_> = parts.iter().map(|part| part.keyset).collect();
        let unserved = self.unserved.iter().filter(|(keyset, _)| !parts.contains(keyset));
        let unserved = unserved.map(|(_, unserved)| unserved.from);
        let silent = self.down_since.into_iter().chain(self.silent_since);
        let revoked = self.revoking.values().flatten().filter_map(|request| request.in_effect);
        let revoked = revoked.map(|in_effect| in_effect.since);
        let lacking = self.files.unserved_since();
        let all = unserved.chain(revoked).chain(silent).chain(lacking);
        all.chain([now]).min().unwrap_or(now)
    }

    /// What is stored, after what is noted was made up for.
    pub(super) fn made_up(
        &mut self,
        keyset: &KeysetName,
        mut loaded: Loaded,
    ) -> Result<Loaded, StepError> {
        while let Some(unserved) = self.unserved.get(keyset).copied() {
            loaded = self.make_up(keyset, loaded, unserved)?;
        }
        Ok(loaded)
    }

    fn make_up(
        &mut self,
        keyset: &KeysetName,
        loaded: Loaded,
        Unserved { from, to }: Unserved,
    ) -> Result<Loaded, StepError> {
        let now = self.parts.clock.now();
        let to = to.unwrap_or(now.lifecycle);
        let plan = self.plan(keyset, &loaded, &Intent::Unserved { from, to }, now)?;
        if to.since(from) <= LATE || plan.steps.is_empty() {
            self.end_unserved(keyset, now.lifecycle);
            if !planted::is_planted(Fault::StaleRing) {
                self.publish(keyset, loaded.clone());
            }
            return Ok(loaded);
        }
        let ready = self.made_ready(keyset, loaded, plan, &Asked::BY_TIME, now)?;
        self.commit(&[Part::of(keyset, &ready)], &Asked::BY_TIME)?;
        self.end_unserved(keyset, now.lifecycle);
        let after = ready.after.clone();
        self.take_effect(keyset, ready, &Asked::BY_TIME);
        Ok(after)
    }
}
