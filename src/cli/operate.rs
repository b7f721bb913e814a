//! `jwksd reload`.

use std::process::ExitCode;

use jwksd::api::ReloadResponse;
use jwksd::client::Client;
use jwksd_keystore::id::KeysetName;

use super::print::inert;
use super::{Out, ask};

pub(super) fn reload(client: &Client, out: &Out) -> anyhow::Result<ExitCode> {
    let answer: ReloadResponse = ask(client.post("/v1/reload", &serde_json::json!({})))?;
    out.print(&answer, |answer| {
        let changed: Vec<&str> = answer.changed.iter().map(KeysetName::as_str).collect();
        let mut text = if changed.is_empty() {
            "reloaded; no key set changed\n".to_owned()
        } else {
            format!("reloaded; changed facts of: {}\n", changed.join(", "))
        };
        for name in &answer.removed {
            text += &format!(
                "warning: {name} is no longer in the configuration: it stopped to sign, its active \
                 key ended, and its JWK Set is served until its last token has expired\n"
            );
        }
        for (callers, became) in [
            (&answer.callers_added, "came"),
            (&answer.callers_removed, "went: they are nobody now"),
        ] {
            if !callers.is_empty() {
                text += &format!("callers that {became}: {}\n", inert(&callers.join(", ")));
            }
        }
        for warning in &answer.warnings {
            text += &format!("warning: {}\n", inert(warning));
        }
        for key in &answer.needs_restart {
            text += &format!("warning: {key} was changed and needs a restart\n");
        }
        text
    })?;
    Ok(ExitCode::SUCCESS)
}
