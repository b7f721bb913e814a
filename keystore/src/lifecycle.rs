//! PURE: the life of the keys of one set.
//!
//! ```text
//!  created+published      activates           ended            ended + longest_ttl + S
//!        |---- pending -------|----- active -----|---- verify-only ----|---- retired
//!        |<-- publish_ahead ->|                  | secret erased
//!  revoked at any moment: out of the JWK Set, never signs again
//! ```
//!
//! Times are stored, states are derived. **The signer at `now` is the key with the highest number
//! whose `activates` is not after `now` and that is not ended.** (A revoked or retired key is no
//! longer among the living: it left a tombstone.) So only activation needs no write.
//!
//! [`plan`] decides what is to be done for an [`Intent`], as [`Step`]s; [`Keyset::apply`] says what a
//! step means; [`next_change`] says when to ask again; [`forecast`] asks as if all that time had
//! passed. Nothing here carries anything out.

mod forecast;
#[cfg(test)]
mod histories;
mod plan;
mod planner;
#[cfg(test)]
mod rules;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::algorithm::Algorithm;
use crate::facts::Facts;
use crate::planted::{self, Fault};
use crate::time::{Time, millis};

pub use forecast::{End, Forecast, Foreseen, Reach, forecast};
pub use plan::{Answer, Intent, LONGEST_TRUST, Now, Plan, Refusal, Replaceable, RotateAt, Step};
pub use planner::plan;

/// The serial number of a key in its set. Numbers are never used again.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Number(pub u64);

impl Number {
    /// The number of no key.
    pub const NONE: Self = Self(u64::MAX);

    /// The number of the next key.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The times of one living key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Its number in the set.
    pub number: Number,
    /// What it signs with.
    pub algorithm: Algorithm,
    /// When it was made.
    pub created: Time,
    /// When it was put into the JWK Set.
    pub published: Time,
    /// From when its wait counts: `published`, moved ahead by all time in which it waited while
    /// the daemon did not serve it.
    pub served_from: Time,
    /// The longest max-age with which a copy of the set without this key may have been handed out.
    #[serde(with = "millis")]
    pub stale_max_age: Duration,
    /// When it starts to sign; `None` while that is not planned.
    pub activates: Option<Time>,
    /// Who decided `activates`.
    pub planned_by: PlannedBy,
    /// The longest token lifetime that was in force while it could sign.
    #[serde(with = "millis")]
    pub longest_ttl: Duration,
    /// Pending again although it may already have signed: its activation passed just before or
    /// while the daemon was down.
    pub may_have_signed: bool,
    /// When it stopped to sign for good. Its secret was erased in the same commit.
    pub ended: Option<Time>,
    /// When it leaves the JWK Set. Set together with `ended`; nothing recomputes it, but for a
    /// trusted key of which an admin says otherwise.
    pub retires: Option<Time>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "Origin::is_generated")]
    pub origin: Origin,
    /// When its public half was first given out in a form that nobody fetches again, such as PEM,
    /// while it was pending: whoever took it has this key in place when it activates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exported: Option<Time>,
}

/// Where a key came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The daemon made it.
    #[default]
    Generated,
    /// An admin imported it to sign with.
    Imported,
    /// An admin imported its public half, so that tokens of another issuer verify. It never signs
    /// here: it ended when it came.
    Trusted,
}

impl Origin {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_generated(&self) -> bool {
        *self == Self::Generated
    }
}

/// Who decided when a key activates.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedBy {
    /// Nobody yet.
    Nobody,
    /// It was the first key of its set: nobody waits for anything.
    FirstKey,
    /// The schedule that was in force.
    Schedule {
        /// The cron expression.
        cron: String,
        /// The IANA name of its time zone.
        time_zone: String,
    },
    /// An admin, after the wait.
    Admin,
    /// An admin, without the wait.
    AdminNow,
    /// A revocation that left no other signer.
    Revocation,
    /// The set had come to have no signer: it was missing from the configuration for a while.
    Recovery,
}

impl PlannedBy {
    /// Whether a key planned so signs only after it was served for `publish_ahead`.
    #[must_use]
    pub const fn waits(&self) -> bool {
        match self {
            Self::Nobody | Self::Schedule { .. } | Self::Admin => true,
            Self::FirstKey | Self::AdminNow | Self::Revocation | Self::Recovery => false,
        }
    }
}

/// What a key may do at an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Published, does not sign yet.
    Pending,
    /// Published and signs, unless a key with a higher number does.
    Active,
    /// Published, will never sign again.
    VerifyOnly,
}

impl Life {
    /// Whether it is or was a key that signs here. Rules that look for the key before another, or
    /// for the last that signed, pass over those that never do.
    #[must_use]
    pub fn is_signing_key(&self) -> bool {
        self.origin != Origin::Trusted
    }

    /// The state of the key at `now`.
    #[must_use]
    pub fn state_at(&self, now: Time) -> State {
        if self.ended.is_some() {
            State::VerifyOnly
        } else if self.activates.is_some_and(|activates| activates <= now) {
            State::Active
        } else {
            State::Pending
        }
    }

    /// The earliest activation by which every verifier has seen the key, under `facts`.
    #[must_use]
    pub fn waited_at(&self, facts: &Facts) -> Time {
        if planted::is_planted(Fault::SignBeforeServed) {
            return self.served_from;
        }
        let waits = facts.waits().with_max_age_of_at_least(self.stale_max_age);
        self.served_from + waits.publish_ahead()
    }
}

/// Why a key left the living.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Departure {
    /// Its last token expired.
    Retired,
    /// An admin retired it before that.
    RetiredEarly,
    /// An admin revoked it.
    Revoked,
    /// It never signed and another key took its place.
    Replaced,
}

/// The longest max-age under which copies may still be about, after the operator lowered it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerMaxAge {
    /// The former max-age.
    #[serde(with = "millis")]
    pub max_age: Duration,
    /// Until when copies of that time may be in use.
    pub until: Time,
}

/// All that the rules know of one key set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keyset {
    /// The living keys in the order of their numbers.
    pub lives: Vec<Life>,
    /// The number of the next key.
    pub next_number: Number,
    /// The facts in force, `None` before the first commit.
    pub facts: Option<Facts>,
    /// See [`FormerMaxAge`].
    pub former_max_age: FormerMaxAge,
}

impl Keyset {
    /// The key that signs at `now`.
    #[must_use]
    pub fn signer_at(&self, now: Time) -> Option<&Life> {
        self.lives
            .iter()
            .filter(|life| life.state_at(now) == State::Active)
            .max_by_key(|life| life.number)
    }

    /// The pending keys at `now`, in the order of their numbers.
    pub fn pending_at(&self, now: Time) -> impl Iterator<Item = &Life> {
        self.lives.iter().filter(move |life| life.state_at(now) == State::Pending)
    }

    /// The key that will sign next: the newest that has waited, else the one that waits longest.
    #[must_use]
    pub fn standby_at(&self, facts: &Facts, now: Time) -> Option<&Life> {
        self.pending_at(now)
            .filter(|life| life.waited_at(facts) <= now)
            .last()
            .or_else(|| self.pending_at(now).next())
    }

    /// The living key with this number.
    #[must_use]
    pub fn life(&self, number: Number) -> Option<&Life> {
        self.lives.iter().find(|life| life.number == number)
    }

    /// Checks that `facts` can come into force for the keys there are.
    ///
    /// # Errors
    ///
    /// [`Refusal::KeyTypeChanged`] when the set would publish keys of different `kty`.
    pub fn admits(&self, facts: &Facts) -> Result<(), Refusal> {
        let wanted = facts.algorithm.key_type();
        let other = self.lives.iter().map(|life| life.algorithm.key_type()).find(|&t| t != wanted);
        match (other, facts.key_types) {
            (Some(living), crate::facts::KeyTypes::One) => {
                Err(Refusal::KeyTypeChanged { living: living.name(), wanted: wanted.name() })
            }
            _ => Ok(()),
        }
    }

    /// Carries out one step in memory: what each step means.
    pub fn apply(&mut self, step: &Step) {
        match step {
            Step::Adopt { facts, former_max_age } => {
                self.facts = Some(facts.clone());
                self.former_max_age = *former_max_age;
            }
            Step::Create(life) => {
                self.next_number = life.number.next();
                self.lives.push(life.clone());
            }
            Step::Plan { number, activates, by } => self.change(*number, |life| {
                life.activates = *activates;
                life.planned_by = by.clone();
            }),
            Step::Unserved { number, served_from, may_have_signed } => {
                self.change(*number, |life| {
                    life.served_from = *served_from;
                    life.may_have_signed |= may_have_signed;
                });
            }
            Step::Extend { number, longest_ttl } => {
                self.change(*number, |life| life.longest_ttl = *longest_ttl);
            }
            Step::End { number, ended, retires } => self.change(*number, |life| {
                life.ended = Some(*ended);
                life.retires = Some(*retires);
            }),
            Step::TrustUntil { number, retires } => {
                self.change(*number, |life| life.retires = Some(*retires));
            }
            Step::NoteExport { number, exported } => {
                self.change(*number, |life| life.exported = Some(*exported));
            }
            Step::Bury { number, .. } => self.lives.retain(|life| life.number != *number),
        }
    }

    fn change(&mut self, number: Number, change: impl FnOnce(&mut Life)) {
        if let Some(life) = self.lives.iter_mut().find(|life| life.number == number) {
            change(life);
        }
    }
}

/// When time alone will next ask for a step, strictly after `now`.
#[must_use]
pub fn next_change(set: &Keyset, now: Time) -> Option<Time> {
    let of_key = |life: &Life| {
        let waited = set.facts.as_ref().map(|facts| life.waited_at(facts));
        match life.state_at(now) {
            State::Pending => [life.activates, waited],
            State::Active => [None, None],
            State::VerifyOnly => [life.retires, None],
        }
    };
    set.lives.iter().flat_map(of_key).flatten().filter(|&time| time > now).min()
}
