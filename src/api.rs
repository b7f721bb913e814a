//! The request and response types of the internal and the admin API, shared by server and client.
//!
//! Instants are RFC 3339 text in UTC, durations text such as `1h30m`.

pub mod backup;
pub mod export;
pub mod fetchers;
pub mod import;
pub mod incident;
pub mod plan;
pub mod problem;
pub mod schema;
pub mod signatures;
pub mod status;
pub mod ttl;

use jwksd_keystore::id::{KeyId, KeysetName};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

pub use backup::{BACKUP_HEADER, BackupHolds};
pub use export::{ExportRequest, ExportResponse};
pub use fetchers::{Fetchers, FetchersOfKey, FetchersQuery};
pub use import::{ImportRequest, ImportResponse};
pub use incident::{
    AuditQuery, AuditTail, Incident, IncidentAudit, IncidentBackups, IncidentExport,
    IncidentExports, IncidentFetcher, IncidentFetchers, IncidentStep, IncidentTokens,
    IncidentTrust, IncidentUse, IncidentVerifiers, KeysetIncident, MOST_LINES, Revoking,
};
pub use plan::{Plan, PlanQuery};
pub use problem::{Code, Problem};
pub use signatures::{KeysetSignatures, Signatures};
pub use status::{Check, CheckState, Readiness, Status};
pub use ttl::Ttl;

/// `POST /v1/keysets/{keyset}/tokens`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object with claims and ttl")]
pub struct TokenRequest<'a> {
    /// The claims of the caller, copied into the token byte for byte.
    #[serde(borrow)]
    #[schema(value_type = schema::Claims)]
    pub claims: &'a RawValue,
    /// The lifetime: seconds as a number, or text such as `15m`.
    #[schema(value_type = schema::Ttl)]
    pub ttl: Ttl,
    /// The `typ` header; `JWT` if not given.
    #[serde(default)]
    pub typ: Option<String>,
}

/// For JSON, and for its schemas, 900.0 and 9e2 are the whole number 900.
fn whole_number<'de, D: Deserializer<'de>>(input: D) -> Result<u64, D::Error> {
    ttl::whole(f64::deserialize(input)?).ok_or_else(|| D::Error::custom("not a whole number"))
}

/// A signed token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenResponse {
    /// The compact JWS.
    pub token: String,
    /// The key that signed it.
    #[schema(value_type = schema::KeyId)]
    pub kid: KeyId,
    /// Its `exp`.
    #[schema(value_type = schema::Instant)]
    pub expires_at: String,
}

/// The most requests of a batch.
pub const BATCH_LIMIT: usize = 1000;

/// `POST /v1/keysets/{keyset}/tokens/batch`
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest<'a> {
    /// At most 1,000. What is wrong with one is not wrong with the batch.
    #[serde(borrow)]
    #[schema(value_type = Vec<TokenRequest>, max_items = 1000)]
    pub requests: Vec<&'a RawValue>,
}

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BatchResponse {
    /// One for each request, in their order.
    pub results: Vec<BatchResult>,
}

/// What came of one request of a batch: what it would have been answered alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum BatchResult {
    /// A token.
    Token(TokenResponse),
    /// No token.
    Error {
        /// Why. Its `request_id` is that of the batch, a dot, and the place of the request in the
        /// list, from 0; the audit's line about it has the same.
        error: Problem,
    },
}

/// `GET /v1/keysets`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeysetList {
    /// The key sets that the caller may read.
    pub keysets: Vec<Keyset>,
}

/// `GET /v1/keysets/{keyset}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Keyset {
    /// Its name.
    #[schema(value_type = schema::KeysetName)]
    pub name: KeysetName,
    /// How often it was committed.
    pub revision: u64,
    /// Whether it is in the configuration.
    pub configured: bool,
    /// What new keys are made for.
    pub algorithm: Option<String>,
    /// `publish_ahead`, how long a key is published before it signs.
    #[schema(value_type = Option<schema::Span>)]
    pub publish_ahead: Option<String>,
    /// When it rotates: a schedule with its time zone, or `manual`.
    pub rotate: Option<String>,
    /// The kid of the key that signs.
    #[schema(value_type = Option<schema::KeyId>)]
    pub active: Option<KeyId>,
    /// The kid of the key that signs next.
    #[serde(default)]
    #[schema(value_type = Option<schema::KeyId>)]
    pub standby: Option<KeyId>,
    /// All keys that are or were in the set, in the order of their numbers.
    pub keys: Vec<Key>,
    /// What will happen next, the soonest first.
    pub next: Vec<Event>,
    /// The file that the JWK Set is written to besides, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<JwksFile>,
}

impl Keyset {
    /// Whether no key of its own was ever in it: its first is to be imported.
    #[must_use]
    pub fn waits_for_its_first_key(&self) -> bool {
        self.keys.iter().all(|key| key.origin == KeyOrigin::Trusted)
    }

    /// Whether a key waits for a file.
    #[must_use]
    pub fn has_key_that_waits_for_its_file(&self) -> bool {
        self.jwks_file.as_ref().is_some_and(|file| !file.waiting.is_empty())
    }
}

/// A file that a JWK Set is written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JwksFile {
    /// Where it is.
    pub path: String,
    /// Whether it is known to hold what is served.
    pub confirmed: bool,
    /// What is not well about it, and what follows from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The keys that do not start to sign before the file has them.
    #[schema(value_type = Vec<schema::KeyId>)]
    pub waiting: Vec<KeyId>,
}

/// A key that is or was in a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// Its kid.
    #[schema(value_type = schema::KeyId)]
    pub kid: KeyId,
    /// Its number in the set.
    pub number: u64,
    /// What it may do now.
    pub state: KeyState,
    /// Where it came from.
    #[serde(default)]
    pub origin: KeyOrigin,
    /// What it signs with.
    pub algorithm: String,
    /// When it was put into the JWK Set.
    #[schema(value_type = schema::Instant)]
    pub published: String,
    /// When it starts or started to sign; not there while that is not planned.
    #[schema(value_type = Option<schema::Instant>)]
    pub activates: Option<String>,
    /// Who decided `activates`.
    pub planned_by: String,
    /// When it stopped to sign for good.
    #[schema(value_type = Option<schema::Instant>)]
    pub ended: Option<String>,
    /// When it leaves the JWK Set.
    #[schema(value_type = Option<schema::Instant>)]
    pub retires: Option<String>,
    /// When it left the JWK Set.
    #[schema(value_type = Option<schema::Instant>)]
    pub left: Option<String>,
    /// What the admin gave as the reason of its revocation.
    pub reason: Option<String>,
    /// When it was first exported in a form that nobody fetches again, such as PEM, while it was
    /// pending.
    #[serde(default)]
    #[schema(value_type = Option<schema::Instant>)]
    pub exported: Option<String>,
    /// For verifiers that hold keys themselves: until when a pending key has to be in place there.
    #[serde(default)]
    #[schema(value_type = Option<schema::Instant>)]
    pub in_place_by: Option<String>,
    /// For verifiers that hold keys themselves: until when tokens that it signed may live. For the
    /// key that signs, reckoned from the rotation that is planned; not there while none is.
    #[serde(default)]
    #[schema(value_type = Option<schema::Instant>)]
    pub needed_until: Option<String>,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// Published, does not sign yet.
    Pending,
    /// Published and signs.
    Active,
    /// Published, will never sign again.
    VerifyOnly,
    /// Left the set after its time, or because another key took its place.
    Retired,
    /// Was taken out by an admin.
    Revoked,
}

/// Where a key came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum KeyOrigin {
    /// The daemon made it.
    #[default]
    Generated,
    /// An admin imported it to sign with.
    Imported,
    /// It signs elsewhere, and only its public half was imported.
    Trusted,
}

/// Something that will happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// When.
    #[schema(value_type = schema::Instant)]
    pub at: String,
    /// To which key.
    #[schema(value_type = schema::KeyId)]
    pub kid: KeyId,
    /// What.
    pub event: EventKind,
}

/// What will happen to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// It starts to sign.
    Activates,
    /// It leaves the JWK Set.
    Retires,
}

/// `POST /v1/keysets/{keyset}/rotate`
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// The kid that the asker saw sign: a retry does not rotate twice. Must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = schema::KeyId, required)]
    pub expect_active: Option<KeyId>,
    /// Do not wait until verifiers have seen the standby.
    #[serde(default)]
    pub now: bool,
    /// Rotate at this instant, before the 30th of December 9999.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Instant>)]
    pub at: Option<String>,
}

/// The answer to a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RotateResponse {
    /// The key set.
    #[schema(value_type = schema::KeysetName)]
    pub keyset: KeysetName,
    /// Whether an earlier try had already done or planned just this, so that nothing was done now.
    pub already: bool,
    /// The key that signed when this was asked.
    #[schema(value_type = schema::KeyId)]
    pub from: KeyId,
    /// The key that signs from `activates` on.
    #[schema(value_type = schema::KeyId)]
    pub to: KeyId,
    /// When.
    #[schema(value_type = Option<schema::Instant>)]
    pub activates: Option<String>,
    /// Until when verifiers may refuse tokens of the new key, where it did not wait.
    #[schema(value_type = Option<schema::Instant>)]
    pub refused_until: Option<String>,
    /// The `jwks_file` that is not confirmed to have the key: it waits from when it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// How many verifiers are known to have fetched the key that `to` names, and how many not; not
    /// there where nobody watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetchers: Option<FetchersOfKey>,
    /// The scheduled rotation that does not happen, since this one comes later in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::Instant>)]
    pub skips: Option<String>,
}

/// `POST /v1/keysets/{keyset}/keys/{kid}/revoke`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Why. Kept with the key and in the audit.
    #[schema(value_type = schema::Reason)]
    pub reason: String,
}

/// `POST /v1/keysets/{keyset}/revoke-all`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevokeAllRequest {
    /// Why. Kept with the keys and in the audit.
    #[schema(value_type = schema::Reason)]
    pub reason: String,
    /// The kid that the asker saw sign: a retry does not revoke the fresh key. Must be given where
    /// a key signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::KeyId>)]
    pub expect_active: Option<KeyId>,
}

/// The answer to a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevokeResponse {
    /// The key set.
    #[schema(value_type = schema::KeysetName)]
    pub keyset: KeysetName,
    /// The keys that are revoked now.
    #[schema(value_type = Vec<schema::KeyId>)]
    pub revoked: Vec<KeyId>,
    /// Whether that was so before.
    pub already: bool,
    /// The key that signs now.
    #[schema(value_type = Option<schema::KeyId>)]
    pub active: Option<KeyId>,
    /// Until when verifiers that honour `max-age` and the stated cache may trust the keys.
    #[schema(value_type = schema::Instant)]
    pub trusted_until: String,
    /// Those of the keys that were exported, as PEM or the like, while they were pending: they have to be
    /// taken out by hand wherever they were put.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<schema::KeyId>)]
    pub exported: Vec<KeyId>,
    /// The `jwks_file` that may publish the keys still, a second later: `trusted_until` counts from
    /// when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub still_in: Option<String>,
}

/// The answer to an early retirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetireResponse {
    /// The key set.
    #[schema(value_type = schema::KeysetName)]
    pub keyset: KeysetName,
    /// The key that left the JWK Set.
    #[schema(value_type = schema::KeyId)]
    pub retired: KeyId,
    /// Whether it had left before.
    pub already: bool,
    /// Until when good tokens of the key may be refused, where it left before its time.
    #[schema(value_type = Option<schema::Instant>)]
    pub cuts_off_until: Option<String>,
}

/// The answer to a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReloadResponse {
    /// The key sets whose facts or `jwks_file` changed, or that came or went.
    #[schema(value_type = Vec<schema::KeysetName>)]
    pub changed: Vec<KeysetName>,
    /// Those of them that are no longer in the configuration: they stopped to sign.
    #[schema(value_type = Vec<schema::KeysetName>)]
    pub removed: Vec<KeysetName>,
    /// What was changed in the file but needs a restart.
    pub needs_restart: Vec<String>,
    /// The callers that came.
    #[serde(default)]
    pub callers_added: Vec<String>,
    /// The callers that went: they are nobody now.
    #[serde(default)]
    pub callers_removed: Vec<String>,
    /// What `jwksd check` warns of, and every `jwks_file` that is not as it shall be.
    #[serde(default)]
    pub warnings: Vec<String>,
}
