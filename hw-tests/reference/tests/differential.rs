//! The queue engine agrees with the reference interpreter on random programs, happenings and interleavings.

#[allow(dead_code, reason = "the strategies of further tests")]
mod strategies;

use std::cell::RefCell;

use coxswain_reference::differential::Coverage;
use coxswain_reference::scenario::{Scenario, Set};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};

/// Plays `cases` scenarios; what they came across.
fn agree(cases: u32, strategy: impl Strategy<Value = Scenario>) -> Coverage {
    let coverage = RefCell::new(Coverage::default());
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let result = TestRunner::new(config).run(&strategy, |scenario| {
        match coxswain_reference::differential::run_beyond_known(&scenario) {
            Ok(seen) => {
                coverage.borrow_mut().merge(&seen);
                Ok(())
            }
            Err(disagreement) => Err(TestCaseError::fail(disagreement.to_string())),
        }
    });
    if let Err(TestError::Fail(reason, scenario)) = result {
        panic!("{reason}\n{scenario}");
    }
    if let Err(failure) = result {
        panic!("{failure}");
    }
    coverage.into_inner()
}

#[test]
fn the_packets_of_every_command_processor() {
    let coverage = agree(3000, strategies::scenarios(Set::BASIC));
    println!("{coverage:?}");
}
