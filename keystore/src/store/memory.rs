//! The store in memory, with fault hooks, for tests.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::StoreError;
use super::authenticated::{self, Authenticated, Pairs, Row, Wraps};
use super::copied::{Moment, StoreCopy};
use crate::seal::MasterKeys;

/// A [`Store`](super::Store) in memory. Clones of its [`Rows`] outlive it, as a disk outlives a process.
pub struct MemoryStore(Authenticated<Rows>);

/// The rows of a [`MemoryStore`], shared between its clones.
#[derive(Clone, Default)]
pub struct Rows(Arc<Mutex<Content>>);

#[derive(Default)]
struct Content {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    commit_faults: VecDeque<CommitFault>,
    faults_after: Option<(usize, CommitFault)>,
    tear_next_scan: bool,
    before_last_write: Option<BTreeMap<Vec<u8>, Vec<u8>>>,
    before_next_write: Option<Box<dyn FnOnce() + Send>>,
    writes: u64,
    fails: bool,
}

/// How the next write goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitFault {
    /// Nothing is written and the caller is told so.
    FailBefore,
    /// Everything is written and the caller is told that nobody knows.
    FailButPersist,
    /// Nothing is written and the caller is told that nobody knows.
    FailUnknown,
    /// The same, and from then on nothing is read or written until the store is told otherwise.
    FailAndFallSilent,
    /// Everything is written; else the same.
    PersistAndFallSilent,
}

impl MemoryStore {
    /// Opens the store that is in `rows`, or begins one there.
    ///
    /// # Errors
    ///
    /// As for the store on disk.
    pub fn open(rows: Rows, master_keys: Arc<MasterKeys>) -> Result<Self, StoreError> {
        Authenticated::create(rows, master_keys).map(Self)
    }

    /// The rows.
    #[must_use]
    pub fn rows(&self) -> &Rows {
        &self.0.rows
    }
}

impl Rows {
    /// Makes the next writes go wrong, one after the other.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = CommitFault>) {
        self.content().commit_faults.extend(faults);
    }

    /// Makes the write after `good` good ones go wrong.
    pub fn fail_after(&self, good: usize, fault: CommitFault) {
        self.content().faults_after = Some((good, fault));
    }

    /// Has `pass` run when the next write begins, which lets time pass if that shall take long.
    pub fn before_next_write(&self, pass: impl FnOnce() + Send + 'static) {
        self.content().before_next_write = Some(Box::new(pass));
    }

    /// Makes every read and write fail, or none, until said otherwise.
    pub fn set_failing(&self, fails: bool) {
        self.content().fails = fails;
    }

    /// Makes the next load see a mixture of the state before and after the last commit.
    pub fn tear_next_load(&self) {
        self.content().tear_next_scan = true;
    }

    /// A copy of all rows, to be put back by [`Rows::put_back`].
    #[must_use]
    pub fn snapshot(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.content().rows.clone()
    }

    /// Puts rows back whose key begins with `prefix`.
    pub fn put_back(&self, snapshot: &BTreeMap<Vec<u8>, Vec<u8>>, prefix: &[u8]) {
        let mut content = self.content();
        content.rows.retain(|key, _| !key.starts_with(prefix));
        let old = snapshot.iter().filter(|(key, _)| key.starts_with(prefix));
        content.rows.extend(old.map(|(key, value)| (key.clone(), value.clone())));
    }

    /// Replaces all rows by those of a copy, as a restore does.
    pub fn replace_by(&self, copy: &StoreCopy) {
        let mut content = self.content();
        content.rows.clone_from(&copy.moment().rows);
        content.before_last_write = None;
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    fn available(&self) -> Result<(), StoreError> {
        if self.fails { Err(StoreError::Unavailable("the test said so".into())) } else { Ok(()) }
    }

    fn next_fault(&mut self) -> Option<CommitFault> {
        match self.faults_after {
            Some((0, fault)) => {
                self.faults_after = None;
                Some(fault)
            }
            Some((good, fault)) => {
                self.faults_after = Some((good - 1, fault));
                None
            }
            None => self.commit_faults.pop_front(),
        }
    }

    fn first_unexpected(&self, expected: &[Row]) -> Option<usize> {
        expected.iter().position(|(key, value)| self.rows.get(key) != value.as_ref())
    }

    fn put(&mut self, rows: &[Row]) {
        self.before_last_write = Some(self.rows.clone());
        self.writes += 1;
        for (key, value) in rows {
            match value {
                Some(value) => self.rows.insert(key.clone(), value.clone()),
                None => self.rows.remove(key),
            };
        }
    }
}

impl authenticated::Rows for Rows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let content = self.content();
        content.available()?;
        // A torn load reads the old head first.
        let old = content.before_last_write.as_ref().filter(|_| content.tear_next_scan);
        Ok(old.unwrap_or(&content.rows).get(key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Pairs, StoreError> {
        let mut content = self.content();
        content.available()?;
        content.tear_next_scan = false;
        let matching = content.rows.iter().filter(|(key, _)| key.starts_with(prefix));
        Ok(matching.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&self, expected: &[Row], rows: &[Row]) -> Result<Result<(), usize>, StoreError> {
        let mut content = self.content();
        content.available()?;
        if let Some(pass) = content.before_next_write.take() {
            pass();
        }
        if let Some(index) = content.first_unexpected(expected) {
            return Ok(Err(index));
        }
        let told = "the test said so".to_owned();
        match content.next_fault() {
            Some(CommitFault::FailBefore) => Err(StoreError::Unavailable(told)),
            Some(CommitFault::FailUnknown) => Err(StoreError::Unknown(told)),
            Some(CommitFault::FailAndFallSilent) => {
                content.fails = true;
                Err(StoreError::Unknown(told))
            }
            Some(CommitFault::FailButPersist) => {
                content.put(rows);
                Err(StoreError::Unknown(told))
            }
            Some(CommitFault::PersistAndFallSilent) => {
                content.put(rows);
                content.fails = true;
                Err(StoreError::Unknown(told))
            }
            None => {
                content.put(rows);
                Ok(Ok(()))
            }
        }
    }

    fn all(&self) -> Result<Moment, StoreError> {
        let content = self.content();
        content.available()?;
        Ok(Moment { rows: content.rows.clone(), commit: content.writes })
    }
}

impl Wraps for MemoryStore {
    type Rows = Rows;

    fn wrapped(&self) -> &Authenticated<Rows> {
        &self.0
    }
}
