//! What [`super::verify`] found: the words for it.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// What was found.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The files that were read, in the order of their lines.
    pub files: Vec<PathBuf>,
    /// How many lines of the chain they hold.
    pub lines: u64,
    /// The number of the first line.
    pub first: u64,
    /// The number of the last line.
    pub last: u64,
    /// Up to which line a tag shows that jwksd wrote all of it, and nothing is damaged; 0 where none
    /// was checked.
    pub authentic_to: u64,
    /// What was changed since it was written. Empty when all is well.
    pub damage: Vec<Finding<Damage>>,
    /// What is worth knowing, and no damage.
    pub notes: Vec<Finding<Note>>,
    /// Whether the line that was asked for is there.
    #[serde(skip)]
    pub has_sought: bool,
}

/// Something at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding<T> {
    /// The file.
    pub file: PathBuf,
    /// The row in it, counted from 1.
    pub row: u64,
    /// What.
    #[serde(flatten)]
    pub what: T,
}

/// What was changed since it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Damage {
    /// Lines were taken out, or are in a file that is missing.
    Cut {
        /// The first.
        from: u64,
        /// The last.
        to: u64,
    },
    /// The end was taken off.
    Truncated {
        /// The first line that is missing.
        from: u64,
        /// The last that is known to have been there.
        to: u64,
    },
    /// A line does not have the hash that the next one or the checkpoint holds.
    Changed {
        /// Its number.
        line: u64,
    },
    /// A line stands out of its order, or a second time.
    Reordered {
        /// Its number.
        line: u64,
    },
    /// Rows are not lines of the audit.
    Unreadable {
        /// How many.
        rows: u64,
    },
    /// A mark was not made under the master key.
    Forged {
        /// The number of its line.
        line: u64,
        /// Why it is not taken.
        why: String,
    },
    /// A file does not begin with its first line.
    NoBeginning {
        /// The line that it begins with.
        line: u64,
    },
    /// jwksd went on although lines that were on the disk are missing, or may be.
    Broken {
        /// The number of its line about that.
        line: u64,
        /// What it found.
        reason: String,
    },
    /// A file was written by a newer version, whose rules are not known.
    NewerFormat {
        /// Its format.
        format: u64,
    },
    /// The checkpoint beside the file is missing or not ours, so a missing end would not show.
    NoCheckpoint,
}

/// What is worth knowing, and no damage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Note {
    /// The lines before are in files that were not given.
    BeginsLate {
        /// The first line that is here.
        line: u64,
    },
    /// Rows that a crash left.
    Remnant {
        /// How many, with those of the chain that come after the first that is not.
        rows: u64,
    },
    /// jwksd resumed, and said why.
    Resumed {
        /// With which line.
        line: u64,
        /// Why.
        reason: String,
    },
    /// The last row of a file has no end: it is being written, or a crash cut it off.
    Unfinished,
    /// Marks under a master key that is not the one given; the mark of a change of the master key, or
    /// the handover to it, vouches for all lines before it.
    FormerKey {
        /// The id of that key.
        id: String,
        /// The line of the first such mark.
        from: u64,
        /// The line of the last.
        to: u64,
        /// The line that vouches for them, or the last before the handover.
        by: u64,
    },
    /// One half of the checkpoint is not ours: a power cut tore it, or something changed it, and the
    /// line that it named may be missing.
    TornCheckpoint,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { from, to } => {
                write!(f, "cut: {} missing before this row", lines(*from, *to))
            }
            Self::Truncated { from, to } => {
                write!(f, "truncated: {} missing at the end", lines(*from, *to))
            }
            Self::Changed { line } => {
                write!(f, "changed: line {line} is not what it was when it was written")
            }
            Self::Reordered { line } => {
                write!(f, "reordered: line {line} is out of its order, or here a second time")
            }
            Self::Unreadable { rows: 1 } => {
                write!(f, "unreadable: this row is no line of the audit")
            }
            Self::Unreadable { rows } => {
                write!(f, "unreadable: {rows} rows from here are no lines of the audit")
            }
            Self::Forged { line, why } => write!(f, "forged: the mark in line {line}: {why}"),
            Self::NoBeginning { line } => {
                write!(f, "cut: the file begins with line {line}, not with its own first line")
            }
            Self::Broken { line, reason } => {
                write!(f, "broken: jwksd says in line {line}: {reason}")
            }
            Self::NewerFormat { format } => {
                write!(f, "format {format} is newer than this version of jwksd knows")
            }
            Self::NoCheckpoint => write!(
                f,
                "the checkpoint file beside the audit is missing, or not written under this master \
                 key: whether the end is missing cannot be told"
            ),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BeginsLate { line } => {
                write!(f, "line {line} is the first here: earlier ones are in other files")
            }
            Self::Remnant { rows } => write!(f, "a crash left {rows} rows up to here"),
            Self::Resumed { line, reason } => write!(f, "jwksd resumed with line {line}: {reason}"),
            Self::Unfinished => write!(f, "this row has no end"),
            Self::FormerKey { id, from, to, by } => write!(
                f,
                "the marks in {} made under the master key {id}, which was replaced: that nothing was \
                 changed up to line {by} rests on the change of the key there",
                lines(*from, *to)
            ),
            Self::TornCheckpoint => write!(
                f,
                "one half of the checkpoint was torn by a power cut, or changed: the line that it \
                 named may be missing"
            ),
        }
    }
}

fn lines(from: u64, to: u64) -> String {
    if from == to { format!("line {from} is") } else { format!("lines {from} to {to} are") }
}
