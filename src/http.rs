//! The HTTP side of the listeners. Each submodule exports one `configure`.

pub mod admin;
pub mod batch;
mod body;
mod browser;
pub mod connection;
mod console;
pub mod guard;
pub mod health;
pub mod identity;
mod import;
pub mod internal;
pub mod metrics;
pub mod openapi;
pub mod problem;
pub mod public;
mod query;
pub mod room;
pub mod routes;

/// The largest body that any path takes, but for batches; and the largest request in a batch.
pub const BODY_LIMIT: usize = 64 * 1024;

/// The largest body of an import: a key file of 64 KiB, with what JSON makes of its line breaks, and
/// a passphrase.
pub const IMPORT_BODY_LIMIT: usize = 192 * 1024;

/// The largest body of a batch: more than a kilobyte for each of 1,000 requests. Its answer may be
/// 8 MiB: the claims in base64, claims that a grant forces, and up to 6.3 KiB of header, signature
/// and `kid` for each, which is ML-DSA-87; of RSA and ECDSA it is up to 2.5 MiB.
pub const BATCH_BODY_LIMIT: usize = 1024 * 1024;
