//! `jwksd keys`: see, rotate, revoke, retire, import and export keys.

use std::process::ExitCode;

use anyhow::Context;
use jwksd::api::{
    Code, EventKind, JwksFile, Key, KeyOrigin, KeyState, Keyset, KeysetList, RetireResponse,
    RevokeAllRequest, RevokeRequest, RevokeResponse, RotateRequest, RotateResponse,
};
use jwksd::client::{Client, ClientError};
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::time::{NotAnInstant, Time};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::print::table;
use super::{Out, ask, export, fetchers, import, incident};

/// How often an act is tried again when its answer was lost.
const RETRIES: u32 = 3;

#[derive(clap::Subcommand)]
pub(super) enum Command {
    /// List the key sets and their keys
    List {
        /// Only this key set
        keyset: Option<KeysetName>,
    },
    /// Show one key set: its keys, past and present, and what happens next
    Show {
        /// The key set
        keyset: KeysetName,
    },
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
            let list = KeysetList { keysets: vec![show(client, keyset)?] };
            out.print(&list, list_text)?;
        }
        Command::Show { keyset } => out.print(&show(client, keyset)?, show_text)?,
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

pub(super) fn show(client: &Client, keyset: &KeysetName) -> anyhow::Result<Keyset> {
    ask(client.get(&format!("/v1/keysets/{keyset}")))
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

fn show_text(keyset: &Keyset) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let mut text = format!(
        "key set {} at revision {}{}\n  algorithm      {}\n  rotates        {}\n  \
         publish_ahead  {}\n  active         {}\n  standby        {}\n\n",
        keyset.name,
        keyset.revision,
        if keyset.configured {
            ""
        } else {
            ", not in the configuration: it only serves its last keys"
        },
        or_dash(&keyset.algorithm),
        or_dash(&keyset.rotate),
        or_dash(&keyset.publish_ahead),
        keyset.active.as_ref().map_or("none", KeyId::as_str),
        keyset.standby.as_ref().map_or("none", KeyId::as_str),
    );
    let row = |key: &Key| {
        vec![
            key.number.to_string(),
            key.kid.to_string(),
            state(key),
            seconds(&key.published),
            activated(key).map_or_else(dash, seconds),
            key.ended.as_deref().map_or_else(dash, seconds),
            key.left.as_deref().or(key.retires.as_deref()).map_or_else(dash, seconds),
            key.reason.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = keyset.keys.iter().map(row).collect();
    text += &table(
        &["NO", "KID", "STATE", "PUBLISHED", "ACTIVATES", "ENDED", "LEAVES", "REASON"],
        &rows,
    );
    text += "\nnext\n";
    for event in &keyset.next {
        let what = match event.event {
            EventKind::Activates => "starts to sign",
            EventKind::Retires => "leaves the JWK Set",
        };
        text += &format!("  {}  {} {what}\n", seconds(&event.at), event.kid);
    }
    if keyset.next.is_empty() {
        text += &format!("  {}\n", nothing_next(keyset));
    }
    text += &held_text(keyset);
    if let Some(file) = &keyset.jwks_file {
        text += &file_text(file);
    }
    text
}

/// When a key signed first, or is to sign; not what was planned for one that left before.
fn activated(key: &Key) -> Option<&str> {
    let left = key.left.as_deref().map(seconds);
    key.activates.as_deref().filter(|at| left.is_none_or(|left| seconds(at) <= left))
}

/// Why no event is planned.
fn nothing_next(keyset: &Keyset) -> String {
    if keyset.has_key_that_waits_for_its_file() {
        "nothing until the jwks_file has the next key".to_owned()
    } else if keyset.waits_for_its_first_key() {
        format!("nothing until its first key is imported: jwksd keys import {} FILE", keyset.name)
    } else {
        "nothing until asked".to_owned()
    }
}

/// What to know of keys where verifiers hold them themselves.
fn held_text(keyset: &Keyset) -> String {
    let row = |key: &Key| {
        let or = |time: &Option<String>, none: &str| {
            time.as_deref().map_or_else(|| none.to_owned(), seconds)
        };
        let is_pending = key.state == KeyState::Pending;
        vec![
            key.kid.to_string(),
            if is_pending { or(&key.in_place_by, "not planned") } else { "now".to_owned() },
            or(&key.exported, if is_pending { "no" } else { "-" }),
            or(&key.needed_until, if is_pending { "-" } else { "not planned" }),
        ]
    };
    let living = keyset.keys.iter().filter(|key| key.left.is_none());
    let rows: Vec<Vec<String>> = living.map(row).collect();
    let head = ["KID", "IN PLACE BY", "EXPORTED", "NEEDED UNTIL"];
    format!("\nfor verifiers that hold keys themselves\n{}", table(&head, &rows))
}

fn file_text(file: &JwksFile) -> String {
    let stands = if file.confirmed { "holds what is served" } else { "is not confirmed" };
    let mut text = format!("\njwks_file\n  {} {stands}\n", file.path);
    let told = file.problem.as_deref().unwrap_or_default();
    if !told.is_empty() {
        text += &format!("  {told}\n");
    }
    // The problem names those that it holds back.
    for kid in file.waiting.iter().filter(|kid| !told.contains(kid.as_str())) {
        text += &format!("  {kid} does not start to sign before the file has it\n");
    }
    text
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

fn dash() -> String {
    "-".to_owned()
}

/// An instant without its fraction of a second.
pub(super) fn seconds(instant: &str) -> String {
    match instant.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => instant.to_owned(),
    }
}

/// The state of a key, and where it came from if it was not made here.
fn state(key: &Key) -> String {
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
