//! Simulated years of the real daemon.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod budget;
mod configuration;
mod daemon;
mod histories;
mod ledger;
mod operation;
mod request;
mod store;
mod verifier;
mod world;
