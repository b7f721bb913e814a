//! A key pair: its public half, and its secret, which nothing prints, copies or compares.

use zeroize::Zeroizing;

use crate::jwk::{PublicKey, Thumbprint};

/// The private half of a key, as PKCS#8 v1 DER (RFC 5208).
///
/// It has no `Debug`, `Clone`, `PartialEq` or serde on purpose, and its bytes are wiped on drop.
/// Only [`crate::crypto`] and [`crate::seal`] can look inside.
///
/// ```compile_fail
/// fn print(secret: &jwksd_keystore::key::Secret) { println!("{secret:?}"); }
/// ```
/// ```compile_fail
/// fn copy(secret: &jwksd_keystore::key::Secret) -> jwksd_keystore::key::Secret { secret.clone() }
/// ```
/// ```compile_fail
/// fn same(a: &jwksd_keystore::key::Secret, b: &jwksd_keystore::key::Secret) -> bool { a == b }
/// ```
pub struct Secret(Zeroizing<Vec<u8>>);

/// A key pair that was just made.
pub struct KeyPair {
    /// Its private half.
    pub secret: Secret,
    /// Its public half.
    pub public: PublicKey,
    /// The RFC 7638 thumbprint of the public half.
    pub thumbprint: Thumbprint,
}

impl Secret {
    /// Takes PKCS#8 bytes over.
    pub(crate) fn new(pkcs8: Zeroizing<Vec<u8>>) -> Self {
        Self(pkcs8)
    }

    /// The PKCS#8 bytes, for cryptography and sealing.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The PKCS#8 bytes, for tests that search for them where they must not be.
    #[cfg(feature = "faults")]
    #[must_use]
    pub fn expose_to_tests(&self) -> &[u8] {
        self.expose()
    }
}
