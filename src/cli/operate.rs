//! `jwksd reload` and `jwksd status`.

use std::process::ExitCode;

use jwksd::api::{ReloadResponse, Status};
use jwksd::client::Client;
use jwksd_keystore::id::KeysetName;

use super::{Out, ask};

pub(super) fn reload(client: &Client, out: &Out) -> anyhow::Result<ExitCode> {
    let answer: ReloadResponse = ask(client.post("/v1/reload", &serde_json::json!({})))?;
    out.print(&answer, |answer| {
        let changed: Vec<&str> = answer.changed.iter().map(KeysetName::as_str).collect();
        let mut text = if changed.is_empty() {
            "reloaded; no key set changed its facts\n".to_owned()
        } else {
            format!("reloaded; changed facts of: {}\n", changed.join(", "))
        };
        for name in &answer.removed {
            text += &format!(
                "warning: {name} is no longer in the configuration: it stopped to sign, its active \
                 key ended, and its JWK Set is served until its last token has expired\n"
            );
        }
        for key in &answer.needs_restart {
            text += &format!("warning: {key} was changed and needs a restart\n");
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn status(client: &Client, out: &Out) -> anyhow::Result<ExitCode> {
    let answer: Status = ask(client.get("/v1/status"))?;
    out.print(&answer, |answer| {
        let state = if answer.ready { "ready" } else { "not ready" };
        let mut text = format!("jwksd {} is {state}\n", answer.version);
        for problem in &answer.problems {
            text += &format!("  {problem}\n");
        }
        for warning in &answer.warnings {
            text += &format!("  warning: {warning}\n");
        }
        text
    })?;
    Ok(if answer.ready { ExitCode::SUCCESS } else { ExitCode::from(6) })
}
