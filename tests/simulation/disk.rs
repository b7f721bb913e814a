//! The disk of the files that JWK Sets are written to: it can be full.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jwksd::sink::{Disk, DiskError, Means, OnDisk, Pace};

#[derive(Default)]
pub(crate) struct FullDisk(AtomicBool);

impl FullDisk {
    /// What files are kept with on this disk. Only what failed is tried again by itself.
    pub(crate) fn means(self: &Arc<Self>) -> Means {
        let pace = Pace {
            retry_first: Duration::from_millis(1),
            retry_longest: Duration::from_millis(2),
            look_every: Duration::from_hours(1),
        };
        Means { disk: self.clone(), pace }
    }

    pub(crate) fn set_full(&self, is_full: bool) {
        self.0.store(is_full, Ordering::SeqCst);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    fn check(&self, file: &Path) -> Result<(), DiskError> {
        if !self.is_full() {
            return Ok(());
        }
        let error = ErrorKind::StorageFull.into();
        Err(DiskError::Io { doing: "write", path: file.to_owned(), error })
    }
}

impl Disk for FullDisk {
    fn read(&self, file: &Path) -> Result<Option<Vec<u8>>, DiskError> {
        OnDisk.read(file)
    }

    fn replace(&self, file: &Path, content: &[u8]) -> Result<(), DiskError> {
        self.check(file)?;
        OnDisk.replace(file, content)
    }

    fn remove(&self, file: &Path) -> Result<(), DiskError> {
        self.check(file)?;
        OnDisk.remove(file)
    }
}
