//! How long and how much the daemon bears: peers that send slowly, read nothing, send too much, or
//! are too many. Nobody else notices.

use std::time::Duration;

use hyper::Method;
use jwksd::config::Listen;
use jwksd::http::connection::Timeouts;
use serde_json::json;

use crate::app::{CALLERS, KEYSETS, TestApp, send_to};
use crate::wire::{LONG, Wire};

/// Short, but long enough for an honest peer on a busy machine. The HTTP library takes up to half a
/// second off.
const HASTY: Timeouts = Timeouts {
    handshake: Duration::from_secs(2),
    head: Duration::from_secs(2),
    body: Duration::from_secs(2),
    answer: Duration::from_secs(2),
    idle: Duration::from_secs(2),
};

async fn hasty() -> TestApp {
    TestApp::with_timeouts(KEYSETS, CALLERS, HASTY).await
}

/// Every place of the daemon.
fn places(app: &TestApp) -> Vec<Listen> {
    let daemon = &app.daemon;
    let places =
        [&daemon.public, &daemon.internal, &daemon.internal_tcp, &daemon.admin, &daemon.admin_tcp];
    places.into_iter().cloned().collect()
}

/// A request that is answered at every place of its listener, if only with a problem.
fn any_request(place: &Listen) -> &'static str {
    match place {
        Listen::Tcp(_) => "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n",
        // Of a caller that is known: nobody else's connection is kept.
        Listen::Unix(path) if path.ends_with("admin.sock") => {
            "GET /v1/keysets HTTP/1.1\r\nhost: localhost\r\n\r\n"
        }
        Listen::Unix(_) => {
            "POST /v1/keysets/default/tokens HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
        }
    }
}

/// An honest client of each listener.
async fn serves(app: &TestApp) {
    assert_eq!(app.get("/.well-known/jwks.json").await.status, 200);
    app.sign("default").await;
    app.show("default").await;
}

/// Opens many connections, sends this over each, dribbles on; returns what each was told.
async fn all_dribble(app: &TestApp, places: &[Listen], begin: &str) -> Vec<String> {
    let mut dribbling = tokio::task::JoinSet::new();
    for place in places.iter().cycle().take(6 * places.len()) {
        let mut wire = Wire::to(place).await;
        wire.send(begin.as_bytes()).await;
        dribbling.spawn(async move { wire.dribble().await });
    }
    serves(app).await;
    let told = dribbling.join_all().await;
    serves(app).await;
    told
}

#[actix_web::test]
async fn whoever_sends_a_head_byte_by_byte_is_cut_off_and_nobody_else_notices() {
    let app = hasty().await;
    let begin = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ";
    for told in all_dribble(&app, &places(&app), begin).await {
        assert!(told.starts_with("HTTP/1.1 408"), "{told}");
    }
}

#[actix_web::test]
async fn whoever_connects_and_says_nothing_is_cut_off() {
    let app = hasty().await;
    for place in places(&app) {
        Wire::to(&place).await.closed().await;
    }
}

#[actix_web::test]
async fn a_connection_that_nobody_uses_any_more_is_closed() {
    let app = hasty().await;
    for place in places(&app) {
        let mut wire = Wire::to(&place).await;
        wire.send(any_request(&place).as_bytes()).await;
        wire.answer().await;
        wire.closed().await;
    }
}

#[actix_web::test]
async fn the_head_of_a_later_request_has_no_more_time() {
    let app = hasty().await;
    let mut dribbling = tokio::task::JoinSet::new();
    for place in places(&app) {
        let mut wire = Wire::to(&place).await;
        wire.send(any_request(&place).as_bytes()).await;
        wire.answer().await;
        wire.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await;
        dribbling.spawn(async move { wire.dribble().await });
    }
    dribbling.join_all().await;
    serves(&app).await;
}

#[actix_web::test]
async fn whoever_sends_a_body_byte_by_byte_is_refused_and_cut_off() {
    let app = hasty().await;
    let head =
        |path: &str, rest: &str| format!("POST {path} HTTP/1.1\r\nhost: localhost\r\n{rest}");
    let endless = "transfer-encoding: chunked\r\n\r\n1\r\n1\r\nffff\r\n1";
    for rest in ["content-length: 60000\r\n\r\n{", endless] {
        let internal = [app.daemon.internal.clone()];
        for path in ["/v1/keysets/default/tokens", "/v1/keysets/default/tokens/batch"] {
            for told in all_dribble(&app, &internal[..], &head(path, rest)).await {
                assert!(told.starts_with("HTTP/1.1 400"), "{told}");
                assert!(told.contains("the body did not arrive within 2s"), "{told}");
            }
        }
        let admin = [app.daemon.admin.clone()];
        let path = "/v1/keysets/default/rotate";
        for told in all_dribble(&app, &admin[..], &head(path, rest)).await {
            assert!(told.contains("the body did not arrive within 2s"), "{told}");
        }
    }
}

#[actix_web::test]
async fn a_body_that_no_path_wants_holds_no_connection() {
    let app = hasty().await;
    let endless =
        "POST /nowhere HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\nffff\r\n1";
    for told in all_dribble(&app, &places(&app), endless).await {
        assert!(told.starts_with("HTTP/1.1 4"), "{told}");
    }
}

#[actix_web::test]
async fn the_public_listener_takes_no_body_and_asks_for_none() {
    let app = hasty().await;
    for path in ["/.well-known/jwks.json", "/healthz", "/nowhere"] {
        let answer = send_to(&app.daemon.public, Method::GET, path, &[], b"{}".to_vec()).await;
        assert_eq!(answer.status, 413, "{path}");
        assert_eq!(answer.header("connection"), "close");
        assert!(answer.problem().detail.contains("no path here takes a body"));
    }
    // A body of nothing is none.
    let mut wire = Wire::to(&app.daemon.public).await;
    wire.send(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n").await;
    assert_eq!(wire.answer().await.1, b"ok\n");
}

#[actix_web::test]
async fn whoever_asks_on_and_on_and_reads_nothing_is_cut_off() {
    let app = hasty().await;
    // The second is answered with a head alone.
    for header in ["x-any: 1", "if-none-match: *"] {
        let request =
            format!("GET /.well-known/jwks.json HTTP/1.1\r\nhost: localhost\r\n{header}\r\n\r\n");
        for place in places(&app) {
            let mut wire = Wire::to(&place).await;
            let poured = wire.pour(request.repeat(100).as_bytes()).await;
            // What the buffers of both sockets take, and no more.
            assert!(poured < 3000, "{poured} times at {place}");
        }
    }
    serves(&app).await;
}

#[actix_web::test]
async fn whoever_does_not_take_a_batch_is_cut_off_and_holds_its_share_no_longer() {
    let callers = CALLERS.replace("uid = \"self\"", "uid = \"self\"\nin_flight = 1");
    let app = TestApp::with_timeouts(KEYSETS, &callers, HASTY).await;
    let requests = vec![json!({"claims": {}, "ttl": 60}); 1000];
    let body = json!({"requests": requests}).to_string();
    let length = body.len();
    let place = &app.daemon.internal;
    let mut wire = Wire::to(place).await;
    let path = "/v1/keysets/default/tokens/batch";
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
    wire.send(head.as_bytes()).await;
    wire.send(body.as_bytes()).await;
    assert!(wire.head().await.starts_with("HTTP/1.1 200 OK"));
    let refused = app.try_sign("default", json!({"claims": {}, "ttl": 60})).await.unwrap_err();
    assert_eq!(refused.status, 429);
    wire.closed().await;
    let signs =
        async { while app.try_sign("default", json!({"claims": {}, "ttl": 60})).await.is_err() {} };
    tokio::time::timeout(LONG, signs).await.expect("its share is still held");
}

#[actix_web::test]
async fn a_head_that_is_too_large_is_refused() {
    let app = hasty().await;
    let long = "x".repeat(300_000);
    let many = "x-more: 1\r\n".repeat(1000);
    let heads = [
        format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx-long: {long}\r\n\r\n"),
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{many}\r\n"),
    ];
    for place in places(&app) {
        for head in &heads {
            let mut wire = Wire::to(&place).await;
            wire.pour_once(head.as_bytes()).await;
            let told = wire.dribble().await;
            assert!(told.starts_with("HTTP/1.1 4"), "{told} at {place}");
        }
    }
    serves(&app).await;
}

#[actix_web::test]
async fn connections_beyond_the_limit_wait_until_others_end() {
    let limits = "[limits]\nconnections = { public = 2 }\n";
    let app = TestApp::with(&format!("{limits}{KEYSETS}"), CALLERS).await;
    let request = any_request(&app.daemon.public).as_bytes();
    let mut first = Wire::to(&app.daemon.public).await;
    let mut second = Wire::to(&app.daemon.public).await;
    for wire in [&mut first, &mut second] {
        wire.send(request).await;
        assert_eq!(wire.answer().await.1, b"ok\n");
    }
    let mut third = Wire::to(&app.daemon.public).await;
    third.send(request).await;
    for _ in 0..200 {
        first.send(request).await;
        first.answer().await;
    }
    assert!(!third.has_said_something());
    app.sign("default").await;
    drop(second);
    assert_eq!(third.answer().await.1, b"ok\n");
}

#[actix_web::test]
async fn strangers_on_the_network_take_no_connection_from_unix_sockets() {
    let limits = "[limits]\nconnections = { internal = 2, admin = 2 }\n";
    let app = TestApp::with(&format!("{limits}{KEYSETS}"), CALLERS).await;
    let mut strangers = Vec::new();
    for place in [&app.daemon.internal_tcp, &app.daemon.admin_tcp] {
        for _ in 0..8 {
            strangers.push(Wire::to(place).await);
        }
    }
    app.sign("default").await;
    app.show("default").await;
    assert!(strangers.iter().all(|stranger| !stranger.has_said_something()));
}

#[actix_web::test]
async fn strangers_keep_no_connection_and_known_callers_do() {
    let app = hasty().await;
    let place = app.daemon.internal.clone();
    let document = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut wire = Wire::to(&place).await;
    wire.send(document).await;
    assert!(wire.answer().await.0.contains("connection: close"));
    wire.closed().await;

    let mut wire = Wire::to(&place).await;
    for request in [any_request(&place).as_bytes(), document] {
        wire.send(request).await;
        assert!(!wire.answer().await.0.contains("connection: close"));
    }
}
