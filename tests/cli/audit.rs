//! `audit verify`: what was done to the audit is named, and the exit code tells.

use crate::daemon::Signal;
use crate::place::Place;

const AUDIT: &str = "data/audit.jsonl";

/// A place whose daemon signed, rotated, and was stopped.
fn after_a_day_of_work() -> Place {
    let place = Place::new();
    let daemon = place.start();
    for _ in 0..3 {
        place.run(&["sign", "default", "--claims", "{}", "--ttl", "15m"]).ok();
    }
    place.run(&["keys", "rotate", "default", "--now"]).ok();
    daemon.end(Signal::TERM);
    place
}

fn verify(place: &Place) -> (Option<i32>, String) {
    let output = place.run(&["audit", "verify"]);
    assert_eq!(output.stderr, "");
    (output.code, output.stdout)
}

/// Changes the rows of the audit and checks that the damage is named.
#[track_caller]
fn is_named(place: &Place, change: impl FnOnce(&mut Vec<String>), words: &str) {
    let text = place.read(AUDIT);
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut rows);
    place.write(AUDIT, &(rows.join("\n") + "\n"));
    let (code, said) = verify(place);
    assert_eq!(code, Some(7), "{said}");
    assert!(said.contains(words) && said.contains("DAMAGED") && said.contains("data/"), "{said}");
    place.write(AUDIT, &text);
}

#[test]
fn an_audit_is_whole_while_the_daemon_runs_after_a_stop_and_after_a_kill() {
    let place = Place::new();
    for signal in [Signal::TERM, Signal::KILL, Signal::TERM] {
        let daemon = place.start();
        place.run(&["sign", "default", "--claims", "{}", "--ttl", "15m"]).ok();
        assert_eq!(verify(&place).0, Some(0));
        daemon.end(signal);
        let (code, said) = verify(&place);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("whole: "), "{said}");
    }
}

#[test]
fn what_was_done_to_an_audit_is_named() {
    let place = after_a_day_of_work();
    is_named(&place, |rows| drop(rows.remove(4)), "cut: line 5 is missing");
    is_named(&place, |rows| drop(rows.drain(..2)), "cut: the file begins with line 3");
    is_named(&place, |rows| rows.swap(3, 4), "reordered: line 4");
    let rename = |row: &mut String| *row = row.replace("\"local\"", "\"other\"");
    is_named(&place, |rows| rows.iter_mut().for_each(rename), "changed: line ");
    is_named(&place, |rows| rows[5].truncate(30), "unreadable: this row");
    is_named(&place, |rows| rows.truncate(6), "truncated: lines 7 to ");
    assert_eq!(verify(&place).0, Some(0));
}

#[test]
fn a_full_file_is_continued_and_an_archive_can_be_checked_by_itself() {
    let place = after_a_day_of_work();
    let full = "data/audit.000000000001.jsonl";
    std::fs::rename(place.path(AUDIT), place.path(full)).unwrap();
    let daemon = place.start();
    place.run(&["sign", "default", "--claims", "{}", "--ttl", "15m"]).ok();
    daemon.end(Signal::TERM);
    let report = place.run(&["--json", "audit", "verify"]).json();
    assert_eq!(report["files"].as_array().unwrap().len(), 2);
    assert_eq!(report["damage"].as_array().unwrap().len(), 0, "{report}");
    let said = place.run(&["audit", "verify", full]).ok();
    assert!(said.contains("whole: ") && said.contains("is not told of files"), "{said}");
}

#[test]
fn without_the_master_key_only_the_chain_is_checked_and_that_is_said() {
    let place = after_a_day_of_work();
    let elsewhere = place.path("elsewhere");
    std::fs::rename(place.path("data/master.key"), &elsewhere).unwrap();
    place.run(&["audit", "verify"]).fails(1, &["audit verify --help", "no master key"]);
    place.run(&["audit", "verify", "--master-key", "elsewhere"]).ok();
    let said = place.run(&["audit", "verify", "--without-master-key"]).ok();
    assert!(said.contains("no mark was checked"), "{said}");
}

#[test]
fn an_audit_that_is_not_there_is_an_error() {
    let place = Place::new();
    place.run(&["init"]).ok();
    place.run(&["audit", "verify"]).fails(1, &["there is no audit at data/audit.jsonl"]);
    place.run(&["audit", "verify", "nope"]).fails(1, &["nope", "No such file"]);
}
