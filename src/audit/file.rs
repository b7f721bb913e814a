//! The file that is written, and the end of its chain. It knows no locks and no threads.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::time::Time;

use super::chain::{Link, Mark};
use super::checkpoint::Position;
use super::recovery::{self, Found, OnDisk};
use super::{files, line};
use crate::folder;

/// What ends a row that was cut off: so it is no line, even if only its end was missing.
const CUT_OFF: &[u8] = b"#\n";

/// The file that is written, and the end of its chain.
pub(super) struct AuditFile {
    path: PathBuf,
    master_keys: Arc<MasterKeys>,
    file: Arc<File>,
    kind: Kind,
    link: Link,
    /// The number of its first line.
    first: u64,
    size: u64,
    /// The last line, where one is in this file.
    last: Option<Position>,
    end: End,
    /// The first line of the full file before, until both have their names.
    full_first: Option<u64>,
    /// The ids of the master keys before, for the mark about that, where it is due.
    formerly: Vec<String>,
}

/// What is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file on a disk.
    Regular,
    /// Something that only passes lines on, such as a pipe: it has no size, no end, no sync.
    Stream,
}

/// What is known of the end of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// It is that of a line.
    Whole,
    /// Before the next line, this mark is due.
    Owes { mark: Mark, reason: String },
    /// A sync failed: the kernel may have dropped lines and report success next time. Nothing is
    /// written until the file was opened anew.
    Distrusted,
}

impl AuditFile {
    /// Opens the file to append, makes it with mode 0600 if it is not there, and finds the line
    /// after which to go on. Writes nothing; [`AuditFile::mend`] does.
    pub(super) fn open(
        path: &Path,
        master_keys: Arc<MasterKeys>,
        held: &OnDisk,
    ) -> io::Result<Self> {
        let kind = kind_of(path)?;
        let file = open_to_append(path)?;
        let found = match kind {
            Kind::Regular => recovery::look(path, held, &master_keys)?,
            Kind::Stream => Found::nothing(),
        };
        let Found { link, first, last, mark, reason, formerly } = found;
        Ok(Self {
            path: path.to_owned(),
            master_keys,
            size: file.metadata()?.len(),
            file: Arc::new(file),
            kind,
            link,
            first,
            last,
            end: End::Owes { mark, reason },
            full_first: None,
            formerly,
        })
    }

    /// Appends a line that says what `object`, a JSON object, holds.
    pub(super) fn append(&mut self, object: &[u8], now: Time) -> io::Result<()> {
        self.append_all(&[object], now).1
    }

    /// Appends lines that say what these JSON objects hold, handed to the kernel at once. Returns how
    /// many of them are in its hands, which after an error may be some.
    pub(super) fn append_all(&mut self, objects: &[&[u8]], now: Time) -> (usize, io::Result<()>) {
        if let Err(error) = self.mend(now) {
            return (0, Err(error));
        }
        let rows = Rows::chained(self.link, objects);
        let (taken, outcome) = written(&self.file, &rows.text);
        (self.count(&rows, taken), outcome)
    }

    /// Goes on after those of `rows` that the kernel took `taken` bytes of as a whole.
    fn count(&mut self, rows: &Rows, taken: usize) -> usize {
        let whole = rows.ends.iter().take_while(|(end, _)| *end <= taken).count();
        let (before, of_whole) = (self.size, &rows.ends[..whole]);
        if let Some((end, link)) = of_whole.last() {
            let begins = if whole > 1 { rows.ends[whole - 2].0 } else { 0 };
            let (begins, ends) = (before + begins as u64, before + *end as u64);
            self.last = Some(Position { link: *link, file: self.first, begins, ends });
            (self.link, self.size) = (*link, ends);
        }
        if taken < rows.text.len() {
            let reason = "a write was cut off here".to_owned();
            self.end = End::Owes { mark: Mark::Resume, reason };
        }
        whole
    }

    /// Appends a mark.
    pub(super) fn mark(&mut self, mark: Mark, reason: &str, now: Time) -> io::Result<()> {
        self.mend(now)?;
        let (text, link) = self.link.mark(mark, reason, now, &self.master_keys);
        self.write(&text, 0, link)
    }

    /// Writes the mark that is due before the next line, if one is.
    pub(super) fn mend(&mut self, now: Time) -> io::Result<()> {
        let (mark, reason) = match &self.end {
            End::Whole => return Ok(()),
            End::Owes { mark, reason } => (*mark, reason.clone()),
            End::Distrusted => return Err(io::Error::other("a sync failed")),
        };
        let formerly = if mark == Mark::Rekey { self.formerly.as_slice() } else { &[] };
        let keys = &self.master_keys;
        let (mut text, link) = self.link.mark_after(mark, &reason, formerly, now, keys);
        let before = match self.kind {
            Kind::Regular => self.end_the_last_row()?,
            Kind::Stream => &[],
        };
        if mark == Mark::Begin || self.size == 0 {
            self.first = link.number;
        }
        // What a start that was cut off left is a remnant only if a mark resumes after it.
        let mark = if mark == Mark::Start { Mark::Resume } else { mark };
        text.splice(0..0, before.iter().copied());
        self.write(&text, before.len() as u64, link)
            .inspect_err(|_| self.end = End::Owes { mark, reason })
    }

    /// What has to be written so that the next line begins a row of its own.
    fn end_the_last_row(&mut self) -> io::Result<&'static [u8]> {
        self.size = self.file.metadata()?.len();
        let mut last = [b'\n'];
        if self.size > 0 {
            self.file.read_exact_at(&mut last, self.size - 1)?;
        }
        Ok(if last == *b"\n" { &[] } else { CUT_OFF })
    }

    /// Writes a line, which begins after as many bytes of `text` as `before` says.
    fn write(&mut self, text: &[u8], before: u64, link: Link) -> io::Result<()> {
        if let Err(error) = self.file.as_ref().write_all(text) {
            let reason = "a write was cut off here".to_owned();
            self.end = End::Owes { mark: Mark::Resume, reason };
            return Err(error);
        }
        let begins = self.size + before;
        self.size += text.len() as u64;
        self.last = Some(Position { link, file: self.first, begins, ends: self.size });
        (self.link, self.end) = (link, End::Whole);
        Ok(())
    }

    /// The last line, where one is in this file.
    pub(super) const fn last(&self) -> Option<Position> {
        self.last
    }

    /// What has to be synced for the last line to be on the disk; nothing for a stream.
    pub(super) fn to_sync(&self) -> Option<Arc<File>> {
        (self.kind == Kind::Regular).then(|| self.file.clone())
    }

    pub(super) fn is_distrusted(&self) -> bool {
        self.end == End::Distrusted
    }

    /// From now on nothing is written before the file was opened anew.
    pub(super) fn distrust(&mut self) {
        self.end = End::Distrusted;
    }

    /// Where the file is now.
    pub(super) fn place(&self) -> PathBuf {
        match self.full_first {
            None => self.path.clone(),
            Some(_) => files::unnamed(&self.path),
        }
    }

    /// Goes on with the file opened anew; a mark about it is due.
    pub(super) fn go_on_with(&mut self, file: File) {
        self.file = Arc::new(file);
        let reason = "a sync failed here: lines before this one may be missing".to_owned();
        self.end = End::Owes { mark: Mark::Resume, reason };
    }

    /// Whether the file has its full size, and the next can begin.
    pub(super) fn is_full(&self, full_size: u64) -> bool {
        self.kind == Kind::Regular && self.size >= full_size && self.full_first.is_none()
    }

    /// Ends this file and goes on in the next, an empty one. Returns the old one, which is to be
    /// synced before [`AuditFile::unnamed`] is given its name. After an error this file goes on.
    pub(super) fn go_on_in(&mut self, next: File, now: Time) -> io::Result<Arc<File>> {
        self.mark(Mark::End, "the next file goes on", now)?;
        let (text, link) = self.link.mark(Mark::Begin, "goes on", now, &self.master_keys);
        (&next).write_all(&text)?;
        self.full_first = Some(self.first);
        (self.link, self.first, self.size) = (link, link.number, text.len() as u64);
        self.last = Some(Position { link, file: self.first, begins: 0, ends: self.size });
        Ok(std::mem::replace(&mut self.file, Arc::new(next)))
    }

    /// The first line of the full file before, where it and this one still have to be given their
    /// names.
    pub(super) const fn unnamed(&self) -> Option<u64> {
        self.full_first
    }

    /// Both files were given their names.
    pub(super) fn named(&mut self) {
        self.full_first = None;
    }
}

/// Lines in a chain, to be written together.
struct Rows {
    text: Vec<u8>,
    /// Where in the text each ends, and what the next hangs on.
    ends: Vec<(usize, Link)>,
}

impl Rows {
    fn chained(mut link: Link, objects: &[&[u8]]) -> Self {
        let text = Vec::with_capacity(objects.len() * line::USUAL);
        let mut rows = Self { text, ends: Vec::with_capacity(objects.len()) };
        for object in objects {
            link = link.chain_onto(&mut rows.text, object);
            rows.ends.push((rows.text.len(), link));
        }
        rows
    }
}

/// Writes as much of `text` as the kernel takes; tells how much that is.
fn written(mut file: &File, text: &[u8]) -> (usize, io::Result<()>) {
    let mut taken = 0;
    while taken < text.len() {
        match file.write(&text[taken..]) {
            Ok(0) => return (taken, Err(ErrorKind::WriteZero.into())),
            Ok(more) => taken += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (taken, Err(error)),
        }
    }
    (taken, Ok(()))
}

/// What is at `path`; what is not there yet will be a file.
pub(super) fn kind_of(path: &Path) -> io::Result<Kind> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(Kind::Regular),
        Ok(_) => Ok(Kind::Stream),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Kind::Regular),
        Err(error) => Err(error),
    }
}

/// Opens a file to append, with all that is in it and its name on the disk.
pub(super) fn open_anew(path: &Path) -> io::Result<File> {
    let file = open_to_append(path)?;
    file.sync_all()?;
    folder::sync_of(path)?;
    Ok(file)
}

fn open_to_append(path: &Path) -> io::Result<File> {
    // Reading tells how the last row ends.
    let mut options = OpenOptions::new();
    let options = options.append(true).create(true).mode(0o600);
    options.clone().read(true).open(path).or_else(|error| match kind_of(path)? {
        Kind::Regular => Err(error),
        // It may be open to writers alone.
        Kind::Stream => options.open(path),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::chain::tests::master_keys;
    use crate::audit::checkpoint::Held;
    use crate::audit::verify::verify_files;

    const NOW: Time = Time::from_millis(1_795_000_000_000);
    const OBJECTS: [&[u8]; 3] =
        [br#"{"action":"first"}"#, br#"{"action":"second"}"#, br#"{"action":"third"}"#];

    #[test]
    fn of_lines_that_were_cut_off_those_count_that_are_whole_and_the_chain_goes_on_after_them() {
        let keys = Arc::new(master_keys());
        let mut taken = 0;
        loop {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("audit.jsonl");
            let on_disk = OnDisk { held: Held::Position(Position::START), handover: None };
            let mut file = AuditFile::open(&path, keys.clone(), &on_disk).unwrap();
            file.append(br#"{"action":"before"}"#, NOW).unwrap();
            let rows = Rows::chained(file.link, &OBJECTS);
            file.file.as_ref().write_all(&rows.text[..taken]).unwrap();
            let whole = file.count(&rows, taken);
            let last = file.last().unwrap();
            file.append(br#"{"action":"after"}"#, NOW).unwrap();

            let report = verify_files(std::slice::from_ref(&path), Some(&keys)).unwrap();
            assert_eq!(report.damage, [], "{taken} bytes taken");
            let text = fs::read(&path).unwrap();
            let holds = |object: &&&[u8]| {
                text.windows(object.len() - 1).any(|window| window == &object[1..])
            };
            assert!(OBJECTS.iter().take(whole).all(|object| holds(&object)));
            assert_eq!(text[usize::try_from(last.ends).unwrap() - 1], b'\n');
            assert_eq!(text[usize::try_from(last.begins).unwrap()], b'{');
            assert_eq!(whole, rows.text[..taken].split(|byte| *byte == b'\n').count() - 1);
            if taken == rows.text.len() {
                break;
            }
            taken += 1;
        }
    }
}
