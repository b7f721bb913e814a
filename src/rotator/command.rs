//! What can be asked of the rotator, and what it answers.

use jwksd_keystore::crypto::CryptoError;
use jwksd_keystore::id::{KeyId, KeysetName, Revision};
use jwksd_keystore::import::ImportError;
use jwksd_keystore::jwk::JWK_SET_LIMIT;
use jwksd_keystore::lifecycle::{Answer, Keyset, Number, Refusal, Replaceable, RotateAt};
use jwksd_keystore::store::{Loaded, RecordError, StoreError};
use jwksd_keystore::time::Time;

use super::incoming::{Incoming, Used};
use crate::policy::Action;

/// An act of an admin on one key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Let the standby sign.
    Rotate {
        /// The kid that the asker saw sign.
        expect: KeyId,
        /// When.
        when: RotateAt,
    },
    /// Take a key out at once.
    Revoke {
        /// The key.
        kid: KeyId,
        /// Why.
        reason: String,
    },
    /// Take all keys out at once.
    RevokeAll {
        /// The kid that the asker saw sign; `None` where nothing signs.
        expect: Option<KeyId>,
        /// Why.
        reason: String,
    },
    /// Take a verify-only key out before its time.
    Retire {
        /// The key.
        kid: KeyId,
    },
    /// Remember that a pending key is given to a verifier that holds it itself.
    NoteExport {
        /// The key.
        kid: KeyId,
    },
    /// Take a key in that was made elsewhere, to sign with.
    Import {
        /// The key.
        key: Incoming,
        /// What it is called from now on.
        kid: KeyId,
        /// Which standby it may take the place of.
        may_replace: Replaceable,
    },
    /// Serve the public half of a key that signs elsewhere.
    Trust {
        /// The key.
        key: Incoming,
        /// What it is called there.
        kid: KeyId,
        /// When it leaves the set.
        until: Time,
    },
}

impl Command {
    /// Its name in the audit.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Rotate { .. } => "rotate",
            Self::Revoke { .. } => "revoke",
            Self::RevokeAll { .. } => "revoke-all",
            Self::Retire { .. } => "retire",
            Self::NoteExport { .. } => "export",
            Self::Import { .. } => Action::Import.name(),
            Self::Trust { .. } => Action::ImportTrust.name(),
        }
    }

    /// Whether it takes keys out for good, at once.
    pub(super) const fn is_revocation(&self) -> bool {
        match self {
            Self::Revoke { .. } | Self::RevokeAll { .. } => true,
            Self::Rotate { .. }
            | Self::Retire { .. }
            | Self::NoteExport { .. }
            | Self::Import { .. }
            | Self::Trust { .. } => false,
        }
    }

    /// Whether it takes out all of them.
    pub(super) const fn is_of_all(&self) -> bool {
        matches!(self, Self::RevokeAll { .. })
    }

    /// Why it is asked for, where that has to be said.
    pub(super) fn reason(&self) -> Option<&str> {
        match self {
            Self::Revoke { reason, .. } | Self::RevokeAll { reason, .. } => Some(reason),
            Self::Rotate { .. }
            | Self::Retire { .. }
            | Self::NoteExport { .. }
            | Self::Import { .. }
            | Self::Trust { .. } => None,
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Whether an earlier try had already done or planned just this, so that nothing was done now.
    pub already: bool,
    /// What was decided.
    pub answer: Answer,
    /// The kids that the answer speaks of by number, and those that were revoked or retired.
    pub kids: Vec<(Number, KeyId)>,
    /// The keys that left the living by this command.
    pub gone: Vec<Gone>,
    /// The set afterwards.
    pub set: Keyset,
    /// The kid that signs afterwards.
    pub active: Option<KeyId>,
    /// The revision afterwards.
    pub revision: Revision,
    /// Lifecycle time of the decision.
    pub at: Time,
}

/// A key that left the living.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gone {
    /// The key.
    pub kid: KeyId,
    /// When it would have left, had it been left alone.
    pub retires: Option<Time>,
}

impl Outcome {
    /// The kid of a number that the answer speaks of.
    #[must_use]
    pub fn kid(&self, number: Number) -> Option<&KeyId> {
        self.kids.iter().find(|(of, _)| *of == number).map(|(_, kid)| kid)
    }
}

/// Why a step was not taken.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// The rules refuse it.
    #[error("{refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
        /// The kid that signs, where another was expected.
        active: Option<KeyId>,
    },
    /// No key of this kid is or was in the set.
    #[error("there is no key {0} in the key set")]
    UnknownKey(KeyId),
    /// The key set does not exist.
    #[error("there is no key set {0}")]
    UnknownKeyset(KeysetName),
    /// A key pair has to be made first.
    #[error("a key pair has to be made first")]
    NeedsKey,
    /// None could be made.
    #[error(transparent)]
    NoKeyPair(CryptoError),
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The new key cannot be recorded.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The key set cannot have the key.
    #[error(transparent)]
    Key(#[from] ImportError),
    /// The kid or the key is or was another's.
    #[error(transparent)]
    Used(#[from] Used),
    /// With one key more, verifiers would not read the JWK Set.
    #[error(
        "the JWK Set would have {length} bytes, room for the next two keys included, and some verifiers \
         read only {JWK_SET_LIMIT}: try again when keys have retired"
    )]
    JwkSetFull {
        /// How many.
        length: usize,
    },
    /// The audit could not record it.
    #[error("the audit could not record it")]
    Audit,
    /// It took effect in memory, is not durable yet, and is being retried.
    #[error("the revocation is in effect but not durable yet, and is being retried: {0}")]
    NotDurable(String),
    /// A revocation that is not durable yet comes first.
    #[error("a revocation of this key set is not durable yet and comes first")]
    RevocationPending,
    /// While nothing is served, nothing is done to a set whose standby's turn comes then.
    #[error("nothing is served yet or any more, and the turn of the standby comes: ask later")]
    Unserved,
    /// The rotator has stopped.
    #[error("the daemon is stopping")]
    Stopping,
}

/// The kids of all living keys by number.
pub(super) fn kids_of(loaded: &Loaded) -> Vec<(Number, KeyId)> {
    loaded.records.iter().map(|record| (record.life.number, record.kid.clone())).collect()
}
