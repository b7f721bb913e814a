//! PURE: what will become of the keys of a set while nobody asks for anything: the rules of
//! [`plan`], asked at each [`next_change`], with lives of keys that are not made yet.
//!
//! It has no rule of its own, so it says what the daemon will do, or what no rule foresees: that an
//! admin acts, that the daemon is down, that facts change.

use super::{Departure, Intent, Keyset, Life, Now, Number, Refusal, Step, next_change, plan};
use crate::facts::Facts;
use crate::time::Time;

/// How often a set is asked at one instant: a plan is settled after one or two.
const SETTLES: usize = 8;

/// How far a forecast goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Until which instant, inclusive.
    pub until: Time,
    /// For how many keys that are not made yet, at most.
    pub keys: usize,
}

/// What will become of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// All keys that are or come into the set, in the order of their numbers, as they will be
    /// known last.
    pub keys: Vec<Foreseen>,
    /// Where it ends.
    pub end: End,
}

/// What will become of a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreseen {
    /// Its times as they will be known last.
    pub life: Life,
    /// When and why it leaves the living.
    pub left: Option<(Time, Departure)>,
}

/// Where a forecast ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes as far as was asked, that instant included.
    Whole,
    /// One key more than was asked for would be made at this instant. What happens then and later is
    /// not in it.
    Cut(Time),
    /// The facts cannot come into force for the keys there are.
    Refused(Refusal),
}

/// What time and `facts` (those of the configuration, `None` when the set is missing from it) will
/// do to `set` from `now` on. `hold` makes a life what it counts as at an instant: a key that is
/// held back stays so.
#[must_use]
pub fn forecast(
    set: &Keyset,
    facts: Option<&Facts>,
    hold: impl Fn(&mut Life, Time),
    now: Now,
    reach: Reach,
) -> Forecast {
    let mut walk = Walk { set: set.clone(), facts, hold, left: Vec::new(), to_make: reach.keys };
    let mut at = now;
    let end = loop {
        match walk.settle(at) {
            Err(refusal) => break End::Refused(refusal),
            Ok(Settled::NeedsAKeyMore) => break End::Cut(at.lifecycle),
            Ok(Settled::Now) => {}
        }
        let next = next_change(&walk.counting_at(at.lifecycle), at.lifecycle);
        match next.filter(|&time| time <= reach.until) {
            None => break End::Whole,
            // By then, both clocks agree again.
            Some(time) => at = Now { lifecycle: time, wall: time },
        }
    };
    let mut keys = walk.left;
    let living = walk.set.lives.into_iter().map(|mut life| {
        (walk.hold)(&mut life, at.lifecycle);
        Foreseen { life, left: None }
    });
    keys.extend(living);
    keys.sort_by_key(|key| key.life.number);
    Forecast { keys, end }
}

struct Walk<'a, H> {
    set: Keyset,
    facts: Option<&'a Facts>,
    hold: H,
    left: Vec<Foreseen>,
    /// How many more keys may be made.
    to_make: usize,
}

/// Whether all was done that was to be done at an instant.
enum Settled {
    Now,
    NeedsAKeyMore,
}

impl<H: Fn(&mut Life, Time)> Walk<'_, H> {
    /// What is to be done at one instant.
    fn settle(&mut self, now: Now) -> Result<Settled, Refusal> {
        for _ in 0..SETTLES {
            let set = self.counting_at(now.lifecycle);
            let steps = plan(&set, self.facts, &Intent::Tick, now)?.steps;
            if steps.is_empty() {
                break;
            }
            let made = steps.iter().filter(|step| matches!(step, Step::Create(_))).count();
            let Some(to_make) = self.to_make.checked_sub(made) else {
                return Ok(Settled::NeedsAKeyMore);
            };
            self.to_make = to_make;
            for step in &steps {
                self.take(step, now.lifecycle);
            }
        }
        Ok(Settled::Now)
    }

    fn counting_at(&self, now: Time) -> Keyset {
        let mut set = self.set.clone();
        set.lives.iter_mut().for_each(|life| (self.hold)(life, now));
        set
    }

    fn take(&mut self, step: &Step, now: Time) {
        if let Step::Bury { number, departure } = step {
            self.bury(*number, *departure, now);
        }
        self.set.apply(step);
    }

    fn bury(&mut self, number: Number, departure: Departure, now: Time) {
        if let Some(life) = self.set.life(number).cloned() {
            self.left.push(Foreseen { life, left: Some((now, departure)) });
        }
    }
}
