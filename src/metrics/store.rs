//! A store whose work is timed, whatever store it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::store::{Commit, Loaded, Store, StoreCopy, StoreError, Tombstone};
use jwksd_keystore::time::Time;

use super::histogram::{Histogram, OF_FILES, Stopwatch};

/// What is done to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Something is read.
    Read,
    /// Keys change.
    Commit,
    /// Lifecycle time is recorded.
    RecordSeen,
    /// All of it is copied, for a backup.
    Copy,
}

/// How long operations took, and how often they failed.
#[derive(Debug)]
pub struct StoreFigures([Figures; 4]);

#[derive(Debug)]
struct Figures {
    durations: Histogram,
    errors: AtomicU64,
}

/// A store, and how long its work takes.
pub(crate) struct Timed {
    store: Arc<dyn Store>,
    figures: Arc<StoreFigures>,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Commit, Self::RecordSeen, Self::Copy];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Commit => "commit",
            Self::RecordSeen => "record_seen",
            Self::Copy => "copy",
        }
    }
}

impl Default for StoreFigures {
    fn default() -> Self {
        let figures =
            |_| Figures { durations: Histogram::new(OF_FILES), errors: AtomicU64::default() };
        Self(Operation::ALL.map(figures))
    }
}

impl StoreFigures {
    /// How long it took, where it did not fail.
    #[must_use]
    pub fn durations(&self, operation: Operation) -> &Histogram {
        &self.0[operation as usize].durations
    }

    /// How often it failed.
    #[must_use]
    pub fn errors(&self, operation: Operation) -> u64 {
        self.0[operation as usize].errors.load(Ordering::Relaxed)
    }
}

impl Timed {
    pub(crate) fn new(store: Arc<dyn Store>, figures: Arc<StoreFigures>) -> Self {
        Self { store, figures }
    }

    fn timed<T>(
        &self,
        operation: Operation,
        work: impl FnOnce(&dyn Store) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let watch = Stopwatch::start();
        let outcome = work(&*self.store);
        let figures = &self.figures.0[operation as usize];
        match &outcome {
            Ok(_) => figures.durations.observe(watch.elapsed()),
            // The store did what it should: someone else was first.
            Err(StoreError::Conflict | StoreError::Used) => {}
            Err(_) => drop(figures.errors.fetch_add(1, Ordering::Relaxed)),
        }
        outcome
    }
}

impl Store for Timed {
    fn keysets(&self) -> Result<Vec<KeysetName>, StoreError> {
        self.timed(Operation::Read, |store| store.keysets())
    }

    fn load(&self, keyset: &KeysetName) -> Result<Loaded, StoreError> {
        self.timed(Operation::Read, |store| store.load(keyset))
    }

    fn commit_all(&self, commits: &[Commit<'_>], seen: Time) -> Result<(), StoreError> {
        self.timed(Operation::Commit, |store| store.commit_all(commits, seen))
    }

    fn tombstone(&self, keyset: &KeysetName, kid: &KeyId) -> Result<Option<Tombstone>, StoreError> {
        self.timed(Operation::Read, |store| store.tombstone(keyset, kid))
    }

    fn tombstones(&self, keyset: &KeysetName) -> Result<Vec<Tombstone>, StoreError> {
        self.timed(Operation::Read, |store| store.tombstones(keyset))
    }

    fn seen(&self) -> Result<Time, StoreError> {
        self.timed(Operation::Read, |store| store.seen())
    }

    fn record_seen(&self, now: Time) -> Result<(), StoreError> {
        self.timed(Operation::RecordSeen, |store| store.record_seen(now))
    }

    fn copy(&self) -> Result<StoreCopy, StoreError> {
        self.timed(Operation::Copy, |store| store.copy())
    }
}
