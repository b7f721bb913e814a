//! `jwksd init`: the master key and an empty store, where there is neither.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use jwksd::config::Config;
use jwksd::master_key;
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::SledStore;

use super::{load, print};

pub(super) fn run(config: &Path) -> anyhow::Result<ExitCode> {
    let config = load(config)?;
    if !make_if_absent(&config)? {
        bail!(
            "there already are a master key at {} and a store at {}; nothing was made",
            config.store.master_key.display(),
            config.store.path.display()
        );
    }
    print(&format!(
        "made the master key {} (mode 0600) and an empty store at {}\n\
         Keep a copy of the master key apart from the store: without it the store is lost.\n",
        config.store.master_key.display(),
        config.store.path.display()
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes master key and store if both are absent; returns whether it did. One without the other is
/// an error: making the missing one would hide that it was lost.
pub(super) fn make_if_absent(config: &Config) -> anyhow::Result<bool> {
    let (key, store) = (&config.store.master_key, &config.store.path);
    let has_key = key.try_exists().with_context(|| format!("cannot look at {}", key.display()))?;
    let has_store = has_store(config)?;
    match (has_key, has_store) {
        (true, true) => Ok(false),
        (true, false) => bail!(
            "there is a master key at {} but no store at {}: if the store was lost, restore it; if \
             nothing was ever kept, remove the key and run this again",
            key.display(),
            store.display()
        ),
        (false, true) => bail!(
            "there is a store at {} but no master key at {}: put the master key back; without it \
             the store cannot be opened",
            store.display(),
            key.display()
        ),
        (false, false) => {
            // The key is on the disk before anything is sealed under it.
            master_key::create(key)?;
            let master_keys = Arc::new(master_key::read(key)?);
            drop(SledStore::create(store, master_keys)?);
            Ok(true)
        }
    }
}

/// Opens what is there.
pub(super) fn open(config: &Config) -> anyhow::Result<(SledStore, Arc<MasterKeys>)> {
    let hint = "for a first start, run: jwksd serve --init";
    if !config.store.master_key.exists() && !has_store(config)? {
        bail!(
            "there is neither a master key at {} nor a store at {}\n{hint}",
            config.store.master_key.display(),
            config.store.path.display()
        );
    }
    let master_keys = Arc::new(master_key::read(&config.store.master_key)?);
    let store = SledStore::open(&config.store.path, master_keys.clone())?;
    Ok((store, master_keys))
}

/// Whether anything is where the store should be.
fn has_store(config: &Config) -> anyhow::Result<bool> {
    let path = &config.store.path;
    let looking = || format!("cannot look at {}", path.display());
    if !path.try_exists().with_context(looking)? {
        return Ok(false);
    }
    Ok(std::fs::read_dir(path).with_context(looking)?.next().is_some())
}
