//! Whether all is well, check by check.

use jwksd_keystore::id::KeysetName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// `GET /v1/status`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Status {
    /// The version of the daemon.
    pub version: String,
    /// Whether no check is failing.
    pub ready: bool,
    /// The checks that are failing, each with its reason, for people.
    pub problems: Vec<String>,
    /// Those with a warning: what to see to before it becomes a problem.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// Every check. One that is about key sets or listeners is there once where all is well, and once
    /// for each of them that is not.
    #[serde(default)]
    pub checks: Vec<Check>,
}

/// `GET /readyz` of the metrics listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether no check is failing.
    pub ready: bool,
    /// As in [`Status`].
    pub checks: Vec<Check>,
}

/// How a check stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// What is checked, such as `store`. More names may come.
    pub name: String,
    /// How it stands.
    pub state: CheckState,
    /// Why it is not ok.
    pub reason: Option<String>,
    /// The key set that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::KeysetName>)]
    pub keyset: Option<KeysetName>,
    /// The listener that this is about, by its table: such as `public.tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
}

/// How well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// All is well.
    Ok,
    /// All goes on for now, and someone should see to it.
    Warning,
    /// The daemon is not ready.
    Failing,
}
