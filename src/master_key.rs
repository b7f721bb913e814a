//! The master key file: made once, read at start, refused where others could read it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jwksd_keystore::crypto::CryptoError;
use jwksd_keystore::seal::{MasterKeyError, MasterKeys};
use zeroize::Zeroizing;

use crate::folder;

/// Where credentials and secrets are mounted, readable by a group by design.
const SECRET_MOUNTS: [&str; 2] = ["/run/credentials/", "/run/secrets/"];

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// There is no file.
    #[error("there is no master key at {}", .0.display())]
    Missing(PathBuf),
    /// The file cannot be read or made.
    #[error("the master key {}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Someone else can read it.
    #[error(
        "the master key {} can be read by {who} (mode {mode:03o}): chmod 600 it, and consider what \
         was read meanwhile",
        path.display()
    )]
    Readable {
        /// The file.
        path: PathBuf,
        /// By whom.
        who: &'static str,
        /// Its mode.
        mode: u32,
    },
    /// Someone else owns it.
    #[error("the master key {} belongs to uid {owner}, who can read it", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
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
    let failed = |error| FileError::Io { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
        _ => failed(error),
    })?;
    let metadata = file.metadata().map_err(failed)?;
    check_owner(path, metadata.uid())?;
    check_mode(path, metadata.permissions().mode() & 0o777)?;
    // The file is small; a large one is not a master key, and must not fill the memory.
    let mut text = Zeroizing::new(String::with_capacity(64 * 1024));
    Read::by_ref(&mut file).take(64 * 1024).read_to_string(&mut text).map_err(failed)?;
    MasterKeys::parse(&text).map_err(|error| FileError::Content { path: path.to_owned(), error })
}

/// Makes a master key file of mode 0600 where there is none, and syncs it and its folder, so that
/// nothing is ever sealed under a key that a power cut takes away.
///
/// # Errors
///
/// [`FileError`]; an existing file is never overwritten.
pub fn create(path: &Path) -> Result<(), FileError> {
    let failed = |error| FileError::Io { path: path.to_owned(), error };
    let text = MasterKeys::generate_file()?;
    folder::make(folder::of(path)).map_err(failed)?;
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    folder::sync_of(path).map_err(failed)
}

fn check_owner(path: &Path, owner: u32) -> Result<(), FileError> {
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(FileError::Owner { path: path.to_owned(), owner })
}

fn check_mode(path: &Path, mode: u32) -> Result<(), FileError> {
    let readable = |who| FileError::Readable { path: path.to_owned(), who, mode };
    if mode & 0o007 != 0 {
        return Err(readable("everyone"));
    }
    let real = fs::canonicalize(path).unwrap_or_default();
    let is_mounted = SECRET_MOUNTS.iter().any(|mount| real.starts_with(mount));
    if mode & 0o070 != 0 && !is_mounted {
        return Err(readable("its group"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
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
