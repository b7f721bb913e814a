//! `[limits]` as written, and the limits of a caller where they differ from it.

use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;

use serde::Deserialize;

use super::raw::{Wrong, wrong};
use super::{Connections, ValueError};
use crate::limits::Settings;

const RATES: RangeInclusive<u32> = 1..=1_000_000;
/// No batch may be impossible.
const BURSTS: RangeInclusive<u32> = LARGEST_BATCH..=1_000_000;
const LARGEST_BATCH: u32 = 1000;
const COUNTS: RangeInclusive<u32> = 1..=100_000;

/// `[limits]`
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLimits {
    requests_per_second: Option<u32>,
    burst: Option<u32>,
    in_flight: Option<u32>,
    connections: RawConnections,
}

#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct RawConnections {
    public: Option<u32>,
    internal: Option<u32>,
    admin: Option<u32>,
    metrics: Option<u32>,
}

/// What is written of one caller, or of all.
pub(super) struct Written {
    pub(super) requests_per_second: Option<u32>,
    pub(super) burst: Option<u32>,
    pub(super) in_flight: Option<u32>,
}

impl RawLimits {
    /// The limits of callers that name none, and how many connections there may be.
    pub(super) fn check(self) -> Result<(Settings, Connections), Wrong> {
        let Self { requests_per_second, burst, in_flight, connections } = self;
        let written = Written { requests_per_second, burst, in_flight };
        Ok((written.check("limits", Settings::default())?, connections.check()?))
    }
}

impl RawConnections {
    fn check(self) -> Result<Connections, Wrong> {
        let default = Connections::default();
        let count = |key: &str, written: Option<u32>, otherwise| {
            let place = format!("limits.connections.{key}");
            let count = within(&place, written, &COUNTS)?;
            Ok(count.and_then(|count| NonZeroUsize::try_from(count).ok()).unwrap_or(otherwise))
        };
        Ok(Connections {
            public: count("public", self.public, default.public)?,
            internal: count("internal", self.internal, default.internal)?,
            admin: count("admin", self.admin, default.admin)?,
            metrics: count("metrics", self.metrics, default.metrics)?,
        })
    }
}

impl Written {
    /// These limits, and `otherwise` where nothing is written.
    pub(super) fn check(self, place: &str, otherwise: Settings) -> Result<Settings, Wrong> {
        let count = |key: &str, written, range, otherwise| {
            let written = within(&format!("{place}.{key}"), written, range)?;
            Ok(written.unwrap_or(otherwise))
        };
        let default = otherwise;
        let per_second = self.requests_per_second;
        Ok(Settings {
            requests_per_second: count(
                "requests_per_second",
                per_second,
                &RATES,
                default.requests_per_second,
            )?,
            burst: count("burst", self.burst, &BURSTS, default.burst)?,
            in_flight: count("in_flight", self.in_flight, &COUNTS, default.in_flight)?,
        })
    }
}

fn within(
    place: &str,
    written: Option<u32>,
    range: &RangeInclusive<u32>,
) -> Result<Option<NonZeroU32>, Wrong> {
    match written {
        Some(number) if !range.contains(&number) => {
            let error = ValueError::OutOfRange { least: *range.start(), most: *range.end() };
            Err(wrong(place, error))
        }
        number => Ok(number.and_then(NonZeroU32::new)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jwksd_keystore::time::Time;

    use super::*;
    use crate::api::BATCH_LIMIT;
    use crate::config::Config;

    /// The default configuration with this in `[limits]` and this in a caller.
    fn config(limits: &str, caller: &str) -> Result<Config, String> {
        let text = include_str!("../../config.toml");
        let text = text.replacen("[limits]", &format!("[limits]\n{limits}\n"), 1).replacen(
            "uid = \"self\"",
            &format!("uid = \"self\"\n{caller}\n"),
            1,
        );
        Config::parse(&text, Path::new("config.toml"), Time::from_millis(1_795_000_000_000))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_smallest_burst_takes_the_largest_batch() {
        assert_eq!(usize::try_from(*BURSTS.start()), Ok(BATCH_LIMIT));
    }

    #[test]
    fn what_is_not_written_is_the_default() {
        let config = config("", "").unwrap();
        assert_eq!(config.callers[0].limits, Settings::default());
        assert_eq!(config.connections, Connections::default());
    }

    #[test]
    fn a_caller_has_its_own_limits_and_for_the_rest_those_of_all() {
        let config =
            config("burst = 3000\nin_flight = 7", "burst = 2000\nrequests_per_second = 5").unwrap();
        let Settings { requests_per_second, burst, in_flight } = config.callers[0].limits;
        assert_eq!((requests_per_second.get(), burst.get(), in_flight.get()), (5, 2000, 7));
    }

    #[test]
    fn a_limit_that_cannot_be_is_named_with_its_place() {
        let cases = [
            ("burst = 999", "", "limits.burst: must be from 1000 to 1000000"),
            ("requests_per_second = 0", "", "limits.requests_per_second: must be from 1"),
            ("", "in_flight = 0", "callers.local.in_flight: must be from 1"),
            ("connections = { admin = 0 }", "", "limits.connections.admin: must be from 1"),
            ("connections = { other = 1 }", "", "unknown field `other`"),
        ];
        for (limits, caller, expected) in cases {
            let error = config(limits, caller).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn another_number_of_connections_needs_a_restart_and_other_limits_do_not() {
        let before = config("", "").unwrap();
        let other = config("burst = 1000", "in_flight = 1").unwrap();
        assert_eq!(other.needs_restart(&before), Vec::<String>::new());
        let other = config("connections = { public = 1 }", "").unwrap();
        assert_eq!(other.needs_restart(&before), ["limits.connections"]);
    }
}
