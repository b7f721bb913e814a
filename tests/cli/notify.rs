//! What the service manager is told.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::Duration;

use crate::daemon::Signal;
use crate::place::Place;

/// The service manager's end of the socket.
struct Manager(UnixDatagram);

impl Manager {
    fn new(place: &Place) -> Self {
        let socket = UnixDatagram::bind(place.path("notify.sock")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        Self(socket)
    }

    /// The next message, which may have several lines.
    fn receive(&self) -> String {
        let mut message = [0; 4096];
        // A receive with a time limit is interrupted when the process was stopped for a moment.
        let length = loop {
            match self.0.recv(&mut message) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                received => break received.expect("nothing was sent"),
            }
        };
        String::from_utf8(message[..length].to_vec()).unwrap()
    }
}

#[test]
fn systemd_is_told_of_readiness_reloads_and_the_stop() {
    let place = Place::new();
    let manager = Manager::new(&place);
    let mut command = place.command(&["serve", "--init"]);
    command.env("NOTIFY_SOCKET", place.path("notify.sock"));
    let daemon = place.start_as(command);
    assert!(manager.receive().contains("READY=1"));

    daemon.signal(Signal::HUP);
    let reloading = manager.receive();
    assert!(reloading.contains("RELOADING=1"), "{reloading}");
    // systemd.service(5), Type=notify-reload: in the same message, or the reload times out.
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    assert!(manager.receive().contains("READY=1"));

    daemon.signal(Signal::TERM);
    assert!(manager.receive().contains("STOPPING=1"));
}

#[test]
fn a_reload_that_fails_ends_with_readiness_too() {
    let place = Place::new();
    let manager = Manager::new(&place);
    let mut command = place.command(&["serve", "--init"]);
    command.env("NOTIFY_SOCKET", place.path("notify.sock"));
    let daemon = place.start_as(command);
    assert!(manager.receive().contains("READY=1"));

    place.write("config.toml", "nonsense");
    daemon.signal(Signal::HUP);
    assert!(manager.receive().contains("RELOADING=1"));
    while !manager.receive().contains("READY=1") {}
}

#[test]
fn the_watchdog_is_fed_for_as_long_as_it_runs() {
    let place = Place::new();
    let manager = Manager::new(&place);
    // Only the shell knows the process id before jwksd takes its place.
    let mut command = Command::new("sh");
    command.args(["-c", r#"WATCHDOG_PID=$$ exec "$0" serve --init"#, env!("CARGO_BIN_EXE_jwksd")]);
    let mut command = place.settle(command);
    command.env("NOTIFY_SOCKET", place.path("notify.sock")).env("WATCHDOG_USEC", "100000");
    let _daemon = place.start_as(command);
    assert!(manager.receive().contains("READY=1"));
    for _ in 0..3 {
        assert!(manager.receive().contains("WATCHDOG=1"));
    }
}
