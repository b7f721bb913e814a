//! A place where a JWK Set can be fetched: what was handed out there when, and who fetches it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jwksd_keystore::facts::Facts;
use jwksd_keystore::id::KeyId;
use jwksd_keystore::time::Time;
use serde_json::Value;

use crate::daemon::Served;
use crate::ledger::Moment;
use crate::verifier::{Network, SharedCache, Verdict, Verifier, Version, population};

/// After which time nobody has a copy of the set any more.
const FORGOTTEN: Duration = Duration::from_hours(24 * 60);

/// What a moment may be off, since a publication that is late by no more counts as in time.
pub(crate) const LATE: Duration = Duration::from_secs(1);

/// Who gets nothing from a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whom {
    Everyone,
    SharedCache,
    One(u8),
}

/// Whether somebody sends tokens with made-up kids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Attack {
    #[default]
    IsOver,
    GoesOn,
}

pub(crate) struct Place {
    /// What is behind its name.
    pub(crate) name: &'static str,
    handed: VecDeque<Handed>,
    is_served: bool,
    published: BTreeMap<KeyId, Published>,
    shared: SharedCache,
    verifiers: Vec<Verifier>,
    attack: Attack,
}

/// A version of the set, and when it was handed out last.
struct Handed {
    served: Served,
    version: Arc<Version>,
    /// What was in force then.
    verifier_cache: Duration,
    until: Moment,
}

/// Since when a key is handed out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Published {
    pub(crate) first: Moment,
    /// For how much lifecycle time it was.
    pub(crate) span: Duration,
    /// For how much it was when it began to sign; `None` where that was before.
    pub(crate) ahead: Option<Duration>,
}

impl Place {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            handed: VecDeque::new(),
            is_served: false,
            published: BTreeMap::new(),
            shared: SharedCache::default(),
            verifiers: population(),
            attack: Attack::default(),
        }
    }

    /// Until `now`, what was served is what was seen last.
    pub(crate) fn pass(&mut self, before: Moment, now: Moment) {
        let Some(handed) = self.handed.back_mut().filter(|_| self.is_served) else { return };
        handed.until = now;
        let gained = now.lifecycle.since(before.lifecycle);
        for kid in handed.version.keys.keys() {
            if let Some(published) = self.published.get_mut(kid) {
                published.span += gained;
            }
        }
        let origin = handed.version.clone();
        self.renew(Some(&origin), now);
    }

    /// What is served from `now` on.
    pub(crate) fn see(&mut self, served: Option<&Served>, facts: Option<&Facts>, now: Moment) {
        self.is_served = served.is_some();
        let Some(served) = served else { return };
        let verifier_cache = facts.map_or(Duration::ZERO, |facts| facts.verifier_cache);
        if let Some(handed) = self.handed.back_mut().filter(|handed| handed.served == *served) {
            handed.verifier_cache = verifier_cache;
            return;
        }
        let version = Arc::new(version_of(served));
        for kid in version.keys.keys() {
            let fresh = || Published { first: now, span: Duration::ZERO, ahead: None };
            self.published.entry(kid.clone()).or_insert_with(fresh);
        }
        let served = served.clone();
        self.handed.push_back(Handed { served, version, verifier_cache, until: now });
        while self.handed.front().is_some_and(|old| now.real.since(old.until.real) > FORGOTTEN) {
            self.handed.pop_front();
        }
    }

    /// Nobody serves it any more.
    pub(crate) fn ended(&mut self) {
        self.is_served = false;
    }

    fn renew(&mut self, origin: Option<&Arc<Version>>, now: Moment) {
        self.shared.renew(origin, now.real);
        for verifier in &mut self.verifiers {
            verifier.renew(origin, &self.shared, now.real);
        }
    }

    /// What is served now.
    pub(crate) fn current(&self) -> Option<&Arc<Version>> {
        self.handed.back().filter(|_| self.is_served).map(|handed| &handed.version)
    }

    /// How what was served last may be kept.
    pub(crate) fn cache_control(&self) -> Option<&[u8]> {
        self.handed.back().map(|handed| &handed.served.cache_control[..])
    }

    pub(crate) fn published(&self, kid: &KeyId) -> Option<Published> {
        self.published.get(kid).copied()
    }

    /// A key begins to sign.
    pub(crate) fn begins(&mut self, kid: &KeyId) {
        if let Some(published) = self.published.get_mut(kid) {
            published.ahead = Some(published.span);
        }
    }

    /// The longest max-age of copies without the key that were about when it was published.
    pub(crate) fn stale(&self, kid: &KeyId, facts: &Facts, now: Moment) -> Duration {
        let since = self.published(kid).map_or(now.lifecycle, |known| known.first.lifecycle);
        let about = self.lacking(kid).filter(|handed| {
            let max_age = handed.version.max_age;
            let keeps = handed.verifier_cache.max(facts.verifier_cache).max(max_age);
            handed.until.lifecycle + max_age + keeps > since
        });
        about.map(|handed| handed.version.max_age).max().unwrap_or_default()
    }

    /// Until when a copy without the key is kept that is promised to be kept no more: if there is one,
    /// the key must not begin to sign.
    pub(crate) fn kept_without(&self, kid: &KeyId, facts: &Facts, now: Moment) -> Option<Time> {
        let promised =
            self.lacking(kid).filter(|handed| now.gained <= handed.until.gained + facts.clock_skew);
        let kept = promised.map(|handed| {
            let max_age = handed.version.max_age;
            handed.until.real + max_age + max_age.max(facts.verifier_cache)
        });
        kept.max().filter(|kept| now.real + LATE < *kept)
    }

    fn lacking(&self, kid: &KeyId) -> impl Iterator<Item = &Handed> {
        self.handed.iter().filter(move |handed| !handed.version.keys.contains_key(kid))
    }

    /// Shows a token of each of these keys, by kid and text, to each verifier; tells who refused one
    /// that it had to accept. Attackers come first.
    pub(crate) fn show_tokens(
        &mut self,
        keys: &[(&KeyId, &str)],
        is_reachable: bool,
        now: Moment,
        must: impl Fn(&Verifier, &KeyId) -> bool,
    ) -> Result<(), (KeyId, Box<Verifier>)> {
        let origin = self.current().cloned().filter(|_| is_reachable);
        self.renew(origin.as_ref(), now);
        let mut network =
            Network { origin: origin.as_ref(), shared: &mut self.shared, now: now.real };
        for verifier in &mut self.verifiers {
            if self.attack == Attack::GoesOn {
                verifier.is_attacked(&mut network);
            }
            verifier.expect_keys(keys.len(), now.real);
            for &(kid, text) in keys {
                let verdict = verifier.judge(kid, text, &mut network);
                if verdict == Verdict::Refused && must(verifier, kid) {
                    return Err((kid.clone(), Box::new(verifier.clone())));
                }
            }
        }
        Ok(())
    }

    /// One of the verifiers is restarted.
    pub(crate) fn restart_verifier(&mut self, pick: u8) {
        let count = self.verifiers.len();
        self.verifiers[usize::from(pick) % count].restart();
    }

    /// From now on fetches of these fail.
    pub(crate) fn cut_off(&mut self, whom: Whom) {
        match whom {
            Whom::Everyone => {
                self.shared.is_disconnected = true;
                self.verifiers.iter_mut().for_each(|verifier| verifier.is_disconnected = true);
            }
            Whom::SharedCache => self.shared.is_disconnected = true,
            Whom::One(pick) => {
                let count = self.verifiers.len();
                self.verifiers[usize::from(pick) % count].is_disconnected = true;
            }
        }
    }

    /// Everybody gets through again.
    pub(crate) fn connect(&mut self) {
        self.shared.is_disconnected = false;
        self.verifiers.iter_mut().for_each(|verifier| verifier.is_disconnected = false);
    }

    pub(crate) const fn attack(&mut self, attack: Attack) {
        self.attack = attack;
    }
}

fn version_of(served: &Served) -> Version {
    let set: Value = serde_json::from_slice(&served.body).unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    let key = |key: &Value| (key["kid"].as_str().unwrap().parse().unwrap(), key.to_string());
    let cache_control = std::str::from_utf8(&served.cache_control).unwrap();
    let max_age = cache_control.strip_prefix("public, max-age=").unwrap().parse().unwrap();
    Version { keys: keys.map(key).collect(), max_age: Duration::from_secs(max_age) }
}
