//! The HTTP side of the three listeners. Each submodule exports one `configure`.

pub mod admin;
pub mod health;
pub mod identity;
pub mod internal;
pub mod problem;
pub mod public;

/// The largest body that any listener takes.
pub const BODY_LIMIT: usize = 64 * 1024;
