//! `GET /v1/signatures`

use jwksd_keystore::id::KeysetName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// `GET /v1/signatures`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Signatures {
    /// Since when it is counted: the start of the daemon.
    #[schema(value_type = schema::Instant)]
    pub since: String,
    /// The key sets that the caller may read.
    pub keysets: Vec<KeysetSignatures>,
}

/// What was signed with one key set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeysetSignatures {
    /// Its name.
    #[schema(value_type = schema::KeysetName)]
    pub name: KeysetName,
    /// How many tokens were signed since then.
    pub signed: u64,
    /// How many requests for a token were refused since then.
    pub refused: u64,
}
