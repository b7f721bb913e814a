//! The rows of a file, however long they are.

use std::io::{self, BufRead, Read};

/// No line is longer.
pub(super) const LONGEST: u64 = 1 << 20;

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// A row; its text is given without its end.
    Whole,
    /// A row that is longer than any line; its text is not given.
    TooLong,
    /// The last row has no end.
    Unfinished,
}

/// Reads the next row into `text`; nothing at the end. Returns also how many bytes it has.
pub(super) fn next(
    reader: &mut impl BufRead,
    text: &mut Vec<u8>,
) -> io::Result<Option<(Row, u64)>> {
    text.clear();
    let length = reader.by_ref().take(LONGEST).read_until(b'\n', text)? as u64;
    if text.pop_if(|last| *last == b'\n').is_some() {
        return Ok(Some((Row::Whole, length)));
    }
    if length < LONGEST {
        return Ok((length > 0).then_some((Row::Unfinished, length)));
    }
    text.clear();
    let rest = reader.skip_until(b'\n')? as u64;
    Ok(Some((Row::TooLong, length + rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_whole_and_what_is_too_long_is_passed_over() {
        let long = vec![b'x'; (2 << 20) + 5];
        let input = [b"a\n\n", long.as_slice(), b"\nb\nc"].concat();
        let (mut reader, mut text, mut rows) = (input.as_slice(), Vec::new(), Vec::new());
        while let Some((row, length)) = next(&mut reader, &mut text).unwrap() {
            rows.push((row, text.clone(), length));
        }
        assert_eq!(
            rows,
            [
                (Row::Whole, b"a".to_vec(), 2),
                (Row::Whole, Vec::new(), 1),
                (Row::TooLong, Vec::new(), long.len() as u64 + 1),
                (Row::Whole, b"b".to_vec(), 2),
                (Row::Unfinished, b"c".to_vec(), 1),
            ]
        );
    }
}
