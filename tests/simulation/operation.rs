//! What can happen.

use std::time::Duration;

use jwksd_keystore::lifecycle::Replaceable;
use proptest::prelude::*;

use crate::configuration::changes;
use crate::place::{Attack, Whom};
use crate::store::Fault;

const DAY: Duration = Duration::from_hours(24);

/// Something that happens. A set or a key is picked by a number, of those that there are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    /// Time passes.
    Advance {
        span: Duration,
        rotator: Rotator,
    },
    Rotate {
        set: u8,
        when: When,
        expect: Expect,
    },
    Revoke {
        set: u8,
        key: u8,
    },
    RevokeAll {
        set: u8,
        expect: Expect,
    },
    Retire {
        set: u8,
        key: u8,
    },
    /// A key is brought to the importing key set: a new one, or one that was brought before.
    Import {
        key: Brought,
        may_replace: Replaceable,
    },
    /// A public key of others is brought there.
    Trust(Duration),
    /// A key set is taken out of the configuration.
    Remove(u8),
    /// It is put in again.
    PutBack(u8),
    /// The audit's disk is full, until the next process.
    FillAudit,
    /// The disk of the file that the JWK Set is written to is full.
    FillDisk,
    /// It has room again.
    EmptyDisk,
    /// The last request is sent once more, as after a lost answer.
    Retry,
    /// One fact changes.
    Reload {
        set: u8,
        field: usize,
        value: usize,
    },
    /// The process is stopped, and started after a while.
    Restart(Duration),
    /// The same, but it is killed.
    Kill(Duration),
    /// What becomes of the next commit.
    Fault(Fault),
    /// The next load fails.
    FailLoad,
    /// The process is killed at the next load: before a step, or between two.
    CrashAtLoad,
    /// The next load sees half of a commit.
    TearLoad,
    /// The store answers nothing.
    SilenceStore,
    /// The store is well, and so it stays for minutes.
    MendStore,
    /// Somebody sets the wall clock.
    SetClock(Step),
    /// One verifier of each key set forgets what it has.
    RestartVerifiers(u8),
    /// Fetches fail: of one verifier of each key set, of all, or of the caches before them.
    CutOff(Whom),
    /// Everybody gets through again.
    Connect,
    /// Somebody begins, or ends, to send made-up kids to all verifiers, before each good token.
    Attack(Attack),
}

/// Which key is brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    New,
    Again(u8),
}

/// By how much the wall clock is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Ahead(Duration),
    Back(Duration),
}

/// Whether the rotator gets a processor while time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rotator {
    Wakes,
    Sleeps,
}

/// When an admin wants a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Waited,
    In(Duration),
    Now,
}

/// Which key an admin believes to sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    /// The one that does.
    Active,
    /// One that did, or will.
    Another(u8),
}

pub(crate) fn spans() -> impl Strategy<Value = Duration> {
    prop_oneof![
        2 => (1_u64..600).prop_map(Duration::from_secs),
        3 => (1_u64..48).prop_map(Duration::from_hours),
        3 => (1_u32..40).prop_map(|days| DAY * days),
        1 => (40_u32..200).prop_map(|days| DAY * days),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let spans = || prop_oneof![(1_u64..120).prop_map(Duration::from_secs), spans()];
    prop_oneof![spans().prop_map(Step::Ahead), spans().prop_map(Step::Back)]
}

fn expects() -> impl Strategy<Value = Expect> {
    prop_oneof![9 => Just(Expect::Active), 1 => any::<u8>().prop_map(Expect::Another)]
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Fails),
        Just(Fault::IsUnknown),
        Just(Fault::FailsButPersists),
        Just(Fault::Conflicts),
        Just(Fault::SilentBefore),
        Just(Fault::SilentAfter),
        Just(Fault::CrashBefore),
        Just(Fault::CrashAfter),
        (1_u16..4000).prop_map(Fault::Slow),
        (1_u16..4000).prop_map(Fault::SlowToSay),
    ]
}

fn cuts() -> impl Strategy<Value = Whom> {
    prop_oneof![
        1 => Just(Whom::Everyone),
        1 => Just(Whom::SharedCache),
        2 => any::<u8>().prop_map(Whom::One),
    ]
}

fn imports() -> impl Strategy<Value = Operation> {
    let keys = prop_oneof![Just(Brought::New), any::<u8>().prop_map(Brought::Again)];
    let may_replace = prop_oneof![3 => Just(Replaceable::NotExported), 1 => Just(Replaceable::Any)];
    (keys, may_replace).prop_map(|(key, may_replace)| Operation::Import { key, may_replace })
}

pub(crate) fn operations() -> impl Strategy<Value = Operation> {
    let when = prop_oneof![
        2 => Just(When::Waited),
        1 => spans().prop_map(When::In),
        2 => Just(When::Now)
    ];
    let rotators = prop_oneof![4 => Just(Rotator::Wakes), 1 => Just(Rotator::Sleeps)];
    let key = || (any::<u8>(), any::<u8>());
    prop_oneof![
        16 => (spans(), rotators).prop_map(|(span, rotator)| Operation::Advance { span, rotator }),
        6 => (any::<u8>(), when, expects())
            .prop_map(|(set, when, expect)| Operation::Rotate { set, when, expect }),
        3 => key().prop_map(|(set, key)| Operation::Revoke { set, key }),
        1 => (any::<u8>(), expects()).prop_map(|(set, expect)| Operation::RevokeAll { set, expect }),
        1 => key().prop_map(|(set, key)| Operation::Retire { set, key }),
        3 => Just(Operation::Retry),
        6 => (any::<u8>(), changes())
            .prop_map(|(set, (field, value))| Operation::Reload { set, field, value }),
        2 => spans().prop_map(Operation::Restart),
        2 => spans().prop_map(Operation::Kill),
        6 => faults().prop_map(Operation::Fault),
        1 => Just(Operation::FailLoad),
        1 => Just(Operation::TearLoad),
        1 => Just(Operation::CrashAtLoad),
        1 => Just(Operation::SilenceStore),
        2 => Just(Operation::MendStore),
        2 => steps().prop_map(Operation::SetClock),
        4 => imports(),
        1 => spans().prop_map(Operation::Trust),
        1 => any::<u8>().prop_map(Operation::Remove),
        2 => any::<u8>().prop_map(Operation::PutBack),
        1 => Just(Operation::FillAudit),
        1 => Just(Operation::FillDisk),
        2 => Just(Operation::EmptyDisk),
        2 => any::<u8>().prop_map(Operation::RestartVerifiers),
        2 => cuts().prop_map(Operation::CutOff),
        2 => Just(Operation::Connect),
        1 => Just(Operation::Attack(Attack::GoesOn)),
        1 => Just(Operation::Attack(Attack::IsOver)),
    ]
}
