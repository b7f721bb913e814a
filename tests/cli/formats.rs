//! What a newer version wrote is refused, by the name of its format, and no byte of it is changed.

use std::fs;
use std::path::PathBuf;

use crate::daemon::Signal;
use crate::output::Output;
use crate::place::{Place, SIGN};

const SERVE: [&str; 1] = ["serve"];
const INIT: [&str; 2] = ["serve", "--init"];
const VERIFY: [&str; 3] = ["store", "verify", "backup"];
const RESTORE: [&str; 3] = ["store", "restore", "backup"];
const ACCEPT: [&str; 4] = ["store", "restore", "backup", "--accept"];
const REKEY: [&str; 6] =
    ["store", "rekey", "--new-master-key", "data/new.key", "--into", "data/new"];
const BACKUP: [&str; 3] = ["store", "backup", "another"];

/// A store, an audit and a backup, of a daemon that is stopped.
fn written() -> Place {
    let place = Place::new();
    let daemon = place.start();
    place.run(&SIGN).ok();
    place.run(&["store", "backup", "backup"]).ok();
    daemon.end(Signal::TERM);
    place
}

/// Everything in the place, but for what the daemon said.
fn content(place: &Place) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let said = |path: &PathBuf| {
        path.extension() == Some("out".as_ref()) || path.extension() == Some("err".as_ref())
    };
    let files = place.files("").into_iter().filter(|path| !said(path));
    files.map(|path| (path.clone(), fs::read(path).ok())).collect()
}

/// Each of these commands fails with these words, and changes nothing.
#[track_caller]
fn refuse(place: &Place, commands: &[&[&str]], words: &str) {
    let before = content(place);
    for command in commands {
        let Output { code, stdout, stderr } =
            if command[0] == "serve" { place.run_serve(command) } else { place.run(command) };
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{command:?}: {stderr}");
        assert!(stderr.contains(words), "{command:?}: no {words:?} in {stderr}");
        assert_eq!(content(place), before, "{command:?}");
    }
}

/// Nobody answers, and nothing is changed.
#[track_caller]
fn no_daemon(place: &Place) {
    let before = content(place);
    place.run(&BACKUP).fails(6, &["no jwksd answers on"]);
    assert_eq!(content(place), before);
}

fn edit(place: &Place, name: &str, from: &str, to: &str) {
    let text = place.read(name);
    assert!(text.contains(from), "{from} is not in {name}");
    place.write(name, &text.replacen(from, to, 1));
}

fn lose_the_store(place: &Place) {
    fs::remove_dir_all(place.path("data/store")).unwrap();
}

#[test]
fn a_store_of_a_newer_format() {
    let place = written();
    assert_eq!(place.read("data/store/format"), "1\n");
    place.write("data/store/format", "2\n");
    let words = "the store has format 2, which this version of jwksd does not know";
    refuse(&place, &[&SERVE, &INIT, &REKEY], words);
    refuse(&place, &[&RESTORE, &ACCEPT], "there is something at data/store");
    no_daemon(&place);
    // Also where nothing of it is as it is now.
    for name in ["db", "conf", "latest"] {
        fs::remove_file(place.path("data/store").join(name)).unwrap();
    }
    place.write("data/store/rows", "in another form");
    refuse(&place, &[&SERVE, &INIT, &REKEY], words);
}

#[test]
fn an_audit_with_lines_of_a_newer_format() {
    let place = written();
    edit(&place, "data/audit.jsonl", r#""format":1,"#, r#""format":2,"#);
    let words =
        "data/audit.jsonl has format 2 of the audit, which this version of jwksd does not know";
    refuse(&place, &[&SERVE, &INIT, &REKEY, &["audit", "verify"]], words);
    no_daemon(&place);
    let said = place.run(&["audit", "verify", "data/audit.jsonl"]);
    assert_eq!(said.code, Some(7));
    assert!(said.stdout.contains("format 2 is newer than this version of jwksd knows"), "{said:?}");
    lose_the_store(&place);
    refuse(&place, &[&RESTORE, &ACCEPT], words);
}

#[test]
fn a_checkpoint_and_a_handover_of_a_newer_format() {
    for (name, text) in [
        ("audit.jsonl.checkpoint", r#"{"format":2,"something":"else"}"#),
        ("audit.jsonl.rekeyed", r#"{"format":2,"position":{}}"#),
    ] {
        let place = written();
        place.write(&format!("data/{name}"), text);
        let words = format!("data/{name} has format 2 of the audit, which this version");
        refuse(&place, &[&SERVE, &INIT, &REKEY], &words);
        lose_the_store(&place);
        refuse(&place, &[&RESTORE, &ACCEPT], &words);
    }
}

#[test]
fn a_backup_of_a_newer_format() {
    let place = written();
    lose_the_store(&place);
    let mut backup = fs::read(place.path("backup")).unwrap();
    backup[14] = b'2';
    fs::write(place.path("backup"), backup).unwrap();
    let words =
        "backup: it is a backup of the format v2, which this version of jwksd does not know";
    refuse(&place, &[&VERIFY, &RESTORE, &ACCEPT], words);
}

#[test]
fn a_master_key_of_a_newer_format() {
    let place = written();
    let key = "data/master.key";
    let words =
        "line 2 is a master key of the format v2, which this version of jwksd does not know";
    let known = place.read(key);
    fs::copy(place.path(key), place.path("data/new.key")).unwrap();
    edit(&place, "data/new.key", "jwksd-master-key-v1:", "jwksd-master-key-v2:");
    refuse(&place, &[&REKEY], words);
    edit(&place, key, "jwksd-master-key-v1:", "jwksd-master-key-v2:");
    refuse(&place, &[&SERVE, &INIT, &REKEY, &VERIFY], words);
    no_daemon(&place);
    lose_the_store(&place);
    refuse(&place, &[&RESTORE, &ACCEPT], words);
    // Beside one that is known as well.
    place.write(key, &(known.clone() + "jwksd-master-key-v2:\n"));
    refuse(&place, &[&RESTORE, &ACCEPT], "line 3 is a master key of the format v2");
    place.write(key, &known);
    place.run(&ACCEPT).ok();
}

#[test]
fn a_configuration_of_a_newer_version() {
    let place = written();
    place.edit("[public]", "[replicas]\nhow = \"many\"\n\n[public]");
    refuse(&place, &[&SERVE, &REKEY], "replicas");
}
