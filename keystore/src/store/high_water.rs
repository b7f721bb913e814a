//! The number of the last acknowledged commit, in a file beside the store.
//!
//! sled takes the first entry of its log that has a wrong checksum for the end of the log. So one
//! changed byte takes the store back to what it was before: every row of that time is whole, and
//! keys that were revoked since are back. What the store itself holds cannot tell this. A number
//! outside it can: a store whose own number is lower lost what was acknowledged.
//!
//! The file has two slots, and a new number replaces the lower one, so that a write that was torn
//! leaves the other. Each is tagged under the master key. Not told: that the file was put back
//! together with the store, from the same older copy.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use super::StoreError;
use crate::seal::{MasterKeys, SealError};

const FILE: &str = "latest";

/// Where the first slots are written, so that the file is either absent or whole.
pub(super) const UNFINISHED_FILE: &str = "latest.new";

/// What the tags of the slots are made for; no row has this key.
const NAME: &[u8] = b"latest";

/// The largest sector of a disk: a torn write damages no more.
const SLOT_BYTES: usize = 4096;

const NUMBER_BYTES: usize = size_of::<u64>();

/// The number of the last acknowledged commit, 0 if there was none.
pub(super) struct HighWater {
    file: File,
    number: u64,
    /// The slot that holds the number.
    slot: Slot,
    master_keys: Arc<MasterKeys>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Slot {
    First,
    Second,
}

impl HighWater {
    /// Whether a number was ever written for the store at `path`.
    pub(super) fn exists(path: &Path) -> io::Result<bool> {
        path.join(FILE).try_exists()
    }

    /// Durably says that nothing was acknowledged yet by the store at `path`.
    pub(super) fn create(path: &Path, master_keys: &MasterKeys) -> io::Result<()> {
        Self::create_at(path, 0, master_keys)
    }

    /// Durably says that `number` is the last acknowledged commit of the store at `path`.
    pub(super) fn create_at(path: &Path, number: u64, master_keys: &MasterKeys) -> io::Result<()> {
        let unfinished = path.join(UNFINISHED_FILE);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        // As long as it will ever be, so that later syncs concern no sizes.
        file.write_all_at(&[0; 2 * SLOT_BYTES], 0)?;
        file.write_all_at(&tagged_number(master_keys, NAME, number), Slot::First.offset() as u64)?;
        file.sync_all()?;
        fs::rename(unfinished, path.join(FILE))?;
        File::open(path)?.sync_all()
    }

    /// Reads the number for the store at `path`. A file that is not there is damage.
    pub(super) fn open(path: &Path, master_keys: Arc<MasterKeys>) -> Result<Self, StoreError> {
        let path = path.join(FILE);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(|error| {
            match error.kind() {
                ErrorKind::NotFound => StoreError::Damaged {
                    what: format!("the file {} (it is missing)", path.display()),
                },
                _ => StoreError::Unavailable(error.to_string()),
            }
        })?;
        let mut content = Vec::new();
        (&file)
            .take(2 * SLOT_BYTES as u64)
            .read_to_end(&mut content)
            .map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let (number, slot) = highest(&content, &master_keys).map_err(|error| {
            StoreError::of_seal(error, || format!("the file {}", path.display()))
        })?;
        Ok(Self { file, number, slot, master_keys })
    }

    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// Durably raises the number; one that is not higher changes nothing.
    pub(super) fn raise(&mut self, number: u64) -> io::Result<()> {
        if number <= self.number {
            return Ok(());
        }
        let slot = self.slot.other();
        self.file
            .write_all_at(&tagged_number(&self.master_keys, NAME, number), slot.offset() as u64)?;
        self.file.sync_data()?;
        (self.number, self.slot) = (number, slot);
        Ok(())
    }
}

impl Slot {
    const fn offset(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => SLOT_BYTES,
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// The highest number of the slots that are whole, and where it is.
fn highest(content: &[u8], master_keys: &MasterKeys) -> Result<(u64, Slot), SealError> {
    let (first, second) = content.split_at(content.len().min(SLOT_BYTES));
    let numbers = [(first, Slot::First), (second, Slot::Second)]
        .map(|(bytes, slot)| Ok((number_in(bytes, master_keys)?, slot)));
    match numbers {
        [Ok(first), Ok(second)] => Ok(first.max(second)),
        [Ok(whole), Err(_)] | [Err(_), Ok(whole)] => Ok(whole),
        [Err(error @ SealError::OtherMasterKey { .. }), Err(_)] | [Err(_), Err(error)] => {
            Err(error)
        }
    }
}

/// The number in a slot, which is longer than it.
fn number_in(slot: &[u8], master_keys: &MasterKeys) -> Result<u64, SealError> {
    let tag_bytes = usize::from(*slot.first().ok_or(SealError::Damaged)?);
    let value = slot.get(..1 + tag_bytes + NUMBER_BYTES).ok_or(SealError::Damaged)?;
    checked_number(master_keys, NAME, value)
}

/// `tag ‖ number`, for what is kept under `name`.
pub(super) fn tagged_number(master_keys: &MasterKeys, name: &[u8], number: u64) -> Vec<u8> {
    master_keys.tagged(name, &number.to_be_bytes())
}

/// The number of what [`tagged_number`] made.
pub(super) fn checked_number(
    master_keys: &MasterKeys,
    name: &[u8],
    value: &[u8],
) -> Result<u64, SealError> {
    let body = master_keys.checked(name, value)?;
    Ok(u64::from_be_bytes(body.try_into().map_err(|_| SealError::Damaged)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;
    use crate::seal::tests::master_keys;

    impl HighWater {
        /// Makes all that is written from now on go to another file.
        pub(in crate::store) fn redirect(&mut self, to: &Path) {
            self.file = OpenOptions::new().write(true).open(to).unwrap();
        }
    }

    /// A file that was raised to each of the numbers up to `number`.
    fn raised_to(number: u64) -> (TempDir, Arc<MasterKeys>) {
        let (dir, keys) = (tempfile::tempdir().unwrap(), Arc::new(master_keys()));
        HighWater::create(dir.path(), &keys).unwrap();
        let mut latest = HighWater::open(dir.path(), keys.clone()).unwrap();
        (1..=number).for_each(|number| latest.raise(number).unwrap());
        (dir, keys)
    }

    fn number(dir: &TempDir, keys: &Arc<MasterKeys>) -> Result<u64, StoreError> {
        HighWater::open(dir.path(), keys.clone()).map(|latest| latest.number())
    }

    fn damaged(dir: &TempDir) -> StoreError {
        StoreError::Damaged { what: format!("the file {}", dir.path().join(FILE).display()) }
    }

    #[test]
    fn the_number_that_was_raised_last_is_read_back() {
        for raised in 0..6 {
            let (dir, keys) = raised_to(raised);
            assert_eq!(number(&dir, &keys), Ok(raised));
            let metadata = fs::metadata(dir.path().join(FILE)).unwrap();
            assert_eq!(metadata.len(), 2 * SLOT_BYTES as u64);
            assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_number_that_is_not_higher_changes_nothing() {
        let (dir, keys) = raised_to(5);
        let before = fs::read(dir.path().join(FILE)).unwrap();
        let mut latest = HighWater::open(dir.path(), keys).unwrap();
        latest.raise(5).unwrap();
        latest.raise(3).unwrap();
        assert_eq!(latest.number(), 5);
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), before);
    }

    #[test]
    fn a_torn_write_leaves_the_number_before_also_when_numbers_were_skipped() {
        for skip in 0..4 {
            let (dir, keys) = raised_to(5);
            let path = dir.path().join(FILE);
            let before = fs::read(&path).unwrap();
            let mut latest = HighWater::open(dir.path(), keys.clone()).unwrap();
            latest.raise(6 + skip).unwrap();
            let after = fs::read(&path).unwrap();
            for torn_at in 0..before.len() {
                if before[torn_at] != after[torn_at] {
                    fs::write(&path, [&after[..torn_at], &before[torn_at..]].concat()).unwrap();
                    assert_eq!(number(&dir, &keys), Ok(5), "at {torn_at}");
                }
            }
            // What was torn is written over next.
            let mut latest = HighWater::open(dir.path(), keys.clone()).unwrap();
            latest.raise(6).unwrap();
            assert_eq!(number(&dir, &keys), Ok(6));
        }
    }

    #[test]
    fn any_changed_byte_of_a_slot_leaves_the_number_of_the_other() {
        let (dir, keys) = raised_to(5);
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for offset in [Slot::First, Slot::Second].map(Slot::offset) {
            let used = 1 + usize::from(whole[offset]) + NUMBER_BYTES;
            let mut left = Vec::new();
            for index in offset..offset + used {
                let mut changed = whole.clone();
                changed[index] ^= 1;
                fs::write(&path, changed).unwrap();
                left.push(number(&dir, &keys).unwrap());
            }
            assert!(left == vec![4; used] || left == vec![5; used], "{left:?}");
        }
    }

    #[test]
    fn a_file_without_a_whole_slot_is_damage() {
        let (dir, keys) = raised_to(5);
        let path = dir.path().join(FILE);
        let whole = fs::read(&path).unwrap();
        for length in [0, 1, 9, 40, 48] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(number(&dir, &keys), Err(damaged(&dir)), "{length}");
        }
        let mut changed = whole;
        for slot in [Slot::First, Slot::Second] {
            changed[slot.offset() + 20] ^= 1;
        }
        fs::write(&path, changed).unwrap();
        assert_eq!(number(&dir, &keys), Err(damaged(&dir)));
    }

    #[test]
    fn a_missing_file_is_damage() {
        let (dir, keys) = raised_to(1);
        let path = dir.path().join(FILE);
        fs::remove_file(&path).unwrap();
        let what = format!("the file {} (it is missing)", path.display());
        assert_eq!(number(&dir, &keys), Err(StoreError::Damaged { what }));
    }

    #[test]
    fn a_file_of_another_master_key_says_so_also_with_a_torn_slot() {
        let (dir, keys) = raised_to(5);
        let (path, id) = (dir.path().join(FILE), keys.sealing_id());
        let whole = fs::read(&path).unwrap();
        for torn in [None, Some(Slot::First), Some(Slot::Second)] {
            let mut content = whole.clone();
            if let Some(slot) = torn {
                content[slot.offset()] ^= 0xff;
            }
            fs::write(&path, content).unwrap();
            let refused = number(&dir, &Arc::new(master_keys()));
            assert_eq!(refused, Err(StoreError::OtherMasterKey { id: id.clone() }));
        }
    }

    #[test]
    fn a_slot_under_a_former_master_key_gives_way_to_the_newer_one() {
        let old_file = MasterKeys::generate_file().unwrap();
        let new_file = MasterKeys::generate_file().unwrap();
        let parse = |text: &str| Arc::new(MasterKeys::parse(text).unwrap());
        let (dir, old) = (tempfile::tempdir().unwrap(), parse(&old_file));
        HighWater::create(dir.path(), &old).unwrap();
        HighWater::open(dir.path(), old.clone()).unwrap().raise(1).unwrap();
        let both = parse(&format!("{}{}", *new_file, *old_file));
        HighWater::open(dir.path(), both).unwrap().raise(2).unwrap();
        assert_eq!(number(&dir, &parse(&new_file)), Ok(2));
        assert_eq!(number(&dir, &old), Ok(1));
    }
}
