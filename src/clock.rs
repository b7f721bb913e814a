//! The only place that reads a clock.
//!
//! *Lifecycle time* chooses keys. It is the highest of the wall clock, the stored `seen`, and all
//! times used before, so it never goes back. When the wall clock jumps against the time since
//! boot, lifecycle time runs on by the latter, so that nothing activates, ends or retires early,
//! until the jump has lasted for a while. `iat` and `exp` use the wall clock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jwksd_keystore::lifecycle::Now;
use jwksd_keystore::time::Time;

/// After how long an unchanged jump of the wall clock is believed.
pub const JUMP_BELIEVED_AFTER: Duration = Duration::from_mins(15);

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
pub struct LifecycleClock {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

struct State {
    lifecycle: Time,
    since_boot: Duration,
    tolerated: Duration,
    /// Since when, and by how much, the wall clock is off.
    jump: Option<Jump>,
}

#[derive(Clone, Copy)]
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
        Self { clock, state: Mutex::new(State { lifecycle, since_boot, tolerated, jump: None }) }
    }

    /// Changes by how much the wall clock may jump and be followed at once.
    pub fn tolerate(&self, tolerated: Duration) {
        lock(&self.state).tolerated = tolerated;
    }

    /// Both clocks now.
    #[must_use]
    pub fn now(&self) -> Now {
        // Read under the lock, so that no older reading comes after a newer one.
        let mut state = lock(&self.state);
        let wall = self.clock.wall();
        state.advance(wall, self.clock.since_boot());
        Now { lifecycle: state.lifecycle, wall }
    }

    /// By how much lifecycle time and the wall clock differ, when that is more than tolerated.
    #[must_use]
    pub fn disagreement(&self) -> Option<Duration> {
        let now = self.now();
        let tolerated = lock(&self.state).tolerated;
        let apart = now.wall.since(now.lifecycle).max(now.lifecycle.since(now.wall));
        (apart > tolerated).then_some(apart)
    }
}

impl State {
    fn advance(&mut self, wall: Time, since_boot: Duration) {
        let expected = self.lifecycle + since_boot.saturating_sub(self.since_boot);
        self.since_boot = since_boot;
        let ahead = wall.since(expected);
        let behind = expected.since(wall);
        if behind > self.tolerated {
            // Lifecycle time cannot go back; it runs on until the wall clock has caught up.
            self.jump = None;
            self.lifecycle = expected;
        } else if ahead > self.tolerated && !self.believed(ahead) {
            self.lifecycle = expected;
        } else {
            self.jump = None;
            self.lifecycle = self.lifecycle.max(wall);
        }
    }

    /// Whether the wall clock has been ahead by this much for long enough.
    fn believed(&mut self, ahead: Duration) -> bool {
        let since_boot = self.since_boot;
        let jump = self.jump.filter(|jump| jump.ahead.abs_diff(ahead) <= self.tolerated);
        let jump = *self.jump.insert(jump.unwrap_or(Jump { noticed: since_boot, ahead }));
        since_boot.saturating_sub(jump.noticed) >= JUMP_BELIEVED_AFTER
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
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
