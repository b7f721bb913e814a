//! PURE: from the steps of a plan to what is written, served and told.

use std::collections::HashMap;

use jwksd_keystore::lifecycle::{self, Departure, Keyset, Number, Origin, Step};
use jwksd_keystore::planted::{self, Fault};
use jwksd_keystore::store::{Change, Head, Loaded, Record};
use jwksd_keystore::time::Time;

use super::{Gone, WARM_AHEAD};

/// The set as it will be stored after `steps`. Keys that are to be created and are not among
/// `made` are left out.
pub(super) fn after(loaded: &Loaded, steps: &[Step], mut made: HashMap<Number, Record>) -> Loaded {
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
            if record.life.ended.is_some() && !planted::is_planted(Fault::EndedUnerased) {
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
pub(super) fn changes(
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
            | Step::End { .. }
            | Step::TrustUntil { .. }
            | Step::NoteExport { .. } => {}
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
pub(super) fn gone(before: &Loaded, steps: &[Step]) -> Vec<Gone> {
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

/// When time next asks something of the set: the next change, or a moment before an activation.
pub(super) fn next_due(set: &Keyset, now: Time) -> Option<Time> {
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
pub(super) fn describe(before: &Loaded, after: &Loaded, steps: &[Step]) -> String {
    let kid = |number: &Number| {
        let record = before.record(*number).or_else(|| after.record(*number));
        record.map_or_else(|| format!("key {number}"), |record| record.kid.to_string())
    };
    let describe = |step: &Step| match step {
        Step::Adopt { .. } => "put changed facts in force".to_owned(),
        Step::Create(life) => match (life.origin, life.retires) {
            (Origin::Generated, _) => format!("create and publish {}", kid(&life.number)),
            (Origin::Imported, _) => format!("import and publish {}", kid(&life.number)),
            (Origin::Trusted, Some(until)) => {
                format!("publish {}, which signs elsewhere, until {until}", kid(&life.number))
            }
            (Origin::Trusted, None) => {
                format!("publish {}, which signs elsewhere", kid(&life.number))
            }
        },
        Step::Plan { number, activates: Some(at), .. } => {
            format!("{} activates at {at}", kid(number))
        }
        Step::Plan { number, activates: None, .. } => {
            format!("{} activates when asked", kid(number))
        }
        Step::Unserved { number, served_from, .. } => {
            let waits = after.record(*number).is_none_or(|record| record.life.planned_by.waits());
            if waits {
                format!("{} was not served for a while and waits longer", kid(number))
            } else {
                format!("{} counts as served since {served_from}, and has no wait", kid(number))
            }
        }
        Step::Extend { number, .. } => format!("tokens of {} may live longer", kid(number)),
        Step::End { number, retires, .. } => {
            format!("{} ended, its secret is erased, it retires at {retires}", kid(number))
        }
        Step::TrustUntil { number, retires } => {
            format!("{} is trusted until {retires}", kid(number))
        }
        Step::NoteExport { number, .. } => format!("{} is exported", kid(number)),
        Step::Bury { number, departure } => match departure {
            Departure::Retired => format!("{} retired", kid(number)),
            Departure::RetiredEarly => format!("{} retired early", kid(number)),
            Departure::Revoked => format!("{} revoked", kid(number)),
            Departure::Replaced => format!("{} replaced before it signed", kid(number)),
        },
    };
    steps.iter().map(describe).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jwksd_keystore::algorithm::Algorithm;
    use jwksd_keystore::crypto;
    use jwksd_keystore::lifecycle::{Life, PlannedBy};

    use super::*;

    #[test]
    fn a_key_that_signs_without_a_wait_is_not_said_to_wait_longer() {
        let at = Time::from_millis(1_795_316_400_000);
        let life = |number, planned_by| Life {
            number: Number(number),
            algorithm: Algorithm::Es256,
            created: at,
            published: at,
            served_from: at,
            stale_max_age: Duration::ZERO,
            activates: Some(at),
            planned_by,
            longest_ttl: Duration::ZERO,
            may_have_signed: false,
            ended: None,
            retires: None,
            origin: Origin::Generated,
            exported: None,
        };
        let record = |kid: &str, life| {
            let public = crypto::generate(Algorithm::Es256).unwrap().public.clone();
            Record::of_trusted_key(life, kid.parse().unwrap(), public)
        };
        let lives = [life(0, PlannedBy::FirstKey), life(1, PlannedBy::Admin)];
        let [first, standby] = lives;
        let records = vec![record("first", first), record("standby", standby)];
        let loaded = Loaded { records, ..Loaded::default() };
        let unserved = |number| Step::Unserved {
            number: Number(number),
            served_from: at + Duration::from_secs(2),
            may_have_signed: false,
        };
        assert_eq!(
            describe(&loaded, &loaded, &[unserved(0), unserved(1)]),
            "first counts as served since 2026-11-22T03:00:02Z, and has no wait; standby was not \
             served for a while and waits longer"
        );
    }
}
