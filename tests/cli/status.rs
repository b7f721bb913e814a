//! `jwksd status`, for people and for monitors.

use std::fs;

use serde_json::{Value, json};

use crate::daemon::Signal;
use crate::output::Output;
use crate::place::{Place, wait_for};

/// What the checks that are not ok say, by their names.
fn unwell(status: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let checks = status["checks"].as_array().unwrap().iter();
    let unwell = checks.filter(|check| check["state"] != "ok");
    unwell.map(|check| (text(&check["name"]), text(&check["reason"]))).collect()
}

#[test]
fn status_has_a_line_for_each_check() {
    let place = Place::new();
    let _daemon = place.start();
    let said = place.run(&["status", "--fail-on-warning"]).ok();
    let mut lines = said.lines();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(lines.next(), Some(format!("jwksd {version} is ready").as_str()));
    let status = place.run(&["status", "--json"]).json();
    assert_eq!(status["ready"], true);
    assert_eq!(status["problems"], json!([]));
    let lines: Vec<&str> = lines.collect();
    let checks = status["checks"].as_array().unwrap();
    assert_eq!(lines.len(), checks.len());
    for (line, check) in lines.iter().zip(checks) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, [check["name"].as_str().unwrap(), "ok"]);
        assert_eq!(*check, json!({"name": check["name"], "state": "ok", "reason": null}));
    }
}

#[test]
fn a_warning_ends_with_a_code_of_its_own_where_a_monitor_asks_for_that() {
    let place = Place::new();
    let _daemon = place.start();
    fs::rename(place.path("data/master.key"), place.path("away")).unwrap();
    let said = place.run(&["status"]).ok();
    assert!(said.lines().next().unwrap().ends_with(" is ready, with 1 warning"), "{said}");
    let line = said.lines().find(|line| line.contains("master-key")).unwrap();
    assert!(line.starts_with("  master-key   warning  there is no file at data/"), "{said}");
    let asked = place.run(&["status", "--fail-on-warning"]);
    assert_eq!((asked.code, asked.stderr.as_str()), (Some(9), ""), "{asked:?}");
    assert_eq!(asked.stdout, said);
    let status = place.run(&["status", "--json", "--fail-on-warning"]);
    assert_eq!(status.code, Some(9));
    let status: Value = serde_json::from_str(&status.stdout).unwrap();
    assert_eq!(unwell(&status)[0].0, "master-key");
    fs::rename(place.path("away"), place.path("data/master.key")).unwrap();
    place.run(&["status", "--fail-on-warning"]).ok();
}

#[test]
fn what_is_failing_outdoes_a_warning_and_long_reasons_stay_in_their_column() {
    let folder = "f".repeat(50);
    let line = format!("max_token_ttl = \"1h\"\njwks_file = \"{folder}/jwks.json\"");
    let place = Place::with("max_token_ttl = \"1h\"", &line);
    let _daemon = crate::daemon::Daemon::launch(&place, place.command(&["serve", "--init"]));
    wait_for("the problem", || {
        let said = place.run(&["status", "--json"]).stdout;
        said.contains("does not sign before").then_some(())
    });
    fs::remove_file(place.path("data/master.key")).unwrap();
    let status = place.run(&["status", "--fail-on-warning"]);
    assert_eq!(status.code, Some(6), "{status:?}");
    let said = &status.stdout;
    assert!(said.lines().next().unwrap().ends_with(" is not ready, with 1 warning"), "{said}");
    assert!(said.contains("  jwks-file    FAILING  default: there is no folder\n"), "{said}");
    assert!(said.contains(&format!("\n                        {folder}")), "{said}");
    assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
    // Where the terminal has room, they take it.
    let wide = Output::of(place.command(&["status"]).env("COLUMNS", "200")).stdout;
    assert!(wide.contains(&format!("default: there is no folder {folder}")), "{wide}");
}

#[test]
fn a_hangup_that_changed_nothing_is_a_warning_until_the_next_that_did() {
    let place = Place::new();
    let daemon = place.start();
    let good = place.read("config.toml");
    place.write("client.toml", &good);
    let status = || place.run(&["--config", "client.toml", "status", "--json"]).json();
    place.write("config.toml", "[store");
    daemon.signal(Signal::HUP);
    let told = wait_for("the warning", || unwell(&status()).pop());
    assert_eq!(told.0, "reload");
    assert!(told.1.contains("the old configuration stays in force"), "{}", told.1);
    assert_eq!(daemon.http("/readyz").0, 200);
    place.write("config.toml", &good);
    daemon.signal(Signal::HUP);
    wait_for("the good reload", || unwell(&status()).is_empty().then_some(()));
}
