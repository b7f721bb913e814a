//! `jwksd store verify`: is a backup whole, and what does it hold?

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use jwksd::memory;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::State;
use jwksd_keystore::store::backup::{AuditLine, Backup};
use jwksd_keystore::store::{Store, StoreCopy, StoreError};
use jwksd_keystore::time::Time;
use serde::Serialize;

use super::super::Out;
use super::super::print::{counted, table};

#[derive(clap::Args)]
pub(in crate::cli) struct Args {
    /// The backup
    file: PathBuf,
    /// Take the master key from here, not where the configuration says
    #[arg(long, value_name = "FILE")]
    master_key: Option<PathBuf>,
}

/// What a backup says of itself and holds.
#[derive(Serialize)]
pub(super) struct Held {
    file: PathBuf,
    taken: String,
    version: String,
    commit: u64,
    seen: String,
    audit: Option<AuditLine>,
    keysets: Vec<HeldKeyset>,
}

#[derive(Serialize)]
struct HeldKeyset {
    name: KeysetName,
    revision: u64,
    /// How many keys left before.
    left: usize,
    keys: Vec<HeldKey>,
}

#[derive(Serialize)]
struct HeldKey {
    kid: KeyId,
    number: u64,
    algorithm: String,
    state: State,
    activates: Option<String>,
    ended: Option<String>,
    retires: Option<String>,
}

pub(super) fn run(config: &Path, args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    memory::leave_no_core()?;
    let master_keys = super::master_keys(args.master_key.as_deref(), config)?;
    let backup = super::opened(&args.file, master_keys)?;
    let held = held(&args.file, &backup)?;
    out.print(&held, |held| {
        let keys: usize = held.keysets.iter().map(|keyset| keyset.keys.len()).sum();
        format!(
            "{}\n{}whole: {}, {}, every secret opens and belongs to its key\n",
            headline(held),
            keys_text(held),
            counted(held.keysets.len() as u64, "key set"),
            counted(keys as u64, "key"),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What a backup holds, with states as they were when it was made.
pub(super) fn held(file: &Path, backup: &Backup) -> Result<Held, StoreError> {
    let header = &backup.header;
    let at = header.taken.max(header.seen);
    let keysets = backup.store.keysets()?.into_iter();
    Ok(Held {
        file: file.to_owned(),
        taken: header.taken.to_string(),
        version: header.version.clone(),
        commit: header.commit,
        seen: header.seen.to_string(),
        audit: header.audit.clone(),
        keysets: keysets
            .map(|name| of_keyset(&backup.store, name, at))
            .collect::<Result<_, _>>()?,
    })
}

/// One line about the backup as a whole.
pub(super) fn headline(held: &Held) -> String {
    let Held { file, taken, version, commit, .. } = held;
    format!("{}: backup of {taken} (commit {commit}), made by jwksd {version}", file.display())
}

fn keys_text(held: &Held) -> String {
    let row = |keyset: &HeldKeyset, key: &HeldKey| {
        let state = match key.state {
            State::Pending => "pending",
            State::Active => "active",
            State::VerifyOnly => "verify-only",
        };
        let next = match (&key.activates, &key.retires) {
            (_, Some(at)) => format!("retires {at}"),
            (Some(at), None) if key.state == State::Pending => format!("activates {at}"),
            _ => String::new(),
        };
        let name = keyset.name.to_string();
        vec![name, key.kid.to_string(), key.algorithm.clone(), state.to_owned(), next]
    };
    let rows = held.keysets.iter().flat_map(|set| set.keys.iter().map(move |key| row(set, key)));
    table(&["KEY SET", "KID", "ALGORITHM", "STATE THEN", "NEXT"], &rows.collect::<Vec<_>>())
}

fn of_keyset(store: &StoreCopy, name: KeysetName, at: Time) -> Result<HeldKeyset, StoreError> {
    let loaded = store.load(&name)?;
    let set = loaded.keyset();
    let signer = set.signer_at(at).map(|life| life.number);
    let text = |time: Option<Time>| time.map(|time| time.to_string());
    let keys = loaded.records.iter().map(|record| {
        let life = &record.life;
        let state = match life.state_at(at) {
            // A newer key signs: it would have been ended in a moment.
            State::Active if Some(life.number) != signer => State::VerifyOnly,
            state => state,
        };
        HeldKey {
            kid: record.kid.clone(),
            number: life.number.0,
            algorithm: life.algorithm.to_string(),
            state,
            activates: text(life.activates),
            ended: text(life.ended),
            retires: text(life.retires),
        }
    });
    let (keys, left) = (keys.collect(), store.tombstones(&name)?.len());
    Ok(HeldKeyset { revision: loaded.revision.0, left, keys, name })
}
