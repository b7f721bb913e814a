//! The folder that a file is in: a file's name is on the disk only when its folder is synced.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

/// The folder of `path`; the working directory where the path names none.
#[must_use]
pub fn of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Syncs the folder of `path`, so that what is or is not called so is on the disk.
///
/// # Errors
///
/// When the folder cannot be opened or synced.
pub fn sync_of(path: &Path) -> io::Result<()> {
    File::open(of(path))?.sync_all()
}

/// Makes a folder that is for its owner alone (mode 0700), and syncs its name, where there is no
/// such folder. What is there stays as it is.
///
/// # Errors
///
/// When the folder cannot be made.
pub fn make(folder: &Path) -> io::Result<()> {
    if folder.exists() {
        return Ok(());
    }
    fs::create_dir_all(of(folder))?;
    DirBuilder::new().mode(0o700).create(folder)?;
    sync_of(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_folder_is_made_for_its_owner_alone_and_left_alone_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("outer/inner");
        let mode = || fs::metadata(&folder).unwrap().permissions().mode() & 0o777;
        make(&folder).unwrap();
        assert_eq!(mode(), 0o700);
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        make(&folder).unwrap();
        assert_eq!(mode(), 0o755);
    }

    #[test]
    fn a_name_alone_is_in_the_working_directory() {
        assert_eq!(of(Path::new("a/b")), Path::new("a"));
        assert_eq!(of(Path::new("/b")), Path::new("/"));
        assert_eq!(of(Path::new("b")), Path::new("."));
    }
}
