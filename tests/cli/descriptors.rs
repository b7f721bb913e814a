//! How many file descriptors the daemon may have.

use std::process::Command;

use crate::daemon::Daemon;
use crate::place::Place;

/// Starts a daemon with these limits.
fn start(place: &Place, limits: &str) -> Daemon {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!(r#"{limits}; exec "$0" serve --init"#)]);
    let mut limited = place.settle(limited);
    limited.arg(env!("CARGO_BIN_EXE_jwksd"));
    place.start_as(limited)
}

fn allowed(daemon: &Daemon) -> String {
    let limits = std::fs::read_to_string(daemon.proc("limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().to_owned()
}

#[test]
fn it_takes_as_many_as_it_may_have() {
    let place = Place::new();
    let daemon = start(&place, "ulimit -Sn 300; ulimit -Hn 5000");
    assert_eq!(allowed(&daemon), "5000");
    assert!(!daemon.log().contains("file descriptors"), "{}", daemon.log());
}

#[test]
fn it_says_that_it_may_have_too_few_and_serves() {
    let place = Place::new();
    let daemon = start(&place, "ulimit -n 300");
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("file descriptors")).unwrap();
    assert!(line.contains("300") && line.contains("4864"), "{line}");
    assert!(line.contains("LimitNOFILE"), "{line}");
    place.run(&["sign", "default", "--claims", "{}", "--ttl", "15m"]).ok();
}
