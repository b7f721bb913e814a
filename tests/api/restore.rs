//! Going back to a backup: what the audit tells of the time since, and what the next start makes of it.

use std::time::Duration;

use hyper::Method;
use jwksd::api::{BACKUP_HEADER, KeyState};
use jwksd::audit::since;
use jwksd::audit::verify::Against;
use jwksd::restore::{Outlook, outlook};
use jwksd_keystore::store::backup::{Backup, Header};
use jwksd_keystore::store::{CommitFault, Store};
use jwksd_keystore::time::Time;
use serde_json::{Value, json};

use crate::app::{DAY, HOUR, PUBLISH_AHEAD, START, TestApp, To};
use crate::token::verifies;

/// From the start to 2026-12-01T03:00:00Z.
const TO_FIRST_ROTATION: Duration = Duration::from_hours(9 * 24);

const HALF_AN_HOUR: Duration = Duration::from_mins(30);

async fn back_up(app: &TestApp) -> Vec<u8> {
    let answer = app.ask(To::Admin, Method::POST, "/v1/store/backup", &[], b"").await;
    assert_eq!(answer.status.as_u16(), 200);
    assert_eq!(answer.header("content-type"), "application/octet-stream");
    assert_eq!(answer.header("cache-control"), "no-store");
    let holds: Value = serde_json::from_str(answer.header(BACKUP_HEADER)).unwrap();
    assert_eq!(holds["taken"], app.now().to_string());
    assert_eq!(holds["keysets"], 1);
    answer.body
}

fn opened(app: &TestApp, backup: &[u8]) -> Backup {
    Backup::open(backup, app.master_keys.clone()).unwrap()
}

/// What the audit tells of the time since a backup, and what that means.
fn look(app: &TestApp, backup: &Backup) -> Outlook {
    let against = Against { master_keys: Some(&app.master_keys), ..Against::default() };
    let since = since::read(&app.audit_path(), backup.header.audit.as_ref(), against).unwrap();
    assert_eq!(since.unknown, None);
    outlook(&backup.store, &since, app.now()).unwrap()
}

/// Stops the daemon, loses the store, and starts the daemon with what the backup has of it.
async fn restore(app: &mut TestApp, backup: &[u8]) -> Outlook {
    app.daemon_down(Duration::ZERO).await;
    let backup = opened(app, backup);
    let outlook = look(app, &backup);
    outlook.carry_out(&backup.store).unwrap();
    backup.store.check(&mut |_| {}).unwrap();
    app.rows.replace_by(&backup.store);
    app.restart_after(Duration::ZERO).await;
    app.settle().await;
    outlook
}

fn kids(keys: &[jwksd::restore::Key]) -> Vec<&str> {
    keys.iter().map(|key| key.kid.as_str()).collect()
}

fn at(text: &str) -> Time {
    text.parse().unwrap()
}

#[actix_web::test]
async fn a_key_that_ended_since_ends_again_at_the_start_when_its_successor_had_waited() {
    let mut app = TestApp::start().await;
    app.advance(2 * DAY).await;
    let (first, standby) = app.active_and_standby().await;
    let backup = back_up(&app).await;
    app.advance(TO_FIRST_ROTATION.saturating_sub(2 * DAY)).await;
    let token = app.sign("default").await;
    app.advance(HALF_AN_HOUR).await;
    assert_eq!(app.kid(KeyState::VerifyOnly).await, first);
    let made = app.kid(KeyState::Pending).await;

    let outlook = restore(&mut app, &backup).await;
    assert_eq!(kids(&outlook.missing), [made.as_str()]);
    assert_eq!(kids(&outlook.returning), [first.as_str()]);
    assert!(outlook.revoked.is_empty() && outlook.leaving.is_empty() && outlook.gaps.is_empty());
    assert_eq!(app.kid(KeyState::Active).await, standby);
    let ended = app.key(KeyState::VerifyOnly).await;
    assert_eq!((ended.kid.as_str(), ended.ended), (first.as_str(), Some(app.now().to_string())));
    // Its secret is erased again.
    let loaded =
        opened(&app, &back_up(&app).await).store.load(&"default".parse().unwrap()).unwrap();
    assert!(loaded.record_of(&ended.kid).unwrap().secret.is_none());
    assert!(verifies(&app, &token.token).await);
}

#[actix_web::test]
async fn a_wait_that_was_not_over_at_the_backup_is_waited_to_its_end_and_the_key_before_signs_on() {
    let mut app = TestApp::start().await;
    app.advance(HOUR).await;
    let (first, standby) = app.active_and_standby().await;
    let backup = back_up(&app).await;
    app.advance(TO_FIRST_ROTATION).await;
    let outlook = restore(&mut app, &backup).await;
    assert_eq!(kids(&outlook.returning), [first.as_str()]);
    let token = app.sign("default").await;
    assert_eq!(token.kid.as_str(), first);
    assert!(verifies(&app, &token.token).await);
    let pending = app.key(KeyState::Pending).await;
    assert_eq!(pending.kid.as_str(), standby);
    let activates = at(&pending.activates.unwrap());
    let rest = activates.since(app.now());
    assert!(rest + HOUR >= PUBLISH_AHEAD && rest <= PUBLISH_AHEAD, "{rest:?}");
    app.clock.advance(rest);
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
}

#[actix_web::test]
async fn a_key_that_retired_since_leaves_again_and_the_standby_signs_at_once() {
    let mut app = TestApp::start().await;
    app.advance(HOUR).await;
    let (first, standby) = app.active_and_standby().await;
    let backup = back_up(&app).await;
    app.advance(TO_FIRST_ROTATION).await;
    app.advance(2 * HOUR).await;
    assert_eq!(app.kid(KeyState::Retired).await, first);
    let outlook = restore(&mut app, &backup).await;
    assert_eq!(kids(&outlook.leaving), [first.as_str()]);
    assert!(outlook.returning.is_empty() && outlook.revoked.is_empty());
    assert_eq!(app.kid(KeyState::Retired).await, first);
    let served = app.served_kids().await;
    assert!(served.contains(&standby) && !served.contains(&first), "{served:?}");
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
}

#[actix_web::test]
async fn whatever_was_revoked_since_is_revoked_again_with_its_reason() {
    let mut app = TestApp::start().await;
    let backup = back_up(&app).await;
    let (first, standby) = app.active_and_standby().await;
    app.rotate(json!({"expect_active": first, "now": true})).await.unwrap();
    // It is retired early, and revoked when it has left.
    let path = format!("/v1/keysets/default/keys/{first}/retire");
    app.admin_post::<Value>(&path, json!({})).await.unwrap();
    app.revoke::<Value>(&first).await.unwrap();
    app.revoke::<Value>(&standby).await.unwrap();
    let when = app.now().to_string();
    app.advance(HOUR).await;

    let outlook = restore(&mut app, &backup).await;
    let mut revoked = kids(&outlook.revoked);
    revoked.sort_unstable();
    let mut both = [first.as_str(), standby.as_str()];
    both.sort_unstable();
    assert_eq!(revoked, both);
    assert!(outlook.returning.is_empty() && outlook.leaving.is_empty());
    for key in &outlook.revoked {
        assert_eq!(key.reason.as_deref(), Some("revoked before the restore: stolen"));
        assert_eq!(key.at.as_ref(), Some(&when));
    }
    // A fresh key signs: of those of the backup none may.
    let shown = app.show("default").await;
    let of_state = |state| shown.keys.iter().filter(move |key| key.state == state);
    assert_eq!(of_state(KeyState::Revoked).count(), 2);
    let served = app.served_kids().await;
    assert!(!served.contains(&first) && !served.contains(&standby), "{served:?}");
    let token = app.sign("default").await;
    assert!(verifies(&app, &token.token).await);
}

#[actix_web::test]
async fn a_tombstone_of_the_backup_that_was_marked_since_is_marked_again() {
    let mut app = TestApp::start().await;
    let first = app.kid(KeyState::Active).await;
    app.advance(TO_FIRST_ROTATION).await;
    app.advance(2 * HOUR).await;
    assert_eq!(app.kid(KeyState::Retired).await, first);
    let backup = back_up(&app).await;
    app.revoke::<Value>(&first).await.unwrap();
    let outlook = restore(&mut app, &backup).await;
    assert_eq!(kids(&outlook.revoked), [first.as_str()]);
    assert_eq!(app.kid(KeyState::Revoked).await, first);
}

#[actix_web::test]
async fn a_revocation_that_the_store_never_took_is_made_good_by_a_restore() {
    for all in [false, true] {
        let mut app = TestApp::start().await;
        let backup = back_up(&app).await;
        let (first, standby) = app.active_and_standby().await;
        app.rows.set_failing(true);
        if all {
            let body = json!({"reason": "stolen", "expect_active": first});
            app.revoke_all::<Value>(body).await.unwrap_err();
        } else {
            app.revoke::<Value>(&first).await.unwrap_err();
        }
        app.daemon_down(Duration::ZERO).await;
        app.rows.set_failing(false);
        let outlook = restore(&mut app, &backup).await;
        assert!(kids(&outlook.revoked).contains(&first.as_str()));
        assert_eq!(kids(&outlook.revoked).contains(&standby.as_str()), all);
        let served = app.served_kids().await;
        assert!(!served.contains(&first) && served.contains(&standby) != all, "{served:?}");
    }
}

#[actix_web::test]
async fn what_a_commit_did_not_do_is_not_told_and_what_it_may_have_done_is() {
    let mut app = TestApp::start().await;
    let backup = back_up(&app).await;
    let (first, standby) = app.active_and_standby().await;
    app.rows.fail_next([CommitFault::FailBefore]);
    app.rotate(json!({"expect_active": first, "now": true})).await.unwrap_err();
    let opened_backup = opened(&app, &backup);
    let before = look(&app, &opened_backup);
    assert!(before.returning.is_empty() && before.missing.is_empty(), "{before:?}");
    app.rows.fail_next([CommitFault::FailButPersist]);
    app.rotate(json!({"expect_active": first, "now": true})).await.unwrap();
    let outlook = restore(&mut app, &backup).await;
    assert_eq!(kids(&outlook.returning), [first.as_str()]);
    assert!(!kids(&outlook.missing).contains(&standby.as_str()));
}

#[actix_web::test]
async fn a_backup_that_nothing_came_after_means_nothing() {
    let mut app = TestApp::start().await;
    let kids_before = app.served_kids().await;
    let backup = back_up(&app).await;
    let Header { audit, version, seen, .. } = opened(&app, &backup).header;
    assert_eq!((version.as_str(), seen), (env!("CARGO_PKG_VERSION"), START));
    // The line is the backup's own.
    let line = audit.unwrap().line;
    let own = app.audit().into_iter().find(|row| row["line"] == line).unwrap();
    assert_eq!((&own["action"], &own["decision"]), (&json!("store-backup"), &json!("intent")));
    let outlook = restore(&mut app, &backup).await;
    assert!(
        outlook.events().is_empty() && outlook.missing.is_empty() && outlook.returning.is_empty()
    );
    assert_eq!(app.served_kids().await, kids_before);
    assert_eq!(outlook.waits[0].until, (app.now() + PUBLISH_AHEAD).to_string());
}

#[actix_web::test]
async fn a_backup_is_refused_while_the_store_or_the_audit_is_not_available() {
    let mut app = TestApp::start().await;
    let ask = async |app: &TestApp| {
        let answer = app.ask(To::Admin, Method::POST, "/v1/store/backup", &[], b"").await;
        (answer.status.as_u16(), answer.problem().code)
    };
    app.rows.set_failing(true);
    assert_eq!(ask(&app).await, (503, jwksd::api::Code::StoreUnavailable));
    app.rows.set_failing(false);
    let failed = app
        .audit()
        .into_iter()
        .any(|row| row["action"] == "store-backup" && row["decision"] == "failed");
    assert!(failed);
    app.restart_with_a_full_audit().await;
    assert_eq!(ask(&app).await, (503, jwksd::api::Code::AuditUnavailable));
}
