//! Simulated years of the real daemon: lifecycle, rotator, rings, gate, audit, files and a store, under a
//! manual clock, without sockets; with admins, callers, attackers, the verifiers of the catalogue, and what
//! goes wrong. After each operation, and at each moment at which something happens by itself, all rules of
//! `world` are judged. The rules of the planner alone have histories of their own, with more of them, in
//! `keystore/src/lifecycle/histories.rs`.
//!
//! What is promised, and no more is asked:
//!
//! - A key that waits signs only after it was served for `publish_ahead`, and when no copy without it can be
//!   about: `jwks_max_age` in a shared cache, then `verifier_cache`. Time in which nothing was served does
//!   not count.
//! - **Every unexpired token of a key that was neither revoked nor retired early verifies** at each verifier whose
//!   [`least_verifier_cache`](jwksd::verifiers::least_verifier_cache) is at most `verifier_cache` when the key begins
//!   to sign, or that goes by `max-age`. A token is unexpired by lifecycle time, which is what retires keys.
//! - After `--now`, a revocation, a first key, and where a set comes back to the configuration, a key may sign at
//!   once. Then a verifier refuses it for no longer than [`refuses`](jwksd::verifiers::refuses) says.
//! - The same is promised to verifiers of a `jwks_file`, which a server hands out with the same `max-age`, also while
//!   the daemon is down; what counts is when the file has the key. Where that is after it began to sign, as after `--now`
//!   while the disk is full, tokens came before, and verifiers refuse it as long as they might behind a shared cache.
//! - Whose last fetch failed, may refuse until it fetches again; and a kid that it missed so, for its own pause.
//! - Tokens with made-up kids, as many as anybody likes, make nobody refuse a key that waited, except for its own
//!   pause one that keeps keys one by one and limits its fetches: made-up kids use them up, as do more keys than it
//!   keeps. For a key that signs at once, that is so for all that limit their fetches.
//! - Where lifecycle time gained more than `clock_skew` on true time, nothing is promised to caches of before. Tokens
//!   that were signed while wall clock and lifecycle time were further apart than that are not judged, nor those
//!   signed later than the lifecycle time at which the next process begins, nor those of a key that a
//!   revocation promoted in memory alone: where it is not known what the store holds, that may be one which the store
//!   has taken out. Of a key that such a revocation took out, and that came back with the next process, verifiers need
//!   not know; but it was served for its wait again.
//! - A rotation is as it was told, unless readiness said that something was not stored yet.
//!
//! `JWKSD_SIMULATION_SEED` and `JWKSD_SIMULATION_CASES` repeat and lengthen; `tests/simulation/run` does both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod audit_device;
mod budget;
mod configuration;
mod daemon;
mod disk;
mod edges;
mod histories;
mod ledger;
mod operation;
mod place;
mod reproductions;
mod request;
mod store;
mod swarm;
mod verifier;
mod world;
