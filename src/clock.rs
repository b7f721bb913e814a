//! The only place that reads a clock.
//!
//! *Lifecycle time* chooses keys. It is the highest of the wall clock, the stored `seen`, and all
//! times used before, so it never goes back. When the wall clock jumps against the time since
//! boot, lifecycle time runs on by the latter, so that nothing activates, ends or retires early,
//! until the jump has lasted for a while. `iat` and `exp` use the wall clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jwksd_keystore::lifecycle::Now;
use jwksd_keystore::planted::{self, Fault};
use jwksd_keystore::time::Time;

/// After how long an unchanged jump of the wall clock is believed.
pub const JUMP_BELIEVED_AFTER: Duration = Duration::from_mins(15);

/// What is tolerated at least: a thread may lose its core between its looks at the two clocks.
const BETWEEN_READINGS: Duration = Duration::from_millis(10);

/// Where time comes from.
pub trait Clock: Send + Sync {
    /// The wall clock, which an admin or a time server may set.
    fn wall(&self) -> Time;

    /// The time since boot, suspend included, which nobody can set.
    fn since_boot(&self) -> Duration;
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Time {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let millis = u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
        Time::from_millis(seconds.saturating_mul(1000).saturating_add(millis))
    }

    fn since_boot(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanos)
    }
}

/// A clock that moves when told, for tests.
#[derive(Debug)]
pub struct ManualClock(Mutex<(Time, Duration)>);

impl ManualClock {
    /// A clock that stands at `wall`.
    #[must_use]
    pub fn new(wall: Time) -> Self {
        Self(Mutex::new((wall, Duration::from_hours(1))))
    }

    /// Lets time pass.
    pub fn advance(&self, span: Duration) {
        let mut clocks = lock(&self.0);
        clocks.0 = clocks.0 + span;
        clocks.1 += span;
    }

    /// Sets the wall clock, as an admin would, while no time passes.
    pub fn set_wall(&self, wall: Time) {
        lock(&self.0).0 = wall;
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Time {
        lock(&self.0).0
    }

    fn since_boot(&self) -> Duration {
        lock(&self.0).1
    }
}

/// Lifecycle time over a [`Clock`].
///
/// Nobody who asks for it waits for another: threads that give way ask too, and may stand still at any
/// moment.
pub struct LifecycleClock {
    clock: Arc<dyn Clock>,
    state: ArcSwap<State>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct State {
    lifecycle: Time,
    /// When it was that time.
    since_boot: Duration,
    tolerated: Duration,
    /// Since when, and by how much, the wall clock is off.
    jump: Option<Jump>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Jump {
    noticed: Duration,
    ahead: Duration,
}

impl LifecycleClock {
    /// Begins at the wall clock, or at `seen` if that is later. Jumps of at most `tolerated` are
    /// followed at once.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, seen: Time, tolerated: Duration) -> Self {
        let lifecycle = clock.wall().max(seen);
        let since_boot = clock.since_boot();
        let state = State { lifecycle, since_boot, tolerated: Duration::ZERO, jump: None };
        let state = ArcSwap::from_pointee(state.tolerating(tolerated));
        Self { clock, state }
    }

    /// Changes by how much the wall clock may jump and be followed at once.
    pub fn tolerate(&self, tolerated: Duration) {
        self.state.rcu(|state| state.tolerating(tolerated));
    }

    /// Both clocks now.
    #[must_use]
    pub fn now(&self) -> Now {
        loop {
            let before = self.state.load();
            // Read after the state, so that no older reading comes after a newer one.
            let (wall, since_boot) = (self.clock.wall(), self.clock.since_boot());
            let after = before.advanced(wall, since_boot);
            let now = Now { lifecycle: after.lifecycle, wall };
            // Mostly it is the same millisecond still.
            if after == **before {
                return now;
            }
            let found = self.state.compare_and_swap(&before, Arc::new(after));
            if Arc::ptr_eq(&found, &before) {
                return now;
            }
        }
    }

    /// By how much lifecycle time and the wall clock differ, when that is more than tolerated.
    #[must_use]
    pub fn disagreement(&self) -> Option<Duration> {
        let now = self.now();
        let tolerated = self.state.load().tolerated;
        let apart = now.wall.since(now.lifecycle).max(now.lifecycle.since(now.wall));
        (apart > tolerated).then_some(apart)
    }
}

impl State {
    fn tolerating(self, tolerated: Duration) -> Self {
        Self { tolerated: tolerated.max(BETWEEN_READINGS), ..self }
    }

    fn advanced(self, wall: Time, since_boot: Duration) -> Self {
        // Whole milliseconds, as lifecycle time has; the rest counts next time.
        let passed = since_boot.saturating_sub(self.since_boot).as_millis();
        let passed = Duration::from_millis(u64::try_from(passed).unwrap_or(u64::MAX));
        let expected = self.lifecycle + passed;
        let ran_on = Self { lifecycle: expected, since_boot: self.since_boot + passed, ..self };
        let (ahead, behind) = (wall.since(expected), expected.since(wall));
        if behind > self.tolerated {
            // Lifecycle time cannot go back; it runs on until the wall clock has caught up.
            let lifecycle = if planted::is_planted(Fault::ResurrectOnBackJump) {
                wall
            } else {
                ran_on.lifecycle
            };
            return Self { lifecycle, jump: None, ..ran_on };
        }
        if ahead > self.tolerated {
            let jump = self.jump_of(ahead, since_boot);
            let is_believed = since_boot.saturating_sub(jump.noticed) >= JUMP_BELIEVED_AFTER
                || planted::is_planted(Fault::JumpBelieved);
            if !is_believed {
                return Self { jump: Some(jump), ..ran_on };
            }
        }
        if wall > self.lifecycle {
            Self { lifecycle: wall, since_boot, jump: None, ..self }
        } else {
            Self { jump: None, ..self }
        }
    }

    /// The jump that the wall clock is ahead by, which may have been noticed before.
    fn jump_of(self, ahead: Duration, since_boot: Duration) -> Jump {
        let noticed = self.jump.filter(|jump| jump.ahead.abs_diff(ahead) <= self.tolerated);
        noticed.unwrap_or(Jump { noticed: since_boot, ahead })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const START: Time = Time::from_millis(1_795_000_000_000);
    const SKEW: Duration = Duration::from_mins(1);

    fn clocks(seen: Time) -> (Arc<ManualClock>, LifecycleClock) {
        let manual = Arc::new(ManualClock::new(START));
        let lifecycle = LifecycleClock::new(manual.clone(), seen, SKEW);
        (manual, lifecycle)
    }

    #[test]
    fn lifecycle_time_follows_the_wall_clock() {
        let (manual, clock) = clocks(Time::EPOCH);
        manual.advance(Duration::from_hours(1000));
        assert_eq!(clock.now().lifecycle, START + Duration::from_hours(1000));
        assert_eq!(clock.disagreement(), None);
    }

    #[test]
    fn it_begins_no_earlier_than_what_was_seen_and_runs_on_from_there() {
        let seen = START + Duration::from_hours(5);
        let (manual, clock) = clocks(seen);
        assert_eq!(clock.now().lifecycle, seen);
        manual.advance(Duration::from_hours(1));
        assert_eq!(clock.now().lifecycle, seen + Duration::from_hours(1));
        assert_eq!(clock.disagreement(), Some(Duration::from_hours(5)));
    }

    #[test]
    fn a_clock_set_back_does_not_set_lifecycle_time_back() {
        let (manual, clock) = clocks(Time::EPOCH);
        manual.set_wall(START.before(Duration::from_hours(48)));
        assert_eq!(clock.now().lifecycle, START);
        manual.advance(Duration::from_hours(1));
        assert_eq!(clock.now().lifecycle, START + Duration::from_hours(1));
        assert_eq!(clock.now().wall, START.before(Duration::from_hours(47)));
    }

    #[test]
    fn a_jump_ahead_is_believed_only_when_it_has_lasted() {
        let (manual, clock) = clocks(Time::EPOCH);
        let hour = Duration::from_hours(1);
        manual.set_wall(START + hour);
        assert_eq!(clock.now().lifecycle, START);
        let almost = JUMP_BELIEVED_AFTER.saturating_sub(Duration::from_secs(1));
        manual.advance(almost);
        assert_eq!(clock.now().lifecycle, START + almost);
        manual.advance(Duration::from_secs(1));
        assert_eq!(clock.now().lifecycle, START + hour + JUMP_BELIEVED_AFTER);
    }

    #[test]
    fn a_jump_that_changes_has_to_last_anew() {
        let (manual, clock) = clocks(Time::EPOCH);
        manual.set_wall(START + Duration::from_hours(1));
        let _ = clock.now();
        manual.advance(Duration::from_mins(10));
        manual.set_wall(START + Duration::from_hours(9));
        assert_eq!(clock.now().lifecycle, START + Duration::from_mins(10));
        manual.advance(Duration::from_mins(10));
        assert_eq!(clock.now().lifecycle, START + Duration::from_mins(20));
    }

    #[test]
    fn it_runs_on_at_the_same_pace_however_often_it_is_asked() {
        let days = Duration::from_hours(48);
        for wall in [START.before(days), START, START + days] {
            let manual = Arc::new(ManualClock::new(START));
            let clock = LifecycleClock::new(manual.clone(), Time::EPOCH, Duration::ZERO);
            manual.set_wall(wall);
            for _ in 0..10_000 {
                // Too little for the wall clock, which has whole milliseconds.
                manual.advance(Duration::from_micros(250));
                let _ = clock.now();
            }
            let passed = Duration::from_millis(2500);
            assert_eq!(clock.now().lifecycle, START + passed, "{wall}");
        }
    }

    #[test]
    fn threads_that_ask_at_once_never_see_it_go_back() {
        let clock = LifecycleClock::new(Arc::new(SystemClock), Time::EPOCH, SKEW);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let times: Vec<Time> = (0..20_000).map(|_| clock.now().lifecycle).collect();
                    assert!(times.is_sorted());
                });
            }
        });
    }

    #[test]
    fn a_small_step_is_followed() {
        let (manual, clock) = clocks(Time::EPOCH);
        manual.set_wall(START + SKEW);
        assert_eq!(clock.now().lifecycle, START + SKEW);
        manual.set_wall(START);
        assert_eq!(clock.now().lifecycle, START + SKEW);
        manual.advance(2 * SKEW);
        assert_eq!(clock.now().lifecycle, START + 2 * SKEW);
    }
}
