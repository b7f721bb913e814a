//! Whether the file has the master key in use still: the next start wants it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jwksd_keystore::seal::MasterKeys;

use super::read;
use crate::health::{Health, Subject};

/// How often the file is looked at.
pub const WATCH_EVERY: Duration = Duration::from_mins(1);

/// What is known of the file. It is read only where it is not the file that was there before: no key
/// is in the memory of the process for longer than that takes.
pub struct Watch {
    path: PathBuf,
    /// The id of the key that seals.
    in_use: String,
    /// The file that had it.
    good: Mutex<Option<Stamp>>,
}

/// What changes with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Seconds and nanoseconds of the last change of content, owner or mode.
    changed: (i64, i64),
}

impl Watch {
    /// The file at `path`, from which `keys` were just read.
    #[must_use]
    pub fn new(path: &Path, keys: &MasterKeys) -> Self {
        let good = fs::metadata(path).ok().as_ref().map(Stamp::of);
        Self { path: path.to_owned(), in_use: keys.sealing_id(), good: Mutex::new(good) }
    }

    /// Looks at the file. Waits for the disk.
    pub fn look(&self, health: &Health) {
        match self.trouble() {
            None => health.clear(&Subject::MasterKey),
            Some(why) => {
                let why = format!("{why}; this process goes on, and the next start fails");
                health.warn(Subject::MasterKey, &why);
            }
        }
    }

    fn trouble(&self) -> Option<String> {
        let mut good = self.good.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path.display();
        let found = match fs::metadata(&self.path) {
            Ok(metadata) => Stamp::of(&metadata),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Some(format!("there is no file at {path} any more"));
            }
            Err(error) => return Some(format!("{path}: {error}")),
        };
        if *good == Some(found) {
            return None;
        }
        match read(&self.path) {
            Ok(keys) if keys.ids().contains(&self.in_use) => {
                *good = Some(found);
                None
            }
            Ok(_) => Some(format!("{path} has another key than the one in use")),
            Err(error) => Some(error.to_string()),
        }
    }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
