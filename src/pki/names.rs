//! PURE: the names that may be in a certificate, and those of its files.
//!
//! Each type is made from text, and refuses what others would read differently or not at all.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The longest common name (RFC 5280, appendix A.1, `ub-common-name`).
const MAX_COMMON_NAME: usize = 64;

/// The longest SPIFFE ID and the longest trust domain (SPIFFE-ID, section 2.3).
const MAX_SPIFFE_ID: usize = 2048;
const MAX_TRUST_DOMAIN: usize = 255;

/// Why a text is not such a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(&'static str);

/// What a CA is called by people: the common name in its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaName(String);

/// What a certificate is called: its files are, and it is the common name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName(String);

/// A DNS name without a wildcard, in lower case (RFC 1123, section 2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName(String);

/// A DNS name whose first label may be `*`, which stands for one label (RFC 9525, section 6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsPattern(String);

/// The SPIFFE ID of a workload: `spiffe://` with a trust domain and a path (SPIFFE-ID, section 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpiffeId(String);

/// What a server can be asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// A DNS name, perhaps with a wildcard.
    Dns(DnsPattern),
    /// An IP address.
    Ip(IpAddr),
}

/// What a caller is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientName {
    /// A DNS name.
    Dns(DnsName),
    /// A SPIFFE ID.
    Spiffe(SpiffeId),
}

impl FromStr for CaName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(NameError("a CA's name has printable characters"));
        }
        if text.chars().count() > MAX_COMMON_NAME {
            return Err(NameError("a CA's name has at most 64 characters"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for CertificateName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) || !text.chars().all(good) {
            return Err(NameError(
                "it becomes the name of two files: letters, digits, '-', '_' and '.', the first a \
                 letter or a digit",
            ));
        }
        if text.len() > MAX_COMMON_NAME {
            return Err(NameError("it has at most 64 characters"));
        }
        if text.eq_ignore_ascii_case("ca") {
            return Err(NameError("the CA's own files are called so"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for DnsName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > 253 {
            return Err(NameError("a DNS name has 1 to 253 characters"));
        }
        if text.contains('*') {
            return Err(NameError("no wildcard can stand here: it would be more than one name"));
        }
        if !text.split('.').all(is_label) {
            return Err(NameError(
                "not a DNS name: its labels have 1 to 63 letters, digits and '-', which neither \
                 begins nor ends one",
            ));
        }
        if text.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit())) {
            return Err(NameError("not a DNS name: it ends like an IP address"));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

impl FromStr for DnsPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some(rest) = text.strip_prefix("*.") else {
            return text.parse().map(|DnsName(name)| Self(name));
        };
        let DnsName(rest) = rest.parse()?;
        if text.len() > 253 {
            return Err(NameError("a DNS name has 1 to 253 characters"));
        }
        if !rest.contains('.') {
            return Err(NameError("a wildcard stands before at least two labels"));
        }
        Ok(Self(format!("*.{rest}")))
    }
}

impl FromStr for SpiffeId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let rest = text.strip_prefix("spiffe://").ok_or(NameError(
            "the only URI that can be used is a SPIFFE ID: spiffe://DOMAIN/PATH",
        ))?;
        if text.len() > MAX_SPIFFE_ID {
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
                "the path of a SPIFFE ID has segments of letters, digits, '.', '-' and '_', none \
                 of them empty, \".\" or \"..\"",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for ClientName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.contains(':') && text.parse::<IpAddr>().is_err() {
            return text.parse().map(Self::Spiffe);
        }
        if text.parse::<IpAddr>().is_ok() {
            return Err(NameError("a caller is known by a DNS name or a SPIFFE ID, not by an IP"));
        }
        text.parse().map(Self::Dns)
    }
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
    if domain.is_empty() || domain.len() > MAX_TRUST_DOMAIN || !domain.bytes().all(good) {
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
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=63).contains(&label.len())
        && label.bytes().all(good)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

impl CaName {
    /// As in the certificate.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CertificateName {
    /// As in the certificate.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DnsName {
    /// As in the certificate.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DnsPattern {
    /// As in the certificate.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl SpiffeId {
    /// As in the certificate.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name.as_str()),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name.as_str()),
            Self::Spiffe(id) => f.write_str(id.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason<T: FromStr<Err = NameError>>(text: &str) -> String {
        text.parse::<T>().err().unwrap_or_else(|| panic!("{text:?} was taken")).to_string()
    }

    #[test]
    fn a_certificate_name_stays_in_its_folder() {
        for text in ["", ".", "..", "../x", "a/b", "/a", ".hidden", "-f", "a b", "a\0", "ä"] {
            assert!(reason::<CertificateName>(text).contains("two files"), "{text}");
        }
        assert!(reason::<CertificateName>("ca").contains("CA's own"));
        assert!(reason::<CertificateName>(&"a".repeat(65)).contains("64"));
        for text in ["a", "backend.example.com", "web_1-b", &"a".repeat(64)] {
            assert_eq!(text.parse::<CertificateName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_dns_name_has_labels_and_no_case() {
        assert_eq!("LocalHost".parse::<DnsName>().unwrap().as_str(), "localhost");
        assert_eq!("a-1.example.com".parse::<DnsName>().unwrap().as_str(), "a-1.example.com");
        let long = ["a".repeat(64).as_str(), "com"].join(".");
        for text in ["a..b", ".a", "a.", "-a", "a-", "a b", "a_b", "ä.com", "a/b", "a:1", &long] {
            assert!(reason::<DnsName>(text).contains("labels"), "{text}");
        }
        assert!(reason::<DnsName>("").contains("1 to 253"));
        assert!(reason::<DnsName>(&"a.".repeat(127)).contains("1 to 253"));
        assert!(reason::<DnsName>("127.0.0.1").contains("IP address"));
        assert!(reason::<DnsName>("*.example.com").contains("wildcard"));
    }

    #[test]
    fn a_wildcard_stands_for_the_first_label_alone() {
        assert_eq!("*.Example.com".parse::<DnsPattern>().unwrap().as_str(), "*.example.com");
        assert_eq!("localhost".parse::<DnsPattern>().unwrap().as_str(), "localhost");
        for text in ["*", "a.*.com", "*a.example.com", "*.*.com"] {
            assert!(reason::<DnsPattern>(text).contains("wildcard"), "{text}");
        }
        assert!(reason::<DnsPattern>("*.com").contains("two labels"));
    }

    #[test]
    fn a_spiffe_id_is_what_its_specification_says() {
        for text in ["spiffe://example.org/backend", "spiffe://a_b-1.c/A/b.c/_-"] {
            assert_eq!(text.parse::<SpiffeId>().unwrap().as_str(), text);
        }
        let longest = format!("spiffe://a/{}", "p".repeat(MAX_SPIFFE_ID - 11));
        assert!(longest.parse::<SpiffeId>().is_ok());
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
                assert!(reason::<SpiffeId>(text).contains(words), "{text}: {words}");
            }
        }
        assert!(reason::<SpiffeId>(&(longest + "p")).contains("2048"));
        let domain = format!("spiffe://{}/a", "d".repeat(256));
        assert!(reason::<SpiffeId>(&domain).contains("trust domain"));
    }

    #[test]
    fn a_client_is_known_by_a_dns_name_or_a_spiffe_id() {
        let shown = |text: &str| text.parse::<ClientName>().unwrap().to_string();
        assert_eq!(shown("Backend.example.com"), "backend.example.com");
        assert_eq!(shown("spiffe://a/b"), "spiffe://a/b");
        assert!(reason::<ClientName>("*.example.com").contains("wildcard"));
        assert!(reason::<ClientName>("127.0.0.1").contains("not by an IP"));
        assert!(reason::<ClientName>("::1").contains("not by an IP"));
        assert!(reason::<ClientName>("https://a/b").contains("SPIFFE"));
    }

    #[test]
    fn a_ca_is_called_as_people_like_in_64_characters() {
        assert_eq!("Café CA".parse::<CaName>().unwrap().as_str(), "Café CA");
        assert!("é".repeat(64).parse::<CaName>().is_ok());
        assert!(reason::<CaName>(&"é".repeat(65)).contains("64"));
        for text in ["", " ", "a\nb", "a\0"] {
            assert!(reason::<CaName>(text).contains("printable"), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_taken_again_unchanged(text in "\\PC{0,20}|[a-z*.-]{1,20}|spiffe://[a-z/.]{0,12}") {
            if let Ok(name) = text.parse::<ClientName>() {
                prop_assert_eq!(name.to_string().parse::<ClientName>().unwrap(), name);
            }
            if let Ok(name) = text.parse::<DnsPattern>() {
                prop_assert_eq!(name.as_str().parse::<DnsPattern>().unwrap(), name);
            }
        }
    }
}
