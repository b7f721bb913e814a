//! PURE: when the next request is due, and when there is none any more.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// When to ask.
pub(super) struct Pace {
    span: Duration,
    requests: u64,
    /// Nanoseconds from one request to the next; `None`: as soon as a connection is free.
    interval: Option<f64>,
}

/// What is to be done about the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Send it: it was due then.
    Send(Duration),
    /// It is due then.
    Wait(Duration),
    /// There is none.
    Over,
}

impl Pace {
    /// # Errors
    ///
    /// When a number is not above 0.
    pub(super) fn new(
        seconds: Option<f64>,
        requests: Option<u64>,
        rate: Option<f64>,
    ) -> Result<Self> {
        if rate.is_some_and(|rate| !(rate.is_finite() && rate > 0.0)) {
            bail!("--rate must be above 0");
        }
        let span = seconds.map(Duration::try_from_secs_f64).transpose().context("--seconds")?;
        Ok(Self {
            span: span.unwrap_or(Duration::MAX),
            requests: requests.unwrap_or(u64::MAX),
            interval: rate.map(|rate| 1e9 / rate),
        })
    }

    /// About the request after the first `begun`, at `now` since the start.
    pub(super) fn next(&self, begun: u64, now: Duration) -> Next {
        let due = self.interval.map_or(now, |interval| at(begun, interval));
        if begun >= self.requests || due >= self.span {
            Next::Over
        } else if due <= now {
            Next::Send(due)
        } else {
            Next::Wait(due)
        }
    }
}

fn at(number: u64, interval: f64) -> Duration {
    // Exact for the first 2^53 requests.
    #[expect(clippy::cast_precision_loss, reason = "nobody sends as many")]
    let nanoseconds = number as f64 * interval;
    Duration::try_from_secs_f64(nanoseconds / 1e9).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn without_a_rate_a_request_is_due_whenever_there_is_somebody_to_send_it() {
        let pace = Pace::new(Some(1.0), None, None).unwrap();
        assert_eq!(pace.next(7, 3 * MILLISECOND), Next::Send(3 * MILLISECOND));
        assert_eq!(pace.next(7, 1000 * MILLISECOND), Next::Over);
    }

    #[test]
    fn with_a_rate_a_late_request_keeps_the_time_at_which_it_was_due() {
        let pace = Pace::new(Some(1.0), None, Some(100.0)).unwrap();
        assert_eq!(pace.next(2, 35 * MILLISECOND), Next::Send(20 * MILLISECOND));
        assert_eq!(pace.next(4, 35 * MILLISECOND), Next::Wait(40 * MILLISECOND));
        assert_eq!(pace.next(100, 990 * MILLISECOND), Next::Over);
    }

    #[test]
    fn a_number_of_requests_is_kept() {
        let pace = Pace::new(None, Some(3), None).unwrap();
        assert_eq!(pace.next(2, MILLISECOND), Next::Send(MILLISECOND));
        assert_eq!(pace.next(3, MILLISECOND), Next::Over);
    }
}
