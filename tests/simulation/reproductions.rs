//! Histories that broke a rule once.

use std::time::Duration;

use jwksd_keystore::lifecycle::Replaceable;

use crate::configuration::{Choice, First, Role};
use crate::operation::{Brought, Expect, Operation, Rotator, Step, When};
use crate::store::Fault;
use crate::world::World;

const DAY: Duration = Duration::from_hours(24);

fn holds(choice: Choice, operations: &[Operation]) {
    holds_of(Role::Plain, choice, operations);
}

fn holds_of(role: Role, choice: Choice, operations: &[Operation]) {
    holds_in(World::new(&[(role, choice)], First::Generated), operations);
}

fn holds_in(mut world: World, operations: &[Operation]) {
    for operation in operations {
        world.run(operation);
        assert!(!world.is_broken(), "{:#?}", world.broken);
    }
}

#[test]
fn a_start_that_took_long_counts_also_where_that_cannot_be_stored() {
    // The ten minutes are known after the first commit, and the next one fails until the key is due.
    holds(
        Choice::USUAL,
        &[
            Operation::Fault(Fault::Slow(600)),
            Operation::Fault(Fault::Fails),
            Operation::Restart(8 * DAY),
            Operation::Advance { span: 2 * DAY, rotator: Rotator::Sleeps },
        ],
    );
}

#[test]
fn a_start_that_takes_longer_than_the_rest_of_a_wait_lets_no_key_sign_unserved() {
    // Weekly, and a wait of 16 minutes, which are over when the first commit is done.
    let weekly =
        Choice::USUAL.with_named("rotate", "0 3 * * MON").with_named("verifier_cache", "10m");
    holds(weekly, &[Operation::Fault(Fault::Slow(960)), Operation::Restart(DAY)]);
}

#[test]
fn a_key_that_was_revoked_in_memory_alone_counts_no_time_as_served_until_it_is_back() {
    // The standby is to sign after 16 minutes. The revocation fails for longer than that, while all else
    // works, and is lost with the process.
    let rotate = Operation::Rotate { set: 0, when: When::Waited, expect: Expect::Active };
    let revoke = Operation::RevokeAll { set: 0, expect: Expect::Active };
    let fails = [Operation::Fault(Fault::Fails); 28];
    let ends = [
        Operation::Advance { span: Duration::from_mins(20), rotator: Rotator::Wakes },
        Operation::Kill(Duration::from_secs(1)),
    ];
    let short_wait = Choice::USUAL.with_named("verifier_cache", "10m");
    holds(short_wait, &[&[rotate], fails.as_slice(), &[revoke], &ends].concat());
}

#[test]
fn a_revocation_of_all_that_waits_for_a_key_when_the_process_ends_lets_no_other_sign_unserved() {
    // The store is well again for a moment only.
    let wakes = |span| Operation::Advance { span, rotator: Rotator::Wakes };
    holds(
        Choice::USUAL,
        &[
            Operation::SilenceStore,
            Operation::RevokeAll { set: 0, expect: Expect::Active },
            Operation::FillAudit,
            wakes(9 * DAY),
            Operation::MendStore,
        ],
    );
}

#[test]
fn a_revocation_promotes_a_standby_that_the_store_may_have_taken_out() {
    // It was replaced, as the store says when it says something again.
    holds_of(
        Role::Importing,
        Choice::USUAL,
        &[
            Operation::Fault(Fault::SilentAfter),
            Operation::Import { key: Brought::New, may_replace: Replaceable::NotExported },
            Operation::Revoke { set: 0, key: 0 },
            Operation::MendStore,
        ],
    );
}

#[test]
fn what_is_made_up_for_does_not_put_off_a_key_that_signs_and_let_the_next_sign_unserved() {
    // The file lacks a key, so nothing counts as served. Meanwhile the other set rotates, and then the
    // daemon is down past its next rotation.
    let advance = |days, rotator| Operation::Advance { span: days * DAY, rotator };
    let operations = [
        Operation::FillDisk,
        advance(20, Rotator::Wakes),
        advance(29, Rotator::Sleeps),
        advance(25, Rotator::Sleeps),
        Operation::Kill(36 * DAY),
    ];
    let sets = [Role::Plain, Role::Filed].map(|role| (role, Choice::USUAL));
    holds_in(World::new(&sets, First::Generated), &operations);
}

#[test]
fn a_revocation_that_is_lost_with_its_process_has_taken_the_key_out_of_the_file() {
    let advance = |seconds| Operation::Advance {
        span: Duration::from_secs(seconds),
        rotator: Rotator::Wakes,
    };
    holds_of(
        Role::Filed,
        Choice::USUAL.with_named("verifier_cache", "10m"),
        &[
            advance(1050),
            Operation::Rotate { set: 0, when: When::Waited, expect: Expect::Active },
            Operation::Fault(Fault::SilentBefore),
            Operation::CrashAtLoad,
            Operation::Revoke { set: 0, key: 55 },
            advance(300),
            Operation::MendStore,
        ],
    );
}

#[test]
fn what_waits_for_the_store_is_tried_again_once_a_clock_that_was_set_back_has_caught_up() {
    holds(
        Choice::USUAL.with_named("clock_skew", "10m"),
        &[
            Operation::SilenceStore,
            Operation::Rotate { set: 0, when: When::Waited, expect: Expect::Active },
            Operation::Advance { span: Duration::from_secs(1), rotator: Rotator::Wakes },
            Operation::SetClock(Step::Back(Duration::from_secs(61))),
            Operation::MendStore,
        ],
    );
}

#[test]
fn a_key_that_signs_at_once_was_fetched_by_true_time_whatever_the_clock_gained() {
    holds(
        Choice::USUAL.with_named("verifier_cache", "10m").with_named("max_token_ttl", "15m"),
        &[
            Operation::Advance { span: 40 * DAY, rotator: Rotator::Wakes },
            Operation::SetClock(Step::Ahead(Duration::from_secs(25))),
            Operation::Rotate { set: 0, when: When::Now, expect: Expect::Active },
            Operation::Advance { span: Duration::from_secs(547), rotator: Rotator::Wakes },
        ],
    );
}

/// The standby is to sign after 16 minutes, and those pass within the first commit of a start; that nothing was
/// served meanwhile cannot be stored at first.
fn while_its_turn_came_unserved(faults: &[Fault], then: &[Operation]) {
    let rotate = Operation::Rotate { set: 0, when: When::Waited, expect: Expect::Active };
    let faults = [&[Fault::Slow(1200)], faults].concat();
    let restart = Operation::Restart(Duration::from_secs(1));
    let faults: Vec<_> = faults.into_iter().map(Operation::Fault).collect();
    let short_wait = Choice::USUAL.with_named("verifier_cache", "10m");
    holds_of(Role::Importing, short_wait, &[&[rotate], &faults[..], &[restart], then].concat());
}

#[test]
fn a_revoked_standby_whose_turn_came_unserved_ends_no_signer() {
    while_its_turn_came_unserved(&[Fault::Fails], &[Operation::Revoke { set: 0, key: 1 }]);
}

#[test]
fn a_standby_whose_turn_comes_before_its_revocation_is_durable_ends_no_signer() {
    holds(
        Choice::USUAL.with_named("verifier_cache", "10m"),
        &[
            Operation::Rotate { set: 0, when: When::Waited, expect: Expect::Active },
            Operation::SilenceStore,
            Operation::Revoke { set: 0, key: 1 },
            Operation::Advance { span: Duration::from_mins(20), rotator: Rotator::Wakes },
            Operation::MendStore,
            Operation::Advance { span: Duration::from_mins(20), rotator: Rotator::Wakes },
        ],
    );
}

#[test]
fn a_signer_that_is_revoked_when_the_turn_of_the_next_came_unserved_has_a_successor() {
    let revoke = Operation::Revoke { set: 0, key: 0 };
    while_its_turn_came_unserved(&[Fault::Fails, Fault::Slow(1), Fault::Fails], &[revoke]);
}

#[test]
fn a_key_whose_turn_came_unserved_is_not_taken_for_the_signer_by_a_command() {
    let import = Operation::Import { key: Brought::New, may_replace: Replaceable::Any };
    let rotate = Operation::Rotate { set: 0, when: When::Waited, expect: Expect::Another(1) };
    for command in [import, rotate] {
        while_its_turn_came_unserved(&[Fault::Fails, Fault::Fails], &[command]);
    }
}

#[test]
fn a_key_whose_turn_came_unserved_does_not_sign_while_it_is_in_doubt_whether_that_is_stored() {
    for fault in [Fault::SilentBefore, Fault::SilentAfter] {
        while_its_turn_came_unserved(&[fault], &[Operation::MendStore]);
    }
    let soon = Operation::Advance { span: Duration::from_secs(1), rotator: Rotator::Wakes };
    for fault in [Fault::IsUnknown, Fault::FailsButPersists] {
        while_its_turn_came_unserved(&[Fault::Fails, fault, Fault::Slow(60)], &[soon]);
    }
}

#[test]
fn copies_are_kept_by_the_verifier_cache_that_was_stated_when_they_were_handed_out_last() {
    let lower = |field| Operation::Reload { set: 0, field, value: 0 };
    let advance =
        |hours| Operation::Advance { span: Duration::from_hours(hours), rotator: Rotator::Wakes };
    let rotate = Operation::Rotate { set: 0, when: When::Waited, expect: Expect::Active };
    holds(
        Choice::USUAL.with_named("jwks_max_age", "5h").with_named("verifier_cache", "96h"),
        &[lower(2), advance(7 * 24), lower(1), advance(44), rotate, advance(4)],
    );
}
