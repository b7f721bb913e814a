//! Who has fetched which version of each JWK Set.

use jwksd_keystore::id::{KeyId, KeysetName};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// What `GET /v1/fetchers` takes behind its `?`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchersQuery {
    /// Only this key set.
    #[serde(default)]
    pub keyset: Option<String>,
}

/// `GET /v1/fetchers`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fetchers {
    /// Since when fetchers are watched: the start, or when `[fetchers]` was changed. None where that
    /// is off; then there are no key sets.
    #[schema(value_type = Option<schema::Instant>)]
    pub since: Option<String>,
    /// The key sets that the caller may read.
    pub keysets: Vec<FetchedKeyset>,
}

/// The fetchers of one JWK Set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FetchedKeyset {
    /// The name of the key set.
    #[schema(value_type = schema::KeysetName)]
    pub name: KeysetName,
    /// The entity tag of what is served now; none while nothing is.
    pub version: Option<String>,
    /// The kid of the key that signs.
    #[schema(value_type = Option<schema::KeyId>)]
    pub active: Option<KeyId>,
    /// The kid of the key that signs next.
    #[schema(value_type = Option<schema::KeyId>)]
    pub standby: Option<KeyId>,
    /// For how long after its last fetch a fetcher is known.
    #[schema(value_type = Option<schema::Span>)]
    pub window: Option<String>,
    /// How many are known.
    pub known: u64,
    /// How many of them have what is served now.
    pub current: u64,
    /// How many of them lack the key that signs.
    pub without_active: u64,
    /// How many of them lack the standby, those without both included.
    pub without_standby: u64,
    /// How many had to make room for others since `since`, and are not known any more.
    pub forgotten: u64,
    /// Those that are known: those that lack most first.
    pub fetchers: Vec<Fetcher>,
}

/// Who fetched a JWK Set. Whoever has the same network and user agent is the same fetcher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Fetcher {
    /// A network, `local` for a Unix socket, or what the configured header said.
    pub who: String,
    /// What it said that it is; printable ASCII, cut.
    pub user_agent: String,
    /// When it fetched last, to the second.
    #[schema(value_type = schema::Instant)]
    pub last: String,
    /// How often it fetched.
    pub fetches: u64,
    /// What it has.
    pub has: Has,
    /// The entity tag of what it got last.
    pub seen_version: String,
}

/// What a fetcher has of what is served now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Has {
    /// All of it.
    Current,
    /// Not the key that signs: it may refuse tokens until it fetches.
    WithoutActive,
    /// Not the key that signs next.
    WithoutStandby,
    /// An older version, in which neither of them is missing.
    Older,
}

/// How the fetchers stand to the key that a rotation is to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FetchersOfKey {
    /// How many are known.
    pub known: u64,
    /// How many of them have not fetched the key yet.
    pub without_standby: u64,
    /// How many had to make room for others since then: nobody knows whether they have it.
    pub forgotten: u64,
    /// How many of those that are known stand for several user agents of a network, which are not told
    /// apart: the last of them that fetched speaks for all.
    pub several: u64,
    /// Since when fetchers are watched.
    #[schema(value_type = schema::Instant)]
    pub since: String,
}
