//! Tables, names and times for people.

use std::time::Duration;

use jwksd::escape::InLine;
use jwksd_keystore::time::Time;

/// The fewest letters of a last column.
const NARROWEST: usize = 16;

/// Rows in columns that line up, without spaces at the ends of lines.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let columns = head.len();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> =
            cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    let mut text = line(&mut head.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

/// The same, where the last column goes on below itself instead of beyond `width`.
pub(super) fn table_within(width: usize, head: &[&str], rows: &[Vec<String>]) -> String {
    let last = head.len().saturating_sub(1);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let column = |column: usize| {
        cells(column).map(|cell| cell.chars().count()).chain([head[column].len()]).max()
    };
    let before: usize = (0..last).filter_map(column).map(|width| width + 2).sum();
    let room = width.saturating_sub(before).max(NARROWEST);
    let mut parted = Vec::new();
    for row in rows {
        let lines = row.get(last).map_or_else(Vec::new, |text| wrapped(text, room));
        let mut lines = lines.into_iter();
        let first = row[..last.min(row.len())].iter().cloned().chain(lines.next());
        parted.push(first.collect());
        parted.extend(lines.map(|line| [vec![String::new(); last], vec![line]].concat()));
    }
    table(head, &parted)
}

/// Lines of at most `width` columns; words that are longer are parted.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for part in letters.chunks(width.max(1)) {
            let part: String = part.iter().collect();
            let line = lines.last().map_or(0, |line| line.chars().count());
            match lines.last_mut() {
                Some(begun) if line == 0 => *begun = part,
                Some(begun) if line + 1 + part.chars().count() <= width => {
                    *begun += " ";
                    *begun += &part;
                }
                Some(_) | None => lines.push(part),
            }
        }
    }
    lines
}

/// A text of other people on one line, to which it can say nothing.
pub(super) fn inert(text: &str) -> String {
    InLine(text).to_string()
}

/// The same, of which no more than `most` letters are shown.
pub(super) fn inert_within(text: &str, most: usize) -> String {
    const GAP: &str = "...";
    let text = inert(text);
    if text.chars().count() <= most {
        return text;
    }
    text.chars().take(most.saturating_sub(GAP.len())).chain(GAP.chars()).collect()
}

/// The first names, and how many more there are.
pub(super) fn first(names: &[impl AsRef<str>], most: usize) -> String {
    let mut told: Vec<String> =
        names.iter().take(most).map(|name| name.as_ref().to_owned()).collect();
    if names.len() > most {
        told.push(counted((names.len() - most) as u64, "other"));
    }
    told.join(", ")
}

/// A number of things, such as "1 key" and "2 keys".
pub(super) fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A span of time in its two largest units, such as `8d17h`.
pub(super) fn about(span: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let mut rest = span.as_secs();
    let mut parts = UNITS.iter().map(|(unit, name)| {
        let count = rest / unit;
        rest %= unit;
        (count, name)
    });
    let first = parts.find(|(count, _)| *count > 0);
    let second = parts.next().filter(|(count, _)| *count > 0);
    let shown = first.into_iter().chain(second).map(|(count, name)| format!("{count}{name}"));
    let shown: String = shown.collect();
    if shown.is_empty() { "now".to_owned() } else { shown }
}

/// An instant without its fraction of a second.
pub(super) fn seconds(instant: &str) -> String {
    match instant.split_once('.') {
        Some((whole, _)) => format!("{whole}Z"),
        None => instant.to_owned(),
    }
}

/// An instant in a time zone, to the second, with its offset.
pub(super) fn local(time: Time, zone: &str) -> String {
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let local = jiff::Timestamp::from_millisecond(millis).and_then(|instant| instant.in_tz(zone));
    match local {
        Ok(local) => local.strftime("%a %Y-%m-%d %H:%M:%S %:z").to_string(),
        Err(_) => time.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_column_that_is_too_wide_goes_on_below_itself() {
        let rows = [vec!["a".to_owned(), "one two three four five".to_owned()]];
        let text = table_within(21, &["AT", "WHY"], &rows);
        assert_eq!(text, "AT  WHY\na   one two three\n    four five\n");
    }

    #[test]
    fn words_without_end_are_parted() {
        assert_eq!(wrapped("aaaaaaa bb", 3), ["aaa", "aaa", "a", "bb"]);
        assert_eq!(wrapped("", 3), [""]);
    }

    #[test]
    fn a_span_has_its_two_largest_units() {
        let texts = [0, 59, 60, 3_661, 86_400 + 59, 90 * 86_400 + 3 * 3_600 + 1]
            .map(|seconds| about(Duration::from_secs(seconds)));
        assert_eq!(texts, ["now", "59s", "1m", "1h1m", "1d", "90d3h"]);
    }
}
