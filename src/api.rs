//! The request and response types of the internal and the admin API, shared by server and client.
//!
//! Instants are RFC 3339 text in UTC, durations text such as `1h30m`.

pub mod problem;

use jwksd_keystore::id::{KeyId, KeysetName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use problem::{Code, Problem};

/// `POST /v1/keysets/{keyset}/tokens`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with claims and ttl")]
pub struct TokenRequest<'a> {
    /// The claims of the caller, copied into the token byte for byte.
    #[serde(borrow)]
    pub claims: &'a RawValue,
    /// The lifetime: seconds as a number, or text such as `15m`.
    pub ttl: Ttl,
    /// The `typ` header; `JWT` if not given.
    #[serde(default)]
    pub typ: Option<String>,
}

/// A lifetime: seconds as a number, or text such as `15m`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ttl {
    /// Whole seconds.
    Seconds(u64),
    /// Text such as `15m`.
    Text(String),
}

/// A signed token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenResponse {
    /// The compact JWS.
    pub token: String,
    /// The key that signed it.
    pub kid: KeyId,
    /// Its `exp`.
    pub expires_at: String,
}

/// The most requests of a batch.
pub const BATCH_LIMIT: usize = 1000;

/// `POST /v1/keysets/{keyset}/tokens/batch`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest<'a> {
    /// At most [`BATCH_LIMIT`], each a [`TokenRequest`]. What is wrong with one is not wrong with
    /// the batch, so they are not looked into here.
    #[serde(borrow)]
    pub requests: Vec<&'a RawValue>,
}

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchResponse {
    /// One for each request, in their order.
    pub results: Vec<BatchResult>,
}

/// What came of one request of a batch: what it would have been answered alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysetList {
    /// The key sets that the caller may read.
    pub keysets: Vec<Keyset>,
}

/// `GET /v1/keysets/{keyset}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyset {
    /// Its name.
    pub name: KeysetName,
    /// How often it was committed.
    pub revision: u64,
    /// Whether it is in the configuration.
    pub configured: bool,
    /// What new keys are made for.
    pub algorithm: Option<String>,
    /// `publish_ahead`, how long a key is published before it signs.
    pub publish_ahead: Option<String>,
    /// When it rotates: a schedule with its time zone, or `manual`.
    pub rotate: Option<String>,
    /// The kid of the key that signs.
    pub active: Option<KeyId>,
    /// All keys that are or were in the set, in the order of their numbers.
    pub keys: Vec<Key>,
    /// What will happen next, the soonest first.
    pub next: Vec<Event>,
}

/// A key that is or was in a set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Its kid.
    pub kid: KeyId,
    /// Its number in the set.
    pub number: u64,
    /// What it may do now.
    pub state: KeyState,
    /// What it signs with.
    pub algorithm: String,
    /// When it was put into the JWK Set.
    pub published: String,
    /// When it starts or started to sign; not there while that is not planned.
    pub activates: Option<String>,
    /// Who decided `activates`.
    pub planned_by: String,
    /// When it stopped to sign for good.
    pub ended: Option<String>,
    /// When it leaves the JWK Set.
    pub retires: Option<String>,
    /// When it left the JWK Set.
    pub left: Option<String>,
    /// What the admin gave as the reason of its revocation.
    pub reason: Option<String>,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

/// Something that will happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub at: String,
    /// To which key.
    pub kid: KeyId,
    /// What.
    pub event: EventKind,
}

/// What will happen to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// It starts to sign.
    Activates,
    /// It leaves the JWK Set.
    Retires,
}

/// `POST /v1/keysets/{keyset}/rotate`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRequest {
    /// The kid that the asker saw sign: a retry does not rotate twice. Must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_active: Option<KeyId>,
    /// Do not wait until verifiers have seen the standby.
    #[serde(default)]
    pub now: bool,
    /// Rotate at this instant (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

/// The answer to a rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotateResponse {
    /// The key set.
    pub keyset: KeysetName,
    /// Whether an earlier try had already done or planned just this, so that nothing was done now.
    pub already: bool,
    /// The key that signed when this was asked.
    pub from: KeyId,
    /// The key that signs from `activates` on.
    pub to: KeyId,
    /// When.
    pub activates: Option<String>,
    /// Until when verifiers may refuse tokens of the new key, where it did not wait.
    pub refused_until: Option<String>,
}

/// `POST /v1/keysets/{keyset}/keys/{kid}/revoke`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// Why. Kept with the key and in the audit.
    pub reason: String,
}

/// `POST /v1/keysets/{keyset}/revoke-all`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeAllRequest {
    /// Why. Kept with the keys and in the audit.
    pub reason: String,
    /// The kid that the asker saw sign: a retry does not revoke the fresh key. Must be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect_active: Option<KeyId>,
}

/// The answer to a revocation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeResponse {
    /// The key set.
    pub keyset: KeysetName,
    /// The keys that are revoked now.
    pub revoked: Vec<KeyId>,
    /// Whether that was so before.
    pub already: bool,
    /// The key that signs now.
    pub active: Option<KeyId>,
    /// Until when verifiers that honour `max-age` and the stated cache may trust the keys.
    pub trusted_until: String,
}

/// The answer to an early retirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetireResponse {
    /// The key set.
    pub keyset: KeysetName,
    /// The key that left the JWK Set.
    pub retired: KeyId,
    /// Whether it had left before.
    pub already: bool,
    /// Until when good tokens of the key may be refused, where it left before its time.
    pub cuts_off_until: Option<String>,
}

/// The answer to a reload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadResponse {
    /// The key sets whose facts changed, or that came or went.
    pub changed: Vec<KeysetName>,
    /// Those of them that are no longer in the configuration: they stopped to sign.
    pub removed: Vec<KeysetName>,
    /// What was changed in the file but needs a restart.
    pub needs_restart: Vec<String>,
}

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The version of the daemon.
    pub version: String,
    /// Whether all is well.
    pub ready: bool,
    /// What is not, each with its reason.
    pub problems: Vec<String>,
}
