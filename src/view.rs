//! PURE: a key set, and how the checks stand, as admins see it.

use jwksd_keystore::facts::{Facts, Span};
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::lifecycle::{self, Departure, Life, Origin, PlannedBy, State};
use jwksd_keystore::schedule::Rotation;
use jwksd_keystore::store::{Loaded, Record, Tombstone};
use jwksd_keystore::time::Time;

use crate::api::{
    Check, CheckState, Event, EventKind, JwksFile, Key, KeyOrigin, KeyState, Keyset, Readiness,
    Status,
};
use crate::config;
use crate::health::{self, Finding};
use crate::sink::Standing;

/// The key set at `now`.
#[must_use]
pub fn of_keyset(
    name: &KeysetName,
    configured: Option<&config::Keyset>,
    standing: Option<&Standing>,
    loaded: &Loaded,
    tombstones: &[Tombstone],
    now: Time,
) -> Keyset {
    let loaded = &held_back(loaded, standing, now);
    let facts = configured.map(|set| &set.facts).or(loaded.head.facts.as_ref());
    let set = loaded.keyset();
    let signer = set.signer_at(now).map(|life| life.number);
    let is_signer = |record: &Record| configured.is_some() && Some(record.life.number) == signer;
    let mut keys: Vec<Key> = tombstones.iter().map(departed).collect();
    let needed = |record: &Record| needed_until(&record.life, &set, facts?, now);
    keys.extend(loaded.records.iter().map(|record| Key {
        needed_until: needed(record).map(|time| time.to_string()),
        ..living(record, is_signer(record), now)
    }));
    keys.sort_by_key(|key| key.number);
    let kid = |life: &Life| loaded.record(life.number).map(|record| record.kid.clone());
    Keyset {
        name: name.clone(),
        revision: loaded.revision.0,
        configured: configured.is_some(),
        algorithm: facts.map(|facts| facts.algorithm.to_string()),
        publish_ahead: facts.map(|facts| Span(facts.waits().publish_ahead()).to_string()),
        rotate: facts.map(|facts| match &facts.rotate {
            Rotation::Manual => "manual".to_owned(),
            Rotation::Scheduled(schedule) => schedule.to_string(),
        }),
        active: loaded.records.iter().find(|r| is_signer(r)).map(|record| record.kid.clone()),
        standby: facts.and_then(|facts| set.standby_at(facts, now)).and_then(kid),
        keys,
        next: coming(loaded, now),
        jwks_file: standing.map(|standing| file(standing, now)),
    }
}

/// The set as it counts while a file lacks keys.
fn held_back(loaded: &Loaded, standing: Option<&Standing>, now: Time) -> Loaded {
    let mut loaded = loaded.clone();
    if let Some(standing) = standing {
        for record in &mut loaded.records {
            standing.hold(&mut record.life, now);
        }
    }
    loaded
}

fn file(standing: &Standing, now: Time) -> JwksFile {
    JwksFile {
        path: standing.file.display().to_string(),
        confirmed: standing.is_confirmed(),
        problem: standing.trouble(now),
        waiting: standing.held.values().map(|held| held.kid.clone()).collect(),
    }
}

fn living(record: &Record, is_signer: bool, now: Time) -> Key {
    let state = match record.life.state_at(now) {
        State::Pending => KeyState::Pending,
        State::Active if is_signer => KeyState::Active,
        // A newer key signs: it will be ended in a moment.
        State::Active | State::VerifyOnly => KeyState::VerifyOnly,
    };
    let key = of_life(&record.life, record.kid.clone(), state);
    let in_place_by = key.activates.clone().filter(|_| state == KeyState::Pending);
    Key { in_place_by, ..key }
}

/// Until when tokens of a key may live, where that is known: it stops to sign when a newer one
/// activates.
fn needed_until(life: &Life, set: &lifecycle::Keyset, facts: &Facts, now: Time) -> Option<Time> {
    if life.state_at(now) != State::Active {
        return life.retires;
    }
    let newer = set.lives.iter().filter(|other| other.number > life.number);
    let ends = newer.filter_map(|other| other.activates).min()?;
    Some(ends + life.longest_ttl + facts.clock_skew)
}

/// What a key that left is.
pub(crate) fn state_of_departed(tombstone: &Tombstone) -> KeyState {
    match (tombstone.departure, tombstone.revoked) {
        (Departure::Revoked, _) | (_, Some(_)) => KeyState::Revoked,
        (Departure::Retired | Departure::RetiredEarly | Departure::Replaced, None) => {
            KeyState::Retired
        }
    }
}

fn departed(tombstone: &Tombstone) -> Key {
    let state = state_of_departed(tombstone);
    Key {
        left: Some(tombstone.left.to_string()),
        reason: tombstone.reason.clone(),
        ..of_life(&tombstone.life, tombstone.kid.clone(), state)
    }
}

fn of_life(life: &Life, kid: jwksd_keystore::id::KeyId, state: KeyState) -> Key {
    let text = |time: Option<Time>| time.map(|time| time.to_string());
    Key {
        kid,
        number: life.number.0,
        state,
        origin: life.origin.into(),
        algorithm: life.algorithm.to_string(),
        published: life.published.to_string(),
        activates: text(life.activates),
        planned_by: planner(&life.planned_by),
        // What never signed here has not stopped to.
        ended: text(life.ended.filter(|_| life.is_signing_key())),
        retires: text(life.retires),
        left: None,
        reason: None,
        exported: text(life.exported),
        in_place_by: None,
        needed_until: None,
    }
}

impl From<Origin> for KeyOrigin {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Generated => Self::Generated,
            Origin::Imported => Self::Imported,
            Origin::Trusted => Self::Trusted,
        }
    }
}

/// The scheduled rotation that does not happen because an admin planned the key for later.
#[must_use]
pub fn skipped_by(life: &Life, facts: &Facts, now: Time) -> Option<Time> {
    let planned = life.activates.filter(|_| life.planned_by == PlannedBy::Admin)?;
    let fire = facts.rotate.next_after(life.waited_at(facts).max(now))?;
    (fire < planned).then_some(fire)
}

fn planner(planned_by: &PlannedBy) -> String {
    match planned_by {
        PlannedBy::Nobody => "nobody".to_owned(),
        PlannedBy::FirstKey => "first key".to_owned(),
        PlannedBy::Schedule { cron, time_zone } => format!("schedule \"{cron}\" in {time_zone}"),
        PlannedBy::Admin => "admin".to_owned(),
        PlannedBy::AdminNow => "admin, without the wait".to_owned(),
        PlannedBy::Revocation => "revocation".to_owned(),
        PlannedBy::Recovery => "recovery".to_owned(),
    }
}

fn coming(loaded: &Loaded, now: Time) -> Vec<Event> {
    let mut events: Vec<(Time, Event)> = loaded
        .records
        .iter()
        .flat_map(|record| {
            [
                (record.life.activates, EventKind::Activates),
                (record.life.retires, EventKind::Retires),
            ]
            .into_iter()
            .filter_map(|(time, event)| time.map(|time| (time, event)))
            .filter(|(time, _)| *time > now)
            .map(|(time, event)| {
                (time, Event { at: time.to_string(), kid: record.kid.clone(), event })
            })
            .collect::<Vec<_>>()
        })
        .collect();
    events.sort_by_key(|(time, _)| *time);
    events.into_iter().map(|(_, event)| event).collect()
}

/// How all checks stand, for admins.
#[must_use]
pub fn status(findings: &[Finding]) -> Status {
    let texts = |state| {
        let found = findings.iter().filter(|finding| finding.state == state);
        found.map(ToString::to_string).collect::<Vec<_>>()
    };
    let problems = texts(health::State::Failing);
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: problems.is_empty(),
        problems,
        warnings: texts(health::State::Warning),
        checks: checks(findings),
    }
}

/// The same for monitors.
#[must_use]
pub fn readiness(findings: &[Finding]) -> Readiness {
    let ready = findings.iter().all(|finding| finding.state != health::State::Failing);
    Readiness { ready, checks: checks(findings) }
}

fn checks(findings: &[Finding]) -> Vec<Check> {
    let rows = |check: health::Check| {
        let found = findings.iter().filter(|finding| finding.subject.check() == check);
        let rows: Vec<Check> = found.map(found_check).collect();
        if rows.is_empty() { vec![good(check)] } else { rows }
    };
    health::Check::ALL.into_iter().flat_map(rows).collect()
}

fn good(check: health::Check) -> Check {
    let name = check.name().to_owned();
    Check { name, state: CheckState::Ok, reason: None, keyset: None, listener: None }
}

fn found_check(Finding { subject, state, why }: &Finding) -> Check {
    Check {
        state: match state {
            health::State::Ok => CheckState::Ok,
            health::State::Warning => CheckState::Warning,
            health::State::Failing => CheckState::Failing,
        },
        reason: Some(why.clone()),
        keyset: subject.keyset().cloned(),
        listener: subject.listener().map(str::to_owned),
        ..good(subject.check())
    }
}
