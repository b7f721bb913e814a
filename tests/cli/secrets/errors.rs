//! Every error that can be had from outside.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::process::Command;

use jwksd_keystore::crypto::{hex, sha256};
use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use super::acts::{kid, rotate, wait_until_settled};
use super::vault::Vault;
use super::wire::{To, Wire};
use super::{ALGORITHMS, READER, TOKEN, each_set, set_of};
use crate::daemon::Daemon;
use crate::place::{Place, wait_for};

const POST: &str = "POST";

/// All codes but `internal`, `stopping` and `standby_exported`: the first takes a fault of the
/// daemon, the second a request in the very moment of its end, the third an export.
const CODES: [&str; 34] = [
    "not_found",
    "method_not_allowed",
    "invalid_request",
    "body_too_large",
    "unsupported_media_type",
    "invalid_claims",
    "invalid_ttl",
    "invalid_typ",
    "invalid_key",
    "passphrase_required",
    "wrong_passphrase",
    "unknown_caller",
    "not_allowed",
    "wrong_host",
    "cross_site",
    "unknown_keyset",
    "unknown_key",
    "not_configured",
    "no_active_key",
    "expect_active_required",
    "active_changed",
    "too_early",
    "wrong_state",
    "key_used",
    "jwk_set_full",
    "not_durable",
    "not_recorded",
    "revocation_pending",
    "store_unavailable",
    "audit_unavailable",
    "invalid_config",
    "busy",
    "rate_limited",
    "too_many_at_once",
];

/// Callers of no more than tokens, the second of few.
const OTHER: &str = "jwksd_other";
const SLOW: &str = "jwksd_slow";

/// What a browser sends for a page elsewhere.
const FRAMED: &str = "Host: localhost\r\nOrigin: http://evil.example\r\nSec-Fetch-Site: cross-site";

pub(super) fn all_were_seen(shown: &[u8]) {
    let shown = String::from_utf8_lossy(shown);
    for code in CODES {
        assert!(shown.contains(&format!("\"code\":\"{code}\"")), "never provoked: {code}");
    }
}

/// The callers with a bearer token, for the configuration.
pub(super) fn callers() -> String {
    let caller = |name, token: &str, actions| {
        let digest = hex(&sha256(token.as_bytes()));
        format!(
            "\n[[callers]]\nname = \"{name}\"\ntoken_sha256 = \"{digest}\"\n\
             grants = [{{ keyset = \"*\", actions = [{actions}] }}]\n"
        )
    };
    caller("all", TOKEN, "\"sign-token\", \"read\", \"rotate\", \"revoke\", \"operate\"")
        + &caller("reader", READER, "\"read\"")
        + &caller("other", OTHER, "\"sign-token\"")
        + &caller("slow", SLOW, "\"sign-token\"")
        + "requests_per_second = 1\nburst = 1000\n"
}

/// What goes wrong while all is well with the daemon.
pub(super) fn provoke(place: &Place, wire: &Wire) {
    let set = set_of(ALGORITHMS[0]);
    let (active, standby) = (kid(wire, &set, "active"), kid(wire, &set, "pending"));
    let at = |rest: &str| format!("/v1/keysets/{set}{rest}");
    let large = format!(r#"{{"claims":{{"a":"{}"}},"ttl":60}}"#, "a".repeat(64 << 10));
    let good = r#"{"claims":{},"ttl":60}"#;
    let expecting = |kid: &str, rest: &str| format!(r#"{{"expect_active":"{kid}"{rest}}}"#);
    let past = expecting(&active, r#","at":"2020-01-01T00:00:00Z""#);
    let (tokens, rotation) = (at("/tokens"), at("/rotate"));
    let unknown = "jwksd_unheard-of";
    let revocation = at("/keys/unheard-of/revoke");
    let reason = r#"{"reason":"a test"}"#;
    let requests: [(To, &str, &str, &str, &str); 26] = [
        (To::Public, "GET", "/nothing", "", "not_found"),
        (To::Internal, "GET", "/nothing", "", "not_found"),
        (To::Admin, "GET", "/nothing", "", "not_found"),
        (To::Public, POST, "/.well-known/jwks.json", "", "method_not_allowed"),
        (To::Internal, POST, &tokens, "{", "invalid_request"),
        (To::Internal, POST, &tokens, &large, "body_too_large"),
        (To::InternalForm, POST, &tokens, good, "unsupported_media_type"),
        (To::Internal, POST, &tokens, r#"{"claims":{"iss":"me"},"ttl":60}"#, "invalid_claims"),
        (To::Internal, POST, &tokens, r#"{"claims":{},"ttl":"2h"}"#, "invalid_ttl"),
        (To::Internal, POST, &tokens, r#"{"claims":{},"ttl":60,"typ":"me"}"#, "invalid_typ"),
        (To::InternalTcp(unknown), POST, &tokens, good, "unknown_caller"),
        (To::AdminTcp(unknown), "GET", "/v1/keysets", "", "unknown_caller"),
        (To::InternalTcp(READER), POST, &tokens, good, "not_allowed"),
        (To::AdminTcp(READER), POST, &rotation, &expecting(&active, ""), "not_allowed"),
        (To::AdminTcp(READER), POST, "/v1/reload", "", "not_allowed"),
        (To::AdminWith("Host: evil.example"), "GET", "/v1/keysets", "", "wrong_host"),
        (To::AdminWith(FRAMED), POST, "/v1/reload", "", "cross_site"),
        (To::Internal, POST, "/v1/keysets/unheard-of/tokens", good, "unknown_keyset"),
        (To::Internal, POST, "/v1/keysets/second/tokens", good, "no_active_key"),
        (To::AdminTcp(TOKEN), POST, &revocation, reason, "unknown_key"),
        (To::AdminTcp(TOKEN), POST, &revocation, r#"{"reason":""}"#, "invalid_request"),
        (To::Admin, POST, &rotation, "{}", "expect_active_required"),
        (To::Admin, POST, &rotation, &expecting(&standby, ""), "active_changed"),
        (To::Admin, POST, &rotation, &past, "too_early"),
        (To::Admin, POST, &at(&format!("/keys/{active}/retire")), "", "wrong_state"),
        (To::Admin, POST, &at(&format!("/keys/{standby}/retire")), "", "wrong_state"),
    ];
    for (to, method, path, body, code) in requests {
        wire.ask(to, method, path, body).is_problem(code);
    }
    wire.ask(To::InternalTcp(TOKEN), POST, &tokens, good).ok();
    in_a_batch(wire, &at("/tokens/batch"));
    with_many_batches(wire, &at("/tokens/batch"));
    wrong_configurations(place, wire);
}

/// What is wrong with some of the requests of a batch, and with a batch.
fn in_a_batch(wire: &Wire, path: &str) {
    let good = json!({"claims": {}, "ttl": 60});
    let bad = [
        (json!("a text"), "invalid_request"),
        (json!({"claims": {"a": "a".repeat(64 << 10)}, "ttl": 60}), "body_too_large"),
        (json!({"claims": {"iss": "me"}, "ttl": 60}), "invalid_claims"),
        (json!({"claims": {}, "ttl": "2h"}), "invalid_ttl"),
        (json!({"claims": {}, "ttl": 60, "typ": "me"}), "invalid_typ"),
    ];
    let requests: Vec<_> = bad.iter().flat_map(|(bad, _)| [&good, bad]).collect();
    let body = json!({"requests": requests}).to_string();
    let answer = wire.ask(To::Internal, POST, path, &body).ok();
    let results = answer["results"].as_array().unwrap();
    assert_eq!(results.len(), requests.len());
    for (pair, (_, code)) in results.chunks(2).zip(&bad) {
        assert!(pair[0]["token"].is_string(), "{}", pair[0]);
        assert_eq!(pair[1]["error"]["code"], *code);
    }
    wire.ask(To::Internal, POST, path, r#"{"requests":{}}"#).is_problem("invalid_request");
    let body = json!({"requests": [good]}).to_string();
    wire.ask(To::InternalTcp(READER), POST, path, &body).is_problem("not_allowed");
}

/// More batches than each of three callers may have in hand, and than may wait. They are signed in
/// turn, so that the first is done only when nearly all are. Then more than a slow caller may have.
fn with_many_batches(wire: &Wire, path: &str) {
    let body = json!({"requests": vec![json!({"claims": {}, "ttl": 60}); 200]}).to_string();
    let mut seen = BTreeSet::new();
    wait_for("a batch too many", || {
        let callers = [To::Internal, To::InternalTcp(TOKEN), To::InternalTcp(OTHER)];
        let ask = |to| wire.send(to, POST, path, &body);
        let asked: Vec<_> = callers.into_iter().cycle().take(48).map(ask).collect();
        let answers = asked.into_iter().map(|sent| wire.hear(sent));
        let (signed, refused): (Vec<_>, Vec<_>) = answers.partition(|answer| answer.status == 200);
        for answer in &refused {
            seen.insert(answer.json()["code"].as_str().unwrap().to_owned());
        }
        assert!(!signed.is_empty());
        (seen.iter().eq(["busy", "too_many_at_once"])).then_some(())
    });
    let body = json!({"requests": vec![json!({"claims": {}, "ttl": 60}); 1000]}).to_string();
    wire.ask(To::InternalTcp(SLOW), POST, path, &body).ok();
    wire.ask(To::InternalTcp(SLOW), POST, path, &body).is_problem("rate_limited");
}

/// A configuration that is none, and one without a key set.
fn wrong_configurations(place: &Place, wire: &Wire) {
    let (good, set) = (place.read("config.toml"), set_of(ALGORITHMS[2]));
    let reload = || wire.ask(To::Admin, "POST", "/v1/reload", "");
    place.write("config.toml", "[store");
    reload().is_problem("invalid_config");
    let (without, _) = good.split_once(&format!("\n[keysets.{set}]")).unwrap();
    place.write("config.toml", without);
    reload().ok();
    let path = format!("/v1/keysets/{set}/tokens");
    wire.ask(To::Internal, "POST", &path, r#"{"claims":{},"ttl":60}"#).is_problem("not_configured");
    place.write("config.toml", &good);
    reload().ok();
}

/// Starts the daemon so that it outlives a limit on the size of its files.
pub(super) fn start_with_limits(place: &Place) -> Daemon {
    let mut command = Command::new("sh");
    command.args(["-c", r#"trap "" XFSZ; exec "$0" serve"#, env!("CARGO_BIN_EXE_jwksd")]);
    place.start_as(place.settle(command))
}

/// What goes wrong when nothing can be written; returns the lines of the audit that it took away.
pub(super) fn provoke_with_a_full_disk(
    place: &Place,
    daemon: &Daemon,
    wire: &Wire,
    vault: &mut Vault,
) -> String {
    let audit = OpenOptions::new().write(true).open(place.path("data/audit.jsonl")).unwrap();
    let before = place.read("data/audit.jsonl");
    let set = set_of(ALGORITHMS[1]);
    let (active, standby) = (kid(wire, &set, "active"), kid(wire, &set, "pending"));
    audit.set_len(16 << 20).unwrap();
    limit(daemon, Some(8 << 20));
    without_audit(wire, &set, &active, &standby);
    limit(daemon, None);
    for _ in 0..3 {
        // sled may have begun at the start of its file again.
        each_set(|set| rotate(wire, set, &json!({"now": true})));
        wait_until_settled(wire);
        vault.take(place);
    }
    let active = kid(wire, &set, "active");
    let meanwhile = place.read("data/audit.jsonl");
    audit.set_len(0).unwrap();
    limit(daemon, Some(8 << 10));
    without_store(wire, &set, &active);
    limit(daemon, None);
    wait_for("the store to be back", || {
        wire.ask(To::Admin, "GET", "/v1/status", "").ok()["ready"].as_bool().filter(|ready| *ready)
    });
    before + meanwhile.trim_start_matches('\0')
}

fn without_audit(wire: &Wire, set: &str, active: &str, standby: &str) {
    let at = |rest: &str| format!("/v1/keysets/{set}{rest}");
    let (good, reason) = (r#"{"claims":{},"ttl":60}"#, r#"{"reason":"a test"}"#);
    let rotation = format!(r#"{{"expect_active":"{active}"}}"#);
    wire.ask(To::Internal, POST, &at("/tokens"), good).is_problem("audit_unavailable");
    wire.ask(To::Admin, POST, &at("/rotate"), &rotation).is_problem("audit_unavailable");
    let revocation = at(&format!("/keys/{standby}/revoke"));
    wire.ask(To::Admin, POST, &revocation, reason).is_problem("not_recorded");
}

fn without_store(wire: &Wire, set: &str, active: &str) {
    let at = |rest: &str| format!("/v1/keysets/{set}{rest}");
    let rotation = format!(r#"{{"expect_active":"{active}"}}"#);
    wire.ask(To::Admin, POST, &at("/rotate"), &rotation).is_problem("store_unavailable");
    let revocation = at(&format!("/keys/{active}/revoke"));
    wire.ask(To::Admin, POST, &revocation, r#"{"reason":"a test"}"#).is_problem("not_durable");
    wire.ask(To::Admin, POST, &at("/rotate"), &rotation).is_problem("revocation_pending");
}

/// How large the files of the daemon may become.
fn limit(daemon: &Daemon, bytes: Option<u64>) {
    let limit = Rlimit { current: bytes, maximum: None };
    prlimit(Some(daemon.pid()), Resource::Fsize, limit).unwrap();
}
