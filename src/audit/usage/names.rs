//! PURE: how many tokens there were by name, however many names there are.

use std::collections::BTreeMap;

use jwksd_keystore::time::Time;

/// How many names are kept apart. Callers choose audiences, and may choose without end.
pub(super) const MOST_NAMES: usize = 1000;

/// How many tokens, from when to when, and until when the last is good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// When the first was.
    pub first: Option<Time>,
    /// When the last was.
    pub last: Option<Time>,
    /// The last expiry among them.
    pub last_expiry: Option<Time>,
}

/// Tokens by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Those of the names that were met first; `None` has those without a name.
    named: BTreeMap<Option<String>, Tally>,
    /// Those of all other names.
    others: Tally,
}

impl Tally {
    /// Counts one token.
    pub fn count(&mut self, time: Time, expires: Time) {
        self.count += 1;
        self.first = Some(self.first.map_or(time, |first| first.min(time)));
        self.last = self.last.max(Some(time));
        self.last_expiry = self.last_expiry.max(Some(expires));
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.first = self.first.into_iter().chain(other.first).min();
        self.last = self.last.max(other.last);
        self.last_expiry = self.last_expiry.max(other.last_expiry);
    }
}

impl Names {
    /// Counts one token of a name.
    pub fn count(&mut self, name: Option<&str>, time: Time, expires: Time) {
        let name = name.map(str::to_owned);
        if self.named.len() >= MOST_NAMES && !self.named.contains_key(&name) {
            self.others.count(time, expires);
        } else {
            self.named.entry(name).or_default().count(time, expires);
        }
    }

    /// How many names are known; there may be more.
    #[must_use]
    pub fn known(&self) -> usize {
        self.named.len()
    }

    /// Whether there are names that are not known.
    #[must_use]
    pub const fn has_more(&self) -> bool {
        self.others.count > 0
    }

    /// The `most` names with most tokens, and the tokens of all others.
    #[must_use]
    pub fn most(&self, most: usize) -> (Vec<(Option<&str>, Tally)>, Tally) {
        let mut named: Vec<_> =
            self.named.iter().map(|(name, tally)| (name.as_deref(), *tally)).collect();
        named.sort_by_key(|(name, tally)| (std::cmp::Reverse(tally.count), *name));
        let mut others = self.others;
        for (_, tally) in named.drain(most.min(named.len())..) {
            others.add(&tally);
        }
        (named, others)
    }
}
