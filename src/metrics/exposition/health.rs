//! How the daemon, its audit, its store and its surroundings are.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jwksd_keystore::time::Time;

use super::Sources;
use super::page::Page;
use crate::audit::Audit;
use crate::health::State;
use crate::metrics::Metrics;
use crate::metrics::process::Process;
use crate::metrics::store::Operation;

pub(super) fn tell_daemon(page: &mut Page<'_, '_>, sources: &Sources) -> fmt::Result {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    page.info("jwksd_build", "The version of jwksd that runs.", &version)?;
    let checks = sources.health.overview();
    let is_ready = checks.iter().all(|(_, state)| *state != State::Failing);
    let help = "1 where /readyz answers 200, else 0.";
    page.gauges("jwksd_ready", help, &|family| family.gauge(&[], u64::from(is_ready)))?;
    let help = "Checks of jwksd status: 1 for the state in which each is, 0 for the others.";
    page.gauges("jwksd_check", help, &|family| {
        for (check, now) in &checks {
            for state in [State::Ok, State::Warning, State::Failing] {
                let labels = [("check", check.name()), ("state", state.name())];
                family.gauge(&labels, u64::from(state == *now))?;
            }
        }
        Ok(())
    })
}

pub(super) fn tell_audit(page: &mut Page<'_, '_>, audit: &Audit) -> fmt::Result {
    let figures = audit.figures();
    let help = "Lines of the audit that were handed to the kernel.";
    page.counters("jwksd_audit_lines", help, &|family| family.counter(&[], figures.lines()))?;
    let help =
        "How long it took to hand a line of the audit to the kernel, where that did not fail.";
    page.histograms("jwksd_audit_write_duration", help, &|family| {
        family.histogram(&[], &figures.writes)
    })?;
    let help = "How long it took to put lines of the audit on the disk, where that did not fail.";
    page.histograms("jwksd_audit_sync_duration", help, &|family| {
        family.histogram(&[], &figures.syncs)
    })?;
    let help = "Writes and syncs of the audit that failed.";
    page.counters("jwksd_audit_errors", help, &|family| {
        family.counter(&[("operation", "write")], figures.write_errors())?;
        family.counter(&[("operation", "sync")], figures.sync_errors())
    })?;
    let help = "Decisions that took effect although the audit could not record them.";
    page.counters("jwksd_audit_unrecorded", help, &|family| {
        family.counter(&[], figures.unrecorded())
    })?;
    let help = "1 while the last write or sync of the audit failed, else 0.";
    page.gauges("jwksd_audit_failing", help, &|family| {
        family.gauge(&[], u64::from(audit.is_failing()))
    })
}

pub(super) fn tell_store(page: &mut Page<'_, '_>, metrics: &Metrics) -> fmt::Result {
    let figures = metrics.store();
    let help = "How long what is done to the store took, where it did not fail; a commit is on the disk \
                then.";
    page.histograms("jwksd_store_operation_duration", help, &|family| {
        for operation in Operation::ALL {
            let labels = [("operation", operation.name())];
            family.histogram(&labels, figures.durations(operation))?;
        }
        Ok(())
    })?;
    let help = "What was done to the store and failed.";
    page.counters("jwksd_store_errors", help, &|family| {
        for operation in Operation::ALL {
            family.counter(&[("operation", operation.name())], figures.errors(operation))?;
        }
        Ok(())
    })?;
    let help = "Backups that were made since the start.";
    page.counters("jwksd_backups", help, &|family| {
        family.counter(&[], metrics.backups.load(Ordering::Relaxed))
    })?;
    let help = "When the last backup was made; none where none was since the start.";
    page.gauges_of_seconds("jwksd_last_backup_timestamp", help, &|family| match metrics
        .last_backup
        .load(Ordering::Relaxed)
    {
        0 => Ok(()),
        millis => family.gauge_of(&[], Duration::from_millis(millis)),
    })
}

pub(super) fn tell_surroundings(page: &mut Page<'_, '_>, sources: &Sources) -> fmt::Result {
    let now = sources.clock.now();
    let apart = now.wall.since(now.lifecycle).max(now.lifecycle.since(now.wall));
    let help = "By how much the wall clock and lifecycle time differ.";
    page.gauges_of_seconds("jwksd_clock_disagreement", help, &|family| {
        family.gauge_of(&[], apart)
    })?;
    let help = "1 while they differ by more than is followed at once, so that lifecycle time runs on by \
                itself, else 0.";
    let is_acting = sources.clock.disagreement().is_some();
    page.gauges("jwksd_clock_guard", help, &|family| family.gauge(&[], u64::from(is_acting)))?;
    let help = "When the certificate that a listener shows ends.";
    page.gauges_of_seconds("jwksd_certificate_expiry_timestamp", help, &|family| {
        for (listener, ends) in sources.tls.certificate_ends() {
            family.gauge_of(&[("listener", listener)], since_epoch(ends))?;
        }
        Ok(())
    })?;
    tell_process(page, sources.metrics.started(), Process::now())
}

fn tell_process(page: &mut Page<'_, '_>, started: Time, process: Process) -> fmt::Result {
    let help = "When the daemon started.";
    page.gauges_of_seconds("process_start_time", help, &|family| {
        family.gauge_of(&[], since_epoch(started))
    })?;
    let help = "How long the process was on processors.";
    page.counters_of_seconds("process_cpu", help, &|family| family.counter_of(&[], process.cpu))?;
    if let Some(resident) = process.resident {
        let help = "How much memory the process takes.";
        page.gauges_of_bytes("process_resident_memory", help, &|family| {
            family.gauge(&[], resident)
        })?;
    }
    if let Some(open) = process.descriptors {
        let help = "How many file descriptors the process has.";
        page.gauges("process_open_fds", help, &|family| family.gauge(&[], open))?;
    }
    if let Some(most) = process.most_descriptors {
        let help = "How many file descriptors the process may have.";
        page.gauges("process_max_fds", help, &|family| family.gauge(&[], most))?;
    }
    Ok(())
}

fn since_epoch(time: Time) -> Duration {
    Duration::from_millis(time.as_millis())
}
