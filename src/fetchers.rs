//! Who has fetched which version of each JWK Set.
//!
//! It is kept in memory alone, in room that is bounded whatever strangers send; nobody is told apart
//! further than the operator asked for, and who was not seen for longer than any verifier keeps the
//! set is dropped. It is what strangers say of themselves, so nothing is decided by it.
//!
//! A fetch costs one lookup and waits for nothing: where another thread looks at the same set in the
//! same moment, the fetch is not noted.

mod table;
#[cfg(test)]
mod tests;
mod who;

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, TryLockError};
use std::time::Duration;

use actix_web::http::header::HeaderName;
use arc_swap::ArcSwapOption;
use hashbrown::{DefaultHashBuilder, HashMap};
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::ring::{Ring, Signer, Version};
use jwksd_keystore::time::Time;

use self::table::{Entry, MOST_IN_ALL, Moment, Name, OTHERS, Room, Seen, Table};
use self::who::{Text, Who};
use crate::clock::Clock;

pub use self::who::Prefixes;

/// For how much longer than a verifier may keep the set it counts as one.
const SLACK: Duration = Duration::from_hours(1);

/// `[fetchers]`, where it is enabled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The header that says who fetches, set by a proxy; without it, the address of the peer does.
    pub header: Option<HeaderName>,
    /// How much of an address is kept.
    pub prefixes: Prefixes,
}

/// Who has fetched what, if anybody watches.
pub struct Fetchers {
    clock: Arc<dyn Clock>,
    watch: ArcSwapOption<Watch>,
}

/// What was seen under the same settings, since they are in force.
pub struct Watch {
    settings: Settings,
    clock: Arc<dyn Clock>,
    /// Since when, on the clock that nobody sets.
    began: Duration,
    hasher: DefaultHashBuilder,
    tables: RwLock<HashMap<KeysetName, Mutex<Table>>>,
    /// How many fetchers all tables have.
    kept: AtomicUsize,
}

/// A JWK Set that was sent, or confirmed to be the newest.
pub struct Fetch<'a> {
    /// Whose.
    pub keyset: &'a KeysetName,
    /// What is served now.
    pub ring: &'a Ring,
    /// The address at the other end; none of a Unix socket.
    pub peer: Option<IpAddr>,
    /// The last line of the header of [`Watch::header`], where it was sent.
    pub header: Option<&'a [u8]>,
    /// `User-Agent`, or nothing.
    pub user_agent: &'a [u8],
}

/// A fetcher that was seen lately. Whoever has the same prefix and user agent is the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetcher {
    /// A network, `local`, or what the configured header said: printable ASCII, at most 80.
    pub who: String,
    /// The same of its user agent.
    pub user_agent: String,
    /// When it fetched last, by the wall clock.
    pub last: Time,
    /// How often it fetched.
    pub fetches: u64,
    /// What it got last.
    pub version: Arc<Version>,
    /// What it lacks of what is served now.
    pub has: Has,
}

/// What a fetcher has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Has {
    /// A version without the key that signs: it refuses tokens until it fetches.
    WithoutActive,
    /// A version without the key that signs next.
    WithoutStandby,
    /// Another version, in which neither is missing.
    Older,
    /// What is served.
    Current,
}

/// What was seen of a key set's fetchers, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// How they stand.
    pub tally: Tally,
    /// All of them, those that lack most first, of them those that were unseen for longest.
    pub fetchers: Vec<Fetcher>,
}

/// How the fetchers of a key set stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many were seen lately.
    pub known: u64,
    /// How many of them have the current version.
    pub current: u64,
    /// How many of them lack the key that signs.
    pub without_active: u64,
    /// How many of them lack the standby; those that lack both too.
    pub without_standby: u64,
    /// How many had to make room for others, since the watch began.
    pub forgotten: u64,
}

/// How the fetchers of a key set stand to one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OfKey {
    /// How many were seen lately.
    pub known: u64,
    /// How many of them have a version without it.
    pub without: u64,
    /// How many had to make room for others, since the watch began. Nobody knows what they have.
    pub forgotten: u64,
    /// How many of those that are known are several that are not told apart: the last of them that
    /// fetched speaks for all.
    pub several: u64,
}

/// For how long after its last fetch a fetcher counts: as long as a verifier may keep the set
/// (`publish_ahead`), and an hour.
#[must_use]
pub fn window(ring: &Ring) -> Duration {
    ring.publish_ahead() + SLACK
}

impl Fetchers {
    /// Watches as the settings say, or not at all.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, settings: Option<Settings>) -> Self {
        let fetchers = Self { clock, watch: ArcSwapOption::empty() };
        fetchers.put_in_force(settings);
        fetchers
    }

    /// Goes on with these settings. What was seen under others is dropped: they name fetchers
    /// otherwise, or shall not be kept any more.
    pub fn put_in_force(&self, settings: Option<Settings>) {
        if self.watch().as_ref().map(|watch| &watch.settings) != settings.as_ref() {
            let clock = &self.clock;
            self.watch.store(settings.map(|settings| Arc::new(Watch::new(clock, settings))));
        }
    }

    /// What is watched with, if anybody watches.
    #[must_use]
    pub fn watch(&self) -> Option<Arc<Watch>> {
        self.watch.load_full()
    }
}

impl Watch {
    fn new(clock: &Arc<dyn Clock>, settings: Settings) -> Self {
        Self {
            settings,
            clock: clock.clone(),
            began: clock.since_boot(),
            hasher: DefaultHashBuilder::default(),
            tables: RwLock::default(),
            kept: AtomicUsize::new(0),
        }
    }

    /// The header that says who fetches.
    #[must_use]
    pub fn header(&self) -> Option<&HeaderName> {
        self.settings.header.as_ref()
    }

    /// Since when fetchers are watched, by the wall clock.
    #[must_use]
    pub fn since(&self) -> Time {
        whole_seconds(self.began_by_the_wall())
    }

    /// Notes a fetch, unless that would wait.
    pub fn note(&self, fetch: &Fetch<'_>) {
        let Some(served) = fetch.ring.served() else { return };
        let Ok(tables) = self.tables.try_read() else { return };
        let Some(table) = tables.get(fetch.keyset) else {
            drop(tables);
            return self.note_first(fetch);
        };
        let mut table = match table.try_lock() {
            Ok(table) => table,
            Err(TryLockError::Poisoned(table)) => table.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        let seen = Seen { version: &served.version, at: self.moment() };
        if table.is_untidy(seen.at) {
            self.tidy(&mut table, seen.at, window(fetch.ring));
        }
        let name = self.name(self.who(fetch), Text::of(fetch.user_agent));
        if !table.note_known(&name, &seen) {
            self.note_new(&mut table, name, &seen);
        }
    }

    /// Makes the table of a key set. Only sets that are served come here, so strangers make none.
    #[cold]
    fn note_first(&self, fetch: &Fetch<'_>) {
        let Ok(mut tables) = self.tables.try_write() else { return };
        tables.entry(fetch.keyset.clone()).or_default();
        drop(tables);
        self.note(fetch);
    }

    #[cold]
    fn note_new(&self, table: &mut Table, mut name: Name, seen: &Seen<'_>) {
        let hash_of_who = self.hasher.hash_one(name.who);
        if table.has_all_user_agents(&name.who, hash_of_who) {
            name = self.name(name.who, Text::of(OTHERS.as_bytes()));
            if table.note_known(&name, seen) {
                return;
            }
        }
        let is_left = self.kept.load(Ordering::Relaxed) < MOST_IN_ALL;
        let room = if is_left { Room::Left } else { Room::Taken };
        self.changing(table, |table| table.note_new(&name, hash_of_who, seen, room));
    }

    #[cold]
    fn tidy(&self, table: &mut Table, at: Moment, window: Duration) {
        self.changing(table, |table| table.tidy(at, at.before(window)));
    }

    fn who(&self, fetch: &Fetch<'_>) -> Who<Text> {
        let prefixes = self.settings.prefixes;
        match (fetch.header, fetch.peer) {
            (Some(value), _) => prefixes.named(value),
            (None, Some(address)) => prefixes.network(address),
            (None, None) => Who::Local,
        }
    }

    fn name(&self, who: Who<Text>, user_agent: Text) -> Name {
        let hash = self.hasher.hash_one((&who, &user_agent));
        Name { who, user_agent, hash }
    }

    fn moment(&self) -> Moment {
        let seconds = self.clock.since_boot().saturating_sub(self.began).as_secs();
        Moment(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// How much memory the tables take, but for the versions, which rings have too.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        tables.values().map(|table| size_of::<Mutex<Table>>() + lock(table).bytes()).sum()
    }

    /// Changes a table, and counts what it has.
    fn changing(&self, table: &mut Table, change: impl FnOnce(&mut Table)) {
        let before = table.len();
        change(table);
        let after = table.len();
        self.kept.fetch_add(after, Ordering::Relaxed);
        self.kept.fetch_sub(before, Ordering::Relaxed);
    }

    /// When the watch began, by the wall clock as it is now.
    fn began_by_the_wall(&self) -> Time {
        self.clock.wall().before(self.clock.since_boot().saturating_sub(self.began))
    }

    // --- What others ask. Whoever was not seen within the window is dropped before.

    /// The fetchers of a key set that is served as `ring`, at `now` in lifecycle time.
    #[must_use]
    pub fn fetched(&self, keyset: &KeysetName, ring: &Ring, now: Time) -> Fetched {
        let (standing, began) = (Standing::of(ring, now), self.began_by_the_wall());
        let (tally, mut fetchers) = self.with_table(keyset, ring, |table| {
            let entries = table.into_iter().flat_map(Table::iter);
            let fetchers: Vec<_> = entries.map(|entry| standing.fetcher(entry, began)).collect();
            (standing.tally(table), fetchers)
        });
        let name = |fetcher: &Fetcher| (fetcher.who.clone(), fetcher.user_agent.clone());
        fetchers.sort_by_cached_key(|fetcher| (fetcher.has, fetcher.last, name(fetcher)));
        Fetched { tally, fetchers }
    }

    /// How many there are, without their names.
    #[must_use]
    pub fn tally(&self, keyset: &KeysetName, ring: &Ring, now: Time) -> Tally {
        let standing = Standing::of(ring, now);
        self.with_table(keyset, ring, |table| standing.tally(table))
    }

    /// How the fetchers stand to a key.
    #[must_use]
    pub fn without(&self, keyset: &KeysetName, ring: &Ring, kid: &KeyId) -> OfKey {
        self.with_table(keyset, ring, |table| {
            let Some(table) = table else { return OfKey::default() };
            let lacks = |entry: &&Entry| !entry.version.kids.contains(kid);
            OfKey {
                known: table.len() as u64,
                without: table.iter().filter(lacks).count() as u64,
                forgotten: table.forgotten,
                several: table.iter().filter(|entry| entry.is_several()).count() as u64,
            }
        })
    }

    /// The fetchers whose last fetch has this key: after it was revoked, those that did not fetch
    /// since. `ring` is what is served now.
    #[must_use]
    pub fn holding(
        &self,
        keyset: &KeysetName,
        ring: &Ring,
        kid: &KeyId,
        now: Time,
    ) -> Vec<Fetcher> {
        let mut fetchers = self.fetched(keyset, ring, now).fetchers;
        fetchers.retain(|fetcher| fetcher.version.kids.contains(kid));
        fetchers
    }

    fn with_table<T>(
        &self,
        keyset: &KeysetName,
        ring: &Ring,
        look: impl FnOnce(Option<&Table>) -> T,
    ) -> T {
        let tables = self.tables.read().unwrap_or_else(PoisonError::into_inner);
        let Some(table) = tables.get(keyset) else { return look(None) };
        let mut table = lock(table);
        self.tidy(&mut table, self.moment(), window(ring));
        look(Some(&table))
    }
}

/// What is told of times: nobody needs to know more.
fn whole_seconds(time: Time) -> Time {
    Time::from_millis(time.as_secs() * 1000)
}

/// What is served now, and which keys of it matter.
struct Standing<'a> {
    served: Option<&'a Version>,
    active: Option<&'a KeyId>,
    standby: Option<&'a KeyId>,
}

impl<'a> Standing<'a> {
    fn of(ring: &'a Ring, now: Time) -> Self {
        Self {
            served: ring.served().map(|served| &*served.version),
            active: ring.signer_at(now).ok().map(Signer::kid),
            standby: ring.standby_at(now),
        }
    }

    fn tally(&self, table: Option<&Table>) -> Tally {
        let Some(table) = table else { return Tally::default() };
        let mut tally = Tally { forgotten: table.forgotten, ..Tally::default() };
        for entry in table.iter() {
            tally.known += 1;
            tally.current += u64::from(self.has(&entry.version) == Has::Current);
            tally.without_active += u64::from(!self.has_active(&entry.version));
            tally.without_standby += u64::from(!self.has_standby(&entry.version));
        }
        tally
    }

    fn fetcher(&self, entry: &Entry, began: Time) -> Fetcher {
        Fetcher {
            who: entry.who.to_string(),
            user_agent: entry.user_agent.to_string(),
            last: whole_seconds(began + entry.last.since(Moment::default())),
            fetches: entry.fetches,
            version: entry.version.clone(),
            has: self.has(&entry.version),
        }
    }

    fn has(&self, version: &Version) -> Has {
        if self.served.is_some_and(|served| served.etag == version.etag) {
            Has::Current
        } else if !self.has_active(version) {
            Has::WithoutActive
        } else if !self.has_standby(version) {
            Has::WithoutStandby
        } else {
            Has::Older
        }
    }

    fn has_active(&self, version: &Version) -> bool {
        self.active.is_none_or(|kid| version.kids.contains(kid))
    }

    fn has_standby(&self, version: &Version) -> bool {
        self.standby.is_none_or(|kid| version.kids.contains(kid))
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
