//! Limits: what one caller may ask for, and what the others notice of it.

use std::time::Duration;

use hyper::Method;
use hyper::header::AUTHORIZATION;
use jwksd::api::{BatchResponse, BatchResult, Code, Keyset, Problem, ReloadResponse};
use jwksd::limits::BATCHES_IN_HAND;
use jwksd_keystore::crypto::{hex, sha256};
use serde_json::{Value, json};

use crate::app::{Answer, CALLERS, KEYSETS, TestApp, send_to};
use crate::wire::{LONG, Wire};

const TOKENS: &str = "/v1/keysets/default/tokens";
const BATCH: &str = "/v1/keysets/default/tokens/batch";

/// What the caller `ci` presents.
const TOKEN: &str = "jwksd_ci";

/// The smallest burst there is, and then a request in a second.
const SLOW: &str = "requests_per_second = 1\nburst = 1000";

/// The usual caller with these limits, and `ci` with the usual ones.
fn callers(limits: &str) -> String {
    let local = CALLERS.replace("uid = \"self\"", &format!("uid = \"self\"\n{limits}"));
    let digest = hex(&sha256(TOKEN.as_bytes()));
    format!(
        "{local}\n[[callers]]\nname = \"ci\"\ntoken_sha256 = \"{digest}\"\n\
         grants = [{{ keyset = \"*\", actions = [\"sign-token\"] }}]\n"
    )
}

fn requests(count: usize) -> Vec<u8> {
    let one = json!({"claims": {}, "ttl": 60});
    serde_json::to_vec(&json!({"requests": vec![one; count]})).unwrap()
}

async fn batch(app: &TestApp, count: usize) -> Answer {
    app.post_bytes(BATCH, requests(count)).await
}

fn tokens_in(answer: &Answer) -> usize {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    let results = serde_json::from_slice::<BatchResponse>(&answer.body).unwrap().results;
    results.iter().filter(|result| matches!(result, BatchResult::Token(_))).count()
}

async fn with_token(app: &TestApp, token: &str, path: &str, body: Vec<u8>) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [(AUTHORIZATION, bearer.as_str())];
    send_to(&app.daemon.internal_tcp, Method::POST, path, &headers, body).await
}

async fn signs_for_ci(app: &TestApp) -> bool {
    let body = br#"{"claims":{},"ttl":60}"#.to_vec();
    with_token(app, TOKEN, TOKENS, body).await.status == 200
}

async fn refused(app: &TestApp) -> Problem {
    app.try_sign("default", json!({"claims": {}, "ttl": 60})).await.unwrap_err()
}

async fn reload(app: &TestApp) {
    let _: ReloadResponse = app.admin_post("/v1/reload", json!({})).await.unwrap();
}

#[actix_web::test]
async fn over_its_rate_a_caller_is_told_when_to_come_back_and_others_are_served() {
    let app = TestApp::with(KEYSETS, &callers(SLOW)).await;
    assert_eq!(tokens_in(&batch(&app, 998).await), 998);
    app.sign("default").await;
    app.sign("default").await;
    let answer = app.post_bytes(TOKENS, br#"{"claims":{},"ttl":60}"#.to_vec()).await;
    assert_eq!(answer.header("retry-after"), "1");
    let problem = answer.problem();
    assert_eq!((problem.status, problem.code), (429, Code::RateLimited));
    assert_eq!(problem.retry_after, Some(1));
    assert!(signs_for_ci(&app).await);
    // The same caller as an admin has an allowance of its own: it may have to revoke.
    let _: Keyset = app.show("default").await;
    app.clock.advance(Duration::from_secs(1));
    app.sign("default").await;
    assert_eq!(refused(&app).await.code, Code::RateLimited);
}

#[actix_web::test]
async fn a_batch_counts_as_many_as_it_has_and_is_let_through_whole_or_not_at_all() {
    let app = TestApp::with(KEYSETS, &callers(SLOW)).await;
    assert_eq!(tokens_in(&batch(&app, 600).await), 600);
    let answer = batch(&app, 600).await;
    // It counted as one, of the 400 that were left.
    assert_eq!(answer.header("retry-after"), "201");
    assert_eq!(answer.problem().code, Code::RateLimited);
    let allowed = app.audit().iter().filter(|line| line["decision"] == "allowed").count();
    assert_eq!(allowed, 600);
    assert_eq!(tokens_in(&batch(&app, 399).await), 399);
    assert_eq!(refused(&app).await.code, Code::RateLimited);
    // After a rest the largest batch is let through.
    app.clock.advance(Duration::from_secs(1000));
    assert_eq!(tokens_in(&batch(&app, 1000).await), 1000);
}

#[actix_web::test]
async fn the_admin_listener_has_limits_too() {
    let app = TestApp::with(KEYSETS, &callers(SLOW)).await;
    let status = || app.admin_get::<Value>("/v1/status");
    for _ in 0..1000 {
        status().await.unwrap();
    }
    let problem = status().await.unwrap_err();
    assert_eq!((problem.status, problem.code), (429, Code::RateLimited));
    app.sign("default").await;
}

#[actix_web::test]
async fn a_flood_of_refusals_is_no_flood_of_audit_lines() {
    let app = TestApp::with(KEYSETS, &callers(SLOW)).await;
    assert_eq!(tokens_in(&batch(&app, 1000).await), 1000);
    for _ in 0..300 {
        refused(&app).await;
    }
    let lines = app.audit();
    let refusals: Vec<&Value> = lines.iter().filter(|line| line["decision"] == "refused").collect();
    assert_eq!(refusals.len(), 60);
    assert_eq!(refusals[0]["caller"], "local");
    assert_eq!(refusals[0]["action"], "sign-token");
    let reason = refusals[0]["reason"].as_str().unwrap();
    assert!(reason.contains("over the limit of 1 requests in a second"), "{reason}");
}

#[actix_web::test]
async fn a_reload_gives_nothing_back_unless_the_limits_change() {
    let app = TestApp::with(KEYSETS, &callers(SLOW)).await;
    assert_eq!(tokens_in(&batch(&app, 1000).await), 1000);
    reload(&app).await;
    assert_eq!(refused(&app).await.code, Code::RateLimited);
    app.configure(KEYSETS, &callers("requests_per_second = 2\nburst = 1000"));
    reload(&app).await;
    app.sign("default").await;
}

#[actix_web::test]
async fn the_limits_of_all_callers_are_those_of_one_that_names_none() {
    let app = TestApp::with(&format!("[limits]\n{SLOW}\n{KEYSETS}"), &callers("")).await;
    assert_eq!(tokens_in(&batch(&app, 1000).await), 1000);
    assert_eq!(refused(&app).await.code, Code::RateLimited);
    app.configure(&format!("[limits]\n{SLOW}\n{KEYSETS}"), &callers("burst = 2000"));
    reload(&app).await;
    assert_eq!(tokens_in(&batch(&app, 1000).await), 1000);
    assert_eq!(tokens_in(&batch(&app, 1000).await), 1000);
    assert_eq!(refused(&app).await.code, Code::RateLimited);
}

#[actix_web::test]
async fn callers_that_nobody_knows_are_turned_away_and_known_ones_do_not_notice() {
    let app = TestApp::with(KEYSETS, &callers("")).await;
    let mut codes = Vec::new();
    for n in 0..150 {
        let answer = with_token(&app, &format!("jwksd_{n}"), TOKENS, Vec::new()).await;
        if answer.status == 429 {
            assert_eq!(answer.header("retry-after"), "1");
            assert_eq!(answer.header("connection"), "close");
        }
        codes.push(answer.problem().code);
    }
    assert!(codes[..100].iter().all(|code| *code == Code::UnknownCaller), "{codes:?}");
    assert!(codes[100..].iter().all(|code| *code == Code::RateLimited), "{codes:?}");
    assert!(signs_for_ci(&app).await);
    app.sign("default").await;
    assert!(app.audit().iter().all(|line| line["decision"] != "refused"));
}

/// A request whose body waits until the daemon asks for it: from then on it is under way.
async fn begin(app: &TestApp, path: &str, body: &[u8]) -> Wire {
    let mut wire = Wire::to(&app.daemon.internal).await;
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
    );
    wire.send(head.as_bytes()).await;
    assert_eq!(wire.head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    wire
}

#[actix_web::test]
async fn one_caller_has_no_more_than_its_share_of_the_batches_in_hand() {
    let app = TestApp::with(KEYSETS, &callers("")).await;
    let body = requests(2);
    let mut in_hand = Vec::new();
    for _ in 0..BATCHES_IN_HAND {
        in_hand.push(begin(&app, BATCH, &body).await);
    }
    let problem = batch(&app, 2).await.problem();
    assert_eq!((problem.status, problem.code), (429, Code::TooManyAtOnce));
    assert_eq!(problem.retry_after, Some(1));
    app.sign("default").await;
    assert_eq!(tokens_in(&with_token(&app, TOKEN, BATCH, body.clone()).await), 2);
    for mut wire in in_hand {
        wire.send(&body).await;
        assert!(wire.head().await.starts_with("HTTP/1.1 200 OK"));
    }
    assert_eq!(tokens_in(&batch(&app, 2).await), 2);
}

#[actix_web::test]
async fn no_more_requests_of_a_caller_are_under_way_than_may_be() {
    let app = TestApp::with(KEYSETS, &callers("in_flight = 2")).await;
    let body = br#"{"claims":{},"ttl":60}"#;
    let mut first = begin(&app, TOKENS, body).await;
    let second = begin(&app, TOKENS, body).await;
    let problem = refused(&app).await;
    assert_eq!((problem.status, problem.code), (429, Code::TooManyAtOnce));
    assert!(signs_for_ci(&app).await);
    first.send(body).await;
    assert!(first.head().await.starts_with("HTTP/1.1 200 OK"));
    app.sign("default").await;
    // Who hangs up is not counted either, as soon as that is noticed.
    let third = begin(&app, TOKENS, body).await;
    assert_eq!(refused(&app).await.code, Code::TooManyAtOnce);
    drop((second, third));
    let signs =
        async { while app.try_sign("default", json!({"claims": {}, "ttl": 60})).await.is_err() {} };
    tokio::time::timeout(LONG, signs).await.expect("its share is still held");
}
