//! Histories that differ in kind: each leaves some kinds of operations out, and has a pace of its own. What takes
//! several rare operations in a row comes up more often so than where each history has a little of
//! everything.

use std::time::Duration;

use proptest::prelude::*;

use crate::operation::{Operation, When, operations};
use crate::place::Attack;

/// How fast time passes.
#[derive(Clone, Copy, Debug)]
enum Pace {
    Usual,
    /// Days are hours: more happens while a key waits.
    Quick,
}

/// Histories of less than so many operations.
pub(crate) fn histories(longest: usize) -> impl Strategy<Value = Vec<Operation>> {
    let paces = prop_oneof![Just(Pace::Usual), Just(Pace::Quick)];
    let drawn = prop::collection::vec(operations(), 1..2 * longest);
    (any::<u16>(), paces, drawn).prop_map(move |(kinds, pace, drawn)| {
        let is_in = |operation: &Operation| kind(operation).is_none_or(|it| kinds & 1 << it != 0);
        let kept = drawn.into_iter().filter(is_in).take(longest);
        kept.map(|operation| pace.of(operation)).collect()
    })
}

/// What is left out together; `None` of what every history has.
const fn kind(operation: &Operation) -> Option<u32> {
    match operation {
        Operation::Advance { .. }
        | Operation::Rotate { .. }
        | Operation::MendStore
        | Operation::EmptyDisk
        | Operation::Connect
        | Operation::Attack(Attack::IsOver) => None,
        Operation::Revoke { .. } | Operation::RevokeAll { .. } => Some(0),
        Operation::Retire { .. } => Some(1),
        Operation::Import { .. } | Operation::Trust(_) => Some(2),
        Operation::Remove(_) | Operation::PutBack(_) => Some(3),
        Operation::FillAudit => Some(4),
        Operation::FillDisk => Some(5),
        Operation::Retry => Some(6),
        Operation::Reload { .. } => Some(7),
        Operation::Restart(_) | Operation::Kill(_) => Some(8),
        Operation::Fault(_) => Some(9),
        Operation::FailLoad | Operation::TearLoad | Operation::CrashAtLoad => Some(10),
        Operation::SilenceStore => Some(11),
        Operation::SetClock(_) => Some(12),
        Operation::RestartVerifiers(_) => Some(13),
        Operation::CutOff(_) => Some(14),
        Operation::Attack(Attack::GoesOn) => Some(15),
    }
}

impl Pace {
    fn of(self, operation: Operation) -> Operation {
        match operation {
            Operation::Advance { span, rotator } => {
                Operation::Advance { span: self.span(span), rotator }
            }
            Operation::Rotate { set, when: When::In(span), expect } => {
                Operation::Rotate { set, when: When::In(self.span(span)), expect }
            }
            Operation::Restart(span) => Operation::Restart(self.span(span)),
            Operation::Kill(span) => Operation::Kill(self.span(span)),
            other => other,
        }
    }

    fn span(self, span: Duration) -> Duration {
        match self {
            Self::Usual => span,
            Self::Quick => Duration::from_secs(span.as_secs().div_ceil(24)),
        }
    }
}
