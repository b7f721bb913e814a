//! `jwksd init`: the master key and an empty store, where there is neither.

pub(super) mod owner;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use jwksd::config::Config;
use jwksd::{audit, folder, master_key, memory};
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::{SledStore, check_format};

use self::owner::Owner;
use super::{load, print};

#[derive(clap::Args)]
pub(super) struct Args {
    /// Make the master key here, not where the daemon finds it: it will be handed over, as a
    /// credential of its service
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
    /// Make the store, and the folder around it if there is none, for the user that the daemon will
    /// run as; the master key stays root's
    #[arg(long, value_name = "USER")]
    store_owner: Option<String>,
}

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Neither master key nor store.
    Neither,
    /// Both.
    Both,
}

pub(super) fn run(config: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    memory::leave_no_core()?;
    let mut config = load(config)?;
    if let Some(path) = &args.master_key {
        config.store.master_key.clone_from(path);
    }
    let owner = args.store_owner.as_deref().map(Owner::named).transpose()?;
    let (key, store) = (config.store.master_key.display(), config.store.path.display());
    match (presence(&config)?, owner) {
        (Presence::Both, _) => {
            bail!(
                "there already are a master key at {key} and a store at {store}; nothing was made"
            )
        }
        (Presence::Neither, None) => drop(make(&config)?),
        (Presence::Neither, Some(owner)) => make_for(&owner, &config)?,
    }
    print(&format!(
        "made the master key {key} (mode 0600) and an empty store at {store}\n\
         Keep a copy of the master key apart from the store: without it the store is lost.\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// What there is of master key and store. One without the other is an error: making the missing
/// one would hide that it was lost.
pub(super) fn presence(config: &Config) -> anyhow::Result<Presence> {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let (key, store) = (absolute(&config.store.master_key), absolute(&config.store.path));
    let has_key = key.try_exists().with_context(|| format!("cannot look at {}", key.display()))?;
    match (has_key, has_store(&store)?) {
        (true, true) => Ok(Presence::Both),
        (false, false) => Ok(Presence::Neither),
        (true, false) => bail!(
            "there is a master key at {} but no store at {}: if the store was lost, put it back, or \
             go back to a backup with jwksd store restore; if nothing was ever kept, remove the key and run: jwksd init",
            key.display(),
            store.display()
        ),
        (false, true) => bail!(
            "there is a store at {} but no master key at {}: put the master key back; without it \
             the store cannot be opened",
            store.display(),
            key.display()
        ),
    }
}

/// Refuses what a newer version wrote, before anything of it is touched.
pub(super) fn check_formats(config: &Config) -> anyhow::Result<()> {
    let (store, audit) = (&config.store.path, &config.audit.path);
    check_format(store).with_context(|| format!("{}", store.display()))?;
    audit::check_format(audit)?;
    Ok(())
}

/// Makes both. The key is on the disk before anything is sealed under it.
pub(super) fn make(config: &Config) -> anyhow::Result<(SledStore, Arc<MasterKeys>)> {
    master_key::create(&config.store.master_key)?;
    let master_keys = Arc::new(master_key::read(&config.store.master_key)?);
    let store = SledStore::create(&config.store.path, master_keys.clone())?;
    Ok((store, master_keys))
}

/// Makes both: the key as the user who runs this, the store as its owner.
fn make_for(owner: &Owner, config: &Config) -> anyhow::Result<()> {
    let (key, store) = (&config.store.master_key, &config.store.path);
    owner.make_folder(folder::of(store))?;
    master_key::create(key)?;
    let master_keys = Arc::new(master_key::read(key)?);
    owner.assume()?;
    SledStore::create(store, master_keys)?;
    Ok(())
}

/// Opens both.
pub(super) fn open(config: &Config) -> anyhow::Result<(SledStore, Arc<MasterKeys>)> {
    let master_keys = Arc::new(master_key::read(&config.store.master_key)?);
    let store = SledStore::open(&config.store.path, master_keys.clone())?;
    Ok((store, master_keys))
}

/// Whether anything is where the store should be, besides what a making left that was interrupted
/// before there was a store.
fn has_store(path: &Path) -> anyhow::Result<bool> {
    let looking = || format!("cannot look at {}", path.display());
    if !path.try_exists().with_context(looking)? {
        return Ok(false);
    }
    for entry in std::fs::read_dir(path).with_context(looking)? {
        if !SledStore::is_left_over(&entry.with_context(looking)?.file_name()) {
            return Ok(true);
        }
    }
    Ok(false)
}
