//! PURE: what is told of the keys of a key set at an instant.

use std::time::Duration;

use jwksd_keystore::facts::Facts;
use jwksd_keystore::id::KeyId;
use jwksd_keystore::lifecycle::{Life, State};
use jwksd_keystore::time::Time;

use crate::outlook;

/// The living keys of a key set, as they count: one that its file lacks has no activation.
#[derive(Clone, Debug)]
pub struct Keys {
    /// The keys.
    pub lives: Vec<(KeyId, Life)>,
    /// The facts in the configuration; none where the set is missing from it.
    pub facts: Option<Facts>,
}

/// How the keys of a set stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeysNow {
    /// How many wait.
    pub pending: u64,
    /// How many sign: one, or none.
    pub active: u64,
    /// How many only verify.
    pub verify_only: u64,
    /// Of a set that signs.
    pub signing: Option<SigningNow>,
}

/// How a set that signs stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SigningNow {
    /// How many keys could take over at once.
    pub standbys: u64,
    /// How long until the next activation, where one is planned.
    pub next: Option<Duration>,
    /// Since when another key should sign; zero where none should.
    pub overdue: Duration,
}

impl Keys {
    /// How they stand at `now`, by lifecycle time; `signer` is the key that signs in fact, which is
    /// another than the keys say while it is not known what the store holds.
    #[must_use]
    pub fn at(&self, signer: Option<&KeyId>, now: Time) -> KeysNow {
        let pending = self.pending_at(now).count() as u64;
        let due = self.facts.as_ref().and_then(|_| self.due_signer(now));
        let active = u64::from(due.is_some());
        let signing = due.map(|(kid, life)| SigningNow {
            standbys: pending,
            next: self.pending_at(now).filter_map(|life| Some(life.activates?.since(now))).min(),
            overdue: self
                .overdue_since(kid, life, signer, now)
                .map_or(Duration::ZERO, |since| now.since(since)),
        });
        let verify_only = self.lives.len() as u64 - pending - active;
        KeysNow { pending, active, verify_only, signing }
    }

    fn pending_at(&self, now: Time) -> impl Iterator<Item = &Life> {
        let lives = self.lives.iter().map(|(_, life)| life);
        lives.filter(move |life| life.state_at(now) == State::Pending)
    }

    /// The key that should sign.
    fn due_signer(&self, now: Time) -> Option<(&KeyId, &Life)> {
        let active = self.lives.iter().filter(|(_, life)| life.state_at(now) == State::Active);
        active.max_by_key(|(_, life)| life.number).map(|(kid, life)| (kid, life))
    }

    /// Since when another key than the one in fact should sign: because its activation has come, or
    /// because by the schedule one should be planned and none is.
    fn overdue_since(
        &self,
        due: &KeyId,
        life: &Life,
        signer: Option<&KeyId>,
        now: Time,
    ) -> Option<Time> {
        if signer.is_some_and(|signer| signer != due) {
            return life.activates;
        }
        let unplanned = outlook::unplanned(life, self.pending_at(now), self.facts.as_ref()?);
        unplanned.filter(|at| *at < now)
    }
}

#[cfg(test)]
mod tests {
    use jwksd_keystore::algorithm::Algorithm;
    use jwksd_keystore::facts::{FirstKey, KeyTypes};
    use jwksd_keystore::lifecycle::{Number, Origin, PlannedBy};
    use jwksd_keystore::schedule::{Rotation, Schedule};

    use super::*;

    /// 2026-11-22T03:00:00Z.
    const START: Time = Time::from_millis(1_795_316_400_000);
    const DAY: Duration = Duration::from_hours(24);

    fn facts(rotate: Rotation) -> Facts {
        Facts {
            algorithm: Algorithm::Es256,
            rotate,
            jwks_max_age: Duration::from_mins(5),
            verifier_cache: DAY,
            max_token_ttl: Duration::from_hours(1),
            clock_skew: Duration::from_mins(1),
            first_key: FirstKey::Generate,
            key_types: KeyTypes::One,
        }
    }

    fn monthly() -> Facts {
        facts(Rotation::Scheduled(Schedule::parse("0 3 1 * *", "UTC").unwrap()))
    }

    fn kid(number: u64) -> KeyId {
        format!("key-{number}").parse().unwrap()
    }

    fn key(number: u64, activates: Option<Time>) -> (KeyId, Life) {
        let life = Life {
            number: Number(number),
            algorithm: Algorithm::Es256,
            created: START,
            published: START,
            served_from: START,
            stale_max_age: Duration::ZERO,
            activates,
            planned_by: PlannedBy::Nobody,
            longest_ttl: Duration::from_hours(1),
            may_have_signed: false,
            ended: None,
            retires: None,
            origin: Origin::Generated,
            exported: None,
        };
        (kid(number), life)
    }

    fn overdue(keys: &Keys, signer: u64, now: Time) -> Duration {
        keys.at(Some(&kid(signer)), now).signing.unwrap().overdue
    }

    #[test]
    fn a_set_that_is_as_it_should_be_says_what_comes_next() {
        let lives = vec![key(1, Some(START)), key(2, Some(START + 9 * DAY))];
        let keys = Keys { lives, facts: Some(monthly()) };
        let now = keys.at(Some(&kid(1)), START + DAY);
        let signing = SigningNow { standbys: 1, next: Some(8 * DAY), overdue: Duration::ZERO };
        let expected = KeysNow { pending: 1, active: 1, verify_only: 0, signing: Some(signing) };
        assert_eq!(now, expected);
        // The clock passed the activation, and nothing was written yet.
        let now = keys.at(Some(&kid(2)), START + 9 * DAY);
        let signing = SigningNow { standbys: 0, next: None, overdue: Duration::ZERO };
        let expected = KeysNow { pending: 0, active: 1, verify_only: 1, signing: Some(signing) };
        assert_eq!(now, expected);
    }

    #[test]
    fn a_key_whose_activation_has_come_and_that_does_not_sign_is_overdue_since() {
        let lives = vec![key(1, Some(START)), key(2, Some(START + 9 * DAY))];
        let keys = Keys { lives, facts: Some(monthly()) };
        assert_eq!(overdue(&keys, 1, START + 10 * DAY), DAY);
        assert_eq!(overdue(&keys, 2, START + 10 * DAY), Duration::ZERO);
    }

    #[test]
    fn a_rotation_that_is_not_planned_is_overdue_from_the_next_time_of_the_schedule_on() {
        // A key that is held back has no activation.
        for lives in [vec![key(1, Some(START))], vec![key(1, Some(START)), key(2, None)]] {
            let keys = Keys { lives, facts: Some(monthly()) };
            assert_eq!(overdue(&keys, 1, START + 9 * DAY), Duration::ZERO);
            assert_eq!(overdue(&keys, 1, START + 11 * DAY), 2 * DAY);
        }
    }

    #[test]
    fn a_rotation_that_nobody_asked_for_is_not_overdue() {
        let keys = |facts| Keys { lives: vec![key(1, Some(START))], facts };
        let manual = keys(Some(facts(Rotation::Manual)));
        assert_eq!(overdue(&manual, 1, START + 400 * DAY), Duration::ZERO);
        assert_eq!(keys(None).at(None, START + 400 * DAY).signing, None, "it only serves its keys");
    }
}
