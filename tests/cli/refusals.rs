//! Starts that are refused: each says why, and leaves everything as it was.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use crate::daemon::Signal;
use crate::keys::active;
use crate::place::Place;

/// Makes master key, store and keys, and returns the active kid.
fn begin(place: &Place) -> String {
    let daemon = place.start();
    let kid = active(place, "default");
    daemon.end(Signal::TERM);
    kid
}

#[test]
fn serve_without_init_in_an_empty_folder_says_what_to_run_and_makes_nothing() {
    let place = Place::new();
    place.run_serve(&["serve"]).fails(1, &["data/master.key", "data/store", "jwksd serve --init"]);
    assert!(!place.has("data"), "{:?}", place.files("data"));
}

#[test]
fn a_master_key_without_a_store_is_an_error_and_no_store_is_made() {
    let place = Place::new();
    begin(&place);
    fs::rename(place.path("data/store"), place.path("lost")).unwrap();
    place.run_serve(&["serve", "--init"]).fails(1, &["data/store"]);
    place.run_serve(&["serve"]).fails(1, &["data/store"]);
    place.run(&["init"]).fails(1, &["data/store"]);
    assert!(!place.has("data/store"));
}

#[test]
fn a_store_without_its_master_key_is_an_error_and_no_master_key_is_made() {
    let place = Place::new();
    let kid = begin(&place);
    fs::rename(place.path("data/master.key"), place.path("lost")).unwrap();
    let words = ["data/master.key"];
    place.run_serve(&["serve", "--init"]).fails(1, &words);
    place.run_serve(&["serve"]).fails(1, &words);
    place.run(&["init"]).fails(1, &["data/master.key"]);
    assert!(!place.has("data/master.key"));

    fs::rename(place.path("lost"), place.path("data/master.key")).unwrap();
    let _daemon = place.start();
    assert_eq!(active(&place, "default"), kid);
}

#[test]
fn a_port_that_is_taken_is_named_and_nothing_is_made() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    place.edit("127.0.0.1:0", &address);
    let words = [&address, "in use", "ss -ltnp", "change this listen in the configuration"];
    place.run_serve(&["serve", "--init"]).fails(1, &words);
    assert!(!place.has("data"));
}

#[test]
fn a_socket_that_cannot_be_made_is_named_and_nothing_is_made() {
    let place = Place::with("unix:data/admin.sock", "unix:config.toml/admin.sock");
    place.run_serve(&["serve", "--init"]).fails(1, &["unix:config.toml/admin.sock"]);
    assert!(!place.has("data"), "{:?}", place.files("data"));
}

#[test]
fn a_second_daemon_at_the_same_sockets_is_refused_and_the_first_goes_on() {
    let place = Place::new();
    let _daemon = place.start();
    let kid = active(&place, "default");
    let second = place.run(&["serve", "--init"]);
    let words = ["unix:data/sign.sock", "another process listens there, perhaps another jwksd"];
    second.fails(1, &words);
    assert_eq!(active(&place, "default"), kid);
}

#[test]
fn a_store_that_another_process_has_open_is_named_and_left_alone() {
    let place = Place::new();
    let _daemon = place.start();
    let kid = active(&place, "default");
    let other = place.read("config.toml").replace(".sock", "-2.sock");
    place.write("other.toml", &other);
    let second = place.run(&["--config", "other.toml", "serve", "--init"]);
    second.fails(1, &["the store at data/store is in use by another process"]);
    assert_eq!(active(&place, "default"), kid);
}

#[test]
fn another_master_key_is_an_error_that_says_so_and_the_store_opens_again_with_the_right_one() {
    let (place, stranger) = (Place::new(), Place::new());
    let kid = begin(&place);
    stranger.run(&["init"]).ok();
    let (key, audit) = (place.read("data/master.key"), place.read("data/audit.jsonl"));

    place.write("data/master.key", &stranger.read("data/master.key"));
    let refused = place.run_serve(&["serve", "--init"]);
    refused.fails(1, &["master key", "which is not the one given"]);
    assert_eq!(place.read("data/audit.jsonl"), audit);

    place.write("data/master.key", &key);
    let _daemon = place.start();
    assert_eq!(active(&place, "default"), kid);
}

#[test]
fn a_master_key_that_others_can_read_is_refused() {
    let place = Place::new();
    place.run(&["init"]).ok();
    for (mode, who) in [(0o644, "everyone"), (0o640, "its group")] {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(place.path("data/master.key"), permissions).unwrap();
        place.run_serve(&["serve"]).fails(1, &["data/master.key", who, "chmod 600"]);
    }
}

#[test]
fn a_master_key_file_without_a_key_is_an_error_that_does_not_repeat_what_it_holds() {
    let place = Place::new();
    place.run(&["init"]).ok();
    place.write("data/master.key", "hunter2\n");
    let refused = place.run_serve(&["serve"]);
    assert!(!refused.stderr.contains("hunter2"), "{refused:?}");
    refused.fails(1, &["data/master.key", "line 1 is not a master key"]);
}

#[test]
fn a_store_whose_data_file_was_emptied_does_not_start_and_gets_no_new_keys() {
    let place = Place::new();
    begin(&place);
    place.write("data/store/db", "");
    for arguments in [&["serve"][..], &["serve", "--init"]] {
        place.run_serve(arguments).fails(1, &["store", "damaged"]);
    }
    assert!(!place.read("serve.err").contains("create"));
}

#[test]
fn a_store_that_lost_all_its_files_does_not_start_and_gets_no_new_keys() {
    let place = Place::new();
    begin(&place);
    fs::remove_dir_all(place.path("data/store")).unwrap();
    fs::create_dir(place.path("data/store")).unwrap();
    for arguments in [&["serve"][..], &["serve", "--init"]] {
        place.run_serve(arguments).fails(1, &["data/store"]);
    }
    assert_eq!(fs::read_dir(place.path("data/store")).unwrap().count(), 0);
}
