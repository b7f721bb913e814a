//! The admin listener: see, rotate, revoke, retire, reload.

use jwksd::api::{
    Code, EventKind, KeyState, KeysetList, ReloadResponse, RetireResponse, RevokeResponse,
    RotateResponse, Status,
};
use serde_json::{Value, json};

use crate::app::{CALLERS, DAY, HOUR, KEYSETS, PUBLISH_AHEAD, START, TestApp, caller_of};
use crate::token::verifies;

#[actix_web::test]
async fn a_set_shows_its_keys_and_what_happens_next() {
    let app = TestApp::start().await;
    let set = app.show("default").await;
    assert_eq!(set.publish_ahead.as_deref(), Some("1d6m"));
    assert_eq!(set.rotate.as_deref(), Some("\"0 3 1 * *\" in UTC"));
    let states: Vec<KeyState> = set.keys.iter().map(|key| key.state).collect();
    assert_eq!(states, [KeyState::Active, KeyState::Pending]);
    assert_eq!(set.active.as_ref(), Some(&set.keys[0].kid));
    assert_eq!(set.next.len(), 1);
    assert_eq!(set.next[0].event, EventKind::Activates);
    assert_eq!(set.next[0].at, "2026-12-01T03:00:00Z");
    let list: KeysetList = app.admin_get("/v1/keysets").await.unwrap();
    assert_eq!(list.keysets, [set]);
}

#[actix_web::test]
async fn a_rotation_needs_the_kid_that_the_asker_saw() {
    let app = TestApp::start().await;
    let problem = app.rotate(json!({})).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (428, Code::ExpectActiveRequired));
    let active = app.kid(KeyState::Active).await;
    assert!(problem.detail.contains(&active), "{}", problem.detail);
    let standby = app.kid(KeyState::Pending).await;
    let problem = app.rotate(json!({"expect_active": standby})).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (409, Code::ActiveChanged));
    let problem = app.rotate(json!({"expect_active": "nobody"})).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (404, Code::UnknownKey));
}

#[actix_web::test]
async fn a_rotation_waits_until_every_verifier_has_seen_the_standby() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    let answer = app.rotate(json!({"expect_active": active})).await.unwrap();
    let expected = START + PUBLISH_AHEAD;
    assert_eq!(answer.activates.as_deref(), Some(expected.to_string().as_str()));
    assert_eq!((answer.from.as_str(), answer.to.as_str()), (active.as_str(), standby.as_str()));
    assert!(!answer.already);
    assert_eq!(answer.refused_until, None);
    // The clock alone lets it sign: the rotator is not asked.
    app.clock.advance(PUBLISH_AHEAD);
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
}

#[actix_web::test]
async fn a_retried_rotation_does_nothing_twice() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    let ask = json!({"expect_active": active});
    let first = app.rotate(ask.clone()).await.unwrap();
    app.advance(HOUR).await;
    let done = || app.audit().iter().filter(|line| line["decision"] == "done").count();
    let recorded = done();
    let soon = app.rotate(ask.clone()).await.unwrap();
    assert_eq!(soon, RotateResponse { already: true, ..first.clone() });
    // What is not done leaves no line that says so.
    assert_eq!(done(), recorded);
    app.advance(DAY).await;
    let late = app.rotate(ask).await.unwrap();
    assert!(late.already);
    assert_eq!(late.to, first.to);
    assert_eq!(app.sign("default").await.kid, first.to);
}

#[actix_web::test]
async fn a_rotation_at_once_says_until_when_verifiers_may_refuse() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    let answer = app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    assert_eq!(answer.refused_until, Some((START + PUBLISH_AHEAD).to_string()));
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
    assert_eq!(app.kid(KeyState::VerifyOnly).await, active);
    // A retry is recognised, a second command is a second rotation.
    let retry = app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    assert!(retry.already);
    let second = app.rotate(json!({"expect_active": standby, "now": true})).await.unwrap();
    assert!(!second.already);
    assert_ne!(app.sign("default").await.kid.as_str(), standby);
}

#[actix_web::test]
async fn a_rotation_can_be_planned_but_not_too_early() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    let at = |time: String| json!({"expect_active": active, "at": time});
    let problem = app.rotate(at((START + HOUR).to_string())).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (409, Code::TooEarly));
    assert!(problem.detail.contains(&(START + PUBLISH_AHEAD).to_string()), "{}", problem.detail);
    let planned = START + 3 * DAY;
    let answer = app.rotate(at(planned.to_string())).await.unwrap();
    assert_eq!(answer.activates, Some(planned.to_string()));
    let problem = app.rotate(at("tomorrow".into())).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (400, Code::InvalidRequest));
    let both = json!({"expect_active": active, "now": true, "at": planned.to_string()});
    assert_eq!(app.rotate(both).await.unwrap_err().code, Code::InvalidRequest);
}

#[actix_web::test]
async fn revoking_the_active_key_promotes_the_standby_at_once() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    let token = app.sign("default").await.token;
    let answer: RevokeResponse = app.revoke(&active).await.unwrap();
    assert_eq!(answer.revoked[0].as_str(), active);
    assert_eq!(answer.active.unwrap().as_str(), standby);
    assert!(!answer.already);
    assert_eq!(app.sign("default").await.kid.as_str(), standby);
    assert!(!verifies(&app, &token).await);
    assert!(!app.served_kids().await.contains(&active));
    let again: RevokeResponse = app.revoke(&active).await.unwrap();
    assert!(again.already);
    // Another standby is there already.
    assert_eq!(app.served_kids().await.len(), 2);
    let revoked = app.key(KeyState::Revoked).await;
    assert_eq!(revoked.reason.as_deref(), Some("stolen"));
}

#[actix_web::test]
async fn revoking_the_standby_replaces_it() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    let _: RevokeResponse = app.revoke(&standby).await.unwrap();
    assert_eq!(app.sign("default").await.kid.as_str(), active);
    assert_ne!(app.kid(KeyState::Pending).await, standby);
    assert!(!app.served_kids().await.contains(&standby));
}

#[actix_web::test]
async fn revoking_a_verify_only_or_retired_key_is_remembered() {
    let app = TestApp::start().await;
    let first = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": first, "now": true})).await.unwrap();
    assert_eq!(app.kid(KeyState::VerifyOnly).await, first);
    let _: RevokeResponse = app.revoke(&first).await.unwrap();
    assert_eq!(app.kid(KeyState::Revoked).await, first);

    let second = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": second, "now": true})).await.unwrap();
    app.advance(2 * HOUR).await;
    assert_eq!(app.kid(KeyState::Retired).await, second);
    let answer: RevokeResponse = app.revoke(&second).await.unwrap();
    assert_eq!(answer.revoked[0].as_str(), second);
    let revoked = app.show("default").await.keys;
    let revoked = revoked.iter().filter(|key| key.state == KeyState::Revoked).count();
    assert_eq!(revoked, 2);
    let problem = app.revoke::<Value>("nobody").await.unwrap_err();
    assert_eq!((problem.status, problem.code), (404, Code::UnknownKey));
}

#[actix_web::test]
async fn revoking_all_starts_with_one_fresh_key_and_a_retry_spares_it() {
    let app = TestApp::start().await;
    let before = app.served_kids().await;
    let problem = app.revoke_all::<Value>(json!({"reason": "host"})).await.unwrap_err();
    assert_eq!(problem.code, Code::ExpectActiveRequired);
    let ask = json!({"reason": "host", "expect_active": before[0]});
    let answer: RevokeResponse = app.revoke_all(ask.clone()).await.unwrap();
    assert_eq!(answer.revoked.len(), 2);
    let fresh = app.sign("default").await.kid;
    assert!(!before.contains(&fresh.to_string()));
    let retry: RevokeResponse = app.revoke_all(ask).await.unwrap();
    assert!(retry.already);
    assert_eq!(app.sign("default").await.kid, fresh);
}

#[actix_web::test]
async fn only_a_verify_only_key_can_be_retired_early() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    let retire = |kid: String| {
        let app = &app;
        async move {
            let path = format!("/v1/keysets/default/keys/{kid}/retire");
            app.admin_post::<RetireResponse>(&path, json!({})).await
        }
    };
    assert_eq!(retire(active.clone()).await.unwrap_err().code, Code::WrongState);
    assert_eq!(retire(standby).await.unwrap_err().code, Code::WrongState);
    app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    let answer = retire(active.clone()).await.unwrap();
    assert_eq!(
        answer.cuts_off_until,
        Some((START + HOUR + 60 * std::time::Duration::from_secs(1)).to_string())
    );
    assert!(!app.served_kids().await.contains(&active));
    assert!(retire(active).await.unwrap().already);
}

#[actix_web::test]
async fn an_act_is_in_the_audit_with_its_intent_and_its_outcome() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    let _: RevokeResponse = app.revoke(&active).await.unwrap();
    let lines = app.audit();
    let of_revoke: Vec<&Value> = lines.iter().filter(|line| line["action"] == "revoke").collect();
    let decisions: Vec<&Value> = of_revoke.iter().map(|line| &line["decision"]).collect();
    assert_eq!(decisions, ["allowed", "intent", "done"]);
    assert!(of_revoke.iter().all(|line| line["caller"] == "local"));
    let ids: Vec<&Value> = of_revoke.iter().map(|line| &line["request_id"]).collect();
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]));
}

#[actix_web::test]
async fn each_act_takes_its_own_grant() {
    let app = TestApp::with(KEYSETS, &caller_of("\"read\"")).await;
    let active = app.kid(KeyState::Active).await;
    let paths = [
        ("/v1/keysets/default/rotate".to_owned(), json!({"expect_active": active, "now": true})),
        (
            "/v1/keysets/default/revoke-all".to_owned(),
            json!({"reason": "x", "expect_active": active}),
        ),
        (format!("/v1/keysets/default/keys/{active}/revoke"), json!({"reason": "x"})),
        (format!("/v1/keysets/default/keys/{active}/retire"), json!({})),
        ("/v1/reload".to_owned(), json!({})),
    ];
    for (path, body) in paths {
        let problem = app.admin_post::<Value>(&path, body).await.unwrap_err();
        assert_eq!((problem.status, problem.code), (403, Code::NotAllowed), "{path}");
        assert!(problem.request_id.is_some());
    }
    assert_eq!(app.kid(KeyState::Active).await, active);
}

#[actix_web::test]
async fn a_reload_takes_over_what_it_can_and_says_what_it_cannot() {
    let app = TestApp::start().await;
    let keysets = KEYSETS.replace("0 3 1 * *", "0 4 15 * *");
    app.configure(&keysets, CALLERS);
    let answer: ReloadResponse = app.admin_post("/v1/reload", json!({})).await.unwrap();
    assert_eq!(answer.changed[0].as_str(), "default");
    app.settle().await;
    assert_eq!(app.show("default").await.next[0].at, "2026-12-15T04:00:00Z");
    assert_eq!(answer.needs_restart, [""; 0]);
}

#[actix_web::test]
async fn a_wrong_configuration_leaves_the_old_one_in_force() {
    let app = TestApp::start().await;
    let wrong = [
        KEYSETS.replace("0 3 1 * *", "0 3 * * *"),
        KEYSETS.replace("rotate", "rotatte"),
        KEYSETS.replace("ES256", "RS256"),
    ];
    for keysets in wrong {
        app.configure(&keysets, CALLERS);
        let problem = app.admin_post::<Value>("/v1/reload", json!({})).await.unwrap_err();
        assert_eq!((problem.status, problem.code), (409, Code::InvalidConfig));
    }
    let set = app.show("default").await;
    assert_eq!(set.algorithm.as_deref(), Some("ES256"));
    assert_eq!(set.next[0].at, "2026-12-01T03:00:00Z");
    app.sign("default").await;
}

#[actix_web::test]
async fn a_caller_taken_out_by_a_reload_is_out_at_its_next_request() {
    let app = TestApp::start().await;
    app.sign("default").await;
    app.configure(KEYSETS, &CALLERS.replace("\"sign-token\", ", ""));
    let _: ReloadResponse = app.admin_post("/v1/reload", json!({})).await.unwrap();
    let body = json!({"claims": {}, "ttl": 60});
    assert_eq!(app.try_sign("default", body).await.unwrap_err().code, Code::NotAllowed);
}

#[actix_web::test]
async fn the_status_says_what_is_not_well() {
    let app = TestApp::start().await;
    let status: Status = app.admin_get("/v1/status").await.unwrap();
    assert!(status.ready, "{:?}", status.problems);
    app.clock.set_wall(START + 30 * DAY);
    let status: Status = app.admin_get("/v1/status").await.unwrap();
    assert!(!status.ready);
    assert!(status.problems[0].starts_with("clock: "), "{:?}", status.problems);
    assert_eq!(app.get("/readyz").await.status, 503);
}
