//! The daemon and its command line from outside: the real binary in a folder of its own, with real
//! sockets, signals and exit codes. What the rules decide is tested where the rules are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod audit;
mod callers;
#[path = "../api/certificates.rs"]
mod certificates;
mod check;
mod daemon;
mod descriptors;
mod documents;
mod export;
mod fetchers;
mod formats;
mod import;
mod incident;
mod keys;
mod logs;
mod memory;
mod notify;
mod output;
mod pki;
mod place;
mod plan;
mod refusals;
mod reload;
mod runbook;
mod secrets;
mod signals;
mod sink;
mod start;
mod status;
mod store;
mod tls;
mod upgrades;
