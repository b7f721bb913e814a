//! The listener for metrics, and what it tells.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use hyper::header::IF_NONE_MATCH;
use hyper::{Method, StatusCode};
use jwksd::api::{KeyState, RevokeResponse, Signatures};
use jwksd::config::Listen;
use serde_json::json;

use crate::app::{CALLERS, DAY, KEYSETS, TestApp, caller_of, send_to};

/// What a scrape tells: the value of each metric by its name with its labels, as written.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    async fn of(app: &TestApp) -> Self {
        let text = String::from_utf8(app.watch("/metrics").await.body).unwrap();
        let metrics = text.lines().filter(|line| !line.starts_with('#'));
        let metric = |line: &str| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        };
        Self(metrics.map(metric).collect())
    }

    fn find(&self, name: &str) -> Option<f64> {
        self.0.get(name).copied()
    }

    /// The value of a metric; a whole number in nearly all cases.
    #[track_caller]
    fn value(&self, name: &str) -> f64 {
        let begins = name.split('{').next().unwrap();
        let similar: Vec<_> = self.0.keys().filter(|key| key.starts_with(begins)).collect();
        self.find(name).unwrap_or_else(|| panic!("no {name}, only {similar:#?}"))
    }

    #[track_caller]
    fn is(&self, name: &str, expected: f64) {
        let value = self.value(name);
        assert!((value - expected).abs() < 1e-6, "{name} is {value}, not {expected}");
    }

    fn names_with(&self, part: &str) -> Vec<&String> {
        self.0.keys().filter(|name| name.contains(part)).collect()
    }
}

const SIGNED: &str =
    r#"jwksd_signatures_total{keyset="default",algorithm="ES256",caller="local",outcome="signed"}"#;

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
    Scrape::of(&app).await.is("process_start_time_seconds", 1_795_316_400.0);
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

#[actix_web::test]
async fn tokens_are_counted_by_what_became_of_them() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        app.sign("default").await;
    }
    app.try_sign("default", json!({"claims": {}, "ttl": "2h"})).await.unwrap_err();
    app.try_sign("default", json!({"claims": {"iss": "x"}, "ttl": "1m"})).await.unwrap_err();
    app.try_sign("nowhere", json!({"claims": {}, "ttl": "1m"})).await.unwrap_err();
    let batch = json!({"requests": [{"claims": {}, "ttl": "1m"}, {"claims": {}, "ttl": "2h"}]});
    let path = "/v1/keysets/default/tokens/batch";
    assert!(app.post_bytes(path, batch.to_string().into_bytes()).await.status.is_success());

    let scrape = Scrape::of(&app).await;
    scrape.is(SIGNED, 4.0);
    scrape.is(&SIGNED.replace("\"signed", "\"invalid"), 3.0);
    scrape.is(&SIGNED.replace("\"signed", "\"failed"), 0.0);
    let unknown = r#"jwksd_signatures_total{keyset="_unknown",algorithm="none",caller="local",outcome="not_configured"}"#;
    scrape.is(unknown, 1.0);
    let durations = "jwksd_signature_duration_seconds_";
    let of_keyset = r#"{keyset="default",algorithm="ES256"}"#;
    // Those in batches are not timed.
    scrape.is(&format!("{durations}count{of_keyset}"), 3.0);
    let sum = scrape.value(&format!("{durations}sum{of_keyset}"));
    assert!(sum > 0.0 && sum < 60.0, "{sum}");
    let last = format!(r#"{durations}bucket{{le="+Inf",keyset="default",algorithm="ES256"}}"#);
    scrape.is(&last, 3.0);
    scrape.is(r#"jwksd_batches_total{keyset="default",outcome="answered"}"#, 1.0);
    scrape.is("jwksd_batch_duration_seconds_count", 1.0);
    // A line for each request, and that of the start.
    scrape.is("jwksd_audit_write_duration_seconds_count", scrape.value("jwksd_audit_lines_total"));
    assert!(scrape.value("jwksd_audit_lines_total") >= 8.0);
}

#[actix_web::test]
async fn a_request_that_the_policy_or_the_audit_refuses_is_told_as_such() {
    let narrow = "\n[[callers]]\nname = \"local\"\nuid = \"self\"\ngrants = [{ keyset = \"default\", \
                  actions = [\"sign-token\"], max_ttl = \"1m\" }]\n";
    let mut app = TestApp::with(KEYSETS, narrow).await;
    app.try_sign("default", json!({"claims": {}, "ttl": "5m"})).await.unwrap_err();
    let scrape = Scrape::of(&app).await;
    scrape.is(&SIGNED.replace("\"signed", "\"not_allowed"), 1.0);
    scrape.is("jwksd_audit_failing", 0.0);

    app.restart_with_a_full_audit().await;
    app.try_sign("default", json!({"claims": {}, "ttl": "1m"})).await.unwrap_err();
    let scrape = Scrape::of(&app).await;
    scrape.is(&SIGNED.replace("\"signed", "\"unavailable"), 1.0);
    scrape.is("jwksd_audit_failing", 1.0);
    scrape.is("jwksd_ready", 0.0);
    scrape.is(r#"jwksd_check{check="audit",state="failing"}"#, 1.0);
    scrape.is(r#"jwksd_check{check="audit",state="ok"}"#, 0.0);
    scrape.is(r#"jwksd_check{check="clock",state="ok"}"#, 1.0);
    assert!(scrape.value(r#"jwksd_audit_errors_total{operation="write"}"#) >= 1.0);
}

#[actix_web::test]
async fn the_keys_are_told_through_a_rotation() {
    let app = TestApp::start().await;
    let keys = |state| format!(r#"jwksd_keys{{keyset="default",state="{state}"}}"#);
    let event = |event| format!(r#"jwksd_key_events_total{{keyset="default",event="{event}"}}"#);
    let next = r#"jwksd_next_activation_seconds{keyset="default"}"#;
    let overdue = r#"jwksd_rotation_overdue_seconds{keyset="default"}"#;
    let scrape = Scrape::of(&app).await;
    scrape.is(&keys("pending"), 1.0);
    scrape.is(&keys("active"), 1.0);
    scrape.is(&keys("verify_only"), 0.0);
    scrape.is(r#"jwksd_standby_keys{keyset="default"}"#, 1.0);
    scrape.is(overdue, 0.0);
    // From 2026-11-22T03:00:00Z to 2026-12-01T03:00:00Z.
    scrape.is(next, 9.0 * 86_400.0);
    scrape.is(&event("created"), 2.0);
    scrape.is(&event("ended"), 0.0);

    app.advance(9 * DAY).await;
    let scrape = Scrape::of(&app).await;
    scrape.is(&keys("pending"), 1.0);
    scrape.is(&keys("active"), 1.0);
    scrape.is(&keys("verify_only"), 1.0);
    scrape.is(&event("created"), 3.0);
    scrape.is(&event("ended"), 1.0);
    scrape.is(next, 31.0 * 86_400.0);

    let kid = app.kid(KeyState::Active).await;
    app.revoke::<RevokeResponse>(&kid).await.unwrap();
    let scrape = Scrape::of(&app).await;
    scrape.is(&event("revoked"), 1.0);
    scrape.is(&keys("active"), 1.0);
    scrape.is(r#"jwksd_store_errors_total{operation="commit"}"#, 0.0);
    assert!(
        scrape.value(r#"jwksd_store_operation_duration_seconds_count{operation="commit"}"#) >= 4.0
    );
}

#[actix_web::test]
async fn a_store_that_fails_is_told_and_so_is_what_follows_for_the_rotation() {
    let app = TestApp::start().await;
    app.rows.set_failing(true);
    app.advance(9 * DAY).await;
    let scrape = Scrape::of(&app).await;
    assert!(scrape.value(r#"jwksd_store_errors_total{operation="read"}"#) >= 1.0);
    scrape.is("jwksd_ready", 0.0);
    // The standby signs all the same, and no other is there.
    scrape.is(r#"jwksd_keys{keyset="default",state="active"}"#, 1.0);
    scrape.is(r#"jwksd_standby_keys{keyset="default"}"#, 0.0);
    assert_eq!(scrape.find(r#"jwksd_next_activation_seconds{keyset="default"}"#), None);
    scrape.is(r#"jwksd_rotation_overdue_seconds{keyset="default"}"#, 0.0);
    // A month later another key would sign.
    app.advance(32 * DAY).await;
    let scrape = Scrape::of(&app).await;
    scrape.is(r#"jwksd_rotation_overdue_seconds{keyset="default"}"#, 86_400.0);
}

#[actix_web::test]
async fn fetches_are_counted_by_their_answer_and_strangers_names_are_one() {
    let app = TestApp::start().await;
    let set = app.get("/.well-known/jwks.json").await;
    let etag = set.header("etag").to_owned();
    app.get("/default/.well-known/jwks.json").await;
    let path = "/jwks.json";
    let again = app.fetch(Method::GET, path, &[(IF_NONE_MATCH, &etag)]).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
    app.fetch(Method::POST, path, &[]).await;
    for name in ["one", "two", "three", "NO%22NAME"] {
        app.get(&format!("/{name}/.well-known/jwks.json")).await;
    }
    let scrape = Scrape::of(&app).await;
    let requests = |keyset, answer| {
        format!(r#"jwksd_jwks_requests_total{{keyset="{keyset}",answer="{answer}"}}"#)
    };
    scrape.is(&requests("default", "200"), 2.0);
    scrape.is(&requests("default", "304"), 1.0);
    scrape.is(&requests("default", "405"), 1.0);
    scrape.is(&requests("_unknown", "404"), 4.0);
    let fetchers = |has| format!(r#"jwksd_fetchers{{keyset="default",has="{has}"}}"#);
    scrape.is(&fetchers("known"), 1.0);
    scrape.is(&fetchers("current"), 1.0);
    scrape.is(&fetchers("without_standby"), 0.0);
    scrape.is(r#"jwksd_fetchers_forgotten_total{keyset="default"}"#, 0.0);
    for name in ["one", "two", "three", "NO"] {
        assert_eq!(scrape.names_with(&format!("\"{name}")), Vec::<&String>::new());
    }
}

#[actix_web::test]
async fn what_is_turned_away_is_told_with_the_caller_and_the_reason() {
    let app = TestApp::with(KEYSETS, &caller_of("\"read\"")).await;
    let body = json!({"expect_active": app.kid(KeyState::Active).await, "now": true});
    app.rotate(body).await.unwrap_err();
    let answer = send_to(
        &app.daemon.internal_tcp,
        Method::POST,
        "/v1/keysets/default/tokens",
        &[],
        b"{}".to_vec(),
    )
    .await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let scrape = Scrape::of(&app).await;
    let refused = |listener, caller, reason| {
        format!(
            r#"jwksd_refused_requests_total{{listener="{listener}",caller="{caller}",reason="{reason}"}}"#
        )
    };
    scrape.is(&refused("admin", "local", "not_allowed"), 1.0);
    scrape.is(&refused("internal", "_unknown", "unknown_caller"), 1.0);
}

#[actix_web::test]
async fn names_of_callers_are_written_so_that_they_stay_names() {
    let hostile = "a\\\" } 1 # EOF \\\\";
    let callers = CALLERS.replace("name = \"local\"", &format!("name = \"{hostile}\""));
    let app = TestApp::with(KEYSETS, &callers).await;
    app.sign("default").await;
    let text = String::from_utf8(app.watch("/metrics").await.body).unwrap();
    let written = r#"caller="a\" } 1 # EOF \\",outcome="signed"} 1"#;
    assert!(text.contains(written), "{text}");
    assert_eq!(text.matches("\n# EOF\n").count(), 1);
    assert!(text.ends_with("\n# EOF\n"));
}

#[actix_web::test]
async fn what_left_the_configuration_is_told_no_more() {
    let more = format!(
        "{KEYSETS}\n[keysets.other]\nalgorithm = \"ES256\"\nrotate = \"manual\"\nissuer = \"x\"\n\
         max_token_ttl = \"1h\"\n"
    );
    let app = TestApp::with(&more, CALLERS).await;
    app.sign("default").await;
    app.sign("other").await;
    assert!(!Scrape::of(&app).await.names_with("keyset=\"other\"").is_empty());

    app.configure(KEYSETS, &CALLERS.replace("\"local\"", "\"another\""));
    app.daemon.administration.reload_unasked().unwrap();
    let scrape = Scrape::of(&app).await;
    assert_eq!(scrape.names_with("caller=\"local\""), Vec::<&String>::new());
    // It is served until its last key left.
    scrape.is(r#"jwksd_keys{keyset="other",state="active"}"#, 0.0);
    app.sign("default").await;
    Scrape::of(&app).await.is(&SIGNED.replace("\"local", "\"another"), 1.0);
    app.advance(10 * DAY).await;
    app.advance(10 * DAY).await;
    let scrape = Scrape::of(&app).await;
    assert_eq!(scrape.names_with("keyset=\"other\""), Vec::<&String>::new());
}

#[actix_web::test]
async fn the_clock_guard_is_told() {
    let app = TestApp::start().await;
    Scrape::of(&app).await.is("jwksd_clock_guard", 0.0);
    app.clock.set_wall(app.now() + Duration::from_hours(2));
    let scrape = Scrape::of(&app).await;
    scrape.is("jwksd_clock_guard", 1.0);
    scrape.is("jwksd_clock_disagreement_seconds", 7200.0);
    scrape.is("jwksd_ready", 0.0);
}

#[actix_web::test]
async fn no_secret_and_nothing_of_a_token_is_told() {
    let app = TestApp::start().await;
    let token = app.sign("default").await;
    let text = String::from_utf8(app.watch("/metrics").await.body).unwrap();
    let signature = token.token.rsplit('.').next().unwrap();
    assert!(!text.contains(signature) && !text.contains(token.kid.as_str()), "{text}");
    assert!(!text.contains("\"123\""), "{text}");
}

#[actix_web::test]
async fn a_scrape_over_the_socket_is_the_same() {
    let app = TestApp::start().await;
    let socket = Listen::Unix(app.metrics_socket());
    let answer = jwksd::client::Client::new(socket, None).get::<serde_json::Value>("/readyz").await;
    assert_eq!(answer.unwrap()["ready"], true);
}

#[actix_web::test]
async fn running_totals_are_told_of_key_sets_that_the_caller_may_read() {
    let app = TestApp::start().await;
    app.sign("default").await;
    app.sign("default").await;
    app.try_sign("default", json!({"claims": {}, "ttl": "2h"})).await.unwrap_err();
    app.try_sign("nowhere", json!({"claims": {}, "ttl": "1m"})).await.unwrap_err();
    app.advance(DAY).await;
    let lines = app.audit().len();
    let totals: Signatures = app.admin_get("/v1/signatures").await.unwrap();
    assert_eq!(totals.since, "2026-11-22T03:00:00Z");
    let told: Vec<_> =
        totals.keysets.iter().map(|set| (set.name.as_str(), set.signed, set.refused)).collect();
    assert_eq!(told, [("default", 2, 1)]);
    assert_eq!(
        app.audit().len(),
        lines,
        "to look leaves no line, or a console would fill the disk"
    );

    app.configure(KEYSETS, &caller_of("\"sign-token\", \"rotate\""));
    app.daemon.administration.reload_unasked().unwrap();
    let totals: Signatures = app.admin_get("/v1/signatures").await.unwrap();
    assert_eq!(totals.keysets, []);
}
