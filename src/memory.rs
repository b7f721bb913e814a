//! The memory of the process. Secrets are in it: no other process of the same user may look into
//! it, no core is left of it, and it is kept from the swap where that is allowed.
//!
//! Root can read it all the same, and a hibernating machine writes it to its disk.

use std::fs;
use std::io;

use rustix::io::Errno;
use rustix::mm::MlockAllFlags;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use rustix::thread::CapabilitySet;

/// Whether the memory may be written to the swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// No: every page that is in use stays in memory.
    Never,
    /// Yes: the process may lock only so much memory.
    Limited,
    /// Yes: the kernel refused to lock it.
    Refused(Errno),
}

/// Protects the memory of this process, from now on and for all its threads.
///
/// # Errors
///
/// When the process cannot be kept from leaving a core or from being looked into. Memory that
/// cannot be locked is not an error, but in the answer.
pub fn protect() -> io::Result<Swap> {
    leave_no_core()?;
    Ok(lock())
}

/// Sees to it that this process leaves no core and cannot be looked into: for commands that hold the
/// master key for a moment.
///
/// # Errors
///
/// When the kernel does not allow it.
pub fn leave_no_core() -> io::Result<()> {
    // Not dumpable also gives the files below `/proc/PID` to root and forbids `ptrace(2)`.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}

/// Locks what is mapped now and later. `ONFAULT`: a page counts from its first use, so that the
/// stacks of threads do not take more memory than they use.
fn lock() -> Swap {
    if !may_lock_everything() {
        return Swap::Limited;
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    match rustix::mm::mlockall(flags) {
        Ok(()) => Swap::Never,
        Err(error) => Swap::Refused(error),
    }
}

/// Whether there is no limit at all. Below a limit nothing may be locked: once it is reached, the
/// kernel refuses new memory, and the process dies where it would have been swapped.
fn may_lock_everything() -> bool {
    if rustix::process::getrlimit(Resource::Memlock).maximum.is_none() {
        let unlimited = Rlimit { current: None, maximum: None };
        return rustix::process::setrlimit(Resource::Memlock, unlimited).is_ok();
    }
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    capable && is_in_first_user_namespace()
}

/// In any other user namespace capabilities do not lift the limit. The first maps all ids to
/// themselves (`user_namespaces(7)`).
fn is_in_first_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}
