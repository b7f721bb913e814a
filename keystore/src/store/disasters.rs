//! Backups, stores that are made whole, and changes of the master key: what is done to their files,
//! and where their making is interrupted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::backup::{About, AuditLine, Backup, BackupError, Header, make};
use super::sled::tests::{copy_files, open_when_free};
use super::tests::assert_signs;
use super::*;
use crate::algorithm::Algorithm;
use crate::crypto::{self, samples};
use crate::facts::tests::facts;
use crate::lifecycle::PlannedBy;
use crate::seal::tests::master_keys;

const BUILDING: &str = "building";

type AllRows = BTreeMap<Vec<u8>, Vec<u8>>;

/// What writes a store to a place.
type Writing<'w> = dyn Fn(&Path, &mut dyn FnMut(Progress)) -> Result<(), StoreError> + 'w;

fn set(name: &str) -> KeysetName {
    name.parse().unwrap()
}

fn at(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn life(number: u64, algorithm: Algorithm) -> Life {
    Life { algorithm, planned_by: PlannedBy::FirstKey, ..conformance::life(number) }
}

/// The name of the set that has keys of one algorithm.
fn set_of(algorithm: Algorithm) -> KeysetName {
    set(&algorithm.to_string().to_lowercase().replace('_', "-"))
}

/// Commits a set with a buried key, one that signs, and one that has ended.
fn fill(store: &impl Store, keys: &MasterKeys, keyset: &KeysetName, algorithm: Algorithm) {
    let new = |number, pair| {
        Record::of_new_key(keyset, life(number, algorithm), Revision(1), pair, keys).unwrap()
    };
    let gone = new(0, samples::pair(algorithm));
    let signs = new(1, samples::other_pair(algorithm));
    let other = crypto::generate(Algorithm::EdDsa).unwrap();
    let ended = Record {
        life: Life { ended: Some(at(7)), ..life(2, Algorithm::EdDsa) },
        kid: "ended".parse().unwrap(),
        thumbprint: other.thumbprint,
        public: other.public,
        secret: None,
    };
    let adopt = Change::Adopt {
        facts: Box::new(facts("0 3 1 * *")),
        former_max_age: FormerMaxAge::default(),
    };
    let changes = [adopt, put(&gone), put(&signs), put(&ended)];
    store.commit(keyset, Revision(0), &changes, at(10)).unwrap();
    let tombstone = gone.tombstone(Departure::Revoked, at(11), Some("stolen"));
    store.commit(keyset, Revision(1), &[Change::Bury(Box::new(tombstone))], at(12)).unwrap();
}

fn put(record: &Record) -> Change {
    Change::Put(Box::new(record.clone()))
}

/// A store in memory with a set for each of these algorithms.
fn store_of(algorithms: &[Algorithm]) -> (MemoryStore, Arc<MasterKeys>) {
    let keys = Arc::new(master_keys());
    let store = MemoryStore::open(MemoryRows::default(), keys.clone()).unwrap();
    for algorithm in algorithms {
        fill(&store, &keys, &set_of(*algorithm), *algorithm);
    }
    (store, keys)
}

fn about() -> About {
    let audit = Some(AuditLine { line: 7, hash: "hash".to_owned() });
    About { version: "0.1.0".to_owned(), taken: at(13), audit }
}

fn backup_of(store: &impl Store, keys: &MasterKeys) -> (Header, Vec<u8>) {
    make(&store.copy().unwrap(), about(), keys).unwrap()
}

/// All that the contract of a store tells.
fn told(store: &impl Store) -> (Time, BTreeMap<KeysetName, (Loaded, Vec<Tombstone>)>) {
    let all = store.keysets().unwrap().into_iter().map(|keyset| {
        let found = (store.load(&keyset).unwrap(), store.tombstones(&keyset).unwrap());
        (keyset, found)
    });
    (store.seen().unwrap(), all.collect())
}

/// The same without what differs when a secret is sealed anew.
fn told_but_sealed(store: &impl Store) -> (Time, BTreeMap<KeysetName, (Loaded, Vec<Tombstone>)>) {
    let (seen, mut all) = told(store);
    for record in all.values_mut().flat_map(|(loaded, _)| &mut loaded.records) {
        if let Some(secret) = &mut record.secret {
            secret.sealed = serde_json::from_str("\"\"").unwrap();
        }
    }
    (seen, all)
}

fn check(store: &StoreCopy) -> Result<(), StoreError> {
    store.check(&mut |_| {})
}

#[test]
fn a_backup_of_every_algorithm_opens_with_all_that_was_in_the_store() {
    let (store, keys) = store_of(&Algorithm::ALL);
    let (header, bytes) = backup_of(&store, &keys);
    let backup = Backup::open(&bytes, keys.clone()).unwrap();
    assert_eq!(backup.header, header);
    assert_eq!(told(&backup.store), told(&store));
    assert_eq!(check(&backup.store), Ok(()));
    let sets = Algorithm::ALL.len() as u64;
    assert_eq!((header.keysets, header.keys), (sets, 2 * sets));
    assert_eq!((header.taken, header.seen), (at(13), at(12)));
    assert_eq!(header.audit, about().audit);
    for algorithm in Algorithm::ALL {
        let keyset = set_of(algorithm);
        let loaded = backup.store.load(&keyset).unwrap();
        let record = &loaded.records[0];
        assert_signs(&keyset, record, &keys);
    }
}

#[test]
fn a_backup_cut_off_anywhere_does_not_open() {
    let (store, keys) = store_of(&[Algorithm::EdDsa]);
    let (_, bytes) = backup_of(&store, &keys);
    for length in 0..bytes.len() {
        let refused = Backup::open(&bytes[..length], keys.clone()).err().unwrap();
        let is_told = match length {
            0 => refused == BackupError::NotABackup,
            1..72 => refused == BackupError::TooShort(length),
            _ => refused == BackupError::Damaged { from: 56, to: length },
        };
        assert!(is_told, "{length}: {refused}");
    }
}

#[test]
fn a_backup_with_any_flipped_byte_does_not_open() {
    let (store, keys) = store_of(&[Algorithm::EdDsa]);
    let (_, bytes) = backup_of(&store, &keys);
    for index in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[index] ^= 1;
        let refused = Backup::open(&flipped, keys.clone()).err().unwrap();
        let is_told = match index {
            0..14 => refused == BackupError::NotABackup,
            14..16 => matches!(refused, BackupError::NewerFormat { .. }),
            16..24 => matches!(refused, BackupError::OtherMasterKey { .. }),
            _ => refused == BackupError::Damaged { from: 56, to: bytes.len() },
        };
        assert!(is_told, "{index}: {refused}");
    }
}

/// A store that takes three chunks, the last of which is full.
fn of_three_chunks() -> (Vec<u8>, Vec<u8>, Arc<MasterKeys>) {
    let (store, keys) = store_of(&[Algorithm::EdDsa]);
    let backup = |long: usize| {
        let version = "x".repeat(long);
        make(&store.copy().unwrap(), About { version, ..about() }, &keys).unwrap().1
    };
    let short = backup(1).len() - 56 - 16;
    let full = 3 * 65_536 - short + 1;
    (backup(full), backup(full), keys)
}

#[test]
fn chunks_open_only_in_their_backup_at_their_place_and_to_the_end() {
    let (one, other, keys) = of_three_chunks();
    let chunk = 65_536 + 16;
    assert_eq!(one.len(), 56 + 3 * chunk);
    assert!(Backup::open(&one, keys.clone()).is_ok());
    let (head, [first, second, third]) =
        (&one[..56], [0, 1, 2].map(|index| &one[56 + index * chunk..56 + (index + 1) * chunk]));
    let wrong: [(&str, Vec<u8>); 9] = [
        ("cut off after a chunk", [head, first, second].concat()),
        ("without its first chunk", [head, second, third].concat()),
        ("without one in the middle", [head, first, third].concat()),
        ("two in another order", [head, second, first, third].concat()),
        ("one twice", [head, first, second, second, third].concat()),
        ("with a byte more", [&one[..], &[0]].concat()),
        ("with a chunk more", [&one[..], third].concat()),
        ("the beginning of another", [&other[..56 + chunk], second, third].concat()),
        ("the end of another", [&one[..56 + 2 * chunk], &other[56 + 2 * chunk..]].concat()),
    ];
    for (what, bytes) in wrong {
        let refused = Backup::open(&bytes, keys.clone()).err();
        assert!(matches!(refused, Some(BackupError::Damaged { .. })), "{what}: {refused:?}");
    }
}

#[test]
fn a_backup_under_another_master_key_says_so_and_one_of_several_is_enough() {
    let (store, keys) = store_of(&[Algorithm::EdDsa]);
    let (_, bytes) = backup_of(&store, &keys);
    let others = Arc::new(master_keys());
    let given = others.sealing_id();
    let refused = BackupError::OtherMasterKey { id: keys.sealing_id(), given };
    assert_eq!(Backup::open(&bytes, others).err(), Some(refused));
    let [old, new] = [(); 2].map(|()| MasterKeys::generate_file().unwrap());
    let old_keys = Arc::new(MasterKeys::parse(&old).unwrap());
    let store = MemoryStore::open(MemoryRows::default(), old_keys.clone()).unwrap();
    let (_, bytes) = backup_of(&store, &old_keys);
    let both = MasterKeys::parse(&format!("{}{}", *new, *old)).unwrap();
    assert!(Backup::open(&bytes, Arc::new(both)).is_ok());
}

#[test]
fn what_is_no_backup_and_what_is_newer_is_told() {
    let keys = Arc::new(master_keys());
    let refused = |bytes: &[u8]| Backup::open(bytes, keys.clone()).err();
    for bytes in [&b""[..], &[0; 10], &[0; 200], b"jwksd-master-key-v1:", &b"a".repeat(100)] {
        assert_eq!(refused(bytes), Some(BackupError::NotABackup));
    }
    for (beginning, format) in [("v2\n", "v2"), ("v10\nmore", "v10"), ("v1.1 and\n", "v1.1 and")] {
        for rest in [&[][..], &[0; 100]] {
            let newer = [b"jwksd backup ", beginning.as_bytes(), rest].concat();
            let told = BackupError::NewerFormat { format: format.into() };
            assert_eq!(refused(&newer), Some(told));
        }
    }
}

/// Every row, changed or taken out, and one that is too many: a check finds it, though the store
/// opens.
#[test]
fn a_check_finds_any_row_that_is_not_as_it_was_written() {
    let (store, _keys) = store_of(&[Algorithm::EdDsa]);
    let whole = store.rows().snapshot();
    assert_eq!(check(&store.copy().unwrap()), Ok(()));
    let checked = |change: &dyn Fn(&mut AllRows)| {
        let mut rows = whole.clone();
        change(&mut rows);
        store.rows().put_back(&rows, b"");
        store.copy().and_then(|copy| check(&copy))
    };
    for key in whole.keys() {
        let name = String::from_utf8_lossy(key);
        let without = checked(&|rows| drop(rows.remove(key)));
        assert!(matches!(without, Err(StoreError::Damaged { .. })), "without {name}: {without:?}");
        let changed = checked(&|rows| *rows.get_mut(key).unwrap().last_mut().unwrap() ^= 1);
        assert!(changed.is_err(), "changed {name}");
    }
    for key in [&b"more"[..], b"u/eddsa/more", b"u/other/kid", b"t/other/kid"] {
        let added = checked(&|rows| drop(rows.insert(key.to_vec(), vec![0; 8])));
        assert!(matches!(added, Err(StoreError::Damaged { .. })), "{key:?}: {added:?}");
    }
}

#[test]
fn a_check_finds_a_secret_that_does_not_open_or_belongs_to_another_key() {
    let keys = Arc::new(master_keys());
    let of_pair = |pair| {
        Record::of_new_key(&set("a"), life(0, Algorithm::EdDsa), Revision(1), pair, &keys).unwrap()
    };
    let own = of_pair(samples::pair(Algorithm::EdDsa));
    let other = of_pair(samples::other_pair(Algorithm::EdDsa));
    let moved = |revision| {
        let secret = own.secret.clone().map(|secret| SealedSecret { revision, ..secret });
        Record { secret, ..own.clone() }
    };
    let swapped = Record { public: other.public.clone(), ..own.clone() };
    let halves = Record { thumbprint: other.thumbprint.clone(), ..swapped.clone() };
    let checked = |record: &Record| {
        let store = MemoryStore::open(MemoryRows::default(), keys.clone()).unwrap();
        store.commit(&set("a"), Revision(0), &[put(record)], at(1)).unwrap();
        check(&store.copy().unwrap())
    };
    let damaged = |what: &str| Err(StoreError::Damaged { what: what.to_owned() });
    assert_eq!(checked(&own), Ok(()));
    let not_open = damaged("the secret of key 0 of key set a");
    assert_eq!(checked(&moved(Revision(2))), not_open);
    let apart = damaged("key 0 of key set a (its halves do not belong together)");
    assert_eq!(checked(&swapped), apart);
    assert_eq!(checked(&halves), apart);
}

#[test]
fn stores_of_earlier_versions_pass_a_check() {
    let (_, store) = super::earlier::opened();
    assert_eq!(check(&store.copy().unwrap()), Ok(()));
}

/// Two sets on disk, and a place beside them.
fn on_disk() -> (TempDir, SledStore, Arc<MasterKeys>) {
    let (dir, keys) = (tempfile::tempdir().unwrap(), Arc::new(master_keys()));
    let store = SledStore::create(&dir.path().join("store"), keys.clone()).unwrap();
    fill(&store, &keys, &set("a"), Algorithm::EdDsa);
    fill(&store, &keys, &set("b"), Algorithm::Es256);
    (dir, store, keys)
}

#[test]
fn a_store_that_is_written_anew_holds_the_same_and_goes_on() {
    let (dir, store, keys) = on_disk();
    let path = dir.path().join("new");
    let copy = store.copy().unwrap();
    copy.write_new(&path, BUILDING, &mut |_| {}).unwrap();
    assert!(!dir.path().join("new.building").exists());
    let new = open_when_free(&path, keys.clone()).unwrap();
    assert_eq!(told(&new), told(&store));
    assert_eq!(new.copy().unwrap().moment().commit, copy.moment().commit);
    fill(&new, &keys, &set("c"), Algorithm::Es384);
    drop(new);
    let new = open_when_free(&path, keys).unwrap();
    assert_eq!(new.keysets().unwrap().len(), 3);
    // Nothing of it is taken for lost.
    assert_eq!(new.copy().unwrap().moment().commit, copy.moment().commit + 2);
}

#[test]
fn a_store_is_written_only_where_nothing_is() {
    let (dir, store, _keys) = on_disk();
    let copy = store.copy().unwrap();
    let write = |path: &Path| copy.write_new(path, BUILDING, &mut |_| {});
    let occupied = |path: &Path| Err(StoreError::Occupied(path.to_owned()));
    let old = dir.path().join("store");
    assert_eq!(write(&old), occupied(&old));
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert_eq!(write(&file), occupied(&file));
    let dangling = dir.path().join("link");
    std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
    assert_eq!(write(&dangling), occupied(&dangling));
    let folder = dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("notes"), "mine").unwrap();
    assert_eq!(write(&folder), occupied(&folder));
    // Nor is anything thrown away that no building left.
    let new = dir.path().join("new");
    fs::rename(&folder, dir.path().join("new.building")).unwrap();
    assert_eq!(write(&new), occupied(&dir.path().join("new.building")));
    assert_eq!(fs::read(dir.path().join("new.building/notes")).unwrap(), b"mine");
    fs::remove_dir_all(dir.path().join("new.building")).unwrap();
    fs::create_dir(&new).unwrap();
    assert_eq!(write(&new), Ok(()));
}

/// Runs the writing, and for each of its steps again to the end from what a process that was killed
/// there leaves.
fn interrupted_everywhere(write: &Writing<'_>, look: &dyn Fn(&Path)) -> usize {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("place");
    fs::create_dir(&place).unwrap();
    let left = Mutex::new(Vec::new());
    write(&place.join("new"), &mut |_| {
        let mut left = left.lock().unwrap();
        let copy = dir.path().join(format!("left-{}", left.len()));
        copy_files(&place, &copy);
        left.push(copy);
    })
    .unwrap();
    look(&place.join("new"));
    let left = left.into_inner().unwrap();
    for copy in &left {
        let new = copy.join("new");
        if new.exists() {
            // It had its name already, and so is whole.
            assert_eq!(write(&new, &mut |_| {}), Err(StoreError::Occupied(new.clone())));
        } else {
            write(&new, &mut |_| {}).unwrap();
        }
        assert!(!copy.join("new.building").exists());
        look(&new);
    }
    left.len()
}

#[test]
fn a_writing_that_was_interrupted_anywhere_is_done_again_from_nothing() {
    let (_dir, store, keys) = on_disk();
    let (copy, expected) = (store.copy().unwrap(), told(&store));
    let write =
        |path: &Path, watch: &mut dyn FnMut(Progress)| copy.write_new(path, BUILDING, watch);
    let steps = interrupted_everywhere(&write, &|path| {
        assert_eq!(told(&open_when_free(path, keys.clone()).unwrap()), expected);
    });
    assert_eq!(steps, 9);
}

#[test]
fn what_was_half_written_by_a_killed_building_is_thrown_away() {
    let (dir, store, keys) = on_disk();
    let (copy, new) = (store.copy().unwrap(), dir.path().join("new"));
    let building = dir.path().join("new.building");
    for (name, content) in [
        ("db", &b"torn"[..]),
        ("conf", b""),
        ("latest.new", b"x"),
        ("latest", b""),
        ("format", b""),
    ] {
        fs::create_dir_all(building.join("blobs")).unwrap();
        fs::write(building.join(name), content).unwrap();
        fs::write(building.join("snap.0001.generating"), "").unwrap();
        copy.write_new(&new, BUILDING, &mut |_| {}).unwrap();
        assert_eq!(told(&open_when_free(&new, keys.clone()).unwrap()), told(&store));
        SledStore::wait_until_closed(&new).unwrap();
        fs::remove_dir_all(&new).unwrap();
    }
}

#[test]
fn under_another_master_key_every_secret_opens_and_the_old_key_opens_nothing() {
    let (store, old) = store_of(&Algorithm::ALL);
    let new = Arc::new(master_keys());
    let copy = store.copy().unwrap().under(new.clone(), &mut |_| {}).unwrap();
    assert_eq!(check(&copy), Ok(()));
    assert_eq!(told_but_sealed(&copy), told_but_sealed(&store));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new");
    copy.write_new(&path, BUILDING, &mut |_| {}).unwrap();
    assert_eq!(told(&open_when_free(&path, new.clone()).unwrap()), told(&copy));
    let refused = StoreError::OtherMasterKey { id: new.sealing_id() };
    assert_eq!(open_when_free(&path, old.clone()).err(), Some(refused));
    // No row is left under the old key: each tagged one names its key, and each sealed secret too.
    for (key, value) in &copy.moment().rows {
        let id = old.sealing_id();
        let has_id = crypto::hex(value).contains(&id);
        assert!(!has_id, "{} names the old key", String::from_utf8_lossy(key));
    }
    for record in told(&copy).1.into_values().flat_map(|(loaded, _)| loaded.records) {
        let Some(secret) = &record.secret else { continue };
        let keyset = set_of(record.life.algorithm);
        let place = record.place(&keyset, secret);
        let refused = crate::seal::SealError::OtherMasterKey { id: new.sealing_id() };
        assert_eq!(old.open(&secret.sealed, &place).err(), Some(refused));
    }
}

#[test]
fn a_change_of_the_master_key_that_was_interrupted_anywhere_is_done_again() {
    let (_dir, store, _old) = on_disk();
    let (new, expected) = (Arc::new(master_keys()), told_but_sealed(&store));
    let rekey = |path: &Path, watch: &mut dyn FnMut(Progress)| {
        let copy = store.copy()?.under(new.clone(), watch)?;
        copy.write_new(path, BUILDING, watch)
    };
    let steps = interrupted_everywhere(&rekey, &|path| {
        let rekeyed = open_when_free(path, new.clone()).unwrap();
        assert_eq!(told_but_sealed(&rekeyed), expected);
        assert_eq!(check(&rekeyed.copy().unwrap()), Ok(()));
    });
    assert_eq!(steps, 11);
}

#[test]
fn a_copy_of_a_store_under_several_master_keys_goes_under_the_new_one() {
    let [old, new] = [(); 2].map(|()| MasterKeys::generate_file().unwrap());
    let old_keys = Arc::new(MasterKeys::parse(&old).unwrap());
    let rows = MemoryRows::default();
    let store = MemoryStore::open(rows.clone(), old_keys.clone()).unwrap();
    fill(&store, &old_keys, &set("a"), Algorithm::EdDsa);
    let both = Arc::new(MasterKeys::parse(&format!("{}{}", *new, *old)).unwrap());
    let mixed = MemoryStore::open(rows, both.clone()).unwrap();
    fill(&mixed, &both, &set("b"), Algorithm::Es256);
    let copy = mixed.copy().unwrap();
    assert_eq!(check(&copy), Ok(()));
    let third = Arc::new(master_keys());
    let under = copy.under(third, &mut |_| {}).unwrap();
    assert_eq!(check(&under), Ok(()));
    assert_eq!(told_but_sealed(&under), told_but_sealed(&mixed));
}

/// Commits go to one set and then to the other, so at no moment are they further apart than one.
#[test]
fn a_copy_made_while_commits_go_on_is_of_one_moment() {
    let (_dir, store, _keys) = on_disk();
    let (is_done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (store, is_done, written) = (&store, &is_done, &written);
        scope.spawn(move || {
            let (mut a, mut b) = (Revision(2), Revision(2));
            while !is_done.load(Ordering::Relaxed) {
                a = store.commit(&set("a"), a, &[], at(20)).unwrap();
                b = store.commit(&set("b"), b, &[], at(20)).unwrap();
                written.fetch_add(1, Ordering::Relaxed);
            }
        });
        let (mut before, mut apart, mut copies) = (0, [0, 0], 0);
        while copies < 40 || written.load(Ordering::Relaxed) < 3 {
            copies += 1;
            let copy = store.copy().unwrap();
            assert_eq!(check(&copy), Ok(()));
            let [a, b] = ["a", "b"].map(|name| copy.load(&set(name)).unwrap().revision.0);
            assert!(a == b || a == b + 1, "{a} and {b}");
            apart[usize::try_from(a - b).unwrap()] += 1;
            // Each commit is one of those that the copy counts.
            assert!(copy.moment().commit >= before);
            before = copy.moment().commit;
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_change_of_a_copy_is_one_of_the_copy_alone() {
    let (_dir, store, keys) = on_disk();
    let before = told(&store);
    let copy = store.copy().unwrap();
    fill(&copy, &keys, &set("c"), Algorithm::EdDsa);
    assert_eq!(copy.moment().commit, store.copy().unwrap().moment().commit + 2);
    assert_eq!(told(&store), before);
    assert_eq!(copy.keysets().unwrap().len(), 3);
}

#[test]
fn a_building_that_another_process_is_at_is_left_alone() {
    let (dir, store, keys) = on_disk();
    let building = dir.path().join("new.building");
    let other = SledStore::create(&building, keys).unwrap();
    let refused = store.copy().unwrap().write_new(&dir.path().join("new"), BUILDING, &mut |_| {});
    assert_eq!(refused, Err(StoreError::Locked(building)));
    assert_eq!(other.keysets(), Ok(vec![]));
}
