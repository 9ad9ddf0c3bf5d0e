//! Two endpoints that are driven by random commands through random weather,
//! beside a reference that knows what should come of it.
//!
//! `make soak` plays many more cases. A case that has failed is kept in
//! `regressions.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on has failed"
)]

mod case;
mod ledger;
mod reference;
mod regressions;
mod run;
mod weather;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestError, TestRunner};

/// How many cases a block of the soak has: it has a seed of its own.
const BLOCK: u32 = 1000;

/// Plays so many cases of one seed, and shrinks one that fails.
fn play(seed: u64, cases: u32) {
    let config = ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let hook = std::panic::take_hook();
    // Only the smallest case is worth reading.
    std::panic::set_hook(Box::new(|_| {}));
    let played = TestRunner::new(config).run(&case::any_case(), |case| {
        run::play(&case);
        Ok(())
    });
    std::panic::set_hook(hook);
    match played {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => panic!("seed {seed}: {why}\n{case:#?}"),
        Err(TestError::Abort(why)) => panic!("seed {seed}: {why}"),
    }
}

#[test]
fn both_sides_end_as_the_reference_says() {
    play(number("CYGNET_MODEL_SEED").unwrap_or(7296), 2000);
}

/// `CYGNET_MODEL_RUNS` cases from `CYGNET_MODEL_SEED` on.
#[test]
#[ignore = "takes long: make soak"]
fn soak() {
    let seed = number("CYGNET_MODEL_SEED").unwrap_or(1);
    let runs = number("CYGNET_MODEL_RUNS").unwrap_or(100_000);
    for block in 0..runs.div_ceil(BLOCK.into()) {
        play(seed + block, BLOCK);
        eprintln!(
            "seed {}: {BLOCK} cases, {} in all",
            seed + block,
            (block + 1) * u64::from(BLOCK)
        );
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}
