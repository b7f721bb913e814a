//! Key pairs for tests. RSA keys take long to make, so each is made once for all tests.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use zeroize::Zeroizing;

use super::{SigningKey, generate, thumbprint};
use crate::algorithm::{Algorithm, Family};
use crate::key::{KeyPair, Secret};

/// The PKCS#8 bytes of every key made so far, by what keys are alike in, and by which of them.
static MADE: Mutex<BTreeMap<(String, Which), Vec<u8>>> = Mutex::new(BTreeMap::new());

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Which {
    First,
    Other,
}

/// Whether keys of both algorithms look alike.
pub(crate) fn keys_are_alike(one: Algorithm, other: Algorithm) -> bool {
    kind(one) == kind(other)
}

/// A key pair, always the same for the same algorithm.
pub(crate) fn pair(algorithm: Algorithm) -> KeyPair {
    sample(algorithm, Which::First)
}

/// Another key pair, always the same for the same algorithm.
pub(crate) fn other_pair(algorithm: Algorithm) -> KeyPair {
    sample(algorithm, Which::Other)
}

fn sample(algorithm: Algorithm, which: Which) -> KeyPair {
    let mut made = MADE.lock().unwrap_or_else(PoisonError::into_inner);
    let pkcs8 = made
        .entry((kind(algorithm), which))
        .or_insert_with(|| generate(algorithm).unwrap().secret.expose().to_vec());
    let secret = Secret::new(Zeroizing::new(pkcs8.clone()));
    let public = SigningKey::new(algorithm, &secret).unwrap().public_key();
    let thumbprint = thumbprint(&public);
    KeyPair { secret, public, thumbprint }
}

fn kind(algorithm: Algorithm) -> String {
    match algorithm.family() {
        Family::Rsa(_, bits) => format!("RSA {}", bits.as_u32()),
        Family::Ec(_) | Family::Ed25519 | Family::MlDsa(_) => algorithm.to_string(),
    }
}
