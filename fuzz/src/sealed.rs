//! Sealed secrets, backups and the rows of a store: text after `sealed:`, a master key file after
//! `keys:`, a backup and changes to a real one after `backup:`, else changes to the rows of a real store.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::crypto;
use jwksd_keystore::id::{KeyId, KeysetName, Revision};
use jwksd_keystore::lifecycle::{Departure, Life, Number, Origin, PlannedBy};
use jwksd_keystore::seal::{MasterKeys, Place, Sealed};
use jwksd_keystore::store::backup::{self, About, Backup};
use jwksd_keystore::store::{
    Change, Loaded, MemoryRows, MemoryStore, Record, Store, StoreError, Tombstone,
};
use jwksd_keystore::time::Time;

use super::input;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A store with a key, a tombstone and a second key set, and what is read from it.
struct Whole {
    master_keys: Arc<MasterKeys>,
    keyset: KeysetName,
    rows: Rows,
    read: Read,
    backup: Vec<u8>,
}

/// What is read from a store.
#[derive(Debug, PartialEq)]
struct Read {
    loaded: Loaded,
    tombstones: Vec<Tombstone>,
    seen: Time,
}

/// No text opens that was not sealed, and of changed rows none is read as something else.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    static WHOLE: OnceLock<Whole> = OnceLock::new();
    let whole = WHOLE.get_or_init(Whole::new);
    if let Some(sealed) = data.strip_prefix(b"sealed:") {
        whole.check_sealed(sealed);
    } else if let Some(backup) = data.strip_prefix(b"backup:") {
        whole.check_backup(backup);
    } else if let Some(file) = data.strip_prefix(b"keys:") {
        if let Ok(text) = std::str::from_utf8(file) {
            let _ = MasterKeys::parse(text);
        }
    } else {
        whole.check_changed(data);
    }
}

/// Master keys for tests alone: everyone can read them here.
pub fn master_keys(byte: u8) -> MasterKeys {
    let key = BASE64_URL_SAFE_NO_PAD.encode([byte; 32]);
    MasterKeys::parse(&format!("jwksd-master-key-v1:{key}\n")).unwrap()
}

impl Whole {
    fn new() -> Self {
        let master_keys = Arc::new(master_keys(1));
        let rows = MemoryRows::default();
        let store = MemoryStore::open(rows.clone(), master_keys.clone()).unwrap();
        let record = |keyset: &KeysetName, number: u64| {
            let pair = crypto::generate(Algorithm::EdDsa).unwrap();
            let life = life(Number(number));
            Record::of_new_key(keyset, life, Revision(1), pair, &master_keys).unwrap()
        };
        let put = |record: &Record| Change::Put(Box::new(record.clone()));
        let keyset: KeysetName = "default".parse().unwrap();
        for name in [&keyset, &"other".parse().unwrap()] {
            let (old, live) = (record(name, 0), record(name, 1));
            let left = old.tombstone(Departure::Retired, at(1), None);
            let first = Revision::default();
            let second = store.commit(name, first, &[put(&old), put(&live)], at(1)).unwrap();
            store.commit(name, second, &[Change::Bury(Box::new(left))], at(2)).unwrap();
        }
        let read = Read::of(&store, &keyset).unwrap();
        let about = About { version: "0.1.0".to_owned(), taken: at(3), audit: None };
        let (_, backup) = backup::make(&store.copy().unwrap(), about, &master_keys).unwrap();
        Self { master_keys, keyset, rows: rows.snapshot(), read, backup }
    }

    fn check_sealed(&self, bytes: &[u8]) {
        let record = &self.read.loaded.records[0];
        let real = record.secret.as_ref().unwrap();
        let (keyset, number) = (&self.keyset, record.life.number);
        let (kid, algorithm, revision) = (&record.kid, Algorithm::EdDsa, real.revision);
        let place = Place { keyset, number, kid, algorithm, revision };
        assert!(self.master_keys.open(&real.sealed, &place).is_ok());

        let text = String::from_utf8_lossy(bytes).into_owned();
        for text in [text, BASE64_URL_SAFE_NO_PAD.encode(bytes)] {
            if let Ok(sealed) = serde_json::from_value::<Sealed>(text.into()) {
                assert!(self.master_keys.open(&sealed, &place).is_err());
            }
        }
        // The real one opens in no other place.
        let other: Option<KeyId> = std::str::from_utf8(bytes).ok().and_then(|kid| kid.parse().ok());
        if let Some(kid) = other.filter(|other| other != kid) {
            let place = Place { kid: &kid, ..place };
            assert!(self.master_keys.open(&real.sealed, &place).is_err());
        }
    }

    /// Only a backup that nobody changed opens, and then it holds all.
    fn check_backup(&self, data: &[u8]) {
        assert!(Backup::open(data, self.master_keys.clone()).is_err());
        let mut changed = self.backup.clone();
        for change in input::changes(data) {
            change.apply(&mut changed);
        }
        match Backup::open(&changed, self.master_keys.clone()) {
            Ok(backup) => {
                assert_eq!(changed, self.backup);
                assert_eq!(backup.store.check(&mut |_| {}), Ok(()));
                assert_eq!(Read::of(&backup.store, &self.keyset).unwrap(), self.read);
            }
            Err(_) => assert_ne!(changed, self.backup),
        }
    }

    fn check_changed(&self, data: &[u8]) {
        let mut rows = self.rows.clone();
        for change in input::changes(data) {
            let row = usize::from(change.which) % rows.len();
            change.apply(rows.values_mut().nth(row).unwrap());
        }
        let shared = MemoryRows::default();
        shared.put_back(&rows, b"");
        let read = MemoryStore::open(shared, self.master_keys.clone())
            .and_then(|store| Read::of(&store, &self.keyset));
        match read {
            Ok(read) => assert_eq!(read, self.read),
            Err(
                StoreError::Damaged { .. }
                | StoreError::OtherMasterKey { .. }
                | StoreError::UnknownFormat { .. },
            ) => assert_ne!(rows, self.rows),
            Err(error) => panic!("{error}"),
        }
    }
}

impl Read {
    fn of(store: &impl Store, keyset: &KeysetName) -> Result<Self, StoreError> {
        let tombstones = store.tombstones(keyset)?;
        for tombstone in &tombstones {
            assert_eq!(store.tombstone(keyset, &tombstone.kid)?.as_ref(), Some(tombstone));
        }
        Ok(Self { loaded: store.load(keyset)?, tombstones, seen: store.seen()? })
    }
}

fn at(second: u64) -> Time {
    Time::from_millis(1_795_316_400_000 + second * 1000)
}

fn life(number: Number) -> Life {
    Life {
        number,
        algorithm: Algorithm::EdDsa,
        created: at(0),
        published: at(0),
        served_from: at(0),
        stale_max_age: Duration::ZERO,
        activates: Some(at(0)),
        planned_by: PlannedBy::Schedule { cron: "0 3 1 * *".into(), time_zone: "UTC".into() },
        longest_ttl: Duration::from_hours(1),
        may_have_signed: true,
        ended: None,
        retires: None,
        origin: Origin::Generated,
        exported: None,
    }
}
