//! `POST /v1/store/backup`

use jwksd_keystore::store::backup::Header;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// The header of the answer that says what the backup holds.
pub const BACKUP_HEADER: &str = "Jwksd-Backup";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupHolds {
    /// When it was made.
    #[schema(value_type = schema::Instant)]
    pub taken: String,
    /// How many commits the store had had.
    pub commit: u64,
    /// How many key sets it holds.
    pub keysets: u64,
    /// How many keys it holds, without those that left.
    pub keys: u64,
}

impl From<&Header> for BackupHolds {
    fn from(header: &Header) -> Self {
        let Header { taken, commit, keysets, keys, .. } = header;
        Self { taken: taken.to_string(), commit: *commit, keysets: *keysets, keys: *keys }
    }
}
