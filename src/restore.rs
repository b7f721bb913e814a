//! PURE: what it means to go back to a backup, from what the backup holds and what the audit tells of
//! the time since; and what is done about it.
//!
//! A key that was revoked since is revoked again in what is restored, and one that left otherwise
//! leaves again. A secret that was erased since, because its key had ended, returns: nothing else could
//! sign. The rules of time end it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jwksd_keystore::facts::Span;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::Departure;
use jwksd_keystore::store::{Change, Record, Store, StoreError, Tombstone};
use jwksd_keystore::time::Time;
use serde::Serialize;

use crate::audit::events::{Event, KeyEvent};
use crate::audit::since::{Fate, Since};

/// What a restored store says of a key that was revoked since the backup.
const REVOKED_BEFORE: &str = "revoked before the restore";

/// What is to be known before a backup is restored.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outlook {
    /// Why nothing is known of the time since the backup.
    pub unknown: Option<String>,
    /// Why some keys may not be named here.
    pub gaps: Vec<&'static str>,
    /// Keys that were made since and are not in the backup: verifiers will refuse their tokens.
    pub missing: Vec<Key>,
    /// Keys whose secret was erased since, and returns.
    pub returning: Vec<Key>,
    /// Keys that were revoked since, and are revoked again.
    pub revoked: Vec<Key>,
    /// Keys that left since, and leave again.
    pub leaving: Vec<Key>,
    /// How long verifiers that keep their copy may refuse tokens of each key set.
    pub waits: Vec<Wait>,
    /// What is done about it.
    #[serde(skip)]
    changes: BTreeMap<KeysetName, Vec<Change>>,
}

/// A key and when that happened to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Key {
    /// Its key set.
    pub keyset: KeysetName,
    /// Its kid.
    pub kid: KeyId,
    /// When, in UTC, where it is known.
    pub at: Option<String>,
    /// What happened besides: the reason of a revocation, or why it left.
    pub reason: Option<String>,
}

/// How long verifiers may keep a copy of the JWK Set of a key set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wait {
    /// The key set.
    pub keyset: KeysetName,
    /// From the start of the daemon on.
    pub after_start: String,
    /// Until when, if it starts now.
    pub until: String,
}

/// What becomes of a living key of the backup.
enum Again {
    /// It leaves again.
    Leaves(Box<Tombstone>),
    /// Its secret returns.
    Returns,
    /// It is as it was.
    Stays,
}

/// What going back to `store`, a backup, at `now` means.
///
/// # Errors
///
/// When the store cannot be read.
pub fn outlook(store: &impl Store, since: &Since, now: Time) -> Result<Outlook, StoreError> {
    let (unknown, gaps) = (since.unknown.clone(), since.gaps.clone());
    let mut outlook = Outlook { unknown, gaps, ..Outlook::default() };
    let nothing = Fate::default();
    let mut known = BTreeSet::new();
    for keyset in store.keysets()? {
        let loaded = store.load(&keyset)?;
        let fate_of =
            |kid: &KeyId| since.keys.get(&(keyset.clone(), kid.clone())).unwrap_or(&nothing);
        for record in &loaded.records {
            outlook.living(&keyset, record, fate_of(&record.kid));
            known.insert((keyset.clone(), record.kid.clone()));
        }
        for tombstone in store.tombstones(&keyset)? {
            known.insert((keyset.clone(), tombstone.kid.clone()));
            let fate = fate_of(&tombstone.kid);
            outlook.departed(&keyset, tombstone, fate);
        }
        if let Some(facts) = &loaded.head.facts {
            outlook.waits(&keyset, facts.waits().publish_ahead(), now);
        }
    }
    let made = since.keys.iter().filter(|(key, _)| !known.contains(key));
    for ((keyset, kid), fate) in made {
        // Tokens of one that left are refused in any case.
        if since.unknown.is_none() && fate.left.is_none() && fate.revoked.is_none() {
            outlook.missing.push(key(keyset, kid, fate.created, None));
        }
    }
    Ok(outlook)
}

impl Outlook {
    /// What becomes of keys by [`Outlook::carry_out`], for the audit.
    #[must_use]
    pub fn events(&self) -> Vec<(KeysetName, Vec<KeyEvent>)> {
        let of_change = |change: &Change| match change {
            Change::Bury(tombstone) => {
                let event = if tombstone.revoked.is_some() {
                    Event::Revoked
                } else {
                    tombstone.departure.into()
                };
                Some(KeyEvent { kid: tombstone.kid.clone(), event })
            }
            Change::Mark(tombstone) => {
                Some(KeyEvent { kid: tombstone.kid.clone(), event: Event::Marked })
            }
            Change::Put(_) | Change::Adopt { .. } => None,
        };
        let of_set = |(keyset, changes): (&KeysetName, &Vec<Change>)| {
            (keyset.clone(), changes.iter().filter_map(of_change).collect())
        };
        self.changes.iter().map(of_set).collect()
    }

    /// Has keys leave again, in a copy of the backup.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    pub fn carry_out(&self, store: &impl Store) -> Result<(), StoreError> {
        for (keyset, changes) in &self.changes {
            let revision = store.load(keyset)?.revision;
            // The lifecycle time stays that of the backup: what came since was not served.
            store.commit(keyset, revision, changes, Time::EPOCH)?;
        }
        Ok(())
    }

    fn living(&mut self, keyset: &KeysetName, record: &Record, fate: &Fate) {
        match again(record, fate, self.unknown.is_none()) {
            Again::Leaves(tombstone) => self.leaves(keyset, *tombstone),
            Again::Returns => {
                self.returning.push(key(keyset, &record.kid, fate.ended, None));
            }
            Again::Stays => {}
        }
    }

    fn leaves(&mut self, keyset: &KeysetName, tombstone: Tombstone) {
        let why = match (tombstone.departure, tombstone.revoked) {
            (_, Some(at)) => {
                let revoked = key(keyset, &tombstone.kid, Some(at), tombstone.reason.clone());
                self.revoked.push(revoked);
                None
            }
            (Departure::Retired, None) => Some("its last token had expired"),
            (Departure::RetiredEarly | Departure::Revoked, None) => Some("an admin retired it"),
            (Departure::Replaced, None) => Some("another key took its place before it signed"),
        };
        if let Some(why) = why {
            let left = Some(tombstone.left);
            self.leaving.push(key(keyset, &tombstone.kid, left, Some(why.to_owned())));
        }
        self.change(keyset, Change::Bury(Box::new(tombstone)));
    }

    /// A key that had left before the backup, and was revoked after it.
    fn departed(&mut self, keyset: &KeysetName, tombstone: Tombstone, fate: &Fate) {
        let Some((at, reason)) = fate.revoked.as_ref().filter(|_| tombstone.revoked.is_none())
        else {
            return;
        };
        let marked =
            Tombstone { revoked: Some(*at), reason: Some(told(reason.as_deref())), ..tombstone };
        let revoked = key(keyset, &marked.kid, Some(*at), marked.reason.clone());
        self.revoked.push(revoked);
        self.change(keyset, Change::Mark(Box::new(marked)));
    }

    fn waits(&mut self, keyset: &KeysetName, publish_ahead: Duration, now: Time) {
        self.waits.push(Wait {
            keyset: keyset.clone(),
            after_start: Span(publish_ahead).to_string(),
            until: (now + publish_ahead).to_string(),
        });
    }

    fn change(&mut self, keyset: &KeysetName, change: Change) {
        self.changes.entry(keyset.clone()).or_default().push(change);
    }
}

/// A revocation counts wherever it was read: a stolen key must not come back to life. All else counts
/// only where the audit is whole.
fn again(record: &Record, fate: &Fate, is_known: bool) -> Again {
    let left = fate.left.filter(|_| is_known);
    if let Some((at, reason)) = &fate.revoked {
        let (departure, time) = left.unwrap_or((Departure::Revoked, *at));
        let tombstone = record.tombstone(departure, time, None);
        let (revoked, reason) = (Some(*at), Some(told(reason.as_deref())));
        return Again::Leaves(Box::new(Tombstone { revoked, reason, ..tombstone }));
    }
    if let Some((departure, at)) = left {
        return Again::Leaves(Box::new(record.tombstone(departure, at, None)));
    }
    let was_erased = fate.ended.is_some() || !is_known;
    if record.secret.is_some() && was_erased { Again::Returns } else { Again::Stays }
}

fn told(reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("{REVOKED_BEFORE}: {reason}"),
        None => REVOKED_BEFORE.to_owned(),
    }
}

fn key(keyset: &KeysetName, kid: &KeyId, at: Option<Time>, reason: Option<String>) -> Key {
    let at = at.map(|time| time.to_string());
    Key { keyset: keyset.clone(), kid: kid.clone(), at, reason }
}
