//! PURE: the names of a listener, as a configuration and the header `Host` have them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::san::{NameError, dns_name};

/// A host by which a listener is asked: a DNS name or an IP address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A DNS name, in lower case.
    Name(String),
    /// An IP address.
    Address(IpAddr),
}

impl Host {
    /// The host of `host:port`, of which the port may be missing (RFC 9110, section 7.2).
    #[must_use]
    pub fn of_authority(authority: &str) -> Option<Self> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => rest.split_once(']')?,
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let is_digits = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_digits);
        let host: Self = host.parse().ok()?;
        let is_v6 = matches!(host, Self::Address(IpAddr::V6(_)));
        (is_port && is_v6 == authority.starts_with('[')).then_some(host)
    }

    /// Whether it always means the machine of whoever asks, so that nobody else can have it.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::Address(address) => address.is_loopback(),
        }
    }
}

impl FromStr for Host {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.parse() {
            Ok(address) => Ok(Self::Address(address)),
            Err(_) => dns_name(text).map(Self::Name),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(address) => write!(f, "{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(authority: &str) -> Option<String> {
        Host::of_authority(authority).map(|host| host.to_string())
    }

    #[test]
    fn a_host_has_a_port_or_none_and_no_case() {
        for (authority, expected) in [
            ("localhost", "localhost"),
            ("LOCALHOST:8081", "localhost"),
            ("jwksd.example.com:8443", "jwksd.example.com"),
            ("127.0.0.1:8081", "127.0.0.1"),
            ("[::1]", "::1"),
            ("[::1]:8081", "::1"),
            ("[0:0:0:0:0:0:0:1]:", "::1"),
            ("localhost:", "localhost"),
        ] {
            assert_eq!(host(authority).as_deref(), Some(expected), "{authority}");
        }
    }

    #[test]
    fn what_is_no_host_is_none() {
        for authority in [
            "",
            ":8081",
            "::1",
            "[::1",
            "[::1]8081",
            "[::1]:x",
            "[::1]x:1",
            "[localhost]",
            "[127.0.0.1]",
            "localhost.",
            "localhost:8081:8081",
            "localhost:-1",
            "localhost, evil.example",
            "me@localhost",
            "localhost/",
            "*.example.com",
            "1.2.3.400",
            "bücher.example",
        ] {
            assert_eq!(host(authority), None, "{authority}");
        }
    }

    #[test]
    fn only_names_that_nobody_else_can_have_are_loopback() {
        let is_loopback = |authority| Host::of_authority(authority).unwrap().is_loopback();
        for own in ["localhost:1", "127.0.0.1", "127.9.9.9", "[::1]:1"] {
            assert!(is_loopback(own), "{own}");
        }
        for other in ["localhost.example.com", "a.localhost", "10.0.0.1", "0.0.0.0", "[::]"] {
            assert!(!is_loopback(other), "{other}");
        }
    }
}
