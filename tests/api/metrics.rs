//! The listener for metrics, and what it tells.

use std::os::unix::fs::PermissionsExt;

use hyper::{Method, StatusCode};

use crate::app::{TestApp, send_to};

#[actix_web::test]
async fn metrics_are_open_metrics_text_that_nobody_keeps() {
    let app = TestApp::start().await;
    let answer = app.watch("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), expected);
    assert_eq!(answer.header("cache-control"), "no-store");
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    let version = env!("CARGO_PKG_VERSION");
    assert!(text.contains(&format!("jwksd_build_info{{version=\"{version}\"}} 1\n")), "{text}");
    assert!(text.contains("jwksd_start_time_seconds 1795316400\n"), "{text}");
}

#[actix_web::test]
async fn the_listener_for_metrics_has_no_other_paths_and_takes_no_body() {
    let app = TestApp::start().await;
    for path in ["/", "/v1/keysets", "/jwks.json", "/.well-known/jwks.json", "/metrics/x"] {
        assert_eq!(app.watch(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let metrics = &app.daemon.metrics;
    let answer = send_to(metrics, Method::POST, "/metrics", &[], Vec::new()).await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    let answer = send_to(metrics, Method::GET, "/metrics", &[], b"x".to_vec()).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[actix_web::test]
async fn metrics_are_nowhere_else() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/metrics").await.status, StatusCode::NOT_FOUND);
}

#[actix_web::test]
async fn the_socket_for_metrics_is_for_the_daemons_user_and_group() {
    let app = TestApp::start().await;
    let metadata = std::fs::metadata(app.metrics_socket()).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
}

#[actix_web::test]
async fn the_health_of_the_daemon_is_told_with_its_reasons() {
    let mut app = TestApp::start().await;
    assert_eq!(app.watch("/healthz").await.status, StatusCode::OK);
    let answer = app.watch("/readyz").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.json()["ready"], true);
    app.restart_with_a_full_audit().await;
    let answer = app.watch("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["ready"], false);
    let text = answer.json().to_string();
    assert!(text.contains("audit"), "{text}");
}
