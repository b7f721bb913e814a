//! A place for the audit that can be full from one moment on, without a disk: a file in memory which
//! is sealed against growing. Nothing lifts the seal, so room comes with the next process.

use std::fs::{self, File};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

pub(crate) struct AuditDevice {
    path: PathBuf,
    memory: OwnedFd,
    is_full: bool,
}

impl AuditDevice {
    pub(crate) fn new(folder: &Path) -> Self {
        let path = folder.join("audit.jsonl");
        let memory = memory_at(&path);
        Self { path, memory, is_full: false }
    }

    /// Nothing more can be written.
    pub(crate) fn fill(&mut self) {
        assert!(self.path.is_symlink(), "the audit went on in another file");
        fcntl_add_seals(&self.memory, SealFlags::GROW).unwrap();
        self.is_full = true;
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// There is room again, for a process that opens it from now on.
    pub(crate) fn empty(&mut self) {
        if !self.is_full {
            return;
        }
        let lines = fs::read(&self.path).unwrap();
        fs::remove_file(&self.path).unwrap();
        self.memory = memory_at(&self.path);
        fs::write(&self.path, lines).unwrap();
        self.is_full = false;
    }
}

fn memory_at(path: &Path) -> OwnedFd {
    let memory = memfd_create("audit", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    symlink(format!("/proc/self/fd/{}", memory.as_raw_fd()), path).unwrap();
    drop(File::open(path).unwrap());
    memory
}
