//! What an incident needs, and the end of the audit.

use jwksd_keystore::id::{KeyId, KeysetName};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{KeyOrigin, KeyState, schema};

/// `GET /v1/keysets/{keyset}/keys/{kid}/incident`, and a key of `GET /v1/keysets/{keyset}/incident`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Incident {
    /// The key set.
    #[schema(value_type = schema::KeysetName)]
    pub keyset: KeysetName,
    /// The key.
    #[schema(value_type = schema::KeyId)]
    pub kid: KeyId,
    /// What it may do now.
    pub state: KeyState,
    /// Where it came from. One that is trusted signs elsewhere: nothing is known of its tokens.
    pub origin: KeyOrigin,
    /// When this was told.
    #[schema(value_type = schema::Instant)]
    pub at: String,
    /// When it began to sign; not there where it never did.
    #[schema(value_type = Option<schema::Instant>)]
    pub signed_from: Option<String>,
    /// When it stopped to sign; not there where it signs still.
    #[schema(value_type = Option<schema::Instant>)]
    pub signed_until: Option<String>,
    /// When it left the JWK Set.
    #[schema(value_type = Option<schema::Instant>)]
    pub left: Option<String>,
    /// What the admin gave as the reason of its revocation.
    pub reason: Option<String>,
    /// What it signed.
    pub tokens: IncidentTokens,
    /// Who was given its public half in a form that nobody fetches again, such as PEM.
    pub exports: IncidentExports,
    /// Who may trust it, and until when.
    pub trust: IncidentTrust,
    /// The backups that may hold its secret.
    pub backups: IncidentBackups,
    /// How much of the audit this was read from.
    pub audit: IncidentAudit,
    /// What its revocation would do; not there where it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoking: Option<Revoking>,
    /// What to do next, in this order.
    pub steps: Vec<IncidentStep>,
}

/// `GET /v1/keysets/{keyset}/incident`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeysetIncident {
    /// The key set.
    #[schema(value_type = schema::KeysetName)]
    pub keyset: KeysetName,
    /// What the revocation of all keys would do; not there where none is in the JWK Set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoking: Option<Revoking>,
    /// The keys in the JWK Set, and those that were revoked and may be trusted still.
    pub keys: Vec<Incident>,
}

/// The tokens of a key, as far as the audit tells. A line is written before its signature, so that there
/// may be fewer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentTokens {
    /// How many.
    pub count: u64,
    /// How many of them have not expired.
    pub unexpired: u64,
    /// When the first was signed.
    #[schema(value_type = Option<schema::Instant>)]
    pub first: Option<String>,
    /// When the last was signed.
    #[schema(value_type = Option<schema::Instant>)]
    pub last: Option<String>,
    /// The last expiry among them.
    #[schema(value_type = Option<schema::Instant>)]
    pub last_expiry: Option<String>,
    /// The last expiry that a token of the daemon can have, whatever the audit knows. Whoever has the
    /// secret can make tokens of any lifetime.
    #[schema(value_type = Option<schema::Instant>)]
    pub last_possible_expiry: Option<String>,
    /// For whom: those with most tokens first, at most 100.
    pub callers: Vec<IncidentUse>,
    /// How many tokens were for other callers.
    pub for_other_callers: u64,
    /// For which audiences: those with most tokens first, at most 100. A token may have several.
    pub audiences: Vec<IncidentUse>,
    /// How often other audiences were named.
    pub for_other_audiences: u64,
}

/// Tokens of one caller, or for one audience.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentUse {
    /// The caller or the audience; not there for tokens without an audience.
    pub name: Option<String>,
    /// How many.
    pub tokens: u64,
    /// When the first was signed.
    #[schema(value_type = schema::Instant)]
    pub first: String,
    /// When the last was signed.
    #[schema(value_type = schema::Instant)]
    pub last: String,
    /// The last expiry among them.
    #[schema(value_type = schema::Instant)]
    pub last_expiry: String,
}

/// Who was given a public key by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentExports {
    /// When it was first given out while it was pending.
    #[schema(value_type = Option<schema::Instant>)]
    pub since: Option<String>,
    /// How often the audit knows that it, or the whole JWK Set, was given out.
    pub count: u64,
    /// The newest of them, at most 20.
    pub newest: Vec<IncidentExport>,
}

/// A public key that was given out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentExport {
    /// When.
    #[schema(value_type = schema::Instant)]
    pub at: String,
    /// To which caller.
    pub caller: String,
    /// In which form.
    pub form: String,
}

/// Who may trust a key, and until when. For a key that is in the JWK Set, as if it left now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentTrust {
    /// Until when verifiers that honour `max-age` and the stated cache may trust it.
    #[schema(value_type = schema::Instant)]
    pub until: String,
    /// The `jwks_file` that may publish it still: `until` counts from when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub still_in: Option<String>,
    /// Who of the known verifiers may trust it still, with the settings that each has when nobody changes
    /// any, also by way of a shared cache; the longest first.
    pub verifiers: Vec<IncidentVerifiers>,
    /// Who has fetched the JWK Set with it, and not since; not there where nobody watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetchers: Option<IncidentFetchers>,
}

/// Verifiers that trust a key that left for equally long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentVerifiers {
    /// For how long, in words.
    pub lasts: String,
    /// Until when; not there where it does not end by itself.
    #[schema(value_type = Option<schema::Instant>)]
    pub until: Option<String>,
    /// Their names.
    pub names: Vec<String>,
}

/// Fetchers of the JWK Set whose last fetch has a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentFetchers {
    /// Since when fetchers are watched.
    #[schema(value_type = schema::Instant)]
    pub since: String,
    /// How many were seen lately, whatever they have.
    pub known: u64,
    /// How many of them have the key.
    pub holding: u64,
    /// Those of them, at most 50, that fetched longest ago.
    pub named: Vec<IncidentFetcher>,
}

/// Someone who fetches the JWK Set. All of it is what strangers say of themselves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentFetcher {
    /// A network, or what the configured header said.
    pub who: String,
    /// Its user agent.
    pub user_agent: String,
    /// When it fetched last.
    #[schema(value_type = schema::Instant)]
    pub last: String,
}

/// The backups of the store since the key was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentBackups {
    /// How many the audit knows. They may hold its secret.
    pub count: u64,
    /// When the newest was made.
    #[schema(value_type = Option<schema::Instant>)]
    pub last: Option<String>,
}

/// How much of the audit was read. That its lines are as they were written was not checked:
/// `jwksd audit verify` does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentAudit {
    /// Whether all is counted that the key signed.
    pub complete: bool,
    /// How many lines were read, of all kinds.
    pub lines: u64,
    /// The number of the oldest of them.
    pub oldest_line: Option<u64>,
    /// When that was written.
    #[schema(value_type = Option<schema::Instant>)]
    pub since: Option<String>,
    /// Why something may not be counted.
    pub gaps: Vec<String>,
}

/// What a revocation would do now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Revoking {
    /// The keys that would leave the JWK Set.
    #[schema(value_type = Vec<schema::KeyId>)]
    pub revoked: Vec<KeyId>,
    /// The key that would sign then.
    #[schema(value_type = Option<schema::KeyId>)]
    pub active: Option<KeyId>,
    /// Whether a key would be made to sign, whose kid nobody knows yet.
    pub fresh: bool,
    /// Until when verifiers that have not fetched it may refuse tokens of that key.
    #[schema(value_type = Option<schema::Instant>)]
    pub refused_until: Option<String>,
    /// Until when verifiers that honour `max-age` and the stated cache may trust what was revoked.
    #[schema(value_type = schema::Instant)]
    pub trusted_until: String,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct IncidentStep {
    /// What, and why.
    pub what: String,
    /// The command that does it, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

/// The most lines of the audit that are given at once.
pub const MOST_LINES: usize = 500;

/// What `GET /v1/audit` may ask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// How many lines, from 1 to [`MOST_LINES`].
    pub last: Option<usize>,
}

/// `GET /v1/audit`
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuditTail {
    /// The newest lines as they are written, the oldest of them first.
    #[schema(value_type = Vec<schema::AuditLine>)]
    pub lines: Vec<Box<RawValue>>,
}
