//! The checkpoint: which line was the last on the disk, in a small file beside the audit.
//!
//! A chain does not tell that its end is missing. This file does, since it is tagged under a key
//! derived from the master key. It has two slots, written in turn, so that a torn write leaves the
//! other. It is written after each sync, and synced itself only once in the life of a process: after a
//! power cut it may name an earlier line of that life, never a later one.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jwksd_keystore::seal::{MasterKeys, SealError};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::chain::{self, Link};
use super::format::Formatted;
use crate::folder;

/// A sector of a disk: a torn write damages no more.
pub(super) const SLOT_BYTES: usize = 4096;

/// A line and where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// The line.
    pub(super) link: Link,
    /// The number of the first line of its file.
    pub(super) file: u64,
    /// Where in its file it begins, in bytes.
    pub(super) begins: u64,
    /// Where in its file it ends.
    pub(super) ends: u64,
}

/// What the checkpoint file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// This.
    Position(Position),
    /// This, and a slot that is not ours: a write that a power cut tore, or something changed it.
    Torn(Position),
    /// Nothing that was written under one of our master keys, or there is no such file.
    Nothing,
}

impl Held {
    /// The position that it holds.
    pub(super) const fn position(self) -> Option<Position> {
        match self {
            Self::Position(position) | Self::Torn(position) => Some(position),
            Self::Nothing => None,
        }
    }
}

/// The file, open to write.
pub(super) struct Checkpoint {
    file: File,
    latest: Option<Position>,
    /// The slot that is written next.
    next: u64,
    /// Whether a position of this process is on the disk.
    is_synced: bool,
}

/// The checkpoint file of the audit at `audit`.
pub(super) fn path_of(audit: &Path) -> PathBuf {
    let mut name = OsString::from(audit);
    name.push(".checkpoint");
    name.into()
}

/// What the checkpoint file at `path` says.
pub(super) fn read(path: &Path, master_keys: &MasterKeys) -> io::Result<Held> {
    match File::open(path) {
        Ok(file) => read_slots(&file, master_keys).map(|(held, _)| held),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Held::Nothing),
        Err(error) => Err(error),
    }
}

/// Whether a process has the file open to write.
pub(super) fn is_locked(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(other) => Err(other.into()),
    }
}

impl Position {
    /// Before the first line of all.
    pub(super) const START: Self = Self { link: Link::START, file: 1, begins: 0, ends: 0 };

    /// Whether no line was on the disk yet.
    pub(super) fn is_start(&self) -> bool {
        *self == Self::START
    }

    /// As a slot of the file.
    fn slot(&self, master_keys: &MasterKeys) -> io::Result<Vec<u8>> {
        let mut object = serde_json::to_vec(&Formatted::new(self))?;
        object.pop();
        let mut slot = chain::tagged(object, master_keys);
        slot.resize(SLOT_BYTES - 1, b' ');
        slot.push(b'\n');
        Ok(slot)
    }
}

impl Checkpoint {
    /// Makes the file with mode 0600 for an audit without lines, so that it is absent or whole.
    pub(super) fn create(path: &Path, master_keys: &MasterKeys) -> io::Result<()> {
        let unfinished = path.with_added_extension("new");
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all_at(&Position::START.slot(master_keys)?, 0)?;
        file.sync_all()?;
        std::fs::rename(unfinished, path)?;
        folder::sync_of(path)
    }

    /// Opens the file and says what it held; one that is not there is made, and holds nothing. It is
    /// locked, so that no two processes write one audit.
    pub(super) fn open(path: &Path, master_keys: &MasterKeys) -> io::Result<(Self, Held)> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|errno| {
            match errno {
                Errno::WOULDBLOCK => io::Error::other("another process writes this audit"),
                other => other.into(),
            }
        })?;
        let (held, slot) = read_slots(&file, master_keys)?;
        Ok((Self { file, latest: held.position(), next: 1 - slot, is_synced: false }, held))
    }

    /// The id of the master key that it was written under, where that is another one.
    pub(super) fn other_key(&self, master_keys: &MasterKeys) -> io::Result<Option<String>> {
        let mut content = vec![0; 2 * SLOT_BYTES];
        let length = self.file.read_at(&mut content, 0)?;
        let id = |slot: &[u8]| match chain::check_tag(slot.trim_ascii_end(), master_keys) {
            Err(SealError::OtherMasterKey { id }) => Some(id),
            Ok(()) | Err(SealError::Damaged | SealError::UnknownFormat(_)) => None,
        };
        Ok(content[..length].chunks(SLOT_BYTES).find_map(id))
    }

    /// Takes over what was handed over to these keys: nothing in the file is written under them yet.
    pub(super) fn take_over(&mut self, position: Position, keys: &MasterKeys) -> io::Result<()> {
        let slots = [position.slot(keys)?, Position::START.slot(keys)?].concat();
        self.file.write_all_at(&slots, 0)?;
        self.file.sync_all()?;
        (self.latest, self.next) = (Some(position), 1);
        Ok(())
    }

    /// Says that `position` is on the disk; an earlier one changes nothing. The first is synced: after
    /// a power cut no start may find what was written before the last one.
    pub(super) fn raise(&mut self, position: Position, keys: &MasterKeys) -> io::Result<()> {
        if self.latest.is_none_or(|latest| latest.link.number < position.link.number) {
            self.file.write_all_at(&position.slot(keys)?, self.next * SLOT_BYTES as u64)?;
            (self.latest, self.next) = (Some(position), 1 - self.next);
        }
        if !self.is_synced {
            self.file.sync_all()?;
            self.is_synced = true;
        }
        Ok(())
    }
}

/// What the file says, and in which slot.
fn read_slots(mut file: &File, master_keys: &MasterKeys) -> io::Result<(Held, u64)> {
    let mut content = Vec::new();
    file.by_ref().take(2 * SLOT_BYTES as u64).read_to_end(&mut content)?;
    let slots = (0..).zip(content.chunks(SLOT_BYTES));
    let positions: Vec<_> =
        slots.map(|(slot, bytes)| (position_in(bytes, master_keys), slot)).collect();
    let is_torn = match positions[..] {
        [(Some(first), _), (Some(second), _)] => first.link.number == second.link.number,
        [(Some(only), _)] => !only.is_start(),
        _ => true,
    };
    let whole = positions.into_iter().filter_map(|(position, slot)| Some((position?, slot)));
    Ok(match whole.max_by_key(|(position, _)| position.link.number) {
        Some((position, slot)) if is_torn => (Held::Torn(position), slot),
        Some((position, slot)) => (Held::Position(position), slot),
        None => (Held::Nothing, 1),
    })
}

fn position_in(slot: &[u8], master_keys: &MasterKeys) -> Option<Position> {
    let text = slot.trim_ascii_end();
    chain::check_tag(text, master_keys).ok()?;
    serde_json::from_slice(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::tests::master_keys;

    fn position(number: u64) -> Position {
        let (_, link) = Link { number: number - 1, ..Link::START }.chain(b"{}");
        Position { link, file: 1, begins: number * 10, ends: number * 10 + 9 }
    }

    #[test]
    fn the_last_position_is_read_back() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), master_keys());
        let path = path_of(&dir.path().join("audit.jsonl"));
        assert_eq!(read(&path, &keys).unwrap(), Held::Nothing);
        Checkpoint::create(&path, &keys).unwrap();
        assert_eq!(read(&path, &keys).unwrap(), Held::Position(Position::START));
        for line in 1..6 {
            let (mut checkpoint, _) = Checkpoint::open(&path, &keys).unwrap();
            checkpoint.raise(position(line), &keys).unwrap();
            assert_eq!(read(&path, &keys).unwrap(), Held::Position(position(line)));
        }
        let (mut checkpoint, held) = Checkpoint::open(&path, &keys).unwrap();
        assert_eq!(held, Held::Position(position(5)));
        checkpoint.raise(position(2), &keys).unwrap();
        assert_eq!(read(&path, &keys).unwrap(), Held::Position(position(5)));
    }

    #[test]
    fn a_torn_write_leaves_the_position_before_and_shows() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), master_keys());
        let path = dir.path().join("checkpoint");
        Checkpoint::create(&path, &keys).unwrap();
        let (mut checkpoint, _) = Checkpoint::open(&path, &keys).unwrap();
        (1..4).for_each(|line| checkpoint.raise(position(line), &keys).unwrap());
        // Line 2 is in the first slot, 3 in the second.
        let whole = std::fs::read(&path).unwrap();
        for (slot, left) in [(0, 3), (1, 2)] {
            let mut torn = whole.clone();
            torn[slot * SLOT_BYTES + 50] ^= 1;
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(read(&path, &keys).unwrap(), Held::Torn(position(left)));
        }
        std::fs::write(&path, b"").unwrap();
        assert_eq!(read(&path, &keys).unwrap(), Held::Nothing);
    }

    #[test]
    fn a_position_under_another_master_key_is_not_taken() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), master_keys());
        let path = dir.path().join("checkpoint");
        Checkpoint::create(&path, &keys).unwrap();
        Checkpoint::open(&path, &keys).unwrap().0.raise(position(1), &keys).unwrap();
        assert_eq!(read(&path, &master_keys()).unwrap(), Held::Nothing);
    }
}
