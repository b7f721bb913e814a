//! `jwksd store`: backups of the store, going back to one, and a change of the master key.

mod backup;
mod progress;
mod rekey;
mod restore;
mod verify;

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::Subcommand;
use jwksd::audit::Audit;
use jwksd::clock::SystemClock;
use jwksd::config::Config;
use jwksd::{audit, folder, master_key};
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::backup::{Backup, BackupError};
use jwksd_keystore::store::{SledStore, StoreError};

use super::connection::Connection;
use super::init::owner::Owner;
use super::{Out, load};

/// The exit code for a restore that wants to be told that what it means is accepted.
const NOT_ACCEPTED: u8 = 8;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Have the running daemon write all key sets, as they are at one moment, to a sealed file
    Backup(backup::Args),
    /// Check every byte and every secret of a backup, and show what it holds
    Verify(verify::Args),
    /// Make the store from a backup, where there is none, while the daemon is stopped
    Restore(restore::Args),
    /// Make a store with the same key sets under a new master key, while the daemon is stopped
    Rekey(rekey::Args),
}

/// A backup is damaged, or none of ours.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", file.display())]
pub(super) struct Unusable {
    file: PathBuf,
    error: BackupError,
}

impl Unusable {
    /// Whether another master key opens it.
    const fn is_under_another_key(&self) -> bool {
        matches!(self.error, BackupError::OtherMasterKey { .. })
    }

    /// Whether the file is not what was written, rather than written under another master key.
    pub(super) const fn is_damaged(&self) -> bool {
        match &self.error {
            BackupError::NotABackup
            | BackupError::Damaged { .. }
            | BackupError::TooShort(_)
            | BackupError::Content(_)
            | BackupError::Store(StoreError::Damaged { .. }) => true,
            BackupError::NewerFormat { .. }
            | BackupError::OtherMasterKey { .. }
            | BackupError::Store(_)
            | BackupError::Crypto(_) => false,
        }
    }
}

pub(super) fn run(
    config: &Path,
    connection: &Connection,
    command: &Command,
    out: &Out,
) -> anyhow::Result<ExitCode> {
    match command {
        Command::Backup(args) => backup::run(&connection.admin(config)?, args, out),
        Command::Verify(args) => verify::run(config, args, out),
        Command::Restore(args) => restore::run(config, args, out),
        Command::Rekey(args) => rekey::run(config, args, out),
    }
}

/// The master keys in a file, or in that of the configuration.
fn master_keys(given: Option<&Path>, config: &Path) -> anyhow::Result<Arc<MasterKeys>> {
    let path = match given {
        Some(path) => path.to_owned(),
        None => load(config)?.store.master_key,
    };
    Ok(Arc::new(master_key::read(&path)?))
}

/// Opens a backup and checks all that it holds.
fn opened(file: &Path, master_keys: Arc<MasterKeys>) -> anyhow::Result<Backup> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let unusable = |error| Unusable { file: file.to_owned(), error };
    let backup = Backup::open(&bytes, master_keys).map_err(unusable)?;
    drop(bytes);
    let bar = progress::Bar::new();
    let checked = backup.store.check(&mut bar.watch());
    checked.map_err(|error| unusable(error.into()))?;
    Ok(backup)
}

/// Files that root makes are for root alone, and the daemon runs as another user.
fn check_user(store: &Path, owner: Option<&Owner>) -> anyhow::Result<()> {
    let uid = std::fs::metadata(folder::of(store)).map_or(0, |metadata| metadata.uid());
    if owner.is_none() && rustix::process::geteuid().is_root() && uid != 0 {
        bail!(
            "{} belongs to uid {uid}, and what root makes there is not for that user: name the user \
             that the daemon runs as with --store-owner",
            folder::of(store).display()
        );
    }
    Ok(())
}

/// Refuses where the daemon is at work: it has the store open, or would go on with what is there.
fn check_stopped(config: &Config) -> anyhow::Result<()> {
    let (store, audit) = (&config.store.path, &config.audit.path);
    let is_running = SledStore::is_in_use(store)
        .with_context(|| format!("cannot look at {}", store.display()))?
        || audit::is_in_use(audit)
            .with_context(|| format!("cannot look at {}", audit.display()))?;
    if is_running {
        bail!(
            "the daemon is running: it has the store at {} or the audit open; stop it first",
            store.display()
        );
    }
    Ok(())
}

/// Opens the audit to go on after its last line, as a start of the daemon does.
fn open_audit(config: &Config, master_keys: Arc<MasterKeys>) -> anyhow::Result<Audit> {
    let path = &config.audit.path;
    Audit::open(config.audit.clone(), master_keys, Arc::new(SystemClock))
        .with_context(|| format!("{}", path.display()))
}

/// Who does it, for the audit.
fn actor() -> String {
    format!("uid {}", rustix::process::getuid().as_raw())
}
