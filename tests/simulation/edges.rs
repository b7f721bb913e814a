//! Histories that come as close as can be to what a rule forbids, where chance rarely does. Each was written
//! for a planted fault (docs/simulation.md), and breaks that rule with it.

use std::time::Duration;

use jwksd_keystore::lifecycle::Replaceable;

use crate::configuration::{Choice, First, Role};
use crate::operation::{Brought, Expect, Operation, Rotator, When};
use crate::store::Fault;
use crate::world::World;

const HOUR: Duration = Duration::from_hours(1);

fn holds(role: Role, choice: Choice, operations: &[Operation]) {
    let mut world = World::new(&[(role, choice)], First::Generated);
    for operation in operations {
        world.run(operation);
        assert!(!world.is_broken(), "{:#?}", world.broken);
    }
}

/// A wait of 16 minutes.
fn short_wait() -> Choice {
    Choice::USUAL.with_named("verifier_cache", "10m")
}

fn rotate(when: When) -> Operation {
    Operation::Rotate { set: 0, when, expect: Expect::Active }
}

fn advance(span: Duration) -> Operation {
    Operation::Advance { span, rotator: Rotator::Wakes }
}

#[test]
fn a_key_that_is_made_soon_after_the_max_age_was_lowered_waits_for_the_copies_of_before() {
    // To 5m; caches of before hand out copies for five hours, and verifiers keep those as long.
    let lower = Operation::Reload { set: 0, field: 1, value: 0 };
    holds(
        Role::Plain,
        short_wait().with_named("jwks_max_age", "5h"),
        &[lower, rotate(When::Now), rotate(When::Waited), advance(HOUR)],
    );
}

#[test]
fn a_key_that_a_slow_commit_created_waits_from_when_it_was_served() {
    // The rotation itself is quick; then comes the commit with the next standby.
    let slow = [1, 3600].map(|seconds| Operation::Fault(Fault::Slow(seconds)));
    let rotations = [rotate(When::Now), rotate(When::Waited), advance(HOUR)];
    holds(Role::Plain, short_wait(), &[slow.as_slice(), &rotations].concat());
}

#[test]
fn while_it_is_not_known_whether_the_standby_was_replaced_it_does_not_begin_to_sign() {
    // It was replaced, and the store says nothing any more until it would long have begun.
    holds(
        Role::Importing,
        short_wait(),
        &[
            rotate(When::Waited),
            Operation::Fault(Fault::SilentAfter),
            Operation::Import { key: Brought::New, may_replace: Replaceable::Any },
            advance(HOUR),
            Operation::MendStore,
            advance(HOUR),
        ],
    );
}

#[test]
fn no_token_has_a_longer_lifetime_before_that_is_durable() {
    let longer = Choice::USUAL.with_named("max_token_ttl", "24h");
    assert_eq!(longer, Choice::USUAL.with(3, 2));
    let raise = Operation::Reload { set: 0, field: 3, value: 2 };
    holds(Role::Plain, Choice::USUAL, &[Operation::Fault(Fault::Fails), raise, advance(HOUR)]);
}
