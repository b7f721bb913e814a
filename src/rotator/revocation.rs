//! Revocations: in effect before anything else is tried, and tried until they are durable.
//!
//! What is in effect is planned on what is published. However late the store takes it, it is planned as
//! it took effect then: by the moment and with the keys that signed, not by what became due since.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::{Intent, Keyset, Now, Number, Plan, Step};
use jwksd_keystore::planted::{self, Fault};
use jwksd_keystore::store::Loaded;
use jwksd_keystore::time::Time;

use super::changes::after;
use super::news::By;
use super::{Command, Message, Request, Rotator, StepError, answer};
use crate::audit::events::{Event, KeyEvent};
use crate::audit::{Audit, Decision, Line};
use crate::health::Subject;

/// For how long a stop waits for a key pair without which a revocation cannot become durable.
const FINISH: Duration = Duration::from_secs(10);

/// How a revocation took effect. What the store makes of it later must be the same.
#[derive(Clone, Copy)]
pub(super) struct InEffect {
    /// Since when, by the moment that its ring went by.
    pub(super) since: Time,
    /// The key that signed until then.
    signer: Option<Number>,
    /// The key that signs since then.
    successor: Option<Number>,
    /// All keys below this number were there.
    next: Number,
}

impl InEffect {
    /// A set as it counted then. A ring that stands still, and a key that a file lacks, are not in the
    /// store: a newer key than the one that signed did not sign, and the one that followed it had
    /// waited, whatever is stored of them since.
    fn set_of_then(self, mut set: Keyset) -> Keyset {
        for life in set.lives.iter_mut().filter(|life| life.ended.is_none()) {
            let is_newer = self.signer.is_none_or(|signer| life.number > signer);
            if is_newer && life.number < self.next {
                life.activates = life.activates.filter(|activates| *activates > self.since);
            }
            if self.successor == Some(life.number) {
                life.served_from = Time::EPOCH;
            }
        }
        set
    }
}

impl Rotator {
    /// A revocation is in effect before anything else is tried, and is tried until it is durable. One of
    /// all keys that expects another signer is not in effect, and not tried again where it fails.
    pub(super) fn revoke(&mut self, mut request: Request) {
        let keyset = request.keyset.clone();
        let since = self.moment_of(&keyset);
        let published = self.published.get(&keyset);
        request.in_effect = Some(InEffect {
            since,
            signer: self.signer_of(&keyset, since),
            successor: None,
            next: published.map_or_else(Number::default, |loaded| loaded.head.next_number),
        });
        request.gone = published.map_or_else(Vec::new, |loaded| self.taken_out(&request, loaded));
        request.in_effect.take_if(|_| request.command.is_of_all() && request.gone.is_empty());
        let actor = request.actor.clone();
        let (caller, request_id) = (Some(actor.name.as_str()), actor.request_id.as_deref());
        self.revoking.entry(keyset.clone()).or_default().push_back(request);
        self.republish(&keyset);
        self.tell_signer(&keyset, By { caller, request_id, reason: None });
        let successor = self.signer_of(&keyset, since);
        let request = self.revoking.get_mut(&keyset).and_then(VecDeque::back_mut);
        if let Some(in_effect) = request.and_then(|request| request.in_effect.as_mut()) {
            in_effect.successor = successor;
        }
        self.finish_revocations(&keyset);
    }

    /// The number of the key of a ring that signs at `moment`.
    fn signer_of(&self, keyset: &KeysetName, moment: Time) -> Option<Number> {
        let kid = self.signing_kid(keyset, moment)?;
        Some(self.published.get(keyset)?.record_of(&kid)?.life.number)
    }

    /// The keys that a revocation takes out of a set.
    fn taken_out(&self, request: &Request, before: &Loaded) -> Vec<KeyEvent> {
        let after = self.with_revocation(request, before.clone());
        let gone = before.records.iter().filter(|old| after.record_of(&old.kid).is_none());
        let revoked = |kid: &KeyId| KeyEvent { kid: kid.clone(), event: Event::Revoked };
        gone.map(|record| revoked(&record.kid)).collect()
    }

    /// Tries to make the revocations of a key set durable, in their order. Returns whether all
    /// are: nothing else is done to the set before.
    pub(super) fn finish_revocations(&mut self, keyset: &KeysetName) -> bool {
        if !self.revoking.contains_key(keyset) {
            return true;
        }
        while let Some(request) = self.revoking.get(keyset).and_then(VecDeque::front).cloned() {
            let outcome = self.step_of_command(&request);
            match &outcome {
                Err(StepError::NeedsKey) => return false,
                Ok(_)
                | Err(
                    StepError::Refused { .. }
                    | StepError::UnknownKey(_)
                    | StepError::UnknownKeyset(_),
                ) => {}
                Err(error) => {
                    self.blame_store(error);
                    if request.in_effect.is_some() {
                        self.revocations_stay(keyset, error);
                        return false;
                    }
                }
            }
            answer(&request, outcome);
            self.revoking.get_mut(keyset).and_then(VecDeque::pop_front);
        }
        self.revoking.remove(keyset);
        self.failures.remove(keyset);
        self.parts.health.clear(&Subject::Steps(keyset.clone()));
        let is_known = self.published.contains_key(keyset) && !self.is_in_doubt(keyset);
        match self.parts.store.load(keyset) {
            Ok(loaded) if is_known => self.publish(keyset, loaded),
            Ok(_) | Err(_) => self.republish(keyset),
        }
        let now = self.now();
        self.due.set(keyset, Some(now));
        true
    }

    /// The revocations of a set that are in effect stay so, and are tried again. Whoever asked is told
    /// once; where nothing is in effect, that others come first.
    pub(super) fn revocations_stay(&mut self, keyset: &KeysetName, error: &StepError) {
        let reason = error.to_string();
        self.retry_later(keyset, &StepError::NotDurable(reason.clone()));
        let now = self.parts.clock.now();
        let Some(pending) = self.revoking.get_mut(keyset) else { return };
        pending.retain_mut(|request| {
            if request.in_effect.is_none() {
                answer(request, Err(StepError::RevocationPending));
                return false;
            }
            if record_in_effect(&self.parts.audit, request, &reason, now) {
                request.gone.clear();
            }
            answer(request, Err(StepError::NotDurable(reason.clone())));
            true
        });
    }

    /// Before the process ends: what is in effect and not durable is tried once more, and said.
    pub(super) fn finish_all_revocations(&mut self) {
        let keysets: Vec<KeysetName> = self.revoking.keys().cloned().collect();
        for keyset in keysets {
            if self.finish_with_key_pairs(&keyset) {
                continue;
            }
            for lost in self.revoking.get(&keyset).into_iter().flatten() {
                tracing::error!(
                    %keyset,
                    command = ?lost.command,
                    "a revocation never became durable: do it again after the next start"
                );
            }
        }
    }

    /// A revocation of all keys needs a new one: at the end, that is waited for.
    fn finish_with_key_pairs(&mut self, keyset: &KeysetName) -> bool {
        while !self.finish_revocations(keyset) {
            if !self.ordered.contains_key(keyset) || !self.hear_of_key_pair() {
                return false;
            }
        }
        true
    }

    /// Waits for a key pair, of any set; whoever asks for something meanwhile is not heard any more.
    fn hear_of_key_pair(&mut self) -> bool {
        loop {
            let message = self.messages.next().map_or_else(|| self.messages.wait(FINISH), Ok);
            match message {
                Ok(Message::Made(made)) => {
                    let is_there = made.pair.is_ok();
                    self.take_delivery(made);
                    return is_there;
                }
                Ok(_) => {}
                Err(_) => return false,
            }
        }
    }

    /// `loaded` as it is with the revocations that are in effect but not durable yet. Keys that they
    /// would create are left out: those need a commit first.
    pub(super) fn with_pending_revocations(&self, keyset: &KeysetName, loaded: Loaded) -> Loaded {
        if planted::is_planted(Fault::RevocationWaits) {
            return loaded;
        }
        let pending = self.revoking.get(keyset).into_iter().flatten();
        pending.fold(loaded, |loaded, request| self.with_revocation(request, loaded))
    }

    fn with_revocation(&self, request: &Request, loaded: Loaded) -> Loaded {
        if request.in_effect.is_none() {
            return loaded;
        }
        let number = |kid: &KeyId| loaded.record_of(kid).map(|record| record.life.number);
        let intent = match &request.command {
            Command::Revoke { kid, .. } => number(kid).map(Intent::Revoke),
            Command::RevokeAll { expect, .. } => {
                let expect = expect.as_ref().map_or(Some(Number::NONE), number);
                expect.map(|expect| Intent::RevokeAll { expect })
            }
            Command::Rotate { .. }
            | Command::Retire { .. }
            | Command::NoteExport { .. }
            | Command::Import { .. }
            | Command::Trust { .. } => None,
        };
        let now = self.parts.clock.now();
        let plan = |intent| self.plan_of_command(request, &loaded, &intent, now);
        match intent.map(plan) {
            Some(Ok(plan)) => after(&loaded, &plan.steps, HashMap::new()),
            // Nothing to take out, or refused: whoever asks is told by the step.
            Some(Err(_)) | None => loaded,
        }
    }

    /// What comes of a command. A revocation that is in effect is planned as it took effect, however late
    /// it is stored; but a key that it makes is served only now.
    pub(super) fn plan_of_command(
        &self,
        Request { keyset, in_effect, .. }: &Request,
        loaded: &Loaded,
        intent: &Intent,
        now: Now,
    ) -> Result<Plan, StepError> {
        let Some(in_effect) = in_effect else { return self.plan(keyset, loaded, intent, now) };
        let then = Now { lifecycle: in_effect.since, ..now };
        let set = self.files.hold_set(keyset, loaded.keyset(), then.lifecycle);
        let set = in_effect.set_of_then(set);
        let mut plan = self.plan_on(&set, keyset, loaded, intent, then)?;
        for step in &mut plan.steps {
            if let Step::Create(life) = step {
                (life.published, life.served_from) = (now.lifecycle, now.lifecycle);
            }
        }
        Ok(plan)
    }

    /// Whether a revocation that is in effect took a key out, or would.
    pub(super) fn is_revoked_in_memory(&self, keyset: &KeysetName, kid: &KeyId) -> bool {
        let pending = self.revoking.get(keyset).into_iter().flatten();
        pending.filter(|request| request.in_effect.is_some()).any(|request| {
            let command = &request.command;
            command.is_of_all() || matches!(command, Command::Revoke { kid: it, .. } if it == kid)
        })
    }
}

/// Says in the audit which keys a revocation took out that is in effect and not durable: should the
/// store be lost before it is, whoever restores it learns of it. Returns whether the audit has it.
fn record_in_effect(audit: &Audit, request: &Request, reason: &str, now: Now) -> bool {
    let Request { keyset, actor, gone, command, .. } = request;
    if gone.is_empty() {
        return true;
    }
    let reason = format!("in effect, and not durable yet: {reason}");
    let line = Line {
        keyset: Some(keyset),
        reason: Some(&reason),
        request_id: actor.request_id.as_deref(),
        keys: gone,
        ..Line::new(now.wall, &actor.name, command.name(), Decision::Failed)
    };
    let recorded = audit.record_durably(&line);
    if let Err(error) = &recorded {
        tracing::error!(%keyset, %error, "a revocation in effect is not in the audit");
    }
    recorded.is_ok()
}
