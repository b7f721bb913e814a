//! Files with a secret in them: refused where others than the daemon could read them.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use zeroize::Zeroizing;

/// Where systemd shows its credentials to a service.
pub(crate) const CREDENTIALS: &str = "/run/credentials/";

/// Where credentials and secrets are mounted, readable by a group by design.
const SECRET_MOUNTS: [&str; 2] = [CREDENTIALS, "/run/secrets/"];

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
    /// More than any such file has.
    #[error("{} is larger than {} KiB, the most that is read", .0.display(), LARGEST / 1024)]
    TooLarge(PathBuf),
}

/// On whose behalf a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// The daemon, or another that uses what is in the file.
    User,
    /// Someone who looks whether the daemon could use it. Root does that for a daemon of another
    /// user, whose file it then is.
    Checker,
}

/// Reads a file that is this user's or root's, and readable by nobody else; below a mount of
/// secrets its group may read it.
///
/// # Errors
///
/// [`SecretFileError`], which never says what the file holds.
pub fn read(path: &Path, reader: Reader) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let failed = |error| SecretFileError::Io { path: path.to_owned(), error };
    let mut file = open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    if !may_own(metadata.uid(), own, reader) {
        return Err(SecretFileError::Owner { path: path.to_owned(), owner: metadata.uid() });
    }
    check_mode(path, metadata.permissions().mode() & 0o777)?;
    // Of its full size from the start: a buffer that grows leaves copies behind. One more byte tells
    // that the file is larger.
    let most = LARGEST + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    Read::by_ref(&mut file).take(most as u64).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > LARGEST {
        return Err(SecretFileError::TooLarge(path.to_owned()));
    }
    Ok(bytes)
}

/// Opens a file, and nothing that would wait for someone else, as a pipe does.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let mode = Mode::empty();
    let file = File::from(rustix::fs::open(path, OFlags::CLOEXEC | OFlags::NONBLOCK, mode)?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
}

/// Whether `owner` may have a file that the user `own` reads.
fn may_own(owner: u32, own: u32, reader: Reader) -> bool {
    owner == 0 || owner == own || (reader == Reader::Checker && own == 0)
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

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::os::unix::fs::OpenOptionsExt;

    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_refused_and_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).unwrap();
        file.set_len(LARGEST as u64).unwrap();
        assert_eq!(read(&path, Reader::User).unwrap().len(), LARGEST);
        file.set_len(LARGEST as u64 + 1).unwrap();
        let refused = read(&path, Reader::User).unwrap_err().to_string();
        assert!(refused.ends_with("is larger than 64 KiB, the most that is read"), "{refused}");
    }

    #[test]
    fn a_file_is_its_users_or_roots_and_only_root_checks_that_of_another() {
        let (root, us, other) = (0, 1000, 1001);
        for reader in [Reader::User, Reader::Checker] {
            assert!(may_own(us, us, reader) && may_own(root, us, reader));
            assert!(!may_own(other, us, reader));
        }
        assert!(!may_own(other, root, Reader::User));
        assert!(may_own(other, root, Reader::Checker));
    }
}
