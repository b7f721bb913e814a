//! The threads that make key pairs, so that nothing else waits for primes.
//!
//! A key of RSA takes seconds of a core. Most are standbys, which nobody waits for: they are made by a
//! thread that takes what the others leave. A set that signs nothing until it has its key does not wait
//! for that one, nor does the standby of another kind, which takes less than a millisecond.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use jwksd_keystore::algorithm::{Algorithm, Family};
use jwksd_keystore::crypto::{self, CryptoError};
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::key::KeyPair;

use crate::threads;

/// A key pair for a key set, or why there is none.
pub(super) struct Made {
    pub(super) keyset: KeysetName,
    pub(super) algorithm: Algorithm,
    pub(super) pair: Result<KeyPair, CryptoError>,
}

/// What waits for a key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It takes its time; the set signs meanwhile, and nobody waits for it.
    Ahead,
    /// Nothing signs until it is there, an admin waits for it, or it takes less than a millisecond.
    Now,
}

/// The key pairs of one set that are being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ordered {
    count: usize,
    need: Need,
}

impl Ordered {
    /// With so many more, unless what is ordered already will do. Where they are waited for, it will
    /// not do that they are made ahead: those that come then are some more in stock.
    pub(super) fn with(before: Option<Self>, missing: usize, need: Need) -> Option<Self> {
        match before {
            None => Some(Self { count: missing, need }),
            Some(Self { need: Need::Ahead, .. }) if need == Need::Now => {
                Some(Self { count: missing, need })
            }
            Some(_) => None,
        }
    }

    pub(super) fn need(self) -> Need {
        self.need
    }

    /// What is still being made when one is there.
    pub(super) fn without_one(self) -> Option<Self> {
        let count = self.count.checked_sub(1).filter(|count| *count > 0)?;
        Some(Self { count, ..self })
    }

    /// Whether whoever waits tries again when the next is there.
    pub(super) fn is_taken_up_with_the_next(self) -> bool {
        self.count <= 1 || self.need == Need::Now
    }
}

/// Until when somebody waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// No key pair is being made.
    AllAreMade,
    /// None that is waited for.
    SignersAreMade,
}

impl Until {
    /// Whether it has come to that.
    pub(super) fn is_over<'a>(self, mut being_made: impl Iterator<Item = &'a Ordered>) -> bool {
        match self {
            Self::AllAreMade => being_made.next().is_none(),
            Self::SignersAreMade => being_made.all(|ordered| ordered.need == Need::Ahead),
        }
    }
}

/// Orders key pairs.
pub(super) struct Keygen {
    now: Sender<Order>,
    ahead: Sender<Order>,
}

type Order = (KeysetName, Algorithm);

impl Keygen {
    /// Starts the threads; they end when this is dropped. `deliver` takes each pair.
    pub(super) fn start(deliver: impl Fn(Made) + Clone + Send + 'static) -> io::Result<Self> {
        let (now, received) = channel();
        let for_now = deliver.clone();
        thread::Builder::new().name("keygen".into()).spawn(move || make(received, for_now))?;
        let (ahead, received) = channel();
        thread::Builder::new().name("keygen-ahead".into()).spawn(move || {
            if let Err(error) = threads::take_what_is_left() {
                tracing::warn!(%error, "the thread that makes standbys may keep requests waiting");
            }
            make(received, deliver);
        })?;
        Ok(Self { now, ahead })
    }

    /// Orders one pair.
    pub(super) fn order(&self, keyset: &KeysetName, algorithm: Algorithm, need: Need) {
        let orders = match need {
            Need::Ahead => &self.ahead,
            Need::Now => &self.now,
        };
        // The thread lives as long as this sender does.
        let _ = orders.send((keyset.clone(), algorithm));
    }
}

/// Whether a pair of any of these takes seconds of a core: primes have to be found.
pub(super) fn any_takes_long(algorithms: &[Algorithm]) -> bool {
    algorithms.iter().any(|algorithm| matches!(algorithm.family(), Family::Rsa(..)))
}

fn make(orders: Receiver<Order>, deliver: impl Fn(Made)) {
    for (keyset, algorithm) in orders {
        deliver(Made { keyset, algorithm, pair: crypto::generate(algorithm) });
    }
}

#[cfg(test)]
mod tests {
    use jwksd_keystore::algorithm::RsaBits;

    use super::*;

    #[test]
    fn what_is_being_made_ahead_is_ordered_again_where_it_is_waited_for() {
        let ahead = Ordered::with(None, 1, Need::Ahead).unwrap();
        assert_eq!(Ordered::with(Some(ahead), 1, Need::Ahead), None);
        let now = Ordered::with(Some(ahead), 1, Need::Now).unwrap();
        assert_eq!(now, Ordered { count: 1, need: Need::Now });
        assert_eq!(Ordered::with(Some(now), 1, Need::Now), None);
        // The one that comes first is taken up, whichever it is, and the other is not waited for.
        assert!(now.is_taken_up_with_the_next());
        assert_eq!(now.without_one(), None);
    }

    #[test]
    fn what_is_made_ahead_is_taken_up_when_all_of_it_is_there() {
        let two = Ordered::with(None, 2, Need::Ahead).unwrap();
        assert!(!two.is_taken_up_with_the_next());
        assert!(two.without_one().unwrap().is_taken_up_with_the_next());
    }

    #[test]
    fn who_waits_for_signers_does_not_wait_for_what_is_made_ahead() {
        let ordered = |need| Ordered { count: 1, need };
        let (ahead, now) = (ordered(Need::Ahead), ordered(Need::Now));
        for (until, being_made, is_over) in [
            (Until::AllAreMade, vec![], true),
            (Until::AllAreMade, vec![ahead], false),
            (Until::AllAreMade, vec![now], false),
            (Until::SignersAreMade, vec![], true),
            (Until::SignersAreMade, vec![ahead, ahead], true),
            (Until::SignersAreMade, vec![ahead, now], false),
        ] {
            assert_eq!(until.is_over(being_made.iter()), is_over, "{until:?} {being_made:?}");
        }
    }

    #[test]
    fn a_key_that_is_made_ahead_takes_what_is_left_and_no_other_does() {
        let (deliver, made) = channel();
        let keygen = Keygen::start(move |pair: Made| {
            let delivered = (pair.pair.is_ok(), threads::is_taking_what_is_left());
            deliver.send(delivered).unwrap();
        });
        let (keygen, keyset) = (keygen.unwrap(), "default".parse().unwrap());
        for (need, takes_what_is_left) in [(Need::Ahead, true), (Need::Now, false)] {
            keygen.order(&keyset, Algorithm::Rs256(RsaBits::B2048), need);
            assert_eq!(made.recv().unwrap(), (true, takes_what_is_left), "{need:?}");
        }
    }
}
