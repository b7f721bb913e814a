//! The store on disk, in sled.
//!
//! sled's own `flush()` is not durable: it calls `sync_file_range`, which neither commits the
//! file's size nor empties the disk's cache. So this module
//!
//! * flushes after opening, then syncs every file in the directory, the directory and its parent;
//! * commits in one transaction with the flush inside it, which also counts the commit in a row of
//!   its own: `commits`, tag and number;
//! * syncs an own descriptor of sled's log afterwards, then writes the number of the commit to the
//!   file `latest` and syncs that, and only then answers; likewise before it answers with what
//!   another commit has written meanwhile;
//! * uses one tree for all sets, since each tree costs memory; and lets sled never wake by itself.
//!
//! When a commit fails to reach the disk, the kernel may have dropped what it could not write and
//! report success the next time, and sled would read back what is in its memory only. So from then
//! on nothing is read or written through what is open: the next operation closes it and opens the
//! store anew, by the same steps, to go on from what is really there. As long as that fails, every
//! operation says why and tries again.
//!
//! sled takes what it cannot read for the end of its log too, and cuts there. And what it left of a
//! snapshot, because the disk was full or the process died, it takes for a damaged one for ever. So
//! before it opens the files unfinished snapshots are removed and the others are read once.
//!
//! Nor can sled tell damage from the end of its log, see the module `high_water`. So a store whose
//! `commits` is below `latest` is not opened. One above it is: the process died before it could
//! answer, and `latest` is raised. sled cuts its log where it takes it to end, so that a store that
//! was not opened for this is beyond repair, and only a copy of all its files helps.
//!
//! A newer store is refused by its file `format`, before any of this: see the module `format`.
//!
//! A store is begun by a `latest` of 0, which says that nothing was acknowledged yet. As long as it
//! says so an empty store is one whose making was interrupted, and opening it ends the making; sled's
//! parameters, which may be torn then, are written again.
//! Later an empty store is one that lost all it had, and without the file nothing is opened.

mod database;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use sled::transaction::{ConflictableTransactionError, TransactionError};

use self::database::{Database, NotClosed};
use super::StoreError;
use super::authenticated::{Authenticated, FORMAT_ROW, Pairs, Row, Rows, Wraps, known_format};
use super::copied::Moment;
use super::format;
use super::high_water::{HighWater, UNFINISHED_FILE, checked_number, tagged_number};
use crate::seal::MasterKeys;

pub(super) const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// What is in the directory of every sled database.
pub(super) const LOG_FILE: &str = "db";

/// What else is there: always the same.
pub(super) const PARAMETERS_FILE: &str = "conf";

/// How long an opening waits for the closing before it.
const CLOSING: Duration = Duration::from_secs(1);

/// How often all rows are read while commits go on, before commits wait for it.
const TRIES: usize = 3;

/// The one tree.
pub(super) const TREE: &str = "rows";

/// How many writes the store has had.
pub(super) const COMMITS_ROW: &[u8] = b"commits";

/// A [`Store`](super::Store) in a directory on disk, which it locks against other processes.
pub struct SledStore(Authenticated<SledRows>);

pub(super) struct SledRows {
    path: PathBuf,
    master_keys: Arc<MasterKeys>,
    // Every operation holds it shared from its first read to its last sync, an opening alone.
    state: RwLock<State>,
}

enum State {
    Open(Opened),
    /// Not to be used for this reason, and not open again yet; with what has to be closed first.
    Closed(String, Option<Database>),
}

/// Why a store is not open, and what of it has to be closed before it can be opened again.
struct NotOpened {
    error: StoreError,
    left: Option<Database>,
}

/// What is open, until something fails to reach the disk.
struct Opened {
    log: File,
    latest: Mutex<HighWater>,
    master_keys: Arc<MasterKeys>,
    rows: sled::Tree,
    // Dropped after the tree: it holds the lock.
    database: Database,
    /// The first failure; from then on memory may differ from the disk.
    failure: OnceLock<String>,
}

impl SledStore {
    /// Whether there is a store at `path`, be it whole or not.
    #[cfg(test)]
    pub(super) fn exists(path: &Path) -> bool {
        path.join(LOG_FILE).exists() || HighWater::exists(path).unwrap_or(false)
    }

    /// Whether a file of this name says nothing: making a store leaves it where that is interrupted
    /// before there is one, and [`SledStore::create`] writes over it.
    #[must_use]
    pub fn is_left_over(name: &OsStr) -> bool {
        [UNFINISHED_FILE, format::FILE, format::UNFINISHED_FILE].iter().any(|file| name == *file)
    }

    /// Opens the store at `path`.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::OtherMasterKey`],
    /// [`StoreError::Damaged`], [`StoreError::UnknownFormat`], [`StoreError::Unavailable`].
    pub fn open(path: &Path, master_keys: Arc<MasterKeys>) -> Result<Self, StoreError> {
        format::check(path)?;
        if is_absent(path)? {
            return Err(StoreError::Missing(path.to_owned()));
        }
        let rows = SledRows::open(path, master_keys.clone())?;
        Authenticated::create(rows, master_keys).map(Self)
    }

    /// Whether a process has the store at `path` open.
    ///
    /// # Errors
    ///
    /// When that cannot be told.
    pub fn is_in_use(path: &Path) -> io::Result<bool> {
        let log = match File::open(path.join(LOG_FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            opened => opened?,
        };
        match log.try_lock() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Waits until the store at `path`, which this process has just closed, can be opened again:
    /// sled's threads hold the lock for a moment longer.
    pub(super) fn wait_until_closed(path: &Path) -> io::Result<()> {
        File::open(path.join(LOG_FILE))?.lock()
    }

    /// Makes an empty store at `path`, where there is none, and opens it.
    ///
    /// # Errors
    ///
    /// As [`SledStore::open`].
    pub fn create(path: &Path, master_keys: Arc<MasterKeys>) -> Result<Self, StoreError> {
        format::check(path)?;
        fs::create_dir_all(path).map_err(|error| unavailable(&error))?;
        if is_absent(path)? {
            // First the format: what there is of a store always says it.
            format::create(path)
                .and_then(|()| HighWater::create(path, &master_keys))
                .map_err(|error| unavailable(&error))?;
        }
        Self::open(path, master_keys)
    }
}

impl SledRows {
    fn open(path: &Path, master_keys: Arc<MasterKeys>) -> Result<Self, StoreError> {
        let opened = Opened::open(path, master_keys.clone()).map_err(|not| not.error)?;
        Ok(Self { path: path.to_owned(), master_keys, state: RwLock::new(State::Open(opened)) })
    }

    /// Runs an operation on what can be trusted, which is opened again if need be.
    fn on_trusted<T>(
        &self,
        operation: impl Fn(&Opened) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
                State::Open(opened) if opened.failure.get().is_none() => return operation(opened),
                State::Open(_) | State::Closed(..) => {}
            }
            self.open_again()?;
        }
    }

    /// Reads, and tells only what is durable.
    fn read<T>(&self, read: impl Fn(&Opened) -> Result<T, StoreError>) -> Result<T, StoreError> {
        loop {
            let durable = self.on_trusted(|opened| {
                let value = read(opened)?;
                match opened.make_seen_durable() {
                    // Then it is read again, from what the disk has.
                    Err(StoreError::Unknown(_)) => Ok(None),
                    made => made.map(|()| Some(value)),
                }
            })?;
            if let Some(value) = durable {
                return Ok(value);
            }
        }
    }

    /// All rows, of a moment at which nobody else is at work.
    fn all_while_commits_wait(&self) -> Result<Moment, StoreError> {
        loop {
            if let State::Open(opened) =
                &*self.state.write().unwrap_or_else(PoisonError::into_inner)
                && opened.failure.get().is_none()
            {
                let moment = opened.all()?;
                match opened.make_seen_durable() {
                    // Then it is read again, from what the disk has.
                    Err(StoreError::Unknown(_)) => {}
                    made => return made.map(|()| moment),
                }
            }
            self.open_again()?;
        }
    }

    /// Closes what failed and opens what is on disk, unless someone else just did.
    fn open_again(&self) -> Result<(), StoreError> {
        // Held throughout, so that no operation is left and nobody else opens.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let cause = match &*state {
            State::Open(Opened { failure, .. }) => failure.get().cloned(),
            State::Closed(cause, _) => Some(cause.clone()),
        };
        let Some(cause) = cause else { return Ok(()) };
        let left = match mem::replace(&mut *state, State::Closed(cause.clone(), None)) {
            State::Open(opened) => Some(opened.into_database()),
            State::Closed(_, left) => left,
        };
        if let Some(NotClosed { database, error }) = left.and_then(|left| close_aside(left).err()) {
            *state = State::Closed(cause.clone(), Some(database));
            return Err(not_open_again(unavailable(&error), &cause));
        }
        match Opened::open(&self.path, self.master_keys.clone()) {
            Ok(opened) => *state = State::Open(opened),
            Err(NotOpened { error, left }) => {
                *state = State::Closed(cause.clone(), left);
                return Err(not_open_again(error, &cause));
            }
        }
        Ok(())
    }
}

impl Opened {
    /// Opens rows that are not older than what was acknowledged; empty ones only if that is nothing.
    fn open(path: &Path, master_keys: Arc<MasterKeys>) -> Result<Self, NotOpened> {
        let nothing_left = |error| NotOpened { error, left: None };
        make_ready(path, &master_keys).map_err(nothing_left)?;
        let sled = sled::Config::new()
            .path(path)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(|error| nothing_left(opening_failed(path, &error)))?;
        let database = Database::new(path, sled.clone());
        match Self::checked(path, &sled, &master_keys) {
            Ok((rows, latest, log)) => Ok(Self {
                log,
                latest: Mutex::new(latest),
                master_keys,
                rows,
                database,
                failure: OnceLock::new(),
            }),
            Err(error) => {
                drop(sled);
                Err(NotOpened { error, left: Some(database) })
            }
        }
    }

    /// The rows of a database, the number beside it and its log, when all of it is what was
    /// acknowledged, and on the disk.
    fn checked(
        path: &Path,
        sled: &sled::Db,
        master_keys: &Arc<MasterKeys>,
    ) -> Result<(sled::Tree, HighWater, File), StoreError> {
        let rows = sled.open_tree(TREE).map_err(|error| opening_failed(path, &error))?;
        let format = rows.get(FORMAT_ROW).map_err(|error| failed(&error))?;
        // A newer version may count otherwise.
        format.map_or(Ok(()), |format| known_format(&format))?;
        let stored = rows.get(COMMITS_ROW).map_err(|error| failed(&error))?;
        let commits = commits(stored.as_deref(), master_keys)?;
        let mut latest = HighWater::open(path, master_keys.clone())?;
        not_older(commits, &latest)?;
        sled.flush().map_err(|error| opening_failed(path, &error))?;
        sync_tree(path).map_err(|error| unavailable(&error))?;
        latest.raise(commits).map_err(|error| unavailable(&error))?;
        let log = File::open(path.join(LOG_FILE)).map_err(|error| unavailable(&error))?;
        Ok((rows, latest, log))
    }

    /// What is to be closed.
    fn into_database(self) -> Database {
        let Self { rows, database, .. } = self;
        drop(rows);
        database
    }

    /// Makes durable what was read before this. sled shows a commit to everyone before it is flushed,
    /// and a power cut would take back what someone was told.
    fn make_seen_durable(&self) -> Result<(), StoreError> {
        let number = self.commits()?;
        if number > self.latest.lock().unwrap_or_else(PoisonError::into_inner).number() {
            self.rows.flush().map_err(|error| self.distrust(told(&error)))?;
            self.make_durable(number)?;
        }
        Ok(())
    }

    /// Syncs the log and then `latest`, so that the commit with this number, which was flushed, can be
    /// acknowledged.
    fn make_durable(&self, number: u64) -> Result<(), StoreError> {
        // One after the other: the kernel tells of a failure only once.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if number <= latest.number() {
            // A later commit took this one along.
            return Ok(());
        }
        if let Some(failure) = self.failure.get() {
            return Err(StoreError::Unknown(failure.clone()));
        }
        self.log
            .sync_data()
            .and_then(|()| latest.raise(number))
            .map_err(|error| self.distrust(error.to_string()))
    }

    /// How many writes the store has had.
    fn commits(&self) -> Result<u64, StoreError> {
        let stored = self.rows.get(COMMITS_ROW).map_err(|error| failed(&error))?;
        commits(stored.as_deref(), &self.master_keys)
    }

    /// All rows. The count is read first: one that came later shows.
    fn all(&self) -> Result<Moment, StoreError> {
        let commit = self.commits()?;
        let mut rows: BTreeMap<_, _> = self.scan(b"")?.into_iter().collect();
        rows.remove(COMMITS_ROW);
        Ok(Moment { rows, commit })
    }

    fn distrust(&self, failure: String) -> StoreError {
        StoreError::Unknown(self.failure.get_or_init(|| failure).clone())
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.rows.get(key).map_err(|error| failed(&error))?;
        Ok(value.map(|bytes| bytes.to_vec()))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Pairs, StoreError> {
        self.rows
            .scan_prefix(prefix)
            .map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())))
            .collect::<Result<_, _>>()
            .map_err(|error| failed(&error))
    }

    fn write(&self, expected: &[Row], rows: &[Row]) -> Result<Result<(), usize>, StoreError> {
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
            Err(TransactionError::Storage(error)) => Err(self.distrust(told(&error))),
        }
    }
}

impl Rows for SledRows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|opened| opened.get(key))
    }

    fn scan(&self, prefix: &[u8]) -> Result<Pairs, StoreError> {
        self.read(|opened| opened.scan(prefix))
    }

    fn write(&self, expected: &[Row], rows: &[Row]) -> Result<Result<(), usize>, StoreError> {
        self.on_trusted(|opened| opened.write(expected, rows))
    }

    /// Every write counts itself in the same transaction, so where the count stood still while all
    /// was read, no write came in between. Where it does not stand still, commits wait once.
    fn all(&self) -> Result<Moment, StoreError> {
        for _ in 0..TRIES {
            let moment = self.read(|opened| {
                let moment = opened.all()?;
                Ok(Some(moment).filter(|moment| opened.commits() == Ok(moment.commit)))
            })?;
            if let Some(moment) = moment {
                return Ok(moment);
            }
        }
        self.all_while_commits_wait()
    }
}

/// Closes what failed in a thread of its own: sled may wait for ever there for a write that it gave
/// up, and then the lock stays until the process ends. Waits for what is usual.
fn close_aside(database: Database) -> Result<(), NotClosed> {
    let (closing, closed) = mpsc::channel();
    // Where there is no thread, nobody has taken it.
    let database = Arc::new(Mutex::new(Some(database)));
    let take = |from: &Mutex<Option<Database>>| from.lock().ok()?.take();
    let for_thread = database.clone();
    let close = move || {
        let outcome = take(&for_thread).map_or(Ok(()), Database::close);
        // An error means that nobody waits any more.
        let _ = closing.send(outcome);
    };
    match thread::Builder::new().name("store-closing".into()).spawn(close) {
        // In all other cases the opening tells whether the lock is free.
        Ok(_) => closed.recv_timeout(CLOSING).unwrap_or(Ok(())),
        Err(error) => match take(&database) {
            Some(database) => Err(NotClosed { database, error }),
            None => Ok(()),
        },
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

/// Whatever has to be done or known before sled opens the files.
fn make_ready(path: &Path, master_keys: &Arc<MasterKeys>) -> Result<(), StoreError> {
    if !has_log(path)? {
        // Opening would make one.
        not_older(0, &HighWater::open(path, master_keys.clone())?)?;
    }
    prepare(path)?;
    let begun = HighWater::open(path, master_keys.clone());
    if begun.is_ok_and(|latest| latest.number() == 0) {
        remove_parameters(path).map_err(|error| unavailable(&error))?;
    }
    Ok(())
}

/// Removes what sled would take for damage, and finds what it would take for the end of its log.
pub(super) fn prepare(path: &Path) -> Result<(), StoreError> {
    let log = match File::open(path.join(LOG_FILE)) {
        Ok(log) => log,
        // There is nothing yet.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unavailable(&error)),
    };
    // The lock that sled takes too: nobody else is at work in there.
    log.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::Locked(path.to_owned()),
        TryLockError::Error(error) => unavailable(&error),
    })?;
    remove_unfinished(path).and_then(|()| read_tree(path)).map_err(|error| unavailable(&error))
}

/// Removes snapshots that sled did not come to give their name.
fn remove_unfinished(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Removes what sled writes again in the same words. It writes them in two parts and syncs neither, so
/// an interrupted making leaves a part, which it would take for damage.
fn remove_parameters(path: &Path) -> io::Result<()> {
    match fs::remove_file(path.join(PARAMETERS_FILE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads every file below `path`.
fn read_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            read_tree(&entry.path())?;
        } else {
            io::copy(&mut File::open(entry.path())?, &mut io::sink())?;
        }
    }
    Ok(())
}

/// Syncs every file below `path`, every directory, and the directory that holds `path`.
pub(super) fn sync_tree(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(path)?.sync_all()?;
    sync_parent(path)
}

/// Syncs the directory that holds `path`.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

pub(super) fn opening_failed(path: &Path, error: &sled::Error) -> StoreError {
    // sled wraps what the lock said in a text of its own.
    let in_use = |io: &io::Error| io.to_string().contains("WouldBlock");
    match error {
        sled::Error::Io(io) if in_use(io) => StoreError::Locked(PathBuf::from(path)),
        _ => failed(error),
    }
}

/// Why a store that was closed for this reason is not open again.
fn not_open_again(error: StoreError, cause: &str) -> StoreError {
    match error {
        // Mostly by sled's own threads, which hold the lock for a moment longer.
        StoreError::Locked(_) => {
            StoreError::Unavailable(format!("the store is being opened again after: {cause}"))
        }
        StoreError::Unavailable(now) => StoreError::Unavailable(format!(
            "the store could not be opened again: {now} (closed after: {cause})"
        )),
        other => other,
    }
}

pub(super) fn failed(error: &sled::Error) -> StoreError {
    match error {
        sled::Error::Corruption { .. } => {
            StoreError::Damaged { what: "the file of the store".into() }
        }
        _ => StoreError::Unavailable(told(error)),
    }
}

/// What went wrong. sled quotes what the system told, where people should read it.
fn told(error: &sled::Error) -> String {
    let text = match error {
        sled::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    };
    let code = text.split_once("Os { code: ").and_then(|(_, rest)| rest.split_once(','));
    code.and_then(|(code, _)| code.parse().ok())
        .map_or(text, |code| io::Error::from_raw_os_error(code).to_string())
}

pub(super) fn unavailable(error: &dyn std::error::Error) -> StoreError {
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
            self.opened(|opened| {
                let stored = opened.rows.get(COMMITS_ROW).unwrap();
                let latest = opened.latest.lock().unwrap().number();
                (commits(stored.as_deref(), &opened.master_keys).unwrap(), latest)
            })
        }

        /// What is open, be it trusted or not.
        fn opened<T>(&self, tell: impl FnOnce(&Opened) -> T) -> T {
            match &*self.0.rows.state.read().unwrap() {
                State::Open(opened) => tell(opened),
                State::Closed(cause, _) => panic!("closed after {cause}"),
            }
        }

        /// Makes the next sync of the log fail.
        fn break_log(&mut self) {
            if let State::Open(opened) = self.0.rows.state.get_mut().unwrap() {
                // What cannot be synced.
                opened.log = File::open("/dev/null").unwrap();
            }
        }
    }

    /// What the system tells of a sync of /dev/null.
    const NO_SYNC: &str = "Invalid argument (os error 22)";

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
    fn when_free<T>(operation: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let again = "the store is being opened again after: ";
        for _ in 0..1000 {
            match operation() {
                Err(StoreError::Locked(_)) => {}
                Err(StoreError::Unavailable(reason)) if reason.starts_with(again) => {}
                done => return done,
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        operation()
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
        assert!(!SledStore::is_in_use(&path).unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn a_store_in_use_is_not_opened_again() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(master_keys());
        let _first = SledStore::create(dir.path(), keys.clone()).unwrap();
        let second = SledStore::open(dir.path(), keys);
        assert_eq!(second.err(), Some(StoreError::Locked(dir.path().to_owned())));
        assert!(SledStore::is_in_use(dir.path()).unwrap());
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
    fn after_a_failed_sync_the_store_is_opened_again_and_goes_on() {
        let (dir, keys, mut store) = new_store();
        store.record_seen(Time::from_millis(1)).unwrap();
        for millis in 2..5 {
            store.break_log();
            let unknown = store.record_seen(Time::from_millis(millis));
            assert_eq!(unknown, Err(StoreError::Unknown(NO_SYNC.into())));
            // It was written after all.
            assert_eq!(when_free(|| store.seen()), Ok(Time::from_millis(millis)));
            assert_eq!(store.numbers(), (millis + 1, millis + 1));
        }
        store.record_seen(Time::from_millis(9)).unwrap();
        drop(store);
        let store = open_when_free(dir.path(), keys).unwrap();
        assert_eq!((store.numbers(), store.seen()), ((6, 6), Ok(Time::from_millis(9))));
    }

    /// A commit by someone who did not come to sync it yet.
    fn write_without_sync(store: &SledStore, millis: u64) {
        let keys = &store.0.rows.master_keys;
        store.opened(|opened| {
            opened.rows.insert("seen", tagged_number(keys, b"seen", millis)).unwrap();
            let number = opened.latest.lock().unwrap().number() + 1;
            opened.rows.insert(COMMITS_ROW, tagged_number(keys, COMMITS_ROW, number)).unwrap();
        });
    }

    #[test]
    fn what_is_read_is_durable_before_it_is_told() {
        let (_dir, _keys, store) = new_store();
        let reads: [&dyn Fn() -> u64; 2] = [&|| store.seen().unwrap().as_millis(), &|| {
            assert_eq!(store.rows().scan(b"seen").unwrap().len(), 1);
            2
        }];
        for (millis, read) in (1..).zip(reads) {
            write_without_sync(&store, millis);
            assert_eq!(store.numbers(), (millis + 1, millis));
            assert_eq!(read(), millis);
            assert_eq!(store.numbers(), (millis + 1, millis + 1));
        }
    }

    #[test]
    fn what_is_read_and_cannot_be_synced_is_read_again_from_the_disk() {
        let (dir, _keys, mut store) = new_store();
        let log = dir.path().join(LOG_FILE);
        let durable = fs::read(&log).unwrap();
        store.break_log();
        write_without_sync(&store, 1);
        store.opened(|opened| opened.rows.flush()).unwrap();
        fs::write(&log, durable).unwrap();
        assert_eq!(when_free(|| store.seen()), Ok(Time::EPOCH));
        assert_eq!(store.numbers(), (1, 1));
    }

    #[test]
    fn what_the_disk_lost_in_a_failed_sync_is_not_read_from_memory() {
        let (dir, keys, mut store) = new_store();
        let log = dir.path().join(LOG_FILE);
        store.record_seen(Time::from_millis(1)).unwrap();
        let acknowledged = fs::read(&log).unwrap();
        store.break_log();
        assert!(matches!(store.record_seen(Time::from_millis(2)), Err(StoreError::Unknown(_))));
        fs::write(&log, acknowledged).unwrap();
        assert_eq!(when_free(|| store.seen()), Ok(Time::from_millis(1)));
        assert_eq!(store.numbers(), (2, 2));
        store.record_seen(Time::from_millis(3)).unwrap();
        drop(store);
        let store = open_when_free(dir.path(), keys).unwrap();
        assert_eq!((store.numbers(), store.seen()), ((3, 3), Ok(Time::from_millis(3))));
    }

    #[test]
    fn as_long_as_the_store_cannot_be_opened_again_it_tells_the_failure_and_what_hinders() {
        let (dir, _keys, mut store) = new_store();
        let (latest, aside) = (dir.path().join(LATEST_FILE), dir.path().join("aside"));
        store.record_seen(Time::from_millis(1)).unwrap();
        store.break_log();
        assert!(matches!(store.record_seen(Time::from_millis(2)), Err(StoreError::Unknown(_))));
        fs::rename(&latest, &aside).unwrap();
        // What cannot be opened.
        fs::create_dir(&latest).unwrap();
        let hindered = "the store could not be opened again: Is a directory (os error 21)";
        let hindered = StoreError::Unavailable(format!("{hindered} (closed after: {NO_SYNC})"));
        for _ in 0..3 {
            assert_eq!(when_free(|| store.seen()), Err(hindered.clone()));
            let refused = when_free(|| store.record_seen(Time::from_millis(3)));
            assert_eq!(refused, Err(hindered.clone()));
        }
        fs::remove_dir(&latest).unwrap();
        let what = format!("the file {} (it is missing)", latest.display());
        assert_eq!(when_free(|| store.keysets()), Err(StoreError::Damaged { what }));
        fs::rename(&aside, &latest).unwrap();
        assert_eq!(when_free(|| store.seen()), Ok(Time::from_millis(2)));
        assert_eq!(store.record_seen(Time::from_millis(3)), Ok(()));
    }

    #[test]
    fn a_store_that_lost_what_was_acknowledged_is_refused_also_when_opened_again() {
        let (dir, _keys, mut store) = new_store();
        let log = dir.path().join(LOG_FILE);
        let before = fs::read(&log).unwrap();
        store.record_seen(Time::from_millis(1)).unwrap();
        store.break_log();
        assert!(matches!(store.record_seen(Time::from_millis(2)), Err(StoreError::Unknown(_))));
        fs::write(&log, before).unwrap();
        for _ in 0..2 {
            assert_eq!(when_free(|| store.seen()), Err(older(1, 2)));
            assert_eq!(when_free(|| store.record_seen(Time::from_millis(2))), Err(older(1, 2)));
        }
    }

    #[test]
    fn after_a_failed_write_or_sync_of_the_latest_number_the_store_is_opened_again() {
        // What cannot be written, and what cannot be synced.
        let no_space = "No space left on device (os error 28)";
        for (target, cause) in [("/dev/full", no_space), ("/dev/null", NO_SYNC)] {
            let (_dir, _keys, store) = new_store();
            let now = Time::from_millis(1);
            store.opened(|opened| opened.latest.lock().unwrap().redirect(Path::new(target)));
            let unknown = StoreError::Unknown(cause.into());
            assert_eq!(store.record_seen(now), Err(unknown.clone()));
            // Who wrote before the failure and waited for the sync is told the truth.
            assert_eq!(store.opened(|opened| opened.make_durable(1)), Ok(()));
            assert_eq!(store.opened(|opened| opened.make_durable(3)), Err(unknown));
            assert_eq!(when_free(|| store.seen()), Ok(now));
            assert_eq!(store.numbers(), (2, 2));
            assert_eq!(store.record_seen(Time::from_millis(2)), Ok(()));
        }
    }

    #[test]
    fn commits_at_once_survive_failures_in_between() {
        let (dir, keys, store) = new_store();
        let names = ["a", "b", "c", "d"];
        std::thread::scope(|scope| {
            for name in names {
                let store = &store;
                scope.spawn(move || {
                    let keyset = name.parse().unwrap();
                    for revision in 0..10 {
                        let commit = || store.commit(&keyset, Revision(revision), &[], Time::EPOCH);
                        // Known is only what is found afterwards.
                        match when_free(commit) {
                            Err(StoreError::Unknown(_)) | Ok(_) => {}
                            other => panic!("{other:?}"),
                        }
                        let loaded = when_free(|| store.load(&keyset)).unwrap();
                        assert_eq!(loaded.revision, Revision(revision + 1));
                        if let State::Open(opened) = &*store.0.rows.state.read().unwrap() {
                            let _ = opened.distrust("injected".into());
                        }
                    }
                });
            }
        });
        drop(store);
        let store = open_when_free(dir.path(), keys).unwrap();
        for name in names {
            assert_eq!(store.load(&name.parse().unwrap()).unwrap().revision, Revision(10));
        }
    }

    #[test]
    fn an_unfinished_snapshot_is_not_taken_for_damage() {
        let (dir, keys, store) = new_store();
        drop(store);
        for unfinished in [&b""[..], &[7; 100]] {
            let snapshot = dir.path().join("snap.00000000FFFFFFFF.generating");
            fs::write(&snapshot, unfinished).unwrap();
            assert_eq!(refusal(dir.path(), &keys), None);
            assert!(!snapshot.exists());
        }
    }

    #[test]
    fn the_unfinished_snapshot_of_another_process_is_left_alone() {
        let (dir, keys, _store) = new_store();
        let snapshot = dir.path().join("snap.00000000FFFFFFFF.generating");
        fs::write(&snapshot, "").unwrap();
        let locked = StoreError::Locked(dir.path().to_owned());
        assert_eq!(SledStore::open(dir.path(), keys).err(), Some(locked));
        assert!(snapshot.exists());
    }

    /// A small disk of its own, where that may be had.
    struct SmallDisk(TempDir);

    impl SmallDisk {
        fn mounted() -> Option<Self> {
            let dir = tempfile::tempdir().unwrap();
            let mount = ["-t", "tmpfs", "-o", "size=2m", "tmpfs"];
            let mut command = std::process::Command::new("mount");
            let output = command.args(mount).arg(dir.path()).output();
            output.is_ok_and(|output| output.status.success()).then(|| Self(dir))
        }

        /// Fills all that is free.
        fn fill(&self) {
            let mut file = File::create(self.0.path().join("filler")).unwrap();
            while io::Write::write(&mut file, &[1; 4096]).is_ok() {}
        }

        fn free(&self) {
            fs::remove_file(self.0.path().join("filler")).unwrap();
        }
    }

    impl Drop for SmallDisk {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).output();
        }
    }

    #[test]
    fn a_store_on_a_full_disk_goes_on_when_there_is_room_again() {
        let Some(disk) = SmallDisk::mounted() else {
            // Takes root.
            return;
        };
        let no_space = "No space left on device (os error 28)";
        let keys = Arc::new(master_keys());
        let path = disk.0.path().join("store");
        let store = SledStore::create(&path, keys.clone()).unwrap();
        let mut seen = 0;
        for _ in 0..3 {
            disk.fill();
            let failed = loop {
                match store.record_seen(Time::from_millis(seen + 1)) {
                    Ok(()) => seen += 1,
                    Err(error) => break error,
                }
            };
            assert_eq!(failed, StoreError::Unknown(no_space.into()));
            let hindered = format!("the store could not be opened again: {no_space}");
            let hindered = format!("{hindered} (closed after: {no_space})");
            for _ in 0..3 {
                let told = when_free(|| store.record_seen(Time::from_millis(seen + 2)));
                assert_eq!(told, Err(StoreError::Unavailable(hindered.clone())));
            }
            disk.free();
            let found = when_free(|| store.seen()).unwrap().as_millis();
            assert!((seen..=seen + 2).contains(&found), "{found} of {seen}");
            seen = found + 1;
            assert_eq!(store.record_seen(Time::from_millis(seen)), Ok(()));
        }
        drop(store);
        let store = open_when_free(&path, keys).unwrap();
        assert_eq!(store.seen(), Ok(Time::from_millis(seen)));
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
        let rows = store.opened(|opened| opened.rows.clone());
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
        drop((rows, store));
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
    fn parameters_that_an_interrupted_making_left_torn_are_written_again() {
        let keys = Arc::new(master_keys());
        let (whole, _keys, store) = new_store();
        drop(store);
        let parameters = fs::read(whole.path().join(PARAMETERS_FILE)).unwrap();
        for length in 0..parameters.len() {
            for has_log in [true, false] {
                let dir = tempfile::tempdir().unwrap();
                HighWater::create(dir.path(), &keys).unwrap();
                fs::write(dir.path().join(PARAMETERS_FILE), &parameters[..length]).unwrap();
                if has_log {
                    File::create(dir.path().join(LOG_FILE)).unwrap();
                }
                let store = open_when_free(dir.path(), keys.clone()).unwrap();
                assert_eq!((store.numbers(), store.keysets()), ((1, 1), Ok(vec![])));
                assert_eq!(fs::read(dir.path().join(PARAMETERS_FILE)).unwrap(), parameters);
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
    fn a_newer_format_that_the_rows_alone_tell_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Arc::new(master_keys());
        let store = SledStore::create(dir.path(), keys.clone()).unwrap();
        let newer = (b"format".to_vec(), Some(b"2".to_vec()));
        store.rows().write(&[], &[newer]).unwrap().unwrap();
        drop(store);
        let opened = open_when_free(dir.path(), keys.clone());
        let what = "the store".to_owned();
        let unknown = Some(StoreError::UnknownFormat { what, format: "2".into() });
        assert_eq!(opened.err(), unknown);
        // It need not count as this version does.
        fs::remove_file(dir.path().join(LATEST_FILE)).unwrap();
        assert_eq!(refusal(dir.path(), &keys), unknown);
    }
}
