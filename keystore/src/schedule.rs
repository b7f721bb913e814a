//! PURE: when a cron schedule in a time zone fires next.
//!
//! The cron expression is evaluated over civil time and then mapped to instants, so that each
//! civil time fires once: one that the spring gap skips fires when the gap ends, one that autumn
//! repeats fires the first time. This module knows nothing of keys.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use chrono::{NaiveDate, NaiveDateTime, NaiveTime, Timelike, Utc};
use jiff::Timestamp;
use jiff::civil;
use jiff::tz::{AmbiguousOffset, TimeZone};
use serde::{Deserialize, Serialize};

use crate::time::Time;

/// When a key set rotates without being asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RotationText", into = "RotationText")]
pub enum Rotation {
    /// Only when an admin says so.
    Manual,
    /// At each fire of a schedule.
    Scheduled(Schedule),
}

/// A cron expression in a time zone. Two are equal when both texts are.
#[derive(Clone)]
pub struct Schedule(Arc<Parsed>);

struct Parsed {
    text: String,
    zone_name: String,
    cron: cron::Schedule,
    zone: TimeZone,
}

/// Why a schedule was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ScheduleError {
    /// Neither five fields nor six.
    #[error(
        "a schedule has five fields (minute hour day-of-month month day-of-week), or six with \
         seconds first; this one has {0}"
    )]
    Fields(usize),
    /// Cron dialects disagree on which day 1 is.
    #[error(
        "write days of the week by name (MON, TUE, ...): cron dialects disagree on the number {0}"
    )]
    NumericWeekday(String),
    /// Cron dialects disagree on whether both must match.
    #[error(
        "give either a day of the month or a day of the week: cron dialects disagree on what \
         both mean"
    )]
    TwoDays,
    /// The expression itself is wrong.
    #[error("not a cron expression: {0}")]
    Syntax(String),
    /// The time zone is not in the IANA database.
    #[error("unknown time zone {0:?}; use an IANA name such as Europe/Berlin or UTC")]
    Zone(String),
}

impl Schedule {
    /// Parses five cron fields, or six with seconds first, in the IANA zone `zone_name`.
    ///
    /// # Errors
    ///
    /// Every expression that cron dialects read differently is refused: numeric days of the week,
    /// and a day of the month together with a day of the week.
    pub fn parse(text: &str, zone_name: &str) -> Result<Self, ScheduleError> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [.., day_of_month, _month, day_of_week] = fields[..] else {
            return Err(ScheduleError::Fields(fields.len()));
        };
        let with_seconds = match fields.len() {
            5 => format!("0 {}", fields.join(" ")),
            6 => fields.join(" "),
            other => return Err(ScheduleError::Fields(other)),
        };
        if day_of_week.contains(|c: char| c.is_ascii_digit()) {
            return Err(ScheduleError::NumericWeekday(day_of_week.to_owned()));
        }
        let is_any = |field: &str| matches!(field, "*" | "?");
        if !is_any(day_of_month) && !is_any(day_of_week) {
            return Err(ScheduleError::TwoDays);
        }
        let cron = cron::Schedule::from_str(&with_seconds)
            .map_err(|error| ScheduleError::Syntax(error.to_string()))?;
        let zone = zone_of(zone_name)?;
        let (text, zone_name) = (fields.join(" "), zone_name.to_owned());
        Ok(Self(Arc::new(Parsed { text, zone_name, cron, zone })))
    }

    /// The expression as written, with single spaces.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The IANA name of the time zone.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        &self.0.zone_name
    }

    /// The first fire strictly after `after`; `None` when there is none up to the year 2100.
    #[must_use]
    pub fn next_after(&self, after: Time) -> Option<Time> {
        self.fires_after(after).next()
    }

    /// All fires strictly after `after`, each later than the one before.
    pub fn fires_after(&self, after: Time) -> impl Iterator<Item = Time> {
        // From one day earlier in civil time: a zone may have turned its clock back, and then
        // civil times before the present one can lie ahead.
        let from = self.civil_at(after.before(std::time::Duration::from_hours(24)));
        let mut last = after;
        self.0
            .cron
            .after_owned(from.and_utc())
            .map_while(|fire: chrono::DateTime<Utc>| self.instant_of(fire.naive_utc()))
            .filter(move |&fire| {
                let later = fire > last;
                last = last.max(fire);
                later
            })
    }

    fn civil_at(&self, time: Time) -> NaiveDateTime {
        let local = timestamp(time).to_zoned(self.0.zone.clone()).datetime();
        let date = NaiveDate::from_ymd_opt(
            i32::from(local.year()),
            u32::from(local.month().unsigned_abs()),
            u32::from(local.day().unsigned_abs()),
        );
        let time = NaiveTime::from_hms_opt(
            u32::from(local.hour().unsigned_abs()),
            u32::from(local.minute().unsigned_abs()),
            u32::from(local.second().unsigned_abs()),
        );
        date.unwrap_or_default().and_time(time.unwrap_or_default())
    }

    fn instant_of(&self, local: NaiveDateTime) -> Option<Time> {
        let seconds = i64::from(local.num_seconds_from_midnight());
        let date = local.date();
        let days = date.signed_duration_since(NaiveDate::default()).num_days();
        let midnight = civil::date(1970, 1, 1).checked_add(jiff::Span::new().days(days)).ok()?;
        let local = midnight
            .to_datetime(civil::Time::midnight())
            .checked_add(jiff::Span::new().seconds(seconds))
            .ok()?;
        let ambiguous = self.0.zone.to_ambiguous_timestamp(local);
        let instant = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                ambiguous.earlier().ok()?
            }
            AmbiguousOffset::Gap { .. } => {
                let beyond = ambiguous.later().ok()?;
                self.0.zone.preceding(beyond).next()?.timestamp()
            }
        };
        u64::try_from(instant.as_millisecond()).ok().map(Time::from_millis)
    }
}

impl Rotation {
    /// The first scheduled rotation strictly after `after`.
    #[must_use]
    pub fn next_after(&self, after: Time) -> Option<Time> {
        match self {
            Self::Manual => None,
            Self::Scheduled(schedule) => schedule.next_after(after),
        }
    }
}

/// Checks that `zone_name` is in the IANA database.
///
/// # Errors
///
/// [`ScheduleError::Zone`].
pub fn check_zone(zone_name: &str) -> Result<(), ScheduleError> {
    zone_of(zone_name).map(|_| ())
}

fn zone_of(zone_name: &str) -> Result<TimeZone, ScheduleError> {
    TimeZone::get(zone_name).map_err(|_| ScheduleError::Zone(zone_name.to_owned()))
}

fn timestamp(time: Time) -> Timestamp {
    i64::try_from(time.as_millis())
        .ok()
        .and_then(|millis| Timestamp::from_millisecond(millis).ok())
        .unwrap_or(Timestamp::MAX)
}

impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text && self.0.zone_name == other.0.zone_name
    }
}

impl Eq for Schedule {}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({self})")
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" in {}", self.0.text, self.0.zone_name)
    }
}

/// How a [`Rotation`] is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RotationText {
    Manual,
    Scheduled { cron: String, time_zone: String },
}

impl TryFrom<RotationText> for Rotation {
    type Error = ScheduleError;

    fn try_from(text: RotationText) -> Result<Self, ScheduleError> {
        match text {
            RotationText::Manual => Ok(Self::Manual),
            RotationText::Scheduled { cron, time_zone } => {
                Schedule::parse(&cron, &time_zone).map(Self::Scheduled)
            }
        }
    }
}

impl From<Rotation> for RotationText {
    fn from(rotation: Rotation) -> Self {
        match rotation {
            Rotation::Manual => Self::Manual,
            Rotation::Scheduled(schedule) => Self::Scheduled {
                cron: schedule.text().to_owned(),
                time_zone: schedule.zone_name().to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(rfc3339: &str) -> Time {
        let instant: Timestamp = rfc3339.parse().unwrap();
        Time::from_millis(u64::try_from(instant.as_millisecond()).unwrap())
    }

    fn fires(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(text, zone).unwrap();
        schedule.fires_after(at(after)).take(count).map(|fire| fire.to_string()).collect()
    }

    #[test]
    fn the_next_fire_is_strictly_later() {
        assert_eq!(
            fires("0 3 1 * *", "UTC", "2026-11-01T03:00:00Z", 2),
            ["2026-12-01T03:00:00Z", "2027-01-01T03:00:00Z"]
        );
    }

    #[test]
    fn a_time_in_the_spring_gap_fires_when_the_gap_ends() {
        assert_eq!(
            fires("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
    }

    #[test]
    fn a_time_that_autumn_repeats_fires_once() {
        assert_eq!(
            fires("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
        // Asked in between the two passes of the repeated hour.
        assert_eq!(
            fires("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", 1),
            ["2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn fires_never_go_back_across_both_changes() {
        for after in ["2026-03-28T20:00:00Z", "2026-10-24T20:00:00Z"] {
            let schedule = Schedule::parse("*/10 * * * *", "Europe/Berlin").unwrap();
            let fires: Vec<Time> = schedule.fires_after(at(after)).take(200).collect();
            assert!(fires.windows(2).all(|pair| pair[0] < pair[1]));
        }
    }

    #[test]
    fn seconds_may_come_first() {
        assert_eq!(
            fires("15 30 3 * * MON", "UTC", "2026-11-22T00:00:00Z", 1),
            ["2026-11-23T03:30:15Z"]
        );
    }

    #[test]
    fn what_cron_dialects_read_differently_is_refused() {
        let refusal = |text: &str| Schedule::parse(text, "UTC").unwrap_err();
        assert_eq!(refusal("0 3 * * 1"), ScheduleError::NumericWeekday("1".into()));
        assert_eq!(refusal("0 3 1 * MON"), ScheduleError::TwoDays);
        assert_eq!(refusal("0 3 1 *"), ScheduleError::Fields(4));
        assert_eq!(refusal(""), ScheduleError::Fields(0));
        assert_eq!(refusal("0 0 3 1 * * 2027"), ScheduleError::Fields(7));
        assert!(matches!(refusal("0 25 1 * *"), ScheduleError::Syntax(_)));
        assert_eq!(
            Schedule::parse("0 3 1 * *", "Mars/Olympus").unwrap_err(),
            ScheduleError::Zone("Mars/Olympus".into())
        );
    }

    #[test]
    fn a_zone_is_checked_by_itself_too() {
        assert_eq!(check_zone("Asia/Tokyo"), Ok(()));
        assert_eq!(check_zone("Mars/Olympus"), Err(ScheduleError::Zone("Mars/Olympus".into())));
    }

    #[test]
    fn the_next_rotation_is_the_next_fire_and_a_manual_one_has_none() {
        let schedule = Schedule::parse("0 3 1 * *", "UTC").unwrap();
        let now = at("2026-11-01T03:00:00Z");
        let next = Some(at("2026-12-01T03:00:00Z"));
        assert_eq!(schedule.next_after(now), next);
        assert_eq!(Rotation::Scheduled(schedule.clone()).next_after(now), next);
        assert_eq!(Rotation::Manual.next_after(now), None);
        assert_eq!(schedule.next_after(at("2100-12-01T03:00:00Z")), None);
        assert_eq!(schedule.next_after(Time::from_millis(u64::MAX)), None);
    }

    #[test]
    fn the_past_is_not_gone_through_for_the_next_fire() {
        // By the second since 1970, that would take minutes.
        assert_eq!(
            fires("* * * * * *", "Europe/Berlin", "2026-11-22T00:00:00.5Z", 2),
            ["2026-11-22T00:00:01Z", "2026-11-22T00:00:02Z"]
        );
    }

    #[test]
    fn a_schedule_is_its_expression_and_its_zone() {
        let parse = |text, zone| Schedule::parse(text, zone).unwrap();
        let schedule = parse("0  3 1 * *", "Asia/Tokyo");
        assert_eq!(schedule, parse("0 3 1 * *", "Asia/Tokyo"));
        assert_ne!(schedule, parse("0 3 1 * *", "UTC"));
        assert_ne!(schedule, parse("0 3 2 * *", "Asia/Tokyo"));
        assert_eq!(schedule.to_string(), "\"0 3 1 * *\" in Asia/Tokyo");
        assert_eq!(format!("{schedule:?}"), "Schedule(\"0 3 1 * *\" in Asia/Tokyo)");
    }

    #[test]
    fn a_rotation_survives_storage() {
        let rotation = Rotation::Scheduled(Schedule::parse("0 3 1 * *", "Asia/Tokyo").unwrap());
        for rotation in [rotation, Rotation::Manual] {
            let stored = serde_json::to_string(&rotation).unwrap();
            assert_eq!(serde_json::from_str::<Rotation>(&stored).unwrap(), rotation);
        }
    }
}
