//! Schedules: a cron expression, a time zone, and an instant in milliseconds, each on a line.

use std::time::Duration;

use jwksd_keystore::schedule::{Rotation, Schedule};
use jwksd_keystore::time::Time;

/// How many fires are looked at.
const FIRES: usize = 40;

/// A schedule that is taken can be stored; its fires are each later than the one before, and none is
/// passed over.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.lines();
    let (cron, zone) = (lines.next().unwrap_or(""), lines.next().unwrap_or("UTC"));
    let after = Time::from_millis(lines.next().and_then(|line| line.parse().ok()).unwrap_or(0));
    let Ok(schedule) = Schedule::parse(cron, zone) else { return };
    check_text(&schedule);

    let fires: Vec<Time> = schedule.fires_after(after).take(FIRES).collect();
    assert_eq!(schedule.next_after(after), fires.first().copied());
    let mut last = after;
    for &fire in &fires {
        assert!(fire > last, "{schedule} fires at {fire} after {last}");
        last = fire;
        // Whoever asks just before it finds the same fire.
        let before = fire.before(Duration::from_millis(1));
        assert_eq!(schedule.next_after(before), Some(fire), "{schedule}, asked at {before}");
    }
}

fn check_text(schedule: &Schedule) {
    let again = Schedule::parse(schedule.text(), schedule.zone_name());
    assert_eq!(again.as_ref(), Ok(schedule));
    let rotation = Rotation::Scheduled(schedule.clone());
    let stored = serde_json::to_string(&rotation).unwrap();
    assert_eq!(serde_json::from_str::<Rotation>(&stored).unwrap(), rotation);
}
