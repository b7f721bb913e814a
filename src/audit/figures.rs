//! How often and how fast the audit was written, for whoever watches. Nothing is decided by it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::histogram::{Histogram, OF_FILES, Stopwatch};

/// How often and how fast the audit was written.
#[derive(Debug)]
pub struct Figures {
    /// How long writes took.
    pub writes: Histogram,
    /// How long syncs took.
    pub syncs: Histogram,
    lines: AtomicU64,
    write_errors: AtomicU64,
    sync_errors: AtomicU64,
    unrecorded: AtomicU64,
}

impl Default for Figures {
    fn default() -> Self {
        Self {
            writes: Histogram::new(OF_FILES),
            syncs: Histogram::new(OF_FILES),
            lines: AtomicU64::default(),
            write_errors: AtomicU64::default(),
            sync_errors: AtomicU64::default(),
            unrecorded: AtomicU64::default(),
        }
    }
}

impl Figures {
    /// How many lines were handed to the kernel.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// How many writes failed.
    #[must_use]
    pub fn write_errors(&self) -> u64 {
        self.write_errors.load(Ordering::Relaxed)
    }

    /// How many syncs failed.
    #[must_use]
    pub fn sync_errors(&self) -> u64 {
        self.sync_errors.load(Ordering::Relaxed)
    }

    /// How many decisions took effect without a line.
    #[must_use]
    pub fn unrecorded(&self) -> u64 {
        self.unrecorded.load(Ordering::Relaxed)
    }

    pub(super) fn count_unrecorded(&self, count: u64) {
        self.unrecorded.fetch_add(count, Ordering::Relaxed);
    }

    /// Times a write, which returns how many lines it handed to the kernel.
    pub(super) fn write(
        &self,
        write: impl FnOnce() -> (usize, io::Result<()>),
    ) -> (usize, io::Result<()>) {
        let mut lines = 0;
        let outcome = timed(&self.writes, &self.write_errors, || {
            let (written, outcome) = write();
            lines = written;
            outcome
        });
        self.lines.fetch_add(lines as u64, Ordering::Relaxed);
        (lines, outcome)
    }

    pub(super) fn sync(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        timed(&self.syncs, &self.sync_errors, sync)
    }
}

fn timed(
    durations: &Histogram,
    errors: &AtomicU64,
    work: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    let watch = Stopwatch::start();
    let outcome = work();
    match &outcome {
        Ok(()) => durations.observe(watch.elapsed()),
        Err(_) => drop(errors.fetch_add(1, Ordering::Relaxed)),
    }
    outcome
}
