//! The rows of a file from its end on: whoever looks for what was last need not read the rest.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memchr::memrchr;

use super::rows::{LONGEST, Row};

/// How much is read at once.
const BLOCK: u64 = 256 * 1024;

/// Reads the rows of a file, the last one first.
pub(super) struct Backwards {
    file: File,
    /// Where in the file `block` begins.
    at: u64,
    block: Vec<u8>,
    /// How much of `block` is still to be given.
    rest: usize,
    /// Where in `block` the row is that was given last.
    row: Range<usize>,
    /// Whether the row that is being read is longer than any line; then its text is dropped.
    is_too_long: bool,
    /// Whether what is read next has no end.
    is_unfinished: bool,
    /// Whether the first row was given.
    is_over: bool,
}

impl Backwards {
    /// Reads what the file has now, and nothing that is written to it later.
    pub(super) fn of(file: File) -> io::Result<Self> {
        let at = file.metadata()?.len();
        Ok(Self {
            file,
            at,
            block: Vec::new(),
            rest: 0,
            row: 0..0,
            is_too_long: false,
            is_unfinished: true,
            is_over: false,
        })
    }

    /// Goes to the row before; nothing is before the first. What stands after the end of the last row,
    /// if anything does, comes first.
    pub(super) fn next(&mut self) -> io::Result<Option<Row>> {
        loop {
            if self.is_over {
                return Ok(None);
            }
            let (begin, end) = (self.beginning()?, self.rest);
            self.is_over = begin == 0;
            self.rest = begin.saturating_sub(1);
            let is_too_long = std::mem::take(&mut self.is_too_long);
            let row = match (std::mem::take(&mut self.is_unfinished), is_too_long) {
                (true, _) if begin == end => continue,
                (true, _) => Row::Unfinished,
                (false, true) => Row::TooLong,
                (false, false) => Row::Whole,
            };
            self.row = if is_too_long { begin..begin } else { begin..end };
            return Ok(Some(row));
        }
    }

    /// The text of that row without its end; nothing of one that is too long.
    pub(super) fn text(&self) -> &[u8] {
        &self.block[self.row.clone()]
    }

    /// Where in the block the row begins that ends at `rest`; 0 only where that is the beginning of
    /// the file.
    fn beginning(&mut self) -> io::Result<usize> {
        loop {
            if let Some(end) = memrchr(b'\n', &self.block[..self.rest]) {
                return Ok(end + 1);
            }
            if self.at == 0 {
                return Ok(0);
            }
            self.read()?;
        }
    }

    /// Puts the bytes before before what is not given yet.
    fn read(&mut self) -> io::Result<()> {
        if self.rest as u64 >= LONGEST {
            (self.is_too_long, self.rest) = (true, 0);
        }
        let length = self.at.min(BLOCK);
        let read = usize::try_from(length).map_err(io::Error::other)?;
        self.block.resize(self.rest + read, 0);
        self.block.copy_within(..self.rest, read);
        self.file.read_exact_at(&mut self.block[..read], self.at - length)?;
        self.at -= length;
        self.rest += read;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use proptest::prelude::*;

    use super::super::rows;
    use super::*;

    fn file_with(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text).unwrap();
        file
    }

    fn backwards(text: &[u8]) -> Vec<(Row, Vec<u8>)> {
        let (mut rows, mut found) = (Backwards::of(file_with(text)).unwrap(), Vec::new());
        while let Some(row) = rows.next().unwrap() {
            found.push((row, rows.text().to_vec()));
        }
        found
    }

    fn forwards(text: &[u8]) -> Vec<(Row, Vec<u8>)> {
        let (mut reader, mut row, mut found) = (BufReader::new(text), Vec::new(), Vec::new());
        while let Some((kind, _)) = rows::next(&mut reader, &mut row).unwrap() {
            found.push((kind, row.clone()));
        }
        found
    }

    proptest! {
        #[test]
        fn rows_are_the_same_from_both_ends(rows in prop::collection::vec("[a-z\n]{0,8}", 0..20)) {
            let text = rows.concat().into_bytes();
            let mut expected = forwards(&text);
            expected.reverse();
            prop_assert_eq!(backwards(&text), expected);
        }
    }

    #[test]
    fn rows_across_blocks_are_whole_and_what_is_too_long_is_passed_over() {
        let block = usize::try_from(BLOCK).unwrap();
        let long = |length: usize, fill: u8| [vec![fill; length], vec![b'\n']].concat();
        let text = [
            long(5, b'a'),
            long(block - 3, b'b'),
            long(3 * block, b'c'),
            long(6 * block, b'd'),
            long(block, b'e'),
            b"f\ng".to_vec(),
        ]
        .concat();
        let found = backwards(&text);
        let told: Vec<_> = found.iter().map(|(row, text)| (*row, text.len())).collect();
        assert_eq!(
            told,
            [
                (Row::Unfinished, 1),
                (Row::Whole, 1),
                (Row::Whole, block),
                (Row::TooLong, 0),
                (Row::Whole, 3 * block),
                (Row::Whole, block - 3),
                (Row::Whole, 5),
            ]
        );
        assert!(backwards(b"").is_empty());
    }
}
