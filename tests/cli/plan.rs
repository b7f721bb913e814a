//! `jwksd plan`.

use jwksd::api::plan::Plan;

use crate::keys::active;
use crate::output::Output;
use crate::place::{Place, wait_for};

#[test]
fn what_comes_is_a_table_and_a_picture_for_people_and_json_for_programs() {
    let place = Place::new();
    let _daemon = place.start();
    let kid = active(&place, "default");
    let plan: Plan = serde_json::from_value(place.run(&["plan", "--json"]).json()).unwrap();
    assert_eq!(plan.keysets.len(), 2);
    assert_eq!(plan.keysets[0].active.as_ref().unwrap().as_str(), kid);

    let text = place.run(&["plan"]).ok();
    let head: Vec<&str> = text.lines().next().unwrap().split("  ").collect();
    let head: Vec<&str> = head.into_iter().map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(head, ["AT", "IN", "KEY SET", "KEY", "EVENT", "WHY"]);
    assert!(text.contains("next key"), "{text}");
    assert!(text.contains("\nkey set second\n"), "{text}");
    assert!(text.contains("it rotates only when asked: jwksd keys rotate second"), "{text}");
    assert!(text.contains(&kid[..8]) && !text.contains(&kid), "{text}");

    let one = place.run(&["plan", "--keyset", "default", "--days", "400"]).ok();
    assert!(!one.contains("second"), "{one}");
    assert!(one.matches("activate").count() >= 13, "{one}");
}

#[test]
fn it_is_as_wide_as_the_terminal_and_has_letters_of_the_locale_and_no_colours_in_a_pipe() {
    let place = Place::new();
    let _daemon = place.start();
    for (locale, is_ascii) in [("C", true), ("C.UTF-8", false)] {
        for columns in [80, 100, 140] {
            let mut command = place.command(&["plan"]);
            command.env("LC_ALL", locale).env("COLUMNS", columns.to_string());
            let text = Output::of(&mut command).ok();
            let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
            assert!(widest <= columns && widest + 3 >= columns, "{widest}: {text}");
            assert_eq!(text.is_ascii(), is_ascii, "{text}");
            assert!(!text.contains('\u{1b}'), "{text}");
        }
    }
}

#[test]
fn what_cannot_be_told_says_why_and_ends_with_the_code_for_it() {
    let place = Place::new();
    let _daemon = place.start();
    place.run(&["plan", "--keyset", "other"]).fails(4, &["there is no key set other"]);
    place.run(&["plan", "--keyset", "No"]).fails(2, &["is not a key set's name"]);
    for days in ["0", "401", "soon"] {
        place.run(&["plan", "--days", days]).fails(2, &["--days"]);
    }
}

#[test]
fn keys_show_fits_a_terminal_and_tells_what_was_with_reasons_that_cannot_move_its_cursor() {
    let place = Place::new();
    let daemon = place.start();
    let kid = active(&place, "default");
    let reason = format!("a \u{1b}[2Jlaptop\u{202e}{}", " was stolen".repeat(20));
    place.run(&["keys", "revoke", "default", &kid, "--reason", &reason]).ok();
    wait_for("the next standby", || (daemon.published().len() == 2).then_some(()));
    let mut command = place.command(&["keys", "show", "default"]);
    let text = Output::of(command.env("COLUMNS", "80").env("LC_ALL", "C.UTF-8")).ok();
    let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
    assert!(widest <= 80, "{widest}: {text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    assert!(text.contains("\\u{1b}[2Jlaptop\\u{202e}"), "{text}");
    let (past, next) = text.split_once("\nnext\n").unwrap();
    for words in ["past\n", "  revoke ", "  admin: a ", "  activate  revocation\n", "×"] {
        assert!(past.contains(words), "no {words:?} in {past}");
    }
    assert!(past.contains(&format!("{kid}  revoked\n")), "{past}");
    assert!(next.contains("  publish   as standby\n"), "{next}");
    let short = place.run(&["keys", "show", "default", "--days", "1"]).ok();
    assert!(short.contains("\nnext\n  nothing within 1 day\n"), "{short}");
}

#[test]
fn verifiers_that_will_refuse_the_next_key_are_named_with_until_when() {
    let hasty = "verifier_cache = \"10m\"\nmax_token_ttl";
    let place = Place::with("max_token_ttl", hasty);
    let _daemon = place.start();
    let none = place.run(&["plan", "--verifiers", "all", "--keyset", "default"]).ok();
    assert!(
        none.contains("no verifier refuses tokens of the key that signs or of those to come"),
        "{none}"
    );
    place.run(&["keys", "rotate", "default"]).ok();
    let asked = ["plan", "--keyset", "default", "--verifiers", "pyjwt,istio,axum-jwt-auth"];
    let said = place.run(&asked).ok();
    let rows: Vec<&str> = said.lines().skip_while(|line| !line.starts_with("KEY ")).collect();
    assert!(rows[0].ends_with("BY VERIFIERS"), "{said}");
    assert!(rows[1].ends_with("axum-jwt-auth") && rows[2].ends_with("istio"), "{said}");
    assert!(!said.contains("pyjwt"), "{said}");
    let unasked = place.run(&["plan"]).ok();
    assert!(unasked.contains("  fastapi-azure-auth,\n"), "{unasked}");
    let unknown = place.run(&["plan", "--verifiers", "pyjwtt"]);
    unknown.fails(1, &["there is no verifier \"pyjwtt\", but \"pyjwt\""]);
}
