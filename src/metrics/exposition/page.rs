//! Families of metrics, one after the other, with what the library leaves to whoever collects.

use std::fmt;
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use crate::metrics::histogram::Histogram;

/// Where families are written to.
pub(super) struct Page<'a, 'b>(&'a mut DescriptorEncoder<'b>);

/// A family that is being written.
pub(super) struct Family<'a>(MetricEncoder<'a>);

/// Labels of a metric: names and values.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl<'a, 'b> Page<'a, 'b> {
    pub(super) fn of(encoder: &'a mut DescriptorEncoder<'b>) -> Self {
        Self(encoder)
    }

    /// Counters; the name is without `_total`.
    pub(super) fn counters(&mut self, name: &str, help: &str, tell: Tell<'_>) -> fmt::Result {
        self.family(name, help, None, MetricType::Counter, tell)
    }

    /// A counter of seconds; the name is without `_seconds_total`.
    pub(super) fn counters_of_seconds(
        &mut self,
        name: &str,
        help: &str,
        tell: Tell<'_>,
    ) -> fmt::Result {
        self.family(name, help, Some(&Unit::Seconds), MetricType::Counter, tell)
    }

    /// Gauges without a unit.
    pub(super) fn gauges(&mut self, name: &str, help: &str, tell: Tell<'_>) -> fmt::Result {
        self.family(name, help, None, MetricType::Gauge, tell)
    }

    /// Gauges of seconds; the name is without `_seconds`.
    pub(super) fn gauges_of_seconds(
        &mut self,
        name: &str,
        help: &str,
        tell: Tell<'_>,
    ) -> fmt::Result {
        self.family(name, help, Some(&Unit::Seconds), MetricType::Gauge, tell)
    }

    /// Gauges of bytes; the name is without `_bytes`.
    pub(super) fn gauges_of_bytes(
        &mut self,
        name: &str,
        help: &str,
        tell: Tell<'_>,
    ) -> fmt::Result {
        self.family(name, help, Some(&Unit::Bytes), MetricType::Gauge, tell)
    }

    /// Histograms of seconds; the name is without `_seconds`.
    pub(super) fn histograms(&mut self, name: &str, help: &str, tell: Tell<'_>) -> fmt::Result {
        self.family(name, help, Some(&Unit::Seconds), MetricType::Histogram, tell)
    }

    /// One fact that is always so; the name is without `_info`.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: Labels<'_>) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        tell: Tell<'_>,
    ) -> fmt::Result {
        tell(&mut Family(self.0.encode_descriptor(name, help, unit, kind)?))
    }
}

/// Writes the metrics of a family.
pub(super) type Tell<'a> = &'a dyn Fn(&mut Family<'_>) -> fmt::Result;

impl Family<'_> {
    pub(super) fn counter(&mut self, labels: Labels<'_>, value: u64) -> fmt::Result {
        self.labelled(labels, |metric| metric.encode_counter::<NoLabelSet, _, u64>(&value, None))
    }

    pub(super) fn counter_of(&mut self, labels: Labels<'_>, value: Duration) -> fmt::Result {
        let seconds = value.as_secs_f64();
        self.labelled(labels, |metric| metric.encode_counter::<NoLabelSet, _, f64>(&seconds, None))
    }

    pub(super) fn gauge(&mut self, labels: Labels<'_>, value: u64) -> fmt::Result {
        self.labelled(labels, |metric| metric.encode_gauge(&value))
    }

    pub(super) fn gauge_of(&mut self, labels: Labels<'_>, value: Duration) -> fmt::Result {
        let seconds = value.as_secs_f64();
        self.labelled(labels, |metric| metric.encode_gauge(&seconds))
    }

    pub(super) fn histogram(&mut self, labels: Labels<'_>, value: &Histogram) -> fmt::Result {
        let now = value.snapshot();
        self.labelled(labels, |metric| {
            metric.encode_histogram::<NoLabelSet>(now.sum, now.count, &now.buckets, None)
        })
    }

    /// Without labels there are no braces either.
    fn labelled(
        &mut self,
        labels: Labels<'_>,
        write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        if labels.is_empty() {
            write(&mut self.0)
        } else {
            write(&mut self.0.encode_family(&labels)?)
        }
    }
}
