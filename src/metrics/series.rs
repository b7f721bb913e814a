//! What is counted of key sets and callers: a bounded number of series, whatever is configured.
//!
//! Labels come from the configuration, never from a request. To count takes no lock and, where the
//! series is there, no memory.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::id::KeysetName;

use super::histogram::{Histogram, OF_SIGNATURES};
use super::keys::Keys;
use super::outcomes::{Answer, BatchOutcome, Outcome, Tally};
use crate::audit::events::Event;

/// Those beyond a bound, told together: no key set can have this name.
pub const OTHER: &str = "_other";

/// Key sets that are not there: strangers may ask for any name.
pub const UNKNOWN: &str = "_unknown";

/// How much is told of by itself. Of a family this comes to less than 10,000 lines; to more only where
/// very many callers are refused in many ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Key sets.
    pub keysets: usize,
    /// Callers of key sets, with an algorithm.
    pub callers: usize,
    /// Histograms of key sets, with an algorithm: each has 18 lines.
    pub histograms: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { keysets: 1_000, callers: 2_500, histograms: 500 }
    }
}

/// All that is counted of key sets and callers.
pub struct Series {
    keysets: ArcSwap<HashMap<KeysetName, Arc<OfKeyset>>>,
    unknown: Arc<Counts>,
    other: Arc<Counts>,
    other_durations: Histogram,
    rooms: Rooms,
    /// One change at a time; whoever counts does not wait for it, unless for a series to begin.
    changing: Mutex<()>,
}

/// What is counted of one key set, and its keys.
pub struct OfKeyset {
    counts: Arc<Counts>,
    signed: AtomicU64,
    refused: AtomicU64,
    keys: ArcSwapOption<Keys>,
}

/// What is told under one label: of a key set, or of several together.
pub struct Counts {
    /// The label.
    pub keyset: String,
    /// Answers to requests for the JWK Set.
    pub answers: Tally<Answer>,
    /// Batches.
    pub batches: Tally<BatchOutcome>,
    /// What became of keys.
    pub events: Tally<Event>,
    algorithms: ArcSwap<Vec<Arc<OfAlgorithm>>>,
    _room: Option<Place>,
}

/// Signatures with one algorithm. A key set has several where it changed.
pub struct OfAlgorithm {
    /// The algorithm; none where nobody knows which it would be.
    pub algorithm: Option<Algorithm>,
    /// Nothing where there was no room.
    durations: OnceLock<Option<Durations>>,
    callers: ArcSwap<HashMap<String, Arc<OfCaller>>>,
    /// Of the callers for which there was no room.
    others: Tally<Outcome>,
}

struct Durations {
    histogram: Histogram,
    _room: Place,
}

struct OfCaller {
    outcomes: Tally<Outcome>,
    _room: Place,
}

/// How much room is taken.
struct Rooms {
    bounds: Bounds,
    keysets: Arc<AtomicUsize>,
    callers: Arc<AtomicUsize>,
    histograms: Arc<AtomicUsize>,
}

/// Room that is taken until this is dropped.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(taken: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let more = |taken| (taken < most).then_some(taken + 1);
        let relaxed = Ordering::Relaxed;
        taken.fetch_update(relaxed, relaxed, more).ok().map(|_| Self(taken.clone()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Series {
    /// Nothing is counted yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            keysets: ArcSwap::default(),
            unknown: Arc::new(Counts::of(UNKNOWN.to_owned(), None)),
            other: Arc::new(Counts::of(OTHER.to_owned(), None)),
            other_durations: Histogram::new(OF_SIGNATURES),
            rooms: Rooms {
                bounds,
                keysets: Arc::default(),
                callers: Arc::default(),
                histograms: Arc::default(),
            },
            changing: Mutex::default(),
        }
    }

    /// Goes on with these key sets and callers. Key sets that left are told for as long as they have
    /// keys; callers that left are not.
    pub fn put_in_force<'a>(
        &self,
        keysets: impl Iterator<Item = &'a KeysetName>,
        is_caller: impl Fn(&str) -> bool,
    ) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let keysets: HashSet<&KeysetName> = keysets.collect();
        let mut after = HashMap::clone(&self.keysets.load());
        after.retain(|name, of_keyset| keysets.contains(name) || of_keyset.has_keys());
        // The room of those that left is free from here on.
        self.keysets.store(Arc::new(after.clone()));
        let mut new: Vec<_> =
            keysets.into_iter().filter(|name| !after.contains_key(name)).collect();
        new.sort();
        for name in new {
            after.insert(name.clone(), self.fresh(name));
        }
        self.keysets.store(Arc::new(after));
        for counts in self.told() {
            counts.forget_callers(&is_caller);
        }
    }

    /// Notes the keys of a set; where there are none and the configuration lacks it, it is told no
    /// more.
    pub fn note_keys(&self, keyset: &KeysetName, keys: Keys) {
        let is_told = keys.facts.is_some() || !keys.lives.is_empty();
        let noted = |of_keyset: &OfKeyset| of_keyset.keys.store(Some(Arc::new(keys)));
        if let Some(of_keyset) = self.keysets.load().get(keyset).filter(|_| is_told) {
            return noted(of_keyset);
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after = HashMap::clone(&self.keysets.load());
        if is_told {
            noted(after.entry(keyset.clone()).or_insert_with(|| self.fresh(keyset)));
        } else {
            after.remove(keyset);
        }
        self.keysets.store(Arc::new(after));
    }

    fn fresh(&self, name: &KeysetName) -> Arc<OfKeyset> {
        let room = Place::take(&self.rooms.keysets, self.rooms.bounds.keysets);
        let counts = match room {
            Some(room) => Arc::new(Counts::of(name.to_string(), Some(room))),
            None => self.other.clone(),
        };
        Arc::new(OfKeyset {
            counts,
            signed: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            keys: ArcSwapOption::empty(),
        })
    }

    /// Counts something of a key set, or of those that are not there.
    pub fn count(&self, keyset: &KeysetName, count: impl FnOnce(&Counts)) {
        match self.keysets.load().get(keyset) {
            Some(of_keyset) => count(&of_keyset.counts),
            None => count(&self.unknown),
        }
    }

    /// Counts something of key sets whose names cannot be.
    pub fn count_unknown(&self, count: impl FnOnce(&Counts)) {
        count(&self.unknown);
    }

    /// Counts a signature, or that there is none. `span` is how long it took, where that is told.
    pub fn count_signature(
        &self,
        keyset: &KeysetName,
        caller: &str,
        algorithm: Option<Algorithm>,
        outcome: Outcome,
        span: Option<Duration>,
    ) {
        self.with_algorithm(keyset, algorithm, outcome, 1, |of_algorithm| {
            of_algorithm.count(caller, outcome, 1, &self.rooms, &self.changing);
            if let Some(span) = span {
                let own = of_algorithm.durations(&self.rooms);
                own.unwrap_or(&self.other_durations).observe(span);
            }
        });
    }

    /// Counts so many signatures, of which is not told how long they took.
    pub fn count_signatures(
        &self,
        keyset: &KeysetName,
        caller: &str,
        algorithm: Algorithm,
        times: u64,
    ) {
        let outcome = Outcome::Signed;
        self.with_algorithm(keyset, Some(algorithm), outcome, times, |of_algorithm| {
            of_algorithm.count(caller, outcome, times, &self.rooms, &self.changing);
        });
    }

    fn with_algorithm(
        &self,
        keyset: &KeysetName,
        algorithm: Option<Algorithm>,
        outcome: Outcome,
        times: u64,
        count: impl FnOnce(&OfAlgorithm),
    ) {
        let keysets = self.keysets.load();
        let of_keyset = keysets.get(keyset);
        if let Some(of_keyset) = of_keyset {
            let total =
                if outcome == Outcome::Signed { &of_keyset.signed } else { &of_keyset.refused };
            total.fetch_add(times, Ordering::Relaxed);
        }
        let counts = of_keyset.map_or(&self.unknown, |of_keyset| &of_keyset.counts);
        counts.with_algorithm(algorithm, &self.changing, count);
    }

    /// How many signatures there were of each key set, and how often there was none.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<KeysetName, (u64, u64)> {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let of = |of_keyset: &OfKeyset| (count(&of_keyset.signed), count(&of_keyset.refused));
        self.keysets.load().iter().map(|(name, set)| (name.clone(), of(set))).collect()
    }

    /// How long signatures took for which there was no histogram of their own.
    #[must_use]
    pub fn other_durations(&self) -> &Histogram {
        &self.other_durations
    }

    /// All that is told under labels of its own, in the order of the labels.
    #[must_use]
    pub fn told(&self) -> Vec<Arc<Counts>> {
        let keysets = self.keysets.load();
        let own =
            keysets.values().map(|set| &set.counts).filter(|it| !Arc::ptr_eq(it, &self.other));
        let mut told: Vec<_> = own.chain([&self.other, &self.unknown]).cloned().collect();
        told.sort_by(|one, next| one.keyset.cmp(&next.keyset));
        told
    }

    /// The keys of all sets with the labels under which they are told, in the order of their names.
    #[must_use]
    pub fn keys(&self) -> BTreeMap<KeysetName, (String, Arc<Keys>)> {
        let keysets = self.keysets.load();
        let keys = |(name, set): (&KeysetName, &Arc<OfKeyset>)| {
            Some((name.clone(), (set.counts.keyset.clone(), set.keys.load_full()?)))
        };
        keysets.iter().filter_map(keys).collect()
    }
}

impl OfKeyset {
    fn has_keys(&self) -> bool {
        self.keys.load().as_ref().is_some_and(|keys| !keys.lives.is_empty())
    }
}

impl Counts {
    fn of(keyset: String, room: Option<Place>) -> Self {
        Self {
            keyset,
            answers: Tally::default(),
            batches: Tally::default(),
            events: Tally::default(),
            algorithms: ArcSwap::default(),
            _room: room,
        }
    }

    /// The signatures with each algorithm.
    #[must_use]
    pub fn algorithms(&self) -> Arc<Vec<Arc<OfAlgorithm>>> {
        self.algorithms.load_full()
    }

    fn with_algorithm<T>(
        &self,
        algorithm: Option<Algorithm>,
        changing: &Mutex<()>,
        count: impl FnOnce(&OfAlgorithm) -> T,
    ) -> T {
        let is_meant = |one: &&Arc<OfAlgorithm>| one.algorithm == algorithm;
        if let Some(found) = self.algorithms.load().iter().find(is_meant) {
            return count(found);
        }
        let made = {
            let _changing = changing.lock().unwrap_or_else(PoisonError::into_inner);
            let before = self.algorithms.load();
            before.iter().find(is_meant).cloned().unwrap_or_else(|| {
                let made = Arc::new(OfAlgorithm::of(algorithm));
                let mut after = Vec::clone(&before);
                after.push(made.clone());
                self.algorithms.store(Arc::new(after));
                made
            })
        };
        count(&made)
    }

    fn forget_callers(&self, is_caller: impl Fn(&str) -> bool) {
        for of_algorithm in self.algorithms.load().iter() {
            let before = of_algorithm.callers.load();
            if before.keys().all(|name| is_caller(name)) {
                continue;
            }
            let mut after = HashMap::clone(&before);
            after.retain(|name, _| is_caller(name));
            of_algorithm.callers.store(Arc::new(after));
        }
    }
}

impl OfAlgorithm {
    fn of(algorithm: Option<Algorithm>) -> Self {
        Self {
            algorithm,
            durations: OnceLock::new(),
            callers: ArcSwap::default(),
            others: Tally::default(),
        }
    }

    fn count(
        &self,
        caller: &str,
        outcome: Outcome,
        times: u64,
        rooms: &Rooms,
        changing: &Mutex<()>,
    ) {
        if let Some(found) = self.callers.load().get(caller) {
            return found.outcomes.count_times(outcome, times);
        }
        if rooms.callers.load(Ordering::Relaxed) >= rooms.bounds.callers {
            return self.others.count_times(outcome, times);
        }
        let _changing = changing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.callers.load();
        if let Some(found) = before.get(caller) {
            return found.outcomes.count_times(outcome, times);
        }
        let Some(room) = Place::take(&rooms.callers, rooms.bounds.callers) else {
            return self.others.count_times(outcome, times);
        };
        let made = OfCaller { outcomes: Tally::default(), _room: room };
        made.outcomes.count_times(outcome, times);
        let mut after = HashMap::clone(&before);
        after.insert(caller.to_owned(), Arc::new(made));
        self.callers.store(Arc::new(after));
    }

    fn durations(&self, rooms: &Rooms) -> Option<&Histogram> {
        let own = self.durations.get_or_init(|| {
            let room = Place::take(&rooms.histograms, rooms.bounds.histograms)?;
            Some(Durations { histogram: Histogram::new(OF_SIGNATURES), _room: room })
        });
        own.as_ref().map(|own| &own.histogram)
    }

    /// How long its signatures took, where that is told by itself.
    #[must_use]
    pub fn own_durations(&self) -> Option<&Histogram> {
        self.durations.get()?.as_ref().map(|own| &own.histogram)
    }

    /// How often each caller had which outcome, in the order of their names.
    #[must_use]
    pub fn outcomes(&self) -> Vec<(String, Vec<(Outcome, u64)>)> {
        let callers = self.callers.load();
        let own = callers.iter().map(|(name, caller)| (name.as_str(), &caller.outcomes));
        let mut outcomes: Vec<_> = own
            .chain([(OTHER, &self.others)])
            .filter(|(_, outcomes)| outcomes.all().any(|(_, count)| count > 0))
            .map(|(name, outcomes)| (name.to_owned(), outcomes.all().collect::<Vec<_>>()))
            .collect();
        outcomes.sort_by(|(one, _), (next, _)| one.cmp(next));
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<KeysetName> {
        (0..count).map(|number| format!("set-{number:05}").parse().unwrap()).collect()
    }

    fn series(keysets: &[KeysetName], bounds: Bounds) -> Series {
        let series = Series::new(bounds);
        series.put_in_force(keysets.iter(), |_| true);
        series
    }

    fn sign(series: &Series, keyset: &KeysetName, caller: &str) {
        let (algorithm, span) = (Some(Algorithm::Es256), Some(Duration::from_micros(30)));
        series.count_signature(keyset, caller, algorithm, Outcome::Signed, span);
    }

    /// How many of each there are: key sets, callers of them, histograms; and how many signatures
    /// they tell of.
    fn told(series: &Series) -> (usize, usize, usize, u64) {
        let all = series.told();
        let algorithms: Vec<_> = all.iter().flat_map(|it| it.algorithms().to_vec()).collect();
        let histograms = algorithms.iter().filter(|it| it.own_durations().is_some()).count();
        let outcomes: Vec<_> = algorithms.iter().flat_map(|it| it.outcomes()).collect();
        let signed = outcomes.iter().flat_map(|(_, outcomes)| outcomes).map(|(_, count)| count);
        (all.len(), outcomes.len(), histograms, signed.sum())
    }

    #[test]
    fn ten_thousand_key_sets_with_three_callers_each_are_told_in_few_series() {
        let (names, bounds) = (names(10_000), Bounds::default());
        let series = series(&names, bounds);
        for name in &names {
            for caller in ["one", "two", "three"] {
                sign(&series, name, caller);
            }
        }
        let (keysets, callers, histograms, signed) = told(&series);
        assert_eq!(keysets, bounds.keysets + 2);
        // Those for whom there is no room are one series of each key set that is told by itself.
        assert!((bounds.callers..=bounds.callers + keysets).contains(&callers), "{callers}");
        assert_eq!(histograms, bounds.histograms);
        assert_eq!(signed, 30_000, "none was lost");
        let others = series.other_durations().snapshot().count;
        assert_eq!(others, 30_000 - 3 * bounds.histograms as u64);
        assert_eq!(series.totals().len(), 10_000);
        assert!(series.totals().values().all(|total| *total == (3, 0)));
    }

    #[test]
    fn room_that_is_left_is_taken_again_however_often_the_configuration_changes() {
        let bounds = Bounds { keysets: 3, callers: 3, histograms: 3 };
        let names = names(100);
        let series = Series::new(bounds);
        for three in names.chunks(3) {
            let caller = format!("caller of {}", three[0]);
            series.put_in_force(three.iter(), |name| name == caller);
            for name in three {
                sign(&series, name, &caller);
            }
            let labels: Vec<_> = series.told().iter().map(|it| it.keyset.clone()).collect();
            assert!(three.iter().all(|name| labels.contains(&name.to_string())), "{labels:?}");
            let (keysets, callers, histograms, _) = told(&series);
            assert_eq!((keysets, callers, histograms), (three.len() + 2, three.len(), three.len()));
        }
    }

    #[test]
    fn callers_that_ask_at_once_are_all_counted() {
        let names = names(2);
        let series = series(&names, Bounds { keysets: 2, callers: 30, histograms: 1 });
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (series, names) = (&series, &names);
                scope.spawn(move || {
                    for turn in 0..1000 {
                        sign(series, &names[turn % 2], &format!("caller {}", (turn + thread) % 50));
                    }
                });
            }
        });
        let (_, callers, histograms, signed) = told(&series);
        assert_eq!((histograms, signed), (1, 4000));
        assert!(callers <= 32, "{callers}");
    }

    #[test]
    fn a_name_that_is_no_key_set_is_one_with_all_such_names() {
        let series = series(&names(1), Bounds::default());
        for name in names(1000) {
            series.count(&name, |counts| counts.answers.count(Answer::NotFound));
        }
        let labels: Vec<_> = series.told().iter().map(|it| it.keyset.clone()).collect();
        assert_eq!(labels, [OTHER, UNKNOWN, "set-00000"]);
    }
}
