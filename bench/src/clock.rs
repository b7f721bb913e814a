//! The two clocks of the bench: time that passes, and CPU time of a thread.

use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// A stopwatch that runs from when it was made.
pub(crate) struct Stopwatch(Timespec);

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self(clock_gettime(ClockId::Monotonic))
    }

    /// What has passed since.
    pub(crate) fn elapsed(&self) -> Duration {
        let passed = clock_gettime(ClockId::Monotonic) - self.0;
        Duration::try_from(passed).unwrap_or_default()
    }
}

/// CPU time of this thread since it began.
///
/// # Errors
///
/// Never on Linux: the kernel gives no negative time.
pub(crate) fn thread_cpu_time() -> Result<Duration> {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(used).context("the CPU time of this thread")
}
