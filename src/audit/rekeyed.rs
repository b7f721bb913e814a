//! An audit that goes on under a new master key, and what is done to it by who has the old one.

use std::fs;
use std::sync::Arc;

use jwksd_keystore::seal::MasterKeys;

use super::chain::tests::master_keys;
use super::chain::{Link, Mark, Parsed};
use super::report::{Damage, Note, Report};
use super::tests::{NOW, Place, copy_all, line};
use super::verify::{Against, verify_against};
use super::{Recorder, checkpoint, files, handover};

/// The same place with other master keys.
fn under(place: Place, keys: Arc<MasterKeys>) -> Place {
    Place { keys, ..place }
}

/// Lines under an old key, which were handed over to a new one. Returns the old key.
fn handed_over() -> (Place, Arc<MasterKeys>) {
    let place = Place::new();
    place.write(&["a", "b"]);
    place.write(&["c"]);
    let (old, new) = (place.keys.clone(), Arc::new(master_keys()));
    handover::leave(&place.path(), &old, &new).unwrap();
    (under(place, new), old)
}

/// The same, and the new key has lines.
fn rekeyed() -> (Place, Arc<MasterKeys>) {
    let (place, old) = handed_over();
    place.write(&["d", "e"]);
    (place, old)
}

fn is_damaged(place: &Place) -> bool {
    !place.verify().damage.is_empty()
}

fn notes(report: &Report) -> Vec<&Note> {
    report.notes.iter().map(|finding| &finding.what).collect()
}

#[test]
fn an_audit_goes_on_under_the_new_key_and_is_whole() {
    let (place, old) = rekeyed();
    // begins, a, b, stops, starts, c, stops
    let mark: serde_json::Value = serde_json::from_str(&place.rows()[7]).unwrap();
    assert_eq!((&mark["line"], &mark["action"]), (&8.into(), &"audit-rekeyed".into()));
    assert_eq!(mark["formerly"], serde_json::json!([old.sealing_id()]));
    let report = place.verify();
    assert_eq!(report.damage, []);
    let former = Note::FormerKey { id: old.sealing_id(), from: 1, to: 7, by: 8 };
    assert_eq!(notes(&report), [&former]);
    assert_eq!((report.last, report.authentic_to), (11, 11));
    // The old key alone says nothing of what came later.
    assert!(is_damaged(&under(place, old)));
}

#[test]
fn an_audit_that_was_handed_over_is_whole_before_the_first_start_with_the_new_key() {
    let (place, old) = handed_over();
    let report = place.verify();
    assert_eq!(report.damage, []);
    let former = Note::FormerKey { id: old.sealing_id(), from: 1, to: 7, by: 7 };
    assert_eq!(notes(&report), [&former]);
    let place = under(place, old);
    assert_eq!(place.verify().damage, []);
    assert!(is_damaged(&under(place, Arc::new(master_keys()))));
}

#[test]
fn a_handover_is_removed_when_it_served_and_later_starts_need_none() {
    let (place, _) = handed_over();
    let handover = place.dir.path().join("audit.jsonl.rekeyed");
    let kept = fs::read(&handover).unwrap();
    {
        let _audit = place.open();
        assert!(!handover.exists(), "from the first line under the new key on");
    }
    // As a start that was killed leaves it.
    fs::write(&handover, kept).unwrap();
    place.write(&["f"]);
    assert!(!handover.exists());
    place.write_and_die(&["g"]);
    place.write(&["h"]);
    let report = place.verify();
    assert_eq!((report.damage.len(), notes(&report).len()), (0, 1), "{report:#?}");
}

#[test]
fn after_the_change_a_checkpoint_that_is_taken_away_is_missed() {
    let (place, _) = rekeyed();
    fs::remove_file(checkpoint::path_of(&place.path())).unwrap();
    assert_eq!(place.damage(), [Damage::NoCheckpoint]);
    // With the lines since the change.
    place.put(&place.rows()[..8]);
    assert_eq!(place.damage(), [Damage::NoCheckpoint]);
    place.write(&["f"]);
    let is_broken = |damage: &Damage| matches!(damage, Damage::Broken { .. });
    assert!(place.damage().iter().any(is_broken));
}

#[test]
fn without_a_handover_another_key_does_not_go_on_and_without_a_checkpoint_it_breaks_the_audit() {
    let (place, _) = handed_over();
    fs::remove_file(place.dir.path().join("audit.jsonl.rekeyed")).unwrap();
    let refused = place.try_open().err().unwrap().to_string();
    assert!(refused.contains("not handed over to the one given"), "{refused}");
    fs::remove_file(checkpoint::path_of(&place.path())).unwrap();
    place.write(&["d"]);
    let is_broken = |damage: &Damage| matches!(damage, Damage::Broken { .. });
    let is_forged = |damage: &Damage| matches!(damage, Damage::Forged { .. });
    let damage = place.damage();
    assert!(damage.iter().any(is_broken) && damage.iter().any(is_forged), "{damage:?}");
    assert!(place.verify().authentic_to < 1);
}

#[test]
fn a_start_that_was_cut_off_anywhere_says_again_that_the_key_was_changed() {
    let (place, _) = handed_over();
    let before = tempfile::tempdir().unwrap();
    copy_all(place.dir.path(), before.path());
    place.write_and_die(&[]);
    let (rows, full, keys) = (place.rows(), fs::read(place.path()).unwrap(), place.keys.clone());
    assert_eq!(rows.len(), 8);
    let old_length = rows[..7].iter().map(|row| row.len() + 1).sum::<usize>();
    for length in old_length..=full.len() {
        for has_taken_over in [false, true] {
            let place = under(Place::new(), keys.clone());
            copy_all(before.path(), place.dir.path());
            fs::write(place.path(), &full[..length]).unwrap();
            if has_taken_over {
                take_over(&place);
            }
            place.write(&["d"]);
            let report = place.verify();
            assert_eq!(report.damage, [], "{length}");
            let marks = place.rows().iter().filter(|row| row.contains("audit-rekeyed")).count();
            assert!((1..=2).contains(&marks));
        }
    }
}

fn take_over(place: &Place) {
    let handover = handover::read(&place.path(), &place.keys).unwrap().unwrap();
    let path = checkpoint::path_of(&place.path());
    let (mut checkpoint, _) = checkpoint::Checkpoint::open(&path, &place.keys).unwrap();
    checkpoint.take_over(handover.position, &place.keys).unwrap();
}

#[test]
fn an_audit_that_the_old_key_went_on_with_does_not_open_under_the_new_one() {
    let (place, old) = handed_over();
    let new = place.keys.clone();
    let place = under(place, old.clone());
    place.write(&["since"]);
    let place = under(place, new.clone());
    let refused = place.try_open().err().unwrap().to_string();
    assert!(refused.contains("went on with the old master key"), "{refused}");
    assert!(is_damaged(&place));
    // Handed over again, it goes on.
    handover::leave(&place.path(), &old, &new).unwrap();
    place.write(&["d"]);
    assert_eq!(place.verify().damage, []);
}

#[test]
fn a_start_with_the_old_key_that_was_cut_off_hides_no_later_one() {
    let (place, old) = handed_over();
    let new = place.keys.clone();
    let mut rows = place.rows();
    rows.push("{\"line\":8,\"previ".to_owned());
    place.put(&rows);
    let place = under(place, old);
    place.write(&["since"]);
    let refused = under(place, new).try_open().err().unwrap().to_string();
    assert!(refused.contains("went on with the old master key"), "{refused}");
}

#[test]
fn the_old_key_does_not_go_on_after_the_new_one_has_and_changes_nothing() {
    let (place, old) = rekeyed();
    let rows = place.rows();
    let place = under(place, old);
    let refused = place.try_open().err().unwrap().to_string();
    assert!(refused.contains("not handed over to the one given"), "{refused}");
    assert_eq!(place.rows(), rows);
}

#[test]
fn of_two_changes_of_the_key_without_a_start_between_only_the_last_counts() {
    let (place, old) = handed_over();
    let (first, second) = (place.keys.clone(), Arc::new(master_keys()));
    handover::leave(&place.path(), &old, &second).unwrap();
    let place = under(place, first);
    let refused = place.try_open().err().unwrap().to_string();
    assert!(refused.contains(&old.sealing_id()), "{refused}");
    let place = under(place, second);
    place.write(&["d"]);
    assert_eq!(place.verify().damage, []);
}

#[test]
fn a_handover_that_was_changed_or_is_for_other_keys_is_none() {
    let (place, _) = handed_over();
    let path = place.dir.path().join("audit.jsonl.rekeyed");
    let whole = fs::read(&path).unwrap();
    for index in 0..whole.len() {
        let mut changed = whole.clone();
        changed[index] ^= 1;
        fs::write(&path, changed).unwrap();
        assert_eq!(handover::read(&place.path(), &place.keys).unwrap(), None, "byte {index}");
    }
    fs::write(&path, whole).unwrap();
    assert!(handover::read(&place.path(), &place.keys).unwrap().is_some());
    assert_eq!(handover::read(&place.path(), &master_keys()).unwrap(), None);
}

#[test]
fn an_audit_whose_key_was_changed_twice_is_whole_under_the_last() {
    let (place, first) = rekeyed();
    let (second, third) = (place.keys.clone(), Arc::new(master_keys()));
    handover::leave(&place.path(), &second, &third).unwrap();
    let place = under(place, third);
    place.write(&["f"]);
    let report = place.verify();
    assert_eq!(report.damage, []);
    let ids = [first.sealing_id(), second.sealing_id()];
    let told = report.notes.iter().map(|note| match &note.what {
        Note::FormerKey { id, .. } => id.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(told.collect::<Vec<_>>(), ids);
    assert_eq!(report.authentic_to, report.last);
}

/// Whoever has the old key writes the lines of its time anew, marks and all.
#[test]
fn what_was_written_under_the_old_key_cannot_be_forged_with_it_afterwards() {
    let (place, old) = rekeyed();
    let whole = place.rows();
    let forge = |from: usize, caller: &str| {
        let mut rows = whole[..from].to_vec();
        let mut link = match from {
            0 => Link::START,
            _ => Parsed::of(whole[from - 1].as_bytes()).unwrap().link(),
        };
        for row in &whole[from..7] {
            let mark = Parsed::of(row.as_bytes()).unwrap().mark;
            let (text, next) = match mark {
                Some(mark) => link.mark(mark, "forged", NOW, &old),
                None => link.chain(&line(caller).object().unwrap()),
            };
            rows.push(String::from_utf8(text).unwrap().trim_end().to_owned());
            link = next;
        }
        rows
    };
    let later = &whole[7..];
    for from in 0..7 {
        let forged = forge(from, "shop");
        // In the place of what was there, and before it.
        let changed = [forged.clone(), later.to_vec()].concat();
        let before = [forged.clone(), whole.clone()].concat();
        for rows in [changed, before] {
            place.put(&rows);
            assert!(is_damaged(&place), "from {from}");
        }
        // After it: it is seen, taken for what a crash left, and nothing that was there is missing.
        place.put(&[whole[..7].to_vec(), forged.clone(), later.to_vec()].concat());
        let report = place.verify();
        assert!(notes(&report).contains(&&Note::Remnant { rows: 7 }), "from {from}: {report:#?}");
        assert_eq!((report.lines, report.authentic_to), (11, 11));
    }
    place.put(&whole);
    assert_eq!(place.verify().damage, []);
}

#[test]
fn each_line_that_is_changed_cut_or_moved_in_the_time_of_the_old_key_is_named() {
    let (place, _) = rekeyed();
    let whole = place.rows();
    for row in 0..7 {
        let mut cut = whole.clone();
        cut.remove(row);
        let mut changed = whole.clone();
        changed[row] = changed[row].replace("\"decision\"", "\"decisiom\"");
        let mut moved = whole.clone();
        moved.swap(row, row + 1);
        for rows in [cut, changed, moved] {
            place.put(&rows);
            assert!(is_damaged(&place), "row {row}");
        }
    }
}

#[test]
fn marks_under_the_old_key_after_the_change_are_forged() {
    let (place, old) = rekeyed();
    let whole = place.rows();
    let last = Parsed::of(whole.last().unwrap().as_bytes()).unwrap().link();
    for mark in [Mark::Start, Mark::Resume, Mark::Begin, Mark::Rekey, Mark::Checkpoint] {
        let (text, _) = last.mark(mark, "forged", NOW, &old);
        let row = String::from_utf8(text).unwrap().trim_end().to_owned();
        place.put(&[whole.clone(), vec![row]].concat());
        let is_forged = |damage: &Damage| matches!(damage, Damage::Forged { .. });
        assert!(place.damage().iter().any(is_forged), "{mark:?}");
    }
    // Nor does it help to give the old key.
    let both = Against { former: Some(&old), master_keys: Some(&place.keys), sought: None };
    assert!(!verify_against(&place.path(), both).unwrap().damage.is_empty());
}

#[test]
fn with_the_old_key_its_marks_are_checked_too() {
    let (place, old) = rekeyed();
    let against = |former| Against { former, master_keys: Some(&place.keys), sought: None };
    let report = verify_against(&place.path(), against(Some(&old))).unwrap();
    assert_eq!(report.damage, []);
    // A mark that was never made under the key that it names: the change of the key vouched for it.
    let (place, old) = with_a_forged_mark_before_the_change();
    let against = |former| Against { former, master_keys: Some(&place.keys), sought: None };
    let without = verify_against(&place.path(), against(None)).unwrap();
    assert_eq!(without.damage, []);
    let with = verify_against(&place.path(), against(Some(&old))).unwrap();
    assert!(matches!(with.damage[0].what, Damage::Forged { line: 3, .. }), "{with:#?}");
}

/// Somebody who has not even the old key adds a mark to what is handed over.
fn with_a_forged_mark_before_the_change() -> (Place, Arc<MasterKeys>) {
    let place = Place::new();
    place.write(&["a"]);
    let old = place.keys.clone();
    let rows = place.rows();
    let link = Parsed::of(rows[1].as_bytes()).unwrap().link();
    let (text, link) = link.mark(Mark::Checkpoint, "forged", NOW, &old);
    let mut text = String::from_utf8(text).unwrap();
    text = text.replace("forged", "fOrged");
    let forged = Parsed::of(text.trim_end().as_bytes()).unwrap().link();
    assert_ne!(forged.hash, link.hash);
    let (stop, link) = forged.mark(Mark::Stop, "stopped", NOW, &old);
    let stop = String::from_utf8(stop).unwrap();
    fs::write(place.path(), format!("{}\n{}\n{text}{stop}", rows[0], rows[1])).unwrap();
    let (begins, ends) = {
        let ends = fs::metadata(place.path()).unwrap().len();
        (ends - stop.len() as u64, ends)
    };
    let path = checkpoint::path_of(&place.path());
    let (mut checkpoint, _) = checkpoint::Checkpoint::open(&path, &old).unwrap();
    let position = checkpoint::Position { link, file: 1, begins, ends };
    checkpoint.raise(position, &old).unwrap();
    drop(checkpoint);
    let new = Arc::new(master_keys());
    handover::leave(&place.path(), &old, &new).unwrap();
    let place = under(place, new);
    place.write(&["d"]);
    (place, old)
}

#[test]
fn a_full_file_and_a_new_one_are_handed_over_as_well() {
    let place = Place { full_size: 900, ..Place::new() };
    let old = place.keys.clone();
    {
        let audit = place.open();
        for caller in ["a", "b", "c", "d", "e", "f"] {
            audit.record(&line(caller), Recorder::Worker).unwrap();
        }
        audit.shared.begin_next().unwrap();
    }
    let new = Arc::new(master_keys());
    handover::leave(&place.path(), &old, &new).unwrap();
    let place = under(place, new);
    place.write(&["g", "h"]);
    let report = place.verify();
    assert_eq!(report.damage, [], "{report:#?}");
    assert!(files::all(&place.path()).unwrap().len() > 1);
    assert_eq!(report.authentic_to, report.last);
}

#[test]
fn an_audit_that_never_was_has_nothing_to_hand_over() {
    let place = Place::new();
    let new = Arc::new(master_keys());
    handover::leave(&place.path(), &place.keys, &new).unwrap();
    assert!(fs::read_dir(place.dir.path()).unwrap().next().is_none());
    let place = under(place, new);
    place.write(&["a"]);
    assert_eq!(place.verify().damage, []);
}
