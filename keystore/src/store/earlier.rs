//! What earlier versions wrote must still open: rows as they stood in a store then, and the master
//! key they were written under.
//!
//! `0.1-first-algorithms.json` was written when RS256, ES256 and EdDSA were all there was. Each of
//! its sets has a living key, number 2, and the tombstone of a revoked one.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::tests::assert_signs;
use super::*;
use crate::algorithm::{Algorithm, RsaBits};
use crate::crypto;

#[derive(Deserialize)]
struct Written {
    master_key: String,
    rows: BTreeMap<String, String>,
}

const FIRST_ALGORITHMS: [(&str, Algorithm); 3] = [
    ("rsa", Algorithm::Rs256(RsaBits::B2048)),
    ("ec", Algorithm::Es256),
    ("okp", Algorithm::EdDsa),
];

fn rows() -> (Arc<MasterKeys>, BTreeMap<Vec<u8>, Vec<u8>>) {
    let written: Written =
        serde_json::from_str(include_str!("earlier/0.1-first-algorithms.json")).unwrap();
    let decoded = |(key, value): (String, String)| {
        (key.into_bytes(), BASE64_URL_SAFE_NO_PAD.decode(value).unwrap())
    };
    let master_keys = MasterKeys::parse(&written.master_key).unwrap();
    (Arc::new(master_keys), written.rows.into_iter().map(decoded).collect())
}

pub(super) fn opened() -> (Arc<MasterKeys>, MemoryStore) {
    let (master_keys, written) = rows();
    let rows = MemoryRows::default();
    rows.put_back(&written, b"");
    (master_keys.clone(), MemoryStore::open(rows, master_keys).unwrap())
}

#[test]
fn keys_of_the_first_algorithms_open_sign_and_verify() {
    let (master_keys, store) = opened();
    for (name, algorithm) in FIRST_ALGORITHMS {
        let keyset: KeysetName = name.parse().unwrap();
        let loaded = store.load(&keyset).unwrap();
        assert_eq!(loaded.head.facts.unwrap().algorithm, algorithm);
        let [record] = loaded.records.as_slice() else { panic!("{name} has not one key") };
        assert_eq!(record.life.algorithm, algorithm);
        assert_eq!(crypto::thumbprint(&record.public), record.thumbprint);
        assert_signs(&keyset, record, &master_keys);
        assert_eq!(store.tombstones(&keyset).unwrap()[0].life.algorithm, algorithm);
    }
}

/// A head holds the hash of every record, so their form must not change by a byte.
#[test]
fn records_of_the_first_algorithms_are_written_as_before() {
    let (_, written) = rows();
    let (_, store) = opened();
    for (name, _) in FIRST_ALGORITHMS {
        let [record] = store.load(&name.parse().unwrap()).unwrap().records.try_into().unwrap();
        let again = serde_json::to_vec(&record).unwrap();
        let row = format!("r/{name}/");
        let mut rows = written.iter().filter(|(key, _)| key.starts_with(row.as_bytes()));
        assert_eq!(rows.next().unwrap().1, &again, "{name}");
        assert!(rows.next().is_none());
    }
}
