//! When which key set is due: a heap, never a scan.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use jwksd_keystore::id::KeysetName;
use jwksd_keystore::time::Time;

/// The due time of every key set that has one.
#[derive(Debug, Default)]
pub(super) struct Due {
    heap: BinaryHeap<Reverse<(Time, KeysetName)>>,
    /// What holds: entries of the heap that say otherwise are stale.
    current: HashMap<KeysetName, Time>,
}

impl Due {
    /// Sets when a key set is due, in place of what was set before.
    pub(super) fn set(&mut self, keyset: &KeysetName, time: Option<Time>) {
        match time {
            Some(time) => {
                if self.current.insert(keyset.clone(), time) != Some(time) {
                    self.heap.push(Reverse((time, keyset.clone())));
                    self.drop_stale();
                }
            }
            None => {
                self.current.remove(keyset);
            }
        }
    }

    /// Keeps the heap from growing with every change of mind.
    fn drop_stale(&mut self) {
        if self.heap.len() > 2 * self.current.len() + 16 {
            let current =
                self.current.iter().map(|(keyset, time)| Reverse((*time, keyset.clone())));
            self.heap = current.collect();
        }
    }

    /// When the next key set is due.
    pub(super) fn next(&mut self) -> Option<Time> {
        loop {
            let Reverse((time, keyset)) = self.heap.peek()?;
            if self.current.get(keyset) == Some(time) {
                return Some(*time);
            }
            self.heap.pop();
        }
    }

    /// Takes key sets that are due at `now`, those that are due for longest, and at most so many.
    pub(super) fn take_some(&mut self, now: Time, most: usize) -> Vec<KeysetName> {
        std::iter::from_fn(|| self.take(now)).take(most).collect()
    }

    fn take(&mut self, now: Time) -> Option<KeysetName> {
        if self.next()? > now {
            return None;
        }
        let Reverse((_, keyset)) = self.heap.pop()?;
        self.current.remove(&keyset);
        Some(keyset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> KeysetName {
        text.parse().unwrap()
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn the_soonest_is_taken_first_and_only_when_due() {
        let mut due = Due::default();
        due.set(&name("a"), Some(at(20)));
        due.set(&name("b"), Some(at(10)));
        assert_eq!(due.next(), Some(at(10)));
        assert_eq!(due.take(at(9)), None);
        assert_eq!(due.take(at(30)), Some(name("b")));
        assert_eq!(due.take(at(30)), Some(name("a")));
        assert_eq!(due.take(at(30)), None);
    }

    #[test]
    fn no_more_are_taken_at_once_than_asked_for() {
        let mut due = Due::default();
        for (keyset, time) in [("a", 3), ("b", 1), ("c", 2), ("d", 9)] {
            due.set(&name(keyset), Some(at(time)));
        }
        assert_eq!(due.take_some(at(5), 2), [name("b"), name("c")]);
        assert_eq!(due.take_some(at(5), 2), [name("a")]);
        assert_eq!(due.take_some(at(5), 2), []);
    }

    #[test]
    fn what_is_set_last_holds() {
        let mut due = Due::default();
        due.set(&name("a"), Some(at(10)));
        due.set(&name("a"), Some(at(30)));
        assert_eq!(due.next(), Some(at(30)));
        due.set(&name("a"), Some(at(10)));
        assert_eq!(due.take(at(10)), Some(name("a")));
        assert_eq!(due.take(at(99)), None);
        due.set(&name("a"), Some(at(5)));
        due.set(&name("a"), None);
        assert_eq!(due.next(), None);
    }
}
