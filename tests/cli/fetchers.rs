//! `jwksd fetchers`, and what `keys rotate` says of fetchers.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::daemon::Daemon;
use crate::keys::active;
use crate::place::{Place, wait_for};

/// A verifier whose head is these bytes and `Connection: close`.
fn fetch(daemon: &Daemon, keyset: &str, head: &[u8]) {
    let mut stream = TcpStream::connect(daemon.address("public")).unwrap();
    let path = format!("GET /{keyset}/.well-known/jwks.json HTTP/1.1\r\nHost: test\r\n");
    let request = [path.as_bytes(), head, b"Connection: close\r\n\r\n"].concat();
    stream.write_all(&request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

/// Lines of at most 100 printable characters.
#[track_caller]
fn check_is_inert(text: &str) {
    for line in text.lines() {
        assert!(line.len() <= 100, "{} characters: {line}", line.len());
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
    }
}

#[test]
fn fetchers_are_a_table_for_people_and_json_for_programs() {
    let place = Place::new();
    let daemon = place.start();
    // Waiting until it is ready fetched nothing.
    let nobody = place.run(&["fetchers"]).ok();
    assert!(
        nobody.starts_with("key set default: no known fetchers\n  watched since 20"),
        "{nobody}"
    );
    assert!(nobody.contains("key set second: no known fetchers"), "{nobody}");

    fetch(&daemon, "second", b"User-Agent: shop/1\r\n");
    let told = place.run(&["fetchers", "--keyset", "second"]).ok();
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(
        lines[0],
        "key set second: 1 known fetcher, 1 with what is served now, 0 without the standby"
    );
    assert!(lines[1].ends_with("; known are those seen in the last 1d1h6m"), "{told}");
    let head: Vec<&str> = lines[2].split_whitespace().collect();
    assert_eq!(head.join(" "), "WHO LAST FETCH FETCHES HAS USER AGENT");
    let row: Vec<&str> = lines[3].split_whitespace().collect();
    assert_eq!((row[0], &row[2..]), ("127.0.0.0/24", ["1", "current", "shop/1"].as_slice()));
    assert_eq!(lines.len(), 4, "{told}");

    let told = place.run(&["fetchers", "--json"]).json();
    assert_eq!(told["keysets"][1]["fetchers"][0]["user_agent"], "shop/1");
    assert_eq!(told["keysets"][0]["fetchers"].as_array().unwrap().len(), 0);
    place.run(&["fetchers", "--keyset", "other"]).fails(4, &["there is no key set other"]);
}

/// It is made a moment after the one before signs.
fn wait_for_standby(place: &Place) {
    wait_for("the next standby", || {
        let shown = place.run(&["keys", "show", "second", "--json"]).json();
        shown["standby"].as_str().map(|_| ())
    });
}

#[test]
fn a_rotation_says_how_many_have_not_fetched_the_key_yet() {
    let place = Place::new();
    let daemon = place.start();
    let rotate = |how: &[&str]| place.run(&[&["keys", "rotate", "second"], how].concat()).ok();
    let last = |text: String| text.lines().last().unwrap().to_owned();
    assert!(last(rotate(&[])).starts_with("no known fetchers (watched since 20"));
    fetch(&daemon, "second", b"");
    let again = rotate(&[]);
    assert!(again.contains("nothing to do"), "{again}");
    assert!(last(again).starts_with("the only known fetcher has fetched it (watched since 20"));
    fetch(&daemon, "second", b"User-Agent: b\r\n");
    assert!(last(rotate(&[])).starts_with("all 2 known fetchers have fetched it (watched"));

    rotate(&["--now"]);
    wait_for_standby(&place);
    fetch(&daemon, "second", b"");
    let expect = active(&place, "second");
    let late = last(rotate(&["--expect-active", &expect]));
    assert!(late.starts_with("1 of 2 known fetchers has not fetched the standby yet"), "{late}");
    assert!(late.ends_with(": jwksd fetchers --keyset second"), "{late}");
    let now = last(rotate(&["--now"]));
    assert!(
        now.starts_with("1 of 2 known fetchers has not fetched it yet, and may refuse"),
        "{now}"
    );
    let counted = "1 without the key that signs, 2 without the standby";
    let told = wait_for("the next standby, as it is served", || {
        let told = place.run(&["fetchers", "--keyset", "second"]).ok();
        told.contains(counted).then_some(told)
    });
    assert!(told.contains("without-active") && told.contains("without-standby"), "{told}");
}

#[test]
fn what_hostile_fetchers_say_is_inert_in_a_terminal() {
    let place =
        Place::with("[keysets.default]", "[fetchers]\nheader = \"X-Real-IP\"\n[keysets.default]");
    let daemon = place.start();
    let long = "w".repeat(300);
    fetch(
        &daemon,
        "default",
        b"User-Agent: \x9b2J\xe2\x80\xaetxt\xff\tend\r\nX-Real-IP: \x9b31m\r\n",
    );
    fetch(&daemon, "default", format!("User-Agent: {long}\r\nX-Real-IP: {long}\r\n").as_bytes());
    fetch(&daemon, "default", b"X-Real-IP: 2001:db8:ffff:1:2:3:4:5\r\n");
    let told = place.run(&["fetchers", "--keyset", "default"]).ok();
    check_is_inert(&told);
    assert!(told.contains("?2J???txt??end"), "{told}");
    assert!(told.contains("?31m"), "{told}");
    assert!(told.contains("wwwwwwww...") && told.contains("2001:db8:ffff::/48"), "{told}");
}

#[test]
fn no_whole_address_is_told_or_written_anywhere() {
    let place =
        Place::with("[keysets.default]", "[fetchers]\nheader = \"X-Real-IP\"\n[keysets.default]");
    let mut command = place.command(&["serve", "--init"]);
    command.env("RUST_LOG", "trace");
    let daemon = place.start_as(command);
    for head in ["X-Real-IP: 192.0.2.77\r\n", "X-Real-IP: 2001:db8:1:2:3:4:5:6\r\n"] {
        fetch(&daemon, "default", head.as_bytes());
    }
    let told = place.run(&["fetchers"]).ok() + &place.run(&["fetchers", "--json"]).ok();
    assert!(told.contains("192.0.2.0/24") && told.contains("2001:db8:1::/48"), "{told}");
    let rotated = place.run(&["keys", "rotate", "default"]).ok();
    let mut texts = vec![("answers", told + &rotated), ("log", daemon.log() + &daemon.said())];
    texts.push(("audit", place.read("data/audit.jsonl")));
    for (name, text) in texts {
        for address in ["192.0.2.77", "2001:db8:1:2"] {
            assert!(!text.contains(address), "{address} is in the {name}");
        }
    }
}

#[test]
fn where_nobody_watches_that_is_said() {
    let place = Place::with("[keysets.default]", "[fetchers]\nenabled = false\n[keysets.default]");
    let daemon = place.start();
    fetch(&daemon, "default", b"");
    let told = place.run(&["fetchers"]).ok();
    assert_eq!(told, "nobody watches who fetches: [fetchers] has enabled = false\n");
    let rotated = place.run(&["keys", "rotate", "default"]).ok();
    assert!(!rotated.contains("fetcher"), "{rotated}");
}

#[test]
fn check_refuses_a_table_that_cannot_be() {
    let cases = [
        ("ipv4_prefix = 4", "fetchers.ipv4_prefix: must be from 8 to 32"),
        (
            "header = \"Authorization\"",
            "\"Authorization\" cannot say who fetches: it holds secrets",
        ),
    ];
    for (fetchers, words) in cases {
        let table = format!("[fetchers]\n{fetchers}\n[keysets.default]");
        Place::with("[keysets.default]", &table).run(&["check"]).fails(1, &[words]);
    }
}

#[test]
fn a_rotation_tells_that_some_fetchers_are_not_told_apart() {
    let place = Place::new();
    let daemon = place.start();
    for number in 0..20 {
        fetch(&daemon, "second", format!("User-Agent: agent/{number}\r\n").as_bytes());
    }
    let told = place.run(&["keys", "rotate", "second"]).ok();
    let last = "1 of them stands for user agents of a network that are not told apart: some of those may \
                not have fetched it";
    assert_eq!(told.lines().last(), Some(last), "{told}");
}

#[test]
fn a_rotation_tells_of_fetchers_that_strangers_pushed_out() {
    let place =
        Place::with("[keysets.default]", "[fetchers]\nheader = \"X-Real-IP\"\n[keysets.default]");
    let daemon = place.start();
    for number in 0..203 {
        fetch(&daemon, "second", format!("X-Real-IP: stranger-{number}\r\n").as_bytes());
    }
    let told = place.run(&["keys", "rotate", "second"]).ok();
    let lines: Vec<&str> = told.lines().rev().take(2).collect();
    let lost = " fetchers had to make room for others meanwhile, and may not have fetched it";
    let first_number = |line: &str| {
        let mut numbers = line.split(' ').filter_map(|word| word.parse::<u32>().ok());
        numbers.next().expect(line)
    };
    assert!(lines[1].contains(" known fetchers have fetched it (watched since"), "{told}");
    assert!(lines[0].ends_with(lost), "{told}");
    assert_eq!(first_number(lines[1]) + first_number(lines[0]), 203, "{told}");
}
