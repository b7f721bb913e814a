//! The two files of a certificate: made together or not at all, and never in place of others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Issued;
use crate::folder;

/// What a certificate or a key file holds at most.
const MAX_BYTES: u64 = 64 * 1024;

/// Why files were not made or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is one already.
    #[error("{} already exists: nothing was made", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    /// A file cannot be read, or is no text.
    #[error("cannot read {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file cannot be made.
    #[error("cannot make {}: {error}", path.display())]
    Make {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Others can read the key.
    #[error(
        "{} can be read by others (mode {mode:03o}): chmod 600 it, or make another CA if someone \
         may have read it",
        path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
}

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The certificate, in PEM.
    pub certificate: PathBuf,
    /// The key, in PEM.
    pub key: PathBuf,
}

impl Files {
    /// The files of the certificate `name` in a folder.
    #[must_use]
    pub fn new(folder: &Path, name: &str) -> Self {
        let path = |ending: &str| folder.join(format!("{name}.{ending}"));
        Self { certificate: path("pem"), key: path("key") }
    }

    /// Whether nothing is in the way, not even a link to nowhere.
    ///
    /// # Errors
    ///
    /// [`FileError`].
    pub fn check_free(&self) -> Result<(), FileError> {
        for path in [&self.certificate, &self.key] {
            match fs::symlink_metadata(path) {
                Ok(_) => return Err(FileError::Exists(path.clone())),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(FileError::Make { path: path.clone(), error }),
            }
        }
        Ok(())
    }

    /// Makes both files, and their folder (mode 0700) where there is none, and syncs them. The key
    /// is for its owner alone from the beginning (mode 0600).
    ///
    /// # Errors
    ///
    /// [`FileError`]; then neither file was made.
    pub fn write(&self, issued: &Issued) -> Result<(), FileError> {
        self.check_free()?;
        let failed = |error| FileError::Make { path: self.key.clone(), error };
        folder::make(folder::of(&self.key)).map_err(failed)?;
        let mut made = Unfinished(Vec::new());
        made.create(&self.key, 0o600, issued.key.as_bytes())?;
        made.create(&self.certificate, 0o644, issued.certificate.as_bytes())?;
        folder::sync_of(&self.key).map_err(failed)?;
        made.0.clear();
        Ok(())
    }

    /// Reads certificate and key.
    ///
    /// # Errors
    ///
    /// [`FileError`], also where others can read the key.
    pub fn read(&self) -> Result<(String, Zeroizing<String>), FileError> {
        let (certificate, _) = read(&self.certificate)?;
        let (key, mode) = read(&self.key)?;
        if mode & 0o077 != 0 {
            return Err(FileError::Readable { path: self.key.clone(), mode });
        }
        Ok((certificate.to_string(), key))
    }
}

/// Files that are taken away again unless all goes well.
struct Unfinished<'a>(Vec<&'a Path>);

impl<'a> Unfinished<'a> {
    fn create(&mut self, path: &'a Path, mode: u32, content: &[u8]) -> Result<(), FileError> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AlreadyExists => FileError::Exists(path.to_owned()),
            _ => FileError::Make { path: path.to_owned(), error },
        };
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)
            .map_err(failed)?;
        self.0.push(path);
        file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        for path in &self.0 {
            // What stays is named by the next attempt.
            let _ = fs::remove_file(path);
        }
    }
}

/// What a file holds, and its mode.
fn read(path: &Path) -> Result<(Zeroizing<String>, u32), FileError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ => FileError::Read { path: path.to_owned(), error },
    };
    let mut file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    // All at once: a buffer that grows would leave copies of the key.
    let mut text = Zeroizing::new(String::with_capacity(64 * 1024));
    Read::by_ref(&mut file).take(MAX_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok((text, mode))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::Lifetime;
    use jwksd_keystore::time::Time;

    fn issued() -> Issued {
        Issued {
            certificate: "certificate".into(),
            key: Zeroizing::new("key".into()),
            expires_at: Time::EPOCH,
            lifetime: Lifetime::AsAsked,
        }
    }

    #[test]
    fn what_was_made_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(&dir.path().join("pki"), "ca");
        files.write(&issued()).unwrap();
        let (certificate, key) = files.read().unwrap();
        assert_eq!((certificate.as_str(), key.as_str()), ("certificate", "key"));
    }

    #[test]
    fn a_file_that_comes_while_the_other_is_made_stays_and_no_half_pair_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), "web");
        let mut made = Unfinished(Vec::new());
        made.create(&files.key, 0o600, b"key").unwrap();
        fs::write(&files.certificate, "of another").unwrap();
        let error = made.create(&files.certificate, 0o644, b"certificate").err().unwrap();
        assert!(matches!(&error, FileError::Exists(path) if *path == files.certificate));
        drop(made);
        assert!(!files.key.exists());
        assert_eq!(fs::read(&files.certificate).unwrap(), b"of another");
    }

    #[test]
    fn a_link_to_nowhere_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::new(dir.path(), "web");
        std::os::unix::fs::symlink("nowhere", &files.key).unwrap();
        assert!(
            matches!(files.write(&issued()), Err(FileError::Exists(path)) if path == files.key)
        );
        assert!(!files.certificate.exists() && !dir.path().join("nowhere").exists());
    }
}
