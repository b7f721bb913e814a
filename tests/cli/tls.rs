//! Listeners with TLS, reached by the command line.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;

use crate::certificates::{Ca, Leaf};
use crate::daemon::{Daemon, Signal};
use crate::output::Output;
use crate::place::{Place, SIGN, free_address, wait_for};

const ADMIN: &str = "spiffe://example.org/admin";

/// A place whose internal and admin listeners are on TCP with TLS.
struct Networked {
    place: Place,
    ours: Ca,
    clients: Ca,
}

impl Networked {
    fn new() -> Self {
        let (ours, clients) = (Ca::new("ours"), Ca::new("clients"));
        let place = Place::with("uid = \"self\"", &format!("san = \"{ADMIN}\""));
        let networked = Self { place, ours, clients };
        for listener in ["sign", "admin"] {
            let tcp = format!("{}\"\n{TABLE}", free_address());
            let config = networked.place.read("config.toml");
            let name = if listener == "sign" { "internal" } else { "admin" };
            let unix = format!("unix:data/{listener}.sock\"");
            let config = config.replacen(&unix, &tcp.replace("NAME", name), 1);
            networked.place.write("config.toml", &config);
        }
        networked.write("server", &networked.ours.server());
        networked.write("client", &networked.clients.client(&[ADMIN]));
        networked.place.write("ca.pem", &networked.ours.pem());
        networked.place.write("clients.pem", &networked.clients.pem());
        networked
    }

    fn write(&self, name: &str, leaf: &Leaf) {
        self.place.write(&format!("{name}.pem"), &leaf.certificate);
        self.write_key(&format!("{name}.key"), &leaf.key);
    }

    fn write_key(&self, name: &str, key: &str) {
        self.place.write(name, key);
        set_permissions(self.place.path(name), Permissions::from_mode(0o600)).unwrap();
    }

    /// Runs a command with the client's certificate.
    fn run(&self, arguments: &[&str]) -> Output {
        let shown = "--ca ca.pem --client-certificate client.pem --client-key client.key";
        let all: Vec<&str> = shown.split(' ').chain(arguments.iter().copied()).collect();
        self.place.run(&all)
    }

    fn start(&self) -> Daemon {
        self.place.start()
    }
}

const TABLE: &str = r#"[NAME.tls]
certificate = "server.pem"
key = "server.key"
client_ca = "clients.pem""#;

#[test]
fn a_certificate_opens_both_listeners_to_the_command_line() {
    let networked = Networked::new();
    let daemon = networked.start();
    assert!(networked.run(&["keys", "list"]).ok().contains("default"));
    assert!(networked.run(&["status"]).ok().contains("is ready"));
    assert!(daemon.verifies(&networked.run(&SIGN).ok()));
    for secret in ["server.key", "client.key"] {
        let secret = networked.place.read(secret);
        let line = secret.lines().nth(1).unwrap();
        assert!(!daemon.log().contains(line) && !daemon.said().contains(line));
    }
}

#[test]
fn the_daemon_is_reached_without_its_configuration() {
    let networked = Networked::new();
    let daemon = networked.start();
    let server = format!("https://{}", daemon.address("admin"));
    let elsewhere = ["--config", "nowhere.toml", "--server", &server, "keys", "list"];
    assert!(networked.run(&elsewhere).ok().contains("default"));

    let mut command = networked.place.command(&["--config", "nowhere.toml", "keys", "list"]);
    command.env("JWKSD_SERVER", &server).env("JWKSD_CA", "ca.pem");
    command.env("JWKSD_CLIENT_CERTIFICATE", "client.pem").env("JWKSD_CLIENT_KEY", "client.key");
    assert!(Output::of(&mut command).ok().contains("default"));
}

#[test]
fn a_bearer_token_goes_over_tls_to_a_daemon_that_is_trusted_and_to_no_other() {
    let networked = Networked::new();
    let printed = networked.place.run(&["callers", "token", "ci"]).ok();
    let token = printed.lines().next().unwrap();
    let config = networked.place.read("config.toml");
    let lines = &printed[printed.find("[[callers]]").unwrap()..];
    networked.place.write("config.toml", &format!("{config}\n{lines}"));
    let daemon = networked.start();
    let run = |ca: &str| {
        let mut command = networked.place.command(&[&["--ca", ca], &SIGN[..]].concat());
        Output::of(command.env("JWKSD_TOKEN", token))
    };
    assert!(daemon.verifies(&run("ca.pem").ok()));
    run("clients.pem").fails(1, &["no TLS with", "UnknownIssuer"]);
    run("nowhere.pem").fails(1, &["cannot read nowhere.pem"]);
}

#[test]
fn the_name_of_the_server_must_be_in_its_certificate() {
    let networked = Networked::new();
    let daemon = networked.start();
    let port = daemon.address("admin").rsplit_once(':').unwrap().1.to_owned();
    let server = format!("https://localhost:{port}");
    networked.run(&["--server", &server, "status"]).fails(1, &["no TLS with", "localhost"]);
}

#[test]
fn a_client_that_is_not_trusted_is_told_so() {
    let networked = Networked::new();
    let _daemon = networked.start();
    networked.write("client", &Ca::new("clients").client(&[ADMIN]));
    networked.run(&["status"]).fails(3, &["refused the client certificate"]);
    networked.write("client", &networked.clients.client(&["nobody.example"]));
    networked.run(&["status"]).fails(3, &["no caller in the configuration has a san"]);
}

#[test]
fn what_is_missing_for_a_connection_is_named() {
    let networked = Networked::new();
    let _daemon = networked.start();
    networked.place.run(&["status"]).fails(1, &["speaks TLS", "--ca"]);
    let half = ["--ca", "ca.pem", "--client-certificate", "client.pem", "status"];
    networked.place.run(&half).fails(2, &["--client-key"]);
    networked.place.run(&["--ca", "ca.pem", "status"]).fails(3, &["JWKSD_TOKEN"]);
    let clear = ["--server", "http://192.0.2.1:80", "status"];
    networked.place.run(&clear).fails(1, &["in the clear"]);
    networked.place.run(&["--server", "192.0.2.1:80", "status"]).fails(1, &["https://HOST:PORT"]);
}

#[test]
fn files_that_do_not_fit_together_are_found_by_check_and_by_serve() {
    let networked = Networked::new();
    assert!(networked.place.run(&["check"]).ok().contains("config.toml is good"));
    networked.write_key("server.key", &networked.ours.server().key);
    let words = ["[internal.tls]", "server.key is not that of the certificate server.pem"];
    networked.place.run(&["check"]).fails(1, &words);
    networked.place.run_serve(&["serve", "--init"]).fails(1, &words);
    assert!(!networked.place.has("data"), "something was made");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let networked = Networked::new();
    let key = networked.place.path("server.key");
    for (mode, who) in [(0o604, "everyone"), (0o640, "its group")] {
        set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        networked.place.run(&["check"]).fails(1, &["server.key can be read by", who]);
    }
}

#[test]
fn what_is_wrong_with_the_files_is_named_and_nothing_of_a_key_is_told() {
    let networked = Networked::new();
    let key = networked.place.read("server.key");
    let body = key.lines().nth(1).unwrap();
    // A line with a part of a key where PEM has its head, and one that is cut off.
    for broken in [key.replace("-----BEGIN", "-----BEGIN x"), key.replacen(body, &body[1..], 1)] {
        networked.write_key("server.key", &broken);
        let output = networked.place.run(&["check"]);
        assert!(!output.stderr.contains(&body[1..]), "{output:?}");
        output.fails(1, &["server.key has no private key"]);
    }
    networked.write_key("server.key", &key);
    networked.place.write("clients.pem", "");
    networked.place.run(&["check"]).fails(1, &["clients.pem has no certificate"]);
}

#[test]
fn a_certificate_that_has_expired_is_a_warning_of_check() {
    let networked = Networked::new();
    let expired = networked.ours.issue(|params| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2020, 1, 2);
    });
    networked.write("server", &expired);
    let said = networked.place.run(&["check"]).ok();
    assert!(said.contains("warning: admin.tls: the certificate expired at 2020-01-02"), "{said}");
}

#[test]
fn a_credential_that_is_there_only_for_the_service_is_a_warning_of_check() {
    let networked = Networked::new();
    let credential = "/run/credentials/jwksd-test.service/server.key";
    networked.place.edit("key = \"server.key\"", &format!("key = \"{credential}\""));
    let said = networked.place.run(&["check"]).ok();
    let warning = format!("warning: internal.tls: {credential} is there only while");
    assert!(said.contains(&warning), "{said}");
    networked.place.run_serve(&["serve", "--init"]).fails(1, &["[internal.tls]", credential]);
    networked.place.edit(credential, "missing.key");
    networked.place.run(&["check"]).fails(1, &["[internal.tls]", "missing.key"]);
}

#[test]
fn the_certificate_of_a_client_does_not_pass_for_a_ca() {
    let networked = Networked::new();
    networked.place.write("clients.pem", &networked.clients.client(&[ADMIN]).certificate);
    networked.place.run(&["check"]).fails(1, &["clients.pem", "cannot be a CA"]);
}

#[test]
fn tls_that_does_not_do_what_it_looks_like_is_a_warning_of_check() {
    let networked = Networked::new();
    assert!(!networked.place.run(&["check"]).ok().contains("warning: callers"));
    for _ in 0..2 {
        networked.place.edit("client_ca = \"clients.pem\"", "");
    }
    let config = networked.place.read("config.toml");
    let listen = config.split_once("[internal]\n").unwrap().1.split_once('\n').unwrap().0;
    networked.place.edit(listen, "listen = \"unix:data/sign.sock\"");
    let table = "[public.tls]\ncertificate = \"server.pem\"\nkey = \"server.key\"\n[internal]";
    networked.place.edit("[internal]", table);
    let said = networked.place.run(&["check"]).ok();
    for words in ["internal.tls: the listener has no TCP", "public.base_url", "callers.local"] {
        assert!(said.contains(&format!("warning: {words}")), "{words} is not in {said}");
    }
}

#[test]
fn new_files_are_taken_without_being_told_and_with_a_hangup() {
    let networked = Networked::new();
    let daemon = networked.start();
    let other = Ca::new("other");
    networked.place.write("clients.pem", &other.pem());
    // By itself, within seconds.
    daemon.wait_for_log("admin.tls: new files are in force");
    networked.run(&["status"]).fails(3, &["refused the client certificate"]);

    networked.place.write("clients.pem", &networked.clients.pem());
    daemon.signal(Signal::HUP);
    wait_for("the CA of before", || (networked.run(&["status"]).code == Some(0)).then_some(()));
    networked.place.write("clients.pem", "");
    daemon.wait_for_log("what was in force before stays");
    // CAs that cannot be read cannot be taken away either: that is more than a warning.
    let status = networked.run(&["status"]);
    assert_eq!(status.code, Some(6));
    let said = status.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("client-ca FAILING admin.tls: clients.pem has no"), "{status:?}");
}
