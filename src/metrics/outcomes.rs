//! The closed lists that labels are taken from, and how often each came.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use actix_web::http::StatusCode;

use crate::audit::events::Event;
use crate::limits::{Desk, Over};

/// One of a closed list, at most [`MOST`].
pub trait Listed: Copy + 'static {
    /// All of them.
    const ALL: &'static [Self];

    /// Its place in the list.
    fn place(self) -> usize;

    /// Its name, as a label.
    fn name(self) -> &'static str;
}

/// How many a list has at most.
pub const MOST: usize = 8;

/// How often each of a list came.
pub struct Tally<T>([AtomicU64; MOST], PhantomData<T>);

impl<T> Default for Tally<T> {
    fn default() -> Self {
        Self(Default::default(), PhantomData)
    }
}

impl<T: Listed> Tally<T> {
    /// It came once more.
    pub fn count(&self, what: T) {
        self.count_times(what, 1);
    }

    /// It came so many times more.
    pub fn count_times(&self, what: T, times: u64) {
        if let Some(count) = self.0.get(what.place()) {
            count.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// How often each came.
    pub fn all(&self) -> impl Iterator<Item = (T, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        T::ALL.iter().copied().zip(counts)
    }
}

/// What became of a request for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a token.
    Signed,
    /// The caller may not have it.
    NotAllowed,
    /// Its claims, `ttl` or `typ` cannot be had.
    Invalid,
    /// The key set is not in the configuration.
    NotConfigured,
    /// The caller asks for too much.
    Limited,
    /// No key signs, or the audit cannot record it.
    Unavailable,
    /// The secret does not open, or the cryptographic library failed.
    Failed,
}

impl Outcome {
    /// Whether it is told before it comes, so that the first time shows as a change.
    #[must_use]
    pub const fn is_told_early(self) -> bool {
        match self {
            Self::Signed | Self::Unavailable | Self::Failed => true,
            Self::NotAllowed | Self::Invalid | Self::NotConfigured | Self::Limited => false,
        }
    }
}

impl Listed for Outcome {
    const ALL: &'static [Self] = &[
        Self::Signed,
        Self::NotAllowed,
        Self::Invalid,
        Self::NotConfigured,
        Self::Limited,
        Self::Unavailable,
        Self::Failed,
    ];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::NotAllowed => "not_allowed",
            Self::Invalid => "invalid",
            Self::NotConfigured => "not_configured",
            Self::Limited => "limited",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
        }
    }
}

/// The status of an answer to a request for a JWK Set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 200: the set.
    Full,
    /// 304: whoever asks has it.
    NotModified,
    /// 404: there is no such key set.
    NotFound,
    /// 405: not a way to ask.
    NotAllowed,
    /// 503: it has no key yet.
    NoKey,
}

impl Answer {
    /// The answer with this status.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            200 => Self::Full,
            304 => Self::NotModified,
            404 => Self::NotFound,
            405 => Self::NotAllowed,
            _ => Self::NoKey,
        }
    }
}

impl Listed for Answer {
    const ALL: &'static [Self] =
        &[Self::Full, Self::NotModified, Self::NotFound, Self::NotAllowed, Self::NoKey];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Full => "200",
            Self::NotModified => "304",
            Self::NotFound => "404",
            Self::NotAllowed => "405",
            Self::NoKey => "503",
        }
    }
}

/// What became of a batch as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchOutcome {
    /// It was answered, each of its requests by itself.
    Answered,
    /// No request of it was looked at.
    Refused,
    /// There was no room for it.
    Busy,
    /// Its caller hung up before the answer.
    Abandoned,
}

impl Listed for BatchOutcome {
    const ALL: &'static [Self] = &[Self::Answered, Self::Refused, Self::Busy, Self::Abandoned];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Busy => "busy",
            Self::Abandoned => "abandoned",
        }
    }
}

impl Listed for Event {
    const ALL: &'static [Self] = &[
        Self::Created,
        Self::Ended,
        Self::Retired,
        Self::RetiredEarly,
        Self::Revoked,
        Self::Replaced,
        Self::Marked,
    ];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Ended => "ended",
            Self::Retired => "retired",
            Self::RetiredEarly => "retired_early",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
            Self::Marked => "marked",
        }
    }
}

/// Why a request was turned away, wherever that was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    /// Nobody knows the caller.
    UnknownCaller,
    /// The caller asks for more than its rate.
    Rate,
    /// The caller has as many requests under way as it may.
    InFlight,
    /// The caller has as many batches in hand as it may.
    Batches,
    /// Too many of those whom nobody knows.
    TooManyUnknown,
    /// The caller may not do it.
    NotAllowed,
    /// The audit cannot record it.
    NotRecorded,
}

impl Turned {
    /// What is over.
    #[must_use]
    pub const fn of_over(over: &Over) -> Self {
        match over {
            Over::Rate { .. } => Self::Rate,
            Over::InFlight { .. } => Self::InFlight,
            Over::Batches => Self::Batches,
            Over::Unknown { .. } => Self::TooManyUnknown,
        }
    }
}

impl Listed for Turned {
    const ALL: &'static [Self] = &[
        Self::UnknownCaller,
        Self::Rate,
        Self::InFlight,
        Self::Batches,
        Self::TooManyUnknown,
        Self::NotAllowed,
        Self::NotRecorded,
    ];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::UnknownCaller => "unknown_caller",
            Self::Rate => "rate",
            Self::InFlight => "in_flight",
            Self::Batches => "batches",
            Self::TooManyUnknown => "too_many_unknown",
            Self::NotAllowed => "not_allowed",
            Self::NotRecorded => "not_recorded",
        }
    }
}

impl Listed for Desk {
    const ALL: &'static [Self] = &[Self::Internal, Self::Admin];

    fn place(self) -> usize {
        self as usize
    }

    fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Listed + PartialEq + std::fmt::Debug>() {
        assert!(T::ALL.len() <= MOST);
        for (place, one) in T::ALL.iter().enumerate() {
            assert_eq!(one.place(), place, "{one:?}");
        }
        let mut names: Vec<_> = T::ALL.iter().map(|one| one.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), T::ALL.len());
    }

    #[test]
    fn a_list_has_each_at_its_place_with_a_name_of_its_own() {
        check::<Outcome>();
        check::<Answer>();
        check::<BatchOutcome>();
        check::<Event>();
        check::<Turned>();
        check::<Desk>();
    }

    #[test]
    fn what_came_is_told_and_what_did_not_is_none() {
        let tally = Tally::<Outcome>::default();
        tally.count(Outcome::Failed);
        tally.count(Outcome::Failed);
        let counted: Vec<_> = tally.all().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(Outcome::Failed, 2)]);
    }
}
