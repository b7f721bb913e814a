//! The checks: each made to fail, and to recover.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use jwksd::api::{Check, CheckState, Code, KeyState, Readiness, Status};
use jwksd::outlook::{LATE, UNNOTICED};
use jwksd_keystore::facts::Span;
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::CommitFault;
use jwksd_keystore::time::Time;
use serde_json::json;

use crate::app::{CALLERS, DAY, HOUR, KEYSETS, START, TestApp, keyset_named, write_secret};
use crate::disk::FaultyDisk;

const SECOND: Duration = Duration::from_secs(1);

async fn status(app: &TestApp) -> Status {
    app.admin_get("/v1/status").await.unwrap()
}

/// The only row of a check.
async fn check(app: &TestApp, name: &str) -> Check {
    let status = status(app).await;
    let mut rows = status.checks.into_iter().filter(|check| check.name == name);
    let row = rows.next().unwrap_or_else(|| panic!("{name} is not checked"));
    assert_eq!(rows.next(), None);
    row
}

/// The check stands so, for a reason with these words, and readiness as that means.
#[track_caller]
fn stands(check: &Check, state: CheckState, words: &str) {
    assert_eq!(check.state, state, "{check:?}");
    let reason = check.reason.as_deref().unwrap_or_default();
    assert!(reason.contains(words), "{words:?} is not said: {check:?}");
    assert_eq!(check.reason.is_none(), state == CheckState::Ok, "{check:?}");
}

async fn is_ready(app: &TestApp) -> bool {
    app.get("/readyz").await.status == 200
}

/// The checks that are not ok.
async fn unwell(app: &TestApp) -> Vec<String> {
    let checks = status(app).await.checks.into_iter();
    checks.filter(|check| check.state != CheckState::Ok).map(|check| check.name).collect()
}

#[actix_web::test]
async fn every_check_is_listed_also_where_all_is_well() {
    let app = TestApp::start().await;
    let status = status(&app).await;
    assert!(status.ready && status.problems.is_empty() && status.warnings.is_empty());
    let names: Vec<&str> = status.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "store",
            "master-key",
            "audit",
            "clock",
            "reload",
            "steps",
            "secrets",
            "jwks-file",
            "rotation",
            "standby",
            "certificate",
            "tls-files",
            "client-ca",
            "resources"
        ]
    );
    assert!(status.checks.iter().all(|check| check.state == CheckState::Ok), "{status:?}");
}

#[actix_web::test]
async fn the_public_readiness_says_no_reasons() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/readyz").await.body, b"ready\n");
    app.clock.set_wall(START + DAY);
    let answer = app.get("/readyz").await;
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (503, &b"not ready\n"[..]));
}

#[actix_web::test]
async fn the_listener_for_metrics_tells_each_check_as_the_status_does() {
    let app = TestApp::start().await;
    let answer = app.watch("/readyz").await;
    assert_eq!((answer.status.as_u16(), answer.header("cache-control")), (200, "no-store"));
    let status = status(&app).await;
    assert_eq!(answer.json(), json!({"ready": true, "checks": status.checks}));
    app.clock.set_wall(START + DAY);
    let answer = app.watch("/readyz").await;
    assert_eq!(answer.status, 503);
    let told: Readiness = serde_json::from_slice(&answer.body).unwrap();
    let clock = told.checks.iter().find(|check| check.name == "clock").unwrap();
    stands(clock, CheckState::Failing, "1d apart");
    assert!(!told.ready);
}

#[actix_web::test]
async fn a_store_that_fails_is_told_with_the_key_sets_that_it_stops_until_it_works() {
    let app = TestApp::start().await;
    app.rows.set_failing(true);
    app.advance(9 * DAY).await;
    let (store, steps) = (check(&app, "store").await, check(&app, "steps").await);
    stands(&store, CheckState::Failing, "");
    stands(&steps, CheckState::Failing, "");
    assert_eq!(steps.keyset.unwrap().as_str(), "default");
    assert!(!is_ready(&app).await);
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    assert_eq!(unwell(&app).await, [""; 0]);
    assert!(is_ready(&app).await);
}

#[actix_web::test]
async fn a_store_that_failed_only_a_command_is_asked_again_soon() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    app.rows.fail_next([CommitFault::FailBefore]);
    let problem = app.rotate(json!({"expect_active": active})).await.unwrap_err();
    assert_eq!(problem.code, Code::StoreUnavailable);
    assert_eq!(unwell(&app).await, ["store"]);
    app.advance(Duration::from_secs(2)).await;
    until(&app, <[String]>::is_empty).await;
}

#[actix_web::test]
async fn an_audit_that_fails_is_told_with_what_it_stops() {
    let mut app = TestApp::start().await;
    app.restart_with_a_full_audit().await;
    let audit = check(&app, "audit").await;
    stands(&audit, CheckState::Failing, "nothing is signed or done");
    assert!(!is_ready(&app).await);
}

#[actix_web::test]
async fn a_clock_that_jumped_is_told_until_it_is_back_or_believed() {
    let app = TestApp::start().await;
    app.clock.set_wall(START + 30 * DAY);
    stands(&check(&app, "clock").await, CheckState::Failing, "30d apart");
    assert!(!is_ready(&app).await);
    app.clock.set_wall(START);
    stands(&check(&app, "clock").await, CheckState::Ok, "");

    app.clock.set_wall(START + HOUR);
    stands(&check(&app, "clock").await, CheckState::Failing, "1h apart");
    app.clock.advance(Duration::from_mins(15));
    stands(&check(&app, "clock").await, CheckState::Ok, "");
    assert!(is_ready(&app).await);
}

#[actix_web::test]
async fn a_master_key_that_is_gone_or_another_is_a_warning_until_it_is_back() {
    let app = TestApp::start().await;
    let path = app.master_key_path();
    let key = fs::read_to_string(&path).unwrap();
    fs::remove_file(&path).unwrap();
    stands(&check(&app, "master-key").await, CheckState::Warning, "there is no file");
    assert!(is_ready(&app).await);

    let other = MasterKeys::generate_file().unwrap();
    write_secret(&path, &other);
    stands(&check(&app, "master-key").await, CheckState::Warning, "another key");
    fs::write(&path, "no key").unwrap();
    stands(&check(&app, "master-key").await, CheckState::Warning, "the next start fails");
    let warnings = status(&app).await.warnings;
    assert!(!warnings.iter().any(|warning| warning.contains("no key")), "{warnings:?}");

    // A key that takes its place later may stand before it.
    write_secret(&path, &format!("{}{key}", *other));
    stands(&check(&app, "master-key").await, CheckState::Ok, "");
    write_secret(&path, &key);
    stands(&check(&app, "master-key").await, CheckState::Ok, "");
}

#[actix_web::test]
async fn a_reload_that_failed_is_a_warning_until_the_next_good_one() {
    let app = TestApp::start().await;
    let config = "issuer = \"http://127.0.0.1:8080\"";
    app.edit(config, "isuer = 1");
    for outcome in [app.daemon.administration.reload_unasked().err().map(|_| ()), {
        let answer = app.admin_post::<serde_json::Value>("/v1/reload", json!({})).await;
        answer.err().map(|_| ())
    }] {
        outcome.expect("it was taken");
        let reload = check(&app, "reload").await;
        stands(&reload, CheckState::Warning, "the old configuration stays in force");
        stands(&reload, CheckState::Warning, "isuer");
        assert!(!reload.reason.unwrap().contains('\n'));
    }
    assert!(is_ready(&app).await);
    app.edit("isuer = 1", config);
    app.daemon.administration.reload_unasked().unwrap();
    stands(&check(&app, "reload").await, CheckState::Ok, "");
}

#[actix_web::test]
async fn what_is_due_and_not_done_is_late_after_a_while_and_told_until_it_is_done() {
    let app = TestApp::start().await;
    let at = next_activation(&app).await;
    app.advance(at.since(app.now())).await;
    assert_eq!(unwell(&app).await, [""; 0]);
    // The old key is to leave the set an hour and a minute later.
    let due = at + HOUR + Duration::from_mins(1);
    app.rows.set_failing(true);
    app.advance(due.since(app.now())).await;
    app.advance(LATE.checked_sub(SECOND).unwrap()).await;
    stands(&check(&app, "rotation").await, CheckState::Ok, "");
    app.advance(SECOND).await;
    let rotation = check(&app, "rotation").await;
    stands(&rotation, CheckState::Failing, &due.to_string());
    assert_eq!(rotation.keyset.unwrap().as_str(), "default");
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    assert_eq!(unwell(&app).await, [""; 0]);
}

#[actix_web::test]
async fn a_set_that_signs_without_a_standby_for_a_while_is_a_warning_until_it_has_one() {
    let app = TestApp::start().await;
    let at = next_activation(&app).await;
    app.rows.set_failing(true);
    app.advance(at.since(app.now()) + UNNOTICED.checked_sub(SECOND).unwrap()).await;
    stands(&check(&app, "standby").await, CheckState::Ok, "");
    app.advance(SECOND).await;
    let standby = check(&app, "standby").await;
    stands(&standby, CheckState::Warning, &at.to_string());
    assert_eq!(standby.keyset.unwrap().as_str(), "default");
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    assert_eq!(unwell(&app).await, [""; 0]);
}

#[actix_web::test]
async fn a_standby_that_its_file_holds_back_beyond_the_schedule_is_told_until_the_file_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let keysets = format!("{KEYSETS}jwks_file = \"{}\"\n", file.display());
    let disk = Arc::new(FaultyDisk::default());
    disk.fill();
    let app = TestApp::with_files(dir, &keysets, disk.means()).await;
    until(&app, |unwell| unwell == ["jwks-file"]).await;
    let jwks_file = check(&app, "jwks-file").await;
    stands(&jwks_file, CheckState::Failing, "does not sign before the file has it");
    assert_eq!(jwks_file.keyset.unwrap().as_str(), "default");

    // By the schedule, another key would sign from the first of December on.
    app.advance(9 * DAY + UNNOTICED.checked_sub(SECOND).unwrap()).await;
    stands(&check(&app, "rotation").await, CheckState::Ok, "");
    app.advance(SECOND).await;
    let rotation = check(&app, "rotation").await;
    stands(&rotation, CheckState::Warning, "since 2026-12-01T03:00:00Z");

    disk.empty();
    until(&app, <[String]>::is_empty).await;
}

#[actix_web::test]
async fn a_thread_that_hangs_makes_no_other_check_wait() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("jwks.json");
    let keysets = format!("{KEYSETS}jwks_file = \"{}\"\n", file.display());
    let disk = Arc::new(FaultyDisk::default());
    disk.hang_at(&file);
    let app = TestApp::with_files(dir, &keysets, disk.means()).await;
    app.clock.advance(jwksd::sink::PATIENCE);
    stands(&check(&app, "jwks-file").await, CheckState::Failing, "no answer about");
    assert!(!is_ready(&app).await);
    disk.let_go();
    until(&app, <[String]>::is_empty).await;
}

#[actix_web::test]
async fn nothing_is_missing_where_a_set_waits_for_its_first_key_or_for_an_admin() {
    let waiting = KEYSETS
        .replace("default", "waiting")
        .replace(":8080\"", ":8080/waiting\"")
        .replace("\"0 3 1 * *\"", "\"manual\"\nfirst_key = \"import\"");
    let manual = KEYSETS.replace("\"0 3 1 * *\"", "\"manual\"");
    let app = TestApp::with(&format!("{manual}{waiting}"), CALLERS).await;
    app.advance(400 * DAY).await;
    assert_eq!(unwell(&app).await, [""; 0]);
}

#[actix_web::test]
async fn a_key_set_that_left_the_configuration_is_not_missed() {
    let other = keyset_named("other");
    let app = TestApp::with(&format!("{KEYSETS}{other}"), CALLERS).await;
    app.configure(KEYSETS, CALLERS);
    app.daemon.administration.reload_unasked().unwrap();
    app.advance(400 * DAY).await;
    app.advance(DAY).await;
    assert_eq!(unwell(&app).await, [""; 0]);
}

/// When the standby signs.
async fn next_activation(app: &TestApp) -> Time {
    let at: Time = app.key(KeyState::Pending).await.activates.unwrap().parse().unwrap();
    assert!(at > app.now(), "{}", Span(app.now().since(at)));
    at
}

/// Waits until the checks that are not ok are as wanted: a thread of its own tells of a file, and the
/// rotator looks after a store when nothing else is to be done.
async fn until(app: &TestApp, is_so: impl Fn(&[String]) -> bool) {
    let is_so = async {
        while !is_so(&unwell(app).await) {
            app.settle().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), is_so).await;
    assert!(waited.is_ok(), "{:?}", status(app).await);
}
