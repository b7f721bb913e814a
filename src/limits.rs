//! How much each caller may ask for, so that none takes what the others need.
//!
//! A caller has an [`Allowance`] on each listener: signing never uses up what an admin of the same
//! name needs for a revocation. It knows no HTTP; time is that of a [`Clock`].

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use governor::clock::Clock as _;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

use crate::clock::Clock;
use crate::policy::Caller;

/// How many batches one caller may have in hand: a quarter of what all may have together.
pub const BATCHES_IN_HAND: u32 = 8;

/// How many requests of nobody known are answered as such in a second, on each listener.
const UNKNOWN_PER_SECOND: NonZeroU32 = at_least_one(100);

/// When somebody with too much under way may try again.
const SOON: Duration = Duration::from_secs(1);

/// The limits of one caller, on each listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many requests are answered in a second for as long as it asks. A batch of n counts as n.
    pub requests_per_second: NonZeroU32,
    /// How many may come at once after a rest. At least the largest batch.
    pub burst: NonZeroU32,
    /// How many may be under way: received, carried out, or not read yet by the caller.
    pub in_flight: NonZeroU32,
}

impl Default for Settings {
    /// More than two cores sign with RS256, the algorithm of the default configuration; and more
    /// connections than a pool of a caller's threads has.
    fn default() -> Self {
        Self {
            requests_per_second: at_least_one(10_000),
            burst: at_least_one(20_000),
            in_flight: at_least_one(256),
        }
    }
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

/// Where callers are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Desk {
    /// The internal listener.
    Internal,
    /// The admin listener.
    Admin,
}

/// More than a caller may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Over {
    /// More than its rate.
    #[error("over the limit of {per_second} requests in a second, a batch of n being n")]
    Rate {
        /// The rate.
        per_second: NonZeroU32,
        /// After which time there is room.
        wait: Duration,
    },
    /// More than may be under way.
    #[error("{most} requests of this caller are under way, as many as may be")]
    InFlight {
        /// How many.
        most: NonZeroU32,
    },
    /// More batches than may be in hand.
    #[error("{BATCHES_IN_HAND} batches of this caller are in hand, as many as may be")]
    Batches,
    /// Nobody knows the callers, and there are many of them.
    #[error("too many requests of callers that nobody knows")]
    Unknown {
        /// After which time there is room.
        wait: Duration,
    },
}

impl Over {
    /// After how many seconds to try again, rounded up.
    #[must_use]
    pub fn retry_after(&self) -> u64 {
        let wait = match self {
            Self::Rate { wait, .. } | Self::Unknown { wait } => *wait,
            Self::InFlight { .. } | Self::Batches => SOON,
        };
        wait.as_secs() + u64::from(wait.subsec_nanos() > 0)
    }
}

/// What each caller may ask for.
pub struct Limits {
    time: BootTime,
    callers: ArcSwap<HashMap<String, OfCaller>>,
    /// For a caller that left the configuration while its request came in.
    leaving: Arc<Allowance>,
    unknown: PerDesk<Bucket>,
}

type OfCaller = PerDesk<Arc<Allowance>>;

#[derive(Clone)]
struct PerDesk<T> {
    internal: T,
    admin: T,
}

type Bucket = RateLimiter<NotKeyed, InMemoryState, BootTime, NoOpMiddleware<Duration>>;

/// The time since boot as `governor` reads it.
#[derive(Clone)]
struct BootTime(Arc<dyn Clock>);

impl governor::clock::Clock for BootTime {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.since_boot()
    }
}

/// What one caller may still ask for at one listener.
pub struct Allowance {
    settings: Settings,
    bucket: Bucket,
    /// Shared with the allowance that takes this one's place when the settings change.
    under_way: Arc<UnderWay>,
}

#[derive(Default)]
struct UnderWay {
    requests: AtomicU32,
    batches: AtomicU32,
}

/// A request that is under way, until this is dropped.
pub struct Slot(Arc<UnderWay>);

/// A batch that is in hand, until this is dropped.
pub struct BatchSlot(Arc<UnderWay>);

impl Limits {
    /// The limits of these callers, who have asked for nothing yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, callers: &[Arc<Caller>]) -> Self {
        let time = BootTime(clock);
        let quota = Quota::per_second(UNKNOWN_PER_SECOND);
        let unknown = || RateLimiter::direct_with_clock(quota, time.clone());
        let limits = Self {
            unknown: PerDesk { internal: unknown(), admin: unknown() },
            leaving: Arc::new(Allowance::new(Settings::default(), &time, Arc::default())),
            callers: ArcSwap::default(),
            time,
        };
        limits.put_in_force(callers);
        limits
    }

    /// Goes on with these callers. What a caller has used up stays used up, unless its limits
    /// changed; what is under way stays so in any case.
    pub fn put_in_force(&self, callers: &[Arc<Caller>]) {
        let before = self.callers.load();
        let of_caller = |caller: &Arc<Caller>| {
            let of_caller = match before.get(&caller.name) {
                Some(before) if before.internal.settings == caller.limits => before.clone(),
                Some(before) => PerDesk {
                    internal: self.changed(&before.internal, caller.limits),
                    admin: self.changed(&before.admin, caller.limits),
                },
                None => PerDesk { internal: self.fresh(caller), admin: self.fresh(caller) },
            };
            (caller.name.clone(), of_caller)
        };
        let callers = callers.iter().map(of_caller).collect();
        self.callers.store(Arc::new(callers));
    }

    fn fresh(&self, caller: &Caller) -> Arc<Allowance> {
        Arc::new(Allowance::new(caller.limits, &self.time, Arc::default()))
    }

    fn changed(&self, before: &Allowance, settings: Settings) -> Arc<Allowance> {
        Arc::new(Allowance::new(settings, &self.time, before.under_way.clone()))
    }

    /// What a caller may ask for at a listener.
    #[must_use]
    pub fn of(&self, caller: &str, desk: Desk) -> Arc<Allowance> {
        let callers = self.callers.load();
        callers.get(caller).map_or(&self.leaving, |of_caller| of_caller.at(desk)).clone()
    }

    /// Counts a request of somebody whom nobody knows. Who is known never comes here.
    ///
    /// # Errors
    ///
    /// [`Over::Unknown`].
    pub fn take_unknown(&self, desk: Desk) -> Result<(), Over> {
        let wait = |until: governor::NotUntil<Duration>| until.wait_time_from(self.time.now());
        self.unknown.at(desk).check().map_err(|until| Over::Unknown { wait: wait(until) })
    }
}

impl<T> PerDesk<T> {
    fn at(&self, desk: Desk) -> &T {
        match desk {
            Desk::Internal => &self.internal,
            Desk::Admin => &self.admin,
        }
    }
}

impl Allowance {
    fn new(settings: Settings, time: &BootTime, under_way: Arc<UnderWay>) -> Self {
        let quota = Quota::per_second(settings.requests_per_second).allow_burst(settings.burst);
        let bucket = RateLimiter::direct_with_clock(quota, time.clone());
        Self { settings, bucket, under_way }
    }

    /// Begins a request. What is refused uses nothing up.
    ///
    /// # Errors
    ///
    /// [`Over`].
    pub fn begin(&self) -> Result<Slot, Over> {
        let most = self.settings.in_flight;
        let slot = one_more(&self.under_way.requests, most.get())
            .then(|| Slot(self.under_way.clone()))
            .ok_or(Over::InFlight { most })?;
        self.take(1)?;
        Ok(slot)
    }

    /// Counts the other requests of a batch of `count`, the first of which [`Allowance::begin`]
    /// counted: all, or none. Where it is none, the batch was one request all the same.
    ///
    /// # Errors
    ///
    /// [`Over::Rate`], with the wait for the whole batch: a retry begins anew.
    pub fn take_rest_of(&self, count: usize) -> Result<(), Over> {
        let rest = u32::try_from(count).unwrap_or(u32::MAX).saturating_sub(1);
        self.take(rest).map_err(|over| match over {
            Over::Rate { per_second, wait } => {
                Over::Rate { per_second, wait: wait + Duration::from_secs(1) / per_second.get() }
            }
            other => other,
        })
    }

    /// Takes a batch in hand.
    ///
    /// # Errors
    ///
    /// [`Over::Batches`].
    pub fn begin_batch(&self) -> Result<BatchSlot, Over> {
        one_more(&self.under_way.batches, BATCHES_IN_HAND)
            .then(|| BatchSlot(self.under_way.clone()))
            .ok_or(Over::Batches)
    }

    fn take(&self, count: u32) -> Result<(), Over> {
        let Some(count) = NonZeroU32::new(count) else { return Ok(()) };
        let per_second = self.settings.requests_per_second;
        let wait = match self.bucket.check_n(count) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(until)) => until.wait_time_from(self.bucket.clock().now()),
            // No batch is larger than a burst: the configuration sees to it.
            Err(_) => SOON,
        };
        Err(Over::Rate { per_second, wait })
    }
}

/// Counts one more, if there are fewer than `most`.
fn one_more(counter: &AtomicU32, most: u32) -> bool {
    let more = |count: u32| (count < most).then_some(count + 1);
    counter.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for BatchSlot {
    fn drop(&mut self) {
        self.0.batches.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use jwksd_keystore::time::Time;
    use proptest::prelude::*;

    use super::*;
    use crate::clock::ManualClock;
    use crate::policy::Identity;

    const NANOS: u128 = 1_000_000_000;

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn settings(requests_per_second: u32, burst: u32, in_flight: u32) -> Settings {
        Settings {
            requests_per_second: number(requests_per_second),
            burst: number(burst),
            in_flight: number(in_flight),
        }
    }

    fn caller(name: &str, limits: Settings) -> Arc<Caller> {
        let identity = Identity::Uid(1);
        Arc::new(Caller { name: name.into(), identity, grants: Vec::new(), limits })
    }

    fn limits(callers: &[Arc<Caller>]) -> (Arc<ManualClock>, Limits) {
        let clock = Arc::new(ManualClock::new(Time::from_millis(1_795_000_000_000)));
        (clock.clone(), Limits::new(clock, callers))
    }

    /// How many of `count` requests are let through, none of them staying under way.
    fn let_through(limits: &Limits, name: &str, desk: Desk, count: usize) -> usize {
        (0..count).filter(|_| limits.of(name, desk).begin().is_ok()).count()
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let (clock, limits) = limits(&[caller("shop", settings(10, 1000, 1))]);
        assert_eq!(let_through(&limits, "shop", Desk::Internal, 2000), 1000);
        clock.advance(Duration::from_secs(3));
        assert_eq!(let_through(&limits, "shop", Desk::Internal, 2000), 30);
        clock.advance(Duration::from_hours(1));
        assert_eq!(let_through(&limits, "shop", Desk::Internal, 2000), 1000);
    }

    #[test]
    fn one_callers_flood_refuses_no_other_and_nothing_at_the_other_listener() {
        let of_each = settings(10, 1000, 10);
        let (_, limits) = limits(&[caller("shop", of_each), caller("ci", of_each)]);
        let shop = limits.of("shop", Desk::Internal);
        let _slots: Vec<Slot> = (0..10).map(|_| shop.begin().unwrap()).collect();
        let _batches: Vec<BatchSlot> = (0..8).map(|_| shop.begin_batch().unwrap()).collect();
        while limits.take_unknown(Desk::Internal).is_ok() {}
        assert_eq!(shop.begin().err(), Some(Over::InFlight { most: number(10) }));
        assert_eq!(shop.begin_batch().err(), Some(Over::Batches));
        assert_eq!(let_through(&limits, "ci", Desk::Internal, 1000), 1000);
        assert!(limits.of("ci", Desk::Internal).begin_batch().is_ok());
        assert_eq!(let_through(&limits, "shop", Desk::Admin, 1000), 1000);
        assert!(limits.take_unknown(Desk::Admin).is_ok());
    }

    #[test]
    fn the_wait_that_is_told_is_long_enough_and_no_second_longer() {
        let (clock, limits) = limits(&[caller("shop", settings(3, 1000, 1))]);
        let shop = limits.of("shop", Desk::Internal);
        assert_eq!(let_through(&limits, "shop", Desk::Internal, 1000), 1000);
        assert_eq!(shop.begin().err().unwrap().retry_after(), 1);
        let over = shop.take_rest_of(1000).unwrap_err();
        assert_eq!(over.retry_after(), 334);
        clock.advance(Duration::from_secs(333));
        assert!(shop.begin().is_ok());
        assert!(shop.take_rest_of(1000).is_err());
        clock.advance(Duration::from_secs(1));
        assert!(shop.begin().is_ok());
        assert_eq!(shop.take_rest_of(1000), Ok(()));
    }

    #[test]
    fn what_is_refused_uses_nothing_up() {
        let (clock, limits) = limits(&[caller("shop", settings(1, 1000, 1))]);
        let shop = limits.of("shop", Desk::Internal);
        let slot = shop.begin().unwrap();
        for _ in 0..5000 {
            assert!(shop.begin().is_err());
            assert!(shop.take_rest_of(1001).is_err());
        }
        drop(slot);
        clock.advance(Duration::from_secs(1));
        assert_eq!(shop.take_rest_of(1001), Ok(()));
    }

    #[test]
    fn a_reload_gives_back_nothing_to_a_caller_whose_limits_stay() {
        let shop = caller("shop", settings(10, 1000, 5));
        let (_, limits) = limits(std::slice::from_ref(&shop));
        assert_eq!(let_through(&limits, "shop", Desk::Internal, 1000), 1000);
        limits.put_in_force(&[caller("ci", settings(10, 1000, 5)), shop]);
        assert_eq!(let_through(&limits, "shop", Desk::Internal, 1000), 0);
        assert_eq!(let_through(&limits, "ci", Desk::Internal, 1000), 1000);
    }

    #[test]
    fn what_is_under_way_is_counted_on_when_the_limits_change_and_is_forgotten_with_the_caller() {
        let (_, limits) = limits(&[caller("shop", settings(10, 1000, 2))]);
        let slot = limits.of("shop", Desk::Internal).begin().unwrap();
        let smaller = caller("shop", settings(10, 1000, 1));
        limits.put_in_force(std::slice::from_ref(&smaller));
        assert!(limits.of("shop", Desk::Internal).begin().is_err());
        limits.put_in_force(&[]);
        limits.put_in_force(&[smaller]);
        let fresh = limits.of("shop", Desk::Internal).begin().unwrap();
        drop(slot);
        assert!(limits.of("shop", Desk::Internal).begin().is_err());
        drop(fresh);
        assert!(limits.of("shop", Desk::Internal).begin().is_ok());
    }

    #[test]
    fn a_full_bucket_takes_the_largest_batch() {
        let (_, limits) = limits(&[caller("shop", settings(1, 1000, 1))]);
        let shop = limits.of("shop", Desk::Internal);
        let _slot = shop.begin().unwrap();
        assert_eq!(shop.take_rest_of(1000), Ok(()));
        assert!(shop.take_rest_of(2).is_err());
    }

    proptest! {
        #[test]
        fn never_more_is_let_through_than_the_burst_and_the_rate_allow(
            per_second in 1_u32..1_000_000,
            burst in 1_u32..3000,
            steps in prop::collection::vec((0_u64..2_000_000_000, 1_usize..1200), 1..60),
        ) {
            let (clock, limits) = limits(&[caller("shop", settings(per_second, burst, 1))]);
            let shop = limits.of("shop", Desk::Internal);
            // A request is let through each so many whole nanoseconds.
            let interval = NANOS / u128::from(per_second);
            let (mut passed, mut allowed) = (0_u128, 0_u128);
            for (nanos, count) in steps {
                clock.advance(Duration::from_nanos(nanos));
                passed += u128::from(nanos);
                if shop.begin().is_ok() {
                    allowed += 1;
                }
                if shop.take_rest_of(count).is_ok() {
                    allowed += count as u128 - 1;
                }
                prop_assert!(allowed <= u128::from(burst) + passed / interval);
            }
        }
    }
}
