//! PURE: what the operator states about a key set, and the waits that follow from it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::algorithm::Algorithm;
use crate::planted::{self, Fault};
use crate::schedule::{Rotation, Schedule};
use crate::time::{Time, millis};

/// The least that must lie between the end of a wait and the next scheduled rotation.
pub const SCHEDULE_MARGIN: Duration = Duration::from_hours(1);

/// How far ahead a schedule is checked.
pub const SCHEDULE_HORIZON: Duration = Duration::from_hours(5 * 366 * 24);

/// The most kids whose tokens can be alive at once before some verifiers thrash: the smallest
/// default per-kid cache that was measured holds three, the next five.
pub const LIVE_KIDS_WARNING: u32 = 3;

/// The most kids whose tokens may be alive at once.
pub const LIVE_KIDS_LIMIT: u32 = 5;

/// What the operator states about one key set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// What new keys are made for.
    pub algorithm: Algorithm,
    /// When keys rotate.
    pub rotate: Rotation,
    /// A: how long a served JWK Set may be reused, sent as `Cache-Control: max-age`.
    #[serde(with = "millis")]
    pub jwks_max_age: Duration,
    /// V: the longest that any verifier keeps a set without fetching it again.
    #[serde(with = "millis")]
    pub verifier_cache: Duration,
    /// T: the longest lifetime of a token.
    #[serde(with = "millis")]
    pub max_token_ttl: Duration,
    /// S: by how much clocks may differ.
    #[serde(with = "millis")]
    pub clock_skew: Duration,
    /// Where the first key comes from.
    pub first_key: FirstKey,
    /// Whether keys of different `kty` may be published together.
    pub key_types: KeyTypes,
}

/// Where the first key of a set comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FirstKey {
    /// The daemon makes it.
    Generate,
    /// An admin imports it; until then the set signs nothing and publishes nothing.
    Import,
}

/// Whether keys of different `kty` may be published together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyTypes {
    /// All keys of the set are of one `kty`.
    One,
    /// The operator accepts that some verifiers refuse the whole set.
    Mixed,
}

/// Facts that contradict each other.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FactsError {
    /// A duration that must not be zero is.
    #[error("{0} must be longer than zero")]
    Zero(&'static str),
    /// A duration is longer than anyone can mean.
    #[error("{0} is longer than a year")]
    TooLong(&'static str),
    /// The skew is so large that every token is in doubt.
    #[error("clock_skew ({skew}) must be at most 10m", skew = Span(*.0))]
    Skew(Duration),
    /// The schedule has no fire in the next five years.
    #[error("the schedule {0} does not fire in the next five years")]
    NeverFires(Schedule),
    /// Two fires are too close.
    #[error(
        "the schedule {schedule} fires at {first} and again at {second}, {gap} later; each new \
         key needs publish_ahead + 1h = {ahead} + 1h before it may sign",
        gap = Span(second.since(*first)),
        ahead = .waits
    )]
    TooDense {
        /// What fires.
        schedule: Schedule,
        /// A fire.
        first: Time,
        /// The next, too soon after it.
        second: Time,
        /// How the wait comes about.
        waits: Waits,
    },
    /// More keys than verifiers cache would have live tokens at once.
    #[error(
        "tokens of {kids} keys could be alive at once (max_token_ttl {ttl}, rotations as close as \
         {gap}); verifiers cache five keys at most",
        ttl = Span(*.ttl), gap = Span(*.gap)
    )]
    TooManyLiveKids {
        /// How many.
        kids: u32,
        /// T.
        ttl: Duration,
        /// The smallest gap of the schedule.
        gap: Duration,
    },
}

/// The waits that follow from the facts, with their arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    max_age: Duration,
    verifier_cache: Duration,
    max_token_ttl: Duration,
    clock_skew: Duration,
}

/// What holds of a schedule that passed [`Facts::check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The smallest gap between two fires, `None` for manual rotation.
    pub smallest_gap: Option<Duration>,
    /// How many kids can have live tokens at once.
    pub live_kids: u32,
}

impl Facts {
    /// The waits that follow.
    #[must_use]
    pub const fn waits(&self) -> Waits {
        Waits {
            max_age: self.jwks_max_age,
            verifier_cache: self.verifier_cache,
            max_token_ttl: self.max_token_ttl,
            clock_skew: self.clock_skew,
        }
    }

    /// Checks the facts against each other, the schedule over the five years after `now`.
    ///
    /// # Errors
    ///
    /// The first contradiction found, with the arithmetic that shows it.
    pub fn check(&self, now: Time) -> Result<Checked, FactsError> {
        self.check_durations()?;
        let Rotation::Scheduled(schedule) = &self.rotate else {
            return Ok(Checked { smallest_gap: None, live_kids: 2 });
        };
        let gap = self.smallest_gap(schedule, now)?;
        let overlaps = self.max_token_ttl.as_millis().div_ceil(gap.as_millis().max(1));
        let live_kids = u32::try_from(overlaps).unwrap_or(u32::MAX).saturating_add(1);
        if live_kids > LIVE_KIDS_LIMIT {
            return Err(FactsError::TooManyLiveKids {
                kids: live_kids,
                ttl: self.max_token_ttl,
                gap,
            });
        }
        Ok(Checked { smallest_gap: Some(gap), live_kids })
    }

    fn check_durations(&self) -> Result<(), FactsError> {
        const YEAR: Duration = Duration::from_hours(366 * 24);
        let durations = [
            ("jwks_max_age", self.jwks_max_age),
            ("verifier_cache", self.verifier_cache),
            ("max_token_ttl", self.max_token_ttl),
            ("clock_skew", self.clock_skew),
        ];
        for (name, span) in durations {
            if span > YEAR {
                return Err(FactsError::TooLong(name));
            }
        }
        for (name, span) in &durations[..3] {
            if *span < Duration::from_secs(1) {
                return Err(FactsError::Zero(name));
            }
        }
        if self.clock_skew > Duration::from_mins(10) {
            return Err(FactsError::Skew(self.clock_skew));
        }
        Ok(())
    }

    fn smallest_gap(&self, schedule: &Schedule, now: Time) -> Result<Duration, FactsError> {
        let least = self.waits().publish_ahead() + SCHEDULE_MARGIN;
        let horizon = now + SCHEDULE_HORIZON;
        let mut fires = schedule.fires_after(now).take_while(|&fire| fire <= horizon);
        let mut first = fires.next().ok_or_else(|| FactsError::NeverFires(schedule.clone()))?;
        let mut smallest = SCHEDULE_HORIZON;
        for second in fires {
            let gap = second.since(first);
            if gap < least {
                let waits = self.waits();
                return Err(FactsError::TooDense {
                    schedule: schedule.clone(),
                    first,
                    second,
                    waits,
                });
            }
            smallest = smallest.min(gap);
            first = second;
        }
        Ok(smallest)
    }
}

impl Checked {
    /// How many keys the schedule can have published at once: those with live tokens, one whose
    /// last token expired less than S ago, the standby, and a standby that a changed algorithm is
    /// about to replace. Rotations by hand come on top.
    #[must_use]
    pub const fn published_keys(&self) -> u32 {
        self.live_kids + 3
    }
}

impl Waits {
    /// How long a key is published before it signs: A + max(A, V) + S. A shared cache may hand
    /// out a copy that is already A old, and the verifier may keep that copy for max(A, V).
    #[must_use]
    pub fn publish_ahead(&self) -> Duration {
        if planted::is_planted(Fault::SharedCacheForgotten) {
            return self.max_age.max(self.verifier_cache) + self.clock_skew;
        }
        self.max_age + self.max_age.max(self.verifier_cache) + self.clock_skew
    }

    /// The arithmetic of [`Waits::publish_ahead`].
    #[must_use]
    pub fn arithmetic(&self) -> String {
        let (a, v) = (Span(self.max_age), Span(self.verifier_cache));
        let s = Span(self.clock_skew);
        format!("jwks_max_age {a} + max(jwks_max_age {a}, verifier_cache {v}) + clock_skew {s}")
    }

    /// How long a key stays published after it stopped to sign, when no longer lifetime was ever
    /// in force: T + S.
    #[must_use]
    pub fn verify_only(&self) -> Duration {
        self.max_token_ttl + self.clock_skew
    }

    /// The same with at least `max_age` for A: copies that were served under a longer max-age
    /// than today's may still be about.
    #[must_use]
    pub fn with_max_age_of_at_least(mut self, max_age: Duration) -> Self {
        self.max_age = self.max_age.max(max_age);
        self
    }
}

impl fmt::Display for Waits {
    /// `publish_ahead` with its arithmetic.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", Span(self.publish_ahead()), self.arithmetic())
    }
}

/// A duration in the notation of the configuration: `1d`, `1h30m`, `250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u128, &str); 5] =
            [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")];
        let mut rest = self.0.as_millis();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, name) in UNITS {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn facts(cron: &str) -> Facts {
        Facts {
            algorithm: Algorithm::Es256,
            rotate: Rotation::Scheduled(Schedule::parse(cron, "UTC").unwrap()),
            jwks_max_age: Duration::from_mins(5),
            verifier_cache: Duration::from_hours(24),
            max_token_ttl: Duration::from_hours(1),
            clock_skew: Duration::from_mins(1),
            first_key: FirstKey::Generate,
            key_types: KeyTypes::One,
        }
    }

    const NOW: Time = Time::from_millis(1_795_000_000_000);

    #[test]
    fn publish_ahead_covers_a_stale_copy_in_a_shared_cache() {
        let waits = facts("0 3 1 * *").waits();
        assert_eq!(waits.publish_ahead(), Duration::from_mins(5 + 24 * 60 + 1));
        assert_eq!(
            waits.to_string(),
            "1d6m (jwks_max_age 5m + max(jwks_max_age 5m, verifier_cache 1d) + clock_skew 1m)"
        );
    }

    #[test]
    fn a_key_stays_for_the_longest_token_and_the_skew() {
        assert_eq!(facts("0 3 1 * *").waits().verify_only(), Duration::from_mins(61));
    }

    #[test]
    fn a_schedule_denser_than_the_wait_is_refused_with_the_arithmetic() {
        let error = facts("0 3 * * *").check(NOW).unwrap_err();
        assert!(matches!(error, FactsError::TooDense { .. }));
        assert!(error.to_string().contains("1d later"), "{error}");
        assert!(error.to_string().contains("1d6m (jwks_max_age 5m"), "{error}");
    }

    #[test]
    fn a_gap_that_is_too_small_only_once_in_years_is_found() {
        // The 29th of February and the 1st of March: one day apart, in 2028 first.
        let error = facts("0 3 1,29 2,3 *").check(NOW).unwrap_err();
        assert!(error.to_string().contains("2028-02-29"), "{error}");
    }

    #[test]
    fn a_schedule_that_never_fires_is_refused() {
        assert!(matches!(facts("0 3 30 2 *").check(NOW), Err(FactsError::NeverFires(_))));
    }

    #[test]
    fn kids_with_live_tokens_are_counted() {
        let mut facts = facts("0 3 */2 * *");
        facts.verifier_cache = Duration::from_hours(1);
        assert_eq!(facts.check(NOW).unwrap().live_kids, 2);
        facts.max_token_ttl = Duration::from_hours(24 * 3);
        assert_eq!(facts.check(NOW).unwrap().live_kids, 4);
        facts.max_token_ttl = Duration::from_hours(24 * 30);
        assert!(matches!(facts.check(NOW), Err(FactsError::TooManyLiveKids { kids: 31, .. })));
    }

    #[test]
    fn durations_that_make_no_sense_are_refused() {
        let with = |change: fn(&mut Facts)| {
            let mut facts = facts("0 3 1 * *");
            change(&mut facts);
            facts.check(NOW).unwrap_err()
        };
        assert_eq!(
            with(|facts| facts.max_token_ttl = Duration::ZERO),
            FactsError::Zero("max_token_ttl")
        );
        assert_eq!(
            with(|facts| facts.verifier_cache = Duration::from_hours(10_000)),
            FactsError::TooLong("verifier_cache")
        );
        assert!(matches!(
            with(|facts| facts.clock_skew = Duration::from_mins(11)),
            FactsError::Skew(_)
        ));
    }

    #[test]
    fn spans_read_like_the_configuration() {
        let texts = [0, 1, 1000, 90_000, 5_400_000, 90_061_001].map(|ms| {
            let span = Span(Duration::from_millis(ms));
            span.to_string()
        });
        assert_eq!(texts, ["0s", "1ms", "1s", "1m30s", "1h30m", "1d1h1m1s1ms"]);
    }
}
