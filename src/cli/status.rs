//! `jwksd status`: how each check stands, for people, programs and monitors.

use std::process::ExitCode;

use jwksd::api::{Check, CheckState, Status};
use jwksd::client::Client;

use super::look::Look;
use super::print::{counted, inert, wrapped};
use super::{Out, ask};

#[derive(clap::Args)]
pub(super) struct Args {
    /// End with exit code 9 where the daemon is ready, and a check has a warning
    #[arg(long)]
    fail_on_warning: bool,
}

pub(super) fn run(client: &Client, args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    let status: Status = ask(client.get("/v1/status"))?;
    out.print(&status, |status| text(status, Look::of_stdout()))?;
    Ok(match (status.ready, args.fail_on_warning && !status.warnings.is_empty()) {
        (false, _) => ExitCode::from(6),
        (true, true) => ExitCode::from(9),
        (true, false) => ExitCode::SUCCESS,
    })
}

fn text(status: &Status, look: Look) -> String {
    let state = if status.ready { "ready" } else { "not ready" };
    let warnings = match status.warnings.len() {
        0 => String::new(),
        count => format!(", with {}", counted(count as u64, "warning")),
    };
    let mut text = format!("jwksd {} is {state}{warnings}\n", status.version);
    let names = status.checks.iter().map(|check| check.name.chars().count());
    let column = names.max().unwrap_or(0) + "  ".len();
    for check in &status.checks {
        text += &line(check, column, look);
    }
    text
}

fn line(check: &Check, column: usize, look: Look) -> String {
    let state = match check.state {
        CheckState::Ok => "ok",
        CheckState::Warning => "warning",
        CheckState::Failing => "FAILING",
    };
    let start = format!("  {:column$}{state:9}", inert(&check.name));
    let indent = start.chars().count();
    let said = wrapped(&inert(&said(check)), look.width.saturating_sub(indent));
    let said = said.join(&format!("\n{:indent$}", ""));
    format!("{}\n", format!("{start}{said}").trim_end())
}

fn said(check: &Check) -> String {
    let reason = check.reason.as_deref().unwrap_or_default();
    match (&check.keyset, &check.listener) {
        (Some(keyset), _) => format!("{keyset}: {reason}"),
        (None, Some(listener)) => format!("{listener}: {reason}"),
        (None, None) => reason.to_owned(),
    }
}
