//! The console: who gets it, and what a browser is told with it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::Method;
use hyper::header::AUTHORIZATION;
use jwksd::api::Code;

use crate::app::{CALLERS, KEYSETS, TestApp, To, send_to};
use crate::guard::{LIST, ROTATE, SITE, ask_over_tcp, with_token};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

#[actix_web::test]
async fn the_files_of_the_console_are_for_whoever_is_known() {
    let app = TestApp::with(KEYSETS, &with_token()).await;
    let page = app.ask(To::Admin, Method::GET, "/console/", &[], b"").await;
    assert_eq!(page.status, 200);
    let html = String::from_utf8(page.body.clone()).unwrap();
    let named = |name| html.split(name).skip(1).map(|rest| rest.split('"').next().unwrap());
    let files = named("src=\"").chain(named("href=\"")).filter(|file| !file.starts_with('#'));
    let files: Vec<_> = files.map(|file| format!("/console/{file}")).collect();
    assert!(files.len() >= 3, "{files:?}");
    for path in files.iter().map(String::as_str).chain(["/console/", "/console", "/"]) {
        let known = app.ask(To::Admin, Method::GET, path, &[], b"").await;
        assert!(matches!(known.status.as_u16(), 200 | 302), "{path}");
        let unknown = ask_over_tcp(&app, Method::GET, path, &[]).await;
        assert_eq!(unknown.problem().code, Code::UnknownCaller, "{path}");
        assert_eq!(
            unknown.header("www-authenticate"),
            "Basic realm=\"jwksd admin\", charset=\"UTF-8\""
        );
        let posted = app.ask(To::Admin, Method::POST, path, &[], b"").await;
        assert_eq!((posted.status.as_u16(), posted.header("allow")), (405, "GET, HEAD"), "{path}");
    }
    assert_eq!(app.ask(To::Admin, Method::GET, "/console/nothing", &[], b"").await.status, 404);
}

#[actix_web::test]
async fn a_browser_is_told_to_run_nothing_but_the_files_of_the_page() {
    let app = TestApp::start().await;
    let page = app.ask(To::Admin, Method::GET, "/console/", &[], b"").await;
    let policy = page.header("content-security-policy");
    let directives: Vec<_> = policy.split(';').map(str::trim).collect();
    for wanted in [
        "default-src 'none'",
        "script-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(directives.contains(&wanted), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    for (name, value) in [
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "no-referrer"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-embedder-policy", "require-corp"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }
    let listed = app.ask(To::Admin, Method::GET, LIST, &[], b"").await;
    assert_eq!(listed.header("x-content-type-options"), "nosniff");
    assert_eq!(listed.header("cross-origin-resource-policy"), "same-origin");
}

#[actix_web::test]
async fn a_token_as_password_is_for_looking_at_a_browser_and_for_nothing_else() {
    let app = TestApp::with(KEYSETS, &with_token()).await;
    let (good, bad) = (basic("anyone", "jwksd_test"), basic("holder", "jwksd_other"));
    let ask = async |method, path, headers: &[_]| ask_over_tcp(&app, method, path, headers).await;
    let browser = (SITE, "same-origin");
    let shown = (AUTHORIZATION, good.as_str());

    assert_eq!(ask(Method::GET, "/console/", std::slice::from_ref(&shown)).await.status, 200);
    assert_eq!(ask(Method::GET, LIST, &[shown.clone(), browser.clone()]).await.status, 200);
    let wrong = ask(Method::GET, "/console/", &[(AUTHORIZATION, bad.as_str())]).await;
    assert_eq!(wrong.problem().code, Code::UnknownCaller);

    // Other programs send a bearer token.
    let answer = ask(Method::GET, LIST, std::slice::from_ref(&shown)).await;
    assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"));
    // What changes something never takes it, and no browser is made to ask for it.
    for (path, headers) in
        [(ROTATE, vec![shown.clone(), browser.clone()]), ("/v1/reload", vec![shown, browser])]
    {
        let answer = ask(Method::POST, path, &headers).await;
        assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"));
    }
    for junk in ["Basic", "Basic ", "Basic !!!!", "Basic /////w==", "basic bm8gY29sb24="] {
        let answer = ask(Method::GET, "/console/", &[(AUTHORIZATION, junk)]).await;
        assert_eq!(answer.status, 401, "{junk}");
    }
}

#[actix_web::test]
async fn a_socket_asks_nobody_for_a_password() {
    let strangers = CALLERS.replace("\"self\"", "4000000");
    let app = TestApp::with(KEYSETS, &strangers).await;
    let shown = basic("local", "jwksd_test");
    let headers = [(AUTHORIZATION, shown.as_str()), (SITE, "same-origin")];
    let answer = app.ask(To::Admin, Method::GET, LIST, &headers, b"").await;
    assert_eq!((answer.status.as_u16(), answer.header("www-authenticate")), (401, "Bearer"));
}

#[actix_web::test]
async fn the_internal_listener_has_neither_a_console_nor_passwords() {
    let app = TestApp::with(KEYSETS, &with_token()).await;
    assert_eq!(app.ask(To::Internal, Method::GET, "/console/", &[], b"").await.status, 404);
    let shown = basic("holder", "jwksd_test");
    let headers = [(AUTHORIZATION, shown.as_str()), (SITE, "same-origin")];
    let place = &app.daemon.internal_tcp;
    let answer = send_to(place, Method::POST, "/v1/keysets/default/tokens", &headers, Vec::new());
    assert_eq!(answer.await.status, 401);
}
