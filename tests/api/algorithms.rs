//! Every algorithm through the whole daemon, and from one to another.

use jwksd::api::{Code, KeyState, RotateResponse};
use jwksd_keystore::algorithm::{Algorithm, Family, RsaBits};
use serde_json::{Value, json};

use crate::app::{CALLERS, KEYSETS, PUBLISH_AHEAD, TestApp};
use crate::token::{parts, verifies, verifies_at};

/// One of each name. The sizes of RSA keys are made and signed with by the same code, so the
/// larger ones, which take long to make, come once each.
pub(crate) fn algorithms() -> impl Iterator<Item = Algorithm> {
    let large = [Algorithm::Rs384(RsaBits::B3072), Algorithm::Ps512(RsaBits::B4096)];
    Algorithm::ALL.into_iter().filter(move |algorithm| match algorithm.family() {
        Family::Rsa(_, bits) => bits == RsaBits::B2048 || large.contains(algorithm),
        Family::Ec(_) | Family::Ed25519 | Family::MlDsa(_) => true,
    })
}

pub(crate) fn name(algorithm: Algorithm) -> String {
    algorithm.to_string().to_lowercase()
}

/// The usual key set, and one for each algorithm.
pub(crate) fn keysets() -> String {
    let table = |algorithm: Algorithm| {
        let (name, alg) = (name(algorithm), algorithm.jose_name());
        let size = match algorithm.family() {
            Family::Rsa(_, bits) => format!("rsa_bits = {}", bits.as_u32()),
            Family::Ec(_) | Family::Ed25519 | Family::MlDsa(_) => String::new(),
        };
        format!(
            "[keysets.{name}]\nalgorithm = \"{alg}\"\n{size}\nrotate = \"manual\"\n\
             issuer = \"http://127.0.0.1:8080/{name}\"\nmax_token_ttl = \"1h\"\n"
        )
    };
    KEYSETS.to_owned() + &algorithms().map(table).collect::<String>()
}

#[actix_web::test]
async fn every_algorithm_signs_and_rotates_and_all_its_tokens_verify() {
    let app = TestApp::with(&keysets(), CALLERS).await;
    for algorithm in algorithms() {
        let keyset = name(algorithm);
        let jwks = format!("/{keyset}/.well-known/jwks.json");
        let before = app.sign(&keyset).await;
        let header = json!({"alg": algorithm.jose_name(), "typ": "JWT", "kid": before.kid});
        assert_eq!(parts(&before.token).header, header);
        assert!(verifies_at(&app, &jwks, &before.token).await, "{algorithm}");

        let path = format!("/v1/keysets/{keyset}/rotate");
        let ask = json!({"expect_active": before.kid, "now": true});
        let _: RotateResponse = app.admin_post(&path, ask).await.unwrap();
        app.settle().await;
        let after = app.sign(&keyset).await;
        assert_ne!(after.kid, before.kid, "{algorithm}");
        for token in [before.token, after.token] {
            assert!(verifies_at(&app, &jwks, &token).await, "{algorithm}");
            // What a header of 8 KiB, the default of many servers, still takes.
            assert!(token.len() < 7 * 1024, "{algorithm}: {} bytes", token.len());
        }
        let discovery = app.get(&format!("/{keyset}/.well-known/openid-configuration")).await;
        let supported = &discovery.json()["id_token_signing_alg_values_supported"];
        assert_eq!(*supported, json!([algorithm.jose_name()]));
    }
}

/// A change within one `kty`: the old keys go on until the new one has waited.
#[actix_web::test]
async fn another_algorithm_of_the_same_key_type_takes_over_without_a_refused_token() {
    let changes = [
        ("RS256", "PS256"),
        ("PS512", "RS384"),
        ("ES256", "ES384"),
        ("ES384", "ES512"),
        ("ML-DSA-44", "ML-DSA-65"),
    ];
    for (old, new) in changes {
        let app = TestApp::with(&KEYSETS.replace("ES256", old), CALLERS).await;
        app.configure(&KEYSETS.replace("ES256", new), CALLERS);
        let _: Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
        app.settle().await;
        let first = app.sign("default").await;
        assert_eq!(parts(&first.token).header["alg"], old);
        let discovery = app.get("/.well-known/openid-configuration").await.json();
        assert_eq!(discovery["id_token_signing_alg_values_supported"], json!([old, new]));

        app.advance(PUBLISH_AHEAD).await;
        let standby = app.key(KeyState::Pending).await;
        assert_eq!(standby.algorithm.trim_end_matches("-2048"), new);
        let active = app.kid(KeyState::Active).await;
        let old_token = app.sign("default").await.token;
        app.rotate(json!({"expect_active": active})).await.unwrap();
        let token = app.sign("default").await.token;
        assert_eq!(parts(&token).header["alg"], new);
        for token in [old_token, token] {
            assert!(verifies(&app, &token).await, "{old} to {new}");
        }
    }
}

#[actix_web::test]
async fn an_algorithm_of_another_key_type_is_refused() {
    let app = TestApp::start().await;
    for other in ["PS256", "EdDSA", "ML-DSA-44"] {
        app.configure(&KEYSETS.replace("ES256", other), CALLERS);
        let problem = app.admin_post::<Value>("/v1/reload", json!({})).await.unwrap_err();
        assert_eq!(problem.code, Code::InvalidConfig, "{other}");
        assert!(problem.detail.contains("new key set"), "{other}: {}", problem.detail);
    }
    assert_eq!(parts(&app.sign("default").await.token).header["alg"], "ES256");
}

#[actix_web::test]
async fn the_secret_of_a_key_that_ended_does_not_wait_for_the_next_standby_of_rsa() {
    let app = TestApp::with(&KEYSETS.replace("ES256", "RS256"), CALLERS).await;
    app.settle().await;
    let active = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    app.settle().await;
    let lines = app.audit();
    let rotated = lines.iter().position(|line| line["action"] == "rotate").unwrap();
    let done = |line: &&Value| line["action"] == "schedule" && line["decision"] == "done";
    let mut commits = lines[rotated..].iter().filter(done).map(|line| &line["keys"]);
    assert_eq!(commits.next().unwrap(), &json!([{"kid": active, "event": "ended"}]));
    assert_eq!(commits.next().unwrap()[0]["event"], "created");
}
