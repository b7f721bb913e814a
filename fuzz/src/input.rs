//! How inputs are read: as text in sections, or as changes to something whole.

/// What stands between two sections.
const BETWEEN: &[u8] = b"\n%%\n";

/// The sections of an input, at least one.
pub fn sections(data: &[u8]) -> Vec<&[u8]> {
    let mut sections = Vec::new();
    let mut rest = data;
    while let Some(end) = rest.windows(BETWEEN.len()).position(|window| window == BETWEEN) {
        sections.push(&rest[..end]);
        rest = &rest[end + BETWEEN.len()..];
    }
    sections.push(rest);
    sections
}

/// The section, whose lines end like those of a file.
pub fn text(section: &[u8]) -> Option<&str> {
    std::str::from_utf8(section).ok()
}

/// One change to bytes, in five bytes of an input.
#[derive(Clone, Copy)]
pub struct Change {
    kind: u8,
    at: usize,
    value: u8,
    /// Which of several things is changed.
    pub which: u8,
}

/// The changes that an input asks for, no more than anyone needs.
pub fn changes(data: &[u8]) -> impl Iterator<Item = Change> {
    data.chunks_exact(5).take(8).map(|bytes| Change {
        kind: bytes[0],
        which: bytes[1],
        at: usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        value: bytes[4],
    })
}

impl Change {
    /// Changes `bytes`. All places of it are in reach where it is no longer than 64 KiB.
    pub fn apply(self, bytes: &mut Vec<u8>) {
        let at = self.at % (bytes.len() + 1);
        let end = (at + 1 + usize::from(self.value)).min(bytes.len());
        match self.kind % 6 {
            0 | 1 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= self.value),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => bytes.insert(at, self.value),
        }
    }
}
