//! What is told of a key that may be stolen, and the end of the audit, to people and to programs.

use serde_json::Value;

use crate::keys::{active, sign};
use crate::place::{Place, SIGN};

fn revoke<'a>(kid: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["keys", "revoke", "default", kid, "--reason", "stolen"], more].concat()
}

#[test]
fn a_rehearsal_changes_nothing_and_a_revocation_tells_the_same() {
    let place = Place::new();
    let daemon = place.start();
    let kid = active(&place, "default");
    sign(&place);
    let before = daemon.published();
    let said = place.run(&["keys", "revoke", "default", &kid, "--dry-run"]).ok();
    assert!(said.starts_with("this is a rehearsal: nothing was changed\n"), "{said}");
    assert!(said.contains("  tokens         1 token from "), "{said}");
    assert!(said.contains("\nif it is revoked now\n"), "{said}");
    let command = format!("jwksd keys revoke default {kid} --reason \"stolen\"");
    assert!(said.contains(&command), "{said}");
    assert_eq!(daemon.published(), before);
    assert_eq!(active(&place, "default"), kid);

    let beforehand = place.run(&revoke(&kid, &["--dry-run", "--json"])).json();
    let answer = place.run(&revoke(&kid, &["--json"])).json();
    assert_eq!(answer["revoked"], beforehand["revoking"]["revoked"]);
    assert_eq!(answer["active"], beforehand["revoking"]["active"]);
    let after = &answer["incident"];
    for member in ["keyset", "kid", "signed_from", "exports", "backups"] {
        assert_eq!(after[member], beforehand[member], "{member}");
    }
    for member in ["count", "callers", "audiences", "last_expiry"] {
        assert_eq!(after["tokens"][member], beforehand["tokens"][member], "{member}");
    }
    assert_eq!((&after["state"], &after["audit"]["complete"]), (&"revoked".into(), &true.into()));
    daemon.wait_for_log("incident: the revoked key signed 1 token from ");

    let again = place.run(&["keys", "incident", "default", &kid]).ok();
    assert!(
        again.contains("revoked, left the JWK Set at") && again.contains("(stolen)"),
        "{again}"
    );
    assert!(!again.contains("if it is revoked now") && !again.contains("keys revoke"), "{again}");
    let rehearsed = place.run(&["keys", "revoke", "default", &kid, "--dry-run"]).ok();
    assert!(rehearsed.contains("revoked, left the JWK Set"), "{rehearsed}");
}

#[test]
fn all_keys_of_a_set_are_told_beforehand_and_after() {
    let place = Place::new();
    let daemon = place.start();
    let before = daemon.published();
    let all = ["keys", "revoke", "default", "--all", "--reason", "a thief was here"];
    let said = place.run(&[&all[..], &["--dry-run"]].concat()).ok();
    assert!(before.iter().all(|kid| said.contains(&format!("key {kid} of key set"))), "{said}");
    let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(" leave the JWK Set at once, and sign no more; a key"), "{said}");
    assert!(words.contains("a key that is made then signs"), "{said}");
    assert!(words.contains("may refuse new tokens until"), "{said}");
    assert!(!said.contains("\nif it is revoked now\n"), "another answer than that for all: {said}");
    let steps: Vec<&str> =
        said.lines().filter(|line| line.contains("jwksd audit verify")).collect();
    assert_eq!(steps.len(), 1, "what is the same for all keys is said once: {said}");
    assert_eq!(said.matches("\nwhat to do\n").count(), 1, "{said}");
    assert_eq!(daemon.published(), before);

    let answer = place.run(&[&all[..], &["--json"]].concat()).json();
    let told: Vec<&str> = answer["incident"]["keys"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    assert_eq!(told, before);
    assert_eq!(answer["incident"].get("revoking"), None);
    let said = place.run(&["keys", "incident", "default"]).ok();
    assert!(before.iter().all(|kid| said.contains(&format!("key {kid} of key set"))), "{said}");
}

#[test]
fn what_is_told_of_an_incident_fits_80_columns() {
    let place = Place::new();
    let _daemon = place.start();
    let kid = active(&place, "default");
    place.run(&["sign", "default", "--claims", "{}", "--ttl", "15m"]).ok();
    for command in [&revoke(&kid, &["--dry-run"])[..], &["keys", "incident", "default"]] {
        let said = place.run(command).ok();
        // Commands are to be copied, and a table is as wide as names are.
        let is_sentence = |line: &&str| line.starts_with(' ') && !line.contains("  jwksd ");
        let wide = said.lines().filter(is_sentence).find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{said}");
        let gap = |line: &&str| line.trim_start().contains("   ");
        let sentences = said.split_once("what to do").unwrap().1;
        assert_eq!(sentences.lines().find(gap), None, "words apart within a sentence: {said}");
    }
}

#[test]
fn an_incident_tells_of_the_verifiers_that_the_key_set_names() {
    let ttl = "max_token_ttl = \"1h\"";
    let place = Place::with(ttl, &format!("{ttl}\nverifiers = [\"pyjwt\", \"envoy\"]"));
    let _daemon = place.start();
    let kid = active(&place, "default");
    let told = place.run(&["keys", "incident", "default", &kid, "--json"]).json();
    let groups = told["trust"]["verifiers"].as_array().unwrap();
    let names: Vec<&Value> = groups.iter().flat_map(|of| of["names"].as_array().unwrap()).collect();
    assert_eq!(names, ["Envoy (jwt_authn)", "PyJWT (PyJWKClient)"]);
}

#[test]
fn a_report_that_cannot_be_had_makes_no_revocation_a_failure() {
    const ALL: &str = r#"actions = ["sign-token", "read", "rotate", "revoke", "import", "import-trust", "operate"]"#;
    let place = Place::new();
    let daemon = place.start();
    let kid = active(&place, "default");
    place.edit(ALL, r#"actions = ["revoke", "operate"]"#);
    place.run(&["reload"]).ok();
    let output = place.run(&revoke(&kid, &[]));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains(&format!("revoked {kid}")), "{output:?}");
    let ask_again = format!("ask again: jwksd keys incident default {kid}\n");
    let hint = ["the revocation holds", "no grant of this caller allows read", &ask_again];
    assert!(hint.iter().all(|words| output.stderr.contains(words)), "{output:?}");
    assert!(!daemon.published().contains(&kid));
    let output = place.run(&revoke(&kid, &["--json"]));
    let answer: Value = serde_json::from_str(&output.stdout).unwrap();
    assert_eq!((&answer["already"], &answer["incident"]), (&true.into(), &Value::Null));
    // A rehearsal without it is nothing.
    place.run(&revoke(&kid, &["--dry-run"])).fails(3, &["allows read"]);
    // With it alone, it is all that may be had.
    place.edit(r#"actions = ["revoke", "operate"]"#, r#"actions = ["read", "operate"]"#);
    place.run(&["reload"]).ok();
    place.run(&revoke(&kid, &["--dry-run"])).ok();
    place.run(&revoke(&kid, &[])).fails(3, &["allows revoke"]);
}

#[test]
fn what_an_incident_asks_of_keys_that_are_not_there_is_exit_code_4() {
    let place = Place::new();
    let _daemon = place.start();
    let commands: [&[&str]; 4] = [
        &["keys", "incident", "default", "-unheard-of"],
        &["keys", "revoke", "default", "unheard-of", "--dry-run"],
        &["keys", "incident", "other"],
        &["keys", "revoke", "other", "--all", "--dry-run"],
    ];
    for command in commands {
        place.run(command).fails(4, &["there is no key"]);
    }
}

#[test]
fn texts_of_others_say_nothing_to_a_terminal() {
    let place = Place::new();
    let _daemon = place.start();
    let kid = active(&place, "default");
    let hostile = "api\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}\r\nline 9  jwksd stop";
    let claims = serde_json::json!({"aud": hostile, "sub": hostile}).to_string();
    place.run(&["sign", "default", "--claims", &claims, "--ttl", "15m"]).ok();
    let reason = format!("stolen {hostile}");
    let revoke = ["keys", "revoke", "default", &kid, "--reason", &reason];
    let printed = [
        place.run(&[&revoke[..], &["--dry-run"]].concat()).ok(),
        place.run(&revoke).ok(),
        place.run(&["keys", "incident", "default", &kid]).ok(),
        place.run(&["audit", "tail"]).ok(),
    ];
    for text in printed {
        let is_meant = |c: char| c == '\n' || !c.is_control() && c != '\u{202e}';
        assert!(text.chars().all(is_meant), "{text:?}");
        assert!(text.contains("api\\u{1b}]0;owned\\u{7}\\u{9b}31m\\u{202e}\\r\\nline 9"), "{text}");
        assert!(!text.contains("\nline 9"), "{text}");
    }
}

#[test]
fn the_newest_lines_of_the_audit_are_shown() {
    let place = Place::new();
    let _daemon = place.start();
    place.run(&SIGN).ok();
    place.run(&["keys", "revoke", "default", "unheard-of", "--reason", "why"]).fails(4, &[]);
    let said = place.run(&["audit", "tail", "--last", "2"]).ok();
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].contains("  local sign-token allowed default "), "{said}");
    assert!(lines[1].ends_with("  local revoke allowed default unheard-of: why"), "{said}");
    let json = place.run(&["audit", "tail", "--json"]).json();
    let written = place.read("data/audit.jsonl");
    assert_eq!(json["lines"].as_array().unwrap().len(), written.lines().count());
    place.run(&["audit", "tail", "--last", "501"]).fails(1, &["give 1 to 500"]);
}
