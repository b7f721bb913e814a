//! The rules, the cryptography, the sealing and the storage of `jwksd`.
//!
//! This crate knows no network, no async runtime, no clock and no environment: `now` is always an
//! argument, and rules return decisions that someone else carries out. Its modules depend on each
//! other only downward, in this order: [`ring`], [`store`], [`seal`], [`import`], [`export`], `second_opinion`,
//! [`crypto`], [`key`], [`jwk`], [`lifecycle`], [`facts`],
//! [`schedule`], [`algorithm`]; [`planted`] is asked by tests.

pub mod algorithm;
pub mod crypto;
pub mod export;
pub mod facts;
pub mod id;
pub mod import;
pub mod jwk;
pub mod key;
pub mod lifecycle;
pub mod planted;
pub mod ring;
pub mod schedule;
pub mod seal;
mod second_opinion;
pub mod store;
pub mod time;

pub use second_opinion::SecondOpinionError;
