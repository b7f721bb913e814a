//! `jwks_file`: the JWK Set as a file.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::daemon::Daemon;
use crate::keys::active;
use crate::place::{Place, wait_for};

/// A place whose usual key set has a file, with its folder.
fn place() -> Place {
    let place = without_folder();
    fs::create_dir(place.path("site")).unwrap();
    place
}

fn without_folder() -> Place {
    with_file("jwks_file = \"site/default.json\"\n")
}

fn with_file(line: &str) -> Place {
    Place::with("[keysets.second]", &format!("{line}\n[keysets.second]"))
}

/// Waits until the file holds what is served.
fn wait_for_file(place: &Place, daemon: &Daemon) {
    let served = || daemon.http("/jwks.json").1;
    let file = || fs::read_to_string(place.path("site/default.json")).unwrap_or_default();
    wait_for("the file", || (file() == served()).then_some(()));
}

fn is_not_ready(place: &Place, words: &[&str]) {
    let status = place.run(&["status"]);
    assert_eq!(status.code, Some(6), "{status:?}");
    let said = status.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {status:?}");
    }
}

fn revoke(place: &Place, kid: &str) -> String {
    place.run(&["keys", "revoke", "default", kid, "--reason", "stolen"]).ok()
}

#[test]
fn the_file_follows_every_rotation_and_anyone_may_read_it() {
    let place = place();
    let daemon = place.start();
    // Known before it says that it is ready, so that the summary is right.
    assert!(daemon.said().contains("-01T03:00:00Z"), "{}", daemon.said());
    wait_for_file(&place, &daemon);
    let standby = daemon.published()[1].clone();
    place.run(&["keys", "rotate", "default", "--now"]).ok();
    wait_for("the next standby", || (daemon.published().len() == 3).then_some(()));
    wait_for_file(&place, &daemon);
    assert_eq!(daemon.published()[1], standby);
    let mode = fs::metadata(place.path("site/default.json")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert_eq!(place.files("site"), [place.path("site/default.json")]);
    let shown = place.run(&["keys", "show", "default"]).ok();
    assert!(shown.contains("site/default.json holds what is served"), "{shown}");
    place.run(&["status"]).ok();
}

#[test]
fn a_missing_folder_keeps_no_start_and_is_told_until_it_is_there() {
    let place = without_folder();
    let daemon = Daemon::launch(&place, place.command(&["serve", "--init"]));
    wait_for("the daemon", || daemon.said().contains("key set   second").then_some(()));
    assert!(daemon.said().contains("when its jwks_file has the key"), "{}", daemon.said());
    wait_for("the problem", || (daemon.http("/readyz").0 == 503).then_some(()));
    place.run(&crate::place::SIGN).ok();
    let words = ["jwks-file FAILING default:", "there is no folder site", "does not sign before"];
    is_not_ready(&place, &words);
    assert!(!place.has("site"));
    let listed = place.run(&["keys", "list", "default"]).ok();
    assert!(listed.contains("waits for its jwks_file"), "{listed}");
    let shown = place.run(&["keys", "show", "default"]).ok();
    assert!(shown.contains("site/default.json is not confirmed"), "{shown}");
    assert!(shown.contains("next\n  nothing until the jwks_file has the next key\n"), "{shown}");
    assert_eq!(shown.matches("before the file has it").count(), 1, "{shown}");
    let said = place.run(&["keys", "rotate", "default"]).ok();
    assert!(said.contains("site/default.json is not confirmed to have it"), "{said}");

    fs::create_dir(place.path("site")).unwrap();
    wait_for("the file to be confirmed", || (daemon.http("/readyz").0 == 200).then_some(()));
    wait_for_file(&place, &daemon);
    place.run(&["status"]).ok();
}

#[test]
fn a_revoked_key_that_stays_in_the_file_is_in_the_answer() {
    let place = place();
    let daemon = place.start();
    wait_for_file(&place, &daemon);
    // Root may write wherever there is a folder, so there is none.
    fs::rename(place.path("site"), place.path("moved")).unwrap();
    let kid = active(&place, "default");
    let said = revoke(&place, &kid);
    assert!(said.contains("warning: site/default.json may publish revoked keys"), "{said}");
    is_not_ready(&place, &["still trust revoked keys", &kid]);
    fs::rename(place.path("moved"), place.path("site")).unwrap();
    wait_for_file(&place, &daemon);
    wait_for("readiness", || (daemon.http("/readyz").0 == 200).then_some(()));
    assert!(!place.read("site/default.json").contains(&kid));
    let said = revoke(&place, &active(&place, "default"));
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn a_reload_adds_a_file_and_takes_it_away() {
    let place = Place::new();
    let daemon = place.start();
    fs::create_dir(place.path("site")).unwrap();
    let line = "jwks_file = \"site/default.json\"\n[keysets.second]";
    place.edit("[keysets.second]", line);
    let said = place.run(&["reload"]).ok();
    assert!(said.contains("default"), "{said}");
    assert_eq!(place.read("site/default.json"), daemon.http("/jwks.json").1);

    place.edit(line, "[keysets.second]");
    place.run(&["reload"]).ok();
    daemon.wait_for_log("no longer kept; the file is left as it is");
    let before = place.read("site/default.json");
    place.run(&["keys", "rotate", "default", "--now"]).ok();
    assert_eq!(place.read("site/default.json"), before);
    let show = place.run(&["keys", "show", "default", "--json"]).json();
    assert_eq!(show.get("jwks_file"), None);
}

#[test]
fn a_check_says_what_is_wrong_with_a_file_and_makes_nothing() {
    let place = without_folder();
    let said = place.run(&["check"]).ok();
    assert!(said.contains("the JWK Set is also written to  site/default.json"), "{said}");
    assert!(said.contains("keysets.default.jwks_file: there is no folder site"), "{said}");
    assert!(!place.has("site"));

    fs::create_dir(place.path("site")).unwrap();
    let report = place.run(&["check", "--json"]).json();
    assert_eq!(report["keysets"][0]["jwks_file"], "site/default.json");
    assert!(!report["warnings"].to_string().contains("jwks_file"), "{report}");
    symlink("elsewhere", place.path("site/default.json")).unwrap();
    let said = place.run(&["check"]).ok();
    assert!(said.contains("site/default.json is no regular file"), "{said}");
    fs::remove_file(place.path("site/default.json")).unwrap();

    // Two names of one file.
    symlink("site", place.path("www")).unwrap();
    place.edit("[[callers]]", "jwks_file = \"www/default.json\"\n[[callers]]");
    let said = place.run(&["check"]).ok();
    assert!(said.contains("keysets.second.jwks_file: is ") && said.contains("of keysets.default"));
    assert!(place.files("site").is_empty());
}

#[test]
fn a_file_that_is_something_else_is_refused_with_the_place() {
    for (file, owner) in [
        ("data/store", "store.path"),
        ("data/store/jwks.json", "store.path"),
        ("data", "store.path"),
        ("./site/../data/master.key", "store.master_key"),
        ("data/audit.jsonl", "audit.path"),
        ("data/audit.jsonl.checkpoint", "audit.path"),
        ("config.toml", "the configuration"),
        ("data/sign.sock", "internal.listen"),
        ("data/admin.sock", "admin.listen"),
    ] {
        let place = with_file(&format!("jwks_file = \"{file}\""));
        place.run(&["check"]).fails(1, &["keysets.default.jwks_file", "is ", owner]);
    }
    for file in ["", "/", "site/", ".."] {
        let place = with_file(&format!("jwks_file = \"{file}\""));
        place.run(&["check"]).fails(1, &["keysets.default.jwks_file", "the path of a file"]);
    }
    for file in ["site/default.json", "site/.default.json.new"] {
        let place = without_folder();
        place.edit("[[callers]]", &format!("jwks_file = \"./{file}\"\n[[callers]]"));
        let words = ["keysets.second.jwks_file", "the jwks_file of keysets.default"];
        place.run(&["check"]).fails(1, &words);
    }
    // What only begins alike is another file.
    let place = with_file("jwks_file = \"data/store.json\"");
    place.run(&["check"]).ok();
}

#[test]
fn the_files_of_tls_are_no_places_for_a_jwk_set() {
    let place = with_file("jwks_file = \"tls/public.key\"");
    let tls =
        "[public.tls]\ncertificate = \"tls/public.pem\"\nkey = \"tls/public.key\"\n[internal]";
    place.edit("[internal]", tls);
    place.run(&["check"]).fails(1, &["keysets.default.jwks_file", "is public.tls"]);
}
