//! `[fetchers]` as written.

use std::ops::RangeInclusive;

use actix_web::http::header::{
    AUTHORIZATION, COOKIE, FORWARDED, HeaderName, PROXY_AUTHORIZATION, USER_AGENT,
};
use serde::Deserialize;

use super::ValueError;
use super::raw::{Wrong, wrong};
use crate::fetchers::{Prefixes, Settings};

/// Fewer bits tell nobody apart.
const IPV4: RangeInclusive<u8> = 8..=32;
const IPV6: RangeInclusive<u8> = 16..=128;

/// `[fetchers]`
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawFetchers {
    enabled: bool,
    header: Option<String>,
    ipv4_prefix: u8,
    ipv6_prefix: u8,
}

impl Default for RawFetchers {
    fn default() -> Self {
        let Prefixes { ipv4, ipv6 } = Prefixes::default();
        Self { enabled: true, header: None, ipv4_prefix: ipv4, ipv6_prefix: ipv6 }
    }
}

impl RawFetchers {
    /// The settings, unless it is off.
    pub(super) fn check(self) -> Result<Option<Settings>, Wrong> {
        let prefixes = Prefixes {
            ipv4: within("fetchers.ipv4_prefix", self.ipv4_prefix, &IPV4)?,
            ipv6: within("fetchers.ipv6_prefix", self.ipv6_prefix, &IPV6)?,
        };
        let header = self.header.as_deref().map(header).transpose();
        let header = header.map_err(|error| wrong("fetchers.header", error))?;
        Ok(self.enabled.then_some(Settings { header, prefixes }))
    }
}

fn header(name: &str) -> Result<HeaderName, ValueError> {
    let refused = |why| ValueError::Header { name: name.to_owned(), why };
    let header: HeaderName = name.parse().map_err(|_| refused("it is not the name of a header"))?;
    if [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(&header) {
        Err(refused("it holds secrets, and what it says is shown"))
    } else if header == FORWARDED {
        Err(refused("it says several things at once; name one such as X-Forwarded-For"))
    } else if header == USER_AGENT {
        Err(refused("it is kept anyway"))
    } else {
        Ok(header)
    }
}

fn within(place: &str, bits: u8, range: &RangeInclusive<u8>) -> Result<u8, Wrong> {
    let error =
        || ValueError::OutOfRange { least: (*range.start()).into(), most: (*range.end()).into() };
    if range.contains(&bits) { Ok(bits) } else { Err(wrong(place, error())) }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use jwksd_keystore::time::Time;

    use super::*;
    use crate::config::Config;

    /// The default configuration with this in `[fetchers]`.
    fn config(fetchers: &str) -> Result<Config, String> {
        let text = include_str!("../../config.toml");
        let text = text.replacen("[fetchers]", &format!("[fetchers]\n{fetchers}\n"), 1);
        Config::parse(&text, Path::new("config.toml"), Time::from_millis(1_795_000_000_000))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_written_is_the_default() {
        assert_eq!(config("").unwrap().fetchers, Some(Settings::default()));
        assert_eq!(config("enabled = false").unwrap().fetchers, None);
    }

    #[test]
    fn what_is_written_counts_and_needs_no_restart() {
        let other = config("header = \"X-Real-IP\"\nipv4_prefix = 32\nipv6_prefix = 64").unwrap();
        let settings = other.fetchers.clone().unwrap();
        assert_eq!(settings.prefixes, Prefixes { ipv4: 32, ipv6: 64 });
        assert_eq!(settings.header.unwrap().as_str(), "x-real-ip");
        assert_eq!(other.needs_restart(&config("").unwrap()), Vec::<String>::new());
    }

    #[test]
    fn what_cannot_be_is_named_with_its_place() {
        let cases = [
            ("ipv4_prefix = 7", "fetchers.ipv4_prefix: must be from 8 to 32"),
            ("ipv4_prefix = 33", "fetchers.ipv4_prefix: must be from 8 to 32"),
            ("ipv6_prefix = 129", "fetchers.ipv6_prefix: must be from 16 to 128"),
            (
                "header = \"x real\"",
                "fetchers.header: \"x real\" cannot say who fetches: it is not",
            ),
            ("header = \"\"", "it is not the name of a header"),
            ("header = \"AUTHORIZATION\"", "it holds secrets"),
            ("header = \"Cookie\"", "it holds secrets"),
            ("header = \"Forwarded\"", "several things at once"),
            ("header = \"User-Agent\"", "it is kept anyway"),
            ("enabled = false\nipv4_prefix = 0", "must be from 8 to 32"),
            ("prefix = 24", "unknown field `prefix`"),
        ];
        for (fetchers, expected) in cases {
            let error = config(fetchers).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
