//! Tables and times for people.

use jwksd_keystore::time::Time;

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

/// Text of others for a terminal: nothing in it controls that, and it stays on its line.
pub(super) fn harmless(text: &str) -> String {
    let escaped = |c: char| {
        // What is printable but for these is escaped by nothing else.
        let is_quiet = matches!(c, '"' | '\'' | '\\');
        if is_quiet { c.to_string() } else { c.escape_debug().to_string() }
    };
    text.chars().map(escaped).collect()
}

/// Words in lines of at most `width` characters, or of one word.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// A number of things, such as "1 key" and "2 keys".
pub(super) fn counted(number: u64, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
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
