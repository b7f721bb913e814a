//! The memory of another process, as its parent sees it with the rights of root.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use rustix::process::Pid;

/// How much is read at once.
const PIECE: u64 = 4 << 20;

/// Where a needle was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Find {
    /// Which needle.
    pub(super) needle: usize,
    /// The name of the mapping.
    pub(super) mapping: String,
    /// Where in memory.
    pub(super) address: u64,
}

/// Searches all memory that the process can write to.
///
/// # Errors
///
/// When this process may not look.
pub(super) fn search(pid: Pid, needles: &[Vec<u8>]) -> io::Result<BTreeSet<Find>> {
    let longest = needles.iter().map(Vec::len).max().unwrap_or(0) as u64;
    let kind = Some(AhoCorasickKind::DFA);
    let searcher = AhoCorasick::builder().kind(kind).build(needles).unwrap();
    let process = format!("/proc/{}", pid.as_raw_nonzero());
    let maps = fs::read_to_string(format!("{process}/maps"))?;
    let memory = File::open(format!("{process}/mem"))?;
    let mut found = BTreeSet::new();
    let mut buffer = vec![0; usize::try_from(PIECE).unwrap()];
    for (start, end, name) in maps.lines().filter_map(writable) {
        let mut at = start;
        while at < end {
            let length = PIECE.min(end - at);
            let piece = &mut buffer[..usize::try_from(length).unwrap()];
            // A mapping may have gone since, or may never be read, as [vvar].
            let Ok(length) = memory.read_at(piece, at) else { break };
            for hit in searcher.find_iter(&piece[..length]) {
                found.insert(Find {
                    needle: hit.pattern().as_usize(),
                    mapping: name.to_owned(),
                    address: at + hit.start() as u64,
                });
            }
            // A needle may lie across two pieces.
            let length = length as u64;
            at += if at + length < end && length > longest {
                length - longest
            } else {
                length.max(1)
            };
        }
    }
    Ok(found)
}

/// Start, end and name of a mapping that is readable and writable.
fn writable(line: &str) -> Option<(u64, u64, &str)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let number = |text| u64::from_str_radix(text, 16).ok();
    fields.next()?.starts_with("rw").then_some(())?;
    Some((number(start)?, number(end)?, fields.nth(3).unwrap_or("")))
}
