//! All rows of a store at one moment, in memory: what is backed up, checked, and written anew.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::StoreError;
use super::authenticated::{Authenticated, Pairs, Row, Rows, Wraps};
use crate::seal::MasterKeys;

/// A store in memory: a copy of all that another one held at one moment. It can be changed like
/// any, and no change of it lasts longer than it.
pub struct StoreCopy(Authenticated<CopiedRows>);

/// All rows of a moment, and how many writes there had been.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Moment {
    pub(super) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) commit: u64,
}

/// The rows of a [`StoreCopy`].
pub(super) struct CopiedRows(RwLock<Moment>);

impl StoreCopy {
    /// A store whose rows are these.
    pub(super) fn of(moment: Moment, master_keys: Arc<MasterKeys>) -> Result<Self, StoreError> {
        let rows = CopiedRows(RwLock::new(moment));
        Authenticated::open(rows, master_keys).map(Self)
    }

    pub(super) fn moment(&self) -> RwLockReadGuard<'_, Moment> {
        self.0.rows.read()
    }
}

impl Wraps for StoreCopy {
    type Rows = CopiedRows;

    fn wrapped(&self) -> &Authenticated<CopiedRows> {
        &self.0
    }
}

impl CopiedRows {
    fn read(&self) -> RwLockReadGuard<'_, Moment> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows for CopiedRows {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.read().rows.get(key).cloned())
    }

    fn scan(&self, prefix: &[u8]) -> Result<Pairs, StoreError> {
        let moment = self.read();
        let from = moment.rows.range(prefix.to_vec()..);
        let matching = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(matching.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn write(&self, expected: &[Row], rows: &[Row]) -> Result<Result<(), usize>, StoreError> {
        let mut moment = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_other = |(key, value): &Row| moment.rows.get(key) != value.as_ref();
        if let Some(index) = expected.iter().position(is_other) {
            return Ok(Err(index));
        }
        for (key, value) in rows {
            match value {
                Some(value) => moment.rows.insert(key.clone(), value.clone()),
                None => moment.rows.remove(key),
            };
        }
        moment.commit += 1;
        Ok(Ok(()))
    }

    fn all(&self) -> Result<Moment, StoreError> {
        Ok(self.read().clone())
    }
}
