//! How long things take, counted without a lock.
//!
//! The histogram of `prometheus-client` has one. A thread of low priority that stood still while it
//! holds it would keep the threads waiting that sign single tokens, as it once did with the audit's.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of buckets, in nanoseconds.
pub type Bounds = &'static [u64];

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000 * MICRO;
const SECOND: u64 = 1_000 * MILLI;

/// For a signature: the quickest algorithm takes some 20 us with all that goes with it, and what takes
/// a second is as good as none.
pub const OF_SIGNATURES: Bounds = &[
    20 * MICRO,
    50 * MICRO,
    100 * MICRO,
    200 * MICRO,
    500 * MICRO,
    MILLI,
    2 * MILLI,
    5 * MILLI,
    10 * MILLI,
    20 * MILLI,
    50 * MILLI,
    100 * MILLI,
    200 * MILLI,
    500 * MILLI,
    SECOND,
];

/// For what is done to files, and for batches: from the kernel's memory to a disk that hangs.
pub const OF_FILES: Bounds = &[
    2 * MICRO,
    5 * MICRO,
    10 * MICRO,
    20 * MICRO,
    50 * MICRO,
    100 * MICRO,
    200 * MICRO,
    500 * MICRO,
    MILLI,
    2 * MILLI,
    5 * MILLI,
    10 * MILLI,
    20 * MILLI,
    50 * MILLI,
    100 * MILLI,
    200 * MILLI,
    500 * MILLI,
    SECOND,
    2 * SECOND,
    5 * SECOND,
    10 * SECOND,
];

/// How often something took how long.
#[derive(Debug)]
pub struct Histogram {
    bounds: Bounds,
    /// One more than there are bounds.
    counts: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// How long all of it took, in seconds.
    pub sum: f64,
    /// How often.
    pub count: u64,
    /// Upper bounds in seconds, and how often it took up to that long, but longer than the bound before.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// Nothing happened yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, nanos: AtomicU64::new(0) }
    }

    /// It happened, and took `span`.
    pub fn observe(&self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        let place = self.bounds.partition_point(|bound| *bound < nanos);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// What happened so far. What happens meanwhile may be in a part of it.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let bounds = self.bounds.iter().map(|bound| Duration::from_nanos(*bound).as_secs_f64());
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<_> = bounds.chain([f64::INFINITY]).zip(counts).collect();
        Snapshot {
            sum: Duration::from_nanos(self.nanos.load(Ordering::Relaxed)).as_secs_f64(),
            count: buckets.iter().map(|(_, count)| count).sum(),
            buckets,
        }
    }
}

/// Measures how long something takes. Nothing is decided by it.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// It begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "measures; nothing is decided by it")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// How long it took until now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "measures; nothing is decided by it")]
    pub fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_took_as_long_as_a_bound_is_below_it() {
        let histogram = Histogram::new(&[1_000_000, 2_000_000_000]);
        for millis in [0, 1, 2, 2000, 2001] {
            histogram.observe(Duration::from_millis(millis));
        }
        histogram.observe(Duration::from_nanos(1_000_001));
        let Snapshot { sum, count, buckets } = histogram.snapshot();
        assert_eq!(count, 6);
        assert_eq!(buckets, [(0.001, 2), (2.0, 3), (f64::INFINITY, 1)]);
        assert!((sum - 4.005_000_001).abs() < 1e-9, "{sum}");
    }

    #[test]
    fn bounds_rise() {
        for bounds in [OF_SIGNATURES, OF_FILES] {
            assert!(bounds.is_sorted_by(|one, next| one < next));
        }
    }
}
