//! Random histories: writes, stops, kills and power cuts at any step, in any order, with files that
//! fill up and syncs that fail; and with someone who changes the files in between.
//!
//! After each history the audit is whole, and every line that was durable is in its chain. After a
//! change of the files, it is not whole, or every line that was durable is in its chain all the same.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::sample::Index;

use super::chain::Parsed;
use super::checkpoint::{self, Held, Position};
use super::report::{Finding, Note, Report};
use super::tests::{Place, copy_all, forged, line};
use super::{Audit, Recorder, files};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A line is recorded.
    Record,
    /// A line is recorded and synced.
    RecordDurably,
    /// The next file is begun.
    BeginNext,
    /// A sync fails, and the file is opened anew.
    FailedSync,
    /// The daemon is stopped, and started again.
    Stop,
    /// It ends unasked, and is started again.
    Crash(Crash),
    /// It is stopped; the next start is cut off before the checkpoint tells of its mark.
    StopAndCrashInStart(Crash),
    /// It ends unasked while the next file is begun.
    CrashInNext(InNext, Crash),
}

/// What an end unasked leaves.
#[derive(Clone, Debug)]
enum Crash {
    /// The process is killed: what the kernel has stays.
    Kill,
    /// The power is cut.
    PowerCut(Loss),
}

/// What a power cut takes. Of what was not synced, each sector is kept or not, and the end may be
/// missing; each half of the checkpoint may be any since the start.
#[derive(Clone, Debug)]
struct Loss {
    kept: Vec<bool>,
    missing: usize,
    halves: [Index; 2],
}

/// How far the next file was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InNext {
    /// The full one was ended.
    Ended,
    /// Lines are in both; nothing of them is synced.
    Begun,
    /// Both are synced.
    Synced,
    /// The full one has its name.
    OneNamed,
    /// Both have.
    BothNamed,
}

fn event() -> impl Strategy<Value = Event> {
    let in_next = prop_oneof![
        Just(InNext::Ended),
        Just(InNext::Begun),
        Just(InNext::Synced),
        Just(InNext::OneNamed),
        Just(InNext::BothNamed),
    ];
    prop_oneof![
        6 => Just(Event::Record),
        6 => Just(Event::RecordDurably),
        1 => Just(Event::BeginNext),
        1 => Just(Event::FailedSync),
        1 => Just(Event::Stop),
        2 => crash().prop_map(Event::Crash),
        2 => crash().prop_map(Event::StopAndCrashInStart),
        2 => (in_next, crash()).prop_map(|(step, crash)| Event::CrashInNext(step, crash)),
    ]
}

fn crash() -> impl Strategy<Value = Crash> {
    let kept = prop::collection::vec(any::<bool>(), 4);
    let loss = (kept, 0..900_usize, any::<[Index; 2]>());
    prop_oneof![
        1 => Just(Crash::Kill),
        2 => loss.prop_map(|(kept, missing, halves)| {
            Crash::PowerCut(Loss { kept, missing, halves })
        }),
    ]
}

/// A small sector, so that a few lines have many.
const SECTOR: usize = 64;

/// Half of the checkpoint.
const HALF: usize = 4096;

struct History {
    place: Place,
    audit: Option<Audit>,
    written: usize,
    durable: Vec<String>,
    /// What the checkpoint was, from what the last start found to now.
    checkpoints: Vec<Vec<u8>>,
}

impl History {
    fn of(events: &[Event], full_size: u64) -> Self {
        let place = Place { full_size, ..Place::new() };
        let mut history =
            Self { place, audit: None, written: 0, durable: Vec::new(), checkpoints: Vec::new() };
        history.start();
        history.go_on(events);
        history
    }

    fn go_on(&mut self, events: &[Event]) {
        for event in events {
            self.happen(event);
            self.note_checkpoint();
        }
    }

    fn happen(&mut self, event: &Event) {
        match event {
            Event::Record => {
                let name = self.next_name();
                self.audit().record(&line(&name), Recorder::Worker).unwrap();
            }
            Event::RecordDurably => {
                let name = self.next_name();
                self.audit().record_durably(&line(&name)).unwrap();
                self.durable.push(name);
            }
            Event::BeginNext => self.audit().shared.begin_next().unwrap(),
            Event::FailedSync => self.fail_a_sync(),
            Event::Stop => self.stop(),
            Event::Crash(crash) => self.crash(crash),
            Event::StopAndCrashInStart(crash) => {
                // The start is cut off before a full file could be continued.
                let full_size = std::mem::replace(&mut self.place.full_size, 1 << 30);
                self.stop();
                self.place.full_size = full_size;
                let found = self.checkpoints[0].clone();
                self.end_unasked();
                fs::write(self.checkpoint(), &found).unwrap();
                self.checkpoints = vec![found];
                self.lose_by(crash, None);
                self.start();
            }
            Event::CrashInNext(step, crash) => self.crash_in_next(*step, crash),
        }
    }

    fn fail_a_sync(&self) {
        let shared = &self.audit().shared;
        {
            let _no_sync = shared.lock_checkpoint();
            let written = shared.lock().written();
            shared.trust(&written, Err(io::Error::other("EIO"))).unwrap_err();
        }
        let before = self.held();
        // What was gathered is synced by the thread, and the kernel tells of a failure only once.
        drop(shared.sync_gathered(shared.lock()));
        assert!(!shared.is_failing() || self.held() == before);
        shared.try_again().unwrap();
    }

    fn stop(&mut self) {
        drop(self.audit.take());
        self.start();
    }

    fn crash(&mut self, crash: &Crash) {
        self.end_unasked();
        self.lose_by(crash, None);
        self.start();
    }

    fn crash_in_next(&mut self, step: InNext, crash: &Crash) {
        let name = self.next_name();
        let audit = self.audit.take().unwrap();
        let (synced, first, copy) = {
            let _no_sync = audit.shared.lock_checkpoint();
            audit.shared.go_on_in_next().unwrap();
            let first = audit.shared.lock().file.unnamed().unwrap();
            let synced = audit.shared.lock().file.last().unwrap();
            audit.record(&line(&name), Recorder::Worker).unwrap();
            (synced, first, copy_of(&self.place))
        };
        drop(audit);
        put_back(&self.place, &copy);
        let (path, new) = (self.place.path(), files::unnamed(&self.place.path()));
        if step == InNext::Ended {
            fs::write(&new, "").unwrap();
        }
        if matches!(step, InNext::OneNamed | InNext::BothNamed) {
            fs::rename(&path, files::full(&path, first)).unwrap();
        }
        if step == InNext::BothNamed {
            fs::rename(&new, &path).unwrap();
        }
        let is_synced = !matches!(step, InNext::Ended | InNext::Begun);
        self.lose_by(crash, is_synced.then_some(synced));
        self.start();
    }

    fn start(&mut self) {
        let found = fs::read(self.checkpoint()).unwrap_or_default();
        self.audit = Some(self.place.open());
        self.checkpoints = if found.is_empty() { Vec::new() } else { vec![found] };
        self.note_checkpoint();
    }

    fn note_checkpoint(&mut self) {
        self.checkpoints.push(fs::read(self.checkpoint()).unwrap());
    }

    /// Leaves what the kernel had at one moment.
    fn end_unasked(&mut self) {
        let audit = self.audit.take().unwrap();
        let copy = {
            let _no_sync = audit.shared.lock_checkpoint();
            let _no_write = audit.shared.lock();
            copy_of(&self.place)
        };
        drop(audit);
        put_back(&self.place, &copy);
    }

    /// Loses what was not synced; what is known to be is up to `synced`, or else the checkpoint.
    fn lose_by(&self, crash: &Crash, synced: Option<Position>) {
        let Crash::PowerCut(loss) = crash else { return };
        let synced = synced.unwrap_or_else(|| self.held().position().unwrap());
        for path in files::all(&self.place.path()).unwrap() {
            lose(&path, synced, loss);
        }
        let half = |index: usize| {
            let kept = loss.halves[index].get(&self.checkpoints);
            kept.chunks(HALF).nth(index).unwrap_or_default().to_vec()
        };
        let latest = fs::read(self.checkpoint()).unwrap();
        let halves = [half(0), half(1)].concat();
        // The size of a file is on the disk with its first sync.
        if halves.len() == latest.len() {
            fs::write(self.checkpoint(), halves).unwrap();
        }
    }

    fn held(&self) -> Held {
        checkpoint::read(&self.checkpoint(), &self.place.keys).unwrap()
    }

    fn checkpoint(&self) -> PathBuf {
        checkpoint::path_of(&self.place.path())
    }

    fn audit(&self) -> &Audit {
        self.audit.as_ref().unwrap()
    }

    fn next_name(&mut self) -> String {
        self.written += 1;
        format!("caller-{}", self.written)
    }

    /// The rows that the last line hangs on, the last one first; found without reading in order.
    fn chain(&self) -> Vec<String> {
        let files = files::all(&self.place.path()).unwrap();
        let rows: Vec<String> = files.iter().flat_map(|path| rows_of(path)).collect();
        let mut by_hash = BTreeMap::new();
        for row in &rows {
            if let Some(parsed) = Parsed::of(row.as_bytes()) {
                let previous = parsed.previous.to_string();
                by_hash.insert(parsed.link().hash.to_string(), (previous, row));
            }
        }
        let mut hash = self.held().position().unwrap().link.hash.to_string();
        let mut chain = Vec::new();
        while let Some((previous, row)) = by_hash.remove(&hash) {
            chain.push(row.clone());
            hash = previous;
        }
        chain
    }

    /// The durable lines that are not in the chain.
    fn missing(&self) -> Vec<&String> {
        let chain = self.chain();
        let is_in = |name: &String| {
            let caller = format!("\"caller\":\"{name}\"");
            chain.iter().any(|row| row.contains(&caller))
        };
        self.durable.iter().filter(|name| !is_in(name)).collect()
    }
}

fn rows_of(path: &Path) -> Vec<String> {
    String::from_utf8_lossy(&fs::read(path).unwrap()).lines().map(str::to_owned).collect()
}

fn copy_of(place: &Place) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_all(place.dir.path(), copy.path());
    copy
}

fn put_back(place: &Place, copy: &tempfile::TempDir) {
    for entry in fs::read_dir(place.dir.path()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    copy_all(copy.path(), place.dir.path());
}

/// Loses what is after the position in a file.
fn lose(path: &Path, synced: Position, loss: &Loss) {
    let mut bytes = fs::read(path).unwrap();
    let numbers = rows_of(path);
    let number = |row: &String| Parsed::of(row.as_bytes()).map(|parsed| parsed.number);
    let first = numbers.iter().find_map(number).unwrap_or(u64::MAX);
    if first < synced.file {
        return;
    }
    let kept = if first == synced.file { usize::try_from(synced.ends).unwrap() } else { 0 };
    for (index, sector) in bytes[kept..].chunks_mut(SECTOR).enumerate() {
        if !loss.kept[index % loss.kept.len()] {
            sector.fill(0);
        }
    }
    bytes.truncate(bytes.len().saturating_sub(loss.missing).max(kept));
    fs::write(path, bytes).unwrap();
}

/// What someone does who may write the files and has no master key. Copies of older checkpoints are
/// not put back: that does not show.
#[derive(Clone, Debug)]
enum Change {
    Remove(Index),
    Repeat(Index, Index),
    Swap(Index, Index),
    Flip(Index, Index, u8),
    Junk(Index),
    /// Lines that hang on a row are put after it.
    Forge(Index, usize),
    /// All is cut off from a row on.
    CutOff(Index),
    TakeAway(Index),
    /// The file that is written gets the name of a full one.
    Rename,
    /// One half of the checkpoint is put in place of the other.
    RepeatHalf(bool),
    CutOffHalf,
    FlipHalf(bool),
    RemoveCheckpoint,
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        2 => index().prop_map(Change::Remove),
        1 => (index(), index()).prop_map(|(from, to)| Change::Repeat(from, to)),
        1 => (index(), index()).prop_map(|(one, other)| Change::Swap(one, other)),
        1 => (index(), index(), 0..7_u8).prop_map(|(row, byte, bit)| Change::Flip(row, byte, bit)),
        1 => index().prop_map(Change::Junk),
        2 => (index(), 1..4_usize).prop_map(|(row, count)| Change::Forge(row, count)),
        2 => index().prop_map(Change::CutOff),
        1 => index().prop_map(Change::TakeAway),
        1 => Just(Change::Rename),
        1 => any::<bool>().prop_map(Change::RepeatHalf),
        1 => Just(Change::CutOffHalf),
        1 => any::<bool>().prop_map(Change::FlipHalf),
        1 => Just(Change::RemoveCheckpoint),
    ]
}

impl Change {
    fn make(&self, history: &History) {
        let audit = history.place.path();
        let change_rows = |index: &Index, change: &dyn Fn(&mut Vec<String>, usize)| {
            let files = files::all(&audit).unwrap();
            let (path, row) = nth_row(&files, *index);
            let mut rows = rows_of(path);
            change(&mut rows, row);
            let end = if rows.is_empty() { "" } else { "\n" };
            fs::write(path, rows.join("\n") + end).unwrap();
        };
        match self {
            Self::Remove(index) => change_rows(index, &|rows, row| drop(rows.remove(row))),
            Self::Repeat(index, to) => change_rows(index, &|rows, row| {
                rows.insert(to.index(rows.len() + 1), rows[row].clone());
            }),
            Self::Swap(index, other) => change_rows(index, &|rows, row| {
                let other = other.index(rows.len());
                rows.swap(row, other);
            }),
            Self::Flip(index, byte, bit) => change_rows(index, &|rows, row| {
                let mut bytes = rows[row].clone().into_bytes();
                if !bytes.is_empty() {
                    let byte = byte.index(bytes.len());
                    bytes[byte] ^= 1 << bit;
                }
                rows[row] = String::from_utf8_lossy(&bytes).into_owned();
            }),
            Self::Junk(index) => change_rows(index, &|rows, row| rows.insert(row, "junk".into())),
            Self::Forge(index, count) => change_rows(index, &|rows, row| {
                let Some(link) = Parsed::of(rows[row].as_bytes()).map(|parsed| parsed.link())
                else {
                    return;
                };
                drop(rows.splice(row + 1..=row, forged(link, *count)));
            }),
            Self::CutOff(index) => change_rows(index, &|rows, row| rows.truncate(row)),
            Self::TakeAway(index) => {
                let files = files::all(&audit).unwrap();
                if !files.is_empty() {
                    fs::remove_file(index.get(&files)).unwrap();
                }
            }
            Self::Rename if audit.exists() && !rows_of(&audit).is_empty() => {
                let first = Parsed::of(rows_of(&audit)[0].as_bytes()).map(|parsed| parsed.number);
                fs::rename(&audit, files::full(&audit, first.unwrap_or(1))).unwrap();
            }
            Self::Rename => {}
            Self::RepeatHalf(_) | Self::CutOffHalf | Self::FlipHalf(_) => self.change_half(history),
            Self::RemoveCheckpoint => drop(fs::remove_file(history.checkpoint())),
        }
    }

    fn change_half(&self, history: &History) {
        let Ok(mut content) = fs::read(history.checkpoint()) else { return };
        if content.len() < 2 * HALF {
            return;
        }
        match self {
            Self::RepeatHalf(true) => content.copy_within(..HALF, HALF),
            Self::RepeatHalf(false) => content.copy_within(HALF.., 0),
            Self::FlipHalf(true) => content[50] ^= 1,
            Self::FlipHalf(false) => content[HALF + 50] ^= 1,
            _ => content.truncate(HALF),
        }
        fs::write(history.checkpoint(), content).unwrap();
    }
}

fn nth_row(files: &[PathBuf], index: Index) -> (&Path, usize) {
    let places = files.iter().flat_map(|path| (0..rows_of(path).len()).map(move |row| (path, row)));
    let places: Vec<_> = places.collect();
    let (path, row) = *index.get(&places);
    (path, row)
}

fn tells(report: &Report, what: &str) -> bool {
    report
        .notes
        .iter()
        .any(|note| matches!(&note.what, Note::Resumed { reason, .. } if reason.contains(what)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn after_any_history_the_audit_is_whole_and_holds_every_durable_line(
        events in prop::collection::vec(event(), 1..24),
        full_size in prop_oneof![Just(900_u64), Just(1 << 30)],
    ) {
        let mut history = History::of(&events, full_size);
        let report = history.place.verify();
        prop_assert!(report.damage.is_empty(), "{report:#?}");
        drop(history.audit.take());
        let report = history.place.verify();
        prop_assert!(report.damage.is_empty(), "{report:#?}");
        prop_assert_eq!(history.missing(), Vec::<&String>::new());
    }

    #[test]
    fn a_change_is_named_or_hides_no_durable_line_also_after_what_happens_next(
        before in prop::collection::vec(event(), 1..12),
        is_stopped in any::<bool>(),
        changes in prop::collection::vec(change(), 1..5),
        after in prop::collection::vec(event(), 0..8),
        full_size in prop_oneof![Just(900_u64), Just(1 << 30)],
    ) {
        let mut history = History::of(&before, full_size);
        if is_stopped { drop(history.audit.take()) } else { history.end_unasked() }
        for change in &changes {
            let has_rows =
                files::all(&history.place.path()).unwrap().iter().any(|path| !rows_of(path).is_empty());
            if has_rows {
                change.make(&history);
            }
        }
        // All taken away, the checkpoint too, is an audit that never was.
        let is_left = history.checkpoint().exists()
            || files::all(&history.place.path()).unwrap().iter().any(|path| !rows_of(path).is_empty());
        prop_assume!(is_left);
        history.start();
        history.go_on(&after);
        drop(history.audit.take());
        let report = history.place.verify();
        if report.damage.is_empty() {
            let is_late = |note: &Finding<Note>| matches!(note.what, Note::BeginsLate { .. });
            let is_told = tells(&report, "the checkpoint was torn, or changed")
                || report.notes.iter().any(is_late);
            prop_assert!(is_told || history.missing().is_empty(), "{:?} {report:#?}", history.missing());
            let is_forged = history.chain().iter().any(|row| row.contains("\"caller\":\"shop\""));
            prop_assert!(!is_forged || tells(&report, "are after the checkpoint"), "{report:#?}");
        }
    }

    #[test]
    fn after_any_change_of_a_row_it_is_not_whole(
        count in 2..8_usize,
        row in any::<Index>(),
        byte in any::<Index>(),
        bit in 0..7_u8,
        change in 0..4,
    ) {
        let mut history = History::of(&vec![Event::RecordDurably; count], 1 << 30);
        drop(history.audit.take());
        let path = history.place.path();
        let mut rows = rows_of(&path);
        // A last row that is there twice may be a write that a crash cut off: it is only noted.
        let row = row.index(if change == 1 { rows.len() - 1 } else { rows.len() });
        match change {
            0 => drop(rows.remove(row)),
            1 => rows.insert(row, rows[row].clone()),
            2 => {
                let other = (row + 1) % rows.len();
                rows.swap(row, other);
            }
            _ => {
                let mut bytes = rows[row].clone().into_bytes();
                let byte = byte.index(bytes.len());
                bytes[byte] ^= 1 << bit;
                rows[row] = String::from_utf8_lossy(&bytes).into_owned();
            }
        }
        fs::write(&path, rows.join("\n") + "\n").unwrap();
        prop_assert!(!history.place.verify().damage.is_empty());
    }
}
