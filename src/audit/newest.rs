//! The rows of an audit from its newest line back, over all its files, while it is written.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use serde_json::value::RawValue;

use super::backwards::Backwards;
use super::files;
use super::rows::Row;

/// Reads an audit, the newest row first: what is there now, and nothing that is written later.
pub(super) struct Newest {
    /// What is not read yet, in the order of the lines.
    open: Vec<File>,
    full: Vec<PathBuf>,
    reading: Option<Backwards>,
}

impl Newest {
    /// Begins at the end of the audit at `path`. One that is no file has no rows: reading from a pipe
    /// would take lines away from whoever they are for.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let is_stream = path.try_exists()? && !path.is_file();
        if is_stream {
            return Ok(Self { open: Vec::new(), full: Vec::new(), reading: None });
        }
        let files::Files { open, full } = files::open(path)?;
        Ok(Self { open, full, reading: None })
    }

    /// Goes to the row before; nothing is before the first.
    pub(super) fn next(&mut self) -> io::Result<Option<Row>> {
        loop {
            if let Some(reading) = &mut self.reading
                && let Some(row) = reading.next()?
            {
                return Ok(Some(row));
            }
            let Some(file) = self.file_before()? else { return Ok(None) };
            self.reading = Some(Backwards::of(file)?);
        }
    }

    /// The text of that row.
    pub(super) fn text(&self) -> &[u8] {
        self.reading.as_ref().map_or(&[], Backwards::text)
    }

    fn file_before(&mut self) -> io::Result<Option<File>> {
        if let Some(file) = self.open.pop() {
            return Ok(Some(file));
        }
        while let Some(path) = self.full.pop() {
            match File::open(&path) {
                Ok(file) => return Ok(Some(file)),
                // It was taken to an archive meanwhile. The numbers of the lines tell of it.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    let error = format!("{}: {error}", path.display());
                    return Err(io::Error::other(error));
                }
            }
        }
        Ok(None)
    }
}

/// The newest `most` lines of the audit at `path`, the oldest of them first. Rows that are no JSON object
/// are passed over.
///
/// # Errors
///
/// When a file cannot be read.
pub fn lines(path: &Path, most: usize) -> io::Result<Vec<Box<RawValue>>> {
    let mut newest = Newest::of(path)?;
    let mut lines = Vec::new();
    while lines.len() < most
        && let Some(row) = newest.next()?
    {
        let text = newest.text();
        if row == Row::Whole
            && text.starts_with(b"{")
            && let Ok(line) = serde_json::from_slice(text)
        {
            lines.push(line);
        }
    }
    lines.reverse();
    Ok(lines)
}
