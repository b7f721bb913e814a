//! What came of the requests.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::answer;
use super::requests::Good;

/// Nanoseconds: whoever waits longer than an hour for an answer waits an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// Counts and latencies.
pub(super) struct Tally {
    good: Good,
    pub(super) begun: u64,
    answers: u64,
    tokens: u64,
    bytes: u64,
    errors: u64,
    statuses: BTreeMap<u16, u64>,
    /// The first answer that was not good, for people.
    first_error: Option<String>,
    /// Nanoseconds, to three digits.
    latencies: Histogram<u64>,
}

impl Tally {
    /// # Errors
    ///
    /// Never: such a histogram can be had.
    pub(super) fn new(good: Good) -> Result<Self> {
        let latencies = Histogram::new_with_bounds(1, LONGEST, 3).context("latencies")?;
        Ok(Self {
            good,
            begun: 0,
            answers: 0,
            tokens: 0,
            bytes: 0,
            errors: 0,
            statuses: BTreeMap::new(),
            first_error: None,
            latencies,
        })
    }

    /// Counts an answer that came so long after its request.
    pub(super) fn count(&mut self, status: u16, body: &[u8], latency: Duration) {
        let tokens = self.good.batch.map_or(1, |_| answer::tokens(body) as u64);
        let wanted = self.good.batch.map_or(1, u64::from);
        self.answers += 1;
        self.bytes += body.len() as u64;
        *self.statuses.entry(status).or_default() += 1;
        if status == self.good.status && tokens == wanted {
            self.tokens += tokens;
        } else {
            self.errors += 1;
            self.first_error.get_or_insert_with(|| beginning(body));
        }
        self.latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Everything, as JSON; latencies are microseconds.
    pub(super) fn report(&self, took: Duration) -> Value {
        let at = |share: f64| micros(self.latencies.value_at_quantile(share));
        json!({
            "requests": self.begun,
            "answers": self.answers,
            "tokens": self.tokens,
            "body_bytes": self.bytes,
            "errors": self.errors,
            "first_error": self.first_error,
            "statuses": self.statuses,
            "seconds": took.as_secs_f64(),
            "latency_us": {
                "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99.9": at(0.999),
                "max": micros(self.latencies.max()),
            },
        })
    }
}

fn beginning(body: &[u8]) -> String {
    String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned()
}

fn micros(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros_at(tally: &Tally, share: &str) -> f64 {
        tally.report(Duration::ZERO)["latency_us"][share].as_f64().unwrap()
    }

    #[test]
    fn latencies_are_told_to_three_digits() {
        let mut tally = Tally::new(Good { status: 200, batch: None }).unwrap();
        for micros in 1..=1000 {
            tally.count(200, b"{}", Duration::from_micros(micros));
        }
        assert!((micros_at(&tally, "p50") - 500.0).abs() < 1.0);
        assert!((micros_at(&tally, "p99") - 990.0).abs() < 2.0);
        assert!((micros_at(&tally, "max") - 1000.0).abs() < 2.0);
    }

    #[test]
    fn another_status_and_a_batch_that_lacks_a_token_are_errors() {
        let mut tally = Tally::new(Good { status: 200, batch: Some(2) }).unwrap();
        tally.count(200, br#"[{"token":"a"},{"token":"b"}]"#, Duration::ZERO);
        tally.count(200, br#"[{"token":"a"},{"error":"busy"}]"#, Duration::ZERO);
        tally.count(503, b"{}", Duration::ZERO);
        let report = tally.report(Duration::ZERO);
        assert_eq!((report["errors"].as_u64(), report["tokens"].as_u64()), (Some(2), Some(2)));
    }
}
