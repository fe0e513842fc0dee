//! The queue engine agrees with the reference interpreter on random programs, happenings and interleavings.

mod strategies;

use std::cell::RefCell;

use coxswain_abi::regs::qman::cause;
use coxswain_reference::differential::{Coverage, run, run_bytes};
use coxswain_reference::scenario::{Scenario, Set};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// Environment variable: how many times as many scenarios are played, 1 by default.
const FACTOR: &str = "COXSWAIN_SCENARIOS";

/// Environment variable: any value = other scenarios at each run, for a search; without it every run plays the same ones.
const RANDOM: &str = "COXSWAIN_RANDOM";

/// A runner that repeats itself, unless a search is asked for.
fn runner(config: Config) -> TestRunner {
    if std::env::var_os(RANDOM).is_some() {
        return TestRunner::new(config);
    }
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn factor() -> u32 {
    std::env::var(FACTOR).ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Plays `cases` scenarios; what they came across.
fn agree(cases: u32, strategy: impl Strategy<Value = Scenario>) -> Coverage {
    let coverage = RefCell::new(Coverage::default());
    let factor = std::env::var(FACTOR).ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let config =
        Config { cases: cases * factor, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    let result = runner(config).run(&strategy, |scenario| match run(&scenario) {
        Ok(seen) => {
            coverage.borrow_mut().merge(&seen);
            Ok(())
        }
        Err(disagreement) => Err(TestCaseError::fail(disagreement.to_string())),
    });
    if let Err(TestError::Fail(_, scenario)) = result {
        let scenario = scenario.minimise(&|scenario| run(scenario).is_err());
        panic!("{}\n{scenario}", run(&scenario).expect_err("minimised scenarios fail"));
    }
    result.expect("no scenario is rejected");
    coverage.into_inner()
}

/// Causes that every command processor can raise with the packets of [`Set::BASIC`]; counter 3 is the one that clips.
const CAUSES: u32 = cause::PQF_RD
    | cause::CQF_RD
    | cause::UNDEF_CMD
    | cause::STOP_OP
    | cause::MSG_WR
    | cause::WREG
    | cause::FENCE0_OVF << 3
    | cause::FENCE0_UDF << 3;

/// Reasons to wait without arbiters.
const REASONS: &[&str] = &["nothing", "fence", "engine", "barrier", "lower queue", "stopped", "failed"];

/// The scenarios were about something: these causes and reasons to wait came up.
fn assert_covers(coverage: &Coverage, causes: u32, waiting: &[&str]) {
    assert_eq!(coverage.causes & causes, causes, "{coverage:?}");
    for reason in waiting {
        assert!(coverage.waiting.contains(reason), "no stream waited for {reason}: {coverage:?}");
    }
}

#[test]
fn the_engine_agrees_on_the_packets_that_every_command_processor_has() {
    let coverage = agree(3000, strategies::scenarios(Set::BASIC));
    assert_covers(&coverage, CAUSES, REASONS);
}

#[test]
fn the_engine_agrees_on_all_packets() {
    let coverage = agree(5000, strategies::scenarios(Set::ALL));
    assert_covers(&coverage, CAUSES | cause::CP_RD, REASONS);
}

#[test]
fn the_engine_agrees_on_arbitration() {
    let coverage = agree(3000, strategies::arbitrations(Set::ALL));
    assert_covers(&coverage, 0, &["arbiter"]);
    assert!(coverage.grants > 1000, "{coverage:?}");
}

#[test]
fn the_engine_agrees_on_scenarios_out_of_arbitrary_bytes() {
    let coverage = RefCell::new(Coverage::default());
    let config = Config { cases: 3000 * factor(), failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let bytes = proptest::collection::vec(any::<u8>(), 0..1500);
    runner(config)
        .run(&bytes, |bytes| {
            coverage.borrow_mut().merge(&run_bytes(&bytes));
            Ok(())
        })
        .unwrap();
    let coverage = coverage.into_inner();
    assert_covers(&coverage, cause::UNDEF_CMD | cause::STOP_OP, &["fence", "barrier"]);
    assert!(coverage.writes > 3000, "{coverage:?}");
}
