//! What is asked of a key set, what is decided, and what is answered or refused.

use std::time::Duration;

use super::{Departure, FormerMaxAge, Life, Number, PlannedBy};
use crate::algorithm::Algorithm;
use crate::facts::Facts;
use crate::time::Time;

/// For how long a trusted key can be served from now on.
pub const LONGEST_TRUST: Duration = Duration::from_hours(400 * 24);

/// The instants that a plan is made at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Lifecycle time: chooses keys, never goes back.
    pub lifecycle: Time,
    /// The wall clock: what `iat` and `exp` are made from.
    pub wall: Time,
}

impl Now {
    /// The later of the two clocks: no token issued until now expires later than its lifetime
    /// after this.
    #[must_use]
    pub fn latest(self) -> Time {
        self.lifecycle.max(self.wall)
    }
}

/// What someone wants of a key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Whatever time and configuration ask for.
    Tick,
    /// Only not to count the time in which the daemon did not serve the set, or not all of its
    /// keys. What else is to be done waits for a tick, after the ring is live: ending keys here
    /// could end one that a ring in doubt still signs with.
    Unserved {
        /// The last instant at which it is known to have served.
        from: Time,
        /// When it served again.
        to: Time,
    },
    /// Only to let the waits of these keys count from an instant on: one of the places where the set
    /// is served did not have them before.
    ServedFrom {
        /// Keys that were pending when that place lacked them.
        keys: Vec<Number>,
        /// Since when every place has them.
        from: Time,
    },
    /// Let the standby sign.
    Rotate {
        /// The key that the asker saw sign, so that a retry does not rotate twice.
        expect: Number,
        /// When.
        when: RotateAt,
    },
    /// Take a key out at once.
    Revoke(Number),
    /// Take all keys out at once and start with a fresh one.
    RevokeAll {
        /// The key that the asker saw sign, so that a retry does not revoke the fresh key.
        expect: Number,
    },
    /// Take a verify-only key out before its time.
    Retire(Number),
    /// Take a key of the configured algorithm in that was made elsewhere: as the first key of a set
    /// that waits for one, else as the standby.
    Import {
        /// Which standby it may take the place of.
        may_replace: Replaceable,
    },
    /// Serve the public half of a key that signs elsewhere.
    Trust {
        /// What it signs with: the configured algorithm, or for RSA one with keys of another size.
        algorithm: Algorithm,
        /// When it leaves the set.
        until: Time,
    },
    /// Serve a trusted key for a longer or shorter time.
    TrustUntil {
        /// The key.
        number: Number,
        /// When it leaves the set.
        until: Time,
    },
    /// Remember that the public half of a key is given out in a form that nobody fetches again.
    /// Counts only for a pending key, and the first time.
    NoteExport(Number),
}

/// Which standby an imported key may take the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replaceable {
    /// One that was not exported: nobody has it in place yet.
    NotExported,
    /// Any.
    Any,
}

/// When an admin wants a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RotateAt {
    /// As soon as every verifier has seen the standby.
    Waited,
    /// At an instant, not before the standby has waited.
    At(Time),
    /// At once, whoever has not seen the standby.
    Now,
}

/// One thing to do to a key set. The steps of a plan take effect together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Put these facts in force.
    Adopt {
        /// The facts.
        facts: Facts,
        /// What remains of a longer max-age.
        former_max_age: FormerMaxAge,
    },
    /// Make and publish a key.
    Create(Life),
    /// Decide when a key activates.
    Plan {
        /// The key.
        number: Number,
        /// When; `None` takes a decision back.
        activates: Option<Time>,
        /// Who decided.
        by: PlannedBy,
    },
    /// Do not count time in which the key was not served.
    Unserved {
        /// The key.
        number: Number,
        /// From when its wait counts now.
        served_from: Time,
        /// Whether its activation had passed.
        may_have_signed: bool,
    },
    /// Let a key's tokens live longer.
    Extend {
        /// The key.
        number: Number,
        /// The longest lifetime.
        longest_ttl: Duration,
    },
    /// Stop a key for good and erase its secret.
    End {
        /// The key.
        number: Number,
        /// When.
        ended: Time,
        /// When it leaves the set.
        retires: Time,
    },
    /// Serve a trusted key until another instant.
    TrustUntil {
        /// The key.
        number: Number,
        /// When it leaves the set.
        retires: Time,
    },
    /// Remember that a key was exported.
    NoteExport {
        /// The key.
        number: Number,
        /// When.
        exported: Time,
    },
    /// Take a key out of the set for ever and leave a tombstone.
    Bury {
        /// The key.
        number: Number,
        /// Why.
        departure: Departure,
    },
}

/// What was decided for an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in order. Empty where nothing is to be done.
    pub steps: Vec<Step>,
    /// What to tell whoever asked.
    pub answer: Answer,
}

/// What to tell whoever asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Nothing in particular.
    Done,
    /// The standby's activation is decided.
    Rotation {
        /// The key that signs until then.
        from: Number,
        /// The key that signs from then on.
        to: Number,
        /// When.
        activates: Time,
        /// Until when verifiers may refuse the new key, where it did not wait.
        refused_until: Option<Time>,
    },
    /// An earlier try of the same already took effect.
    AlreadyRotated {
        /// The key that signs now.
        active: Number,
    },
    /// A key was taken in.
    Imported {
        /// The key.
        number: Number,
        /// The standbys that it takes the place of.
        replaced: Vec<Number>,
    },
    /// A key is trusted.
    Trusted {
        /// The key.
        number: Number,
    },
}

/// Why an intent was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key set is not in the configuration.
    #[error("the key set is not in the configuration; it only serves its last keys")]
    NotConfigured,
    /// The set waits for its first key.
    #[error("the key set has no active key")]
    NoSigner,
    /// Another key is active than the one expected.
    #[error("another key is active than the one expected")]
    ActiveChanged {
        /// The key that is.
        active: Number,
    },
    /// The asked time is before the standby has waited.
    #[error("verifiers may not have seen the standby before {earliest}")]
    TooEarly {
        /// The earliest time that is safe.
        earliest: Time,
    },
    /// No such key among the living.
    #[error("no such key")]
    NoSuchKey,
    /// The active key cannot be retired.
    #[error("the key is active: rotate first, or revoke it")]
    RetireActive,
    /// A pending key cannot be retired.
    #[error("the key has not signed yet: it is the standby; revoke it to have it replaced")]
    RetirePending,
    /// The standby was exported, and whoever took it waits for it to sign.
    #[error(
        "the standby was exported at {exported}, so verifiers may have it in place and not its \
         replacement: if they do not, force it (`--force`)"
    )]
    StandbyExported {
        /// The standby.
        standby: Number,
        /// When.
        exported: Time,
    },
    /// A trusted key cannot leave at that time.
    #[error("a key can be trusted until an instant after {now} and not after {latest}")]
    TrustEnd {
        /// Now.
        now: Time,
        /// The latest.
        latest: Time,
    },
    /// The set would publish keys of different `kty`.
    #[error(
        "the living keys of the set are {living} and the new algorithm needs {wanted}: make a new \
         key set, or set mixed_kty = true"
    )]
    KeyTypeChanged {
        /// The `kty` there is.
        living: &'static str,
        /// The `kty` that the new algorithm needs.
        wanted: &'static str,
    },
}
