//! The fetchers of one key set, in room that is bounded whatever strangers send.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use jwksd_keystore::ring::Version;

use super::who::{Text, Who};

/// How many fetchers of one key set are kept.
pub(super) const MOST: usize = 200;

/// How many fetchers of all key sets together are kept.
pub(super) const MOST_IN_ALL: usize = 16_384;

/// How many each key set may have all the same.
pub(super) const LEAST: usize = 4;

/// How many user agents of one prefix are told apart. What there is besides is one fetcher.
pub(super) const USER_AGENTS: usize = 16;

/// The user agent of those that are not told apart.
pub(super) const OTHERS: &str = "(others)";

/// After which time somebody who comes again is no newcomer. Who comes once from a million addresses
/// does not come again before it was forgotten.
pub(super) const STEADY_AFTER: Duration = Duration::from_mins(5);

/// Of so many, one may be a newcomer without making room for the next.
const NEWCOMERS: usize = 4;

/// A time in whole seconds since the watch began: enough for whoever looks, and small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u32);

/// Who fetched.
pub(super) struct Name {
    pub(super) who: Who<Text>,
    pub(super) user_agent: Text,
}

/// What was fetched when.
pub(super) struct Seen<'a> {
    pub(super) version: &'a Arc<Version>,
    pub(super) at: Moment,
}

/// What is kept of a fetcher.
pub(super) struct Entry {
    hash: u64,
    pub(super) who: Who<Box<str>>,
    pub(super) user_agent: Box<str>,
    pub(super) version: Arc<Version>,
    first: Moment,
    pub(super) last: Moment,
    pub(super) fetches: u64,
}

/// The fetchers of one key set.
#[derive(Default)]
pub(super) struct Table {
    entries: HashTable<Entry>,
    /// How many had to make room.
    pub(super) forgotten: u64,
}

/// Whether all tables together have room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// They have.
    Left,
    /// They have none.
    Taken,
}

/// What there is to know of a table before somebody new comes in, in one look at it.
#[derive(Default)]
pub(super) struct Survey {
    /// How many user agents the prefix of the new one has.
    user_agents: usize,
    newcomers: usize,
    oldest_newcomer: Oldest,
    oldest_steady: Oldest,
}

/// The fetcher that was unseen for longest: since when, and its hash.
type Oldest = Option<(Moment, u64)>;

impl Moment {
    /// The time from `earlier` to this; zero where that is later.
    pub(super) fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0).into())
    }

    /// So long before, not before the beginning.
    pub(super) fn before(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u32::try_from(span.as_secs()).unwrap_or(u32::MAX)))
    }
}

impl Entry {
    fn is(&self, name: &Name) -> bool {
        name.user_agent.is(&self.user_agent) && name.who.is(&self.who)
    }

    fn is_newcomer(&self) -> bool {
        self.last.since(self.first) < STEADY_AFTER
    }
}

impl Survey {
    /// Whether the prefix has as many user agents as are told apart.
    pub(super) fn has_all_user_agents(&self) -> bool {
        self.user_agents >= USER_AGENTS
    }

    /// Whether some were not seen since `oldest`.
    pub(super) fn has_some_before(&self, oldest: Moment) -> bool {
        let oldest_of_all = [self.oldest_newcomer, self.oldest_steady];
        oldest_of_all.iter().flatten().any(|(last, _)| *last < oldest)
    }
}

impl Table {
    /// Notes the fetch of somebody who is known. Nothing is allocated.
    pub(super) fn note_known(&mut self, name: &Name, hash: u64, seen: &Seen<'_>) -> bool {
        let Some(entry) = self.entries.find_mut(hash, |entry| entry.is(name)) else { return false };
        entry.last = seen.at;
        entry.fetches = entry.fetches.saturating_add(1);
        if !Arc::ptr_eq(&entry.version, seen.version) {
            entry.version = seen.version.clone();
        }
        true
    }

    /// Looks at all there are.
    pub(super) fn survey(&self, who: &Who<Text>) -> Survey {
        let mut survey = Survey::default();
        for entry in &self.entries {
            survey.user_agents += usize::from(who.is(&entry.who));
            let is_newcomer = entry.is_newcomer();
            survey.newcomers += usize::from(is_newcomer);
            let oldest =
                if is_newcomer { &mut survey.oldest_newcomer } else { &mut survey.oldest_steady };
            if oldest.is_none_or(|(last, _)| entry.last < last) {
                *oldest = Some((entry.last, entry.hash));
            }
        }
        survey
    }

    /// Notes the fetch of somebody who is not known. Where there is no room, the one that was unseen
    /// for longest is forgotten: of the newcomers, unless those are few.
    pub(super) fn note_new(
        &mut self,
        name: &Name,
        hash: u64,
        seen: &Seen<'_>,
        survey: &Survey,
        room: Room,
    ) {
        let length = self.entries.len();
        if length >= MOST || (length >= LEAST && room == Room::Taken) {
            self.forget(survey);
        }
        let entry = Entry {
            hash,
            who: name.who.kept(),
            user_agent: name.user_agent.as_ref().into(),
            version: seen.version.clone(),
            first: seen.at,
            last: seen.at,
            fetches: 1,
        };
        self.entries.insert_unique(hash, entry, |entry| entry.hash);
    }

    fn forget(&mut self, survey: &Survey) {
        let are_many = survey.newcomers * NEWCOMERS > self.entries.len();
        let oldest = if are_many { survey.oldest_newcomer } else { survey.oldest_steady };
        let Some((_, hash)) = oldest else { return };
        if let Ok(entry) = self.entries.find_entry(hash, |entry| entry.hash == hash) {
            drop(entry.remove());
            self.forgotten += 1;
        }
    }

    /// Drops those that were not seen since `oldest`.
    pub(super) fn drop_before(&mut self, oldest: Moment) {
        self.entries.retain(|entry| entry.last >= oldest);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let texts = self.entries.iter().map(|entry| match &entry.who {
            Who::Local | Who::Network(..) => entry.user_agent.len(),
            Who::Named(name) => entry.user_agent.len() + name.len(),
        });
        self.entries.allocation_size() + texts.sum::<usize>()
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
