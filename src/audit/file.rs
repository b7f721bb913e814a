//! The file that is written: it appends lines, and begins a new file when this one is full.
//!
//! It knows no locks and no threads, and does not sync but where a file begins.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::time::Time;

use super::chain::{Link, Mark};
use super::checkpoint::{Held, Position};
use super::files;
use super::recovery::{self, Found};

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
    /// The kernel may have dropped lines and report success next time: the file is opened anew, and
    /// says so, before anything else is written.
    Distrusted,
}

impl AuditFile {
    /// Opens the file to append, makes it with mode 0600 if it is not there, and finds the line
    /// after which to go on. Writes nothing.
    pub(super) fn open(path: &Path, master_keys: Arc<MasterKeys>, held: Held) -> io::Result<Self> {
        let file = open_to_append(path)?;
        let kind = kind_of(path)?;
        let found = match kind {
            Kind::Regular => recovery::look(path, held, &master_keys)?,
            Kind::Stream => Found::nothing(),
        };
        let end = match found.owes {
            Some((mark, reason)) => End::Owes { mark, reason },
            None => End::Whole,
        };
        let size = file.metadata()?.len();
        let Found { link, first, last, .. } = found;
        let path = path.to_owned();
        Ok(Self { path, master_keys, file: Arc::new(file), kind, link, first, size, last, end })
    }

    /// Appends a line that says what `object`, a JSON object, holds.
    pub(super) fn append(&mut self, object: &[u8], now: Time) -> io::Result<()> {
        self.mend(now)?;
        let (text, link) = self.link.chain(object);
        self.write(&text, link)
    }

    /// Appends a mark.
    pub(super) fn mark(&mut self, mark: Mark, reason: &str, now: Time) -> io::Result<()> {
        self.mend(now)?;
        let (text, link) = self.link.mark(mark, reason, now, &self.master_keys);
        self.write(&text, link)
    }

    /// Writes what is due before the next line, if anything is.
    pub(super) fn mend(&mut self, now: Time) -> io::Result<()> {
        if self.end == End::Distrusted {
            let file = open_to_append(&self.path)?;
            file.sync_all()?;
            self.file = Arc::new(file);
            let reason = "a sync failed here: lines before this one may be missing".to_owned();
            self.end = End::Owes { mark: Mark::Resume, reason };
        }
        let End::Owes { mark, reason } = &self.end else { return Ok(()) };
        let (mark, reason) = (*mark, reason.clone());
        let (mut text, link) = self.link.mark(mark, &reason, now, &self.master_keys);
        if self.kind == Kind::Regular {
            self.size = self.file.metadata()?.len();
            if !recovery::ends_with_a_line(&self.path)? {
                text.insert(0, b'\n');
            }
        }
        if mark == Mark::Begin || self.size == 0 {
            self.first = link.number;
        }
        self.write(&text, link).inspect_err(|_| self.end = End::Owes { mark, reason })
    }

    fn write(&mut self, text: &[u8], link: Link) -> io::Result<()> {
        if let Err(error) = self.file.as_ref().write_all(text) {
            let reason = "a write was cut off here".to_owned();
            self.end = End::Owes { mark: Mark::Resume, reason };
            return Err(error);
        }
        let begins = self.size + u64::from(text.starts_with(b"\n"));
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

    pub(super) const fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) const fn size(&self) -> u64 {
        self.size
    }

    /// From now on nothing is written before the file was opened anew.
    pub(super) fn distrust(&mut self) {
        self.end = End::Distrusted;
    }

    /// Ends this file, gives it its full name, and begins a new one. Returns the old one, which is
    /// to be synced, like the folder.
    ///
    /// After an error this file goes on.
    pub(super) fn begin_next(&mut self, now: Time) -> io::Result<Arc<File>> {
        let unfinished = self.path.with_added_extension("new");
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let full = files::full(&self.path, self.first);
        if full.try_exists()? {
            let message = format!("{} is there already", full.display());
            return Err(io::Error::new(ErrorKind::AlreadyExists, message));
        }
        let mut next = open_to_append(&unfinished)?;
        self.mark(Mark::End, "the next file goes on", now)?;
        let (text, link) = self.link.mark(Mark::Begin, "goes on", now, &self.master_keys);
        next.write_all(&text)?;
        fs::rename(&self.path, &full)?;
        if let Err(error) = fs::rename(&unfinished, &self.path) {
            fs::rename(&full, &self.path)?;
            return Err(error);
        }
        (self.link, self.first, self.size) = (link, link.number, text.len() as u64);
        self.last = Some(Position { link, file: self.first, begins: 0, ends: self.size });
        Ok(std::mem::replace(&mut self.file, Arc::new(next)))
    }
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

fn open_to_append(path: &Path) -> io::Result<File> {
    let is_new = !path.try_exists()?;
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if is_new {
        sync_folder(path)?;
    }
    Ok(file)
}

/// Syncs the folder of a file, so that its name is on the disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(files::folder(path))?.sync_all()
}
