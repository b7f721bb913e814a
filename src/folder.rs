//! The folder that a file is in: a file's name is on the disk only when its folder is synced.

use std::fs::File;
use std::io;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_is_in_the_working_directory() {
        assert_eq!(of(Path::new("a/b")), Path::new("a"));
        assert_eq!(of(Path::new("/b")), Path::new("/"));
        assert_eq!(of(Path::new("b")), Path::new("."));
    }
}
