use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ml_dsa::pkcs8::DecodePublicKey;
use ml_dsa::{MlDsa44, MlDsa65, MlDsa87, VerifyingKey};

use super::*;
use crate::algorithm::{Algorithm, Family};
use crate::crypto::samples;
use crate::import::{self, ImportError};

fn key(algorithm: Algorithm) -> PublicJwk {
    let pair = samples::pair(algorithm);
    PublicJwk { kid: pair.thumbprint.into(), algorithm, public: pair.public }
}

/// One algorithm for each kind of key that import knows.
fn kinds() -> impl Iterator<Item = Algorithm> {
    Algorithm::ALL.into_iter().filter(|algorithm| !matches!(algorithm.family(), Family::MlDsa(_)))
}

fn read(text: &str) -> PublicKey {
    import::read(text.as_bytes(), None).unwrap().public().clone()
}

#[test]
fn what_is_exported_is_imported_as_the_same_key() {
    for algorithm in kinds() {
        let key = key(algorithm);
        let openssh = openssh(&key.public, &key.kid).unwrap();
        for text in [jwk(&key).unwrap(), pem(&key.public).unwrap(), openssh] {
            assert_eq!(read(&text), key.public, "{algorithm}: {text}");
            assert!(text.ends_with('\n') && text.is_ascii(), "{algorithm}: {text}");
        }
        let imported = import::read(jwk(&key).unwrap().as_bytes(), None).unwrap();
        assert_eq!(imported.kid(), Some(&key.kid));
        assert_eq!(imported.fits(algorithm), Ok(()));
    }
}

#[test]
fn a_jwk_is_exported_as_it_is_published() {
    for algorithm in Algorithm::ALL {
        let key = key(algorithm);
        assert_eq!(jwk(&key).unwrap(), serde_json::to_string(&key).unwrap() + "\n");
    }
}

#[test]
fn an_rsa_key_begins_as_every_other_that_openssl_writes() {
    let text =
        pem(&key(Algorithm::named("PS256", crate::algorithm::RsaBits::B2048).unwrap()).public);
    let begin = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA";
    assert!(text.unwrap().starts_with(begin));
}

#[test]
fn a_pem_of_ml_dsa_is_read_by_another_library() {
    for algorithm in [Algorithm::MlDsa44, Algorithm::MlDsa65, Algorithm::MlDsa87] {
        let key = key(algorithm);
        let PublicKey::Akp { alg, public } = &key.public else { panic!("{algorithm}") };
        let text = pem(&key.public).unwrap();
        let lines: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let der = BASE64_STANDARD.decode(lines).unwrap();
        let read = match alg {
            MlDsa::P44 => {
                VerifyingKey::<MlDsa44>::from_public_key_der(&der).unwrap().encode()[..].to_vec()
            }
            MlDsa::P65 => {
                VerifyingKey::<MlDsa65>::from_public_key_der(&der).unwrap().encode()[..].to_vec()
            }
            MlDsa::P87 => {
                VerifyingKey::<MlDsa87>::from_public_key_der(&der).unwrap().encode()[..].to_vec()
            }
        };
        assert_eq!(read, *public, "{algorithm}");
        // Import knows what it is, and that it is not read yet.
        let refused = import::read(text.as_bytes(), None).err();
        assert_eq!(refused, Some(ImportError::UnknownKind("ML-DSA")));
    }
}

#[test]
fn openssh_has_no_keys_of_ml_dsa() {
    for algorithm in [Algorithm::MlDsa44, Algorithm::MlDsa65, Algorithm::MlDsa87] {
        let key = key(algorithm);
        let refused = openssh(&key.public, &key.kid).unwrap_err().to_string();
        assert!(refused.contains(algorithm.jose_name()) && refused.contains("PEM"), "{refused}");
    }
}

#[test]
fn the_line_of_openssh_is_one_line_with_the_kid_at_its_end() {
    for (algorithm, begin) in [
        (Algorithm::Rs256(crate::algorithm::RsaBits::B2048), "ssh-rsa AAAA"),
        (Algorithm::Es256, "ecdsa-sha2-nistp256 AAAA"),
        (Algorithm::Es384, "ecdsa-sha2-nistp384 AAAA"),
        (Algorithm::Es512, "ecdsa-sha2-nistp521 AAAA"),
        (Algorithm::EdDsa, "ssh-ed25519 AAAA"),
    ] {
        let key = key(algorithm);
        let line = openssh(&key.public, &key.kid).unwrap();
        assert!(line.starts_with(begin), "{line}");
        assert!(line.ends_with(&format!(" {}\n", key.kid)), "{line}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}
