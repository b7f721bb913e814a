//! What is not well, each with its reason: the one place that readiness and status read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jwksd_keystore::facts::Span;

use crate::audit::{Audit, OnFailure};
use crate::clock::LifecycleClock;
use crate::sink::Standings;

/// What is not well.
pub struct Health {
    audit: Arc<Audit>,
    clock: Arc<LifecycleClock>,
    standings: Arc<Standings>,
    problems: Mutex<BTreeMap<String, String>>,
    warnings: Mutex<BTreeMap<String, String>>,
}

impl Health {
    /// All well, as far as audit, clock and the files of JWK Sets are.
    #[must_use]
    pub fn new(audit: Arc<Audit>, clock: Arc<LifecycleClock>, standings: Arc<Standings>) -> Self {
        Self { audit, clock, standings, problems: Mutex::default(), warnings: Mutex::default() }
    }

    /// Says that `what` is not well, and why.
    pub fn report(&self, what: impl Into<String>, why: impl Into<String>) {
        let what = what.into();
        lock(&self.problems).insert(what.clone(), why.into());
        lock(&self.warnings).remove(&what);
    }

    /// Says that `what` is well for now, but will not stay so by itself: readiness does not suffer.
    /// Tells whether this was not known.
    pub fn warn(&self, what: impl Into<String>, why: impl Into<String>) -> bool {
        let (what, why) = (what.into(), why.into());
        let before = lock(&self.warnings).insert(what.clone(), why.clone());
        lock(&self.problems).remove(&what);
        before != Some(why)
    }

    /// Says that `what` is well.
    pub fn clear(&self, what: &str) {
        lock(&self.problems).remove(what);
        lock(&self.warnings).remove(what);
    }

    /// What an admin should see to before it becomes a problem.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        lines(&lock(&self.warnings))
    }

    /// Everything that is not well.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = lines(&lock(&self.problems));
        problems.extend(self.standings.troubles(self.clock.now().lifecycle));
        if self.audit.is_failing() {
            let meanwhile = match self.audit.on_failure() {
                OnFailure::Refuse => "nothing is signed or done, but revocations",
                OnFailure::Continue => "what is signed and done is not recorded",
            };
            problems.push(format!("audit: the last write or sync failed; {meanwhile}"));
        }
        if let Some(apart) = self.clock.disagreement() {
            problems.push(format!(
                "clock: the wall clock and lifecycle time are {} apart; nothing activates, ends or \
                 retires early meanwhile",
                Span(apart)
            ));
        }
        problems
    }
}

fn lines(reasons: &BTreeMap<String, String>) -> Vec<String> {
    reasons.iter().map(|(what, why)| format!("{what}: {why}")).collect()
}

fn lock(reasons: &Mutex<BTreeMap<String, String>>) -> MutexGuard<'_, BTreeMap<String, String>> {
    reasons.lock().unwrap_or_else(PoisonError::into_inner)
}
