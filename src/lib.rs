//! `jwksd` makes signing keys on a schedule, publishes their public halves as a JWK Set, and signs
//! for internal callers. The private halves never leave it.
//!
//! This library is the daemon without its command line, so that tests can start it whole. A sign
//! request passes [`http::internal`], [`custody`] and `jwksd_keystore::ring`; a rotation is one
//! step of the [`rotator`]. [`server`] is the only place that wires.

pub mod administration;
pub mod api;
pub mod audit;
pub mod claims;
pub mod client;
pub mod clock;
pub mod config;
pub mod custody;
pub mod descriptors;
pub mod duration;
pub mod errands;
pub mod escape;
pub mod fetchers;
pub mod folder;
pub mod gate;
pub mod health;
pub mod hosts;
pub mod http;
pub mod incident;
pub mod json;
pub mod limits;
pub mod listeners;
pub mod log;
pub mod master_key;
pub mod memory;
pub mod metrics;
pub mod new_file;
pub mod outlook;
pub mod pki;
pub mod plan;
pub mod policy;
pub mod pool;
pub mod restore;
pub mod rings;
pub mod rotator;
pub mod san;
pub mod secret_file;
pub mod server;
pub mod sink;
pub mod supervise;
pub mod threads;
pub mod tls;
pub mod verifiers;
pub mod view;
