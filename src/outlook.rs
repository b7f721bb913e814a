//! What is to come for each key set, and what is late: told by the rotator, which may hang, judged by
//! [`crate::health`], which never waits for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jwksd_keystore::facts::Facts;
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::lifecycle::{Keyset, Life};
use jwksd_keystore::time::Time;

use crate::health::{Finding, State, Subject};

/// How long what was begun, or failed, may stay undone.
pub const LATE: Duration = Duration::from_mins(10);

/// How long what time alone brings about may go unnoticed: the rotator sleeps for an hour at most, also
/// where the clock leaped meanwhile or the machine was suspended.
pub const UNNOTICED: Duration = Duration::from_mins(70);

/// By how much more than its wait a standby may miss a time of the schedule, with all being well:
/// schedules leave as much room.
const ROOM: Duration = Duration::from_hours(1);

/// What is to come for all key sets.
#[derive(Default)]
pub struct Outlooks(Mutex<Told>);

/// What the rotator told.
#[derive(Default)]
struct Told {
    of_keysets: BTreeMap<KeysetName, Outlook>,
    /// The key sets that it is at, and since when.
    at_work: Option<(BTreeSet<KeysetName>, Time)>,
}

/// What is to come for a key set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outlook {
    /// Since when something is to be done to its keys that could not be.
    undone: Option<Time>,
    signer: Prospect,
}

/// What is to come for the key that signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Prospect {
    /// From when on it signs, or its successor does, without a standby.
    alone: Option<Time>,
    /// By when the schedule had it replaced, where nothing is planned.
    unplanned: Option<Time>,
}

impl Outlooks {
    /// Takes the keys as they count now; `facts` are those of the configuration, `None` where the
    /// set is missing from it.
    pub(crate) fn take(&self, keyset: &KeysetName, set: &Keyset, facts: Option<&Facts>, now: Time) {
        let mut told = self.lock();
        let outlook = told.of_keysets.entry(keyset.clone()).or_default();
        let before = outlook.signer;
        outlook.signer =
            facts.map(|facts| Prospect::of(set, facts, before, now)).unwrap_or_default();
    }

    /// The rotator begins with something about these key sets.
    pub(crate) fn begin(&self, keysets: &[KeysetName], now: Time) {
        self.lock().at_work = Some((keysets.iter().cloned().collect(), now));
    }

    /// It is ready for the next.
    pub(crate) fn end(&self) {
        self.lock().at_work = None;
    }

    /// All that time and the configuration ask for is done.
    pub(crate) fn is_done(&self, keyset: &KeysetName) {
        self.lock().of_keysets.entry(keyset.clone()).or_default().undone = None;
    }

    /// Something could not be done.
    pub(crate) fn is_not_done(&self, keyset: &KeysetName, now: Time) {
        let mut told = self.lock();
        told.of_keysets.entry(keyset.clone()).or_default().undone.get_or_insert(now);
    }

    /// What is late at `now`.
    #[must_use]
    pub(crate) fn findings(&self, now: Time) -> Vec<Finding> {
        let told = self.lock();
        let at_work = |keyset: &KeysetName| {
            let at_work = told.at_work.as_ref().filter(|(keysets, _)| keysets.contains(keyset));
            at_work.map(|(_, since)| *since)
        };
        let late = told.of_keysets.iter().flat_map(|(keyset, outlook)| {
            let since = at_work(keyset).into_iter().chain(outlook.undone).min();
            outlook.findings(keyset, since, now)
        });
        late.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlook {
    fn findings(
        &self,
        keyset: &KeysetName,
        undone: Option<Time>,
        now: Time,
    ) -> impl Iterator<Item = Finding> + use<> {
        let finding = |subject, state, why| Finding { subject, state, why };
        let is_over = |time: &Time, span: Duration| now >= *time + span;
        let undone = undone.filter(|since| is_over(since, LATE)).map(|since| {
            let why = format!(
                "what is to be done to its keys is not done since {since}: keys may not end or \
                 leave, and changes not get through"
            );
            finding(Subject::Rotation(keyset.clone()), State::Failing, why)
        });
        let unplanned = self.signer.unplanned.filter(|time| is_over(time, UNNOTICED)).map(|time| {
            let why = format!(
                "by its schedule another key would sign since {time}, and no activation is planned"
            );
            finding(Subject::Rotation(keyset.clone()), State::Warning, why)
        });
        let alone = self.signer.alone.filter(|since| is_over(since, UNNOTICED)).map(|since| {
            let why = format!(
                "there is none since {since}: in an emergency no key that verifiers know could \
                 take over"
            );
            finding(Subject::Standby(keyset.clone()), State::Warning, why)
        });
        undone.or(unplanned).into_iter().chain(alone)
    }
}

impl Prospect {
    /// Nothing is said of a set without a signer: it waits for its first key, or its steps fail.
    fn of(set: &Keyset, facts: &Facts, before: Self, now: Time) -> Self {
        let Some(signer) = set.signer_at(now) else {
            return Self::default();
        };
        let plans: Vec<Option<Time>> = set.pending_at(now).map(|life| life.activates).collect();
        let alone = if plans.is_empty() {
            Some(before.alone.map_or(now, |since| since.min(now)))
        } else {
            // When the last of them signs.
            let all: Option<Vec<Time>> = plans.iter().copied().collect();
            all.and_then(|times| times.into_iter().max())
        };
        Self { alone, unplanned: unplanned(signer, set.pending_at(now), facts) }
    }
}

/// By when the schedule had the key that signs replaced, where no activation is planned; `pending` are
/// the keys that wait.
pub(crate) fn unplanned<'a>(
    signer: &Life,
    mut pending: impl Iterator<Item = &'a Life>,
    facts: &Facts,
) -> Option<Time> {
    if pending.any(|life| life.activates.is_some()) {
        return None;
    }
    let since = signer.activates.unwrap_or(signer.published);
    facts.rotate.next_after(since + facts.waits().publish_ahead() + ROOM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotator_that_hangs_at_a_key_set_is_told_from_outside_until_it_goes_on() {
        let outlooks = Outlooks::default();
        let keyset: KeysetName = "default".parse().unwrap();
        let since = Time::from_millis(1_795_316_400_000);
        outlooks.is_done(&keyset);
        outlooks.begin(std::slice::from_ref(&keyset), since);
        let soon = LATE.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(outlooks.findings(since + soon), []);
        let late = outlooks.findings(since + LATE);
        assert_eq!(late.len(), 1);
        assert_eq!(late[0].subject, Subject::Rotation(keyset));
        assert_eq!(late[0].state, State::Failing);
        assert!(late[0].why.contains(&since.to_string()), "{}", late[0].why);
        outlooks.end();
        assert_eq!(outlooks.findings(since + LATE), []);
    }
}
