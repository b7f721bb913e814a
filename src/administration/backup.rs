//! A backup of the store, made while the daemon is at work.

use std::sync::{Arc, Mutex, PoisonError};

use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::backup::{self, About, AuditLine, BackupError, Header};
use jwksd_keystore::time::Time;

use super::{AdminError, Administration};
use crate::audit::{Audit, Decision, Line, Link};
use crate::custody::Asker;
use crate::policy::Action;

/// The act's name in the audit.
const NAME: &str = "store-backup";

/// What backups are made with.
pub struct Backups {
    /// What they are sealed under.
    pub master_keys: Arc<MasterKeys>,
    /// What tells what came since.
    pub audit: Arc<Audit>,
    /// One at a time: each is in memory as a whole.
    pub one_at_a_time: Mutex<()>,
}

/// A backup that was made.
pub struct Made {
    /// What it says of itself.
    pub header: Header,
    /// The backup.
    pub bytes: Vec<u8>,
}

impl Administration {
    /// Makes a backup. Its line in the audit comes before the rows are read, so that the lines after it
    /// tell all that the backup lacks.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn back_up(&self, asker: &Asker) -> Result<Made, AdminError> {
        self.custody.permit(asker, Action::Operate, NAME, None, None, None)?;
        let _one_at_a_time =
            self.backups.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now().wall;
        let intent = "copy all key sets at one moment".to_owned();
        let line = self.record_backup(asker, Decision::Intent, &intent, now)?;
        let made = self.made(line, now);
        let (decision, outcome) = match &made {
            Ok(Made { header, bytes }) => {
                let (commit, length) = (header.commit, bytes.len());
                (Decision::Done, format!("commit {commit}, {length} bytes"))
            }
            Err(error) => (Decision::Failed, error.to_string()),
        };
        self.record_backup(asker, decision, &outcome, now)?;
        let made = made?;
        self.metrics.metrics().count_backup(now);
        Ok(made)
    }

    fn made(&self, line: Option<Link>, taken: Time) -> Result<Made, BackupError> {
        let audit = line.map(|link| AuditLine { line: link.number, hash: link.hash.to_string() });
        let about = About { version: env!("CARGO_PKG_VERSION").to_owned(), taken, audit };
        let copy = self.store.copy()?;
        let (header, bytes) = backup::make(&copy, about, &self.backups.master_keys)?;
        Ok(Made { header, bytes })
    }

    fn record_backup(
        &self,
        asker: &Asker,
        decision: Decision,
        detail: &str,
        now: Time,
    ) -> Result<Option<Link>, AdminError> {
        let line = Line {
            reason: Some(detail),
            request_id: Some(&asker.request_id),
            ..Line::new(now, asker.name(), NAME, decision)
        };
        let recorded = self.backups.audit.record_durably_at(&line);
        Ok(recorded.map_err(crate::gate::Denied::from)?.1)
    }
}
