//! What earlier versions wrote opens: every folder in `tests/fixtures` is of one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jwksd::clock::{Clock, SystemClock};
use jwksd::master_key;
use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::crypto;
use jwksd_keystore::jwk::PublicKey;
use jwksd_keystore::store::{SledStore, Store};
use serde_json::Value;

use crate::daemon::{Daemon, Signal};
use crate::keys::active;
use crate::place::{Place, wait_for};

/// What one version wrote.
struct Fixture {
    folder: PathBuf,
    expected: Value,
}

impl Fixture {
    /// Those of all versions.
    fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut folders: Vec<_> = entries.filter(|path| path.is_dir()).collect();
        folders.sort();
        let read = |folder: PathBuf| {
            let expected = fs::read_to_string(folder.join("expected.json")).unwrap();
            Self { folder, expected: serde_json::from_str(&expected).unwrap() }
        };
        folders.into_iter().map(read).collect()
    }

    /// A place with what all of it is about.
    fn place(&self) -> Place {
        self.place_of("config.toml", "data.tar.gz", "master.key")
    }

    /// A place with a configuration, the `data/` of an archive, and the key that it is under.
    fn place_of(&self, config: &str, archive: &str, key: &str) -> Place {
        let place = Place::new();
        fs::copy(self.folder.join(config), place.path("config.toml")).unwrap();
        let mut tar = Command::new("tar");
        tar.arg("-xzf").arg(self.folder.join(archive)).arg("-C").arg(place.path(""));
        assert!(tar.status().unwrap().success());
        self.put_key(&place, key, "master.key");
        place
    }

    fn put_key(&self, place: &Place, key: &str, name: &str) {
        fs::copy(self.folder.join(key), place.path(name)).unwrap();
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// What was seen of its key sets.
    fn seen(&self) -> Seen<'_> {
        Seen(&self.expected)
    }

    /// The same of the small daemon.
    fn seen_of_small(&self) -> Seen<'_> {
        Seen(&self.expected["small"])
    }
}

/// What admins and callers saw when the fixture was made.
struct Seen<'f>(&'f Value);

impl<'f> Seen<'f> {
    /// The names of the key sets.
    fn keysets(&self) -> impl Iterator<Item = &'f str> {
        self.0["keysets"].as_object().unwrap().keys().map(String::as_str)
    }

    /// The daemon that was started here has the same keys, and what they signed verifies.
    #[track_caller]
    fn assert_same(&self, place: &Place, daemon: &Daemon) {
        for keyset in self.keysets() {
            let shown = place.run(&["keys", "show", keyset, "--json"]).json();
            let before = &self.0["keysets"][keyset];
            assert_eq!(lives(&shown, &now()), lives(before, &now()), "{keyset}");
            assert_eq!(shown["active"], before["active"], "{keyset}");
        }
        self.assert_tokens(daemon);
    }

    /// Every token verifies whose key is to be published.
    #[track_caller]
    fn assert_tokens(&self, daemon: &Daemon) {
        for signed in self.0["tokens"].as_array().unwrap() {
            let (keyset, kid) = (text(&signed["keyset"]), text(&signed["kid"]));
            let is_good = verifies(daemon, keyset, text(&signed["token"]));
            assert_eq!(is_good, self.is_published(keyset, kid), "{keyset} {kid}");
        }
    }

    /// Whether a key is to be in the JWK Set now.
    fn is_published(&self, keyset: &str, kid: &str) -> bool {
        let lives = lives(&self.0["keysets"][keyset], &now());
        let life = lives.iter().find(|life| life["kid"] == kid).unwrap();
        !["retired", "revoked"].contains(&text(&life["state"]))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

/// As times are shown, so that they can be compared.
fn now() -> String {
    SystemClock.wall().to_string()
}

/// Of each key what no start changes. A key whose time is over since has retired.
fn lives(shown: &Value, now: &str) -> Vec<Value> {
    let same = ["kid", "number", "state", "origin", "algorithm", "published", "ended", "exported"];
    let keys = shown["keys"].as_array().unwrap().iter().map(|key| {
        let mut life: Value =
            same.map(|name| (name.to_owned(), key[name].clone())).into_iter().collect();
        if key["retires"].as_str().is_some_and(|at| at <= now) {
            life["state"] = "retired".into();
        }
        life
    });
    let mut keys: Vec<_> = keys.collect();
    keys.sort_by_key(|key| key["number"].as_u64());
    keys
}

/// Whether a token verifies by the JWK Set that the daemon serves now.
fn verifies(daemon: &Daemon, keyset: &str, token: &str) -> bool {
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    let (message, signature) = token.trim().rsplit_once('.').unwrap();
    let header = decode(message.split('.').next().unwrap());
    let header: Value = serde_json::from_slice(&header).unwrap();
    let (status, set) = daemon.http(&format!("/{keyset}/.well-known/jwks.json"));
    if status != 200 {
        return false;
    }
    let set: Value = serde_json::from_str(&set).unwrap();
    let key = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]);
    key.filter(|key| key["alg"] == header["alg"]).is_some_and(|key| {
        let public: PublicKey = serde_json::from_value(key.clone()).unwrap();
        let is_of = |of: &Algorithm| key["alg"] == of.jose_name() && public.fits(*of);
        let algorithm = Algorithm::ALL.into_iter().find(is_of).unwrap();
        crypto::verify(algorithm, &public, message.as_bytes(), &decode(signature)).is_ok()
    })
}

#[track_caller]
fn audit_is_whole(place: &Place) {
    let said = place.run(&["audit", "verify"]).ok();
    assert!(said.contains("whole: "), "{said}");
}

#[test]
fn this_version_has_a_fixture_that_holds_what_it_says() {
    let all = Fixture::all();
    let name = |fixture: &Fixture| fixture.folder.file_name().unwrap().to_owned();
    let of_now = all.iter().find(|fixture| name(fixture) == env!("CARGO_PKG_VERSION"));
    let of_now = of_now.expect("each release has its folder: tests/fixtures/make");
    let mut signed: Vec<_> = of_now.expected["keysets"].as_object().unwrap().values().collect();
    signed.retain(|keyset| keyset["active"].is_string());
    for algorithm in Algorithm::ALL {
        let is_of =
            |keyset: &&&Value| text(&keyset["algorithm"]).starts_with(algorithm.jose_name());
        assert!(signed.iter().any(|keyset| is_of(&keyset)), "{algorithm}");
    }
    let keys = of_now.expected["keysets"]["second"]["keys"].as_array().unwrap();
    for (member, value) in [
        ("state", "pending"),
        ("state", "active"),
        ("state", "verify-only"),
        ("state", "retired"),
        ("state", "revoked"),
        ("origin", "generated"),
        ("origin", "imported"),
        ("origin", "trusted"),
    ] {
        assert!(keys.iter().any(|key| key[member] == value), "{value}");
    }
    let place = of_now.place();
    let files =
        place.files("data").into_iter().filter(|path| path.extension() == Some("jsonl".as_ref()));
    let audit: String = files.map(|path| fs::read_to_string(path).unwrap()).collect();
    let broken =
        of_now.place_of("small.toml", "broken.tar.gz", "small.key").read("data/audit.jsonl");
    let marks = ["begins", "ends", "checkpoint", "starts", "stops", "resumes", "rekeyed"];
    for mark in marks.map(|mark| format!("audit-{mark}")) {
        assert!(audit.contains(&format!(r#""action":"{mark}""#)), "{mark}");
    }
    assert!(broken.contains(r#""action":"audit-breaks""#));
    for words in [r#""action":"incident""#, r#""keys":["#, r#""decision":"refused""#] {
        assert!(audit.contains(words), "{words}");
    }
}

#[test]
fn a_daemon_starts_on_what_each_version_wrote_and_goes_on_with_the_same_keys() {
    for fixture in Fixture::all() {
        let place = fixture.place();
        let daemon = place.start();
        fixture.seen().assert_same(&place, &daemon);
        let before = active(&place, "second");
        for keyset in
            fixture.seen().keysets().filter(|keyset| !["waiting", "removed"].contains(keyset))
        {
            let sign = ["sign", keyset, "--claims", "{}", "--ttl", "15m"];
            let token = place.run(&sign).ok();
            assert!(verifies(&daemon, keyset, &token), "{keyset}");
        }
        place.run(&["keys", "rotate", "second", "--now"]).ok();
        wait_for("the rotation", || (active(&place, "second") != before).then_some(()));
        place.run(&["store", "backup", "new.backup"]).ok();
        daemon.end(Signal::TERM);
        place.run(&["store", "verify", "new.backup"]).ok();
        audit_is_whole(&place);
    }
}

#[test]
fn the_store_of_each_version_passes_every_check_and_every_secret_in_it_opens() {
    for fixture in Fixture::all() {
        let place = fixture.place();
        let keys = Arc::new(master_key::read(&place.path("master.key")).unwrap());
        let store = SledStore::open(&place.path("data/store"), keys).unwrap();
        store.copy().unwrap().check(&mut |_| {}).unwrap();
        let names = store.keysets().unwrap();
        let names = names.iter().map(|name| name.as_str().to_owned());
        assert_eq!(names.collect::<Vec<_>>(), fixture.seen().keysets().collect::<Vec<_>>());
    }
}

#[test]
fn the_audit_of_each_version_is_told_to_be_what_it_was() {
    for fixture in Fixture::all() {
        let audit = ["--json", "audit", "verify"];
        let place = fixture.place();
        assert_eq!(place.run(&audit).json(), fixture.expected["audit"]);
        assert_eq!(fixture.expected["audit"]["damage"], Value::Array(vec![]));
        fixture.put_key(&place, "former.key", "former.key");
        let checked = place.run(&["audit", "verify", "--former-master-key", "former.key"]);
        assert!(checked.ok().contains("whole: "));

        let broken = fixture.place_of("small.toml", "broken.tar.gz", "small.key").run(&audit);
        assert_eq!(broken.code, Some(7));
        let told: Value = serde_json::from_str(&broken.stdout).unwrap();
        assert_eq!(told, fixture.expected["small"]["broken"]);
    }
}

#[test]
fn the_backup_of_each_version_is_whole_and_restored() {
    for fixture in Fixture::all() {
        let place = fixture.place();
        fs::copy(fixture.folder.join("backup"), place.path("backup")).unwrap();
        let held = place.run(&["--json", "store", "verify", "backup"]).json();
        assert_eq!(held, fixture.expected["backup"]);
        fs::remove_dir_all(place.path("data/store")).unwrap();
        place.run(&["store", "restore", "backup", "--accept"]).ok();
        let daemon = place.start();
        let is_known = |word: &str| {
            let shown = place.run(&["keys", "show", "second", "--json"]).json();
            let keys = shown["keys"].as_array().unwrap();
            keys.iter().any(|key| key["reason"].as_str().is_some_and(|why| why.contains(word)))
        };
        // What was revoked after the backup is told by the audit of that version.
        assert!(is_known("after the backup") && is_known("for the fixture"));
        fixture.seen().assert_tokens(&daemon);
        daemon.end(Signal::TERM);
        audit_is_whole(&place);
    }
}

#[test]
fn a_change_of_the_master_key_that_an_earlier_version_began_is_ended_by_a_start() {
    for fixture in Fixture::all() {
        let place = fixture.place_of("small.toml", "handed-over.tar.gz", "handed-over.key");
        assert!(place.has("data/audit.jsonl.rekeyed"));
        audit_is_whole(&place);
        let daemon = place.start();
        fixture.seen_of_small().assert_same(&place, &daemon);
        daemon.end(Signal::TERM);
        assert!(!place.has("data/audit.jsonl.rekeyed"));
        assert_eq!(place.read("data/audit.jsonl").matches("audit-rekeyed").count(), 1);
        audit_is_whole(&place);
    }
}

#[test]
fn a_store_of_an_earlier_version_goes_under_a_new_master_key() {
    for fixture in Fixture::all() {
        let place = fixture.place();
        let rekey = ["store", "rekey", "--new-master-key", "new.key", "--into", "data/new"];
        place.run(&rekey).ok();
        fs::remove_dir_all(place.path("data/store")).unwrap();
        fs::rename(place.path("data/new"), place.path("data/store")).unwrap();
        fs::rename(place.path("new.key"), place.path("master.key")).unwrap();
        let daemon = place.start();
        fixture.seen().assert_same(&place, &daemon);
        daemon.end(Signal::TERM);
        audit_is_whole(&place);
    }
}
