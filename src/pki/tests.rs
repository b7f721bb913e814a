use super::*;
use proptest::prelude::*;

const DAY: Duration = Duration::from_hours(24);

/// 2026-11-22T03:00:00.123Z.
const NOW: Time = Time::from_millis(1_795_316_400_123);

fn ca(lifetime: Duration) -> Issued {
    make_ca(&"Test CA".parse().unwrap(), lifetime, NOW).unwrap()
}

fn parse(certificate: &Issued, key: &Issued, now: Time) -> Result<Ca, CaError> {
    Ca::parse(&certificate.certificate, key.key.as_bytes(), now)
}

fn client() -> Purpose {
    Purpose::Client("backend.example.com".parse().unwrap())
}

fn issue(ca: &Ca, lifetime: Duration, now: Time) -> Issued {
    ca.issue(&"web".parse().unwrap(), &client(), lifetime, now).unwrap()
}

/// What `look` sees in a certificate.
fn look<T>(issued: &Issued, look: impl FnOnce(&X509Certificate<'_>) -> T) -> T {
    let der = only_certificate(&issued.certificate).unwrap();
    look(&x509_parser::parse_x509_certificate(&der).unwrap().1)
}

#[test]
fn a_certificate_begins_a_little_earlier_and_lasts_as_long_as_was_asked() {
    let made = ca(10 * DAY);
    let leaf = issue(&parse(&made, &made, NOW).unwrap(), 3 * DAY, NOW);
    assert_eq!(leaf.lifetime, Lifetime::AsAsked);
    assert_eq!(leaf.expires_at, whole_seconds(NOW + 3 * DAY));
    let validity = look(&leaf, Validity::of_parsed);
    assert_eq!(validity.begins, whole_seconds(NOW.before(BACKDATED)));
    assert_eq!(validity.ends, leaf.expires_at);
}

#[test]
fn nothing_is_valid_longer_than_its_ca() {
    let made = ca(10 * DAY);
    let ca = parse(&made, &made, NOW).unwrap();
    let leaf = issue(&ca, 10 * DAY, NOW + DAY);
    assert_eq!(leaf.lifetime, Lifetime::CutToCa);
    assert_eq!(leaf.expires_at, made.expires_at);
    assert_eq!(look(&leaf, Validity::of_parsed).ends, made.expires_at);
}

#[test]
fn a_ca_issues_until_its_last_second_and_not_before_its_first() {
    let made = ca(DAY);
    let at = |now| parse(&made, &made, now).map(|_| ()).err();
    assert_eq!(at(made.expires_at + Duration::from_millis(999)), None);
    let late = made.expires_at + Duration::from_secs(1);
    assert_eq!(at(late), Some(CaError::Expired(made.expires_at)));
    let first = whole_seconds(NOW.before(BACKDATED));
    assert_eq!(at(first), None);
    assert_eq!(at(first.before(Duration::from_millis(1))), Some(CaError::NotYet(first)));
}

#[test]
fn what_is_no_ca_issues_nothing() {
    let made = ca(DAY);
    let leaf = issue(&parse(&made, &made, NOW).unwrap(), DAY, NOW);
    assert_eq!(parse(&leaf, &leaf, NOW).err(), Some(CaError::NotACa));
    assert_eq!(parse(&made, &leaf, NOW).err(), Some(CaError::OtherKey));

    let both = made.certificate.repeat(2);
    let certificates = ["", "text", &made.key, &both, &made.certificate[..200]];
    for certificate in certificates {
        let refused = Ca::parse(certificate, made.key.as_bytes(), NOW).err();
        assert_eq!(refused, Some(CaError::NotACertificate), "{certificate}");
    }
    let texts = ["", "text", &made.certificate, &made.key[..100]].map(str::as_bytes);
    for key in texts.into_iter().chain([&[0xff, 0xfe][..]]) {
        assert_eq!(Ca::parse(&made.certificate, key, NOW).err(), Some(CaError::NotAKey), "{key:?}");
    }
}

#[test]
fn a_ca_below_another_ca_issues_nothing() {
    let root = ca(DAY);
    let (root_key, key) = (KeyPair::from_pem(&root.key).unwrap(), KeyPair::generate().unwrap());
    let der = only_certificate(&root.certificate).unwrap();
    let issuer = Issuer::from_ca_cert_der(&der.as_slice().into(), &root_key).unwrap();
    let mut params = params("Below", NOW, NOW + DAY).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let below = params.signed_by(&key, &issuer).unwrap().pem();
    let refused = Ca::parse(&below, key.serialize_pem().as_bytes(), NOW).err();
    assert_eq!(refused, Some(CaError::NotItsOwn));

    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let may_not_sign = params.self_signed(&key).unwrap().pem();
    let refused = Ca::parse(&may_not_sign, key.serialize_pem().as_bytes(), NOW).err();
    assert_eq!(refused, Some(CaError::NotACa));
}

#[test]
fn a_root_of_another_maker_issues_by_its_own_key_identifier() {
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let mut params = params("Corporate", NOW, NOW + DAY).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(vec![1, 2, 3]);
    let root = params.self_signed(&key).unwrap().pem();
    let ca = Ca::parse(&root, key.serialize_pem().as_bytes(), NOW).unwrap();
    let leaf = issue(&ca, DAY, NOW);
    let authority = look(&leaf, |certificate| {
        certificate.iter_extensions().find_map(|extension| match extension.parsed_extension() {
            x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) => {
                id.key_identifier.as_ref().map(|id| id.0.to_vec())
            }
            _ => None,
        })
    });
    assert_eq!(authority, Some(vec![1, 2, 3]));
}

#[test]
fn no_two_serial_numbers_are_the_same_and_none_is_negative_or_too_long() {
    let made = ca(DAY);
    let ca = parse(&made, &made, NOW).unwrap();
    let serial = |issued: &Issued| look(issued, |leaf| leaf.raw_serial().to_vec());
    let serials: Vec<_> = (0..16).map(|_| serial(&issue(&ca, DAY, NOW))).collect();
    for (i, serial) in serials.iter().enumerate() {
        assert!((17..=20).contains(&serial.len()) && serial[0] < 0x80, "{serial:?}");
        assert!(!serials[..i].contains(serial));
    }
}

#[test]
fn no_error_says_what_a_key_file_holds() {
    let made = ca(DAY);
    let secret = made.key.lines().nth(1).unwrap();
    let broken = made.key.replacen(secret, &format!("!{secret}"), 1);
    for (certificate, key) in [(&*made.key, &*made.key), (&made.certificate, &broken)] {
        let error = Ca::parse(certificate, key.as_bytes(), NOW).err().unwrap();
        assert!(!format!("{error:?} {error}").contains(&secret[..8]));
    }
}

/// What the signature of a certificate covers: around it, more than one encoding is read as the same.
fn signed_part(pem: &str) -> Vec<u8> {
    let der = only_certificate(pem).unwrap();
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    certificate.tbs_certificate.as_ref().to_vec()
}

proptest! {
    #[test]
    fn no_text_makes_a_ca_panic(certificate in "\\PC*", cut in 0..600_usize, to in any::<u8>()) {
        let made = ca(DAY);
        prop_assert!(Ca::parse(&certificate, made.key.as_bytes(), NOW).is_err());
        // A byte of it is another: whatever is still a CA has a good signature.
        let mut bytes = made.certificate.clone().into_bytes();
        let at = cut % bytes.len();
        bytes[at] = to;
        if let Ok(text) = String::from_utf8(bytes) && Ca::parse(&text, made.key.as_bytes(), NOW).is_ok() {
            prop_assert_eq!(signed_part(&text), signed_part(&made.certificate));
        }
    }
}
