//! Requests that were turned away, by caller.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::outcomes::{Listed, Tally, Turned};
use super::series::{OTHER, UNKNOWN};
use crate::limits::Desk;

/// How many callers are told of by themselves.
const CALLERS: usize = 700;

/// How often requests were turned away at each desk.
type OfCaller = [Tally<Turned>; Desk::ALL.len()];

/// Requests that were turned away.
#[derive(Default)]
pub(super) struct TurnedAway {
    callers: ArcSwap<HashMap<String, Arc<OfCaller>>>,
    /// Of callers for whom there was no room, and of those that are leaving.
    others: OfCaller,
    unknown: OfCaller,
}

impl TurnedAway {
    /// Goes on with these callers.
    pub(super) fn put_in_force<'a>(&self, callers: impl Iterator<Item = &'a str> + Clone) {
        let before = self.callers.load();
        let kept = callers.clone().filter_map(|name| Some((name, before.get(name)?.clone())));
        let mut after: HashMap<_, _> = kept.map(|(name, of)| (name.to_owned(), of)).collect();
        for name in callers {
            if after.len() < CALLERS && !after.contains_key(name) {
                after.insert(name.to_owned(), Arc::default());
            }
        }
        self.callers.store(Arc::new(after));
    }

    /// A request of a caller was turned away.
    pub(super) fn count(&self, caller: &str, desk: Desk, why: Turned) {
        let callers = self.callers.load();
        let of_caller = callers.get(caller).map_or(&self.others, |of_caller| of_caller);
        of_caller[desk.place()].count(why);
    }

    /// A request of somebody whom nobody knows was turned away.
    pub(super) fn count_unknown(&self, desk: Desk, why: Turned) {
        self.unknown[desk.place()].count(why);
    }

    /// How often, by caller, desk and reason, where it ever came to that.
    #[must_use]
    pub(super) fn all(&self) -> Vec<(String, Desk, Turned, u64)> {
        let callers = self.callers.load();
        let known = callers.iter().map(|(name, of_caller)| (name.as_str(), &**of_caller));
        let mut all = Vec::new();
        for (name, of_caller) in known.chain([(OTHER, &self.others), (UNKNOWN, &self.unknown)]) {
            for desk in Desk::ALL {
                let counted = of_caller[desk.place()].all().filter(|(_, count)| *count > 0);
                all.extend(counted.map(|(why, count)| (name.to_owned(), *desk, why, count)));
            }
        }
        all.sort_by(|(one, ..), (next, ..)| one.cmp(next));
        all
    }
}
