//! Which files an audit has: the one that is written, and those that it continues.
//!
//! When a file has its full size, a new one begins as `audit.jsonl.new`; when all of both is on the
//! disk, the full one is renamed after its first line, `audit.jsonl` to `audit.000000000001.jsonl`,
//! and the new one gets its place. No file with lines is ever deleted or shortened.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::folder;

/// The name of a full file whose first line is `first`.
pub(super) fn full(audit: &Path, first: u64) -> PathBuf {
    let (before, after) = around(audit);
    audit.with_file_name(format!("{before}{first:012}{after}"))
}

/// The full files of an audit, in the order of their lines.
pub(super) fn all_full(audit: &Path) -> io::Result<Vec<PathBuf>> {
    let (before, after) = around(audit);
    let entries = match fs::read_dir(folder::of(audit)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|name| {
            let digits = name.strip_prefix(&before)?.strip_suffix(&after)?;
            let is_number = digits.len() >= 12 && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| digits.parse::<u64>().ok()).flatten()
        });
        let Some(first) = first else { continue };
        let path = audit.with_file_name(name);
        // A symbolic link to a file was renamed like a file.
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => found.push((first, path)),
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// All files of an audit, in the order of their lines.
///
/// # Errors
///
/// When the folder cannot be listed.
pub fn all(audit: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = all_full(audit)?;
    for path in [audit.to_owned(), unnamed(audit)] {
        if path.try_exists()? {
            files.push(path);
        }
    }
    Ok(files)
}

/// The files of an audit as they are now.
pub(super) struct Files {
    /// Those that may get another name, open, in the order of their lines.
    pub(super) open: Vec<File>,
    /// The full ones, in the order of their lines.
    pub(super) full: Vec<PathBuf>,
}

/// The files of an audit, of which those are open that may get another name meanwhile.
///
/// # Errors
///
/// When the folder cannot be listed, or such a file cannot be opened.
pub(super) fn open(audit: &Path) -> io::Result<Files> {
    loop {
        let full = all_full(audit)?;
        let mut open = Vec::new();
        for path in [audit.to_owned(), unnamed(audit)] {
            match File::open(&path) {
                Ok(file) => open.push(file),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // Else one was given its full name in between.
        if all_full(audit)? == full {
            return Ok(Files { open, full });
        }
    }
}

/// Whether no file of an audit has anything in it.
pub(super) fn are_empty(audit: &Path) -> io::Result<bool> {
    for path in all(audit)? {
        if fs::metadata(path)?.len() > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The name of a new file until the full one has given up its own.
pub(super) fn unnamed(audit: &Path) -> PathBuf {
    audit.with_added_extension("new")
}

/// Gives the full file, whose first line is `first`, and the new one their names, durably. Where the
/// name of the full file is taken, which no history of jwksd alone can lead to, the next is used.
pub(super) fn name(audit: &Path, first: u64) -> io::Result<()> {
    if audit.try_exists()? {
        let mut number = first;
        while full(audit, number).try_exists()? {
            number += 1;
        }
        fs::rename(audit, full(audit, number))?;
    }
    fs::rename(unnamed(audit), audit)?;
    folder::sync_of(audit)
}

/// What stands before and after the number of the first line in the name of a full file.
fn around(audit: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
    };
    let after = audit.extension().map(|_| format!(".{}", text(audit.extension())));
    (format!("{}.", text(audit.file_stem())), after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_files_are_found_in_the_order_of_their_lines() {
        let dir = tempfile::tempdir().unwrap();
        let audit = dir.path().join("audit.jsonl");
        let names = ["audit.000000000900.jsonl", "audit.000000000001.jsonl", "audit.jsonl"];
        let others = ["audit.jsonl.checkpoint", "audit.old.jsonl", "other.000000000002.jsonl"];
        for name in names.iter().chain(&others) {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let found: Vec<_> = all(&audit)
            .unwrap()
            .into_iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
            .collect();
        assert_eq!(found, [names[1], names[0], names[2]]);
        assert_eq!(full(&audit, 900), dir.path().join(names[0]));
        assert_eq!(full(&dir.path().join("log"), 7), dir.path().join("log.000000000007"));
    }
}
