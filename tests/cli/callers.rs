//! Who may do what, by Unix socket and by bearer token.

use crate::output::Output;
use crate::place::{Place, SIGN, free_address};

const ALL_ACTIONS: &str =
    r#"["sign-token", "read", "rotate", "revoke", "import", "import-trust", "operate"]"#;

/// The token and the lines for the configuration that `callers token` prints.
fn made(printed: &str) -> (&str, &str) {
    let token = printed.lines().next().unwrap();
    (token, &printed[printed.find("[[callers]]").unwrap()..])
}

fn run_with(place: &Place, token: &str, arguments: &[&str]) -> Output {
    Output::of(place.command(arguments).env("JWKSD_TOKEN", token))
}

#[test]
fn a_caller_who_may_only_read_is_refused_everything_else() {
    let place = Place::with(ALL_ACTIONS, r#"["read"]"#);
    let _daemon = place.start();
    place.run(&["keys", "list"]).ok();
    let kid = crate::keys::active(&place, "default");
    let commands: [&[&str]; 7] = [
        &SIGN,
        &["keys", "rotate", "default", "--now"],
        &["keys", "revoke", "default", &kid, "--reason", "leaked"],
        &["keys", "revoke", "default", "--all", "--reason", "leaked"],
        &["keys", "retire", "default", &kid],
        &["reload"],
        &["status"],
    ];
    for command in commands {
        place.run(command).fails(3, &["the caller may not do this"]);
    }
    assert_eq!(crate::keys::active(&place, "default"), kid);
}

#[test]
fn a_caller_who_may_not_read_sees_no_keys() {
    let place = Place::with(ALL_ACTIONS, r#"["sign-token"]"#);
    let _daemon = place.start();
    let list = place.run(&["keys", "list"]).ok();
    assert!(list.contains("that you may read") && !list.contains("default"), "{list}");
    place.run(&["keys", "show", "default"]).fails(3, &["allows read"]);
}

#[test]
fn someone_whom_the_configuration_does_not_name_is_refused() {
    let digest = format!("token_sha256 = \"{}\"", "0".repeat(64));
    let place = Place::with(r#"uid = "self""#, &digest);
    let _daemon = place.start();
    place.run(&["keys", "list"]).fails(3, &["the caller is not known"]);
    place.run(&SIGN).fails(3, &["the caller is not known"]);
}

#[test]
fn a_bearer_token_signs_over_loopback_tcp_and_is_written_nowhere() {
    let place = Place::with("unix:data/sign.sock", &free_address());
    let printed = place.run(&["callers", "token", "ci"]).ok();
    let (token, lines) = made(&printed);
    let config = place.read("config.toml");
    place.write("config.toml", &format!("{config}\n{lines}"));
    place.run(&["check"]).ok();

    let daemon = place.start();
    let signed = run_with(&place, token, &SIGN).ok();
    assert!(daemon.verifies(&signed));
    let (audit, log) = (place.read("data/audit.jsonl"), daemon.log());
    assert!(audit.contains(r#""caller":"ci","action":"sign-token","decision":"allowed""#));
    for (name, text) in [("audit", &audit), ("log", &log)] {
        assert!(!text.contains(token), "the bearer token is in the {name}");
        assert!(!text.contains(signed.trim()), "the signed token is in the {name}");
    }
}

#[test]
fn a_wrong_bearer_token_is_refused_and_not_repeated() {
    let place = Place::with("unix:data/sign.sock", &free_address());
    let daemon = place.start();
    let refused = run_with(&place, "jwksd_not-the-token", &SIGN);
    assert!(!refused.stderr.contains("not-the-token"), "{refused:?}");
    refused.fails(3, &["the bearer token is not known"]);
    assert!(!daemon.log().contains("not-the-token"));
    assert!(!place.read("data/audit.jsonl").contains("not-the-token"));
}

#[test]
fn without_a_bearer_token_the_variable_for_it_is_named() {
    let place = Place::with("unix:data/sign.sock", &free_address());
    let _daemon = place.start();
    place.run(&SIGN).fails(3, &["JWKSD_TOKEN"]);
}

#[test]
fn the_lines_for_the_configuration_are_good_whatever_name_is_taken() {
    for name in ["ci", "it's \"ci\"", "\\"] {
        let place = Place::new();
        let printed = place.run(&["callers", "token", name]).ok();
        let lines = made(&printed).1;
        let config = place.read("config.toml");
        place.write("config.toml", &format!("{config}\n{lines}"));
        place.run(&["check"]).ok();
    }
    for (name, words) in [("a\nb", "cannot be seen"), ("jwksd", "cannot be a caller's name")] {
        Place::new().run(&["callers", "token", name]).fails(1, &[words]);
    }
    let json = Place::new().run(&["callers", "token", "ci", "--json"]).json();
    assert!(json["token"].as_str().unwrap().starts_with("jwksd_"));
    assert_eq!(json["token_sha256"].as_str().unwrap().len(), 64);
}
