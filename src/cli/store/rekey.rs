//! `jwksd store rekey`: the same key sets under a new master key, in a store of their own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use jwksd::audit::{Decision, Line, handover};
use jwksd::clock::{Clock, SystemClock};
use jwksd::config::Config;
use jwksd::{folder, master_key, memory};
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::{self, SledStore, Store, StoreCopy};
use serde::Serialize;

use super::super::init::check_formats;
use super::super::init::owner::Owner;
use super::super::print::counted;
use super::super::{Out, load};
use super::progress::Bar;

/// The act's name in the audit.
const NAME: &str = "store-rekey";

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The new master key; made, with mode 0600, where there is no such file
    #[arg(long, value_name = "FILE")]
    new_master_key: PathBuf,
    /// Where to make the new store; nothing, or an empty folder, may be there
    #[arg(long, value_name = "DIR")]
    into: PathBuf,
    /// Take the master key of now from here, not where the configuration says
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
    /// Make the store for the user that the daemon runs as; the master key stays this user's
    #[arg(long, value_name = "USER")]
    store_owner: Option<String>,
}

/// What is told of it.
#[derive(Serialize)]
struct Told {
    store: PathBuf,
    master_key: PathBuf,
    id: String,
    old_store: PathBuf,
    old_master_key: PathBuf,
    old_id: String,
    keysets: usize,
    /// Whether the configuration names the master key, and not something that hands it over.
    #[serde(skip)]
    names_key: bool,
}

pub(super) fn run(config: &Path, args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    memory::leave_no_core()?;
    let loaded = load(config)?;
    let (path, into) = (&loaded.store.path, &args.into);
    let owner = args.store_owner.as_deref().map(Owner::named).transpose()?;
    super::check_user(into, owner.as_ref())?;
    if std::path::absolute(into)?.starts_with(std::path::absolute(path)?) {
        bail!("--into {} is in the store that it is made from", into.display());
    }
    store::check_free(into)?;
    super::check_stopped(&loaded)?;
    check_formats(&loaded)?;
    let old_key = args.master_key.as_ref().unwrap_or(&loaded.store.master_key);
    let old = Arc::new(master_key::read(old_key)?);
    if !path.try_exists().with_context(|| format!("cannot look at {}", path.display()))? {
        bail!("there is no store at {}", path.display());
    }
    let new = new_master_keys(&args.new_master_key, &old)?;
    match &owner {
        Some(owner) => {
            owner.make_folder(folder::of(into))?;
            owner.assume()?;
        }
        None => folder::make(folder::of(into))
            .with_context(|| format!("cannot make the folder of {}", into.display()))?,
    }
    let keysets = rekey(&loaded, into, &old, &new)?;
    let told = Told {
        store: into.clone(),
        master_key: args.new_master_key.clone(),
        id: new.sealing_id(),
        old_store: path.clone(),
        old_master_key: old_key.clone(),
        old_id: old.sealing_id(),
        keysets,
        names_key: args.master_key.is_none(),
    };
    out.print(&told, text_of)?;
    Ok(ExitCode::SUCCESS)
}

/// The new keys. None of them may be one of now: whoever has that could still make rows.
fn new_master_keys(path: &Path, old: &MasterKeys) -> anyhow::Result<Arc<MasterKeys>> {
    if !path.try_exists().with_context(|| format!("cannot look at {}", path.display()))? {
        master_key::create(path)?;
    }
    let new = master_key::read(path)?;
    let ids = old.ids();
    if let Some(id) = new.ids().into_iter().find(|id| ids.contains(id)) {
        bail!(
            "{} holds the master key {id}, which the store is under now: whoever has it could go on \
             to forge rows. Name a file with a new key alone, or one that is not there yet",
            path.display()
        );
    }
    Ok(Arc::new(new))
}

/// Makes the new store. The old one is held all the time, so that no daemon starts on it.
fn rekey(
    config: &Config,
    into: &Path,
    old: &Arc<MasterKeys>,
    new: &Arc<MasterKeys>,
) -> anyhow::Result<usize> {
    let store = SledStore::open(&config.store.path, old.clone())?;
    let bar = Bar::new();
    let copy = store.copy()?;
    copy.check(&mut bar.watch())?;
    let under: StoreCopy = copy.under(new.clone(), &mut bar.watch())?;
    under.check(&mut bar.watch())?;
    hand_audit_over(config, into, old, new)?;
    under.write_new(into, "rekeying", &mut bar.watch())?;
    drop(bar);
    Ok(under.keysets()?.len())
}

/// Says in the audit what is about to be done, and ends it under the old key. That it was done, the
/// first mark under the new key says.
fn hand_audit_over(
    config: &Config,
    into: &Path,
    old: &Arc<MasterKeys>,
    new: &MasterKeys,
) -> anyhow::Result<()> {
    let audit = super::open_audit(config, old.clone())?;
    let reason = format!("under the master key {}, into {}", new.sealing_id(), into.display());
    let caller = super::actor();
    let now = SystemClock.wall();
    let line = Line { reason: Some(&reason), ..Line::new(now, &caller, NAME, Decision::Intent) };
    audit.record_durably(&line)?;
    audit.close();
    let path = &config.audit.path;
    handover::leave(path, old, new).with_context(|| {
        format!("cannot hand the audit at {} over to the new master key", path.display())
    })
}

fn text_of(told: &Told) -> String {
    let Told { store, master_key, id, old_store, old_master_key, old_id, keysets, .. } = told;
    let [store, master_key, old_store, old_master_key] =
        [store, master_key, old_store, old_master_key].map(|path| path.display());
    let mut text = format!(
        "{store} holds the {} of {old_store} under the new master key {id} in \
         {master_key}; {old_store} is as it was\n\n",
        counted(*keysets as u64, "key set")
    );
    if told.names_key {
        text += &format!(
            "Start the daemon with them. Either say in the configuration\n\n  [store]\n  path = \
             \"{store}\"\n  master_key = \"{master_key}\"\n\nor put them where the old ones are:\n\n"
        );
    } else {
        text += "Put them where the old ones are, and start the daemon:\n\n";
    }
    text += &format!(
        "  mv {old_store} {old_store}.old && mv {store} {old_store}\n  mv {old_master_key} \
         {old_master_key}.old && mv {master_key} {old_master_key}\n\n"
    );
    text += &format!(
        "Do not start it with the old ones any more: what it does then is missing in the new store, and \
         with the new key it will refuse to start.\n\
         When it runs and jwksd audit verify is content, destroy the old store and the old master key \
         ({old_id}), and every backup that opens with it once you have a new one.\n\
         The secrets were under the old key: if someone may have had it together with a copy of the \
         store, revoke the keys too (jwksd keys revoke KEYSET --all --reason TEXT).\n"
    );
    text
}
