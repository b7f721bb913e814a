//! What things are called: key sets, keys, and states of a key set.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of a key set: 1 to 63 characters of `a-z`, `0-9` and `-`, none of the names that the
/// daemon serves itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
// Shared: each set is in a dozen tables, and each table would have a text of its own to look at.
pub struct KeysetName(Arc<str>);

/// Names that a key set cannot have: the first segments of the daemon's own paths.
pub const RESERVED_NAMES: [&str; 4] = ["v1", "healthz", "readyz", "metrics"];

/// A `kid` (RFC 7517, section 4.5): 1 to 128 characters that need no escape in JSON or a URL path,
/// and no dot segment (RFC 3986, section 5.2.4), which HTTP clients take out of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(Arc<str>);

/// How often a key set was committed.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// A name that cannot be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// Not a name of a key set.
    #[error("{0:?} is not a key set's name: use 1 to 63 of a-z, 0-9 and -")]
    Keyset(String),
    /// The daemon serves something else there.
    #[error("{0:?} cannot be a key set's name: the daemon serves something else there")]
    Reserved(String),
    /// Not a kid.
    #[error("not a kid: use 1 to 128 of A-Z, a-z, 0-9 and . _ ~ - (but not . or ..)")]
    KeyId,
}

impl KeysetName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeysetName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        name.parse()
    }
}

impl std::str::FromStr for KeysetName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if !(1..=63).contains(&name.len()) || !name.bytes().all(allowed) {
            Err(NameError::Keyset(name.chars().take(80).collect()))
        } else if RESERVED_NAMES.contains(&name) {
            Err(NameError::Reserved(name.to_owned()))
        } else {
            Ok(Self(name.into()))
        }
    }
}

impl From<KeysetName> for String {
    fn from(name: KeysetName) -> Self {
        name.as_str().to_owned()
    }
}

impl fmt::Display for KeysetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl KeyId {
    /// The kid as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyId {
    type Error = NameError;

    fn try_from(kid: String) -> Result<Self, NameError> {
        kid.parse()
    }
}

impl std::str::FromStr for KeyId {
    type Err = NameError;

    fn from_str(kid: &str) -> Result<Self, NameError> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._~-".contains(&c);
        let is_dots = kid == "." || kid == "..";
        if (1..=128).contains(&kid.len()) && kid.bytes().all(allowed) && !is_dots {
            Ok(Self(kid.into()))
        } else {
            Err(NameError::KeyId)
        }
    }
}

impl From<KeyId> for String {
    fn from(kid: KeyId) -> Self {
        kid.as_str().to_owned()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Revision {
    /// The revision that the next commit makes.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keyset_name_fits_into_a_url_path() {
        for good in ["default", "a", "tenant-42", &"x".repeat(63)] {
            assert!(good.parse::<KeysetName>().is_ok(), "{good}");
        }
        for bad in ["", "Default", "a b", "a/b", "ä", &"x".repeat(64), "v1", "metrics"] {
            assert!(bad.parse::<KeysetName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_kid_needs_no_escape() {
        assert!("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".parse::<KeyId>().is_ok());
        for bad in ["", "a b", "a\"", "a/b", "../x?", &"x".repeat(129)] {
            assert!(bad.parse::<KeyId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_kid_is_no_dot_segment_that_a_client_takes_out_of_a_path() {
        for bad in [".", ".."] {
            assert!(bad.parse::<KeyId>().is_err(), "{bad}");
        }
        for good in ["...", ".a", "a..", "-"] {
            assert!(good.parse::<KeyId>().is_ok(), "{good}");
        }
    }
}
