//! Keys that come from elsewhere: how they reach the rotator, and whether the set can have them.

use std::fmt;
use std::sync::Arc;

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::import::Imported;
use jwksd_keystore::jwk::Thumbprint;
use jwksd_keystore::lifecycle::{Intent, Number, Origin, Refusal};
use jwksd_keystore::store::{Loaded, Record};
use jwksd_keystore::time::Time;

use super::{Command, Rotator, StepError};

/// A key that was read from a file, shared by all that takes part in its command: it may be sealed
/// several times, for the revision of each try. Nothing prints it, and its secret is wiped when the
/// command was answered.
#[derive(Clone)]
pub struct Incoming(Arc<Imported>);

/// Why a key set cannot have a key, or not under this kid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Used {
    /// The key lives.
    #[error("the key is in the key set already, as {0}")]
    KeyLives(KeyId),
    /// The key left.
    #[error("the key was in the key set as {kid} until {left}, and cannot come back")]
    KeyLeft {
        /// What it was called.
        kid: KeyId,
        /// When it left.
        left: Time,
    },
    /// Another key has the name.
    #[error("{0} is what another key in the key set is called: choose another kid")]
    NameLives(String),
    /// Another key had the name.
    #[error("{name} is what a key was called that left the key set at {left}: choose another kid")]
    NameLeft {
        /// Its kid or thumbprint.
        name: String,
        /// When it left.
        left: Time,
    },
}

/// A key with the kid that it comes under.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) key: &'a Imported,
    pub(super) kid: &'a KeyId,
}

impl<'a> Named<'a> {
    pub(super) fn new(key: &'a Incoming, kid: &'a KeyId) -> Self {
        Self { key: &key.0, kid }
    }
}

impl Incoming {
    /// Takes a key over.
    #[must_use]
    pub fn new(key: Imported) -> Self {
        Self(Arc::new(key))
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

impl PartialEq for Incoming {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Incoming {}

impl Command {
    /// The key that it brings.
    pub(super) fn incoming(&self) -> Option<Named<'_>> {
        match self {
            Self::Import { key, kid, .. } | Self::Trust { key, kid, .. } => {
                Some(Named::new(key, kid))
            }
            Self::Rotate { .. }
            | Self::Revoke { .. }
            | Self::RevokeAll { .. }
            | Self::Retire { .. }
            | Self::NoteExport { .. } => None,
        }
    }
}

impl Rotator {
    /// What becomes of a key that is to be trusted: that of an earlier try only gets another end.
    pub(super) fn trust(
        &self,
        keyset: &KeysetName,
        loaded: &Loaded,
        named: Named<'_>,
        until: Time,
    ) -> Result<Intent, StepError> {
        if let Some(number) = self.earlier_try(keyset, loaded, named, Origin::Trusted)? {
            return Ok(Intent::TrustUntil { number, until });
        }
        let refused = StepError::Refused { refusal: Refusal::NotConfigured, active: None };
        let facts = self.facts.get(keyset).ok_or(refused)?;
        Ok(Intent::Trust { algorithm: named.key.verifies(facts.algorithm)?, until })
    }

    /// The number of the key, where an earlier try of the same brought it in.
    ///
    /// # Errors
    ///
    /// [`StepError::Used`] where its kid or itself is or was in the set otherwise.
    pub(super) fn earlier_try(
        &self,
        keyset: &KeysetName,
        loaded: &Loaded,
        Named { key, kid }: Named<'_>,
        origin: Origin,
    ) -> Result<Option<Number>, StepError> {
        let thumbprint = key.thumbprint();
        let is_same = |record: &&Record| {
            (&record.kid, &record.thumbprint, record.life.origin) == (kid, &thumbprint, origin)
        };
        if let Some(record) = loaded.records.iter().find(is_same) {
            return Ok(Some(record.life.number));
        }
        for record in &loaded.records {
            if record.thumbprint == thumbprint {
                return Err(Used::KeyLives(record.kid.clone()).into());
            }
            if let Some(name) = shared(kid, &thumbprint, &record.kid, &record.thumbprint) {
                return Err(Used::NameLives(name).into());
            }
        }
        for stone in self.parts.store.tombstones(keyset)? {
            let left = stone.left;
            if stone.thumbprint == thumbprint {
                return Err(Used::KeyLeft { kid: stone.kid, left }.into());
            }
            if let Some(name) = shared(kid, &thumbprint, &stone.kid, &stone.thumbprint) {
                return Err(Used::NameLeft { name, left }.into());
            }
        }
        Ok(None)
    }
}

/// The name that two keys would share. A kid and a thumbprint are both names of a key.
fn shared(
    kid: &KeyId,
    thumbprint: &Thumbprint,
    other_kid: &KeyId,
    other_thumbprint: &Thumbprint,
) -> Option<String> {
    let others = [other_kid.as_str(), other_thumbprint.as_str()];
    let names = [kid.as_str(), thumbprint.as_str()];
    names.into_iter().find(|name| others.contains(name)).map(str::to_owned)
}
