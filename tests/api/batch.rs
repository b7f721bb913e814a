//! Batches: many tokens for one request, each as if it was asked for alone.

use std::num::NonZero;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use jwksd::api::{BatchResponse, BatchResult, Code, Problem, RevokeResponse, TokenResponse};
use jwksd::pool::{MOST_WAITING, Work};
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::app::{Answer, CALLERS, KEYSETS, TestApp, post};
use crate::dialer::Ca;
use crate::tls::{BACKEND, Setup};
use crate::token::{parts, verifies};

const PATH: &str = "/v1/keysets/default/tokens/batch";

async fn ask(app: &TestApp, requests: &[Value]) -> Answer {
    app.post_bytes(PATH, body(requests)).await
}

fn body(requests: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({"requests": requests})).unwrap()
}

async fn results(app: &TestApp, requests: &[Value]) -> Vec<BatchResult> {
    results_of(&ask(app, requests).await)
}

fn results_of(answer: &Answer) -> Vec<BatchResult> {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(answer.header("cache-control"), "no-store");
    serde_json::from_slice::<BatchResponse>(&answer.body).unwrap().results
}

fn token(result: &BatchResult) -> &TokenResponse {
    match result {
        BatchResult::Token(token) => token,
        BatchResult::Error { error } => panic!("{error:?}"),
    }
}

fn error(result: &BatchResult) -> &Problem {
    match result {
        BatchResult::Token(token) => panic!("{token:?}"),
        BatchResult::Error { error } => error,
    }
}

fn numbered(count: usize) -> Vec<Value> {
    (0..count).map(|n| json!({"claims": {"sub": n.to_string()}, "ttl": 60})).collect()
}

/// The audit's lines about tokens.
fn recorded(app: &TestApp) -> Vec<Value> {
    let mut lines = app.audit();
    lines.retain(|line| line["action"] == "sign-token");
    lines
}

#[actix_web::test]
async fn a_batch_is_answered_in_its_order_with_tokens_that_verify() {
    let app = TestApp::start().await;
    let results = results(&app, &numbered(1000)).await;
    assert_eq!(results.len(), 1000);
    let mut ids = std::collections::HashSet::new();
    for (n, result) in results.iter().enumerate() {
        let claims = parts(&token(result).token).claims();
        assert_eq!(claims["sub"], n.to_string());
        assert!(ids.insert(claims["jti"].to_string()));
    }
    for n in [0, 1, 999] {
        assert!(verifies(&app, &token(&results[n]).token).await);
    }
}

#[actix_web::test]
async fn every_request_of_a_batch_is_recorded_once_under_an_id_of_its_own() {
    let app = TestApp::start().await;
    let results = results(&app, &numbered(100)).await;
    let lines = recorded(&app);
    assert_eq!(lines.len(), 100);
    let batch = lines[0]["request_id"].as_str().unwrap().split_once('.').unwrap().0;
    for (n, result) in results.iter().enumerate() {
        let claims = parts(&token(result).token).claims();
        let of_it = |line: &&Value| line["request_id"] == format!("{batch}.{n}");
        let mut of_it = lines.iter().filter(of_it);
        let line = of_it.next().unwrap();
        assert_eq!(line["jti"], claims["jti"]);
        assert_eq!(line["sub"], n.to_string());
        assert_eq!(line["decision"], "allowed");
        assert!(of_it.next().is_none());
    }
}

#[actix_web::test]
async fn what_is_wrong_with_a_request_is_its_own_matter_and_told_as_to_a_single_one() {
    let app = TestApp::start().await;
    let good = json!({"claims": {"sub": "x"}, "ttl": 60});
    let bad = [
        json!({"claims": {"exp": 1}, "ttl": 60}),
        json!({"claims": {}, "ttl": "2h"}),
        json!({"claims": {}, "ttl": 60, "typ": "x"}),
        json!({"claims": {}}),
        json!([]),
        json!(null),
        json!({"claims": {"x": "y".repeat(64 * 1024)}, "ttl": 60}),
    ];
    let mixed: Vec<Value> = bad.iter().flat_map(|bad| [good.clone(), bad.clone()]).collect();
    let results = results(&app, &mixed).await;
    assert_eq!(results.len(), mixed.len());
    for (pair, bad) in results.chunks(2).zip(&bad) {
        token(&pair[0]);
        let alone = app.try_sign("default", bad.clone()).await.unwrap_err();
        let error = error(&pair[1]).clone();
        assert!(error.request_id.is_some());
        assert_eq!(Problem { request_id: alone.request_id.clone(), ..error }, alone);
    }
    // A request that is refused for what it asks is in the audit with the id that its error has.
    let id = error(&results[1]).request_id.clone().unwrap();
    assert!(id.ends_with(".1"), "{id}");
    let line = recorded(&app).into_iter().find(|line| line["request_id"] == id).unwrap();
    assert_eq!(line["decision"], "refused");
}

#[actix_web::test]
async fn names_that_stand_twice_in_claims_are_refused_in_a_batch_too() {
    let app = TestApp::start().await;
    let body =
        br#"{"requests":[{"claims":{"a":1,"a":2},"ttl":60},{"claims":{"n":1.50e1},"ttl":60}]}"#;
    let results = results_of(&app.post_bytes(PATH, body.to_vec()).await);
    assert_eq!(error(&results[0]).code, Code::InvalidClaims);
    // And what is signed arrives byte for byte.
    assert!(parts(&token(&results[1]).token).payload.ends_with(r#","n":1.50e1}"#));
}

#[actix_web::test]
async fn a_grant_narrows_each_request_of_a_batch() {
    let grant = r#"{ keyset = "default", actions = ["sign-token"], audiences = ["a"],
        max_ttl = "5m", force = { tenant = "t1" } }"#
        .replace('\n', " ");
    let callers = format!("[[callers]]\nname = \"shop\"\nuid = \"self\"\ngrants = [{grant}]\n");
    let app = TestApp::with(KEYSETS, &callers).await;
    let requests = [
        json!({"claims": {"aud": "a"}, "ttl": 300}),
        json!({"claims": {"aud": "b"}, "ttl": 300}),
        json!({"claims": {"aud": "a"}, "ttl": 301}),
        json!({"claims": {"aud": "a", "tenant": "t2"}, "ttl": 300}),
    ];
    let results = results(&app, &requests).await;
    assert_eq!(parts(&token(&results[0]).token).claims()["tenant"], "t1");
    for refused in &results[1..] {
        assert_eq!(error(refused).code, Code::NotAllowed);
    }
}

#[actix_web::test]
async fn a_batch_of_nothing_has_no_results() {
    let app = TestApp::start().await;
    assert_eq!(results(&app, &[]).await, []);
}

#[actix_web::test]
async fn a_batch_that_is_too_large_is_refused_as_a_whole() {
    let app = TestApp::start().await;
    let answer = ask(&app, &numbered(1001)).await;
    let problem = answer.problem();
    assert_eq!((problem.status, problem.code), (413, Code::BodyTooLarge));
    assert!(problem.detail.contains("1001 requests, the limit is 1000"), "{}", problem.detail);
    let mut large = body(&numbered(1));
    large.resize(1024 * 1024, b' ');
    assert_eq!(results_of(&app.post_bytes(PATH, large.clone()).await).len(), 1);
    large.push(b' ');
    let problem = app.post_bytes(PATH, large).await.problem();
    assert_eq!((problem.status, problem.code), (413, Code::BodyTooLarge));
    assert!(problem.detail.contains("1048576"), "{}", problem.detail);
    assert_eq!(recorded(&app).len(), 1);
}

#[actix_web::test]
async fn a_body_that_is_no_batch_is_refused() {
    let app = TestApp::start().await;
    let bodies: [&[u8]; 6] = [
        b"",
        b"[]",
        br#"{"requests":{}}"#,
        br#"{"requests":[1,]}"#,
        br#"{"requests":[],"more":1}"#,
        b"{\"requests\":[\"\xff\"]}",
    ];
    for body in bodies {
        let problem = app.post_bytes(PATH, body.to_vec()).await.problem();
        let text = String::from_utf8_lossy(body).into_owned();
        assert_eq!((problem.status, problem.code), (400, Code::InvalidRequest), "{text}");
        assert!(problem.request_id.is_some());
    }
    assert_eq!(app.get(PATH).await.status, 404, "it is not for the public");
}

#[actix_web::test]
async fn who_may_not_sign_at_all_is_refused_once() {
    let reader = CALLERS.replace("\"sign-token\", ", "");
    let app = TestApp::with(KEYSETS, &reader).await;
    let problem = ask(&app, &numbered(1000)).await.problem();
    assert_eq!((problem.status, problem.code), (403, Code::NotAllowed));
    let lines = recorded(&app);
    assert_eq!(lines.len(), 1);
    assert_eq!(lines[0]["request_id"], problem.request_id.unwrap());

    let app = TestApp::start().await;
    let path = "/v1/keysets/other/tokens/batch";
    let problem = app.post_bytes(path, body(&numbered(1000))).await.problem();
    assert_eq!((problem.status, problem.code), (404, Code::UnknownKeyset));
    assert_eq!(recorded(&app).len(), 1);

    let stranger = "[[callers]]\nname = \"shop\"\nuid = 4000000\n";
    let app = TestApp::with(KEYSETS, stranger).await;
    let problem = ask(&app, &numbered(1000)).await.problem();
    assert_eq!((problem.status, problem.code), (401, Code::UnknownCaller));
    assert_eq!(recorded(&app).len(), 0);
}

#[actix_web::test]
async fn what_the_audit_cannot_record_is_not_signed() {
    let mut app = TestApp::start().await;
    app.restart_with_a_full_audit().await;
    for result in results(&app, &numbered(10)).await {
        assert_eq!(error(&result).code, Code::AuditUnavailable);
        assert_eq!(error(&result).status, 503);
    }
}

#[actix_web::test]
async fn an_activation_in_the_middle_of_a_batch_changes_the_key_of_the_rest() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    let (brake, answer) = batch_under_way(&app).await;
    let before = recorded(&app).len();
    let days = Duration::from_hours(9 * 24);
    app.clock.advance(days);
    drop(brake);
    let results = results_of(&answer.await.unwrap());
    let kids: Vec<&str> = results.iter().map(|result| token(result).kid.as_str()).collect();
    assert_eq!(kids.iter().filter(|kid| **kid == active).count(), before);
    assert_eq!(kids.iter().filter(|kid| **kid == standby).count(), 1000 - before);
    for (result, late) in [(&results[0], 0), (&results[999], days.as_secs())] {
        let claims = parts(&token(result).token).claims();
        assert_eq!(claims["iat"], crate::app::START.as_secs() + late);
        assert!(verifies(&app, &token(result).token).await);
    }
}

#[actix_web::test]
async fn a_revocation_in_the_middle_of_a_batch_counts_from_the_next_request_on() {
    let app = TestApp::start().await;
    let (active, standby) = app.active_and_standby().await;
    let (brake, answer) = batch_under_way(&app).await;
    let before = recorded(&app).len();
    let _: RevokeResponse = app.revoke(&active).await.unwrap();
    drop(brake);
    let results = results_of(&answer.await.unwrap());
    let (revoked, rest) = results.split_at(before);
    assert!(revoked.iter().all(|result| token(result).kid.as_str() == active));
    assert!(rest.iter().all(|result| token(result).kid.as_str() == standby));
    assert!(!verifies(&app, &token(&results[0]).token).await);
    assert!(verifies(&app, &token(&results[999]).token).await);
}

#[actix_web::test]
async fn a_grant_that_is_taken_away_ends_the_batch_that_relied_on_it() {
    let app = TestApp::start().await;
    let (brake, answer) = batch_under_way(&app).await;
    let before = recorded(&app).len();
    app.configure(KEYSETS, &CALLERS.replace("\"sign-token\", ", ""));
    let _: Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
    drop(brake);
    let results = results_of(&answer.await.unwrap());
    let signed = results.iter().filter(|result| matches!(result, BatchResult::Token(_))).count();
    assert_eq!(signed, before);
    assert_eq!(error(&results[999]).code, Code::NotAllowed);
}

#[actix_web::test]
async fn a_ca_that_is_taken_away_ends_the_batch_of_a_caller_with_a_certificate_of_it() {
    let setup = Setup::start().await;
    let app = &setup.app;
    let brake = Brake::on(app);
    let mut connection = setup.connect(Some(&setup.clients.client(&[BACKEND]))).await;
    let answer = tokio::spawn(async move {
        let requests = json!({"requests": numbered(1000)});
        connection.ask("POST", PATH, &[], &requests).await
    });
    brake.until(|| !recorded(app).is_empty()).await;
    let before = recorded(app).len();
    setup.files.write_cas(&[&Ca::new("another")]);
    setup.look();
    drop(brake);
    let results = results_of(&answer.await.unwrap());
    let signed = results.iter().filter(|result| matches!(result, BatchResult::Token(_))).count();
    assert_eq!(signed, before);
    assert_eq!(error(&results[999]).code, Code::NotAllowed);
}

#[actix_web::test]
async fn nothing_more_is_signed_for_a_caller_that_hung_up() {
    let app = TestApp::start().await;
    let (brake, answer) = batch_under_way(&app).await;
    answer.abort();
    assert!(answer.await.is_err_and(|error| error.is_cancelled()));
    // As long as the batch is there, it has a turn in every round.
    let mut signed = 0;
    let stands_still = || {
        let before = std::mem::replace(&mut signed, recorded(&app).len());
        before == signed
    };
    brake.until(stands_still).await;
    assert!(signed < 1000, "all were signed");
}

#[actix_web::test]
async fn a_batch_that_finds_no_place_is_told_when_to_come_back() {
    let app = TestApp::start().await;
    let brake = Brake::on(&app);
    // The brake itself has one of the places.
    let pool = &app.daemon.pool;
    let _waiting: Vec<_> = (1..MOST_WAITING).map(|_| pool.take(Nothing).unwrap()).collect();
    let answer = ask(&app, &numbered(1)).await;
    assert_eq!(answer.header("retry-after"), "1");
    let problem = answer.problem();
    assert_eq!((problem.status, problem.code), (503, Code::Busy));
    // Single requests do not notice.
    app.sign("default").await;
    drop(brake);
}

#[actix_web::test]
async fn at_the_end_a_caller_hears_what_was_signed_and_what_was_not() {
    let app = TestApp::start().await;
    let (brake, answer) = batch_under_way(&app).await;
    let before = recorded(&app).len();
    app.daemon.pool.refuse();
    drop(brake);
    let results = results_of(&answer.await.unwrap());
    for result in &results[..before] {
        token(result);
    }
    for result in &results[before..] {
        assert_eq!((error(result).status, error(result).code), (503, Code::Stopping));
    }
    let problem = ask(&app, &numbered(1)).await.problem();
    assert_eq!((problem.status, problem.code), (503, Code::Stopping));
}

/// A batch of a thousand of which something was recorded, and which goes no further.
async fn batch_under_way(app: &TestApp) -> (Brake, JoinHandle<Answer>) {
    let brake = Brake::on(app);
    let answer = tokio::spawn(post(app.internal(), PATH, body(&numbered(1000))));
    brake.until(|| !recorded(app).is_empty()).await;
    (brake, answer)
}

/// Holds all threads of the pool, and lets batches go on by a turn or so at a time; dropped, it
/// lets them go.
struct Brake {
    threads: usize,
    held: Receiver<()>,
    go: Sender<()>,
    _answer: oneshot::Receiver<()>,
}

/// A batch that never ends, each item of which waits to be let go.
struct Holding {
    stops: Sender<()>,
    goes: Mutex<Receiver<()>>,
}

impl Brake {
    fn on(app: &TestApp) -> Self {
        let (stops, held) = channel();
        let (go, goes) = channel();
        let work = Holding { stops, goes: Mutex::new(goes) };
        let answer = app.daemon.pool.take(work).unwrap();
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
        let brake = Self { threads, held, go, _answer: answer };
        brake.wait();
        brake
    }

    /// Until all threads are held.
    fn wait(&self) {
        for _ in 0..self.threads {
            self.held.recv().unwrap();
        }
    }

    /// Rounds of turns until something has come about. Each batch has one in every round.
    async fn until(&self, mut it_has: impl FnMut() -> bool) {
        while !it_has() {
            for _ in 0..self.threads {
                self.go.send(()).unwrap();
            }
            self.wait();
            tokio::task::yield_now().await;
        }
    }
}

impl Work for Holding {
    type Done = ();
    type Answer = ();

    fn count(&self) -> usize {
        1_000_000
    }

    fn turn(&self) -> NonZero<usize> {
        NonZero::<usize>::MIN
    }

    fn items(&self, _: Range<usize>) {
        // Either fails when the brake is gone: then nothing is held any more.
        if self.stops.send(()).is_ok() {
            let _ = self.goes.lock().unwrap().recv();
        }
    }

    fn refusal(&self, _: Range<usize>) {}

    fn answer(&self, _: Vec<()>) {}
}

/// A batch that is only there.
struct Nothing;

impl Work for Nothing {
    type Done = ();
    type Answer = ();

    fn count(&self) -> usize {
        1
    }

    fn turn(&self) -> NonZero<usize> {
        NonZero::<usize>::MIN
    }

    fn items(&self, _: Range<usize>) {}

    fn refusal(&self, _: Range<usize>) {}

    fn answer(&self, _: Vec<()>) {}
}
