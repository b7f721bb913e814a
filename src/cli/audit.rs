//! `jwksd audit`: was the audit changed since it was written, and what does its end say?

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use jwksd::api::AuditTail;
use jwksd::audit::check_format;
use jwksd::audit::report::{Finding, Note, Report};
use jwksd::audit::verify::{self, Against};
use jwksd::{master_key, memory};
use jwksd_keystore::seal::MasterKeys;
use serde::Deserialize;

use super::connection::Connection;
use super::print::inert;
use super::{Out, ask, load};

/// The exit code for an audit that was changed since it was written.
const DAMAGED: u8 = 7;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Read all lines, and name what was cut, changed, reordered or truncated since
    Verify(Args),
    /// Show the newest lines, as the running daemon gives them
    Tail {
        /// How many, at most 500
        #[arg(long, value_name = "LINES", default_value_t = 50)]
        last: u32,
    },
}

#[derive(clap::Args)]
pub(super) struct Args {
    /// Files of the audit, such as copies in an archive, in their order; all that the configuration
    /// names if none is given
    files: Vec<PathBuf>,
    /// Take the master key from here: where a service gets it as a credential, which is there only
    /// while it runs
    #[arg(long, value_name = "FILE", conflicts_with = "without_master_key")]
    master_key: Option<PathBuf>,
    /// The master key before it was changed, to check what was made under it as well: without it, the
    /// change of the key vouches for what is before
    #[arg(long, value_name = "FILE", conflicts_with = "without_master_key")]
    former_master_key: Option<PathBuf>,
    /// Check only that the lines hang together: whoever may write the files can make such lines
    #[arg(long)]
    without_master_key: bool,
}

pub(super) fn run(
    config: &Path,
    connection: &Connection,
    command: &Command,
    out: &Out,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Verify(args) => verify(config, args, out),
        Command::Tail { last } => {
            let client = connection.admin(config)?;
            let tail: AuditTail = ask(client.get(&format!("/v1/audit?last={last}")))?;
            out.print(&tail, tail_text)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A line for each, with what people look for first.
fn tail_text(tail: &AuditTail) -> String {
    let mut text = String::new();
    for line in &tail.lines {
        // What is no line of ours is shown as it is.
        let told = serde_json::from_str(line.get()).map_or_else(|_| inert(line.get()), told);
        text += &format!("{told}\n");
    }
    text
}

fn told(line: Shown<'_>) -> String {
    let named = [("", line.keyset), ("", line.kid), ("sub ", line.sub)];
    let mut told = format!(
        "{}  {} {} {}",
        inert(&line.time),
        inert(&line.caller),
        inert(&line.action),
        inert(&line.decision)
    );
    for (what, name) in named {
        told += &name.map_or_else(String::new, |name| format!(" {what}{}", inert(&name)));
    }
    if !line.aud.is_empty() {
        told += &format!(" aud {}", inert(&line.aud.join(",")));
    }
    told + &line.reason.map_or_else(String::new, |reason| format!(": {}", inert(&reason)))
}

/// What is shown of a line.
#[derive(Deserialize)]
struct Shown<'a> {
    #[serde(borrow)]
    time: Cow<'a, str>,
    #[serde(borrow)]
    caller: Cow<'a, str>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    decision: Cow<'a, str>,
    #[serde(borrow)]
    keyset: Option<Cow<'a, str>>,
    #[serde(borrow)]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow)]
    sub: Option<Cow<'a, str>>,
    #[serde(default)]
    aud: Vec<String>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

fn verify(config: &Path, args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    memory::leave_no_core()?;
    let config = load(config)?;
    let key = args.master_key.as_ref().unwrap_or(&config.store.master_key);
    let master_keys = read_master_keys(key, args)?;
    let former = args.former_master_key.as_deref().map(master_key::read).transpose()?;
    let against =
        Against { master_keys: master_keys.as_ref(), former: former.as_ref(), sought: None };
    let report = if args.files.is_empty() {
        let path = &config.audit.path;
        // By the rules of now it would be called changed.
        check_format(path)?;
        verify::verify_against(path, against)
            .with_context(|| format!("cannot read the audit at {}", path.display()))?
    } else {
        verify::verify_files_against(&args.files, against)?
    };
    if report.files.is_empty() {
        bail!("there is no audit at {}", config.audit.path.display());
    }
    out.print(&report, |report| text_of(report, args, former.as_ref()))?;
    Ok(if report.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

fn read_master_keys(path: &Path, args: &Args) -> anyhow::Result<Option<MasterKeys>> {
    if args.without_master_key {
        return Ok(None);
    }
    let keys = master_key::read(path).context(
        "the marks in the audit are checked with the master key; see audit verify --help",
    )?;
    Ok(Some(keys))
}

fn text_of(report: &Report, args: &Args, former: Option<&MasterKeys>) -> String {
    let mut text = String::new();
    for Finding { file, row, what } in &report.notes {
        text += &format!("note: {}:{row}: {what}\n", file.display());
    }
    if let Some(former) = former {
        text += &format!("note: {}\n", checked_with(former, report));
    }
    for Finding { file, row, what } in &report.damage {
        text += &format!("DAMAGED: {}:{row}: {what}\n", file.display());
    }
    let verdict = if report.damage.is_empty() { "whole" } else { "damaged" };
    let files = match report.files.len() {
        1 => "1 file".to_owned(),
        many => format!("{many} files"),
    };
    text += &format!(
        "{verdict}: {} lines ({} to {}) in {files}\n",
        report.lines, report.first, report.last
    );
    text += &if args.without_master_key {
        "no mark was checked: that nobody wrote all lines anew is not shown\n".to_owned()
    } else {
        format!("shown to be written by jwksd: up to line {}\n", report.authentic_to)
    };
    if !args.files.is_empty() {
        text += "whether lines after the last are missing is not told of files given by name\n";
    }
    text
}

/// What the former master key was good for.
fn checked_with(former: &MasterKeys, report: &Report) -> String {
    let ids = former.ids();
    let has_marks = report
        .notes
        .iter()
        .any(|note| matches!(&note.what, Note::FormerKey { id, .. } if ids.contains(id)));
    let ids = ids.join(", ");
    if has_marks {
        format!("the marks under the former master key {ids} were checked with it")
    } else {
        format!("no mark is made under the former master key that was given, {ids}")
    }
}
