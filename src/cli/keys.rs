//! `jwksd keys`: see, rotate, revoke, retire, import and export keys.

use std::process::ExitCode;

use anyhow::Context;
use jwksd::api::{
    Code, EventKind, Key, KeyOrigin, KeyState, Keyset, KeysetList, RetireResponse,
    RevokeAllRequest, RevokeRequest, RevokeResponse, RotateRequest, RotateResponse,
};
use jwksd::client::{Client, ClientError};
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::time::{NotAnInstant, Time};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::print::{seconds, table};
use super::{Out, ask, export, fetchers, import, incident, show};

/// How often an act is tried again when its answer was lost.
const RETRIES: u32 = 3;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the key sets and their keys
    List {
        /// Only this key set
        keyset: Option<KeysetName>,
    },
    /// Show one key set: its keys, past and present, what happened and what comes
    Show(show::Args),
    /// Let the standby sign, when every verifier has seen it
    Rotate {
        /// The key set
        keyset: KeysetName,
        /// Do not wait: verifiers that have not seen the standby refuse its tokens for a while
        #[arg(long, conflicts_with = "at")]
        now: bool,
        /// Rotate at this instant, such as 2026-11-22T03:00:00Z
        #[arg(long, value_name = "TIME", value_parser = instant)]
        at: Option<String>,
        /// Only if this kid signs; without it, whichever signs when the command starts
        #[arg(long, value_name = "KID", allow_hyphen_values = true)]
        expect_active: Option<KeyId>,
    },
    /// Take a key out at once: it leaves the JWK Set and never signs again
    Revoke {
        /// The key set
        keyset: KeysetName,
        /// The key
        #[arg(required_unless_present = "all", conflicts_with = "all", allow_hyphen_values = true)]
        kid: Option<KeyId>,
        /// All keys of the set: start with a fresh one
        #[arg(long)]
        all: bool,
        /// Why, in 1 to 500 characters; kept with the key and in the audit
        #[arg(
            long,
            required_unless_present = "dry_run",
            value_parser = clap::builder::NonEmptyStringValueParser::new(),
        )]
        reason: Option<String>,
        /// Change nothing: show what it would do, what the key signed, who is affected, and what to do
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what a key signed, who may trust it until when, and what to do where it was stolen
    Incident {
        /// The key set
        keyset: KeysetName,
        /// The key, past or present; without it all that are published, or were revoked a short time ago
        #[arg(allow_hyphen_values = true)]
        kid: Option<KeyId>,
    },
    /// Take a key that only verifies out of the JWK Set before its time
    Retire {
        /// The key set
        keyset: KeysetName,
        /// The key
        #[arg(allow_hyphen_values = true)]
        kid: KeyId,
    },
    /// Print the public half of a key, for a verifier that does not fetch the JWK Set
    Export(export::Args),
    /// Take in a key that was made elsewhere: as the standby, or as the first key of a set that waits
    /// for one
    Import(import::Args),
}

pub(super) fn instant(text: &str) -> Result<String, NotAnInstant> {
    text.parse::<Time>().map(|_| text.to_owned())
}

pub(super) fn run(client: &Client, command: &Command, out: &Out) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { keyset: None } => {
            let list: KeysetList = ask(client.get("/v1/keysets"))?;
            out.print(&list, list_text)?;
        }
        Command::List { keyset: Some(keyset) } => {
            let list = KeysetList { keysets: vec![show::fetch(client, keyset)?] };
            out.print(&list, list_text)?;
        }
        Command::Show(args) => show::run(client, args, out)?,
        Command::Rotate { keyset, now, at, expect_active } => {
            let path = format!("/v1/keysets/{keyset}/rotate");
            let request =
                |expect_active| RotateRequest { expect_active, now: *now, at: at.clone() };
            let answer: RotateResponse =
                act_on_active(client, &path, expect_active.as_ref(), request)?;
            out.print(&answer, rotate_text)?;
        }
        Command::Revoke { keyset, kid, dry_run: true, .. } => {
            incident::rehearse(client, keyset, kid.as_ref(), out)?;
        }
        Command::Revoke { keyset, kid, reason, .. } => {
            let answer =
                revoke(client, keyset, kid.as_ref(), reason.as_deref().unwrap_or_default());
            incident::after(client, kid.as_ref(), &answer?, out)?;
        }
        Command::Incident { keyset, kid } => incident::run(client, keyset, kid.as_ref(), out)?,
        Command::Retire { keyset, kid } => {
            let path = format!("/v1/keysets/{keyset}/keys/{kid}/retire");
            let answer: RetireResponse = act(client, &path, &serde_json::json!({}))?;
            out.print(&answer, retire_text)?;
        }
        Command::Export(args) => return export::run(client, args, out),
        Command::Import(args) => return import::run(client, args, out),
    }
    Ok(ExitCode::SUCCESS)
}

fn revoke(
    client: &Client,
    keyset: &KeysetName,
    kid: Option<&KeyId>,
    reason: &str,
) -> anyhow::Result<RevokeResponse> {
    let reason = reason.to_owned();
    if let Some(kid) = kid {
        let path = format!("/v1/keysets/{keyset}/keys/{kid}/revoke");
        return act(client, &path, &RevokeRequest { reason });
    }
    let path = format!("/v1/keysets/{keyset}/revoke-all");
    let request = |expect_active| RevokeAllRequest { reason: reason.clone(), expect_active };
    act_on_active(client, &path, None, request)
}

/// Acts on the key that signs. Which one that is, the daemon says once, also while its store is not
/// available; retries reuse it, so that a lost answer does not make two rotations.
fn act_on_active<R: Serialize, T: DeserializeOwned>(
    client: &Client,
    path: &str,
    expect: Option<&KeyId>,
    request: impl Fn(Option<KeyId>) -> R,
) -> anyhow::Result<T> {
    let answer = act(client, path, &request(expect.cloned()));
    match answer.as_ref().err().and_then(anyhow::Error::downcast_ref) {
        Some(ClientError::Problem(problem)) if problem.code == Code::ExpectActiveRequired => {
            act(client, path, &request(problem.active.clone()))
        }
        _ => answer,
    }
}

pub(super) fn act<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    request: &impl Serialize,
) -> anyhow::Result<T> {
    for _ in 0..RETRIES {
        match ask(client.post(path, request)) {
            Err(error) if is_lost(&error) => {}
            settled => return settled,
        }
    }
    ask(client.post(path, request)).context("see `jwksd keys show` for what holds")
}

fn is_lost(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ClientError::Lost { .. }))
}

fn list_text(list: &KeysetList) -> String {
    let row = |keyset: &Keyset, key: &Key| {
        let until = match key.state {
            KeyState::Pending if waits_for_file(keyset, key) => {
                Some("waits for its jwks_file".to_owned())
            }
            KeyState::Pending => {
                key.activates.as_deref().map(|at| format!("activates {}", seconds(at)))
            }
            KeyState::Active => Some(next_rotation(keyset)),
            KeyState::VerifyOnly => {
                let retires = key.retires.as_deref().map(|at| format!("retires {}", seconds(at)));
                Some(retires.unwrap_or_else(|| "ends in a moment".to_owned()))
            }
            KeyState::Retired | KeyState::Revoked => None,
        };
        vec![
            keyset.name.to_string(),
            key.number.to_string(),
            key.kid.to_string(),
            state(key),
            key.algorithm.clone(),
            until.unwrap_or_else(|| "activates when asked".to_owned()),
        ]
    };
    let living = |key: &&Key| key.left.is_none();
    let rows_of = |set: &Keyset| {
        let rows: Vec<_> = set.keys.iter().filter(living).map(|key| row(set, key)).collect();
        if rows.is_empty() {
            let dashes = ["-", "-", "-", "-", "no key yet"].map(str::to_owned);
            return vec![[vec![set.name.to_string()], dashes.to_vec()].concat()];
        }
        rows
    };
    let rows: Vec<Vec<String>> = list.keysets.iter().flat_map(rows_of).collect();
    if rows.is_empty() {
        return "no key sets that you may read\n".to_owned();
    }
    table(&["KEY SET", "NO", "KID", "STATE", "ALGORITHM", "NEXT"], &rows)
}

fn waits_for_file(keyset: &Keyset, key: &Key) -> bool {
    keyset.jwks_file.as_ref().is_some_and(|file| file.waiting.contains(&key.kid))
}

fn next_rotation(keyset: &Keyset) -> String {
    let next = keyset.next.iter().find(|event| event.event == EventKind::Activates);
    match next {
        Some(event) => format!("until {}", seconds(&event.at)),
        None if keyset.has_key_that_waits_for_its_file() => {
            "until the jwks_file has the next".to_owned()
        }
        None => "until asked".to_owned(),
    }
}

fn rotate_text(answer: &RotateResponse) -> String {
    let when = answer.activates.as_deref().unwrap_or("now");
    if answer.already {
        let text = format!(
            "{}: nothing to do, this was asked before: {} signs from {when} on\n",
            answer.keyset, answer.to
        );
        return text + &fetchers::of_rotation(answer);
    }
    let mut text = format!(
        "{}: {} signs from {when} on, until then {}\n",
        answer.keyset, answer.to, answer.from
    );
    if let Some(until) = &answer.refused_until {
        text += &format!(
            "verifiers that have not fetched the JWK Set again may refuse its tokens until {until}\n"
        );
    }
    if let Some(skipped) = &answer.skips {
        text += &format!(
            "the scheduled rotation at {skipped} does not happen: this one takes its place\n"
        );
    }
    if let Some(file) = &answer.waits_for {
        text += &format!(
            "{file} is not confirmed to have it: it waits from when it is (`jwksd keys show {}`)\n",
            answer.keyset
        );
    }
    text + &fetchers::of_rotation(answer)
}

fn retire_text(answer: &RetireResponse) -> String {
    let already = if answer.already { " had left before" } else { " left the JWK Set" };
    let mut text = format!("{}: {}{already}\n", answer.keyset, answer.retired);
    if let Some(until) = &answer.cuts_off_until {
        text += &format!("warning: good tokens that it signed may be refused until {until}\n");
    }
    text
}

/// The state of a key, and where it came from if it was not made here.
pub(super) fn state(key: &Key) -> String {
    let state = match key.state {
        KeyState::Pending => "pending",
        KeyState::Active => "active",
        KeyState::VerifyOnly => "verify-only",
        KeyState::Retired => "retired",
        KeyState::Revoked => "revoked",
    };
    match key.origin {
        KeyOrigin::Generated => state.to_owned(),
        KeyOrigin::Imported => format!("{state}, imported"),
        KeyOrigin::Trusted => format!("{state}, trusted"),
    }
}
