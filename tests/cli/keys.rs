//! `jwksd sign` and `jwksd keys`.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::output::Output;
use crate::place::{Place, wait_for};

/// The kid that signs.
pub(crate) fn active(place: &Place, keyset: &str) -> String {
    let keyset = place.run(&["keys", "show", keyset, "--json"]).json();
    keyset["active"].as_str().unwrap().to_owned()
}

/// The kid of the standby.
fn standby(place: &Place, keyset: &str) -> String {
    let keyset = place.run(&["keys", "show", keyset, "--json"]).json();
    let pending = keyset["keys"].as_array().unwrap().iter().find(|key| key["state"] == "pending");
    pending.unwrap()["kid"].as_str().unwrap().to_owned()
}

/// The state of a key, past or present.
fn state(place: &Place, keyset: &str, kid: &str) -> String {
    let keyset = place.run(&["keys", "show", keyset, "--json"]).json();
    let key = keyset["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid);
    key.unwrap()["state"].as_str().unwrap().to_owned()
}

/// A token of the root key set.
pub(crate) fn sign(place: &Place) -> String {
    place.run(&["sign", "default", "--claims", r#"{"sub":"123"}"#, "--ttl", "15m"]).ok()
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn sign_prints_the_token_alone() {
    let place = Place::new();
    let daemon = place.start();
    let printed = sign(&place);
    let token = printed.strip_suffix('\n').unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(parts.len(), 3, "{printed}");
    assert!(parts.iter().all(|part| BASE64_URL_SAFE_NO_PAD.decode(part).is_ok()), "{printed}");
    assert_eq!(decoded(parts[0])["kid"], active(&place, "default"));
    assert_eq!(decoded(parts[1])["sub"], "123");
    assert_eq!(decoded(parts[1])["iss"], "http://127.0.0.1:8080");
    assert!(daemon.verifies(token));
}

#[test]
fn sign_says_what_is_wrong_with_claims_and_ttl() {
    let place = Place::new();
    let _daemon = place.start();
    let sign = |claims, ttl| place.run(&["sign", "default", "--claims", claims, "--ttl", ttl]);
    sign("sub", "15m").fails(1, &["--claims is not JSON"]);
    sign("[]", "15m").fails(1, &["claims must be a JSON object"]);
    sign(r#"{"iss":"me"}"#, "15m").fails(1, &["the daemon sets \"iss\" itself"]);
    sign("{}", "2h").fails(1, &["ttl 2h is longer than the 1h"]);
    sign("{}", "soon").fails(1, &["ttl must be"]);
}

#[test]
fn keys_list_and_show_are_tables_for_people_and_json_for_programs() {
    let place = Place::new();
    let daemon = place.start();
    let kid = active(&place, "default");

    let list = place.run(&["keys", "list"]).ok();
    let row = list.lines().find(|line| line.contains(&kid)).unwrap();
    assert!(row.starts_with("default") && row.contains("active  "), "{list}");
    let one = place.run(&["keys", "list", "second"]).ok();
    assert!(!one.contains("default"), "{one}");
    let show = place.run(&["keys", "show", "default"]).ok();
    assert!(show.contains("publish_ahead  1d6m"), "{show}");
    let (past, next) = show.split_once("\nnext\n").unwrap();
    assert!(past.contains("\npast\n") && past.contains("  activate  first key\n"), "{show}");
    assert!(next.contains("  activate  schedule\n"), "{show}");

    let list = place.run(&["keys", "list", "--json"]).json();
    assert_eq!(list["keysets"].as_array().unwrap().len(), 2);
    let show = place.run(&["--json", "keys", "show", "default"]).json();
    let kids: Vec<&str> =
        show["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap()).collect();
    assert_eq!(kids, daemon.published());
}

#[test]
fn a_rotation_is_planned_for_when_every_verifier_has_seen_the_standby() {
    let place = Place::new();
    let daemon = place.start();
    let (from, to) = (active(&place, "second"), standby(&place, "second"));
    let answer = place.run(&["keys", "rotate", "second", "--json"]).json();
    assert_eq!(answer["from"], from.as_str());
    assert_eq!(answer["to"], to.as_str());
    assert_eq!(answer["already"], false);
    let show = place.run(&["keys", "show", "second", "--json"]).json();
    assert_eq!(show["next"][0]["at"], answer["activates"]);
    assert_eq!(active(&place, "second"), from, "it must not sign yet");

    let again = place.run(&["keys", "rotate", "second"]).ok();
    assert!(again.contains("nothing to do"), "{again}");
    assert!(again.contains(&format!("{to} signs from ")), "{again}");
    let first = place.run(&["keys", "rotate", "default"]).ok();
    assert!(first.contains(&format!("until then {}", active(&place, "default"))), "{first}");
    assert!(!daemon.log().contains("ERROR"), "{}", daemon.log());
}

#[test]
fn a_rotation_before_verifiers_have_seen_the_standby_is_refused_with_the_earliest_time() {
    let place = Place::new();
    let _daemon = place.start();
    let too_early = place.run(&["keys", "rotate", "default", "--at", "2020-01-01T00:00:00Z"]);
    too_early.fails(5, &["verifiers may not have seen the standby before 2"]);
    let nonsense = place.run(&["keys", "rotate", "default", "--at", "tomorrow"]);
    nonsense.fails(2, &["2026-11-22T03:00:00Z"]);
}

#[test]
fn a_rotation_can_be_planned_for_a_later_time() {
    let place = Place::new();
    let _daemon = place.start();
    let at = "2099-01-01T00:00:00Z";
    let answer = place.run(&["keys", "rotate", "second", "--at", at, "--json"]).json();
    assert_eq!(answer["activates"], at);
}

#[test]
fn a_rotation_now_takes_effect_at_once_and_names_the_verifiers_that_it_may_fail() {
    let place = Place::new();
    let daemon = place.start();
    let (old, new) = (active(&place, "default"), standby(&place, "default"));
    let before = sign(&place);

    let said = place.run(&["keys", "rotate", "default", "--now"]).ok();
    assert!(said.contains("verifiers that have not fetched the JWK Set again"), "{said}");
    assert_eq!(active(&place, "default"), new);
    assert_eq!(state(&place, "default", &old), "verify-only");
    assert!(daemon.published().contains(&old));
    assert!(daemon.verifies(&before));
    assert!(daemon.verifies(&sign(&place)));
}

/// Keys of ML-DSA-87 are the longest; fourteen of them are what all verifiers read.
#[test]
fn a_jwk_set_that_rotations_by_hand_made_too_long_still_works_and_is_told_in_the_log() {
    const READ: usize = 51_200;
    let place = Place::with("ES256", "ML-DSA-87");
    let daemon = place.start();
    let rotate = || place.run(&["keys", "rotate", "default", "--now"]).ok();
    let length = || daemon.http("/.well-known/jwks.json").1.len();
    for _ in 0..12 {
        rotate();
    }
    wait_for("the fourteenth key", || (daemon.published().len() == 14).then_some(()));
    assert!(length() <= READ, "{} bytes", length());
    assert!(!daemon.log().contains("the JWK Set has"), "{}", daemon.log());
    rotate();
    wait_for("the fifteenth key", || (daemon.published().len() == 15).then_some(()));
    assert!(length() > READ, "{} bytes", length());
    daemon.wait_for_log(&format!("the JWK Set has {} bytes, and some verifiers read", length()));
    assert_eq!(decoded(sign(&place).split('.').next().unwrap())["alg"], "ML-DSA-87");
}

#[test]
fn a_rotation_that_is_repeated_with_the_old_kid_does_not_rotate_twice() {
    let place = Place::new();
    let _daemon = place.start();
    let old = active(&place, "default");
    let rotate = ["keys", "rotate", "default", "--now", "--expect-active", &old, "--json"];
    assert_eq!(place.run(&rotate).json()["already"], false);
    let new = active(&place, "default");
    let again = place.run(&rotate).json();
    assert_eq!(again["already"], true);
    assert_eq!(again["to"], new.as_str());
    assert_eq!(active(&place, "default"), new);
}

#[test]
fn a_rotation_that_expects_another_active_key_is_refused() {
    let place = Place::new();
    let _daemon = place.start();
    let (active_kid, standby) = (active(&place, "default"), standby(&place, "default"));
    let expecting =
        |kid| place.run(&["keys", "rotate", "default", "--now", "--expect-active", kid]);
    expecting("unheard-of").fails(4, &["there is no key unheard-of"]);
    expecting(&standby).fails(5, &["another key is active", &active_kid]);
    assert_eq!(active(&place, "default"), active_kid);
}

#[test]
fn revoking_the_active_key_takes_it_out_at_once_and_the_standby_signs() {
    let place = Place::new();
    let daemon = place.start();
    let (old, new) = (active(&place, "default"), standby(&place, "default"));
    let revoke = ["keys", "revoke", "default", &old, "--reason", "leaked"];
    let said = place.run(&revoke).ok();
    assert!(said.contains(&format!("revoked {old}")), "{said}");
    assert!(said.contains(&format!("active now: {new}")), "{said}");
    assert!(said.contains("may trust"), "{said}");
    assert!(!daemon.published().contains(&old));
    assert!(daemon.verifies(&sign(&place)));
    assert_eq!(state(&place, "default", &old), "revoked");

    let again = place.run(&revoke).ok();
    assert!(again.contains("was so before"), "{again}");
    assert_eq!(active(&place, "default"), new);
    let show = place.run(&["keys", "show", "default", "--json"]).json();
    assert_eq!(show["keys"][0]["reason"], "leaked");
}

#[test]
fn revoking_a_key_that_never_was_is_refused() {
    let place = Place::new();
    let _daemon = place.start();
    let revoke = ["keys", "revoke", "default", "unheard-of", "--reason", "leaked"];
    place.run(&revoke).fails(4, &["there is no key unheard-of"]);
    place.run(&["keys", "revoke", "default", "--all"]).fails(2, &["--reason"]);
}

#[test]
fn revoking_all_starts_with_one_fresh_key() {
    let place = Place::new();
    let daemon = place.start();
    let before = daemon.published();
    let revoke = ["keys", "revoke", "default", "--all", "--reason", "a thief was here", "--json"];
    let answer = place.run(&revoke).json();
    assert_eq!(answer["revoked"].as_array().unwrap().len(), before.len());
    assert_eq!(answer["active"], active(&place, "default"));
    let after = daemon.published();
    assert!(before.iter().all(|kid| !after.contains(kid)), "{before:?} {after:?}");
    assert!(daemon.verifies(&sign(&place)));
}

#[test]
fn only_a_key_that_does_not_sign_any_more_can_be_retired() {
    let place = Place::new();
    let daemon = place.start();
    let (old, pending) = (active(&place, "default"), standby(&place, "default"));
    let retire = |kid: &str| place.run(&["keys", "retire", "default", kid]);
    retire(&old).fails(5, &["the key is active", "rotate first"]);
    retire(&pending).fails(5, &["it is the standby"]);
    retire("unheard-of").fails(4, &["there is no key unheard-of"]);

    place.run(&["keys", "rotate", "default", "--now"]).ok();
    let said = retire(&old).ok();
    assert!(said.contains("warning: good tokens that it signed may be refused"), "{said}");
    assert!(!daemon.published().contains(&old));
    assert_eq!(state(&place, "default", &old), "retired");
    assert!(retire(&old).ok().contains("had left before"));
}

#[test]
fn a_kid_that_begins_with_a_hyphen_is_a_kid() {
    // One thumbprint in 64 does, and a revocation cannot wait.
    let place = Place::new();
    let _daemon = place.start();
    for kid in ["-unheard-of", "--unheard-of"] {
        let commands: [&[&str]; 4] = [
            &["keys", "revoke", "default", kid, "--reason", "leaked"],
            &["keys", "revoke", "--reason", "leaked", "default", kid],
            &["keys", "retire", "default", kid],
            &["keys", "rotate", "default", "--now", "--expect-active", kid],
        ];
        for command in commands {
            place.run(command).fails(4, &[&format!("there is no key {kid}")]);
        }
    }
}

#[test]
fn a_key_set_that_is_not_there_is_exit_code_4() {
    let place = Place::new();
    let _daemon = place.start();
    let commands: [&[&str]; 7] = [
        &["sign", "other", "--claims", "{}", "--ttl", "15m"],
        &["keys", "list", "other"],
        &["keys", "show", "other"],
        &["keys", "rotate", "other", "--now"],
        &["keys", "revoke", "other", "a-kid", "--reason", "leaked"],
        &["keys", "revoke", "other", "--all", "--reason", "leaked"],
        &["keys", "retire", "other", "a-kid"],
    ];
    for command in commands {
        place.run(command).fails(4, &["there is no key set other"]);
    }
}

#[test]
fn an_act_on_a_key_set_that_is_not_there_leaves_nothing_behind() {
    let place = Place::new();
    let daemon = place.start();
    let (sign, missing) = (["sign", "other", "--claims", "{}", "--ttl", "15m"], "no key set other");
    let acts: [&[&str]; 3] = [
        &["keys", "retire", "other", "a-kid"],
        &["keys", "revoke", "other", "a-kid", "--reason", "leaked"],
        &["keys", "revoke", "other", "--all", "--reason", "leaked"],
    ];
    for act in acts {
        place.run(act).fails(4, &[missing]);
        place.run(&sign).fails(4, &[missing]);
        assert_eq!(daemon.http("/other/.well-known/jwks.json").0, 404, "after {act:?}");
    }
}

#[test]
fn without_a_daemon_it_is_exit_code_6_and_says_how_to_start_it() {
    let place = Place::new();
    let commands: [&[&str]; 4] = [
        &["status"],
        &["reload"],
        &["keys", "list"],
        &["sign", "default", "--claims", "{}", "--ttl", "15m"],
    ];
    for command in commands {
        place.run(command).fails(6, &["is it running?", "jwksd serve"]);
    }
    assert!(!place.has("data"));
}

#[test]
fn help_is_as_wide_as_the_terminal() {
    let place = Place::new();
    for command in [&["keys", "import"][..], &["keys", "export"], &["store", "restore"]] {
        let mut command = place.command(&[command, &["--help"]].concat());
        let help = Output::of(command.env("COLUMNS", "80")).ok();
        let wide: Vec<_> = help.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(wide.is_empty(), "{wide:?}");
    }
}
