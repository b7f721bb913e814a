//! The log: what it says, to whom, and that nobody else can write in it.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use jwksd_keystore::time::Time;
use serde_json::Value;

use crate::daemon::{Daemon, Signal};
use crate::keys::{active, sign};
use crate::place::{Place, wait_for};

/// A wait of two seconds.
const QUICK: &str =
    "max_token_ttl = \"1h\"\njwks_max_age = \"1s\"\nverifier_cache = \"1s\"\nclock_skew = \"0s\"";

/// What would be a line of its own.
const FORGED: &str = r"\n2026-01-01T00:00:00.000000Z  INFO key activated keyset=forged";

fn place_with(log: &str) -> Place {
    let place = Place::with("max_token_ttl = \"1h\"", QUICK);
    place.edit("[store]", &format!("[log]\n{log}\n[store]"));
    place
}

/// Starts a daemon that logs JSON, and so says on stdout nothing.
fn start_json(place: &Place) -> Daemon {
    let daemon = Daemon::launch(place, place.command(&["serve", "--init"]));
    daemon.wait_for_log("\"event\":\"ready\"");
    daemon
}

fn rows(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// The lines about what became of keys.
fn of_keys(log: &str) -> Vec<Value> {
    let is_of_key = |row: &Value| row["message"].as_str().unwrap().starts_with("key ");
    rows(log).into_iter().filter(is_of_key).collect()
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_else(|| panic!("no {name} in {row}"))
}

#[test]
fn in_json_every_line_is_one_flat_object_with_the_same_names() {
    let place = place_with("format = \"json\"\nlevel = \"debug\"");
    let daemon = start_json(&place);
    let token = sign(&place);
    place.run(&["sign", "none", "--claims", "{}", "--ttl", "15m"]).fails(4, &["none"]);
    place.run(&["keys", "rotate", "default", "--now"]).ok();
    let kid = active(&place, "default");
    wait_for("the next standby", || {
        (daemon.log().matches("why\":\"standby").count() == 3).then_some(())
    });
    place.run(&["keys", "revoke", "default", &kid, "--reason", "a \"test\"\nof mine"]).ok();
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("\"reloaded\"");
    let log_path = place.path("serve.err");
    assert_eq!(daemon.said(), "");
    assert_eq!(daemon.end(Signal::TERM).code(), Some(0));

    let log = fs::read_to_string(log_path).unwrap();
    for row in rows(&log) {
        assert!(text(&row, "timestamp").parse::<Time>().is_ok(), "{row}");
        assert!(["DEBUG", "INFO", "WARN", "ERROR"].contains(&text(&row, "level")), "{row}");
        assert!(!text(&row, "message").is_empty() && !text(&row, "target").is_empty(), "{row}");
        let object = row.as_object().unwrap();
        assert!(object.values().all(|value| !value.is_object() && !value.is_array()), "{row}");
    }
    let rows = rows(&log);
    let by = |event: &str| rows.iter().filter(|row| row["event"] == event).collect::<Vec<_>>();
    let ready = by("ready");
    assert_eq!((ready.len(), &ready[0]["keysets"]), (1, &Value::from(2)));
    let revoked = by("revoked");
    assert_eq!(revoked.len(), 1, "{log}");
    assert_eq!(text(revoked[0], "keyset"), "default");
    assert_eq!(text(revoked[0], "kid"), kid);
    assert_eq!((text(revoked[0], "why"), text(revoked[0], "caller")), ("admin", "local"));
    assert_eq!(text(revoked[0], "reason"), "a \"test\"\nof mine");
    let audit = place.read("data/audit.jsonl");
    assert!(audit.contains(text(revoked[0], "request_id")), "{audit}");

    // One line for a token, without the token.
    let signed = by("signed");
    assert_eq!(signed.len(), 1, "{log}");
    for name in ["keyset", "kid", "caller", "request_id"] {
        text(signed[0], name);
    }
    assert!(!log.contains(token.trim()) && !log.contains(token.split('.').nth(2).unwrap().trim()));
    let refused = by("refused");
    assert!(refused.iter().any(|row| row["code"] == "unknown_keyset"), "{log}");
}

#[test]
fn each_change_of_a_key_is_one_line_with_its_reason_and_what_comes_next() {
    let place = place_with("format = \"json\"");
    let daemon = start_json(&place);
    let first = active(&place, "default");
    place.run(&["keys", "rotate", "default"]).ok();
    // Nobody asks it to do anything then: time passes.
    let told = || of_keys(&daemon.log());
    let of = |event: &str, keyset: &str| {
        let mut told = told();
        told.retain(|row| row["event"] == event && row["keyset"] == keyset);
        told
    };
    wait_for("the end of the first key", || of("ended", "default").pop());
    let second = active(&place, "default");
    wait_for("the next standby", || (of("published", "default").len() == 3).then_some(()));

    let seen: Vec<String> = told()
        .iter()
        .filter(|row| row["keyset"] == "default")
        .map(|row| {
            let kid = text(row, "kid");
            let key = if kid == first {
                "first"
            } else if kid == second {
                "second"
            } else {
                "third"
            };
            format!("{key} {} {}", text(row, "event"), text(row, "why"))
        })
        .collect();
    assert_eq!(
        seen,
        [
            "first published first-key",
            "second published standby",
            "first activated first-key",
            "second planned admin",
            "second activated admin",
            "first ended admin",
            "third published standby",
        ]
    );
    let planned = of("planned", "default").remove(0);
    assert_eq!((text(&planned, "next_event"), text(&planned, "next_kid")), ("activates", &*second));
    assert_eq!(text(&planned, "next"), text(&planned, "activates"));
    let ended = of("ended", "default").remove(0);
    assert!(text(&ended, "retires").parse::<Time>().is_ok());
    // A set that rotates by hand has nothing to come.
    let published = of("published", "second").pop().unwrap();
    assert!(published.get("next").is_none(), "{published}");
}

#[test]
fn a_start_that_changes_nothing_says_nothing_of_keys() {
    let place = place_with("format = \"json\"");
    assert_eq!(start_json(&place).end(Signal::TERM).code(), Some(0));
    let daemon = start_json(&place);
    place.run(&["status"]).ok();
    assert_eq!(of_keys(&daemon.log()), [Value::Null; 0]);
}

#[test]
fn nothing_is_said_of_a_signature_unless_asked_for() {
    let place = place_with("");
    let daemon = place.start();
    let before = daemon.log();
    sign(&place);
    place.run(&["sign", "none", "--claims", "{}", "--ttl", "15m"]).fails(4, &["none"]);
    assert_eq!(daemon.log(), before);
}

#[test]
fn the_environment_outdoes_the_level_of_the_configuration() {
    let place = place_with("format = \"json\"\nlevel = \"error\"");
    let mut command = place.command(&["serve", "--init"]);
    command.env("RUST_LOG", "jwksd=debug");
    let daemon = Daemon::launch(&place, command);
    daemon.wait_for_log("\"event\":\"ready\"");
    daemon.wait_for_log("DEBUG");
    drop(daemon);
    let daemon = Daemon::launch(&place, place.command(&["serve"]));
    wait_for("the daemon", || (place.run(&["status"]).code == Some(0)).then_some(()));
    assert_eq!(daemon.log(), "");
}

#[test]
fn nobody_begins_a_line_of_the_log_but_the_daemon() {
    let place = place_with("level = \"debug\"");
    place.edit("name = \"local\"", "name = \"local kid=forged\"");
    let file = format!("jwks_file = \"gone{FORGED}/jwks.json\"\n[keysets.second]");
    place.edit("[keysets.second]", &file);
    let daemon = Daemon::launch(&place, place.command(&["serve", "--init"]));
    daemon.wait_for_log("there is no folder");
    wait_for("the daemon", || daemon.said().contains("key set   second").then_some(()));
    sign(&place);
    let reason = FORGED.replace("\\n", "\n");
    let kid = active(&place, "default");
    place.run(&["keys", "revoke", "default", &kid, "--reason", &reason]).ok();
    let mut socket = UnixStream::connect(place.path("data/admin.sock")).unwrap();
    write!(socket, "GET /%0a2026\u{85}\u{9b}2J?\u{1b} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    place.write("config.toml", &format!("{FORGED}\n[store\n").replace("\\n", "\n"));
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("not reloaded");

    let log = daemon.log();
    assert!(!log.contains(|c: char| c.is_control() && c != '\n'), "{log:?}");
    for line in log.lines() {
        let (time, rest) = line.split_once(' ').expect(line);
        assert!(
            time.parse::<Time>().is_ok() && !time.starts_with("2026-01-01T00:00:00.0"),
            "{line}"
        );
        let level = rest.split_whitespace().next().unwrap();
        assert!(["DEBUG", "INFO", "WARN", "ERROR"].contains(&level), "{line}");
    }
    // They were told, and as what they are.
    for words in ["caller=\"local kid=forged\"", "reason=\"\\n2026", "gone\\n2026"] {
        assert!(log.contains(words), "{words} is not in {log}");
    }
}

#[test]
fn a_start_that_fails_is_told_in_the_format_that_the_file_asks_for() {
    let place = place_with("format = \"json\"");
    place.edit("root = \"default\"", "root = \"none\"");
    let failed = place.run_serve(&["serve", "--init"]);
    assert_eq!((failed.code, failed.stdout.as_str()), (Some(1), ""));
    let rows = rows(&failed.stderr);
    assert_eq!(rows.len(), 1, "{failed:?}");
    assert_eq!((text(&rows[0], "level"), text(&rows[0], "event")), ("ERROR", "failed"));
    assert!(text(&rows[0], "message").contains("no [keysets.none]"), "{failed:?}");

    place.edit("format = \"json\"", "format = \"xml\"");
    let failed = place.run_serve(&["serve", "--init"]);
    assert!(failed.stderr.starts_with("jwksd: config.toml: "), "{failed:?}");
    assert!(failed.stderr.contains("`text` or `json`"), "{failed:?}");
}

#[test]
fn the_journal_gets_no_second_time_and_any_other_reader_one() {
    let place = place_with("");
    // What a start does with the file that the test gave it.
    fs::write(place.path("serve.err"), "").unwrap();
    let file = fs::metadata(place.path("serve.err")).unwrap();
    let stream = format!("{}:{}", file.dev(), file.ino());
    let mut times = BTreeSet::new();
    for (stream, is_journal) in [(stream, true), ("1:2".to_owned(), false)] {
        let mut command = place.command(&["serve", "--init"]);
        command.env("JOURNAL_STREAM", stream);
        let daemon = place.start_as(command);
        daemon.signal(Signal::HUP);
        daemon.wait_for_log("reloaded");
        for line in daemon.log().lines() {
            let begins = ["<4>WARN  ", "<6>INFO  "].iter().any(|begin| line.starts_with(begin));
            assert_eq!(begins, is_journal, "{line}");
            let time = line.split(' ').next().unwrap();
            assert_eq!(time.parse::<Time>().is_ok(), !is_journal, "{line}");
            times.insert(is_journal);
        }
        assert_eq!(daemon.end(Signal::TERM).code(), Some(0));
    }
    assert_eq!(times.len(), 2);
}

#[test]
fn many_key_sets_are_not_all_in_the_summary() {
    let place = Place::new();
    let others = (0..60).map(|number| {
        format!(
            "[keysets.of-{number}]\nalgorithm = \"EdDSA\"\nrotate = \"manual\"\n\
             issuer = \"{number}\"\nmax_token_ttl = \"1h\"\n"
        )
    });
    place.edit("[[callers]]", &format!("{}[[callers]]", others.collect::<String>()));
    let daemon = Daemon::launch(&place, place.command(&["serve", "--init"]));
    wait_for("the summary", || daemon.said().contains("keys list").then_some(()));
    assert_eq!(daemon.said().matches("\n  key set ").count(), 50, "{}", daemon.said());
    assert!(
        daemon.said().ends_with("  and 12 other key sets: jwksd keys list\n"),
        "{}",
        daemon.said()
    );
    // What `jwksd check` says of each of them, too, is one line.
    assert_eq!(daemon.log().matches("WARN").count(), 1, "{}", daemon.log());
}

#[test]
fn a_listener_whose_connections_are_all_taken_is_told_once() {
    let limits = "[limits]\nconnections = { public = 9, internal = 2, admin = 9 }\n[[callers]]";
    let place = Place::with("[[callers]]", limits);
    let daemon = place.start();
    let connect = || UnixStream::connect(place.path("data/sign.sock")).unwrap();
    let first = connect();
    place.run(&["status"]).ok();
    assert!(!daemon.log().contains("are taken"), "{}", daemon.log());
    let others = [connect(), connect(), connect()];
    daemon.wait_for_log("are taken");
    assert_eq!(daemon.log().matches("listener=internal connections=2").count(), 1);
    drop((first, others));
}
