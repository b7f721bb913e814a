//! What was and what comes.

use jwksd_keystore::id::KeysetName;
use tokio::sync::Semaphore;

use super::{AdminError, Administration};
use crate::api::Plan;
use crate::api::plan::PlannedKeyset;
use crate::config::Config;
use crate::custody::Asker;
use crate::plan::{self, Frame, Subject};
use crate::policy::Action;

/// Of how many key sets plans are made at once: an answer about this many takes 60 MB while it is
/// made.
const PLANNED_AT_ONCE: usize = 10_000;

/// Room for plans of as many key sets as are made at once.
pub(crate) fn room() -> Semaphore {
    Semaphore::new(PLANNED_AT_ONCE)
}

impl Administration {
    /// What was and what comes in so many days, in one key set or in all that the asker may read.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; [`AdminError::Planning`] where there is no room for all these key sets.
    pub fn plan(
        &self,
        asker: &Asker,
        keyset: Option<&KeysetName>,
        days: u16,
    ) -> Result<Plan, AdminError> {
        let config = self.custody.config();
        let names = match keyset {
            Some(keyset) => {
                self.permit(asker, Action::Read, "plan", keyset, None, None)?;
                vec![keyset.clone()]
            }
            None => self.readable(asker, &config)?,
        };
        let room = u32::try_from(names.len().min(PLANNED_AT_ONCE)).unwrap_or(u32::MAX);
        let _room = self.planning.try_acquire_many(room).map_err(|_| AdminError::Planning)?;
        let apart = self.clock.disagreement();
        let frame = Frame::new(self.clock.now(), apart, days, names.len());
        let keysets = names.iter().map(|name| self.planned(&config, name, &frame));
        Ok(Plan {
            now: frame.now.lifecycle.to_string(),
            until: frame.until.to_string(),
            keysets: keysets.collect::<Result<_, _>>()?,
        })
    }

    fn planned(
        &self,
        config: &Config,
        keyset: &KeysetName,
        frame: &Frame,
    ) -> Result<PlannedKeyset, AdminError> {
        let configured = config.keysets.get(keyset);
        let loaded = self.known(configured, keyset)?;
        let (standing, tombstones) = (self.standings.of(keyset), self.store.tombstones(keyset)?);
        let subject = Subject {
            name: keyset,
            configured,
            standing: standing.as_ref(),
            loaded: &loaded,
            tombstones: &tombstones,
        };
        Ok(plan::of_keyset(&subject, frame))
    }
}
