//! The audit as part of the daemon: what it records, and what happens when it cannot.

use std::time::Duration;

use jwksd::api::{Code, KeyState, RevokeResponse, Status};
use jwksd::audit::verify::verify;
use serde_json::json;

use crate::app::TestApp;

/// Makes every write to the audit fail from the next start on, as a full disk does.
fn fill_the_disk(app: &TestApp) {
    let audit = app.audit_path().display().to_string();
    app.edit(&audit, "/dev/full");
}

#[actix_web::test]
async fn whatever_happens_the_chain_is_whole() {
    let mut app = TestApp::start().await;
    app.sign("default").await;
    let active = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    app.try_sign("none", json!({"claims": {}, "ttl": 1})).await.unwrap_err();
    app.restart_after(Duration::from_secs(1)).await;
    app.sign("default").await;
    let _: RevokeResponse = app.revoke(&active).await.unwrap();
    let report = verify(&app.audit_path(), Some(&app.master_keys)).unwrap();
    assert!(report.damage.is_empty() && report.notes.is_empty(), "{report:?}");
    // The revocation was synced before it was answered, and so were all lines before it.
    assert_eq!(report.authentic_to, report.last);
}

#[actix_web::test]
async fn without_an_audit_nothing_is_signed_or_done_but_a_revocation() {
    let mut app = TestApp::start().await;
    fill_the_disk(&app);
    app.restart_after(Duration::ZERO).await;
    let active = app.kid(KeyState::Active).await;
    let token = app.try_sign("default", json!({"claims": {}, "ttl": 1})).await.unwrap_err();
    assert_eq!((token.status, token.code), (503, Code::AuditUnavailable));
    let rotation = app.rotate(json!({"expect_active": active, "now": true})).await.unwrap_err();
    assert_eq!((rotation.status, rotation.code), (503, Code::AuditUnavailable));
    assert_eq!(app.kid(KeyState::Active).await, active);
    assert_eq!(app.get("/readyz").await.status, 503);
    let status: Status = app.admin_get("/v1/status").await.unwrap();
    assert!(status.problems[0].contains("nothing is signed or done"), "{:?}", status.problems);

    let revocation = app.revoke::<RevokeResponse>(&active).await.unwrap_err();
    assert_eq!((revocation.status, revocation.code), (503, Code::NotRecorded));
    assert_ne!(app.kid(KeyState::Active).await, active);
}

#[actix_web::test]
async fn a_daemon_that_cannot_record_makes_no_first_key() {
    let mut app = TestApp::start().await;
    fill_the_disk(&app);
    app.edit("[keysets.default]", "[keysets.other]");
    app.edit("root = \"default\"", "root = \"other\"");
    let why = app.restart_fails().await;
    assert!(why.contains("audit"), "{why}");
}

#[actix_web::test]
async fn where_the_operator_says_continue_tokens_are_signed_unrecorded_and_readiness_tells() {
    let mut app = TestApp::start().await;
    fill_the_disk(&app);
    app.edit("[audit]", "[audit]\non_failure = \"continue\"");
    app.restart_after(Duration::from_secs(1)).await;
    app.sign("default").await;
    let active = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    assert_eq!(app.get("/readyz").await.status, 503);
    let status: Status = app.admin_get("/v1/status").await.unwrap();
    assert!(status.problems[0].contains("is not recorded"), "{:?}", status.problems);
}
