//! What happened and what comes, as a table.

use std::time::Duration;

use jwksd::api::plan::{PlannedEvent, PlannedEventKind, PlannedKeyset, Why};
use jwksd_keystore::time::Time;

use super::look::Look;
use super::print::{about, inert, table_within};
use super::short::Short;
use super::timeline::{called, instant};

/// An event with the key set that it is of.
pub(super) type OfSet<'a> = (&'a PlannedKeyset, &'a PlannedEvent);

/// Which of the columns there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    /// All.
    WithKeyset,
    /// All but that of the key set, which is the same everywhere.
    OfOneKeyset,
}

/// The events of a key set that come.
pub(super) fn after(keyset: &PlannedKeyset, now: Time) -> impl Iterator<Item = OfSet<'_>> {
    let events = keyset.events.iter().filter(move |event| !has_been(event, now));
    events.map(move |event| (keyset, event))
}

/// The events of a key set that were.
pub(super) fn until(keyset: &PlannedKeyset, now: Time) -> impl Iterator<Item = OfSet<'_>> {
    let events = keyset.events.iter().filter(move |event| has_been(event, now));
    events.map(move |event| (keyset, event))
}

/// What is expected at this very moment has not been yet.
fn has_been(event: &PlannedEvent, now: Time) -> bool {
    instant(&event.at) <= now && !event.expected
}

/// A row for each event, in their order.
pub(super) fn table(
    events: &[OfSet<'_>],
    columns: Columns,
    now: Time,
    kids: &Short,
    look: Look,
) -> String {
    let precise = Precision::of(events.iter().map(|(_, event)| instant(&event.at)));
    let names = names(events, look);
    let row = |(keyset, event): &OfSet<'_>| {
        let at = instant(&event.at);
        let name = (columns == Columns::WithKeyset).then(|| names.short(keyset.name.as_str()));
        let cells = [precise.text(at), distance(at, now)].into_iter().chain(name);
        let called = called(event.number, event.kid.as_ref(), keyset, kids);
        cells.chain([called, kind(event.event).to_owned(), why(event)]).collect()
    };
    let rows: Vec<Vec<String>> = events.iter().map(row).collect();
    match columns {
        Columns::WithKeyset => {
            table_within(look.width, &["AT", "IN", "KEY SET", "KEY", "EVENT", "WHY"], &rows)
        }
        Columns::OfOneKeyset => {
            let is_past = events.last().is_some_and(|(_, event)| has_been(event, now));
            let distance = if is_past { "AGO" } else { "IN" };
            table_within(look.width, &["AT", distance, "KEY", "EVENT", "WHY"], &rows)
        }
    }
}

/// The names of the key sets: whole where there is room for them beside the other columns.
fn names(events: &[OfSet<'_>], look: Look) -> Short {
    const OTHERS: usize = 67;
    let names = || events.iter().map(|(keyset, _)| keyset.name.as_str());
    let widest = names().map(str::len).max().unwrap_or(0);
    Short::of(names().filter(|_| widest + OTHERS > look.width), look)
}

/// How far away an instant is, in either direction.
fn distance(at: Time, now: Time) -> String {
    about(at.since(now).max(now.since(at)))
}

fn kind(kind: PlannedEventKind) -> &'static str {
    match kind {
        PlannedEventKind::Publish => "publish",
        PlannedEventKind::Activate => "activate",
        PlannedEventKind::End => "end",
        PlannedEventKind::Retire => "retire",
        PlannedEventKind::Leave => "leave",
        PlannedEventKind::Revoke => "revoke",
    }
}

fn why(event: &PlannedEvent) -> String {
    let why = match event.why {
        Why::FirstKey => "first key",
        Why::Standby => "as standby",
        Why::Import => "imported",
        Why::Trust => "trusted",
        Why::Schedule => "schedule",
        Why::Admin if event.event == PlannedEventKind::Retire => "admin, early",
        Why::Admin => "admin",
        Why::AdminNow => "admin, no wait",
        Why::Revocation => "revocation",
        Why::Recovery => "set came back",
        Why::Successor => "newer key",
        Why::Removed => "not configured",
        Why::Expired => "tokens expired",
        Why::TrustedUntil => "trust ended",
        Why::Replaced => "replaced",
    };
    match &event.reason {
        Some(reason) => format!("{why}: {}", inert(reason)),
        None => why.to_owned(),
    }
}

/// How precise instants are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Precision {
    Minutes,
    Seconds,
}

impl Precision {
    /// As precise as all of them need it.
    fn of(mut times: impl Iterator<Item = Time>) -> Self {
        const MINUTE: Duration = Duration::from_mins(1);
        if times.all(|time| u128::from(time.as_millis()) % MINUTE.as_millis() == 0) {
            Self::Minutes
        } else {
            Self::Seconds
        }
    }

    fn text(self, time: Time) -> String {
        let text = Time::from_millis(time.as_secs() * 1000).to_string();
        match self {
            Self::Minutes => text.replacen(":00Z", "Z", 1),
            Self::Seconds => text,
        }
    }
}
