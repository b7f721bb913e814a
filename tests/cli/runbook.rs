//! What docs/operations.md says to do when a key may be stolen, done as it is written.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::daemon::{Daemon, Signal};
use crate::keys::{active, sign};
use crate::output::Output;
use crate::place::Place;

const PAGE: &str = include_str!("../../docs/operations.md");

/// What names commands for someone who reads it in a hurry.
const NAMING_COMMANDS: [(&str, &str); 3] = [
    ("operations.md", PAGE),
    ("monitoring.md", include_str!("../../docs/monitoring.md")),
    ("alerts.yml", include_str!("../../docs/monitoring/alerts.yml")),
];

/// The commands of each section of the runbook, by its heading.
fn runbook() -> BTreeMap<String, Vec<String>> {
    let (_, rest) = PAGE.split_once("\n## A key may be stolen\n").unwrap();
    let (runbook, _) = rest.split_once("\n## ").unwrap();
    let mut sections = runbook.split("\n### ");
    assert!(!sections.next().unwrap().contains("```"), "commands before the first section");
    let of_section = |section: &str| {
        let (heading, text) = section.split_once('\n').unwrap();
        // Every second part is within a fence.
        let blocks = text.split("```").skip(1).step_by(2);
        let blocks = blocks.map(|block| block.strip_prefix("sh\n").unwrap().to_owned());
        (heading.to_owned(), blocks.collect())
    };
    sections.map(of_section).collect()
}

/// Runs commands as someone types them who has `jwksd` in the path.
fn type_in(place: &Place, kid: &str, commands: &str) -> String {
    let programs = Path::new(env!("CARGO_BIN_EXE_jwksd")).parent().unwrap();
    let mut path = OsString::from(programs);
    path.push(":/usr/local/bin:/usr/bin:/bin");
    let mut shell = place.settle(Command::new("sh"));
    shell.args(["-e", "-u", "-c", commands]).env("PATH", path).env("KID", kid);
    Output::of(&mut shell).ok()
}

fn type_all(place: &Place, kid: &str, blocks: &[String]) -> String {
    blocks.iter().map(|block| type_in(place, kid, block)).collect()
}

/// A daemon that signed a token which is good, with the kid that signed.
fn at_work(place: &Place) -> (Daemon, String, String) {
    let daemon = place.start();
    let (kid, token) = (active(place, "default"), sign(place));
    assert!(daemon.verifies(&token));
    (daemon, kid, token)
}

#[test]
fn the_steps_for_one_key_take_it_out_and_tell_when_it_is_over() {
    let place = Place::new();
    let (daemon, kid, token) = at_work(&place);
    let standby = daemon.published().into_iter().find(|other| *other != kid).unwrap();
    let blocks = &runbook()["One key"];
    let rehearsed = type_in(&place, &kid, &blocks[0]);
    assert!(rehearsed.contains("nothing was changed"), "{rehearsed}");
    assert!(daemon.verifies(&token));

    let said = type_all(&place, &kid, &blocks[1..]);
    assert!(!daemon.published().contains(&kid));
    assert!(!daemon.verifies(&token), "what it signed is refused by whoever fetches");
    assert_eq!(active(&place, "default"), standby);
    assert!(daemon.verifies(&sign(&place)));
    // The same before and after: what it signed, and the key that signs now.
    for text in [&rehearsed, &said] {
        assert!(text.contains("  tokens         1 token from "), "{text}");
        assert!(text.contains(&standby), "{text}");
    }
    assert!(said.contains("whole: ") && place.has("jwksd.backup"), "{said}");
    assert!(
        said.contains(&format!(" jwksd incident done default {kid}: signed 1 token")),
        "{said}"
    );
    // A verifier that holds the public key by itself still takes the token: nothing can be done.
    assert!(said.contains("trusted until"), "{said}");
}

#[test]
fn the_steps_for_all_keys_leave_none_that_a_thief_may_have() {
    let place = Place::new();
    let (daemon, kid, token) = at_work(&place);
    let before = daemon.published();
    let blocks = &runbook()["All keys of a set"];
    let said = type_all(&place, &kid, blocks);
    assert!(said.contains("a key that is made then signs"), "{said}");
    assert!(before.iter().all(|kid| !daemon.published().contains(kid)));
    assert!(!daemon.verifies(&token) && daemon.verifies(&sign(&place)));
}

#[test]
fn the_steps_for_a_host_leave_no_key_of_any_set() {
    let place = Place::new();
    let (daemon, kid, token) = at_work(&place);
    let old = [kid.clone(), active(&place, "second")];
    let said = type_all(&place, &kid, &runbook()["The host"]);
    let new = [active(&place, "default"), active(&place, "second")];
    assert!(old.iter().all(|kid| !new.contains(kid)), "{said}");
    assert!(!daemon.verifies(&token) && daemon.verifies(&sign(&place)));
}

#[test]
fn the_steps_for_a_master_key_leave_nothing_that_it_opens() {
    let place = Place::new();
    let (daemon, kid, token) = at_work(&place);
    daemon.end(Signal::TERM);
    let stolen = place.read("data/master.key");
    let blocks = &runbook()["The master key"];
    type_in(&place, &kid, &blocks[0]);
    assert_ne!(place.read("data/master.key"), stolen);
    let daemon = place.start();
    assert!(daemon.verifies(&token), "until here nothing was revoked");
    let said = type_all(&place, &kid, &blocks[1..]);
    assert!(said.contains("whole: "), "{said}");
    assert!(!daemon.verifies(&token) && daemon.verifies(&sign(&place)));
    place.write("stolen.key", &stolen);
    let (path, owner_only) =
        (place.path("stolen.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600));
    std::fs::set_permissions(path, owner_only).unwrap();
    let opened = place.run(&["store", "verify", "jwksd.backup", "--master-key", "stolen.key"]);
    assert_ne!(opened.code, Some(0), "{opened:?}");
}

#[test]
fn every_command_of_the_runbook_is_run_by_these_tests() {
    let headings: Vec<String> = runbook().into_keys().collect();
    assert_eq!(headings, ["All keys of a set", "One key", "The host", "The master key"]);
    assert_eq!(runbook().values().map(Vec::len).collect::<Vec<_>>(), [1, 4, 1, 3]);
}

/// The words of a command, with something in the places that its reader fills.
fn filled(command: &str) -> Vec<String> {
    let mut text = command.replace("TIME", "2030-01-01T00:00:00Z");
    while let Some((before, rest)) = text.split_once("{{") {
        let (_, after) = rest.split_once("}}").unwrap();
        text = format!("{before}x{after}");
    }
    let is_place = |word: &str| word.chars().all(|c| c.is_ascii_uppercase() || c == 'x');
    let fill = |word: &str| if is_place(word) { word.to_lowercase() } else { word.to_owned() };
    text.split_whitespace().skip(1).map(fill).collect()
}

#[test]
fn every_command_that_the_pages_and_alerts_name_is_understood() {
    let place = Place::new();
    for (name, text) in NAMING_COMMANDS {
        let commands = text.split('`').filter(|part| part.starts_with("jwksd "));
        let commands: Vec<Vec<String>> = commands.map(filled).collect();
        assert!(!commands.is_empty(), "{name}");
        for command in commands {
            let words = command.iter().map(String::as_str).chain(["--help"]).collect::<Vec<_>>();
            let output = place.run(&words);
            assert_eq!(output.code, Some(0), "{name}: jwksd {}\n{output:?}", command.join(" "));
        }
    }
}
