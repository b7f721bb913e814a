//! How many file descriptors the process may have: without one, nobody new is served.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use crate::config::{Config, Connections, Listen};

/// What the store, the audit, the threads and the listeners take, with room to spare.
const OWN: u64 = 256;

/// A connection, and the copy of it by which it is watched.
const OF_A_CONNECTION: u64 = 2;

/// How many connections a listener may have at least, however few descriptors there are.
const LEAST: u64 = 4;

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

/// How many connections each listener may have at once. Where there are too few descriptors for all,
/// each has its part of them: whoever connects to one without end keeps nobody from another, such as an
/// admin who has to revoke.
#[must_use]
pub fn share(config: &Config, descriptors: Descriptors) -> Connections {
    let most = config.connections;
    let Descriptors::TooFew { allowed, wanted } = descriptors else { return most };
    let (room, all) = (allowed.saturating_sub(OWN), wanted.saturating_sub(OWN).max(1));
    let part = |most: NonZeroUsize| {
        let wanted = u64::try_from(most.get()).unwrap_or(u64::MAX);
        let part = (wanted.saturating_mul(room) / all).max(LEAST).min(wanted);
        usize::try_from(part).ok().and_then(NonZeroUsize::new).unwrap_or(most)
    };
    Connections {
        public: part(most.public),
        internal: part(most.internal),
        admin: part(most.admin),
        metrics: part(most.metrics),
    }
}

/// Whether the process, or the system, has none left at this moment.
#[must_use]
pub fn are_used_up() -> bool {
    let tried = io::stderr().as_fd().try_clone_to_owned();
    let errno = tried.err().and_then(|error| Errno::from_io_error(&error));
    matches!(errno, Some(Errno::MFILE | Errno::NFILE))
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
    fn where_there_are_too_few_each_listener_has_its_part_and_never_none() {
        let text = include_str!("../config.toml");
        let config = Config::parse(text, Path::new("config.toml"), Time::from_millis(0)).unwrap();
        let wanted = wanted(&config);
        let share = |allowed| {
            let shared = share(&config, judge(Some(allowed), wanted));
            [shared.public, shared.internal, shared.admin, shared.metrics].map(NonZeroUsize::get)
        };
        assert_eq!(share(wanted), [1024, 1024, 256, 64]);
        assert_eq!(share(256 + 2 * 1152), [512, 512, 128, 32]);
        assert_eq!(share(300), [9, 9, 4, 4]);
        assert_eq!(share(20), [4; 4]);
    }

    #[test]
    fn one_too_few_is_too_few() {
        assert_eq!(judge(None, 10), Descriptors::Enough);
        assert_eq!(judge(Some(10), 10), Descriptors::Enough);
        assert_eq!(judge(Some(9), 10), Descriptors::TooFew { allowed: 9, wanted: 10 });
    }
}
