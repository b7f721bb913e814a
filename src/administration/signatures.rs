//! How much is signed, as running totals.

use super::Administration;
use crate::api::{KeysetSignatures, Signatures};
use crate::custody::Asker;
use crate::policy::Action;

impl Administration {
    /// How many tokens were signed since the start, of the key sets that the asker may read. Nothing is
    /// recorded, as of the list of key sets: whoever watches asks again and again.
    #[must_use]
    pub fn signatures(&self, asker: &Asker) -> Signatures {
        let metrics = self.metrics.metrics();
        let totals = metrics.totals().into_iter();
        let readable = totals.filter(|(name, _)| self.custody.may(asker, Action::Read, name));
        Signatures {
            since: metrics.started().to_string(),
            keysets: readable
                .map(|(name, (signed, refused))| KeysetSignatures { name, signed, refused })
                .collect(),
        }
    }
}
