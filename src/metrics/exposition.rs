//! What was counted, and how things stand at the moment of a scrape, as `OpenMetrics` text.
//!
//! It reads what is in memory and asks the kernel; the store and files are left alone, so that a disk
//! that hangs keeps nobody from hearing of it.

mod health;
mod keysets;
mod page;
mod signing;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use self::page::Page;
use super::Metrics;
use crate::audit::Audit;
use crate::clock::LifecycleClock;
use crate::custody::Custody;
use crate::fetchers::Fetchers;
use crate::health::Health;
use crate::sink::Standings;
use crate::tls::OfListeners;

/// What a scrape is answered with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Whom a scrape asks.
pub struct Sources {
    /// What was counted.
    pub metrics: Arc<Metrics>,
    /// What signs in fact.
    pub custody: Arc<Custody>,
    /// The clocks.
    pub clock: Arc<LifecycleClock>,
    /// What is not well.
    pub health: Arc<Health>,
    /// The audit.
    pub audit: Arc<Audit>,
    /// Certificates.
    pub tls: Arc<OfListeners>,
    /// The files of JWK Sets.
    pub standings: Arc<Standings>,
    /// Who has fetched what.
    pub fetchers: Arc<Fetchers>,
}

/// All metrics of a daemon, as text.
pub struct Exposition {
    metrics: Arc<Metrics>,
    registry: Registry,
}

/// Tells all of it at once, at a scrape.
struct Teller(Sources);

impl Exposition {
    /// Told from these sources.
    #[must_use]
    pub fn of(sources: Sources) -> Self {
        let metrics = sources.metrics.clone();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Teller(sources)));
        Self { metrics, registry }
    }

    /// What was counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// All of it now, as `OpenMetrics` text.
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

impl Collector for Teller {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (page, sources) = (&mut Page::of(&mut encoder), &self.0);
        health::tell_daemon(page, sources)?;
        keysets::tell(page, sources)?;
        signing::tell(page, &sources.metrics)?;
        health::tell_audit(page, &sources.audit)?;
        health::tell_store(page, &sources.metrics)?;
        health::tell_surroundings(page, sources)
    }
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}
