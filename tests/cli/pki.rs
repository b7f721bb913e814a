//! The development CA: what it makes is judged by `openssl`, which is not of this project.

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use jwksd::pki::files::Files;
use jwksd_keystore::time::Time;
use rustix::fs::OFlags;

use crate::memory::without_capabilities;
use crate::output::Output;
use crate::place::{Place, wait_for};

const SPIFFE: &str = "spiffe://example.org/backend";
const INIT: [&str; 2] = ["pki", "init"];
const SERVER: [&str; 10] =
    ["pki", "issue", "server", "web", "--dns", "localhost", "--ip", "127.0.0.1", "--ip", "::1"];
const CLIENT: [&str; 6] = ["pki", "issue", "client", "backend", "--san", SPIFFE];

/// A folder with a CA, and with what it issued to a server and to a client.
fn issued() -> Place {
    let place = Place::new();
    for command in [&INIT[..], &SERVER, &CLIENT] {
        place.run(command).ok();
    }
    place
}

/// `openssl`, which every test here needs: none is left out where it is missing.
fn openssl(place: &Place, arguments: &[&str]) -> Command {
    let mut openssl = Command::new("openssl");
    openssl.args(arguments);
    place.settle(openssl)
}

/// What `openssl` shows of a certificate, with blanks as single spaces.
fn shown(place: &Place, certificate: &str) -> String {
    let arguments = ["x509", "-noout", "-text", "-in", certificate];
    let text = Output::of(&mut openssl(place, &arguments)).ok();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_shows(place: &Place, certificate: &str, words: &[&str]) {
    let text = shown(place, certificate);
    for word in words {
        assert!(text.contains(word), "{certificate}: no {word:?} in {text}");
    }
}

fn mode(place: &Place, name: &str) -> u32 {
    fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777
}

/// The command must have failed so, and made nothing.
#[track_caller]
fn makes_nothing(place: &Place, arguments: &[&str], code: i32, words: &[&str]) {
    let before = place.files(".");
    place.run(arguments).fails(code, words);
    assert_eq!(place.files("."), before, "{arguments:?}");
}

#[test]
fn openssl_verifies_the_chain_for_what_each_certificate_is_for() {
    let place = issued();
    let verify = |purpose: &str, certificate: &str| {
        let arguments =
            ["verify", "-x509_strict", "-CAfile", "pki/ca.pem", "-purpose", purpose, certificate];
        Output::of(&mut openssl(&place, &arguments))
    };
    verify("sslserver", "pki/web.pem").ok();
    verify("sslclient", "pki/backend.pem").ok();
    assert_ne!(verify("sslclient", "pki/web.pem").code, Some(0));
    assert_ne!(verify("sslserver", "pki/backend.pem").code, Some(0));
}

#[test]
fn openssl_reads_the_keys_and_finds_them_good() {
    let place = issued();
    for name in ["pki/ca", "pki/web", "pki/backend"] {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        assert!(place.read(&key).starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let check = ["pkey", "-check", "-noout", "-in", &key];
        assert_eq!(Output::of(&mut openssl(&place, &check)).ok().trim(), "Key is valid");
        let public = Output::of(&mut openssl(&place, &["pkey", "-pubout", "-in", &key])).ok();
        let in_certificate = ["x509", "-pubkey", "-noout", "-in", &certificate];
        assert_eq!(Output::of(&mut openssl(&place, &in_certificate)).ok(), public);
    }
}

#[test]
fn certificates_say_what_they_may_be_used_for() {
    let place = issued();
    let ca = [
        "Version: 3",
        "Subject: CN = jwksd development CA",
        "Basic Constraints: critical CA:TRUE, pathlen:0",
        "Key Usage: critical Certificate Sign, CRL Sign",
        "Subject Key Identifier",
        "NIST CURVE: P-256",
    ];
    assert_shows(&place, "pki/ca.pem", &ca);
    let leaf = [
        "Issuer: CN = jwksd development CA",
        "Basic Constraints: critical CA:FALSE",
        "Key Usage: critical Digital Signature X509v3 Extended Key Usage",
        "Subject Key Identifier",
        "Authority Key Identifier",
        "NIST CURVE: P-256",
    ];
    assert_shows(&place, "pki/web.pem", &leaf);
    assert_shows(&place, "pki/backend.pem", &leaf);
    let server = [
        "Subject: CN = web",
        "Subject Alternative Name: DNS:localhost, IP Address:127.0.0.1, IP \
         Address:0:0:0:0:0:0:0:1 X509v3",
        "Extended Key Usage: TLS Web Server Authentication X509v3",
    ];
    assert_shows(&place, "pki/web.pem", &server);
    let client = [
        "Subject: CN = backend",
        "Subject Alternative Name: URI:spiffe://example.org/backend X509v3",
        "Extended Key Usage: TLS Web Client Authentication X509v3",
    ];
    assert_shows(&place, "pki/backend.pem", &client);
}

#[test]
fn names_and_days_are_those_that_were_asked_for() {
    let place = Place::new();
    let options = ["--dir", "other", "--name", "Café CA", "--days", "3"];
    place.run(&[&INIT[..], &options].concat()).ok();
    let client = ["pki", "issue", "client", "b", "--san", "Backend.Example.com", "--days", "2"];
    let said = place.run(&[&client[..], &["--dir", "other"]].concat()).ok();
    assert!(said.contains("san = \"backend.example.com\""), "{said}");
    assert_shows(&place, "other/b.pem", &["DNS:backend.example.com X509v3"]);
    let wildcard = ["pki", "issue", "server", "w", "--dns", "*.example.com", "--dir", "other"];
    place.run(&wildcard).ok();
    assert_shows(&place, "other/w.pem", &["DNS:*.example.com X509v3"]);

    let ends_within = |certificate: &str, days: u64| {
        let seconds = (days * 86_400).to_string();
        let arguments = ["x509", "-noout", "-checkend", &seconds, "-in", certificate];
        Output::of(&mut openssl(&place, &arguments)).code == Some(1)
    };
    for (certificate, days) in [("other/ca.pem", 3), ("other/b.pem", 2)] {
        assert!(ends_within(certificate, days), "{certificate}");
        assert!(!ends_within(certificate, days - 1), "{certificate}");
    }
}

#[test]
fn nothing_is_issued_for_longer_than_the_ca_is_valid_and_that_is_said() {
    let place = Place::new();
    let ca = place.run(&["pki", "init", "--days", "10", "--json"]).json();
    let said = place.run(&SERVER).ok();
    let expires_at = ca["expires_at"].as_str().unwrap();
    let line = format!("{expires_at}, when its CA expires, which is sooner than asked");
    assert!(said.contains(&line), "{said}");

    let cut = place.run(&[&CLIENT[..], &["--json"]].concat()).json();
    assert_eq!((&cut["expires_at"], &cut["cut_to_ca"]), (&ca["expires_at"], &true.into()));
    let options = ["--json", "--days", "9"];
    let other = ["pki", "issue", "client", "other", "--san", "a.example.com"];
    let whole = place.run(&[&other[..], &options].concat()).json();
    assert_eq!(whole["cut_to_ca"], false);
    let end = |name: &str| {
        let arguments = ["x509", "-noout", "-enddate", "-in", name];
        Output::of(&mut openssl(&place, &arguments)).ok()
    };
    assert_eq!(end("pki/web.pem"), end("pki/ca.pem"));
    assert_ne!(end("pki/other.pem"), end("pki/ca.pem"));
}

#[test]
fn openssl_shakes_hands_both_ways_with_the_caller_and_with_nobody_else() {
    let place = issued();
    let shakes = |who: &str| {
        let (certificate, key) = (format!("{who}.pem"), format!("{who}.key"));
        Server::start(&place).meet(&place, &["-cert", &certificate, "-key", &key])
    };
    assert_eq!(shakes("pki/backend"), "olleh\n");
    // A server's certificate, that of another CA, and none.
    assert_eq!(shakes("pki/web"), "");
    place.run(&["pki", "init", "--dir", "else"]).ok();
    place.run(&[&CLIENT[..], &["--dir", "else"]].concat()).ok();
    assert_eq!(shakes("else/backend"), "");
    assert_eq!(Server::start(&place).meet(&place, &[]), "");
}

/// `openssl s_server`, which answers a line with its reverse, to clients of the CA alone.
struct Server {
    child: Child,
    port: String,
}

impl Server {
    fn start(place: &Place) -> Self {
        let own = ["-cert", "pki/web.pem", "-key", "pki/web.key"];
        let clients = ["-CAfile", "pki/ca.pem", "-Verify", "1", "-verify_return_error"];
        let listen = ["s_server", "-accept", "127.0.0.1:0", "-naccept", "1", "-rev"];
        let mut command = openssl(place, &[&listen[..], &own, &clients].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = said.find_map(|line| {
            let line = line.unwrap();
            line.strip_prefix("ACCEPT 127.0.0.1:").map(str::to_owned)
        });
        // Read on, so that it never waits for a reader.
        std::thread::spawn(move || said.count());
        Self { child, port: port.unwrap() }
    }

    /// What it answers to `hello` from a client with these options, who knows the CA and asks for
    /// `localhost`.
    fn meet(mut self, place: &Place, options: &[&str]) -> String {
        let address = format!("127.0.0.1:{}", self.port);
        let connect = ["s_client", "-connect", &address, "-ign_eof", "-brief"];
        let trust = ["-CAfile", "pki/ca.pem", "-verify_return_error"];
        let host = ["-verify_hostname", "localhost"];
        let mut command = openssl(place, &[&connect[..], &trust, &host, options].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut client = command.spawn().unwrap();
        let mut input = client.stdin.take().unwrap();
        // It may have been refused already.
        let _ = input.write_all(b"hello\nCLOSE\n");
        drop(input);
        let mut answer = String::new();
        client.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
        client.wait().unwrap();
        self.child.wait().unwrap();
        answer
    }
}

#[test]
fn keys_are_for_their_owner_alone_whatever_the_umask() {
    for umask in ["000", "077"] {
        let place = Place::new();
        for arguments in ["pki init", "pki issue client backend --san a.example.com"] {
            let script = format!("umask {umask}; exec \"$0\" {arguments}");
            let mut shell = Command::new("sh");
            shell.args(["-c", &script, env!("CARGO_BIN_EXE_jwksd")]);
            Output::of(&mut place.settle(shell)).ok();
        }
        assert_eq!(mode(&place, "pki"), 0o700);
        assert_eq!((mode(&place, "pki/ca.key"), mode(&place, "pki/backend.key")), (0o600, 0o600));
    }
}

#[test]
fn nothing_is_overwritten_and_what_is_in_the_way_is_named() {
    let place = issued();
    let commands = [(&INIT[..], "ca"), (&SERVER, "web"), (&CLIENT, "backend")];
    for (command, name) in commands {
        for ending in ["pem", "key"] {
            let (here, other) = (format!("pki/{name}.{ending}"), format!("pki/{name}.saved"));
            let gone = format!("pki/{name}.{}", if ending == "pem" { "key" } else { "pem" });
            let before = place.read(&here);
            fs::rename(place.path(&gone), place.path(&other)).unwrap();
            makes_nothing(&place, command, 1, &[&here, "already exists", "nothing was made"]);
            assert_eq!(place.read(&here), before);
            fs::rename(place.path(&other), place.path(&gone)).unwrap();
        }
    }
}

#[test]
fn a_disk_that_is_full_leaves_no_half_pair() {
    let place = issued();
    let before = place.files("pki");
    // The key fits, the certificate does not.
    let script = r#"trap "" XFSZ; exec prlimit --fsize=400 "$0" "$@""#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_jwksd"), "pki", "issue", "client", "more"]);
    shell.args(["--san", SPIFFE]);
    Output::of(&mut place.settle(shell)).fails(1, &["pki/more.pem", "too large"]);
    assert_eq!(place.files("pki"), before);
}

#[test]
fn a_folder_that_is_not_writable_is_named() {
    let place = issued();
    fs::set_permissions(place.path("pki"), fs::Permissions::from_mode(0o500)).unwrap();
    let before = place.files("pki");
    let more = ["pki", "issue", "client", "more", "--san", SPIFFE];
    let command = [&[env!("CARGO_BIN_EXE_jwksd")][..], &more].concat();
    let refused = Output::of(&mut place.settle(without_capabilities(&command)));
    refused.fails(1, &["cannot make pki/more.key", "Permission denied"]);
    assert_eq!(place.files("pki"), before);
    fs::set_permissions(place.path("pki"), fs::Permissions::from_mode(0o700)).unwrap();
    makes_nothing(&place, &["pki", "init", "--dir", "config.toml/pki"], 1, &["config.toml/pki"]);
}

#[test]
fn without_a_good_ca_nothing_is_issued() {
    let place = Place::new();
    let hint = "there is no CA in pki: make one with jwksd pki init --dir pki";
    makes_nothing(&place, &CLIENT, 1, &[hint]);
    place.run(&INIT).ok();
    place.run(&["pki", "init", "--dir", "other"]).ok();
    let (certificate, key) = (place.read("pki/ca.pem"), place.read("pki/ca.key"));

    place.write("pki/ca.key", &place.read("other/ca.key"));
    makes_nothing(&place, &CLIENT, 1, &["the CA in pki", "key does not belong to its certificate"]);
    place.write("pki/ca.key", "not a key");
    makes_nothing(&place, &CLIENT, 1, &["key is not a private key in PEM"]);
    fs::remove_file(place.path("pki/ca.key")).unwrap();
    makes_nothing(&place, &CLIENT, 1, &["there is no pki/ca.key"]);
    fs::write(place.path("pki/ca.key"), &key).unwrap();
    for (mode, who) in [(0o604, "everyone"), (0o640, "its group")] {
        fs::set_permissions(place.path("pki/ca.key"), fs::Permissions::from_mode(mode)).unwrap();
        let words = format!("the CA's key pki/ca.key can be read by {who}");
        makes_nothing(&place, &CLIENT, 1, &[&words, "chmod 600"]);
    }
    fs::set_permissions(place.path("pki/ca.key"), fs::Permissions::from_mode(0o600)).unwrap();

    for text in ["", "not a certificate", &key, &certificate.repeat(2)] {
        place.write("pki/ca.pem", text);
        makes_nothing(&place, &CLIENT, 1, &["not one certificate in PEM"]);
    }
    fs::write(place.path("pki/ca.pem"), [0xff, 0xfe]).unwrap();
    makes_nothing(&place, &CLIENT, 1, &["cannot read pki/ca.pem"]);
    place.write("pki/ca.pem", &certificate);
    place.run(&CLIENT).ok();
    fs::copy(place.path("pki/backend.pem"), place.path("other/ca.pem")).unwrap();
    let below = [&SERVER[..], &["--dir", "other"]].concat();
    makes_nothing(&place, &below, 1, &["not that of a CA"]);
}

#[test]
fn an_expired_ca_issues_nothing() {
    let place = Place::new();
    let long_ago = Time::from_millis(1_577_836_800_000);
    let day = Duration::from_hours(24);
    let ca = jwksd::pki::make_ca(&"Old".parse().unwrap(), day, long_ago).unwrap();
    Files::new(&place.path("pki"), "ca").write(&ca).unwrap();
    let words = ["the CA in pki", "expired at 2020-01-02T00:00:00Z", "new folder"];
    makes_nothing(&place, &SERVER, 1, &words);
}

#[test]
fn wrong_names_and_days_are_refused_each_with_its_reason() {
    let place = issued();
    let server = |options: &[&'static str]| [&["pki", "issue", "server"][..], options].concat();
    let client = |options: &[&'static str]| [&["pki", "issue", "client"][..], options].concat();
    let refused = [
        (server(&["more"]), "--dns <NAME>|--ip <ADDRESS>"),
        (server(&["more", "--dns", ""]), "1 to 253"),
        (server(&["more", "--dns", "a..b"]), "labels"),
        (server(&["more", "--dns", "127.0.0.1"]), "IP address"),
        (server(&["more", "--ip", "localhost"]), "not an IP address"),
        (server(&["more", "--ip", "0.0.0.0"]), "no client can ask"),
        (server(&["../more", "--dns", "a"]), "name of two files"),
        (server(&["a/b", "--dns", "a"]), "name of two files"),
        (server(&["", "--dns", "a"]), "name of two files"),
        (server(&["ca", "--dns", "a"]), "CA's own files"),
        (server(&["more", "--dns", "a", "--days", "0"]), "1..=825"),
        (server(&["more", "--dns", "a", "--days", "826"]), "1..=825"),
        (server(&["more", "--dns", "a", "--san", SPIFFE]), "--san"),
        (client(&["more"]), "--san"),
        (client(&["more", "--san", ""]), "1 to 253"),
        (client(&["more", "--san", "*.example.com"]), "wildcard"),
        (client(&["more", "--san", "10.0.0.1"]), "not by an IP"),
        (client(&["more", "--san", "https://example.org/a"]), "SPIFFE ID"),
        (client(&["more", "--san", "spiffe://example.org"]), "has a path"),
        (client(&["more", "--san", "spiffe://example.org/a?b"]), "no query"),
        (client(&["more", "--san", "spiffe://example.org/a#b"]), "no fragment"),
        (client(&["more", "--san", "spiffe://example.org:1/a"]), "no port"),
        (client(&["more", "--san", "spiffe://me@example.org/a"]), "no user"),
        (client(&["more", "--san", "spiffe://example.org/a%20b"]), "segments"),
        (client(&["more", "--san", SPIFFE, "--san", "a.example.com"]), "cannot be used multiple"),
        (client(&["more", "--san", SPIFFE, "--days", "826"]), "1..=825"),
        (client(&["../more", "--san", SPIFFE]), "name of two files"),
        (vec!["pki", "init", "--dir", "new", "--days", "0"], "1..=3650"),
        (vec!["pki", "init", "--dir", "new", "--name", " "], "printable"),
    ];
    for (arguments, words) in &refused {
        makes_nothing(&place, arguments, 2, &[words]);
    }
}

#[test]
fn the_lines_for_the_configuration_name_the_files_and_the_caller() {
    let place = Place::new();
    let said = place.run(&[&INIT[..], &["--dir", "it's a \"dir\""]].concat()).ok();
    assert!(said.contains("valid until  20") && said.contains("mode 0600"), "{said}");
    let lines = |command: &[&str], from: &str| -> toml::Value {
        let said = place.run(&[command, &["--dir", "it's a \"dir\""]].concat()).ok();
        let block = &said[said.find(from).unwrap()..];
        let block = &block[..block.find("\n\n").unwrap()];
        toml::from_str(block).unwrap()
    };
    let server = lines(&SERVER, "[internal.tls]");
    let tls = &server["internal"]["tls"];
    for key in ["certificate", "key", "client_ca"] {
        assert!(place.has(tls[key].as_str().unwrap()), "{tls}");
    }
    let client = lines(&CLIENT, "[[callers]]");
    let caller = &client["callers"][0];
    assert_eq!((caller["name"].as_str(), caller["san"].as_str()), (Some("backend"), Some(SPIFFE)));
    assert_eq!(caller["grants"][0]["actions"][0].as_str(), Some("sign-token"));
}

#[test]
fn with_json_programs_learn_what_was_made_and_no_key_is_shown() {
    let place = Place::new();
    for (command, name) in [(&INIT[..], "ca"), (&SERVER, "web"), (&CLIENT, "backend")] {
        let printed = place.run(&[command, &["--json"]].concat()).ok();
        let made: serde_json::Value = serde_json::from_str(&printed).unwrap();
        assert_eq!(made["certificate"], format!("pki/{name}.pem"));
        assert_eq!(made["key"], format!("pki/{name}.key"));
        assert_eq!(made["ca"], "pki/ca.pem");
        let key = place.read(&format!("pki/{name}.key"));
        assert!(!printed.contains(key.lines().nth(1).unwrap()));
    }
    let again = place.run(&["pki", "issue", "client", "more", "--san", SPIFFE, "--json"]).json();
    assert_eq!(again["names"], serde_json::json!([SPIFFE]));
}

#[test]
fn before_a_key_is_read_it_is_seen_to_that_no_core_can_be_left() {
    let place = issued();
    let (path, certificate) = (place.path("pki/ca.pem"), place.read("pki/ca.pem"));
    fs::remove_file(&path).unwrap();
    // Reading waits for someone who writes: meanwhile it can be looked at.
    Output::of(Command::new("mkfifo").args(["-m", "600"]).arg(&path)).ok();
    let script = r#"ulimit -S -c "$(ulimit -H -c)"; exec "$0" pki issue client more --san a.b"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, env!("CARGO_BIN_EXE_jwksd")]);
    let mut issue = place.settle(shell).stdout(Stdio::null()).spawn().unwrap();
    let mut writer = wait_for("the CA to be read", || {
        let no_waiting = i32::try_from(OFlags::NONBLOCK.bits()).unwrap();
        OpenOptions::new().write(true).custom_flags(no_waiting).open(&path).ok()
    });
    let limits = fs::read_to_string(format!("/proc/{}/limits", issue.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().collect::<Vec<_>>()[4..6], ["0", "0"]);
    writer.write_all(certificate.as_bytes()).unwrap();
    drop(writer);
    assert!(issue.wait().unwrap().success());
    assert!(place.has("pki/more.pem"));
}
