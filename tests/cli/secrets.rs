//! No secret is ever shown, and none stays in memory after its key has ended: the test knows the
//! secrets from copies of the store, and searches for them in all that the daemon says and in the
//! memory of its process.

mod acts;
mod bytes;
mod errors;
mod imports;
mod memory;
mod vault;
mod wire;

use std::collections::BTreeSet;
use std::io::{ErrorKind, Write};
use std::time::Duration;

use aho_corasick::AhoCorasick;
use jwksd::clock::{Clock, SystemClock};
use jwksd_keystore::algorithm::{Algorithm, RsaBits};
use serde_json::json;

use crate::daemon::{Daemon, Signal};
use crate::place::Place;
use acts::{certify, commands, revoke, revoke_all, rotate, under_load, wait_until_settled};
use vault::Vault;
use wire::{To, Wire};

/// One key set for each kind of key. Of RSA one will do: the code is the same.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Rs256(RsaBits::B2048),
    Algorithm::Es256,
    Algorithm::Es384,
    Algorithm::Es512,
    Algorithm::EdDsa,
    Algorithm::MlDsa65,
];

/// Bearer tokens: of a caller who may do everything, and of one who may only read.
const TOKEN: &str = "jwksd_EGUWe7m9lqrhYRkFWZZnt4n8C5Ww2qSx0Zfv1tV4mVk";
const READER: &str = "jwksd_8Tq4nM0VYI3xw7pS2kCwA1uJ6bD9eHfRzLmXoGhQvNs";

const CONFIG: &str = r#"
[store]
path = "data/store"
master_key = "data/master.key"

[public]
listen = "127.0.0.1:0"
base_url = "http://127.0.0.1:8080"
root = "second"

[internal]
listen = ["unix:data/sign.sock", "127.0.0.1:0"]

[admin]
listen = ["unix:data/admin.sock", "127.0.0.1:0"]

[metrics]
listen = "unix:data/metrics.sock"

[[callers]]
name = "local"
uid = "self"
grants = [{ keyset = "*", actions = ["sign-token", "read", "rotate", "revoke", "import", "import-trust", "operate"] }]

[keysets.second]    # it waits for a key for ever
algorithm = "ES256"
rotate = "manual"
issuer = "second"
max_token_ttl = "1h"
first_key = "import"
"#;

#[test]
fn no_secret_stays_in_memory_after_its_key_has_ended() {
    let place = place();
    let daemon = place.start();
    let wire = Wire::to(&place, &daemon);
    let mut vault = Vault::default();
    let mut check = |open: &[&str], what: &str| {
        vault.take(&place);
        memory_holds(&vault, &daemon, &wire, open, what)
    };

    under_load(&wire, || ());
    if let Err(error) = check(&["active"], "after the first start") {
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
        let words = "\n*** NOT CHECKED: what stays in memory. This needs the rights of root. ***\n";
        std::io::stderr().write_all(words.as_bytes()).unwrap();
        return;
    }
    each_set(|set| certify(&wire, set, "pending"));
    check(&["active"], "after the standby certified itself").unwrap();
    // A standby is opened a minute before it activates.
    let soon = (SystemClock.wall() + Duration::from_secs(50)).to_string();
    each_set(|set| rotate(&wire, set, &json!({"at": soon})));
    check(&["active", "pending"], "with a standby that is about to sign").unwrap();
    each_set(|set| revoke(&wire, set, "pending"));
    check(&["active"], "after the standby was replaced").unwrap();
    under_load(&wire, || each_set(|set| rotate(&wire, set, &json!({"now": true}))));
    check(&["active"], "after a rotation").unwrap();
    under_load(&wire, || each_set(|set| revoke(&wire, set, "active")));
    check(&["active"], "after a revocation").unwrap();
    under_load(&wire, || imports::each(&wire));
    check(&["active"], "after an import").unwrap();
    under_load(&wire, || imports::each_set(|set| rotate(&wire, set, &json!({"now": true}))));
    check(&["active"], "with imported keys that sign").unwrap();
    under_load(&wire, || imports::each_set(|set| revoke(&wire, set, "active")));
    check(&["active"], "after imported keys were revoked").unwrap();
    end(&place, daemon);

    // Another start, which opens what is stored.
    let daemon = place.start_as(place.command(&["serve"]));
    let wire = Wire::to(&place, &daemon);
    let mut check = |open: &[&str], what: &str| {
        vault.take(&place);
        memory_holds(&vault, &daemon, &wire, open, what).unwrap();
    };
    under_load(&wire, || ());
    check(&["active"], "after another start");
    under_load(&wire, || each_set(|set| revoke_all(&wire, set)));
    check(&["active"], "after a revocation of all keys");
    place.write("config.toml", CONFIG);
    wire.ask(To::Admin, "POST", "/v1/reload", "").ok();
    check(&[], "after the key sets were removed");
}

#[test]
fn no_secret_is_ever_shown() {
    let place = place();
    let mut vault = Vault::default();
    let mut shown = Vec::new();

    let mut command = place.command(&["serve", "--init"]);
    command.env("RUST_LOG", "trace");
    let daemon = place.start_as(command);
    let wire = Wire::to(&place, &daemon);
    vault.take(&place);
    each_set(|set| {
        wire.ask(To::Public, "GET", &format!("/{set}/.well-known/jwks.json"), "").ok();
    });
    errors::provoke(&place, &wire);
    under_load(&wire, || each_set(|set| rotate(&wire, set, &json!({"now": true}))));
    vault.take(&place);
    under_load(&wire, || each_set(|set| revoke(&wire, set, "active")));
    vault.take(&place);
    under_load(&wire, || each_set(|set| revoke_all(&wire, set)));
    vault.take(&place);
    imports::each(&wire);
    vault.take(&place);
    imports::provoke(&wire);
    shown.extend(commands(&place));
    for path in ["/metrics", "/readyz"] {
        assert_eq!(wire.ask(To::Metrics, "GET", path, "").status, 200);
    }
    let log = end(&place, daemon);
    assert!(log.contains("TRACE"), "the log does not tell all");
    shown.extend(log.bytes().chain(wire.heard()));

    let daemon = errors::start_with_limits(&place);
    let wire = Wire::to(&place, &daemon);
    shown.extend(errors::provoke_with_a_full_disk(&place, &daemon, &wire, &mut vault).bytes());
    vault.take(&place);
    shown.extend(end(&place, daemon).bytes().chain(wire.heard()));
    shown.extend(place.read("data/audit.jsonl").bytes());

    errors::all_were_seen(&shown);
    shows_nothing(&vault, &shown);
}

/// A folder with a configuration of one key set for each algorithm.
fn place() -> Place {
    let place = Place::new();
    let mut text = CONFIG.to_owned();
    for algorithm in ALGORITHMS {
        let (set, alg) = (set_of(algorithm), algorithm.jose_name());
        text += &format!("\n[keysets.{set}]\nalgorithm = \"{alg}\"\nrotate = \"manual\"\n");
        text += &format!("issuer = \"{set}\"\nmax_token_ttl = \"1h\"\n");
        // A wait of two seconds.
        text += "jwks_max_age = \"1s\"\nverifier_cache = \"1s\"\nclock_skew = \"0s\"\n";
    }
    place.write(
        "config.toml",
        &text.replacen("[keysets.second]", &(errors::callers() + "\n[keysets.second]"), 1),
    );
    place
}

fn set_of(algorithm: Algorithm) -> String {
    algorithm.to_string().to_lowercase()
}

fn each_set(act: impl Fn(&str)) {
    for algorithm in ALGORITHMS {
        act(&set_of(algorithm));
    }
}

/// The process holds the secrets of the keys in the states `open`, and no other.
fn memory_holds(
    vault: &Vault,
    daemon: &Daemon,
    wire: &Wire,
    open: &[&str],
    what: &str,
) -> std::io::Result<()> {
    wait_until_settled(wire);
    let (mut owners, mut needles) = (Vec::new(), Vec::new());
    for (kid, known) in &vault.0 {
        for (index, part) in known.parts.iter().enumerate() {
            for needle in bytes::in_memory(part) {
                owners.push((kid, index));
                needles.push(needle);
            }
        }
    }
    let expected: BTreeSet<String> = open_keys(wire, open);
    // The last ring that had the key may be in use for a moment yet.
    let mut finds = BTreeSet::new();
    for _ in 0..10 {
        finds = memory::search(daemon.pid(), &needles)?;
        let found: BTreeSet<String> =
            finds.iter().map(|find| owners[find.needle].0.clone()).collect();
        if found == expected {
            return Ok(());
        }
    }
    let told: Vec<_> = finds
        .iter()
        .map(|find| (vault.describe(owners[find.needle].0), owners[find.needle].1, find))
        .collect();
    panic!("{what}: expected {expected:?}, found key, part, place:\n{told:#?}");
}

/// The kids of all keys in these states.
fn open_keys(wire: &Wire, open: &[&str]) -> BTreeSet<String> {
    let list = wire.ask(To::Admin, "GET", "/v1/keysets", "").ok();
    let sets = list["keysets"].as_array().unwrap().iter();
    let keys = sets.flat_map(|set| set["keys"].as_array().unwrap());
    let open = keys.filter(|key| open.contains(&key["state"].as_str().unwrap()));
    open.map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// Ends a daemon; returns all that it printed and logged.
fn end(place: &Place, daemon: Daemon) -> String {
    assert_eq!(daemon.end(Signal::TERM).code(), Some(0));
    place.read("serve.out") + &place.read("serve.err")
}

/// Nothing in `shown` is a secret in any form.
fn shows_nothing(vault: &Vault, shown: &[u8]) {
    let mut secrets = vec![("a bearer token", TOKEN.into()), ("a bearer token", READER.into())];
    for (kid, known) in &vault.0 {
        secrets.push((kid, known.pkcs8.clone()));
        secrets.extend(known.parts.iter().map(|part| (kid.as_str(), part.clone())));
    }
    let needles: Vec<_> = secrets
        .iter()
        .flat_map(|(what, secret)| bytes::in_text(secret).into_iter().map(move |text| (what, text)))
        .collect();
    let searcher = AhoCorasick::new(needles.iter().map(|(_, text)| text)).unwrap();
    let found: BTreeSet<_> =
        searcher.find_iter(shown).map(|hit| needles[hit.pattern().as_usize()].0).collect();
    assert!(found.is_empty(), "shown: secrets of {found:?}");

    // The search would have found them: it finds the public halves.
    each_set(|set| {
        let mut keys = vault.0.values().filter(|known| known.keyset == set);
        let is_shown = |part: &Vec<u8>| {
            let searcher = AhoCorasick::new(bytes::in_text(part)).unwrap();
            searcher.find(shown).is_some()
        };
        assert!(keys.any(|known| known.public.iter().any(is_shown)), "no public key of {set}");
    });
}
