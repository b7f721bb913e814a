//! The store on disk, in sled.
//!
//! sled's own `flush()` is not durable: it calls `sync_file_range`, which neither commits the
//! file's size nor empties the disk's cache. So this module
//!
//! * flushes after opening, then syncs every file in the directory, the directory and its parent;
//! * commits in one transaction with the flush inside it, which also counts the commit in a row of
//!   its own: `commits`, tag and number;
//! * syncs an own descriptor of sled's log afterwards, then writes the number of the commit to the
//!   file `latest` and syncs that, and only then answers;
//! * uses one tree for all sets, since each tree costs memory; and lets sled never wake by itself.
//!
//! When a commit fails to reach the disk, the kernel may have dropped what it could not write and
//! report success the next time, and sled would read back what is in its memory only. So from then
//! on this process neither writes nor reads: a restart reads what is really there.
//!
//! Nor can sled tell damage from the end of its log, see the module `high_water`. So a store whose
//! `commits` is below `latest` is not opened. One above it is: the process died before it could
//! answer, and `latest` is raised. sled cuts its log where it takes it to end, so that a store that
//! was not opened for this is beyond repair, and only a copy of all its files helps.
//!
//! A store is begun by a `latest` of 0, which says that nothing was acknowledged yet. As long as it
//! says so an empty store is one whose making was interrupted, and opening it ends the making.
//! Later an empty store is one that lost all it had, and without the file nothing is opened.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sled::transaction::{ConflictableTransactionError, TransactionError};

use super::StoreError;
use super::authenticated::{Authenticated, FORMAT_ROW, Pairs, Row, Rows, Wraps, known_format};
use super::high_water::{HighWater, checked_number, tagged_number};
use crate::seal::MasterKeys;

const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// What is in the directory of every sled database.
const LOG_FILE: &str = "db";

/// How many writes the store has had.
const COMMITS_ROW: &[u8] = b"commits";

/// A [`Store`] in a directory on disk, which it locks against other processes.
pub struct SledStore(Authenticated<SledRows>);

pub(super) struct SledRows {
    log: File,
    latest: Mutex<HighWater>,
    master_keys: Arc<MasterKeys>,
    rows: sled::Tree,
    // Dropped after the tree: it holds the lock.
    _database: sled::Db,
    sync_failed: AtomicBool,
}

impl SledStore {
    /// Whether there is a store at `path`, be it whole or not.
    #[must_use]
    pub fn exists(path: &Path) -> bool {
        path.join(LOG_FILE).exists() || HighWater::exists(path).unwrap_or(false)
    }

    /// Opens the store at `path`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::OtherMasterKey`],
    /// [`StoreError::Damaged`], [`StoreError::UnknownFormat`], [`StoreError::Unavailable`].
    pub fn open(path: &Path, master_keys: Arc<MasterKeys>) -> Result<Self, StoreError> {
        if is_absent(path)? {
            return Err(StoreError::Missing(path.to_owned()));
        }
        Authenticated::create(SledRows::open(path, master_keys.clone())?, master_keys).map(Self)
    }

    /// Makes an empty store at `path`, where there is none, and opens it.
    ///
    /// # Errors
    ///
    /// As [`SledStore::open`].
    pub fn create(path: &Path, master_keys: Arc<MasterKeys>) -> Result<Self, StoreError> {
        fs::create_dir_all(path).map_err(|error| unavailable(&error))?;
        if is_absent(path)? {
            HighWater::create(path, &master_keys).map_err(|error| unavailable(&error))?;
        }
        Self::open(path, master_keys)
    }
}

impl SledRows {
    /// Opens rows that are not older than what was acknowledged; empty ones only if that is nothing.
    fn open(path: &Path, master_keys: Arc<MasterKeys>) -> Result<Self, StoreError> {
        if !has_log(path)? {
            // Opening would make one.
            not_older(0, &HighWater::open(path, master_keys.clone())?)?;
        }
        let database = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(|error| opening_failed(path, &error))?;
        let rows = database.open_tree("rows").map_err(|error| opening_failed(path, &error))?;
        let format = rows.get(FORMAT_ROW).map_err(|error| failed(&error))?;
        // A newer version may count otherwise.
        format.map_or(Ok(()), |format| known_format(&format))?;
        let stored = rows.get(COMMITS_ROW).map_err(|error| failed(&error))?;
        let commits = commits(stored.as_deref(), &master_keys)?;
        let mut latest = HighWater::open(path, master_keys.clone())?;
        not_older(commits, &latest)?;
        database.flush().map_err(|error| opening_failed(path, &error))?;
        sync_tree(path).map_err(|error| unavailable(&error))?;
        latest.raise(commits).map_err(|error| unavailable(&error))?;
        let log = File::open(path.join(LOG_FILE)).map_err(|error| unavailable(&error))?;
        Ok(Self {
            log,
            latest: Mutex::new(latest),
            master_keys,
            rows,
            _database: database,
            sync_failed: AtomicBool::new(false),
        })
    }

    /// Syncs the log and then `latest`, so that the commit with this number can be acknowledged.
    fn make_durable(&self, number: u64) -> Result<(), StoreError> {
        // One after the other: the kernel tells of a failure only once.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if number <= latest.number() {
            // A later commit took this one along.
            return Ok(());
        }
        self.trusted().map_err(|error| StoreError::Unknown(error.to_string()))?;
        self.log
            .sync_data()
            .and_then(|()| latest.raise(number))
            .map_err(|error| self.distrust(&error))
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

    fn scan(&self, prefix: &[u8]) -> Result<Pairs, StoreError> {
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
                    return Err(ConflictableTransactionError::Abort(Ok(index)));
                }
            }
            let number = commits(transaction.get(COMMITS_ROW)?.as_deref(), &self.master_keys)
                .map_err(|error| ConflictableTransactionError::Abort(Err(error)))?
                + 1;
            for (key, value) in rows {
                match value {
                    Some(value) => transaction.insert(key.as_slice(), value.as_slice())?,
                    None => transaction.remove(key.as_slice())?,
                };
            }
            transaction
                .insert(COMMITS_ROW, tagged_number(&self.master_keys, COMMITS_ROW, number))?;
            transaction.flush();
            Ok(number)
        });
        match written {
            Ok(number) => self.make_durable(number).map(Ok),
            Err(TransactionError::Abort(refused)) => refused.map(Err),
            Err(TransactionError::Storage(error)) => Err(self.distrust(&error)),
        }
    }
}

/// Whether nothing at `path` says that there is or was a store.
fn is_absent(path: &Path) -> Result<bool, StoreError> {
    // A directory that cannot be looked into is not one without a store.
    let has_latest = HighWater::exists(path).map_err(|error| unavailable(&error))?;
    Ok(!has_latest && !has_log(path)?)
}

fn has_log(path: &Path) -> Result<bool, StoreError> {
    path.join(LOG_FILE).try_exists().map_err(|error| unavailable(&error))
}

/// The number of the last commit in the store, 0 if there was none.
fn commits(stored: Option<&[u8]>, master_keys: &MasterKeys) -> Result<u64, StoreError> {
    stored
        .map_or(Ok(0), |value| checked_number(master_keys, COMMITS_ROW, value))
        .map_err(|error| StoreError::of_seal(error, || "the number of commits".into()))
}

/// Refuses a store that lost commits.
fn not_older(commits: u64, latest: &HighWater) -> Result<(), StoreError> {
    let acknowledged = latest.number();
    if commits < acknowledged {
        let what = format!(
            "the store (older than what was acknowledged: commit {commits} of {acknowledged})"
        );
        return Err(StoreError::Damaged { what });
    }
    Ok(())
}

impl Wraps for SledStore {
    type Rows = SledRows;

    fn wrapped(&self) -> &Authenticated<SledRows> {
        &self.0
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
    use tempfile::TempDir;

    use super::*;
    use crate::id::Revision;
    use crate::seal::tests::master_keys;
    use crate::store::Store;
    use crate::time::Time;

    impl SledStore {
        /// The rows, for tests that damage them.
        pub(in crate::store) fn rows(&self) -> &impl Rows {
            &self.0.rows
        }

        /// The number of commits in the store, and the one beside it.
        fn numbers(&self) -> (u64, u64) {
            let rows = &self.0.rows;
            let stored = rows.rows.get(COMMITS_ROW).unwrap();
            let latest = rows.latest.lock().unwrap().number();
            (commits(stored.as_deref(), &rows.master_keys).unwrap(), latest)
        }
    }

    const LATEST_FILE: &str = "latest";

    type Opening = Result<SledStore, StoreError>;

    /// Opens a store that this process has just closed: sled's threads hold the lock for a moment
    /// longer.
    #[expect(clippy::needless_pass_by_value, reason = "as the function that it stands for")]
    pub(in crate::store) fn open_when_free(path: &Path, keys: Arc<MasterKeys>) -> Opening {
        when_free(|| SledStore::open(path, keys.clone()))
    }

    #[expect(clippy::needless_pass_by_value, reason = "as the function that it stands for")]
    fn create_when_free(path: &Path, keys: Arc<MasterKeys>) -> Opening {
        when_free(|| SledStore::create(path, keys.clone()))
    }

    #[expect(clippy::disallowed_methods, reason = "sled does not tell when it lets go of its lock")]
    fn when_free(open: impl Fn() -> Opening) -> Opening {
        for _ in 0..1000 {
            match open() {
                Err(StoreError::Locked(_)) => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                opened => return opened,
            }
        }
        open()
    }

    fn new_store() -> (TempDir, Arc<MasterKeys>, SledStore) {
        let (dir, keys) = (tempfile::tempdir().unwrap(), Arc::new(master_keys()));
        let store = SledStore::create(dir.path(), keys.clone()).unwrap();
        (dir, keys, store)
    }

    fn refusal(path: &Path, keys: &Arc<MasterKeys>) -> Option<StoreError> {
        open_when_free(path, keys.clone()).err()
    }

    fn older(commits: u64, acknowledged: u64) -> StoreError {
        let what = format!(
            "the store (older than what was acknowledged: commit {commits} of {acknowledged})"
        );
        StoreError::Damaged { what }
    }

    /// Replaces the content of a directory by that of another.
    pub(in crate::store) fn copy_files(from: &Path, to: &Path) {
        let _ = fs::remove_dir_all(to);
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy_files(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    #[test]
    fn a_missing_store_is_not_made_by_opening_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store");
        let opened = open_when_free(&path, Arc::new(master_keys()));
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
        let opened = open_when_free(dir.path(), Arc::new(master_keys()));
        assert_eq!(opened.err(), Some(StoreError::OtherMasterKey { id: right.sealing_id() }));
        assert!(open_when_free(dir.path(), right).is_ok());
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
    fn after_a_failed_write_or_sync_of_the_latest_number_nothing_is_taken_and_nothing_is_told() {
        // What cannot be written, and what cannot be synced.
        for target in ["/dev/full", "/dev/null"] {
            let (dir, _keys, store) = new_store();
            let now = Time::from_millis(1);
            let redirect = |to: &Path| store.0.rows.latest.lock().unwrap().redirect(to);
            redirect(Path::new(target));
            assert!(matches!(store.record_seen(now), Err(StoreError::Unknown(_))));
            // Also when the disk says that it is well again.
            redirect(&dir.path().join(LATEST_FILE));
            assert!(matches!(store.seen(), Err(StoreError::Unavailable(_))));
            assert!(matches!(store.record_seen(now), Err(StoreError::Unavailable(_))));
            // Who wrote before the failure and waited for the sync is told the truth.
            assert_eq!(store.0.rows.make_durable(1), Ok(()));
            assert!(matches!(store.0.rows.make_durable(3), Err(StoreError::Unknown(_))));
        }
    }

    #[test]
    fn a_store_that_lost_its_content_is_not_taken_for_a_new_one() {
        let (dir, keys, store) = new_store();
        drop(store);
        File::create(dir.path().join(LOG_FILE)).unwrap();
        assert_eq!(refusal(dir.path(), &keys), Some(older(0, 1)));
        assert_eq!(SledStore::create(dir.path(), keys).err(), Some(older(0, 1)));
    }

    #[test]
    fn a_store_that_lost_its_log_is_neither_missing_nor_made_again() {
        let (dir, keys, store) = new_store();
        drop(store);
        let log = dir.path().join(LOG_FILE);
        fs::remove_file(&log).unwrap();
        assert!(SledStore::exists(dir.path()));
        assert_eq!(refusal(dir.path(), &keys), Some(older(0, 1)));
        assert_eq!(SledStore::create(dir.path(), keys).err(), Some(older(0, 1)));
        assert!(!log.exists());
    }

    #[test]
    fn a_store_without_the_latest_number_or_with_a_foreign_one_is_refused() {
        let (dir, keys, store) = new_store();
        drop(store);
        let latest = dir.path().join(LATEST_FILE);
        let own = fs::read(&latest).unwrap();
        fs::remove_file(&latest).unwrap();
        let what = format!("the file {} (it is missing)", latest.display());
        let missing = StoreError::Damaged { what };
        assert_eq!(refusal(dir.path(), &keys), Some(missing.clone()));
        assert_eq!(SledStore::create(dir.path(), keys.clone()).err(), Some(missing));
        assert!(!latest.exists());
        let (other_dir, other_keys, _other_store) = new_store();
        fs::copy(other_dir.path().join(LATEST_FILE), &latest).unwrap();
        let foreign = StoreError::OtherMasterKey { id: other_keys.sealing_id() };
        assert_eq!(refusal(dir.path(), &keys), Some(foreign));
        fs::write(&latest, own).unwrap();
        assert_eq!(refusal(dir.path(), &keys), None);
    }

    #[test]
    fn a_torn_write_of_the_latest_number_is_survived() {
        let (dir, keys, store) = new_store();
        let latest = dir.path().join(LATEST_FILE);
        let before = fs::read(&latest).unwrap();
        store.record_seen(Time::from_millis(1)).unwrap();
        drop(store);
        let mut torn = fs::read(&latest).unwrap();
        let first = torn.iter().zip(&before).position(|(new, old)| new != old).unwrap();
        torn[first + 20] ^= 1;
        fs::write(&latest, torn).unwrap();
        let store = open_when_free(dir.path(), keys).unwrap();
        assert_eq!(store.seen(), Ok(Time::from_millis(1)));
        assert_eq!(store.numbers(), (2, 2));
    }

    #[test]
    fn a_store_whose_process_died_before_the_latest_number_was_written_opens_and_raises_it() {
        let (dir, keys, store) = new_store();
        let latest = dir.path().join(LATEST_FILE);
        let before = fs::read(&latest).unwrap();
        for millis in 1..4 {
            store.record_seen(Time::from_millis(millis)).unwrap();
        }
        drop(store);
        fs::write(&latest, before).unwrap();
        let store = open_when_free(dir.path(), keys.clone()).unwrap();
        assert_eq!((store.numbers(), store.seen()), ((4, 4), Ok(Time::from_millis(3))));
        store.record_seen(Time::from_millis(4)).unwrap();
        drop(store);
        assert_eq!(open_when_free(dir.path(), keys).unwrap().numbers(), (5, 5));
    }

    #[test]
    fn commits_at_once_are_all_counted_before_they_are_answered() {
        let (_dir, _keys, store) = new_store();
        std::thread::scope(|scope| {
            for name in ["a", "b", "c", "d"] {
                let store = &store;
                scope.spawn(move || {
                    let keyset = name.parse().unwrap();
                    for revision in 0..10 {
                        let before = store.numbers().1;
                        store.commit(&keyset, Revision(revision), &[], Time::EPOCH).unwrap();
                        assert!(store.numbers().1 > before);
                    }
                });
            }
        });
        let (commits, latest) = store.numbers();
        assert_eq!(commits, latest);
        assert!(commits >= 41);
    }

    #[test]
    fn an_older_log_put_back_alone_is_refused_and_all_files_together_are_not() {
        let (dir, keys, store) = new_store();
        let copy = tempfile::tempdir().unwrap();
        store.record_seen(Time::from_millis(1)).unwrap();
        drop(store);
        copy_files(dir.path(), copy.path());
        let store = open_when_free(dir.path(), keys.clone()).unwrap();
        store.record_seen(Time::from_millis(2)).unwrap();
        drop(store);
        let latest = fs::read(dir.path().join(LATEST_FILE)).unwrap();
        copy_files(copy.path(), dir.path());
        fs::write(dir.path().join(LATEST_FILE), latest).unwrap();
        assert_eq!(refusal(dir.path(), &keys), Some(older(2, 3)));
        assert_eq!(refusal(dir.path(), &keys), Some(older(2, 3)));
        // What nothing in the directory can tell.
        copy_files(copy.path(), dir.path());
        let store = open_when_free(dir.path(), keys).unwrap();
        assert_eq!(store.seen(), Ok(Time::from_millis(1)));
    }

    #[test]
    fn a_changed_or_removed_number_of_commits_is_damage_and_takes_no_commit() {
        let (dir, keys, store) = new_store();
        let rows = &store.0.rows.rows;
        let whole = rows.get(COMMITS_ROW).unwrap().unwrap();
        for index in (0..1).chain(9..whole.len()) {
            let mut changed = whole.to_vec();
            changed[index] ^= 1;
            rows.insert(COMMITS_ROW, changed).unwrap();
            let refused = store.record_seen(Time::from_millis(1));
            let what = "the number of commits".to_owned();
            assert_eq!(refused, Err(StoreError::Damaged { what }), "byte {index}");
        }
        rows.remove(COMMITS_ROW).unwrap();
        drop(store);
        assert_eq!(refusal(dir.path(), &keys), Some(older(0, 1)));
    }

    #[test]
    fn an_interrupted_making_is_ended_by_the_next_opening() {
        let keys = Arc::new(master_keys());
        let begun = |path: &Path| HighWater::create(path, &keys).unwrap();
        let interrupted: [&dyn Fn(&Path); 4] = [
            &|path| begun(path),
            &|path| {
                begun(path);
                File::create(path.join(LOG_FILE)).unwrap();
            },
            &|path| {
                begun(path);
                drop(sled::open(path).unwrap());
            },
            &|path| {
                drop(SledStore::create(path, keys.clone()).unwrap());
                begun(path);
            },
        ];
        for (index, interrupted) in interrupted.into_iter().enumerate() {
            for end in [open_when_free, create_when_free] {
                let dir = tempfile::tempdir().unwrap();
                interrupted(dir.path());
                assert!(SledStore::exists(dir.path()));
                let other = refusal(dir.path(), &Arc::new(master_keys()));
                assert_eq!(other, Some(StoreError::OtherMasterKey { id: keys.sealing_id() }));
                let store = end(dir.path(), keys.clone()).unwrap();
                assert_eq!((store.numbers(), store.keysets()), ((1, 1), Ok(vec![])), "{index}");
            }
        }
    }

    #[test]
    fn a_making_that_was_interrupted_at_once_left_nothing() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), Arc::new(master_keys()));
        fs::write(dir.path().join("latest.new"), [0; 100]).unwrap();
        assert!(!SledStore::exists(dir.path()));
        let missing = StoreError::Missing(dir.path().to_owned());
        assert_eq!(refusal(dir.path(), &keys), Some(missing));
        assert_eq!(SledStore::create(dir.path(), keys).unwrap().numbers(), (1, 1));
    }

    #[test]
    fn a_newer_format_is_refused_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(master_keys());
        let store = SledStore::create(dir.path(), keys.clone()).unwrap();
        let newer = (b"format".to_vec(), Some(b"2".to_vec()));
        store.rows().write(&[], &[newer]).unwrap().unwrap();
        drop(store);
        let opened = open_when_free(dir.path(), keys.clone());
        let unknown = Some(StoreError::UnknownFormat("2".into()));
        assert_eq!(opened.err(), unknown);
        // It need not count as this version does.
        fs::remove_file(dir.path().join(LATEST_FILE)).unwrap();
        assert_eq!(refusal(dir.path(), &keys), unknown);
    }
}
