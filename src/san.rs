//! PURE: the names in certificates by which callers are known: DNS names and SPIFFE IDs.
//!
//! Only names in the subject alternative name extension count (RFC 9525, section 2), never the
//! subject's common name, and nothing in a caller's name is a wildcard.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The longest SPIFFE ID, in bytes (SPIFFE-ID, section 2.3).
const LONGEST_SPIFFE_ID: usize = 2048;

/// The longest trust domain, in bytes (SPIFFE-ID, section 2.3).
const LONGEST_TRUST_DOMAIN: usize = 255;

/// The longest DNS name, in bytes (RFC 1035, section 2.3.4).
pub(crate) const LONGEST_DNS_NAME: usize = 253;

/// A subject alternative name that a caller can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    /// A DNS name, in lower case: they are compared without regard to case (RFC 4343).
    Dns(String),
    /// A SPIFFE ID, compared byte for byte.
    Spiffe(String),
}

/// Why a text is not such a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(pub(crate) &'static str);

impl FromStr for San {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.parse::<IpAddr>().is_ok() {
            return Err(NameError("a caller is known by a DNS name or a SPIFFE ID, not by an IP"));
        }
        if text.contains(':') {
            return spiffe_id(text).map(Self::Spiffe);
        }
        dns_name(text).map(Self::Dns)
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Spiffe(name) => f.write_str(name),
        }
    }
}

/// A DNS name without a wildcard, in lower case (RFC 1123, section 2.1). Its labels may have `_`,
/// as the names of services do.
///
/// # Errors
///
/// [`NameError`].
pub(crate) fn dns_name(text: &str) -> Result<String, NameError> {
    if text.is_empty() || text.len() > LONGEST_DNS_NAME {
        return Err(NameError("a DNS name has 1 to 253 characters"));
    }
    if text.contains('*') {
        return Err(NameError("no wildcard can stand here: it would be more than one name"));
    }
    if !text.split('.').all(is_label) {
        return Err(NameError(
            "not a DNS name: its labels have 1 to 63 letters, digits, '_' and '-', and neither \
             begin nor end with '-'",
        ));
    }
    if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
        return Err(NameError("not a DNS name: it ends like an IP address"));
    }
    Ok(text.to_ascii_lowercase())
}

/// The SPIFFE ID of a workload: `spiffe://` with a trust domain and a path (SPIFFE-ID, section 2;
/// X509-SVID, section 2).
fn spiffe_id(text: &str) -> Result<String, NameError> {
    let rest = text
        .strip_prefix("spiffe://")
        .ok_or(NameError("the only URI that can be used is a SPIFFE ID: spiffe://DOMAIN/PATH"))?;
    if text.len() > LONGEST_SPIFFE_ID {
        return Err(NameError("a SPIFFE ID has at most 2048 characters"));
    }
    if rest.contains(['?', '#']) {
        return Err(NameError("a SPIFFE ID has no query and no fragment"));
    }
    let (domain, path) = rest.split_once('/').unwrap_or((rest, ""));
    check_trust_domain(domain)?;
    if path.is_empty() {
        return Err(NameError("a workload's SPIFFE ID has a path: spiffe://DOMAIN/PATH"));
    }
    if !path.split('/').all(is_segment) {
        return Err(NameError(
            "the path of a SPIFFE ID has segments of letters, digits, '.', '-' and '_', none of \
             them empty, \".\" or \"..\"",
        ));
    }
    Ok(text.to_owned())
}

fn check_trust_domain(domain: &str) -> Result<(), NameError> {
    if domain.contains('@') {
        return Err(NameError("a SPIFFE ID names no user"));
    }
    if domain.contains(':') {
        return Err(NameError("a SPIFFE ID has no port"));
    }
    let good =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    if domain.is_empty() || domain.len() > LONGEST_TRUST_DOMAIN || !domain.bytes().all(good) {
        return Err(NameError(
            "the trust domain of a SPIFFE ID has 1 to 255 small letters, digits, '.', '-' and '_'",
        ));
    }
    Ok(())
}

fn is_segment(segment: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !matches!(segment, "" | "." | "..") && segment.bytes().all(good)
}

fn is_label(label: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    (1..=63).contains(&label.len())
        && label.bytes().all(good)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn san(text: &str) -> Result<San, NameError> {
        text.parse()
    }

    fn reason(text: &str) -> &'static str {
        san(text).err().unwrap_or_else(|| panic!("{text:?} was taken")).0
    }

    #[test]
    fn dns_names_are_the_same_in_any_case_and_spiffe_ids_are_not() {
        assert_eq!(san("Backend.Example.COM"), san("backend.example.com"));
        assert_ne!(
            san("spiffe://example.com/Backend").unwrap(),
            san("spiffe://example.com/backend").unwrap()
        );
    }

    #[test]
    fn what_could_mean_more_than_one_name_is_refused() {
        let long = format!("spiffe://example.com/{}", "a".repeat(LONGEST_SPIFFE_ID));
        let cases = [
            "",
            "*.example.com",
            "*",
            ".example.com",
            "example.com.",
            "a..b",
            "-a.example.com",
            "a b",
            "bücher.example",
            "127.0.0.1",
            "1.2.3.400",
            "1",
            "::1",
            "backend.example.com:443",
            "https://example.com/backend",
            "SPIFFE://example.com/backend",
            "spiffe:example.com",
            "spiffe://",
            "spiffe:///backend",
            "spiffe://example.com",
            "spiffe://example.com/",
            "spiffe://example.com/backend/",
            "spiffe://example.com//backend",
            "spiffe://example.com/./backend",
            "spiffe://example.com/a/../b",
            "spiffe://example.com/*",
            "spiffe://example.com/b%61ckend",
            "spiffe://example.com/backend?x=1",
            "spiffe://example.com/backend#x",
            "spiffe://example.com:443/backend",
            "spiffe://user@example.com/backend",
            "spiffe://Example.com/backend",
            &long,
        ];
        for text in cases {
            assert!(san(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ordinary_names_are_taken() {
        for text in ["backend", "a-b.example.com", "_x.example", "1.example"] {
            assert_eq!(san(text), Ok(San::Dns(text.into())));
        }
        for text in ["spiffe://example.com/ns/x/sa/y", "spiffe://a_b-c.d/A.b_c-D"] {
            assert_eq!(san(text), Ok(San::Spiffe(text.into())));
        }
    }

    #[test]
    fn a_dns_name_has_labels_and_no_case() {
        let no_dns_name = |text: &str| dns_name(text).unwrap_err().0;
        for text in ["localhost", "a-1.example.com", "_a.b_c", "1.2.3.a"] {
            assert_eq!(dns_name(&text.to_uppercase()), Ok(text.to_owned()));
        }
        let long = ["a".repeat(64).as_str(), "com"].join(".");
        for text in ["a..b", ".a", "a.", "-a", "a-", "a b", "ä.com", "a/b", "a:1", &long] {
            assert!(no_dns_name(text).contains("labels"), "{text}");
        }
        assert!(no_dns_name("").contains("1 to 253"));
        assert!(no_dns_name(&"a.".repeat(127)).contains("1 to 253"));
        assert!(no_dns_name("127.0.0.1").contains("IP address"));
        assert!(no_dns_name("1.2.3.400").contains("IP address"));
        assert!(no_dns_name("*.example.com").contains("wildcard"));
    }

    #[test]
    fn a_spiffe_id_is_what_its_specification_says() {
        let no_spiffe_id = |text: &str| spiffe_id(text).unwrap_err().0;
        for text in ["spiffe://example.org/backend", "spiffe://a_b-1.c/A/b.c/_-"] {
            assert_eq!(spiffe_id(text), Ok(text.to_owned()));
        }
        let longest = format!("spiffe://a/{}", "p".repeat(LONGEST_SPIFFE_ID - 11));
        assert!(spiffe_id(&longest).is_ok());
        let refused: [(&str, &[&str]); 8] = [
            ("query", &["spiffe://a/b?c", "spiffe://a?"]),
            ("fragment", &["spiffe://a/b#c"]),
            ("user", &["spiffe://me@a/b", "spiffe://me:pw@a/b"]),
            ("port", &["spiffe://a:443/b"]),
            ("has a path", &["spiffe://a", "spiffe://a/"]),
            ("segments", &["spiffe://a//b", "spiffe://a/b/", "spiffe://a/../b", "spiffe://a/%62"]),
            ("trust domain", &["spiffe:///b", "spiffe://A/b", "spiffe://ä/b", "spiffe://%61/b"]),
            ("only URI", &["SPIFFE://a/b", "spiffe:/a/b", "https://a/b", "a"]),
        ];
        for (words, texts) in refused {
            for text in texts {
                assert!(no_spiffe_id(text).contains(words), "{text}: {words}");
            }
        }
        assert!(no_spiffe_id(&(longest + "p")).contains("2048"));
        let domain = format!("spiffe://{}/a", "d".repeat(256));
        assert!(no_spiffe_id(&domain).contains("trust domain"));
    }

    #[test]
    fn a_caller_is_known_by_a_dns_name_or_a_spiffe_id() {
        let shown = |text: &str| san(text).unwrap().to_string();
        assert_eq!(shown("Backend.example.com"), "backend.example.com");
        assert_eq!(shown("spiffe://a/b"), "spiffe://a/b");
        assert!(reason("*.example.com").contains("wildcard"));
        assert!(reason("127.0.0.1").contains("not by an IP"));
        assert!(reason("::1").contains("not by an IP"));
        assert!(reason("https://a/b").contains("SPIFFE"));
    }

    proptest! {
        #[test]
        fn what_is_taken_is_taken_again_unchanged(text in "\\PC{0,20}|[a-z*._-]{1,20}|spiffe://[a-z/.]{0,12}") {
            if let Ok(name) = san(&text) {
                prop_assert_eq!(san(&name.to_string()), Ok(name));
            }
        }
    }
}
