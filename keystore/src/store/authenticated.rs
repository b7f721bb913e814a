//! The [`Store`] contract over plain rows of bytes.
//!
//! | row | value |
//! |---|---|
//! | `format` | the number of this layout |
//! | `seen` | tag, lifecycle time |
//! | `h/{keyset}` | tag, head |
//! | `r/{keyset}/{number}` | record; its hash is in the head |
//! | `t/{keyset}/{kid}` | tag, tombstone |
//! | `u/{keyset}/{kid or thumbprint}` | the number that used it |
//!
//! The rows on disk have one more, see the module `sled`.

mod whole;

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::copied::{Moment, StoreCopy};
use super::high_water::{checked_number, tagged_number};
use super::{Change, Commit, Head, Loaded, Record, Store, StoreError, Tombstone};
use crate::crypto::sha256;
use crate::facts::Facts;
use crate::id::{KeyId, KeysetName, Revision};
use crate::jwk::{Thumbprint, base64url};
use crate::lifecycle::{FormerMaxAge, Number};
use crate::planted::{self, Fault};
use crate::seal::MasterKeys;
use crate::time::Time;

/// The layout that this version writes, and the only one that it reads.
pub(super) const FORMAT: &[u8] = b"1";
pub(super) const FORMAT_ROW: &[u8] = b"format";
const SEEN_ROW: &[u8] = b"seen";

/// A key and what is or shall be stored under it.
pub(super) type Row = (Vec<u8>, Option<Vec<u8>>);

/// Keys and what is stored under them.
pub(super) type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// Rows of bytes with one atomic, durable, conditional write.
pub(super) trait Rows: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// All rows whose key begins with `prefix`, in the order of their keys.
    fn scan(&self, prefix: &[u8]) -> Result<Pairs, StoreError>;

    /// Writes all of `rows` durably if every row of `expected` still is as it says; else changes
    /// nothing and returns the index of the first that is not.
    fn write(&self, expected: &[Row], rows: &[Row]) -> Result<Result<(), usize>, StoreError>;

    /// All rows of one moment: no write is in them by half. What counts the writes is told apart.
    fn all(&self) -> Result<Moment, StoreError>;
}

/// A [`Store`] over rows.
pub(super) struct Authenticated<R> {
    pub(super) rows: R,
    master_keys: std::sync::Arc<MasterKeys>,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tried {
    Done,
    /// Nothing was written, and it may be the next time.
    Again,
}

/// The stored form of a head.
#[derive(Serialize, Deserialize)]
struct HeadRow {
    revision: Revision,
    facts: Option<Facts>,
    former_max_age: FormerMaxAge,
    next_number: Number,
    records: BTreeMap<Number, Hash>,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Hash(#[serde(with = "base64url")] Vec<u8>);

impl<R: Rows> Authenticated<R> {
    /// Begins an empty store in `rows`, or opens the one that is there.
    pub(super) fn create(
        rows: R,
        master_keys: std::sync::Arc<MasterKeys>,
    ) -> Result<Self, StoreError> {
        if rows.get(FORMAT_ROW)?.is_some() || !rows.scan(b"")?.is_empty() {
            return Self::open(rows, master_keys);
        }
        let store = Self { rows, master_keys };
        let format = (FORMAT_ROW.to_vec(), Some(FORMAT.to_vec()));
        let seen = store.seen_row(Time::EPOCH);
        let begun = store.rows.write(&[], &[format, seen])?;
        begun.map_err(|_| StoreError::Conflict)?;
        Ok(store)
    }

    /// Opens the store in `rows`. One that lost its rows is damaged, not new.
    pub(super) fn open(
        rows: R,
        master_keys: std::sync::Arc<MasterKeys>,
    ) -> Result<Self, StoreError> {
        let store = Self { rows, master_keys };
        let format = store.rows.get(FORMAT_ROW)?;
        let what = "the format of the store";
        known_format(&format.ok_or_else(|| StoreError::Damaged { what: what.into() })?)?;
        // Also tells a wrong master key at once.
        store.seen()?;
        Ok(store)
    }

    /// What its rows are tagged under.
    pub(super) fn master_keys(&self) -> &std::sync::Arc<MasterKeys> {
        &self.master_keys
    }

    fn parse_tagged<T: DeserializeOwned>(
        &self,
        key: &[u8],
        value: &[u8],
        what: impl Fn() -> String,
    ) -> Result<T, StoreError> {
        let body = self.master_keys.checked(key, value);
        parse(body.map_err(|error| StoreError::of_seal(error, &what))?, what)
    }

    fn head_row(&self, keyset: &KeysetName, value: &[u8]) -> Result<HeadRow, StoreError> {
        self.parse_tagged(&head_key(keyset), value, || format!("the head of key set {keyset}"))
    }

    /// Reads head and records; `None` if a commit came in between.
    fn try_load(&self, keyset: &KeysetName) -> Result<Option<Loaded>, StoreError> {
        let head_key = head_key(keyset);
        let before = self.rows.get(&head_key)?;
        let rows = self.rows.scan(&record_prefix(keyset))?;
        if self.rows.get(&head_key)? != before {
            return Ok(None);
        }
        let Some(value) = before else {
            return if rows.is_empty() {
                Ok(Some(Loaded::default()))
            } else {
                Err(StoreError::Damaged { what: format!("the head of key set {keyset}") })
            };
        };
        let head = self.head_row(keyset, &value)?;
        let records = verified_records(keyset, &head, rows)?;
        Ok(Some(Loaded {
            revision: head.revision,
            head: Head {
                facts: head.facts,
                former_max_age: head.former_max_age,
                next_number: head.next_number,
            },
            records,
        }))
    }

    fn parse_tombstone(
        &self,
        keyset: &KeysetName,
        key: &[u8],
        value: &[u8],
    ) -> Result<Tombstone, StoreError> {
        self.parse_tagged(key, value, || format!("a tombstone of key set {keyset}"))
    }

    /// The latest lifecycle time and the row that says so.
    fn stored_seen(&self) -> Result<(Time, Row), StoreError> {
        let what = || "the record of the last lifecycle time".to_owned();
        let stored = self.rows.get(SEEN_ROW)?;
        let value = stored.ok_or_else(|| StoreError::Damaged { what: what() })?;
        let seen = checked_number(&self.master_keys, SEEN_ROW, &value)
            .map_err(|error| StoreError::of_seal(error, what))?;
        let seen = Time::from_millis(seen);
        Ok((seen, (SEEN_ROW.to_vec(), Some(value))))
    }

    fn seen_row(&self, now: Time) -> Row {
        let value = tagged_number(&self.master_keys, SEEN_ROW, now.as_millis());
        (SEEN_ROW.to_vec(), Some(value))
    }
}

/// A store that is an [`Authenticated`] one inside.
pub(super) trait Wraps: Send + Sync {
    /// Its rows.
    type Rows: Rows;

    /// What is inside.
    fn wrapped(&self) -> &Authenticated<Self::Rows>;
}

impl<R: Rows> Wraps for Authenticated<R> {
    type Rows = R;

    fn wrapped(&self) -> &Self {
        self
    }
}

impl<W: Wraps> Store for W {
    fn keysets(&self) -> Result<Vec<KeysetName>, StoreError> {
        let of_head = |(key, _): (Vec<u8>, _)| keyset_name(&key[2..]);
        let of_record = |(key, _): (Vec<u8>, _)| {
            let name = key[2..].split(|byte| *byte == b'/').next();
            keyset_name(name.unwrap_or_default())
        };
        let heads = self.wrapped().rows.scan(b"h/")?.into_iter().map(of_head);
        // A set that lost its head is one too: loading it tells so.
        let records = self.wrapped().rows.scan(b"r/")?.into_iter().map(of_record);
        let names: BTreeSet<_> = heads.chain(records).collect::<Result<_, _>>()?;
        Ok(names.into_iter().collect())
    }

    fn load(&self, keyset: &KeysetName) -> Result<Loaded, StoreError> {
        const TRIES: usize = 5;
        for _ in 0..TRIES {
            if let Some(loaded) = self.wrapped().try_load(keyset)? {
                return Ok(loaded);
            }
        }
        Err(StoreError::Unavailable(format!("the key set {keyset} kept changing while read")))
    }

    fn commit_all(&self, commits: &[Commit<'_>], seen: Time) -> Result<(), StoreError> {
        let names: BTreeSet<_> = commits.iter().map(|commit| commit.keyset).collect();
        if names.len() < commits.len() {
            return Err(StoreError::Conflict);
        }
        loop {
            if self.wrapped().try_commit_all(commits, seen)? == Tried::Done {
                return Ok(());
            }
        }
    }

    fn tombstone(&self, keyset: &KeysetName, kid: &KeyId) -> Result<Option<Tombstone>, StoreError> {
        let key = tombstone_key(keyset, kid);
        let value = self.wrapped().rows.get(&key)?;
        value.map(|value| self.wrapped().parse_tombstone(keyset, &key, &value)).transpose()
    }

    fn tombstones(&self, keyset: &KeysetName) -> Result<Vec<Tombstone>, StoreError> {
        let rows = self.wrapped().rows.scan(format!("t/{keyset}/").as_bytes())?;
        let mut tombstones = rows
            .iter()
            .map(|(key, value)| self.wrapped().parse_tombstone(keyset, key, value))
            .collect::<Result<Vec<_>, _>>()?;
        tombstones.sort_by_key(|tombstone| tombstone.life.number);
        Ok(tombstones)
    }

    fn seen(&self) -> Result<Time, StoreError> {
        Ok(self.wrapped().stored_seen()?.0)
    }

    fn record_seen(&self, now: Time) -> Result<(), StoreError> {
        loop {
            let (seen, stored) = self.wrapped().stored_seen()?;
            if now <= seen
                || self.wrapped().rows.write(&[stored], &[self.wrapped().seen_row(now)])?.is_ok()
            {
                return Ok(());
            }
        }
    }

    fn copy(&self) -> Result<StoreCopy, StoreError> {
        let wrapped = self.wrapped();
        StoreCopy::of(wrapped.rows.all()?, wrapped.master_keys.clone())
    }
}

impl<R: Rows> Authenticated<R> {
    /// Commits, unless the lifecycle time was renewed in between by somebody else.
    fn try_commit_all(&self, commits: &[Commit<'_>], seen: Time) -> Result<Tried, StoreError> {
        let (stored_seen, seen_condition) = self.stored_seen()?;
        let (mut heads, mut others, mut rows) = (Vec::new(), vec![seen_condition], Vec::new());
        for commit in commits {
            let (head_condition, conditions, changed) = self.rows_of(commit)?;
            heads.push(head_condition);
            others.extend(conditions);
            rows.extend(changed);
        }
        rows.push(self.seen_row(seen.max(stored_seen)));
        let of_seen = heads.len();
        heads.append(&mut others);
        match self.rows.write(&heads, &rows)? {
            Ok(()) => Ok(Tried::Done),
            Err(index) if index < of_seen => Err(StoreError::Conflict),
            Err(index) if index == of_seen => Ok(Tried::Again),
            Err(_) => Err(StoreError::Used),
        }
    }

    /// What a commit asks of its head, what of other rows, and what it writes.
    fn rows_of(&self, commit: &Commit<'_>) -> Result<(Row, Vec<Row>, Vec<Row>), StoreError> {
        let Commit { keyset, expected, changes } = *commit;
        let head_key = head_key(keyset);
        let stored = self.rows.get(&head_key)?;
        let mut head = match &stored {
            Some(value) => self.head_row(keyset, value)?,
            None => HeadRow::empty(),
        };
        if head.revision != expected {
            return Err(StoreError::Conflict);
        }
        head.revision = expected.next();
        let (mut conditions, mut rows) = (Vec::new(), Vec::new());
        for change in changes {
            self.write_change(keyset, change, &mut head, &mut conditions, &mut rows)?;
        }
        rows.push((head_key.clone(), Some(self.master_keys.tagged(&head_key, &to_json(&head)?))));
        Ok(((head_key, stored), conditions, rows))
    }

    fn write_change(
        &self,
        keyset: &KeysetName,
        change: &Change,
        head: &mut HeadRow,
        conditions: &mut Vec<Row>,
        rows: &mut Vec<Row>,
    ) -> Result<(), StoreError> {
        match change {
            Change::Adopt { facts, former_max_age } => {
                head.facts = Some(facts.as_ref().clone());
                head.former_max_age = *former_max_age;
            }
            Change::Put(record) => {
                let number = record.life.number;
                let is_new = number >= head.next_number;
                if !is_new && !head.records.contains_key(&number) {
                    return Err(StoreError::Used);
                }
                for name in names_of(keyset, &record.kid, &record.thumbprint) {
                    let used = (name, Some(number.0.to_be_bytes().to_vec()));
                    match (rows.iter().find(|(key, _)| *key == used.0), is_new) {
                        (None, true) => {
                            conditions.push((used.0.clone(), None));
                            rows.push(used);
                        }
                        (None, false) => conditions.push(used),
                        (Some(earlier), false) if *earlier == used => {}
                        (Some(_), _) => return Err(StoreError::Used),
                    }
                }
                head.next_number = head.next_number.max(number.next());
                let body = to_json(record.as_ref())?;
                head.records.insert(number, Hash(sha256(&body).to_vec()));
                rows.push((record_key(keyset, number), Some(body)));
            }
            Change::Bury(tombstone) => {
                let number = tombstone.life.number;
                head.records.remove(&number).ok_or(StoreError::Conflict)?;
                rows.push((record_key(keyset, number), None));
                if planted::is_planted(Fault::TombstoneForgotten) {
                    let names = names_of(keyset, &tombstone.kid, &tombstone.thumbprint);
                    rows.extend(names.into_iter().map(|name| (name, None)));
                    return Ok(());
                }
                rows.push(self.tombstone_row(keyset, tombstone)?);
            }
            Change::Mark(tombstone) => {
                let (key, value) = self.tombstone_row(keyset, tombstone)?;
                let is_new = rows.iter().any(|(earlier, _)| *earlier == key);
                if !is_new && self.tombstone(keyset, &tombstone.kid)?.is_none() {
                    return Err(StoreError::Conflict);
                }
                rows.push((key, value));
            }
        }
        Ok(())
    }

    fn tombstone_row(&self, keyset: &KeysetName, tombstone: &Tombstone) -> Result<Row, StoreError> {
        let key = tombstone_key(keyset, &tombstone.kid);
        let value = self.master_keys.tagged(&key, &to_json(tombstone)?);
        Ok((key, Some(value)))
    }
}

impl HeadRow {
    fn empty() -> Self {
        Self {
            revision: Revision::default(),
            facts: None,
            former_max_age: FormerMaxAge::default(),
            next_number: Number::default(),
            records: BTreeMap::new(),
        }
    }
}

/// Whether this version reads a store with this in its format row.
pub(super) fn known_format(format: &[u8]) -> Result<(), StoreError> {
    if format == FORMAT {
        Ok(())
    } else {
        let format = String::from_utf8_lossy(format).into();
        Err(StoreError::UnknownFormat { what: "the store".into(), format })
    }
}

/// Every record of the head is there as it was written, and no other is.
fn verified_records(
    keyset: &KeysetName,
    head: &HeadRow,
    rows: Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<Vec<Record>, StoreError> {
    let damaged =
        |number: Number| StoreError::Damaged { what: format!("key {number} of key set {keyset}") };
    let mut stored: BTreeMap<Vec<u8>, Vec<u8>> = rows.into_iter().collect();
    let mut records = Vec::new();
    for (&number, hash) in &head.records {
        let body = stored.remove(&record_key(keyset, number)).ok_or_else(|| damaged(number))?;
        if sha256(&body).as_slice() != hash.0 {
            return Err(damaged(number));
        }
        records.push(parse(&body, || format!("key {number} of key set {keyset}"))?);
    }
    if stored.is_empty() {
        Ok(records)
    } else {
        Err(StoreError::Damaged { what: format!("the list of keys of key set {keyset}") })
    }
}

fn keyset_name(stored: &[u8]) -> Result<KeysetName, StoreError> {
    let name = String::from_utf8_lossy(stored).into_owned();
    let damaged = StoreError::Damaged { what: format!("the head of {name:?}") };
    KeysetName::try_from(name).map_err(|_| damaged)
}

fn head_key(keyset: &KeysetName) -> Vec<u8> {
    format!("h/{keyset}").into_bytes()
}

fn record_prefix(keyset: &KeysetName) -> Vec<u8> {
    format!("r/{keyset}/").into_bytes()
}

fn record_key(keyset: &KeysetName, number: Number) -> Vec<u8> {
    let mut key = record_prefix(keyset);
    key.extend_from_slice(&number.0.to_be_bytes());
    key
}

fn tombstone_key(keyset: &KeysetName, kid: &KeyId) -> Vec<u8> {
    format!("t/{keyset}/{kid}").into_bytes()
}

/// The rows that say that a kid and a thumbprint were used.
fn names_of(keyset: &KeysetName, kid: &KeyId, thumbprint: &Thumbprint) -> Vec<Vec<u8>> {
    let row = |name: &str| format!("u/{keyset}/{name}").into_bytes();
    let mut names = vec![row(kid.as_str())];
    if kid.as_str() != thumbprint.as_str() {
        names.push(row(thumbprint.as_str()));
    }
    names
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Unavailable(error.to_string()))
}

fn parse<T: DeserializeOwned>(body: &[u8], what: impl Fn() -> String) -> Result<T, StoreError> {
    // The parser's message could quote what is stored.
    serde_json::from_slice(body).map_err(|_| StoreError::Damaged { what: what() })
}
