//! What others may see of the daemon's memory, and what of it may reach a disk.

use std::process::Command;

use crate::daemon::{Daemon, Signal};
use crate::output::Output;
use crate::place::Place;

/// What the daemon says where its memory may be swapped.
const SWAP_LINE: &str = "the memory may be written to the swap";

/// `CAP_IPC_LOCK` among the bits of `CapEff`.
const IPC_LOCK: u64 = 1 << 14;

#[test]
fn it_leaves_no_core() {
    let place = Place::new();
    let daemon = place.start();
    let limits = Output::of(Command::new("cat").arg(daemon.proc("limits"))).ok();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"]);
}

#[test]
fn no_other_process_of_its_user_can_look_into_it() {
    let place = Place::new();
    // With capabilities root may look into everything, and nobody without them into root's.
    let plain = without_capabilities(&[env!("CARGO_BIN_EXE_jwksd"), "serve", "--init"]);
    let daemon = place.start_as(place.settle(plain));
    for name in ["mem", "environ"] {
        let look = without_capabilities(&["cat", &daemon.proc(name)]);
        Output::of(&mut place.settle(look)).fails(1, &["Permission denied"]);
    }
}

#[test]
fn all_of_its_memory_is_locked_where_that_is_allowed() {
    let place = Place::new();
    let daemon = place.start();
    if may_lock_everything() {
        assert!(daemon.locked() > 0);
        assert!(!daemon.log().contains(SWAP_LINE), "{}", daemon.log());
    } else {
        assert_eq!(daemon.locked(), 0);
        assert!(daemon.log().contains(SWAP_LINE), "{}", daemon.log());
    }
}

#[test]
fn below_a_limit_it_locks_nothing_says_so_and_serves() {
    let place = Place::new();
    let limited = without_capabilities(&["sh", "-c", r#"ulimit -l 64; exec "$0" serve --init"#]);
    let mut limited = place.settle(limited);
    limited.arg(env!("CARGO_BIN_EXE_jwksd"));
    let daemon = place.start_as(limited);
    assert_eq!(daemon.locked(), 0);
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains(SWAP_LINE)).unwrap();
    assert!(line.contains("LimitMEMLOCK=infinity"), "{line}");
    place.run(&["sign", "default", "--claims", "{}", "--ttl", "15m"]).ok();
    assert!(daemon.end(Signal::TERM).success());
}

impl Daemon {
    /// How much memory is locked, in kB.
    fn locked(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        field(&status, "VmLck:").parse().unwrap()
    }
}

/// Whether this test's own processes may lock all of their memory.
fn may_lock_everything() -> bool {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let limit = limits.lines().find(|line| line.starts_with("Max locked memory")).unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let capabilities = u64::from_str_radix(field(&status, "CapEff:"), 16).unwrap();
    let ids = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let is_first_namespace = ids.split_whitespace().eq(["0", "0", "4294967295"]);
    limit.split_whitespace().nth(4) == Some("unlimited")
        || (capabilities & IPC_LOCK != 0 && is_first_namespace)
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap()
}

/// A command that may do no more than those of other users than root.
pub(crate) fn without_capabilities(command: &[&str]) -> Command {
    if !rustix::process::geteuid().is_root() {
        let mut plain = Command::new(command[0]);
        plain.args(&command[1..]);
        return plain;
    }
    let mut bounded = Command::new("setpriv");
    bounded.arg("--bounding-set=-all").args(command);
    bounded
}
