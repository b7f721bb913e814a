//! The master key file: made once, read at start, refused where others could read it.

mod watch;

use std::io;
use std::path::{Path, PathBuf};

use crate::folder;
use crate::new_file::{Existing, NewFile, Readers};
use crate::secret_file::{self, Reader, SecretFileError};
use jwksd_keystore::crypto::CryptoError;
use jwksd_keystore::seal::{MasterKeyError, MasterKeys};

pub use watch::{WATCH_EVERY, Watch};

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no file.
    #[error("there is no master key at {}", .0.display())]
    Missing(PathBuf),
    /// The file cannot be made.
    #[error("the master key {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file cannot be read, or by too many.
    #[error("the master key {0}")]
    Secret(SecretFileError),
    /// It is not text, and so not a master key.
    #[error("the master key {} is not text", .0.display())]
    NotText(PathBuf),
    /// It is not a master key.
    #[error("the master key {}: {error}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: MasterKeyError,
    },
    /// None could be made.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

/// Reads the master keys.
///
/// # Errors
///
/// [`FileError`], which never says what the file holds.
pub fn read(path: &Path) -> Result<MasterKeys, FileError> {
    let bytes = secret_file::read(path, Reader::User).map_err(|error| match error {
        SecretFileError::Io { error, .. } if error.kind() == io::ErrorKind::NotFound => {
            FileError::Missing(path.to_owned())
        }
        other => FileError::Secret(other),
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|_| FileError::NotText(path.to_owned()))?;
    MasterKeys::parse(text).map_err(|error| FileError::Content { path: path.to_owned(), error })
}

/// Makes a master key file of mode 0600 where there is none, and syncs it and its folder, so that
/// nothing is ever sealed under a key that a power cut takes away. It is there whole or not at all.
///
/// # Errors
///
/// [`FileError`]; an existing file is never overwritten.
pub fn create(path: &Path) -> Result<(), FileError> {
    let failed = |error| FileError::Io { path: path.to_owned(), error };
    let text = MasterKeys::generate_file()?;
    folder::make(folder::of(path)).map_err(failed)?;
    let file = NewFile::begin(path, Existing::Stays, Readers::Owner).map_err(failed)?;
    file.finish(text.as_bytes()).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_new_master_key_is_for_its_owner_alone_and_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data").join("master.key");
        create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(read(&path).is_ok());
    }

    #[test]
    fn an_existing_master_key_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        create(&path).unwrap();
        let before = fs::read(&path).unwrap();
        assert!(create(&path).is_err());
        assert_eq!(fs::read(&path).unwrap(), before);
    }

    #[test]
    fn a_master_key_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("master.key");
        create(&path).unwrap();
        for (mode, who) in [(0o604, "everyone"), (0o640, "its group")] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).err().unwrap().to_string();
            assert!(error.contains(who), "{error}");
        }
    }
}
