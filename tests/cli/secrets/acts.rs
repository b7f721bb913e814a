//! What is done to the key sets, and the load meanwhile.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use super::wire::{To, Wire};
use super::{ALGORITHMS, set_of};
use crate::place::{Place, wait_for};

/// Does something while every key set signs all the time.
pub(super) fn under_load(wire: &Wire, act: impl FnOnce()) {
    const LEAST: usize = 50;
    let signed = ALGORITHMS.map(|_| AtomicUsize::new(0));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for (algorithm, signed) in ALGORITHMS.iter().zip(&signed) {
            let done = &done;
            scope.spawn(move || {
                let set = set_of(*algorithm);
                let least = || signed.load(Ordering::Relaxed) >= LEAST;
                while !(done.load(Ordering::Relaxed) && least()) {
                    signed.fetch_add(sign(wire, &set) + sign_batch(wire, &set), Ordering::Relaxed);
                }
            });
        }
        // Also where `act` fails: the scope waits for its threads.
        let _ends = OnDrop(|| done.store(true, Ordering::Relaxed));
        act();
    });
}

const REQUEST: &str = r#"{"claims":{"sub":"123"},"ttl":"15m"}"#;

/// Asks for a token; returns how many there are.
fn sign(wire: &Wire, set: &str) -> usize {
    let answer = wire.ask(To::Internal, "POST", &format!("/v1/keysets/{set}/tokens"), REQUEST);
    if answer.status == 200 {
        return 1;
    }
    // After all keys were revoked, until the fresh one is there.
    answer.is_problem("no_active_key");
    0
}

/// Asks for some tokens at once, which other threads of the daemon sign; returns how many there are.
fn sign_batch(wire: &Wire, set: &str) -> usize {
    let path = format!("/v1/keysets/{set}/tokens/batch");
    let body = format!(r#"{{"requests":[{REQUEST},{REQUEST},{REQUEST}]}}"#);
    let answer = wire.ask(To::Internal, "POST", &path, &body).ok();
    let results = answer["results"].as_array().unwrap();
    let (tokens, refused): (Vec<_>, Vec<_>) =
        results.iter().partition(|result| result["token"].is_string());
    assert_eq!(results.len(), 3);
    assert!(refused.iter().all(|result| result["error"]["code"] == "no_active_key"), "{answer}");
    tokens.len()
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// The kid of the key in a state.
pub(super) fn kid(wire: &Wire, set: &str, state: &str) -> String {
    let shown = wire.ask(To::Admin, "GET", &format!("/v1/keysets/{set}"), "").ok();
    let key = shown["keys"].as_array().unwrap().iter().rfind(|key| key["state"] == state);
    key.unwrap_or_else(|| panic!("no key is {state}: {shown}"))["kid"].as_str().unwrap().to_owned()
}

pub(super) fn rotate(wire: &Wire, set: &str, how: &Value) {
    let mut body = how.clone();
    body["expect_active"] = kid(wire, set, "active").into();
    wire.ask(To::Admin, "POST", &format!("/v1/keysets/{set}/rotate"), &body.to_string()).ok();
}

pub(super) fn revoke(wire: &Wire, set: &str, state: &str) {
    let kid = kid(wire, set, state);
    let path = format!("/v1/keysets/{set}/keys/{kid}/revoke");
    wire.ask(To::Admin, "POST", &path, r#"{"reason":"a test"}"#).ok();
}

pub(super) fn revoke_all(wire: &Wire, set: &str) {
    let body = json!({"reason": "a test", "expect_active": kid(wire, set, "active")});
    wire.ask(To::Admin, "POST", &format!("/v1/keysets/{set}/revoke-all"), &body.to_string()).ok();
}

/// Has the key in a state sign a certificate of itself and a request for one.
pub(super) fn certify(wire: &Wire, set: &str, state: &str) {
    let path = format!("/v1/keysets/{set}/keys/{}/export", kid(wire, set, state));
    for format in ["x509", "csr"] {
        wire.ask(To::Admin, "POST", &path, &json!({"format": format}).to_string()).ok();
    }
}

/// Waits until each set has the keys it shall have: one that signs, if any does, and a standby.
pub(super) fn wait_until_settled(wire: &Wire) {
    wait_for("the rotator", || {
        let settled = |set: &Value| {
            let count = |state: &str| {
                let keys = set["keys"].as_array().unwrap().iter();
                keys.filter(|key| key["state"] == state).count()
            };
            let ended = set["keys"]
                .as_array()
                .unwrap()
                .iter()
                .all(|key| key["state"] != "verify-only" || !key["ended"].is_null());
            ended && (set["configured"] == false || count("active") == 1 && count("pending") == 1)
        };
        let list = wire.ask(To::Admin, "GET", "/v1/keysets", "").ok();
        let mut sets = list["keysets"].as_array().unwrap().iter();
        sets.all(|set| set["name"] == "second" || settled(set)).then_some(())
    });
}

/// What the command line prints, good answers and bad ones.
pub(super) fn commands(place: &Place) -> Vec<u8> {
    let set = set_of(ALGORITHMS[0]);
    let commands: [&[&str]; 18] = [
        &["sign", &set, "--claims", "{}", "--ttl", "15m"],
        &["sign", &set, "--claims", "{", "--ttl", "15m"],
        &["keys", "list"],
        &["keys", "list", "--json"],
        &["keys", "show", &set],
        &["keys", "show", "unheard-of", "--json"],
        &["keys", "rotate", &set, "--json"],
        &["keys", "export", &set, "--standby", "--format", "jwk"],
        &["keys", "export", &set, "--standby", "--format", "pem"],
        &["keys", "export", &set, "--standby", "--format", "openssh", "--json"],
        &["keys", "export", &set, "--active", "--format", "x509"],
        &["keys", "export", &set, "--standby", "--format", "csr", "--json"],
        &["keys", "export", &set, "--format", "jwks"],
        &["reload", "--json"],
        &["status", "--json"],
        &["check"],
        &["store", "backup", "shown", "--force"],
        &["store", "verify", "shown"],
    ];
    let outputs = commands.map(|arguments| place.run(arguments));
    let said = outputs.iter().flat_map(|output| format!("{output:?}").into_bytes());
    // What anyone may copy is shown as well.
    said.chain(std::fs::read(place.path("shown")).unwrap()).collect()
}
