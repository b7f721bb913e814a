//! When the master key changes: how the audit goes on under the new one.
//!
//! Marks and checkpoint are tagged under the master key, and who has stolen the old one could make
//! them. So `store rekey` ends the audit under the old key, and leaves beside it a **handover**, tagged
//! under the new key: the last line, and the ids of the keys it was written under. The first start with
//! the new key takes that line for the last on the disk, and goes on with the mark `audit-rekeyed`,
//! which names those ids. That mark hangs on all lines before, and nobody who has only the old key can
//! make it: so marks under those keys need no key to be believed before it, and are believed no more
//! after it.
//!
//! A line after the handover that the new key did not make says that the daemon ran on with the old
//! one, and that the new store lacks what it did since: then the audit does not open.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jwksd_keystore::seal::MasterKeys;
use serde::{Deserialize, Serialize};

use super::chain::{self, Parsed};
use super::checkpoint::{self, Position};
use super::format::Formatted;
use super::rows::{self, Row};
use crate::folder;
use crate::new_file::{Existing, NewFile, Readers};

/// No handover is longer.
pub(super) const LONGEST: u64 = 64 * 1024;

/// What is known to have been written under keys that are no longer given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handover {
    /// The last line under them.
    pub(super) position: Position,
    /// Their ids.
    pub(super) formerly: Vec<String>,
}

/// Hands the audit at `audit` over from the keys that it was closed under to new ones. Where there is
/// none, or it is no file, there is nothing to hand over.
///
/// # Errors
///
/// When the checkpoint cannot be read, or the handover not be written.
pub fn leave(audit: &Path, old: &MasterKeys, new: &MasterKeys) -> io::Result<()> {
    let held = checkpoint::read(&checkpoint::path_of(audit), old)?;
    let Some(position) = held.position() else { return Ok(()) };
    let handover = Handover { position, formerly: old.ids() };
    let mut object = serde_json::to_vec(&Formatted::new(&handover))?;
    object.pop();
    let file = NewFile::begin(&path_of(audit), Existing::IsReplaced, Readers::Owner)?;
    file.finish(&chain::tagged(object, new))
}

/// What was handed over to these keys.
pub(super) fn read(audit: &Path, keys: &MasterKeys) -> io::Result<Option<Handover>> {
    let file = match File::open(path_of(audit)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    if chain::check_tag(&text, keys).is_err() {
        return Ok(None);
    }
    Ok(serde_json::from_slice(&text).ok())
}

/// Removes a handover that served its purpose: the keys that it is for have a line on the disk.
/// Where that fails, the next start tries again.
pub(super) fn remove(audit: &Path) {
    let path = path_of(audit);
    let removed = std::fs::remove_file(&path).and_then(|()| folder::sync_of(audit));
    if let Err(error) = removed {
        tracing::error!(%error, "{} is not needed any more, and cannot be removed", path.display());
    }
}

/// Refuses lines that follow the handover and are not a mark under the new keys: all that was added
/// under the old ones begins with such a line.
pub(super) fn check_not_gone_on(
    mut file: File,
    handover: &Handover,
    keys: &MasterKeys,
) -> io::Result<()> {
    file.seek(SeekFrom::Start(handover.position.ends))?;
    let (mut reader, mut text) = (BufReader::new(file), Vec::new());
    // What a crash tore may stand before it.
    while let Some((row, _)) = rows::next(&mut reader, &mut text)? {
        let parsed = if row == Row::Whole { Parsed::of(&text) } else { None };
        let Some(parsed) = parsed.filter(|parsed| parsed.follows(&handover.position.link)) else {
            continue;
        };
        if parsed.mark.is_some() && parsed.check_tag(keys).is_ok() {
            return Ok(());
        }
        let number = handover.position.link.number;
        return Err(io::Error::other(format!(
            "the daemon went on with the old master key after the store was sealed under the new one \
             (line {number}): the new store lacks what it did since. Stop it and run jwksd store rekey \
             again"
        )));
    }
    Ok(())
}

/// The handover of the audit at `audit`.
pub(super) fn path_of(audit: &Path) -> PathBuf {
    audit.with_added_extension("rekeyed")
}
