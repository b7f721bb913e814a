//! The first start and every later one.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use crate::daemon::Signal;
use crate::keys::active;
use crate::place::Place;

#[test]
fn a_first_start_makes_a_master_key_for_its_owner_alone() {
    let place = Place::new();
    let _daemon = place.start();
    let mode = |name| fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data/master.key"), 0o600);
    assert_eq!(mode("data"), 0o700);
    assert_eq!(mode("data/audit.jsonl"), 0o600);
    assert_eq!(mode("data/sign.sock"), 0o600);
    assert_eq!(mode("data/admin.sock"), 0o600);
}

#[test]
fn a_start_says_where_it_listens_what_signs_and_when_it_rotates() {
    let place = Place::new();
    let daemon = place.start();
    let said = daemon.said();
    assert_ne!(daemon.address("public"), "127.0.0.1:0");
    assert_eq!(daemon.address("internal"), "unix:data/sign.sock");
    assert_eq!(daemon.address("admin"), "unix:data/admin.sock");
    assert!(said.contains("made the master key data/master.key"), "{said}");
    assert!(said.contains("http://127.0.0.1:8080/.well-known/jwks.json"), "{said}");

    let line = |keyset: &str| said.lines().find(|line| line.contains(keyset)).unwrap();
    let default = format!("default (ES256)  active {}", active(&place, "default"));
    assert!(line("default (").contains(&default), "{said}");
    assert!(line("default (").contains("-01T03:00:00Z"), "{said}");
    let second = format!("second (EdDSA)  active {}", active(&place, "second"));
    assert!(line("second (").contains(&second), "{said}");
    assert!(line("second (").contains("next rotation when asked"), "{said}");
}

#[test]
fn what_is_no_http_leaves_no_line_in_the_log() {
    let place = Place::new();
    let daemon = place.start();
    let log = daemon.log();
    for bytes in ["GET / HTTP/1.1\r\na: \0\r\n\r\n", "\u{16}\u{3}\u{1}\r\n\r\n"] {
        let mut stream = TcpStream::connect(daemon.address("public")).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(daemon.log(), log);
}

#[test]
fn a_later_start_with_init_keeps_the_keys() {
    let place = Place::new();
    let daemon = place.start();
    let (kids, master_key) = (daemon.published(), place.read("data/master.key"));
    daemon.end(Signal::TERM);

    let daemon = place.start();
    assert_eq!(daemon.published(), kids);
    assert_eq!(place.read("data/master.key"), master_key);
    assert!(!daemon.said().contains("made"), "{}", daemon.said());
}

#[test]
fn init_makes_what_serve_then_opens() {
    let place = Place::new();
    let said = place.run(&["init"]).ok();
    assert!(said.contains("Keep a copy of the master key apart from the store"), "{said}");
    let master_key = place.read("data/master.key");
    place.start_as(place.command(&["serve"]));
    assert_eq!(place.read("data/master.key"), master_key);
}

#[test]
fn a_second_init_is_refused_and_changes_nothing() {
    let place = Place::new();
    place.run(&["init"]).ok();
    let (files, master_key) = (place.files("data"), place.read("data/master.key"));
    place.run(&["init"]).fails(1, &["data/master.key", "data/store", "nothing was made"]);
    assert_eq!(place.files("data"), files);
    assert_eq!(place.read("data/master.key"), master_key);
}

#[test]
fn init_makes_the_master_key_for_root_and_the_store_for_its_owner_which_only_root_can() {
    let place = Place::with("path = \"data/store\"", "path = \"state/store\"");
    place.edit("data/master.key", "credentials/master.key");
    let arguments = ["init", "--master-key", "etc/master.key", "--store-owner", "nobody"];
    let made = place.run(&arguments);
    if !rustix::process::geteuid().is_root() {
        made.fails(1, &["only root"]);
        assert!(!place.has("etc") && !place.has("state"));
        return;
    }
    assert!(made.ok().contains("etc/master.key"));
    let owner = |name: &str| fs::metadata(place.path(name)).unwrap().uid();
    assert_eq!(owner("etc/master.key"), 0);
    let nobody = owner("state");
    assert_ne!(nobody, 0);
    assert!(place.files("state").len() > 2);
    for file in place.files("state") {
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!(metadata.uid(), nobody, "{}", file.display());
        assert_eq!(metadata.mode() & 0o077, 0, "{}", file.display());
    }
    assert!(!place.has("credentials"));

    // With the key where the daemon looks for it, the two belong together.
    place.edit("credentials/master.key", "etc/master.key");
    place.run(&["init"]).fails(1, &["nothing was made"]);
}

#[test]
fn init_for_a_user_who_cannot_write_where_the_store_shall_be_makes_nothing() {
    let place = Place::new();
    fs::create_dir(place.path("data")).unwrap();
    let refused = place.run(&["init", "--master-key", "master.key", "--store-owner", "nobody"]);
    let words = if rustix::process::geteuid().is_root() { "data does not belong" } else { "root" };
    refused.fails(1, &[words]);
    assert!(!place.has("master.key") && place.files("data").is_empty());
}

#[test]
fn init_for_a_user_that_does_not_exist_makes_nothing() {
    let place = Place::new();
    let refused = place.run(&["init", "--store-owner", "no such user"]);
    assert!(["no such user", "only root"].iter().any(|words| refused.stderr.contains(words)));
    refused.fails(1, &[]);
    assert!(!place.has("data"));
}

#[test]
fn a_making_that_was_interrupted_at_once_can_be_begun_again() {
    let place = Place::new();
    place.run(&["init"]).ok();
    fs::remove_dir_all(place.path("data/store")).unwrap();
    fs::create_dir(place.path("data/store")).unwrap();
    place.write("data/store/latest.new", "");
    // Either way it says what to do.
    for arguments in [["serve"].as_slice(), &["serve", "--init"], &["init"]] {
        place.run_serve(arguments).fails(1, &["but no store", "remove the key"]);
    }
    fs::remove_file(place.path("data/master.key")).unwrap();
    place.start();
    assert!(!place.has("data/store/latest.new"));
}
