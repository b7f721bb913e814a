//! What is wrong with a file or a key is found, and told without telling anything of the file.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use crypto_bigint::{Encoding, NonZero, U4096};
use pkcs1::UintRef;
use pkcs1::der::{Decode, Encode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::vectors::{PASSPHRASE, error_of, halves, passphrase, taken, taken_names};
use super::{ExponentFault, FILE_LIMIT, Form, ImportError, Material, PemFault, read, rsa};
use crate::algorithm::{Algorithm, KeyType, RsaBits};
use crate::crypto::{hex, samples};
use crate::jwk::PublicKey;

fn text(name: &str) -> String {
    String::from_utf8(taken(name)).unwrap()
}

fn form(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

/// The content of a PEM block.
fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    BASE64_STANDARD.decode(body).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = BASE64_STANDARD.encode(der);
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// The file with other bytes in the only place in its content where `from` stands.
fn patched(name: &str, from: &[u8], to: &[u8]) -> String {
    let file = text(name);
    let label = file.lines().next().unwrap().trim_matches('-').strip_prefix("BEGIN ").unwrap();
    let mut der = der(&file);
    let places: Vec<usize> =
        (0..=der.len() - from.len()).filter(|&at| der[at..].starts_with(from)).collect();
    assert_eq!((places.len(), from.len()), (1, to.len()), "{name}");
    der[places[0]..places[0] + to.len()].copy_from_slice(to);
    pem(label, &der)
}

fn jwk(name: &str) -> Value {
    serde_json::from_slice(&taken(name)).unwrap()
}

fn error_of_jwk(jwk: &Value) -> ImportError {
    error_of(jwk.to_string().as_bytes())
}

fn with(mut jwk: Value, member: &str, value: Value) -> Value {
    jwk[member] = value;
    jwk
}

fn without(mut jwk: Value, members: &[&str]) -> Value {
    for member in members {
        jwk.as_object_mut().unwrap().remove(*member).unwrap();
    }
    jwk
}

fn member_bytes(jwk: &Value, member: &str) -> Vec<u8> {
    BASE64_URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap()).unwrap()
}

fn number(jwk: &Value, member: &str) -> U4096 {
    let digits = member_bytes(jwk, member);
    let mut padded = [0; U4096::BYTES];
    padded[U4096::BYTES - digits.len()..].copy_from_slice(&digits);
    U4096::from_be_slice(&padded)
}

fn digits(number: &U4096) -> Value {
    let bytes = number.to_be_bytes();
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    BASE64_URL_SAFE_NO_PAD.encode(&bytes[zeros..]).into()
}

/// The RSA key with other members; those for the Chinese remainder theorem are left out.
fn rsa_with(members: &[(&str, U4096)]) -> Value {
    let jwk = without(jwk("rsa.jwk"), &["dp", "dq", "qi"]);
    members.iter().fold(jwk, |jwk, (member, value)| with(jwk, member, digits(value)))
}

/// The first odd number from `from` on without a small factor.
fn without_small_factor(from: &U4096) -> U4096 {
    let mut candidate = *from | U4096::ONE;
    while rsa::has_small_factor(&candidate.to_be_bytes()) {
        candidate = candidate.wrapping_add(&U4096::from_u8(2));
    }
    candidate
}

fn power_of_two(exponent: usize) -> U4096 {
    U4096::ONE.shl_vartime(exponent)
}

#[test]
fn a_file_with_nothing_in_it_is_empty() {
    for nothing in ["", " \r\n\t", "\u{FEFF}\n", "{\"keys\":[]}"] {
        assert_eq!(error_of(nothing.as_bytes()), ImportError::Empty, "{nothing:?}");
    }
}

#[test]
fn a_file_longer_than_any_key_is_not_read() {
    let (bytes, limit) = (FILE_LIMIT + 1, FILE_LIMIT);
    assert_eq!(error_of(&vec![b' '; bytes]), ImportError::TooLarge { bytes, limit });
    let padded = format!("{}{}", text("p256.sec1.pem"), "\n".repeat(FILE_LIMIT));
    assert!(read(&padded.as_bytes()[..FILE_LIMIT], None).is_ok());
}

#[test]
fn what_is_not_text_is_told() {
    let utf16: Vec<u8> = text("p256.pkcs8.pem").bytes().flat_map(|byte| [byte, 0]).collect();
    for bytes in [utf16.as_slice(), &[0x30, 0x82, 0xFF], b"text\0text"] {
        assert_eq!(error_of(bytes), ImportError::NotText);
    }
}

#[test]
fn a_file_in_another_format_is_told_by_name() {
    for (file, reason) in [
        (b"\xFE\xED\xFE\xED\0\0\0\x02".as_slice(), ImportError::JavaKeyStore),
        (b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", ImportError::Putty),
        (b"pkcs11:token=hsm;object=key", ImportError::Hardware),
        (
            b"-----BEGIN TSS2 PRIVATE KEY-----\nAAAA\n-----END TSS2 PRIVATE KEY-----",
            ImportError::Hardware,
        ),
        (
            b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n-----END PGP PRIVATE KEY BLOCK-----",
            ImportError::OpenPgp,
        ),
        (b"-----BEGIN SOMETHING-----\nAAAA\n-----END SOMETHING-----", ImportError::UnknownFormat),
        (
            b"-----BEGIN EC PARAMETERS-----\nAAAA\n-----END EC PARAMETERS-----",
            ImportError::UnknownFormat,
        ),
        (b"correct horse battery staple", ImportError::UnknownFormat),
    ] {
        assert_eq!(error_of(file), reason);
    }
}

#[test]
fn a_file_with_several_keys_is_refused() {
    let (one, other) = (text("p256.pkcs8.pem"), text("p256.spki.pem"));
    assert_eq!(error_of(format!("{one}{one}{other}").as_bytes()), ImportError::Several(3));
    let line = text("p256.public.ssh");
    assert_eq!(error_of(format!("{line}{line}").as_bytes()), ImportError::Several(2));
    let set = json!({ "keys": [jwk("p256.jwk"), jwk("rsa.jwk")] });
    assert_eq!(error_of_jwk(&set), ImportError::Several(2));
}

#[test]
fn a_set_with_one_key_is_that_key() {
    let set = json!({ "keys": [jwk("p256.jwk")] });
    assert_eq!(halves(set.to_string().as_bytes()), halves(&taken("p256.jwk")));
}

#[test]
fn what_surrounds_a_pem_block_and_how_its_lines_end_does_not_matter() {
    let file = text("p256.pkcs8.pem");
    let expected = halves(file.as_bytes());
    for variant in [
        file.replace('\n', "\r\n"),
        format!(
            "\u{FEFF}Bag Attributes\n    friendlyName: key\nKey Attributes: <No Attributes>\n{file}"
        ),
        pem("PRIVATE KEY", &der(&file)),
        file.replace('\n', "  \n\n"),
    ] {
        assert_eq!(halves(variant.as_bytes()), expected, "{variant}");
    }
}

#[test]
fn a_damaged_pem_block_is_told() {
    let file = text("rsa.encrypted.aes128.pkcs1.pem");
    for (damaged, fault) in [
        (file.replace("-----END RSA PRIVATE KEY-----", ""), PemFault::NoEnd),
        (file.replace("END RSA PRIVATE", "END EC PRIVATE"), PemFault::NoEnd),
        (text("p256.pkcs8.pem").replace("\n-----END", "!\n-----END"), PemFault::Base64),
        (text("p256.pkcs8.pem").replacen("\nM", "\n", 1), PemFault::Base64),
        (file.replace("Proc-Type: 4,ENCRYPTED\n", ""), PemFault::Headers),
        (
            file.lines()
                .filter(|line| !line.starts_with("DEK-Info"))
                .collect::<Vec<_>>()
                .join("\n"),
            PemFault::Headers,
        ),
        (file.replace("AES-128-CBC,", "AES-128-CBC"), PemFault::Headers),
        (file.replace("AES-128-CBC,", "AES-128-CBC,XY"), PemFault::Headers),
    ] {
        assert_ne!(damaged, file);
        assert_eq!(error_of(damaged.as_bytes()), ImportError::Pem(fault), "{damaged}");
    }
}

#[test]
fn what_is_not_what_its_label_says_does_not_parse() {
    let other = der(&text("p256.sec1.pem"));
    for (label, form) in [
        ("PRIVATE KEY", Form::Pkcs8),
        ("ENCRYPTED PRIVATE KEY", Form::Pkcs8),
        ("RSA PRIVATE KEY", Form::Pkcs1),
        ("RSA PUBLIC KEY", Form::Pkcs1),
        ("PUBLIC KEY", Form::Spki),
        ("OPENSSH PRIVATE KEY", Form::OpenSsh),
    ] {
        assert_eq!(error_of(pem(label, &other).as_bytes()), ImportError::Damaged(form), "{label}");
    }
    let pkcs8 = pem("EC PRIVATE KEY", &der(&text("p256.pkcs8.pem")));
    assert_eq!(error_of(pkcs8.as_bytes()), ImportError::Damaged(Form::Sec1));
    assert_eq!(error_of(b"ssh-ed25519 AAAA test"), ImportError::Damaged(Form::OpenSsh));
}

#[test]
fn a_public_line_of_another_kind_is_refused() {
    let line = |algorithm: &str, fields: &[&[u8]]| {
        let mut bytes = Vec::new();
        for field in [&[algorithm.as_bytes()], fields].concat() {
            bytes.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(field);
        }
        error_of(format!("{algorithm} {} test", BASE64_STANDARD.encode(bytes)).as_bytes())
    };
    let key: [&[u8]; 2] = [&[7; 32], b"ssh:"];
    assert_eq!(line("sk-ssh-ed25519@openssh.com", &key), ImportError::Hardware);
    let dsa: [&[u8]; 4] = [&[1], &[1], &[1], &[1]];
    assert_eq!(line("ssh-dss", &dsa), ImportError::UnknownKind("DSA"));
    assert_eq!(line("ssh-rsa", &[&[3], &[1]]), ImportError::RsaTooWeak { bits: 1 });
    // A negative number.
    assert_eq!(line("ssh-rsa", &[&[3], &[0x81]]), ImportError::Damaged(Form::OpenSsh));
}

#[test]
fn a_damaged_jwk_is_told_by_place_or_member() {
    assert_eq!(error_of(b"{\n \"kty\":}"), ImportError::Json { line: 2, column: 8 });
    let key = jwk("rsa.jwk");
    for member in ["kty", "n", "e", "d", "p", "q", "dp", "dq", "qi"] {
        let reason = ImportError::JwkMember(member);
        assert_eq!(error_of_jwk(&without(key.clone(), &[member])), reason);
    }
    for member in ["n", "d", "q", "qi"] {
        let reason = ImportError::JwkMember(member);
        for value in ["", "ab+/", "A", "AQ=="] {
            assert_eq!(error_of_jwk(&with(key.clone(), member, value.into())), reason, "{value}");
        }
    }
    for (name, member) in [
        ("p256.jwk", "crv"),
        ("p256.jwk", "x"),
        ("p256.jwk", "y"),
        ("ed25519.jwk", "crv"),
        ("ed25519.jwk", "x"),
    ] {
        let reason = ImportError::JwkMember(member);
        assert_eq!(error_of_jwk(&without(jwk(name), &[member])), reason);
    }
    let short = with(jwk("p256.jwk"), "y", "AQ".into());
    assert_eq!(error_of_jwk(&short), ImportError::JwkMember("y"));
    let kid = with(jwk("p256.jwk"), "kid", "".into());
    assert_eq!(error_of_jwk(&kid), ImportError::JwkMember("kid"));
}

#[test]
fn a_jwk_that_is_not_for_signing_is_refused() {
    for (member, value) in [
        ("use", json!("enc")),
        ("key_ops", json!(["wrapKey", "unwrapKey"])),
        ("alg", json!("RSA-OAEP")),
        ("alg", json!("none")),
    ] {
        let reason = ImportError::NotForSigning(member);
        assert_eq!(error_of_jwk(&with(jwk("rsa.jwk"), member, value)), reason);
    }
    for (key, reason) in [
        (json!({ "kty": "oct", "k": "AAAA" }), ImportError::UnknownKind("one symmetric secret")),
        (json!({ "kty": "AKP", "alg": "ML-DSA-44" }), ImportError::UnknownKind("ML-DSA")),
        (json!({ "kty": "EC", "crv": "secp256k1" }), ImportError::UnknownCurve("secp256k1")),
        (json!({ "kty": "OKP", "crv": "X25519" }), ImportError::UnknownKind("X25519")),
        (json!({ "kty": "OKP", "crv": "Ed448" }), ImportError::UnknownKind("Ed448")),
    ] {
        assert_eq!(error_of_jwk(&key), reason);
    }
}

#[test]
fn a_jwk_keeps_its_kid_and_the_algorithm_that_it_is_for() {
    let key = with(with(jwk("rsa.jwk"), "kid", "mine".into()), "alg", "PS256".into());
    let imported = read(key.to_string().as_bytes(), None).unwrap();
    assert_eq!(imported.kid().map(ToString::to_string).as_deref(), Some("mine"));
    assert_eq!(imported.fits(Algorithm::Ps256(RsaBits::B2048)), Ok(()));
    let wanted = Algorithm::Rs256(RsaBits::B2048);
    assert_eq!(
        imported.fits(wanted),
        Err(ImportError::OtherAlgorithm { declared: "PS256", wanted })
    );
}

#[test]
fn a_key_fits_the_algorithms_of_its_kind_alone() {
    for name in
        ["rsa.pkcs8.pem", "p256.spki.pem", "p384.jwk", "p521.sec1.pem", "ssh25519.public.ssh"]
    {
        let imported = read(&taken(name), None).unwrap();
        let kind = imported.kind();
        for wanted in Algorithm::ALL {
            let expected = if samples::keys_are_alike(kind.probe(), wanted) {
                Ok(())
            } else {
                Err(ImportError::Misfit { kind, wanted })
            };
            assert_eq!(imported.fits(wanted), expected, "{name}");
        }
    }
}

#[test]
fn a_public_key_does_not_sign() {
    let imported = read(&taken("rsa.spki.pem"), None).unwrap();
    assert_eq!(imported.into_pair().err(), Some(ImportError::PublicOnly));
}

#[test]
fn a_generated_key_that_went_out_comes_back_as_it_was() {
    for algorithm in Algorithm::ALL.into_iter().filter(|any| any.key_type() != KeyType::Akp) {
        let pair = samples::pair(algorithm);
        let file = pem("PRIVATE KEY", pair.secret.expose());
        let expected = (Some(pair.secret.expose().to_vec()), pair.public);
        assert!(halves(file.as_bytes()) == expected, "{algorithm}");
    }
    let ml_dsa = pem("PRIVATE KEY", samples::pair(Algorithm::MlDsa65).secret.expose());
    assert_eq!(error_of(ml_dsa.as_bytes()), ImportError::UnknownKind("ML-DSA"));
}

#[test]
fn what_a_passphrase_costs_is_bounded() {
    let limit = 1 << 20;
    let scrypt = |from: &[u8], to: &[u8]| {
        error_of(patched("p256.encrypted.scrypt.pkcs8.pem", from, to).as_bytes())
    };
    // N 16384, r 8, p 1.
    let parameters = [2, 2, 0x40, 0, 2, 1, 8, 2, 1, 1];
    let unit = "blocks of scrypt";
    for (to, work) in [
        ([2, 2, 0x40, 0, 2, 1, 0x41, 2, 1, 1], 0x4000 * 0x41),
        ([2, 2, 0x40, 0, 2, 1, 8, 2, 1, 9], 0x4000 * 8 * 9),
        ([2, 2, 0x40, 0, 2, 1, 0x7F, 2, 1, 0x7F], 0x4000 * 0x7F * 0x7F),
    ] {
        assert_eq!(scrypt(&parameters, &to), ImportError::TooCostly { work, unit, limit });
    }
    for to in [
        [2, 2, 0x40, 1, 2, 1, 8, 2, 1, 1],
        [2, 2, 0x40, 0, 2, 1, 0, 2, 1, 1],
        [2, 2, 0x40, 0, 2, 1, 8, 2, 1, 0],
        // One byte more of salt parameters: N is 1, r 8, p 1, and a key length of 1.
        [2, 1, 1, 2, 1, 8, 2, 1, 1, 5],
    ] {
        assert_eq!(scrypt(&parameters, &to), ImportError::UnknownCipher);
    }
    // OpenSSL takes 2048 rounds.
    let pbkdf2 = |to: &[u8]| {
        error_of(patched("p256.encrypted.pkcs8.pem", &[2, 2, 8, 0, 0x30], to).as_bytes())
    };
    assert_eq!(pbkdf2(&[2, 2, 0, 0, 0x30]), ImportError::UnknownCipher);
    assert_eq!(
        super::vectors::refused("costly.pbkdf2.pem"),
        ImportError::TooCostly { work: 2_000_001, unit: "rounds of PBKDF2", limit: 2_000_000 }
    );
    let file = der(&text("p256.encrypted.openssh.pem"));
    let at = file.windows(6).position(|window| window == b"bcrypt").unwrap() + 6 + 4 + 4 + 16;
    let bcrypt = |rounds: u32| {
        let mut file = file.clone();
        assert!(matches!(file[at..at + 4], [0, 0, 0, 1..=99]));
        file[at..at + 4].copy_from_slice(&rounds.to_be_bytes());
        error_of(pem("OPENSSH PRIVATE KEY", &file).as_bytes())
    };
    let unit = "rounds of bcrypt";
    for work in [501, u32::MAX] {
        let reason = ImportError::TooCostly { work: work.into(), unit, limit: 500 };
        assert_eq!(bcrypt(work), reason);
    }
    assert_eq!(bcrypt(0), ImportError::WrongPassphrase);
}

#[test]
fn an_iv_of_another_length_is_refused() {
    // An OCTET STRING of 8 bytes becomes one of 7 and a NULL without its length.
    let des = der(&text("p256.encrypted.des3.pkcs8.pem"));
    let oid = [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 3, 7];
    let at = des.windows(8).position(|window| window == oid).unwrap() + 8;
    let mut bad = des.clone();
    assert_eq!(bad[at..at + 2], [4, 8]);
    // As an OID of 8 bytes it is no IV at all.
    bad[at] = 6;
    let bad = pem("ENCRYPTED PRIVATE KEY", &bad);
    assert_eq!(error_of(bad.as_bytes()), ImportError::UnknownCipher);
    let legacy = text("rsa.encrypted.des3.pkcs1.pem");
    let at = legacy.find("DES-EDE3-CBC,").unwrap() + "DES-EDE3-CBC,".len();
    for (iv, reason) in [
        ("00", ImportError::Pem(PemFault::Headers)),
        ("0011223344556677889900112233445566", ImportError::UnknownCipher),
    ] {
        let bad = format!("{}{iv}{}", &legacy[..at], &legacy[at + 16..]);
        assert_eq!(error_of(bad.as_bytes()), reason);
    }
}

#[test]
fn an_rsa_key_whose_numbers_do_not_belong_together_is_refused() {
    let key = jwk("rsa.jwk");
    let two = U4096::from_u8(2);
    let (d, p, q) = (number(&key, "d"), number(&key, "p"), number(&key, "q"));
    assert!(read(rsa_with(&[]).to_string().as_bytes(), None).is_ok());
    assert!(read(rsa_with(&[("p", q), ("q", p)]).to_string().as_bytes(), None).is_ok());
    for (members, reason) in [
        (vec![("p", p.wrapping_add(&two))], ImportError::RsaPrimes),
        (vec![("p", p), ("q", p)], ImportError::RsaPrimes),
        (vec![("p", U4096::ZERO.wrapping_sub(&U4096::ONE))], ImportError::RsaPrimes),
        (vec![("d", d.wrapping_add(&two))], ImportError::RsaPrivateExponent),
        (
            vec![("d", power_of_two(1024).wrapping_sub(&U4096::ONE))],
            ImportError::RsaWeakPrivateExponent,
        ),
    ] {
        assert_eq!(error_of_jwk(&rsa_with(&members)), reason);
    }
    for member in ["dp", "dq", "qi"] {
        let wrong = with(key.clone(), member, digits(&number(&key, member).wrapping_add(&two)));
        assert_eq!(error_of_jwk(&wrong), ImportError::RsaCrt, "{member}");
    }
    let more = with(key, "oth", json!([]));
    assert_eq!(error_of_jwk(&more), ImportError::RsaMultiPrime);
}

#[test]
fn an_rsa_exponent_that_is_even_small_or_large_is_refused() {
    for (e, fault) in [
        (0_u64, ExponentFault::Even),
        (65_538, ExponentFault::Even),
        (1, ExponentFault::Small),
        (65_535, ExponentFault::Small),
        ((1 << 31) + 1, ExponentFault::Large),
        (u64::MAX, ExponentFault::Large),
    ] {
        let mut key = jwk("rsa.public.jwk");
        key["e"] = BASE64_URL_SAFE_NO_PAD.encode(e.to_be_bytes()).into();
        assert_eq!(error_of_jwk(&key), ImportError::RsaExponent(fault), "{e}");
    }
}

#[test]
fn a_weak_rsa_modulus_is_refused() {
    let public = |n: &U4096| error_of_jwk(&with(jwk("rsa.public.jwk"), "n", digits(n)));
    let modulus = number(&jwk("rsa.jwk"), "n");
    let even = modulus.wrapping_sub(&U4096::ONE);
    assert_eq!(public(&even), ImportError::RsaSmallFactor);
    let multiple =
        U4096::from_u32(4093).wrapping_mul(&power_of_two(2036).wrapping_add(&U4096::ONE));
    assert_eq!(public(&multiple), ImportError::RsaSmallFactor);
    assert_eq!(public(&power_of_two(1000)), ImportError::RsaTooWeak { bits: 1001 });
    assert_eq!(public(&power_of_two(2048)), ImportError::RsaSize { bits: 2049 });
    // As that library makes them: a power of 65537 modulo the product of small primes.
    let primes = [11_u32, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
    let product = primes
        .iter()
        .fold(U4096::ONE, |product, prime| product.wrapping_mul(&U4096::from_u32(*prime)));
    let power = U4096::from_u32(65_537).wrapping_mul(&U4096::from_u32(65_537));
    let rest = power_of_two(2047).rem(&NonZero::new(product).unwrap());
    let mut roca =
        power_of_two(2047).wrapping_sub(&rest).wrapping_add(&product).wrapping_add(&power);
    while public(&roca) == ImportError::RsaSmallFactor {
        roca = roca.wrapping_add(&product);
    }
    assert_eq!(public(&roca), ImportError::RsaRoca);
}

#[test]
fn rsa_primes_that_are_close_or_of_different_lengths_are_refused() {
    let top = power_of_two(1023).wrapping_add(&power_of_two(1022));
    let close = [top, top.wrapping_add(&power_of_two(900))];
    let lengths = [power_of_two(1000), power_of_two(1047).wrapping_add(&power_of_two(1046))];
    for [p, q] in [close, lengths] {
        let (p, q) = (without_small_factor(&p), without_small_factor(&q));
        let key = rsa_with(&[("n", p.wrapping_mul(&q)), ("p", p), ("q", q)]);
        assert_eq!(error_of_jwk(&key), ImportError::RsaWeakPrimes);
    }
}

#[test]
fn an_rsa_key_whose_primes_are_not_prime_does_not_work() {
    let key = jwk("rsa.jwk");
    let q = number(&key, "q");
    let composite = without_small_factor(&power_of_two(1023).wrapping_add(&power_of_two(1022)));
    let totient = |prime: &U4096| prime.wrapping_sub(&U4096::ONE);
    let product = totient(&composite).wrapping_mul(&totient(&q));
    let (d, exists) = number(&key, "e").inv_mod(&product);
    assert!(bool::from(exists));
    let key = rsa_with(&[("n", composite.wrapping_mul(&q)), ("p", composite), ("d", d)]);
    assert!(matches!(error_of_jwk(&key), ImportError::Useless(_)), "{:?}", error_of_jwk(&key));
}

#[test]
fn the_numbers_of_pkcs1_are_checked_as_those_of_a_jwk() {
    let der = der(&text("rsa.pkcs1.pem"));
    let key = pkcs1::RsaPrivateKey::from_der(&der).unwrap();
    let swapped =
        pkcs1::RsaPrivateKey { exponent1: key.exponent2, exponent2: key.exponent1, ..key.clone() };
    let swapped = pem("RSA PRIVATE KEY", &swapped.to_der().unwrap());
    assert_eq!(error_of(swapped.as_bytes()), ImportError::RsaCrt);
    let short = pkcs1::RsaPrivateKey { modulus: UintRef::new(&[1; 64]).unwrap(), ..key };
    let short = pem("RSA PRIVATE KEY", &short.to_der().unwrap());
    assert_eq!(error_of(short.as_bytes()), ImportError::RsaTooWeak { bits: 505 });
}

#[test]
fn a_public_half_of_another_key_is_a_mismatch() {
    for (name, algorithm) in [
        ("p256.jwk", Algorithm::Es256),
        ("p384.jwk", Algorithm::Es384),
        ("p521.jwk", Algorithm::Es512),
        ("ed25519.jwk", Algorithm::EdDsa),
    ] {
        let mut key = jwk(name);
        match samples::other_pair(algorithm).public {
            PublicKey::Ec { x, y, .. } => {
                key["x"] = BASE64_URL_SAFE_NO_PAD.encode(x).into();
                key["y"] = BASE64_URL_SAFE_NO_PAD.encode(y).into();
            }
            PublicKey::Ed25519 { x } => key["x"] = BASE64_URL_SAFE_NO_PAD.encode(x).into(),
            PublicKey::Rsa { .. } | PublicKey::Akp { .. } => panic!("{name}"),
        }
        assert_eq!(error_of_jwk(&key), ImportError::Mismatch, "{name}");
    }
    // OpenSSH has the public half three times.
    let mut file = der(&text("ssh25519.openssh.pem"));
    let at = file.windows(11).position(|window| window == b"ssh-ed25519").unwrap() + 11 + 4;
    file[at] ^= 1;
    let file = pem("OPENSSH PRIVATE KEY", &file);
    assert_eq!(error_of(file.as_bytes()), ImportError::Mismatch);
}

#[test]
fn a_key_pair_on_a_curve_in_an_openssh_file_that_does_not_hang_together_is_refused() {
    let file = der(&text("p521.openssh.pem"));
    let error_with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = file.clone();
        change(&mut file);
        error_of(pem("OPENSSH PRIVATE KEY", &file).as_bytes())
    };
    let damaged = ImportError::Damaged(Form::OpenSsh);
    let last = file.len() - 1;
    let of_key = |name: &[u8]| file.windows(name.len()).rposition(|window| window == name).unwrap();
    let (algorithm, curve) = (of_key(b"ecdsa-sha2-nistp521"), of_key(b"\0\0\0\x08nistp521") + 4);
    // The number that stands there twice, the names of algorithm and curve, the padding, the end.
    assert_eq!(error_with(&|file| file[algorithm - 5] ^= 1), damaged);
    assert_eq!(error_with(&|file| file[algorithm + 18] = b'2'), damaged);
    assert_eq!(error_with(&|file| file[curve + 7] = b'2'), damaged);
    assert_eq!(error_with(&|file| file[last] ^= 1), damaged);
    assert_eq!(error_with(&|file| file.truncate(last)), damaged);
    assert_eq!(error_with(&|file| file.push(0)), damaged);
    // Its point, and that before the private section.
    let point = curve + 8 + 4 + 1;
    assert_eq!(error_with(&|file| file[point] ^= 1), ImportError::Mismatch);
    let before = file.windows(8).position(|window| window == b"nistp521").unwrap();
    let before = before + 8 + 4 + 8 + 4 + 1;
    assert_eq!(error_with(&|file| file[before] ^= 1), ImportError::Mismatch);
    // Its scalar.
    let scalar = curve + 8 + 4 + 133 + 4;
    assert_eq!(error_with(&|file| file[scalar] ^= 1), ImportError::Mismatch);
}

#[test]
fn a_point_that_is_not_on_its_curve_is_refused() {
    for (name, curve) in [("p256", "P-256"), ("p384", "P-384"), ("p521", "P-521")] {
        for file in [format!("{name}.jwk"), format!("{name}.public.jwk")] {
            let mut y = member_bytes(&jwk(&file), "y");
            *y.last_mut().unwrap() ^= 1;
            let key = with(jwk(&file), "y", BASE64_URL_SAFE_NO_PAD.encode(y).into());
            assert_eq!(error_of_jwk(&key), ImportError::NotOnCurve(curve), "{file}");
        }
    }
    let public = |x: &[u8]| {
        let x = Value::from(BASE64_URL_SAFE_NO_PAD.encode(x));
        error_of_jwk(&with(jwk("ed25519.public.jwk"), "x", x))
    };
    // No point has this y, and the one of y = 1 is neutral.
    let [mut none, mut neutral] = [[0; 32]; 2];
    (none[0], neutral[0]) = (2, 1);
    assert_eq!(public(&none), ImportError::NotOnCurve("Ed25519"));
    assert_eq!(public(&[1; 31]), ImportError::NotOnCurve("Ed25519"));
    assert_eq!(public(&neutral), ImportError::WeakPoint);
    assert_eq!(public(&[0; 32]), ImportError::WeakPoint);
}

#[test]
fn a_private_half_out_of_range_is_refused() {
    for (name, curve, length) in
        [("p256.jwk", "P-256", 32), ("p384.jwk", "P-384", 48), ("p521.jwk", "P-521", 66)]
    {
        for d in [vec![0; length], vec![0xFF; length], vec![1; length + 1]] {
            let key = with(jwk(name), "d", BASE64_URL_SAFE_NO_PAD.encode(&d).into());
            assert_eq!(error_of_jwk(&key), ImportError::PrivateHalf(curve), "{d:?}");
        }
    }
    for length in [31, 33] {
        let d = BASE64_URL_SAFE_NO_PAD.encode(vec![7; length]);
        let key = with(jwk("ed25519.jwk"), "d", d.into());
        assert_eq!(error_of_jwk(&key), ImportError::PrivateHalf("Ed25519"));
    }
}

#[test]
fn a_key_in_sec1_names_its_curve() {
    let other = patched(
        "p256.sec1.pem",
        &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 7],
        &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 3, 1, 1],
    );
    assert_eq!(error_of(other.as_bytes()), ImportError::UnknownCurve("P-192"));
}

/// Whether an error tells any 8 bytes of what the file encodes, as base64 or in hexadecimal.
fn tells(error: &ImportError, file: &str) -> bool {
    let told = format!("{error} {error:?}");
    let content: String = file.lines().filter(|line| !line.starts_with("-----")).collect();
    let is_outside = |c: char| !(c.is_ascii_alphanumeric() || "+/-_=".contains(c));
    // Shorter are words, such as the name of a curve.
    let encoded = content.split(is_outside).filter(|text| text.len() > 20);
    encoded.into_iter().any(|text| {
        let hex = BASE64_STANDARD.decode(text).map(|bytes| hex(&bytes)).unwrap_or_default();
        [(text, 11), (hex.as_str(), 16)].into_iter().any(|(text, length)| {
            let windows =
                text.as_bytes().windows(length).filter_map(|w| std::str::from_utf8(w).ok());
            windows.into_iter().any(|window| told.contains(window))
        })
    })
}

#[test]
fn what_would_tell_of_a_file_is_noticed() {
    let pem = text("p256.pkcs8.pem");
    let private = jwk("p256.jwk")["d"].as_str().unwrap().to_owned();
    for (error, file) in [
        (ImportError::JwkMember(pem.lines().nth(1).unwrap()[7..18].to_owned().leak()), pem.clone()),
        (ImportError::JwkMember(hex(&der(&pem)[9..17]).leak()), pem.clone()),
        (ImportError::JwkMember(private[3..14].to_owned().leak()), text("p256.jwk")),
    ] {
        assert!(tells(&error, &file), "{error}");
    }
    assert!(!tells(&ImportError::NotOnCurve("Ed25519"), &text("ed25519.jwk")));
}

/// Private keys that are not encrypted, with their public halves: without it, a seed or a scalar
/// with a flipped bit is just another key.
fn plain_key_pairs() -> Vec<String> {
    let others = [".encrypted.", ".public.", ".spki.", ".private-only.", "ed25519.pkcs8."];
    let is_pair = |name: &String| !others.iter().any(|part| name.contains(part));
    taken_names().into_iter().filter(is_pair).collect()
}

/// Reads what became of `name`: an error that tells nothing, or the key as it was.
fn judge(name: &str, damaged: &[u8]) -> Result<(), TestCaseError> {
    let (secret, public) = halves(&taken(name));
    match read(damaged, Some(&passphrase(PASSPHRASE))).map(super::Imported::into_material) {
        Err(error) => prop_assert!(!tells(&error, &text(name)), "{name}: {error}"),
        Ok(Material::Pair(pair)) => {
            prop_assert!(pair.public == public, "{name}");
            prop_assert!(Some(pair.secret.expose()) == secret.as_deref(), "{name}");
        }
        // Without `d` a JWK is a public one.
        Ok(Material::Public(read)) => prop_assert!(read == public && form(name) == "jwk"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_with_a_flipped_bit_is_refused_or_read_as_the_same_key(
        name in proptest::sample::select(plain_key_pairs()),
        place: proptest::sample::Index,
        bit in 0_u32..8,
    ) {
        let mut damaged = taken(&name);
        let at = place.index(damaged.len());
        damaged[at] ^= 1 << bit;
        judge(&name, &damaged)?;
    }

    #[test]
    fn a_file_whose_content_has_a_flipped_bit_is_refused_or_read_as_the_same_key(
        name in proptest::sample::select(plain_key_pairs()),
        place: proptest::sample::Index,
        bit in 0_u32..8,
    ) {
        let file = text(&name);
        prop_assume!(form(&name) == "pem" && !name.contains("parameters") && !name.contains("beside"));
        let label = file.lines().next().unwrap().trim_matches('-').strip_prefix("BEGIN ").unwrap();
        let mut damaged = der(&file);
        let at = place.index(damaged.len());
        damaged[at] ^= 1 << bit;
        judge(&name, pem(label, &damaged).as_bytes())?;
    }

    #[test]
    fn a_file_that_was_cut_is_refused(
        name in proptest::sample::select(taken_names()),
        place: proptest::sample::Index,
    ) {
        let file = taken(&name);
        let cut = &file[..place.index(file.len() - 2)];
        // A public line has a comment at its end.
        prop_assume!(form(&name) != "ssh");
        prop_assert!(read(cut, None).is_err());
    }

    #[test]
    fn anything_at_all_is_refused_without_harm(
        label in proptest::sample::select(vec!["PRIVATE KEY", "ENCRYPTED PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "PUBLIC KEY", "RSA PUBLIC KEY"]),
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        prop_assert!(read(&bytes, None).is_err());
        prop_assert!(read(pem(label, &bytes).as_bytes(), Some(&passphrase(PASSPHRASE))).is_err());
    }
}
