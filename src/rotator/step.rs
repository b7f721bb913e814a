//! One step of one key set: load, plan, make and seal, record the intent, commit, record the
//! outcome, publish. Time and admins share it.

use jwksd_keystore::id::{KeyId, KeysetName, Revision};
use jwksd_keystore::jwk::{JWK_SET_LIMIT, JwkSet};
use jwksd_keystore::lifecycle::{
    self, Answer, Intent, Keyset, Now, Number, Origin, Plan, Refusal, Replaceable, Step,
};
use jwksd_keystore::planted::{self, Fault};
use jwksd_keystore::store::{Change, Commit, Loaded, Record, StoreError, Tombstone};
use jwksd_keystore::time::Time;
use serde::Serialize;

use super::changes::{after, changes, describe, gone, next_due};
use super::command::kids_of;
use super::incoming::Named;
use super::news::{self, By, KeyState, News, Why};
use super::{Command, Gone, Outcome, Request, Rotator, SEEN_EVERY, StepError};
use crate::audit::events::{self, KeyEvent};
use crate::audit::{AuditError, Decision, Line, Recorded};
use crate::health::Subject;

/// How often a step is planned anew after a conflict or an unknown outcome.
const TRIES: usize = 3;

/// For how many keys of its own a JWK Set that is full has room: the next, and the one after it.
const ROOM_FOR: usize = 2;

/// The caller in the audit when nobody asked.
const NOBODY: &str = crate::audit::DAEMON;

/// What a command comes to, given what is stored.
enum Resolved {
    /// The rules decide.
    Intent(Intent),
    /// An earlier try took effect.
    Already(Answer),
    /// A key that left the set is to be marked as revoked.
    Mark(Box<Tombstone>),
}

/// What time asks of a key set.
pub(super) enum Wanted {
    /// Nothing before this time.
    Nothing { due: Option<Time> },
    /// These changes.
    Changes(Box<Ready>),
}

/// What is to be committed to a key set.
pub(super) struct Ready {
    pub(super) before: Loaded,
    pub(super) steps: Vec<Step>,
    pub(super) after: Loaded,
    pub(super) changes: Vec<Change>,
    /// In words.
    pub(super) summary: String,
    /// Whether a key is among them that was not there before.
    pub(super) created: bool,
    pub(super) now: Now,
}

/// What is committed to one key set, and in words.
pub(super) struct Part<'a> {
    pub(super) keyset: &'a KeysetName,
    before: &'a Loaded,
    changes: &'a [Change],
    summary: &'a str,
    now: Now,
}

impl<'a> Part<'a> {
    pub(super) fn of(keyset: &'a KeysetName, ready: &'a Ready) -> Self {
        let Ready { before, changes, summary, now, .. } = ready;
        Self { keyset, before, changes, summary, now: *now }
    }

    fn commit(&self) -> Commit<'a> {
        let Self { keyset, before, changes, .. } = *self;
        Commit { keyset, expected: before.revision, changes }
    }

    fn events(&self) -> Vec<KeyEvent> {
        events::of_changes(self.before, self.changes)
    }
}

/// Who wants a step, for the audit.
pub(super) struct Asked<'a> {
    caller: &'a str,
    request_id: Option<&'a str>,
    action: &'static str,
    reason: Option<&'a str>,
    /// The key that comes with it.
    incoming: Option<Named<'a>>,
}

impl Asked<'static> {
    /// Time or the configuration.
    pub(super) const BY_TIME: Self =
        Self { caller: NOBODY, request_id: None, action: "schedule", reason: None, incoming: None };
}

impl Asked<'_> {
    fn by(&self) -> By<'_> {
        let caller = Some(self.caller).filter(|caller| *caller != NOBODY);
        By { caller, request_id: self.request_id, reason: self.reason }
    }
}

impl Rotator {
    /// Takes a step for time. Returns when the set is due again: at once, if the step changed
    /// anything.
    pub(super) fn step_of_time(
        &mut self,
        keyset: &KeysetName,
        intent: &Intent,
    ) -> Result<Option<Time>, StepError> {
        self.with_retries(|rotator| {
            let loaded = rotator.load(keyset)?;
            // To make up for what was not served may have taken until its turn.
            if rotator.waits_to_be_served(keyset) {
                return Err(StepError::Unserved);
            }
            match rotator.wanted_by_time(keyset, loaded, intent)? {
                Wanted::Nothing { due } => Ok(due),
                Wanted::Changes(ready) => {
                    let now = ready.now.lifecycle;
                    rotator.carry_out(keyset, *ready, &Asked::BY_TIME)?;
                    Ok(Some(now))
                }
            }
        })
    }

    /// What time asks for, made ready to be committed.
    pub(super) fn wanted_by_time(
        &mut self,
        keyset: &KeysetName,
        loaded: Loaded,
        intent: &Intent,
    ) -> Result<Wanted, StepError> {
        let was_committed = loaded.revision != Revision::default();
        if !was_committed && !self.facts.contains_key(keyset) {
            return Ok(Wanted::Nothing { due: None });
        }
        let now = self.parts.clock.now();
        let plan = self.plan(keyset, &loaded, intent, now)?;
        if !plan.steps.is_empty() {
            let plan = self.without_long_waits(keyset, plan);
            let ready = self.made_ready(keyset, loaded, plan, &Asked::BY_TIME, now)?;
            return Ok(Wanted::Changes(Box::new(ready)));
        }
        let set = loaded.keyset();
        if !self.published.contains_key(keyset) {
            self.publish(keyset, loaded);
        }
        if *intent != Intent::Tick {
            // What time asks for besides is still to be done.
            return Ok(Wanted::Nothing { due: Some(now.lifecycle) });
        }
        // A pair that a changed plan left over: no secret stays without a purpose.
        self.stock.remove(keyset);
        self.warm(keyset, now.lifecycle);
        let set = self.files.hold_set(keyset, set, now.lifecycle);
        Ok(Wanted::Nothing { due: next_due(&set, now.lifecycle) })
    }

    /// Takes a step for an admin.
    pub(super) fn step_of_command(&mut self, request: &Request) -> Result<Outcome, StepError> {
        let Request { keyset, command, actor, .. } = request;
        let asked = Asked {
            caller: &actor.name,
            request_id: actor.request_id.as_deref(),
            action: command.name(),
            reason: command.reason(),
            incoming: command.incoming(),
        };
        self.with_retries(|rotator| {
            let loaded = rotator.load(keyset)?;
            if !command.is_revocation() && rotator.waits_to_be_served(keyset) {
                return Err(StepError::Unserved);
            }
            let now = rotator.parts.clock.now();
            match rotator.resolve(keyset, &loaded, command, now)? {
                Resolved::Already(answer) => {
                    let set = rotator.files.hold_set(keyset, loaded.keyset(), now.lifecycle);
                    let gone = Vec::new();
                    Ok(outcome(&loaded, &loaded, set, answer, gone, now.lifecycle, true))
                }
                Resolved::Mark(tombstone) => rotator.mark(keyset, &loaded, *tombstone, &asked, now),
                Resolved::Intent(intent) => {
                    let plan = rotator.plan_of_command(request, &loaded, &intent, now)?;
                    let already = was_asked_before(&plan);
                    let gone = gone(&loaded, &plan.steps);
                    let (before, answer) = (loaded.clone(), plan.answer.clone());
                    let after = if plan.steps.is_empty() {
                        loaded
                    } else {
                        let ready = rotator.made_ready(keyset, loaded, plan, &asked, now)?;
                        rotator.carry_out(keyset, ready, &asked)?
                    };
                    let set = rotator.files.hold_set(keyset, after.keyset(), now.lifecycle);
                    Ok(outcome(&before, &after, set, answer, gone, now.lifecycle, already))
                }
            }
        })
    }

    fn with_retries<T>(
        &mut self,
        mut attempt: impl FnMut(&mut Self) -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        for _ in 1..TRIES {
            match attempt(self) {
                Err(StepError::Store(StoreError::Conflict | StoreError::Unknown(_))) => {}
                settled => return settled,
            }
        }
        attempt(self)
    }

    /// What is stored, with all that is to be known before a step goes by it.
    fn load(&mut self, keyset: &KeysetName) -> Result<Loaded, StepError> {
        let loaded = self.parts.store.load(keyset)?;
        self.made_up(keyset, loaded)
    }

    pub(super) fn plan(
        &self,
        keyset: &KeysetName,
        loaded: &Loaded,
        intent: &Intent,
        now: Now,
    ) -> Result<Plan, StepError> {
        let set = match intent {
            // These reckon with activations as they are stored.
            Intent::Unserved { .. } | Intent::ServedFrom { .. } => loaded.keyset(),
            Intent::Import { .. } => self.with_plans(keyset, loaded, now.lifecycle),
            _ => self.files.hold_set(keyset, loaded.keyset(), now.lifecycle),
        };
        self.plan_on(&set, keyset, loaded, intent, now)
    }

    /// What comes of an intent where what is loaded counts as `set`.
    pub(super) fn plan_on(
        &self,
        set: &Keyset,
        keyset: &KeysetName,
        loaded: &Loaded,
        intent: &Intent,
        now: Now,
    ) -> Result<Plan, StepError> {
        lifecycle::plan(set, self.facts.get(keyset), intent, now)
            .map_err(|refusal| refused(loaded, refusal))
    }

    /// The set as it counts, with what is planned for keys that are held back: another key may follow
    /// it.
    fn with_plans(&self, keyset: &KeysetName, loaded: &Loaded, now: Time) -> Keyset {
        let mut set = self.files.hold_set(keyset, loaded.keyset(), now);
        for life in &mut set.lives {
            let stored = loaded.record(life.number).and_then(|record| record.life.activates);
            life.activates = stored.filter(|activates| *activates > now).or(life.activates);
        }
        set
    }

    /// Turns kids into numbers, and finds what an earlier try of the same did.
    fn resolve(
        &self,
        keyset: &KeysetName,
        loaded: &Loaded,
        command: &Command,
        now: Now,
    ) -> Result<Resolved, StepError> {
        let living = |kid: &KeyId| loaded.record_of(kid).map(|record| record.life.number);
        if loaded.revision == Revision::default() {
            return Err(StepError::UnknownKeyset(keyset.clone()));
        }
        match command {
            Command::Rotate { expect, when } => {
                let expect = self.expected_number(keyset, loaded, expect)?;
                let intent = Intent::Rotate { expect, when: *when };
                let before = self.decided_before(keyset, loaded, &intent, now);
                Ok(before.map_or(Resolved::Intent(intent), Resolved::Already))
            }
            Command::RevokeAll { expect, .. } => {
                let expect = match expect {
                    Some(kid) => self.expected_number(keyset, loaded, kid)?,
                    None => Number::NONE,
                };
                Ok(Resolved::Intent(Intent::RevokeAll { expect }))
            }
            Command::Retire { kid } => match (living(kid), self.tombstone(keyset, kid)?) {
                (Some(number), _) => Ok(Resolved::Intent(Intent::Retire(number))),
                (None, Some(_)) => Ok(Resolved::Already(Answer::Done)),
                (None, None) => Err(StepError::UnknownKey(kid.clone())),
            },
            Command::NoteExport { kid } => match living(kid) {
                Some(number) => Ok(Resolved::Intent(Intent::NoteExport(number))),
                None => Err(StepError::UnknownKey(kid.clone())),
            },
            Command::Revoke { kid, reason } => match (living(kid), self.tombstone(keyset, kid)?) {
                (Some(number), _) => Ok(Resolved::Intent(Intent::Revoke(number))),
                (None, Some(tombstone)) if tombstone.revoked.is_some() => {
                    Ok(Resolved::Already(Answer::Done))
                }
                (None, Some(tombstone)) => Ok(Resolved::Mark(Box::new(Tombstone {
                    revoked: Some(now.lifecycle),
                    reason: Some(reason.clone()),
                    ..tombstone
                }))),
                (None, None) => Err(StepError::UnknownKey(kid.clone())),
            },
            Command::Import { key, kid, may_replace } => {
                self.import(keyset, loaded, Named::new(key, kid), *may_replace)
            }
            Command::Trust { key, kid, until } => {
                self.trust(keyset, loaded, Named::new(key, kid), *until).map(Resolved::Intent)
            }
        }
    }

    /// What an earlier try of a rotation decided, also of a key that is held back: as it counts,
    /// nothing is planned for that.
    fn decided_before(
        &self,
        keyset: &KeysetName,
        loaded: &Loaded,
        intent: &Intent,
        now: Now,
    ) -> Option<Answer> {
        let plan = lifecycle::plan(&loaded.keyset(), self.facts.get(keyset), intent, now).ok()?;
        let is_decided = plan.steps.is_empty() && matches!(plan.answer, Answer::Rotation { .. });
        is_decided.then_some(plan.answer)
    }

    /// What becomes of a key that is to sign.
    fn import(
        &self,
        keyset: &KeysetName,
        loaded: &Loaded,
        named: Named<'_>,
        may_replace: Replaceable,
    ) -> Result<Resolved, StepError> {
        if let Some(number) = self.earlier_try(keyset, loaded, named, Origin::Imported)? {
            return Ok(Resolved::Already(Answer::Imported { number, replaced: Vec::new() }));
        }
        if let Some(facts) = self.facts.get(keyset) {
            named.key.fits(facts.algorithm)?;
        }
        Ok(Resolved::Intent(Intent::Import { may_replace }))
    }

    /// The number of a key that is or was in the set, and that someone saw sign: that of no key for
    /// one that never signs here.
    fn expected_number(
        &self,
        keyset: &KeysetName,
        loaded: &Loaded,
        kid: &KeyId,
    ) -> Result<Number, StepError> {
        let life = match loaded.record_of(kid) {
            Some(record) => Some(record.life.clone()),
            None => self.tombstone(keyset, kid)?.map(|tombstone| tombstone.life),
        };
        let life = life.ok_or_else(|| StepError::UnknownKey(kid.clone()))?;
        Ok(if life.is_signing_key() { life.number } else { Number::NONE })
    }

    fn tombstone(&self, keyset: &KeysetName, kid: &KeyId) -> Result<Option<Tombstone>, StepError> {
        Ok(self.parts.store.tombstone(keyset, kid)?)
    }

    /// A plan with the keys that it creates, and in words.
    pub(super) fn made_ready(
        &mut self,
        keyset: &KeysetName,
        loaded: Loaded,
        plan: Plan,
        asked: &Asked<'_>,
        now: Now,
    ) -> Result<Ready, StepError> {
        let made = self.made_records(keyset, &loaded, &plan.steps, asked.incoming)?;
        let created = !made.is_empty();
        let after = after(&loaded, &plan.steps, made);
        if asked.incoming.is_some() {
            check_length(&after)?;
        }
        let changes = changes(&loaded, &after, &plan.steps, asked.reason, now.lifecycle);
        let summary = describe(&loaded, &after, &plan.steps);
        Ok(Ready { before: loaded, steps: plan.steps, after, changes, summary, created, now })
    }

    /// Makes a plan durable, then publishes it.
    fn carry_out(
        &mut self,
        keyset: &KeysetName,
        ready: Ready,
        asked: &Asked<'_>,
    ) -> Result<Loaded, StepError> {
        if planted::is_planted(Fault::PublishBeforeDurable) {
            self.publish(keyset, ready.after.clone());
        }
        self.commit(&[Part::of(keyset, &ready)], asked)?;
        let after = ready.after.clone();
        self.take_effect(keyset, ready, asked);
        Ok(after)
    }

    /// Publishes what is durable, and tells of it.
    pub(super) fn take_effect(&mut self, keyset: &KeysetName, ready: Ready, asked: &Asked<'_>) {
        let Ready { before, steps, after, created, now, .. } = ready;
        let news = news::of_steps(&before, &after, &steps, asked.by(), now.lifecycle);
        if created {
            self.count_late_publication(keyset, now.lifecycle);
        }
        self.publish(keyset, after.clone());
        self.tell(keyset, &news, asked, &after, now);
        self.tell_signer(keyset, asked.by());
    }

    /// Intents to the audit, changes to the store, outcomes to the audit: of one key set or of
    /// several, all or none, at the price of one.
    pub(super) fn commit(
        &mut self,
        parts: &[Part<'_>],
        asked: &Asked<'_>,
    ) -> Result<(), StepError> {
        let keys: Vec<_> = parts.iter().map(Part::events).collect();
        let intents: Vec<_> = parts.iter().map(|part| part.summary.to_owned()).collect();
        let recorded = self.record(parts, asked, Decision::Intent, &intents, &keys);
        // Nothing else is done to a set while it has one.
        let is_for_revocation = parts.iter().any(|part| self.revoking.contains_key(part.keyset));
        if recorded.is_err() {
            if !is_for_revocation {
                return Err(StepError::Audit);
            }
            self.parts.audit.count_unrecorded();
        }
        let now = parts.iter().map(|part| part.now.lifecycle).min().unwrap_or_default();
        let commits: Vec<_> = parts.iter().map(Part::commit).collect();
        let seen = self.served_until_but_for(parts, now);
        let mut committed = self.parts.store.commit_all(&commits, seen);
        if planted::is_planted(Fault::AnsweredBeforeDurable)
            && let Err(StoreError::Unavailable(_)) = committed
        {
            committed = Ok(());
        }
        self.record_outcomes(parts, asked, &committed, keys);
        match committed {
            Ok(()) => {
                self.seen_due = now + SEEN_EVERY;
                self.parts.health.clear(&Subject::Store);
                Ok(())
            }
            Err(error @ StoreError::Unknown(_)) => {
                for part in parts {
                    self.doubt(part.keyset, part.now.lifecycle);
                }
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the audit, the log and whoever counts what became of a commit.
    fn record_outcomes(
        &self,
        parts: &[Part<'_>],
        asked: &Asked<'_>,
        committed: &Result<(), StoreError>,
        mut keys: Vec<Vec<KeyEvent>>,
    ) {
        let (request_id, action) = (asked.request_id, asked.action);
        for (Part { keyset, summary, .. }, keys) in parts.iter().zip(&mut keys) {
            match committed {
                Ok(()) => {
                    self.parts.metrics.count_events(keyset, keys);
                    tracing::debug!(%keyset, request_id, action, "committed: {summary}");
                }
                Err(error) => {
                    tracing::error!(%keyset, request_id, %error, "a commit failed: {summary}");
                    if !matches!(error, StoreError::Unknown(_)) {
                        // A revocation holds whatever the store says.
                        keys.retain(|key| key.event.is_revocation());
                    }
                }
            }
        }
        let (decision, details): (_, Vec<_>) = match committed {
            Ok(()) => (Decision::Done, parts.iter().map(|part| part.summary.to_owned()).collect()),
            Err(error) => {
                let detail = |part: &Part<'_>| format!("{}: {error}", part.summary);
                (Decision::Failed, parts.iter().map(detail).collect())
            }
        };
        if self.record(parts, asked, decision, &details, &keys).is_err() {
            for (Part { keyset, .. }, detail) in parts.iter().zip(&details) {
                tracing::error!(
                    %keyset, request_id, "the outcome of a commit is not in the audit: {detail}"
                );
            }
        }
    }

    /// Tells the log what became of keys.
    fn tell(
        &self,
        keyset: &KeysetName,
        news: &[News],
        asked: &Asked<'_>,
        after: &Loaded,
        now: Now,
    ) {
        let set = self.files.hold_set(keyset, after.keyset(), now.lifecycle);
        news::tell(keyset, news, asked.by(), (&set, after), now.lifecycle);
    }

    /// Writes a line for each part, with its detail and what becomes of its keys.
    fn record(
        &self,
        parts: &[Part<'_>],
        asked: &Asked<'_>,
        decision: Decision,
        details: &[String],
        keys: &[Vec<KeyEvent>],
    ) -> Result<Recorded, AuditError> {
        let lines = parts.iter().zip(details).zip(keys).map(|((part, detail), keys)| Line {
            keyset: Some(part.keyset),
            reason: Some(detail),
            keys,
            request_id: asked.request_id,
            ..Line::new(part.now.wall, asked.caller, asked.action, decision)
        });
        self.parts.audit.record_all_durably(&lines.collect::<Vec<_>>())
    }

    fn mark(
        &mut self,
        keyset: &KeysetName,
        loaded: &Loaded,
        tombstone: Tombstone,
        asked: &Asked<'_>,
        now: Now,
    ) -> Result<Outcome, StepError> {
        let kid = tombstone.kid.clone();
        let retires = tombstone.life.retires;
        let summary = format!("mark {kid}, which left before, as revoked");
        let changes = [Change::Mark(Box::new(tombstone))];
        let (changes, summary) = (&changes[..], &summary[..]);
        self.commit(&[Part { keyset, before: loaded, changes, summary, now }], asked)?;
        let after = Loaded { revision: loaded.revision.next(), ..loaded.clone() };
        let (event, why) = (KeyState::Revoked, Why::Admin);
        let news = News { kid: kid.clone(), event, why, activates: None, retires: None };
        self.publish(keyset, after.clone());
        self.tell(keyset, &[news], asked, &after, now);
        let gone = vec![Gone { kid, retires }];
        let set = self.files.hold_set(keyset, after.keyset(), now.lifecycle);
        Ok(outcome(loaded, &after, set, Answer::Done, gone, now.lifecycle, false))
    }
}

/// With a key that an admin brings, the JWK Set must not grow beyond what verifiers read, nor with the
/// keys that the set makes itself next: nobody is asked before those come.
fn check_length(after: &Loaded) -> Result<(), StepError> {
    let keys: Vec<_> = after.records.iter().map(Record::jwk).collect();
    let own = after.records.iter().filter(|record| record.life.is_signing_key());
    let next = own.map(|record| length_of(&record.jwk())).max().unwrap_or_default();
    let length = length_of(&JwkSet { keys }).saturating_add(next.saturating_mul(ROOM_FOR));
    if length > JWK_SET_LIMIT { Err(StepError::JwkSetFull { length }) } else { Ok(()) }
}

fn length_of(json: &impl Serialize) -> usize {
    serde_json::to_vec(json).map_or(usize::MAX, |text| text.len())
}

/// Whether an earlier try of a rotation took effect, or decided just what this one asks for.
fn was_asked_before(plan: &Plan) -> bool {
    let is_decided_now = |to| {
        plan.steps.iter().any(|step| matches!(step, Step::Plan { number, .. } if *number == to))
    };
    match plan.answer {
        Answer::AlreadyRotated { .. } => true,
        Answer::Rotation { to, .. } => !is_decided_now(to),
        // The end of its time was moved to where it is.
        Answer::Trusted { .. } => plan.steps.is_empty(),
        Answer::Imported { .. } | Answer::Done => false,
    }
}

fn outcome(
    before: &Loaded,
    after: &Loaded,
    set: Keyset,
    answer: Answer,
    gone: Vec<Gone>,
    now: Time,
    already: bool,
) -> Outcome {
    let mut kids = kids_of(before);
    kids.extend(kids_of(after));
    let active = set.signer_at(now).map(|life| life.number);
    Outcome {
        already,
        answer,
        active: active.and_then(|number| after.record(number)).map(|record| record.kid.clone()),
        kids,
        gone,
        set,
        revision: after.revision,
        at: now,
    }
}

fn refused(loaded: &Loaded, refusal: Refusal) -> StepError {
    let active = match &refusal {
        Refusal::ActiveChanged { active } => {
            loaded.record(*active).map(|record| record.kid.clone())
        }
        _ => None,
    };
    StepError::Refused { refusal, active }
}
