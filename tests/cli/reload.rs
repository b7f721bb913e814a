//! `jwksd reload` and SIGHUP.

use crate::daemon::Signal;
use crate::keys::active;
use crate::place::{Place, wait_for};

const OLD: &str = "0 3 1 * *";
const NEW: &str = "0 4 1 * *";

/// The schedule that the daemon has in force.
fn schedule(place: &Place) -> String {
    // By a configuration of its own: the one of the daemon may be wrong.
    let show = ["--config", "client.toml", "keys", "show", "default", "--json"];
    place.run(&show).json()["rotate"].as_str().unwrap().to_owned()
}

/// A place whose client goes on to work while the daemon's configuration is wrong.
fn place() -> Place {
    let place = Place::new();
    place.write("client.toml", &place.read("config.toml"));
    place
}

#[test]
fn a_changed_schedule_is_put_in_force() {
    let place = place();
    let daemon = place.start();
    let unchanged = place.run(&["reload"]).ok();
    assert!(unchanged.contains("no key set changed"), "{unchanged}");
    daemon.wait_for_log("reloaded");
    place.edit(OLD, NEW);
    let answer = place.run(&["reload", "--json"]).json();
    assert_eq!(answer["changed"], serde_json::json!(["default"]));
    assert_eq!(answer["needs_restart"], serde_json::json!([]));
    assert!(schedule(&place).contains(NEW));
    let show = place.run(&["keys", "show", "default", "--json"]).json();
    assert!(show["next"][0]["at"].as_str().unwrap().ends_with("-01T04:00:00Z"), "{show}");
}

#[test]
fn a_wrong_file_is_refused_and_the_old_configuration_stays() {
    let place = place();
    let _daemon = place.start();
    place.edit(OLD, "0 3 * * *");
    let by_the_client = place.run(&["reload"]);
    by_the_client.fails(1, &["keysets.default", "1d later"]);
    let by_the_daemon = place.run(&["--config", "client.toml", "reload"]);
    by_the_daemon.fails(1, &["the old one stays in force", "keysets.default", "1d later"]);
    assert!(schedule(&place).contains(OLD));
}

#[test]
fn a_hangup_reloads_like_the_command() {
    let place = place();
    let daemon = place.start();
    place.edit(OLD, NEW);
    daemon.signal(Signal::HUP);
    wait_for("the new schedule", || schedule(&place).contains(NEW).then_some(()));

    place.edit(NEW, "0 3 * * *");
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("not reloaded, the old configuration stays");
    assert!(daemon.log().contains("keysets.default"), "{}", daemon.log());
    assert!(schedule(&place).contains(NEW));
    place.run(&["--config", "client.toml", "status"]).ok();
}

#[test]
fn an_algorithm_with_another_key_type_needs_a_new_key_set() {
    let place = place();
    let daemon = place.start();
    let kid = active(&place, "default");
    place.edit("ES256", "EdDSA");
    place.run(&["reload"]).fails(1, &["keysets.default", "new key set", "EC", "OKP"]);
    assert_eq!(active(&place, "default"), kid);
    assert!(daemon.verifies(&crate::keys::sign(&place)));
}

#[test]
fn what_needs_a_restart_is_named() {
    let place = place();
    let _daemon = place.start();
    place.edit("127.0.0.1:0", "127.0.0.1:1");
    let said = place.run(&["reload"]).ok();
    assert!(said.contains("public.listen was changed and needs a restart"), "{said}");
    place.edit("[admin]", "[metrics]\nlisten = \"127.0.0.1:0\"\n[admin]");
    let said = place.run(&["reload"]).ok();
    assert!(said.contains("metrics.listen was changed and needs a restart"), "{said}");
}

#[test]
fn a_key_set_that_a_reload_brings_signs_as_soon_as_the_reload_has_answered() {
    let place = place();
    let _daemon = place.start();
    // A kind of key that takes its time to make.
    let third = "[keysets.third]\nalgorithm = \"RS256\"\nrsa_bits = 3072\nrotate = \"manual\"\n\
                 issuer = \"http://127.0.0.1:8080/third\"\nmax_token_ttl = \"1h\"\n[[callers]]";
    place.edit("[[callers]]", third);
    place.run(&["reload"]).ok();
    place.run(&["sign", "third", "--claims", "{}", "--ttl", "15m"]).ok();
}

#[test]
fn a_key_set_that_a_reload_takes_away_signs_no_more_and_is_still_published() {
    let place = place();
    let daemon = place.start();
    let config = place.read("config.toml");
    let (second, _) = config[config.find("[keysets.second]").unwrap()..].split_once("[[").unwrap();
    place.edit(second, "");
    place.run(&["reload"]).ok();

    let gone = ["not in the configuration"];
    place.run(&["sign", "second", "--claims", "{}", "--ttl", "15m"]).fails(5, &gone);
    place.run(&["keys", "rotate", "second", "--now"]).fails(5, &gone);
    assert_eq!(daemon.http("/second/.well-known/jwks.json").0, 200);
}

#[test]
fn callers_that_come_and_go_and_what_check_warns_of_are_in_the_answer() {
    let place = place();
    let daemon = place.start();
    let caller = "[[callers]]\nname = \"ci\"\ntoken_sha256 = \"HASH\"\n\
                  grants = [{ keyset = \"gone\", actions = [\"read\"] }]\n[[callers]]";
    place.edit("[[callers]]", &caller.replace("HASH", &"0".repeat(64)));
    place.edit("[keysets.second]", "jwks_file = \"no-folder/jwks.json\"\n[keysets.second]");
    let said = place.run(&["reload"]).ok();
    assert!(said.contains("callers that came: ci\n"), "{said}");
    assert!(
        said.contains("warning: callers.ci: a grant matches no key set of this file\n"),
        "{said}"
    );
    let words = "warning: keysets.default.jwks_file: there is no folder no-folder";
    assert!(said.contains(words), "{said}");

    place.write("config.toml", &place.read("client.toml"));
    let answer = place.run(&["reload", "--json"]).json();
    assert_eq!(answer["callers_removed"], serde_json::json!(["ci"]));
    assert_eq!(answer["callers_added"], serde_json::json!([]));
    daemon.signal(Signal::HUP);
    daemon.wait_for_log("callers_removed=[]");
}
