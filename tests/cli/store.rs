//! Backup, verify, restore and rekey, with the real daemon and real files.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jwksd::master_key;
use jwksd_keystore::store::{SledStore, Store, StoreError};
use serde_json::Value;

use crate::daemon::Signal;
use crate::output::Output;
use crate::place::{Place, SIGN, wait_for};

const BACKUP: [&str; 3] = ["store", "backup", "backup"];
const VERIFY: [&str; 3] = ["store", "verify", "backup"];
const RESTORE: [&str; 3] = ["store", "restore", "backup"];
const ACCEPT: [&str; 4] = ["store", "restore", "backup", "--accept"];
const REKEY: [&str; 6] =
    ["store", "rekey", "--new-master-key", "data/new.key", "--into", "data/new"];

/// The kids of a key set that are in a state.
fn kids(place: &Place, keyset: &str, state: &str) -> Vec<String> {
    let shown = place.run(&["--json", "keys", "show", keyset]).json();
    let keys = shown["keys"].as_array().unwrap().iter();
    let of_state = keys.filter(|key| key["state"] == state);
    of_state.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

fn kid(place: &Place, keyset: &str, state: &str) -> String {
    let kids = kids(place, keyset, state);
    assert_eq!(kids.len(), 1, "{kids:?}");
    kids[0].clone()
}

fn rotate(place: &Place, keyset: &str) {
    place.run(&["keys", "rotate", keyset, "--now"]).ok();
    wait_for_standby(place, keyset);
}

/// It is made a moment after the one before signs, and shown when the audit has it on the disk.
fn wait_for_standby(place: &Place, keyset: &str) {
    wait_for("the next standby", || (kids(place, keyset, "pending").len() == 1).then_some(()));
}

fn sign(place: &Place) -> String {
    place.run(&SIGN).ok()
}

/// Loses the store, as a disk does.
fn lose_the_store(place: &Place) {
    fs::remove_dir_all(place.path("data/store")).unwrap();
}

fn audit_is_whole(place: &Place) {
    let said = place.run(&["audit", "verify"]).ok();
    assert!(said.contains("whole: "), "{said}");
}

/// What a restore that was not accepted says.
#[track_caller]
fn outlook(output: Output) -> String {
    assert_eq!(output.code, Some(8), "{output:?}");
    assert_eq!(output.stderr, "");
    assert!(output.stdout.contains("Nothing was changed."), "{}", output.stdout);
    output.stdout
}

/// The part of an outlook under a title.
fn under<'t>(text: &'t str, title: &str) -> &'t str {
    let (_, rest) = text.split_once(title).unwrap_or_else(|| panic!("no {title:?} in {text}"));
    let end = rest.match_indices('\n').find(|(at, _)| !rest[at + 1..].starts_with("  "));
    &rest[..end.map_or(rest.len(), |(at, _)| at)]
}

/// Everything below a folder with its content, to compare.
fn content(place: &Place, folder: &str) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let files = place.files(folder).into_iter().filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[test]
fn a_backup_brings_back_what_was_lost_and_tells_what_it_means() {
    let place = Place::new();
    let daemon = place.start();
    let [active, standby] = ["active", "pending"].map(|state| kid(&place, "default", state));
    let old = sign(&place);
    let said = place.run(&BACKUP).ok();
    assert!(said.contains("2 key sets, 4 keys") && said.contains("store verify backup"), "{said}");
    assert_eq!(fs::metadata(place.path("backup")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!place.has(".backup.new"));

    // The active key ends, the standby signs and is revoked, and a key that is made now signs.
    rotate(&place, "default");
    let made = kid(&place, "default", "pending");
    place.run(&["keys", "revoke", "default", &standby, "--reason", "lost\nlaptop"]).ok();
    let since = sign(&place);
    assert_eq!(kid(&place, "default", "active"), made);
    // A kill before would leave lines about it that no checkpoint vouches for.
    wait_for_standby(&place, "default");
    daemon.end(Signal::KILL);
    lose_the_store(&place);

    let said = place.run(&VERIFY).ok();
    assert!(said.contains(&active) && said.contains("whole: 2 key sets"), "{said}");
    let before = content(&place, "data");
    let said = outlook(place.run(&RESTORE));
    assert_eq!(content(&place, "data"), before);
    assert!(said.contains("run the same command with --accept"), "{said}");
    let missing = under(&said, "Made since, and missing");
    assert!(missing.contains(&made) && !missing.contains(&standby), "{said}");
    let revoked = under(&said, "Revoked since, and revoked again");
    assert!(revoked.contains(&standby), "{said}");
    assert!(revoked.contains("revoked before the restore: lost laptop"), "{said}");
    assert!(under(&said, "these secrets return").contains(&active), "{said}");
    assert!(said.contains("default: for up to 1d6m after the daemon starts (until 2"), "{said}");
    assert!(!said.contains("WARNING"), "{said}");

    let said = place.run(&ACCEPT).ok();
    assert!(said.contains("restored to data/store; start the daemon"), "{said}");
    assert!(!place.has("data/store.restoring"));
    audit_is_whole(&place);
    let daemon = place.start();
    assert!(daemon.verifies(&old) && daemon.verifies(&sign(&place)));
    assert!(!daemon.verifies(&since), "its key is missing");
    assert_eq!(kid(&place, "default", "active"), active);
    let revoked = kids(&place, "default", "revoked");
    assert_eq!(revoked, std::slice::from_ref(&standby));
    assert!(!daemon.published().contains(&standby));
    daemon.end(Signal::TERM);
    audit_is_whole(&place);
    let audit = place.read("data/audit.jsonl");
    for words in [
        r#""action":"store-backup","decision":"allowed""#,
        r#""action":"store-backup","decision":"intent""#,
        r#""action":"store-backup","decision":"done""#,
        r#""action":"store-restore","decision":"intent""#,
        r#""action":"store-restore","decision":"done""#,
    ] {
        assert!(audit.contains(words), "{words}");
    }
    assert!(audit.contains(&format!(r#""keys":[{{"kid":"{standby}","event":"revoked"}}]"#)));
}

#[test]
fn a_backup_that_is_restored_twice_knows_what_was_revoked_in_both_lives() {
    let place = Place::new();
    let daemon = place.start();
    let standby = kid(&place, "default", "pending");
    place.run(&BACKUP).ok();
    place.run(&["keys", "revoke", "default", &standby, "--reason", "first life"]).ok();
    daemon.end(Signal::TERM);
    lose_the_store(&place);
    place.run(&ACCEPT).ok();
    let daemon = place.start();
    let active = kid(&place, "default", "active");
    place.run(&["keys", "revoke", "default", &active, "--reason", "second life"]).ok();
    daemon.end(Signal::TERM);
    lose_the_store(&place);
    let said = outlook(place.run(&RESTORE));
    let revoked = under(&said, "Revoked since, and revoked again");
    assert!(revoked.contains(&standby) && revoked.contains("first life"), "{said}");
    assert!(revoked.contains(&active) && revoked.contains("second life"), "{said}");
    place.run(&ACCEPT).ok();
    let _daemon = place.start();
    assert_eq!(kids(&place, "default", "revoked").len(), 2);
    assert_eq!(kids(&place, "default", "active").len(), 1);
}

#[test]
fn without_an_audit_that_tells_a_restore_says_so_and_names_every_secret() {
    let place = Place::new();
    let daemon = place.start();
    let [active, standby] = ["active", "pending"].map(|state| kid(&place, "default", state));
    place.run(&BACKUP).ok();
    place.run(&["keys", "revoke", "default", &standby, "--reason", "stolen"]).ok();
    daemon.end(Signal::TERM);
    lose_the_store(&place);
    let kept = tempfile::tempdir().unwrap();
    for name in ["audit.jsonl", "audit.jsonl.checkpoint"] {
        fs::copy(place.path("data").join(name), kept.path().join(name)).unwrap();
    }
    let put_back = || {
        for name in ["audit.jsonl", "audit.jsonl.checkpoint"] {
            fs::copy(kept.path().join(name), place.path("data").join(name)).unwrap();
        }
    };
    let remove = |name: &str| fs::remove_file(place.path("data").join(name)).unwrap();

    remove("audit.jsonl");
    remove("audit.jsonl.checkpoint");
    let said = outlook(place.run(&RESTORE));
    assert!(said.contains("nothing is known of the time since: there is no audit at"), "{said}");
    let returning = under(&said, "Their secrets return");
    assert!(returning.contains(&active) && returning.contains(&standby), "{said}");
    assert!(said.contains("Revoked since, and revoked again: none"), "{said}");

    // What a damaged audit says of revocations counts all the same.
    put_back();
    remove("audit.jsonl.checkpoint");
    let said = outlook(place.run(&RESTORE));
    assert!(said.contains("the audit was changed: the checkpoint file"), "{said}");
    assert!(under(&said, "Revoked since, and revoked again").contains(&standby), "{said}");
    let returning = under(&said, "Their secrets return");
    assert!(returning.contains(&active) && !returning.contains(&standby), "{said}");

    // An audit of another life.
    remove("audit.jsonl");
    let other = Place::new();
    other.start().end(Signal::TERM);
    fs::copy(other.path("data/audit.jsonl"), place.path("data/audit.jsonl")).unwrap();
    let said = outlook(place.run(&RESTORE));
    assert!(said.contains("nothing is known of the time since: the audit was changed"), "{said}");

    put_back();
    assert!(!outlook(place.run(&RESTORE)).contains("WARNING"));
}

#[test]
fn an_audit_that_began_after_the_backup_does_not_tell_what_came_since() {
    let place = Place::new();
    let daemon = place.start();
    place.run(&BACKUP).ok();
    daemon.end(Signal::TERM);
    for name in ["audit.jsonl", "audit.jsonl.checkpoint"] {
        fs::remove_file(place.path("data").join(name)).unwrap();
    }
    place.start().end(Signal::TERM);
    lose_the_store(&place);
    let said = outlook(place.run(&RESTORE));
    assert!(said.contains("the audit does not hold line"), "{said}");
    place.run(&ACCEPT).ok();
    place.start();
}

#[test]
fn a_damaged_backup_or_another_master_key_is_told_and_nothing_is_restored() {
    let place = Place::new();
    let daemon = place.start();
    place.run(&BACKUP).ok();
    daemon.end(Signal::TERM);
    lose_the_store(&place);
    let whole = fs::read(place.path("backup")).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (bytes, words) in [
        (flipped, "are not what was written"),
        (whole[..whole.len() - 1].to_vec(), "are not what was written"),
        ([&whole[..], b"\n"].concat(), "are not what was written"),
        (whole[..50].to_vec(), "it was cut off"),
        (b"something else".to_vec(), "it is not a backup of jwksd"),
    ] {
        fs::write(place.path("backup"), bytes).unwrap();
        for command in [&VERIFY[..], &RESTORE, &ACCEPT] {
            place.run(command).fails(7, &["backup: ", words]);
        }
    }
    fs::write(place.path("backup"), &whole).unwrap();
    let other = Place::new();
    other.run(&["init"]).ok();
    fs::copy(other.path("data/master.key"), place.path("other.key")).unwrap();
    let args = ["store", "verify", "backup", "--master-key", "other.key"];
    place.run(&args).fails(1, &["it was made under the master key ", "the one given is "]);
    place.run(&["store", "verify", "nowhere"]).fails(1, &["cannot read nowhere"]);
    fs::rename(place.path("data/master.key"), place.path("elsewhere")).unwrap();
    for command in [&VERIFY[..], &RESTORE, &ACCEPT] {
        place.run(command).fails(1, &["there is no master key at data/master.key"]);
    }
    assert!(!place.has("data/store") && !place.has("data/store.restoring"));
    // Where it is now, and without a configuration.
    fs::remove_file(place.path("config.toml")).unwrap();
    place.run(&["store", "verify", "backup", "--master-key", "elsewhere"]).ok();
}

#[test]
fn what_would_write_over_something_is_refused_and_changes_nothing() {
    let place = Place::new();
    let daemon = place.start();
    place.write("backup", "mine");
    place.run(&BACKUP).fails(1, &["backup is there already", "--force"]);
    assert_eq!(place.read("backup"), "mine");
    place.run(&["store", "backup", "backup", "--force"]).ok();
    place.run(&["store", "backup", "data", "--force"]).fails(1, &["data is there", "not a file"]);
    place.run(&["store", "backup", "no/such/folder"]).fails(1, &["cannot write no/such/folder"]);

    // While the daemon runs.
    place
        .run(&RESTORE)
        .fails(1, &["there is something at data/store", "stop the daemon", "Nothing was changed"]);
    place.run(&REKEY).fails(1, &["the daemon is running", "stop it first"]);
    fs::rename(place.path("data/store"), place.path("data/moved")).unwrap();
    place.run(&ACCEPT).fails(1, &["the daemon is running"]);
    fs::rename(place.path("data/moved"), place.path("data/store")).unwrap();
    daemon.end(Signal::TERM);

    let before = content(&place, "data");
    for command in [&RESTORE[..], &ACCEPT] {
        place.run(command).fails(1, &["there is something at data/store"]);
    }
    place.run(&BACKUP).fails(1, &["backup is there already"]);
    place.run(&["store", "backup", "other"]).fails(6, &["no jwksd answers on"]);
    assert!(!place.has("other") && !place.has(".other.new"));

    fs::create_dir(place.path("data/new")).unwrap();
    place.write("data/new/notes", "mine");
    place.run(&REKEY).fails(1, &["data/new is not empty"]);
    fs::remove_dir_all(place.path("data/new")).unwrap();
    let inside = ["--new-master-key", "data/new.key", "--into", "data/store/new"];
    place.run(&[&["store", "rekey"], &inside[..]].concat()).fails(1, &["is in the store"]);
    let same = ["--new-master-key", "data/master.key", "--into", "data/new"];
    place.run(&[&["store", "rekey"], &same[..]].concat()).fails(1, &["could go on to forge rows"]);
    let both = place.read("data/master.key") + &new_key();
    place.write("both.key", &both);
    fs::set_permissions(place.path("both.key"), fs::Permissions::from_mode(0o600)).unwrap();
    let with_old = ["--new-master-key", "both.key", "--into", "data/new"];
    place.run(&[&["store", "rekey"], &with_old[..]].concat()).fails(1, &["could go on to forge"]);
    assert_eq!(content(&place, "data"), before);
    fs::rename(place.path("data/store"), place.path("moved")).unwrap();
    place.run(&REKEY).fails(1, &["there is no store at data/store"]);
    assert!(!place.has("data/new.key"));
}

/// The content of a master key file.
fn new_key() -> String {
    let other = Place::new();
    other.run(&["init"]).ok();
    other.read("data/master.key")
}

#[test]
fn a_caller_without_the_grant_gets_no_backup() {
    let place = Place::with(r#", "operate"]"#, "]");
    let _daemon = place.start();
    place.run(&BACKUP).fails(3, &["no grant of this caller allows operate"]);
    assert!(!place.has("backup") && !place.has(".backup.new"));
    assert!(
        place.read("data/audit.jsonl").contains(r#""action":"store-backup","decision":"refused""#)
    );
}

fn go_over(place: &Place) {
    place.edit("\"data/store\"", "\"data/new\"");
    place.edit("\"data/master.key\"", "\"data/new.key\"");
}

#[test]
fn after_a_change_of_the_master_key_the_old_one_opens_nothing_and_the_audit_is_whole() {
    let place = Place::new();
    let daemon = place.start();
    let old = sign(&place);
    rotate(&place, "default");
    place.run(&BACKUP).ok();
    let kids_before = daemon.published();
    daemon.end(Signal::TERM);
    let commits = fs::read(place.path("data/store/latest")).unwrap();
    let said = place.run(&REKEY).ok();
    for words in [
        "data/new holds the 2 key sets of data/store under the new master key",
        "  path = \"data/new\"\n  master_key = \"data/new.key\"\n",
        "mv data/store data/store.old && mv data/new data/store",
        "destroy the old store and the old master key",
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    assert_eq!(
        fs::metadata(place.path("data/new.key")).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!place.has("data/new.rekeying"));
    assert_eq!(fs::read(place.path("data/store/latest")).unwrap(), commits);
    audit_is_whole(&place);

    go_over(&place);
    audit_is_whole(&place);
    let daemon = place.start();
    assert_eq!(daemon.published(), kids_before);
    assert!(daemon.verifies(&old) && daemon.verifies(&sign(&place)));
    rotate(&place, "default");
    daemon.end(Signal::KILL);
    audit_is_whole(&place);
    let said = place.run(&["audit", "verify"]).ok();
    assert!(
        said.contains("made under the master key") && said.contains("which was replaced"),
        "{said}"
    );
    let with = |former| place.run(&["audit", "verify", "--former-master-key", former]).ok();
    assert!(with("data/master.key").contains("were checked with it"));
    assert!(with("data/new.key").contains("no mark is made under the former master key"));
    // A change in the time of the old key is found without it.
    let audit = place.read("data/audit.jsonl");
    place.write("data/audit.jsonl", &audit.replacen("\"sign-token\"", "\"sign-tokem\"", 1));
    let verified = place.run(&["audit", "verify"]);
    assert_eq!(verified.code, Some(7), "{verified:?}");
    place.write("data/audit.jsonl", &audit);

    place.edit("\"data/new.key\"", "\"data/master.key\"");
    let refused = place.run_serve(&["serve"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("was written under the master key"), "{refused:?}");
    place.edit("\"data/master.key\"", "\"data/new.key\"");

    // A backup of before comes back under the new key.
    fs::remove_dir_all(place.path("data/new")).unwrap();
    place.run(&RESTORE).fails(1, &["it was made under the master key", "with --backup-master-key"]);
    let old_key = ["--backup-master-key", "data/master.key"];
    let said = outlook(place.run(&[&RESTORE[..], &old_key].concat()));
    assert!(said.contains("WARNING: it was made under the master key "), "{said}");
    assert!(said.contains("whoever has that key can have made it"), "{said}");
    place.run(&[&ACCEPT[..], &old_key].concat()).ok();
    fs::remove_file(place.path("data/master.key")).unwrap();
    let daemon = place.start();
    assert!(daemon.verifies(&old));
    daemon.end(Signal::TERM);
    audit_is_whole(&place);
}

#[test]
fn a_rekeyed_store_that_the_old_daemon_has_outrun_is_refused() {
    let place = Place::new();
    place.start().end(Signal::TERM);
    place.run(&REKEY).ok();
    let daemon = place.start();
    let standby = kid(&place, "default", "pending");
    place.run(&["keys", "revoke", "default", &standby, "--reason", "stolen"]).ok();
    daemon.end(Signal::TERM);
    go_over(&place);
    let refused = place.run_serve(&["serve"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("went on with the old master key"), "{refused:?}");
    // Made again, it has all.
    place.edit("\"data/new\"", "\"data/store\"");
    place.edit("\"data/new.key\"", "\"data/master.key\"");
    fs::remove_dir_all(place.path("data/new")).unwrap();
    place.run(&REKEY).ok();
    go_over(&place);
    let _daemon = place.start();
    assert_eq!(kids(&place, "default", "revoked"), [standby]);
    audit_is_whole(&place);
}

#[test]
fn answers_are_json_for_programs() {
    let place = Place::new();
    let daemon = place.start();
    let made = place.run(&[&["--json"], &BACKUP[..]].concat()).json();
    assert_eq!((&made["keysets"], &made["keys"]), (&2.into(), &4.into()));
    assert_eq!(made["file"], "backup");
    assert_eq!(made["bytes"], fs::metadata(place.path("backup")).unwrap().len());
    let active = kid(&place, "default", "active");
    daemon.end(Signal::TERM);
    let held = place.run(&[&["--json"], &VERIFY[..]].concat()).json();
    assert_eq!(held["commit"], made["commit"]);
    let keys = &held["keysets"][0]["keys"];
    assert_eq!((&keys[0]["kid"], &keys[0]["state"]), (&active.into(), &"active".into()));
    let rekeyed = place.run(&[&["--json"], &REKEY[..]].concat()).json();
    assert_eq!(rekeyed["keysets"], 2);
    lose_the_store(&place);
    let output = place.run(&[&["--json"], &RESTORE[..]].concat());
    assert_eq!(output.code, Some(8));
    let told: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&told["restored"], &told["unknown"]), (&false.into(), &Value::Null));
    assert_eq!(told["waits"][0]["after_start"], "1d6m");
}

/// The calls by which files and folders are changed and put on the disk.
const CALLS: [&str; 9] = [
    "rename",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
    "fsync",
    "fdatasync",
    "pwrite64",
    "write",
];

/// A command that makes a store, and what the store must hold then.
struct Making {
    command: &'static [&'static str],
    store: &'static str,
    master_key: &'static str,
    token: String,
    revoked: String,
}

impl Making {
    /// Whether the daemon goes on with what was made.
    fn check_daemon(&self, place: &Place) {
        if self.store == "data/new" {
            go_over(place);
        }
        let daemon = place.start_as(place.command(&["serve"]));
        assert!(daemon.verifies(&self.token));
        assert_eq!(kids(place, "default", "revoked"), std::slice::from_ref(&self.revoked));
        daemon.end(Signal::TERM);
        audit_is_whole(place);
    }

    /// The same but for the daemon, which takes its time.
    fn check_store(&self, place: &Place) {
        let keys = Arc::new(master_key::read(&place.path(self.master_key)).unwrap());
        // What another test starts at this moment holds this process's locks until it is a program.
        let store = wait_for("the store to be free", || {
            match SledStore::open(&place.path(self.store), keys.clone()) {
                Err(StoreError::Locked(_)) => None,
                opened => Some(opened.unwrap()),
            }
        });
        store.copy().unwrap().check(&mut |_| {}).unwrap();
        let tombstones = store.tombstones(&"default".parse().unwrap()).unwrap();
        assert_eq!(tombstones[0].kid.as_str(), self.revoked);
        assert!(tombstones[0].revoked.is_some());
        audit_is_whole(place);
    }
}

/// Kills the command at each of the calls by which it changes files, and runs it again to its end.
fn killed_anywhere(prepare: impl Fn() -> Place, making: &Making) {
    if Command::new("strace").arg("-V").output().is_err() {
        // CI has it.
        return;
    }
    let mut killed = 0;
    for call in CALLS {
        for time in 1.. {
            let place = prepare();
            let mut traced = Command::new("strace");
            traced.args(["-f", "-qq", "-o", "trace", "-e", &format!("trace={call}"), "-e"]);
            traced.arg(format!("inject={call}:signal=KILL:when={time}"));
            traced.arg(env!("CARGO_BIN_EXE_jwksd")).args(making.command);
            let output = Output::of(&mut place.settle(traced));
            if output.code == Some(0) {
                making.check_daemon(&place);
                break;
            }
            assert_eq!(output.code, None, "{output:?}");
            killed += 1;
            let is_made = place.has(making.store);
            let again = place.run(making.command);
            assert_eq!(again.code == Some(0), !is_made, "{call} {time}: {again:?}");
            making.check_store(&place);
            if time == 1 {
                making.check_daemon(&place);
            }
        }
    }
    assert!(killed > 40, "killed {killed} times");
}

/// A place with a backup, a token, and a key that was revoked since.
fn with_a_backup() -> (Place, String, String) {
    let place = Place::new();
    let daemon = place.start();
    place.run(&BACKUP).ok();
    let standby = kid(&place, "default", "pending");
    place.run(&["keys", "revoke", "default", &standby, "--reason", "stolen"]).ok();
    let token = sign(&place);
    daemon.end(Signal::TERM);
    (place, token, standby)
}

fn copy_of(from: &Path) -> Place {
    let place = Place::new();
    let copied =
        Command::new("cp").args(["-a", "."]).arg(place.path(".")).current_dir(from).status();
    assert!(copied.unwrap().success());
    place
}

#[test]
fn a_restore_that_was_killed_anywhere_is_done_again() {
    let (original, token, revoked) = with_a_backup();
    lose_the_store(&original);
    let making = Making {
        command: &ACCEPT,
        store: "data/store",
        master_key: "data/master.key",
        token,
        revoked,
    };
    killed_anywhere(|| copy_of(&original.path(".")), &making);
}

#[test]
fn a_change_of_the_master_key_that_was_killed_anywhere_is_done_again() {
    let (original, token, revoked) = with_a_backup();
    let making =
        Making { command: &REKEY, store: "data/new", master_key: "data/new.key", token, revoked };
    killed_anywhere(|| copy_of(&original.path(".")), &making);
}

/// As under systemd: the master key is root's, store and audit are the daemon's.
#[test]
fn root_restores_and_rekeys_for_the_user_of_the_daemon() {
    if !rustix::process::geteuid().is_root() {
        let place = Place::new();
        place.run(&["init"]).ok();
        let as_other = [&REKEY[..], &["--store-owner", "nobody"]].concat();
        place.run(&as_other).fails(1, &["only root"]);
        return;
    }
    let place = Place::with("path = \"data/store\"", "path = \"state/store\"");
    place.edit("data/master.key", "etc/master.key");
    let audit = "\n[audit]\npath = \"state/audit.jsonl\"\n";
    place.write("config.toml", &(place.read("config.toml") + audit));
    place.run(&["init", "--store-owner", "nobody"]).ok();
    fs::create_dir(place.path("data")).unwrap();
    let nobody = fs::metadata(place.path("state")).unwrap().uid();
    let daemon = place.start();
    place.run(&BACKUP).ok();
    let token = sign(&place);
    daemon.end(Signal::TERM);
    let give_back = || {
        for file in place.files("state") {
            std::os::unix::fs::chown(&file, Some(nobody), None).unwrap();
        }
    };
    give_back();
    fs::remove_dir_all(place.path("state/store")).unwrap();
    place.run(&ACCEPT).fails(1, &["belongs to uid", "--store-owner"]);
    let owner = ["--store-owner", "nobody"];
    // As root put it back.
    std::os::unix::fs::chown(place.path("state/audit.jsonl"), Some(0), None).unwrap();
    let unread = ["cannot read the audit at state/audit.jsonl", "Permission denied"];
    place.run(&[&RESTORE[..], &owner].concat()).fails(1, &unread);
    give_back();
    outlook(place.run(&[&RESTORE[..], &owner].concat()));
    place.run(&[&ACCEPT[..], &owner].concat()).ok();
    let rekey = ["store", "rekey", "--new-master-key", "etc/new.key", "--into", "state/new"];
    place.run(&rekey).fails(1, &["belongs to uid", "--store-owner"]);
    // The configuration names what the service manager makes of the key.
    place.edit("etc/master.key", "credentials/master.key");
    let key = ["--master-key", "etc/master.key"];
    let said = place.run(&[&rekey[..], &owner, &key].concat()).ok();
    assert!(said.contains("mv etc/master.key etc/master.key.old"), "{said}");
    assert!(!said.contains("master_key = "), "{said}");
    for file in place.files("state") {
        let metadata = fs::metadata(&file).unwrap();
        assert_eq!(metadata.uid(), nobody, "{}", file.display());
        assert_eq!(metadata.mode() & 0o077, 0, "{}", file.display());
    }
    assert_eq!(fs::metadata(place.path("etc/new.key")).unwrap().uid(), 0);
    place.edit("state/store", "state/new");
    place.edit("credentials/master.key", "etc/new.key");
    let daemon = place.start_as(place.command(&["serve"]));
    assert!(daemon.verifies(&token));
    daemon.end(Signal::TERM);
    audit_is_whole(&place);
}
