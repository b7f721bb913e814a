//! After which line to go on: what a start finds in the files that an earlier one left.
//!
//! It reads on from the checkpoint, so that a start takes the same time however long the audit is.
//! It judges nothing but the end: [`super::verify`] reads all.

use std::fs::{self, File};
use std::io::{self, BufReader, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use jwksd_keystore::seal::MasterKeys;

use super::chain::{Link, Mark, Parsed};
use super::checkpoint::{Held, Position};
use super::files;
use super::handover::{self, Handover};
use super::rows::{self, Row};

/// Of lines that nothing vouches for, none with such a number is gone on after: there must always
/// be numbers left.
const HIGHEST: u64 = 1 << 52;

/// What is known to be on the disk.
pub(super) struct OnDisk {
    /// What the checkpoint holds.
    pub(super) held: Held,
    /// What was handed over to these keys, where none of their lines is known to be on the disk yet.
    pub(super) handover: Option<Handover>,
}

/// Where to go on.
pub(super) struct Found {
    /// After this line.
    pub(super) link: Link,
    /// The number of the first line of the file that is written; of the next line if it is empty.
    pub(super) first: u64,
    /// The last line, where one is in the file that is written.
    pub(super) last: Option<Position>,
    /// The mark that is to be written before any line.
    pub(super) mark: Mark,
    /// Why.
    pub(super) reason: String,
    /// The ids of the master keys before, where the mark is about that.
    pub(super) formerly: Vec<String>,
}

/// What reading the end of a file found.
struct Tail {
    last: Option<Position>,
    belief: Belief,
    /// Whether anything after `last` is not a line of the chain.
    is_torn: bool,
}

/// How much is believed of what is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Belief {
    /// What hangs together from a line that is known to be ours. What does not was left by a crash.
    Chained,
    /// A mark of ours that follows the stop read last: nothing else was written before the next start.
    Stopped,
    /// Any line: the one that was on the disk last is not there or not known. Nothing is passed over.
    Any,
}

impl Found {
    /// Nothing was ever written.
    pub(super) fn nothing() -> Self {
        Self::beginning(Link::START, Mark::Begin, "the first file")
    }

    fn beginning(link: Link, mark: Mark, reason: impl Into<String>) -> Self {
        let formerly = Vec::new();
        Self { link, first: link.number + 1, last: None, mark, reason: reason.into(), formerly }
    }
}

/// Gives a new file its name that a crash left without.
pub(super) fn name_files(path: &Path, held: Held, master_keys: &MasterKeys) -> io::Result<()> {
    let unnamed = files::unnamed(path);
    if !unnamed.try_exists()? {
        return Ok(());
    }
    if !is_begun(&unnamed, path, held, master_keys)? {
        return fs::remove_file(unnamed);
    }
    let first = if path.try_exists()? { first_number(path)? } else { None };
    files::name(path, first.unwrap_or(1))
}

/// Refuses an audit that was written on under keys that had handed it over.
pub(super) fn check_handover(
    path: &Path,
    handover: &Handover,
    master_keys: &MasterKeys,
) -> io::Result<()> {
    for path in files::all(path)? {
        let file = File::open(path)?;
        if let At::Here(_) = mark_at(&file, &handover.position)? {
            return handover::check_not_gone_on(file, handover, master_keys);
        }
    }
    Ok(())
}

/// Whether a line of a new file may have been on the disk: then all before it was.
fn is_begun(new: &Path, old: &Path, held: Held, master_keys: &MasterKeys) -> io::Result<bool> {
    let Some(position) = held.position() else { return Ok(first_row(new)?.1.is_some()) };
    if !position.is_start() && matches!(mark_at(&File::open(new)?, &position)?, At::Here(_)) {
        return Ok(true);
    }
    let Some(begin) = begin_of(new, master_keys)? else { return Ok(false) };
    if !old.try_exists()? {
        return Ok(true);
    }
    let last = read_tail(old, Some(position), master_keys)?.last;
    Ok(last.is_some_and(|last| last.link.number + 1 == begin.link.number))
}

/// Looks at the files of the audit at `path`. The file at `path` is there; it may be empty.
///
/// # Errors
///
/// When they cannot be read, or were written on under keys that had handed them over.
pub(super) fn look(path: &Path, on_disk: &OnDisk, master_keys: &MasterKeys) -> io::Result<Found> {
    let found = look_from(path, on_disk.held, master_keys)?;
    let is_last = |handover: &&Handover| found.link == handover.position.link;
    let Some(handover) = on_disk.handover.as_ref().filter(is_last) else { return Ok(found) };
    let formerly = handover.formerly.clone();
    let reason = format!("before, the master key was {}; {}", formerly.join(", "), found.reason);
    Ok(Found { mark: Mark::Rekey, reason, formerly, ..found })
}

fn look_from(path: &Path, held: Held, master_keys: &MasterKeys) -> io::Result<Found> {
    let is_empty = path.metadata()?.len() == 0;
    let full = files::all_full(path)?;
    let newest = if is_empty { full.last().map(PathBuf::as_path) } else { Some(path) };
    let Some(newest) = newest else { return Ok(without_files(held)) };
    let tail = read_tail(newest, held.position(), master_keys)?;
    let (link, mark, reason) = judge(&tail, held);
    if link == Link::START {
        // With a checkpoint it is known that no line was on the disk yet.
        let mark = if held.position().is_some() { Mark::Begin } else { Mark::Break };
        return Ok(Found::beginning(link, mark, reason));
    }
    if is_empty {
        let mark = if mark == Mark::Start { Mark::Begin } else { mark };
        return Ok(Found::beginning(link, mark, reason));
    }
    let first = first_number(newest)?.unwrap_or(link.number + 1);
    Ok(Found { link, first, last: tail.last, mark, reason, formerly: Vec::new() })
}

fn without_files(held: Held) -> Found {
    match held.position() {
        Some(position) if position.is_start() => Found::nothing(),
        Some(Position { link, .. }) => {
            let reason = format!("lines up to {} are in files that are not here", link.number);
            Found::beginning(link, Mark::Break, reason)
        }
        None => {
            let reason = "no checkpoint tells whether there were lines";
            Found::beginning(Link::START, Mark::Break, reason)
        }
    }
}

/// After which line to go on, and what is to be said before.
fn judge(tail: &Tail, held: Held) -> (Link, Mark, String) {
    let link = tail.last.map_or(Link::START, |last| last.link);
    let Some(Position { link: synced, .. }) = held.position() else {
        let reason = "no checkpoint tells whether lines are missing before";
        return (link, Mark::Break, reason.to_owned());
    };
    if tail.belief == Belief::Any {
        let reason =
            format!("lines up to {} were on the disk, and not all are here", synced.number);
        let link = if link.number > synced.number { link } else { synced };
        return (link, Mark::Break, reason);
    }
    let mut reasons = Vec::new();
    if link.number > synced.number {
        let from = synced.number + 1;
        reasons.push(format!("lines {from} to {} are after the checkpoint", link.number));
    }
    if tail.is_torn {
        reasons.push("what an end unasked left is passed over".to_owned());
    }
    if matches!(held, Held::Torn(_)) {
        reasons
            .push("the checkpoint was torn, or changed: it may have named a later line".to_owned());
    }
    if reasons.is_empty() {
        (link, Mark::Start, "started".to_owned())
    } else {
        (link, Mark::Resume, reasons.join("; "))
    }
}

/// Reads on from `position` where the file holds it, else from the beginning.
fn read_tail(
    path: &Path,
    position: Option<Position>,
    master_keys: &MasterKeys,
) -> io::Result<Tail> {
    let file = File::open(path)?;
    let first = first_number(path)?;
    if let Some(position) = position {
        let is_later = first.is_some_and(|first| first > position.link.number);
        if is_later && let Some(begin) = begin_of(path, master_keys)? {
            return follow(file, Some(begin), begin.file, Belief::Chained, master_keys);
        }
        if let At::Here(mark) = mark_at(&file, &position)? {
            let belief = Belief::after(mark);
            return follow(file, Some(position), position.file, belief, master_keys);
        }
    }
    follow(file, None, first.unwrap_or(1), Belief::Any, master_keys)
}

/// Follows the chain from `last` to the end of the file.
fn follow(
    mut file: File,
    mut last: Option<Position>,
    first: u64,
    mut belief: Belief,
    master_keys: &MasterKeys,
) -> io::Result<Tail> {
    let mut begins = last.map_or(0, |last| last.ends);
    file.seek(SeekFrom::Start(begins))?;
    let mut reader = BufReader::new(file);
    let (mut text, mut is_torn) = (Vec::new(), false);
    while let Some((row, length)) = rows::next(&mut reader, &mut text)? {
        let ends = begins + length;
        let parsed = if row == Row::Whole { Parsed::of(&text) } else { None };
        let is_next = |parsed: &Parsed<'_>| match (&last, belief) {
            (Some(last), Belief::Chained) => parsed.follows(&last.link),
            (Some(last), Belief::Stopped) => {
                parsed.follows(&last.link) && mark_of(parsed, master_keys).is_some()
            }
            (Some(last), Belief::Any) => (last.link.number + 1..HIGHEST).contains(&parsed.number),
            (None, _) => parsed.number < HIGHEST,
        };
        match parsed.filter(is_next) {
            Some(parsed) => {
                last = Some(Position { link: parsed.link(), file: first, begins, ends });
                is_torn = false;
                if belief != Belief::Any {
                    belief = Belief::after(mark_of(&parsed, master_keys));
                }
            }
            None => is_torn = true,
        }
        begins = ends;
    }
    Ok(Tail { last, belief, is_torn })
}

impl Belief {
    fn after(mark: Option<Mark>) -> Self {
        if mark == Some(Mark::Stop) { Self::Stopped } else { Self::Chained }
    }
}

/// Which mark of ours a line is.
fn mark_of(parsed: &Parsed<'_>, master_keys: &MasterKeys) -> Option<Mark> {
    parsed.mark.filter(|_| parsed.check_tag(master_keys).is_ok())
}

/// What is where a position says.
enum At {
    /// Its line, which may be a mark. Before the first line there is nothing to be.
    Here(Option<Mark>),
    /// Something else, or nothing.
    NotHere,
}

fn mark_at(file: &File, position: &Position) -> io::Result<At> {
    if position.is_start() {
        return Ok(At::Here(None));
    }
    let length = position.ends.saturating_sub(position.begins);
    if file.metadata()?.len() < position.ends || length > rows::LONGEST {
        return Ok(At::NotHere);
    }
    let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut text, position.begins)?;
    let parsed = text.strip_suffix(b"\n").and_then(Parsed::of);
    Ok(match parsed.filter(|parsed| parsed.link() == position.link) {
        Some(parsed) => At::Here(parsed.mark),
        None => At::NotHere,
    })
}

/// The number of the first line of a file, after what else may stand before it.
fn first_number(path: &Path) -> io::Result<Option<u64>> {
    let (mut reader, mut text) = (BufReader::new(File::open(path)?), Vec::new());
    while let Some((row, _)) = rows::next(&mut reader, &mut text)? {
        let parsed = if row == Row::Whole { Parsed::of(&text) } else { None };
        if let Some(parsed) = parsed {
            return Ok(Some(parsed.number));
        }
    }
    Ok(None)
}

/// The first line of a file, where it is a mark of ours that begins it.
fn begin_of(path: &Path, master_keys: &MasterKeys) -> io::Result<Option<Position>> {
    let (ends, text) = first_row(path)?;
    let parsed = text.as_deref().and_then(Parsed::of);
    let begin =
        parsed.filter(|parsed| mark_of(parsed, master_keys).is_some_and(Mark::may_begin_a_file));
    Ok(begin.map(|begin| {
        let link = begin.link();
        Position { link, file: link.number, begins: 0, ends }
    }))
}

/// The first row of a file, where it is whole, and where it ends.
fn first_row(path: &Path) -> io::Result<(u64, Option<Vec<u8>>)> {
    let mut text = Vec::new();
    let row = rows::next(&mut BufReader::new(File::open(path)?), &mut text)?;
    Ok(match row {
        Some((Row::Whole, length)) => (length, Some(text)),
        Some((Row::TooLong | Row::Unfinished, length)) => (length, None),
        None => (0, None),
    })
}
