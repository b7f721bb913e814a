//! The files of an audit as a start and `audit verify` find them: after `files:` the audit itself, the
//! checkpoint (a line for each slot), a full file and a new one, with a line of `%%` between; else
//! changes to a real audit, `0` first, or to its checkpoint as well.

use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use jwksd::audit::report::{Damage, Report};
use jwksd::audit::{Audit, Decision, Line, OnFailure, Recorder, Settings, verify};
use jwksd::clock::{Clock, ManualClock};
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::time::Time;

use super::input::{self, sections};
use super::sealed::master_keys;

/// The names of the files, in the order of their sections.
const NAMES: [&str; 4] =
    ["audit.jsonl", "audit.jsonl.checkpoint", "audit.000000000001.jsonl", "audit.jsonl.new"];

/// How many lines are recorded by a start.
const RECORDED: u64 = 2;

/// How long a slot of a checkpoint is.
const SLOT_BYTES: usize = 4096;

/// Above this a number is not one of ours.
const HIGH: u64 = 1 << 50;

/// An audit in a folder of this thread, and the files of one that is whole.
struct Desk {
    dir: tempfile::TempDir,
    master_keys: Arc<MasterKeys>,
    whole: Vec<u8>,
    checkpoint: Vec<u8>,
}

/// However the files look, a start goes on and records; nothing that a start does makes damage
/// unseen; a changed line of what was on the disk is never called whole.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    thread_local! {
        static DESK: OnceCell<Desk> = const { OnceCell::new() };
    }
    DESK.with(|desk| {
        let desk = desk.get_or_init(Desk::new);
        match data.strip_prefix(b"files:") {
            Some(files) => desk.check_files(&sections(files)),
            None => desk.check_changed(data),
        }
    });
}

impl Desk {
    fn new() -> Self {
        let (dir, master_keys) = (tempfile::tempdir().unwrap(), Arc::new(master_keys(2)));
        let mut desk = Self { dir, master_keys, whole: Vec::new(), checkpoint: Vec::new() };
        desk.record();
        desk.record();
        desk.whole = fs::read(desk.path(0)).unwrap();
        desk.checkpoint = fs::read(desk.path(1)).unwrap();
        assert!(desk.verify().damage.is_empty());
        desk
    }

    fn check_files(&self, files: &[&[u8]]) {
        let mut files = files.to_vec();
        let checkpoint = files.get(1).map(|lines| slots(lines)).unwrap_or_default();
        files.iter_mut().skip(1).take(1).for_each(|file| *file = &checkpoint);
        self.lay_out(&files);
        let before = self.verify();
        let without_keys = verify::verify(&self.path(0), None).unwrap();
        assert_eq!(without_keys.authentic_to, 0);
        self.check_start(&before);
    }

    fn check_changed(&self, data: &[u8]) {
        let Some((&target, changes)) = data.split_first() else { return };
        let (mut audit, mut checkpoint) = (self.whole.clone(), self.checkpoint.clone());
        for change in input::changes(changes) {
            let at_checkpoint = target != b'0' && change.which % 4 == 0;
            change.apply(if at_checkpoint { &mut checkpoint } else { &mut audit });
        }
        self.lay_out(&[&audit, &checkpoint]);
        let report = self.verify();
        let is_added_to = audit.starts_with(&self.whole) || audit.ends_with(&self.whole);
        if checkpoint == self.checkpoint && !is_added_to {
            assert!(!report.damage.is_empty(), "called whole:\n{}", text(&audit));
            assert!(report.authentic_to <= report.last);
        }
        if audit == self.whole && checkpoint == self.checkpoint {
            assert!(report.damage.is_empty() && report.notes.is_empty());
        }
        self.check_start(&report);
    }

    /// A start after `before` was found.
    fn check_start(&self, before: &Report) {
        let was_empty = fs::metadata(self.path(0)).map_or(0, |file| file.len()) == 0;
        if !self.record() {
            return;
        }
        let after = self.verify();
        let is_damage = |report: &Report| {
            let mut kinds = report.damage.iter().map(|finding| &finding.what);
            kinds.any(|what| !(was_empty && *what == Damage::NoCheckpoint))
        };
        assert!(!is_damage(before) || is_damage(&after), "{before:#?}\nthen {after:#?}");
        if before.last < HIGH {
            assert!(after.last >= RECORDED, "{before:#?}\nthen {after:#?}");
            let bytes = fs::read(self.path(0)).unwrap();
            let text = text(&bytes);
            let recorded = text.lines().rev().filter(|line| line.contains(r#""jti":"of a start""#));
            assert!(recorded.count() as u64 >= RECORDED, "{text}");
        }
    }

    /// Starts, records, stops. Only a checkpoint under another master key and a newer format keep it
    /// from starting, and then it has changed nothing; this tells whether it did.
    fn record(&self) -> bool {
        let clock = Arc::new(ManualClock::new(Time::from_millis(1_795_316_400_000)));
        let settings =
            Settings { path: self.path(0), on_failure: OnFailure::Refuse, full_size: 1 << 20 };
        let content = || (0..NAMES.len()).map(|index| fs::read(self.path(index)).ok());
        let before: Vec<_> = content().collect();
        let audit = match Audit::open(settings, self.master_keys.clone(), clock.clone()) {
            Err(refused) if refused.to_string().contains("not handed over") => {
                assert_eq!(fs::read(self.path(0)).ok(), before[0]);
                return false;
            }
            Err(refused) if refused.to_string().contains("Nothing was changed") => {
                assert!(content().eq(before), "{refused}");
                return false;
            }
            opened => opened.unwrap(),
        };
        for _ in 0..RECORDED {
            let line = Line {
                jti: Some("of a start"),
                ..Line::new(clock.wall(), "caller", "sign-token", Decision::Allowed)
            };
            audit.record(&line, Recorder::Worker).unwrap();
        }
        audit.close();
        true
    }

    fn verify(&self) -> Report {
        verify::verify(&self.path(0), Some(&self.master_keys)).unwrap()
    }

    /// Puts these files into the folder, and no others.
    fn lay_out(&self, files: &[&[u8]]) {
        for entry in fs::read_dir(self.dir.path()).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        for (index, content) in files.iter().enumerate().take(NAMES.len()) {
            // A section that is empty is a file that is not there.
            if !content.is_empty() {
                fs::write(self.path(index), content).unwrap();
            }
        }
    }

    fn path(&self, index: usize) -> PathBuf {
        self.dir.path().join(NAMES[index])
    }
}

/// The lines, each made as long as a slot of a checkpoint.
fn slots(lines: &[u8]) -> Vec<u8> {
    let slot = |line: &[u8]| {
        let mut slot = line.to_vec();
        slot.resize(SLOT_BYTES.max(line.len() + 1) - 1, b' ');
        slot.push(b'\n');
        slot
    };
    let lines = lines.split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
    lines.flat_map(slot).collect()
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
