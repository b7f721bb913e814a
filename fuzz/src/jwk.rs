//! Public keys as JSON, as they are stored and published.

use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::crypto::{thumbprint, verify};
use jwksd_keystore::jwk::{JwkSet, PublicJwk, PublicKey};

/// What is read is written as what is read as the same; no key verifies what it did not sign, and
/// none that fits no algorithm is used.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    let Ok(public) = serde_json::from_slice::<PublicKey>(data) else { return };
    let stored = serde_json::to_vec(&public).unwrap();
    assert_eq!(serde_json::from_slice::<PublicKey>(&stored).unwrap(), public);
    let name = thumbprint(&public);
    assert_eq!(name.as_str().len(), 43);

    let fitting: Vec<Algorithm> =
        Algorithm::ALL.into_iter().filter(|&algorithm| public.fits(algorithm)).collect();
    for algorithm in Algorithm::ALL {
        // Of a length that some signatures have.
        for length in [0, 64, 256] {
            assert!(verify(algorithm, &public, b"message", &vec![1; length]).is_err());
        }
    }
    for algorithm in fitting {
        let jwk = PublicJwk { kid: name.clone().into(), algorithm, public: public.clone() };
        let published = serde_json::to_value(JwkSet { keys: vec![jwk] }).unwrap();
        let again: PublicKey = serde_json::from_value(published["keys"][0].clone()).unwrap();
        assert_eq!(again, public);
    }
}
