//! What was and what comes.

use jwksd_keystore::id::KeysetName;
use jwksd_keystore::store::Loaded;
use tokio::sync::Semaphore;

use super::{AdminError, Administration};
use crate::api::Plan;
use crate::api::plan::PlannedKeyset;
use crate::config::Config;
use crate::custody::Asker;
use crate::plan::{self, Frame, Subject};
use crate::policy::Action;
use crate::verifiers::Catalogue;

/// Of how many key sets plans are made at once: an answer about this many takes 100 MB while it is
/// made.
const PLANNED_AT_ONCE: usize = 10_000;

/// Room for plans of as many key sets as are made at once.
pub(crate) fn room() -> Semaphore {
    Semaphore::new(PLANNED_AT_ONCE)
}

impl Administration {
    /// What was and what comes in so many days, in one key set or in all that the asker may read;
    /// with what these verifiers make of it, none being all that are known, or else those that the
    /// configuration names.
    ///
    /// # Errors
    ///
    /// [`AdminError`]; [`AdminError::Planning`] where there is no room for all these key sets.
    pub fn plan(
        &self,
        asker: &Asker,
        keyset: Option<&KeysetName>,
        days: u16,
        verifiers: Option<&[String]>,
    ) -> Result<Plan, AdminError> {
        let config = self.custody.config();
        let catalogue = Catalogue::built_in();
        // What is wrong with the question is told before it is recorded, and also without a key set.
        catalogue.chosen(verifiers.unwrap_or_default())?;
        if let Some(keyset) = keyset {
            self.permit(asker, Action::Read, "plan", keyset, None, None)?;
        }
        let many = keyset.map_or(config.keysets.len(), |_| 1).min(PLANNED_AT_ONCE);
        let many = u32::try_from(many).unwrap_or(u32::MAX);
        let _room = self.planning.try_acquire_many(many).map_err(|_| AdminError::Planning)?;
        let names = match keyset {
            Some(keyset) => vec![keyset.clone()],
            None => self.readable(asker, &config)?,
        };
        let apart = self.clock.disagreement();
        let frame = Frame::new(self.clock.now(), apart, days, names.len());
        let keysets = names.iter().map(|name| {
            let (loaded, mut planned) = self.planned(&config, name, &frame)?;
            let stated = config.keysets.get(name).map_or(&[][..], |keyset| &keyset.verifiers);
            let clients = catalogue.chosen(verifiers.unwrap_or(stated))?;
            if let Some(facts) = &loaded.head.facts {
                let now = frame.now.lifecycle;
                planned.refusing =
                    plan::refusals::of_keyset(&planned, &loaded, facts, &clients, now);
            }
            Ok(planned)
        });
        Ok(Plan {
            now: frame.now.lifecycle.to_string(),
            until: frame.until.to_string(),
            keysets: keysets.collect::<Result<_, AdminError>>()?,
        })
    }

    fn planned(
        &self,
        config: &Config,
        keyset: &KeysetName,
        frame: &Frame,
    ) -> Result<(Loaded, PlannedKeyset), AdminError> {
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
        let planned = plan::of_keyset(&subject, frame);
        Ok((loaded, planned))
    }
}
