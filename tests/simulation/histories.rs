//! Random histories: many short ones, which are made shorter where a rule breaks, and a century.

use std::cell::Cell;
use std::time::Duration;

use jwksd::clock::{Clock, SystemClock};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use crate::budget::Budget;
use crate::configuration::{Choice, First, Role, choices};
use crate::operation::{Operation, operations};
use crate::swarm::histories;
use crate::world::World;

const DAY: Duration = Duration::from_hours(24);
const YEAR: Duration = Duration::from_hours(24 * 365);

/// How many histories `cargo test` runs.
const CASES: u32 = 40;

fn tell(budget: &Budget, operations: u64, simulated: Duration, began: Duration) {
    let took = SystemClock.since_boot().saturating_sub(began);
    let (days, seed) = (simulated.as_secs() / DAY.as_secs(), budget.seed);
    let years = (days / 365, days % 365);
    println!(
        "simulated {} years and {} days, {operations} operations, in {took:.1?}; \
         JWKSD_SIMULATION_SEED={seed}",
        years.0, years.1
    );
}

#[test]
fn no_history_breaks_a_rule() {
    let (budget, began) = (Budget::of_environment(CASES), SystemClock.since_boot());
    let (count, simulated) = (Cell::new(0), Cell::new(Duration::ZERO));
    let first = prop_oneof![4 => Just(First::Generated), 1 => Just(First::Imported)];
    let histories = (choices(), choices(), first, histories(60));
    let outcome = budget.runner().run(&histories, |(one, other, first, operations)| {
        let sets = [(Role::Plain, one), (Role::Importing, other), (Role::Filed, one)];
        let mut world = World::new(&sets, first);
        for operation in &operations {
            world.run(operation);
            if let Some(why) = world.broken.first() {
                return Err(TestCaseError::fail(why.clone()));
            }
        }
        count.set(count.get() + world.operations);
        simulated.set(simulated.get() + world.age());
        Ok(())
    });
    tell(&budget, count.get(), simulated.get(), began);
    if let Err(error) = outcome {
        panic!("{error}\nJWKSD_SIMULATION_SEED={}", budget.seed);
    }
}

#[test]
fn a_century_breaks_no_rule() {
    let (budget, began) = (Budget::of_environment(1), SystemClock.since_boot());
    let mut runner = TestRunner::new_with_rng(Config::default(), budget.rng());
    let (operations, mut latest) = (operations(), Vec::new());
    let sets = [Role::Plain, Role::Importing].map(|role| (role, Choice::USUAL));
    let mut world = World::new(&sets, First::Generated);
    while world.age() < 100 * YEAR {
        let operation: Operation = operations.new_tree(&mut runner).unwrap().current();
        latest.push(operation);
        world.run(&operation);
        if let Some(why) = world.broken.first() {
            let latest = &latest[latest.len().saturating_sub(20)..];
            panic!("{why}\nJWKSD_SIMULATION_SEED={}\nat last {latest:#?}", budget.seed);
        }
    }
    tell(&budget, world.operations, world.age(), began);
}
