//! What the daemon counts and measures, as `OpenMetrics` text for whoever watches it.

use std::fmt;
use std::sync::atomic::AtomicU64;

use jwksd_keystore::time::Time;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// What a scrape is answered with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All metrics of a daemon.
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Those of a daemon that started at `started`.
    #[must_use]
    pub fn new(started: Time) -> Self {
        let mut registry = Registry::default();
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("jwksd_build", "The version of jwksd that runs", version);
        let start_time = Gauge::<u64, AtomicU64>::default();
        start_time.set(started.as_secs());
        let help = "When the daemon started, in seconds since 1970-01-01T00:00:00Z";
        registry.register("jwksd_start_time_seconds", help, start_time);
        Self { registry }
    }

    /// What they are now, as `OpenMetrics` text.
    ///
    /// # Errors
    ///
    /// None that is known: writing to a text does not fail.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
