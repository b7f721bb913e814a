//! The lives of the keys of a set as a picture of letters: a row for each key, one time axis.

use anstyle::{AnsiColor, Effects, Style};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use jwksd::api::plan::{PhaseState, Plan, PlannedEventKind, PlannedKey, PlannedKeyset};
use jwksd_keystore::id::KeyId;
use jwksd_keystore::time::Time;

use super::look::{Look, coloured};
use super::short::Short;

/// The most rows: a key set that rotates each hour has thousands of keys in a year.
const MOST_ROWS: usize = 30;

/// How many of them may lie before the key that signs.
const ROWS_BEFORE: usize = 8;

/// The letters of a date below the axis, and of the gap after it.
const LABEL: usize = 11;
const GAP: usize = 2;

/// What part of time is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) from: Time,
    pub(super) until: Time,
    pub(super) now: Time,
}

impl Window {
    /// From the earliest of what there is, but at most `past` of the time ahead before now.
    pub(super) fn of(plan: &Plan, past: f64) -> Self {
        let (now, until) = (instant(&plan.now), instant(&plan.until));
        let keys = plan.keysets.iter().flat_map(|keyset| &keyset.keys);
        let begins = keys.filter_map(|key| Some(instant(&key.phases.first()?.from)));
        let earliest = begins.min().unwrap_or(now).min(now);
        let from = now.before(until.since(now).mul_f64(past)).max(earliest);
        Self { from, until, now }
    }

    /// No more of it than these keys have.
    fn around(self, keys: &[&PlannedKey]) -> Self {
        let phases = || keys.iter().flat_map(|key| &key.phases);
        let begins = phases().map(|phase| instant(&phase.from)).min().unwrap_or(self.from);
        let ends = phases().map(|phase| instant(phase.until.as_ref().unwrap_or(&phase.from)));
        let ends = ends.max().unwrap_or(self.until);
        let from = self.from.max(begins.min(self.now));
        Self { from, until: self.until.min(ends.max(self.now)), now: self.now }
    }
}

/// An instant of an answer; the daemon tells no other texts.
pub(super) fn instant(text: &str) -> Time {
    text.parse().unwrap_or_default()
}

/// The timeline of one key set; nothing where no key is to be drawn.
pub(super) fn draw(keyset: &PlannedKeyset, window: Window, kids: &Short, look: Look) -> String {
    let keys: Vec<&PlannedKey> =
        keyset.keys.iter().filter(|key| is_in_window(key, window)).collect();
    let signs = keys.iter().position(|key| key.kid.is_some() && key.kid == keyset.active);
    let most_left_out = keys.len().saturating_sub(MOST_ROWS);
    let earlier = signs.unwrap_or(0).saturating_sub(ROWS_BEFORE).min(most_left_out);
    let drawn = &keys[earlier..keys.len().min(earlier + MOST_ROWS)];
    if drawn.is_empty() {
        return String::new();
    }
    let later = keys.len() - earlier - drawn.len();
    let window = if earlier + later > 0 { window.around(drawn) } else { window };
    let label = |key: &&PlannedKey| called(key.number, key.kid.as_ref(), keyset, kids);
    let labels: Vec<String> = drawn.iter().map(label).collect();
    let widest = labels.iter().map(|label| label.chars().count()).max().unwrap_or(0);
    let axis = Axis { window, columns: look.width.saturating_sub(widest + GAP).max(LABEL) };
    let indent = " ".repeat(widest + GAP);
    let mut text = format!("{indent}{}\n", axis.head(look));
    for (key, label) in drawn.iter().zip(&labels) {
        let row = axis.row(key, keyset, look);
        text += format!("{label:widest$}  {row}").trim_end();
        text.push('\n');
    }
    let (line, dates) = axis.foot(look);
    text += &format!("{indent}{line}\n{indent}{}\n", dates.trim_end());
    if earlier + later > 0 {
        text += &format!("{indent}({earlier} earlier and {later} later keys are not drawn)\n");
    }
    text
}

/// The kids of a key set.
pub(super) fn kids(keyset: &PlannedKeyset) -> impl Iterator<Item = &str> {
    keyset.keys.iter().filter_map(|key| key.kid.as_ref()).map(KeyId::as_str)
}

/// What the letters mean.
pub(super) fn legend(look: Look) -> String {
    let sign = |state| look.styled(style(state, false), &glyph(state, look).to_string());
    format!(
        "{} waits  {} signs  {} only verifies  {} revoked  {} now\n",
        sign(PhaseState::Pending),
        sign(PhaseState::Active),
        sign(PhaseState::VerifyOnly),
        look.styled(coloured(AnsiColor::Red), &revoked(look).to_string()),
        present(look),
    )
}

/// What a key is called where there is little room: one that is not made yet by its number, but for
/// the next.
pub(super) fn called(
    number: u64,
    kid: Option<&KeyId>,
    keyset: &PlannedKeyset,
    kids: &Short,
) -> String {
    if let Some(kid) = kid {
        return kids.short(kid.as_str());
    }
    let first_to_come = keyset.keys.iter().find(|key| key.kid.is_none());
    match first_to_come {
        Some(first) if first.number < number => format!("key {number}"),
        Some(_) | None => "next key".to_owned(),
    }
}

fn is_in_window(key: &PlannedKey, window: Window) -> bool {
    key.phases.iter().any(|phase| {
        let ends = phase.until.as_deref().map(instant);
        instant(&phase.from) <= window.until && ends.is_none_or(|ends| ends >= window.from)
    })
}

struct Axis {
    window: Window,
    columns: usize,
}

#[derive(Clone, Copy, PartialEq)]
struct Cell {
    glyph: char,
    style: Style,
}

impl Axis {
    /// The column of an instant; that of the last one for all that comes later.
    fn column(&self, at: Time) -> usize {
        let Window { from, until, .. } = self.window;
        let span = until.since(from).as_millis().max(1);
        let column = at.since(from).as_millis() * self.columns as u128 / span;
        usize::try_from(column).unwrap_or(usize::MAX).min(self.columns - 1)
    }

    fn head(&self, look: Look) -> String {
        let now = self.column(self.window.now).saturating_sub(1).min(self.columns - 3);
        format!("{}{}", " ".repeat(now), look.styled(Style::new().bold(), "now"))
    }

    fn row(&self, key: &PlannedKey, keyset: &PlannedKeyset, look: Look) -> String {
        let blank = Cell { glyph: ' ', style: Style::new() };
        let mut cells = vec![blank; self.columns];
        cells[self.column(self.window.now)].glyph = present(look);
        for phase in &key.phases {
            let (from, ends) = (instant(&phase.from), phase.until.as_deref().map(instant));
            if from > self.window.until || ends.is_some_and(|ends| ends < self.window.from) {
                continue;
            }
            // What is shorter than a column has one all the same, unless the next begins there too.
            let begin = self.column(from);
            let stays = ends.is_none_or(|ends| ends > self.window.until);
            let end = if stays { self.columns } else { self.column(ends.unwrap_or_default()) };
            let end = end.max(begin + 1).min(self.columns);
            let style = style(phase.state, phase.expected);
            let cell = Cell { glyph: glyph(phase.state, look), style };
            cells.iter_mut().take(end).skip(begin).for_each(|place| *place = cell);
        }
        if let Some(at) = revoked_at(key, keyset).filter(|&at| at >= self.window.from) {
            cells[self.column(at)] = Cell { glyph: revoked(look), style: coloured(AnsiColor::Red) };
        }
        painted(&cells, look)
    }

    /// The line of the axis, and the dates below it.
    fn foot(&self, look: Look) -> (String, String) {
        let mut line = vec![look.either('─', '-'); self.columns];
        let mut dates = String::new();
        for (at, date) in self.dates() {
            let column = self.column(at);
            let is_free = dates.is_empty() || column >= dates.len() + GAP;
            if is_free && column + date.len() <= self.columns {
                dates += &" ".repeat(column - dates.len());
                dates += &date;
                line[column] = look.either('┬', '+');
            }
        }
        line[self.column(self.window.now)] = look.either('┼', '|');
        (line.into_iter().collect(), dates)
    }

    /// Instants at which something round begins, as many as there is room for.
    fn dates(&self) -> Vec<(Time, String)> {
        let Window { from, until, .. } = self.window;
        let room = (self.columns / (LABEL + GAP)).max(1) as u128;
        let hours = until.since(from).as_millis() / 3_600_000;
        let fits = |step: &&Step| hours / u128::from(step.hours()) <= room;
        let step = STEPS.iter().find(fits).unwrap_or(&STEPS[STEPS.len() - 1]);
        step.instants(from, until)
    }
}

/// How far apart dates are.
#[derive(Clone, Copy)]
enum Step {
    Hours(u32),
    Days(u32),
    Months(u32),
}

const STEPS: [Step; 12] = [
    Step::Hours(1),
    Step::Hours(3),
    Step::Hours(6),
    Step::Hours(12),
    Step::Days(1),
    Step::Days(2),
    Step::Days(7),
    Step::Days(14),
    Step::Months(1),
    Step::Months(3),
    Step::Months(6),
    Step::Months(12),
];

impl Step {
    const fn hours(self) -> u32 {
        match self {
            Self::Hours(hours) => hours,
            Self::Days(days) => 24 * days,
            Self::Months(months) => 30 * 24 * months,
        }
    }

    /// The multiples of the step in UTC from `from` to `until`, with what is written below them.
    fn instants(self, from: Time, until: Time) -> Vec<(Time, String)> {
        let mut instants = Vec::new();
        let Some(day) = date(from) else { return instants };
        let first = match self {
            Self::Months(_) => Date::new(day.year(), 1, 1).unwrap_or(day),
            Self::Hours(_) | Self::Days(_) => day,
        };
        let mut at = first.to_zoned(TimeZone::UTC).ok();
        while let Some(zoned) = at {
            let millis = zoned.timestamp().as_millisecond();
            let time = Time::from_millis(u64::try_from(millis).unwrap_or(0));
            if time > until {
                break;
            }
            if time >= from {
                let form = if let Self::Hours(_) = self { "%m-%d %H:%M" } else { "%Y-%m-%d" };
                instants.push((time, zoned.strftime(form).to_string()));
            }
            at = zoned.checked_add(self.span()).ok();
        }
        instants
    }

    fn span(self) -> jiff::Span {
        match self {
            Self::Hours(hours) => i64::from(hours).hours(),
            Self::Days(days) => i64::from(days).days(),
            Self::Months(months) => i64::from(months).months(),
        }
    }
}

fn date(time: Time) -> Option<Date> {
    let millis = i64::try_from(time.as_millis()).ok()?;
    Some(Timestamp::from_millisecond(millis).ok()?.to_zoned(TimeZone::UTC).date())
}

fn revoked_at(key: &PlannedKey, keyset: &PlannedKeyset) -> Option<Time> {
    let of_key = |number, kind| number == key.number && kind == PlannedEventKind::Revoke;
    let event = keyset.events.iter().find(|event| of_key(event.number, event.event))?;
    Some(instant(&event.at))
}

fn painted(cells: &[Cell], look: Look) -> String {
    let last = cells.iter().rposition(|cell| cell.glyph != ' ').map_or(0, |last| last + 1);
    let mut text = String::new();
    for alike in cells[..last].chunk_by(|a, b| a.style == b.style) {
        let glyphs: String = alike.iter().map(|cell| cell.glyph).collect();
        text += &look.styled(alike[0].style, &glyphs);
    }
    text
}

fn glyph(state: PhaseState, look: Look) -> char {
    match state {
        PhaseState::Pending => look.either('·', '.'),
        PhaseState::Active => look.either('━', '='),
        PhaseState::VerifyOnly => look.either('─', '-'),
    }
}

fn revoked(look: Look) -> char {
    look.either('×', 'x')
}

fn present(look: Look) -> char {
    look.either('┊', '|')
}

/// What is only expected is fainter.
fn style(state: PhaseState, expected: bool) -> Style {
    let style = match state {
        PhaseState::Pending => coloured(AnsiColor::Cyan),
        PhaseState::Active => coloured(AnsiColor::Green),
        PhaseState::VerifyOnly => coloured(AnsiColor::Blue),
    };
    if expected { style.effects(Effects::DIMMED) } else { style }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::look::{Colours, Letters};

    fn look(letters: Letters) -> Look {
        Look { width: 60, letters, colours: Colours::None }
    }

    fn key(kid: Option<&str>, number: u64, phases: &[(&str, &str, Option<&str>)]) -> Value {
        let phase = |&(state, from, until): &(&str, &str, Option<&str>)| {
            let day = |day: &str| format!("2026-{day}T00:00:00Z");
            json!({"state": state, "from": day(from), "until": until.map(day), "expected": false})
        };
        let phases: Vec<Value> = phases.iter().map(phase).collect();
        json!({
            "kid": kid, "number": number, "state": "pending", "algorithm": "ES256",
            "origin": "generated", "phases": phases,
        })
    }

    /// A set with a past, of which one key was revoked, and with keys to come.
    fn plan(keys: &[Value]) -> Plan {
        let revoked = json!({
            "at": "2026-11-05T00:00:00Z", "kid": "stolen", "number": 1, "event": "revoke",
            "why": "admin", "expected": false,
        });
        let plan = json!({
            "now": "2026-11-10T00:00:00Z",
            "until": "2026-12-10T00:00:00Z",
            "keysets": [{
                "name": "default", "active": "active", "keys": keys, "events": [revoked],
                "notes": [],
            }],
        });
        serde_json::from_value(plan).unwrap()
    }

    fn drawn(plan: &Plan, letters: Letters) -> String {
        let keyset = &plan.keysets[0];
        let kids = Short::of(kids(keyset), look(letters));
        draw(keyset, Window::of(plan, 1.0), &kids, look(letters))
    }

    fn keys() -> [Value; 5] {
        [
            key(Some("stolen"), 1, &[("active", "11-01", Some("11-05"))]),
            key(
                Some("active"),
                2,
                &[
                    ("pending", "11-01", Some("11-05")),
                    ("active", "11-05", Some("11-20")),
                    ("verify-only", "11-20", Some("11-22")),
                ],
            ),
            key(
                Some("standby"),
                3,
                &[("pending", "11-05", Some("11-20")), ("active", "11-20", Some("12-20"))],
            ),
            key(None, 4, &[("pending", "11-20", Some("12-20"))]),
            key(None, 5, &[("pending", "12-20", None)]),
        ]
    }

    #[test]
    fn each_key_has_a_row_on_one_axis_with_now_and_dates() {
        assert_eq!(
            drawn(&plan(&keys()), Letters::Ascii),
            "                    now
stolen    =====x     |
active    .....===================--
standby        ...................==========================
next key             |            ..........................
          +----------|-----+-----------------+--------------
          2026-11-01       2026-11-15        2026-11-29
"
        );
        let picture = drawn(&plan(&keys()), Letters::Unicode);
        assert!(picture.contains("stolen    ━━━━━×     ┊\n"), "{picture}");
    }

    #[test]
    fn of_many_keys_those_around_the_active_one_are_drawn() {
        let day = |day: u64| format!("11-{:02}", day % 30 + 1);
        let many = |number| {
            let (from, until) = (day(number), day(number + 1));
            let kid = if number < 20 { format!("kid-{number}") } else { "active".to_owned() };
            let kid = (number <= 20).then_some(kid.as_str());
            key(kid, number, &[("pending", &from, Some(&until))])
        };
        let plan = plan(&(0..29).chain(60..89).map(many).collect::<Vec<_>>());
        let picture = drawn(&plan, Letters::Ascii);
        assert_eq!(picture.lines().count(), MOST_ROWS + 4);
        assert!(picture.contains("\nkid-12 "), "{picture}");
        assert!(!picture.contains("kid-11 "), "{picture}");
        assert!(picture.contains("(12 earlier and 16 later keys are not drawn)"), "{picture}");
    }

    #[test]
    fn dates_fit_at_every_length_and_width() {
        for hours in [1, 5, 24, 72, 24 * 30, 24 * 90, 24 * 400, 24 * 4000] {
            for columns in [11, 30, 66, 130, 390] {
                let now = instant("2026-11-22T09:30:00Z");
                let until = now + std::time::Duration::from_hours(hours);
                let axis = Axis { window: Window { from: now, until, now }, columns };
                let (line, dates) = axis.foot(look(Letters::Ascii));
                assert_eq!(line.len(), columns);
                assert!(dates.len() <= columns, "{dates}");
                assert!(columns < 30 || hours < 5 || !dates.is_empty(), "{hours} {columns}");
            }
        }
    }

    #[test]
    fn colours_are_around_what_is_alike() {
        let plan = plan(&keys());
        let look = Look { colours: Colours::Some, ..look(Letters::Ascii) };
        let kids = Short::of([], look);
        let picture = draw(&plan.keysets[0], Window::of(&plan, 1.0), &kids, look);
        assert!(picture.contains("\u{1b}[32m=====\u{1b}[0m\u{1b}[31mx\u{1b}[0m"), "{picture:?}");
    }
}
