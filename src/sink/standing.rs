//! How the files stand: told by the rotator, read by admins and by readiness.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jwksd_keystore::facts::Span;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::{Life, Number};
use jwksd_keystore::time::Time;

/// For how long a file may leave its thread waiting before that is a problem.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What a look at a file takes, at most, where nothing is wrong.
const MOMENT: Duration = Duration::from_secs(1);

/// How the files of all key sets stand.
#[derive(Default)]
pub struct Standings {
    all: Mutex<BTreeMap<KeysetName, Standing>>,
    changed: Condvar,
}

/// How the file of a key set stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The file.
    pub file: PathBuf,
    /// Whether anything shall be there: not before the first key of its set.
    pub kept: bool,
    /// Since when an answer about it is missing.
    pub asked: Option<Time>,
    /// Since when its thread looks whether it is as it was.
    pub looking: Option<Time>,
    /// Why it is not as it shall be.
    pub problem: Option<String>,
    /// The keys that it has not been confirmed to have, and that must not sign before.
    pub held: BTreeMap<Number, Held>,
    /// Keys that left the set and may be in the file still.
    pub stale: BTreeSet<KeyId>,
    /// Those of them that were revoked.
    pub revoked: BTreeSet<KeyId>,
}

/// A key that waits for a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The key.
    pub kid: KeyId,
    /// Since when it is published without being confirmed to be in the file, as far as that was
    /// not made up for.
    pub since: Time,
    /// From when its wait counts so far.
    pub served_from: Time,
    /// When the file was confirmed to have it, until that is reckoned with.
    pub confirmed: Option<Time>,
}

impl Standing {
    /// A file of which nothing is known.
    #[must_use]
    pub fn of(file: PathBuf) -> Self {
        Self {
            file,
            kept: false,
            asked: None,
            looking: None,
            problem: None,
            held: BTreeMap::new(),
            stale: BTreeSet::new(),
            revoked: BTreeSet::new(),
        }
    }

    /// Whether the file is as it shall be.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.kept && self.asked.is_none() && self.problem.is_none()
    }

    /// The life of a key as it counts at `now`: while the file lacks the key, its activation is not
    /// planned, and its wait has not begun.
    pub fn hold(&self, life: &mut Life, now: Time) {
        let Some(held) = self.held.get(&life.number) else { return };
        if life.ended.is_some() || !life.planned_by.waits() {
            return;
        }
        life.activates = None;
        // Where a look at the file would tell in a moment that nothing is missing, what is planned
        // meanwhile is not put off.
        if now.since(held.since) > MOMENT {
            life.served_from = life.served_from.max(now);
        }
    }

    /// What is not well about the file at `now`, and what follows from that.
    #[must_use]
    pub fn trouble(&self, now: Time) -> Option<String> {
        let file = self.file.display();
        let why = match (&self.problem, self.asked.or(self.looking)) {
            (Some(problem), _) => problem.clone(),
            (None, Some(asked)) if now.since(asked) >= PATIENCE => {
                format!("no answer about {file} for {}", Span(now.since(asked)))
            }
            (None, _) => return None,
        };
        let mut parts = vec![why];
        let kids = |kids: &mut dyn Iterator<Item = &KeyId>| {
            kids.map(KeyId::as_str).collect::<Vec<_>>().join(", ")
        };
        if !self.revoked.is_empty() {
            let revoked = kids(&mut self.revoked.iter());
            parts.push(format!(
                "verifiers of the file still trust revoked keys ({revoked}): take it away by hand"
            ));
        }
        if self.stale.len() > self.revoked.len() {
            let left = kids(&mut self.stale.difference(&self.revoked));
            parts.push(format!("keys that left the set may still be in it ({left})"));
        }
        if !self.held.is_empty() {
            let held = kids(&mut self.held.values().map(|held| &held.kid));
            parts.push(format!("{held} does not sign before the file has it"));
        }
        Some(parts.join("; "))
    }
}

impl Standings {
    /// How the file of a key set stands; `None` where it has none.
    #[must_use]
    pub fn of(&self, keyset: &KeysetName) -> Option<Standing> {
        self.lock().get(keyset).cloned()
    }

    /// What is not well at `now`.
    #[must_use]
    pub fn troubles(&self, now: Time) -> Vec<(KeysetName, String)> {
        let all = self.lock();
        let trouble = |(keyset, standing): (&KeysetName, &Standing)| {
            Some((keyset.clone(), standing.trouble(now)?))
        };
        all.iter().filter_map(trouble).collect()
    }

    /// Waits until `is_so` holds of the files of all these key sets, where they have one, and at
    /// most for `longest`.
    pub fn wait(
        &self,
        keysets: &[KeysetName],
        longest: Duration,
        is_so: impl Fn(&Standing) -> bool,
    ) {
        let is_not_so = |all: &mut BTreeMap<KeysetName, Standing>| {
            keysets.iter().filter_map(|keyset| all.get(keyset)).any(|standing| !is_so(standing))
        };
        // That the time is over, or the lock poisoned, whoever looks afterwards will see.
        let _ = self.changed.wait_timeout_while(self.lock(), longest, is_not_so);
    }

    pub(crate) fn tell(&self, keyset: &KeysetName, standing: Option<&Standing>) {
        let mut all = self.lock();
        match standing {
            Some(standing) => drop(all.insert(keyset.clone(), standing.clone())),
            None => drop(all.remove(keyset)),
        }
        drop(all);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<KeysetName, Standing>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
