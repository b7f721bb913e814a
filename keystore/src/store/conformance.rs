//! What every store must do: one suite for the store on disk and the store in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tempfile::TempDir;

use super::authenticated::{Authenticated, Pairs, Row, Rows};
use super::copied::Moment;
use super::sled::tests::copy_files;
use super::sled::tests::open_when_free;
use super::*;
use crate::algorithm::Algorithm;
use crate::crypto::{self, SigningKey};
use crate::facts::tests::facts;
use crate::lifecycle::{Origin, PlannedBy};
use crate::seal::tests::master_keys;

/// Where a store keeps its rows while no store is open on them.
trait Backend {
    type Store: Store;

    /// Every how many bytes a tampering test changes one: a commit on disk takes its time.
    const STRIDE: usize;

    fn new() -> Self;
    fn open(&self, master_keys: Arc<MasterKeys>) -> Result<Self::Store, StoreError>;
    fn rows(store: &Self::Store) -> &dyn Rows;
}

struct Memory(MemoryRows);

impl Backend for Memory {
    type Store = MemoryStore;

    const STRIDE: usize = 1;

    fn new() -> Self {
        Self(MemoryRows::default())
    }

    fn open(&self, master_keys: Arc<MasterKeys>) -> Result<MemoryStore, StoreError> {
        MemoryStore::open(self.0.clone(), master_keys)
    }

    fn rows(store: &MemoryStore) -> &dyn Rows {
        store.rows()
    }
}

struct Disk(TempDir);

impl Backend for Disk {
    type Store = SledStore;

    const STRIDE: usize = 23;

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self, master_keys: Arc<MasterKeys>) -> Result<SledStore, StoreError> {
        let path = self.0.path().join("store");
        if SledStore::exists(&path) {
            open_when_free(&path, master_keys)
        } else {
            SledStore::create(&path, master_keys)
        }
    }

    fn rows(store: &SledStore) -> &dyn Rows {
        store.rows()
    }
}

/// An open store, its backend and its master key.
struct Bench<B: Backend> {
    store: Option<B::Store>,
    backend: B,
    keys: Arc<MasterKeys>,
}

impl<B: Backend> Bench<B> {
    fn new() -> Self {
        let (backend, keys) = (B::new(), Arc::new(master_keys()));
        Self { store: Some(backend.open(keys.clone()).unwrap()), backend, keys }
    }

    fn store(&self) -> &B::Store {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self) {
        self.store = None;
        self.store = Some(self.backend.open(self.keys.clone()).unwrap());
    }

    fn reopen_with(&mut self, keys: MasterKeys) -> Option<StoreError> {
        self.store = None;
        self.keys = Arc::new(keys);
        match self.backend.open(self.keys.clone()) {
            Ok(store) => self.store = Some(store),
            Err(error) => return Some(error),
        }
        None
    }

    /// Commits at the revision that the set has.
    fn commit(&self, keyset: &KeysetName, changes: &[Change]) -> Result<Revision, StoreError> {
        let revision = self.load(keyset).revision;
        self.store().commit(keyset, revision, changes, Time::EPOCH)
    }

    fn put(&self, keyset: &KeysetName, record: Record) -> Result<Revision, StoreError> {
        self.commit(keyset, &[put(record)])
    }

    fn load(&self, keyset: &KeysetName) -> Loaded {
        self.store().load(keyset).unwrap()
    }

    fn row(&self, key: &[u8]) -> Vec<u8> {
        B::rows(self.store()).get(key).unwrap().unwrap()
    }

    /// Writes a row past the store.
    fn set_row(&self, key: &[u8], value: Option<Vec<u8>>) {
        B::rows(self.store()).write(&[], &[(key.to_vec(), value)]).unwrap().unwrap();
    }

    fn everything(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        B::rows(self.store()).scan(b"").unwrap().into_iter().collect()
    }

    /// Puts all rows back as they were.
    fn put_back(&self, all: &BTreeMap<Vec<u8>, Vec<u8>>) {
        let gone = self.everything().into_keys().map(|key| (key, None));
        let old = all.iter().map(|(key, value)| (key.clone(), Some(value.clone())));
        let rows: Vec<Row> = gone.chain(old).collect();
        B::rows(self.store()).write(&[], &rows).unwrap().unwrap();
    }

    /// Two sets, `a` with the keys 0 to 2, of which 0 is buried, and `b` with the key 0.
    fn with_two_sets() -> Self {
        let bench = Self::new();
        let names = ["a0", "a1", "a2"];
        let records = (0..).zip(names).map(|(number, name)| put(record(number, name)));
        bench.commit(&set("a"), &records.collect::<Vec<_>>()).unwrap();
        bench.commit(&set("a"), &[bury(&record(0, "a0"), Departure::Revoked)]).unwrap();
        bench.put(&set("b"), record(0, "b0")).unwrap();
        bench.put(&set("b"), record(1, "b1")).unwrap();
        bench.store().record_seen(at(1_000)).unwrap();
        bench
    }
}

fn set(name: &str) -> KeysetName {
    name.parse().unwrap()
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

pub(super) fn life(number: u64) -> Life {
    Life {
        number: Number(number),
        algorithm: Algorithm::EdDsa,
        created: at(1),
        published: at(2),
        served_from: at(3),
        stale_max_age: Duration::from_millis(4),
        activates: Some(at(5)),
        planned_by: PlannedBy::Schedule { cron: "0 3 1 * *".into(), time_zone: "UTC".into() },
        longest_ttl: Duration::from_millis(6),
        may_have_signed: true,
        ended: None,
        retires: None,
        origin: Origin::Generated,
        exported: None,
    }
}

fn thumbprint(name: &str) -> Thumbprint {
    Thumbprint::from_digest(&crypto::sha256(name.as_bytes()))
}

/// A record whose kid is `name`, and whose sealed secret opens nowhere.
fn record(number: u64, name: &str) -> Record {
    let sealed = serde_json::from_str("\"c2VhbGVk\"").unwrap();
    Record {
        life: life(number),
        kid: name.parse().unwrap(),
        thumbprint: thumbprint(name),
        public: PublicKey::Ed25519 { x: crypto::sha256(name.as_bytes()).to_vec() },
        secret: Some(SealedSecret { sealed, revision: Revision(1) }),
    }
}

fn put(record: Record) -> Change {
    Change::Put(Box::new(record))
}

fn bury(record: &Record, departure: Departure) -> Change {
    Change::Bury(Box::new(record.tombstone(departure, at(9), Some("lost"))))
}

fn adopt(cron: &str) -> Change {
    let former_max_age = FormerMaxAge { max_age: Duration::from_mins(10), until: at(77) };
    Change::Adopt { facts: Box::new(facts(cron)), former_max_age }
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged { what: what.to_owned() }
}

fn head_row(keyset: &str) -> Vec<u8> {
    format!("h/{keyset}").into_bytes()
}

fn record_row(keyset: &str, number: u64) -> Vec<u8> {
    [format!("r/{keyset}/").as_bytes(), &number.to_be_bytes()].concat()
}

fn tombstone_row(keyset: &str, kid: &str) -> Vec<u8> {
    format!("t/{keyset}/{kid}").into_bytes()
}

/// Where in a tagged row the id of the master key is: a change there reads as another key.
const ID: std::ops::Range<usize> = 1..9;

/// Makes each test of the list one for each store.
macro_rules! on_every_store {
    ($($test:ident)*) => {
        mod memory {
            $(#[test] fn $test() { super::$test::<super::Memory>(); })*
        }
        mod disk {
            $(#[test] fn $test() { super::$test::<super::Disk>(); })*
        }
    };
}

on_every_store! {
    a_set_that_was_never_committed_is_empty_at_revision_0
    a_commit_loads_back_exactly_and_its_secrets_open_in_their_place
    records_are_loaded_in_the_order_of_their_numbers
    every_commit_makes_the_next_revision_of_its_set_alone
    a_commit_at_another_revision_is_a_conflict_and_changes_nothing
    a_refused_change_takes_the_whole_commit_with_it
    commits_to_several_sets_are_made_together
    one_commit_that_is_refused_takes_those_to_other_sets_with_it
    a_set_that_is_there_twice_is_a_conflict
    all_committed_sets_are_listed
    a_name_used_by_a_living_or_buried_key_of_the_set_is_refused
    two_new_keys_of_one_commit_cannot_share_a_name
    an_update_gives_a_living_key_neither_another_name_nor_the_name_of_another
    a_name_used_in_another_set_is_free
    a_number_is_never_used_again
    a_key_can_come_change_and_leave_in_one_commit
    a_buried_key_is_a_tombstone_and_no_longer_living
    tombstones_are_listed_in_the_order_of_their_numbers
    only_a_living_key_is_buried
    a_mark_replaces_the_tombstone
    only_a_tombstone_that_is_there_is_marked
    the_latest_lifecycle_time_never_goes_back
    everything_survives_a_reopen
    sets_whose_names_begin_alike_do_not_mix
    a_thousand_sets_fit_in_one_store
    any_changed_byte_of_a_head_is_damage
    any_changed_byte_of_a_record_is_damage
    any_changed_byte_of_a_tombstone_is_damage
    any_changed_byte_of_the_lifecycle_time_is_damage
    a_shortened_row_is_damage
    a_record_in_the_place_of_another_is_damage
    a_record_or_head_put_back_alone_from_an_older_copy_is_damage
    a_removed_or_added_record_is_damage
    a_removed_or_swapped_head_is_damage
    a_tombstone_in_the_place_of_another_is_damage
    a_removed_lifecycle_time_or_format_is_damage
    a_damaged_set_takes_no_commit_and_leaves_the_others_alone
    another_master_key_is_told_from_damage_also_by_an_empty_store
    with_several_master_keys_the_old_one_still_opens_everything
    not_detected_a_tombstone_removed_or_put_back_from_before_its_mark
    not_detected_the_lifecycle_time_put_back_from_an_older_copy
    not_detected_all_rows_of_a_set_removed
}

fn a_set_that_was_never_committed_is_empty_at_revision_0<B: Backend>() {
    let bench = Bench::<B>::new();
    let loaded = bench.load(&set("a"));
    assert_eq!(loaded, Loaded::default());
    assert_eq!(loaded.revision, Revision(0));
    assert_eq!(bench.store().keysets().unwrap(), []);
    assert_eq!(bench.store().tombstones(&set("a")).unwrap(), []);
    assert_eq!(bench.store().tombstone(&set("a"), &"k".parse().unwrap()).unwrap(), None);
    assert_eq!(bench.store().seen().unwrap(), Time::EPOCH);
}

fn a_commit_loads_back_exactly_and_its_secrets_open_in_their_place<B: Backend>() {
    let mut bench = Bench::<B>::new();
    let keyset = set("a");
    let new_record = |number| {
        let pair = crypto::generate(Algorithm::EdDsa).unwrap();
        Record::of_new_key(&keyset, life(number), Revision(1), pair, &bench.keys).unwrap()
    };
    let records = vec![new_record(0), new_record(1)];
    let mut changes = vec![adopt("0 3 1 * *")];
    changes.extend(records.iter().cloned().map(put));
    assert_eq!(bench.commit(&keyset, &changes), Ok(Revision(1)));
    let head = Head {
        facts: Some(facts("0 3 1 * *")),
        former_max_age: FormerMaxAge { max_age: Duration::from_mins(10), until: at(77) },
        next_number: Number(2),
    };
    assert_eq!(bench.load(&keyset), Loaded { revision: Revision(1), head, records });
    bench.reopen();
    for record in bench.load(&keyset).records {
        let secret = record.secret.as_ref().unwrap();
        let secret = bench.keys.open(&secret.sealed, &record.place(&keyset, secret)).unwrap();
        let signing_key = SigningKey::new(record.life.algorithm, &secret).unwrap();
        assert_eq!(signing_key.public_key(), record.public);
    }
}

fn records_are_loaded_in_the_order_of_their_numbers<B: Backend>() {
    let bench = Bench::<B>::new();
    let names: Vec<_> = (0..300).rev().map(|index| format!("k{index}")).collect();
    let records = (0..).zip(&names).map(|(number, name)| put(record(number, name)));
    bench.commit(&set("a"), &records.collect::<Vec<_>>()).unwrap();
    let mut changed = record(7, "k292");
    changed.life.longest_ttl = Duration::from_hours(9);
    bench.put(&set("a"), changed.clone()).unwrap();
    let loaded = bench.load(&set("a"));
    let numbers: Vec<_> = loaded.records.iter().map(|record| record.life.number.0).collect();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    assert_eq!(loaded.record(Number(7)), Some(&changed));
    assert_eq!(loaded.head.next_number, Number(300));
}

fn every_commit_makes_the_next_revision_of_its_set_alone<B: Backend>() {
    let bench = Bench::<B>::new();
    for revision in 1..=4 {
        assert_eq!(bench.commit(&set("a"), &[]), Ok(Revision(revision)));
        assert_eq!(bench.load(&set("a")).revision, Revision(revision));
    }
    assert_eq!(bench.commit(&set("b"), &[]), Ok(Revision(1)));
    assert_eq!(bench.load(&set("a")).revision, Revision(4));
}

fn commits_to_several_sets_are_made_together<B: Backend>() {
    let mut bench = Bench::<B>::with_two_sets();
    let (a, b, c) = (set("a"), set("b"), set("c"));
    let (of_a, of_b) = ([put(record(3, "a3"))], [bury(&record(0, "b0"), Departure::Retired)]);
    let of_c = [adopt("0 3 1 * *"), put(record(0, "c0"))];
    let commits = [
        Commit { keyset: &a, expected: Revision(2), changes: &of_a },
        Commit { keyset: &b, expected: Revision(2), changes: &of_b },
        Commit { keyset: &c, expected: Revision(0), changes: &of_c },
    ];
    assert_eq!(bench.store().commit_all(&commits, at(2_000)), Ok(()));
    bench.reopen();
    let kids = |keyset: &KeysetName| -> Vec<String> {
        bench.load(keyset).records.iter().map(|record| record.kid.to_string()).collect()
    };
    assert_eq!([kids(&a), kids(&b), kids(&c)], [vec!["a1", "a2", "a3"], vec!["b1"], vec!["c0"]]);
    let revisions = [&a, &b, &c].map(|keyset| bench.load(keyset).revision);
    assert_eq!(revisions, [Revision(3), Revision(3), Revision(1)]);
    assert_eq!(bench.load(&c).head.facts, Some(facts("0 3 1 * *")));
    assert_eq!(bench.store().seen(), Ok(at(2_000)));
}

fn one_commit_that_is_refused_takes_those_to_other_sets_with_it<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let before = bench.everything();
    let (a, b) = (set("a"), set("b"));
    let (good, used) = ([put(record(3, "a3"))], [put(record(2, "b1"))]);
    let of_a = Commit { keyset: &a, expected: Revision(2), changes: &good };
    let of_b = Commit { keyset: &b, expected: Revision(2), changes: &used };
    assert_eq!(bench.store().commit_all(&[of_a, of_b], at(2_000)), Err(StoreError::Used));
    let late = Commit { expected: Revision(1), changes: &[], ..of_b };
    assert_eq!(bench.store().commit_all(&[of_a, late], at(2_000)), Err(StoreError::Conflict));
    assert_eq!(bench.store().commit_all(&[late, of_a], at(2_000)), Err(StoreError::Conflict));
    assert_eq!(bench.everything(), before);
}

fn a_set_that_is_there_twice_is_a_conflict<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let before = bench.everything();
    let a = set("a");
    let (first, second) = ([put(record(3, "a3"))], [put(record(4, "a4"))]);
    let commits = [
        Commit { keyset: &a, expected: Revision(2), changes: &first },
        Commit { keyset: &a, expected: Revision(2), changes: &second },
    ];
    assert_eq!(bench.store().commit_all(&commits, at(2_000)), Err(StoreError::Conflict));
    assert_eq!(bench.everything(), before);
}

fn a_commit_at_another_revision_is_a_conflict_and_changes_nothing<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let before = bench.everything();
    for wrong in [0, 1, 3, u64::MAX] {
        let changes = [put(record(9, "new"))];
        let refused = bench.store().commit(&set("a"), Revision(wrong), &changes, at(5_000));
        assert_eq!(refused, Err(StoreError::Conflict), "at {wrong}");
        // Another outcome could hide it.
        let changes = [put(record(9, "a0"))];
        let refused = bench.store().commit(&set("a"), Revision(wrong), &changes, at(5_000));
        assert_eq!(refused, Err(StoreError::Conflict), "at {wrong}");
    }
    let refused = bench.store().commit(&set("new"), Revision(1), &[], at(5_000));
    assert_eq!(refused, Err(StoreError::Conflict));
    assert_eq!(bench.everything(), before);
}

fn a_refused_change_takes_the_whole_commit_with_it<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let before = bench.everything();
    let old = bench.load(&set("a")).records[0].clone();
    let mut ended = old.clone();
    ended.secret = None;
    let changes = [
        adopt("0 4 1 * *"),
        put(ended),
        put(record(3, "fresh")),
        bury(&old, Departure::Retired),
        put(record(4, "a0")),
    ];
    let refused = bench.store().commit(&set("a"), Revision(2), &changes, at(5_000));
    assert_eq!(refused, Err(StoreError::Used));
    assert_eq!(bench.everything(), before);
    assert_eq!(bench.commit(&set("a"), &changes[..4]), Ok(Revision(3)));
}

fn all_committed_sets_are_listed<B: Backend>() {
    let bench = Bench::<B>::new();
    for name in ["b", "a-b", "a", "seen", "format"] {
        bench.commit(&set(name), &[]).unwrap();
        bench.commit(&set(name), &[]).unwrap();
    }
    let expected = BTreeSet::from(["a", "a-b", "b", "format", "seen"].map(set));
    let listed = bench.store().keysets().unwrap();
    assert_eq!(listed.len(), expected.len());
    assert_eq!(BTreeSet::from_iter(listed), expected);
}

fn a_name_used_by_a_living_or_buried_key_of_the_set_is_refused<B: Backend>() {
    let mut bench = Bench::<B>::with_two_sets();
    bench.commit(&set("a"), &[bury(&record(1, "a1"), Departure::Replaced)]).unwrap();
    bench.reopen();
    let before = bench.everything();
    for used in ["a0", "a1", "a2"] {
        let same_kid = Record { thumbprint: thumbprint("other"), ..record(3, used) };
        let same_thumbprint = Record { kid: "other".parse().unwrap(), ..record(3, used) };
        let kid_is_thumbprint = Record { kid: thumbprint(used).into(), ..record(3, "other") };
        for record in [same_kid, same_thumbprint, kid_is_thumbprint, record(3, used)] {
            assert_eq!(bench.put(&set("a"), record), Err(StoreError::Used), "{used}");
            assert_eq!(bench.everything(), before);
        }
    }
    assert_eq!(bench.put(&set("a"), record(3, "other")), Ok(Revision(4)));
}

fn two_new_keys_of_one_commit_cannot_share_a_name<B: Backend>() {
    let bench = Bench::<B>::new();
    let before = bench.everything();
    let other_kid = Record { kid: "other".parse().unwrap(), ..record(1, "k") };
    let other_thumbprint = Record { thumbprint: thumbprint("other"), ..record(1, "k") };
    for second in [record(1, "k"), other_kid, other_thumbprint] {
        let changes = [put(record(0, "k")), put(second)];
        assert_eq!(bench.commit(&set("a"), &changes), Err(StoreError::Used));
        assert_eq!(bench.everything(), before);
    }
}

fn an_update_gives_a_living_key_neither_another_name_nor_the_name_of_another<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let before = bench.everything();
    for name in ["new", "a2", "a0"] {
        assert_eq!(bench.put(&set("a"), record(1, name)), Err(StoreError::Used), "{name}");
    }
    assert_eq!(bench.everything(), before);
}

fn a_name_used_in_another_set_is_free<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    for (number, name) in (2..).zip(["a0", "a1"]) {
        bench.put(&set("b"), record(number, name)).unwrap();
    }
    assert_eq!(bench.load(&set("b")).records[2..], [record(2, "a0"), record(3, "a1")]);
    assert!(bench.store().tombstone(&set("b"), &"a0".parse().unwrap()).unwrap().is_none());
}

fn a_number_is_never_used_again<B: Backend>() {
    let mut bench = Bench::<B>::with_two_sets();
    bench.commit(&set("a"), &[bury(&record(2, "a2"), Departure::Replaced)]).unwrap();
    bench.reopen();
    assert_eq!(bench.load(&set("a")).head.next_number, Number(3));
    let before = bench.everything();
    for buried in [0, 2] {
        // Neither a new key nor the old one.
        for name in ["new", &format!("a{buried}")] {
            assert_eq!(bench.put(&set("a"), record(buried, name)), Err(StoreError::Used));
        }
    }
    let in_one_commit = [bury(&record(1, "a1"), Departure::Retired), put(record(1, "a1"))];
    assert_eq!(bench.commit(&set("a"), &in_one_commit), Err(StoreError::Used));
    assert_eq!(bench.everything(), before);
    bench.put(&set("a"), record(3, "a3")).unwrap();
    assert_eq!(bench.load(&set("a")).head.next_number, Number(4));
}

fn a_key_can_come_change_and_leave_in_one_commit<B: Backend>() {
    let bench = Bench::<B>::new();
    let (first, mut second) = (record(0, "k0"), record(1, "k1"));
    let mut changes = vec![put(first.clone()), put(second.clone())];
    second.life.activates = None;
    changes.extend([put(second.clone()), bury(&first, Departure::Revoked)]);
    bench.commit(&set("a"), &changes).unwrap();
    let loaded = bench.load(&set("a"));
    assert_eq!((loaded.records, loaded.head.next_number), (vec![second], Number(2)));
    assert_eq!(bench.store().tombstones(&set("a")).unwrap().len(), 1);
}

fn a_buried_key_is_a_tombstone_and_no_longer_living<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let tombstone = record(0, "a0").tombstone(Departure::Revoked, at(9), Some("lost"));
    assert_eq!((tombstone.revoked, tombstone.reason.as_deref()), (Some(at(9)), Some("lost")));
    let found = bench.store().tombstone(&set("a"), &"a0".parse().unwrap());
    assert_eq!(found.unwrap().as_ref(), Some(&tombstone));
    assert_eq!(bench.store().tombstones(&set("a")).unwrap(), [tombstone]);
    assert_eq!(bench.load(&set("a")).records, [record(1, "a1"), record(2, "a2")]);
    assert!(bench.store().tombstone(&set("a"), &"a1".parse().unwrap()).unwrap().is_none());
    assert!(bench.store().tombstone(&set("b"), &"a0".parse().unwrap()).unwrap().is_none());
    // The sealed secret went with the record.
    assert!(!bench.everything().contains_key(&record_row("a", 0)));
}

fn tombstones_are_listed_in_the_order_of_their_numbers<B: Backend>() {
    let bench = Bench::<B>::new();
    let name = |number: u64| format!("k{}", number * 7 % 20);
    let records: Vec<_> = (0..20).map(|number| record(number, &name(number))).collect();
    let changes: Vec<_> = records.iter().cloned().map(put).collect();
    bench.commit(&set("a"), &changes).unwrap();
    for record in records.iter().rev() {
        bench.commit(&set("a"), &[bury(record, Departure::Retired)]).unwrap();
    }
    let tombstones = bench.store().tombstones(&set("a")).unwrap();
    let numbers: Vec<_> = tombstones.iter().map(|tombstone| tombstone.life.number.0).collect();
    assert_eq!(numbers, (0..20).collect::<Vec<_>>());
}

fn a_mark_replaces_the_tombstone<B: Backend>() {
    let mut bench = Bench::<B>::with_two_sets();
    let marked = Tombstone {
        revoked: Some(at(10)),
        reason: Some("found on a laptop".into()),
        ..record(0, "a0").tombstone(Departure::Retired, at(9), None)
    };
    bench.commit(&set("a"), &[Change::Mark(Box::new(marked.clone()))]).unwrap();
    bench.reopen();
    let found = bench.store().tombstone(&set("a"), &marked.kid).unwrap();
    assert_eq!(found.as_ref(), Some(&marked));
    assert_eq!(bench.store().tombstones(&set("a")).unwrap(), [marked]);
    assert_eq!(bench.load(&set("a")).records.len(), 2);
}

fn only_a_living_key_is_buried<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let before = bench.everything();
    let never = record(3, "a3");
    let buried = record(0, "a0");
    for gone in [&never, &buried] {
        let refused = bench.commit(&set("a"), &[bury(gone, Departure::Retired)]);
        assert_eq!(refused, Err(StoreError::Conflict));
    }
    let twice =
        [bury(&record(1, "a1"), Departure::Retired), bury(&record(1, "a1"), Departure::Revoked)];
    assert_eq!(bench.commit(&set("a"), &twice), Err(StoreError::Conflict));
    let refused = bench.commit(&set("new"), &[bury(&buried, Departure::Retired)]);
    assert_eq!(refused, Err(StoreError::Conflict));
    assert_eq!(bench.everything(), before);
}

fn only_a_tombstone_that_is_there_is_marked<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let before = bench.everything();
    let mark =
        |record: &Record| Change::Mark(Box::new(record.tombstone(Departure::Revoked, at(9), None)));
    for living_or_unknown in [record(1, "a1"), record(3, "a3")] {
        let refused = bench.commit(&set("a"), &[mark(&living_or_unknown)]);
        assert_eq!(refused, Err(StoreError::Conflict));
    }
    let in_another_set = bench.commit(&set("b"), &[mark(&record(0, "a0"))]);
    assert_eq!(in_another_set, Err(StoreError::Conflict));
    assert_eq!(bench.everything(), before);
    let living = record(1, "a1");
    let both = [bury(&living, Departure::Retired), mark(&living)];
    assert_eq!(bench.commit(&set("a"), &both), Ok(Revision(3)));
    let found = bench.store().tombstone(&set("a"), &living.kid).unwrap().unwrap();
    assert_eq!(found.departure, Departure::Revoked);
}

fn the_latest_lifecycle_time_never_goes_back<B: Backend>() {
    let mut bench = Bench::<B>::new();
    bench.store().record_seen(at(100)).unwrap();
    bench.store().record_seen(at(50)).unwrap();
    assert_eq!(bench.store().seen(), Ok(at(100)));
    bench.store().commit(&set("a"), Revision(0), &[], at(70)).unwrap();
    assert_eq!(bench.store().seen(), Ok(at(100)));
    bench.store().commit(&set("b"), Revision(0), &[], at(200)).unwrap();
    assert_eq!(bench.store().seen(), Ok(at(200)));
    bench.reopen();
    assert_eq!(bench.store().seen(), Ok(at(200)));
    bench.store().record_seen(at(201)).unwrap();
    bench.reopen();
    assert_eq!(bench.store().seen(), Ok(at(201)));
}

fn everything_survives_a_reopen<B: Backend>() {
    let mut bench = Bench::<B>::with_two_sets();
    let (before, a, b) = (bench.everything(), bench.load(&set("a")), bench.load(&set("b")));
    for _ in 0..3 {
        bench.reopen();
        assert_eq!(bench.everything(), before);
        assert_eq!((bench.load(&set("a")), bench.load(&set("b"))), (a.clone(), b.clone()));
    }
    assert_eq!(bench.commit(&set("a"), &[]), Ok(a.revision.next()));
}

fn sets_whose_names_begin_alike_do_not_mix<B: Backend>() {
    let bench = Bench::<B>::new();
    let names = ["a", "a-", "a-b", "a0", "aa", "h", "r", "t", "u", "seen", "format"];
    for (index, name) in names.into_iter().enumerate() {
        let records: Vec<_> =
            (0..=index as u64).map(|number| record(number, &format!("k{number}"))).collect();
        let changes: Vec<_> = records.iter().cloned().map(put).collect();
        bench.commit(&set(name), &changes).unwrap();
        bench.commit(&set(name), &[bury(&records[0], Departure::Retired)]).unwrap();
    }
    for (index, name) in names.into_iter().enumerate() {
        assert_eq!(bench.load(&set(name)).records.len(), index, "{name}");
        assert_eq!(bench.store().tombstones(&set(name)).unwrap().len(), 1, "{name}");
    }
}

fn a_thousand_sets_fit_in_one_store<B: Backend>() {
    let mut bench = Bench::<B>::new();
    let sets: Vec<_> = (0..1000).map(|index| set(&format!("tenant-{index}"))).collect();
    let records = |keyset: &KeysetName| [record(0, keyset.as_str()), record(1, "same-in-all")];
    for keyset in &sets {
        let mut changes = vec![adopt("0 3 1 * *")];
        changes.extend(records(keyset).map(put));
        bench.store().commit(keyset, Revision(0), &changes, at(1)).unwrap();
    }
    bench.reopen();
    assert_eq!(bench.store().keysets().unwrap().len(), sets.len());
    for keyset in &sets {
        let loaded = bench.load(keyset);
        assert_eq!((loaded.revision, loaded.head.next_number), (Revision(1), Number(2)));
        assert_eq!(loaded.head.facts, Some(facts("0 3 1 * *")));
        assert_eq!(loaded.records, records(keyset));
    }
}

/// Changes bytes of a row one by one and expects the same damage of each; a change in `id` reads
/// as another master key instead.
fn every_changed_byte<B: Backend, T: std::fmt::Debug>(
    key: &[u8],
    id: std::ops::Range<usize>,
    what: &str,
    read: impl Fn(&B::Store) -> Result<T, StoreError>,
) {
    let bench = Bench::<B>::with_two_sets();
    let whole = bench.row(key);
    for index in (0..whole.len()).filter(|index| *index < 12 || index % B::STRIDE == 0) {
        for flip in [1, 0x80, 0xff] {
            let mut changed = whole.clone();
            changed[index] ^= flip;
            bench.set_row(key, Some(changed));
            let error = read(bench.store()).unwrap_err();
            if id.contains(&index) {
                assert!(matches!(error, StoreError::OtherMasterKey { .. }), "byte {index}");
            } else {
                assert_eq!(error, damaged(what), "byte {index}");
            }
        }
    }
    bench.set_row(key, Some(whole));
    read(bench.store()).unwrap();
}

fn any_changed_byte_of_a_head_is_damage<B: Backend>() {
    let read = |store: &B::Store| store.load(&set("a"));
    every_changed_byte::<B, _>(&head_row("a"), ID, "the head of key set a", read);
}

fn any_changed_byte_of_a_record_is_damage<B: Backend>() {
    let read = |store: &B::Store| store.load(&set("a"));
    every_changed_byte::<B, _>(&record_row("a", 1), 0..0, "key 1 of key set a", read);
}

fn any_changed_byte_of_a_tombstone_is_damage<B: Backend>() {
    let (row, what) = (tombstone_row("a", "a0"), "a tombstone of key set a");
    let read = |store: &B::Store| store.tombstone(&set("a"), &"a0".parse().unwrap());
    every_changed_byte::<B, _>(&row, ID, what, read);
    every_changed_byte::<B, _>(&row, ID, what, |store| store.tombstones(&set("a")));
}

fn any_changed_byte_of_the_lifecycle_time_is_damage<B: Backend>() {
    let what = "the record of the last lifecycle time";
    every_changed_byte::<B, _>(b"seen", ID, what, Store::seen);
    // It is not raised over, either.
    every_changed_byte::<B, _>(b"seen", ID, what, |store| store.record_seen(Time::EPOCH));
}

fn a_shortened_row_is_damage<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let rows = [head_row("a"), record_row("a", 1), tombstone_row("a", "a0"), b"seen".to_vec()];
    for key in rows {
        let whole = bench.row(&key);
        let lengths = [0, 1, 8, 9, 20, 40, 41, 42, whole.len() - 1];
        for length in lengths.into_iter().filter(|length| *length < whole.len()) {
            bench.set_row(&key, Some(whole[..length].to_vec()));
            let read = (|| {
                bench.store().load(&set("a"))?;
                bench.store().tombstones(&set("a"))?;
                bench.store().seen()
            })();
            assert!(matches!(read, Err(StoreError::Damaged { .. })), "{key:?} {length}");
        }
        bench.set_row(&key, Some(whole));
    }
}

fn a_record_in_the_place_of_another_is_damage<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let (a1, a2) = (bench.row(&record_row("a", 1)), bench.row(&record_row("a", 2)));
    bench.set_row(&record_row("a", 1), Some(a2));
    assert_eq!(bench.store().load(&set("a")), Err(damaged("key 1 of key set a")));
    bench.set_row(&record_row("a", 2), Some(a1.clone()));
    assert_eq!(bench.store().load(&set("a")), Err(damaged("key 1 of key set a")));
    bench.set_row(&record_row("b", 1), Some(a1));
    assert_eq!(bench.store().load(&set("b")), Err(damaged("key 1 of key set b")));
}

fn a_record_or_head_put_back_alone_from_an_older_copy_is_damage<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let (head, a1) = (bench.row(&head_row("a")), bench.row(&record_row("a", 1)));
    let mut ended = record(1, "a1");
    ended.secret = None;
    ended.life.ended = Some(at(20));
    bench.put(&set("a"), ended).unwrap();
    let after = bench.everything();
    bench.set_row(&record_row("a", 1), Some(a1));
    assert_eq!(bench.store().load(&set("a")), Err(damaged("key 1 of key set a")));
    bench.put_back(&after);
    bench.load(&set("a"));
    bench.set_row(&head_row("a"), Some(head));
    assert_eq!(bench.store().load(&set("a")), Err(damaged("key 1 of key set a")));
    bench.put_back(&after);
    // A buried key's record.
    let (head, a2) = (bench.row(&head_row("a")), bench.row(&record_row("a", 2)));
    bench.commit(&set("a"), &[bury(&record(2, "a2"), Departure::Revoked)]).unwrap();
    let after = bench.everything();
    bench.set_row(&record_row("a", 2), Some(a2));
    assert_eq!(bench.store().load(&set("a")), Err(damaged("the list of keys of key set a")));
    bench.put_back(&after);
    bench.set_row(&head_row("a"), Some(head));
    assert_eq!(bench.store().load(&set("a")), Err(damaged("key 2 of key set a")));
}

fn a_removed_or_added_record_is_damage<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let before = bench.everything();
    bench.set_row(&record_row("a", 2), None);
    assert_eq!(bench.store().load(&set("a")), Err(damaged("key 2 of key set a")));
    bench.put_back(&before);
    let b0 = bench.row(&record_row("b", 0));
    for added in [record_row("a", 0), record_row("a", 3), b"r/a/".to_vec(), b"r/a/x".to_vec()] {
        bench.set_row(&added, Some(b0.clone()));
        assert_eq!(bench.store().load(&set("a")), Err(damaged("the list of keys of key set a")));
        bench.set_row(&added, None);
    }
    // To a set that was never committed, too.
    bench.set_row(&record_row("new", 0), Some(b0));
    assert_eq!(bench.store().load(&set("new")), Err(damaged("the head of key set new")));
}

fn a_removed_or_swapped_head_is_damage<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let before = bench.everything();
    bench.set_row(&head_row("a"), None);
    assert_eq!(bench.store().load(&set("a")), Err(damaged("the head of key set a")));
    // Who goes through all sets comes upon it.
    assert_eq!(bench.store().keysets().unwrap(), [set("a"), set("b")]);
    bench.put_back(&before);
    let (a, b) = (bench.row(&head_row("a")), bench.row(&head_row("b")));
    for (name, head) in [("a", b), ("b", a.clone()), ("new", a)] {
        bench.set_row(&head_row(name), Some(head));
        let what = format!("the head of key set {name}");
        assert_eq!(bench.store().load(&set(name)), Err(damaged(&what)));
        let refused = bench.store().commit(&set(name), Revision(2), &[], Time::EPOCH);
        assert_eq!(refused, Err(damaged(&what)));
    }
    // A whole set under another name.
    bench.put_back(&before);
    bench.set_row(&head_row("c"), Some(bench.row(&head_row("b"))));
    for number in [0, 1] {
        bench.set_row(&record_row("c", number), Some(bench.row(&record_row("b", number))));
    }
    assert_eq!(bench.store().load(&set("c")), Err(damaged("the head of key set c")));
    bench.set_row(b"h/NO NAME", Some(vec![]));
    assert_eq!(bench.store().keysets(), Err(damaged("the head of \"NO NAME\"")));
}

fn a_tombstone_in_the_place_of_another_is_damage<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let tombstone = bench.row(&tombstone_row("a", "a0"));
    bench.set_row(&tombstone_row("a", "a1"), Some(tombstone.clone()));
    bench.set_row(&tombstone_row("b", "a0"), Some(tombstone));
    for (name, kid) in [("a", "a1"), ("b", "a0")] {
        let refused = Err(damaged(&format!("a tombstone of key set {name}")));
        assert_eq!(bench.store().tombstone(&set(name), &kid.parse().unwrap()), refused);
        assert_eq!(bench.store().tombstones(&set(name)).map(|_| None), refused);
    }
}

fn a_removed_lifecycle_time_or_format_is_damage<B: Backend>() {
    for (row, what) in [
        (b"seen".as_slice(), "the record of the last lifecycle time"),
        (b"format", "the format of the store"),
    ] {
        let mut bench = Bench::<B>::with_two_sets();
        bench.set_row(row, None);
        bench.store = None;
        assert_eq!(bench.backend.open(bench.keys.clone()).err(), Some(damaged(what)));
    }
}

fn a_damaged_set_takes_no_commit_and_leaves_the_others_alone<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let mut head = bench.row(&head_row("a"));
    *head.last_mut().unwrap() ^= 1;
    bench.set_row(&head_row("a"), Some(head));
    let before = bench.everything();
    let refused = bench.store().commit(&set("a"), Revision(2), &[], at(5_000));
    assert_eq!(refused, Err(damaged("the head of key set a")));
    assert_eq!(bench.everything(), before);
    assert_eq!(bench.commit(&set("b"), &[]), Ok(Revision(3)));
    assert_eq!(bench.store().keysets().unwrap().len(), 2);
}

fn another_master_key_is_told_from_damage_also_by_an_empty_store<B: Backend>() {
    for mut bench in [Bench::<B>::new(), Bench::<B>::with_two_sets()] {
        let (right, id) = (bench.keys.clone(), bench.keys.sealing_id());
        let refused = bench.reopen_with(master_keys());
        assert_eq!(refused, Some(StoreError::OtherMasterKey { id }));
        bench.keys = right;
        bench.reopen();
    }
}

fn with_several_master_keys_the_old_one_still_opens_everything<B: Backend>() {
    let (old_file, new_file) =
        (MasterKeys::generate_file().unwrap(), MasterKeys::generate_file().unwrap());
    let parse = |text: &str| MasterKeys::parse(text).unwrap();
    let mut bench = Bench::<B>::with_two_sets();
    // As if it had been written under the old key.
    bench.backend = B::new();
    assert_eq!(bench.reopen_with(parse(&old_file)), None);
    let old_id = bench.keys.sealing_id();
    let pair = crypto::generate(Algorithm::EdDsa).unwrap();
    let sealed = Record::of_new_key(&set("a"), life(0), Revision(1), pair, &bench.keys).unwrap();
    bench.commit(&set("a"), &[put(sealed.clone()), put(record(1, "a1"))]).unwrap();
    bench.commit(&set("a"), &[bury(&record(1, "a1"), Departure::Retired)]).unwrap();
    bench.put(&set("b"), record(0, "b0")).unwrap();
    assert_eq!(bench.reopen_with(parse(&format!("{}{}", *new_file, *old_file))), None);
    assert_eq!(bench.load(&set("a")).records, std::slice::from_ref(&sealed));
    assert_eq!(bench.store().tombstones(&set("a")).unwrap().len(), 1);
    let place = Place {
        keyset: &set("a"),
        number: Number(0),
        kid: &sealed.kid,
        algorithm: Algorithm::EdDsa,
        revision: Revision(1),
    };
    assert!(bench.keys.open(&sealed.secret.unwrap().sealed, &place).is_ok());
    bench.commit(&set("b"), &[]).unwrap();
    // What was not committed since still needs the old key, and says so.
    assert_eq!(bench.reopen_with(parse(&new_file)), None);
    assert_eq!(bench.load(&set("b")).records, [record(0, "b0")]);
    let refused = StoreError::OtherMasterKey { id: old_id };
    assert_eq!(bench.store().load(&set("a")), Err(refused.clone()));
    assert_eq!(bench.store().tombstones(&set("a")), Err(refused));
}

/// The store on disk has a number beside its rows.
#[test]
fn not_detected_in_memory_all_rows_put_back_together_from_an_older_copy() {
    let mut bench = Bench::<Memory>::with_two_sets();
    let (older, a) = (bench.everything(), bench.load(&set("a")));
    bench.commit(&set("a"), &[bury(&record(2, "a2"), Departure::Revoked)]).unwrap();
    bench.put_back(&older);
    bench.reopen();
    assert_eq!(bench.load(&set("a")), a);
}

fn not_detected_a_tombstone_removed_or_put_back_from_before_its_mark<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let kid = "a0".parse().unwrap();
    let old = bench.row(&tombstone_row("a", "a0"));
    let mut tombstone = bench.store().tombstone(&set("a"), &kid).unwrap().unwrap();
    tombstone.reason = Some("worse than we thought".into());
    bench.commit(&set("a"), &[Change::Mark(Box::new(tombstone))]).unwrap();
    bench.set_row(&tombstone_row("a", "a0"), Some(old));
    let found = bench.store().tombstone(&set("a"), &kid).unwrap().unwrap();
    assert_eq!(found.reason.as_deref(), Some("lost"));
    bench.set_row(&tombstone_row("a", "a0"), None);
    assert_eq!(bench.store().tombstones(&set("a")), Ok(vec![]));
    // The number and the names stay used.
    assert_eq!(bench.put(&set("a"), record(0, "a0")), Err(StoreError::Used));
    assert_eq!(bench.put(&set("a"), record(3, "a0")), Err(StoreError::Used));
}

fn not_detected_the_lifecycle_time_put_back_from_an_older_copy<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    let old = bench.row(b"seen");
    bench.store().record_seen(at(2_000)).unwrap();
    bench.set_row(b"seen", Some(old));
    assert_eq!(bench.store().seen(), Ok(at(1_000)));
}

fn not_detected_all_rows_of_a_set_removed<B: Backend>() {
    let bench = Bench::<B>::with_two_sets();
    for row in [head_row("b"), record_row("b", 0), record_row("b", 1)] {
        bench.set_row(&row, None);
    }
    assert_eq!(bench.load(&set("b")), Loaded::default());
}

/// sled reads its log up to the first entry whose checksum is wrong, and takes that for the end.
#[test]
fn a_changed_byte_in_the_log_of_sled_never_opens_as_an_older_store() {
    const CHANGES: usize = 200;
    let mut bench = Bench::<Disk>::with_two_sets();
    for number in 2..22 {
        let name = format!("b{number}");
        bench.put(&set("b"), record(number, &name)).unwrap();
        let previous = record(number - 1, &format!("b{}", number - 1));
        bench.commit(&set("b"), &[bury(&previous, Departure::Revoked)]).unwrap();
        if number == 10 {
            // sled writes what it reads of its log to a file of its own.
            bench.reopen();
        }
    }
    let before = bench.everything();
    bench.store = None;
    let whole = bench.backend.0.path().join("store");
    let log = std::fs::read(whole.join("db")).unwrap();
    let mut older = 0;
    for index in (0..CHANGES).map(|change| change * log.len() / CHANGES) {
        let changed = Disk::new();
        let path = changed.0.path().join("store");
        copy_files(&whole, &path);
        let mut log = log.clone();
        log[index] ^= 1;
        std::fs::write(path.join("db"), log).unwrap();
        match changed.open(bench.keys.clone()) {
            Ok(store) => {
                let rows: BTreeMap<_, _> = store.rows().scan(b"").unwrap().into_iter().collect();
                assert!(rows == before, "byte {index}");
            }
            Err(StoreError::Damaged { what }) => {
                older += usize::from(what.starts_with("the store (older"));
            }
            Err(other) => panic!("byte {index}: {other}"),
        }
    }
    assert!(older > 0);
}

// What the store in memory does on request, so that others can be tested with it.

#[test]
fn a_commit_that_fails_before_leaves_all_as_it_was() {
    let bench = Bench::<Memory>::with_two_sets();
    let before = bench.everything();
    bench.backend.0.fail_next([CommitFault::FailBefore]);
    let failed = bench.put(&set("a"), record(3, "a3"));
    assert!(matches!(failed, Err(StoreError::Unavailable(_))));
    assert_eq!(bench.everything(), before);
    assert_eq!(bench.put(&set("a"), record(3, "a3")), Ok(Revision(3)));
}

#[test]
fn a_commit_that_fails_but_persists_is_unknown_and_there() {
    let bench = Bench::<Memory>::with_two_sets();
    bench.backend.0.fail_next([CommitFault::FailButPersist]);
    let failed = bench.put(&set("a"), record(3, "a3"));
    assert!(matches!(failed, Err(StoreError::Unknown(_))));
    let loaded = bench.load(&set("a"));
    assert_eq!(loaded.revision, Revision(3));
    assert_eq!(loaded.records.last(), Some(&record(3, "a3")));
    // Who does not load again learns that something happened.
    let retried = bench.store().commit(&set("a"), Revision(2), &[], Time::EPOCH);
    assert_eq!(retried, Err(StoreError::Conflict));
}

#[test]
fn a_commit_that_fails_as_unknown_may_not_be_there() {
    let bench = Bench::<Memory>::with_two_sets();
    let before = bench.everything();
    bench.backend.0.fail_next([CommitFault::FailUnknown]);
    let failed = bench.put(&set("a"), record(3, "a3"));
    assert!(matches!(failed, Err(StoreError::Unknown(_))));
    assert_eq!(bench.everything(), before);
}

#[test]
fn faults_come_one_after_the_other() {
    let bench = Bench::<Memory>::new();
    bench.backend.0.fail_next([CommitFault::FailUnknown, CommitFault::FailBefore]);
    assert!(matches!(bench.commit(&set("a"), &[]), Err(StoreError::Unknown(_))));
    assert!(matches!(bench.store().record_seen(at(1)), Err(StoreError::Unavailable(_))));
    assert_eq!(bench.commit(&set("a"), &[]), Ok(Revision(1)));
}

#[test]
fn a_load_torn_by_a_commit_is_tried_again() {
    let bench = Bench::<Memory>::with_two_sets();
    bench.commit(&set("a"), &[bury(&record(2, "a2"), Departure::Retired)]).unwrap();
    bench.backend.0.tear_next_load();
    let loaded = bench.load(&set("a"));
    assert_eq!(loaded.revision, Revision(3));
    assert_eq!(loaded.records, [record(1, "a1")]);
}

#[test]
fn a_failing_store_is_unavailable_until_it_recovers() {
    let bench = Bench::<Memory>::with_two_sets();
    let before = bench.everything();
    bench.backend.0.set_failing(true);
    let store = bench.store();
    let kid = "a0".parse().unwrap();
    let errors = [
        store.keysets().err(),
        store.load(&set("a")).err(),
        store.commit(&set("a"), Revision(2), &[], at(1)).err(),
        store.tombstone(&set("a"), &kid).err(),
        store.tombstones(&set("a")).err(),
        store.seen().err(),
        store.record_seen(at(5_000)).err(),
        bench.backend.open(bench.keys.clone()).err(),
    ];
    for error in errors {
        assert!(matches!(error, Some(StoreError::Unavailable(_))), "{error:?}");
    }
    bench.backend.0.set_failing(false);
    assert_eq!(bench.everything(), before);
    assert_eq!(bench.commit(&set("a"), &[]), Ok(Revision(3)));
}

type Act = Box<dyn FnOnce() + Send>;

/// Rows in which something else happens between the reads of a commit and its write.
struct Interrupted {
    rows: MemoryRows,
    by: Mutex<Option<Act>>,
}

impl Rows for Interrupted {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Rows::get(&self.rows, key)
    }

    fn scan(&self, prefix: &[u8]) -> Result<Pairs, StoreError> {
        self.rows.scan(prefix)
    }

    fn write(&self, expected: &[Row], rows: &[Row]) -> Result<Result<(), usize>, StoreError> {
        let act = self.by.lock().unwrap().take();
        if let Some(act) = act {
            act();
        }
        self.rows.write(expected, rows)
    }

    fn all(&self) -> Result<Moment, StoreError> {
        self.rows.all()
    }
}

/// A store whose next write is preceded by `act` on another store over the same rows.
fn interrupted(
    act: impl FnOnce(MemoryStore) + Send + 'static,
) -> (Authenticated<Interrupted>, Bench<Memory>) {
    let bench = Bench::<Memory>::with_two_sets();
    let other = bench.backend.open(bench.keys.clone()).unwrap();
    let by = Mutex::new(Some(Box::new(|| act(other)) as Act));
    let rows = Interrupted { rows: bench.backend.0.clone(), by };
    (Authenticated::open(rows, bench.keys.clone()).unwrap(), bench)
}

#[test]
fn of_two_commits_at_once_to_a_set_one_is_a_conflict() {
    let (store, bench) = interrupted(|other| {
        other.commit(&set("a"), Revision(2), &[put(record(3, "theirs"))], at(1)).unwrap();
    });
    let changes = [put(record(3, "ours"))];
    let refused = store.commit(&set("a"), Revision(2), &changes, at(1));
    assert_eq!(refused, Err(StoreError::Conflict));
    assert_eq!(bench.load(&set("a")).records.last(), Some(&record(3, "theirs")));
    assert_eq!(bench.put(&set("a"), record(4, "ours")), Ok(Revision(4)));
}

#[test]
fn of_two_first_commits_at_once_one_is_a_conflict() {
    let (store, bench) = interrupted(|other| {
        other.commit(&set("new"), Revision(0), &[adopt("0 3 1 * *")], at(1)).unwrap();
    });
    assert_eq!(store.commit(&set("new"), Revision(0), &[], at(1)), Err(StoreError::Conflict));
    assert!(bench.load(&set("new")).head.facts.is_some());
}

#[test]
fn two_commits_at_once_to_different_sets_leave_the_later_lifecycle_time() {
    let (store, bench) = interrupted(|other| {
        other.commit(&set("b"), Revision(2), &[], at(9_000)).unwrap();
    });
    assert_eq!(store.commit(&set("a"), Revision(2), &[], at(5_000)), Ok(Revision(3)));
    assert_eq!(bench.store().seen(), Ok(at(9_000)));
    assert_eq!(bench.load(&set("b")).revision, Revision(3));
}

#[test]
fn a_lifecycle_time_recorded_during_a_later_one_does_not_replace_it() {
    let (store, bench) = interrupted(|other| other.record_seen(at(9_000)).unwrap());
    store.record_seen(at(5_000)).unwrap();
    assert_eq!(bench.store().seen(), Ok(at(9_000)));
}

// Random histories against a plain model.

/// What is drawn for one change; indices are taken modulo what there is.
#[derive(Clone, Debug)]
enum Draw {
    New { kid: u8, thumbprint: u8, skip: u8 },
    Trust { kid: u8, until: u8 },
    Import { kid: u8 },
    Export { index: u8 },
    Update { index: u8, ttl: u8 },
    Rename { index: u8, kid: u8 },
    End { index: u8 },
    Bury { index: u8 },
    Mark { index: u8 },
    Revive { index: u8 },
    Adopt { hour: u8 },
}

#[derive(Clone, Debug)]
enum Action {
    Commit { set: usize, revision: At, changes: Vec<Draw>, seen: u64, fault: Option<CommitFault> },
    RecordSeen(u64),
    Tear,
    Reopen,
}

#[derive(Clone, Copy, Debug)]
enum At {
    Current,
    Behind,
    Ahead,
}

fn draw() -> impl Strategy<Value = Draw> {
    let index = any::<u8>;
    prop_oneof![
        5 => (0..24u8, 0..24u8, 0..8u8).prop_map(|(kid, thumbprint, skip)| Draw::New {
            kid,
            thumbprint,
            skip: skip.saturating_sub(5),
        }),
        1 => (0..24u8, index()).prop_map(|(kid, until)| Draw::Trust { kid, until }),
        1 => (0..24u8).prop_map(|kid| Draw::Import { kid }),
        1 => index().prop_map(|index| Draw::Export { index }),
        3 => (index(), index()).prop_map(|(index, ttl)| Draw::Update { index, ttl }),
        1 => (index(), 0..24u8).prop_map(|(index, kid)| Draw::Rename { index, kid }),
        1 => index().prop_map(|index| Draw::End { index }),
        3 => index().prop_map(|index| Draw::Bury { index }),
        1 => index().prop_map(|index| Draw::Mark { index }),
        1 => index().prop_map(|index| Draw::Revive { index }),
        1 => (0..24u8).prop_map(|hour| Draw::Adopt { hour }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let revision = prop_oneof![8 => Just(At::Current), 1 => Just(At::Behind), 1 => Just(At::Ahead)];
    let fault = prop_oneof![
        7 => Just(None),
        1 => Just(Some(CommitFault::FailBefore)),
        1 => Just(Some(CommitFault::FailButPersist)),
        1 => Just(Some(CommitFault::FailUnknown)),
    ];
    let changes = proptest::collection::vec(draw(), 0..4);
    let commit = (0..SETS.len(), revision, changes, 0..1000u64, fault).prop_map(
        |(set, revision, changes, seen, fault)| Action::Commit {
            set,
            revision,
            changes,
            seen,
            fault,
        },
    );
    prop_oneof![
        12 => commit,
        1 => (0..1000u64).prop_map(Action::RecordSeen),
        1 => Just(Action::Tear),
        1 => Just(Action::Reopen),
    ]
}

const SETS: [&str; 3] = ["a", "a-b", "b"];

#[derive(Clone, Debug, Default)]
struct Model {
    sets: [SetModel; SETS.len()],
    seen: Time,
}

#[derive(Clone, Debug, Default)]
struct SetModel {
    loaded: Loaded,
    tombstones: BTreeMap<Number, Tombstone>,
    used: BTreeMap<String, Number>,
}

impl SetModel {
    /// The change that is meant, `None` where there is nothing to do it to.
    fn resolve(&self, draw: &Draw) -> Option<Change> {
        let living = |index: u8| {
            let records = &self.loaded.records;
            records.get(usize::from(index).checked_rem(records.len())?).cloned()
        };
        let buried = |index: u8| {
            let index = usize::from(index).checked_rem(self.tombstones.len())?;
            self.tombstones.values().nth(index).cloned()
        };
        Some(match *draw {
            Draw::New { kid, thumbprint: of, skip } => {
                let number = self.loaded.head.next_number.0 + u64::from(skip);
                let thumbprint = thumbprint(&format!("k{of}"));
                put(Record { thumbprint, ..record(number, &format!("k{kid}")) })
            }
            Draw::Trust { kid, until } => {
                let mut record = record(self.loaded.head.next_number.0, &format!("k{kid}"));
                record.secret = None;
                record.life.origin = Origin::Trusted;
                record.life.activates = None;
                record.life.ended = Some(record.life.created);
                record.life.retires = Some(at(until.into()));
                put(record)
            }
            Draw::Import { kid } => {
                let mut record = record(self.loaded.head.next_number.0, &format!("k{kid}"));
                record.life.origin = Origin::Imported;
                // As where its file says what it is called.
                record.thumbprint = thumbprint(&format!("imported {kid}"));
                put(record)
            }
            Draw::Export { index } => {
                let mut record = living(index)?;
                record.life.exported = Some(at(20));
                put(record)
            }
            Draw::Update { index, ttl } => {
                let mut record = living(index)?;
                record.life.longest_ttl = Duration::from_secs(ttl.into());
                put(record)
            }
            Draw::Rename { index, kid } => {
                let kid = format!("k{kid}").parse().unwrap();
                put(Record { kid, ..living(index)? })
            }
            Draw::End { index } => {
                let mut record = living(index)?;
                record.secret = None;
                record.life.ended = Some(at(30));
                put(record)
            }
            Draw::Bury { index } => bury(&living(index)?, Departure::Revoked),
            Draw::Mark { index } => {
                let reason = Some(format!("marked {index}"));
                Change::Mark(Box::new(Tombstone { reason, ..buried(index)? }))
            }
            Draw::Revive { index } => {
                let number = buried(index)?.life.number.0;
                put(record(number, &format!("revived-{index}")))
            }
            Draw::Adopt { hour } => adopt(&format!("0 {hour} 1 * *")),
        })
    }

    /// Makes a change, or says how the store must refuse it.
    fn apply(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Adopt { facts, former_max_age } => {
                self.loaded.head.facts = Some(facts.as_ref().clone());
                self.loaded.head.former_max_age = *former_max_age;
            }
            Change::Put(record) => {
                let number = record.life.number;
                let names = [record.kid.as_str(), record.thumbprint.as_str()];
                let is_new = number >= self.loaded.head.next_number;
                let owner = (!is_new).then_some(&number);
                if names.iter().any(|name| self.used.get(*name) != owner) {
                    return Err(StoreError::Used);
                }
                let records = &mut self.loaded.records;
                if is_new {
                    self.used.extend(names.map(|name| (name.to_owned(), number)));
                    self.loaded.head.next_number = number.next();
                    records.push(record.as_ref().clone());
                } else if let Some(living) = records.iter_mut().find(|r| r.life.number == number) {
                    *living = record.as_ref().clone();
                } else {
                    return Err(StoreError::Used);
                }
            }
            Change::Bury(tombstone) => {
                let number = tombstone.life.number;
                let records = &mut self.loaded.records;
                let index = records.iter().position(|record| record.life.number == number);
                records.remove(index.ok_or(StoreError::Conflict)?);
                self.tombstones.insert(number, tombstone.as_ref().clone());
            }
            Change::Mark(tombstone) => {
                let stored = self.tombstones.get_mut(&tombstone.life.number);
                *stored.ok_or(StoreError::Conflict)? = tombstone.as_ref().clone();
            }
        }
        Ok(())
    }
}

/// Carries actions out on a store and the model and compares them after each; `fail` makes the
/// next commit fail.
fn run<B: Backend>(actions: &[Action], fail: impl Fn(&B, CommitFault), tear: impl Fn(&B)) {
    let mut bench = Bench::<B>::new();
    let mut model = Model::default();
    for action in actions {
        match action {
            Action::Reopen => bench.reopen(),
            Action::Tear => tear(&bench.backend),
            Action::RecordSeen(time) => {
                bench.store().record_seen(at(*time)).unwrap();
                model.seen = model.seen.max(at(*time));
            }
            Action::Commit { set: index, revision, changes, seen, fault } => {
                let before = &model.sets[*index];
                let mut after = before.clone();
                let mut refusals = Vec::new();
                let mut resolved = Vec::new();
                for change in changes.iter().filter_map(|draw| before.resolve(draw)) {
                    refusals.extend(after.apply(&change).err());
                    resolved.push(change);
                }
                let current = before.loaded.revision;
                after.loaded.revision = current.next();
                let expected = match revision {
                    At::Current => current,
                    At::Behind => Revision(current.0.checked_sub(1).unwrap_or(9)),
                    At::Ahead => current.next(),
                };
                let fault = fault.filter(|_| refusals.is_empty() && expected == current);
                if let Some(fault) = fault {
                    fail(&bench.backend, fault);
                }
                let name = set(SETS[*index]);
                let outcome = bench.store().commit(&name, expected, &resolved, at(*seen));
                let takes_effect = match outcome {
                    Ok(revision) => {
                        assert!(refusals.is_empty() && expected == current && fault.is_none());
                        assert_eq!(revision, current.next());
                        true
                    }
                    Err(StoreError::Conflict) => {
                        assert!(expected != current || refusals.contains(&StoreError::Conflict));
                        false
                    }
                    Err(StoreError::Used) => {
                        assert!(refusals.contains(&StoreError::Used) && expected == current);
                        false
                    }
                    Err(StoreError::Unavailable(_)) => {
                        assert_eq!(fault, Some(CommitFault::FailBefore));
                        false
                    }
                    Err(StoreError::Unknown(_)) => {
                        assert!(fault.is_some() && fault != Some(CommitFault::FailBefore));
                        fault == Some(CommitFault::FailButPersist)
                    }
                    Err(other) => panic!("{other}"),
                };
                if takes_effect {
                    model.sets[*index] = after;
                    model.seen = model.seen.max(at(*seen));
                }
            }
        }
        compare(&model, &bench);
    }
}

fn compare<B: Backend>(model: &Model, bench: &Bench<B>) {
    let store = bench.store();
    let mut committed = BTreeSet::new();
    for (name, expected) in SETS.into_iter().zip(&model.sets) {
        let name = set(name);
        assert_eq!(bench.load(&name), expected.loaded);
        let tombstones = store.tombstones(&name).unwrap();
        assert_eq!(tombstones, expected.tombstones.values().cloned().collect::<Vec<_>>());
        for tombstone in tombstones {
            let found = store.tombstone(&name, &tombstone.kid).unwrap();
            assert_eq!(found, Some(tombstone));
        }
        if expected.loaded.revision > Revision(0) {
            committed.insert(name);
        }
    }
    assert_eq!(BTreeSet::from_iter(store.keysets().unwrap()), committed);
    assert_eq!(store.seen().unwrap(), model.seen);
}

fn random_histories(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(random_histories(400))]

    #[test]
    fn a_random_history_with_faults_in_memory_is_that_of_the_model(
        actions in proptest::collection::vec(action(), 1..30),
    ) {
        run::<Memory>(
            &actions,
            |backend, fault| backend.0.fail_next([fault]),
            |backend| backend.0.tear_next_load(),
        );
    }
}

proptest! {
    #![proptest_config(random_histories(32))]

    #[test]
    fn a_random_history_on_disk_is_that_of_the_model(
        actions in proptest::collection::vec(action().prop_map(without_fault), 1..20),
    ) {
        run::<Disk>(&actions, |_, _| {}, |_| {});
    }
}

fn without_fault(mut action: Action) -> Action {
    if let Action::Commit { fault, .. } = &mut action {
        *fault = None;
    }
    action
}
