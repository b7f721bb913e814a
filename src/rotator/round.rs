//! What time asks of several key sets at once: they share one commit, and one sync of the audit before
//! it and after it, so that thousands of sets that rotate in one minute do not wait for the disk one
//! by one.

use jwksd_keystore::id::KeysetName;
use jwksd_keystore::lifecycle::Intent;
use jwksd_keystore::store::{Loaded, StoreError};
use jwksd_keystore::time::Time;

use super::changes::next_due;
use super::news::By;
use super::step::{Asked, Part, Ready, Wanted};
use super::{ROUND_AT_START, Rotator, StepError};

/// What is to be done to one key set of a round.
struct Member {
    keyset: KeysetName,
    intent: Intent,
    ready: Box<Ready>,
}

impl Rotator {
    /// What time or the configuration asks of these key sets.
    pub(super) fn round(&mut self, keysets: &[KeysetName]) {
        // They commit by themselves, which must come before anything of the others counts as done.
        let (apart, together): (Vec<_>, Vec<_>) =
            keysets.iter().partition(|keyset| keysets.len() == 1 || self.stands_apart(keyset));
        for keyset in apart {
            self.tick(keyset);
        }
        let mut round = Vec::new();
        for keyset in together {
            self.tell_signer(keyset, By::default());
            let loaded = self.parts.store.load(keyset).map_err(StepError::from);
            if self.waits_to_be_served(keyset) {
                continue;
            }
            let intent = self.intent_of(keyset);
            match loaded.and_then(|loaded| self.wanted_by_time(keyset, loaded, &intent)) {
                Ok(Wanted::Changes(ready)) => {
                    round.push(Member { keyset: keyset.clone(), intent, ready });
                }
                Ok(Wanted::Nothing { due }) => {
                    if let Intent::Unserved { to, .. } = intent {
                        self.end_unserved(keyset, to);
                        self.republish(keyset);
                    }
                    self.ticked(keyset, &intent, Ok(due));
                }
                Err(error) => self.ticked(keyset, &intent, Err(error)),
            }
        }
        self.carry_out_round(round);
    }

    /// Whether the store may not hold what is in effect.
    fn stands_apart(&self, keyset: &KeysetName) -> bool {
        self.is_in_doubt(keyset) || self.revoking.contains_key(keyset)
    }

    /// What comes first: to make up for time in which the set was not served.
    fn intent_of(&self, keyset: &KeysetName) -> Intent {
        let making_up = self.intent_to_make_up(keyset);
        making_up.unwrap_or_else(|| self.intent_of_time(keyset))
    }

    fn carry_out_round(&mut self, round: Vec<Member>) {
        let parts: Vec<_> =
            round.iter().map(|member| Part::of(&member.keyset, &member.ready)).collect();
        if parts.is_empty() {
            return;
        }
        let Err(error) = self.commit(&parts, &Asked::BY_TIME) else {
            for Member { keyset, intent, ready } in round {
                let now = ready.now.lifecycle;
                if let Intent::Unserved { .. } = intent {
                    self.end_unserved(&keyset, now);
                }
                self.take_effect(&keyset, *ready, &Asked::BY_TIME);
                self.ticked(&keyset, &intent, Ok(Some(now)));
            }
            return;
        };
        for Member { keyset, intent, .. } in round {
            match of_each(&error) {
                Some(error) => self.ticked(&keyset, &intent, Err(error)),
                None => self.tick(&keyset),
            }
        }
    }

    /// The first step of each key set, as it was loaded.
    ///
    /// # Errors
    ///
    /// The first that failed, with the key set or one of those that were committed with it.
    pub(super) fn first_steps(
        &mut self,
        sets: Vec<(KeysetName, Loaded)>,
        intent: &Intent,
    ) -> Result<(), (KeysetName, StepError)> {
        let mut sets = sets.into_iter().peekable();
        while sets.peek().is_some() {
            let mut round = Vec::new();
            for (keyset, loaded) in sets.by_ref().take(ROUND_AT_START) {
                match self.wanted_by_time(&keyset, loaded, intent) {
                    Ok(Wanted::Changes(ready)) => round.push((keyset, ready)),
                    Ok(Wanted::Nothing { .. }) => {}
                    Err(error) => return Err((keyset, error)),
                }
            }
            self.carry_out_first(round, intent)?;
        }
        Ok(())
    }

    /// When a key set is due after its first step. What is published is what was committed or loaded
    /// a moment ago, so nothing is loaded again to find that nothing is to be done.
    pub(super) fn due_after_first(&self, keyset: &KeysetName) -> Option<Time> {
        let loaded = self.published.get(keyset)?;
        let now = self.parts.clock.now();
        match self.plan(keyset, loaded, &Intent::Tick, now) {
            Ok(plan) if plan.steps.is_empty() => {
                let set = self.files.hold_set(keyset, loaded.keyset(), now.lifecycle);
                next_due(&set, now.lifecycle)
            }
            // The step finds the same, and does it or says why not.
            Ok(_) | Err(_) => Some(now.lifecycle),
        }
    }

    fn carry_out_first(
        &mut self,
        round: Vec<(KeysetName, Box<Ready>)>,
        intent: &Intent,
    ) -> Result<(), (KeysetName, StepError)> {
        let parts: Vec<_> = round.iter().map(|(keyset, ready)| Part::of(keyset, ready)).collect();
        let Some((keyset, _)) = round.first() else { return Ok(()) };
        let Err(error) = self.commit(&parts, &Asked::BY_TIME) else {
            for (keyset, ready) in round {
                self.take_effect(&keyset, *ready, &Asked::BY_TIME);
            }
            return Ok(());
        };
        if let Some(error) = of_each(&error) {
            return Err((keyset.clone(), error));
        }
        for (keyset, _) in round {
            self.step_of_time(&keyset, intent).map_err(|error| (keyset, error))?;
        }
        Ok(())
    }
}

/// What the failure of a round is to each key set in it. None where it may be that of another, or may
/// not have been one: then each is tried by itself.
fn of_each(error: &StepError) -> Option<StepError> {
    match error {
        StepError::Audit => Some(StepError::Audit),
        StepError::Store(StoreError::Conflict | StoreError::Used | StoreError::Unknown(_)) => None,
        StepError::Store(error) => Some(error.clone().into()),
        _ => None,
    }
}
