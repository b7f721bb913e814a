//! PURE: all that a configuration means for a verifier, and what mends it.

use std::fmt;
use std::time::Duration;

use jwksd_keystore::facts::{Facts, SCHEDULE_MARGIN, Span};
use serde::Serialize;

use super::{
    Cache, Choke, Client, Keeps, Lasting, Route, Situation, chokes, least_verifier_cache, refuses,
    trusts,
};

/// What a configuration means for a verifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Effects<'a> {
    /// The id of the verifier.
    pub id: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What it does when keys change; `None` where it does not fetch the set itself.
    pub changes: Option<Changes>,
    /// What it cannot live with.
    pub chokes: Vec<Choke>,
    /// What mends what is not well.
    pub mends: Vec<Mend<'a>>,
}

/// What a verifier does when keys change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// It refuses tokens of a key that waited: after a rotation by schedule or by `rotate`, and
    /// after a revocation that promoted a standby which had waited.
    pub rotation: Lastings,
    /// It refuses tokens of a key that was just made: at the worst of `rotate --now` and `--all`.
    pub at_once: Lastings,
    /// It takes tokens of a revoked key.
    pub revocation: Lastings,
}

/// For how long something lasts on each route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Lastings {
    /// Where the set comes from jwksd.
    pub direct: Lasting,
    /// Where it comes through a cache that others share.
    pub shared_cache: Lasting,
}

/// What mends something that is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Mend<'a> {
    /// Against what.
    pub against: Against,
    /// What to do.
    pub advice: String,
    /// A setting of the verifier that would do instead.
    pub setting: Option<&'a str>,
}

/// What can be not well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Against {
    /// Tokens of a key that waited are refused.
    Rotation,
    /// Tokens of a key that was just made are refused.
    AtOnce,
    /// A revoked key is trusted.
    Revocation,
    /// What is in the set or in tokens.
    Contents,
}

/// All that a situation means for a verifier.
#[must_use]
pub fn effects<'a>(client: &'a Client, situation: &Situation<'_>) -> Effects<'a> {
    let changes = client.cache.as_ref().map(|cache| Changes::of(cache, situation.facts));
    let chokes = chokes(client, situation);
    let mut mends = Vec::new();
    for choke in &chokes {
        let setting = match choke {
            Choke::LiveKids { .. } => client.keys_setting.as_str(),
            _ => "",
        };
        mends.push(mend(Against::Contents, mend_contents(choke, situation), setting));
    }
    if let (Some(cache), Some(changes)) = (&client.cache, &changes) {
        mends.extend(mends_of(client, cache, changes, situation));
    }
    Effects { id: &client.id, name: &client.name, changes, chokes, mends }
}

/// What mends what a verifier does when keys change.
fn mends_of<'a>(
    client: &'a Client,
    cache: &Cache,
    changes: &Changes,
    situation: &Situation<'_>,
) -> Vec<Mend<'a>> {
    let mut mends = Vec::new();
    if changes.rotation.shared_cache > Lasting::NotAtAll {
        let least = least_verifier_cache(cache, situation.facts);
        // Where it is a pause that makes it refuse, a shorter cache helps nobody.
        let is_cache = matches!(cache.keeps, Keeps::For(span) if Some(span) == least);
        let setting = if is_cache { client.setting.as_str() } else { "" };
        mends.push(mend(Against::Rotation, mend_rotation(least, situation), setting));
    }
    if changes.at_once.shared_cache > Lasting::NotAtAll {
        mends.push(mend(Against::AtOnce, "rotate without --now", ""));
    }
    if changes.at_once.direct == Lasting::UntilRestart {
        mends.push(mend(Against::AtOnce, "restart it", ""));
    }
    match changes.revocation.direct {
        Lasting::NotAtAll if changes.revocation.shared_cache == Lasting::NotAtAll => {}
        // Only through what a shared cache has.
        Lasting::NotAtAll => mends.push(mend(Against::Revocation, "empty the shared cache", "")),
        lasting => {
            mends.push(mend(Against::Revocation, "restart it", &client.setting));
            if lasting == Lasting::UntilUnknownKid {
                let advice = "revoke with --all, so that a token of the fresh key makes it fetch";
                mends.push(mend(Against::Revocation, advice, ""));
            }
        }
    }
    mends
}

fn mend(against: Against, advice: impl Into<String>, setting: &str) -> Mend<'_> {
    let setting = Some(setting).filter(|setting| !setting.is_empty());
    Mend { against, advice: advice.into(), setting }
}

impl Changes {
    /// What a verifier with this cache does.
    #[must_use]
    pub fn of(cache: &Cache, facts: &Facts) -> Self {
        let ahead = facts.waits().publish_ahead();
        Self {
            rotation: Lastings::of(|route| refuses(cache, facts, route, ahead)),
            at_once: Lastings::of(|route| refuses(cache, facts, route, Duration::ZERO)),
            revocation: Lastings::of(|route| trusts(cache, facts, route)),
        }
    }
}

impl Lastings {
    fn of(rule: impl Fn(Route) -> Lasting) -> Self {
        Self { direct: rule(Route::Direct), shared_cache: rule(Route::SharedCache) }
    }
}

fn mend_rotation(least: Option<Duration>, situation: &Situation<'_>) -> String {
    let Some(least) = least else {
        return "restart it after each publication of a key".to_owned();
    };
    let mut facts = situation.facts.clone();
    facts.verifier_cache = least;
    let apart = facts.waits().publish_ahead() + SCHEDULE_MARGIN;
    let mut advice = format!("verifier_cache = \"{}\"", Span(least));
    if situation.smallest_gap.is_some_and(|smallest| smallest < apart) {
        advice += &format!(" and rotations at least {} apart", Span(apart));
    }
    advice
}

fn mend_contents(choke: &Choke, situation: &Situation<'_>) -> String {
    match choke {
        Choke::Keys { .. } => "a key set of its own with algorithm = \"RS256\"".to_owned(),
        Choke::MixedKeys { .. } => "a key set for each type of key, without mixed_kty".to_owned(),
        Choke::Bytes { .. } => "a shorter max_token_ttl, or smaller keys".to_owned(),
        Choke::LiveKids { most } => match situation.smallest_gap {
            Some(gap) => {
                let ttl = gap * most.saturating_sub(1);
                format!("max_token_ttl = \"{}\", or fewer rotations", Span(ttl))
            }
            None => "a shorter max_token_ttl".to_owned(),
        },
        Choke::AtJwt => "ask for tokens with typ JWT for it".to_owned(),
        Choke::OtherThanAtJwt => "ask for tokens with typ at+jwt for it".to_owned(),
    }
}

impl fmt::Display for Mend<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.advice)?;
        self.setting.map_or(Ok(()), |setting| write!(f, ", or set {setting}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Catalogue;
    use super::super::tests::{facts, situation};
    use super::*;

    fn advice(id: &str, situation: &Situation<'_>, against: Against) -> Option<String> {
        let all = all_advice(id, situation, against);
        assert!(all.len() < 2, "{all:?}");
        all.into_iter().next()
    }

    fn all_advice(id: &str, situation: &Situation<'_>, against: Against) -> Vec<String> {
        let catalogue = Catalogue::built_in();
        let effects = effects(catalogue.named(id).unwrap(), situation);
        let mends = effects.mends.into_iter().filter(|mend| mend.against == against);
        mends.map(|mend| mend.to_string()).collect()
    }

    #[test]
    fn under_the_default_facts_nobody_refuses_a_key_that_waited() {
        let facts = facts();
        for client in &Catalogue::built_in().clients {
            let Some(changes) = effects(client, &situation(&facts)).changes else { continue };
            assert_eq!(changes.rotation.shared_cache, Lasting::NotAtAll, "{}", client.id);
        }
    }

    #[test]
    fn the_least_verifier_cache_is_enough_and_a_minute_more_than_the_skew_less_is_not() {
        for cache in Catalogue::built_in().clients.into_iter().filter_map(|client| client.cache) {
            let mut facts = facts();
            facts.jwks_max_age = Duration::from_secs(1);
            let least = least_verifier_cache(&cache, &facts).unwrap();
            let mut told = |verifier_cache| {
                facts.verifier_cache = verifier_cache;
                let ahead = facts.waits().publish_ahead();
                refuses(&cache, &facts, Route::SharedCache, ahead)
            };
            assert_eq!(told(least), Lasting::NotAtAll, "{cache:?}");
            let a_minute = Duration::from_mins(1);
            if let Some(less) = least.checked_sub(a_minute * 2) {
                assert_eq!(told(less), Lasting::For(a_minute), "{cache:?}");
            }
        }
    }

    #[test]
    fn a_verifier_cache_that_is_too_short_is_mended_by_the_one_that_would_do() {
        let mut facts = facts();
        facts.verifier_cache = Duration::from_mins(5);
        let told = |id| advice(id, &situation(&facts), Against::Rotation);
        assert_eq!(told("envoy").unwrap(), "verifier_cache = \"10m\", or set cache_duration");
        assert_eq!(told("fastapi-azure-auth").unwrap(), "verifier_cache = \"1d\"");
        assert_eq!(told("jwks-rsa"), None);
        let often = Situation { smallest_gap: Some(Duration::from_hours(24)), ..situation(&facts) };
        let told = advice("fastapi-azure-auth", &often, Against::Rotation);
        assert_eq!(told.unwrap(), "verifier_cache = \"1d\" and rotations at least 1d1h6m apart");
        assert_eq!(
            advice("istio", &often, Against::Rotation).unwrap(),
            "verifier_cache = \"20m\", or set PILOT_JWT_PUB_KEY_REFRESH_INTERVAL"
        );
    }

    #[test]
    fn a_rotation_at_once_is_mended_by_the_wait() {
        let facts = facts();
        let told = |id| advice(id, &situation(&facts), Against::AtOnce);
        assert_eq!(told("pyjwt").unwrap(), "rotate without --now");
    }

    #[test]
    fn a_revoked_key_that_is_trusted_is_mended_by_a_restart_or_by_what_makes_it_fetch() {
        let facts = facts();
        let told = |id| advice(id, &situation(&facts), Against::Revocation).unwrap();
        assert_eq!(told("get-jwks"), "restart it");
        assert_eq!(told("pyjwt"), "restart it, or set lifespan");
        let both = all_advice("authlib", &situation(&facts), Against::Revocation);
        assert_eq!(both.len(), 2);
        assert!(both[1].starts_with("revoke with --all"), "{both:?}");
        assert_eq!(told("hono"), "empty the shared cache");
    }

    #[test]
    fn too_many_live_kids_are_mended_by_a_lifetime_that_would_do() {
        let facts = facts();
        let often = Situation {
            live_kids: 5,
            smallest_gap: Some(Duration::from_hours(26)),
            ..situation(&facts)
        };
        assert_eq!(
            advice("okta-jwt-verifier-node", &often, Against::Contents).unwrap(),
            "max_token_ttl = \"2d4h\", or fewer rotations"
        );
        let by_hand = Situation { live_kids: 6, ..situation(&facts) };
        assert_eq!(
            advice("express-jwt", &by_hand, Against::Contents).unwrap(),
            "a shorter max_token_ttl, or set cacheMaxEntries"
        );
    }
}
