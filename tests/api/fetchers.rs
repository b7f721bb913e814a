//! Who has fetched which version of a JWK Set.

use std::time::Duration;

use hyper::Method;
use hyper::header::{HeaderName, IF_NONE_MATCH, USER_AGENT};
use jwksd::api::fetchers::{FetchedKeyset, Fetchers, Has};
use jwksd::api::{Code, ImportResponse, KeyState, ReloadResponse, RevokeResponse};
use jwksd::client::Client;
use jwksd::config::Listen;
use serde_json::{Value, json};

use crate::app::{CALLERS, HOUR, KEYSETS, PUBLISH_AHEAD, START, TestApp, caller_of, keyset_named};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const BY_HEADER: &str = "[fetchers]\nheader = \"X-Forwarded-For\"\n";

/// Whoever asks, with method, path and headers, and the status that it gets.
type Asked<'a> = (&'a str, Method, &'a str, &'a [(HeaderName, &'a str)], u16);

/// Fetches the JWK Set as a verifier that says it is `user_agent`.
async fn fetch(app: &TestApp, user_agent: &str) {
    let headers = [(USER_AGENT, user_agent)];
    assert_eq!(app.fetch(Method::GET, "/jwks.json", &headers).await.status, 200);
}

async fn all(app: &TestApp) -> Fetchers {
    app.admin_get("/v1/fetchers").await.unwrap()
}

async fn of_default(app: &TestApp) -> FetchedKeyset {
    let path = "/v1/fetchers?keyset=default";
    let mut found: Fetchers = app.admin_get(path).await.unwrap();
    assert_eq!(found.keysets.len(), 1);
    found.keysets.remove(0)
}

/// The user agents and what they have.
async fn has(app: &TestApp) -> Vec<(String, Has)> {
    let fetchers = of_default(app).await.fetchers;
    fetchers.into_iter().map(|fetcher| (fetcher.user_agent, fetcher.has)).collect()
}

fn is(user_agent: &str, has: Has) -> (String, Has) {
    (user_agent.to_owned(), has)
}

/// Reloads the configuration, in which this was changed.
async fn reload_with(app: &TestApp, from: &str, to: &str) {
    app.edit(from, to);
    let _: ReloadResponse = app.admin_post("/v1/reload", json!({})).await.unwrap();
}

#[actix_web::test]
async fn what_is_told_of_a_fetcher_is_a_network_a_user_agent_and_a_version() {
    let app = TestApp::start().await;
    app.clock.advance(HOUR);
    fetch(&app, "shop/1").await;
    app.clock.advance(Duration::from_millis(61_500));
    fetch(&app, "shop/1").await;
    let etag = app.get("/default/.well-known/jwks.json").await.header("etag").to_owned();
    let told: Value = app.admin_get("/v1/fetchers").await.unwrap();
    let (active, standby) = app.active_and_standby().await;
    let fetcher = |user_agent: &str, last: &str, fetches: u64| {
        json!({
            "who": "127.0.0.0/24",
            "user_agent": user_agent,
            "last": last,
            "fetches": fetches,
            "has": "current",
            "seen_version": etag,
        })
    };
    let keyset = json!({
        "name": "default",
        "version": etag,
        "active": active,
        "standby": standby,
        "window": "1d1h6m",
        "known": 2,
        "current": 2,
        "without_active": 0,
        "without_standby": 0,
        "forgotten": 0,
        "fetchers": [
            fetcher("", "2026-11-22T04:01:01Z", 1),
            fetcher("shop/1", "2026-11-22T04:01:01Z", 2),
        ],
    });
    assert_eq!(told, json!({"since": START.to_string(), "keysets": [keyset]}));
}

#[actix_web::test]
async fn after_a_rotation_those_that_have_not_fetched_the_new_standby_are_told() {
    let app = TestApp::start().await;
    fetch(&app, "a").await;
    let active = app.kid(KeyState::Active).await;
    let answer = app.rotate(json!({"expect_active": active})).await.unwrap();
    let told = answer.fetchers.unwrap();
    assert_eq!((told.known, told.without_standby, told.since), (1, 0, START.to_string()));

    app.advance(PUBLISH_AHEAD.saturating_sub(HOUR)).await;
    fetch(&app, "b").await;
    app.advance(HOUR).await;
    fetch(&app, "c").await;
    let all_have_the_active =
        [is("a", Has::WithoutStandby), is("b", Has::WithoutStandby), is("c", Has::Current)];
    assert_eq!(has(&app).await, all_have_the_active);

    let active = app.kid(KeyState::Active).await;
    for body in [json!({"expect_active": active}), json!({"expect_active": active})] {
        let told = app.rotate(body).await.unwrap().fetchers.unwrap();
        assert_eq!((told.known, told.without_standby), (3, 2));
    }
    let now = json!({"expect_active": active, "now": true});
    let told = app.rotate(now).await.unwrap().fetchers.unwrap();
    assert_eq!((told.known, told.without_standby), (3, 2));
    // Those two refuse until they fetch; none has the standby that was just made.
    let lack =
        [is("a", Has::WithoutActive), is("b", Has::WithoutActive), is("c", Has::WithoutStandby)];
    assert_eq!(has(&app).await, lack);
    let keyset = of_default(&app).await;
    let counts = (keyset.known, keyset.current, keyset.without_active, keyset.without_standby);
    assert_eq!(counts, (3, 0, 2, 3));
}

#[actix_web::test]
async fn whoever_was_not_seen_for_longer_than_a_verifier_keeps_the_set_is_not_told_any_more() {
    let app = TestApp::start().await;
    fetch(&app, "gone").await;
    app.advance(HOUR).await;
    fetch(&app, "there").await;
    app.advance(PUBLISH_AHEAD).await;
    assert_eq!(of_default(&app).await.known, 2);
    app.advance(Duration::from_secs(1)).await;
    assert_eq!(has(&app).await, [is("there", Has::Current)]);
}

#[actix_web::test]
async fn an_answer_counts_where_it_leaves_the_fetcher_with_the_set() {
    let app = TestApp::start().await;
    let set = "/jwks.json";
    let etag = app.get(set).await.header("etag").to_owned();
    let other = [(IF_NONE_MATCH, "\"other\"")];
    let this = [(IF_NONE_MATCH, etag.as_str())];
    let asked: [Asked<'_>; 11] = [
        ("get", Method::GET, set, &[], 200),
        ("get, had another", Method::GET, set, &other, 200),
        ("get, has it", Method::GET, set, &this, 304),
        ("head, has it", Method::HEAD, set, &this, 304),
        // What follows brings nothing, and proves nothing.
        ("-get, has any", Method::GET, set, &[(IF_NONE_MATCH, "*")], 304),
        ("-head", Method::HEAD, set, &[], 200),
        ("-head, had another", Method::HEAD, set, &other, 200),
        ("-post", Method::POST, set, &[], 405),
        ("-no set", Method::GET, "/other/.well-known/jwks.json", &[], 404),
        ("-discovery", Method::GET, "/.well-known/openid-configuration", &[], 200),
        ("-health", Method::GET, "/readyz", &[], 200),
    ];
    for (user_agent, method, path, headers, status) in &asked {
        let headers = [*headers, &[(USER_AGENT, *user_agent)]].concat();
        assert_eq!(app.fetch(method.clone(), path, &headers).await.status, *status, "{user_agent}");
    }
    let told: Vec<String> = has(&app).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(told, ["", "get", "get, had another", "get, has it", "head, has it"]);
}

#[actix_web::test]
async fn keys_that_come_and_go_beside_the_standby_make_a_version_older_and_no_more() {
    let app = TestApp::start().await;
    fetch(&app, "before").await;
    // RFC 7517, appendix A.1.
    let key = r#"{"kty":"EC","crv":"P-256","x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}"#;
    let until = (START + 24 * HOUR).to_string();
    let path = "/v1/keysets/default/import";
    let wish = json!({"key": key, "verify_only_until": until});
    let trusted: ImportResponse = app.admin_post(path, wish).await.unwrap();
    fetch(&app, "trusting").await;
    assert_eq!(has(&app).await, [is("before", Has::Older), is("trusting", Has::Current)]);
    let _: RevokeResponse = app.revoke(trusted.kid.as_str()).await.unwrap();
    // The set is again what it was.
    assert_eq!(has(&app).await, [is("trusting", Has::Older), is("before", Has::Current)]);
    let standby = app.kid(KeyState::Pending).await;
    let _: RevokeResponse = app.revoke(&standby).await.unwrap();
    let lack = [is("before", Has::WithoutStandby), is("trusting", Has::WithoutStandby)];
    assert_eq!(has(&app).await, lack);
}

#[actix_web::test]
async fn behind_a_proxy_its_header_says_who_fetches_and_is_cut_as_an_address() {
    let app = TestApp::with(&format!("{BY_HEADER}{KEYSETS}"), CALLERS).await;
    for value in ["203.0.113.5, 192.0.2.77", "192.0.2.78:55", "billing", "2001:db8:1:2:3:4:5:6"] {
        let headers = [(FORWARDED_FOR, value), (USER_AGENT, "x")];
        app.fetch(Method::GET, "/jwks.json", &headers).await;
    }
    // The proxy's line comes last.
    let lines = [(FORWARDED_FOR, "forged"), (FORWARDED_FOR, "billing"), (USER_AGENT, "x")];
    app.fetch(Method::GET, "/jwks.json", &lines).await;
    fetch(&app, "x").await;
    let fetchers = of_default(&app).await.fetchers;
    let told: Vec<(&str, u64)> = fetchers.iter().map(|f| (f.who.as_str(), f.fetches)).collect();
    let known = [("127.0.0.0/24", 1), ("192.0.2.0/24", 2), ("2001:db8:1::/48", 1), ("billing", 2)];
    assert_eq!(told, known);
}

#[actix_web::test]
async fn what_strangers_say_is_cut_cleaned_and_bounded() {
    let app = TestApp::with(&format!("{BY_HEADER}{KEYSETS}"), CALLERS).await;
    for number in 0..40 {
        let user_agent = format!("agent/{number}\t\u{9b}{}", "x".repeat(200));
        fetch(&app, &user_agent).await;
    }
    let keyset = of_default(&app).await;
    assert_eq!((keyset.known, keyset.forgotten), (17, 0));
    let others = keyset.fetchers.iter().find(|fetcher| fetcher.user_agent == "(others)").unwrap();
    assert_eq!(others.fetches, 24);
    for fetcher in &keyset.fetchers {
        let text = &fetcher.user_agent;
        assert!(
            text.len() <= 80 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{text}"
        );
    }
    for number in 0..300 {
        let headers = [(FORWARDED_FOR, format!("service-{number}"))];
        let headers = headers.each_ref().map(|(name, value)| (name.clone(), value.as_str()));
        app.fetch(Method::GET, "/jwks.json", &headers).await;
    }
    let keyset = of_default(&app).await;
    assert!((184..=200).contains(&keyset.known), "{}", keyset.known);
    assert_eq!(keyset.forgotten, 317 - keyset.known);
}

#[actix_web::test]
async fn two_listeners_fill_one_table() {
    let mut app = TestApp::start().await;
    let socket = app.audit_path().with_file_name("public.sock");
    let both = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", socket.display());
    app.edit("listen = \"127.0.0.1:0\"", &both);
    app.restart_after(Duration::ZERO).await;
    fetch(&app, "").await;
    let local = Client::new(Listen::Unix(socket), None);
    let _: Value = local.get("/jwks.json").await.unwrap();
    let fetchers = of_default(&app).await.fetchers;
    let told: Vec<&str> = fetchers.iter().map(|fetcher| fetcher.who.as_str()).collect();
    assert_eq!(told, ["127.0.0.0/24", "local"]);
}

#[actix_web::test]
async fn a_start_begins_with_nobody_and_says_since_when() {
    let mut app = TestApp::start().await;
    fetch(&app, "x").await;
    app.restart_after(HOUR).await;
    let told = all(&app).await;
    assert_eq!(told.since, Some((START + HOUR).to_string()));
    assert_eq!(told.keysets[0].known, 0);
}

#[actix_web::test]
async fn a_reload_that_names_fetchers_otherwise_begins_anew_and_can_end_it() {
    let app = TestApp::with(&format!("[fetchers]\nipv4_prefix = 24\n{KEYSETS}"), CALLERS).await;
    fetch(&app, "x").await;
    app.advance(HOUR).await;
    reload_with(&app, "audience = \"api.example.com\"", "audience = \"other\"").await;
    assert_eq!((of_default(&app).await.known, all(&app).await.since), (1, Some(START.to_string())));

    reload_with(&app, "ipv4_prefix = 24", "ipv4_prefix = 32").await;
    let told = all(&app).await;
    assert_eq!((told.keysets[0].known, told.since), (0, Some((START + HOUR).to_string())));
    fetch(&app, "x").await;
    assert_eq!(of_default(&app).await.fetchers[0].who, "127.0.0.1/32");

    reload_with(&app, "ipv4_prefix = 32", "enabled = false").await;
    fetch(&app, "x").await;
    assert_eq!(all(&app).await, Fetchers { since: None, keysets: Vec::new() });
    let active = app.kid(KeyState::Active).await;
    let answer = app.rotate(json!({"expect_active": active})).await.unwrap();
    assert_eq!(answer.fetchers, None);
}

#[actix_web::test]
async fn a_key_set_that_was_removed_is_watched_for_as_long_as_it_is_served() {
    let second = keyset_named("second");
    let app = TestApp::with(&format!("{KEYSETS}{second}"), CALLERS).await;
    app.configure(KEYSETS, CALLERS);
    let _: ReloadResponse = app.admin_post("/v1/reload", json!({})).await.unwrap();
    app.settle().await;
    assert_eq!(app.get("/second/.well-known/jwks.json").await.status, 200);
    let told: Fetchers = app.admin_get("/v1/fetchers?keyset=second").await.unwrap();
    let keyset = &told.keysets[0];
    assert_eq!((keyset.known, keyset.current, keyset.without_active), (1, 1, 0));
    assert_eq!((&keyset.active, &keyset.standby), (&None, &None));
}

#[actix_web::test]
async fn a_set_without_a_key_has_no_fetchers() {
    let keysets = KEYSETS.replace("rotate =", "first_key = \"import\"\nrotate =");
    let app = TestApp::with(&keysets, CALLERS).await;
    assert_eq!(app.get("/jwks.json").await.status, 503);
    let keyset = of_default(&app).await;
    assert_eq!((keyset.version, keyset.known), (None, 0));
}

#[actix_web::test]
async fn it_takes_read_and_what_is_allowed_is_not_recorded() {
    let app = TestApp::start().await;
    let before = app.audit().len();
    all(&app).await;
    of_default(&app).await;
    assert_eq!(app.audit().len(), before);

    let app = TestApp::with(KEYSETS, &caller_of("\"rotate\", \"operate\"")).await;
    let before = app.audit().len();
    fetch(&app, "x").await;
    assert_eq!(all(&app).await.keysets, []);
    assert_eq!(app.audit().len(), before);
    for keyset in ["default", "no-such-set"] {
        let path = format!("/v1/fetchers?keyset={keyset}");
        let refused = app.admin_get::<Fetchers>(&path).await.unwrap_err();
        assert_eq!(refused.code, Code::NotAllowed, "{keyset}");
    }
    let audit = app.audit();
    assert_eq!(audit.len(), before + 2);
    assert_eq!(audit[before]["action"], "fetchers");
}

#[actix_web::test]
async fn a_query_that_is_not_meant_is_refused() {
    let app = TestApp::start().await;
    let code = async |query: &str| {
        let path = format!("/v1/fetchers?{query}");
        app.admin_get::<Fetchers>(&path).await.unwrap_err().code
    };
    assert_eq!(code("keyset=other").await, Code::UnknownKeyset);
    assert_eq!(code("keyset=NO").await, Code::UnknownKeyset);
    assert_eq!(code("days=1").await, Code::InvalidRequest);
    assert_eq!(code("keyset=default&keyset=default").await, Code::InvalidRequest);
}
