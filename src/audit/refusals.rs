//! PURE: how many refusals of one caller are written, so that nobody fills the disk by being refused.
//!
//! A known caller gets a line for each of its first [`LINES_A_MINUTE`] refusals in a minute; the
//! others are counted. Callers that nobody knows are only counted. What was counted is summed up
//! in one line for each caller.

use std::collections::BTreeMap;

use jwksd_keystore::time::Time;

/// How many refusals of one caller in one minute are written one by one.
pub(super) const LINES_A_MINUTE: u32 = 60;

const MINUTE: u64 = 60_000;

/// The refusals of the current minute, and those that wait to be summed up.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    known: BTreeMap<String, OfCaller>,
    /// How many requests nobody stood behind.
    unknown: u64,
    /// Whether any was only counted: asked with every line.
    has_counted: bool,
    last: Time,
}

#[derive(Debug, Default)]
struct OfCaller {
    minute: u64,
    written: u32,
    counted: u64,
}

/// What becomes of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is written.
    Written,
    /// It is counted.
    Counted,
}

/// What was counted: of whom, and how many. The caller is `None` where nobody knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) caller: Option<String>,
    pub(super) refusals: u64,
}

impl Refusals {
    /// Decides about a refusal of a known caller.
    pub(super) fn of_known(&mut self, caller: &str, now: Time) -> Fate {
        self.last = now;
        let minute = now.as_millis() / MINUTE;
        if !self.known.contains_key(caller) {
            self.known.insert(caller.to_owned(), OfCaller::default());
        }
        let Some(of_caller) = self.known.get_mut(caller) else { return Fate::Written };
        if of_caller.minute != minute {
            (of_caller.minute, of_caller.written) = (minute, 0);
        }
        if of_caller.written < LINES_A_MINUTE {
            of_caller.written += 1;
            Fate::Written
        } else {
            of_caller.counted += 1;
            self.has_counted = true;
            Fate::Counted
        }
    }

    /// Counts a request of a caller that nobody knows.
    pub(super) fn of_unknown(&mut self, now: Time) {
        self.last = now;
        self.unknown += 1;
        self.has_counted = true;
    }

    /// Whether there is anything to sum up.
    pub(super) const fn has_counted(&self) -> bool {
        self.has_counted
    }

    /// When the last refusal was.
    pub(super) const fn last(&self) -> Time {
        self.last
    }

    /// What was counted since, to be written. Callers of earlier minutes are forgotten.
    pub(super) fn take_counts(&mut self) -> Vec<Count> {
        let minute = self.last.as_millis() / MINUTE;
        self.has_counted = false;
        let mut counts = Vec::new();
        if self.unknown > 0 {
            counts.push(Count { caller: None, refusals: std::mem::take(&mut self.unknown) });
        }
        for (caller, of_caller) in &mut self.known {
            if of_caller.counted > 0 {
                let refusals = std::mem::take(&mut of_caller.counted);
                counts.push(Count { caller: Some(caller.clone()), refusals });
            }
        }
        self.known.retain(|_, of_caller| of_caller.minute == minute);
        counts
    }

    /// Takes a count back that could not be written.
    pub(super) fn put_back(&mut self, count: Count) {
        self.has_counted = true;
        match count.caller {
            None => self.unknown += count.refusals,
            Some(caller) => self.known.entry(caller).or_default().counted += count.refusals,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Time = Time::from_millis(1_795_003_200_000);

    #[test]
    fn the_first_refusals_of_a_minute_are_written_and_the_others_counted() {
        let mut refusals = Refusals::default();
        let fates: Vec<Fate> = (0..100).map(|_| refusals.of_known("shop", NOON)).collect();
        let written = fates.iter().filter(|fate| **fate == Fate::Written).count();
        assert_eq!(written, LINES_A_MINUTE as usize);
        assert_eq!(fates.last(), Some(&Fate::Counted));
        assert!(refusals.has_counted());
        let counts = refusals.take_counts();
        assert_eq!(counts, [Count { caller: Some("shop".into()), refusals: 40 }]);
        assert!(!refusals.has_counted());
    }

    #[test]
    fn the_next_minute_begins_anew_and_one_caller_does_not_use_up_the_lines_of_another() {
        let mut refusals = Refusals::default();
        for _ in 0..100 {
            refusals.of_known("shop", NOON);
        }
        assert_eq!(refusals.of_known("ci", NOON), Fate::Written);
        let later = Time::from_millis(NOON.as_millis() + MINUTE);
        assert_eq!(refusals.of_known("shop", later), Fate::Written);
        let earlier = Time::from_millis(NOON.as_millis() - MINUTE);
        assert_eq!(refusals.of_known("shop", earlier), Fate::Written);
    }

    #[test]
    fn a_count_that_could_not_be_written_is_kept() {
        let mut refusals = Refusals::default();
        assert!(!refusals.has_counted());
        (0..3).for_each(|_| refusals.of_unknown(NOON));
        assert!(refusals.has_counted());
        for count in refusals.take_counts() {
            assert!(!refusals.has_counted());
            refusals.put_back(count);
        }
        assert!(refusals.has_counted());
        refusals.of_unknown(NOON);
        assert_eq!(refusals.take_counts(), [Count { caller: None, refusals: 4 }]);
    }
}
