//! Every problem that callers and admins get has the id of its request: what the audit and the log
//! have about it is found by that.

use std::collections::BTreeSet;

use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName};
use jwksd::api::Code;

use crate::app::{Answer, CALLERS, KEYSETS, TestApp, To, caller_of, send_to};

const TOKENS: &str = "/v1/keysets/default/tokens";
const BATCH: &str = "/v1/keysets/default/tokens/batch";
const ROTATE: &str = "/v1/keysets/default/rotate";
const IMPORT: &str = "/v1/keysets/default/import";

/// Such ids, and no other.
#[track_caller]
fn id_of(answer: &Answer, code: Code) -> String {
    let problem = answer.problem();
    assert_eq!(problem.code, code, "{problem:?}");
    let id = problem.request_id.unwrap_or_else(|| panic!("{code:?} has no id"));
    let (process, number) = id.split_once('-').expect("it has two parts");
    assert!(process.len() == 16 && number.parse::<u64>().is_ok(), "{id}");
    id
}

#[actix_web::test]
async fn every_problem_has_an_id_of_its_own() {
    let app = TestApp::start().await;
    let large = vec![b' '; 300 << 10];
    let form: &[(HeaderName, &str)] = &[(CONTENT_TYPE, "application/x-www-form-urlencoded")];
    let mut ids = BTreeSet::new();
    for (to, method, path, headers, body, code) in [
        (To::Internal, Method::GET, "/nothing", &[][..], &b""[..], Code::NotFound),
        (To::Admin, Method::GET, "/nothing", &[], b"", Code::NotFound),
        (To::Internal, Method::GET, TOKENS, &[], b"", Code::MethodNotAllowed),
        (To::Admin, Method::DELETE, "/v1/status", &[], b"", Code::MethodNotAllowed),
        (To::Admin, Method::POST, "/openapi.json", &[], b"", Code::MethodNotAllowed),
        (To::Internal, Method::POST, TOKENS, &[], &large, Code::BodyTooLarge),
        (To::Admin, Method::POST, ROTATE, &[], &large, Code::BodyTooLarge),
        (To::Admin, Method::POST, IMPORT, &[], &large, Code::BodyTooLarge),
        (To::Internal, Method::POST, TOKENS, form, b"a=b", Code::UnsupportedMediaType),
        (To::Internal, Method::POST, BATCH, form, b"a=b", Code::UnsupportedMediaType),
        (To::Admin, Method::POST, ROTATE, form, b"a=b", Code::UnsupportedMediaType),
        (To::Admin, Method::POST, IMPORT, form, b"a=b", Code::UnsupportedMediaType),
        (To::Internal, Method::POST, TOKENS, &[], b"{", Code::InvalidRequest),
        (To::Internal, Method::POST, BATCH, &[], b"[]", Code::InvalidRequest),
        (To::Admin, Method::POST, ROTATE, &[], b"\"", Code::InvalidRequest),
        (To::Admin, Method::POST, IMPORT, &[], b"{}", Code::InvalidRequest),
        (To::Admin, Method::GET, "/v1/keysets/NONE", &[], b"", Code::UnknownKeyset),
        (To::Admin, Method::GET, "/v1/keysets/none", &[], b"", Code::UnknownKeyset),
        (To::Internal, Method::POST, "/v1/keysets/%ff/tokens", &[], b"{}", Code::InvalidRequest),
    ] {
        let answer = app.ask(to, method.clone(), path, headers, body).await;
        assert!(ids.insert(id_of(&answer, code)), "{method} {path} has the id of another");
    }
}

#[actix_web::test]
async fn a_stranger_gets_an_id_too() {
    let app = TestApp::start().await;
    for (place, path) in [(&app.daemon.internal_tcp, TOKENS), (&app.daemon.admin_tcp, ROTATE)] {
        for headers in [&[][..], &[(AUTHORIZATION, "Bearer jwksd_nobody")]] {
            let answer = send_to(place, Method::POST, path, headers, b"{}".to_vec()).await;
            id_of(&answer, Code::UnknownCaller);
        }
    }
}

#[actix_web::test]
async fn the_id_of_a_refusal_is_that_of_its_audit_line() {
    let app = TestApp::with(KEYSETS, &caller_of("\"read\"")).await;
    let body = br#"{"claims":{},"ttl":60}"#;
    let denied = app.ask(To::Internal, Method::POST, TOKENS, &[], body).await;
    let id = id_of(&denied, Code::NotAllowed);
    let rotation = app.ask(To::Admin, Method::POST, ROTATE, &[], b"{}").await;
    let other = id_of(&rotation, Code::NotAllowed);
    let lines = app.audit();
    let of = |id: &str| lines.iter().filter(|line| line["request_id"] == id).count();
    assert_eq!((of(&id), of(&other)), (1, 1));
}

#[actix_web::test]
async fn the_id_of_a_caller_that_asks_for_too_much_is_that_of_its_audit_line() {
    let callers = format!("[limits]\nrequests_per_second = 1\nburst = 1000\n{CALLERS}");
    let app = TestApp::with(KEYSETS, &callers).await;
    let mut refused = None;
    for _ in 0..1001 {
        let answer = app.ask(To::Admin, Method::GET, "/v1/status", &[], b"").await;
        refused = Some(answer).filter(|answer| answer.status == 429);
    }
    let id = id_of(&refused.expect("it was answered"), Code::RateLimited);
    let lines = app.audit();
    let line = lines.iter().find(|line| line["request_id"] == id).expect("no line has the id");
    assert_eq!((&line["action"], &line["decision"]), (&"administer".into(), &"refused".into()));
}

#[actix_web::test]
async fn an_id_that_a_caller_sends_counts_for_nothing() {
    let app = TestApp::start().await;
    let sent = [
        (HeaderName::from_static("x-request-id"), "forged"),
        (HeaderName::from_static("traceparent"), "forged"),
    ];
    let answer = app.ask(To::Admin, Method::GET, "/v1/keysets/none", &sent, b"").await;
    assert_ne!(id_of(&answer, Code::UnknownKeyset), "forged");
    assert!(!app.audit().iter().any(|line| line.to_string().contains("forged")));
}

#[actix_web::test]
async fn strangers_at_the_public_listener_get_none() {
    let app = TestApp::start().await;
    assert_eq!(app.get("/nothing").await.problem().request_id, None);
}
