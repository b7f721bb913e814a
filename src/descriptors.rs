//! How many file descriptors the process may have: without one, nobody new is served.

use std::num::NonZeroUsize;

use rustix::process::{Resource, Rlimit};

use crate::config::{Config, Listen};

/// What the store, the audit, the threads and the listeners take, with room to spare.
const OWN: u64 = 256;

/// A connection, and the copy of it by which it is watched.
const OF_A_CONNECTION: u64 = 2;

/// Whether there are enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptors {
    /// All connections can be there at once.
    Enough,
    /// Only so many descriptors are allowed.
    TooFew {
        /// How many are allowed.
        allowed: u64,
        /// How many it takes.
        wanted: u64,
    },
}

/// Takes as many as the process may have at all.
#[must_use]
pub fn take_all(config: &Config) -> Descriptors {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let allowed = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    judge(allowed, wanted(config))
}

/// Unix sockets and TCP places of a listener have as many connections each.
fn wanted(config: &Config) -> u64 {
    let of = |places: &[Listen], most: NonZeroUsize| {
        let unix = places.iter().filter(|place| matches!(place, Listen::Unix(_))).count();
        let kinds = usize::from(unix > 0) + usize::from(unix < places.len());
        u64::try_from(kinds.saturating_mul(most.get())).unwrap_or(u64::MAX / 8)
    };
    let most = &config.connections;
    let connections = of(&config.public.listen, most.public)
        + of(&config.internal, most.internal)
        + of(&config.admin, most.admin)
        + of(&config.metrics, most.metrics);
    OWN + connections * OF_A_CONNECTION
}

fn judge(allowed: Option<u64>, wanted: u64) -> Descriptors {
    match allowed {
        Some(allowed) if allowed < wanted => Descriptors::TooFew { allowed, wanted },
        Some(_) | None => Descriptors::Enough,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jwksd_keystore::time::Time;

    use super::*;

    #[test]
    fn each_connection_takes_two() {
        let text = include_str!("../config.toml");
        let with = |admin: &str| {
            let text = text.replace("\"unix:data/admin.sock\"", admin);
            wanted(&Config::parse(&text, Path::new("config.toml"), Time::from_millis(0)).unwrap())
        };
        let one_kind = 256 + 2 * (1024 + 1024 + 256);
        assert_eq!(with("\"unix:data/admin.sock\""), one_kind);
        assert_eq!(with("[\"unix:a\", \"127.0.0.1:1\"]"), one_kind + 2 * 256);
    }

    #[test]
    fn one_too_few_is_too_few() {
        assert_eq!(judge(None, 10), Descriptors::Enough);
        assert_eq!(judge(Some(10), 10), Descriptors::Enough);
        assert_eq!(judge(Some(9), 10), Descriptors::TooFew { allowed: 9, wanted: 10 });
    }
}
