//! The store on disk, in sled.
//!
//! sled's own `flush()` is not durable: it calls `sync_file_range`, which neither commits the
//! file's size nor empties the disk's cache. So this module
//!
//! * flushes after opening, then syncs every file in the directory, the directory and its parent;
//! * commits in one transaction with the flush inside it;
//! * syncs an own descriptor of sled's log afterwards, and only then answers;
//! * uses one tree for all sets, since each tree costs memory; and lets sled never wake by itself.
//!
//! When a commit fails to reach the disk, the kernel may have dropped what it could not write and
//! report success the next time, and sled would read back what is in its memory only. So from then
//! on this process neither writes nor reads: a restart reads what is really there.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sled::transaction::{ConflictableTransactionError, TransactionError};

use super::authenticated::{Authenticated, Row, Rows};
use super::{Change, Loaded, Store, StoreError, Tombstone};
use crate::id::{KeyId, KeysetName, Revision};
use crate::seal::MasterKeys;
use crate::time::Time;

const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// What is in the directory of every sled database.
const LOG_FILE: &str = "db";

/// A [`Store`] in a directory on disk, which it locks against other processes.
pub struct SledStore(Authenticated<SledRows>);

struct SledRows {
    log: File,
    rows: sled::Tree,
    // Dropped after the tree: it holds the lock.
    _database: sled::Db,
    sync_failed: AtomicBool,
}

impl SledStore {
    /// Whether there is a store at `path`.
    #[must_use]
    pub fn exists(path: &Path) -> bool {
        path.join(LOG_FILE).exists()
    }

    /// Opens the store at `path`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::OtherMasterKey`],
    /// [`StoreError::Damaged`], [`StoreError::UnknownFormat`], [`StoreError::Unavailable`].
    pub fn open(path: &Path, master_keys: Arc<MasterKeys>) -> Result<Self, StoreError> {
        // A directory that cannot be looked into is not one without a store.
        if !path.join(LOG_FILE).try_exists().map_err(|error| unavailable(&error))? {
            return Err(StoreError::Missing(path.to_owned()));
        }
        Authenticated::open(SledRows::open(path)?, master_keys).map(Self)
    }

    /// Makes an empty store at `path`, where there is none.
    ///
    /// # Errors
    ///
    /// As [`SledStore::open`].
    pub fn create(path: &Path, master_keys: Arc<MasterKeys>) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(|error| unavailable(&error))?;
        Authenticated::create(SledRows::open(path)?, master_keys).map(Self)
    }
}

impl SledRows {
    fn open(path: &Path) -> Result<Self, StoreError> {
        let opening = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(|error| opening_failed(path, &error))?;
        let rows = opening.open_tree("rows").map_err(|error| opening_failed(path, &error))?;
        opening.flush().map_err(|error| opening_failed(path, &error))?;
        sync_tree(path).map_err(|error| unavailable(&error))?;
        let log = File::open(path.join(LOG_FILE)).map_err(|error| unavailable(&error))?;
        Ok(Self { log, rows, _database: opening, sync_failed: AtomicBool::new(false) })
    }

    fn trusted(&self) -> Result<(), StoreError> {
        if self.sync_failed.load(Ordering::SeqCst) {
            let reason = "the disk failed to sync before; restart to read what it holds";
            return Err(StoreError::Unavailable(reason.to_owned()));
        }
        Ok(())
    }

    fn distrust(&self, error: &dyn std::error::Error) -> StoreError {
        self.sync_failed.store(true, Ordering::SeqCst);
        StoreError::Unknown(error.to_string())
    }
}

impl Rows for SledRows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.trusted()?;
        let value = self.rows.get(key).map_err(|error| failed(&error))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.trusted()?;
        self.rows
            .scan_prefix(prefix)
            .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())))
            .collect::<Result<_, _>>()
            .map_err(|error| failed(&error))
    }

    fn write(&self, expected: &[Row], rows: &[Row]) -> Result<Result<(), usize>, StoreError> {
        self.trusted()?;
        let written = self.rows.transaction(|transaction| {
            for (index, (key, value)) in expected.iter().enumerate() {
                if transaction.get(key)?.as_deref() != value.as_deref() {
                    return Err(ConflictableTransactionError::Abort(index));
                }
            }
            for (key, value) in rows {
                match value {
                    Some(value) => transaction.insert(key.as_slice(), value.as_slice())?,
                    None => transaction.remove(key.as_slice())?,
                };
            }
            transaction.flush();
            Ok(())
        });
        match written {
            Ok(()) => {
                self.log.sync_data().map_err(|error| self.distrust(&error))?;
                Ok(Ok(()))
            }
            Err(TransactionError::Abort(index)) => Ok(Err(index)),
            Err(TransactionError::Storage(error)) => Err(self.distrust(&error)),
        }
    }
}

impl Store for SledStore {
    fn keysets(&self) -> Result<Vec<KeysetName>, StoreError> {
        self.0.keysets()
    }

    fn load(&self, keyset: &KeysetName) -> Result<Loaded, StoreError> {
        self.0.load(keyset)
    }

    fn commit(
        &self,
        keyset: &KeysetName,
        expected: Revision,
        changes: &[Change],
        seen: Time,
    ) -> Result<Revision, StoreError> {
        self.0.commit(keyset, expected, changes, seen)
    }

    fn tombstone(&self, keyset: &KeysetName, kid: &KeyId) -> Result<Option<Tombstone>, StoreError> {
        self.0.tombstone(keyset, kid)
    }

    fn tombstones(&self, keyset: &KeysetName) -> Result<Vec<Tombstone>, StoreError> {
        self.0.tombstones(keyset)
    }

    fn seen(&self) -> Result<Time, StoreError> {
        self.0.seen()
    }

    fn record_seen(&self, now: Time) -> Result<(), StoreError> {
        self.0.record_seen(now)
    }
}

/// Syncs every file below `path`, every directory, and the directory that holds `path`.
fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(path)?.sync_all()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

fn opening_failed(path: &Path, error: &sled::Error) -> StoreError {
    // sled wraps what the lock said in a text of its own.
    let in_use = |io: &io::Error| io.to_string().contains("WouldBlock");
    match error {
        sled::Error::Io(io) if in_use(io) => StoreError::Locked(PathBuf::from(path)),
        _ => failed(error),
    }
}

fn failed(error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Corruption { .. } => {
            StoreError::Damaged { what: "the file of the store".into() }
        }
        _ => unavailable(error),
    }
}

fn unavailable(error: &dyn std::error::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::seal::tests::master_keys;

    impl SledStore {
        /// The rows, for tests that damage them.
        pub(in crate::store) fn rows(&self) -> &impl Rows {
            &self.0.rows
        }
    }

    #[test]
    fn a_missing_store_is_not_made_by_opening_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let opened = SledStore::open(&path, Arc::new(master_keys()));
        assert_eq!(opened.err(), Some(StoreError::Missing(path.clone())));
        assert!(!path.exists());
    }

    #[test]
    fn a_store_in_use_is_not_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(master_keys());
        let _first = SledStore::create(dir.path(), keys.clone()).unwrap();
        let second = SledStore::open(dir.path(), keys);
        assert_eq!(second.err(), Some(StoreError::Locked(dir.path().to_owned())));
    }

    #[test]
    fn a_wrong_master_key_is_told_from_damage() {
        let dir = tempfile::tempdir().unwrap();
        let right = Arc::new(master_keys());
        let store = SledStore::create(dir.path(), right.clone()).unwrap();
        store.record_seen(Time::from_millis(1)).unwrap();
        drop(store);
        let opened = SledStore::open(dir.path(), Arc::new(master_keys()));
        assert_eq!(opened.err(), Some(StoreError::OtherMasterKey { id: right.sealing_id() }));
        assert!(SledStore::open(dir.path(), right).is_ok());
    }

    #[test]
    fn after_a_failed_sync_nothing_is_taken_and_nothing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::create(dir.path(), Arc::new(master_keys())).unwrap();
        let now = Time::from_millis(1);
        // What cannot be synced.
        store.0.rows.log = File::open("/dev/null").unwrap();
        assert!(matches!(store.record_seen(now), Err(StoreError::Unknown(_))));
        assert!(matches!(store.seen(), Err(StoreError::Unavailable(_))));
        assert!(matches!(store.keysets(), Err(StoreError::Unavailable(_))));
        assert!(matches!(store.record_seen(now), Err(StoreError::Unavailable(_))));
    }

    #[test]
    fn a_store_that_lost_its_content_is_not_taken_for_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(master_keys());
        drop(SledStore::create(dir.path(), keys.clone()).unwrap());
        File::create(dir.path().join(LOG_FILE)).unwrap();
        let opened = SledStore::open(dir.path(), keys);
        assert_eq!(
            opened.err(),
            Some(StoreError::Damaged { what: "the format of the store".into() })
        );
    }

    #[test]
    fn a_newer_format_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(master_keys());
        let store = SledStore::create(dir.path(), keys.clone()).unwrap();
        let newer = (b"format".to_vec(), Some(b"2".to_vec()));
        store.rows().write(&[], &[newer]).unwrap().unwrap();
        drop(store);
        let opened = SledStore::open(dir.path(), keys);
        assert_eq!(opened.err(), Some(StoreError::UnknownFormat("2".into())));
    }
}
