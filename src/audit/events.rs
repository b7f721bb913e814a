//! PURE: what became of keys in a commit, as the lines about it tell. A restore learns from them what
//! the backup does not know.

use jwksd_keystore::id::KeyId;
use jwksd_keystore::lifecycle::Departure;
use jwksd_keystore::store::{Change, Loaded};
use serde::{Deserialize, Serialize};

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyEvent {
    /// The key.
    pub kid: KeyId,
    /// What.
    pub event: Event,
}

/// What can become of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// It was made and published.
    Created,
    /// It stopped to sign for good, and its secret was erased.
    Ended,
    /// It left when its last token had expired.
    Retired,
    /// An admin took it out before that.
    RetiredEarly,
    /// It was revoked.
    Revoked,
    /// It left before it signed.
    Replaced,
    /// It had left before, and was marked as revoked.
    Marked,
}

impl Event {
    /// Why the key left the living, where it did.
    #[must_use]
    pub const fn departure(self) -> Option<Departure> {
        match self {
            Self::Retired => Some(Departure::Retired),
            Self::RetiredEarly => Some(Departure::RetiredEarly),
            Self::Revoked => Some(Departure::Revoked),
            Self::Replaced => Some(Departure::Replaced),
            Self::Created | Self::Ended | Self::Marked => None,
        }
    }

    /// Whether the key is not to be trusted since.
    #[must_use]
    pub const fn is_revocation(self) -> bool {
        match self {
            Self::Revoked | Self::Marked => true,
            Self::Created | Self::Ended | Self::Retired | Self::RetiredEarly | Self::Replaced => {
                false
            }
        }
    }
}

impl From<Departure> for Event {
    fn from(departure: Departure) -> Self {
        match departure {
            Departure::Retired => Self::Retired,
            Departure::RetiredEarly => Self::RetiredEarly,
            Departure::Revoked => Self::Revoked,
            Departure::Replaced => Self::Replaced,
        }
    }
}

/// What becomes of the keys of a set by these changes.
#[must_use]
pub fn of_changes(before: &Loaded, changes: &[Change]) -> Vec<KeyEvent> {
    let of_change = |change: &Change| match change {
        Change::Adopt { .. } => None,
        Change::Put(record) => {
            let event = match before.record(record.life.number) {
                None => Event::Created,
                Some(old) if old.life.ended.is_none() && record.life.ended.is_some() => {
                    Event::Ended
                }
                Some(_) => return None,
            };
            Some(KeyEvent { kid: record.kid.clone(), event })
        }
        Change::Bury(tombstone) => {
            Some(KeyEvent { kid: tombstone.kid.clone(), event: tombstone.departure.into() })
        }
        Change::Mark(tombstone) => {
            Some(KeyEvent { kid: tombstone.kid.clone(), event: Event::Marked })
        }
    };
    changes.iter().filter_map(of_change).collect()
}
