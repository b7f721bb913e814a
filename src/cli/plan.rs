//! `jwksd plan`: what comes, in each key set.

use std::process::ExitCode;

use clap::value_parser;
use jwksd::api::plan::{LONGEST_PLAN, PLAN_DAYS, Plan, PlannedKeyset};
use jwksd::client::Client;
use jwksd_keystore::id::KeysetName;

use super::events::{self, Columns, OfSet};
use super::look::Look;
use super::print::{counted, inert, wrapped};
use super::short::Short;
use super::timeline::{self, Window, instant};
use super::{Out, ask, refusing, verifiers};

/// How much of the time ahead is shown of the time before now.
const PAST: f64 = 0.15;

#[derive(clap::Args)]
pub(super) struct Args {
    /// How many days ahead
    #[arg(long, value_name = "DAYS", default_value_t = PLAN_DAYS,
        value_parser = value_parser!(u16).range(1..=i64::from(LONGEST_PLAN)))]
    days: u16,
    /// Only this key set
    #[arg(long, value_name = "NAME")]
    keyset: Option<KeysetName>,
    #[command(flatten)]
    verifiers: verifiers::Asked,
}

pub(super) fn run(client: &Client, args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    let asked = args.verifiers.query()?;
    let plan = fetch(client, args.keyset.as_ref(), args.days, &asked)?;
    out.print(&plan, |plan| text(plan, args, Look::of_stdout()))?;
    Ok(ExitCode::SUCCESS)
}

/// What was and what comes, as the daemon tells it.
pub(super) fn fetch(
    client: &Client,
    keyset: Option<&KeysetName>,
    days: u16,
    more: &str,
) -> anyhow::Result<Plan> {
    let keyset = keyset.map_or_else(String::new, |keyset| format!("&keyset={keyset}"));
    ask(client.get(&format!("/v1/plan?days={days}{keyset}{more}")))
}

fn text(plan: &Plan, args: &Args, look: Look) -> String {
    if plan.keysets.is_empty() {
        return "no key sets that you may read\n".to_owned();
    }
    let now = instant(&plan.now);
    let kids = Short::of(plan.keysets.iter().flat_map(timeline::kids), look);
    let mut coming: Vec<OfSet<'_>> =
        plan.keysets.iter().flat_map(|keyset| events::after(keyset, now)).collect();
    coming.sort_by_key(|(_, event)| instant(&event.at));
    let days = counted(args.days.into(), "day");
    let mut text = if coming.is_empty() {
        format!("nothing comes within {days}\n")
    } else {
        events::table(&coming, Columns::WithKeyset, now, &kids, look)
    };
    let window = Window::of(plan, PAST);
    for keyset in &plan.keysets {
        text += &format!("\nkey set {}\n", keyset.name);
        text += &timeline::draw(keyset, window, &kids, look);
        text += &notes(keyset, look);
        text += &refusing::text(keyset, args.verifiers.is_asked(), &kids, look);
    }
    if plan.keysets.iter().any(|keyset| !keyset.keys.is_empty()) {
        text.push('\n');
        text += &timeline::legend(look);
    }
    text
}

/// What else to know of a key set.
pub(super) fn notes(keyset: &PlannedKeyset, look: Look) -> String {
    let note = |note: &String| {
        let lines = wrapped(&inert(note), look.width.saturating_sub(4));
        let begins = ["  * "].into_iter().chain(std::iter::repeat("    "));
        let lines = begins.zip(lines).map(|(begin, line)| format!("{begin}{line}\n"));
        lines.collect::<String>()
    };
    keyset.notes.iter().map(note).collect()
}
