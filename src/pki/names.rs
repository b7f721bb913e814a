//! PURE: the names that may be in a certificate, and those of its files.
//!
//! Each type is made from text, and refuses what others would read differently or not at all.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::san::{LONGEST_DNS_NAME, NameError, dns_name};

/// The longest common name (RFC 5280, appendix A.1, `ub-common-name`).
const MAX_COMMON_NAME: usize = 64;

/// What a CA is called by people: the common name in its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaName(String);

/// Whom a certificate of a signing key names: the common name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject(String);

/// What a certificate is called: its files are, and it is the common name in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateName(String);

/// A DNS name whose first label may be `*`, which stands for one label (RFC 9525, section 6.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsPattern(String);

/// What a server can be asked for by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// A DNS name, perhaps with a wildcard.
    Dns(DnsPattern),
    /// An IP address.
    Ip(IpAddr),
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

impl FromStr for Subject {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.trim().is_empty() || text.chars().any(char::is_control) {
            return Err(NameError("a subject has printable characters"));
        }
        if text.chars().count() > MAX_COMMON_NAME {
            return Err(NameError("a subject has at most 64 characters"));
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

impl FromStr for DnsPattern {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Some(rest) = text.strip_prefix("*.") else {
            return dns_name(text).map(Self);
        };
        let rest = dns_name(rest)?;
        if text.len() > LONGEST_DNS_NAME {
            return Err(NameError("a DNS name has 1 to 253 characters"));
        }
        if !rest.contains('.') {
            return Err(NameError("a wildcard stands before at least two labels"));
        }
        Ok(Self(format!("*.{rest}")))
    }
}

impl CaName {
    /// As in the certificate.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Subject {
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

impl DnsPattern {
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
    fn a_wildcard_stands_for_the_first_label_alone() {
        assert_eq!("*.Example.com".parse::<DnsPattern>().unwrap().as_str(), "*.example.com");
        assert_eq!("localhost".parse::<DnsPattern>().unwrap().as_str(), "localhost");
        for text in ["*", "a.*.com", "*a.example.com", "*.*.com"] {
            assert!(reason::<DnsPattern>(text).contains("wildcard"), "{text}");
        }
        assert!(reason::<DnsPattern>("*.com").contains("two labels"));
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

    #[test]
    fn a_subject_is_a_printable_name_of_64_characters() {
        assert_eq!("Shop, E. U.".parse::<Subject>().unwrap().as_str(), "Shop, E. U.");
        assert!(reason::<Subject>(&"a".repeat(65)).contains("64"));
        for text in ["", "\u{a0}", "a\nb", "a\u{9b}"] {
            assert!(reason::<Subject>(text).contains("printable"), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_taken_again_unchanged(text in "\\PC{0,20}|[a-z*.-]{1,20}") {
            if let Ok(name) = text.parse::<DnsPattern>() {
                prop_assert_eq!(name.as_str().parse::<DnsPattern>().unwrap(), name);
            }
        }
    }
}
