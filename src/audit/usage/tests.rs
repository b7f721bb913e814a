//! The counts against a naive one, over random lines; and what is told of lines that are missing.

use std::collections::BTreeMap;
use std::fs;

use proptest::prelude::*;

use super::names::MOST_NAMES;
use super::*;
use crate::audit::chain::Link;
use crate::audit::{Decision, Line};

const NOW: Time = Time::from_millis(1_795_316_400_000);
const CALLERS: [&str; 3] = ["shop", "ci", "\"kid\":\"one\",\u{1b}[31m"];
const AUDIENCES: [&str; 4] = ["api", "bücher", "a\"b\\c\n", ",\"keyset\":\"default\","];
const ACTIONS: [&str; 4] = ["sign-token", "export", "revoke", "rotate"];
const KEYSETS: [&str; 2] = ["default", "other"];
const KIDS: [&str; 3] = ["one", "two", "onetwo"];

/// A line of which the members are chosen by number.
#[derive(Clone, Debug)]
struct Chosen {
    caller: usize,
    action: usize,
    is_allowed: bool,
    keyset: usize,
    kid: Option<usize>,
    audiences: Vec<usize>,
    exp: u64,
    seconds: u64,
    born: Option<usize>,
}

fn chosen() -> impl Strategy<Value = Chosen> {
    (
        0..CALLERS.len(),
        prop_oneof![6 => Just(0), 1 => 1..ACTIONS.len()],
        prop_oneof![4 => Just(true), 1 => Just(false)],
        0..KEYSETS.len(),
        prop_oneof![5 => (0..KIDS.len()).prop_map(Some), 1 => Just(None)],
        prop::collection::vec(0..AUDIENCES.len(), 0..4),
        0_u64..4000,
        0_u64..2000,
        prop_oneof![30 => Just(None), 1 => (0..KIDS.len()).prop_map(Some)],
    )
        .prop_map(
            |(caller, action, is_allowed, keyset, kid, audiences, exp, seconds, born)| Chosen {
                caller,
                action,
                is_allowed,
                keyset,
                kid,
                audiences,
                exp,
                seconds,
                born,
            },
        )
}

impl Chosen {
    fn time(&self) -> Time {
        Time::from_millis(NOW.as_millis() - 2_000_000 + self.seconds * 1000)
    }

    fn exp(&self) -> u64 {
        NOW.as_secs() - 2000 + self.exp
    }

    fn write(&self, last: &Link) -> (Vec<u8>, Link) {
        let keyset: KeysetName = KEYSETS[self.keyset].parse().unwrap();
        let kid: Option<KeyId> = self.kid.map(|kid| KIDS[kid].parse().unwrap());
        let aud: Vec<String> = self.audiences.iter().map(|it| AUDIENCES[*it].to_owned()).collect();
        let born = self
            .born
            .map(|kid| KeyEvent { kid: KIDS[kid].parse().unwrap(), event: Event::Created });
        let decision = match (&born, self.is_allowed) {
            (Some(_), _) => Decision::Done,
            (None, true) => Decision::Allowed,
            (None, false) => Decision::Refused,
        };
        let line = Line {
            keyset: Some(&keyset),
            kid: kid.as_ref().filter(|_| born.is_none()),
            jti: Some("j"),
            sub: Some(CALLERS[2]),
            aud: &aud,
            exp: Some(self.exp()),
            reason: Some("as pem"),
            keys: born.as_slice(),
            ..Line::new(self.time(), CALLERS[self.caller], ACTIONS[self.action], decision)
        };
        last.chain(&line.object().unwrap())
    }

    fn is_signature_of(&self, kid: &str) -> bool {
        self.born.is_none()
            && self.is_allowed
            && self.action == 0
            && KEYSETS[self.keyset] == "default"
            && self.kid.is_some_and(|it| KIDS[it] == kid)
    }
}

fn asked(kid: &str, birth: Birth) -> Asked {
    Asked { kid: kid.parse().unwrap(), birth }
}

fn count(rows: &[Vec<u8>], keys: &[Asked]) -> Usage {
    let keyset = "default".parse().unwrap();
    let mut counter = Counter::new(Question { keyset: &keyset, keys, now: NOW });
    for row in rows.iter().rev() {
        if counter.knows_all() {
            return counter.finish(End::Birth);
        }
        counter.row(row.strip_suffix(b"\n").unwrap());
    }
    counter.finish(End::Beginning)
}

fn written(lines: &[Chosen]) -> Vec<Vec<u8>> {
    let mut link = Link::START;
    let mut rows = Vec::new();
    for line in lines {
        let (row, next) = line.write(&link);
        rows.push(row);
        link = next;
    }
    rows
}

/// All tokens of a key by name, for the names that `names` gives.
fn naive<'l>(
    signed: &[&'l Chosen],
    names: impl Fn(&'l Chosen) -> Vec<Option<&'static str>>,
) -> BTreeMap<Option<&'static str>, Tally> {
    let mut found = BTreeMap::<_, Tally>::new();
    for line in signed {
        for name in names(line) {
            let tally = found.entry(name).or_default();
            tally.count += 1;
            tally.first = tally.first.into_iter().chain([line.time()]).min();
            tally.last = tally.last.max(Some(line.time()));
            let expires = Time::from_millis(line.exp() * 1000);
            tally.last_expiry = tally.last_expiry.max(Some(expires));
        }
    }
    found
}

fn by_name(names: &Names) -> BTreeMap<Option<&str>, Tally> {
    let (most, others) = names.most(MOST_NAMES);
    assert_eq!(others.count, 0);
    most.into_iter().collect()
}

proptest! {
    #[test]
    fn what_is_counted_is_what_a_naive_count_finds(
        lines in prop::collection::vec(chosen(), 0..120),
    ) {
        let keys = [asked("one", Birth::Elsewhere), asked("two", Birth::Elsewhere)];
        let usage = count(&written(&lines), &keys);
        prop_assert_eq!(usage.read.lines, lines.len() as u64);
        prop_assert_eq!((usage.read.unreadable, usage.read.missing), (0, 0));
        for key in &keys {
            let of_key = &usage.keys[&key.kid];
            let signed: Vec<&Chosen> =
                lines.iter().filter(|line| line.is_signature_of(key.kid.as_str())).collect();
            prop_assert_eq!(of_key.tokens.count, signed.len() as u64);
            let unexpired = signed.iter().filter(|line| line.exp() > NOW.as_secs()).count();
            prop_assert_eq!(of_key.unexpired, unexpired as u64);
            let callers = naive(&signed, |line| vec![Some(CALLERS[line.caller])]);
            prop_assert_eq!(by_name(&of_key.callers), callers);
            let audiences = naive(&signed, |line| {
                let mut names: Vec<_> =
                    line.audiences.iter().map(|name| Some(AUDIENCES[*name])).collect();
                names.sort_unstable();
                names.dedup();
                if names.is_empty() { vec![None] } else { names }
            });
            prop_assert_eq!(by_name(&of_key.audiences), audiences);
            let exports = lines.iter().filter(|line| {
                let is_export = line.action == 1 && line.is_allowed && line.born.is_none();
                is_export && line.keyset == 0
                    && line.kid.is_none_or(|kid| KIDS[kid] == key.kid.as_str())
            });
            prop_assert_eq!(of_key.exported, exports.count() as u64);
        }
    }

    #[test]
    fn of_a_key_that_was_made_here_nothing_is_read_before_its_making(
        lines in prop::collection::vec(chosen(), 0..120),
    ) {
        let made = |line: &Chosen| line.keyset == 0 && line.born == Some(0);
        let begin = lines.iter().rposition(made);
        let usage = count(&written(&lines), &[asked("one", Birth::Here)]);
        let since = &lines[begin.unwrap_or(0)..];
        let signed = since.iter().filter(|line| line.is_signature_of("one")).count();
        let of_key = usage.keys.values().next().unwrap();
        prop_assert_eq!(of_key.tokens.count, signed as u64);
        prop_assert_eq!(of_key.is_from_birth, begin.is_some());
        prop_assert_eq!(usage.read.lines, since.len() as u64);
    }

    #[test]
    fn no_row_whatever_it_is_ends_the_count(rows in prop::collection::vec(".{0,60}", 0..20)) {
        let rows: Vec<Vec<u8>> = rows.into_iter().map(|row| (row + "\n").into_bytes()).collect();
        let usage = count(&rows, &[asked("one", Birth::Here)]);
        prop_assert_eq!(usage.read.unreadable, rows.len() as u64);
    }
}

fn signature(caller: usize, audiences: Vec<usize>) -> Chosen {
    let (action, keyset, kid) = (0, 0, Some(0));
    let (is_allowed, exp, seconds, born) = (true, 100, 10, None);
    Chosen { caller, action, is_allowed, keyset, kid, audiences, exp, seconds, born }
}

#[test]
fn lines_that_are_missing_or_damaged_are_told() {
    let mut rows = written(&vec![signature(0, vec![0]); 10]);
    rows[7] = b"{\"line\":8,\"previous\":\"cut off\n".to_vec();
    rows.drain(3..5);
    let usage = count(&rows, &[asked("one", Birth::Here)]);
    assert_eq!(usage.keys.values().next().unwrap().tokens.count, 7);
    // The number of the row that cannot be read is missing as well.
    assert_eq!((usage.read.unreadable, usage.read.missing), (1, 3));
    assert_eq!(usage.read.oldest.unwrap().0, 1);
    assert_eq!(usage.read.end, End::Beginning);
}

#[test]
fn what_was_not_recorded_and_the_backups_are_told() {
    let object = |caller, action, decision, reason| {
        let line = Line { reason: Some(reason), ..Line::new(NOW, caller, action, decision) };
        line.object().unwrap()
    };
    let objects = [
        object(
            "jwksd",
            "audit",
            Decision::Failed,
            "12 decisions took effect unrecorded before this",
        ),
        object("admin", "store-backup", Decision::Intent, "copy"),
        object("admin", "store-backup", Decision::Done, "commit 3, 100 bytes"),
        object(
            "jwksd",
            "audit",
            Decision::Failed,
            "3 decisions took effect unrecorded before this",
        ),
    ];
    let (mut link, mut rows) = (Link::START, Vec::new());
    for object in objects {
        let (row, next) = link.chain(&object);
        rows.push(row);
        link = next;
    }
    let read = count(&rows, &[asked("one", Birth::Here)]).read;
    assert_eq!((read.unrecorded, read.backups, read.last_backup), (15, 1, Some(NOW)));
}

#[test]
fn names_without_end_are_bounded_and_none_is_lost_in_the_sum() {
    let mut names = Names::default();
    for index in 0..3 * MOST_NAMES {
        names.count(Some(&format!("audience {index}")), NOW, NOW);
        names.count(Some("api"), NOW, NOW);
    }
    assert_eq!(names.known(), MOST_NAMES);
    assert!(names.has_more());
    let (most, others) = names.most(100);
    assert_eq!((most.len(), most[0].0), (100, Some("api")));
    let sum: u64 = most.iter().map(|(_, tally)| tally.count).sum();
    assert_eq!(sum + others.count, 6 * MOST_NAMES as u64);
}

#[test]
fn all_files_are_read_from_the_newest_line_back_and_no_longer_than_one_may() {
    let folder = tempfile::tempdir().unwrap();
    let audit = folder.path().join("audit.jsonl");
    let rows = written(&vec![signature(1, vec![1]); 3000]);
    fs::write(folder.path().join("audit.000000000001.jsonl"), rows[..1000].concat()).unwrap();
    fs::write(folder.path().join("audit.000000001001.jsonl"), rows[1000..2000].concat()).unwrap();
    fs::write(&audit, rows[2000..].concat()).unwrap();
    let (keyset, keys) = ("default".parse().unwrap(), [asked("one", Birth::Here)]);
    let question = Question { keyset: &keyset, keys: &keys, now: NOW };
    let tokens = |usage: &Usage| usage.keys.values().next().unwrap().tokens.count;

    let all = read(&audit, question, || true).unwrap();
    assert_eq!((tokens(&all), all.read.end), (3000, End::Beginning));
    let mut pauses = 0;
    let some = read(&audit, question, || {
        pauses += 1;
        pauses <= 3
    });
    let some = some.unwrap();
    assert_eq!((tokens(&some), some.read.end), (3 * PAUSE, End::Interrupted));
    assert_eq!(some.read.oldest.unwrap().0, 3000 - 3 * PAUSE + 1);

    fs::remove_file(folder.path().join("audit.000000001001.jsonl")).unwrap();
    let without = read(&audit, question, || true).unwrap();
    assert_eq!((tokens(&without), without.read.missing), (2000, 1000));
    let newest = crate::audit::newest::lines(&audit, 1500).unwrap();
    assert_eq!(newest.len(), 1500);
    assert!(newest[0].get().starts_with("{\"line\":501,"), "{}", newest[0]);
    assert!(newest[1499].get().starts_with("{\"line\":3000,"));
}

#[test]
fn an_audit_that_is_not_there_says_nothing() {
    let keyset = "default".parse().unwrap();
    let question = Question { keyset: &keyset, keys: &[], now: NOW };
    for path in ["/nowhere/audit.jsonl", "/dev/full"] {
        let usage = read(Path::new(path), question, || true).unwrap();
        assert_eq!(usage.read, Read::default(), "{path}");
    }
}
