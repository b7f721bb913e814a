//! What is not well, each with its reason: the one place that readiness and status read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jwksd_keystore::facts::Span;

use crate::audit::{Audit, OnFailure};
use crate::clock::LifecycleClock;

/// What is not well.
pub struct Health {
    audit: Arc<Audit>,
    clock: Arc<LifecycleClock>,
    problems: Mutex<BTreeMap<String, String>>,
}

impl Health {
    /// All well, as far as audit and clock are.
    #[must_use]
    pub fn new(audit: Arc<Audit>, clock: Arc<LifecycleClock>) -> Self {
        Self { audit, clock, problems: Mutex::default() }
    }

    /// Says that `what` is not well, and why.
    pub fn report(&self, what: impl Into<String>, why: impl Into<String>) {
        self.lock().insert(what.into(), why.into());
    }

    /// Says that `what` is well.
    pub fn clear(&self, what: &str) {
        self.lock().remove(what);
    }

    /// Everything that is not well.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> =
            self.lock().iter().map(|(what, why)| format!("{what}: {why}")).collect();
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

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
