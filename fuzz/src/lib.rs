//! What is fuzzed: one module for each target, each with one function `run`, which panics when an
//! input breaks what must hold of it. `fuzz_targets` feeds them from libFuzzer, and `tests/fuzz` of
//! the daemon's crate from the committed corpora, so this depends on nothing but what both have.

pub mod audit;
pub mod batch;
pub mod config;
pub mod cron;
mod daemon;
pub mod duration;
mod import;
pub mod import_jwk;
pub mod import_pem;
mod input;
pub mod jwk;
pub mod routes;
pub mod sealed;
pub mod sign;
pub mod tls;
mod token;

/// Stops what targets keep between inputs. To be called at the end of a thread that called one.
pub fn stop() {
    daemon::stop();
}
