//! The format of a store on disk, in a file that is read before anything else of it.
//!
//! The rows say it as well. But sled has to open its files before a row can be read, and an opening
//! writes: it cuts off what it does not understand. So a store that a newer version wrote is refused by
//! this file alone, and stays as it is.
//!
//! The file begins with the number of the format in decimal digits, then comes a line feed. It stands
//! for the whole directory: the rows, their sealed secrets, `latest`, and sled's own files. A directory
//! without it has format 1: stores were made before there was this file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::StoreError;
use super::authenticated::{FORMAT, known_format};
use super::sled::unavailable;

pub(super) const FILE: &str = "format";

/// Where it is written first, so that the file is either absent or whole.
pub(super) const UNFINISHED_FILE: &str = "format.new";

/// More digits than any number of ours has.
const LONGEST: u64 = 20;

/// Says durably, but for the name of the file, that the store in this directory is of the format that
/// this version writes.
pub(super) fn create(path: &Path) -> io::Result<()> {
    let unfinished = path.join(UNFINISHED_FILE);
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&unfinished)?;
    file.write_all(&[FORMAT, b"\n"].concat())?;
    file.sync_all()?;
    fs::rename(unfinished, path.join(FILE))
}

/// Refuses the store at `path`, be it there or not, where a version wrote it whose format this one does
/// not know. Nothing is written.
///
/// # Errors
///
/// [`StoreError::UnknownFormat`], [`StoreError::Damaged`] where the file does not say it,
/// [`StoreError::Unavailable`].
pub fn check(path: &Path) -> Result<(), StoreError> {
    let file = path.join(FILE);
    let mut content = Vec::new();
    match File::open(&file).and_then(|file| file.take(LONGEST).read_to_end(&mut content)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unavailable(&error)),
        Ok(_) => {}
    }
    let digits = content.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return Err(StoreError::Damaged { what: format!("the file {}", file.display()) });
    }
    known_format(&content[..digits])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::sled::tests::{copy_files, open_when_free};
    use super::super::{SledStore, Store};
    use super::*;
    use crate::seal::tests::master_keys;
    use crate::time::Time;

    /// All files of a folder with their content.
    fn content(path: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = entries
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_store_of_a_newer_format_is_refused_and_no_byte_of_it_is_changed() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), Arc::new(master_keys()));
        let path = dir.path().join("store");
        drop(SledStore::create(&path, keys.clone()).unwrap());
        SledStore::wait_until_closed(&path).unwrap();
        // As a store is left that was killed: what an opening would do something about.
        fs::write(path.join("snap.0000000000000001.generating"), "x").unwrap();
        for (text, format) in [("2\n", "2"), ("10 and more\nlines", "10"), ("0\n", "0")] {
            fs::write(path.join(FILE), text).unwrap();
            let before = content(&path);
            let refused =
                StoreError::UnknownFormat { what: "the store".into(), format: format.into() };
            assert_eq!(check(&path), Err(refused.clone()));
            assert_eq!(SledStore::open(&path, keys.clone()).err(), Some(refused.clone()));
            assert_eq!(SledStore::create(&path, keys.clone()).err(), Some(refused));
            assert_eq!(content(&path), before);
        }
    }

    #[test]
    fn a_newer_store_whose_files_are_all_others_is_not_taken_for_none() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), Arc::new(master_keys()));
        fs::write(dir.path().join(FILE), "3\n").unwrap();
        let before = content(dir.path());
        let refused = StoreError::UnknownFormat { what: "the store".into(), format: "3".into() };
        assert_eq!(SledStore::open(dir.path(), keys.clone()).err(), Some(refused.clone()));
        assert_eq!(SledStore::create(dir.path(), keys).err(), Some(refused));
        assert_eq!(content(dir.path()), before);
    }

    #[test]
    fn a_file_that_does_not_say_a_format_is_damage() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), Arc::new(master_keys()));
        drop(SledStore::create(dir.path(), keys.clone()).unwrap());
        let file = dir.path().join(FILE);
        let what = format!("the file {}", file.display());
        for text in ["", "\n", "two", " 1"] {
            fs::write(&file, text).unwrap();
            let refused = StoreError::Damaged { what: what.clone() };
            assert_eq!(open_when_free(dir.path(), keys.clone()).err(), Some(refused), "{text:?}");
        }
    }

    #[test]
    fn a_store_from_before_there_was_the_file_opens() {
        let (dir, keys) = (tempfile::tempdir().unwrap(), Arc::new(master_keys()));
        let (path, copy) = (dir.path().join("store"), dir.path().join("copy"));
        let store = SledStore::create(&path, keys.clone()).unwrap();
        assert_eq!(fs::read(path.join(FILE)).unwrap(), b"1\n");
        store.record_seen(Time::from_millis(7)).unwrap();
        drop(store);
        SledStore::wait_until_closed(&path).unwrap();
        copy_files(&path, &copy);
        fs::remove_file(copy.join(FILE)).unwrap();
        let store = open_when_free(&copy, keys).unwrap();
        assert_eq!(store.seen(), Ok(Time::from_millis(7)));
    }

    #[test]
    fn a_making_that_was_interrupted_before_there_was_a_store_begins_again() {
        let keys = Arc::new(master_keys());
        for (name, text) in [(UNFINISHED_FILE, ""), (UNFINISHED_FILE, "1"), (FILE, "1\n")] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), text).unwrap();
            assert!(SledStore::is_left_over(name.as_ref()));
            let missing = StoreError::Missing(dir.path().to_owned());
            assert_eq!(SledStore::open(dir.path(), keys.clone()).err(), Some(missing));
            drop(SledStore::create(dir.path(), keys.clone()).unwrap());
            assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), b"1\n");
        }
    }
}
