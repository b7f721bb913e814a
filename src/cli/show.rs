//! `jwksd keys show`: one key set with all that was, is and comes.

use jwksd::api::plan::{LONGEST_PLAN, PLAN_DAYS, Plan};
use jwksd::api::{JwksFile, Key, KeyState, Keyset};
use jwksd::client::Client;
use jwksd_keystore::id::{KeyId, KeysetName};

use super::events::{self, Columns, OfSet};
use super::keys::state;
use super::look::Look;
use super::print::{counted, inert, seconds, table};
use super::short::Short;
use super::timeline::{self, Window, instant};
use super::{Out, ask, plan};

/// The most that is told of what was, in events.
const MOST_PAST: usize = 24;

#[derive(clap::Args)]
pub(super) struct Args {
    /// The key set
    pub(super) keyset: KeysetName,
    /// How many days ahead, and at most as many back in the picture
    #[arg(long, value_name = "DAYS", default_value_t = PLAN_DAYS,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(LONGEST_PLAN)))]
    days: u16,
}

pub(super) fn run(client: &Client, args: &Args, out: &Out) -> anyhow::Result<()> {
    let keyset = fetch(client, &args.keyset)?;
    if out.json {
        return out.print(&keyset, |_| String::new());
    }
    let plan = plan::fetch(client, Some(&args.keyset), args.days, "")?;
    out.print(&keyset, |keyset| text(keyset, &plan, args.days, Look::of_stdout()))
}

/// A key set as the daemon tells it.
pub(super) fn fetch(client: &Client, keyset: &KeysetName) -> anyhow::Result<Keyset> {
    ask(client.get(&format!("/v1/keysets/{keyset}")))
}

fn text(keyset: &Keyset, plan: &Plan, days: u16, look: Look) -> String {
    // The plan was asked for later, and may know a key more.
    let planned = plan.keysets.iter().flat_map(timeline::kids);
    let kids = keyset.keys.iter().map(|key| key.kid.as_str()).chain(planned);
    let kids = Short::of(kids, look);
    let mut text = head(keyset);
    text += &keys(keyset);
    text += &lives(keyset, plan, days, &kids, look);
    text += &held_text(keyset, &kids);
    if let Some(file) = &keyset.jwks_file {
        text += &file_text(file);
    }
    text
}

fn head(keyset: &Keyset) -> String {
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    format!(
        "key set {} at revision {}{}\n  algorithm      {}\n  rotates        {}\n  \
         publish_ahead  {}\n  active         {}\n  standby        {}\n",
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
    )
}

/// All keys with their whole kids, for whoever has to name one.
fn keys(keyset: &Keyset) -> String {
    if keyset.keys.is_empty() {
        return String::new();
    }
    let row = |key: &Key| vec![key.number.to_string(), key.kid.to_string(), state(key)];
    let rows: Vec<Vec<String>> = keyset.keys.iter().map(row).collect();
    format!("\n{}", table(&["NO", "KID", "STATE"], &rows))
}

/// The picture, what was, and what comes.
fn lives(keyset: &Keyset, plan: &Plan, days: u16, kids: &Short, look: Look) -> String {
    let Some(planned) = plan.keysets.first() else { return String::new() };
    let now = instant(&plan.now);
    let table = |events: &[OfSet<'_>]| events::table(events, Columns::OfOneKeyset, now, kids, look);
    let mut text = String::new();
    let picture = timeline::draw(planned, Window::of(plan, 1.0), kids, look);
    if !picture.is_empty() {
        text += &format!("\n{picture}{}", timeline::legend(look));
    }
    let past: Vec<OfSet<'_>> = events::until(planned, now).collect();
    let told = &past[past.len().saturating_sub(MOST_PAST)..];
    if !told.is_empty() {
        text += &format!("\npast\n{}", table(told));
        if told.len() < past.len() {
            let earlier = past.len() - told.len();
            text += &format!("({earlier} earlier: jwksd plan --keyset {} --json)\n", keyset.name);
        }
    }
    let coming: Vec<OfSet<'_>> = events::after(planned, now).collect();
    text += "\nnext\n";
    if coming.is_empty() {
        text += &format!("  {}\n", nothing_next(keyset, days));
    } else {
        text += &table(&coming);
    }
    text + &plan::notes(planned, look)
}

/// Why no event comes.
fn nothing_next(keyset: &Keyset, days: u16) -> String {
    if keyset.has_key_that_waits_for_its_file() {
        "nothing until the jwks_file has the next key".to_owned()
    } else if keyset.waits_for_its_first_key() {
        format!("nothing until its first key is imported: jwksd keys import {} FILE", keyset.name)
    } else if keyset.next.is_empty() {
        "nothing until asked".to_owned()
    } else {
        format!("nothing within {}", counted(days.into(), "day"))
    }
}

/// What to know of keys where verifiers hold them themselves.
fn held_text(keyset: &Keyset, kids: &Short) -> String {
    let row = |key: &Key| {
        let or = |time: &Option<String>, none: &str| {
            time.as_deref().map_or_else(|| none.to_owned(), seconds)
        };
        let is_pending = key.state == KeyState::Pending;
        vec![
            kids.short(key.kid.as_str()),
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
    let mut text = format!("\njwks_file\n  {} {stands}\n", inert(&file.path));
    let told = file.problem.as_deref().unwrap_or_default();
    if !told.is_empty() {
        text += &format!("  {}\n", inert(told));
    }
    // The problem names those that it holds back.
    for kid in file.waiting.iter().filter(|kid| !told.contains(kid.as_str())) {
        text += &format!("  {kid} does not start to sign before the file has it\n");
    }
    text
}
