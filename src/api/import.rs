//! What is asked and answered when a key is brought.

use jwksd_keystore::id::{KeyId, KeysetName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{KeyState, schema};

/// `POST /v1/keysets/{keyset}/import`
// It borrows what is secret, and has no `Debug`; what is sent is read in `http/import`.
#[derive(Serialize, ToSchema)]
#[schema(as = ImportRequest)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest<'a> {
    /// The text of the key file: PKCS#8, PKCS#1, SEC1 or OpenSSH in PEM, an OpenSSH public key, or
    /// a JWK.
    #[schema(value_type = String, min_length = 1, max_length = 65536)]
    pub key: &'a str,
    /// What the file is encrypted with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub passphrase: Option<&'a str>,
    /// What the key is to be called; if not given, what its JWK says, or else its RFC 7638
    /// thumbprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::KeyId>)]
    pub kid: Option<&'a KeyId>,
    /// Do not sign with the key, only publish its public half, until this instant, at most 400 days
    /// ahead. This takes the action `import-trust`, and not `import`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Instant>)]
    pub verify_only_until: Option<&'a str>,
    /// Replace the standby also where it was exported.
    #[serde(default)]
    #[schema(required = false)]
    pub force: bool,
}

/// The answer to an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportResponse {
    /// The key set.
    #[schema(value_type = schema::KeysetName)]
    pub keyset: KeysetName,
    /// What the key is called.
    #[schema(value_type = schema::KeyId)]
    pub kid: KeyId,
    /// Its number in the set.
    pub number: u64,
    /// What it signs with.
    pub algorithm: String,
    /// What it may do now.
    pub state: KeyState,
    /// Whether an earlier try had already done just this, so that nothing was done now.
    pub already: bool,
    /// When it was put into the JWK Set.
    #[schema(value_type = schema::Instant)]
    pub published: String,
    /// When it starts to sign; not there while that is not planned.
    #[schema(value_type = Option<schema::Instant>)]
    pub activates: Option<String>,
    /// When it leaves the JWK Set.
    #[schema(value_type = Option<schema::Instant>)]
    pub retires: Option<String>,
    /// The standbys whose place it takes.
    #[schema(value_type = Vec<schema::KeyId>)]
    pub replaced: Vec<KeyId>,
    /// What to see to.
    pub warnings: Vec<String>,
}
