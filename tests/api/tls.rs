//! TLS and callers known by certificate, with real handshakes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jwksd::http::connection::Timeouts;
use rcgen::{DnType, ExtendedKeyUsagePurpose, date_time_ymd};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::app::{CALLERS, KEYSETS, START, TestApp};
use crate::dialer::{Ca, Connection, Dialer, Folder, Leaf, address, der, sans, swap_link};
use crate::wire::Wire;

pub(crate) const BACKEND: &str = "spiffe://example.org/backend";
const OTHER: &str = "other.example.com";

/// Of the bearer token `jwksd_test`.
const DIGEST: &str = "be48152ec61a830fca0e59e7b04935c75600ca5e919a69f92555303f2e187547";

/// Callers by URI, by DNS name and by token.
fn callers() -> String {
    format!(
        r#"{CALLERS}
        [[callers]]
        name = "backend"
        san = "{BACKEND}"
        grants = [{{ keyset = "*", actions = ["sign-token", "read", "operate"] }}]
        [[callers]]
        name = "other"
        san = "Other.Example.com"
        grants = [{{ keyset = "*", actions = ["sign-token"] }}]
        [[callers]]
        name = "holder"
        token_sha256 = "{DIGEST}"
        grants = [{{ keyset = "*", actions = ["sign-token"] }}]
        "#
    )
}

/// A daemon with TLS on all listeners.
pub(crate) struct Setup {
    pub(crate) app: TestApp,
    /// The CA of the listeners.
    ours: Ca,
    /// The CA of clients.
    pub(crate) clients: Ca,
    pub(crate) files: Folder,
}

impl Setup {
    pub(crate) async fn start() -> Self {
        Self::with("", Timeouts::default()).await
    }

    /// With these tables besides, and this patience.
    async fn with(tables: &str, timeouts: Timeouts) -> Self {
        let (ours, clients) = (Ca::new("ours"), Ca::new("clients"));
        let files = Folder::new(&ours.server(), &[&clients]);
        let config = format!("{}{tables}{KEYSETS}", files.tables());
        let app = TestApp::with_timeouts(&config, &callers(), timeouts).await;
        Self { app, ours, clients, files }
    }

    pub(crate) async fn connect(&self, shown: Option<&Leaf>) -> Connection {
        Dialer::new(&self.ours, shown).connect(&self.app.daemon.internal_tcp).await
    }

    /// A dialer that returns only when the listener has taken the certificate: with TLS 1.3 a
    /// client is done before.
    fn shaken_hands(&self) -> Dialer {
        let leaf = self.clients.client(&[BACKEND]);
        Dialer::with_versions(&self.ours, Some(&leaf), &[&rustls::version::TLS12])
    }

    async fn refuses(&self, shown: &Leaf) -> bool {
        Dialer::new(&self.ours, Some(shown)).is_refused(&self.app.daemon.internal_tcp).await
    }

    /// Lets the daemon look at its files.
    pub(crate) fn look(&self) {
        let administration = &self.app.daemon.administration;
        administration.tls.look(&administration.health);
    }

    async fn status(&self) -> Value {
        self.app.admin_get("/v1/status").await.unwrap()
    }

    async fn reload(&self) -> Result<Value, jwksd::api::Problem> {
        self.app.admin_post("/v1/reload", json!({})).await
    }
}

/// The last line of the audit about a token.
fn last_signer(app: &TestApp) -> String {
    let lines = app.audit();
    let line = lines.iter().rfind(|line| line["action"] == "sign-token").unwrap();
    line["caller"].as_str().unwrap().to_owned()
}

#[actix_web::test]
async fn a_caller_is_known_by_the_uri_or_the_dns_name_in_its_certificate() {
    let setup = Setup::start().await;
    for (name, caller) in [(BACKEND, "backend"), (OTHER, "other"), ("OTHER.example.COM", "other")] {
        let mut connection = setup.connect(Some(&setup.clients.client(&[name]))).await;
        assert_eq!(connection.sign().await, 200, "{name}");
        assert_eq!(last_signer(&setup.app), caller);
    }
}

#[actix_web::test]
async fn an_admin_is_known_by_certificate_too() {
    let setup = Setup::start().await;
    let leaf = setup.clients.client(&[BACKEND]);
    let dialer = Dialer::new(&setup.ours, Some(&leaf));
    let mut connection = dialer.connect(&setup.app.daemon.admin_tcp).await;
    let status = connection.ask("GET", "/v1/status", &[], &Value::Null).await;
    assert_eq!(status.json()["ready"], true);
}

#[actix_web::test]
async fn nobody_is_known_without_certificate_and_token() {
    let setup = Setup::start().await;
    let mut connection = setup.connect(None).await;
    assert_eq!(connection.sign().await, 401);
}

#[actix_web::test]
async fn a_bearer_token_counts_over_tls_where_no_certificate_was_shown() {
    let setup = Setup::start().await;
    let token = [("authorization", "Bearer jwksd_test")];
    let body = json!({"claims": {}, "ttl": "15m"});
    let path = "/v1/keysets/default/tokens";

    let mut without = setup.connect(None).await;
    assert_eq!(without.ask("POST", path, &token, &body).await.status, 200);
    assert_eq!(last_signer(&setup.app), "holder");

    let mut other = setup.connect(Some(&setup.clients.client(&[OTHER]))).await;
    assert_eq!(other.ask("POST", path, &token, &body).await.status, 200);
    assert_eq!(last_signer(&setup.app), "other");

    let mut nobody = setup.connect(Some(&setup.clients.client(&["nobody.example"]))).await;
    assert_eq!(nobody.ask("POST", path, &token, &body).await.status, 401);
}

#[actix_web::test]
async fn a_certificate_of_a_ca_that_is_not_trusted_is_refused() {
    let setup = Setup::start().await;
    assert!(setup.refuses(&Ca::new("clients").client(&[BACKEND])).await);
    // That of the listeners is not one for clients.
    assert!(setup.refuses(&setup.ours.client(&[BACKEND])).await);
    assert!(!setup.refuses(&setup.clients.client(&[BACKEND])).await);
}

#[actix_web::test]
async fn a_certificate_that_is_not_for_clients_is_refused() {
    let setup = Setup::start().await;
    for usages in
        [vec![ExtendedKeyUsagePurpose::ServerAuth], vec![], vec![ExtendedKeyUsagePurpose::Any]]
    {
        let leaf = setup.clients.issue(|params| {
            params.subject_alt_names = sans(&[BACKEND]);
            params.extended_key_usages = usages.clone();
        });
        assert!(setup.refuses(&leaf).await, "{usages:?}");
    }
}

#[actix_web::test]
async fn a_ca_does_not_pass_for_a_client() {
    let setup = Setup::start().await;
    let leaf = setup.clients.issue(|params| {
        params.subject_alt_names = sans(&[BACKEND]);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    });
    assert!(setup.refuses(&leaf).await);
}

#[actix_web::test]
async fn a_certificate_that_is_not_valid_now_is_refused() {
    let setup = Setup::start().await;
    // The clock of the test stands at 2026-11-22.
    let expired = setup.clients.issue(|params| {
        params.subject_alt_names = sans(&[BACKEND]);
        params.not_after = date_time_ymd(2026, 11, 22);
    });
    let early = setup.clients.issue(|params| {
        params.subject_alt_names = sans(&[BACKEND]);
        params.not_before = date_time_ymd(2026, 11, 23);
    });
    assert!(setup.refuses(&expired).await);
    assert!(setup.refuses(&early).await);
}

#[actix_web::test]
async fn a_name_counts_only_as_an_alternative_name_of_its_kind() {
    let setup = Setup::start().await;
    let common_name =
        setup.clients.issue(|params| params.distinguished_name.push(DnType::CommonName, OTHER));
    let wildcard = setup.clients.client(&["*.example.com"]);
    let dns_as_uri = setup.clients.issue(|params| {
        params.subject_alt_names = vec![rcgen::SanType::URI(OTHER.try_into().unwrap())];
    });
    let uri_as_dns = setup.clients.issue(|params| {
        params.subject_alt_names = vec![rcgen::SanType::DnsName(BACKEND.try_into().unwrap())];
    });
    for (what, leaf) in
        [("CN", common_name), ("*", wildcard), ("URI", dns_as_uri), ("DNS", uri_as_dns)]
    {
        assert_eq!(setup.connect(Some(&leaf)).await.sign().await, 401, "{what}");
    }
}

#[actix_web::test]
async fn a_certificate_with_the_names_of_two_callers_is_nobodys() {
    let setup = Setup::start().await;
    let mut connection = setup.connect(Some(&setup.clients.client(&[OTHER, BACKEND]))).await;
    let body = json!({"claims": {}, "ttl": "15m"});
    let answer = connection.ask("POST", "/v1/keysets/default/tokens", &[], &body).await;
    assert_eq!(answer.status, 401);
    assert!(answer.problem().detail.contains("several callers"), "{:?}", answer.problem());

    // A second name that no caller has does not matter.
    let leaf = setup.clients.client(&["nobody.example", BACKEND]);
    assert_eq!(setup.connect(Some(&leaf)).await.sign().await, 200);
}

#[actix_web::test]
async fn a_certificate_with_two_uris_is_refused() {
    let setup = Setup::start().await;
    assert!(setup.refuses(&setup.clients.client(&[BACKEND, "spiffe://example.org/x"])).await);
}

#[actix_web::test]
async fn a_removed_ca_ends_a_kept_connection_at_its_next_request_and_no_other() {
    let setup = Setup::start().await;
    let kept_ca = Ca::new("kept");
    setup.files.write_cas(&[&setup.clients, &kept_ca]);
    setup.look();
    let mut gone = setup.connect(Some(&setup.clients.client(&[BACKEND]))).await;
    let mut stays = setup.connect(Some(&kept_ca.client(&[OTHER]))).await;
    assert_eq!((gone.sign().await, stays.sign().await), (200, 200));

    setup.files.write_cas(&[&kept_ca]);
    setup.look();
    assert_eq!((gone.sign().await, stays.sign().await), (401, 200));
    gone.closed().await;
    assert_eq!(stays.sign().await, 200);
    assert!(setup.refuses(&setup.clients.client(&[BACKEND])).await);
}

#[actix_web::test]
async fn a_connection_that_asked_for_nothing_yet_is_judged_by_what_is_in_force_then() {
    let setup = Setup::start().await;
    let mut early = setup.shaken_hands().connect(&setup.app.daemon.internal_tcp).await;
    setup.files.write_cas(&[&Ca::new("new")]);
    setup.look();
    assert_eq!(early.sign().await, 401);
}

#[actix_web::test]
async fn a_stranger_is_refused_before_its_body_arrives() {
    let setup = Setup::start().await;
    let place = &setup.app.daemon.internal_tcp;
    let mut stream = setup.shaken_hands().stream(place).await.unwrap();
    setup.files.write_cas(&[&Ca::new("new")]);
    setup.look();
    let head =
        "POST /v1/keysets/default/tokens HTTP/1.1\r\nhost: x\r\ncontent-length: 60000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut answer));
    read.await.expect("it waits for the body").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
}

#[actix_web::test]
async fn a_removed_grant_or_caller_counts_at_the_next_request_of_a_kept_connection() {
    let setup = Setup::start().await;
    let mut backend = setup.connect(Some(&setup.clients.client(&[BACKEND]))).await;
    let mut other = setup.connect(Some(&setup.clients.client(&[OTHER]))).await;
    assert_eq!((backend.sign().await, other.sign().await), (200, 200));

    setup.app.edit(r#"["sign-token", "read", "operate"]"#, r#"["read"]"#);
    setup.reload().await.unwrap();
    assert_eq!((backend.sign().await, other.sign().await), (403, 200));

    setup.app.edit(BACKEND, "spiffe://example.org/another");
    setup.reload().await.unwrap();
    assert_eq!((backend.sign().await, other.sign().await), (401, 200));
    backend.closed().await;
}

#[actix_web::test]
async fn an_expired_client_certificate_is_out_at_its_next_request() {
    let setup = Setup::start().await;
    let leaf = setup.clients.issue(|params| {
        params.subject_alt_names = sans(&[BACKEND]);
        params.not_after = date_time_ymd(2026, 11, 23);
    });
    let mut connection = setup.connect(Some(&leaf)).await;
    // START is 3 o'clock on the day before.
    assert_eq!(START.to_string(), "2026-11-22T03:00:00Z");
    setup.app.clock.advance(Duration::from_hours(21));
    assert_eq!(connection.sign().await, 200);
    setup.app.clock.advance(Duration::from_secs(1));
    assert_eq!(connection.sign().await, 401);
    connection.closed().await;
}

#[actix_web::test]
async fn a_new_certificate_is_shown_to_new_connections_while_old_ones_go_on() {
    let setup = Setup::start().await;
    let client = setup.clients.client(&[BACKEND]);
    let mut old = setup.connect(Some(&client)).await;
    assert_eq!(old.sign().await, 200);

    let renewed = setup.ours.server();
    setup.files.write("cert.pem", &renewed.certificate);
    setup.files.write("key.pem", &renewed.key);
    setup.look();
    let mut new = setup.connect(Some(&client)).await;
    assert_eq!(new.server, der(&renewed.certificate));
    assert_ne!(old.server, new.server);
    assert_eq!((old.sign().await, new.sign().await), (200, 200));
}

#[actix_web::test]
async fn a_half_written_pair_leaves_the_old_one_in_force_until_it_is_whole() {
    let setup = Setup::start().await;
    let old = setup.connect(None).await.server;
    let renewed = setup.ours.server();
    setup.files.write("cert.pem", &renewed.certificate);
    setup.look();
    assert_eq!(setup.connect(None).await.server, old);
    assert_eq!(setup.status().await["warnings"], json!([]), "the rest may be on its way");
    setup.look();
    let status = setup.status().await;
    let warnings = status["warnings"].to_string();
    assert!(warnings.contains("internal.tls") && warnings.contains("is not that of"), "{warnings}");
    assert_eq!(status["ready"], true, "what is in force is good");
    assert_eq!(setup.connect(None).await.server, old);

    setup.files.write("key.pem", &renewed.key);
    setup.look();
    assert_eq!(setup.connect(None).await.server, der(&renewed.certificate));
    assert_eq!(setup.status().await["warnings"], json!([]));
}

#[actix_web::test]
async fn what_is_not_certificates_leaves_the_old_ones_in_force() {
    let setup = Setup::start().await;
    let client = setup.clients.client(&[BACKEND]);
    let half = setup.clients.pem();
    for (name, text) in [("ca.pem", ""), ("ca.pem", &half[..half.len() / 2]), ("key.pem", "x")] {
        let before = std::fs::read_to_string(setup.files.path(name)).unwrap();
        setup.files.write(name, text);
        setup.look();
        setup.look();
        assert_eq!(setup.connect(Some(&client)).await.sign().await, 200, "{name} {text}");
        let problem = setup.reload().await.unwrap_err();
        assert_eq!(problem.code, jwksd::api::Code::InvalidConfig);
        assert!(problem.detail.contains(name), "{problem:?}");
        setup.files.write(name, &before);
    }
}

#[actix_web::test]
async fn a_reload_takes_other_files_and_refuses_all_of_them_where_one_is_wrong() {
    let setup = Setup::start().await;
    let renewed = setup.ours.server();
    let moved = Folder::new(&renewed, &[&setup.clients]);
    let config = setup.files.path("");
    let (from, to) = (config.display().to_string(), moved.path("").display().to_string());
    // The public listener's, the internal one's, the admin one's: two paths, three, three.
    for _ in 0..8 {
        setup.app.edit(&from, &to);
    }
    moved.write("key.pem", "x");
    assert!(setup.reload().await.is_err());
    assert_ne!(setup.connect(None).await.server, der(&renewed.certificate));

    moved.write("key.pem", &renewed.key);
    setup.reload().await.unwrap();
    assert_eq!(setup.connect(None).await.server, der(&renewed.certificate));
}

#[actix_web::test]
async fn links_that_are_swapped_are_followed() {
    let setup = Setup::start().await;
    let renewed = Folder::new(&setup.ours.server(), &[&setup.clients]);
    for name in ["cert.pem", "key.pem"] {
        swap_link(&setup.files.path(name), &renewed.path(name));
    }
    setup.look();
    let shown = std::fs::read_to_string(renewed.path("cert.pem")).unwrap();
    assert_eq!(setup.connect(None).await.server, der(&shown));
}

#[actix_web::test]
async fn no_session_is_ever_resumed() {
    let setup = Setup::start().await;
    let leaf = setup.clients.client(&[BACKEND]);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        // It would resume: one store of sessions for both connections.
        let dialer = Dialer::with_versions(&setup.ours, Some(&leaf), &[version]);
        for _ in 0..2 {
            let mut stream = dialer.stream(&setup.app.daemon.internal_tcp).await.unwrap();
            // A ticket would come before the answer.
            stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            stream.read_exact(&mut [0; 12]).await.unwrap();
            let connection = stream.get_ref().1;
            assert_eq!(connection.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!(connection.tls13_tickets_received(), 0);
            assert_eq!(connection.alpn_protocol(), None);
        }
    }
}

#[actix_web::test]
async fn only_http_1_1_is_agreed_on() {
    let setup = Setup::start().await;
    let mut config = Arc::unwrap_or_clone(Dialer::new(&setup.ours, None).0);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let dialer = Dialer(Arc::new(config));
    let stream = dialer.stream(&setup.app.daemon.internal_tcp).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[actix_web::test]
async fn whoever_does_not_speak_tls_on_a_tcp_place_gets_no_answer() {
    let setup = Setup::start().await;
    let mut plain = TcpStream::connect(address(&setup.app.daemon.internal_tcp)).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // Closed, or reset where something was left unread.
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    // Unix sockets of the same listener speak none.
    setup.app.sign("default").await;
}

#[actix_web::test]
async fn handshakes_that_are_never_finished_keep_nobody_out() {
    // Longer than the test takes.
    let timeouts = Timeouts { handshake: Duration::from_mins(1), ..Timeouts::default() };
    let setup = Setup::with("[limits]\nconnections = { admin = 500 }\n", timeouts).await;
    let place = &setup.app.daemon.admin_tcp;
    let mut idle = Vec::new();
    for _ in 0..400 {
        idle.push(TcpStream::connect(address(place)).await.unwrap());
    }
    let leaf = setup.clients.client(&[BACKEND]);
    let mut connection = Dialer::new(&setup.ours, Some(&leaf)).connect(place).await;
    assert_eq!(connection.ask("GET", "/v1/status", &[], &Value::Null).await.status, 200);
    // It was not their end that made room.
    let still_open = |stream: &TcpStream| matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
    assert!(idle.iter().all(still_open));
}

#[actix_web::test]
#[expect(clippy::disallowed_methods, reason = "peers take real time")]
async fn a_handshake_that_is_not_finished_is_cut_off() {
    // Longer than what the HTTP library allows by itself.
    let handshake = Duration::from_secs(4);
    let setup = Setup::with("", Timeouts { handshake, ..Timeouts::default() }).await;
    let daemon = &setup.app.daemon;
    let begun = Instant::now();
    let mut wires = Vec::new();
    for place in [daemon.public_place(), &daemon.internal_tcp, &daemon.admin_tcp] {
        wires.push(Wire::to(place).await);
        let mut wire = Wire::to(place).await;
        // A record of 512 bytes begins, with a hello in it.
        wire.send(b"\x16\x03\x01\x02\x00\x01").await;
        wires.push(wire);
    }
    for wire in &wires {
        wire.closed().await;
        assert!(begun.elapsed() >= handshake);
    }
}

#[actix_web::test]
async fn the_public_listener_serves_the_key_set_over_tls_and_asks_for_no_certificate() {
    let setup = Setup::start().await;
    let leaf = setup.clients.client(&[BACKEND]);
    let dialer = Dialer::new(&setup.ours, Some(&leaf));
    let mut connection = dialer.connect(setup.app.daemon.public_place()).await;
    let answer = connection.ask("GET", "/.well-known/jwks.json", &[], &Value::Null).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["keys"].as_array().unwrap().len(), 2);
}

#[actix_web::test]
async fn a_certificate_that_ends_soon_is_a_warning_and_one_that_has_ended_a_problem() {
    let setup = Setup::start().await;
    let short = setup.ours.issue(|params| {
        params.subject_alt_names = vec![rcgen::SanType::IpAddress([127, 0, 0, 1].into())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_after = date_time_ymd(2026, 12, 1);
    });
    setup.files.write("cert.pem", &short.certificate);
    setup.files.write("key.pem", &short.key);
    setup.look();
    assert_eq!(setup.status().await["warnings"], json!([]));

    setup.app.clock.advance(Duration::from_hours(3 * 24));
    setup.look();
    let status = setup.status().await;
    assert_eq!(status["warnings"].as_array().unwrap().len(), 3, "{status}");
    assert!(status["warnings"][0].as_str().unwrap().contains("2026-12-01"), "{status}");
    assert_eq!(status["problems"], json!([]));
    assert_eq!(
        certificates(&status),
        ["warning admin.tls", "warning internal.tls", "warning public.tls"]
    );

    setup.app.clock.advance(Duration::from_hours(6 * 24));
    setup.look();
    let status = setup.status().await;
    assert_eq!((&status["warnings"], &status["ready"]), (&json!([]), &json!(false)));
    assert_eq!(
        certificates(&status),
        ["failing admin.tls", "failing internal.tls", "failing public.tls"]
    );

    let long = setup.ours.server();
    setup.files.write("cert.pem", &long.certificate);
    setup.files.write("key.pem", &long.key);
    setup.look();
    let status = setup.status().await;
    assert_eq!((certificates(&status), &status["ready"]), (vec!["ok ".to_owned()], &json!(true)));
}

/// How the certificates stand, each with the listener that it is of.
fn certificates(status: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let rows = status["checks"].as_array().unwrap().iter();
    let rows = rows.filter(|row| row["name"] == "certificate");
    rows.map(|row| format!("{} {}", text(&row["state"]), text(&row["listener"]))).collect()
}

#[actix_web::test]
async fn an_expired_certificate_does_not_take_the_place_of_a_good_one() {
    let setup = Setup::start().await;
    let old = setup.connect(None).await.server;
    let expired = setup.ours.issue(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    setup.files.write("cert.pem", &expired.certificate);
    setup.files.write("key.pem", &expired.key);
    setup.look();
    setup.look();
    assert_eq!(setup.connect(None).await.server, old);
    let status = setup.status().await;
    assert_eq!(status["ready"], true);
    assert!(status["warnings"].to_string().contains("expired at 2021"), "{status}");
}

#[actix_web::test]
async fn a_certificate_for_clients_is_not_shown_by_a_listener() {
    let setup = Setup::start().await;
    let old = setup.connect(None).await.server;
    let wrong = setup.ours.client(&["localhost"]);
    setup.files.write("cert.pem", &wrong.certificate);
    setup.files.write("key.pem", &wrong.key);
    let problem = setup.reload().await.unwrap_err();
    assert!(problem.detail.contains("is not for servers"), "{problem:?}");
    assert_eq!(setup.connect(None).await.server, old);
}

#[actix_web::test]
async fn a_ca_that_is_taken_away_counts_whatever_is_wrong_with_the_key() {
    let setup = Setup::start().await;
    let leaf = setup.clients.client(&[BACKEND]);
    let mut kept = setup.connect(Some(&leaf)).await;
    assert_eq!(kept.sign().await, 200);
    setup.files.write("key.pem", "no key");
    setup.files.write_cas(&[&Ca::new("others")]);
    setup.look();
    assert_eq!(kept.sign().await, 401);
    assert!(setup.refuses(&leaf).await);
    // Nothing that can be trusted is no reason to trust what was: it cannot be overlooked.
    setup.files.write("ca.pem", "");
    setup.look();
    setup.look();
    let status = setup.status().await;
    assert_eq!(status["ready"], false);
    assert!(status["problems"].to_string().contains("client_ca"), "{status}");
}

#[actix_web::test]
async fn a_pipe_in_place_of_a_file_holds_nothing_up() {
    let setup = Setup::start().await;
    let ca = setup.files.path("ca.pem");
    std::fs::remove_file(&ca).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &ca, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    setup.look();
    setup.look();
    let status = setup.status().await;
    assert!(status["problems"].to_string().contains("is not a file"), "{status}");
}
