//! The life of one key: what it may do when, and what happens to it.

use std::collections::BTreeSet;

use jwksd_keystore::id::KeyId;
use jwksd_keystore::lifecycle::{Departure, Foreseen, Life, Origin, PlannedBy};
use jwksd_keystore::store::{Loaded, Tombstone};
use jwksd_keystore::time::Time;

use crate::api::plan::{
    Phase, PhaseState, PlannedEvent, PlannedEventKind as Kind, PlannedKey, PlannedState, Why,
};
use crate::api::{self, KeyState};
use crate::view;

/// What is told of the lives of keys.
pub(super) struct Told {
    /// Nothing that begins after this.
    pub(super) until: Time,
    /// When keys activate as it stands in the store: what follows from that at the same instant is
    /// as good as stored.
    pub(super) activations: BTreeSet<Time>,
}

/// The life of one key, with what is known of it.
pub(super) struct Course<'a> {
    kid: Option<&'a KeyId>,
    state: PlannedState,
    /// Its times as they are or will be known last.
    life: Life,
    left: Option<(Time, Departure)>,
    /// Its times as they are stored.
    stored: Option<&'a Life>,
    tombstone: Option<&'a Tombstone>,
    /// When the first of the keys after it activates.
    newer: Option<Time>,
}

/// What a key may do for a while.
struct Span {
    state: PhaseState,
    from: Time,
    until: Option<Time>,
}

impl<'a> Course<'a> {
    /// Of a key that left.
    pub(super) fn of_tombstone(tombstone: &'a Tombstone) -> Self {
        Self {
            kid: Some(&tombstone.kid),
            state: state(Some(view::state_of_departed(tombstone))),
            life: tombstone.life.clone(),
            left: Some((tombstone.left, tombstone.departure)),
            stored: Some(&tombstone.life),
            tombstone: Some(tombstone),
            newer: None,
        }
    }

    /// Of a key that is in the set, or will be.
    pub(super) fn foreseen(key: Foreseen, loaded: &'a Loaded, seen: &api::Keyset) -> Self {
        let record = loaded.record(key.life.number);
        let now = seen.keys.iter().find(|seen| seen.number == key.life.number.0);
        Self {
            kid: record.map(|record| &record.kid),
            state: state(now.map(|seen| seen.state)),
            life: key.life,
            left: key.left,
            stored: record.map(|record| &record.life),
            tombstone: None,
            newer: None,
        }
    }

    /// The key as it is told.
    pub(super) fn key(&self, told: &Told) -> PlannedKey {
        let spans = self.spans().into_iter().filter(|span| span.from <= told.until);
        PlannedKey {
            kid: self.kid.cloned(),
            number: self.life.number.0,
            state: self.state,
            algorithm: self.life.algorithm.to_string(),
            origin: self.life.origin.into(),
            phases: spans.map(|span| self.phase(&span, told)).collect(),
        }
    }

    fn phase(&self, span: &Span, told: &Told) -> Phase {
        Phase {
            state: span.state,
            from: span.from.to_string(),
            until: span.until.map(|time| time.to_string()),
            expected: !self.is_stored(span, told),
        }
    }

    fn is_stored(&self, span: &Span, told: &Told) -> bool {
        self.stored.is_some_and(|stored| match span.state {
            PhaseState::Pending => true,
            PhaseState::Active => stored.activates == Some(span.from),
            PhaseState::VerifyOnly => {
                stored.ended == Some(span.from) || told.activations.contains(&span.from)
            }
        })
    }

    /// When it starts to sign, if it comes to that before it ends or leaves.
    fn activated(&self) -> Option<Time> {
        let stops = self.stops();
        self.life.activates.filter(|at| stops.is_none_or(|stops| *at < stops))
    }

    /// When it can sign no more.
    fn stops(&self) -> Option<Time> {
        let left = self.left.map(|(at, _)| at);
        self.life.ended.into_iter().chain(left).min()
    }

    fn spans(&self) -> Vec<Span> {
        let (life, stops) = (&self.life, self.stops());
        let left = self.left.map(|(at, _)| at);
        let span = |state, from, until| Span { state, from, until };
        let pending = span(PhaseState::Pending, life.published, self.activated().or(stops));
        let active = |from| span(PhaseState::Active, from, stops.or(self.newer));
        let ended = |from| span(PhaseState::VerifyOnly, from, left.or(life.retires));
        let spans = [
            Some(pending),
            self.activated().map(active),
            life.ended.map(|at| ended(at.max(life.published))),
        ];
        let lasts = |span: &Span| span.until.is_none_or(|until| span.from < until);
        spans.into_iter().flatten().filter(lasts).collect()
    }

    /// What happens to the key: when, as the how-manieth at that instant, and what.
    pub(super) fn events(&self, told: &Told) -> Vec<(Time, usize, PlannedEvent)> {
        let mut events = vec![self.publication()];
        for span in self.spans() {
            let stored = self.is_stored(&span, told);
            match span.state {
                PhaseState::Active => {
                    events.push((span.from, Kind::Activate, self.why_active(), stored));
                }
                PhaseState::VerifyOnly if self.life.is_signing_key() => {
                    events.push((span.from, Kind::End, self.why_ended(span.from), stored));
                }
                PhaseState::Pending | PhaseState::VerifyOnly => {}
            }
        }
        events.extend(self.departures());
        let events = events.into_iter().filter(|(at, ..)| *at <= told.until);
        events.map(|(at, kind, why, stored)| self.told(at, kind, why, stored)).collect()
    }

    fn publication(&self) -> (Time, Kind, Why, bool) {
        let life = &self.life;
        let at_once = life.activates == Some(life.created);
        let why = match (life.origin, &life.planned_by) {
            (Origin::Trusted, _) => Why::Trust,
            (Origin::Imported, _) => Why::Import,
            (Origin::Generated, PlannedBy::FirstKey) => Why::FirstKey,
            (Origin::Generated, PlannedBy::Revocation) if at_once => Why::Revocation,
            (Origin::Generated, _) => Why::Standby,
        };
        (life.published, Kind::Publish, why, self.stored.is_some())
    }

    fn why_active(&self) -> Why {
        match self.life.planned_by {
            PlannedBy::FirstKey => Why::FirstKey,
            PlannedBy::Schedule { .. } => Why::Schedule,
            // What nobody planned does not activate.
            PlannedBy::Nobody | PlannedBy::Admin => Why::Admin,
            PlannedBy::AdminNow => Why::AdminNow,
            PlannedBy::Revocation => Why::Revocation,
            PlannedBy::Recovery => Why::Recovery,
        }
    }

    fn why_ended(&self, ended: Time) -> Why {
        if self.activated().is_none() {
            Why::Replaced
        } else if self.newer.is_some_and(|newer| newer <= ended) {
            Why::Successor
        } else {
            Why::Removed
        }
    }

    fn departures(&self) -> Vec<(Time, Kind, Why, bool)> {
        let Some((at, departure)) = self.left else { return Vec::new() };
        let is_trusted = self.life.origin == Origin::Trusted;
        let (kind, why) = match departure {
            Departure::Retired if is_trusted => (Kind::Retire, Why::TrustedUntil),
            Departure::Retired => (Kind::Retire, Why::Expired),
            Departure::RetiredEarly => (Kind::Retire, Why::Admin),
            Departure::Revoked => (Kind::Revoke, Why::Admin),
            Departure::Replaced => (Kind::Leave, Why::Replaced),
        };
        let in_store = self.stored.is_some_and(|stored| stored.retires == Some(at));
        let stored = self.tombstone.is_some() || in_store;
        let revoked = self.tombstone.and_then(|tombstone| tombstone.revoked);
        let later = revoked.filter(|_| departure != Departure::Revoked);
        let later = later.map(|at| (at, Kind::Revoke, Why::Admin, true));
        [(at, kind, why, stored)].into_iter().chain(later).collect()
    }

    fn told(&self, at: Time, kind: Kind, why: Why, stored: bool) -> (Time, usize, PlannedEvent) {
        let signs_at_once = self.activated() == Some(self.life.published);
        let rank = match kind {
            Kind::Revoke => 0,
            Kind::Publish if signs_at_once => 1,
            Kind::Activate => 2,
            Kind::End => 3,
            Kind::Retire | Kind::Leave => 4,
            Kind::Publish => 5,
        };
        let reason = self.tombstone.and_then(|tombstone| tombstone.reason.clone());
        let event = PlannedEvent {
            at: at.to_string(),
            kid: self.kid.cloned(),
            number: self.life.number.0,
            event: kind,
            why,
            reason: reason.filter(|_| kind == Kind::Revoke),
            expected: !stored,
        };
        (at, rank, event)
    }
}

/// Tells each key when the first of those after it activates: then it stops to sign.
pub(super) fn follow(courses: &mut [Course<'_>]) {
    courses.sort_by_key(|course| course.life.number);
    let mut newer = None;
    for course in courses.iter_mut().rev() {
        course.newer = newer;
        newer = newer.into_iter().chain(course.activated()).min();
    }
}

fn state(now: Option<KeyState>) -> PlannedState {
    match now {
        None => PlannedState::Expected,
        Some(KeyState::Pending) => PlannedState::Pending,
        Some(KeyState::Active) => PlannedState::Active,
        Some(KeyState::VerifyOnly) => PlannedState::VerifyOnly,
        Some(KeyState::Retired) => PlannedState::Retired,
        Some(KeyState::Revoked) => PlannedState::Revoked,
    }
}
