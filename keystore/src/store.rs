//! Where key sets are kept.
//!
//! Each set has a **head** (facts in force, next number, the hash of every living record) that is
//! authenticated under the master key. Through the hashes so is every record, public halves and
//! times included: injecting a public key would be forging tokens. A key that leaves the living
//! leaves a **tombstone** for ever, and its kid and thumbprint are never taken again.
//!
//! [`Store`] is the contract. [`SledStore`] and `MemoryStore` keep it; both are the same code
//! over rows of bytes, `authenticated`, and pass the same tests, `conformance`.

mod authenticated;
pub mod backup;
#[cfg(test)]
mod conformance;
mod copied;
#[cfg(test)]
mod disasters;
#[cfg(test)]
mod earlier;
mod format;
mod fresh;
mod high_water;
#[cfg(any(test, feature = "faults"))]
mod memory;
mod sled;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::crypto;
use crate::facts::Facts;
use crate::id::{KeyId, KeysetName, NameError, Revision};
use crate::jwk::{PublicJwk, PublicKey, Thumbprint};
use crate::key::KeyPair;
use crate::lifecycle::{Departure, FormerMaxAge, Keyset, Life, Number};
use crate::seal::{MasterKeys, Place, SealError, Sealed};
use crate::second_opinion::{self, SecondOpinionError};
use crate::time::Time;

pub use self::copied::StoreCopy;
pub use self::format::check as check_format;
pub use self::fresh::check_free;
pub use self::sled::SledStore;
#[cfg(any(test, feature = "faults"))]
pub use memory::{CommitFault, MemoryStore, Rows as MemoryRows};

/// A store of key sets. One writer at a time makes progress; the others get
/// [`StoreError::Conflict`].
pub trait Store: Send + Sync {
    /// The names of all key sets that were ever committed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`].
    fn keysets(&self) -> Result<Vec<KeysetName>, StoreError>;

    /// The state of one key set; an empty one at revision 0 if it was never committed.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] and [`StoreError::OtherMasterKey`] when what is stored is not what
    /// was written last; [`StoreError::Unavailable`].
    fn load(&self, keyset: &KeysetName) -> Result<Loaded, StoreError>;

    /// Makes all of `changes`, or none, durable, only if the set is still at `expected`; and
    /// `seen`, the lifecycle time of the commit.
    ///
    /// # Errors
    ///
    /// Nothing was made durable after [`StoreError::Conflict`] and [`StoreError::Used`]. After
    /// [`StoreError::Unknown`] it may have been: load again. To bury a key that is not living, or
    /// to mark a tombstone that is not there, is a [`StoreError::Conflict`] too.
    fn commit(
        &self,
        keyset: &KeysetName,
        expected: Revision,
        changes: &[Change],
        seen: Time,
    ) -> Result<Revision, StoreError> {
        self.commit_all(&[Commit { keyset, expected, changes }], seen)?;
        Ok(expected.next())
    }

    /// Makes the commits of several key sets durable, all or none of them, at the price of one.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`], about any of them. A key set that is there twice is a
    /// [`StoreError::Conflict`].
    fn commit_all(&self, commits: &[Commit<'_>], seen: Time) -> Result<(), StoreError>;

    /// What a key left, `None` if there is no such tombstone.
    ///
    /// # Errors
    ///
    /// As [`Store::load`].
    fn tombstone(&self, keyset: &KeysetName, kid: &KeyId) -> Result<Option<Tombstone>, StoreError>;

    /// All tombstones of a key set in the order of their numbers.
    ///
    /// # Errors
    ///
    /// As [`Store::load`].
    fn tombstones(&self, keyset: &KeysetName) -> Result<Vec<Tombstone>, StoreError>;

    /// The latest lifecycle time that was recorded.
    ///
    /// # Errors
    ///
    /// As [`Store::load`].
    fn seen(&self) -> Result<Time, StoreError>;

    /// Makes `now` durable as a lifecycle time at which the daemon was alive.
    ///
    /// # Errors
    ///
    /// As [`Store::commit`].
    fn record_seen(&self, now: Time) -> Result<(), StoreError>;

    /// A copy in memory of all that the store holds at one moment, made while commits go on; at
    /// worst one of them waits until all rows were read.
    ///
    /// # Errors
    ///
    /// As [`Store::load`].
    fn copy(&self) -> Result<StoreCopy, StoreError>;
}

/// How far a work on a whole store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// How much of it is done.
    pub done: u64,
    /// How much there is of it.
    pub of: u64,
}

/// What is done to a whole store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Key sets are checked.
    Checking,
    /// Key sets are sealed under another master key.
    Sealing,
    /// Rows are written.
    Writing,
    /// What was written is put on the disk, read back, and given its name.
    Ending,
}

/// One key set as stored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// How often it was committed.
    pub revision: Revision,
    /// What holds of the set as a whole.
    pub head: Head,
    /// The living keys in the order of their numbers.
    pub records: Vec<Record>,
}

/// What holds of a key set as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The facts in force, `None` before the first commit.
    pub facts: Option<Facts>,
    /// What remains of a longer max-age.
    pub former_max_age: FormerMaxAge,
    /// The number of the next key.
    pub next_number: Number,
}

/// One living key as stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Its times.
    pub life: Life,
    /// Its kid.
    pub kid: KeyId,
    /// The RFC 7638 thumbprint of its public half.
    pub thumbprint: Thumbprint,
    /// Its public half.
    pub public: PublicKey,
    /// Its sealed secret, until it ended.
    pub secret: Option<SealedSecret>,
}

/// A sealed secret and the revision that it came with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// The sealed bytes.
    pub sealed: Sealed,
    /// The revision of the key set that the key came with.
    pub revision: Revision,
}

/// What remains of a key that left the living.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tombstone {
    /// Its kid, never taken again in its set.
    pub kid: KeyId,
    /// Its thumbprint, never taken again in its set.
    pub thumbprint: Thumbprint,
    /// Its times when it left.
    pub life: Life,
    /// Why it left.
    pub departure: Departure,
    /// When it left.
    pub left: Time,
    /// When it was revoked, if that came later or was why it left.
    pub revoked: Option<Time>,
    /// What the admin gave as the reason of the revocation.
    pub reason: Option<String>,
}

/// What is to be committed to one key set.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// The key set.
    pub keyset: &'a KeysetName,
    /// The revision that it has to be at still.
    pub expected: Revision,
    /// What changes.
    pub changes: &'a [Change],
}

/// One change of a commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// Puts facts in force.
    Adopt {
        /// The facts.
        facts: Box<Facts>,
        /// What remains of a longer max-age.
        former_max_age: FormerMaxAge,
    },
    /// Adds a key, or replaces the record of a living one.
    Put(Box<Record>),
    /// Takes a living key out of the living and leaves this.
    Bury(Box<Tombstone>),
    /// Replaces a tombstone, to say that its key was revoked after it left.
    Mark(Box<Tombstone>),
}

/// Why the store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// There is no store.
    #[error("there is no store at {}", .0.display())]
    Missing(PathBuf),
    /// Another process has the store open.
    #[error("the store at {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// Something is where a store is to be written.
    #[error("{} is not empty: a store is written only where nothing is; nothing was changed", .0.display())]
    Occupied(PathBuf),
    /// What is stored is not what the change was made for, mostly because the key set was
    /// committed by someone else in between.
    #[error("the key set changed meanwhile")]
    Conflict,
    /// The kid or the thumbprint of a new key was in the set before.
    #[error("a key with this kid or thumbprint is or was in the key set")]
    Used,
    /// The commit may have been made durable, or not.
    #[error("whether the commit is durable is not known: {0}")]
    Unknown(String),
    /// The store could not be read or written; nothing was changed.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// What is stored is not what was written last.
    #[error("{what} is damaged, or was changed, swapped or put back from an older copy")]
    Damaged {
        /// What.
        what: String,
    },
    /// The store was written under another master key.
    #[error("the store was written under the master key {id}, which is not the one given")]
    OtherMasterKey {
        /// Its id in hexadecimal.
        id: String,
    },
    /// It was written by a newer version.
    #[error(
        "{what} has format {format}, which this version of jwksd does not know: a newer one wrote it. \
         Nothing was changed"
    )]
    UnknownFormat {
        /// What.
        what: String,
        /// Its format.
        format: String,
    },
}

impl StoreError {
    pub(crate) fn of_seal(error: SealError, what: impl FnOnce() -> String) -> Self {
        match error {
            SealError::OtherMasterKey { id } => Self::OtherMasterKey { id },
            SealError::Damaged => Self::Damaged { what: what() },
            SealError::UnknownFormat(format) => {
                Self::UnknownFormat { what: what(), format: format.to_string() }
            }
        }
    }
}

/// Why a new key cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The key failed the second opinion.
    #[error(transparent)]
    SecondOpinion(#[from] SecondOpinionError),
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] crate::crypto::CryptoError),
    /// Its kid cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
}

impl Record {
    /// The record of a new key: tried by a second opinion, its secret sealed for its place. The
    /// pair is consumed, so that the open secret is gone afterwards.
    ///
    /// # Errors
    ///
    /// A key that verifiers would not take is not recorded.
    #[expect(clippy::needless_pass_by_value, reason = "the open secret ends here")]
    pub fn of_new_key(
        keyset: &KeysetName,
        life: Life,
        revision: Revision,
        pair: KeyPair,
        master_keys: &MasterKeys,
    ) -> Result<Self, RecordError> {
        let kid = KeyId::from(pair.thumbprint.clone());
        Self::of_imported_key(keyset, life, kid, revision, &pair, master_keys)
    }

    /// The same of a key that came from elsewhere, under a kid of its own. The pair stays for
    /// another try.
    ///
    /// # Errors
    ///
    /// As [`Record::of_new_key`].
    pub fn of_imported_key(
        keyset: &KeysetName,
        life: Life,
        kid: KeyId,
        revision: Revision,
        pair: &KeyPair,
        master_keys: &MasterKeys,
    ) -> Result<Self, RecordError> {
        let jwk =
            PublicJwk { kid: kid.clone(), algorithm: life.algorithm, public: pair.public.clone() };
        second_opinion::check(pair, &jwk)?;
        let place =
            Place { keyset, number: life.number, kid: &kid, algorithm: life.algorithm, revision };
        let sealed = master_keys.seal(&pair.secret, &place)?;
        Ok(Self {
            life,
            kid,
            thumbprint: pair.thumbprint.clone(),
            public: pair.public.clone(),
            secret: Some(SealedSecret { sealed, revision }),
        })
    }

    /// The record of a key that signs elsewhere.
    #[must_use]
    pub fn of_trusted_key(life: Life, kid: KeyId, public: PublicKey) -> Self {
        let thumbprint = crypto::thumbprint(&public);
        Self { life, kid, thumbprint, public, secret: None }
    }

    /// The place of its sealed secret.
    pub(crate) fn place<'a>(&'a self, keyset: &'a KeysetName, secret: &SealedSecret) -> Place<'a> {
        Place {
            keyset,
            number: self.life.number,
            kid: &self.kid,
            algorithm: self.life.algorithm,
            revision: secret.revision,
        }
    }

    /// The key as it is published.
    #[must_use]
    pub fn jwk(&self) -> PublicJwk {
        PublicJwk {
            kid: self.kid.clone(),
            algorithm: self.life.algorithm,
            public: self.public.clone(),
        }
    }

    /// What the key leaves when it leaves the living at `left`.
    #[must_use]
    pub fn tombstone(&self, departure: Departure, left: Time, reason: Option<&str>) -> Tombstone {
        let revoked = (departure == Departure::Revoked).then_some(left);
        Tombstone {
            kid: self.kid.clone(),
            thumbprint: self.thumbprint.clone(),
            life: self.life.clone(),
            departure,
            left,
            revoked,
            reason: reason.filter(|_| revoked.is_some()).map(str::to_owned),
        }
    }
}

impl Loaded {
    /// The set as the rules see it.
    #[must_use]
    pub fn keyset(&self) -> Keyset {
        Keyset {
            lives: self.records.iter().map(|record| record.life.clone()).collect(),
            next_number: self.head.next_number,
            facts: self.head.facts.clone(),
            former_max_age: self.head.former_max_age,
        }
    }

    /// The record of the key with this number.
    #[must_use]
    pub fn record(&self, number: Number) -> Option<&Record> {
        self.records.iter().find(|record| record.life.number == number)
    }

    /// The record of the key with this kid.
    #[must_use]
    pub fn record_of(&self, kid: &KeyId) -> Option<&Record> {
        self.records.iter().find(|record| record.kid == *kid)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::algorithm::Algorithm;
    use crate::crypto::{SigningKey, samples};
    use crate::lifecycle::{Origin, PlannedBy};
    use crate::seal::tests::master_keys;

    /// That the secret of a record opens, and signs what its public half verifies.
    pub(super) fn assert_signs(keyset: &KeysetName, record: &Record, keys: &MasterKeys) {
        let algorithm = record.life.algorithm;
        let secret = record.secret.as_ref().unwrap();
        let secret = keys.open(&secret.sealed, &record.place(keyset, secret)).unwrap();
        let signature = SigningKey::new(algorithm, &secret).unwrap().sign(b"message").unwrap();
        let verified = crypto::verify(algorithm, &record.public, b"message", &signature);
        assert_eq!(verified, Ok(()), "{keyset}");
    }

    fn life(algorithm: Algorithm) -> Life {
        let at = Time::from_millis(1_795_316_400_000);
        Life {
            number: Number(1_000_000),
            algorithm,
            created: at,
            published: at,
            served_from: at,
            stale_max_age: Duration::from_hours(24),
            activates: Some(at),
            planned_by: PlannedBy::Schedule {
                cron: "0 0 3 1 JAN,FEB,MAR,APR,MAY,JUN *".into(),
                time_zone: "America/Argentina/ComodRivadavia".into(),
            },
            longest_ttl: Duration::from_hours(24),
            may_have_signed: true,
            ended: None,
            retires: None,
            origin: Origin::Generated,
            exported: None,
        }
    }

    #[test]
    fn a_key_leaves_a_tombstone_whose_reason_is_that_of_a_revocation() {
        let algorithm = Algorithm::Es256;
        let pair = samples::pair(algorithm);
        let kid: KeyId = "theirs".parse().unwrap();
        let record = Record::of_trusted_key(life(algorithm), kid.clone(), pair.public);
        assert_eq!((&record.thumbprint, &record.secret), (&pair.thumbprint, &None));
        let left = Time::from_millis(1_795_316_400_001);
        let tombstone = |departure| record.tombstone(departure, left, Some("stolen"));
        let revoked = tombstone(Departure::Revoked);
        assert_eq!((&revoked.kid, &revoked.thumbprint), (&kid, &record.thumbprint));
        assert_eq!((revoked.left, revoked.revoked), (left, Some(left)));
        assert_eq!(revoked.reason.as_deref(), Some("stolen"));
        for departure in [Departure::Retired, Departure::RetiredEarly, Departure::Replaced] {
            let gone = tombstone(departure);
            assert_eq!((gone.departure, gone.left), (departure, left));
            assert_eq!((gone.revoked, gone.reason), (None, None));
        }
    }

    /// sled does badly with large values.
    #[test]
    fn the_row_of_a_key_of_any_algorithm_is_small() {
        let (keyset, master_keys) = ("a".repeat(63).parse().unwrap(), master_keys());
        for algorithm in Algorithm::ALL {
            let (pair, revision) = (samples::pair(algorithm), Revision(1_000_000));
            let record =
                Record::of_new_key(&keyset, life(algorithm), revision, pair, &master_keys).unwrap();
            let length = serde_json::to_vec(&record).unwrap().len();
            assert!(length < 6 * 1024, "{algorithm}: {length} bytes");
        }
    }
}
