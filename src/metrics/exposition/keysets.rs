//! What comes next for the keys of each set, what became of them, and who fetches them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jwksd_keystore::id::KeysetName;
use jwksd_keystore::ring::Signer;

use super::Sources;
use super::page::{Labels, Page, Tell};
use crate::fetchers::Tally;
use crate::metrics::keys::KeysNow;
use crate::metrics::outcomes::Listed;

/// How the keys stand that are told under one label.
#[derive(Default)]
struct Told {
    pending: u64,
    active: u64,
    verify_only: u64,
    /// The fewest of a set that signs.
    standbys: Option<u64>,
    /// The soonest.
    next: Option<Duration>,
    /// The longest.
    overdue: Option<Duration>,
    /// Where anybody watches.
    fetchers: Option<Tally>,
}

pub(super) fn tell(page: &mut Page<'_, '_>, sources: &Sources) -> fmt::Result {
    let told = told(sources);
    tell_keys(page, &told)?;
    tell_times(page, &told)?;
    tell_files(page, sources)?;
    tell_fetchers(page, &told)?;
    let counted = sources.metrics.series.told();
    let help = "What became of keys: created (and published), ended (another signs, so this counts \
                rotations), retired, retired_early, revoked, replaced, marked (revoked after it left).";
    page.counters("jwksd_key_events", help, &|family| {
        for counts in &counted {
            for (event, count) in counts.events.all() {
                family.counter(&[("keyset", &counts.keyset), ("event", event.name())], count)?;
            }
        }
        Ok(())
    })?;
    let help = "Requests for a JWK Set by the status of the answer: 200 the set, 304 whoever asks has it, \
                404 no such key set, 405 wrong method, 503 no key yet.";
    page.counters("jwksd_jwks_requests", help, &|family| {
        for counts in &counted {
            for (answer, count) in counts.answers.all() {
                family.counter(&[("keyset", &counts.keyset), ("answer", answer.name())], count)?;
            }
        }
        Ok(())
    })
}

fn told(sources: &Sources) -> BTreeMap<String, Told> {
    let (now, watch) = (sources.clock.now().lifecycle, sources.fetchers.watch());
    let mut told = BTreeMap::<String, Told>::new();
    for (keyset, (label, keys)) in sources.metrics.series.keys() {
        let ring = sources.custody.ring(&keyset);
        let signer = ring.as_ref().and_then(|ring| ring.signer_at(now).ok());
        let told = told.entry(label).or_default();
        told.take(keys.at(signer.map(Signer::kid), now));
        if let (Some(watch), Some(ring)) = (&watch, &ring) {
            told.take_fetchers(watch.tally(&keyset, ring, now));
        }
    }
    told
}

impl Told {
    fn take(&mut self, keys: KeysNow) {
        self.pending += keys.pending;
        self.active += keys.active;
        self.verify_only += keys.verify_only;
        let Some(signing) = keys.signing else { return };
        let fewest = self.standbys.map_or(signing.standbys, |fewest| fewest.min(signing.standbys));
        self.standbys = Some(fewest);
        self.next = self.next.into_iter().chain(signing.next).min();
        self.overdue = self.overdue.max(Some(signing.overdue));
    }

    fn take_fetchers(&mut self, tally: Tally) {
        let all = self.fetchers.get_or_insert_default();
        all.known += tally.known;
        all.current += tally.current;
        all.without_active += tally.without_active;
        all.without_standby += tally.without_standby;
        all.forgotten += tally.forgotten;
    }
}

fn tell_keys(page: &mut Page<'_, '_>, told: &BTreeMap<String, Told>) -> fmt::Result {
    page.gauges("jwksd_keys", "Keys in the JWK Set by state.", &|family| {
        for (keyset, told) in told {
            let states = [
                ("pending", told.pending),
                ("active", told.active),
                ("verify_only", told.verify_only),
            ];
            for (state, count) in states {
                family.gauge(&[("keyset", keyset), ("state", state)], count)?;
            }
        }
        Ok(())
    })?;
    let help = "Published keys that could take over in an emergency; of key sets that sign.";
    page.gauges("jwksd_standby_keys", help, &|family| {
        for (keyset, told) in told {
            if let Some(standbys) = told.standbys {
                family.gauge(&[("keyset", keyset)], standbys)?;
            }
        }
        Ok(())
    })
}

fn tell_times(page: &mut Page<'_, '_>, told: &BTreeMap<String, Told>) -> fmt::Result {
    let spans = |span: fn(&Told) -> Option<Duration>| {
        move |family: &mut super::page::Family<'_>| {
            for (keyset, told) in told {
                if let Some(span) = span(told) {
                    family.gauge_of(&[("keyset", keyset)], span)?;
                }
            }
            Ok(())
        }
    };
    let help = "How long until the next key begins to sign, by lifecycle time; none where no activation is \
                planned.";
    let next = spans(|told| told.next);
    page.gauges_of_seconds("jwksd_next_activation", help, &next)?;
    let help = "For how long another key should have been signing, by its activation or by the schedule; 0 \
                where all is as it should be.";
    let overdue = spans(|told| told.overdue);
    page.gauges_of_seconds("jwksd_rotation_overdue", help, &overdue)
}

fn tell_fetchers(page: &mut Page<'_, '_>, told: &BTreeMap<String, Told>) -> fmt::Result {
    let watched = || told.iter().filter_map(|(keyset, told)| Some((keyset, told.fetchers?)));
    let help = "Who fetched the JWK Set lately, by what they got: known counts all of them, current those with \
                what is served now, without_active those without the key that signs, without_standby those \
                without the key that signs next; who lacks both is in both.";
    page.gauges("jwksd_fetchers", help, &|family| {
        for (keyset, tally) in watched() {
            let counts = [
                ("known", tally.known),
                ("current", tally.current),
                ("without_active", tally.without_active),
                ("without_standby", tally.without_standby),
            ];
            for (has, count) in counts {
                family.gauge(&[("keyset", keyset), ("has", has)], count)?;
            }
        }
        Ok(())
    })?;
    let help = "Fetchers that had to make room for others in the table of them.";
    page.counters("jwksd_fetchers_forgotten", help, &|family| {
        for (keyset, tally) in watched() {
            family.counter(&[("keyset", keyset)], tally.forgotten)?;
        }
        Ok(())
    })
}

/// A file has a table of its own in the configuration, so these are few.
fn tell_files(page: &mut Page<'_, '_>, sources: &Sources) -> fmt::Result {
    let config = sources.custody.config();
    let with_file = config.keysets.iter().filter(|(_, keyset)| keyset.jwks_file.is_some());
    let mut told = BTreeMap::<String, bool>::new();
    for (name, _) in with_file {
        let standing = sources.standings.of(name);
        let is_confirmed = standing.is_some_and(|standing| standing.is_confirmed());
        *told.entry(label(sources, name)).or_insert(true) &= is_confirmed;
    }
    let tell: Tell<'_> = &|family| {
        for (keyset, is_confirmed) in &told {
            let labels: Labels<'_> = &[("keyset", keyset)];
            family.gauge(labels, u64::from(*is_confirmed))?;
        }
        Ok(())
    };
    let help = "1 where the jwks_file of the key set is known to be as it shall be, else 0.";
    page.gauges("jwksd_jwks_file_confirmed", help, tell)
}

fn label(sources: &Sources, keyset: &KeysetName) -> String {
    let mut label = String::new();
    sources.metrics.series.count(keyset, |counts| label.clone_from(&counts.keyset));
    label
}
