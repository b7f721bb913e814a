//! The gate: decide, record, and only then hand out a [`Permit`].
//!
//! A permit can be made nowhere else, and the rotator takes commands only with one. So nothing is
//! done for anyone that was not decided by [`crate::policy`] and recorded by [`crate::audit`] before.

use std::sync::Arc;

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::planted::{self, Fault};
use jwksd_keystore::time::Time;

use crate::audit::{Audit, AuditError, Decision, Line, Lines, Recorded, Recorder};
use crate::limits::Desk;
use crate::policy::{Action, Caller, FinalToken, Grant, Refusal};

/// The proof that something was allowed and recorded.
#[derive(Debug)]
pub struct Permit {
    recorded: Recorded,
}

/// Why there is no permit.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// The caller may not.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It could not be recorded.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

/// What is recorded of a token besides what the policy looks at.
#[derive(Clone, Copy, Debug)]
pub struct TokenRecord<'a> {
    /// When.
    pub now: Time,
    /// The key that would sign.
    pub kid: &'a KeyId,
    /// Its `jti`.
    pub jti: &'a str,
    /// Its `sub`.
    pub sub: Option<&'a str>,
    /// Its `exp`.
    pub exp: u64,
    /// The request.
    pub request_id: &'a str,
    /// Which thread records it.
    pub recorder: Recorder,
}

/// What is recorded of an act of administration.
#[derive(Clone, Copy, Debug)]
pub struct Act<'a> {
    /// When.
    pub now: Time,
    /// Which grant it takes.
    pub action: Action,
    /// What exactly: `rotate`, `retire`, …
    pub name: &'a str,
    /// In which key set; `None` for the daemon as a whole.
    pub keyset: Option<&'a KeysetName>,
    /// About which key.
    pub kid: Option<&'a KeyId>,
    /// The details that the caller gave.
    pub detail: Option<&'a str>,
    /// The request.
    pub request_id: &'a str,
}

/// Decides and records.
pub struct Gate {
    audit: Arc<Audit>,
}

impl Gate {
    /// A gate that records in `audit`.
    #[must_use]
    pub fn new(audit: Arc<Audit>) -> Self {
        Self { audit }
    }

    /// Decides about a token as it would be signed. Returns the grant that allows it.
    ///
    /// # Errors
    ///
    /// [`Denied`]; a refusal is recorded too.
    pub fn token<'c>(
        &self,
        caller: &'c Caller,
        keyset: &KeysetName,
        token: FinalToken<'_>,
        record: TokenRecord<'_>,
    ) -> Result<(Permit, &'c Grant), Denied> {
        let note = |line: &Line<'_>| match self.audit.record(line, record.recorder) {
            Err(_) if planted::is_planted(Fault::SignedUnrecorded) => Ok(Recorded::No),
            recorded => recorded,
        };
        let (recorded, grant) = decided(caller, keyset, token, record, note)?;
        Ok((Permit { recorded }, grant))
    }

    /// A sheet for decisions about `count` tokens of one caller, which are recorded together.
    #[must_use]
    pub fn sheet<'c, 'k>(
        &self,
        caller: &'c Caller,
        keyset: &'k KeysetName,
        count: usize,
    ) -> Sheet<'c, 'k> {
        Sheet { audit: self.audit.clone(), caller, keyset, lines: Lines::with_room(count) }
    }

    /// Decides about an act of administration. What changes something is on the disk of the audit
    /// before this returns, so this is not for threads that serve requests; but for a revocation,
    /// which takes effect first.
    ///
    /// # Errors
    ///
    /// [`Denied`]; a refusal is recorded too. A revocation that cannot be recorded is allowed all
    /// the same, and so is reading, since whoever has to revoke needs to see the keys:
    /// [`Permit::recorded`] tells.
    pub fn act(&self, caller: &Caller, act: Act<'_>) -> Result<Permit, Denied> {
        let decision = match act.keyset {
            Some(keyset) => caller.may(act.action, keyset),
            None => caller.may_operate(),
        };
        let reason = decision.as_ref().err().map(Refusal::to_string);
        let line = Line {
            keyset: act.keyset,
            kid: act.kid,
            reason: reason.as_deref().or(act.detail),
            request_id: Some(act.request_id),
            ..Line::new(
                act.now,
                &caller.name,
                act.name,
                if decision.is_ok() { Decision::Allowed } else { Decision::Refused },
            )
        };
        // A revocation must not wait for a disk; its intent is made durable before it is.
        let goes_ahead = matches!(act.action, Action::Read | Action::Revoke);
        let recorded = if decision.is_ok() && !goes_ahead {
            self.audit.record_durably(&line)
        } else {
            self.audit.record(&line, Recorder::Worker)
        };
        decision?;
        match recorded {
            Ok(recorded) => Ok(Permit { recorded }),
            Err(_) if goes_ahead => {
                self.audit.count_unrecorded();
                Ok(Permit { recorded: Recorded::No })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Records that a caller asks for more than it may.
    pub fn note_over(
        &self,
        caller: &Caller,
        desk: Desk,
        reason: &str,
        request_id: &str,
        now: Time,
    ) {
        let action = match desk {
            Desk::Internal => Action::SignToken.name(),
            Desk::Admin => "administer",
        };
        let line = Line {
            reason: Some(reason),
            request_id: Some(request_id),
            ..Line::new(now, &caller.name, action, Decision::Refused)
        };
        self.note(&line, Recorder::Worker);
    }

    /// Records that a token could not be had, for a reason that shows before there is one to decide
    /// about.
    pub fn note_refusal(
        &self,
        caller: &Caller,
        keyset: &KeysetName,
        reason: &str,
        request_id: &str,
        recorder: Recorder,
        now: Time,
    ) {
        let line = Line {
            keyset: Some(keyset),
            reason: Some(reason),
            request_id: Some(request_id),
            ..Line::new(now, &caller.name, Action::SignToken.name(), Decision::Refused)
        };
        self.note(&line, recorder);
    }

    fn note(&self, line: &Line<'_>, recorder: Recorder) {
        if let Err(error) = self.audit.record(line, recorder) {
            let (request_id, caller) = (line.request_id, line.caller);
            tracing::error!(request_id, caller, %error, "a refusal is not in the audit");
        }
    }
}

/// Decisions about tokens that wait to be recorded together.
pub struct Sheet<'c, 'k> {
    audit: Arc<Audit>,
    caller: &'c Caller,
    keyset: &'k KeysetName,
    lines: Lines,
}

/// A token that is allowed, which is worth nothing before that is recorded.
pub struct Allowed<'c>(&'c Grant);

/// The proof that a sheet was recorded.
#[derive(Debug)]
pub struct SheetPermit {
    recorded: Recorded,
}

impl<'c> Sheet<'c, '_> {
    /// Decides about a token as it would be signed.
    ///
    /// # Errors
    ///
    /// [`Denied`]; a refusal stands on the sheet too.
    pub fn decide(
        &mut self,
        token: FinalToken<'_>,
        record: TokenRecord<'_>,
    ) -> Result<Allowed<'c>, Denied> {
        let note = |line: &Line<'_>| self.lines.push(line);
        let ((), grant) = decided(self.caller, self.keyset, token, record, note)?;
        Ok(Allowed(grant))
    }

    /// Records what was decided.
    ///
    /// # Errors
    ///
    /// Not all of it was recorded, so nothing of it must happen.
    pub fn record(self, recorder: Recorder, now: Time) -> Result<SheetPermit, AuditError> {
        let outcome = self.audit.record_all(self.lines, recorder, now)?;
        Ok(SheetPermit { recorded: outcome })
    }
}

impl SheetPermit {
    /// The permit for a token that was decided on this sheet, and the grant that allows it.
    #[must_use]
    pub fn of<'c>(&self, allowed: &Allowed<'c>) -> (Permit, &'c Grant) {
        (Permit { recorded: self.recorded }, allowed.0)
    }
}

/// Decides about a token, and has `note` take the line about that, whatever it is.
fn decided<'c, T>(
    caller: &'c Caller,
    keyset: &KeysetName,
    token: FinalToken<'_>,
    record: TokenRecord<'_>,
    note: impl FnOnce(&Line<'_>) -> Result<T, AuditError>,
) -> Result<(T, &'c Grant), Denied> {
    let decision = caller.may_sign(keyset, token);
    let reason = decision.as_ref().err().map(Refusal::to_string);
    let noted = note(&Line {
        keyset: Some(keyset),
        kid: Some(record.kid),
        jti: Some(record.jti),
        sub: record.sub,
        aud: token.audiences,
        exp: Some(record.exp),
        reason: reason.as_deref(),
        request_id: Some(record.request_id),
        ..Line::new(
            record.now,
            &caller.name,
            Action::SignToken.name(),
            if decision.is_ok() { Decision::Allowed } else { Decision::Refused },
        )
    })?;
    Ok((noted, decision?))
}

impl Permit {
    /// Whether the audit has the decision.
    #[must_use]
    pub const fn recorded(&self) -> Recorded {
        self.recorded
    }
}

#[cfg(test)]
mod tests;
