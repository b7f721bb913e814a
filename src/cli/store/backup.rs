//! `jwksd store backup`: all key sets of the running daemon, as they are at one moment.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use jwksd::api::{BACKUP_HEADER, BackupHolds};
use jwksd::client::Client;
use jwksd::new_file::{Existing, NewFile, Readers};
use serde::Serialize;

use super::super::print::counted;
use super::super::{Out, ask};
use super::progress::Bar;

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The file to write, with mode 0600
    file: PathBuf,
    /// Replace the file where it is there
    #[arg(long)]
    force: bool,
}

/// What is told of a backup.
#[derive(Serialize)]
struct Told {
    file: PathBuf,
    bytes: usize,
    #[serde(flatten)]
    holds: BackupHolds,
}

pub(super) fn run(client: &Client, args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    let file = args.file.display();
    let existing = if args.force { Existing::IsReplaced } else { Existing::Stays };
    // Before the daemon is asked: a place that cannot be written must cost nothing.
    let new = match NewFile::begin(&args.file, existing, Readers::Owner) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists && !args.force => {
            bail!("{file} is there already: name another file, or replace it with --force")
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{file} is there already, and is not a file that could be replaced: name another")
        }
        begun => begun.with_context(|| format!("cannot write {file}"))?,
    };
    let bar = Bar::new();
    bar.say("the daemon copies its store");
    let (holds, bytes) = ask(client.post_for_bytes("/v1/store/backup", BACKUP_HEADER))?;
    let holds: BackupHolds =
        serde_json::from_str(&holds).context("the daemon does not say what the backup holds")?;
    bar.say("writing the file");
    new.finish(&bytes).with_context(|| format!("cannot write {file}"))?;
    drop(bar);
    let told = Told { file: args.file.clone(), bytes: bytes.len(), holds };
    out.print(&told, |Told { bytes, holds, .. }| {
        let BackupHolds { taken, commit, keysets, keys } = holds;
        let (keysets, keys) = (counted(*keysets, "key set"), counted(*keys, "key"));
        format!(
            "backup of {taken} (commit {commit}): {keysets}, {keys}; {bytes} bytes in {file}\n\
             It opens with the master key alone, which is not in it: keep a copy of that elsewhere.\n\
             Check it with: jwksd store verify {file}\n"
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
