//! Backups: all rows of one moment in one file, sealed as a whole.
//!
//! | bytes | what |
//! |---|---|
//! | 16 | `jwksd backup v1` and a line feed |
//! | 8 | the id of the master key |
//! | 32 | a random salt; it gives every backup a key of its own |
//! | the rest | chunks of 65,536 bytes, the last one of what remains, each with a tag of 16 |
//!
//! The text in the chunks is the length of the [`Header`], the header as JSON, then for each row the
//! length of its key, its key, the length of its value, its value (lengths are 32 bits, the highest
//! byte first). A chunk opens only at its position, and the last one only as the last; the first 56
//! bytes are bound to each. So a file that was cut off, added to, put together from several, or
//! changed in any byte does not open. The rows in it are tagged and their secrets sealed as in the
//! store.
//!
//! Everything is in memory while it is made or read: making takes as much again as the rows have,
//! reading three times the file.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::copied::Moment;
use super::{Store, StoreCopy, StoreError};
use crate::crypto::{self, ChunkKey, CryptoError, Follows, SALT_BYTES, TAG_BYTES};
use crate::seal::{ID_BYTES, MasterKeys, SealError};
use crate::time::Time;

/// How every backup begins, up to its version.
const NAME: &[u8] = b"jwksd backup v";

/// So much of another version is told.
const LONGEST_VERSION: usize = 16;

/// How the backups begin that this version makes and reads.
const MAGIC: &[u8; 16] = b"jwksd backup v1\n";

const PREAMBLE_BYTES: usize = MAGIC.len() + ID_BYTES + SALT_BYTES;

/// How much text a chunk has.
const CHUNK_BYTES: usize = 64 * 1024;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// The version of jwksd that made it.
    pub version: String,
    /// When it was made, by the wall clock.
    pub taken: Time,
    /// How many commits the store had had.
    pub commit: u64,
    /// The latest lifecycle time that the store knew of.
    pub seen: Time,
    /// How many key sets it holds.
    pub keysets: u64,
    /// How many living keys it holds.
    pub keys: u64,
    /// The last line of the audit before the rows were read, where there was one: what changed since
    /// the backup is told by the lines after it.
    pub audit: Option<AuditLine>,
}

/// A line of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    /// Its number.
    pub line: u64,
    /// Its hash.
    pub hash: String,
}

/// What a backup is to say of itself that the store does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    /// The version of jwksd.
    pub version: String,
    /// Now, by the wall clock.
    pub taken: Time,
    /// The last line of the audit, as it was before the store was copied.
    pub audit: Option<AuditLine>,
}

/// A backup that was opened.
pub struct Backup {
    /// What it says of itself.
    pub header: Header,
    /// What it holds.
    pub store: StoreCopy,
}

/// Why there is no backup, or it does not open.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BackupError {
    /// It is something else.
    #[error("it is not a backup of jwksd")]
    NotABackup,
    /// It was made by a newer version.
    #[error(
        "it is a backup of the format {format}, which this version of jwksd does not know: a newer one \
         made it"
    )]
    NewerFormat {
        /// Its format, as it says.
        format: String,
    },
    /// It was made under a master key that is not among ours.
    #[error("it was made under the master key {id}, and the one given is {given}")]
    OtherMasterKey {
        /// The id of that key.
        id: String,
        /// The id of the key that was given.
        given: String,
    },
    /// It is not what was written.
    #[error(
        "bytes {from} to {to} are not what was written: the file was changed or damaged there, cut \
         off, added to, or put together from several"
    )]
    Damaged {
        /// The first byte of the chunk, counted from 0.
        from: usize,
        /// The byte after it.
        to: usize,
    },
    /// It ends where none of ours does.
    #[error("it has only {0} bytes: it was cut off")]
    TooShort(usize),
    /// It opens, but its text is not that of a backup.
    #[error("what it holds is not what a backup holds: {0}")]
    Content(&'static str),
    /// Its rows are not those of a store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no randomness.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Makes a backup of `store` under the first of the master keys that the store has.
///
/// # Errors
///
/// [`BackupError::Store`] and [`BackupError::Crypto`].
pub fn make(
    store: &StoreCopy,
    about: About,
    master_keys: &MasterKeys,
) -> Result<(Header, Vec<u8>), BackupError> {
    let moment = store.moment();
    let count =
        |prefix: &[u8]| moment.rows.keys().filter(|key| key.starts_with(prefix)).count() as u64;
    let header = Header {
        version: about.version,
        taken: about.taken,
        commit: moment.commit,
        seen: store.seen()?,
        keysets: count(b"h/"),
        keys: count(b"r/"),
        audit: about.audit,
    };
    let mut sealer = Sealer::new(&moment, master_keys)?;
    let json =
        serde_json::to_vec(&header).map_err(|error| StoreError::Unavailable(error.to_string()))?;
    sealer.field(&json)?;
    for (key, value) in &moment.rows {
        sealer.field(key)?;
        sealer.field(value)?;
    }
    Ok((header, sealer.finish()?))
}

impl Backup {
    /// Opens a backup. Every byte of it is authenticated; what the rows hold is not looked at yet,
    /// which [`StoreCopy::check`] does.
    ///
    /// # Errors
    ///
    /// [`BackupError`].
    pub fn open(bytes: &[u8], master_keys: Arc<MasterKeys>) -> Result<Self, BackupError> {
        let text = opened(bytes, &master_keys)?;
        let mut rest = text.as_slice();
        let header = field(&mut rest)?;
        let header: Header =
            serde_json::from_slice(header).map_err(|_| BackupError::Content("its header"))?;
        let mut rows = BTreeMap::new();
        while !rest.is_empty() {
            let key = field(&mut rest)?.to_vec();
            rows.insert(key, field(&mut rest)?.to_vec());
        }
        let store = StoreCopy::of(Moment { rows, commit: header.commit }, master_keys)?;
        Ok(Self { header, store })
    }
}

/// What is sealed so far.
struct Sealer {
    sealed: Vec<u8>,
    key: ChunkKey,
    position: u64,
    chunk: Vec<u8>,
}

impl Sealer {
    fn new(moment: &Moment, master_keys: &MasterKeys) -> Result<Self, CryptoError> {
        let salt = crypto::random::<SALT_BYTES>()?;
        let (id, key) = master_keys.new_backup(&salt)?;
        let of_row = |(key, value): (&Vec<u8>, &Vec<u8>)| key.len() + value.len() + 8;
        let text: usize = moment.rows.iter().map(of_row).sum();
        // A little more than it will have, so that it never grows.
        let tags = (text / CHUNK_BYTES + 2) * TAG_BYTES;
        let mut sealed = Vec::with_capacity(PREAMBLE_BYTES + text + tags + 1024);
        sealed.extend_from_slice(MAGIC);
        sealed.extend_from_slice(&id);
        sealed.extend_from_slice(salt.as_ref());
        let chunk = Vec::with_capacity(CHUNK_BYTES + TAG_BYTES);
        Ok(Self { sealed, key, position: 0, chunk })
    }

    fn field(&mut self, field: &[u8]) -> Result<(), BackupError> {
        let length = u32::try_from(field.len()).map_err(|_| BackupError::Content("a long row"))?;
        self.text(&length.to_be_bytes())?;
        self.text(field)
    }

    fn text(&mut self, mut text: &[u8]) -> Result<(), BackupError> {
        while !text.is_empty() {
            // A full chunk waits until it is known that it is not the last.
            if self.chunk.len() == CHUNK_BYTES {
                self.seal(Follows::Another)?;
            }
            let (now, later) = text.split_at(text.len().min(CHUNK_BYTES - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            text = later;
        }
        Ok(())
    }

    fn seal(&mut self, follows: Follows) -> Result<(), CryptoError> {
        let preamble = &self.sealed[..PREAMBLE_BYTES];
        self.key.seal(self.position, follows, preamble, &mut self.chunk)?;
        self.sealed.append(&mut self.chunk);
        self.position += 1;
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<u8>, BackupError> {
        self.seal(Follows::Nothing)?;
        Ok(self.sealed)
    }
}

/// The text of a backup.
fn opened(bytes: &[u8], master_keys: &MasterKeys) -> Result<Vec<u8>, BackupError> {
    let is_named = |bytes: &[u8]| bytes.iter().zip(MAGIC).all(|(byte, of)| byte == of);
    if bytes.is_empty() || !is_named(bytes) {
        return Err(bytes.strip_prefix(NAME).map_or(BackupError::NotABackup, newer));
    }
    if bytes.len() < PREAMBLE_BYTES + TAG_BYTES {
        return Err(BackupError::TooShort(bytes.len()));
    }
    let (preamble, sealed) = bytes.split_at(PREAMBLE_BYTES);
    let key = key_of(preamble, master_keys)?;
    let mut text = Vec::with_capacity(sealed.len());
    let chunks = sealed.chunks(CHUNK_BYTES + TAG_BYTES);
    let last = chunks.len() - 1;
    for (position, chunk) in chunks.enumerate() {
        let follows = if position == last { Follows::Nothing } else { Follows::Another };
        let from = PREAMBLE_BYTES + position * (CHUNK_BYTES + TAG_BYTES);
        let mut opened = chunk.to_vec();
        key.open(position as u64, follows, preamble, &mut opened)
            .map_err(|_| BackupError::Damaged { from, to: from + chunk.len() })?;
        text.append(&mut opened);
    }
    Ok(text)
}

/// A backup that goes on so after its name.
fn newer(rest: &[u8]) -> BackupError {
    let version = rest.iter().take(LONGEST_VERSION).take_while(|byte| **byte != b'\n');
    let version: Vec<u8> = version.copied().collect();
    BackupError::NewerFormat { format: format!("v{}", version.escape_ascii()) }
}

/// The key of the backup that begins so.
fn key_of(preamble: &[u8], master_keys: &MasterKeys) -> Result<ChunkKey, BackupError> {
    let (id, salt) = preamble[MAGIC.len()..].split_at(ID_BYTES);
    let mut of_backup = [0; SALT_BYTES];
    of_backup.copy_from_slice(salt);
    master_keys.backup(id, &of_backup).map_err(|error| match error {
        SealError::OtherMasterKey { id } => {
            BackupError::OtherMasterKey { id, given: master_keys.ids().join(", ") }
        }
        SealError::Damaged | SealError::UnknownFormat(_) => BackupError::NotABackup,
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], BackupError> {
    let short = || BackupError::Content("a row without an end");
    let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| short())?;
    let (field, after) = after.split_at_checked(length).ok_or_else(short)?;
    *rest = after;
    Ok(field)
}
