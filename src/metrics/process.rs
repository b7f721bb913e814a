//! What the kernel tells of this process, under the names that all programs use.

use std::fs;
use std::time::Duration;

use rustix::process::Resource;
use rustix::time::ClockId;

/// How the process stands. What the kernel does not tell is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// How long it was on processors.
    pub(super) cpu: Duration,
    /// How much memory it takes, in bytes.
    pub(super) resident: Option<u64>,
    /// How many file descriptors it has.
    pub(super) descriptors: Option<u64>,
    /// How many it may have.
    pub(super) most_descriptors: Option<u64>,
}

impl Process {
    /// How it stands now.
    #[must_use]
    pub(super) fn now() -> Self {
        let cpu = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
        let (seconds, nanos) = (u64::try_from(cpu.tv_sec), u32::try_from(cpu.tv_nsec));
        // The folder that is being read is one of them.
        let descriptors =
            fs::read_dir("/proc/self/fd").map(|open| (open.count() as u64).saturating_sub(1));
        Self {
            cpu: Duration::new(seconds.unwrap_or(0), nanos.unwrap_or(0)),
            resident: fs::read_to_string("/proc/self/status").ok().and_then(|text| resident(&text)),
            descriptors: descriptors.ok(),
            most_descriptors: rustix::process::getrlimit(Resource::Nofile).current,
        }
    }
}

/// `VmRSS:   12345 kB`, as `proc_pid_status(5)` describes it.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_read_in_bytes() {
        assert_eq!(resident("VmHWM:\t 9 kB\nVmRSS:\t    4242 kB\n"), Some(4242 * 1024));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    fn the_kernel_tells_of_this_process() {
        let process = Process::now();
        assert!(process.resident.is_some_and(|bytes| bytes > 1 << 20), "{process:?}");
        assert!(process.descriptors.is_some_and(|open| open >= 3), "{process:?}");
        assert!(process.cpu > Duration::ZERO, "{process:?}");
    }
}
