//! PURE: for how long something lasts at a verifier.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jwksd_keystore::facts::Span;
use jwksd_keystore::time::Time;
use serde::{Serialize, Serializer};

/// For how long at the longest; from the best to the worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lasting {
    /// Not at all.
    NotAtAll,
    /// For so long.
    For(Duration),
    /// Until a token comes whose kid it does not know, or it is restarted.
    UntilUnknownKid,
    /// Until it is restarted.
    UntilRestart,
}

impl Lasting {
    /// [`Lasting::NotAtAll`] where nothing of the time is left.
    #[must_use]
    pub fn of(span: Duration) -> Self {
        if span.is_zero() { Self::NotAtAll } else { Self::For(span) }
    }

    /// When it is over, where that is by itself.
    #[must_use]
    pub fn until(self, from: Time) -> Option<Time> {
        match self {
            Self::NotAtAll => Some(from),
            Self::For(span) => Some(from + span),
            Self::UntilUnknownKid | Self::UntilRestart => None,
        }
    }

    /// Longer by this, where there was anything to lengthen.
    #[must_use]
    pub fn and(self, more: Duration) -> Self {
        match self {
            Self::NotAtAll => Self::of(more),
            Self::For(span) => Self::For(span + more),
            Self::UntilUnknownKid | Self::UntilRestart => self,
        }
    }
}

/// What lasts equally long together, each in the order in which it came; the longest first.
pub fn grouped<L: Ord, T>(lasting: impl IntoIterator<Item = (L, T)>) -> Vec<(L, Vec<T>)> {
    let mut groups = BTreeMap::<Reverse<L>, Vec<T>>::new();
    for (lasts, what) in lasting {
        groups.entry(Reverse(lasts)).or_default().push(what);
    }
    groups.into_iter().map(|(Reverse(lasts), alike)| (lasts, alike)).collect()
}

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAtAll => f.write_str("not at all"),
            Self::For(span) => write!(f, "for {}", Span(*span)),
            Self::UntilUnknownKid => f.write_str("until a kid comes that it does not know"),
            Self::UntilRestart => f.write_str("until it is restarted"),
        }
    }
}

impl Serialize for Lasting {
    /// `none`, a duration such as `1h30m`, `until-unknown-kid` or `until-restart`.
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::NotAtAll => output.serialize_str("none"),
            Self::For(span) => output.collect_str(&Span(*span)),
            Self::UntilUnknownKid => output.serialize_str("until-unknown-kid"),
            Self::UntilRestart => output.serialize_str("until-restart"),
        }
    }
}
