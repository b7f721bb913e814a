//! What tokens are told apart by: `jti` (RFC 7519, section 4.1.7), 128 random bits.
//!
//! They are no secrets, and the library asks the processor for randomness each time that it is asked, so
//! it is asked for many at once. A virtual machine that is resumed twice from one snapshot may therefore
//! give out up to 63 of them twice.

use std::sync::{Mutex, TryLockError};

use jwksd_keystore::crypto::{self, CryptoError};

/// The `jti` of a token, before it is text.
pub(super) type Id = [u8; 16];

/// How many are made at once.
const AT_ONCE: usize = 64;

/// Makes ids.
#[derive(Default)]
pub(super) struct Ids(Mutex<Vec<Id>>);

impl Ids {
    /// One that nobody else gets. Waits for nobody: a thread that gives way may stand still for long
    /// with the stock in its hands.
    ///
    /// # Errors
    ///
    /// When there is no randomness.
    pub(super) fn next(&self) -> Result<Id, CryptoError> {
        let mut stock = match self.0.try_lock() {
            Ok(stock) => stock,
            Err(TryLockError::Poisoned(stock)) => stock.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(*crypto::random()?),
        };
        if let Some(id) = stock.pop() {
            return Ok(id);
        }
        let mut made = [[0; 16]; AT_ONCE];
        crypto::fill_with_random(made.as_flattened_mut())?;
        let [id, rest @ ..] = made;
        stock.extend_from_slice(&rest);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_are_the_same_whoever_asks() {
        let ids = Ids::default();
        let many = || (0..5 * AT_ONCE).map(|_| ids.next().unwrap()).collect::<Vec<_>>();
        let all: Vec<Id> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(many)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 4 * 5 * AT_ONCE);
    }

    #[test]
    fn who_asks_while_another_is_at_it_does_not_wait() {
        let ids = Ids::default();
        let held = ids.0.lock().unwrap();
        let (one, other) = (ids.next().unwrap(), ids.next().unwrap());
        assert_ne!(one, other);
        assert!(held.is_empty());
    }
}
