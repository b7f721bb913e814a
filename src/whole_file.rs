//! A public file that is replaced as a whole: who reads it sees all of the old or all of the new.

use std::fs::Permissions;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::folder;

/// Puts `bytes` at `path`, in place of a file that was there, for anyone to read (mode 0644,
/// whatever the umask), and syncs it and its name.
///
/// # Errors
///
/// When that cannot be done. Unless it is the folder that cannot be synced, what was there is there
/// still.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(".jwksd-").tempfile_in(folder::of(path))?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    folder::sync_of(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_file_is_replaced_and_nothing_stays_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        for text in ["a longer one", "new"] {
            replace(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        }
        assert_eq!(names(dir.path()), ["key.pem"]);
    }

    #[test]
    fn who_has_the_old_file_open_goes_on_to_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.pem");
        replace(&path, b"old").unwrap();
        let mut open = fs::File::open(&path).unwrap();
        replace(&path, b"new").unwrap();
        assert_eq!(io::read_to_string(&mut open).unwrap(), "old");
    }

    #[test]
    fn what_is_no_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        fs::create_dir(&folder).unwrap();
        assert!(replace(&folder, b"new").is_err());
        assert!(replace(&dir.path().join("missing/key.pem"), b"new").is_err());
        assert_eq!(names(dir.path()), ["folder"]);
    }
}
