//! A file on a disk: read within a size, replaced as a whole, never followed elsewhere.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, OFlags};
use rustix::io::Errno;

use crate::folder;
use crate::new_file::{Existing, NewFile, Readers};

/// A JWK Set is far shorter. Of what is longer, only the beginning is read.
const LONGEST: u64 = 1 << 20;

/// Where files are. Every method may wait for ever.
pub trait Disk: Send + Sync {
    /// The content of a file, `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`DiskError`].
    fn read(&self, file: &Path) -> Result<Option<Vec<u8>>, DiskError>;

    /// Puts `content` in place of what a file holds. Whoever reads finds the whole of one of them.
    ///
    /// # Errors
    ///
    /// [`DiskError`]; the file may hold either.
    fn replace(&self, file: &Path, content: &[u8]) -> Result<(), DiskError>;

    /// Takes a file away. One that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`DiskError`].
    fn remove(&self, file: &Path) -> Result<(), DiskError>;
}

/// Why a file is not as it shall be.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Its folder is missing.
    #[error("there is no folder {}, and none is made here", .0.display())]
    NoFolder(PathBuf),
    /// A link, a folder, a pipe.
    #[error("{} is no regular file, and is left alone", .0.display())]
    NotAFile(PathBuf),
    /// The operating system refuses.
    #[error("cannot {doing} {}: {error}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        error: io::Error,
    },
}

/// The disks of this machine.
#[derive(Clone, Copy, Debug)]
pub struct OnDisk;

impl Disk for OnDisk {
    fn read(&self, file: &Path) -> Result<Option<Vec<u8>>, DiskError> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = flags.bits().cast_signed();
        let opened = match OpenOptions::new().read(true).custom_flags(flags).open(file) {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return no_file(file),
            // What NOFOLLOW makes of a symbolic link.
            Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => {
                return Err(not_a_file(file));
            }
            Err(error) => return Err(failed("read", file)(error)),
        };
        if !opened.metadata().map_err(failed("read", file))?.is_file() {
            return Err(not_a_file(file));
        }
        let mut content = Vec::new();
        opened.take(LONGEST).read_to_end(&mut content).map_err(failed("read", file))?;
        Ok(Some(content))
    }

    fn replace(&self, file: &Path, content: &[u8]) -> Result<(), DiskError> {
        // Whoever serves the file is another user.
        let (existing, readers) = (Existing::IsReplaced, Readers::Everyone);
        let new = NewFile::begin(file, existing, readers);
        let new = new.map_err(|error| match error.kind() {
            ErrorKind::NotFound => DiskError::NoFolder(folder::of(file).to_owned()),
            ErrorKind::AlreadyExists => not_a_file(file),
            _ => failed("replace", file)(error),
        })?;
        new.finish(content).map_err(failed("replace", file))
    }

    fn remove(&self, file: &Path) -> Result<(), DiskError> {
        match fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", file)(error)),
            _ => folder::sync_of(file).map_err(failed("sync the folder of", file)),
        }
    }
}

/// What is wrong with the place of a file. Writes nothing.
///
/// # Errors
///
/// [`DiskError`], the same that would come of writing it.
pub fn check(file: &Path) -> Result<(), DiskError> {
    OnDisk.read(file)?;
    let folder = folder::of(file);
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)
        .map_err(|error| failed("write into", folder)(error.into()))
}

/// There is no file, but is there a folder?
fn no_file(file: &Path) -> Result<Option<Vec<u8>>, DiskError> {
    let folder = folder::of(file);
    match fs::metadata(folder) {
        Ok(_) => Ok(None),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Err(DiskError::NoFolder(folder.to_owned()))
        }
        Err(error) => Err(failed("read", folder)(error)),
    }
}

fn not_a_file(file: &Path) -> DiskError {
    DiskError::NotAFile(file.to_owned())
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    let path = path.to_owned();
    move |error| DiskError::Io { doing, path, error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::new_file::unfinished;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("jwks.json");
        (dir, file)
    }

    fn names(dir: &tempfile::TempDir) -> Vec<String> {
        let entries = fs::read_dir(dir.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_readable_for_all_and_nothing_is_left_beside_it() {
        let (dir, file) = place();
        assert_eq!(OnDisk.read(&file).unwrap(), None);
        for content in ["first", "second"] {
            OnDisk.replace(&file, content.as_bytes()).unwrap();
            assert_eq!(OnDisk.read(&file).unwrap().unwrap(), content.as_bytes());
        }
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(names(&dir), ["jwks.json"]);
        OnDisk.remove(&file).unwrap();
        OnDisk.remove(&file).unwrap();
        assert_eq!(OnDisk.read(&file).unwrap(), None);
    }

    #[test]
    fn what_a_crash_left_is_taken_away_and_what_it_leads_to_stays() {
        let (dir, file) = place();
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "precious").unwrap();
        for leftover in [(|new| symlink("elsewhere", new)) as fn(&Path) -> io::Result<()>, |new| {
            fs::write(new, "half of it")
        }] {
            leftover(&unfinished(&file)).unwrap();
            OnDisk.replace(&file, b"whole").unwrap();
            assert_eq!(fs::read(&file).unwrap(), b"whole");
        }
        assert_eq!(fs::read(&elsewhere).unwrap(), b"precious");
        assert_eq!(names(&dir), ["elsewhere", "jwks.json"]);
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
        let (dir, file) = place();
        symlink("elsewhere", &file).unwrap();
        assert!(matches!(OnDisk.read(&file), Err(DiskError::NotAFile(_))));
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert!(matches!(OnDisk.read(&file), Err(DiskError::NotAFile(_))));
        assert!(OnDisk.replace(&file, b"x").is_err());
        fs::remove_dir(&file).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(matches!(OnDisk.read(&file), Err(DiskError::NotAFile(_))));
        drop(dir);
    }

    #[test]
    fn a_missing_folder_is_named_and_not_made() {
        let (dir, _) = place();
        let file = dir.path().join("missing/jwks.json");
        for error in [
            OnDisk.read(&file).unwrap_err(),
            OnDisk.replace(&file, b"x").unwrap_err(),
            check(&file).unwrap_err(),
        ] {
            let words = format!("there is no folder {}/missing", dir.path().display());
            assert!(error.to_string().contains(&words), "{error}");
        }
        assert!(names(&dir).is_empty());
    }

    #[test]
    fn a_check_writes_nothing() {
        let (dir, file) = place();
        check(&file).unwrap();
        assert!(names(&dir).is_empty());
    }

    #[test]
    fn a_full_disk_leaves_the_file_as_it_was() {
        let (dir, file) = place();
        OnDisk.replace(&file, b"old").unwrap();
        // Its folder takes no second name: what a full disk or a read-only one amounts to.
        fs::create_dir(unfinished(&file)).unwrap();
        assert!(OnDisk.replace(&file, b"new").is_err());
        assert_eq!(fs::read(&file).unwrap(), b"old");
        drop(dir);
    }

    #[test]
    fn whoever_reads_finds_the_whole_of_the_old_or_of_the_new() {
        let (dir, file) = place();
        let contents = [vec![b'a'; 9_000], vec![b'b'; 30_000]];
        OnDisk.replace(&file, &contents[0]).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0;
                while !done.load(Ordering::Relaxed) || reads == 0 {
                    let found = fs::read(&file).unwrap();
                    assert!(contents.contains(&found), "{} bytes", found.len());
                    reads += 1;
                }
            });
            for turn in 1..100 {
                OnDisk.replace(&file, &contents[turn % 2]).unwrap();
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        drop(dir);
    }
}
