//! How many file descriptors the process may have: without one, nobody new is served.

use rustix::process::{Resource, Rlimit};

use crate::config::Connections;

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
pub fn take_all(connections: &Connections) -> Descriptors {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    let allowed = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    judge(allowed, connections)
}

fn judge(allowed: Option<u64>, connections: &Connections) -> Descriptors {
    let Connections { public, internal, admin } = connections;
    let count = |connections: usize| u64::try_from(connections).unwrap_or(u64::MAX / 8);
    let connections = count(public.get()) + count(internal.get()) + count(admin.get());
    let wanted = OWN + connections * OF_A_CONNECTION;
    match allowed {
        Some(allowed) if allowed < wanted => Descriptors::TooFew { allowed, wanted },
        Some(_) | None => Descriptors::Enough,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_takes_two() {
        let connections = Connections::default();
        let wanted = 256 + 2 * (1024 + 1024 + 64);
        assert_eq!(judge(None, &connections), Descriptors::Enough);
        assert_eq!(judge(Some(wanted), &connections), Descriptors::Enough);
        let allowed = wanted - 1;
        assert_eq!(judge(Some(allowed), &connections), Descriptors::TooFew { allowed, wanted });
    }
}
