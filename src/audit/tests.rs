//! The audit as a whole: what is written, what is found at a start, and what [`verify`] says of it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use jwksd_keystore::seal::MasterKeys;
use tempfile::TempDir;

use super::chain::Link;
use super::chain::tests::master_keys;
use super::report::{Damage, Note, Report};
use super::*;
use crate::clock::ManualClock;

pub(super) const NOW: Time = Time::from_millis(1_795_000_000_000);

/// An audit in a folder of its own.
pub(super) struct Place {
    pub(super) dir: TempDir,
    pub(super) keys: Arc<MasterKeys>,
    pub(super) full_size: u64,
    pub(super) on_failure: OnFailure,
}

impl Place {
    pub(super) fn new() -> Self {
        let (dir, keys) = (tempfile::tempdir().unwrap(), Arc::new(master_keys()));
        Self { dir, keys, full_size: 1 << 30, on_failure: OnFailure::Refuse }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("audit.jsonl")
    }

    pub(super) fn open(&self) -> Audit {
        self.open_at(&self.path())
    }

    fn open_at(&self, path: &Path) -> Audit {
        self.try_open_at(path).unwrap()
    }

    pub(super) fn try_open(&self) -> Result<Audit, AuditError> {
        self.try_open_at(&self.path())
    }

    fn try_open_at(&self, path: &Path) -> Result<Audit, AuditError> {
        let (path, full_size, on_failure) = (path.to_owned(), self.full_size, self.on_failure);
        let settings = Settings { path, on_failure, full_size };
        Audit::open(settings, self.keys.clone(), Arc::new(ManualClock::new(NOW)))
    }

    /// Writes lines as a daemon that is stopped in order.
    pub(super) fn write(&self, callers: &[&str]) {
        drop(self.open_and_write(callers));
    }

    fn open_and_write(&self, callers: &[&str]) -> Audit {
        let audit = self.open();
        for caller in callers {
            audit.record_durably(&line(caller)).unwrap();
        }
        audit
    }

    /// Writes lines as a daemon that is killed after the last.
    pub(super) fn write_and_die(&self, callers: &[&str]) {
        let audit = self.open_and_write(callers);
        let copy = tempfile::tempdir().unwrap();
        copy_all(self.dir.path(), copy.path());
        drop(audit);
        copy_all(copy.path(), self.dir.path());
    }

    pub(super) fn rows(&self) -> Vec<String> {
        fs::read_to_string(self.path()).unwrap().lines().map(str::to_owned).collect()
    }

    pub(super) fn put(&self, rows: &[String]) {
        fs::write(self.path(), rows.join("\n") + "\n").unwrap();
    }

    pub(super) fn verify(&self) -> Report {
        verify::verify(&self.path(), Some(&self.keys)).unwrap()
    }

    pub(super) fn damage(&self) -> Vec<Damage> {
        self.verify().damage.into_iter().map(|finding| finding.what).collect()
    }

    fn notes(&self) -> Vec<Note> {
        let report = self.verify();
        assert_eq!(report.damage, []);
        report.notes.into_iter().map(|finding| finding.what).collect()
    }
}

pub(super) fn copy_all(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

pub(super) fn line(caller: &str) -> Line<'_> {
    Line::new(NOW, caller, "sign-token", Decision::Allowed)
}

fn refusal(caller: &str) -> Line<'_> {
    Line::new(NOW, caller, "sign-token", Decision::Refused)
}

#[test]
fn a_line_is_in_the_file_when_record_returns() {
    let place = Place::new();
    let audit = place.open();
    audit.record(&line("shop"), Recorder::Worker).unwrap();
    audit.record_durably(&line("a\"\nb")).unwrap();
    let lines: Vec<serde_json::Value> =
        place.rows().iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["action"], "audit-begins");
    assert_eq!((&lines[1]["line"], &lines[1]["caller"]), (&2.into(), &"shop".into()));
    assert_eq!(lines[1]["time"], "2026-11-18T11:06:40Z");
    assert_eq!(lines[2]["caller"], "a\"\nb");
    assert_eq!(lines.len(), 3);
}

#[test]
fn lines_that_are_recorded_together_stand_in_their_order_and_hang_together() {
    let place = Place::new();
    for recorder in [Recorder::GivesWay, Recorder::Worker] {
        let audit = place.open();
        let mut lines = Lines::with_room(3);
        for caller in ["a", "b", "c"] {
            lines.push(&line(caller)).unwrap();
        }
        let before = audit.figures().lines();
        assert_eq!(audit.record_all(lines, recorder, NOW).unwrap(), Recorded::Yes);
        assert_eq!(audit.figures().lines(), before + 3);
        let rows = place.rows();
        for (row, caller) in rows[rows.len() - 3..].iter().zip(["a", "b", "c"]) {
            assert!(row.contains(&format!("\"caller\":\"{caller}\"")), "{row}");
        }
        audit.record(&line("d"), recorder).unwrap();
        drop(audit);
        assert_eq!(place.damage(), []);
    }
}

#[test]
fn of_refusals_that_are_recorded_together_those_beyond_a_number_are_only_counted() {
    let place = Place::new();
    let audit = place.open();
    let mut lines = Lines::default();
    for _ in 0..100 {
        lines.push(&refusal("shop")).unwrap();
    }
    lines.push(&line("shop")).unwrap();
    assert_eq!(audit.record_all(lines, Recorder::GivesWay, NOW).unwrap(), Recorded::Yes);
    // begins, 60 refusals, and what was allowed
    assert_eq!(place.rows().len(), 62);
    assert!(place.rows()[61].contains("allowed"));
}

#[test]
fn lines_that_cannot_be_written_together_are_refused_or_each_is_counted() {
    for on_failure in [OnFailure::Refuse, OnFailure::Continue] {
        let place = Place { on_failure, ..Place::new() };
        let audit = place.open_at(Path::new("/dev/full"));
        let mut lines = Lines::default();
        for caller in ["a", "b", "c"] {
            lines.push(&line(caller)).unwrap();
        }
        let recorded = audit.record_all(lines, Recorder::GivesWay, NOW);
        assert_eq!(recorded.is_err(), on_failure == OnFailure::Refuse);
        let unrecorded = if on_failure == OnFailure::Continue { 3 } else { 0 };
        assert_eq!(audit.figures().unrecorded(), unrecorded);
        assert!(audit.is_failing());
    }
}

#[test]
fn a_thread_that_gives_way_has_its_line_written_by_another() {
    let place = Place::new();
    let audit = place.open();
    assert_eq!(audit.record(&line("pool"), Recorder::GivesWay).unwrap(), Recorded::Yes);
    assert!(place.rows()[1].contains("\"pool\""));
    for _ in 0..100 {
        audit.record(&refusal("shop"), Recorder::GivesWay).unwrap();
    }
    // begins, pool, 60 refusals
    assert_eq!(place.rows().len(), 62);
    audit.close();
    assert!(audit.record(&line("late"), Recorder::GivesWay).is_err());
}

#[test]
fn an_audit_that_was_only_written_is_whole_also_while_it_is_written() {
    let place = Place::new();
    place.write(&["a", "b"]);
    place.write_and_die(&["c"]);
    let audit = place.open();
    audit.record_durably(&line("d")).unwrap();
    let report = place.verify();
    assert_eq!((report.damage.len(), report.notes.len()), (0, 0), "{report:?}");
    // begins, a, b, stops, starts, c, starts, d
    assert_eq!((report.first, report.last, report.authentic_to), (1, 8, 8));
}

#[test]
fn every_line_that_is_taken_out_changed_or_moved_is_named() {
    let place = Place::new();
    place.write(&["a", "b", "c", "d"]);
    let rows = place.rows();
    assert_eq!(rows.len(), 6);
    for row in 1..5 {
        let number = row as u64 + 1;
        let mut cut = rows.clone();
        cut.remove(row);
        place.put(&cut);
        assert_eq!(place.damage(), [Damage::Cut { from: number, to: number }]);

        let mut changed = rows.clone();
        changed[row] = changed[row].replace("sign-token", "sign-tokem");
        place.put(&changed);
        assert_eq!(place.damage(), [Damage::Changed { line: number }]);
    }
    let mut moved = rows.clone();
    moved.swap(2, 3);
    place.put(&moved);
    assert_eq!(place.damage(), [Damage::Reordered { line: 3 }]);
    let mut twice = rows.clone();
    twice.insert(3, rows[2].clone());
    place.put(&twice);
    assert_eq!(place.damage(), [Damage::Reordered { line: 3 }]);
    let mut garbled = rows.clone();
    garbled[2].truncate(40);
    place.put(&garbled);
    assert_eq!(place.damage(), [Damage::Unreadable { rows: 1 }, Damage::Cut { from: 3, to: 3 }]);
    place.put(&rows[1..]);
    assert_eq!(place.damage(), [Damage::NoBeginning { line: 2 }]);
}

#[test]
fn a_last_line_that_is_changed_or_cut_off_is_named() {
    let place = Place::new();
    place.write_and_die(&["a", "b", "c"]);
    let rows = place.rows();
    assert_eq!(rows.len(), 4);
    for kept in 1..4 {
        place.put(&rows[..kept]);
        let (from, to) = (kept as u64 + 1, 4);
        assert_eq!(place.damage(), [Damage::Truncated { from, to }]);
    }
    let mut changed = rows.clone();
    changed[3] = changed[3].replace("\"c\"", "\"x\"");
    place.put(&changed);
    assert_eq!(place.damage(), [Damage::Changed { line: 4 }]);
    fs::write(place.path(), rows.join("\n")).unwrap();
    assert_eq!(place.damage(), [Damage::Truncated { from: 4, to: 4 }]);
    fs::remove_file(place.path()).unwrap();
    assert!(place.verify().files.is_empty());
}

#[test]
fn lines_that_were_all_written_anew_without_the_master_key_are_named() {
    let place = Place::new();
    place.write(&["a", "b"]);
    let forger = Place::new();
    forger.write(&["x", "b"]);
    fs::copy(forger.path(), place.path()).unwrap();
    let damage = place.damage();
    let is_forged = |damage: &Damage| matches!(damage, Damage::Forged { line: 1, .. });
    assert!(damage.iter().any(is_forged), "{damage:?}");
    // Without the master key, only that lines hang together is checked.
    assert_eq!(verify::verify(&place.path(), None).unwrap().damage, []);
}

#[test]
fn no_two_processes_write_one_audit() {
    let place = Place::new();
    let first = place.open();
    let settings = || Settings {
        path: place.path(),
        on_failure: OnFailure::Refuse,
        full_size: place.full_size,
    };
    let open = || Audit::open(settings(), place.keys.clone(), Arc::new(ManualClock::new(NOW)));
    let error = open().err().unwrap().to_string();
    assert!(error.contains("another process"), "{error}");
    first.close();
    assert!(open().is_ok());
}

#[test]
fn a_checkpoint_that_was_taken_away_is_named() {
    let place = Place::new();
    place.write(&["a"]);
    fs::remove_file(checkpoint::path_of(&place.path())).unwrap();
    assert_eq!(place.damage(), [Damage::NoCheckpoint]);
    place.put(&place.rows()[..2]);
    place.write(&["b"]);
    // A new one was made, and that stays visible.
    assert!(matches!(place.damage()[..], [Damage::Broken { line: 3, .. }]));
}

#[test]
fn a_line_that_was_changed_while_jwksd_was_down_is_named_also_if_what_follows_was_written_anew() {
    let place = Place::new();
    place.write_and_die(&["a", "b"]);
    let mut rows = place.rows();
    rows[2] = rows[2].replace("\"b\"", "\"x\"");
    place.put(&rows);
    place.write(&["c"]);
    let damage = place.damage();
    assert!(damage.contains(&Damage::Changed { line: 3 }), "{damage:?}");
}

#[test]
fn a_file_that_was_truncated_while_jwksd_was_down_stays_damaged() {
    let place = Place::new();
    place.write(&["a", "b", "c"]);
    place.put(&place.rows()[..2]);
    place.write(&["d"]);
    // begins, a, | b, c, stops, | breaks, d, stops
    let damage = place.damage();
    assert_eq!(damage[1], Damage::Cut { from: 3, to: 5 });
    assert!(
        matches!(&damage[0], Damage::Broken { line: 6, reason } if reason.contains("up to 5")),
        "{damage:?}"
    );
}

#[test]
fn what_a_crash_cut_off_is_noted_and_no_damage() {
    let whole = forged(Link::START, 1).remove(0);
    let rests: [&[u8]; 4] = [
        b"{\"line\":4,\"prev",
        b"\0\0\0\0\0\n",
        b"\0\0\n{\"line\":5}\n\n{",
        // All of a line but its end.
        whole.as_bytes(),
    ];
    for rest in rests {
        let place = Place::new();
        place.write_and_die(&["a", "b"]);
        let mut bytes = fs::read(place.path()).unwrap();
        bytes.extend_from_slice(rest);
        fs::write(place.path(), bytes).unwrap();
        place.write(&["c"]);
        place.write(&["d"]);
        let notes = place.notes();
        assert!(matches!(notes[0], Note::Resumed { line: 4, .. }), "{notes:?}");
        assert!(matches!(notes[1], Note::Remnant { .. }), "{notes:?}");
        // begins, a, b, resumes, c, stops, starts, d, stops
        assert_eq!(place.verify().last, 9);
    }
}

#[test]
fn lines_after_the_last_sync_that_a_power_cut_took_are_no_damage() {
    let place = Place::new();
    place.write_and_die(&["a", "b"]);
    let synced = fs::read(checkpoint::path_of(&place.path())).unwrap();
    place.write_and_die(&["c", "d"]);
    // As if no sync had happened since: the first of the three lines was lost, the others were not.
    fs::write(checkpoint::path_of(&place.path()), synced).unwrap();
    let mut rows = place.rows();
    let length = rows[3].len();
    rows[3] = "\0".repeat(length);
    place.put(&rows);
    place.write(&["e"]);
    let notes = place.notes();
    assert!(matches!(notes[0], Note::Resumed { line: 4, .. }), "{notes:?}");
    assert!(matches!(notes[1], Note::Remnant { rows: 3 }), "{notes:?}");
}

#[test]
fn a_start_reads_on_from_the_checkpoint_and_not_from_the_beginning() {
    let place = Place::new();
    place.write_and_die(&["a", "b", "c"]);
    let mut rows = place.rows();
    let length = rows[1].len();
    rows[1] = "x".repeat(length);
    place.put(&rows);
    place.write(&["d"]);
    // The start did not see it; verify does.
    assert_eq!(place.damage(), [Damage::Unreadable { rows: 1 }, Damage::Cut { from: 2, to: 2 }]);
}

#[test]
fn a_file_without_lines_of_the_chain_is_gone_on_after_and_stays_damaged() {
    let place = Place::new();
    fs::write(place.path(), "{\"time\":\"…\",\"caller\":\"shop\"}\n{\"time\":").unwrap();
    place.write(&["a"]);
    place.write(&["b"]);
    let damage = place.damage();
    assert!(damage.iter().any(|damage| matches!(damage, Damage::Broken { line: 1, .. })));
    assert_eq!(place.verify().last, 6);
}

#[test]
fn a_full_file_is_continued_by_the_next_and_the_chain_goes_on() {
    let place = Place { full_size: 2000, ..Place::new() };
    for _ in 0..3 {
        let audit = place.open();
        for _ in 0..40 {
            audit.record(&line("shop"), Recorder::Worker).unwrap();
        }
        // The thread begins the next file after a sync, at the latest when it is stopped.
        drop(audit);
    }
    let files = files::all(&place.path()).unwrap();
    assert!(files.len() >= 3, "{files:?}");
    let report = place.verify();
    assert_eq!((report.damage.len(), report.notes.len()), (0, 0), "{report:?}");

    // A file in the middle that is taken away shows; the oldest may be kept elsewhere.
    let elsewhere = tempfile::tempdir().unwrap();
    let hidden = elsewhere.path().join("hidden");
    fs::rename(&files[1], &hidden).unwrap();
    assert!(matches!(place.damage()[..], [Damage::Cut { .. }]));
    fs::rename(&hidden, &files[1]).unwrap();
    fs::rename(&files[0], &hidden).unwrap();
    assert!(matches!(place.notes()[..], [Note::BeginsLate { .. }]));
    let archived = verify::verify_files(&[hidden], Some(&place.keys)).unwrap();
    assert_eq!((archived.damage.len(), archived.first), (0, 1));
}

#[test]
fn a_full_file_is_continued_also_where_lines_never_cease() {
    let place = Place { full_size: 20_000, ..Place::new() };
    let audit = place.open();
    let mut lines = 0;
    while files::all_full(&place.path()).unwrap().is_empty() {
        assert!(lines < 1_000_000, "no other file after {lines} lines");
        for _ in 0..100 {
            audit.record(&line("shop"), Recorder::Worker).unwrap();
        }
        lines += 100;
    }
    drop(audit);
    assert_eq!(place.verify().damage, []);
}

#[test]
fn a_line_more_is_nothing_else_to_do_also_where_the_file_is_full() {
    let place = Place { full_size: 2000, ..Place::new() };
    let (audit, entry) = (place.open(), Entry::of(&line("shop")).unwrap());
    // The thread does nothing meanwhile.
    let mut state = audit.shared.lock();
    let mut line_more = || {
        audit.shared.write(&mut state, &entry).unwrap();
        audit.shared.to_do(&state)
    };
    let (first, full) = (line_more(), (0..20).map(|_| line_more()).last().unwrap());
    assert_ne!(first, full);
    assert!((0..20).all(|_| line_more() == full));
}

#[test]
fn a_full_file_that_is_a_symbolic_link_is_continued_like_any_other() {
    let place = Place { full_size: 900, ..Place::new() };
    let elsewhere = tempfile::tempdir().unwrap();
    let linked = elsewhere.path().join("lines");
    fs::write(&linked, "").unwrap();
    symlink(&linked, place.path()).unwrap();
    place.write(&["a", "b", "c", "d", "e", "f"]);
    assert!(!place.path().is_symlink());
    place.write(&["g"]);
    let report = place.verify();
    assert_eq!((report.damage.len(), report.notes.len(), report.first), (0, 0, 1), "{report:?}");
}

#[test]
fn files_whose_checkpoint_and_last_file_were_taken_away_stay_damaged() {
    let place = Place { full_size: 500, ..Place::new() };
    place.write(&["a", "b", "c", "d", "e", "f"]);
    fs::remove_file(place.path()).unwrap();
    fs::remove_file(checkpoint::path_of(&place.path())).unwrap();
    place.write(&["g"]);
    assert!(matches!(place.damage()[..], [Damage::Broken { .. }]));
}

#[test]
fn a_crash_between_two_files_is_recovered_from() {
    let place = Place { full_size: 500, ..Place::new() };
    place.write(&["a", "b", "c", "d", "e", "f"]);
    let full = files::all_full(&place.path()).unwrap();
    assert!(!full.is_empty());
    // The file was renamed, and the next is not there yet: what was synced last is in the full one.
    fs::remove_file(place.path()).unwrap();
    full[1..].iter().for_each(|path| fs::remove_file(path).unwrap());
    let text = fs::read_to_string(&full[0]).unwrap();
    let last = text.lines().last().unwrap();
    let (begins, ends) = ((text.len() - last.len() - 1) as u64, text.len() as u64);
    let link = chain::Parsed::of(last.as_bytes()).unwrap().link();
    let path = checkpoint::path_of(&place.path());
    Checkpoint::create(&path, &place.keys).unwrap();
    let (mut checkpoint, _) = Checkpoint::open(&path, &place.keys).unwrap();
    checkpoint.raise(checkpoint::Position { link, file: 1, begins, ends }, &place.keys).unwrap();
    drop(checkpoint);
    let place = Place { full_size: 1 << 30, ..place };
    place.write(&["g"]);
    let first = format!("{{\"line\":{},", link.number + 1);
    assert!(place.rows()[0].starts_with(&first), "{:?}", place.rows());
    assert_eq!(place.verify().damage, []);
}

#[test]
fn a_crash_before_a_new_file_has_its_name_loses_no_line() {
    let place = Place::new();
    let audit = place.open_and_write(&["a"]);
    let crash = Place { keys: place.keys.clone(), ..Place::new() };
    // The thread gives no names meanwhile.
    let _no_sync = audit.shared.lock_checkpoint();
    audit.shared.go_on_in_next().unwrap();
    audit.record(&line("b"), Recorder::Worker).unwrap();
    copy_all(place.dir.path(), crash.dir.path());
    let is_there = |text: &str| text.contains("\"b\"");
    assert!(is_there(&fs::read_to_string(files::unnamed(&crash.path())).unwrap()));
    assert_eq!(crash.verify().damage, []);
    crash.write(&["c"]);
    assert_eq!(crash.verify().damage, []);
    assert!(is_there(&crash.rows().join("\n")));
    assert_eq!(files::all_full(&crash.path()).unwrap().len(), 1);

    // The full one has its name, and the new one not yet.
    let crash = Place { keys: place.keys.clone(), ..Place::new() };
    copy_all(place.dir.path(), crash.dir.path());
    fs::rename(crash.path(), files::full(&crash.path(), 1)).unwrap();
    crash.write(&["c"]);
    assert_eq!(crash.verify().damage, []);
    assert!(is_there(&crash.rows().join("\n")));

    // Nothing was written to the new one yet.
    let crash = Place { keys: place.keys.clone(), ..Place::new() };
    crash.write(&["a"]);
    fs::write(files::unnamed(&crash.path()), "").unwrap();
    crash.write(&["c"]);
    assert!(!files::unnamed(&crash.path()).exists());
    assert_eq!(crash.notes(), []);
}

#[test]
fn a_full_file_whose_name_is_taken_replaces_nothing_and_stops_nothing() {
    let place = Place::new();
    let audit = place.open_and_write(&["a"]);
    let taken = files::full(&place.path(), 1);
    fs::write(&taken, "precious\n").unwrap();
    audit.shared.begin_next().unwrap();
    audit.record_durably(&line("b")).unwrap();
    drop(audit);
    place.write(&["c"]);
    assert_eq!(fs::read_to_string(taken).unwrap(), "precious\n");
    assert!(files::full(&place.path(), 2).exists());
    assert_eq!(place.damage(), []);
}

#[test]
fn the_files_are_for_the_daemon_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place { full_size: 300, ..Place::new() };
    place.write(&["a", "b", "c", "d"]);
    let paths: Vec<PathBuf> =
        fs::read_dir(place.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(paths.len() >= 3, "{paths:?}");
    for path in paths {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}

#[test]
fn a_full_disk_is_an_error_and_shows() {
    let audit = Place::new().open_at(Path::new("/dev/full"));
    assert!(audit.record(&line("shop"), Recorder::Worker).is_err());
    assert!(audit.is_failing());
}

#[test]
fn where_the_operator_says_so_an_audit_that_fails_stops_nothing_and_tells_later() {
    let place = Place { on_failure: OnFailure::Continue, ..Place::new() };
    let failing = place.open_at(Path::new("/dev/full"));
    assert_eq!(failing.record(&line("shop"), Recorder::Worker).unwrap(), Recorded::No);
    assert_eq!(failing.record_durably(&line("shop")).unwrap(), Recorded::No);
    assert!(failing.is_failing());
}

#[test]
fn refusals_of_unknown_callers_and_too_many_of_known_ones_are_summed_up() {
    let place = Place::new();
    let audit = place.open();
    for _ in 0..50 {
        audit.count_unknown_caller(NOW);
    }
    for _ in 0..100 {
        audit.record(&refusal("shop"), Recorder::Worker).unwrap();
    }
    // The minute is cut short by the end of the process.
    drop(audit);
    let rows = place.rows();
    // begins, 60 refusals, two sums, checkpoint
    assert_eq!(rows.len(), 64);
    assert!(rows[61].contains("\"50 requests of unknown callers\""), "{rows:?}");
    assert!(rows[62].contains(r#""caller":"shop","action":"any","decision":"refused""#));
    assert!(rows[62].contains("\"40 refusals more\""), "{rows:?}");
}

#[test]
fn after_a_failed_sync_nothing_is_written_until_the_file_was_opened_anew_which_is_told() {
    let place = Place::new();
    let audit = place.open();
    audit.record_durably(&line("before")).unwrap();
    // The thread is at its first sync, so that only this test tries again.
    let checkpoint = audit.shared.lock_checkpoint();
    let failed = Written { to_sync: None, last: None, distrusted: 0 };
    audit.shared.trust(&failed, Err(io::Error::other("EIO"))).unwrap_err();
    assert!(audit.is_failing());
    assert!(audit.record(&line("meanwhile"), Recorder::Worker).is_err());
    assert_eq!(place.rows().len(), 2);
    drop(checkpoint);
    audit.shared.try_again().unwrap();
    assert!(!audit.is_failing());
    audit.record_durably(&line("after")).unwrap();
    let rows = place.rows();
    assert!(rows[2].contains("lines before this one may be missing"), "{rows:?}");
    assert_eq!(rows.len(), 4);
    assert!(matches!(place.notes()[..], [Note::Resumed { line: 3, .. }]));
}

#[test]
fn what_took_effect_unrecorded_is_told_before_the_next_line_and_at_a_stop() {
    let place = Place { on_failure: OnFailure::Continue, ..Place::new() };
    let audit = place.open();
    audit.shared.lock().unrecorded = 2;
    assert_eq!(audit.record(&line("shop"), Recorder::Worker).unwrap(), Recorded::Yes);
    audit.count_unrecorded();
    drop(audit);
    let rows = place.rows();
    // begins, 2 unrecorded, shop, 1 unrecorded, stops
    assert!(rows[1].contains("2 decisions took effect unrecorded"), "{rows:?}");
    assert!(rows[3].contains("1 decisions took effect unrecorded"), "{rows:?}");
    assert_eq!(rows.len(), 5);
}

#[test]
fn after_the_end_nothing_is_written() {
    let place = Place::new();
    let audit = place.open();
    audit.close();
    assert!(audit.record(&line("late"), Recorder::Worker).is_err());
    assert!(place.rows().last().unwrap().contains("audit-stops"));
}

#[test]
fn lines_of_admins_alone_are_marked_at_the_end_of_their_minute_too() {
    let place = Place::new();
    let audit = place.open();
    audit.record_durably(&line("admin")).unwrap();
    let mut state = audit.shared.lock();
    assert!(audit.shared.to_do(&state).has_for_the_minute());
    audit.shared.end_the_minute(&mut state);
    drop(state);
    assert!(place.rows()[2].contains("audit-checkpoint"));
}

// --- what someone tries who may write the files and has no master key

/// Lines after `link`, as anyone can make them.
pub(super) fn forged(mut link: Link, count: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for _ in 0..count {
        let (text, next) = link.chain(br#"{"caller":"shop","action":"sign-token"}"#);
        rows.push(String::from_utf8(text).unwrap().trim_end().to_owned());
        link = next;
    }
    rows
}

fn link_of(row: &str) -> Link {
    chain::Parsed::of(row.as_bytes()).unwrap().link()
}

#[test]
fn lines_that_were_added_after_a_stop_are_passed_over_and_noted() {
    let place = Place::new();
    place.write(&["a"]);
    let mut rows = place.rows();
    rows.extend(forged(link_of(rows.last().unwrap()), 3));
    place.put(&rows);
    place.write(&["b"]);
    let notes = place.notes();
    assert!(notes.contains(&Note::Remnant { rows: 3 }), "{notes:?}");
}

#[test]
fn lines_after_the_checkpoint_of_a_killed_process_are_kept_and_noted() {
    let place = Place::new();
    place.write_and_die(&["a"]);
    let mut rows = place.rows();
    rows.extend(forged(link_of(rows.last().unwrap()), 2));
    place.put(&rows);
    place.write(&["b"]);
    let notes = place.notes();
    let is_told = |note: &Note| matches!(note, Note::Resumed { reason, .. } if reason.contains("lines 3 to 4 are after"));
    assert!(notes.iter().any(is_told), "{notes:?}");
}

#[test]
fn a_checkpoint_taken_away_is_not_forgotten_by_a_start_that_writes_no_line() {
    let place = Place::new();
    place.write(&["a", "b", "c"]);
    let rows = place.rows();
    for end in [Place::write, Place::write_and_die] {
        fs::remove_file(checkpoint::path_of(&place.path())).unwrap();
        let mut cut = rows.clone();
        cut.remove(2);
        place.put(&cut);
        end(&place, &[]);
        assert!(!place.damage().is_empty());
        end(&place, &["d"]);
        let damage = place.damage();
        assert!(damage.contains(&Damage::Cut { from: 3, to: 3 }), "{damage:?}");
    }
}

#[test]
fn an_audit_that_was_emptied_or_taken_away_stays_damaged() {
    let place = Place::new();
    place.write(&["a", "b"]);
    fs::remove_file(place.path()).unwrap();
    place.write(&["c"]);
    assert!(matches!(place.damage()[..], [Damage::Broken { line: 5, .. }]));
    fs::write(place.path(), "").unwrap();
    fs::remove_file(checkpoint::path_of(&place.path())).unwrap();
    assert_eq!(place.damage(), [Damage::NoCheckpoint]);
}

#[test]
fn an_audit_that_was_replaced_by_a_stream_is_not_opened() {
    let place = Place::new();
    place.write(&["a"]);
    fs::remove_file(place.path()).unwrap();
    std::os::unix::fs::symlink("/dev/null", place.path()).unwrap();
    let settings =
        Settings { path: place.path(), on_failure: OnFailure::Refuse, full_size: 1 << 30 };
    let opened = Audit::open(settings, place.keys.clone(), Arc::new(ManualClock::new(NOW)));
    assert!(opened.err().unwrap().to_string().contains("it is not a file"));
}

#[test]
fn a_checkpoint_of_which_one_half_was_changed_is_told() {
    let place = Place::new();
    place.write_and_die(&["a", "b", "c"]);
    let path = checkpoint::path_of(&place.path());
    let mut content = fs::read(&path).unwrap();
    content[50] ^= 1;
    fs::write(&path, &content).unwrap();
    assert!(place.notes().contains(&Note::TornCheckpoint));
    place.write(&["d"]);
    let is_told = |note: &Note| matches!(note, Note::Resumed { reason, .. } if reason.contains("checkpoint was torn"));
    assert!(place.notes().iter().any(is_told));
}

#[test]
fn junk_of_any_length_and_lines_with_impossible_numbers_are_named() {
    let place = Place::new();
    place.write(&["a", "b"]);
    let rows = place.rows();
    let highest = rows[2].replacen("\"line\":3", "\"line\":18446744073709551615", 1);
    for junk in ["x".repeat(1 << 20), "x".repeat(3 << 20), highest, String::new()] {
        let mut changed = rows.clone();
        changed.insert(2, junk.clone());
        place.put(&changed);
        assert_eq!(place.damage(), [Damage::Unreadable { rows: 1 }]);
        changed.remove(2);
        changed[2].insert_str(0, &junk);
        place.put(&changed);
        assert!(junk.is_empty() || !place.damage().is_empty());
    }
}

#[test]
fn a_line_cannot_be_hidden_as_the_remnant_of_a_crash() {
    let place = Place::new();
    place.write_and_die(&["a", "b", "c"]);
    let mut bytes = fs::read(place.path()).unwrap();
    bytes.extend_from_slice(b"{\"torn");
    fs::write(place.path(), bytes).unwrap();
    place.write(&["d"]);
    let mut rows = place.rows();
    let hidden = rows.remove(2);
    let torn = rows.iter().position(|row| row.starts_with("{\"torn")).unwrap();
    rows.insert(torn, hidden);
    place.put(&rows);
    assert!(place.damage().contains(&Damage::Cut { from: 3, to: 3 }), "{:?}", place.damage());
}

/// The checkpoint as it was before `act`, as if the process had ended before it was told.
fn without_checkpoint_of(place: &Place, act: impl FnOnce(&Place)) {
    let path = checkpoint::path_of(&place.path());
    let before = fs::read(&path).unwrap();
    act(place);
    fs::write(path, before).unwrap();
}

#[test]
fn a_start_that_ended_before_the_checkpoint_told_of_it_is_no_damage() {
    let place = Place::new();
    place.write(&["a"]);
    without_checkpoint_of(&place, |place| place.write_and_die(&[]));
    place.write(&["b"]);
    assert!(matches!(place.notes()[..], [Note::Resumed { line: 5, .. }]));
}

#[test]
fn what_was_durable_after_a_start_is_kept_where_the_checkpoint_still_tells_of_the_stop_before() {
    let place = Place::new();
    place.write(&["a"]);
    without_checkpoint_of(&place, |place| place.write_and_die(&["durable"]));
    place.write(&["b"]);
    // begins, a, stops, starts, durable, resumes, b, stops
    assert!(matches!(place.notes()[..], [Note::Resumed { line: 6, .. }]));
    assert_eq!(place.verify().last, 8);
}

#[test]
fn a_last_line_cannot_be_taken_away_with_half_of_the_checkpoint() {
    for lines in [&["a", "b"][..], &["a", "b", "c"]] {
        let changes: [fn(&mut Vec<u8>); 3] = [
            |content| content.truncate(4096),
            |content| content.copy_within(..4096, 4096),
            |content| content.copy_within(4096.., 0),
        ];
        for change in changes {
            let place = Place::new();
            place.write_and_die(lines);
            let path = checkpoint::path_of(&place.path());
            let mut content = fs::read(&path).unwrap();
            change(&mut content);
            fs::write(&path, content).unwrap();
            let rows = place.rows();
            place.put(&rows[..rows.len() - 1]);
            let report = place.verify();
            let is_noted = report.notes.iter().any(|note| note.what == Note::TornCheckpoint);
            assert!(is_noted, "{report:?}");
        }
    }
}

#[test]
fn no_checkpoint_names_a_line_whose_sync_failed() {
    let place = Place::new();
    let audit = place.open_and_write(&["before"]);
    let held = || checkpoint::read(&checkpoint::path_of(&place.path()), &place.keys).unwrap();
    let before = held();
    {
        let _no_sync = audit.shared.lock_checkpoint();
        audit.record(&line("lost"), Recorder::Worker).unwrap();
        let written = audit.shared.lock().written();
        audit.shared.trust(&written, Err(io::Error::other("EIO"))).unwrap_err();
    }
    // The kernel tells of a failure once: the next sync of the same file succeeds.
    let written = audit.shared.lock().written();
    assert!(audit.shared.sync(&written).is_err());
    assert_eq!(held(), before);
}

#[test]
fn what_is_owed_is_written_at_a_stop_also_after_a_failed_sync() {
    let place = Place { on_failure: OnFailure::Continue, ..Place::new() };
    let audit = place.open();
    {
        let _no_sync = audit.shared.lock_checkpoint();
        let written = audit.shared.lock().written();
        audit.shared.trust(&written, Err(io::Error::other("EIO"))).unwrap_err();
        assert_eq!(audit.record(&line("shop"), Recorder::Worker).unwrap(), Recorded::No);
    }
    drop(audit);
    let rows = place.rows();
    assert!(rows[2].contains("1 decisions took effect unrecorded"), "{rows:?}");
    assert!(rows[3].contains("audit-stops"), "{rows:?}");
}

#[test]
fn lines_that_were_added_to_a_file_that_was_given_a_full_name_are_noted() {
    let place = Place::new();
    place.write_and_die(&["a"]);
    let mut rows = place.rows();
    rows.extend(forged(link_of(rows.last().unwrap()), 1));
    place.put(&rows);
    fs::rename(place.path(), files::full(&place.path(), 1)).unwrap();
    place.write(&["b"]);
    assert!(matches!(place.notes()[..], [Note::Resumed { line: 4, .. }]));
}

#[test]
fn a_new_file_that_was_never_given_its_name_is_not_taken_away_where_it_has_lines() {
    let place = Place::new();
    let audit = place.open_and_write(&["a"]);
    let _no_sync = audit.shared.lock_checkpoint();
    audit.shared.go_on_in_next().unwrap();
    audit.record(&line("durable"), Recorder::Worker).unwrap();
    let crash = Place { keys: Arc::new(master_keys()), ..Place::new() };
    copy_all(place.dir.path(), crash.dir.path());
    // Under another master key the mark that begins it is not known. A checkpoint under the former
    // one would refuse it.
    fs::write(checkpoint::path_of(&crash.path()), "x").unwrap();
    crash.write(&["c"]);
    assert!(crash.rows().join("\n").contains("durable"));
}

#[test]
fn an_emptied_audit_with_a_damaged_checkpoint_stays_damaged() {
    let place = Place::new();
    place.write(&["a"]);
    fs::write(place.path(), "").unwrap();
    fs::write(checkpoint::path_of(&place.path()), "x").unwrap();
    place.write(&["b"]);
    assert!(matches!(place.damage()[..], [Damage::Broken { line: 1, .. }]));
}

#[test]
fn a_new_file_that_a_power_cut_left_while_it_took_the_end_of_the_full_one_is_no_damage() {
    let place = Place::new();
    let audit = place.open_and_write(&["a"]);
    let crash = Place { keys: place.keys.clone(), ..Place::new() };
    let checkpoint = audit.shared.lock_checkpoint();
    let synced = fs::read(place.path()).unwrap();
    audit.shared.go_on_in_next().unwrap();
    copy_all(place.dir.path(), crash.dir.path());
    drop(checkpoint);
    fs::write(crash.path(), synced).unwrap();
    crash.write(&["b"]);
    assert_eq!(crash.notes(), []);
}

#[test]
fn a_file_whose_first_row_is_no_line_is_named_after_its_first_line() {
    let place = Place::new();
    let audit = place.open_and_write(&["a"]);
    audit.shared.begin_next().unwrap();
    let crash = Place { keys: place.keys.clone(), ..Place::new() };
    let checkpoint = audit.shared.lock_checkpoint();
    audit.shared.go_on_in_next().unwrap();
    copy_all(place.dir.path(), crash.dir.path());
    drop(checkpoint);
    let mut rows = crash.rows();
    rows.insert(0, "junk".into());
    crash.put(&rows);
    crash.write(&["b"]);
    assert!(crash.notes().contains(&Note::Remnant { rows: 1 }));
    assert_eq!(files::all_full(&crash.path()).unwrap().len(), 2);
}

#[test]
fn a_number_that_nobody_vouches_for_does_not_use_up_all_numbers() {
    let place = Place::new();
    place.write(&["a"]);
    let highest = rows_numbered(1 << 53);
    place.put(&[highest]);
    place.write(&["b"]);
    place.write(&["c"]);
    let damage = place.damage();
    assert!(!damage.iter().any(|damage| matches!(damage, Damage::Unreadable { .. })), "{damage:?}");
}

fn rows_numbered(number: u64) -> String {
    forged(Link { number: number - 1, ..Link::START }, 1).remove(0)
}
