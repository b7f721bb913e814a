//! What callers had.

use std::fmt;
use std::sync::Arc;

use jwksd_keystore::algorithm::Algorithm;

use super::page::{Labels, Page};
use crate::metrics::Metrics;
use crate::metrics::outcomes::{Listed, Outcome};
use crate::metrics::series::{Counts, OTHER};

/// Where nobody knows which algorithm it would have been.
const NONE: &str = "none";

pub(super) fn tell(page: &mut Page<'_, '_>, metrics: &Metrics) -> fmt::Result {
    let told = metrics.series.told();
    tell_signatures(page, &told)?;
    tell_durations(page, metrics, &told)?;
    let help = "Batches of requests for tokens by what became of them as a whole.";
    page.counters("jwksd_batches", help, &|family| {
        for counts in &told {
            for (outcome, count) in counts.batches.all() {
                family
                    .counter(&[("keyset", &counts.keyset), ("outcome", outcome.name())], count)?;
            }
        }
        Ok(())
    })?;
    let help = "How long batches took that were answered, from their head to their answer.";
    page.histograms("jwksd_batch_duration", help, &|family| {
        family.histogram(&[], &metrics.batches)
    })?;
    let help = "Requests that were turned away by limits or because nobody knows the caller; on the admin \
                listener also for want of a grant.";
    page.counters("jwksd_refused_requests", help, &|family| {
        for (caller, desk, why, count) in metrics.turned_away.all() {
            let labels: Labels<'_> =
                &[("listener", desk.name()), ("caller", &caller), ("reason", why.name())];
            family.counter(labels, count)?;
        }
        Ok(())
    })
}

fn tell_signatures(page: &mut Page<'_, '_>, told: &[Arc<Counts>]) -> fmt::Result {
    let help = "Requests for a token by what became of them, those in batches too.";
    page.counters("jwksd_signatures", help, &|family| {
        for counts in told {
            for of_algorithm in counts.algorithms().iter() {
                let algorithm = name(of_algorithm.algorithm);
                for (caller, outcomes) in of_algorithm.outcomes() {
                    let is_told =
                        |(outcome, count): &(Outcome, u64)| *count > 0 || outcome.is_told_early();
                    for (outcome, count) in outcomes.into_iter().filter(is_told) {
                        let labels: Labels<'_> = &[
                            ("keyset", &counts.keyset),
                            ("algorithm", &algorithm),
                            ("caller", &caller),
                            ("outcome", outcome.name()),
                        ];
                        family.counter(labels, count)?;
                    }
                }
            }
        }
        Ok(())
    })
}

fn tell_durations(page: &mut Page<'_, '_>, metrics: &Metrics, told: &[Arc<Counts>]) -> fmt::Result {
    let help = "How long single requests for a token took that was signed, from when the request was \
                read to the token: grant, claims, the line of the audit, and the signature. Those in \
                batches are not among them.";
    page.histograms("jwksd_signature_duration", help, &|family| {
        for counts in told {
            for of_algorithm in counts.algorithms().iter() {
                let Some(durations) = of_algorithm.own_durations() else { continue };
                let algorithm = name(of_algorithm.algorithm);
                let labels: Labels<'_> = &[("keyset", &counts.keyset), ("algorithm", &algorithm)];
                family.histogram(labels, durations)?;
            }
        }
        let others = metrics.series.other_durations();
        if others.snapshot().count > 0 {
            family.histogram(&[("keyset", OTHER), ("algorithm", OTHER)], others)?;
        }
        Ok(())
    })
}

fn name(algorithm: Option<Algorithm>) -> String {
    algorithm.map_or_else(|| NONE.to_owned(), |algorithm| algorithm.to_string())
}
