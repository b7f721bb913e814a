//! All of a store at once: is every row as it was written, and the same rows under other master
//! keys.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{
    Authenticated, FORMAT, FORMAT_ROW, Hash, Rows, SEEN_ROW, head_key, names_of, record_key,
    to_json,
};
use crate::crypto::{self, CryptoError, SigningKey};
use crate::id::{KeyId, KeysetName};
use crate::jwk::Thumbprint;
use crate::key::Secret;
use crate::lifecycle::Number;
use crate::seal::MasterKeys;
use crate::store::copied::Moment;
use crate::store::{Loaded, Progress, Record, SealedSecret, Stage, Store, StoreError, Tombstone};

/// One key set with all that it has rows of.
struct Whole {
    keyset: KeysetName,
    loaded: Loaded,
    tombstones: Vec<Tombstone>,
}

impl<R: Rows> Authenticated<R> {
    /// Checks every row: its tag or hash, that no row is missing and none too many, and that every
    /// secret opens and belongs to its public half.
    pub(in crate::store) fn check_all(
        &self,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<(), StoreError> {
        let keysets = self.keysets()?;
        let mut known = 2;
        for (done, keyset) in (0..).zip(&keysets) {
            watch(Progress { stage: Stage::Checking, done, of: keysets.len() as u64 });
            let whole = self.whole(keyset)?;
            for record in &whole.loaded.records {
                self.check_key(keyset, record)?;
            }
            let used = self.check_used_names(&whole)?;
            known += 1 + whole.loaded.records.len() + whole.tombstones.len() + used;
        }
        if self.rows.all()?.rows.len() != known {
            let what = "the list of rows (one belongs to no key set)".to_owned();
            return Err(StoreError::Damaged { what });
        }
        Ok(())
    }

    /// The same rows, every secret sealed and every row tagged under the first of `new`.
    pub(in crate::store) fn under(
        &self,
        new: &Arc<MasterKeys>,
        watch: &mut dyn FnMut(Progress),
    ) -> Result<Moment, StoreError> {
        let before = self.rows.all()?;
        let is_used = |(key, _): &(&Vec<u8>, &Vec<u8>)| key.starts_with(b"u/");
        let used = before.rows.iter().filter(is_used);
        let mut rows: BTreeMap<_, _> =
            used.map(|(key, value)| (key.clone(), value.clone())).collect();
        rows.insert(FORMAT_ROW.to_vec(), FORMAT.to_vec());
        let seen = self.seen()?.as_millis().to_be_bytes();
        rows.insert(SEEN_ROW.to_vec(), new.tagged(SEEN_ROW, &seen));
        let keysets = self.keysets()?;
        for (done, keyset) in (0..).zip(&keysets) {
            watch(Progress { stage: Stage::Sealing, done, of: keysets.len() as u64 });
            self.rewrite(&self.whole(keyset)?, new, &mut rows)?;
        }
        Ok(Moment { rows, commit: before.commit })
    }

    fn whole(&self, keyset: &KeysetName) -> Result<Whole, StoreError> {
        let loaded = self.load(keyset)?;
        let tombstones = self.tombstones(keyset)?;
        Ok(Whole { keyset: keyset.clone(), loaded, tombstones })
    }

    fn check_key(&self, keyset: &KeysetName, record: &Record) -> Result<(), StoreError> {
        let number = record.life.number;
        let damaged = || StoreError::Damaged {
            what: format!("key {number} of key set {keyset} (its halves do not belong together)"),
        };
        if crypto::thumbprint(&record.public) != record.thumbprint {
            return Err(damaged());
        }
        let Some(sealed) = &record.secret else { return Ok(()) };
        let secret = self.open_secret(keyset, record, sealed)?;
        let pair = SigningKey::new(record.life.algorithm, &secret).map_err(|_| damaged())?;
        if pair.public_key() == record.public { Ok(()) } else { Err(damaged()) }
    }

    fn open_secret(
        &self,
        keyset: &KeysetName,
        record: &Record,
        secret: &SealedSecret,
    ) -> Result<Secret, StoreError> {
        let opened = self.master_keys.open(&secret.sealed, &record.place(keyset, secret));
        let number = record.life.number;
        let what = || format!("the secret of key {number} of key set {keyset}");
        opened.map_err(|error| StoreError::of_seal(error, what))
    }

    /// Every kid and thumbprint that is or was in the set is known to be used, and no other. Returns
    /// how many rows say so.
    fn check_used_names(&self, whole: &Whole) -> Result<usize, StoreError> {
        let Whole { keyset, loaded, tombstones } = whole;
        let mut wanted = BTreeMap::new();
        let mut want = |kid: &KeyId, thumbprint: &Thumbprint, number: Number| {
            for name in names_of(keyset, kid, thumbprint) {
                wanted.insert(name, number.0.to_be_bytes().to_vec());
            }
        };
        for record in &loaded.records {
            want(&record.kid, &record.thumbprint, record.life.number);
        }
        for tombstone in tombstones {
            want(&tombstone.kid, &tombstone.thumbprint, tombstone.life.number);
        }
        let stored = self.rows.scan(format!("u/{keyset}/").as_bytes())?;
        if stored.len() == wanted.len() && stored.into_iter().eq(wanted.clone()) {
            Ok(wanted.len())
        } else {
            let what = format!("the list of used kids of key set {keyset}");
            Err(StoreError::Damaged { what })
        }
    }

    /// Writes head, records and tombstones of a set under other master keys.
    fn rewrite(
        &self,
        whole: &Whole,
        new: &MasterKeys,
        rows: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    ) -> Result<(), StoreError> {
        let Whole { keyset, loaded, tombstones } = whole;
        let head_key = head_key(keyset);
        let stored = self.rows.get(&head_key)?.unwrap_or_default();
        let mut head = self.head_row(keyset, &stored)?;
        for record in &loaded.records {
            let record = self.sealed_under(new, keyset, record.clone())?;
            let body = to_json(&record)?;
            let number = record.life.number;
            head.records.insert(number, Hash(crypto::sha256(&body).to_vec()));
            rows.insert(record_key(keyset, number), body);
        }
        for tombstone in tombstones {
            let key = super::tombstone_key(keyset, &tombstone.kid);
            let value = new.tagged(&key, &to_json(tombstone)?);
            rows.insert(key, value);
        }
        let value = new.tagged(&head_key, &to_json(&head)?);
        rows.insert(head_key, value);
        Ok(())
    }

    fn sealed_under(
        &self,
        new: &MasterKeys,
        keyset: &KeysetName,
        mut record: Record,
    ) -> Result<Record, StoreError> {
        let failed = |error: CryptoError| StoreError::Unavailable(error.to_string());
        if let Some(old) = record.secret.take() {
            let secret = self.open_secret(keyset, &record, &old)?;
            let sealed = new.seal(&secret, &record.place(keyset, &old)).map_err(failed)?;
            record.secret = Some(SealedSecret { sealed, revision: old.revision });
        }
        Ok(record)
    }
}
