//! How much is simulated, and from which seed: from the environment, so that a longer run and a
//! repeated one are the same test.

use std::num::NonZeroU32;

use jwksd_keystore::crypto;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// How many histories are run, and what they come from.
pub(crate) struct Budget {
    pub(crate) seed: u64,
    pub(crate) cases: u32,
}

impl Budget {
    /// As `JWKSD_SIMULATION_SEED` and `JWKSD_SIMULATION_CASES` say; else any seed, and `cases`.
    pub(crate) fn of_environment(cases: u32) -> Self {
        let seed = variable("JWKSD_SIMULATION_SEED").map(|seed| seed.parse().unwrap());
        let asked = variable("JWKSD_SIMULATION_CASES");
        let asked = asked.map(|asked| asked.parse::<NonZeroU32>().unwrap().get());
        let any = || u64::from_le_bytes(*crypto::random::<8>().unwrap());
        Self { seed: seed.unwrap_or_else(any), cases: asked.unwrap_or(cases) }
    }

    /// What makes the histories, and makes one that broke a rule as short as it can be.
    pub(crate) fn runner(&self) -> TestRunner {
        let config = Config { cases: self.cases, failure_persistence: None, ..Config::default() };
        TestRunner::new_with_rng(config, self.rng())
    }

    /// What chance there is.
    pub(crate) fn rng(&self) -> TestRng {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.seed.to_le_bytes());
        TestRng::from_seed(RngAlgorithm::ChaCha, &seed)
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever runs a test has no other way to say more")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
