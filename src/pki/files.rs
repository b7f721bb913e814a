//! The two files of a certificate: made together or not at all, and never in place of others.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::Issued;
use crate::folder;
use crate::secret_file::{self, Reader, SecretFileError};

/// The largest certificate that is read, in bytes.
const LARGEST_CERTIFICATE: u64 = 64 * 1024;

/// Why files were not made or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is one already.
    #[error("{} already exists: nothing was made; move it and its other half away first", .0.display())]
    Exists(PathBuf),
    /// There is none.
    #[error("there is no {}", .0.display())]
    Missing(PathBuf),
    /// The certificate cannot be read, or is no text.
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
    /// The key cannot be read, or not by its owner alone.
    #[error("the CA's key {0}")]
    Key(SecretFileError),
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

    /// Reads a CA's certificate and key.
    ///
    /// # Errors
    ///
    /// [`FileError`], also where another owns the key or can read it.
    pub fn read(&self) -> Result<(String, Zeroizing<Vec<u8>>), FileError> {
        let certificate = self.read_certificate()?;
        let key = secret_file::read(&self.key, Reader::User).map_err(|error| match error {
            SecretFileError::Io { path, error } if error.kind() == io::ErrorKind::NotFound => {
                FileError::Missing(path)
            }
            error => FileError::Key(error),
        })?;
        Ok((certificate, key))
    }

    fn read_certificate(&self) -> Result<String, FileError> {
        let path = &self.certificate;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => FileError::Missing(path.clone()),
            _ => FileError::Read { path: path.clone(), error },
        };
        let file = File::open(path).map_err(failed)?;
        let mut text = String::new();
        file.take(LARGEST_CERTIFICATE).read_to_string(&mut text).map_err(failed)?;
        Ok(text)
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
        assert_eq!((certificate.as_bytes(), key.as_slice()), (&b"certificate"[..], &b"key"[..]));
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
