//! The real application from outside: its listeners, with a manual clock and a store that can
//! fail. Nothing here sleeps.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod admin;
mod algorithms;
mod app;
mod audit;
mod batch;
mod certificates;
mod console;
mod dialer;
mod disk;
mod export;
mod faults;
mod fetchers;
mod growth;
mod guard;
mod http;
mod import;
mod incident;
mod internal;
mod lifetime;
mod limits;
mod matrix;
mod metrics;
mod news;
mod openapi;
mod patience;
mod plan;
mod public;
mod readiness;
mod request_ids;
mod restore;
mod sink;
mod supervision;
mod tls;
mod token;
mod verifiers;
mod wire;
