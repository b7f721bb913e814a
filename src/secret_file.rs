//! Files with a secret in them: refused where others than the daemon could read them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Where credentials and secrets are mounted, readable by a group by design.
const SECRET_MOUNTS: [&str; 2] = ["/run/credentials/", "/run/secrets/"];

/// The largest such file that is read.
const LARGEST: usize = 64 * 1024;

/// Why a file with a secret is not read.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Someone else can read it.
    #[error(
        "{} can be read by {who} (mode {mode:03o}): chmod 600 it, and consider what was read \
         meanwhile",
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
    #[error("{} belongs to uid {owner}, who can read it", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
    },
}

/// Reads a file that is this user's or root's, and readable by nobody else; below a mount of
/// secrets its group may read it.
///
/// # Errors
///
/// [`SecretFileError`], which never says what the file holds.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let failed = |error| SecretFileError::Io { path: path.to_owned(), error };
    let mut file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    check_owner(path, metadata.uid())?;
    check_mode(path, metadata.permissions().mode() & 0o777)?;
    // Of its full size from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST));
    Read::by_ref(&mut file).take(LARGEST as u64).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

fn check_owner(path: &Path, owner: u32) -> Result<(), SecretFileError> {
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(SecretFileError::Owner { path: path.to_owned(), owner })
}

fn check_mode(path: &Path, mode: u32) -> Result<(), SecretFileError> {
    let readable = |who| SecretFileError::Readable { path: path.to_owned(), who, mode };
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
