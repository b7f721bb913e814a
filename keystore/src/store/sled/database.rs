//! A database of sled, and how it is closed where the disk fails.
//!
//! sled syncs its log when it is dropped and panics where that fails, unless it met a failure itself before. A
//! daemon must not end of that, so it is dropped only where nothing of the kind is to be expected.

use std::fs::File;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use super::{COMMITS_ROW, LOG_FILE, TREE};

/// How many syncs in a row tell that the next will not fail, where sled met no failure: some disks fail now
/// and then.
const SYNCS: usize = 64;

/// An open database. It holds the lock of its directory until it is closed.
pub(super) struct Database {
    path: PathBuf,
    /// Absent once it is closed.
    sled: Option<sled::Db>,
}

/// What could not be closed yet, and why.
pub(super) struct NotClosed {
    pub(super) database: Database,
    pub(super) error: io::Error,
}

impl Database {
    pub(super) fn new(path: &Path, sled: sled::Db) -> Self {
        Self { path: path.to_owned(), sled: Some(sled) }
    }

    /// Closes it, of which nothing but this may be left.
    ///
    /// # Errors
    ///
    /// [`NotClosed`], where its log cannot be synced: it is to be tried again.
    pub(super) fn close(mut self) -> Result<(), NotClosed> {
        for _ in 0..SYNCS {
            self.meet_the_failure();
            if let Err(error) = self.syncs() {
                return Err(NotClosed { database: self, error });
            }
            if self.has_met_one() {
                break;
            }
        }
        drop(self.sled.take());
        Ok(())
    }

    /// Gives sled a write to meet a failure in, after which it leaves its log alone: of what is there
    /// already. The kernel tells of a failure once for each descriptor that has not heard of it.
    fn meet_the_failure(&self) {
        let Some(rows) = self.sled.as_ref().and_then(|sled| sled.open_tree(TREE).ok()) else {
            return;
        };
        if let Ok(Some(commits)) = rows.get(COMMITS_ROW) {
            let met = rows.insert(COMMITS_ROW, commits).and_then(|_| rows.flush());
            // What became of it is read when the store is opened again.
            drop(met);
        }
    }

    /// Whether sled may be dropped: it met a failure, or its log can be synced.
    fn syncs(&self) -> io::Result<()> {
        if self.has_met_one() {
            return Ok(());
        }
        File::open(self.path.join(LOG_FILE))?.sync_all()
    }

    fn has_met_one(&self) -> bool {
        self.sled.as_ref().is_none_or(|sled| sled.context.global_error().is_err())
    }
}

impl Drop for Database {
    /// Where it cannot be closed, it stays as it is until the process ends, which is about to.
    fn drop(&mut self) {
        if self.syncs().is_err()
            && let Some(sled) = self.sled.take()
        {
            mem::forget(sled);
        }
    }
}
