//! Verifiers as the catalogue describes them, each with what it remembers: copies of the set or of
//! single keys, how old they are, and which fetches it may not make yet.
//!
//! Each is as unlucky as it can be: as long as it could have fetched the copy that it has once more,
//! it has just done so. So the copy that it goes by later is always the youngest of the old ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jwksd::verifiers::{Cache, Catalogue, Keeps, OnFailure, Route, Trusts, Unit, UnknownKid};
use jwksd_keystore::id::KeyId;
use jwksd_keystore::time::Time;

/// A JWK Set as it was handed out.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// The text of each key.
    pub(crate) keys: BTreeMap<KeyId, String>,
    /// For how long it may be reused.
    pub(crate) max_age: Duration,
}

/// A copy of a JWK Set, and when it was fetched.
#[derive(Clone, Debug)]
struct Copy {
    version: Arc<Version>,
    fetched: Time,
}

/// A cache between jwksd and verifiers, which hands out a copy until it is `max-age` old.
#[derive(Debug, Default)]
pub(crate) struct SharedCache {
    copy: Option<Copy>,
    /// Whether its fetches fail.
    pub(crate) is_disconnected: bool,
}

/// Where verifiers fetch at one moment: `origin` is what jwksd serves, `None` while nobody gets through.
pub(crate) struct Network<'a> {
    pub(crate) origin: Option<&'a Arc<Version>>,
    pub(crate) shared: &'a mut SharedCache,
    pub(crate) now: Time,
}

/// A verifier of one key set.
#[derive(Clone, Debug)]
pub(crate) struct Verifier {
    pub(crate) id: String,
    pub(crate) cache: Cache,
    pub(crate) route: Route,
    copy: Option<Copy>,
    /// By kid, of one that keeps each key by itself.
    keys: BTreeMap<KeyId, Held>,
    missed: BTreeMap<KeyId, Miss>,
    /// When it fetched because of kids that it had not got.
    fetches: Vec<Time>,
    tried: Option<Time>,
    /// Whether its last fetch failed.
    is_cut_off: bool,
    /// When more was asked of it than it can keep.
    overrun: Option<Time>,
    /// Whether its fetches fail.
    pub(crate) is_disconnected: bool,
    /// How many kids attackers made up.
    made_up: u64,
}

/// A fetch that did not bring a kid.
#[derive(Clone, Copy, Debug)]
struct Miss {
    at: Time,
    /// Whether it brought nothing at all.
    has_failed: bool,
}

#[derive(Clone, Debug)]
struct Held {
    text: String,
    fetched: Time,
    used: Time,
}

/// What a verifier makes of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    /// It has not got the key.
    Refused,
    /// It has not got the key, and its last fetch failed.
    CutOff,
}

/// One verifier of each kind that the catalogue has, on each way to jwksd.
pub(crate) fn population() -> Vec<Verifier> {
    let clients = Catalogue::built_in().clients;
    let mut kinds: Vec<(String, Cache)> = Vec::new();
    for client in clients {
        let Some(cache) = client.cache else { continue };
        if kinds.iter().all(|(_, known)| *known != cache) {
            kinds.push((client.id, cache));
        }
    }
    let routes = [Route::Direct, Route::SharedCache];
    let both = kinds.into_iter().flat_map(|kind| routes.map(|route| (kind.clone(), route)));
    both.map(|((id, cache), route)| Verifier::new(id, cache, route)).collect()
}

impl SharedCache {
    /// What jwksd still serves, it has just fetched.
    pub(crate) fn renew(&mut self, origin: Option<&Arc<Version>>, now: Time) {
        if let (Some(copy), Some(origin)) = (&mut self.copy, origin)
            && Arc::ptr_eq(&copy.version, origin)
            && !self.is_disconnected
        {
            copy.fetched = now;
        }
    }

    /// The last moment until `now` at which it handed out `version`.
    fn handed_out(&self, version: &Arc<Version>, now: Time) -> Option<Time> {
        let copy = self.copy.as_ref().filter(|copy| Arc::ptr_eq(&copy.version, version))?;
        let until = copy.fetched + copy.version.max_age;
        Some(until.before(Duration::from_millis(1)).min(now))
    }

    fn fetch(&mut self, origin: Option<&Arc<Version>>, now: Time) -> Option<Arc<Version>> {
        let is_fresh = |copy: &&Copy| now.since(copy.fetched) < copy.version.max_age;
        if let Some(copy) = self.copy.as_ref().filter(is_fresh) {
            return Some(copy.version.clone());
        }
        let origin = origin.filter(|_| !self.is_disconnected);
        self.copy = origin.map(|version| Copy { version: version.clone(), fetched: now });
        origin.cloned()
    }
}

impl Network<'_> {
    fn fetch(&mut self, route: Route) -> Option<Arc<Version>> {
        match route {
            Route::Direct => self.origin.cloned(),
            Route::SharedCache => self.shared.fetch(self.origin, self.now),
        }
    }
}

impl Verifier {
    fn new(id: String, cache: Cache, route: Route) -> Self {
        Self {
            id,
            cache,
            route,
            copy: None,
            keys: BTreeMap::new(),
            missed: BTreeMap::new(),
            fetches: Vec::new(),
            tried: None,
            is_cut_off: false,
            overrun: None,
            is_disconnected: false,
            made_up: 0,
        }
    }

    /// Tokens of so many keys come.
    pub(crate) fn expect_keys(&mut self, count: usize, now: Time) {
        if self.cache.most_keys.is_some_and(|most| count > most as usize) {
            self.overrun = Some(now);
        }
    }

    /// Whether its limit for fetches may be used up, since tokens of more keys came than it keeps.
    pub(crate) fn is_exhausted(&self, now: Time) -> bool {
        let UnknownKid::FetchesAtMost { per, .. } = self.cache.unknown_kid else { return false };
        let is_overrun = self.overrun.is_some_and(|overrun| now.since(overrun) < per);
        // Keys that change within the time count together.
        is_overrun || (self.cache.unit == Unit::Kid && self.has_no_fetch_left(now))
    }

    /// Whether it may not fetch for another kid, since it has for others.
    pub(crate) fn has_no_fetch_left(&self, now: Time) -> bool {
        let UnknownKid::FetchesAtMost { times, per } = self.cache.unknown_kid else { return false };
        let lately = self.fetches.iter().filter(|at| now.since(**at) < per);
        lately.count() >= times as usize
    }

    /// Forgets all, as at a restart.
    pub(crate) fn restart(&mut self) {
        let is_disconnected = self.is_disconnected;
        *self = Self::new(self.id.clone(), self.cache.clone(), self.route);
        self.is_disconnected = is_disconnected;
    }

    /// The copy that it has, it has fetched at the last moment at which there was such a copy.
    pub(crate) fn renew(&mut self, origin: Option<&Arc<Version>>, shared: &SharedCache, now: Time) {
        let Some(copy) = self.copy.as_mut().filter(|_| !self.is_disconnected) else { return };
        let last = match self.route {
            Route::Direct => {
                origin.filter(|origin| Arc::ptr_eq(origin, &copy.version)).map(|_| now)
            }
            Route::SharedCache => shared.handed_out(&copy.version, now),
        };
        if let Some(last) = last.filter(|last| *last > copy.fetched) {
            copy.fetched = last;
            self.is_cut_off &= self.tried.is_some_and(|tried| tried >= last);
        }
    }

    /// What it makes of a token with `kid`, signed by the key of this text.
    pub(crate) fn judge(&mut self, kid: &KeyId, text: &str, network: &mut Network<'_>) -> Verdict {
        let knows = match self.cache.unit {
            Unit::Set => self.finds_in_set(kid, network),
            Unit::Kid => self.finds_key(kid, network),
        };
        match knows {
            Some(has) if has == text => Verdict::Accepted,
            Some(_) | None if self.is_cut_off => Verdict::CutOff,
            None if self.missed.get(kid).is_some_and(|miss| miss.has_failed) => Verdict::CutOff,
            Some(_) | None => Verdict::Refused,
        }
    }

    /// Somebody sends it tokens with kids that were never anywhere, as many as make it fetch.
    pub(crate) fn is_attacked(&mut self, network: &mut Network<'_>) {
        let tokens = match self.cache.unknown_kid {
            UnknownKid::FetchesAtMost { times, .. } => times,
            _ => 1,
        };
        for _ in 0..tokens {
            let kid = format!("made-up-{}", self.made_up).parse().unwrap();
            self.made_up += 1;
            let verdict = self.judge(&kid, "made up", network);
            assert_ne!(verdict, Verdict::Accepted);
            self.missed.remove(&kid);
        }
    }

    fn keeps(&self, version: &Version) -> Option<Duration> {
        match self.cache.keeps {
            Keeps::Nothing => Some(Duration::ZERO),
            Keeps::For(span) => Some(span),
            Keeps::MaxAge => Some(version.max_age),
            Keeps::Process => None,
        }
    }

    /// Whether what was fetched then is to be fetched again.
    fn is_old(&self, version: &Version, fetched: Time, now: Time) -> bool {
        self.keeps(version).is_some_and(|keeps| now.since(fetched) >= keeps)
    }

    /// Whether what cannot be fetched again is used no more.
    fn is_over(&self, version: &Version, fetched: Time, now: Time) -> bool {
        let age = now.since(fetched);
        match self.cache.on_failure {
            OnFailure::Expires => true,
            OnFailure::Keeps => false,
            OnFailure::Lasts(span) => age >= span,
            OnFailure::Longer(span) => self.keeps(version).is_some_and(|keeps| age >= keeps + span),
        }
    }

    fn finds_in_set(&mut self, kid: &KeyId, network: &mut Network<'_>) -> Option<String> {
        let now = network.now;
        let is_old = self.copy.as_ref().is_none_or(|it| self.is_old(&it.version, it.fetched, now));
        if is_old && !self.fetch(network) {
            let is_over = |it: &Copy| self.is_over(&it.version, it.fetched, now);
            if self.copy.as_ref().is_some_and(is_over) {
                self.copy = None;
            }
        }
        if let Some(text) = self.in_copy(kid) {
            return Some(text);
        }
        if !self.fetches_for(kid, network.now) {
            return None;
        }
        self.count_fetch(now);
        self.fetch(network);
        let found = self.in_copy(kid);
        if found.is_none() {
            self.missed.insert(kid.clone(), Miss { at: now, has_failed: self.is_cut_off });
        }
        found
    }

    fn in_copy(&self, kid: &KeyId) -> Option<String> {
        self.copy.as_ref()?.version.keys.get(kid).cloned()
    }

    fn finds_key(&mut self, kid: &KeyId, network: &mut Network<'_>) -> Option<String> {
        let now = network.now;
        let held = self.keys.get(kid).cloned();
        if let Some(held) = &held {
            let keeps = match self.cache.trusts {
                Some(Trusts::Process) => None,
                Some(Trusts::For(span)) => Some(span),
                None => match self.cache.keeps {
                    Keeps::Nothing | Keeps::MaxAge => Some(Duration::ZERO),
                    Keeps::For(span) => Some(span),
                    Keeps::Process => None,
                },
            };
            if keeps.is_none_or(|keeps| now.since(held.fetched) < keeps) {
                return self.used(kid, now);
            }
        } else if let Some(found) = self.in_set_beside(kid, now) {
            return self.hold(kid, found, now);
        } else if !self.fetches_for(kid, now) {
            return None;
        } else {
            self.count_fetch(now);
        }
        if !self.fetch(network) {
            let keeps = self.cache.on_failure == OnFailure::Keeps;
            return held.filter(|_| keeps).map(|held| held.text);
        }
        if let Some(text) = self.in_copy(kid) {
            return self.hold(kid, text, now);
        }
        self.keys.remove(kid);
        self.missed.insert(kid.clone(), Miss { at: now, has_failed: false });
        None
    }

    /// One that pauses after each fetch looks into what that brought.
    fn in_set_beside(&self, kid: &KeyId, now: Time) -> Option<String> {
        let pauses = matches!(self.cache.unknown_kid, UnknownKid::FetchesAfter(_));
        let copy = self.copy.as_ref().filter(|_| pauses)?;
        let is_old = self.is_old(&copy.version, copy.fetched, now);
        if is_old { None } else { copy.version.keys.get(kid).cloned() }
    }

    fn hold(&mut self, kid: &KeyId, text: String, now: Time) -> Option<String> {
        self.make_room();
        self.keys.insert(kid.clone(), Held { text, fetched: now, used: now });
        self.used(kid, now)
    }

    fn used(&mut self, kid: &KeyId, now: Time) -> Option<String> {
        let held = self.keys.get_mut(kid)?;
        held.used = now;
        Some(held.text.clone())
    }

    /// Of as many keys as it keeps, that goes which was not used for longest.
    fn make_room(&mut self) {
        let most = self.cache.most_keys.map_or(usize::MAX, |most| most as usize);
        while self.keys.len() >= most {
            let oldest = self.keys.iter().min_by_key(|(_, held)| held.used);
            let Some(oldest) = oldest.map(|(kid, _)| kid.clone()) else { return };
            self.keys.remove(&oldest);
        }
    }

    /// Whether it fetches because of a kid that it has not got.
    fn fetches_for(&mut self, kid: &KeyId, now: Time) -> bool {
        let since = |at: Option<&Time>| at.map(|at| now.since(*at));
        match self.cache.unknown_kid {
            UnknownKid::Refuses | UnknownKid::NotKnown => self.cache.unit == Unit::Kid,
            UnknownKid::Fetches => true,
            UnknownKid::FetchesUnlessMissed(pause) => {
                since(self.missed.get(kid).map(|miss| &miss.at)).is_none_or(|since| since >= pause)
            }
            UnknownKid::FetchesAtMost { times, per } => {
                self.fetches.retain(|at| now.since(*at) < per);
                self.fetches.len() < times as usize
            }
            UnknownKid::FetchesAfter(pause) => {
                let fetched = self.copy.as_ref().map(|copy| copy.fetched).max(self.tried);
                since(fetched.as_ref()).is_none_or(|since| since >= pause)
            }
            UnknownKid::FetchesBeforeExpiry(rest) => self.copy.as_ref().is_none_or(|copy| {
                now.since(copy.fetched) >= copy.version.max_age.saturating_sub(rest)
            }),
        }
    }

    fn count_fetch(&mut self, now: Time) {
        if matches!(self.cache.unknown_kid, UnknownKid::FetchesAtMost { .. }) {
            self.fetches.push(now);
        }
    }

    /// Fetches the set. Returns whether it got it.
    fn fetch(&mut self, network: &mut Network<'_>) -> bool {
        let fetched = if self.is_disconnected { None } else { network.fetch(self.route) };
        self.tried = Some(network.now);
        self.is_cut_off = fetched.is_none();
        if let Some(version) = fetched {
            self.copy = Some(Copy { version, fetched: network.now });
        }
        !self.is_cut_off
    }
}
