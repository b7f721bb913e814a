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

/// How many newcomers make room at once, so that whoever comes next finds some without a search.
const AT_ONCE: usize = 16;

/// After which time those that were not seen for too long are looked for again.
const TIDIED_EVERY: Duration = Duration::from_mins(1);

/// In how many parts networks are counted.
const PARTS: usize = 64;

/// A time in whole seconds since the watch began: enough for whoever looks, and small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) u32);

/// Who fetched.
pub(super) struct Name {
    pub(super) who: Who<Text>,
    pub(super) user_agent: Text,
    /// Of both.
    pub(super) hash: u64,
}

/// What was fetched when.
pub(super) struct Seen<'a> {
    pub(super) version: &'a Arc<Version>,
    pub(super) at: Moment,
}

/// What is kept of a fetcher.
pub(super) struct Entry {
    hash: u64,
    part: u8,
    pub(super) who: Who<Box<str>>,
    pub(super) user_agent: Box<str>,
    pub(super) version: Arc<Version>,
    first: Moment,
    pub(super) last: Moment,
    pub(super) fetches: u64,
}

/// The fetchers of one key set.
pub(super) struct Table {
    entries: HashTable<Entry>,
    /// How many entries are of networks with each remainder of their hash: where that is few, no network
    /// has many user agents, and nobody need search.
    of_parts: [u8; PARTS],
    tidied: Moment,
    /// How many had to make room.
    pub(super) forgotten: u64,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: HashTable::new(),
            of_parts: [0; PARTS],
            tidied: Moment::default(),
            forgotten: 0,
        }
    }
}

/// Whether all tables together have room for one more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    /// They have.
    Left,
    /// They have none.
    Taken,
}

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

    /// Whether it stands for user agents that are not told apart.
    pub(super) fn is_several(&self) -> bool {
        *self.user_agent == *OTHERS
    }

    fn is_newcomer(&self) -> bool {
        self.last.since(self.first) < STEADY_AFTER
    }
}

impl Table {
    /// Notes the fetch of somebody who is known. Nothing is allocated.
    pub(super) fn note_known(&mut self, name: &Name, seen: &Seen<'_>) -> bool {
        let Some(entry) = self.entries.find_mut(name.hash, |entry| entry.is(name)) else {
            return false;
        };
        entry.last = seen.at;
        entry.fetches = entry.fetches.saturating_add(1);
        if !Arc::ptr_eq(&entry.version, seen.version) {
            entry.version = seen.version.clone();
        }
        true
    }

    /// Whether a network has as many user agents as are told apart.
    pub(super) fn has_all_user_agents(&self, who: &Who<Text>, hash_of_who: u64) -> bool {
        let of_part = usize::from(self.of_parts[part(hash_of_who)]);
        let of_who = || self.entries.iter().filter(|entry| who.is(&entry.who));
        of_part >= USER_AGENTS && of_who().count() >= USER_AGENTS
    }

    /// Notes the fetch of somebody who is not known. Where there is no room, those that were unseen for
    /// longest are forgotten: of the newcomers, unless those are few.
    pub(super) fn note_new(&mut self, name: &Name, hash_of_who: u64, seen: &Seen<'_>, room: Room) {
        match self.entries.len() {
            MOST.. => self.make_room(AT_ONCE),
            LEAST.. if room == Room::Taken => self.make_room(1),
            _ => {}
        }
        let part = part(hash_of_who);
        let entry = Entry {
            hash: name.hash,
            part: u8::try_from(part).unwrap_or_default(),
            who: name.who.kept(),
            user_agent: name.user_agent.as_ref().into(),
            version: seen.version.clone(),
            first: seen.at,
            last: seen.at,
            fetches: 1,
        };
        self.of_parts[part] += 1;
        self.entries.insert_unique(name.hash, entry, |entry| entry.hash);
    }

    fn make_room(&mut self, at_once: usize) {
        let newcomers = self.entries.iter().filter(|entry| entry.is_newcomer()).count();
        let too_many = newcomers.saturating_sub(self.entries.len() / NEWCOMERS);
        let of_newcomers = too_many > 0;
        let count = too_many.clamp(1, at_once);
        let is_meant = |entry: &Entry| entry.is_newcomer() == of_newcomers;
        let meant = self.entries.iter().filter(|entry| is_meant(entry));
        let mut seen: Vec<Moment> = meant.map(|entry| entry.last).collect();
        if seen.len() < count {
            return;
        }
        let (older, limit, _) = seen.select_nth_unstable(count - 1);
        let limit = *limit;
        let mut of_limit = count - older.iter().filter(|last| **last < limit).count();
        self.drop_where(|entry| {
            let is_last = entry.last == limit && of_limit > 0 && is_meant(entry);
            of_limit -= usize::from(is_last);
            is_last || (entry.last < limit && is_meant(entry))
        });
        self.forgotten += count as u64;
    }

    /// Whether it is time to drop those that were not seen for too long.
    pub(super) fn is_untidy(&self, at: Moment) -> bool {
        at.since(self.tidied) >= TIDIED_EVERY
    }

    /// Drops those that were not seen since `oldest`.
    pub(super) fn tidy(&mut self, at: Moment, oldest: Moment) {
        self.tidied = at;
        self.drop_where(|entry| entry.last < oldest);
    }

    fn drop_where(&mut self, mut goes: impl FnMut(&Entry) -> bool) {
        let of_parts = &mut self.of_parts;
        self.entries.retain(|entry| {
            let goes = goes(entry);
            of_parts[usize::from(entry.part)] -= u8::from(goes);
            !goes
        });
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Whether what is counted beside the entries is as many as they are.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        let mut of_parts = [0; PARTS];
        self.entries.iter().for_each(|entry| of_parts[usize::from(entry.part)] += 1);
        of_parts == self.of_parts
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

/// The part that a network is counted in.
fn part(hash_of_who: u64) -> usize {
    usize::from(hash_of_who.to_le_bytes()[0]) % PARTS
}
