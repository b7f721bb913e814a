//! A store that fails: nothing takes effect before it is durable, revocation excepted.

use jwksd::api::{Code, KeyState, RevokeResponse, Status};
use jwksd_keystore::store::CommitFault;
use serde_json::{Value, json};

use crate::app::{CALLERS, DAY, HOUR, KEYSETS, PUBLISH_AHEAD, TestApp, keyset_named};
use crate::import::fresh;
use crate::token::verifies;

/// The store is well again: then the revocation of one key is durable, and the other signs.
async fn mended(app: &TestApp, revoked: &str, signer: &str) {
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    assert_eq!(app.kid(KeyState::Revoked).await, revoked);
    assert_eq!(app.sign("default").await.kid.as_str(), signer);
}

/// None of these keys signs, or is served.
async fn are_gone(app: &TestApp, kids: [&String; 2]) {
    let signed = app.try_sign("default", json!({"claims": {}, "ttl": 60})).await;
    assert!(!signed.is_ok_and(|token| kids.contains(&&token.kid.to_string())));
    let served = app.get("/jwks.json").await;
    let served = String::from_utf8_lossy(&served.body).into_owned();
    assert!(!kids.iter().any(|kid| served.contains(*kid)), "{served}");
}

#[actix_web::test]
async fn a_rotation_that_fails_changes_nothing() {
    let app = TestApp::start().await;
    let before = app.show("default").await;
    let active = app.kid(KeyState::Active).await;
    app.rows.fail_next([CommitFault::FailBefore]);
    let problem = app.rotate(json!({"expect_active": active})).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (503, Code::StoreUnavailable));
    assert_eq!(app.show("default").await, before);
}

#[actix_web::test]
async fn a_rotation_of_unknown_outcome_is_made_once() {
    for fault in [CommitFault::FailButPersist, CommitFault::FailUnknown] {
        let app = TestApp::start().await;
        let (active, standby) = app.active_and_standby().await;
        app.rows.fail_next([fault]);
        let answer = app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
        assert_eq!(answer.to.as_str(), standby, "{fault:?}");
        assert_eq!(app.sign("default").await.kid.as_str(), standby, "{fault:?}");
        assert_eq!(app.kid(KeyState::VerifyOnly).await, active, "{fault:?}");
    }
}

#[actix_web::test]
async fn a_torn_load_is_not_taken_for_damage() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    app.rows.tear_next_load();
    let answer = app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    assert_eq!(app.sign("default").await.kid, answer.to);
}

#[actix_web::test]
async fn a_scheduled_rotation_needs_no_store() {
    let app = TestApp::start().await;
    let standby = app.kid(KeyState::Pending).await;
    app.rows.set_failing(true);
    app.advance(9 * DAY).await;
    let token = app.sign("default").await;
    assert_eq!(token.kid.as_str(), standby);
    assert!(verifies(&app, &token.token).await);
    assert_eq!(app.get("/readyz").await.status, 503);
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    assert_eq!(app.get("/readyz").await.status, 200);
    // What was due is made up for: the old key has ended, and a new standby is there.
    assert_eq!(app.kid(KeyState::Active).await, standby);
    app.key(KeyState::Pending).await;
    app.key(KeyState::VerifyOnly).await;
}

#[actix_web::test]
async fn a_revocation_takes_effect_at_once_even_if_the_store_fails() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rows.set_failing(true);
    let problem = app.revoke::<Value>(&active).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (503, Code::NotDurable));
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
    assert!(!app.served_kids().await.contains(&active));
    assert_eq!(app.get("/readyz").await.status, 503);
    // Nothing else is done to the set before; then it becomes durable by itself.
    let problem = app.rotate(json!({"expect_active": standby})).await.unwrap_err();
    assert_eq!(problem.code, Code::RevocationPending);
    mended(&app, &active, &standby).await;
    let status: Status = app.admin_get("/v1/status").await.unwrap();
    assert!(status.ready, "{:?}", status.problems);
}

#[actix_web::test]
async fn two_revocations_without_a_store_leave_neither_key() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rows.set_failing(true);
    for kid in [&active, &standby] {
        assert_eq!(app.revoke::<Value>(kid).await.unwrap_err().code, Code::NotDurable);
    }
    // No key is left that could be used without making one durable first.
    let body = json!({"claims": {}, "ttl": 60});
    assert_eq!(app.try_sign("default", body).await.unwrap_err().code, Code::NoActiveKey);
    assert_eq!(app.get("/jwks.json").await.status, 503);
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    let kids = app.served_kids().await;
    assert!(!kids.contains(&active) && !kids.contains(&standby));
    assert!(kids.contains(&app.sign("default").await.kid.to_string()));
}

#[actix_web::test]
async fn a_revocation_of_unknown_outcome_is_durable_in_the_end() {
    for fault in [CommitFault::FailButPersist, CommitFault::FailUnknown] {
        let mut app = TestApp::start().await;
        let active = app.kid(KeyState::Active).await;
        app.rows.fail_next([fault]);
        let answer: RevokeResponse = app.revoke(&active).await.unwrap();
        assert_eq!(answer.revoked[0].as_str(), active, "{fault:?}");
        app.restart_after(HOUR).await;
        assert!(!app.served_kids().await.contains(&active), "{fault:?}");
    }
}

#[actix_web::test]
async fn a_commit_in_doubt_lets_no_key_begin_to_sign() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rotate(json!({"expect_active": active})).await.unwrap();
    // A commit ends in doubt, then the store is silent past the activation.
    app.rows.fail_next([CommitFault::FailAndFallSilent]);
    let problem = app.rotate(json!({"expect_active": active, "at": "2027-01-01T00:00:00Z"}));
    assert_eq!(problem.await.unwrap_err().code, Code::StoreUnavailable);
    app.advance(PUBLISH_AHEAD + HOUR).await;
    assert_eq!(app.sign("default").await.kid.as_str(), active);
    app.rows.set_failing(false);
    // What was served meanwhile is not known for certain, so none of it counts.
    app.advance(HOUR).await;
    assert_eq!(app.sign("default").await.kid.as_str(), active);
    app.advance(PUBLISH_AHEAD).await;
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
}

#[actix_web::test]
async fn no_time_that_was_not_served_is_forgotten_when_more_of_it_follows() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rotate(json!({"expect_active": active})).await.unwrap();
    app.settle().await;
    app.rows.set_failing(true);
    for _ in 0..2 {
        app.fall_silent().await;
        app.clock.advance(HOUR);
        app.serve_again().await;
    }
    app.rows.set_failing(false);
    app.advance(DAY).await;
    assert_eq!(app.sign("default").await.kid.as_str(), active);
    app.advance(HOUR).await;
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
}

#[actix_web::test]
async fn a_key_whose_turn_comes_while_nothing_is_served_does_not_end_the_one_before() {
    // Each set by itself, and both in one round.
    for others in ["", &keyset_named("other")] {
        key_whose_turn_comes_while_nothing_is_served(&format!("{KEYSETS}{others}")).await;
    }
}

async fn key_whose_turn_comes_while_nothing_is_served(keysets: &str) {
    let app = TestApp::with(keysets, CALLERS).await;
    let (active, standby) = app.active_and_standby().await;
    if keysets != KEYSETS {
        let expect =
            app.show("other").await.keys.into_iter().find(|it| it.state == KeyState::Active);
        let body = json!({"expect_active": expect.unwrap().kid});
        let _: Value = app.admin_post("/v1/keysets/other/rotate", body).await.unwrap();
    }
    app.rotate(json!({"expect_active": active})).await.unwrap();
    app.fall_silent().await;
    app.advance(PUBLISH_AHEAD + HOUR).await;
    app.serve_again().await;
    assert_eq!(app.sign("default").await.kid.as_str(), active);
    app.advance(PUBLISH_AHEAD).await;
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
}

/// The turn of the second came while nothing was served, though its wait was over; and that is not
/// stored, since the store fails.
async fn with_a_turn_in_silence() -> (TestApp, [String; 2]) {
    let app = TestApp::start().await;
    let kids = [app.kid(KeyState::Active).await, app.kid(KeyState::Pending).await];
    let at = app.now() + PUBLISH_AHEAD + HOUR;
    app.rotate(json!({"expect_active": kids[0], "at": at.to_string()})).await.unwrap();
    app.advance(PUBLISH_AHEAD + HOUR / 2).await;
    app.fall_silent().await;
    app.advance(HOUR).await;
    app.rows.set_failing(true);
    app.serve_again().await;
    (app, kids)
}

#[actix_web::test]
async fn a_turn_that_comes_in_silence_while_it_is_stored_what_was_not_served_ends_no_key() {
    // Two keys of a kind that takes long to make, since the one that ends then ends first.
    let app = TestApp::with(&KEYSETS.replace("ES256", "RS256"), CALLERS).await;
    let active = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": active})).await.unwrap();
    app.fall_silent().await;
    app.clock.advance(HOUR);
    app.rows.set_failing(true);
    app.serve_again().await;
    app.fall_silent().await;
    app.rows.set_failing(false);
    app.slow_commit(2 * PUBLISH_AHEAD);
    app.advance(HOUR / 2).await;
    assert_eq!(app.sign("default").await.kid.as_str(), active);
    app.serve_again().await;
    assert_eq!(app.sign("default").await.kid.as_str(), active);
}

#[actix_web::test]
async fn what_is_asked_for_in_silence_goes_by_no_turn_that_comes_meanwhile() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": active})).await.unwrap();
    app.fall_silent().await;
    app.clock.advance(HOUR);
    app.slow_commit(2 * PUBLISH_AHEAD);
    let problem = app.rotate(json!({"expect_active": active})).await.unwrap_err();
    assert_eq!(problem.code, Code::Stopping);
    assert_eq!(app.sign("default").await.kid.as_str(), active);
}

#[actix_web::test]
async fn a_set_signs_where_the_turn_of_its_standby_came_while_nothing_was_served() {
    let (app, [first, second]) = with_a_turn_in_silence().await;
    assert_eq!(app.sign("default").await.kid.as_str(), first);
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    assert_eq!(app.sign("default").await.kid.as_str(), second);
}

#[actix_web::test]
async fn no_revoked_key_is_back_when_it_is_made_up_for_what_was_not_served() {
    let (app, kids) = with_a_turn_in_silence().await;
    app.rows.set_failing(false);
    // That is stored, and what revokes them is not.
    app.rows.fail_after(1, CommitFault::FailBefore);
    let ask = json!({"reason": "host", "expect_active": kids[0]});
    assert_eq!(app.revoke_all::<Value>(ask).await.unwrap_err().code, Code::NotDurable);
    are_gone(&app, kids.each_ref()).await;
}

#[actix_web::test]
async fn a_first_key_signs_before_it_is_stored_that_it_was_made_in_unserved_time() {
    let app = TestApp::start().await;
    app.fall_silent().await;
    app.clock.advance(HOUR);
    app.configure(&format!("{KEYSETS}{}", keyset_named("other")), CALLERS);
    let _: Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
    app.settle().await;
    app.clock.advance(HOUR);
    app.rows.set_failing(true);
    app.serve_again().await;
    app.sign("other").await;
}

#[actix_web::test]
async fn a_store_that_was_changed_is_not_opened() {
    let mut app = TestApp::start().await;
    let old = app.rows.snapshot();
    let active = app.kid(KeyState::Active).await;
    let _: RevokeResponse = app.revoke(&active).await.unwrap();
    // The revoked key's record is put back.
    app.rows.put_back(&old, b"r/");
    let error = app.restart_fails().await;
    assert!(error.contains("damaged, or was changed"), "{error}");
}

#[actix_web::test]
async fn a_key_of_a_commit_in_doubt_waits_from_when_it_is_served() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    // The commit with the next standby.
    app.rows.fail_after(1, CommitFault::PersistAndFallSilent);
    app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    app.settle().await;
    let served = app.served_kids().await;
    app.rows.set_failing(false);
    app.slow_commit(HOUR);
    app.advance(HOUR).await;
    assert!(!served.contains(&app.kid(KeyState::Pending).await));
    let active = app.kid(KeyState::Active).await;
    let answer = app.rotate(json!({"expect_active": active})).await.unwrap();
    assert_eq!(answer.activates, Some((app.now() + PUBLISH_AHEAD).to_string()));
}

#[actix_web::test]
async fn a_revocation_of_a_set_in_doubt_still_promotes_the_standby() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rows.fail_next([CommitFault::FailAndFallSilent]);
    assert!(app.rotate(json!({"expect_active": active})).await.is_err());
    app.clock.advance(HOUR);
    assert_eq!(app.revoke::<Value>(&active).await.unwrap_err().code, Code::NotDurable);
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
}

#[actix_web::test]
async fn a_revocation_of_a_set_in_doubt_promotes_the_standby_also_after_its_activation() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rows.fail_next([CommitFault::FailAndFallSilent]);
    assert!(app.rotate(json!({"expect_active": active})).await.is_err());
    app.clock.advance(10 * DAY);
    assert_eq!(app.sign("default").await.kid.as_str(), active);
    assert_eq!(app.revoke::<Value>(&active).await.unwrap_err().code, Code::NotDurable);
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
    mended(&app, &active, &standby).await;
}

#[actix_web::test]
async fn the_revocation_of_a_key_that_a_set_in_doubt_keeps_from_signing_leaves_the_one_that_does() {
    for fault in [CommitFault::FailAndFallSilent, CommitFault::PersistAndFallSilent] {
        let app = TestApp::start().await;
        let (active, standby) = app.active_and_standby().await;
        app.rows.fail_next([fault]);
        assert!(app.rotate(json!({"expect_active": active})).await.is_err());
        app.clock.advance(10 * DAY);
        assert_eq!(app.revoke::<Value>(&standby).await.unwrap_err().code, Code::NotDurable);
        assert_eq!(app.sign("default").await.kid.as_str(), active, "{fault:?}");
        assert!(!app.served_kids().await.contains(&standby));
        app.rows.set_failing(false);
        app.advance(HOUR).await;
        assert_eq!(app.kid(KeyState::Revoked).await, standby);
        assert_eq!(app.sign("default").await.kid.as_str(), active, "{fault:?}");
    }
}

#[actix_web::test]
async fn the_revocation_of_a_key_whose_turn_at_once_is_in_doubt_leaves_the_one_that_signs() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rows.fail_next([CommitFault::PersistAndFallSilent]);
    assert!(app.rotate(json!({"expect_active": active, "now": true})).await.is_err());
    app.clock.advance(HOUR);
    assert_eq!(app.revoke::<Value>(&standby).await.unwrap_err().code, Code::NotDurable);
    assert_eq!(app.sign("default").await.kid.as_str(), active);
    mended(&app, &standby, &active).await;
}

#[actix_web::test]
async fn a_revocation_that_is_stored_late_and_in_doubt_leaves_the_key_that_began_to_sign_meanwhile()
{
    let app = TestApp::start().await;
    let first = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": first, "now": true})).await.unwrap();
    app.settle().await;
    let (active, standby) = app.active_and_standby().await;
    app.rotate(json!({"expect_active": active})).await.unwrap();
    app.rows.set_failing(true);
    assert_eq!(app.revoke::<Value>(&first).await.unwrap_err().code, Code::NotDurable);
    app.advance(PUBLISH_AHEAD + HOUR).await;
    assert_eq!(app.revoke::<Value>(&active).await.unwrap_err().code, Code::NotDurable);
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
    app.rows.set_failing(false);
    app.rows.fail_next([CommitFault::FailAndFallSilent]);
    app.advance(HOUR).await;
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
}

#[actix_web::test]
async fn the_revocation_of_a_standby_leaves_the_signer_however_late_it_is_stored() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rotate(json!({"expect_active": active})).await.unwrap();
    app.rows.set_failing(true);
    assert_eq!(app.revoke::<Value>(&standby).await.unwrap_err().code, Code::NotDurable);
    app.advance(PUBLISH_AHEAD + HOUR).await;
    assert_eq!(app.sign("default").await.kid.as_str(), active);
    mended(&app, &standby, &active).await;
}

#[actix_web::test]
async fn the_revocation_of_a_standby_whose_turn_came_in_silence_leaves_the_signer() {
    let (app, [first, second]) = with_a_turn_in_silence().await;
    assert_eq!(app.revoke::<Value>(&second).await.unwrap_err().code, Code::NotDurable);
    assert_eq!(app.sign("default").await.kid.as_str(), first);
    mended(&app, &second, &first).await;
}

#[actix_web::test]
async fn a_revocation_of_all_that_follows_others_takes_out_what_never_signed_too() {
    let app = TestApp::start().await;
    let wish =
        json!({"key": fresh("trusted"), "verify_only_until": (app.now() + 9 * DAY).to_string()});
    let _: Value = app.admin_post("/v1/keysets/default/import", wish).await.unwrap();
    let (active, standby) = app.active_and_standby().await;
    app.rows.set_failing(true);
    for kid in [&standby, &active] {
        assert_eq!(app.revoke::<Value>(kid).await.unwrap_err().code, Code::NotDurable);
    }
    assert_eq!(app.served_kids().await, ["trusted"]);
    let problem = app.revoke_all::<Value>(json!({"reason": "host"})).await.unwrap_err();
    assert_eq!(problem.code, Code::NotDurable);
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    let served = app.served_kids().await;
    assert!(![&active, &standby, "trusted"].iter().any(|kid| served.contains(&(*kid).to_string())));
    assert!(served.contains(&app.sign("default").await.kid.to_string()));
}

#[actix_web::test]
async fn the_standby_that_follows_a_revoked_key_goes_on_when_that_is_stored() {
    // The standby of another algorithm is to go, since the right one has waited, and may be gone.
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    app.configure(&KEYSETS.replace("ES256", "ES384"), CALLERS);
    let _: Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
    app.settle().await;
    app.rows.fail_next([CommitFault::FailAndFallSilent]);
    app.advance(PUBLISH_AHEAD + HOUR).await;
    assert_eq!(app.sign("default").await.kid.as_str(), active);
    assert_eq!(app.revoke::<Value>(&active).await.unwrap_err().code, Code::NotDurable);
    let successor = app.sign("default").await.kid;
    app.rows.set_failing(false);
    app.advance(DAY).await;
    assert_eq!(app.sign("default").await.kid, successor);
}

#[actix_web::test]
async fn a_revocation_of_all_for_another_signer_is_not_said_to_be_in_effect() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    let served = app.served_kids().await;
    app.rows.set_failing(true);
    let revoke_all = json!({"reason": "host", "expect_active": active});
    let problem = app.revoke_all::<Value>(revoke_all.clone()).await.unwrap_err();
    assert_eq!(problem.code, Code::StoreUnavailable);
    assert_eq!(app.served_kids().await, served);
    // Behind one that is in effect, it is not tried at all.
    assert_eq!(app.revoke::<Value>(&active).await.unwrap_err().code, Code::NotDurable);
    let problem = app.revoke_all::<Value>(revoke_all).await.unwrap_err();
    assert_eq!(problem.code, Code::RevocationPending);
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
    assert!(!app.served_kids().await.contains(&active));
}

#[actix_web::test]
async fn a_revocation_of_a_set_in_doubt_becomes_durable_also_without_an_audit() {
    let mut app = TestApp::start().await;
    app.restart_with_a_full_audit().await;
    let active = app.kid(KeyState::Active).await;
    app.rows.fail_next([CommitFault::FailAndFallSilent]);
    assert_eq!(app.revoke::<Value>(&active).await.unwrap_err().code, Code::NotDurable);
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    assert_eq!(app.kid(KeyState::Revoked).await, active);
}

#[actix_web::test]
async fn no_revoked_key_signs_while_the_next_revocation_waits() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rows.set_failing(true);
    for kid in [&active, &standby] {
        assert_eq!(app.revoke::<Value>(kid).await.unwrap_err().code, Code::NotDurable);
    }
    app.rows.set_failing(false);
    // The first becomes durable and would promote the second; the second's commit fails.
    app.rows.fail_after(1, CommitFault::FailAndFallSilent);
    app.advance(HOUR).await;
    are_gone(&app, [&active, &standby]).await;
}

#[actix_web::test]
async fn all_keys_can_be_revoked_while_the_store_fails() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    app.rows.set_failing(true);
    let problem = app.revoke_all::<Value>(json!({"reason": "host"})).await.unwrap_err();
    assert_eq!(problem.code, Code::ExpectActiveRequired);
    assert_eq!(problem.active.clone().map(String::from), Some(active));
    let ask = json!({"reason": "host", "expect_active": problem.active});
    let problem = app.revoke_all::<Value>(ask).await.unwrap_err();
    assert_eq!(problem.code, Code::NotDurable);
    assert_eq!(app.get("/jwks.json").await.status, 503);
}

#[actix_web::test]
async fn downtime_of_all_sets_counts_when_a_start_is_refused_for_one() {
    let other = keyset_named("other");
    let both = format!("{KEYSETS}{other}");
    let mut app = TestApp::with(&both, CALLERS).await;
    let active = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": active})).await.unwrap();
    app.configure(&format!("{KEYSETS}{}", other.replace("ES256", "EdDSA")), CALLERS);
    app.daemon_down(2 * DAY).await;
    assert!(app.restart_fails().await.contains("make a new key set"));
    app.configure(&both, CALLERS);
    app.restart_after(HOUR).await;
    assert_eq!(app.sign("default").await.kid.as_str(), active);
}

#[actix_web::test]
async fn a_revocation_of_all_that_waits_also_means_a_key_that_activates_meanwhile() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rotate(json!({"expect_active": active})).await.unwrap();
    app.rows.set_failing(true);
    let ask = json!({"reason": "host", "expect_active": active});
    let problem = app.revoke_all::<Value>(ask).await.unwrap_err();
    assert_eq!(problem.code, Code::NotDurable);
    app.advance(PUBLISH_AHEAD + HOUR).await;
    app.rows.set_failing(false);
    app.advance(HOUR).await;
    let kids = app.served_kids().await;
    assert!(!kids.contains(&active) && !kids.contains(&standby));
    assert!(kids.contains(&app.sign("default").await.kid.to_string()));
}

#[actix_web::test]
async fn a_stop_waits_for_the_key_without_which_a_revocation_of_all_cannot_be_durable() {
    let mut app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    app.rows.set_failing(true);
    let ask = json!({"reason": "host", "expect_active": active});
    let problem = app.revoke_all::<Value>(ask).await.unwrap_err();
    assert_eq!(problem.code, Code::NotDurable);
    // The store is well again, and nothing was tried since.
    app.rows.set_failing(false);
    app.restart_after(HOUR).await;
    let kids = app.served_kids().await;
    assert!(!kids.contains(&active) && !kids.contains(&standby));
}

#[actix_web::test]
async fn a_rotation_tells_of_time_that_was_not_served_and_is_not_stored_yet() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    app.fall_silent().await;
    app.rows.set_failing(true);
    app.clock.advance(HOUR);
    app.serve_again().await;
    app.rows.set_failing(false);
    let answer = app.rotate(json!({"expect_active": active})).await.unwrap();
    app.advance(HOUR).await;
    assert_eq!(app.key(KeyState::Pending).await.activates, answer.activates);
}
