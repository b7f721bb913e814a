//! PURE: which verifiers refuse tokens of a key when it starts to sign, or since it does.

use std::time::Duration;

use jwksd_keystore::facts::Facts;
use jwksd_keystore::store::Loaded;
use jwksd_keystore::time::Time;

use crate::api::plan::{PlannedEvent, PlannedEventKind, PlannedKeyset, RefusingVerifiers, Why};
use crate::verifiers::{Client, Lasting, Route, grouped, refuses};

/// For each activation to come, and for that of the key that signs, the verifiers that refuse the key's
/// tokens from then on, or do so still; equally long ones together, the longest first.
#[must_use]
pub fn of_keyset(
    planned: &PlannedKeyset,
    loaded: &Loaded,
    facts: &Facts,
    clients: &[&Client],
    now: Time,
) -> Vec<RefusingVerifiers> {
    let activations =
        planned.events.iter().filter(|event| event.event == PlannedEventKind::Activate);
    let is_told = |(event, at): &(&PlannedEvent, Time)| *at > now || signs(event, planned);
    let told = activations.filter_map(|event| Some((event, instant(&event.at)?))).filter(is_told);
    let of_event = |(event, at): (&PlannedEvent, Time)| {
        let (facts, published) = published(event.number, planned, loaded, facts);
        let until = move |lasting: Lasting| lasting.until(at).map(|until| until.to_string());
        let mut groups = refusing(&facts, clients, at.since(published.unwrap_or(at)));
        groups.retain(|([_, longest], _)| longest.until(at).is_none_or(|until| until > now));
        let told = move |([direct, shared_cache], ids): (Lastings, Vec<&str>)| RefusingVerifiers {
            at: event.at.clone(),
            kid: event.kid.clone(),
            number: event.number,
            until: until(direct),
            until_behind_cache: until(shared_cache),
            verifiers: ids.into_iter().map(str::to_owned).collect(),
        };
        groups.into_iter().map(told).collect::<Vec<_>>()
    };
    told.flat_map(of_event).collect()
}

/// Whether it made the key sign that signs now. Before the first key there was nothing to keep.
fn signs(event: &PlannedEvent, planned: &PlannedKeyset) -> bool {
    event.kid.is_some() && event.kid == planned.active && event.why != Why::FirstKey
}

/// From when a key can be fetched, and how old a copy without it can be.
fn published(
    number: u64,
    planned: &PlannedKeyset,
    loaded: &Loaded,
    facts: &Facts,
) -> (Facts, Option<Time>) {
    let mut facts = facts.clone();
    let mut stored = loaded.records.iter().map(|record| &record.life);
    if let Some(life) = stored.find(|life| life.number.0 == number) {
        facts.jwks_max_age = facts.jwks_max_age.max(life.stale_max_age);
        // Time in which nobody could fetch it does not count.
        return (facts, Some(life.served_from));
    }
    let key = planned.keys.iter().find(|key| key.number == number);
    let first = key.and_then(|key| key.phases.first());
    (facts, first.and_then(|phase| instant(&phase.from)))
}

fn instant(text: &str) -> Option<Time> {
    text.parse().ok()
}

/// For how long directly and behind a shared cache.
type Lastings = [Lasting; 2];

/// Who refuses for how long: equally long ones together, the longest first.
fn refusing<'a>(
    facts: &Facts,
    clients: &[&'a Client],
    published_for: Duration,
) -> Vec<(Lastings, Vec<&'a str>)> {
    let lasts = |client: &Client| -> Option<Lastings> {
        let cache = client.cache.as_ref()?;
        let routes = [Route::Direct, Route::SharedCache];
        Some(routes.map(|route| refuses(cache, facts, route, published_for)))
    };
    let all = clients.iter().filter_map(|client| Some((lasts(client)?, client.id.as_str())));
    grouped(all.filter(|(lasts, _)| *lasts != [Lasting::NotAtAll; 2]))
}
