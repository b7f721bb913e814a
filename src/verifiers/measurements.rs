//! The catalogue is well-formed, and what the rules make of it is what was measured.

use std::collections::BTreeSet;
use std::time::Duration;

use jwksd_keystore::facts::Facts;

use super::*;

/// What is less was not a refusal, but the pace of the measurement.
const NOTHING: u64 = 10;

/// How long before it was published a key's token came in the runs with a premature one.
const PREMATURE: Duration = Duration::from_mins(2);

/// Every measurement, with the cache and the facts that it was made with.
fn measurements() -> Vec<(Client, Cache, Facts, Measured)> {
    let mut all = Vec::new();
    for client in Catalogue::built_in().clients {
        for measured in client.measured.clone() {
            let mut cache = client.cache.clone().unwrap();
            if let Some(span) = measured.keeps {
                cache.keeps = Keeps::For(span);
            }
            let mut facts = tests::facts();
            facts.jwks_max_age = measured.max_age.unwrap_or(facts.jwks_max_age);
            all.push((client.clone(), cache, facts, measured));
        }
    }
    all
}

/// Whether a rule says what was measured, within so many seconds, the pace of the measurement, or a
/// twentieth.
#[track_caller]
fn agrees(client: &Client, what: &str, rule: Lasting, measured: Seconds, pace: u64) {
    let rule = match rule {
        Lasting::NotAtAll => 0,
        Lasting::For(span) => span.as_secs(),
        Lasting::UntilUnknownKid | Lasting::UntilRestart => u64::MAX,
    };
    let agrees = match measured {
        Seconds::MoreThan(seconds) => rule > seconds,
        Seconds::Exactly(seconds) if seconds <= NOTHING => rule == 0,
        Seconds::Exactly(seconds) => rule > 0 && rule.abs_diff(seconds) <= pace.max(rule / 20),
    };
    let id = &client.id;
    assert!(agrees, "{id}, {what}: the rule says {rule} s, and {measured:?} was measured");
}

#[test]
fn the_catalogue_can_be_read_and_names_everyone_once() {
    let catalogue: Catalogue = toml::from_str(include_str!("catalogue.toml")).unwrap();
    assert_eq!(catalogue, Catalogue::built_in());
    let ids: BTreeSet<&str> = catalogue.clients.iter().map(|client| client.id.as_str()).collect();
    let names: BTreeSet<_> =
        catalogue.clients.iter().map(|client| (client.platform, &client.name)).collect();
    assert_eq!(ids.len(), catalogue.clients.len(), "an id stands twice");
    assert_eq!(names.len(), catalogue.clients.len(), "a name stands twice");
    for client in &catalogue.clients {
        let is_id = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
        assert!(client.id.bytes().all(is_id) && client.id != "all", "{}", client.id);
        assert!(!client.chokes_on.contains(&KeyKind::Rsa), "{}: nobody does", client.id);
        let was_measured = client.source == Source::Measured && client.cache.is_some();
        assert_eq!(was_measured, !client.measured.is_empty(), "{}", client.id);
    }
}

#[test]
fn a_key_that_signs_at_once_is_refused_for_as_long_as_was_measured() {
    for (client, cache, facts, measured) in measurements() {
        let rule = refuses(&cache, &facts, Route::Direct, Duration::ZERO);
        agrees(&client, "at once", rule, measured.at_once, 20);
    }
}

#[test]
fn a_premature_token_costs_what_was_measured() {
    for (client, cache, facts, measured) in measurements() {
        let at_once = refuses(&cache, &facts, Route::Direct, Duration::ZERO);
        let rule = match (cache.unknown_kid, at_once) {
            // It fetched in vain, and pauses.
            (UnknownKid::FetchesUnlessMissed(pause), _) => Lasting::of(pause),
            // It did not fetch for that token, and some of its wait is over.
            (_, Lasting::For(span)) if span > PREMATURE => {
                Lasting::of(span.saturating_sub(PREMATURE))
            }
            (_, at_once) => at_once,
        };
        agrees(&client, "premature", rule, measured.premature, 30);
    }
}

#[test]
fn a_revoked_key_is_trusted_for_as_long_as_was_measured() {
    for (client, cache, facts, measured) in measurements() {
        let rule = trusts(&cache, &facts, Route::Direct);
        agrees(&client, "revoked", rule, measured.revoked, 35);
    }
}

#[test]
fn an_old_kid_goes_with_the_set_and_stays_where_kids_are_kept_one_by_one() {
    for (client, cache, facts, measured) in measurements() {
        let saw_no_new = refuses(&cache, &facts, Route::Direct, Duration::ZERO)
            > Lasting::For(Duration::from_mins(75));
        let stays = saw_no_new || cache.unit == Unit::Kid || cache.results.is_some();
        let rule = if stays { OldKid::Accepted } else { OldKid::Rejected };
        assert_eq!(rule, measured.old_after_new, "{}", client.id);
    }
}

#[test]
fn a_set_that_cannot_be_fetched_is_used_for_as_long_as_was_measured() {
    for (client, cache, facts, measured) in measurements() {
        let kept = match cache.keeps {
            Keeps::Nothing => Lasting::NotAtAll,
            Keeps::For(span) => Lasting::of(span),
            Keeps::MaxAge => Lasting::of(facts.jwks_max_age),
            Keeps::Process => Lasting::UntilRestart,
        };
        let rule = match cache.on_failure {
            OnFailure::Expires => kept,
            OnFailure::Keeps => Lasting::UntilRestart,
            OnFailure::Lasts(span) => Lasting::For(span),
            OnFailure::Longer(span) => kept.and(span),
        };
        agrees(&client, "down", rule, measured.down, 35);
    }
}
