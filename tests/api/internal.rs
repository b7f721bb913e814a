//! The internal listener: tokens, and every way not to get one.

use jwksd::api::{Code, Problem};
use serde_json::{Value, json};

use crate::app::{CALLERS, HOUR, KEYSETS, TestApp, keyset_named};
use crate::token::{parts, verifies};
use crate::wire::Wire;

async fn refused(app: &TestApp, body: Value) -> (u16, Code) {
    let problem = app.try_sign("default", body).await.unwrap_err();
    (problem.status, problem.code)
}

fn caller(grant: &str) -> String {
    format!("[[callers]]\nname = \"shop\"\nuid = \"self\"\ngrants = [{grant}]\n")
}

#[actix_web::test]
async fn a_token_has_what_the_daemon_sets_and_verifies_at_the_served_set() {
    let app = TestApp::start().await;
    let answer = app.sign("default").await;
    let parts = parts(&answer.token);
    assert_eq!(parts.header["alg"], "ES256");
    assert_eq!(parts.header["typ"], "JWT");
    assert_eq!(parts.header["kid"], answer.kid.as_str());
    assert_eq!(parts.header.as_object().unwrap().len(), 3);
    let claims = parts.claims();
    let iat = app.now().as_secs();
    assert_eq!(claims["iss"], "http://127.0.0.1:8080");
    assert_eq!(claims["aud"], "api.example.com");
    assert_eq!(claims["sub"], "123");
    assert_eq!(claims["iat"], iat);
    assert_eq!(claims["exp"], iat + 900);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 22);
    assert_eq!(answer.expires_at, "2026-11-22T03:15:00Z");
    assert!(verifies(&app, &answer.token).await);
}

#[actix_web::test]
async fn iat_is_rounded_down_never_ahead() {
    let app = TestApp::start().await;
    app.clock.advance(std::time::Duration::from_millis(999));
    let claims = parts(&app.sign("default").await.token).claims();
    assert_eq!(claims["iat"], app.now().as_secs());
}

#[actix_web::test]
async fn the_callers_claims_arrive_byte_for_byte() {
    let app = TestApp::start().await;
    let body = br#"{"ttl":60,"claims":{ "n":1.50e1,"s":"\u00fc\/" }}"#.to_vec();
    let answer = app.post_bytes("/v1/keysets/default/tokens", body).await;
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    let payload = parts(&token).payload;
    assert!(payload.ends_with(r#","n":1.50e1,"s":"\u00fc\/"}"#), "{payload}");
}

#[actix_web::test]
async fn the_type_can_be_chosen_from_those_allowed() {
    let app = TestApp::start().await;
    let body = json!({"claims": {}, "ttl": 60, "typ": "at+jwt"});
    let token = app.try_sign("default", body).await.unwrap().token;
    assert_eq!(parts(&token).header["typ"], "at+jwt");
    let body = json!({"claims": {}, "ttl": 60, "typ": "secevent+jwt"});
    assert_eq!(refused(&app, body).await, (400, Code::InvalidTyp));
}

#[actix_web::test]
async fn a_lifetime_beyond_that_of_the_set_is_refused() {
    let app = TestApp::start().await;
    let with = |ttl: Value| json!({"claims": {}, "ttl": ttl});
    for good in [json!("1h"), json!(3600), json!("59m59s"), json!(60.0), json!(3.6e3)] {
        assert!(app.try_sign("default", with(good)).await.is_ok());
    }
    for bad in [json!("1h1s"), json!(3601), json!(0), json!("0s"), json!("1500ms"), json!("soon")] {
        let expected = (400, Code::InvalidTtl);
        assert_eq!(refused(&app, with(bad.clone())).await, expected, "{bad}");
    }
    for not_one in [json!(-1), json!(1.5), json!(null)] {
        assert_eq!(refused(&app, with(not_one)).await, (400, Code::InvalidRequest));
    }
}

#[actix_web::test]
async fn claims_that_the_daemon_owns_or_nobody_can_read_twice_are_refused() {
    let app = TestApp::start().await;
    let claims = [
        r#"{"iss":"x"}"#,
        r#"{"exp":1}"#,
        r#"{"iat":1}"#,
        r#"{"jti":"x"}"#,
        r#"{"a":1,"a":2}"#,
        r#"{"a":{"b":1,"b":1}}"#,
        r#"{"sub":1}"#,
        r#"{"aud":[]}"#,
        r"[]",
        r#""x""#,
    ];
    for claims in claims {
        let body = format!(r#"{{"claims":{claims},"ttl":60}}"#).into_bytes();
        let answer = app.post_bytes("/v1/keysets/default/tokens", body).await;
        assert_eq!(answer.problem().code, Code::InvalidClaims, "{claims}");
        assert_eq!(answer.status, 400, "{claims}");
    }
}

#[actix_web::test]
async fn a_body_that_is_not_what_the_path_takes_is_refused() {
    let app = TestApp::start().await;
    let bodies: [&[u8]; 6] = [
        b"",
        b"not json",
        br#"{"claims":{}}"#,
        br#"{"claims":{},"ttl":60,"kid":"x"}"#,
        br#"{"claims":{},"ttl":60} x"#,
        b"{\"claims\":{\"a\":\"\xff\"},\"ttl\":60}",
    ];
    for body in bodies {
        let answer = app.post_bytes("/v1/keysets/default/tokens", body.to_vec()).await;
        let text = String::from_utf8_lossy(body).into_owned();
        assert_eq!(answer.status, 400, "{text}");
        assert_eq!(answer.problem().code, Code::InvalidRequest, "{text}");
    }
    let large = vec![b' '; 64 * 1024 + 1];
    let answer = app.post_bytes("/v1/keysets/default/tokens", large).await;
    assert_eq!((answer.status.as_u16(), answer.problem().code), (413, Code::BodyTooLarge));
}

#[actix_web::test]
async fn a_key_set_that_is_not_there_is_said_to_who_may_know() {
    let app = TestApp::start().await;
    let body = json!({"claims": {}, "ttl": 60});
    let problem = app.try_sign("other", body.clone()).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (404, Code::UnknownKeyset));
    let narrow = caller(r#"{ keyset = "default", actions = ["sign-token"] }"#);
    let app = TestApp::with(KEYSETS, &narrow).await;
    let problem = app.try_sign("other", body).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (403, Code::NotAllowed));
}

#[actix_web::test]
async fn who_is_not_in_the_configuration_gets_nothing_and_fills_nothing() {
    let stranger = "[[callers]]\nname = \"shop\"\nuid = 4000000\n";
    let app = TestApp::with(KEYSETS, stranger).await;
    let lines = app.audit().len();
    for _ in 0..50 {
        let body = json!({"claims": {}, "ttl": 60});
        assert_eq!(refused(&app, body).await, (401, Code::UnknownCaller));
    }
    // What is wrong with the body is not for strangers.
    let answer = app.post_bytes("/v1/keysets/default/tokens", b"x".to_vec()).await;
    assert_eq!(answer.problem().code, Code::UnknownCaller);
    // They are summed up once a minute.
    assert_eq!(app.audit().len(), lines);
}

#[actix_web::test]
async fn a_caller_without_a_grant_for_it_is_refused_and_recorded() {
    let reader = caller(r#"{ keyset = "default", actions = ["read"] }"#);
    let app = TestApp::with(KEYSETS, &reader).await;
    let body = json!({"claims": {}, "ttl": 60});
    assert_eq!(refused(&app, body).await, (403, Code::NotAllowed));
    let line = app.audit().pop().unwrap();
    assert_eq!(line["decision"], "refused");
    assert_eq!(line["caller"], "shop");
    assert_eq!(line["action"], "sign-token");
}

#[actix_web::test]
async fn a_grant_is_checked_on_the_final_token() {
    let grant = r#"{ keyset = "default", actions = ["sign-token"], audiences = ["a", "b"],
        max_ttl = "5m", token_types = ["at+jwt"], force = { tenant = "t1" } }"#
        .replace('\n', " ");
    let app = TestApp::with(KEYSETS, &caller(&grant)).await;
    let ask = |claims: Value, ttl: u64, typ: &str| {
        let body = json!({"claims": claims, "ttl": ttl, "typ": typ});
        let app = &app;
        async move { app.try_sign("default", body).await.map_err(|problem: Problem| problem.code) }
    };
    let token = ask(json!({"aud": ["a", "b"]}), 300, "at+jwt").await.unwrap().token;
    assert_eq!(parts(&token).claims()["tenant"], "t1");
    assert!(ask(json!({"aud": "a", "tenant": "t1"}), 1, "at+jwt").await.is_ok());
    let refused = [
        // The set's own audience counts as well.
        (json!({}), 300, "at+jwt"),
        (json!({"aud": ["a", "c"]}), 300, "at+jwt"),
        (json!({"aud": "a"}), 301, "at+jwt"),
        (json!({"aud": "a"}), 300, "JWT"),
        (json!({"aud": "a", "tenant": "t2"}), 300, "at+jwt"),
    ];
    for (claims, ttl, typ) in refused {
        assert_eq!(ask(claims.clone(), ttl, typ).await.unwrap_err(), Code::NotAllowed, "{claims}");
    }
}

#[actix_web::test]
async fn every_signature_is_in_the_audit_before_the_answer_and_the_token_never() {
    let app = TestApp::start().await;
    let answer = app.sign("default").await;
    let text = std::fs::read_to_string(app.audit_path()).unwrap();
    let line = app.audit().pop().unwrap();
    let claims = parts(&answer.token).claims();
    for (member, expected) in [
        ("caller", json!("local")),
        ("action", json!("sign-token")),
        ("decision", json!("allowed")),
        ("keyset", json!("default")),
        ("kid", json!(answer.kid)),
        ("sub", json!("123")),
        ("aud", json!(["api.example.com"])),
        ("jti", claims["jti"].clone()),
        ("exp", claims["exp"].clone()),
    ] {
        assert_eq!(line[member], expected, "{member}");
    }
    assert!(line["request_id"].is_string());
    let signature = answer.token.rsplit_once('.').unwrap().1;
    assert!(!text.contains(signature));
}

#[actix_web::test]
async fn a_caller_that_has_no_more_to_say_still_gets_its_token() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let app = TestApp::start().await;
    let mut stream = tokio::net::UnixStream::connect(app.internal()).await.unwrap();
    let body = r#"{"claims":{},"ttl":60}"#;
    let head = "POST /v1/keysets/default/tokens HTTP/1.1\r\nhost: x\r\ncontent-length: ";
    stream.write_all(format!("{head}{}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("\"token\""), "{answer}");
}

#[actix_web::test]
async fn a_set_out_of_the_configuration_signs_no_more() {
    let both = format!("{KEYSETS}{}", keyset_named("old"));
    let app = TestApp::with(&both, CALLERS).await;
    let token = app.sign("old").await.token;
    app.configure(KEYSETS, CALLERS);
    let _: Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
    app.settle().await;
    let body = json!({"claims": {}, "ttl": 60});
    let problem = app.try_sign("old", body).await.unwrap_err();
    assert_eq!((problem.status, problem.code), (409, Code::NotConfigured));
    // Its last token still verifies, until it has expired.
    let served = app.get("/old/.well-known/jwks.json").await;
    assert!(
        String::from_utf8_lossy(&served.body)
            .contains(parts(&token).header["kid"].as_str().unwrap())
    );
    app.advance(HOUR + HOUR).await;
    assert_eq!(app.get("/old/.well-known/jwks.json").await.status, 404);
}

#[actix_web::test]
async fn a_caller_that_is_taken_away_while_it_sends_its_request_gets_nothing() {
    let app = TestApp::start().await;
    let mut wire = Wire::to(&app.daemon.internal).await;
    let body = br#"{"claims":{},"ttl":"15m"}"#;
    let head = format!(
        "POST /v1/keysets/default/tokens HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    wire.send(head.as_bytes()).await;
    wire.send(&body[..1]).await;
    // Whoever is answered over a later connection comes after it.
    app.sign("default").await;
    app.configure(KEYSETS, &CALLERS.replace("sign-token", "read"));
    let _: Value = app.admin_post("/v1/reload", json!({})).await.unwrap();
    wire.send(&body[1..]).await;
    let (head, _) = wire.answer().await;
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
}

#[actix_web::test]
async fn a_path_leads_to_the_same_however_it_is_written() {
    let app = TestApp::start().await;
    let body = || br#"{"ttl":60,"claims":{}}"#.to_vec();
    for path in ["default/tokens", "de%66ault/tokens", "default/tokens?x=1"] {
        let answer = app.post_bytes(&format!("/v1/keysets/{path}"), body()).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("content-type"), "application/json");
    }
    for (as_it_is, escaped) in
        [("nowhere/tokens", "no%77here/tokens"), ("v1/tokens", "v%31/tokens")]
    {
        let problem = async |path: &str| {
            let answer = app.post_bytes(&format!("/v1/keysets/{path}"), body()).await;
            let problem = answer.problem();
            assert!(problem.request_id.is_some(), "{path}");
            (answer.status, problem.code, problem.detail)
        };
        assert_eq!(problem(as_it_is).await, problem(escaped).await);
    }
}

#[actix_web::test]
async fn a_body_may_come_in_pieces() {
    let app = TestApp::start().await;
    let head = "POST /v1/keysets/default/tokens HTTP/1.1\r\nhost: localhost\r\n\
                transfer-encoding: chunked\r\n\r\n";
    let chunk = |piece: &str| format!("{:x}\r\n{piece}\r\n", piece.len());
    let mut wire = Wire::to(&app.daemon.internal).await;
    let pieces = [r#"{"ttl":6"#, r#"0,"claims":{"#, r#""n":1"#, "}}"].map(chunk);
    wire.send(format!("{head}{}0\r\n\r\n", pieces.concat()).as_bytes()).await;
    let (head_of_answer, body) = wire.answer().await;
    assert!(head_of_answer.starts_with("HTTP/1.1 200"), "{head_of_answer}");
    let token =
        serde_json::from_slice::<Value>(&body).unwrap()["token"].as_str().unwrap().to_owned();
    assert_eq!(parts(&token).claims()["n"], 1);

    // As many bytes as it may have, and one more, in pieces of which none is too large.
    for (more, status) in [("", "HTTP/1.1 200"), (" ", "HTTP/1.1 413")] {
        let mut wire = Wire::to(&app.daemon.internal).await;
        let wanted = r#"{"ttl":60,"claims":{}}"#;
        let blank = " ".repeat((64 * 1024 - wanted.len()) / 2);
        let pieces = [&blank, &blank, wanted].map(chunk).concat();
        let more = if more.is_empty() { String::new() } else { chunk(more) };
        wire.send(format!("{head}{pieces}{more}0\r\n\r\n").as_bytes()).await;
        let told = wire.head().await;
        assert!(told.starts_with(status), "{told}");
    }
}
