//! Random histories: writes, stops, kills and power cuts, in any order, with files that fill up.
//!
//! After each history the audit is whole and holds every line that was durable; and after any
//! change of one row it is not whole.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::checkpoint::{self, Held};
use super::tests::{Place, copy_all, line};
use super::{Audit, Recorder, files};

/// Something that happens.
#[derive(Clone, Debug)]
enum Event {
    /// A line is recorded.
    Record,
    /// A line is recorded and synced.
    RecordDurably,
    /// The daemon is stopped, and started again.
    Stop,
    /// The process is killed: what the kernel has stays.
    Kill,
    /// The power is cut: of what was not synced, each sector is kept or not, the end may be missing.
    PowerCut { kept: Vec<bool>, missing: usize },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => Just(Event::Record),
        6 => Just(Event::RecordDurably),
        1 => Just(Event::Stop),
        1 => Just(Event::Kill),
        2 => (prop::collection::vec(any::<bool>(), 4), 0..600_usize)
            .prop_map(|(kept, missing)| Event::PowerCut { kept, missing }),
    ]
}

/// A small sector, so that a few lines have many.
const SECTOR: usize = 64;

struct History {
    place: Place,
    audit: Option<Audit>,
    written: usize,
    durable: Vec<String>,
}

impl History {
    fn of(events: &[Event], full_size: u64) -> Self {
        let place = Place { full_size, ..Place::new() };
        let audit = Some(place.open());
        let mut history = Self { place, audit, written: 0, durable: Vec::new() };
        for event in events {
            history.happen(event);
        }
        drop(history.audit.take());
        history
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
            Event::Stop => self.restart(|_, audit| drop(audit)),
            Event::Kill => self.restart(kill),
            Event::PowerCut { kept, missing } => self.restart(|place, audit| {
                kill(place, audit);
                lose(place, kept, *missing);
            }),
        }
    }

    fn audit(&self) -> &Audit {
        self.audit.as_ref().unwrap()
    }

    fn next_name(&mut self) -> String {
        self.written += 1;
        format!("caller-{}", self.written)
    }

    fn restart(&mut self, end: impl FnOnce(&Place, Audit)) {
        end(&self.place, self.audit.take().unwrap());
        self.audit = Some(self.place.open());
    }

    /// The callers of all rows.
    fn callers(&self) -> Vec<String> {
        let files = files::all(&self.place.path()).unwrap();
        let rows = files.iter().flat_map(|path| rows_of(path));
        let caller = |row: String| {
            let value: serde_json::Value = serde_json::from_str(&row).ok()?;
            Some(value["caller"].as_str()?.to_owned())
        };
        rows.filter_map(caller).collect()
    }
}

fn rows_of(path: &Path) -> Vec<String> {
    String::from_utf8_lossy(&fs::read(path).unwrap()).lines().map(str::to_owned).collect()
}

/// Leaves what the kernel had at one moment.
fn kill(place: &Place, audit: Audit) {
    let copy = tempfile::tempdir().unwrap();
    {
        let _no_sync = audit.shared.checkpoint.lock().unwrap();
        let _no_write = audit.shared.lock();
        copy_all(place.dir.path(), copy.path());
    }
    drop(audit);
    for entry in fs::read_dir(place.dir.path()).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    copy_all(copy.path(), place.dir.path());
}

/// Loses what was not synced.
fn lose(place: &Place, kept: &[bool], missing: usize) {
    let held = checkpoint::read(&checkpoint::path_of(&place.path()), &place.keys).unwrap();
    let Held::Position(position) = held else { panic!("{held:?}") };
    let mut bytes = fs::read(place.path()).unwrap();
    let [begins, ends] = [position.begins, position.ends].map(|at| usize::try_from(at).unwrap());
    let line = format!("{{\"line\":{},", position.link.number);
    let is_here = bytes.get(begins..).is_some_and(|rest| rest.starts_with(line.as_bytes()));
    let synced = if is_here { ends } else { 0 };
    for (index, sector) in bytes[synced..].chunks_mut(SECTOR).enumerate() {
        if !kept[index % kept.len()] {
            sector.fill(0);
        }
    }
    bytes.truncate(bytes.len().saturating_sub(missing).max(synced));
    fs::write(place.path(), bytes).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn after_any_history_the_audit_is_whole_and_holds_every_durable_line(
        events in prop::collection::vec(event(), 1..24),
        full_size in prop_oneof![Just(700_u64), Just(1 << 30)],
    ) {
        let history = History::of(&events, full_size);
        let report = history.place.verify();
        prop_assert!(report.damage.is_empty(), "{report:#?}");
        let callers = history.callers();
        for name in &history.durable {
            prop_assert!(callers.contains(name), "{name} is missing");
        }
    }

    #[test]
    fn after_any_change_of_a_row_it_is_not_whole(
        count in 2..8_usize,
        row in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bit in 0..7_u8,
        change in 0..4,
    ) {
        let history = History::of(&vec![Event::RecordDurably; count], 1 << 30);
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
