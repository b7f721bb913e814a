//! Keys that admins bring: to sign with, and to verify with alone.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jwksd::api::{
    Code, ImportResponse, KeyOrigin, KeyState, Problem, RetireResponse, RevokeResponse,
    RotateResponse,
};
use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::crypto::{self, SigningKey};
use jwksd_keystore::import::{self, Passphrase};
use jwksd_keystore::jwk::PublicJwk;
use jwksd_keystore::store::CommitFault;
use serde_json::{Value, json};

use crate::app::{CALLERS, DAY, HOUR, KEYSETS, PUBLISH_AHEAD, START, TestApp, To, caller_of};
use crate::token::verifies;

const PATH: &str = "/v1/keysets/default/import";
const PASSPHRASE: &str = "a test passphrase, not a secret";

/// A key file of `keystore/src/import/test_keys`.
fn file(name: &str) -> String {
    let folder = format!("{}/keystore/src/import/test_keys", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(format!("{folder}/{name}")).unwrap()
}

pub(crate) fn p256() -> String {
    file("taken/p256.pkcs8.pem")
}

/// The thumbprint of a key file's key.
fn thumbprint(file: &str) -> String {
    let passphrase = Passphrase::new(PASSPHRASE.as_bytes().to_vec().into());
    let key = import::read(file.as_bytes(), Some(&passphrase)).unwrap();
    key.thumbprint().as_str().to_owned()
}

/// A fresh public key as a JWK.
pub(crate) fn fresh(kid: &str) -> String {
    let pair = crypto::generate(Algorithm::Es256).unwrap();
    let kid = kid.parse().unwrap();
    let jwk = PublicJwk { kid, algorithm: Algorithm::Es256, public: pair.public };
    serde_json::to_string(&jwk).unwrap()
}

/// A token of another issuer, signed with a key file.
fn foreign_token(file: &str, algorithm: Algorithm, kid: &str) -> String {
    let pair = import::read(file.as_bytes(), None).unwrap().into_pair().unwrap();
    let header = json!({"alg": algorithm.jose_name(), "kid": kid}).to_string();
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(br#"{"sub":"1"}"#));
    let key = SigningKey::new(algorithm, &pair.secret).unwrap();
    let signature = key.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", encode(&signature))
}

impl TestApp {
    async fn import(&self, body: Value) -> Result<ImportResponse, Problem> {
        let answer = self.admin_post(PATH, body).await;
        self.settle().await;
        answer
    }

    async fn refused(&self, body: Value) -> Problem {
        self.import(body).await.unwrap_err()
    }

    /// The decisions in the audit about an action, with what was said.
    fn decisions(&self, action: &str) -> Vec<(String, String)> {
        let lines = self.audit().into_iter().filter(|line| line["action"] == action);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        lines.map(|line| (text(&line["decision"]), text(&line["reason"]))).collect()
    }
}

async fn waiting() -> TestApp {
    let keysets = KEYSETS.replace("rotate =", "first_key = \"import\"\nrotate =");
    TestApp::with(&keysets, CALLERS).await
}

#[actix_web::test]
async fn a_set_that_waits_for_its_first_key_signs_with_it_at_once() {
    let mut app = waiting().await;
    app.restart_after(DAY).await;
    let body = json!({"claims": {}, "ttl": 60});
    let problem = app.try_sign("default", body).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (503, Code::NoActiveKey));
    let trusted = json!({"key": fresh("a"), "verify_only_until": "2026-12-24T03:00:00Z"});
    assert_eq!(app.refused(trusted).await.code, Code::NoActiveKey);

    let answer = app.import(json!({"key": p256()})).await.unwrap();
    assert_eq!((answer.number, answer.state, answer.already), (0, KeyState::Active, false));
    assert_eq!(answer.kid.as_str(), thumbprint(&p256()));
    assert_eq!(answer.activates, Some((START + DAY).to_string()));
    let token = app.sign("default").await;
    assert_eq!(token.kid, answer.kid);
    assert!(verifies(&app, &token.token).await);
    assert_eq!(app.key(KeyState::Active).await.origin, KeyOrigin::Imported);
    // Its successor is made here, and takes over when the schedule says.
    let standby = app.key(KeyState::Pending).await;
    assert_eq!(standby.origin, KeyOrigin::Generated);
    app.restart_after(HOUR).await;
    assert_eq!(app.sign("default").await.kid, answer.kid);
    app.advance(9 * DAY).await;
    assert_eq!(app.sign("default").await.kid, standby.kid);
    assert!(verifies(&app, &token.token).await);
}

#[actix_web::test]
async fn an_imported_standby_is_published_waits_and_rotates() {
    let mut app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.advance(DAY).await;
    let body = json!({"key": p256(), "kid": "main-2026"});
    let answer = app.import(body.clone()).await.unwrap();
    assert_eq!((answer.number, answer.state), (2, KeyState::Pending));
    assert_eq!((answer.kid.as_str(), answer.algorithm.as_str()), ("main-2026", "ES256"));
    assert_eq!(answer.activates.as_deref(), Some("2026-12-01T03:00:00Z"));
    assert_eq!(answer.replaced, [standby.parse().unwrap()]);
    assert_eq!(app.served_kids().await, [active.as_str(), "main-2026"]);
    // A retry, whatever became of the first try.
    let again = app.import(body).await.unwrap();
    assert_eq!((again.already, again.number, again.activates), (true, 2, answer.activates));

    app.restart_after(HOUR).await;
    let plan: RotateResponse = app.rotate(json!({"expect_active": active})).await.unwrap();
    // The hour in which it was not served does not count.
    let waited = START + DAY + PUBLISH_AHEAD + HOUR;
    assert_eq!((plan.to.as_str(), plan.activates), ("main-2026", Some(waited.to_string())));
    app.advance(PUBLISH_AHEAD).await;
    let token = app.sign("default").await;
    assert_eq!(token.kid.as_str(), "main-2026");
    assert!(verifies(&app, &token.token).await);
    let told = app.decisions("import");
    let order: Vec<&str> = told.iter().map(|(decision, _)| decision.as_str()).collect();
    assert_eq!(order, ["allowed", "intent", "done", "allowed"]);
    assert!(told[2].1.contains(&format!("{standby} replaced before it signed")), "{told:?}");
    assert!(told[2].1.contains("import and publish main-2026"), "{told:?}");
}

#[actix_web::test]
async fn an_imported_standby_keeps_what_an_admin_planned() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    let at = "2026-12-20T03:00:00Z";
    let planned = json!({"expect_active": active, "at": at});
    app.rotate(planned.clone()).await.unwrap();
    let answer = app.import(json!({"key": p256()})).await.unwrap();
    assert_eq!(answer.activates.as_deref(), Some(at));
    let again = app.rotate(planned).await.unwrap();
    assert_eq!((again.already, again.to), (true, answer.kid));
}

#[actix_web::test]
async fn a_trusted_key_verifies_tokens_of_another_issuer_until_its_end() {
    let mut app = TestApp::start().await;
    let until = "2026-12-24T03:00:00Z";
    let token = foreign_token(&p256(), Algorithm::Es256, "old-issuer");
    assert!(!verifies(&app, &token).await);
    let body = json!({"key": p256(), "kid": "old-issuer", "verify_only_until": until});
    let answer = app.import(body.clone()).await.unwrap();
    assert_eq!((answer.number, answer.state), (2, KeyState::VerifyOnly));
    assert_eq!((answer.activates, answer.retires.as_deref()), (None, Some(until)));
    assert!(verifies(&app, &token).await);
    let shown = app.key(KeyState::VerifyOnly).await;
    assert_eq!((shown.origin, shown.ended), (KeyOrigin::Trusted, None));
    assert!(app.import(body).await.unwrap().already);

    app.restart_after(HOUR).await;
    app.advance(9 * DAY).await;
    assert!(verifies(&app, &token).await, "a rotation is nothing to it");
    // Longer, then shorter.
    let moved =
        |until: &str| json!({"key": p256(), "kid": "old-issuer", "verify_only_until": until});
    let longer = app.import(moved("2026-12-30T03:00:00Z")).await.unwrap();
    assert_eq!((longer.already, longer.retires.as_deref()), (false, Some("2026-12-30T03:00:00Z")));
    app.import(moved("2026-12-12T03:00:00Z")).await.unwrap();
    app.advance(10 * DAY + 22 * HOUR).await;
    assert!(verifies(&app, &token).await);
    app.advance(HOUR).await;
    assert!(!verifies(&app, &token).await);
    let keys = app.show("default").await.keys;
    let left = keys.iter().find(|key| key.kid.as_str() == "old-issuer").unwrap();
    assert_eq!(
        (left.state, left.left.as_deref()),
        (KeyState::Retired, Some("2026-12-12T03:00:00Z"))
    );
}

#[actix_web::test]
async fn a_trusted_key_can_be_taken_out_before_its_end() {
    let app = TestApp::start().await;
    let until = "2026-12-24T03:00:00Z";
    for kid in ["a", "b"] {
        let body = json!({"key": fresh(kid), "verify_only_until": until});
        assert_eq!(app.import(body).await.unwrap().kid.as_str(), kid, "the kid of its JWK");
    }
    let path = "/v1/keysets/default/keys/a/retire";
    let retired: RetireResponse = app.admin_post(path, json!({})).await.unwrap();
    assert_eq!(retired.cuts_off_until.as_deref(), Some(until));
    let revoked: RevokeResponse = app.revoke("b").await.unwrap();
    assert_eq!(revoked.active.unwrap().as_str(), app.kid(KeyState::Active).await);
    let keys = app.show("default").await.keys;
    let state = |kid: &str| keys.iter().find(|key| key.kid.as_str() == kid).unwrap().state;
    assert_eq!((state("a"), state("b")), (KeyState::Retired, KeyState::Revoked));
    assert_eq!(app.served_kids().await.len(), 2);
}

#[actix_web::test]
async fn a_key_is_trusted_for_at_most_400_days() {
    let app = TestApp::start().await;
    for until in ["2026-11-22T03:00:00Z", "1969-01-01T00:00:00Z", "2027-12-27T03:00:00.001Z"] {
        let body = json!({"key": fresh("a"), "verify_only_until": until});
        let problem = app.refused(body).await;
        assert_eq!((problem.status, problem.code), (400, Code::InvalidRequest), "{until}");
        assert!(problem.detail.contains("not after 2027-12-27T03:00:00Z"), "{}", problem.detail);
    }
    let body = json!({"key": fresh("a"), "verify_only_until": "2027-12-27T03:00:00Z"});
    app.import(body).await.unwrap();
}

#[actix_web::test]
async fn an_encrypted_key_wants_its_passphrase() {
    let app = TestApp::start().await;
    for name in ["p256.encrypted.pkcs8.pem", "p256.encrypted.openssh.pem"] {
        let key = file(&format!("taken/{name}"));
        let problem = app.refused(json!({"key": key})).await;
        assert_eq!((problem.status, problem.code), (400, Code::PassphraseRequired), "{name}");
        let problem = app.refused(json!({"key": key, "passphrase": "hunter2"})).await;
        assert_eq!((problem.status, problem.code), (400, Code::WrongPassphrase), "{name}");
        let answer = app.import(json!({"key": key, "passphrase": PASSPHRASE})).await.unwrap();
        assert_eq!(answer.kid.as_str(), thumbprint(&key));
    }
}

/// The file of a P-256 key whose halves are those of two keys.
fn mismatched() -> String {
    let mut jwk: Value = serde_json::from_str(&file("taken/p256.jwk")).unwrap();
    let other: Value = serde_json::from_str(&fresh("a")).unwrap();
    (jwk["x"], jwk["y"]) = (other["x"].clone(), other["y"].clone());
    jwk.to_string()
}

#[actix_web::test]
async fn a_weak_broken_or_mismatched_key_is_refused_with_the_reason_and_shown_nowhere() {
    let app = TestApp::start().await;
    let before = app.show("default").await;
    let jwk_for = |alg: &str| {
        let mut jwk: Value = serde_json::from_str(&file("taken/p256.jwk")).unwrap();
        jwk["alg"] = alg.into();
        jwk.to_string()
    };
    let refused = [
        (file("refused/rsa1024.pem"), "has 1024 bits, which is too weak"),
        (file("refused/rsa-exponent3.pem"), "is smaller than 65537"),
        (file("refused/explicit-curve.pem"), ""),
        (file("refused/secp256k1.pem"), "only P-256, P-384 and P-521"),
        (file("refused/certificate.pem"), "is a certificate"),
        (file("taken/rsa.pkcs8.pem"), "is RSA of 2048 bits, and ES256 takes another"),
        (file("taken/p384.pkcs8.pem"), "is on P-384, and ES256 takes another"),
        (file("taken/ed25519.pkcs8.pem"), "is Ed25519, and ES256 takes another"),
        (file("taken/p256.spki.pem"), "holds only a public key"),
        (jwk_for("ES384"), "says that its key is for ES384"),
        (mismatched(), "the public half in the file is not that of the private half"),
        (p256().replace("-----END", "----"), "the PEM block is damaged"),
        (p256()[..150].to_owned(), "the PEM block is damaged"),
        (String::new(), "the file is empty"),
        ("hunter2\n".repeat(4), "no key in a format"),
        (" ".repeat(65_537), "no key file that is read here has more than 65536"),
    ];
    let mut told = String::new();
    for (key, reason) in &refused {
        let problem = app.refused(json!({"key": key})).await;
        assert_eq!((problem.status, problem.code), (400, Code::InvalidKey), "{reason}");
        assert!(problem.detail.contains(reason), "{reason}: {}", problem.detail);
        told += &serde_json::to_string(&problem).unwrap();
    }
    assert_eq!(app.show("default").await, before);
    told += &std::fs::read_to_string(app.audit_path()).unwrap();
    for (key, _) in &refused {
        let lines = key.lines().map(str::trim).filter(|line| !line.starts_with("---"));
        for line in lines.filter(|line| line.len() > 6) {
            assert!(!told.contains(line), "{line}");
        }
    }
    let allowed = app.decisions("import").iter().all(|(decision, _)| decision == "allowed");
    assert!(allowed, "nothing was tried");
}

#[actix_web::test]
async fn an_rsa_key_of_another_size_is_for_verifiers_alone() {
    let keysets = KEYSETS.replace("\"ES256\"", "\"RS256\"\nrsa_bits = 3072");
    let app = TestApp::with(&keysets, CALLERS).await;
    let key = file("taken/rsa.pkcs8.pem");
    let problem = app.refused(json!({"key": key})).await;
    assert_eq!(problem.code, Code::InvalidKey);
    assert!(problem.detail.ends_with("set rsa_bits = 2048 in the key set"), "{}", problem.detail);
    let body = json!({"key": key, "verify_only_until": "2026-12-24T03:00:00Z"});
    let answer = app.import(body).await.unwrap();
    assert_eq!(answer.algorithm, "RS256-2048");
    let algorithm = Algorithm::named("RS256", jwksd_keystore::algorithm::RsaBits::B2048).unwrap();
    assert!(verifies(&app, &foreign_token(&key, algorithm, answer.kid.as_str())).await);
    let body = json!({"key": p256(), "verify_only_until": "2026-12-24T03:00:00Z"});
    assert_eq!(app.refused(body).await.code, Code::InvalidKey);
}

#[actix_web::test]
async fn a_key_or_kid_that_is_or_was_in_the_set_is_refused_with_which() {
    let app = TestApp::start().await;
    let until = "2026-12-24T03:00:00Z";
    let used = async |body: Value, reason: &str| {
        let problem = app.refused(body).await;
        assert_eq!((problem.status, problem.code), (409, Code::KeyUsed), "{reason}");
        assert!(problem.detail.contains(reason), "{reason}: {}", problem.detail);
    };
    let active = app.kid(KeyState::Active).await;
    app.import(json!({"key": p256(), "kid": "one"})).await.unwrap();
    used(json!({"key": p256(), "kid": "two"}), "in the key set already, as one").await;
    used(json!({"key": p256(), "kid": "one", "verify_only_until": until}), "already, as one").await;
    let other = |kid: &str| json!({"key": fresh("x"), "kid": kid, "verify_only_until": until});
    used(other("one"), "one is what another key in the key set is called").await;
    used(other(&active), "what another key in the key set is called").await;
    used(other(&thumbprint(&p256())), "what another key in the key set is called").await;
    let _: RevokeResponse = app.revoke("one").await.unwrap();
    used(json!({"key": p256()}), "was in the key set as one until 2026-11-22T03:00:00Z").await;
    used(other("one"), "what a key was called that left the key set").await;
    used(other(&thumbprint(&p256())), "what a key was called that left the key set").await;
}

#[actix_web::test]
async fn bringing_keys_takes_grants_of_its_own() {
    let until = "2026-12-24T03:00:00Z";
    let sign = || json!({"key": p256()});
    let trust = || json!({"key": fresh("a"), "verify_only_until": until});
    let others = r#""sign-token", "read", "rotate", "revoke", "operate""#;
    let app = TestApp::with(KEYSETS, &caller_of(others)).await;
    // Not even what is wrong with the body is told.
    for body in [sign(), trust(), json!({"key": "nonsense"}), json!({"force": 3}), json!([])] {
        let problem = app.refused(body).await;
        assert_eq!((problem.status, problem.code), (403, Code::NotAllowed));
    }
    let refusals = app.decisions("import");
    assert!(refusals.iter().all(|(decision, _)| decision == "refused"), "{refusals:?}");
    assert_eq!(refusals.len(), 5);
    let large = vec![b' '; 100_000];
    let answer = app.ask(To::Admin, hyper::Method::POST, PATH, &[], &large).await;
    assert_eq!(answer.problem().code, Code::NotAllowed);

    let app = TestApp::with(KEYSETS, &caller_of(r#""read", "import""#)).await;
    assert_eq!(app.refused(trust()).await.code, Code::NotAllowed);
    app.import(sign()).await.unwrap();
    let app = TestApp::with(KEYSETS, &caller_of(r#""read", "import-trust""#)).await;
    assert_eq!(app.refused(sign()).await.code, Code::NotAllowed);
    app.import(trust()).await.unwrap();
}

#[actix_web::test]
async fn a_body_that_is_wrong_is_refused_without_its_words() {
    let app = TestApp::start().await;
    let secret = "c2VjcmV0";
    for body in [
        json!({"key": p256(), "kid": format!("/{secret}")}),
        json!({"key": p256(), "force": secret}),
        json!({"key": p256(), "verify_only_until": secret}),
        json!({"key": p256(), "verify_only_until": "2026-12-24T03:00:00Z", "force": true}),
        json!({"kty": "EC", "d": secret}),
        json!(secret),
    ] {
        let problem = app.refused(body).await;
        assert_eq!((problem.status, problem.code), (400, Code::InvalidRequest));
        assert!(!problem.detail.contains(secret), "{}", problem.detail);
    }
    let large = format!(r#"{{"key":"{}"}}"#, "a".repeat(192 * 1024));
    let answer = app.ask(To::Admin, hyper::Method::POST, PATH, &[], large.as_bytes()).await;
    assert_eq!(answer.problem().code, Code::BodyTooLarge);
    let form = [(hyper::header::CONTENT_TYPE, "application/x-www-form-urlencoded")];
    let answer = app.ask(To::Admin, hyper::Method::POST, PATH, &form, b"{}").await;
    assert_eq!(answer.problem().code, Code::UnsupportedMediaType);
}

#[actix_web::test]
async fn no_more_key_files_are_read_at_once_than_there_is_room_for() {
    let app = TestApp::start().await;
    let administration = app.daemon.administration.clone();
    let room = administration.reading.try_acquire_many(2).unwrap();
    let problem = app.refused(json!({"key": p256()})).await;
    assert_eq!((problem.status, problem.code), (503, Code::Busy));
    drop(room);
    app.import(json!({"key": p256()})).await.unwrap();
}

#[actix_web::test]
async fn an_import_of_unknown_outcome_is_made_once() {
    for fault in [CommitFault::FailButPersist, CommitFault::FailUnknown] {
        let app = TestApp::start().await;
        app.rows.fail_next([fault]);
        let answer = app.import(json!({"key": p256()})).await.unwrap();
        assert_eq!(answer.state, KeyState::Pending, "{fault:?}");
        assert_eq!(app.kid(KeyState::Pending).await, answer.kid.as_str(), "{fault:?}");
        let imported = app.show("default").await.keys;
        let imported = imported.iter().filter(|key| key.origin == KeyOrigin::Imported);
        assert_eq!(imported.count(), 1, "{fault:?}");
    }
    let app = TestApp::start().await;
    let before = app.show("default").await;
    app.rows.fail_next([CommitFault::FailBefore]);
    assert_eq!(app.refused(json!({"key": p256()})).await.code, Code::StoreUnavailable);
    assert_eq!(app.show("default").await, before);
}

#[actix_web::test]
async fn a_set_takes_no_more_keys_than_verifiers_read() {
    let app = TestApp::start().await;
    let until = "2026-12-24T03:00:00Z";
    let mut warned = Vec::new();
    let problem = loop {
        let kid = format!("{:a<128}", warned.len());
        let body = json!({"key": fresh(&kid), "verify_only_until": until});
        match app.admin_post::<ImportResponse>(PATH, body).await {
            Ok(answer) => warned.push(!answer.warnings.is_empty()),
            Err(problem) => break problem,
        }
    };
    assert_eq!((problem.status, problem.code), (409, Code::JwkSetFull));
    assert!((150..200).contains(&warned.len()), "{}", warned.len());
    // One key signs, and tokens of three are no more than any verifier caches.
    assert_eq!(warned[..4], [false, false, true, true]);
    let length = app.get("/jwks.json").await.body.len();
    assert!((50_000..=51_200).contains(&length), "{length} bytes");
    let active = app.kid(KeyState::Active).await;
    assert_eq!(app.sign("default").await.kid.as_str(), active);
    // The keys that the set makes itself have room.
    app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    app.settle().await;
    app.key(KeyState::Pending).await;
    let length = app.get("/jwks.json").await.body.len();
    assert!(length <= 51_200, "{length} bytes");
}

#[actix_web::test]
async fn a_set_that_is_not_configured_takes_no_key() {
    let app = TestApp::start().await;
    let other = KEYSETS.replace("keysets.default", "keysets.other");
    app.configure(&format!("{other}\n"), CALLERS);
    app.edit("root = \"default\"", "root = \"other\"");
    let _: Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
    for body in [
        json!({"key": p256()}),
        json!({"key": p256(), "verify_only_until": "2026-12-24T03:00:00Z"}),
    ] {
        let problem = app.refused(body).await;
        assert_eq!((problem.status, problem.code), (409, Code::NotConfigured));
    }
    let problem = app.admin_post::<Value>("/v1/keysets/nobody/import", json!({"key": p256()}));
    assert_eq!(problem.await.unwrap_err().code, Code::UnknownKeyset);
}
