//! Public keys as `openssl` and `ssh-keygen` read them, which are not of this project.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use jwksd_keystore::import;
use jwksd_keystore::jwk::PublicKey;
use serde_json::Value;

use crate::output::Output;
use crate::place::Place;

/// Sets with keys of all kinds that OpenSSL 3.0 knows, those of the usual place among them.
const SETS: [(&str, &str); 6] = [
    ("default", "ES256"),
    ("second", "EdDSA"),
    ("rs256", "RS256"),
    ("ps384", "PS384"),
    ("es384", "ES384"),
    ("es512", "ES512"),
];

/// The same two keys of each set are asked for, by what they are.
const WHICH: [&str; 2] = ["--active", "--standby"];

fn place() -> Place {
    let place = Place::new();
    SETS[2..].iter().for_each(|(set, algorithm)| add(&place, set, algorithm));
    place
}

/// Adds a key set to the configuration.
fn add(place: &Place, set: &str, algorithm: &str) {
    let set = format!(
        "[keysets.{set}]\nalgorithm = \"{algorithm}\"\nrotate = \"manual\"\n\
         issuer = \"http://127.0.0.1:8080/{set}\"\nmax_token_ttl = \"1h\"\n"
    );
    place.write("config.toml", &(place.read("config.toml") + &set));
}

fn export(place: &Place, arguments: &[&str]) -> Output {
    place.run(&[&["keys", "export"], arguments].concat())
}

/// The text that is exported, and the note beside it.
#[track_caller]
fn exported(place: &Place, set: &str, which: &str, format: &str) -> (String, String) {
    let output = export(place, &[set, which, "--format", format]);
    assert_eq!(output.code, Some(0), "{output:?}");
    (output.stdout, output.stderr)
}

/// Exports to the file `out`, which nothing is printed of.
#[track_caller]
fn exported_to(place: &Place, out: &str, arguments: &[&str]) {
    let output = export(place, &[arguments, &["--out", out]].concat());
    assert_eq!((output.code, output.stdout.as_str()), (Some(0), ""), "{output:?}");
}

/// What another program, which every test here needs, says of a file.
#[track_caller]
fn tool(place: &Place, program: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(arguments);
    let output = Output::of(&mut place.settle(command));
    assert_eq!(output.code, Some(0), "{program} {arguments:?}: {output:?}");
    output
}

/// What `openssl x509` shows of a certificate, with blanks as single spaces.
fn shown(place: &Place, certificate: &str) -> String {
    let text = tool(place, "openssl", &["x509", "-noout", "-text", "-in", certificate]).stdout;
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn openssl_and_ssh_keygen_read_the_same_key_from_every_form() {
    let place = place();
    let _daemon = place.start();
    for (set, _) in SETS {
        for which in WHICH {
            let jwk: PublicKey =
                serde_json::from_str(&exported(&place, set, which, "jwk").0).unwrap();
            let (pem, _) = exported(&place, set, which, "pem");
            place.write("key.pem", &pem);
            let read = tool(&place, "openssl", &["pkey", "-pubin", "-in", "key.pem"]).stdout;
            assert_eq!(read, pem, "{set}");

            let (line, _) = exported(&place, set, which, "openssh");
            place.write("key.pub", &line);
            let print = tool(&place, "ssh-keygen", &["-l", "-f", "key.pub"]).stdout;
            assert!(print.contains("SHA256:"), "{print}");
            assert_eq!(*import::read(line.as_bytes(), None).unwrap().public(), jwk, "{set}");
            // ssh-keygen 9.2 reads no Ed25519 in PEM, and writes none.
            if set != "second" {
                let args = ["-i", "-m", "PKCS8", "-f", "key.pem"];
                let by_ssh = tool(&place, "ssh-keygen", &args).stdout;
                assert!(line.starts_with(by_ssh.trim_end()), "{line}{by_ssh}");
                let args = ["-e", "-m", "PKCS8", "-f", "key.pub"];
                assert_eq!(tool(&place, "ssh-keygen", &args).stdout, pem, "{set}");
            }
        }
    }
}

#[test]
fn openssl_verifies_certificates_and_requests_and_finds_the_key_in_them() {
    let place = place();
    let _daemon = place.start();
    for (set, algorithm) in SETS {
        let signature = match algorithm {
            "ES256" => "ecdsa-with-SHA256",
            "ES384" => "ecdsa-with-SHA384",
            "ES512" => "ecdsa-with-SHA512",
            "RS256" => "sha256WithRSAEncryption",
            "PS384" => "sha384WithRSAEncryption",
            _ => "ED25519",
        };
        for which in WHICH {
            let (pem, _) = exported(&place, set, which, "pem");
            exported_to(&place, "key.crt", &[set, which, "--format", "x509"]);
            let verify =
                ["verify", "-x509_strict", "-check_ss_sig", "-CAfile", "key.crt", "key.crt"];
            assert_eq!(tool(&place, "openssl", &verify).stdout, "key.crt: OK\n", "{set}");
            let inside = ["x509", "-noout", "-pubkey", "-in", "key.crt"];
            assert_eq!(tool(&place, "openssl", &inside).stdout, pem, "{set}");
            let text = shown(&place, "key.crt");
            for words in [
                "Version: 3",
                &format!("Signature Algorithm: {signature} "),
                "Basic Constraints: critical CA:FALSE",
                "Key Usage: critical Digital Signature X509v3",
                "Subject Key Identifier",
            ] {
                assert!(text.contains(words), "{set}: no {words:?} in {text}");
            }

            exported_to(&place, "key.csr", &[set, which, "--format", "csr"]);
            tool(&place, "openssl", &["req", "-verify", "-noout", "-in", "key.csr"]);
            let inside = ["req", "-noout", "-pubkey", "-in", "key.csr"];
            assert_eq!(tool(&place, "openssl", &inside).stdout, pem, "{set}");
        }
    }
}

#[test]
fn a_certificate_is_of_the_name_and_for_the_days_that_were_asked() {
    let place = Place::new();
    let _daemon = place.start();
    let asked = ["default", "--active", "--format", "x509", "--subject", "Shop, E. U."];
    exported_to(&place, "key.crt", &[&asked[..], &["--days", "30"]].concat());
    assert!(shown(&place, "key.crt").contains("Subject: CN = \"Shop, E. U.\""));
    let within = |days: u32| {
        let seconds = (days * 24 * 3600).to_string();
        let mut openssl = Command::new("openssl");
        openssl.args(["x509", "-noout", "-checkend", &seconds, "-in", "key.crt"]);
        Output::of(&mut place.settle(openssl)).code == Some(0)
    };
    assert_eq!((within(29), within(31)), (true, false));
    let kid = crate::keys::active(&place, "default");
    exported_to(&place, "key.csr", &["default", &kid, "--format", "csr"]);
    let subject = tool(&place, "openssl", &["req", "-noout", "-subject", "-in", "key.csr"]).stdout;
    assert_eq!(subject, format!("subject=CN = {kid}\n"));
}

#[test]
fn the_text_is_alone_on_stdout_and_notes_are_for_people() {
    let place = Place::new();
    let daemon = place.start();
    let (pem, note) = exported(&place, "default", "--standby", "pem");
    assert!(pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "{pem}");
    assert!(pem.ends_with("-----END PUBLIC KEY-----\n"), "{pem}");
    assert!(note.contains("signs from 2") && note.contains("put it in place before"), "{note}");
    let (_, note) = exported(&place, "second", "--standby", "pem");
    assert!(note.contains("`keys rotate second`"), "{note}");
    let (_, note) = exported(&place, "default", "--active", "openssh");
    assert!(note.contains("signs since 2") && note.contains("is needed until 2"), "{note}");

    let (jwk, _) = exported(&place, "default", "--active", "jwk");
    let served = daemon.http("/.well-known/jwks.json").1;
    assert!(served.contains(jwk.trim_end()), "{jwk}");
    assert_eq!(export(&place, &["default", "--format", "jwks"]).ok(), served + "\n");

    let answer = export(&place, &["default", "--standby", "--format", "pem", "--json"]).json();
    assert_eq!(answer["text"], pem.as_str());
    assert_eq!(answer["state"], "pending");
    assert!(answer["exported"].is_string() && answer["in_place_by"].is_string(), "{answer}");
    let set = export(&place, &["default", "--format", "jwks", "--json"]).json();
    assert_eq!(set["keys"].as_array().unwrap().len(), 2);
}

#[test]
fn a_file_is_replaced_as_a_whole_and_anyone_may_read_it() {
    let place = Place::new();
    let _daemon = place.start();
    place.write("key.pem", "something else");
    fs::set_permissions(place.path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut before = place.files(".");
    exported_to(&place, "key.pem", &["default", "--active", "--format", "pem"]);
    assert_eq!(place.read("key.pem"), exported(&place, "default", "--active", "pem").0);
    let mode = fs::metadata(place.path("key.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    before.retain(|path| path.exists());
    assert_eq!(place.files("."), before);

    let asked = ["default", "--active", "--format", "pem", "--json", "--out", "key.pem"];
    assert_eq!(export(&place, &asked).json()["text"], place.read("key.pem").as_str());
    exported_to(&place, "set.json", &["default", "--format", "jwks"]);
    let set: Value = serde_json::from_str(&place.read("set.json")).unwrap();
    assert_eq!(set["keys"].as_array().unwrap().len(), 2);
    let nowhere = ["default", "--active", "--format", "pem", "--out", "none/key.pem"];
    export(&place, &nowhere).fails(1, &["cannot write none/key.pem"]);
}

#[test]
fn a_place_that_cannot_be_written_leaves_the_standby_not_exported() {
    let place = Place::new();
    let _daemon = place.start();
    let asked = ["default", "--standby", "--format", "pem", "--out"];
    export(&place, &[&asked[..], &["none/key.pem"]].concat())
        .fails(1, &["cannot write none/key.pem"]);
    export(&place, &[&asked[..], &["data"]].concat())
        .fails(1, &["cannot write data: what is there is no regular file"]);
    let set = place.run(&["keys", "show", "default", "--json"]).json();
    assert!(set["keys"].as_array().unwrap().iter().all(|key| key["exported"].is_null()), "{set}");
}

#[test]
fn what_does_not_go_together_is_refused_with_the_usage_of_export() {
    let place = Place::new();
    let refused = export(&place, &["default", "--format", "pem"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    for words in ["name a key: KID, --active or --standby", "Usage: jwksd keys export "] {
        assert!(refused.stderr.contains(words), "{refused:?}");
    }
}

#[test]
fn keys_show_says_by_when_a_key_must_be_in_place_and_until_when_one_is_needed() {
    let place = Place::new();
    let _daemon = place.start();
    let table = |set: &str| {
        let text = place.run(&["keys", "show", set]).ok();
        let (_, table) = text.split_once("for verifiers that hold keys themselves\n").unwrap();
        let cells = |line: &str| {
            let cells = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
            cells.map(str::to_owned).collect()
        };
        table.lines().map(cells).collect::<Vec<Vec<String>>>()
    };
    let rows = table("default");
    assert_eq!(rows[0], ["KID", "IN PLACE BY", "EXPORTED", "NEEDED UNTIL"]);
    assert_eq!((&rows[1][1][..], &rows[1][2][..]), ("now", "-"), "{rows:?}");
    assert!(rows[1][3].starts_with('2') && rows[2][1].starts_with('2'), "{rows:?}");
    assert_eq!((&rows[2][2][..], &rows[2][3][..]), ("no", "-"), "{rows:?}");
    exported(&place, "default", "--standby", "pem");
    assert!(table("default")[2][2].starts_with('2'));

    let rows = table("second");
    assert_eq!((&rows[1][3][..], &rows[2][1][..]), ("not planned", "not planned"), "{rows:?}");
    let standby = place.run(&["keys", "show", "second", "--json"]).json()["standby"].clone();
    let standby = standby.as_str().unwrap();
    let short = rows[2][0].trim_end_matches(['.', '…']);
    assert!(short.len() >= 8 && standby.starts_with(short), "{rows:?}");
    let text = place.run(&["keys", "show", "second"]).ok();
    assert!(text.contains(&format!("standby        {standby}\n")), "{text}");
}

#[test]
fn what_does_not_go_together_is_wrong_usage() {
    let place = Place::new();
    for (arguments, words) in [
        (["default", "--format", "pem"].as_slice(), "--active or --standby"),
        (&["default", "--active", "--format", "jwks"], "name no key"),
        (&["default", "--active", "--standby", "--format", "pem"], "--standby"),
        (&["default", "a-kid", "--active", "--format", "pem"], "--active"),
        (&["default", "--active", "--format", "pem", "--subject", "a"], "x509 or csr"),
        (&["default", "--active", "--format", "csr", "--days", "1"], "goes with --format x509"),
        (&["default", "--active", "--format", "x509", "--days", "3651"], "3650"),
        (&["default", "--active", "--format", "x509", "--subject", "\n"], "printable"),
        (&["default", "--active", "--format", "der"], "der"),
        (&["default", "--active"], "--format"),
    ] {
        export(&place, arguments).fails(2, &[words]);
    }
}

#[test]
fn what_cannot_be_exported_ends_with_the_code_for_it() {
    let place = Place::with("rotate = \"manual\"", "rotate = \"manual\"\nfirst_key = \"import\"");
    add(&place, "mldsa", "ML-DSA-44");
    let _daemon = place.start();
    let export = |arguments: &[&str]| export(&place, arguments);
    export(&["default", "nobody", "--format", "pem"]).fails(4, &["nobody"]);
    export(&["none", "--format", "jwks"]).fails(4, &["none"]);
    export(&["second", "--active", "--format", "pem"]).fails(6, &["no active key"]);
    export(&["second", "--standby", "--format", "pem"]).fails(4, &["no standby"]);
    export(&["second", "--format", "jwks"]).fails(6, &["no active key"]);
    export(&["mldsa", "--active", "--format", "openssh"]).fails(1, &["ML-DSA-44", "PEM"]);
    let old = crate::keys::active(&place, "default");
    place.run(&["keys", "rotate", "default", "--now"]).ok();
    export(&["default", &old, "--format", "x509"]).fails(5, &["only verifies"]);
    assert_eq!(export(&["default", &old, "--format", "pem"]).code, Some(0));
    place.run(&["keys", "revoke", "default", &old, "--reason", "a test"]).ok();
    export(&["default", &old, "--format", "pem"]).fails(5, &["was revoked"]);
}
