//! The current ring of every key set: written by the rotator, read by everyone else.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use arc_swap::ArcSwap;
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::ring::Ring;

/// One ring for each key set. Readers never wait for a rotation.
#[derive(Default)]
pub struct Rings(RwLock<HashMap<KeysetName, Arc<ArcSwap<Ring>>>>);

impl Rings {
    /// The ring of a key set that was published now.
    #[must_use]
    pub fn ring(&self, keyset: &KeysetName) -> Option<Arc<Ring>> {
        let rings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rings.get(keyset).map(|ring| ring.load_full())
    }

    /// Where the ring of a key set is, for who looks at it again and again. It stays the same as long
    /// as the daemon runs.
    #[must_use]
    pub fn place(&self, keyset: &KeysetName) -> Option<Arc<ArcSwap<Ring>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(keyset).cloned()
    }

    /// Makes `ring` the current one.
    pub fn publish(&self, keyset: &KeysetName, ring: Arc<Ring>) {
        {
            let rings = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(current) = rings.get(keyset) {
                current.store(ring);
                return;
            }
        }
        let mut rings = self.0.write().unwrap_or_else(PoisonError::into_inner);
        rings.insert(keyset.clone(), Arc::new(ArcSwap::new(ring)));
    }
}

#[cfg(test)]
mod tests {
    use jwksd_keystore::ring::Signing;
    use jwksd_keystore::seal::MasterKeys;

    use super::*;

    fn ring(keyset: &KeysetName) -> Arc<Ring> {
        let master_keys = MasterKeys::parse(&MasterKeys::generate_file().unwrap()).unwrap();
        Arc::new(Ring::new(keyset, &[], None, Signing::Off, &Arc::new(master_keys), None))
    }

    #[test]
    fn a_ring_takes_the_place_of_the_one_before_and_of_no_other() {
        let [shop, bank] = ["shop", "bank"].map(|name| name.parse::<KeysetName>().unwrap());
        let [first, second, other] = [&shop, &shop, &bank].map(ring);
        let rings = Rings::default();
        assert!(rings.ring(&shop).is_none() && rings.place(&shop).is_none());

        rings.publish(&shop, first.clone());
        rings.publish(&bank, other.clone());
        let place = rings.place(&shop).unwrap();
        assert!(Arc::ptr_eq(&rings.ring(&shop).unwrap(), &first));

        rings.publish(&shop, second.clone());
        assert!(Arc::ptr_eq(&place.load_full(), &second));
        assert!(Arc::ptr_eq(&rings.place(&shop).unwrap(), &place));
        assert!(Arc::ptr_eq(&rings.ring(&shop).unwrap(), &second));
        assert!(Arc::ptr_eq(&rings.ring(&bank).unwrap(), &other));
    }
}
