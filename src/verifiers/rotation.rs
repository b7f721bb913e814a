//! PURE: for how long a verifier refuses tokens of a key that it has not seen yet.

use std::time::Duration;

use jwksd_keystore::facts::Facts;

use super::{Cache, Keeps, Lasting, Route, UnknownKid};

/// For how long at the longest, from when a key signs on, good tokens of it are refused, where it
/// was published for `published_for` before.
///
/// A key that is published for [`publish_ahead`](jwksd_keystore::facts::Waits::publish_ahead) is
/// the one of a schedule or of `rotate`; one that was not published at all is the worst of
/// `rotate --now`.
#[must_use]
pub fn refuses(cache: &Cache, facts: &Facts, route: Route, published_for: Duration) -> Lasting {
    let stale = route.stale(facts);
    // From when the key signs on, for so long a fetch may still bring a set without it.
    let misses_for = stale.saturating_sub(published_for);
    // A copy without the key was fetched so long before it signs, at least.
    let aged = published_for.saturating_sub(stale);
    let Some(blind) = least_verifier_cache(cache, facts) else { return Lasting::UntilRestart };
    // It pauses only after a fetch that missed, and none does where the key is in all copies.
    let pause = match cache.unknown_kid {
        UnknownKid::FetchesUnlessMissed(pause) | UnknownKid::FetchesAtMost { per: pause, .. }
            if !misses_for.is_zero() =>
        {
            pause
        }
        UnknownKid::Refuses
        | UnknownKid::NotKnown
        | UnknownKid::Fetches
        | UnknownKid::FetchesUnlessMissed(_)
        | UnknownKid::FetchesAtMost { .. }
        | UnknownKid::FetchesAfter(_)
        | UnknownKid::FetchesBeforeExpiry(_) => Duration::ZERO,
    };
    Lasting::of(misses_for + blind.saturating_sub(aged) + pause)
}

/// The least `verifier_cache` with which a verifier refuses no key that waited: for how long at the
/// longest it goes by its copy although tokens come whose kid is not in it. `None` where that is
/// until it is restarted.
#[must_use]
pub fn least_verifier_cache(cache: &Cache, facts: &Facts) -> Option<Duration> {
    let keeps = match cache.keeps {
        Keeps::Nothing => Some(Duration::ZERO),
        Keeps::For(span) => Some(span),
        Keeps::MaxAge => Some(facts.jwks_max_age),
        Keeps::Process => None,
    };
    let pause = match cache.unknown_kid {
        UnknownKid::Refuses | UnknownKid::NotKnown => None,
        UnknownKid::Fetches
        | UnknownKid::FetchesUnlessMissed(_)
        | UnknownKid::FetchesAtMost { .. } => Some(Duration::ZERO),
        UnknownKid::FetchesAfter(pause) => Some(pause),
        UnknownKid::FetchesBeforeExpiry(rest) => Some(facts.jwks_max_age.saturating_sub(rest)),
    };
    keeps.into_iter().chain(pause).min()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{cache, facts};
    use super::*;

    const NONE: Duration = Duration::ZERO;

    /// In the time of a schedule, and with `--now` right after the key was made: directly, and
    /// through a shared cache.
    fn told(cache: &Cache) -> [Lasting; 4] {
        let facts = facts();
        let ahead = facts.waits().publish_ahead();
        [(Route::Direct, ahead), (Route::SharedCache, ahead)]
            .into_iter()
            .chain([(Route::Direct, NONE), (Route::SharedCache, NONE)])
            .map(|(route, published_for)| refuses(cache, &facts, route, published_for))
            .collect::<Vec<_>>()
            .try_into()
            .unwrap()
    }

    fn minutes(minutes: u64) -> Lasting {
        Lasting::For(Duration::from_mins(minutes))
    }

    const NEVER: Lasting = Lasting::NotAtAll;

    #[test]
    fn who_fetches_for_an_unknown_kid_misses_it_only_in_a_shared_cache() {
        let keeps = cache(Keeps::Process, UnknownKid::Fetches);
        assert_eq!(told(&keeps), [NEVER, NEVER, NEVER, minutes(5)]);
        let asks_each_time = cache(Keeps::Nothing, UnknownKid::Fetches);
        assert_eq!(told(&asks_each_time), [NEVER, NEVER, NEVER, minutes(5)]);
    }

    #[test]
    fn who_does_not_fetch_for_an_unknown_kid_refuses_it_until_its_copy_is_too_old() {
        let an_hour = cache(Keeps::For(Duration::from_hours(1)), UnknownKid::Refuses);
        assert_eq!(told(&an_hour), [NEVER, NEVER, minutes(60), minutes(65)]);
        // Of the 24h6m that a key is published before, 24h1m count behind a shared cache.
        let two_days = cache(Keeps::For(Duration::from_hours(48)), UnknownKid::NotKnown);
        let day = 24 * 60;
        assert_eq!(
            told(&two_days),
            [minutes(day - 6), minutes(day - 1), minutes(2 * day), minutes(2 * day + 5)]
        );
        let for_ever = cache(Keeps::Process, UnknownKid::Refuses);
        assert_eq!(told(&for_ever), [Lasting::UntilRestart; 4]);
    }

    #[test]
    fn who_pauses_after_each_fetch_refuses_for_the_pause_or_until_its_copy_is_too_old() {
        let pause = UnknownKid::FetchesAfter(Duration::from_mins(10));
        let keeps = cache(Keeps::Process, pause);
        assert_eq!(told(&keeps), [NEVER, NEVER, minutes(10), minutes(15)]);
        let short = cache(Keeps::For(Duration::from_mins(2)), pause);
        assert_eq!(told(&short), [NEVER, NEVER, minutes(2), minutes(7)]);
    }

    #[test]
    fn who_pauses_after_a_miss_pauses_only_where_a_shared_cache_makes_it_miss() {
        let pause = UnknownKid::FetchesUnlessMissed(Duration::from_hours(1));
        let negative = cache(Keeps::Process, pause);
        assert_eq!(told(&negative), [NEVER, NEVER, NEVER, minutes(65)]);
        let limited = UnknownKid::FetchesAtMost { times: 10, per: Duration::from_mins(1) };
        let limited = cache(Keeps::Process, limited);
        assert_eq!(told(&limited), [NEVER, NEVER, NEVER, minutes(6)]);
    }

    #[test]
    fn who_fetches_late_in_max_age_refuses_for_the_rest_of_it() {
        let late = UnknownKid::FetchesBeforeExpiry(Duration::from_secs(30));
        let late = cache(Keeps::Process, late);
        let refused = Duration::from_secs(270);
        let behind = refused + Duration::from_mins(5);
        assert_eq!(told(&late), [NEVER, NEVER, Lasting::For(refused), Lasting::For(behind)]);
    }

    #[test]
    fn the_time_that_a_key_was_published_counts() {
        let an_hour = cache(Keeps::For(Duration::from_hours(1)), UnknownKid::Refuses);
        let after = |minutes| {
            let published_for = Duration::from_mins(minutes);
            refuses(&an_hour, &facts(), Route::SharedCache, published_for)
        };
        assert_eq!([after(3), after(40), after(65)], [minutes(62), minutes(25), NEVER]);
    }
}
