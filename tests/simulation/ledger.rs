//! What the outside world knows of one key set: what was served when, which tokens were handed out,
//! and who verifies them. It is kept without a look into the daemon.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use jwksd::verifiers::{Keeps, least_verifier_cache, refuses};
use jwksd_keystore::facts::Facts;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::time::Time;
use serde_json::Value;

use crate::configuration::Role;
use crate::daemon::Served;
use crate::verifier::{Network, SharedCache, Verdict, Verifier, Version, population};

/// After which time nobody has a copy of the set any more.
const FORGOTTEN: Duration = Duration::from_hours(24 * 60);

/// What a moment may be off, since a publication that is late by no more counts as in time.
const LATE: Duration = Duration::from_secs(1);

/// One moment on all clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// True time.
    pub(crate) real: Time,
    pub(crate) wall: Time,
    pub(crate) lifecycle: Time,
    /// All that lifecycle time ever gained on true time.
    pub(crate) gained: Duration,
}

/// What is known of a key set.
pub(crate) struct Ledger {
    pub(crate) name: KeysetName,
    pub(crate) role: Role,
    pub(crate) keys: BTreeMap<KeyId, Known>,
    /// The key that signed last, and its number.
    pub(crate) signer: Option<(KeyId, u64)>,
    /// How often a key may begin to sign without a wait.
    pub(crate) vouchers: u32,
    /// Whether a revocation is in effect that may not be durable.
    pub(crate) unconfirmed: bool,
    handed: VecDeque<Handed>,
    is_served: bool,
    shared: SharedCache,
    verifiers: Vec<Verifier>,
}

/// A version of the set, and when it was handed out last.
struct Handed {
    served: Served,
    version: Arc<Version>,
    verifier_cache: Duration,
    until: Moment,
}

/// What is known of a key.
#[derive(Debug)]
pub(crate) struct Known {
    text: String,
    first: Moment,
    /// For how much lifecycle time it was served.
    span: Duration,
    begun: Option<Begun>,
    pub(crate) token: Option<Token>,
    /// Whether it was gone for good.
    pub(crate) is_gone: bool,
    /// Whether a revocation that was never durable had taken it out, and got lost.
    is_back: bool,
}

/// How a key began to sign.
#[derive(Clone, Debug)]
struct Begun {
    at: Moment,
    facts: Facts,
    manner: Manner,
    published_for: Duration,
}

/// Whether a key waited before it signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Waited,
    AtOnce,
}

/// The token of a key that expires last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token {
    pub(crate) expires: Time,
    pub(crate) signed: Time,
    /// By how much clocks may differ, when it was signed or later.
    pub(crate) skew: Duration,
}

impl Ledger {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            name: role.name().parse().unwrap(),
            role,
            keys: BTreeMap::new(),
            signer: None,
            vouchers: 1,
            unconfirmed: false,
            handed: VecDeque::new(),
            is_served: false,
            shared: SharedCache::default(),
            verifiers: population(),
        }
    }

    /// Until `now`, what was served is what was seen last.
    pub(crate) fn pass(&mut self, before: Moment, now: Moment) {
        let Some(handed) = self.handed.back_mut().filter(|_| self.is_served) else { return };
        handed.until = now;
        let gained = now.lifecycle.since(before.lifecycle);
        for kid in handed.version.keys.keys() {
            if let Some(known) = self.keys.get_mut(kid) {
                known.span += gained;
            }
        }
        let origin = handed.version.clone();
        self.renew(Some(&origin), now);
    }

    /// What is served from `now` on.
    pub(crate) fn see(&mut self, served: Option<&Served>, facts: Option<&Facts>, now: Moment) {
        self.is_served = served.is_some();
        let Some(served) = served else { return };
        if self.handed.back().is_some_and(|handed| handed.served == *served) {
            return;
        }
        let version = Arc::new(version_of(served));
        for (kid, text) in &version.keys {
            let fresh = || Known {
                text: text.clone(),
                first: now,
                span: Duration::ZERO,
                begun: None,
                token: None,
                is_gone: false,
                is_back: false,
            };
            self.keys.entry(kid.clone()).or_insert_with(fresh);
        }
        let verifier_cache = facts.map_or(Duration::ZERO, |facts| facts.verifier_cache);
        let served = served.clone();
        self.handed.push_back(Handed { served, version, verifier_cache, until: now });
        while self.handed.front().is_some_and(|old| now.real.since(old.until.real) > FORGOTTEN) {
            self.handed.pop_front();
        }
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

    pub(crate) fn serves(&self, kid: &KeyId) -> bool {
        self.current().is_some_and(|version| version.keys.contains_key(kid))
    }

    /// A key begins to sign.
    pub(crate) fn begins(&mut self, kid: &KeyId, manner: Manner, facts: &Facts, now: Moment) {
        let stale = self.stale(kid, facts, now);
        let Some(known) = self.keys.get_mut(kid) else { return };
        let facts = Facts { jwks_max_age: facts.jwks_max_age.max(stale), ..facts.clone() };
        known.begun = Some(Begun { at: now, facts, manner, published_for: known.span });
    }

    /// The longest max-age of copies without the key that were about when it was published.
    fn stale(&self, kid: &KeyId, facts: &Facts, now: Moment) -> Duration {
        let since = self.keys.get(kid).map_or(now.lifecycle, |known| known.first.lifecycle);
        let lacking = self.handed.iter().filter(|handed| !handed.version.keys.contains_key(kid));
        let about = lacking.filter(|handed| {
            let max_age = handed.version.max_age;
            let keeps = handed.verifier_cache.max(facts.verifier_cache).max(max_age);
            handed.until.lifecycle + max_age + keeps > since
        });
        about.map(|handed| handed.version.max_age).max().unwrap_or_default()
    }

    /// Whether a key that begins to sign was served for as long as is promised.
    pub(crate) fn served_its_wait(
        &self,
        kid: &KeyId,
        facts: &Facts,
        now: Moment,
    ) -> Result<(), String> {
        let Some(known) = self.keys.get(kid) else {
            return Err(format!("{kid} signs and was never served"));
        };
        let waits = facts.waits().with_max_age_of_at_least(self.stale(kid, facts, now));
        let needed = waits.publish_ahead();
        if known.span + LATE < needed {
            let span = known.span;
            return Err(format!("{kid} signs, and was served for {span:?} of {needed:?}"));
        }
        if known.is_back {
            return Ok(());
        }
        for handed in self.handed.iter().filter(|handed| !handed.version.keys.contains_key(kid)) {
            let max_age = handed.version.max_age;
            let kept = handed.until.real + max_age + max_age.max(facts.verifier_cache);
            let is_promised = now.gained <= handed.until.gained + facts.clock_skew;
            if is_promised && now.real + LATE < kept {
                let now = now.real;
                return Err(format!(
                    "{kid} signs at {now}; a copy without it is kept until {kept}"
                ));
            }
        }
        Ok(())
    }

    /// A token of a key was handed out.
    pub(crate) fn note_token(&mut self, kid: &KeyId, token: Token) {
        let Some(known) = self.keys.get_mut(kid) else { return };
        let last = known.token.filter(|last| last.expires >= token.expires);
        known.token = Some(last.unwrap_or(token));
    }

    /// Nothing is promised of tokens of this key any more.
    pub(crate) fn forsake(&mut self, kid: &KeyId) {
        if let Some(known) = self.keys.get_mut(kid) {
            known.token = None;
        }
    }

    /// The same of all keys.
    pub(crate) fn forsake_all(&mut self) {
        self.keys.values_mut().for_each(|known| known.token = None);
    }

    /// The process ends. A key that a revocation took out in memory alone may be back with the next.
    pub(crate) fn ended(&mut self) {
        let last = self.current().cloned();
        let is_out = |kid: &KeyId| last.as_ref().is_none_or(|last| !last.keys.contains_key(kid));
        if self.unconfirmed {
            let out = self.keys.iter_mut().filter(|(kid, _)| is_out(kid));
            out.for_each(|(_, known)| known.is_back = true);
        }
        self.is_served = false;
    }

    /// Another process begins at `lifecycle`, and these keys are pending. Nothing is promised of tokens
    /// that were signed later than that.
    pub(crate) fn restarted<'a>(
        &mut self,
        pending: impl Iterator<Item = &'a KeyId>,
        lifecycle: Time,
    ) {
        (self.signer, self.unconfirmed) = (None, false);
        for known in self.keys.values_mut() {
            known.token.take_if(|token| token.signed > lifecycle);
        }
        for kid in pending {
            if let Some(known) = self.keys.get_mut(kid) {
                known.begun = None;
            }
        }
    }

    pub(crate) fn has_begun(&self, kid: &KeyId) -> bool {
        self.keys.get(kid).is_some_and(|known| known.begun.is_some())
    }

    /// From now on clocks differ by no more than this.
    pub(crate) fn lower_skew(&mut self, skew: Duration) {
        for token in self.keys.values_mut().filter_map(|known| known.token.as_mut()) {
            token.skew = token.skew.min(skew);
        }
    }

    /// Forgets tokens that expired long ago, and keys that are gone.
    pub(crate) fn tidy(&mut self, now: Moment) {
        for known in self.keys.values_mut() {
            known.token.take_if(|token| now.lifecycle > token.expires + token.skew);
        }
    }

    /// Each key with live tokens is served, until S after the last of them expired.
    pub(crate) fn tokens_outlive_no_key(&self, now: Moment) -> Result<(), String> {
        for (kid, known) in &self.keys {
            let live = known.token.filter(|token| now.lifecycle < token.expires + token.skew);
            if let Some(token) = live
                && !self.serves(kid)
            {
                let now = now.lifecycle;
                return Err(format!("{kid} is not served at {now}: {token:?}"));
            }
        }
        Ok(())
    }

    /// Shows a token of each key that has a live one to each verifier; tells who refused one that it
    /// had to accept.
    pub(crate) fn show_tokens(&mut self, is_reachable: bool, now: Moment) -> Result<(), String> {
        let origin = self.current().cloned().filter(|_| is_reachable);
        self.renew(origin.as_ref(), now);
        let is_live = |known: &Known| {
            known.begun.is_some() && known.token.is_some_and(|token| now.lifecycle < token.expires)
        };
        let live: Vec<(&KeyId, &Known)> =
            self.keys.iter().filter(|(_, known)| is_live(known)).collect();
        let mut network =
            Network { origin: origin.as_ref(), shared: &mut self.shared, now: now.real };
        for verifier in &mut self.verifiers {
            verifier.expect_keys(live.len(), now.real);
            for (kid, known) in &live {
                let verdict = verifier.judge(kid, &known.text, &mut network);
                if verdict == Verdict::Refused && is_covered(verifier, known, now) {
                    return Err(format!("a token of {kid} is refused: {verifier:#?} {known:#?}"));
                }
            }
        }
        Ok(())
    }

    /// One of the verifiers is restarted.
    pub(crate) fn restart_verifier(&mut self, pick: usize) {
        let count = self.verifiers.len();
        self.verifiers[pick % count].restart();
    }
}

/// Whether it was promised that this verifier takes tokens of this key.
fn is_covered(verifier: &Verifier, known: &Known, now: Moment) -> bool {
    let Some(begun) = &known.begun else { return false };
    let (cache, facts) = (&verifier.cache, &begun.facts);
    // Beyond what clocks may differ, nothing is promised to caches.
    if now.gained > known.first.gained + facts.clock_skew || known.is_back {
        return false;
    }
    let is_stated = cache.keeps == Keeps::MaxAge
        || least_verifier_cache(cache, facts).is_some_and(|least| least <= facts.verifier_cache);
    let has_waited = match begun.manner {
        Manner::Waited => true,
        Manner::AtOnce => {
            let lasting = refuses(cache, facts, verifier.route, begun.published_for);
            let is_over = lasting.until(begun.at.real).is_some_and(|at| at + LATE < now.real);
            // One key after the other may use up what it may fetch.
            is_over && !verifier.has_no_fetch_left(now.real)
        }
    };
    is_stated && !verifier.is_exhausted(now.real) && has_waited
}

fn version_of(served: &Served) -> Version {
    let set: Value = serde_json::from_slice(&served.body).unwrap();
    let keys = set["keys"].as_array().unwrap().iter();
    let key = |key: &Value| (key["kid"].as_str().unwrap().parse().unwrap(), key.to_string());
    let cache_control = std::str::from_utf8(&served.cache_control).unwrap();
    let max_age = cache_control.strip_prefix("public, max-age=").unwrap().parse().unwrap();
    Version { keys: keys.map(key).collect(), max_age: Duration::from_secs(max_age) }
}
