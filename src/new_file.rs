//! A file that gets its name when all of it is on the disk.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::folder;

/// What becomes of a file that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is written.
    Stays,
    /// It is replaced.
    IsReplaced,
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner alone: mode 0600.
    Owner,
    /// Anyone, whatever the umask: mode 0644.
    Everyone,
}

impl Readers {
    const fn mode(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Everyone => 0o644,
        }
    }
}

/// A file without its name yet. It goes away where it does not get it.
pub struct NewFile {
    path: PathBuf,
    unfinished: PathBuf,
    file: File,
    existing: Existing,
}

impl NewFile {
    /// Begins a file for the place at `path`. It is written beside it, under the name of
    /// [`unfinished`]; what an earlier try left there is thrown away.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`] where something is there that is not to be replaced.
    pub fn begin(path: &Path, existing: Existing, readers: Readers) -> io::Result<Self> {
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
            Ok(metadata) if existing == Existing::IsReplaced && metadata.is_file() => {}
            Ok(_) if existing == Existing::IsReplaced => {
                let message = "what is there is no regular file, and is left alone";
                return Err(io::Error::new(ErrorKind::AlreadyExists, message));
            }
            Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
        }
        let unfinished = unfinished(path);
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        let mode = readers.mode();
        let file = options.write(true).create_new(true).mode(mode).open(&unfinished)?;
        let new = Self { path: path.to_owned(), unfinished, file, existing };
        new.file.set_permissions(Permissions::from_mode(mode))?;
        Ok(new)
    }

    /// Writes all of it, syncs it, and gives it its name.
    ///
    /// # Errors
    ///
    /// When that cannot be done; then the place is as it was.
    pub fn finish(mut self, content: &[u8]) -> io::Result<()> {
        self.file.write_all(content)?;
        self.file.sync_all()?;
        match self.existing {
            Existing::IsReplaced => fs::rename(&self.unfinished, &self.path)?,
            Existing::Stays => rename_to_nothing(&self.unfinished, &self.path)?,
        }
        folder::sync_of(&self.path)
    }
}

/// What a file is called until it is whole: a hidden name, that nobody else gives to a file of theirs.
#[must_use]
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

/// Renames, but over nothing.
fn rename_to_nothing(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot tell: a second name is never put in place of another.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::hard_link(from, to).and_then(|()| fs::remove_file(from))
        }
        renamed => Ok(renamed?),
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // It has its name, or is of no use.
        let _ = fs::remove_file(&self.unfinished);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_gets_its_name_when_it_is_whole_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let unfinished = dir.path().join(".backup.new");
        let theirs = dir.path().join("backup.new");
        fs::write(&theirs, "of someone else").unwrap();
        fs::write(&unfinished, "left by an earlier try").unwrap();
        let file = NewFile::begin(&path, Existing::Stays, Readers::Owner).unwrap();
        assert!(unfinished.exists() && !path.exists());
        file.finish(b"all").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"all");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(NewFile::begin(&dir.path().join("other"), Existing::Stays, Readers::Owner).unwrap());
        assert_eq!(fs::read(&theirs).unwrap(), b"of someone else");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_there_is_replaced_only_where_that_is_said_and_if_it_is_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        let early = NewFile::begin(&path, Existing::Stays, Readers::Owner).unwrap();
        fs::write(&path, "old").unwrap();
        assert_eq!(early.finish(b"new").unwrap_err().kind(), ErrorKind::AlreadyExists);
        let refused = NewFile::begin(&path, Existing::Stays, Readers::Owner).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        NewFile::begin(&path, Existing::IsReplaced, Readers::Owner)
            .unwrap()
            .finish(b"new")
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let folder =
            NewFile::begin(dir.path(), Existing::IsReplaced, Readers::Owner).err().unwrap();
        assert_eq!(folder.kind(), ErrorKind::AlreadyExists);
    }

    #[test]
    fn a_public_file_is_for_anyone_and_who_has_the_old_one_open_reads_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        let put = |text: &str| {
            let file = NewFile::begin(&path, Existing::IsReplaced, Readers::Everyone).unwrap();
            file.finish(text.as_bytes()).unwrap();
        };
        put("old");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        let mut open = File::open(&path).unwrap();
        put("new");
        assert_eq!(io::read_to_string(&mut open).unwrap(), "old");
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
