//! Public keys for verifiers that do not fetch a JWK Set.

use std::time::Duration;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, UnparsedPublicKey,
};
use hyper::Method;
use jwksd::api::{Code, ExportResponse, Key, KeyState, Problem};
use jwksd_keystore::algorithm::{Algorithm, Curve, Family};
use jwksd_keystore::crypto;
use jwksd_keystore::import;
use jwksd_keystore::jwk::PublicKey;
use jwksd_keystore::store::CommitFault;
use serde_json::{Value, json};
use x509_parser::certificate::X509Certificate;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::{Pem, parse_x509_pem};
use x509_parser::prelude::FromDer;

use crate::algorithms;
use crate::app::{CALLERS, DAY, HOUR, KEYSETS, START, TestApp, To, caller_of};

const MINUTE: Duration = Duration::from_mins(1);

/// All forms of one key.
const FORMATS: [&str; 5] = ["jwk", "pem", "openssh", "x509", "csr"];

async fn export_of(
    app: &TestApp,
    keyset: &str,
    kid: &str,
    request: Value,
) -> Result<ExportResponse, Problem> {
    app.admin_post(&format!("/v1/keysets/{keyset}/keys/{kid}/export"), request).await
}

async fn export(app: &TestApp, kid: &str, format: &str) -> Result<ExportResponse, Problem> {
    export_of(app, "default", kid, json!({"format": format})).await
}

/// Why an export in any of the forms is refused.
async fn refusals(app: &TestApp, kid: &str, formats: &[&str]) -> Vec<Code> {
    let mut codes = Vec::new();
    for format in formats {
        codes.push(export(app, kid, format).await.unwrap_err().code);
    }
    codes
}

async fn standby(app: &TestApp) -> Key {
    app.key(KeyState::Pending).await
}

/// The content of a PEM block with this label.
fn block(text: &str, label: &str) -> Pem {
    let (rest, block) = parse_x509_pem(text.as_bytes()).unwrap();
    assert!(rest.is_empty() && block.label == label && text.ends_with("-----\n"), "{text}");
    block
}

/// What the audit says of exports: who decided, about which key, and what else it says.
fn exports(app: &TestApp) -> Vec<(String, Value, String)> {
    let text = |line: &Value, name: &str| line[name].as_str().unwrap_or_default().to_owned();
    let lines = app.audit().into_iter().filter(|line| line["action"] == "export");
    lines.map(|l| (text(&l, "decision"), l["kid"].clone(), text(&l, "reason"))).collect()
}

#[actix_web::test]
async fn a_key_of_every_algorithm_is_had_in_every_form_that_there_is_of_it() {
    let app = TestApp::with(&algorithms::keysets(), CALLERS).await;
    for algorithm in algorithms::algorithms() {
        let keyset = algorithms::name(algorithm);
        let served = app.get(&format!("/{keyset}/.well-known/jwks.json")).await;
        for key in app.show(&keyset).await.keys {
            let kid = key.kid.as_str();
            let all = Forms::of(&app, &keyset, kid).await;
            assert!(String::from_utf8_lossy(&served.body).contains(all.jwk.trim_end()));
            let public: PublicKey = serde_json::from_str(&all.jwk).unwrap();
            all.are_of(algorithm, kid, &public);
        }
    }
}

/// What was exported of one key.
struct Forms {
    jwk: String,
    pem: String,
    openssh: Result<String, Problem>,
    certificate: String,
    request: String,
}

impl Forms {
    async fn of(app: &TestApp, keyset: &str, kid: &str) -> Self {
        let export = async |format| {
            let answer = export_of(app, keyset, kid, json!({"format": format})).await?;
            assert_eq!((answer.kid.as_str(), answer.keyset.as_str()), (kid, keyset));
            assert_eq!(answer.format, format);
            Ok(answer.text)
        };
        Self {
            jwk: export("jwk").await.unwrap(),
            pem: export("pem").await.unwrap(),
            openssh: export("openssh").await,
            certificate: export("x509").await.unwrap(),
            request: export("csr").await.unwrap(),
        }
    }

    fn are_of(&self, algorithm: Algorithm, kid: &str, public: &PublicKey) {
        let info = block(&self.pem, "PUBLIC KEY").contents;
        match (&self.openssh, algorithm.family()) {
            (Err(problem), Family::MlDsa(_)) => {
                assert_eq!(problem.code, Code::InvalidRequest);
                assert!(problem.detail.contains(algorithm.jose_name()), "{}", problem.detail);
            }
            (Ok(line), _) => {
                assert!(line.ends_with(&format!(" {kid}\n")), "{line}");
                for text in [line, &self.pem] {
                    let read = import::read(text.as_bytes(), None).unwrap();
                    assert_eq!(read.public(), public, "{algorithm}");
                }
            }
            (Err(problem), _) => panic!("{algorithm}: {problem:?}"),
        }
        let certificate = block(&self.certificate, "CERTIFICATE").contents;
        let (_, certificate) = X509Certificate::from_der(&certificate).unwrap();
        assert_eq!(certificate.public_key().raw, info, "{algorithm}");
        assert_eq!(certificate.subject().to_string(), format!("CN={kid}"));
        assert_eq!(certificate.issuer(), certificate.subject());
        assert!(certificate.basic_constraints().unwrap().is_some_and(|found| !found.value.ca));
        assert_eq!(certificate.key_usage().unwrap().unwrap().value.flags, 1);
        let request = block(&self.request, "CERTIFICATE REQUEST").contents;
        let (_, request) = X509CertificationRequest::from_der(&request).unwrap();
        let asked = &request.certification_request_info;
        assert_eq!(asked.subject.to_string(), format!("CN={kid}"));
        assert_eq!(asked.subject_pki.raw, info, "{algorithm}");
        for (signed, signature) in [
            (certificate.tbs_certificate.as_ref(), &certificate.signature_value),
            (asked.raw, &request.signature_value),
        ] {
            certifies(algorithm, public, signed, &signature.data);
        }
    }
}

/// X.509 wants signatures of ECDSA in another form than JOSE, and those of RSA are with PKCS #1 v1.5
/// here, whatever the set signs tokens with.
fn certifies(algorithm: Algorithm, public: &PublicKey, signed: &[u8], signature: &[u8]) {
    if let (PublicKey::Ec { x, y, .. }, Family::Ec(curve)) = (public, algorithm.family()) {
        let on_curve = match curve {
            Curve::P256 => &ECDSA_P256_SHA256_ASN1,
            Curve::P384 => &ECDSA_P384_SHA384_ASN1,
            Curve::P521 => &ECDSA_P521_SHA512_ASN1,
        };
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        UnparsedPublicKey::new(on_curve, point).verify(signed, signature).unwrap();
        return;
    }
    let algorithm = match algorithm {
        Algorithm::Ps256(bits) => Algorithm::Rs256(bits),
        Algorithm::Ps384(bits) => Algorithm::Rs384(bits),
        Algorithm::Ps512(bits) => Algorithm::Rs512(bits),
        other => other,
    };
    assert_eq!(crypto::verify(algorithm, public, signed, signature), Ok(()), "{algorithm}");
}

#[actix_web::test]
async fn the_jwk_set_is_exported_byte_for_byte_as_it_is_served() {
    let app = TestApp::start().await;
    let served = app.get("/.well-known/jwks.json").await.body;
    let exported = app.ask(To::Admin, Method::POST, "/v1/keysets/default/export", &[], b"").await;
    assert_eq!((exported.status.as_u16(), &exported.body), (200, &served));
    assert_eq!(exported.header("cache-control"), "no-store");
    // It is fetched anyway: no key of it has to stay for that.
    assert_eq!(standby(&app).await.exported, None);
    let unknown = app.admin_post::<Value>("/v1/keysets/none/export", json!({})).await.unwrap_err();
    assert_eq!(unknown.code, Code::UnknownKeyset);
}

#[actix_web::test]
async fn a_set_without_a_key_has_no_jwk_set() {
    let waiting = format!("{KEYSETS}first_key = \"import\"\n");
    let app = TestApp::with(&waiting, CALLERS).await;
    let nothing = app.admin_post::<Value>("/v1/keysets/default/export", json!({})).await;
    assert_eq!(nothing.unwrap_err().code, Code::NoActiveKey);
}

#[actix_web::test]
async fn a_certificate_says_what_was_asked_and_is_not_valid_before_its_key_was_published() {
    let app = TestApp::start().await;
    let kid = app.kid(KeyState::Active).await;
    let validity = async |request| {
        let text = export_of(&app, "default", &kid, request).await.unwrap().text;
        let der = block(&text, "CERTIFICATE").contents;
        let certificate = X509Certificate::from_der(&der).unwrap().1;
        let times = certificate.validity();
        let days =
            (times.not_after.timestamp() - i64::try_from(app.now().as_secs()).unwrap()) / 86_400;
        let subject = certificate.subject().to_string();
        (times.not_before.timestamp(), days, subject, certificate.raw_serial().to_vec())
    };
    let published = i64::try_from(START.as_secs()).unwrap();
    app.clock.advance(MINUTE);
    let (begins, days, subject, serial) = validity(json!({"format": "x509"})).await;
    assert_eq!((begins, days, subject), (published, 365, format!("CN={kid}")));
    app.clock.advance(HOUR);
    let asked = json!({"format": "x509", "subject": "Shop, E. U.", "days": 3650});
    let (begins, days, subject, other) = validity(asked).await;
    // A little earlier, for clocks that are behind.
    assert_eq!(begins, published + 3600 - 4 * 60);
    assert_eq!((days, subject.as_str()), (3650, "CN=Shop, E. U."));
    assert_ne!(serial, other);
    assert_eq!((serial.len(), other.len()), (17, 17));
}

#[actix_web::test]
async fn what_cannot_be_in_a_certificate_is_refused_with_the_reason() {
    let app = TestApp::start().await;
    let kid = app.kid(KeyState::Active).await;
    for (request, why) in [
        (json!({"format": "x509", "days": 0}), "1 to 3650"),
        (json!({"format": "x509", "days": 3651}), "1 to 3650"),
        (json!({"format": "x509", "days": 4_294_967_297_u64}), "1 to 3650"),
        (json!({"format": "csr", "subject": ""}), "printable"),
        (json!({"format": "csr", "subject": "a\nb"}), "printable"),
        (json!({"format": "csr", "subject": "a".repeat(65)}), "64"),
        (json!({"format": "csr", "days": 1}), "days"),
        (json!({"format": "pem", "subject": "a"}), "subject"),
        (json!({"format": "pkcs8"}), "pkcs8"),
        (json!({}), "format"),
    ] {
        let problem = export_of(&app, "default", &kid, request).await.unwrap_err();
        assert_eq!(problem.code, Code::InvalidRequest, "{problem:?}");
        assert!(problem.detail.contains(why), "no {why} in {}", problem.detail);
    }
    assert_eq!(exports(&app), []);
}

#[actix_web::test]
async fn that_a_standby_was_given_out_is_durable_before_the_answer_and_stays() {
    let mut app = TestApp::start().await;
    let before = standby(&app).await;
    assert_eq!((before.exported, before.in_place_by.clone()), (None, before.activates));
    let kid = before.kid.to_string();
    app.advance(HOUR).await;
    let noted = Some(app.now().to_string());
    let answer = export(&app, &kid, "pem").await.unwrap();
    assert_eq!((answer.state, &answer.exported), (KeyState::Pending, &noted));
    assert_eq!((&answer.in_place_by, &answer.signs_since), (&before.in_place_by, &None));
    // Only the first time is kept, through a crash too, and when it signs.
    let revision = app.show("default").await.revision;
    app.crash_and_restart_after(HOUR).await;
    for format in FORMATS {
        assert_eq!(export(&app, &kid, format).await.unwrap().exported, noted, "{format}");
    }
    let again = app.show("default").await;
    assert_eq!((again.keys[1].exported.clone(), again.revision), (noted.clone(), revision + 1));
    app.advance(10 * DAY).await;
    let active = app.key(KeyState::Active).await;
    assert_eq!((active.kid.as_str(), active.exported), (kid.as_str(), noted.clone()));
    let answer = export(&app, &kid, "pem").await.unwrap();
    assert_eq!((answer.state, answer.exported), (KeyState::Active, noted));
    assert_eq!((answer.in_place_by, answer.signs_since), (None, active.activates));
}

#[actix_web::test]
async fn a_standby_that_was_given_out_makes_way_for_an_import_only_by_force() {
    let app = TestApp::start().await;
    let kid = standby(&app).await.kid;
    export(&app, kid.as_str(), "pem").await.unwrap();
    let path = "/v1/keysets/default/import";
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/keystore/src/import/test_keys");
    let file = std::fs::read_to_string(format!("{folder}/taken/p256.pkcs8.pem")).unwrap();
    let refused = app.admin_post::<Value>(path, json!({"key": file})).await.unwrap_err();
    assert_eq!((refused.status, refused.code), (409, Code::StandbyExported));
    assert_eq!(standby(&app).await.kid, kid);
    let forced: Value = app.admin_post(path, json!({"key": file, "force": true})).await.unwrap();
    assert_eq!(forced["replaced"], json!([kid]));
}

#[actix_web::test]
async fn every_form_of_a_single_key_counts_as_given_out() {
    for format in FORMATS {
        let app = TestApp::start().await;
        let kid = standby(&app).await.kid;
        export(&app, kid.as_str(), format).await.unwrap();
        assert_eq!(standby(&app).await.exported, Some(START.to_string()), "{format}");
    }
}

#[actix_web::test]
async fn a_key_that_signs_is_given_out_without_a_commit() {
    let app = TestApp::start().await;
    let (kid, revision) = (app.kid(KeyState::Active).await, app.show("default").await.revision);
    for format in FORMATS {
        assert_eq!(export(&app, &kid, format).await.unwrap().exported, None, "{format}");
    }
    assert_eq!(app.show("default").await.revision, revision);
}

#[actix_web::test]
async fn without_the_note_a_standby_is_not_given_out() {
    let app = TestApp::start().await;
    let kid = standby(&app).await.kid.to_string();
    for format in FORMATS {
        app.rows.fail_next([CommitFault::FailBefore]);
        let problem = export(&app, &kid, format).await.unwrap_err();
        assert_eq!((problem.status, problem.code), (503, Code::StoreUnavailable), "{format}");
    }
    assert_eq!(standby(&app).await.exported, None);
    // A note of which it is not known whether it was made is looked for.
    app.rows.fail_next([CommitFault::FailButPersist]);
    assert!(export(&app, &kid, "pem").await.unwrap().exported.is_some());
    assert!(standby(&app).await.exported.is_some());
}

#[actix_web::test]
async fn without_an_audit_only_keys_that_are_no_news_are_given_out() {
    let mut app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.restart_with_a_full_audit().await;
    let unrecorded = [Code::AuditUnavailable; 5];
    assert_eq!(refusals(&app, &standby, &FORMATS).await, unrecorded);
    assert_eq!(refusals(&app, &active, &["x509", "csr"]).await, unrecorded[..2]);
    // As anyone can read them.
    for format in ["jwk", "pem", "openssh"] {
        export(&app, &active, format).await.unwrap();
    }
    assert_eq!(app.key(KeyState::Pending).await.exported, None);
}

#[actix_web::test]
async fn the_audit_has_every_export_and_every_note() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    let subject = json!({"format": "x509", "subject": "shop"});
    export_of(&app, "default", &active, subject).await.unwrap();
    export(&app, &standby, "pem").await.unwrap();
    let _: Value = app.admin_post("/v1/keysets/default/export", json!({})).await.unwrap();
    let note = format!("{standby} is exported");
    let line = |decision: &str, kid: Option<&str>, reason: &str| {
        (decision.to_owned(), kid.map_or(Value::Null, Value::from), reason.to_owned())
    };
    let wanted = [
        line("allowed", Some(&active), "as x509 of shop"),
        line("allowed", Some(&standby), "as pem"),
        line("intent", None, &note),
        line("done", None, &note),
        line("allowed", None, "as jwks"),
    ];
    assert_eq!(exports(&app), wanted);
}

#[actix_web::test]
async fn reading_is_enough_for_a_public_key_and_rotating_for_a_signature() {
    for (actions, refused) in [
        ("\"read\"", ["x509", "csr"].as_slice()),
        ("\"rotate\"", &["jwk", "pem", "openssh"]),
        (r#""sign-token", "revoke", "import", "import-trust", "operate""#, &FORMATS),
    ] {
        let app = TestApp::start().await;
        let kid = app.kid(KeyState::Pending).await;
        app.configure(KEYSETS, &caller_of(actions));
        app.daemon.administration.reload_unasked().unwrap();
        for format in FORMATS {
            match export(&app, &kid, format).await {
                Ok(_) => assert!(!refused.contains(&format), "{actions} allow {format}"),
                Err(problem) => {
                    assert_eq!(problem.code, Code::NotAllowed, "{actions}: {format}");
                    assert!(refused.contains(&format), "{actions} do not allow {format}");
                }
            }
        }
        let set = app.admin_post::<Value>("/v1/keysets/default/export", json!({})).await;
        assert_eq!(set.is_ok(), actions == "\"read\"", "{actions}");
        assert!(exports(&app).iter().any(|(decision, ..)| decision == "refused"), "{actions}");
    }
}

#[actix_web::test]
async fn what_must_not_be_put_anywhere_is_not_given_out() {
    let app = TestApp::start().await;
    let (first, second) = app.active_and_standby().await;
    let _: Value = app.revoke(&first).await.unwrap();
    let wrong = [Code::WrongState; 5];
    assert_eq!(refusals(&app, &first, &FORMATS).await, wrong);
    let active = app.kid(KeyState::Active).await;
    assert_eq!(active, second);
    app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    app.advance(2 * HOUR).await;
    assert_eq!(app.kid(KeyState::Retired).await, second);
    assert_eq!(refusals(&app, &second, &FORMATS).await, wrong);
    let why = export(&app, &second, "pem").await.unwrap_err().detail;
    assert!(why.contains("was retired"), "{why}");
    let unknown = [Code::UnknownKey; 5];
    assert_eq!(refusals(&app, "nobody", &FORMATS).await, unknown);
    let elsewhere = export_of(&app, "none", &second, json!({"format": "pem"})).await;
    assert_eq!(elsewhere.unwrap_err().code, Code::UnknownKeyset);
}

#[actix_web::test]
async fn a_key_that_only_verifies_is_given_out_but_signs_no_certificate() {
    let app = TestApp::start().await;
    let old = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": old, "now": true})).await.unwrap();
    let key = app.key(KeyState::VerifyOnly).await;
    for format in ["jwk", "pem", "openssh"] {
        let answer = export(&app, &old, format).await.unwrap();
        assert_eq!((answer.state, &answer.needed_until), (KeyState::VerifyOnly, &key.retires));
        assert_eq!((answer.in_place_by, answer.signs_since), (None, None));
    }
    assert_eq!(refusals(&app, &old, &["x509", "csr"]).await, [Code::WrongState; 2]);
    let why = export(&app, &old, "csr").await.unwrap_err().detail;
    assert!(why.contains("only verifies"), "{why}");
}

#[actix_web::test]
async fn a_set_that_left_the_configuration_gives_its_keys_and_signs_nothing() {
    let app = TestApp::start().await;
    let kid = app.kid(KeyState::Active).await;
    let other = KEYSETS.replace("keysets.default", "keysets.other");
    app.configure(&other, CALLERS);
    app.edit("root = \"default\"", "root = \"other\"");
    let _: Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
    app.settle().await;
    assert_eq!(export(&app, &kid, "pem").await.unwrap().state, KeyState::VerifyOnly);
    assert_eq!(refusals(&app, &kid, &["x509", "csr"]).await, [Code::WrongState; 2]);
    let pending = standby(&app).await.kid;
    let refused = refusals(&app, pending.as_str(), &["x509", "csr"]).await;
    assert_eq!(refused, [Code::NotConfigured; 2]);
    let set: Value = app.admin_post("/v1/keysets/default/export", json!({})).await.unwrap();
    assert!(set["keys"].as_array().unwrap().iter().any(|key| key["kid"] == kid.as_str()));
}

#[actix_web::test]
async fn a_key_whose_revocation_is_not_durable_yet_is_not_given_out() {
    let app = TestApp::start().await;
    let kid = app.kid(KeyState::Active).await;
    app.rows.fail_next([CommitFault::FailBefore]);
    let problem = app.revoke::<Value>(&kid).await.unwrap_err();
    assert_eq!(problem.code, Code::NotDurable);
    assert_eq!(refusals(&app, &kid, &FORMATS).await, [Code::WrongState; 5]);
}

#[actix_web::test]
async fn a_set_tells_until_when_keys_have_to_be_in_place_and_are_needed() {
    let app = TestApp::start().await;
    let set = app.show("default").await;
    let [active, standby] = set.keys.as_slice() else { panic!("{set:?}") };
    assert_eq!(set.standby.as_ref(), Some(&standby.kid));
    assert_eq!(standby.in_place_by.as_deref(), Some("2026-12-01T03:00:00Z"));
    assert_eq!((&standby.needed_until, &active.in_place_by), (&None, &None));
    // When the standby activates, its longest token was just signed: T + S.
    assert_eq!(active.needed_until.as_deref(), Some("2026-12-01T04:01:00Z"));

    app.advance(9 * DAY).await;
    let set = app.show("default").await;
    let [old, active, standby] = set.keys.as_slice() else { panic!("{set:?}") };
    assert_eq!((&old.needed_until, old.state), (&old.retires, KeyState::VerifyOnly));
    assert_eq!(old.needed_until.as_deref(), Some("2026-12-01T04:01:00Z"));
    assert_eq!((&active.in_place_by, active.state), (&None, KeyState::Active));
    assert_eq!(standby.in_place_by.as_deref(), Some("2027-01-01T03:00:00Z"));
    app.advance(2 * HOUR).await;
    let gone = app.key(KeyState::Retired).await;
    assert_eq!((gone.needed_until, gone.in_place_by), (None, None));
}

#[actix_web::test]
async fn where_no_rotation_is_planned_a_set_says_so() {
    let manual = KEYSETS.replace("0 3 1 * *", "manual");
    let app = TestApp::with(&manual, CALLERS).await;
    let set = app.show("default").await;
    assert_eq!(set.standby, Some(standby(&app).await.kid));
    assert!(set.keys.iter().all(|key| key.in_place_by.is_none() && key.needed_until.is_none()));
    let answer = export(&app, set.keys[1].kid.as_str(), "pem").await.unwrap();
    assert_eq!((answer.in_place_by, answer.exported), (None, Some(START.to_string())));
}
