//! `jwksd store restore`: the store as a backup has it, where there is none.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use jwksd::audit::events::KeyEvent;
use jwksd::audit::verify::Against;
use jwksd::audit::{Audit, Decision, Line, check_format, since};
use jwksd::clock::{Clock, SystemClock};
use jwksd::config::Config;
use jwksd::restore::{self, Key, Outlook};
use jwksd::{folder, memory};
use jwksd_keystore::facts::Span;
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::backup::Header;
use jwksd_keystore::store::{self, StoreCopy, StoreError};
use jwksd_keystore::time::Time;
use serde::Serialize;

use super::super::init::owner::Owner;
use super::super::{Out, load};
use super::verify::{Held, headline};
use super::{NOT_ACCEPTED, Unusable, progress, verify};

/// The act's name in the audit.
const NAME: &str = "store-restore";

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The backup
    file: PathBuf,
    /// Do it; without this, only say what it means
    #[arg(long)]
    accept: bool,
    /// Take the daemon's master key from here, not where the configuration says
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
    /// The master key that the backup was made under, where it was another than the daemon's; the
    /// store will be under the daemon's
    #[arg(long, value_name = "FILE")]
    backup_master_key: Option<PathBuf>,
    /// Make the store for the user that the daemon runs as
    #[arg(long, value_name = "USER")]
    store_owner: Option<String>,
}

/// What is told of a restore.
#[derive(Serialize)]
struct Told {
    restored: bool,
    backup: Held,
    /// The id of the master key that it was made under, where that is none of the daemon's.
    backup_master_key: Option<String>,
    age: String,
    #[serde(flatten)]
    outlook: Outlook,
}

/// A backup that can be restored, under the daemon's master key.
struct Ready {
    store: StoreCopy,
    header: Header,
    held: Held,
    master_keys: Arc<MasterKeys>,
    /// The key of the backup, where it is another.
    former: Option<Arc<MasterKeys>>,
}

pub(super) fn run(config: &Path, args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    memory::leave_no_core()?;
    let loaded = load(config)?;
    let owner = args.store_owner.as_deref().map(Owner::named).transpose()?;
    let path = &loaded.store.path;
    super::check_user(path, owner.as_ref())?;
    store::check_free(path).map_err(|error| not_free(error, path))?;
    super::check_stopped(&loaded)?;
    check_format(&loaded.audit.path)?;
    let ready = ready(config, args)?;
    if let Some(owner) = &owner {
        if args.accept {
            owner.make_folder(folder::of(path))?;
        }
        // Before the audit is read: what this user cannot read is told before anything is accepted.
        owner.assume()?;
    }
    let now = SystemClock.wall();
    let outlook = look(&loaded, &ready, now)?;
    if args.accept {
        restore(&loaded, &ready, &outlook, now)?;
    }
    let age = age(now.since(ready.header.taken));
    let backup_master_key = other_key(&ready);
    let told = Told { restored: args.accept, backup: ready.held, backup_master_key, age, outlook };
    out.print(&told, |told| text_of(told, path))?;
    Ok(if args.accept { ExitCode::SUCCESS } else { ExitCode::from(NOT_ACCEPTED) })
}

fn not_free(error: StoreError, path: &Path) -> anyhow::Error {
    match error {
        StoreError::Occupied(_) => anyhow::anyhow!(
            "there is something at {}: a backup is restored only where nothing is; stop the daemon, and \
             move it away. Nothing was changed",
            path.display()
        ),
        other => other.into(),
    }
}

fn ready(config: &Path, args: &Args) -> anyhow::Result<Ready> {
    let master_keys = super::master_keys(args.master_key.as_deref(), config)?;
    let former = args.backup_master_key.as_deref();
    let former = former.map(|file| super::master_keys(Some(file), config)).transpose()?;
    let backup = super::opened(&args.file, former.clone().unwrap_or(master_keys.clone()))
        .map_err(|error| under_another(error, args))?;
    let held = verify::held(&args.file, &backup)?;
    let (mut store, header) = (backup.store, backup.header);
    if former.is_some() {
        let bar = progress::Bar::new();
        store = store.under(master_keys.clone(), &mut bar.watch())?;
    }
    Ok(Ready { store, header, held, master_keys, former })
}

/// The id of the master key of the backup, where that is none of the daemon's.
fn other_key(ready: &Ready) -> Option<String> {
    let ours = ready.master_keys.ids();
    let formers = ready.former.as_ref().map(|former| former.ids());
    formers.into_iter().flatten().find(|id| !ours.contains(id))
}

/// Says how a backup from before a change of the master key is restored.
fn under_another(error: anyhow::Error, args: &Args) -> anyhow::Error {
    let unusable = error.downcast_ref::<Unusable>();
    if args.backup_master_key.is_none() && unusable.is_some_and(Unusable::is_under_another_key) {
        return anyhow::anyhow!("{error}: give the one it was made under with --backup-master-key");
    }
    error
}

/// What it means to restore this backup.
fn look(config: &Config, ready: &Ready, now: Time) -> anyhow::Result<Outlook> {
    let against = Against {
        master_keys: Some(&ready.master_keys),
        former: ready.former.as_deref(),
        sought: None,
    };
    let path = &config.audit.path;
    let since = since::read(path, ready.header.audit.as_ref(), against)
        .with_context(|| format!("cannot read the audit at {}", path.display()))?;
    Ok(restore::outlook(&ready.store, &since, now)?)
}

/// Carries it out, with its lines in the audit.
fn restore(config: &Config, ready: &Ready, outlook: &Outlook, now: Time) -> anyhow::Result<()> {
    let path = &config.store.path;
    folder::make(folder::of(path))
        .with_context(|| format!("cannot make the folder of {}", path.display()))?;
    let audit = super::open_audit(config, ready.master_keys.clone())?;
    let Header { commit, taken, .. } = &ready.header;
    let reason = format!("the backup of {taken}, commit {commit}");
    record(&audit, Decision::Intent, &reason, None, now)?;
    outlook.carry_out(&ready.store)?;
    let bar = progress::Bar::new();
    let written = ready.store.write_new(path, "restoring", &mut bar.watch());
    drop(bar);
    if let Err(error) = &written {
        record(&audit, Decision::Failed, &format!("{reason}: {error}"), None, now)?;
    }
    written?;
    for (keyset, keys) in &outlook.events() {
        record(&audit, Decision::Done, "left again", Some((keyset, keys)), now)?;
    }
    record(&audit, Decision::Done, &reason, None, now)?;
    audit.close();
    Ok(())
}

fn record(
    audit: &Audit,
    decision: Decision,
    reason: &str,
    keys: Option<(&KeysetName, &Vec<KeyEvent>)>,
    now: Time,
) -> anyhow::Result<()> {
    let caller = super::actor();
    let line = Line {
        reason: Some(reason),
        keyset: keys.map(|(keyset, _)| keyset),
        keys: keys.map_or(&[], |(_, keys)| keys),
        ..Line::new(now, &caller, NAME, decision)
    };
    match audit.record_durably(&line) {
        Ok(_) => Ok(()),
        Err(error) => bail!("{error}; what is restored must be in the audit"),
    }
}

/// For people, who need no milliseconds.
fn age(age: Duration) -> String {
    Span(Duration::from_secs(age.as_secs())).to_string()
}

fn text_of(told: &Told, path: &Path) -> String {
    let Told { restored, backup, backup_master_key, age, outlook } = told;
    let mut text = format!("{}, {age} ago\n", headline(backup));
    if let Some(id) = backup_master_key {
        text += &format!(
            "WARNING: it was made under the master key {id}, which is not the daemon's: whoever has that \
             key can have made it, with keys of their own. Restore it only if you know where it was \
             since.\n"
        );
    }
    text += &outlook_text(outlook);
    if *restored {
        text += &format!("restored to {}; start the daemon\n", path.display());
    } else {
        text += "Nothing was changed. To do this, run the same command with --accept.\n";
    }
    text
}

fn outlook_text(outlook: &Outlook) -> String {
    let mut text = String::new();
    if let Some(why) = &outlook.unknown {
        text += &format!(
            "WARNING: nothing is known of the time since: {why}.\n  Keys that were made since are \
             missing, and their tokens will be refused. Keys that were revoked or retired since are \
             published again, but for those named here: revoke again what was revoked.\n"
        );
    }
    for gap in &outlook.gaps {
        text += &format!("WARNING: some keys may not be named here: {gap}\n");
    }
    let lists = [
        ("Made since, and missing: verifiers will refuse their tokens", &outlook.missing),
        ("Revoked since, and revoked again", &outlook.revoked),
        ("Left since, and leave again", &outlook.leaving),
        (
            match outlook.unknown {
                None => {
                    "Ended since, their secrets erased: these secrets return, and sign until the \
                         times in the backup end them again"
                }
                Some(_) => "Their secrets return, also where they were erased since",
            },
            &outlook.returning,
        ),
    ];
    for (title, keys) in lists {
        text += &list(title, keys);
    }
    text += "Verifiers that keep their copy of a JWK Set may refuse tokens of keys that they do not have \
             in it:\n";
    for wait in &outlook.waits {
        let _ = writeln!(
            text,
            "  {}: for up to {} after the daemon starts (until {} if it starts now)",
            wait.keyset, wait.after_start, wait.until
        );
    }
    text
}

fn list(title: &str, keys: &[Key]) -> String {
    if keys.is_empty() {
        return format!("{title}: none\n");
    }
    let mut text = format!("{title}:\n");
    for Key { keyset, kid, at, reason } in keys {
        let at = at.as_ref().map_or_else(String::new, |at| format!("  {at}"));
        let reason = reason.as_ref().map_or_else(String::new, |reason| format!("  ({reason})"));
        // What an admin wrote is shown on one line.
        let reason: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let _ = writeln!(text, "  {keyset}  {kid}{at}{reason}");
    }
    text
}
