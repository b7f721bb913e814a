//! Verifiers that are run second by second, from every second that one can have begun at: what the
//! rules say is never exceeded, and is reached.

use std::time::Duration;

use jwksd_keystore::facts::Facts;
use proptest::prelude::*;

use super::tests::{cache, facts};
use super::*;

/// Before anything happens.
const LONG_AGO: i64 = -150;

/// After everything has.
const LATE: i64 = 150;

const fn seconds(span: Duration) -> i64 {
    span.as_secs().cast_signed()
}

/// A verifier of a set in which a key is from one second on, or is no more.
struct Verifier<'a> {
    cache: &'a Cache,
    facts: &'a Facts,
    /// When the set changed.
    changed: i64,
    /// Until when a cache that is between has a copy of the set as it was.
    stale_until: i64,
    fetched: i64,
    has_new: bool,
    missed: Vec<i64>,
}

impl Verifier<'_> {
    fn fetch(&mut self, now: i64) {
        self.fetched = now;
        self.has_new = now >= self.changed && now >= self.stale_until;
    }

    fn keeps(&self) -> i64 {
        match self.cache.keeps {
            Keeps::Nothing => 0,
            Keeps::For(span) => seconds(span),
            Keeps::MaxAge => seconds(self.facts.jwks_max_age),
            Keeps::Process => i64::MAX,
        }
    }

    /// Any token comes: a copy that is too old is not used.
    fn token(&mut self, now: i64) {
        if now - self.fetched >= self.keeps() {
            self.fetch(now);
        }
    }

    /// A token of the key that came with the change: whether it is taken.
    fn new_token(&mut self, now: i64) -> bool {
        self.token(now);
        let max_age = seconds(self.facts.jwks_max_age);
        let since = now - self.fetched;
        let missed_within = |pause| self.missed.iter().filter(|at| now - **at < pause).count();
        let fetches = !self.has_new
            && match self.cache.unknown_kid {
                UnknownKid::Refuses | UnknownKid::NotKnown => false,
                UnknownKid::Fetches => true,
                UnknownKid::FetchesUnlessMissed(pause) => missed_within(seconds(pause)) == 0,
                UnknownKid::FetchesAtMost { times, per } => {
                    missed_within(seconds(per)) < times as usize
                }
                UnknownKid::FetchesAfter(pause) => since >= seconds(pause),
                UnknownKid::FetchesBeforeExpiry(rest) => since >= max_age - seconds(rest),
            };
        if fetches {
            self.fetch(now);
            self.missed.push(now);
        }
        self.has_new
    }
}

/// For how many seconds at the longest, over all verifiers of a kind, whose copies are of all ages.
fn longest(cache: &Cache, facts: &Facts, route: Route, lasts: impl Fn(Verifier<'_>) -> i64) -> i64 {
    let stale = seconds(route.stale(facts));
    let begin = |fetched| {
        let mut verifier = Verifier {
            cache,
            facts,
            changed: 0,
            stale_until: stale,
            fetched,
            has_new: false,
            missed: Vec::new(),
        };
        verifier.fetch(fetched);
        verifier
    };
    (LONG_AGO..=LATE).map(|fetched| lasts(begin(fetched))).max().unwrap()
}

fn refused(cache: &Cache, facts: &Facts, route: Route, signs: i64) -> i64 {
    longest(cache, facts, route, |mut verifier| {
        if verifier.fetched > signs {
            return 0;
        }
        (verifier.fetched..signs).for_each(|now| verifier.token(now));
        let last = (signs..=LATE).filter(|now| !verifier.new_token(*now)).last();
        last.map_or(0, |last| last + 1 - signs)
    })
}

fn taken(cache: &Cache, facts: &Facts, route: Route) -> i64 {
    longest(cache, facts, route, |mut verifier| {
        // What is new here is that the key is gone.
        let last = (verifier.fetched..=LATE).filter(|now| {
            verifier.token(*now);
            !verifier.has_new
        });
        last.last().map_or(0, |last| (last + 1).max(0))
    })
}

fn span() -> impl Strategy<Value = Duration> {
    (1_u64..30).prop_map(Duration::from_secs)
}

fn caches() -> impl Strategy<Value = Cache> {
    let keeps = prop_oneof![
        Just(Keeps::Nothing),
        Just(Keeps::MaxAge),
        Just(Keeps::Process),
        span().prop_map(Keeps::For),
    ];
    let unknown_kid = prop_oneof![
        Just(UnknownKid::Refuses),
        Just(UnknownKid::Fetches),
        span().prop_map(UnknownKid::FetchesUnlessMissed),
        (1_u32..3, span()).prop_map(|(times, per)| UnknownKid::FetchesAtMost { times, per }),
        span().prop_map(UnknownKid::FetchesAfter),
        span().prop_map(UnknownKid::FetchesBeforeExpiry),
    ];
    (keeps, unknown_kid).prop_map(|(keeps, unknown_kid)| cache(keeps, unknown_kid))
}

fn told(lasting: Lasting) -> Option<i64> {
    match lasting {
        Lasting::NotAtAll => Some(0),
        Lasting::For(span) => Some(seconds(span)),
        Lasting::UntilUnknownKid | Lasting::UntilRestart => None,
    }
}

proptest! {
    #[test]
    fn nobody_refuses_or_trusts_longer_than_the_rules_say(
        cache in caches(),
        max_age in span(),
        published_for in 0_u64..60,
    ) {
        let mut facts = facts();
        facts.jwks_max_age = max_age;
        for route in [Route::Direct, Route::SharedCache] {
            let for_ever = LATE + 1 - published_for.cast_signed();
            let rule = refuses(&cache, &facts, route, Duration::from_secs(published_for));
            let rule = told(rule).unwrap_or(for_ever);
            let seen = refused(&cache, &facts, route, published_for.cast_signed());
            prop_assert!(seen <= rule, "{route:?}: refused for {seen} s, the rule says {rule} s");
            // A pause after a miss may end just when the shared cache has a newer copy.
            if !matches!(cache.unknown_kid, UnknownKid::FetchesAtMost { .. }
                | UnknownKid::FetchesUnlessMissed(_))
            {
                prop_assert!(seen + 2 >= rule, "{route:?}: refused for {seen} s, the rule says {rule} s");
            }
            let rule = told(trusts(&cache, &facts, route)).unwrap_or(LATE + 1);
            let seen = taken(&cache, &facts, route);
            prop_assert!(seen <= rule && seen + 2 >= rule, "{route:?}: taken for {seen} s, {rule} s");
        }
    }
}
