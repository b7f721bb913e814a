//! PURE: what was and what comes in a key set, as admins see it.
//!
//! What comes is what the rules themselves say when they are asked ahead of time
//! ([`lifecycle::forecast`]); here it is only told. `course` is the life of one key in phases and
//! events, `notes` what phases cannot say, and `refusals` what verifiers make of it.

mod course;
mod notes;
pub mod refusals;

use std::collections::BTreeSet;
use std::time::Duration;

use jwksd_keystore::id::KeysetName;
use jwksd_keystore::lifecycle::{self, End, Forecast, Life, Now, Reach};
use jwksd_keystore::store::{Loaded, Tombstone};
use jwksd_keystore::time::Time;

use self::course::{Course, Told};
use crate::api::plan::{PlannedEvent, PlannedKeyset};
use crate::config;
use crate::sink::Standing;
use crate::view;

const DAY: Duration = Duration::from_hours(24);

/// How many keys that are not made yet one answer holds, over all its key sets; and how many that
/// left.
const MOST_KEYS: usize = 10_000;

/// The most of each for one key set: more are no picture.
const MOST_OF_ONE: usize = 400;

/// The fewest to come: a first key and its standby.
const FEWEST_COMING: usize = 2;

/// The fewest that left: the last that signed, and what was replaced meanwhile.
const FEWEST_DEPARTED: usize = 2;

/// All that is known of a key set.
pub struct Subject<'a> {
    /// Its name.
    pub name: &'a KeysetName,
    /// What the configuration says, if it is there.
    pub configured: Option<&'a config::Keyset>,
    /// How its file stands, if it has one.
    pub standing: Option<&'a Standing>,
    /// What is stored.
    pub loaded: &'a Loaded,
    /// What left, in the order of the numbers.
    pub tombstones: &'a [Tombstone],
}

/// What part of time is told.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    /// Now.
    pub now: Now,
    /// How far ahead, inclusive.
    pub until: Time,
    /// By how much the clocks differ, where that is too much.
    pub apart: Option<Duration>,
    coming: usize,
    departed: usize,
}

impl Frame {
    /// From `now` on for so many days, in an answer about so many key sets.
    #[must_use]
    pub fn new(now: Now, apart: Option<Duration>, days: u16, keysets: usize) -> Self {
        let share = MOST_KEYS / keysets.max(1);
        Self {
            now,
            until: now.lifecycle + DAY * u32::from(days),
            apart,
            coming: share.clamp(FEWEST_COMING, MOST_OF_ONE),
            departed: share.clamp(FEWEST_DEPARTED, MOST_OF_ONE),
        }
    }
}

/// What was and what comes in a key set.
#[must_use]
pub fn of_keyset(subject: &Subject<'_>, frame: &Frame) -> PlannedKeyset {
    let now = frame.now.lifecycle;
    let Subject { name, configured, standing, loaded, tombstones } = *subject;
    let seen = view::of_keyset(name, configured, standing, loaded, tombstones, now);
    let Forecast { keys, end } = lifecycle::forecast(
        &loaded.keyset(),
        configured.map(|keyset| &keyset.facts),
        |life: &mut Life, at| standing.into_iter().for_each(|standing| standing.hold(life, at)),
        frame.now,
        Reach { until: frame.until, keys: frame.coming },
    );
    let departed = tombstones.iter().map(Course::of_tombstone);
    let foreseen = keys.into_iter().map(|key| Course::foreseen(key, loaded, &seen));
    let mut courses: Vec<Course<'_>> = departed.chain(foreseen).collect();
    course::follow(&mut courses);
    let dropped = tombstones.len().saturating_sub(frame.departed);
    drop(courses.drain(..dropped));
    let told = told(loaded, &end, frame);
    let mut events: Vec<(Time, usize, PlannedEvent)> =
        courses.iter().flat_map(|course| course.events(&told)).collect();
    events.sort_by_key(|(at, rank, event)| (*at, *rank, event.number));
    PlannedKeyset {
        name: name.clone(),
        active: seen.active.clone(),
        keys: courses.iter().map(|course| course.key(&told)).collect(),
        events: events.into_iter().map(|(_, _, event)| event).collect(),
        notes: notes::of_keyset(subject, frame, &end, dropped),
        refusing: Vec::new(),
    }
}

/// What of all that is told.
fn told(loaded: &Loaded, end: &End, frame: &Frame) -> Told {
    let pending = loaded.records.iter().map(|record| &record.life);
    let pending = pending.filter(|life| life.ended.is_none());
    Told {
        until: match end {
            End::Cut(at) => at.before(Duration::from_millis(1)),
            End::Whole | End::Refused(_) => frame.until,
        },
        activations: pending.filter_map(|life| life.activates).collect::<BTreeSet<_>>(),
    }
}

#[cfg(test)]
mod tests {
    use jwksd_keystore::algorithm::Algorithm;
    use jwksd_keystore::crypto;
    use jwksd_keystore::lifecycle::{Departure, Number, Origin, PlannedBy};
    use jwksd_keystore::store::Record;

    use super::*;

    fn departed(number: u64, at: Time) -> Tombstone {
        let life = Life {
            number: Number(number),
            algorithm: Algorithm::Es256,
            created: at,
            published: at,
            served_from: at,
            stale_max_age: Duration::ZERO,
            activates: Some(at + DAY),
            planned_by: PlannedBy::Admin,
            longest_ttl: Duration::ZERO,
            may_have_signed: false,
            ended: Some(at + DAY * 2),
            retires: Some(at + DAY * 3),
            origin: Origin::Generated,
            exported: None,
        };
        let public = crypto::generate(Algorithm::Es256).unwrap().public.clone();
        let kid = format!("key-{number}").parse().unwrap();
        Record::of_trusted_key(life, kid, public).tombstone(Departure::Retired, at + DAY * 3, None)
    }

    #[test]
    fn of_the_keys_that_left_the_last_ones_are_told_and_how_many_are_not() {
        let at = Time::from_millis(1_795_316_400_000);
        let tombstones: Vec<Tombstone> = (0..5)
            .map(|number| departed(number, at + DAY * u32::try_from(number).unwrap()))
            .collect();
        let (loaded, name) = (Loaded::default(), "default".parse().unwrap());
        let subject = Subject {
            name: &name,
            configured: None,
            standing: None,
            loaded: &loaded,
            tombstones: &tombstones,
        };
        let now = Now { lifecycle: at + DAY * 30, wall: at + DAY * 30 };
        let told = |keysets| of_keyset(&subject, &Frame::new(now, None, 1, keysets));
        let numbers =
            |told: &PlannedKeyset| -> Vec<u64> { told.keys.iter().map(|key| key.number).collect() };
        assert_eq!(numbers(&told(1)), [0, 1, 2, 3, 4]);
        let few = told(5_000);
        assert_eq!(numbers(&few), [3, 4]);
        assert_eq!(few.events.len(), 8);
        assert!(few.notes[1].starts_with("3 keys that left earlier"), "{:?}", few.notes);
    }
}
