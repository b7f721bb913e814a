//! The HTTP side of the three listeners. Each submodule exports one `configure`.

pub mod admin;
mod batch;
pub mod health;
pub mod identity;
pub mod internal;
pub mod problem;
pub mod public;

/// The largest body that any path takes, but for batches; and the largest request in a batch.
pub const BODY_LIMIT: usize = 64 * 1024;

/// The largest body of a batch: more than a kilobyte for each of 1,000 requests. Its answer may be
/// 2.5 MiB: the claims in base64, and up to 1.1 KiB of header, signature and `kid` for each.
pub const BATCH_BODY_LIMIT: usize = 1024 * 1024;
