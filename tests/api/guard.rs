//! Pages of others get nothing of the admin listener: neither by a name that is made to lead to it,
//! nor with an identity that a browser shows by itself.

use std::time::Duration;

use hyper::header::{AUTHORIZATION, HOST, HeaderName, ORIGIN};
use hyper::{Method, StatusCode};
use jwksd::api::{Code, KeyState};
use jwksd::config::Listen;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::app::{Answer, CALLERS, KEYSETS, TestApp, To, caller_of, send_to};
use crate::certificates::{Ca, sans};
use crate::dialer::{Dialer, Folder};
use crate::tls::BACKEND;

pub(crate) const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

pub(crate) const LIST: &str = "/v1/keysets";
pub(crate) const ROTATE: &str = "/v1/keysets/default/rotate";

/// Of the bearer token `jwksd_test`.
const DIGEST: &str = "be48152ec61a830fca0e59e7b04935c75600ca5e919a69f92555303f2e187547";

/// The usual caller, and one over TCP that may do the same.
pub(crate) fn with_token() -> String {
    let holder = CALLERS.replace("\"local\"", "\"holder\"");
    CALLERS.to_owned() + &holder.replace("uid = \"self\"", &format!("token_sha256 = \"{DIGEST}\""))
}

/// A request to the admin listener over TCP.
pub(crate) async fn ask_over_tcp(
    app: &TestApp,
    method: Method,
    path: &str,
    headers: &[(HeaderName, &str)],
) -> Answer {
    send_to(&app.daemon.admin_tcp, method, path, headers, b"{}".to_vec()).await
}

async fn asked_as(app: &TestApp, host: &str) -> StatusCode {
    app.ask(To::Admin, Method::GET, LIST, &[(HOST, host)], b"").await.status
}

#[actix_web::test]
async fn the_admin_listener_answers_to_its_own_names_alone() {
    let app = TestApp::start().await;
    for own in ["localhost", "LocalHost:8081", "127.0.0.1:1", "[::1]:8081", "127.0.0.2"] {
        assert_eq!(asked_as(&app, own).await, 200, "{own}");
    }
    let others =
        ["evil.example", "evil.example:8081", "localhost.evil.example", "10.0.0.1", "jwksd", ""];
    for other in others {
        assert_eq!(asked_as(&app, other).await, 421, "{other}");
    }
    let answer = app.ask(To::Admin, Method::GET, LIST, &[(HOST, "evil.example")], b"").await;
    let problem = answer.problem();
    assert_eq!(problem.code, Code::WrongHost);
    assert!(problem.detail.contains("hosts of [admin]"), "{}", problem.detail);
    let twice = [(HOST, "localhost"), (HOST, "evil.example")];
    assert!(app.ask(To::Admin, Method::GET, LIST, &twice, b"").await.status.is_client_error());
    // No name at all, and another than in the head.
    let said = app.ask_bytes(To::Admin, b"GET /v1/keysets HTTP/1.0\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.0 421"), "{said}");
    let target = b"GET http://evil.example/v1/keysets HTTP/1.1\r\nhost: localhost\r\n\
                   connection: close\r\n\r\n";
    let said = app.ask_bytes(To::Admin, target).await;
    assert!(said.starts_with("HTTP/1.1 421"), "{said}");
}

#[actix_web::test]
async fn a_name_that_leads_here_since_a_moment_ago_gets_nothing_changed() {
    let app = TestApp::with(KEYSETS, &with_token()).await;
    let active = app.kid(KeyState::Active).await;
    // What a browser sends after DNS rebinding: for it, the page and this listener are one origin.
    let rebound = [
        (HOST, "evil.example:8081"),
        (ORIGIN, "http://evil.example:8081"),
        (SITE, "same-origin"),
        (AUTHORIZATION, "Bearer jwksd_test"),
    ];
    for (method, path) in [(Method::GET, LIST), (Method::POST, ROTATE), (Method::GET, "/console/")]
    {
        let answer = ask_over_tcp(&app, method, path, &rebound).await;
        assert_eq!(answer.problem().code, Code::WrongHost, "{path}");
    }
    assert_eq!(app.kid(KeyState::Active).await, active);
}

#[actix_web::test]
async fn names_are_added_by_a_reload() {
    let app = TestApp::start().await;
    let name = "Jwksd.Example.com:8443";
    assert_eq!(asked_as(&app, name).await, 421);
    app.edit("[admin]", "[admin]\nhosts = [\"jwksd.example.com\", \"10.0.0.1\"]");
    app.admin_post::<Value>("/v1/reload", ()).await.unwrap();
    for own in [name, "10.0.0.1:1"] {
        assert_eq!(asked_as(&app, own).await, 200, "{own}");
    }
    assert_eq!(asked_as(&app, "evil.example").await, 421);
    for (wrong, why) in [("a:8443", "labels"), ("*.example.com", "wildcard"), ("", "1 to 253")] {
        app.edit("\"10.0.0.1\"", &format!("\"{wrong}\""));
        let problem = app.admin_post::<Value>("/v1/reload", ()).await.unwrap_err();
        let is_told = problem.detail.contains("admin.hosts") && problem.detail.contains(why);
        assert!(is_told, "{}", problem.detail);
        app.edit(&format!("\"{wrong}\"]"), "\"10.0.0.1\"]");
    }
}

#[actix_web::test]
async fn the_names_of_the_certificate_need_no_configuration() {
    let (ours, clients) = (Ca::new("ours"), Ca::new("clients"));
    let server = ours.issue(|params| {
        params.subject_alt_names = sans(&["jwksd.example.com", "*.wild.example.com"]);
        params.subject_alt_names.push(rcgen::SanType::IpAddress([127, 0, 0, 1].into()));
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    });
    let files = Folder::new(&server, &[&clients]);
    let callers = caller_of("\"read\"").replace("uid = \"self\"", &format!("san = \"{BACKEND}\""));
    let app = TestApp::with(&(files.tables() + KEYSETS), &callers).await;
    let dialer = Dialer::new(&ours, Some(&clients.client(&[BACKEND])));
    let mut connection = dialer.connect(&app.daemon.admin_tcp).await;
    for (host, status) in [
        ("jwksd.example.com:8443", 200),
        ("a.wild.example.com", 200),
        ("wild.example.com", 421),
        ("a.b.wild.example.com", 421),
        ("evil.example", 421),
        ("10.0.0.1", 421),
    ] {
        let headers = [("host", host)];
        let answer = connection.ask("GET", LIST, &headers, &Value::Null).await;
        assert_eq!(answer.status, status, "{host}");
    }
    // The certificate is shown to whatever page asks, so it is asked which.
    let cross = [("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")];
    for (method, path) in [("GET", LIST), ("POST", "/v1/reload"), ("GET", "/console/")] {
        let answer = connection.ask(method, path, &cross, &Value::Null).await;
        assert_eq!(answer.problem().code, Code::CrossSite, "{method} {path}");
    }
    assert_eq!(connection.ask("GET", "/console/", &[], &Value::Null).await.status, 200);
}

#[actix_web::test]
async fn a_page_of_another_site_gets_nothing_done_with_an_identity_that_is_not_its_own() {
    let app = TestApp::start().await;
    let active = app.kid(KeyState::Active).await;
    let body = format!("{{\"expect_active\":\"{active}\",\"now\":true}}");
    let elsewhere: [&[(HeaderName, &str)]; 4] = [
        &[(SITE, "cross-site"), (ORIGIN, "http://evil.example")],
        &[(SITE, "same-site")],
        &[(ORIGIN, "http://localhost:3000")],
        &[(ORIGIN, "null")],
    ];
    for headers in elsewhere {
        for (method, path) in [(Method::POST, ROTATE), (Method::GET, LIST)] {
            let answer = app.ask(To::Admin, method, path, headers, body.as_bytes()).await;
            assert_eq!(answer.problem().code, Code::CrossSite, "{path} {headers:?}");
            assert_eq!(answer.status, 403);
        }
    }
    app.settle().await;
    assert_eq!(app.kid(KeyState::Active).await, active);
}

#[actix_web::test]
async fn a_link_to_the_console_may_be_followed_from_anywhere() {
    let app = TestApp::start().await;
    let link = [(SITE, "cross-site"), (MODE, "navigate"), (DEST, "document")];
    for entrance in ["/", "/console"] {
        let answer = app.ask(To::Admin, Method::GET, entrance, &link, b"").await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (302, "/console/"));
    }
    assert_eq!(app.ask(To::Admin, Method::GET, "/console/", &link, b"").await.status, 200);
    assert_eq!(app.ask(To::Admin, Method::GET, LIST, &link, b"").await.status, 403);
}

#[actix_web::test]
async fn metrics_of_this_machine_are_told_under_its_own_names_and_to_pages_of_none_other() {
    let app = TestApp::start().await;
    let scraped_as = async |host| {
        let headers = [(HOST, host)];
        send_to(&app.daemon.metrics, Method::GET, "/metrics", &headers, Vec::new()).await.status
    };
    for own in ["localhost:9464", "127.0.0.1:9464", "[::1]"] {
        assert_eq!(scraped_as(own).await, 200, "{own}");
    }
    assert_eq!(scraped_as("evil.example:9464").await, 421);
    // The list of targets in Prometheus, on another port of this machine, has links to it.
    let link = [(SITE, "same-site"), (MODE, "navigate"), (DEST, "document")];
    let answer = send_to(&app.daemon.metrics, Method::GET, "/metrics", &link, Vec::new()).await;
    let policy = answer.header("cross-origin-resource-policy");
    assert_eq!((answer.status.as_u16(), policy), (200, "same-origin"));
    // An agent on a Unix socket calls it what it likes.
    let mut agent = UnixStream::connect(app.metrics_socket()).await.unwrap();
    let scrape = b"GET /metrics HTTP/1.1\r\nhost: metrics\r\nconnection: close\r\n\r\n";
    agent.write_all(scrape).await.unwrap();
    let mut said = String::new();
    agent.read_to_string(&mut said).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
}

#[actix_web::test]
async fn metrics_for_other_machines_are_told_under_any_name() {
    let mut app = TestApp::start().await;
    app.edit(
        "[metrics]\n        listen = [\"127.0.0.1:0\"",
        "[metrics]\n        listen = [\"0.0.0.0:0\"",
    );
    app.restart_after(Duration::ZERO).await;
    let Listen::Tcp(place) = &app.daemon.metrics else { panic!("it has a TCP place") };
    let here = Listen::Tcp(place.replace("0.0.0.0", "127.0.0.1"));
    for host in ["jwksd.example.com:9464", "10.1.2.3:9464"] {
        let answer = send_to(&here, Method::GET, "/metrics", &[(HOST, host)], Vec::new()).await;
        assert_eq!(answer.status, 200, "{host}");
    }
}
