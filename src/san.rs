//! PURE: the names in certificates by which callers are known: DNS names and SPIFFE IDs.
//!
//! Only names in the subject alternative name extension count (RFC 9525, section 2), never the
//! subject's common name, and nothing in a caller's name is a wildcard.

use std::fmt;
use std::net::IpAddr;

/// The longest SPIFFE ID, in bytes (SPIFFE-ID, section 2.3).
const LONGEST_SPIFFE_ID: usize = 2048;

/// The longest trust domain, in bytes (SPIFFE-ID, section 2.3).
const LONGEST_TRUST_DOMAIN: usize = 255;

/// The longest DNS name, in bytes (RFC 1035, section 2.3.4).
const LONGEST_DNS_NAME: usize = 253;

/// A subject alternative name that a caller can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum San {
    /// A DNS name, in lower case: they are compared without regard to case (RFC 4343).
    Dns(String),
    /// A SPIFFE ID, compared byte for byte.
    Spiffe(String),
}

/// A text that is no such name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a DNS name such as \"backend.example.com\" (no wildcard, no address) or a SPIFFE ID \
     such as \"spiffe://example.com/backend\" (no port, no query, no slash at the end)"
)]
pub struct NotASan;

impl San {
    /// Parses the name of a caller.
    ///
    /// # Errors
    ///
    /// [`NotASan`].
    pub fn parse(text: &str) -> Result<Self, NotASan> {
        match text.strip_prefix("spiffe://") {
            Some(rest) if is_spiffe(text, rest) => Ok(Self::Spiffe(text.to_owned())),
            None if is_dns_name(text) => Ok(Self::Dns(text.to_ascii_lowercase())),
            Some(_) | None => Err(NotASan),
        }
    }
}

impl fmt::Display for San {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) | Self::Spiffe(name) => f.write_str(name),
        }
    }
}

/// SPIFFE-ID, section 2: a trust domain and a path, both of few characters. The identity of a
/// workload always has a path (X509-SVID, section 2).
fn is_spiffe(whole: &str, rest: &str) -> bool {
    let Some((domain, path)) = rest.split_once('/') else {
        return false;
    };
    let of_domain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || b".-_".contains(&c);
    let of_path = |c: u8| c.is_ascii_alphanumeric() || b".-_".contains(&c);
    let is_segment =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(of_path);
    whole.len() <= LONGEST_SPIFFE_ID
        && (1..=LONGEST_TRUST_DOMAIN).contains(&domain.len())
        && domain.bytes().all(of_domain)
        && path.split('/').all(is_segment)
}

fn is_dns_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_".contains(&c);
        (1..=63).contains(&label.len())
            && label.bytes().all(allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= LONGEST_DNS_NAME
        && text.parse::<IpAddr>().is_err()
        && text.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names_are_the_same_in_any_case_and_spiffe_ids_are_not() {
        assert_eq!(San::parse("Backend.Example.COM"), San::parse("backend.example.com"));
        assert_ne!(
            San::parse("spiffe://example.com/Backend").unwrap(),
            San::parse("spiffe://example.com/backend").unwrap()
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
            assert_eq!(San::parse(text), Err(NotASan), "{text}");
        }
    }

    #[test]
    fn ordinary_names_are_taken() {
        for text in ["backend", "a-b.example.com", "_x.example", "1.example"] {
            assert_eq!(San::parse(text), Ok(San::Dns(text.into())));
        }
        for text in ["spiffe://example.com/ns/x/sa/y", "spiffe://a_b-c.d/A.b_c-D"] {
            assert_eq!(San::parse(text), Ok(San::Spiffe(text.into())));
        }
    }
}
