//! `jwksd fetchers`, and what the answer to a rotation says of them.

use std::process::ExitCode;

use jwksd::api::RotateResponse;
use jwksd::api::fetchers::{FetchedKeyset, Fetcher, Fetchers, FetchersOfKey, Has};
use jwksd::client::Client;
use jwksd_keystore::id::KeysetName;

use super::look::Look;
use super::print::{counted, inert_within, table};
use super::{Out, ask};

/// How much of a column is shown at most.
const WIDEST_WHO: usize = 26;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Only this key set
    #[arg(long, value_name = "NAME")]
    keyset: Option<KeysetName>,
}

pub(super) fn run(client: &Client, args: &Args, out: &Out) -> anyhow::Result<ExitCode> {
    let path = match &args.keyset {
        Some(keyset) => format!("/v1/fetchers?keyset={keyset}"),
        None => "/v1/fetchers".to_owned(),
    };
    let answer: Fetchers = ask(client.get(&path))?;
    out.print(&answer, |answer| text(answer, Look::of_stdout()))?;
    Ok(ExitCode::SUCCESS)
}

fn text(answer: &Fetchers, look: Look) -> String {
    let Some(since) = &answer.since else {
        return "nobody watches who fetches: [fetchers] has enabled = false\n".to_owned();
    };
    if answer.keysets.is_empty() {
        return "no key sets that you may read\n".to_owned();
    }
    let of_keyset = |keyset| of_keyset(keyset, since, look);
    answer.keysets.iter().map(of_keyset).collect::<Vec<_>>().join("\n")
}

fn of_keyset(keyset: &FetchedKeyset, since: &str, look: Look) -> String {
    let mut text = format!("key set {}: {}\n", keyset.name, summary(keyset));
    text += &match &keyset.window {
        Some(window) => {
            format!("  watched since {since}; known are those seen in the last {window}\n")
        }
        None => "  it has no key yet\n".to_owned(),
    };
    if keyset.forgotten > 0 {
        text +=
            &format!("  {} had to make room for others\n", counted(keyset.forgotten, "fetcher"));
    }
    if !keyset.fetchers.is_empty() {
        text += &rows(&keyset.fetchers, look);
    }
    text
}

fn summary(keyset: &FetchedKeyset) -> String {
    if keyset.known == 0 {
        return "no known fetchers".to_owned();
    }
    let mut parts = vec![
        counted(keyset.known, "known fetcher"),
        format!("{} with what is served now", keyset.current),
    ];
    if keyset.without_active > 0 {
        parts.push(format!("{} without the key that signs", keyset.without_active));
    }
    if keyset.standby.is_some() {
        parts.push(format!("{} without the standby", keyset.without_standby));
    }
    parts.join(", ")
}

fn rows(fetchers: &[Fetcher], look: Look) -> String {
    let head = ["WHO", "LAST FETCH", "FETCHES", "HAS", "USER AGENT"];
    let row = |fetcher: &Fetcher| {
        vec![
            shown(&fetcher.who, WIDEST_WHO),
            fetcher.last.clone(),
            fetcher.fetches.to_string(),
            has(fetcher.has).to_owned(),
        ]
    };
    let mut rows: Vec<Vec<String>> = fetchers.iter().map(row).collect();
    let taken = table(&head[..4], &rows).lines().map(str::len).max().unwrap_or_default();
    for (row, fetcher) in rows.iter_mut().zip(fetchers) {
        row.push(shown(&fetcher.user_agent, look.width.saturating_sub(taken + 2).max(20)));
    }
    table(&head, &rows)
}

fn has(has: Has) -> &'static str {
    match has {
        Has::Current => "current",
        Has::WithoutActive => "without-active",
        Has::WithoutStandby => "without-standby",
        Has::Older => "older",
    }
}

/// The text of a stranger, or that there is none.
fn shown(text: &str, most: usize) -> String {
    if text.is_empty() { "-".to_owned() } else { inert_within(text, most) }
}

/// How many fetchers have not got the key that a rotation is to.
pub(super) fn of_rotation(answer: &RotateResponse) -> String {
    let Some(fetchers) = &answer.fetchers else {
        return String::new();
    };
    let FetchersOfKey { known, without_standby, forgotten, several, since } = fetchers;
    let watched = format!("watched since {since}");
    let list = format!("jwksd fetchers --keyset {}", answer.keyset);
    let have = if *without_standby == 1 { "has" } else { "have" };
    let told = match (known, without_standby) {
        (0, _) => format!("no known fetchers ({watched})\n"),
        (1, 0) => format!("the only known fetcher has fetched it ({watched})\n"),
        (known, 0) => format!("all {known} known fetchers have fetched it ({watched})\n"),
        (known, without) if answer.refused_until.is_some() => format!(
            "{without} of {known} known fetchers {have} not fetched it yet, and may refuse its tokens \
             ({watched}): {list}\n"
        ),
        (known, without) => format!(
            "{without} of {known} known fetchers {have} not fetched the standby yet ({watched}): {list}\n"
        ),
    };
    told + &of_unknown(*forgotten, *several)
}

/// Strangers can push out whom they like, or hide them among themselves: who lacks the key must not
/// seem to have it for that.
fn of_unknown(forgotten: u64, several: u64) -> String {
    let mut told = String::new();
    if several > 0 {
        let stand = if several == 1 { "stands" } else { "stand" };
        told += &format!(
            "{several} of them {stand} for user agents of a network that are not told apart: some of those \
             may not have fetched it\n"
        );
    }
    if forgotten > 0 {
        let more = counted(forgotten, "fetcher");
        told +=
            &format!("{more} had to make room for others meanwhile, and may not have fetched it\n");
    }
    told
}
