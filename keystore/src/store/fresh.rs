//! A store on disk that is made whole: for what is restored, and for what is sealed anew.
//!
//! It is built in a folder beside its place, put on the disk, read back as the daemon would, and
//! only then gets its name. So what has the name is whole, and a building that was interrupted at any
//! point is begun again from nothing.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use super::authenticated::Wraps;
use super::copied::{Moment, StoreCopy};
use super::format;
use super::high_water::{HighWater, tagged_number};
use super::sled::{
    CACHE_BYTES, COMMITS_ROW, LOG_FILE, PARAMETERS_FILE, SledStore, TREE, failed, opening_failed,
    prepare, sync_parent, sync_tree, unavailable,
};
use super::{Progress, Stage, Store, StoreError};
use crate::seal::MasterKeys;

/// How many rows are written at once.
const AT_ONCE: usize = 256;

/// The steps after the rows.
const ENDING: u64 = 6;

impl StoreCopy {
    /// Checks every row: its tag or hash, that no row is missing and none too many, and that every
    /// secret opens and belongs to its public half.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] names the first that is not.
    pub fn check(&self, watch: &mut dyn FnMut(Progress)) -> Result<(), StoreError> {
        self.wrapped().check_all(watch)
    }

    /// The same store with every row tagged and every secret sealed under the first of other master
    /// keys.
    ///
    /// # Errors
    ///
    /// As [`StoreCopy::check`].
    pub fn under(
        &self,
        master_keys: Arc<MasterKeys>,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Self, StoreError> {
        let moment = self.wrapped().under(&master_keys, watch)?;
        Self::of(moment, master_keys)
    }

    /// Writes the store to `path`, where nothing is but perhaps an empty folder. It is built in a
    /// folder beside it, whose name ends with `.` and `building`; what an earlier try left there is
    /// thrown away. Where this fails or the process ends, nothing is at `path`, and it can be done
    /// again.
    ///
    /// # Errors
    ///
    /// [`StoreError::Occupied`] where something is at `path`, or something that was not left by an
    /// earlier try is in the folder beside it; [`StoreError::Locked`] where another process is at it;
    /// [`StoreError::Unavailable`].
    pub fn write_new(
        &self,
        path: &Path,
        building: &str,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<(), StoreError> {
        check_free(path)?;
        let folder = path.with_added_extension(building);
        let keys = self.wrapped().master_keys();
        clear(&folder)?;
        let moment = self.moment().clone();
        build(&folder, &moment, keys, watch)?;
        let mut done = 0;
        let mut ending = || {
            done += 1;
            watch(Progress { stage: Stage::Ending, done, of: ENDING });
        };
        let io = |error: io::Error| unavailable(&error);
        format::create(&folder).map_err(io)?;
        HighWater::create_at(&folder, moment.commit, keys).map_err(io)?;
        ending();
        sync_tree(&folder).map_err(io)?;
        ending();
        read_back(&folder, &moment, keys)?;
        ending();
        // What the opening wrote.
        sync_tree(&folder).map_err(io)?;
        ending();
        check_free(path)?;
        fs::rename(&folder, path).map_err(io)?;
        ending();
        sync_parent(path).map_err(io)?;
        ending();
        Ok(())
    }
}

/// Makes the folder, and writes all rows in it.
fn build(
    folder: &Path,
    moment: &Moment,
    keys: &MasterKeys,
    watch: &mut dyn FnMut(Progress),
) -> Result<(), StoreError> {
    let (mut done, of) = (0, moment.rows.len() as u64);
    watch(Progress { stage: Stage::Writing, done, of });
    DirBuilder::new().mode(0o700).create(folder).map_err(|error| unavailable(&error))?;
    watch(Progress { stage: Stage::Writing, done, of });
    let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES);
    let database =
        config.flush_every_ms(None).open().map_err(|error| opening_failed(folder, &error))?;
    let tree = database.open_tree(TREE).map_err(|error| failed(&error))?;
    let rows: Vec<_> = moment.rows.iter().collect();
    for rows in rows.chunks(AT_ONCE) {
        let mut batch = sled::Batch::default();
        for (key, value) in rows {
            batch.insert(key.as_slice(), value.as_slice());
        }
        tree.apply_batch(batch).map_err(|error| failed(&error))?;
        done += rows.len() as u64;
        watch(Progress { stage: Stage::Writing, done, of });
    }
    tree.insert(COMMITS_ROW, tagged_number(keys, COMMITS_ROW, moment.commit))
        .and_then(|_| database.flush())
        .map_err(|error| failed(&error))?;
    drop((tree, database));
    SledStore::wait_until_closed(folder).map_err(|error| unavailable(&error))
}

/// Opens what was built as the daemon will, and compares it with what it should hold.
fn read_back(folder: &Path, moment: &Moment, keys: &Arc<MasterKeys>) -> Result<(), StoreError> {
    let store = SledStore::open(folder, keys.clone())?;
    let is_same = *store.copy()?.moment() == *moment;
    drop(store);
    SledStore::wait_until_closed(folder).map_err(|error| unavailable(&error))?;
    if is_same {
        Ok(())
    } else {
        let what = format!("what was just written to {}", folder.display());
        Err(StoreError::Damaged { what })
    }
}

/// Refuses a place where a store cannot be written: nothing but perhaps an empty folder may be there.
///
/// # Errors
///
/// [`StoreError::Occupied`], and [`StoreError::Unavailable`] where that cannot be told.
pub fn check_free(path: &Path) -> Result<(), StoreError> {
    let occupied = || StoreError::Occupied(path.to_owned());
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(unavailable(&error)),
        Ok(metadata) if !metadata.is_dir() => Err(occupied()),
        Ok(_) => match fs::read_dir(path).map_err(|error| unavailable(&error))?.next() {
            None => Ok(()),
            Some(_) => Err(occupied()),
        },
    }
}

/// Throws away what an earlier building left, and nothing else.
fn clear(folder: &Path) -> Result<(), StoreError> {
    let io = |error: io::Error| unavailable(&error);
    match fs::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(metadata) if !metadata.is_dir() => return Err(StoreError::Occupied(folder.to_owned())),
        Ok(_) => {}
    }
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if !is_of_a_store(&entry.file_name().to_string_lossy()) {
            return Err(StoreError::Occupied(folder.to_owned()));
        }
    }
    // Locks it, where another process is at it.
    prepare(folder)?;
    fs::remove_dir_all(folder).map_err(io)
}

/// Whether a building leaves a file or folder of this name.
fn is_of_a_store(name: &str) -> bool {
    SledStore::is_left_over(name.as_ref())
        || [LOG_FILE, PARAMETERS_FILE, "blobs", "latest"].contains(&name)
        || name.starts_with("snap.")
}
