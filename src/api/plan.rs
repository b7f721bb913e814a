//! What was and what comes: the lives of the keys of key sets on one time axis.

use std::iter;

use jwksd_keystore::id::{KeyId, KeysetName};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, Schema, SchemaType, Type};
use utoipa::{PartialSchema, ToSchema};

use super::{KeyOrigin, schema};
use crate::verifiers::{ALL, Catalogue};

/// How far ahead a plan goes if nothing else is asked, in days.
pub const PLAN_DAYS: u16 = 90;

/// How far ahead a plan can go, in days.
pub const LONGEST_PLAN: u16 = 400;

/// What `GET /v1/plan` takes behind its `?`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanQuery {
    /// How far ahead.
    #[serde(default = "plan_days", deserialize_with = "days")]
    pub days: u16,
    /// Only this key set.
    #[serde(default)]
    pub keyset: Option<String>,
    /// Which verifiers to tell of: [`ALL`], or their ids.
    #[serde(default, deserialize_with = "list")]
    pub verifiers: Option<Vec<String>>,
}

/// How far ahead, as [`PlanQuery`] takes it.
pub enum PlanDays {}

impl ToSchema for PlanDays {}

impl PartialSchema for PlanDays {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Integer))
            .description(Some("How far ahead, in days."))
            .minimum(Some(1))
            .maximum(Some(LONGEST_PLAN))
            .default(Some(json!(PLAN_DAYS)))
            .into()
    }
}

/// Verifiers, as [`PlanQuery`] takes them.
pub enum PlanVerifiers {}

impl ToSchema for PlanVerifiers {}

impl PartialSchema for PlanVerifiers {
    fn schema() -> RefOr<Schema> {
        let ids = Catalogue::built_in().clients.into_iter().map(|client| client.id);
        let id = ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .enum_values(Some(iter::once(ALL.to_owned()).chain(ids)));
        ArrayBuilder::new().items(id).min_items(Some(1)).into()
    }
}

const fn plan_days() -> u16 {
    PLAN_DAYS
}

fn days<'de, D: Deserializer<'de>>(input: D) -> Result<u16, D::Error> {
    let text = String::deserialize(input)?;
    let days = text.parse().ok().filter(|days| (1..=LONGEST_PLAN).contains(days));
    days.ok_or_else(|| D::Error::custom(format!("days must be from 1 to {LONGEST_PLAN}")))
}

/// A list with commas between its members.
fn list<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Vec<String>>, D::Error> {
    let text = String::deserialize(input)?;
    Ok(Some(text.split(',').map(str::to_owned).collect()))
}

/// `GET /v1/plan`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// Lifecycle time at the answer.
    #[schema(value_type = schema::Instant)]
    pub now: String,
    /// How far ahead it goes.
    #[schema(value_type = schema::Instant)]
    pub until: String,
    /// The key sets that the caller may read.
    pub keysets: Vec<PlannedKeyset>,
}

/// What was and what comes in one key set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedKeyset {
    /// Its name.
    #[schema(value_type = schema::KeysetName)]
    pub name: KeysetName,
    /// The kid of the key that signs now.
    #[schema(value_type = Option<schema::KeyId>)]
    pub active: Option<KeyId>,
    /// All keys that are or were in the set, and those to come, in the order of their numbers.
    pub keys: Vec<PlannedKey>,
    /// What happened and what comes, the earliest first.
    pub events: Vec<PlannedEvent>,
    /// What else to know: why nothing comes, or what has to happen first.
    pub notes: Vec<String>,
    /// For each activation to come, and for that of the key that signs while any do so still, the
    /// verifiers that refuse tokens of the key from then on: of those that were asked about, else of
    /// those that the configuration names, else of all that are known.
    #[serde(default)]
    pub refusing: Vec<RefusingVerifiers>,
}

/// Verifiers that refuse tokens of a key when it starts to sign, because they have not seen it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RefusingVerifiers {
    /// When the key starts to sign.
    #[schema(value_type = schema::Instant)]
    pub at: String,
    /// Its kid; none while it is not made.
    #[schema(value_type = Option<schema::KeyId>)]
    pub kid: Option<KeyId>,
    /// Its number in the set.
    pub number: u64,
    /// Until when they may refuse, at the longest; none where that is until they are restarted.
    #[schema(value_type = Option<schema::Instant>)]
    pub until: Option<String>,
    /// The same where a cache that others share, such as a CDN, is between.
    #[schema(value_type = Option<schema::Instant>)]
    pub until_behind_cache: Option<String>,
    /// Their ids.
    pub verifiers: Vec<String>,
}

/// The life of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedKey {
    /// Its kid; none while it is not made.
    #[schema(value_type = Option<schema::KeyId>)]
    pub kid: Option<KeyId>,
    /// Its number in the set.
    pub number: u64,
    /// What it may do now.
    pub state: PlannedState,
    /// What it signs with.
    pub algorithm: String,
    /// Where it comes from.
    pub origin: KeyOrigin,
    /// What it may do when, one after the other. None of a key that was replaced at once.
    pub phases: Vec<Phase>,
}

/// What a key may do now, or that it is not made yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedState {
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
    /// Not made yet.
    Expected,
}

/// A part of the life of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Phase {
    /// What the key may do in it.
    pub state: PhaseState,
    /// When it begins.
    #[schema(value_type = schema::Instant)]
    pub from: String,
    /// When it ends, also where that is later than the plan goes; none where that is not planned.
    #[schema(value_type = Option<schema::Instant>)]
    pub until: Option<String>,
    /// Whether its beginning is reckoned, and does not stand in the store.
    pub expected: bool,
}

/// What a key may do in a part of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseState {
    /// Published, does not sign yet.
    Pending,
    /// Published and signs.
    Active,
    /// Published, will never sign again.
    VerifyOnly,
}

/// Something that happened or will happen to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedEvent {
    /// When.
    #[schema(value_type = schema::Instant)]
    pub at: String,
    /// The kid; none while the key is not made.
    #[schema(value_type = Option<schema::KeyId>)]
    pub kid: Option<KeyId>,
    /// The number of the key in the set.
    pub number: u64,
    /// What.
    pub event: PlannedEventKind,
    /// Why.
    pub why: Why,
    /// What the admin gave as the reason of a revocation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the instant is reckoned, and does not stand in the store.
    pub expected: bool,
}

/// What happens to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedEventKind {
    /// It comes into the JWK Set.
    Publish,
    /// It starts to sign.
    Activate,
    /// It stops to sign for good, and its secret is erased.
    End,
    /// It leaves the JWK Set after it signed.
    Retire,
    /// It leaves the JWK Set and never signed.
    Leave,
    /// An admin takes it out for good.
    Revoke,
}

/// Why something happens to a key. More can come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It is the first key of its set.
    FirstKey,
    /// A published key is always there to sign next.
    Standby,
    /// An admin imported it to sign with.
    Import,
    /// An admin imported its public half, so that tokens of another issuer verify.
    Trust,
    /// The schedule says so.
    Schedule,
    /// An admin says so.
    Admin,
    /// An admin says so, without the wait.
    AdminNow,
    /// The key before it was revoked.
    Revocation,
    /// The set had come to have no signer: it was missing from the configuration for a while.
    Recovery,
    /// A newer key signs.
    Successor,
    /// The set is missing from the configuration.
    Removed,
    /// Its last token has expired.
    Expired,
    /// It was trusted until then.
    TrustedUntil,
    /// Another key took its place before it signed.
    Replaced,
}
