//! What the outside world knows of one key set: where it was served, which tokens were handed out,
//! and who verifies them. It is kept without a look into the daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jwksd::verifiers::{Keeps, Route, least_verifier_cache, refuses};
use jwksd_keystore::facts::Facts;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::time::Time;

use crate::configuration::Role;
use crate::daemon::Served;
use crate::place::{Attack, LATE, Place, Published, Whom};
use crate::verifier::{Verifier, Version};

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
    /// The daemon itself.
    daemon: Place,
    /// Whoever serves the file, also while the daemon is down.
    file: Option<Place>,
}

/// What is known of a key.
#[derive(Debug)]
pub(crate) struct Known {
    text: String,
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
            daemon: Place::new("the daemon"),
            file: (role == Role::Filed).then(|| Place::new("the file")),
        }
    }

    fn places(&self) -> impl Iterator<Item = &Place> {
        [&self.daemon].into_iter().chain(&self.file)
    }

    fn places_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        [&mut self.daemon].into_iter().chain(&mut self.file)
    }

    /// Until `now`, what was served is what was seen last.
    pub(crate) fn pass(&mut self, before: Moment, now: Moment) {
        self.places_mut().for_each(|place| place.pass(before, now));
    }

    /// What is served from `now` on, by the daemon and by whoever serves the file.
    pub(crate) fn see(&mut self, served: &Seen, facts: Option<&Facts>, now: Moment) {
        self.daemon.see(served.daemon.as_ref(), facts, now);
        let version = self.daemon.current().cloned();
        for (kid, text) in version.iter().flat_map(|version| &version.keys) {
            let fresh = || Known {
                text: text.clone(),
                begun: None,
                token: None,
                is_gone: false,
                is_back: false,
            };
            self.keys.entry(kid.clone()).or_insert_with(fresh);
        }
        let Some(file) = &mut self.file else { return };
        // Whoever serves it is told the same `max-age`, as docs/jwks-file.md says.
        let content = served.file.clone().zip(self.daemon.cache_control());
        let content = content
            .map(|(body, cache_control)| Served { body, cache_control: cache_control.to_vec() });
        file.see(content.as_ref(), facts, now);
    }

    /// What the daemon serves now.
    pub(crate) fn current(&self) -> Option<&Arc<Version>> {
        self.daemon.current()
    }

    pub(crate) fn serves(&self, kid: &KeyId) -> bool {
        self.current().is_some_and(|version| version.keys.contains_key(kid))
    }

    /// A key begins to sign.
    pub(crate) fn begins(&mut self, kid: &KeyId, manner: Manner, facts: &Facts, now: Moment) {
        let stale = self.stale(kid, facts, now);
        let Some(known) = self.keys.get_mut(kid) else { return };
        let facts = Facts { jwks_max_age: facts.jwks_max_age.max(stale), ..facts.clone() };
        known.begun = Some(Begun { at: now, facts, manner });
        self.places_mut().for_each(|place| place.begins(kid));
    }

    fn stale(&self, kid: &KeyId, facts: &Facts, now: Moment) -> Duration {
        self.places().map(|place| place.stale(kid, facts, now)).max().unwrap_or_default()
    }

    /// Whether a key that begins to sign was served for as long as is promised, wherever it is served.
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
        for place in self.places() {
            let span = place.published(kid).map_or(Duration::ZERO, |published| published.span);
            let name = place.name;
            if span + LATE < needed {
                return Err(format!("{kid} signs, and {name} had it for {span:?} of {needed:?}"));
            }
            if let Some(kept) = place.kept_without(kid, facts, now)
                && !known.is_back
            {
                let now = now.real;
                return Err(format!(
                    "{kid} signs at {now}; a copy of {name} without it is kept until {kept}"
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

    /// The process was killed within the revocation of this key, or of all: they may be back with the
    /// next, and the file may not have them.
    pub(crate) fn may_be_lost(&mut self, revoked: Option<&KeyId>) {
        let out = self.keys.iter_mut().filter(|(kid, _)| revoked.is_none_or(|it| it == *kid));
        out.for_each(|(_, known)| known.is_back = true);
    }

    /// The process ends. A key that a revocation took out in memory alone may be back with the next.
    pub(crate) fn ended(&mut self) {
        let last = self.current().cloned();
        let is_out = |kid: &KeyId| last.as_ref().is_none_or(|last| !last.keys.contains_key(kid));
        if self.unconfirmed {
            let out = self.keys.iter_mut().filter(|(kid, _)| is_out(kid));
            out.for_each(|(_, known)| known.is_back = true);
        }
        self.daemon.ended();
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
        let Self { keys, daemon, file, .. } = self;
        let is_live = |known: &Known| {
            known.begun.is_some() && known.token.is_some_and(|token| now.lifecycle < token.expires)
        };
        let live: Vec<(&KeyId, &str)> = keys
            .iter()
            .filter(|(_, known)| is_live(known))
            .map(|(kid, known)| (kid, &known.text[..]))
            .collect();
        // Who serves the file is there while the daemon is not.
        let places =
            [(daemon, is_reachable)].into_iter().chain(file.iter_mut().map(|it| (it, true)));
        for (place, is_reachable) in places {
            let published: BTreeMap<&KeyId, Option<Published>> =
                live.iter().map(|(kid, _)| (*kid, place.published(kid))).collect();
            let must = |verifier: &Verifier, kid: &KeyId| {
                published[kid].is_some_and(|since| is_covered(verifier, &keys[kid], since, now))
            };
            let name = place.name;
            place.show_tokens(&live, is_reachable, now, must).map_err(|(kid, verifier)| {
                let (known, since) = (&keys[&kid], published[&kid]);
                format!("a token of {kid} is refused at {name}: {verifier:#?} {known:#?} {since:?}")
            })?;
        }
        Ok(())
    }

    /// One of the verifiers is restarted.
    pub(crate) fn restart_verifier(&mut self, pick: u8) {
        self.places_mut().for_each(|place| place.restart_verifier(pick));
    }

    /// From now on fetches of these fail.
    pub(crate) fn cut_off(&mut self, whom: Whom) {
        self.places_mut().for_each(|place| place.cut_off(whom));
    }

    /// Everybody gets through again.
    pub(crate) fn connect(&mut self) {
        self.places_mut().for_each(Place::connect);
    }

    pub(crate) fn attack(&mut self, attack: Attack) {
        self.places_mut().for_each(|place| place.attack(attack));
    }
}

/// What is served of a key set.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// What the daemon answers with.
    pub(crate) daemon: Option<Served>,
    /// What the file holds.
    pub(crate) file: Option<Vec<u8>>,
}

/// Whether it was promised that this verifier takes tokens of this key, which it could fetch since
/// `published`.
fn is_covered(verifier: &Verifier, known: &Known, published: Published, now: Moment) -> bool {
    let Some(begun) = &known.begun else { return false };
    let (cache, facts) = (&verifier.cache, &begun.facts);
    // Beyond what clocks may differ, nothing is promised to caches.
    if now.gained > published.first.gained + facts.clock_skew || known.is_back {
        return false;
    }
    let is_stated = cache.keeps == Keeps::MaxAge
        || least_verifier_cache(cache, facts).is_some_and(|least| least <= facts.verifier_cache);
    let has_waited = match begun.manner {
        Manner::Waited => true,
        Manner::AtOnce => {
            // Where a file has it later, tokens came before, and it is missed as behind a cache.
            let lasting = match published.ahead {
                // Verifiers go by true time, which lifecycle time may have gained on meanwhile.
                Some(ahead) => {
                    let gained = begun.at.gained.saturating_sub(published.first.gained);
                    refuses(cache, facts, verifier.route, ahead.saturating_sub(gained))
                }
                None => refuses(cache, facts, Route::SharedCache, Duration::ZERO),
            };
            let from = begun.at.real.max(published.first.real);
            let is_over = lasting.until(from).is_some_and(|at| at + LATE < now.real);
            // One key after the other may use up what it may fetch.
            is_over && !verifier.has_no_fetch_left(now.real)
        }
    };
    is_stated && !verifier.is_exhausted(now.real) && has_waited
}
