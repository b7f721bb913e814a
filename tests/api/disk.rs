//! A disk that fails and hangs on demand.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use jwksd::sink::{Disk, DiskError, Means, OnDisk, Pace};

/// A disk whose faults the test has in hand.
#[derive(Default)]
pub(crate) struct FaultyDisk {
    fault: Mutex<Fault>,
    changed: Condvar,
}

#[derive(Default)]
struct Fault {
    is_full: bool,
    hangs_at: Option<PathBuf>,
    /// How many are being kept waiting.
    waiting: usize,
}

impl FaultyDisk {
    /// What files are kept with on this disk, by threads that do not wait for long.
    pub(crate) fn means(self: &Arc<Self>) -> Means {
        let pace = Pace {
            retry_first: Duration::from_millis(1),
            retry_longest: Duration::from_millis(4),
            look_every: Duration::from_millis(4),
        };
        Means { disk: self.clone(), pace }
    }

    /// Nothing can be written from now on.
    pub(crate) fn fill(&self) {
        self.fault.lock().unwrap().is_full = true;
    }

    /// There is space again.
    pub(crate) fn empty(&self) {
        self.fault.lock().unwrap().is_full = false;
    }

    /// Whoever touches this file waits, until [`FaultyDisk::let_go`].
    pub(crate) fn hang_at(&self, file: &Path) {
        self.fault.lock().unwrap().hangs_at = Some(file.to_owned());
    }

    /// Waits until somebody is kept waiting.
    pub(crate) fn wait_until_it_hangs(&self) {
        let is_free = |fault: &mut Fault| fault.waiting == 0;
        drop(self.changed.wait_while(self.fault.lock().unwrap(), is_free).unwrap());
    }

    /// Whoever was kept waiting fails, as when a mount is given up. So a thread that a stop did not
    /// wait for does nothing more, as if its process had ended.
    pub(crate) fn let_go(&self) {
        self.fault.lock().unwrap().hangs_at = None;
        self.changed.notify_all();
    }

    fn wait(&self, file: &Path) -> Result<(), DiskError> {
        let hangs = |fault: &mut Fault| fault.hangs_at.as_deref() == Some(file);
        let mut fault = self.fault.lock().unwrap();
        if !hangs(&mut fault) {
            return Ok(());
        }
        fault.waiting += 1;
        self.changed.notify_all();
        self.changed.wait_while(fault, hangs).unwrap().waiting -= 1;
        Err(failed(file, std::io::ErrorKind::TimedOut))
    }

    fn check_space(&self, file: &Path) -> Result<(), DiskError> {
        if !self.fault.lock().unwrap().is_full {
            return Ok(());
        }
        Err(failed(file, std::io::ErrorKind::StorageFull))
    }
}

fn failed(file: &Path, kind: std::io::ErrorKind) -> DiskError {
    DiskError::Io { doing: "write", path: file.to_owned(), error: kind.into() }
}

impl Disk for FaultyDisk {
    fn read(&self, file: &Path) -> Result<Option<Vec<u8>>, DiskError> {
        self.wait(file)?;
        OnDisk.read(file)
    }

    fn replace(&self, file: &Path, content: &[u8]) -> Result<(), DiskError> {
        self.wait(file)?;
        self.check_space(file)?;
        OnDisk.replace(file, content)
    }

    fn remove(&self, file: &Path) -> Result<(), DiskError> {
        self.wait(file)?;
        self.check_space(file)?;
        OnDisk.remove(file)
    }
}
