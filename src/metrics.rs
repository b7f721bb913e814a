//! What the daemon counts and measures.
//!
//! To count is for everyone, and is cheap; [`exposition`] tells it, with how things stand, as
//! `OpenMetrics` text for whoever watches.

pub mod exposition;
pub mod histogram;
pub mod keys;
pub mod outcomes;
mod process;
pub mod series;
pub mod store;
mod turned;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::time::Time;

use self::histogram::{Histogram, OF_FILES, Stopwatch};
use self::keys::Keys;
use self::outcomes::{Answer, BatchOutcome, Outcome, Turned};
use self::series::{Bounds, Series};
use self::store::StoreFigures;
use self::turned::TurnedAway;
use crate::audit::events::KeyEvent;
use crate::config::Config;
use crate::limits::Desk;

/// All that is counted and measured.
pub struct Metrics {
    started: Time,
    series: Series,
    turned_away: TurnedAway,
    batches: Histogram,
    backups: AtomicU64,
    /// In milliseconds; zero where none was made.
    last_backup: AtomicU64,
    store: Arc<StoreFigures>,
}

/// A batch that is in hand. Dropped before it has an outcome, it was abandoned.
pub struct Batch {
    metrics: Arc<Metrics>,
    keyset: Option<KeysetName>,
    watch: Stopwatch,
    outcome: BatchOutcome,
}

impl Metrics {
    /// Those of a daemon that starts at `started` with this configuration.
    #[must_use]
    pub fn new(started: Time, config: &Config) -> Self {
        let metrics = Self {
            started,
            series: Series::new(Bounds::default()),
            turned_away: TurnedAway::default(),
            batches: Histogram::new(OF_FILES),
            backups: AtomicU64::new(0),
            last_backup: AtomicU64::new(0),
            store: Arc::default(),
        };
        metrics.put_in_force(config);
        metrics
    }

    /// Goes on with another configuration: what left it is told no more, but for key sets that still
    /// have keys.
    pub fn put_in_force(&self, config: &Config) {
        let callers = || config.callers.iter().map(|caller| caller.name.as_str());
        let names: HashSet<&str> = callers().collect();
        self.series.put_in_force(config.keysets.keys(), |name| names.contains(name));
        self.turned_away.put_in_force(callers());
    }

    /// When the daemon started, by the wall clock.
    #[must_use]
    pub fn started(&self) -> Time {
        self.started
    }

    /// How long the work of the store takes.
    #[must_use]
    pub fn store(&self) -> &Arc<StoreFigures> {
        &self.store
    }

    /// How many tokens of each key set were signed since the start, and how many requests for one were
    /// refused.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<KeysetName, (u64, u64)> {
        self.series.totals()
    }

    /// Counts a token that was signed; `span` is how long it took, of single requests.
    pub fn count_signed(
        &self,
        keyset: &KeysetName,
        caller: &str,
        algorithm: Algorithm,
        span: Option<Duration>,
    ) {
        self.series.count_signature(keyset, caller, Some(algorithm), Outcome::Signed, span);
    }

    /// Counts so many signatures of a batch: how long they took is not told, since what signs them gives
    /// way to others.
    pub fn count_signed_in_batch(
        &self,
        keyset: &KeysetName,
        caller: &str,
        algorithm: Algorithm,
        times: u64,
    ) {
        self.series.count_signatures(keyset, caller, algorithm, times);
    }

    /// Counts that there is no token; `algorithm` is that of the key set, where it has one.
    pub fn count_unsigned(
        &self,
        keyset: &KeysetName,
        caller: &str,
        algorithm: Option<Algorithm>,
        why: Outcome,
    ) {
        self.series.count_signature(keyset, caller, algorithm, why, None);
    }

    /// Counts a request of a caller that was turned away.
    pub fn count_turned_away(&self, caller: &str, desk: Desk, why: Turned) {
        self.turned_away.count(caller, desk, why);
    }

    /// Counts a request of somebody unknown that was turned away.
    pub fn count_stranger(&self, desk: Desk, why: Turned) {
        self.turned_away.count_unknown(desk, why);
    }

    /// Counts an answer to a request for a JWK Set; `None` for a name that no key set can have.
    pub fn count_fetch(&self, keyset: Option<&KeysetName>, answer: Answer) {
        match keyset {
            Some(keyset) => self.series.count(keyset, |counts| counts.answers.count(answer)),
            None => self.series.count_unknown(|counts| counts.answers.count(answer)),
        }
    }

    /// Counts what became of keys.
    pub fn count_events(&self, keyset: &KeysetName, events: &[KeyEvent]) {
        self.series.count(keyset, |counts| {
            for event in events {
                counts.events.count(event.event);
            }
        });
    }

    /// Notes the living keys of a set.
    pub fn note_keys(&self, keyset: &KeysetName, keys: Keys) {
        self.series.note_keys(keyset, keys);
    }

    /// Counts a backup.
    pub fn count_backup(&self, taken: Time) {
        self.backups.fetch_add(1, Ordering::Relaxed);
        self.last_backup.store(taken.as_millis(), Ordering::Relaxed);
    }

    /// Begins to measure a batch; `None` for a name that no key set can have.
    #[must_use]
    pub fn batch(self: &Arc<Self>, keyset: Option<KeysetName>) -> Batch {
        let (watch, outcome) = (Stopwatch::start(), BatchOutcome::Abandoned);
        Batch { metrics: self.clone(), keyset, watch, outcome }
    }
}

impl Batch {
    /// What became of it.
    pub fn ends(mut self, outcome: BatchOutcome) {
        self.outcome = outcome;
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let series = &self.metrics.series;
        match &self.keyset {
            Some(keyset) => series.count(keyset, |counts| counts.batches.count(self.outcome)),
            None => series.count_unknown(|counts| counts.batches.count(self.outcome)),
        }
        if self.outcome == BatchOutcome::Answered {
            self.metrics.batches.observe(self.watch.elapsed());
        }
    }
}
