//! `jwksd keys import`, with key files that openssl and ssh-keygen wrote.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use jwksd::clock::{Clock, SystemClock};

use crate::daemon::Signal;
use crate::keys::{active, sign};
use crate::output::Output;
use crate::place::{Place, wait_for};

const PASSPHRASE: &str = "a test passphrase, not a secret";

/// Key sets that wait two seconds before a key signs.
const SOON: &str =
    "rotate = \"manual\"\njwks_max_age = \"1s\"\nverifier_cache = \"1s\"\nclock_skew = \"0s\"";

/// A place where key sets wait for two seconds only.
fn place() -> Place {
    Place::with("rotate = \"0 3 1 * *\"", SOON)
}

/// Copies a key file of `keystore/src/import/test_keys` here, for its owner alone; returns its name.
fn bring(place: &Place, file: &str) -> String {
    let from = format!("{}/keystore/src/import/test_keys/{file}", env!("CARGO_MANIFEST_DIR"));
    let name = file.rsplit('/').next().unwrap().to_owned();
    fs::copy(from, place.path(&name)).unwrap();
    set_mode(place, &name, 0o600);
    name
}

fn set_mode(place: &Place, name: &str, mode: u32) {
    fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
}

fn import(place: &Place, arguments: &[&str]) -> Output {
    place.run(&[&["keys", "import", "default"], arguments].concat())
}

/// Runs a command with this on its standard input.
fn run_with_input(mut command: Command, input: &str) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    Output {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_set_that_waits_for_its_first_key_answers_503_and_then_signs_with_it() {
    let place = place();
    place.edit("[keysets.default]", "[keysets.default]\nfirst_key = \"import\"");
    let daemon = place.start();
    assert!(!daemon.log().contains("import"), "{}", daemon.log());
    let check = place.run(&["check"]).ok();
    assert!(!check.contains("import"), "{check}");
    let signing = ["sign", "default", "--claims", "{}", "--ttl", "15m"];
    place.run(&signing).fails(6, &["no active key"]);
    assert_eq!(daemon.http("/.well-known/jwks.json").0, 503);
    let said = daemon.said();
    assert!(said.contains("next rotation after its first key was imported"), "{said}");
    let shown = place.run(&["keys", "show", "default"]).ok();
    assert!(shown.contains("is imported: jwksd keys import default FILE"), "{shown}");

    let file = bring(&place, "taken/p256.openssh.pem");
    let told = import(&place, &[&file, "--kid", "main-2026"]).ok();
    assert!(told.starts_with("default: main-2026 (ES256) signs now\n"), "{told}");
    assert!(told.contains("whoever has p256.openssh.pem can sign"), "{told}");
    assert!(daemon.verifies(&sign(&place)));
    assert_eq!(active(&place, "default"), "main-2026");
    let shown = place.run(&["keys", "show", "default"]).ok();
    let row = shown.lines().find(|line| line.contains("main-2026  ")).unwrap();
    assert!(row.contains("active, imported"), "{shown}");
    let again = import(&place, &[&file, "--kid", "main-2026"]).ok();
    assert!(again.starts_with("nothing to do, this was imported before: default: main"), "{again}");

    // It is in the store: the file is not needed any more.
    fs::remove_file(place.path(&file)).unwrap();
    daemon.end(Signal::TERM);
    let daemon = place.start_as(place.command(&["serve"]));
    assert!(daemon.verifies(&sign(&place)));
    assert_eq!(active(&place, "default"), "main-2026");
}

#[test]
fn an_imported_standby_is_published_waits_and_then_signs() {
    let place = place();
    let daemon = place.start();
    let before = active(&place, "default");
    let old = sign(&place);
    let file = bring(&place, "taken/p256.encrypted.pkcs8.pem");
    place.write("passphrase", &format!("{PASSPHRASE}\n"));
    set_mode(&place, "passphrase", 0o600);
    let arguments = [&file, "--passphrase-file", "passphrase", "--kid", "next"];
    let told = import(&place, &arguments).ok();
    assert!(told.contains("default: next (ES256) is published since 20"), "{told}");
    assert!(told.contains("and signs when asked: jwksd keys rotate default\n"), "{told}");
    assert!(told.contains("it takes the place of the standby "), "{told}");
    assert_eq!(daemon.published(), [before.as_str(), "next"]);
    let list = place.run(&["keys", "list"]).ok();
    assert!(list.contains("pending, imported"), "{list}");

    place.run(&["keys", "rotate", "default"]).ok();
    wait_for("the rotation", || (active(&place, "default") == "next").then_some(()));
    assert!(daemon.verifies(&sign(&place)));
    assert!(daemon.verifies(&old));
}

#[test]
fn a_standby_that_was_replaced_shows_no_time_at_which_it_would_have_signed() {
    let place = place();
    let _daemon = place.start();
    place.run(&["keys", "rotate", "default", "--at", "2100-01-01T00:00:00Z"]).ok();
    let file = bring(&place, "taken/p256.pkcs8.pem");
    import(&place, &[&file, "--kid", "next"]).ok();
    let shown = place.run(&["keys", "show", "default"]).ok();
    assert!(shown.contains("  retired\n") && shown.contains("  leave "), "{shown}");
    let mut planned = shown.lines().filter(|line| line.contains("2100-01-01T00:00:00Z"));
    let is_of_next = |line: &str| line.starts_with("next ") || line.contains("as an admin planned");
    assert!(planned.all(is_of_next), "{shown}");
}

#[test]
fn a_key_of_another_issuer_only_verifies_until_its_end() {
    let place = place();
    let daemon = place.start();
    // Of a private key file, only the public half is kept.
    for (file, kid) in [("taken/p256.pkcs8.pem", "one"), ("taken/p256.public.ssh", "two")] {
        let file = bring(&place, file);
        let arguments = [&file, "--verify-only", "--until", "2100-01-01T00:00:00Z", "--kid", kid];
        import(&place, &arguments).fails(1, &["a key can be trusted until an instant after"]);
    }
    let until = (SystemClock.wall() + Duration::from_secs(4)).to_string();
    let public = bring(&place, "taken/p256.spki.pem");
    set_mode(&place, &public, 0o644);
    let told = import(&place, &[&public, "--verify-only", "--until", &until]).ok();
    assert!(told.contains("only verifies, until 20"), "{told}");
    let list = place.run(&["keys", "list", "default"]).ok();
    assert!(list.contains("verify-only, trusted"), "{list}");
    assert_eq!(daemon.published().len(), 3);
    wait_for("its end", || (daemon.published().len() == 2).then_some(()));
    let shown = place.run(&["keys", "show", "default"]).ok();
    assert!(shown.contains("retired, trusted"), "{shown}");
    import(&place, &[&public, "--verify-only"]).fails(2, &["--until"]);
    import(&place, &[&public, "--until", &until]).fails(2, &["--verify-only"]);
}

#[test]
fn a_key_comes_through_standard_input_too() {
    let place = place();
    let _daemon = place.start();
    let key = fs::read_to_string(place.path(&bring(&place, "taken/p256.jwk"))).unwrap();
    let command = place.command(&["keys", "import", "default", "-", "--json"]);
    let told = run_with_input(command, &key).json();
    assert_eq!((&told["state"], &told["already"]), (&"pending".into(), &false.into()));
}

#[test]
fn a_private_key_that_others_can_read_is_warned_about() {
    let place = place();
    let _daemon = place.start();
    let file = bring(&place, "taken/p256.sec1.pem");
    set_mode(&place, &file, 0o640);
    let told = import(&place, &[&file]);
    assert_eq!(told.code, Some(0), "{told:?}");
    assert!(told.stderr.contains("p256.sec1.pem can be read by others (mode 640)"), "{told:?}");
    let public = bring(&place, "taken/p384.spki.pem");
    set_mode(&place, &public, 0o644);
    let told = import(&place, &[&public]);
    assert!(!told.stderr.contains("can be read by others"), "{told:?}");
}

#[test]
fn what_cannot_be_taken_is_refused_with_the_reason_and_shown_nowhere() {
    let place = place();
    let daemon = place.start();
    let before = daemon.published();
    for (file, words) in [
        ("refused/rsa1024.pem", "rsa1024.pem: the RSA key has 1024 bits, which is too weak"),
        ("refused/rsa-exponent3.pem", "the public exponent of the RSA key is smaller than 65537"),
        ("refused/container.p12", "openssl pkcs12 -nocerts"),
        ("refused/binary.der", "openssl pkey -inform DER"),
        ("taken/ed25519.pkcs8.pem", "the key is Ed25519, and ES256 takes another"),
        ("taken/p256.spki.pem", "the file holds only a public key; signing takes the private one"),
    ] {
        import(&place, &[&bring(&place, file)]).fails(1, &[words]);
    }
    place.write("note", "root:hunter2");
    set_mode(&place, "note", 0o600);
    import(&place, &["note"]).fails(1, &["note: the file is no key"]);
    import(&place, &["nothing"]).fails(1, &["nothing", "No such file"]);
    let own = bring(&place, "taken/p256.pkcs8.pem");
    import(&place, &[&own, "--kid", &before[0]]).fails(5, &["what another key in the key set is"]);
    import(&place, &[&own]).ok();
    import(&place, &[&own, "--kid", "other"]).fails(5, &["the key is in the key set already"]);
    place.run(&["keys", "import", "nobody", &own]).fails(4, &["nobody"]);
    place.edit("\"import\", \"import-trust\", ", "");
    place.run(&["reload"]).ok();
    import(&place, &[&own]).fails(3, &["no grant of this caller allows import"]);

    let audit = place.read("data/audit.jsonl");
    let told = daemon.log() + &audit;
    let key = place.read(&own);
    for line in key.lines().filter(|line| !line.starts_with("---")) {
        assert!(!told.contains(line), "{line} in {told}");
    }
    assert!(!told.contains("hunter2"));
}

#[test]
fn a_passphrase_comes_from_a_file_of_one_line_that_nobody_else_can_read() {
    let place = place();
    let _daemon = place.start();
    let file = bring(&place, "taken/p256.encrypted.openssh.pem");
    let with_file = [file.as_str(), "--passphrase-file", "passphrase"];
    let wrote = |text: &str, mode| {
        place.write("passphrase", text);
        set_mode(&place, "passphrase", mode);
        import(&place, &with_file)
    };
    wrote(PASSPHRASE, 0o644).fails(1, &["passphrase can be read by everyone"]);
    wrote("two\nlines\n", 0o600).fails(1, &["passphrase must have one line"]);
    wrote("\n", 0o600).fails(1, &["passphrase must have one line"]);
    wrote("wrong", 0o600).fails(1, &["the passphrase is wrong, or the file is damaged"]);
    wrote(&format!("{PASSPHRASE}\r\n"), 0o600).ok();
}

#[test]
fn without_a_passphrase_file_the_terminal_is_asked_and_shows_nothing() {
    let place = place();
    let _daemon = place.start();
    let file = bring(&place, "taken/p256.encrypted.openssh.pem");
    let mut without = Command::new("setsid");
    without.args(["-w", env!("CARGO_BIN_EXE_jwksd"), "keys", "import", "default", &file]);
    Output::of(&mut place.settle(without)).fails(1, &["there is no terminal", "--passphrase-file"]);

    let mut with = Command::new("script");
    let asks = format!("tty; '{}' keys import default {file}", env!("CARGO_BIN_EXE_jwksd"));
    with.args(["-qec", &asks, "/dev/null"]);
    let mut with = place.settle(with);
    let mut child = with.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut screen = Vec::new();
    let mut output = child.stdout.take().unwrap();
    while !String::from_utf8_lossy(&screen).contains("openssh.pem: ") {
        let mut byte = [0];
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&screen));
        screen.push(byte[0]);
    }
    // The question is asked a moment before the terminal stops to show what is typed.
    let terminal = String::from_utf8_lossy(&screen).lines().next().unwrap().trim().to_owned();
    wait_for("the terminal to show nothing", || {
        let state = Output::of(Command::new("stty").args(["-F", &terminal, "-a"])).ok();
        state.split_whitespace().any(|flag| flag == "-echo").then_some(())
    });
    let mut keyboard = child.stdin.take().unwrap();
    keyboard.write_all(format!("{PASSPHRASE}\n").as_bytes()).unwrap();
    output.read_to_end(&mut screen).unwrap();
    drop(keyboard);
    let screen = String::from_utf8(screen).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{screen}");
    assert!(screen.contains("Passphrase of p256.encrypted.openssh.pem: "), "{screen}");
    assert!(screen.contains("is published since"), "{screen}");
    assert!(!screen.contains(PASSPHRASE), "{screen}");
}
