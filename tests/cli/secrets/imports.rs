//! Keys that are brought, in files of several forms, and those that are refused.

use std::time::Duration;

use jwksd::clock::{Clock, SystemClock};
use jwksd_keystore::algorithm::{Algorithm, RsaBits};
use jwksd_keystore::crypto;
use jwksd_keystore::jwk::PublicJwk;
use serde_json::{Value, json};

use super::set_of;
use super::wire::{Answer, To, Wire};

const PASSPHRASE: &str = "a test passphrase, not a secret";

/// For each kind of key that can be brought, a file of another form.
const FILES: [(Algorithm, &str); 5] = [
    (Algorithm::Es256, "taken/p256.encrypted.openssh.pem"),
    (Algorithm::Es384, "taken/p384.sec1.pem"),
    (Algorithm::Es512, "taken/p521.jwk"),
    (Algorithm::EdDsa, "taken/ed25519.encrypted.pkcs8.pem"),
    // Last, so that nothing is read after it in the same memory: most of it is reckoned with.
    (Algorithm::Rs256(RsaBits::B2048), "taken/rsa.encrypted.aes256.pkcs1.pem"),
];

pub(super) fn each_set(act: impl Fn(&str)) {
    for (algorithm, _) in FILES {
        act(&set_of(algorithm));
    }
}

/// Brings each of them, as the standby of its set.
pub(super) fn each(wire: &Wire) {
    for (algorithm, name) in FILES {
        let body = json!({"key": file(name), "passphrase": PASSPHRASE});
        let answer = import(wire, &set_of(algorithm), &body).ok();
        assert_eq!(answer["state"], "pending", "{answer}");
    }
}

/// What is refused of key files.
pub(super) fn provoke(wire: &Wire) {
    let (p256, set) = (file("taken/p256.encrypted.openssh.pem"), set_of(Algorithm::Es256));
    let refused = |body: Value, code: &str| import(wire, &set, &body).is_problem(code);
    refused(json!({"key": file("refused/rsa1024.pem")}), "invalid_key");
    refused(json!({"key": file("taken/p384.pkcs8.pem")}), "invalid_key");
    refused(json!({"key": p256}), "passphrase_required");
    refused(json!({"key": p256, "passphrase": "wrong"}), "wrong_passphrase");
    refused(json!({"key": p256, "passphrase": PASSPHRASE, "kid": "other"}), "key_used");
    // The file where something else belongs, and a passphrase that is none.
    refused(json!({"key": p256, "force": file("taken/p256.pkcs8.pem")}), "invalid_request");
    refused(json!({"key": p256, "kid": file("taken/p256.pkcs8.pem")}), "invalid_request");
    refused(serde_json::from_str(&file("taken/p256.jwk")).unwrap(), "invalid_request");
    refused(json!({"key": p256, "passphrase": [PASSPHRASE]}), "invalid_request");
    fill(wire, &set);
}

/// Trusts keys until verifiers would not read the JWK Set, then takes them out again.
fn fill(wire: &Wire, set: &str) {
    let kids = (0..).map(|number| format!("{number:a<128}"));
    let mut taken = Vec::new();
    for kid in kids {
        let (algorithm, public) = (Algorithm::Es256, crypto::generate(Algorithm::Es256).unwrap());
        let jwk = PublicJwk { kid: kid.parse().unwrap(), algorithm, public: public.public };
        let key = serde_json::to_string(&jwk).unwrap();
        let until = (SystemClock.wall() + Duration::from_hours(1)).to_string();
        let answer = import(wire, set, &json!({"key": key, "verify_only_until": until}));
        if answer.status != 200 {
            answer.is_problem("jwk_set_full");
            break;
        }
        taken.push(kid);
    }
    for kid in taken {
        wire.ask(To::Admin, "POST", &format!("/v1/keysets/{set}/keys/{kid}/retire"), "").ok();
    }
}

fn import(wire: &Wire, set: &str, body: &Value) -> Answer {
    wire.ask(To::Admin, "POST", &format!("/v1/keysets/{set}/import"), &body.to_string())
}

/// A key file of `keystore/src/import/test_keys`.
fn file(name: &str) -> String {
    let folder = format!("{}/keystore/src/import/test_keys", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(format!("{folder}/{name}")).unwrap()
}
