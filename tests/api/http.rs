//! The internal and the admin listener as HTTP servers: methods, types, and bytes that nobody means.

use hyper::header::{CONTENT_TYPE, HeaderName};
use hyper::{Method, StatusCode};
use jwksd::api::{Code, KeyState};
use serde_json::json;

use crate::app::{TestApp, To};

const TOKENS: &str = "/v1/keysets/default/tokens";

#[actix_web::test]
async fn what_can_be_got_has_a_head() {
    let app = TestApp::start().await;
    let paths =
        ["/v1/keysets", "/v1/keysets/default", "/v1/status", "/v1/fetchers", "/openapi.json"];
    for path in paths {
        let got = app.ask(To::Admin, Method::GET, path, &[], b"").await;
        let head = app.ask(To::Admin, Method::HEAD, path, &[], b"").await;
        assert_eq!((got.status, head.status), (StatusCode::OK, StatusCode::OK), "{path}");
        assert_eq!(head.header("content-type"), "application/json");
        assert_eq!(head.header("content-length"), got.body.len().to_string());
        assert_eq!(head.body, b"");
    }
}

#[actix_web::test]
async fn a_method_that_a_path_does_not_take_is_answered_with_those_it_takes() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    let key = |act: &str| format!("/v1/keysets/default/keys/{active}/{act}");
    let paths = [
        (To::Internal, TOKENS.to_owned(), "POST"),
        (To::Internal, format!("{TOKENS}/batch"), "POST"),
        (To::Internal, "/openapi.json".to_owned(), "GET, HEAD"),
        (To::Admin, "/openapi.json".to_owned(), "GET, HEAD"),
        (To::Admin, "/v1/keysets".to_owned(), "GET, HEAD"),
        (To::Admin, "/v1/keysets/default".to_owned(), "GET, HEAD"),
        (To::Admin, "/v1/status".to_owned(), "GET, HEAD"),
        (To::Admin, "/v1/fetchers".to_owned(), "GET, HEAD"),
        (To::Admin, "/v1/reload".to_owned(), "POST"),
        (To::Admin, "/v1/keysets/default/rotate".to_owned(), "POST"),
        (To::Admin, "/v1/keysets/default/revoke-all".to_owned(), "POST"),
        (To::Admin, key("revoke"), "POST"),
        (To::Admin, key("retire"), "POST"),
    ];
    let odd = Method::from_bytes(b"PROPFIND").unwrap();
    for (to, path, allowed) in &paths {
        for method in [Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE, odd.clone()] {
            let answer = app.ask(*to, method, path, &[], b"").await;
            assert_eq!(answer.problem().code, Code::MethodNotAllowed, "{path}");
            assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, *allowed));
        }
    }
    assert_eq!(app.kid(KeyState::Active).await, active);
}

#[actix_web::test]
async fn a_body_that_is_said_to_be_no_json_is_refused() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    let token = json!({"claims": {}, "ttl": 60});
    let requests = [
        (To::Internal, TOKENS.to_owned(), token.clone()),
        (To::Internal, format!("{TOKENS}/batch"), json!({"requests": [token]})),
        (To::Admin, "/v1/keysets/default/rotate".to_owned(), json!({"expect_active": active})),
        (To::Admin, format!("/v1/keysets/default/keys/{active}/revoke"), json!({"reason": "x"})),
        (
            To::Admin,
            "/v1/keysets/default/revoke-all".to_owned(),
            json!({"reason": "x", "expect_active": active}),
        ),
    ];
    let wrong = [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/jsonx",
        "application/json, text/plain",
        "",
    ];
    for (to, path, body) in requests {
        let body = body.to_string().into_bytes();
        for wrong in wrong {
            let headers = [(CONTENT_TYPE, wrong)];
            let answer = app.ask(to, Method::POST, &path, &headers, &body).await;
            assert_eq!(answer.problem().code, Code::UnsupportedMediaType, "{path} {wrong}");
            assert_eq!(answer.status, 415);
        }
        let both = [(CONTENT_TYPE, "application/json"), (CONTENT_TYPE, "text/plain")];
        assert_eq!(app.ask(to, Method::POST, &path, &both, &body).await.status, 415);
    }
    assert_eq!(app.kid(KeyState::Active).await, active);
}

#[actix_web::test]
async fn a_body_of_json_may_say_so_or_not() {
    let app = TestApp::start().await;
    let body = json!({"claims": {}, "ttl": 60}).to_string().into_bytes();
    assert_eq!(app.ask(To::Internal, Method::POST, TOKENS, &[], &body).await.status, 200);
    for good in ["application/json", "Application/JSON ; charset=utf-8"] {
        let headers = [(CONTENT_TYPE, good)];
        let answer = app.ask(To::Internal, Method::POST, TOKENS, &headers, &body).await;
        assert_eq!(answer.status, 200, "{good}");
    }
}

#[actix_web::test]
async fn a_path_of_bytes_that_nobody_means_names_nothing() {
    let app = TestApp::start().await;
    let long = "a".repeat(60_000);
    let names = [
        "%00",
        "%ff",
        "%C0%AE",
        "%2e%2e",
        "..%2fdefault",
        "%",
        "%zz",
        "%ud800",
        "a%0d%0ab",
        "v1",
        "DEFAULT",
        &long,
    ];
    let body = json!({"claims": {}, "ttl": 60, "reason": "x"}).to_string().into_bytes();
    for name in names {
        let paths = [
            (To::Internal, Method::POST, format!("/v1/keysets/{name}/tokens")),
            (To::Internal, Method::POST, format!("/v1/keysets/{name}/tokens/batch")),
            (To::Admin, Method::GET, format!("/v1/keysets/{name}")),
            (To::Admin, Method::POST, format!("/v1/keysets/{name}/rotate")),
            (To::Admin, Method::POST, format!("/v1/keysets/default/keys/{name}/revoke")),
            (To::Admin, Method::POST, format!("/v1/keysets/default/keys/{name}/retire")),
            (To::Admin, Method::GET, format!("/{name}")),
        ];
        for (to, method, path) in paths {
            let answer = app.ask(to, method, &path, &[], &body).await;
            let shown = path.chars().take(60).collect::<String>();
            let problem = answer.problem();
            // With a body that the path does not take, that can be what is said first.
            assert!([400, 404].contains(&problem.status), "{shown}: {problem:?}");
            assert_eq!(answer.status.as_u16(), problem.status);
        }
    }
    app.sign("default").await;
}

#[actix_web::test]
async fn a_query_and_headers_that_nobody_asked_for_change_nothing() {
    let app = TestApp::start().await;
    let body = json!({"claims": {}, "ttl": 60}).to_string().into_bytes();
    let headers = [
        (HeaderName::from_static("x-http-method-override"), "DELETE"),
        (HeaderName::from_static("x-forwarded-for"), "\u{1f511}"),
        (HeaderName::from_static("expect"), "100-continue"),
    ];
    let path = format!("{TOKENS}?ttl=1&ttl=%00&%ff=%");
    assert_eq!(app.ask(To::Internal, Method::POST, &path, &headers, &body).await.status, 200);
}

#[actix_web::test]
async fn bytes_that_are_no_request_are_answered_with_400_at_most() {
    let app = TestApp::start().await;
    let long = "a".repeat(70_000);
    let many = "x: y\r\n".repeat(200);
    let requests: [(&str, Vec<u8>); 12] = [
        ("a path that is too long", format!("GET /{long} HTTP/1.1\r\nhost: localhost\r\n\r\n").into()),
        ("bytes in the path", b"GET /\xff\xfe HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("NUL in the path", b"GET /\0 HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("no path", b"GET HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec()),
        ("no version", b"GET /v1/keysets\r\n\r\n".to_vec()),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n".to_vec()),
        ("NUL in a header", b"GET /v1/keysets HTTP/1.1\r\nhost: localhost\r\na: \0\r\n\r\n".to_vec()),
        ("too many headers", format!("GET /v1/keysets HTTP/1.1\r\n{many}\r\n").into()),
        (
            "a length that is none",
            b"POST /v1/keysets HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n".to_vec(),
        ),
        (
            "two lengths",
            b"POST /v1/keysets HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n"
                .to_vec(),
        ),
        (
            "a length and chunks",
            b"POST /v1/reload HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n\
              transfer-encoding: chunked\r\n\r\n0\r\n\r\n"
                .to_vec(),
        ),
    ];
    for (what, bytes) in requests {
        for to in [To::Internal, To::Admin] {
            let answer = app.ask_bytes(to, &bytes).await;
            let is_refused = answer.is_empty() || answer.starts_with("HTTP/1.1 4");
            assert!(is_refused, "{what}: {answer}");
        }
    }
    app.sign("default").await;
}

#[actix_web::test]
async fn json_that_nobody_means_is_refused_and_breaks_nothing() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    let arrays = deep("[", "]");
    let objects = deep(r#"{"a":"#, "}");
    let mut values: Vec<Vec<u8>> = [
        "",
        "null",
        "1",
        "\"\"",
        "[]",
        "{",
        "{}x",
        "\u{feff}{}",
        "{\"a\":1e400}",
        "\0",
        r#"{"a":"\ud800"}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"\u0000":"\u0000"}"#,
        "{'a':1}",
        "{\"a\":NaN}",
        "{\"a\":01}",
        &arrays,
        &objects,
    ]
    .into_iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    values
        .extend([b"{\"a\":\"\xff\"}".to_vec(), b"{\x00\"\x00a\x00\"\x00:\x001\x00}\x00".to_vec()]);
    let numbers = [
        "-1",
        "0",
        "1.5",
        "1e4",
        "60.000000000000007",
        "18446744073709551615",
        "18446744073709551616",
        "1e400",
        "-9223372036854775809",
        "true",
        "null",
        "[]",
        "{}",
        "\"\"",
        "\"0s\"",
        "\"1500ms\"",
        "\"99999999999999999999d\"",
        "\"18446744073709551615ms\"",
        "\"1\\u0000s\"",
    ];
    let instants = [
        "\"\"",
        "1",
        "\"9999-12-31T23:59:59Z\u{0}\"",
        "\"0000-00-00T00:00:00Z\"",
        "\"2026-11-22T03:00:00\"",
    ];
    let requests = |wrong: &[u8]| {
        let around =
            |before: &str, after: &str| [before.as_bytes(), wrong, after.as_bytes()].concat();
        vec![
            (To::Internal, TOKENS.to_owned(), wrong.to_vec()),
            (To::Internal, format!("{TOKENS}/batch"), wrong.to_vec()),
            (To::Admin, "/v1/keysets/default/rotate".to_owned(), wrong.to_vec()),
            (To::Admin, "/v1/keysets/default/revoke-all".to_owned(), wrong.to_vec()),
            (To::Admin, format!("/v1/keysets/default/keys/{active}/revoke"), wrong.to_vec()),
            (
                To::Admin,
                "/v1/keysets/default/rotate".to_owned(),
                around(r#"{"expect_active":"#, "}"),
            ),
        ]
    };
    for value in values {
        for (to, path, body) in requests(&value) {
            let answer = app.ask(to, Method::POST, &path, &[], &body).await;
            let shown = String::from_utf8_lossy(&body).chars().take(60).collect::<String>();
            assert!([400, 428].contains(&answer.problem().status), "{path} {shown}");
        }
        // What is in the claims is the claims' fault.
        let token = [br#"{"ttl":60,"claims":"#.as_slice(), &value, b"}"].concat();
        let answer = app.ask(To::Internal, Method::POST, TOKENS, &[], &token).await;
        let shown = String::from_utf8_lossy(&token).chars().take(60).collect::<String>();
        assert!([200, 400].contains(&answer.status.as_u16()), "{shown}");
    }
    for ttl in numbers {
        let body = format!(r#"{{"claims":{{}},"ttl":{ttl}}}"#);
        let answer = app.ask(To::Internal, Method::POST, TOKENS, &[], body.as_bytes()).await;
        let problem = answer.problem();
        assert_eq!(problem.status, 400, "{ttl}");
        // In words of the API, not of our source.
        assert!(!problem.detail.contains("untagged"), "{problem:?}");
    }
    for at in instants {
        let body = format!(r#"{{"expect_active":"{active}","at":{at}}}"#);
        let path = "/v1/keysets/default/rotate";
        let answer = app.ask(To::Admin, Method::POST, path, &[], body.as_bytes()).await;
        assert_eq!(answer.problem().status, 400, "{at}");
    }
    assert_eq!(app.kid(KeyState::Active).await, active);
}

#[actix_web::test]
async fn a_list_is_not_taken_for_an_object() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    let token = json!([{}, 60]);
    let requests = [
        (To::Internal, TOKENS.to_owned(), token.clone()),
        (To::Internal, format!("{TOKENS}/batch"), json!([[]])),
        (To::Admin, "/v1/keysets/default/rotate".to_owned(), json!([active, true])),
        (To::Admin, "/v1/keysets/default/revoke-all".to_owned(), json!(["x", active])),
        (To::Admin, format!("/v1/keysets/default/keys/{active}/revoke"), json!(["x"])),
    ];
    for (to, path, body) in requests {
        let body = format!(" {body}").into_bytes();
        let answer = app.ask(to, Method::POST, &path, &[], &body).await;
        assert_eq!(answer.problem().code, Code::InvalidRequest, "{path}");
    }
    let body = json!({"requests": [token]}).to_string().into_bytes();
    let path = format!("{TOKENS}/batch");
    let answer = app.ask(To::Internal, Method::POST, &path, &[], &body).await;
    assert_eq!(answer.json()["results"][0]["error"]["code"], "invalid_request");
    assert_eq!(app.kid(KeyState::Active).await, active);
}

#[actix_web::test]
async fn a_rotation_before_1970_is_too_early() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    for at in ["1969-12-31T23:59:59Z", "1311-05-07T06:33:27.001Z", "-001000-01-01T00:00:00Z"] {
        let problem = app.rotate(json!({"expect_active": active, "at": at})).await.unwrap_err();
        assert_eq!(problem.code, Code::TooEarly, "{at}");
    }
}

#[actix_web::test]
async fn a_rotation_at_the_end_of_time_is_planned_or_refused() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    for at in ["9999-12-30T22:00:00.999999999Z", "9999-12-30T22:00:00Z", "9999-12-31T23:59:60Z"] {
        let body = json!({"expect_active": active, "at": at}).to_string();
        let path = "/v1/keysets/default/rotate";
        let answer = app.ask(To::Admin, Method::POST, path, &[], body.as_bytes()).await;
        assert!([200, 400].contains(&answer.status.as_u16()), "{at}: {}", answer.status);
        app.settle().await;
        // Nothing that was planned may break what is shown, or what is done afterwards.
        app.show("default").await;
    }
    app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    app.sign("default").await;
}

#[actix_web::test]
async fn a_reason_may_be_any_text() {
    let app = TestApp::start().await;
    let texts = ["\u{0}", "\u{202e}\n\r\t\u{7f}", "\u{10ffff}", &"\u{1f511}".repeat(500)];
    for reason in texts {
        let active = app.kid(KeyState::Active).await;
        let body = json!({"reason": reason}).to_string();
        let path = format!("/v1/keysets/default/keys/{active}/revoke");
        let answer = app.ask(To::Admin, Method::POST, &path, &[], body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{reason:?}");
        app.settle().await;
        let set = app.show("default").await;
        let key = set.keys.iter().find(|key| key.kid.as_str() == active).unwrap();
        assert_eq!(key.reason.as_deref(), Some(reason));
    }
    let reasons = app.audit();
    assert!(texts.iter().all(|text| reasons.iter().any(|line| line["reason"] == **text)));
}
