//! Instants as the rules and the store see them: whole milliseconds, UTC.

use std::fmt;
use std::ops::Add;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// An instant: whole milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(u64);

impl Time {
    /// The beginning of the epoch, before every instant that a key can have.
    pub const EPOCH: Self = Self(0);

    /// The instant `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down: what goes into `iat` and `exp`
    /// (RFC 7519, section 2, `NumericDate`).
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// `self` minus `span`, not before the epoch.
    #[must_use]
    pub fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(whole_millis(span)))
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(whole_millis(span)))
    }
}

impl fmt::Display for Time {
    /// RFC 3339 in UTC, with milliseconds only where they are not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_millisecond(millis) {
            Ok(instant) => instant.fmt(f),
            Err(_) => f.write_str("after the year 9999"),
        }
    }
}

/// Why a text is no [`Time`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an instant: write it like 2026-11-22T03:00:00Z")]
pub struct NotAnInstant;

impl FromStr for Time {
    type Err = NotAnInstant;

    /// Reads RFC 3339 with any offset, to the millisecond. What is before 1970 is the epoch: no rule
    /// tells past instants apart.
    fn from_str(text: &str) -> Result<Self, NotAnInstant> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| NotAnInstant)?;
        Ok(Self(u64::try_from(instant.as_millisecond()).unwrap_or(0)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Durations in the store: whole milliseconds.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(span: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(super::whole_millis(*span))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        u64::deserialize(input).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_read_as_the_same_instant() {
        for millis in [0, 1, 1_795_316_400_000, 1_795_316_400_007, 253_370_764_800_000] {
            let time = Time::from_millis(millis);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
    }

    #[test]
    fn seconds_are_whole_ones_that_have_passed() {
        assert_eq!(Time::from_millis(1_999).as_secs(), 1);
        assert_eq!(Time::from_millis(2_000).as_secs(), 2);
    }

    #[test]
    fn an_instant_without_a_date_says_so() {
        let end = Time::from_millis(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(format!("{end} {:?}", Time::EPOCH), "after the year 9999 1970-01-01T00:00:00Z");
    }

    #[test]
    fn an_instant_may_have_any_offset_and_what_is_before_1970_is_the_epoch() {
        let at = |text: &str| text.parse::<Time>();
        assert_eq!(at("1970-01-01T01:00:00.5+01:00"), Ok(Time::from_millis(500)));
        assert_eq!(at("1969-12-31T23:59:59Z"), Ok(Time::EPOCH));
        for text in ["", "tomorrow", "2026-11-22", "2026-11-22T03:00:00", "1795316400"] {
            assert_eq!(at(text), Err(NotAnInstant), "{text}");
        }
    }
}
