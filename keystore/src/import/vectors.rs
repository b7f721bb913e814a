//! Key files that openssl, ssh-keygen and node made: `test_keys/README.md`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{ExponentFault, ImportError, Imported, Kind, Material, Passphrase, read};
use crate::algorithm::{Algorithm, Curve, RsaBits};
use crate::crypto::SigningKey;
use crate::jwk::PublicKey;

pub(super) const PASSPHRASE: &str = "a test passphrase, not a secret";

/// The committed files, or those that CI has just made.
#[expect(clippy::disallowed_methods, reason = "a test that is told where its files are")]
fn folder(name: &str) -> PathBuf {
    let committed = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/import/test_keys");
    std::env::var_os("JWKSD_TEST_KEYS").map_or_else(committed, PathBuf::from).join(name)
}

pub(super) fn taken(name: &str) -> Vec<u8> {
    fs::read(folder("taken").join(name)).unwrap()
}

/// The names of all files that are taken.
pub(super) fn taken_names() -> Vec<String> {
    let entries = fs::read_dir(folder("taken")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub(super) fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.as_bytes().to_vec()))
}

pub(super) fn error_of(bytes: &[u8]) -> ImportError {
    read(bytes, Some(&passphrase(PASSPHRASE))).err().unwrap()
}

pub(super) fn refused(name: &str) -> ImportError {
    error_of(&fs::read(folder("refused").join(name)).unwrap())
}

/// The secret as stored, and the public half.
pub(super) type Halves = (Option<Vec<u8>>, PublicKey);

pub(super) fn halves(bytes: &[u8]) -> Halves {
    halves_of(read(bytes, Some(&passphrase(PASSPHRASE))).unwrap())
}

fn halves_of(imported: Imported) -> Halves {
    match imported.into_material() {
        Material::Pair(pair) => (Some(pair.secret.expose().to_vec()), pair.public),
        Material::Public(public) => (None, public),
    }
}

fn kind_of(name: &str) -> Kind {
    match name.split('.').next().unwrap() {
        "rsa" => Kind::Rsa(RsaBits::B2048),
        "p256" => Kind::Ec(Curve::P256),
        "p384" => Kind::Ec(Curve::P384),
        "p521" => Kind::Ec(Curve::P521),
        "ed25519" | "ssh25519" => Kind::Ed25519,
        other => panic!("{other}"),
    }
}

#[test]
fn every_form_of_a_key_is_read_as_the_same_key() {
    let mut keys: BTreeMap<String, Vec<(String, Halves)>> = BTreeMap::new();
    for name in taken_names() {
        let imported = read(&taken(&name), Some(&passphrase(PASSPHRASE)));
        let imported = imported.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(imported.kind(), kind_of(&name), "{name}");
        let key = name.split('.').next().unwrap().to_owned();
        keys.entry(key).or_default().push((name, halves_of(imported)));
    }
    assert_eq!(keys.len(), 6);
    for forms in keys.values() {
        let (first, (_, public)) = &forms[0];
        let secret = forms.iter().find_map(|(_, (secret, _))| secret.clone()).unwrap();
        for (name, (its_secret, its_public)) in forms {
            assert_eq!(its_public, public, "{name} and {first}");
            let is_public = [".public.", ".spki."].iter().any(|part| name.contains(part));
            assert_eq!(its_secret.is_none(), is_public, "{name}");
            assert!(its_secret.as_ref().is_none_or(|its| *its == secret), "{name} and {first}");
        }
    }
}

#[test]
fn an_imported_key_signs_as_a_generated_one_does() {
    for (name, algorithm) in [
        ("rsa.pkcs1.pem", Algorithm::Rs256(RsaBits::B2048)),
        ("rsa.openssh.pem", Algorithm::Ps512(RsaBits::B2048)),
        ("p256.private-only.sec1.pem", Algorithm::Es256),
        ("p384.jwk", Algorithm::Es384),
        ("p521.encrypted.openssh.pem", Algorithm::Es512),
        ("ssh25519.openssh.pem", Algorithm::EdDsa),
    ] {
        let imported = read(&taken(name), Some(&passphrase(PASSPHRASE))).unwrap();
        assert_eq!(imported.fits(algorithm), Ok(()), "{name}");
        let pair = imported.into_pair().unwrap();
        let signature = SigningKey::new(algorithm, &pair.secret).unwrap().sign(b"m").unwrap();
        assert_eq!(crate::crypto::verify(algorithm, &pair.public, b"m", &signature), Ok(()));
    }
}

#[test]
fn an_encrypted_file_needs_its_passphrase() {
    let mut files = 0;
    for name in taken_names() {
        if name.contains(".encrypted.") {
            files += 1;
            assert_eq!(
                read(&taken(&name), None).err(),
                Some(ImportError::PassphraseNeeded),
                "{name}"
            );
            let wrong = read(&taken(&name), Some(&passphrase("another"))).err();
            assert_eq!(wrong, Some(ImportError::WrongPassphrase), "{name}");
        }
    }
    assert_eq!(files, 28);
}

#[test]
fn what_is_no_key_for_signing_is_refused_with_the_reason() {
    use ImportError as E;
    for (name, reason) in [
        ("rsa1024.pem", E::RsaTooWeak { bits: 1024 }),
        ("rsa2304.pem", E::RsaSize { bits: 2304 }),
        ("rsa-exponent3.pem", E::RsaExponent(ExponentFault::Small)),
        ("rsa-exponent-large.pem", E::RsaExponent(ExponentFault::Large)),
        ("rsa-three-primes.pem", E::RsaMultiPrime),
        ("rsa-pss.pem", E::UnknownKind("RSASSA-PSS with parameters of its own")),
        ("secp256k1.pem", E::UnknownCurve("secp256k1")),
        ("p224.pem", E::UnknownCurve("P-224")),
        ("explicit-curve.pem", E::UnknownCurve("a curve that is not named")),
        ("x25519.pem", E::UnknownKind("X25519")),
        ("x448.pem", E::UnknownKind("X448")),
        ("ed448.pem", E::UnknownKind("Ed448")),
        ("dsa.pem", E::UnknownKind("DSA")),
        ("dsa.traditional.pem", E::UnknownKind("DSA")),
        ("certificate.pem", E::Certificate),
        ("certificate.ssh", E::Certificate),
        ("request.pem", E::Certificate),
        ("container.p12", E::Pkcs12),
        ("binary.der", E::NotText),
        ("encrypted.camellia.pkcs8.pem", E::UnknownCipher),
        ("encrypted.camellia.pkcs1.pem", E::UnknownCipher),
        ("encrypted.pbes1.pkcs8.pem", E::UnknownCipher),
    ] {
        assert_eq!(refused(name), reason, "{name}");
    }
}

#[test]
fn a_set_can_have_the_keys_of_its_algorithm_and_trust_rsa_keys_of_any_size() {
    let taken = |name: &str| read(&taken(name), None).unwrap();
    let (rsa, p256) = (taken("rsa.pkcs8.pem"), taken("p256.pkcs8.pem"));
    let wanted = Algorithm::Ps384(RsaBits::B3072);
    let misfit = rsa.fits(wanted).unwrap_err();
    assert_eq!(misfit, ImportError::Misfit { kind: Kind::Rsa(RsaBits::B2048), wanted });
    let text = misfit.to_string();
    assert!(text.starts_with("the key is RSA of 2048 bits, and PS384"), "{text}");
    assert!(text.ends_with(": set rsa_bits = 2048 in the key set"), "{text}");
    assert_eq!(rsa.verifies(wanted), Ok(Algorithm::Ps384(RsaBits::B2048)));
    assert_eq!(
        rsa.verifies(Algorithm::Es256).unwrap_err(),
        rsa.fits(Algorithm::Es256).unwrap_err()
    );
    assert_eq!(p256.verifies(Algorithm::Es256), Ok(Algorithm::Es256));
    let text = p256.verifies(Algorithm::EdDsa).unwrap_err().to_string();
    assert_eq!(text, "the key is on P-256, and EdDSA takes another");
    let text = taken("ed25519.pkcs8.pem").fits(Algorithm::Es256).unwrap_err().to_string();
    assert_eq!(text, "the key is Ed25519, and ES256 takes another");
}

#[test]
fn a_key_without_its_private_half_is_the_same_key_and_never_a_pair() {
    let imported = read(&taken("p256.pkcs8.pem"), None).unwrap();
    let (thumbprint, public) = (imported.thumbprint(), imported.public().clone());
    assert_eq!(imported.pair().unwrap().thumbprint, thumbprint);
    let bare = imported.without_secret();
    assert_eq!(
        (bare.thumbprint(), bare.public(), bare.kind()),
        (thumbprint, &public, Kind::Ec(Curve::P256))
    );
    assert_eq!(bare.pair().err(), Some(ImportError::PublicOnly));
    assert_eq!(bare.into_pair().err(), Some(ImportError::PublicOnly));
    let pair = read(&taken("p256.pkcs8.pem"), None).unwrap().into_pair().unwrap();
    assert_eq!(pair.public, public);
}
