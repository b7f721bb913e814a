//! The configuration; after a line with `%%` another one, to which it is changed.

use std::path::Path;

use jwksd::config::{Config, ConfigError};
use jwksd_keystore::time::Time;

use super::input::{sections, text};

/// When it is read: 2026-11-22T03:00:00Z.
const NOW: Time = Time::from_millis(1_795_316_400_000);

/// What is refused is refused with its place. What is taken is taken again as the same, and has
/// warnings that can be read; a change is a change in both directions.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    let configs: Vec<Config> =
        sections(data).into_iter().take(2).filter_map(text).filter_map(parse).collect();
    for config in &configs {
        check(config);
    }
    if let [before, after] = &configs[..] {
        let there = before.needs_restart(after);
        assert_eq!(there, after.needs_restart(before));
    }
}

fn parse(text: &str) -> Option<Config> {
    let parse = || Config::parse(text, Path::new("config.toml"), NOW);
    match parse() {
        Ok(config) => {
            assert_eq!(parse().ok().as_ref(), Some(&config));
            Some(config)
        }
        Err(error) => {
            check_error(&error);
            None
        }
    }
}

fn check_error(error: &ConfigError) {
    let message = error.to_string();
    assert!(message.starts_with("config.toml: "), "{message}");
    match error {
        ConfigError::Toml { error, .. } => {
            assert!(error.span().is_some(), "no line is named: {message}");
        }
        ConfigError::Value { place, error, .. } => {
            assert!(!place.is_empty() && !error.to_string().is_empty(), "{message}");
        }
        ConfigError::Read { .. } => panic!("{message}"),
    }
}

fn check(config: &Config) {
    assert!(config.needs_restart(config).is_empty());
    assert!(config.warnings().iter().all(|warning| warning.contains(": ")));
    assert!(config.keysets.contains_key(&config.public.root));
    assert!(config.smallest_skew().as_secs() > 0);
    let _ = config.socket_access();
    for (name, keyset) in &config.keysets {
        if let Some(path) = config.discovery_path(name) {
            let issuer = format!("{}{path}", config.public.base_url);
            assert_eq!(keyset.tokens.issuer, issuer);
        }
        assert!(keyset.checked.live_kids >= 1);
        assert!(!keyset.facts.waits().arithmetic().is_empty());
    }
}
