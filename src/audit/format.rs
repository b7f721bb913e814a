//! Which format the files of an audit have. What a newer version wrote is refused before anything of it
//! is touched: going on after lines whose rules are not known would break their chain, and a checkpoint
//! that is not understood would be taken for a lost one.
//!
//! Lines, the checkpoint and the handover change their format together. Each file begins with a JSON
//! object that has it in `format`: in a file of lines that is the first line, a mark, and a version with
//! another format begins a new file. An object that does not say it has format 1.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::{self, Kind};
use super::rows::{self, Row};
use super::{checkpoint, files, handover};

/// The format that this version writes, and the newest that it reads.
pub(super) const FORMAT: u64 = 1;

/// The newest files of lines, which say what was written last: one may be without lines yet, and one
/// without its name.
const NEWEST: usize = 3;

/// What a checkpoint and a handover hold, with their format.
#[derive(Serialize)]
pub(super) struct Formatted<'a, T: Serialize> {
    format: u64,
    #[serde(flatten)]
    content: &'a T,
}

impl<'a, T: Serialize> Formatted<'a, T> {
    /// In the format of this version.
    pub(super) const fn new(content: &'a T) -> Self {
        Self { format: FORMAT, content }
    }
}

/// All that is read of an object here.
#[derive(Deserialize)]
struct Says {
    format: Option<u64>,
}

/// A file of an audit was written by a newer version.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} has format {format} of the audit, which this version of jwksd does not know: a newer one wrote \
     it. Nothing was changed", path.display()
)]
struct Newer {
    path: PathBuf,
    format: u64,
}

/// Refuses the audit at `path`, be it there or not, where a version wrote to it whose format this one
/// does not know. Nothing is written. A stream, such as a pipe, is not looked at.
///
/// # Errors
///
/// When it was, or that cannot be told.
pub fn check(path: &Path) -> io::Result<()> {
    let (checkpoint, handover) = (checkpoint::path_of(path), handover::path_of(path));
    for small in [checkpoint, handover] {
        refuse_newer(&small, of_objects(&small)?)?;
    }
    if file::kind_of(path)? == Kind::Stream {
        return Ok(());
    }
    for lines in files::all(path)?.into_iter().rev().take(NEWEST) {
        refuse_newer(&lines, of_lines(&lines)?)?;
    }
    Ok(())
}

fn refuse_newer(path: &Path, format: Option<u64>) -> io::Result<()> {
    match format.filter(|format| *format > FORMAT) {
        Some(format) => Err(io::Error::other(Newer { path: path.to_owned(), format })),
        None => Ok(()),
    }
}

/// What the objects say that stand where slots of this version's checkpoint begin.
fn of_objects(path: &Path) -> io::Result<Option<u64>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut content = Vec::new();
    file.take(handover::LONGEST).read_to_end(&mut content)?;
    // One of them may be torn.
    let begins = (0..content.len()).step_by(checkpoint::SLOT_BYTES);
    Ok(begins.filter_map(|begins| of_object(&content[begins..])).max())
}

/// What the first line of a file says. Before it may stand what a crash left.
fn of_lines(path: &Path) -> io::Result<Option<u64>> {
    let (mut reader, mut text) = (BufReader::new(File::open(path)?), Vec::new());
    while let Some((row, _)) = rows::next(&mut reader, &mut text)? {
        if row == Row::Whole
            && let Ok(says) = serde_json::from_slice::<Says>(&text)
        {
            return Ok(says.format);
        }
    }
    Ok(None)
}

/// What the object says that a text begins with.
fn of_object(text: &[u8]) -> Option<u64> {
    let mut objects = serde_json::Deserializer::from_slice(text).into_iter::<Says>();
    objects.next()?.ok()?.format
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::tests::Place;
    use super::*;

    /// All files of a folder with their content.
    fn content(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            entries.map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
        files.sort();
        files
    }

    /// Refused with these words, by what looks and by what would write, and nothing was changed.
    #[track_caller]
    fn assert_refused(place: &Place, words: &str) {
        let before = content(place.dir.path());
        let looked = check(&place.path()).unwrap_err().to_string();
        let opened = place.try_open().err().unwrap().to_string();
        for told in [looked, opened] {
            assert!(told.contains(words), "not {words:?}: {told}");
            assert!(told.contains("Nothing was changed"), "{told}");
        }
        assert_eq!(content(place.dir.path()), before);
    }

    /// An audit with a line, closed, and its text.
    fn written() -> (Place, String) {
        let place = Place::new();
        drop(place.open());
        assert!(check(&place.path()).is_ok());
        let text = fs::read_to_string(place.path()).unwrap();
        assert!(text.contains(r#""format":1,"#));
        (place, text)
    }

    #[test]
    fn lines_of_a_newer_format_are_not_gone_on_after() {
        let (place, text) = written();
        for (number, format) in [("2", 2), ("300", 300)] {
            let newer = text.replacen(r#""format":1,"#, &format!(r#""format":{number},"#), 1);
            fs::write(place.path(), newer).unwrap();
            assert_refused(&place, &format!("audit.jsonl has format {format} of the audit"));
        }
        // Of a line nothing else need be as it is now, and a crash may have left something before it.
        fs::write(place.path(), "#\n{\"format\":2,\"all\":\"else\"}\n{}\n").unwrap();
        assert_refused(&place, "audit.jsonl has format 2 of the audit");
    }

    #[test]
    fn a_newer_file_that_has_no_name_yet_or_is_full_counts_as_well() {
        let (place, _) = written();
        let unnamed = files::unnamed(&place.path());
        fs::write(&unnamed, "{\"format\":2}\n").unwrap();
        assert_refused(&place, "audit.jsonl.new has format 2");
        fs::remove_file(&unnamed).unwrap();
        fs::write(files::full(&place.path(), 900), "{\"format\":2}\n").unwrap();
        fs::write(place.path(), "").unwrap();
        assert_refused(&place, "audit.000000000900.jsonl has format 2");
    }

    #[test]
    fn a_newer_checkpoint_is_not_taken_for_a_lost_one_also_where_half_of_it_is_torn() {
        let (place, _) = written();
        let path = checkpoint::path_of(&place.path());
        let mut slots = vec![b' '; 2 * checkpoint::SLOT_BYTES];
        let object = br#"{"format":2,"of":"another kind"}"#;
        for begins in [0, checkpoint::SLOT_BYTES] {
            slots.fill(b'x');
            slots[begins..begins + object.len()].copy_from_slice(object);
            fs::write(&path, &slots).unwrap();
            assert_refused(&place, "audit.jsonl.checkpoint has format 2 of the audit");
        }
    }

    #[test]
    fn a_newer_handover_is_neither_passed_over_nor_removed() {
        let (place, _) = written();
        let path = handover::path_of(&place.path());
        fs::write(&path, r#"{"format":2,"position":"elsewhere"}"#).unwrap();
        assert_refused(&place, "audit.jsonl.rekeyed has format 2 of the audit");
    }

    #[test]
    fn what_is_no_object_or_names_no_format_is_left_to_those_who_read_it() {
        let (place, text) = written();
        for other in ["", "#\n", "garbage", "{\"format\":\"two\"}\n", "{}\n{\"format\":2}\n"] {
            fs::write(place.path(), other).unwrap();
            assert!(check(&place.path()).is_ok(), "{other:?}");
        }
        fs::write(place.path(), text).unwrap();
        fs::write(checkpoint::path_of(&place.path()), "torn").unwrap();
        assert!(check(&place.path()).is_ok());
    }

    #[test]
    fn checkpoints_and_handovers_from_before_they_said_a_format_are_read() {
        let (place, _) = written();
        let path = checkpoint::path_of(&place.path());
        let keys = &place.keys;
        let held = checkpoint::read(&path, keys).unwrap();
        let position = held.position().unwrap();
        let mut object = serde_json::to_vec(&position).unwrap();
        object.pop();
        let mut slot = super::super::chain::tagged(object, keys);
        assert!(!slot.windows(8).any(|window| window == b"\"format\""));
        slot.resize(checkpoint::SLOT_BYTES, b' ');
        fs::write(&path, [&slot[..], &slot[..]].concat()).unwrap();
        assert_eq!(checkpoint::read(&path, keys).unwrap().position(), Some(position));
        drop(place.open());
        assert_eq!(place.damage(), []);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(r#"{"format":1,"link":"#), "{text}");
    }
}
