//! After which line to go on: what a start finds in the files that an earlier one left.
//!
//! It reads on from the checkpoint, so that a start takes the same time however long the audit is.
//! It judges nothing but the end: [`super::verify`] reads all.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jwksd_keystore::seal::MasterKeys;

use super::chain::{Link, Mark, Parsed};
use super::checkpoint::{Held, Position};
use super::files;

/// Where to go on.
pub(super) struct Found {
    /// After this line.
    pub(super) link: Link,
    /// The number of the first line of the file that is written; of the next line if it is empty.
    pub(super) first: u64,
    /// The last line, where one is in the file that is written.
    pub(super) last: Option<Position>,
    /// What is to be written before the next line.
    pub(super) owes: Option<(Mark, String)>,
}

/// How much is believed of what is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Belief {
    /// What hangs together from a line that is known to be ours. What does not was left by a crash.
    Chained,
    /// Any line: where no checkpoint tells what is ours, nothing is passed over.
    Any,
}

/// What reading the end of a file found.
struct Tail {
    last: Option<Position>,
    belief: Belief,
    /// Whether anything after `last` is not a line of the chain.
    is_torn: bool,
}

impl Found {
    /// Nothing was ever written.
    pub(super) fn nothing() -> Self {
        Self::beginning(Link::START, "the first file".to_owned())
    }

    fn beginning(link: Link, reason: String) -> Self {
        Self { link, first: link.number + 1, last: None, owes: Some((Mark::Begin, reason)) }
    }
}

/// Looks at the files of the audit at `path`. The file at `path` is there; it may be empty.
pub(super) fn look(path: &Path, held: Held, master_keys: &MasterKeys) -> io::Result<Found> {
    let is_empty = path.metadata()?.len() == 0;
    let full = files::all_full(path)?;
    let position = match held {
        Held::Position(position) => Some(position),
        Held::Nothing | Held::Damaged => None,
    };
    let newest = if is_empty { full.last().map(PathBuf::as_path) } else { Some(path) };
    let Some(newest) = newest else { return Ok(without_files(position)) };
    let tail = read_tail(newest, position, master_keys)?;
    let (link, owes) = judge(&tail, position);
    if link == Link::START {
        return Ok(Found::beginning(link, "what is before is not chained".to_owned()));
    }
    if is_empty {
        let owes = owes.filter(|(mark, _)| mark.may_begin_a_file());
        let owes = owes.unwrap_or_else(|| (Mark::Begin, "goes on".to_owned()));
        return Ok(Found { owes: Some(owes), ..Found::beginning(link, String::new()) });
    }
    let first = first_number(newest)?.unwrap_or(link.number + 1);
    Ok(Found { link, first, last: tail.last, owes })
}

fn without_files(position: Option<Position>) -> Found {
    match position.filter(|position| !position.is_start()) {
        Some(Position { link, .. }) => {
            let reason = format!("lines up to {} are in files that are not here", link.number);
            Found::beginning(link, reason)
        }
        None => Found::nothing(),
    }
}

/// After which line to go on, and what is to be said before.
fn judge(tail: &Tail, position: Option<Position>) -> (Link, Option<(Mark, String)>) {
    let link = tail.last.map_or(Link::START, |last| last.link);
    match position {
        Some(Position { link: synced, .. }) if tail.belief == Belief::Any => {
            let reason =
                format!("lines up to {} were on the disk, and not all are here", synced.number);
            let link = if link.number > synced.number { link } else { synced };
            (link, Some((Mark::Break, reason)))
        }
        Some(_) if tail.is_torn => {
            (link, Some((Mark::Resume, "what an end unasked left is passed over".to_owned())))
        }
        Some(_) => (link, None),
        None => {
            let reason = "no checkpoint tells whether lines are missing before".to_owned();
            (link, Some((Mark::Break, reason)))
        }
    }
}

/// Reads on from `position` where the file holds it, else from the beginning.
fn read_tail(
    path: &Path,
    position: Option<Position>,
    master_keys: &MasterKeys,
) -> io::Result<Tail> {
    let mut file = File::open(path)?;
    let first = first_number(path)?;
    if let Some(position) = position {
        let is_later = first.is_some_and(|first| first > position.link.number);
        let begin = if is_later { authentic_begin(&file, master_keys)? } else { None };
        if let Some(known) = begin.or(is_at(&file, &position)?.then_some(position)) {
            file.seek(SeekFrom::Start(known.ends))?;
            return follow(BufReader::new(file), Some(known), known.file, Belief::Chained);
        }
    }
    file.seek(SeekFrom::Start(0))?;
    follow(BufReader::new(file), None, first.unwrap_or(1), Belief::Any)
}

/// Follows the chain from `last` to the end of what `reader` gives.
fn follow(
    mut reader: impl BufRead,
    mut last: Option<Position>,
    file: u64,
    belief: Belief,
) -> io::Result<Tail> {
    let mut begins = last.map_or(0, |last| last.ends);
    let (mut text, mut is_torn) = (Vec::new(), false);
    loop {
        text.clear();
        let length = reader.read_until(b'\n', &mut text)? as u64;
        if length == 0 {
            return Ok(Tail { last, belief, is_torn });
        }
        let ends = begins + length;
        let parsed = text.strip_suffix(b"\n").and_then(Parsed::of);
        let is_next = |parsed: &Parsed<'_>| match (&last, belief) {
            (Some(last), Belief::Chained) => parsed.follows(&last.link),
            (Some(last), Belief::Any) => parsed.number > last.link.number,
            (None, _) => true,
        };
        match parsed.filter(is_next).map(|parsed| parsed.link()) {
            Some(link) => {
                last = Some(Position { link, file, begins, ends });
                is_torn = false;
            }
            None => is_torn = true,
        }
        begins = ends;
    }
}

/// Whether the line at `position` is the one that it names. Before the first line nothing has to be.
fn is_at(file: &File, position: &Position) -> io::Result<bool> {
    if position.is_start() {
        return Ok(true);
    }
    let length = position.ends.saturating_sub(position.begins);
    if file.metadata()?.len() < position.ends || length > 1 << 20 {
        return Ok(false);
    }
    let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut text, position.begins)?;
    let parsed = text.strip_suffix(b"\n").and_then(Parsed::of);
    Ok(parsed.is_some_and(|parsed| parsed.link() == position.link))
}

/// The number of the first line of a file.
fn first_number(path: &Path) -> io::Result<Option<u64>> {
    let mut text = Vec::new();
    BufReader::new(File::open(path)?.take(1 << 20)).read_until(b'\n', &mut text)?;
    Ok(text.strip_suffix(b"\n").and_then(Parsed::of).map(|parsed| parsed.number))
}

/// The first line of a file, where it is a mark of ours that begins it.
fn authentic_begin(file: &File, master_keys: &MasterKeys) -> io::Result<Option<Position>> {
    let mut text = Vec::new();
    BufReader::new(file.take(1 << 20)).read_until(b'\n', &mut text)?;
    let parsed = text.strip_suffix(b"\n").and_then(Parsed::of);
    let begin = parsed
        .filter(|parsed| parsed.mark.is_some_and(Mark::may_begin_a_file))
        .filter(|parsed| parsed.check_tag(master_keys).is_ok());
    Ok(begin.map(|begin| {
        let link = begin.link();
        Position { link, file: link.number, begins: 0, ends: text.len() as u64 }
    }))
}

/// Whether a file is empty or its last byte is the end of a line.
pub(super) fn ends_with_a_line(path: &Path) -> io::Result<bool> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let mut last = [b'\n'];
    if size > 0 {
        file.read_exact_at(&mut last, size - 1)?;
    }
    Ok(last == *b"\n")
}
