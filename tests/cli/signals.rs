//! How it ends, what does not end it, and what the next start finds.

use std::process::Command;

use crate::daemon::Signal;
use crate::keys::{active, sign};
use crate::place::Place;

#[test]
fn a_stop_that_was_asked_is_a_success_and_removes_the_sockets() {
    for signal in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let daemon = place.start();
        assert!(place.has("data/sign.sock") && place.has("data/admin.sock"));
        assert_eq!(daemon.end(signal).code(), Some(0), "{}", place.read("serve.err"));
        assert!(!place.has("data/sign.sock") && !place.has("data/admin.sock"));
    }
}

#[test]
fn the_next_start_continues_with_the_same_active_key() {
    let place = Place::new();
    let daemon = place.start();
    place.run(&["keys", "rotate", "default", "--now"]).ok();
    let (kid, token) = (active(&place, "default"), sign(&place));
    daemon.end(Signal::TERM);

    let daemon = place.start_as(place.command(&["serve"]));
    assert_eq!(active(&place, "default"), kid);
    assert!(daemon.verifies(&token));
}

#[test]
fn a_start_after_a_kill_takes_over_the_stale_sockets_and_the_keys() {
    let place = Place::new();
    let daemon = place.start();
    place.run(&["keys", "rotate", "default", "--now"]).ok();
    let (kids, token) = (daemon.published(), sign(&place));
    let kid = active(&place, "default");
    daemon.end(Signal::KILL);
    assert!(place.has("data/sign.sock") && place.has("data/admin.sock"));
    place.run(&["status"]).fails(6, &["is it running?"]);

    let daemon = place.start_as(place.command(&["serve"]));
    assert_eq!(active(&place, "default"), kid);
    assert!(kids.iter().all(|kid| daemon.published().contains(kid)));
    assert!(daemon.verifies(&token));
}

#[test]
fn a_log_that_cannot_be_written_does_not_end_the_daemon() {
    let place = Place::new();
    let mut command = Command::new("sh");
    let serve = r#"exec "$0" serve --init 2>/dev/full"#;
    command.args(["-c", serve, env!("CARGO_BIN_EXE_jwksd")]);
    let mut command = place.settle(command);
    command.env("RUST_LOG", "trace");
    let daemon = place.start_as(command);
    place.run(&["keys", "rotate", "default", "--now"]).ok();
    assert!(daemon.verifies(&sign(&place)));
    assert_eq!(daemon.end(Signal::TERM).code(), Some(0));
}
