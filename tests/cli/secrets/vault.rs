//! All secrets that the daemon ever had, as the test knows them: from copies of the store, opened
//! with the master key.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use jwksd_keystore::jwk::PublicKey;
use jwksd_keystore::seal::{MasterKeys, Place as Sealing};
use jwksd_keystore::store::{Record, SledStore, Store};

use super::bytes;
use crate::place::{Place, wait_for};

/// One secret.
pub(super) struct Known {
    pub(super) keyset: String,
    pub(super) public: Vec<Vec<u8>>,
    pub(super) pkcs8: Vec<u8>,
    pub(super) parts: Vec<Vec<u8>>,
}

/// All secrets so far, by kid.
#[derive(Default)]
pub(super) struct Vault(pub(super) BTreeMap<String, Known>);

impl Vault {
    /// Takes the secrets of all keys that the store holds now and that have not ended.
    pub(super) fn take(&mut self, place: &Place) {
        let text = place.read("data/master.key");
        self.0.insert("the master key".into(), master_key(&text));
        let keys = Arc::new(MasterKeys::parse(&text).unwrap());
        // A copy that is made while the daemon writes may be torn.
        let store = wait_for("a whole copy of the store", || {
            let copy = tempfile::tempdir().unwrap();
            copy_folder(&place.path("data/store"), copy.path());
            let store = SledStore::open(copy.path(), keys.clone()).ok()?;
            Some((store, copy))
        });
        for keyset in store.0.keysets().unwrap() {
            for record in store.0.load(&keyset).unwrap().records {
                let Some(sealed) = &record.secret else { continue };
                let place = Sealing {
                    keyset: &keyset,
                    number: record.life.number,
                    kid: &record.kid,
                    algorithm: record.life.algorithm,
                    revision: sealed.revision,
                };
                let secret = keys.open(&sealed.sealed, &place).unwrap();
                let pkcs8 = secret.expose_to_tests().to_vec();
                let public = public_parts(&record);
                let parts = bytes::parts(&pkcs8, &public);
                assert!(!parts.is_empty(), "no secret in the PKCS#8 of {keyset}");
                let known = Known { keyset: keyset.to_string(), public, pkcs8, parts };
                self.0.insert(record.kid.to_string(), known);
            }
        }
    }

    /// A key in messages.
    pub(super) fn describe(&self, kid: &str) -> String {
        format!("{} {kid}", self.0[kid].keyset)
    }
}

/// The master key as it stands in its file, and its bytes.
fn master_key(text: &str) -> Known {
    let line = text.lines().find_map(|line| line.strip_prefix("jwksd-master-key-v1:"));
    let text = line.expect("the file of the master key has another form");
    let parts = vec![text.into(), bytes::from_base64url(text)];
    Known { keyset: String::new(), public: Vec::new(), pkcs8: parts[1].clone(), parts }
}

/// What is in the PKCS#8 and is no secret.
fn public_parts(record: &Record) -> Vec<Vec<u8>> {
    match &record.public {
        PublicKey::Rsa { n, e } => vec![n.clone(), e.clone()],
        PublicKey::Ec { x, y, .. } => vec![x.clone(), y.clone()],
        PublicKey::Ed25519 { x } => vec![x.clone()],
        PublicKey::Akp { public, .. } => vec![public.clone()],
    }
}

fn copy_folder(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
