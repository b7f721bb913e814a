//! Keys over months: rotations by the clock, restarts, downtime, clocks that jump.

use jwksd::api::KeyState;
use serde_json::json;

use crate::app::{CALLERS, DAY, HOUR, KEYSETS, PUBLISH_AHEAD, START, TestApp, keyset_named};
use crate::token::verifies;

/// From the start to 2026-12-01T03:00:00Z.
const TO_FIRST_ROTATION: std::time::Duration = std::time::Duration::from_hours(9 * 24);

#[actix_web::test]
async fn a_scheduled_rotation_is_the_clock_passing_a_stored_time() {
    let app = TestApp::start().await;
    let (first, standby) = app.active_and_standby().await;
    app.clock.advance(TO_FIRST_ROTATION.saturating_sub(std::time::Duration::from_millis(1)));
    let before = app.sign("default").await;
    assert_eq!(before.kid.as_str(), first);
    app.clock.advance(std::time::Duration::from_millis(1));
    // Not even the rotator was woken.
    let after = app.sign("default").await;
    assert_eq!(after.kid.as_str(), standby);
    assert!(verifies(&app, &before.token).await);
    assert!(verifies(&app, &after.token).await);

    app.settle().await;
    let old = app.key(KeyState::VerifyOnly).await;
    assert_eq!(old.kid.as_str(), first);
    assert_eq!(
        old.retires,
        Some((app.now() + HOUR + std::time::Duration::from_mins(1)).to_string())
    );
    assert_eq!(app.served_kids().await.len(), 3);
    app.advance(HOUR).await;
    assert!(app.served_kids().await.contains(&first), "until S after the last token's expiry");
    app.advance(std::time::Duration::from_mins(1)).await;
    assert!(!app.served_kids().await.contains(&first));
    assert_eq!(app.kid(KeyState::Retired).await, first);
}

#[actix_web::test]
async fn a_year_of_rotations_never_refuses_a_token() {
    let app = TestApp::start().await;
    let mut kids = std::collections::BTreeSet::new();
    let mut tokens = Vec::new();
    for _ in 0..365 * 4 {
        app.advance(6 * HOUR).await;
        tokens = vec![app.try_sign("default", json!({"claims": {}, "ttl": "1h"})).await.unwrap()];
        kids.insert(tokens[0].kid.clone());
        assert!(verifies(&app, &tokens[0].token).await);
    }
    assert_eq!(kids.len(), 13);
    drop(tokens);
}

#[actix_web::test]
async fn a_restart_keeps_keys_and_tokens() {
    let mut app = TestApp::start().await;
    let token = app.sign("default").await;
    let kids = app.served_kids().await;
    app.restart_after(std::time::Duration::from_secs(30)).await;
    assert_eq!(app.served_kids().await, kids);
    assert!(verifies(&app, &token.token).await);
    assert_eq!(app.sign("default").await.kid, token.kid);
}

#[actix_web::test]
async fn months_of_downtime_are_one_rotation() {
    let mut app = TestApp::start().await;
    let standby = app.kid(KeyState::Pending).await;
    app.advance(2 * DAY).await;
    app.restart_after(200 * DAY).await;
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
    app.settle().await;
    let states: Vec<KeyState> =
        app.show("default").await.keys.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::VerifyOnly, KeyState::Active, KeyState::Pending]);
}

#[actix_web::test]
async fn time_in_which_a_key_was_not_served_does_not_count() {
    let mut app = TestApp::start().await;
    let (first, standby) = app.active_and_standby().await;
    app.advance(HOUR).await;
    // Down past the scheduled rotation: nobody has seen the standby for long enough.
    app.restart_after(TO_FIRST_ROTATION).await;
    assert_eq!(app.sign("default").await.kid.as_str(), first);
    app.advance(PUBLISH_AHEAD.saturating_sub(2 * HOUR)).await;
    assert_eq!(app.sign("default").await.kid.as_str(), first);
    app.advance(HOUR + HOUR).await;
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
}

#[actix_web::test]
async fn a_clock_set_back_leaves_a_signer_and_a_clock_set_ahead_rotates_nothing() {
    let app = TestApp::start().await;
    let first = app.kid(KeyState::Active).await;
    app.clock.set_wall(START.before(400 * DAY));
    app.settle().await;
    assert_eq!(app.sign("default").await.kid.as_str(), first);
    app.clock.set_wall(START + 400 * DAY);
    app.settle().await;
    assert_eq!(app.sign("default").await.kid.as_str(), first);
    assert_eq!(app.served_kids().await.len(), 2);
}

#[actix_web::test]
async fn a_secret_is_gone_from_the_store_when_its_key_has_ended() {
    let app = TestApp::start().await;
    let first = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": first, "now": true})).await.unwrap();
    let snapshot = app.rows.snapshot();
    let records: Vec<serde_json::Value> = snapshot
        .iter()
        .filter(|(key, _)| key.starts_with(b"r/"))
        .map(|(_, value)| serde_json::from_slice(value).unwrap())
        .collect();
    assert_eq!(records.len(), 3);
    for record in records {
        let ended = !record["life"]["ended"].is_null();
        assert_eq!(record["secret"].is_null(), ended);
        assert_eq!(ended, record["kid"] == first.as_str());
    }
}

#[actix_web::test]
async fn a_longer_lifetime_counts_only_when_it_is_committed() {
    let app = TestApp::start().await;
    let ask = json!({"claims": {}, "ttl": "2h"});
    assert!(app.try_sign("default", ask.clone()).await.is_err());
    app.configure(&KEYSETS.replace("\"1h\"", "\"2h\""), CALLERS);
    app.rows.set_failing(true);
    // The reload cannot even look at the store.
    assert!(app.admin_post::<serde_json::Value>("/v1/reload", json!({})).await.is_err());
    assert!(app.try_sign("default", ask.clone()).await.is_err());
    app.rows.set_failing(false);
    let _: serde_json::Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
    app.settle().await;
    assert!(app.try_sign("default", ask).await.is_ok());
}

#[actix_web::test]
async fn a_set_that_comes_back_goes_on_with_its_standby() {
    let other = keyset_named("other");
    let both = format!("{KEYSETS}{other}");
    let app = TestApp::with(&both, CALLERS).await;
    let standby = app.show("other").await.keys[1].kid.clone();
    app.configure(KEYSETS, CALLERS);
    let _: serde_json::Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
    app.settle().await;
    app.configure(&both, CALLERS);
    let _: serde_json::Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
    app.settle().await;
    assert_eq!(app.sign("other").await.kid, standby);
}

#[actix_web::test]
async fn another_kty_is_refused_at_start() {
    let mut app = TestApp::start().await;
    app.configure(&KEYSETS.replace("ES256", "EdDSA"), CALLERS);
    let error = app.restart_fails().await;
    assert!(error.contains("make a new key set"), "{error}");
}
