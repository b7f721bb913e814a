//! What phases and events cannot say: why nothing comes, or what has to happen first.

use jwksd_keystore::facts::{Facts, FirstKey, Span};
use jwksd_keystore::lifecycle::{End, Life, Number, PlannedBy};
use jwksd_keystore::schedule::Rotation;
use jwksd_keystore::time::Time;

use super::{Frame, Subject};
use crate::view;

pub(super) fn of_keyset(
    subject: &Subject<'_>,
    frame: &Frame,
    end: &End,
    dropped: usize,
) -> Vec<String> {
    let mut notes = Vec::new();
    match subject.configured {
        None => notes.push(
            "not in the configuration: it signs nothing, and serves its last keys until their \
             tokens have expired"
                .to_owned(),
        ),
        Some(keyset) => notes.extend(of_rotation(subject, &keyset.facts, frame)),
    }
    notes.extend(of_file(subject));
    notes.extend(of_end(end));
    if dropped > 0 {
        notes.push(format!("{dropped} keys that left earlier are not told"));
    }
    if let Some(apart) = frame.apart {
        notes.push(format!(
            "the wall clock and lifecycle time are {} apart: these are instants of lifecycle time",
            Span(apart)
        ));
    }
    notes
}

/// What else than the schedule decides about the next rotation.
fn of_rotation(subject: &Subject<'_>, facts: &Facts, frame: &Frame) -> Option<String> {
    let (name, now) = (subject.name, frame.now.lifecycle);
    let had_a_key = subject.loaded.head.next_number != Number::default();
    if facts.first_key == FirstKey::Import && !had_a_key {
        return Some(format!(
            "it signs nothing until its first key is imported: jwksd keys import {name} FILE"
        ));
    }
    let set = subject.loaded.keyset();
    let by_admin = |life: &&Life| life.planned_by == PlannedBy::Admin;
    let asked = set.pending_at(now).find(by_admin).and_then(|life| Some((life, life.activates?)));
    match (&facts.rotate, asked) {
        (Rotation::Manual, Some((_, at))) => {
            Some(format!("it rotates at {at}, as an admin planned, and after that only when asked"))
        }
        (Rotation::Manual, None) => {
            let standby = set.standby_at(facts, now).map(|life| life.waited_at(facts));
            let waits = standby.filter(|&waited| waited > now).map(whole_seconds);
            let waits = waits
                .map(|at| format!(" (not before {at}, unless with --now)"))
                .unwrap_or_default();
            Some(format!("it rotates only when asked: jwksd keys rotate {name}{waits}"))
        }
        (Rotation::Scheduled(_), Some((life, at))) => {
            let skipped = view::skipped_by(life, facts, now)?;
            Some(format!(
                "it rotates at {at}, as an admin planned, so the scheduled rotation at {skipped} \
                 does not happen"
            ))
        }
        (Rotation::Scheduled(_), None) => None,
    }
}

/// The first whole second that is not before.
fn whole_seconds(at: Time) -> Time {
    Time::from_millis(at.as_millis().div_ceil(1000).saturating_mul(1000))
}

/// Which keys wait for a file.
fn of_file(subject: &Subject<'_>) -> Vec<String> {
    let Some(standing) = subject.standing else { return Vec::new() };
    let file = standing.file.display();
    let waits = |kid| format!("{kid} does not start to sign before {file} has it");
    standing.held.values().map(|held| waits(&held.kid)).collect()
}

/// Why what comes is not told whole.
fn of_end(end: &End) -> Option<String> {
    match end {
        End::Whole => None,
        End::Cut(at) => Some(format!(
            "what comes is told until {at}: it is more than one answer holds, so ask for fewer days, \
             or for this key set alone"
        )),
        End::Refused(refusal) => {
            Some(format!("nothing is told ahead, since the configuration is refused: {refusal}"))
        }
    }
}
