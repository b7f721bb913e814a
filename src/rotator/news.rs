//! What became of keys, for the log: one line for each change of a key's state. What a step writes is in
//! `changes`; that a key activates is no step, but time passing.

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::{Departure, Keyset, Life, Number, Origin, PlannedBy, Step};
use jwksd_keystore::store::Loaded;
use jwksd_keystore::time::Time;

/// What became of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) kid: KeyId,
    pub(super) event: KeyState,
    pub(super) why: Why,
    /// When it signs, where that was decided.
    pub(super) activates: Option<Time>,
    /// When it leaves, where that was decided.
    pub(super) retires: Option<Time>,
}

/// A change of a key's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyState {
    Published,
    Imported,
    Trusted,
    /// When it signs was decided, or decided anew.
    Planned,
    Activated,
    Exported,
    Ended,
    Retired,
    Revoked,
    Replaced,
}

/// What it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// A set begins with it.
    FirstKey,
    /// A set always has one that signs next.
    Standby,
    Schedule,
    /// An admin asked for it.
    Admin,
    Revocation,
    /// The set had come to have no signer.
    Recovery,
    Configuration,
    /// It was not served for a while, and waits longer.
    NotServed,
    /// Its last token has expired.
    Time,
}

/// Who asked, where anyone did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct By<'a> {
    pub(super) caller: Option<&'a str>,
    pub(super) request_id: Option<&'a str>,
    /// What the admin gave as the reason.
    pub(super) reason: Option<&'a str>,
}

/// What is to come next in a key set.
struct Next<'a> {
    at: Time,
    event: &'static str,
    kid: Option<&'a KeyId>,
}

/// What `steps` make of keys, in their order.
pub(super) fn of_steps(
    before: &Loaded,
    after: &Loaded,
    steps: &[Step],
    by: By<'_>,
    now: Time,
) -> Vec<News> {
    let facts_changed = steps.iter().any(|step| matches!(step, Step::Adopt { .. }));
    let news = |number: Number, event, why| {
        let record = after.record(number).or_else(|| before.record(number))?;
        let (kid, life) = (record.kid.clone(), &record.life);
        let activates = life.activates.filter(|_| life.ended.is_none());
        Some(News { kid, event, why, activates, retires: life.retires })
    };
    let of_step = |step: &Step| match step {
        Step::Create(life) => {
            let life = after.record(life.number).map_or(life, |record| &record.life);
            let (event, why) = match life.origin {
                Origin::Generated => (KeyState::Published, why_made(&life.planned_by)),
                Origin::Imported => (KeyState::Imported, Why::Admin),
                Origin::Trusted => (KeyState::Trusted, Why::Admin),
            };
            news(life.number, event, why)
        }
        Step::Plan { number, .. } => {
            let old = &before.record(*number)?.life;
            let new = &after.record(*number)?.life;
            let is_new = (old.activates, &old.planned_by) != (new.activates, &new.planned_by);
            let unserved =
                |step: &Step| matches!(step, Step::Unserved { number: n, .. } if n == number);
            let why = match &new.planned_by {
                PlannedBy::Schedule { .. } | PlannedBy::Nobody if facts_changed => {
                    Why::Configuration
                }
                _ if steps.iter().any(unserved) => Why::NotServed,
                planned_by => why_planned(planned_by),
            };
            news(*number, KeyState::Planned, why).filter(|_| is_new)
        }
        Step::End { number, .. } => {
            let signer = after.keyset();
            let signer = signer.signer_at(now).filter(|life| life.number > *number);
            let why = signer.map_or(Why::Configuration, |life| why_planned(&life.planned_by));
            news(*number, KeyState::Ended, why)
        }
        Step::TrustUntil { number, .. } => news(*number, KeyState::Trusted, Why::Admin),
        Step::NoteExport { number, .. } => news(*number, KeyState::Exported, Why::Admin),
        Step::Bury { number, departure } => {
            let (event, why) = match departure {
                Departure::Retired => (KeyState::Retired, Why::Time),
                Departure::RetiredEarly => (KeyState::Retired, Why::Admin),
                Departure::Revoked => (KeyState::Revoked, Why::Admin),
                Departure::Replaced if by.caller.is_some() => (KeyState::Replaced, Why::Admin),
                Departure::Replaced => (KeyState::Replaced, Why::Configuration),
            };
            // When it would have done what is not the point any more.
            let gone = |news| News { activates: None, retires: None, ..news };
            news(*number, event, why).map(gone)
        }
        Step::Adopt { .. } | Step::Unserved { .. } | Step::Extend { .. } => None,
    };
    steps.iter().filter_map(of_step).collect()
}

/// That a key signs from now on.
pub(super) fn of_activation(kid: &KeyId, life: &Life) -> News {
    News {
        kid: kid.clone(),
        event: KeyState::Activated,
        why: why_planned(&life.planned_by),
        activates: life.activates,
        retires: None,
    }
}

/// Writes lines to the log; `set` are the keys as they count at `now`.
pub(super) fn tell(
    keyset: &KeysetName,
    news: &[News],
    by: By<'_>,
    (set, loaded): (&Keyset, &Loaded),
    now: Time,
) {
    let next = next(set, loaded, now);
    for News { kid, event, why, activates, retires } in news {
        let by = if why.is_of_an_admin() { by } else { By::default() };
        tracing::info!(
            %keyset,
            %kid,
            event = event.name(),
            why = why.name(),
            caller = by.caller,
            request_id = by.request_id,
            reason = by.reason,
            activates = activates.map(tracing::field::display),
            retires = retires.map(tracing::field::display),
            next = next.as_ref().map(|next| tracing::field::display(next.at)),
            next_event = next.as_ref().map(|next| next.event),
            next_kid = next.as_ref().and_then(|next| next.kid).map(tracing::field::display),
            "key {}",
            event.name()
        );
    }
}

fn next<'a>(set: &Keyset, loaded: &'a Loaded, now: Time) -> Option<Next<'a>> {
    let events = set.lives.iter().flat_map(|life| {
        let activates = life.activates.filter(|_| life.ended.is_none());
        [(activates, "activates"), (life.retires, "retires")]
            .into_iter()
            .filter_map(move |(at, event)| Some((at?, life.number, event)))
    });
    let (at, number, event) = events.filter(|(at, ..)| *at > now).min()?;
    Some(Next { at, event, kid: loaded.record(number).map(|record| &record.kid) })
}

const fn why_made(planned_by: &PlannedBy) -> Why {
    match planned_by {
        PlannedBy::FirstKey => Why::FirstKey,
        PlannedBy::Revocation => Why::Revocation,
        PlannedBy::Recovery => Why::Recovery,
        PlannedBy::Nobody | PlannedBy::Schedule { .. } | PlannedBy::Admin | PlannedBy::AdminNow => {
            Why::Standby
        }
    }
}

const fn why_planned(planned_by: &PlannedBy) -> Why {
    match planned_by {
        PlannedBy::Nobody => Why::Configuration,
        PlannedBy::FirstKey => Why::FirstKey,
        PlannedBy::Schedule { .. } => Why::Schedule,
        PlannedBy::Admin | PlannedBy::AdminNow => Why::Admin,
        PlannedBy::Revocation => Why::Revocation,
        PlannedBy::Recovery => Why::Recovery,
    }
}

impl KeyState {
    const fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Imported => "imported",
            Self::Trusted => "trusted",
            Self::Planned => "planned",
            Self::Activated => "activated",
            Self::Exported => "exported",
            Self::Ended => "ended",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
        }
    }
}

impl Why {
    const fn name(self) -> &'static str {
        match self {
            Self::FirstKey => "first-key",
            Self::Standby => "standby",
            Self::Schedule => "schedule",
            Self::Admin => "admin",
            Self::Revocation => "revocation",
            Self::Recovery => "recovery",
            Self::Configuration => "configuration",
            Self::NotServed => "not-served",
            Self::Time => "time",
        }
    }

    /// Whether whoever asked is told with it.
    const fn is_of_an_admin(self) -> bool {
        match self {
            Self::Admin | Self::Revocation => true,
            Self::FirstKey
            | Self::Standby
            | Self::Schedule
            | Self::Recovery
            | Self::Configuration
            | Self::NotServed
            | Self::Time => false,
        }
    }
}
