//! What TLS reads: after `client:` the content of a client's certificate; else the files of a
//! listener's table, the certificate, its key and the CAs of clients, with a line of `%%` between.
//! `{key}` stands for the key of the certificates in the corpus, which is a test key.

use std::cell::OnceCell;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use jwksd::secret_file::Reader;
use jwksd::tls::{Files, Material, Validity, client_names};
use jwksd_keystore::time::Time;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::input::sections;

const KEY: &[u8] = include_bytes!("../../keystore/src/import/test_keys/taken/p256.pkcs8.pem");

/// No part of a key file that is as long stands in an error.
const SECRET_BYTES: usize = 16;

/// What cannot be read is refused with a reason that holds nothing of the key.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    thread_local! {
        static DIR: OnceCell<TempDir> = const { OnceCell::new() };
    }
    match data.strip_prefix(b"client:") {
        Some(content) => check_client(content),
        None => DIR.with(|dir| {
            check_files(dir.get_or_init(|| tempfile::tempdir().unwrap()), &sections(data));
        }),
    }
}

fn check_client(content: &[u8]) {
    let certificate = CertificateDer::from(content);
    let names = client_names(&certificate);
    if let Ok(validity) = Validity::of(&certificate) {
        let _ = validity.at(Time::from_millis(1_795_316_400_000));
    } else {
        assert!(names.is_err());
    }
}

fn check_files(dir: &TempDir, contents: &[&[u8]]) {
    let mut contents = contents.to_vec();
    contents.iter_mut().filter(|content| **content == b"{key}").for_each(|content| *content = KEY);
    let file = |name: &str, index: usize| {
        let path = dir.path().join(name);
        fs::write(&path, contents.get(index).copied().unwrap_or_default()).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    };
    let client_ca = (contents.len() > 2).then(|| file("ca.pem", 2));
    let files =
        Files { certificate: file("certificate.pem", 0), key: file("key.pem", 1), client_ca };
    match Material::read(&files, Reader::User) {
        Ok(material) => {
            let _ = material.warning(Time::from_millis(1_795_316_400_000));
        }
        Err(error) => {
            let message = error.to_string();
            let key = String::from_utf8_lossy(contents.get(1).copied().unwrap_or_default());
            let mut lines = key.lines().filter(|line| line.len() >= SECRET_BYTES);
            assert!(!lines.any(|line| message.contains(line)), "{message}");
        }
    }
}
