//! Many key sets: what one of them costs does not depend on how many there are, and what time asks of
//! all of them at once is done together.

use std::time::Duration;

use hyper::Method;
use jwksd::administration::Administration;
use jwksd::api::{Code, KeyState, Keyset};
use jwksd::metrics::store::Operation;
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::store::CommitFault;
use serde_json::json;

use crate::app::{CALLERS, DAY, HOUR, KEYSETS, TestApp, To};

/// The usual key set, and so many like it: `set-0`, `set-1` and so on.
fn with_others(others: usize) -> String {
    let text = KEYSETS.replace("http://127.0.0.1:8080", "http://127.0.0.1:8080/ISSUER");
    let other = |number: usize| {
        let name = format!("set-{number}");
        text.replace("keysets.default", &format!("keysets.{name}")).replace("ISSUER", &name)
    };
    (0..others).map(other).fold(KEYSETS.to_owned(), |all, other| all + &other)
}

/// How often the store was read, and committed to, since the daemon started.
fn done(app: &TestApp) -> [u64; 2] {
    done_by(&app.daemon.administration)
}

fn done_by(administration: &Administration) -> [u64; 2] {
    let figures = administration.custody.metrics().store();
    [Operation::Read, Operation::Commit]
        .map(|operation| figures.durations(operation).snapshot().count)
}

/// All key sets as admins see them.
async fn all(app: &TestApp) -> Vec<Keyset> {
    let list: jwksd::api::KeysetList = app.admin_get("/v1/keysets").await.unwrap();
    list.keysets
}

/// How many keys of a set are in each of these states.
fn states(keyset: &Keyset) -> [usize; 4] {
    let states = [KeyState::Pending, KeyState::Active, KeyState::VerifyOnly, KeyState::Retired];
    states.map(|state| keyset.keys.iter().filter(|key| key.state == state).count())
}

#[actix_web::test]
async fn a_rotation_costs_the_store_the_same_among_many_key_sets() {
    let mut costs = Vec::new();
    for others in [0, 30] {
        let app = TestApp::with(&with_others(others), CALLERS).await;
        app.advance(2 * DAY).await;
        let active = app.kid(KeyState::Active).await;
        let before = done(&app);
        app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
        let after = done(&app);
        costs.push([after[0] - before[0], after[1] - before[1]]);
    }
    assert_eq!(costs[0], costs[1]);
}

#[actix_web::test]
async fn a_start_makes_up_for_the_time_before_it_in_one_commit() {
    let mut commits = Vec::new();
    for others in [0, 100] {
        let mut app = TestApp::with(&with_others(others), CALLERS).await;
        app.restart_after(HOUR).await;
        commits.push(done(&app)[1]);
    }
    assert_eq!(commits[0], commits[1]);
}

#[actix_web::test]
async fn what_a_start_took_is_made_up_for_once_the_listeners_have_begun() {
    let mut app = TestApp::with(&with_others(9), CALLERS).await;
    app.daemon_down(HOUR).await;
    app.slow_commit(HOUR);
    let (administration, rotator, audit) = app.open();
    assert_eq!(done_by(&administration)[1], 1, "whoever waits to be served waits for no other");
    administration.rotator.serving(administration.clock.now().lifecycle);
    administration.rotator.settle();
    assert_eq!(done_by(&administration)[1], 2);
    administration.rotator.stop();
    rotator.join().unwrap();
    audit.close();
}

#[actix_web::test]
async fn first_keys_are_made_however_long_that_takes() {
    let mut app = TestApp::with(KEYSETS, CALLERS).await;
    app.configure(&with_others(99), CALLERS);
    app.daemon_down(Duration::ZERO).await;
    app.slow_commit(HOUR);
    let (administration, rotator, audit) = app.open();
    let custody = &administration.custody;
    let now = administration.clock.now().lifecycle;
    let signs = |name: &KeysetName| custody.ring(name).is_some_and(|it| it.signer_at(now).is_ok());
    assert!(custody.config().keysets.keys().all(signs));
    administration.rotator.stop();
    rotator.join().unwrap();
    audit.close();
}

#[actix_web::test]
async fn keys_of_many_sets_that_leave_at_one_moment_share_commits() {
    let app = TestApp::with(&with_others(99), CALLERS).await;
    app.advance(9 * DAY).await;
    assert!(all(&app).await.iter().all(|keyset| states(keyset) == [1, 1, 1, 0]));
    let before = done(&app)[1];
    app.advance(2 * HOUR).await;
    assert!(all(&app).await.iter().all(|keyset| states(keyset) == [1, 1, 0, 1]));
    assert_eq!(done(&app)[1] - before, 2, "100 sets, at most 64 in each");
}

#[actix_web::test]
async fn a_commit_of_many_sets_that_fails_leaves_none_behind() {
    for fault in [CommitFault::FailBefore, CommitFault::FailButPersist, CommitFault::FailUnknown] {
        let app = TestApp::with(&with_others(9), CALLERS).await;
        app.advance(9 * DAY).await;
        app.rows.fail_next([fault]);
        app.advance(2 * HOUR).await;
        app.advance(HOUR).await;
        for keyset in all(&app).await {
            assert_eq!(states(&keyset), [1, 1, 0, 1], "{fault:?}: {}", keyset.name);
        }
        assert_eq!(app.get("/readyz").await.status, 200, "{fault:?}");
    }
}

#[actix_web::test]
async fn an_audit_that_cannot_be_written_holds_up_all_sets_of_a_commit() {
    let mut app = TestApp::with(&with_others(9), CALLERS).await;
    app.advance(9 * DAY).await;
    app.restart_with_a_full_audit().await;
    app.advance(2 * HOUR).await;
    assert!(all(&app).await.iter().all(|keyset| states(keyset)[3] == 0));
    assert_eq!(app.get("/readyz").await.status, 503);
}

#[actix_web::test]
async fn what_is_committed_together_is_told_apart_in_the_audit() {
    let app = TestApp::with(&with_others(9), CALLERS).await;
    app.advance(9 * DAY).await;
    let before = app.audit().len();
    app.advance(2 * HOUR).await;
    let lines = app.audit().split_off(before);
    for keyset in all(&app).await {
        let retired = keyset.keys.iter().find(|key| key.state == KeyState::Retired).unwrap();
        let decisions: Vec<_> = lines
            .iter()
            .filter(|line| line["keyset"] == keyset.name.as_str())
            .map(|line| (&line["decision"], &line["keys"][0]["kid"]))
            .collect();
        let kid = json!(retired.kid);
        assert_eq!(decisions, [(&json!("intent"), &kid), (&json!("done"), &kid)]);
    }
}

#[actix_web::test]
async fn where_enough_lists_are_being_made_the_next_is_refused_until_there_is_room() {
    let app = TestApp::with(&with_others(1), CALLERS).await;
    let administration = app.daemon.administration.clone();
    let room = &administration.listing;
    let made = u32::try_from(room.available_permits() - 1).unwrap();
    let others = room.try_acquire_many(made).unwrap();
    let refused = app.ask(To::Admin, Method::GET, "/v1/keysets", &[], b"").await.problem();
    assert_eq!((refused.status, refused.code), (503, Code::Busy));
    drop(others);
    assert_eq!(all(&app).await.len(), 2);
}

#[actix_web::test]
async fn changed_facts_of_many_sets_are_in_force_when_a_reload_is_answered() {
    let app = TestApp::with(&with_others(70), CALLERS).await;
    app.configure(&with_others(70).replace("0 3 1 * *", "0 3 2 * *"), CALLERS);
    let before = done(&app)[1];
    let answer: serde_json::Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
    assert_eq!(answer["changed"].as_array().unwrap().len(), 71);
    assert_eq!(done(&app)[1] - before, 2, "71 sets, at most 64 in each commit");
    for keyset in all(&app).await {
        let next = keyset.keys.iter().find(|key| key.state == KeyState::Pending).unwrap();
        assert_eq!(next.activates.as_deref(), Some("2026-12-02T03:00:00Z"), "{}", keyset.name);
    }
}
