//! PURE: for how long verifiers trust a key that was revoked.

use jwksd_keystore::facts::Facts;
use serde::Serialize;

use super::{Cache, Client, Keeps, Lasting, Route, Trusts, Unit, UnknownKid, grouped};

/// For how long at the longest tokens of a key are taken after it was revoked. No lifetime of
/// tokens bounds it: who has the secret makes new ones.
#[must_use]
pub fn trusts(cache: &Cache, facts: &Facts, route: Route) -> Lasting {
    let kept = match (cache.trusts, cache.keeps) {
        (Some(Trusts::Process), _) => Lasting::UntilRestart,
        (Some(Trusts::For(span)), _) | (None, Keeps::For(span)) => Lasting::of(span),
        (None, Keeps::Nothing) => Lasting::NotAtAll,
        (None, Keeps::MaxAge) => Lasting::of(facts.jwks_max_age),
        (None, Keeps::Process) => match (cache.unit, cache.unknown_kid) {
            (Unit::Kid, _) | (Unit::Set, UnknownKid::Refuses | UnknownKid::NotKnown) => {
                Lasting::UntilRestart
            }
            // The standby that signs instead is mostly a kid that it has: only the next is not.
            (
                Unit::Set,
                UnknownKid::Fetches
                | UnknownKid::FetchesUnlessMissed(_)
                | UnknownKid::FetchesAtMost { .. }
                | UnknownKid::FetchesAfter(_)
                | UnknownKid::FetchesBeforeExpiry(_),
            ) => Lasting::UntilUnknownKid,
        },
    };
    kept.and(route.stale(facts)).and(cache.results.unwrap_or_default())
}

/// Verifiers that trust a revoked key for equally long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trust<'a> {
    /// From the revocation on, at the longest. A copy in a shared cache is counted.
    pub lasts: Lasting,
    /// Who, in the order of the catalogue.
    pub clients: Vec<&'a Client>,
}

/// Who may still trust a key after its revocation, and for how long; the longest first. Who
/// does not fetch by itself, and who does not trust it, is not there.
#[must_use]
pub fn trusting<'a>(
    facts: &Facts,
    route: Route,
    clients: impl IntoIterator<Item = &'a Client>,
) -> Vec<Trust<'a>> {
    let of_client =
        |client: &'a Client| Some((trusts(client.cache.as_ref()?, facts, route), client));
    let all = clients.into_iter().filter_map(of_client);
    let groups = grouped(all.filter(|(lasts, _)| *lasts != Lasting::NotAtAll));
    groups.into_iter().map(|(lasts, clients)| Trust { lasts, clients }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Catalogue;
    use super::super::tests::{cache, facts};
    use super::*;

    fn told(cache: &Cache) -> [Lasting; 2] {
        [Route::Direct, Route::SharedCache].map(|route| trusts(cache, &facts(), route))
    }

    fn minutes(minutes: u64) -> Lasting {
        Lasting::For(Duration::from_mins(minutes))
    }

    #[test]
    fn a_revoked_key_is_trusted_until_the_copy_is_too_old() {
        let an_hour = cache(Keeps::For(Duration::from_hours(1)), UnknownKid::Fetches);
        assert_eq!(told(&an_hour), [minutes(60), minutes(65)]);
        let max_age = cache(Keeps::MaxAge, UnknownKid::Refuses);
        assert_eq!(told(&max_age), [minutes(5), minutes(10)]);
        let nothing = cache(Keeps::Nothing, UnknownKid::Fetches);
        assert_eq!(told(&nothing), [Lasting::NotAtAll, minutes(5)]);
    }

    #[test]
    fn who_keeps_the_set_for_ever_drops_the_key_when_an_unknown_kid_makes_it_fetch() {
        let fetches = cache(Keeps::Process, UnknownKid::FetchesAfter(Duration::from_mins(5)));
        assert_eq!(told(&fetches), [Lasting::UntilUnknownKid; 2]);
        let refuses = cache(Keeps::Process, UnknownKid::Refuses);
        assert_eq!(told(&refuses), [Lasting::UntilRestart; 2]);
        let by_kid = Cache { unit: Unit::Kid, ..fetches };
        assert_eq!(told(&by_kid), [Lasting::UntilRestart; 2]);
    }

    #[test]
    fn who_trusts_a_key_longer_than_it_keeps_the_set_is_taken_at_its_word() {
        let keeps = cache(Keeps::For(Duration::from_mins(1)), UnknownKid::Fetches);
        let for_ever = Cache { trusts: Some(Trusts::Process), ..keeps.clone() };
        assert_eq!(told(&for_ever), [Lasting::UntilRestart; 2]);
        let longer = Trusts::For(Duration::from_mins(3));
        assert_eq!(told(&Cache { trusts: Some(longer), ..keeps })[0], minutes(3));
    }

    #[test]
    fn results_that_are_kept_come_on_top() {
        let keeps = cache(Keeps::For(Duration::from_mins(1)), UnknownKid::Fetches);
        let results = Cache { results: Some(Duration::from_mins(5)), ..keeps };
        assert_eq!(told(&results), [minutes(6), minutes(11)]);
    }

    #[test]
    fn who_trusts_longest_comes_first_and_who_does_not_fetch_is_not_there() {
        let catalogue = Catalogue::built_in();
        let ids = ["jose", "jwks-rsa", "authlib", "get-jwks", "hono", "python-jose"];
        let chosen = catalogue.chosen(&ids.map(str::to_owned)).unwrap();
        let groups = trusting(&facts(), Route::Direct, chosen);
        let told = groups.iter().map(|group| {
            (group.lasts, group.clients.iter().map(|client| client.id.as_str()).collect())
        });
        let expected: [(Lasting, Vec<&str>); 3] = [
            (Lasting::UntilRestart, vec!["get-jwks"]),
            (Lasting::UntilUnknownKid, vec!["authlib"]),
            (minutes(10), vec!["jose", "jwks-rsa"]),
        ];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}
