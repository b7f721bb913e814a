//! The thread that makes key pairs, so that nothing else waits for primes.

use std::io;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::crypto::{self, CryptoError};
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::key::KeyPair;

/// A key pair for a key set, or why there is none.
pub(super) struct Made {
    pub(super) keyset: KeysetName,
    pub(super) algorithm: Algorithm,
    pub(super) pair: Result<KeyPair, CryptoError>,
}

/// Orders key pairs.
pub(super) struct Keygen(Sender<(KeysetName, Algorithm)>);

impl Keygen {
    /// Starts the thread; it ends when this is dropped. `deliver` takes each pair.
    pub(super) fn start(deliver: impl Fn(Made) + Send + 'static) -> io::Result<Self> {
        let (orders, received) = channel::<(KeysetName, Algorithm)>();
        thread::Builder::new().name("keygen".into()).spawn(move || {
            for (keyset, algorithm) in received {
                deliver(Made { keyset, algorithm, pair: crypto::generate(algorithm) });
            }
        })?;
        Ok(Self(orders))
    }

    /// Orders one pair.
    pub(super) fn order(&self, keyset: &KeysetName, algorithm: Algorithm) {
        // The thread lives as long as this sender does.
        let _ = self.0.send((keyset.clone(), algorithm));
    }
}
