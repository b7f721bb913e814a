//! Histories that broke a rule once.

use std::time::Duration;

use crate::configuration::{Choice, First, Role};
use crate::operation::{Operation, Rotator};
use crate::store::Fault;
use crate::world::World;

const DAY: Duration = Duration::from_hours(24);

fn holds(choice: Choice, operations: &[Operation]) {
    let mut world = World::new(&[(Role::Plain, choice)], First::Generated);
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
