//! What the rotator makes visible: rings, at once and only after what they show is durable,
//! revocations excepted.

use std::sync::Arc;
use std::time::Duration;

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::jwk::JWK_SET_LIMIT;
use jwksd_keystore::lifecycle::Intent;
use jwksd_keystore::planted::{self, Fault};
use jwksd_keystore::ring::{Ring, Signing};
use jwksd_keystore::store::Loaded;
use jwksd_keystore::time::Time;

use super::news::{self, By};
use super::{Rotator, StepError, WARM_AHEAD};
use crate::health::Subject;
use crate::metrics::keys::Keys;
use crate::sink::Report;

/// From which delay between commit and publication on a key's wait is counted anew.
pub(super) const LATE: Duration = Duration::from_secs(1);

impl Rotator {
    /// Publishes the ring of `loaded`, with the revocations that are in effect.
    pub(super) fn publish(&mut self, keyset: &KeysetName, mut loaded: Loaded) {
        let now = self.now();
        self.share_facts(keyset, &mut loaded);
        self.files.note(keyset, &loaded, self.down_since.unwrap_or(now), now);
        let loaded = self.with_pending_revocations(keyset, loaded);
        let signing = if self.facts.contains_key(keyset) { Signing::On } else { Signing::Off };
        let previous = self.parts.rings.ring(keyset);
        let records = self.files.hold_records(keyset, &loaded, now);
        let lives =
            records.iter().map(|record| (record.kid.clone(), record.life.clone())).collect();
        let keys = Keys { lives, facts: self.facts.get(keyset).cloned() };
        self.parts.metrics.note_keys(keyset, keys);
        let ring = Ring::new(
            keyset,
            &records,
            loaded.head.facts.as_ref(),
            signing,
            &self.parts.master_keys,
            previous.as_deref(),
        )
        .frozen_at(self.frozen(keyset, &loaded));
        if let Some(length) = ring.served().map(|served| served.body.len())
            && length > JWK_SET_LIMIT
        {
            // Only rotations by hand, one after the other, come to this.
            tracing::warn!(
                %keyset,
                "the JWK Set has {length} bytes, and some verifiers read only {JWK_SET_LIMIT}: \
                 rotate again when keys have retired"
            );
        }
        let ring = Arc::new(ring);
        self.parts.rings.publish(keyset, ring.clone());
        let body = ring.served().map(|served| &served.body[..]);
        self.files.order(keyset, body, &loaded, now);
        self.note_revoked(keyset);
        let set = self.files.hold_set(keyset, loaded.keyset(), now);
        self.parts.outlooks.take(keyset, &set, self.facts.get(keyset), now);
        self.published.insert(keyset.clone(), loaded);
        self.warm(keyset, now);
    }

    /// What was read has a schedule of its own, and mostly it is the one of the configuration.
    fn share_facts(&self, keyset: &KeysetName, loaded: &mut Loaded) {
        let configured = self.facts.get(keyset);
        if configured.is_some() && configured == loaded.head.facts.as_ref() {
            loaded.head.facts = configured.cloned();
        }
    }

    /// Publishes a ring again, after what it depends on besides the store has changed.
    pub(super) fn republish(&mut self, keyset: &KeysetName) {
        if let Some(loaded) = self.published.get(keyset).cloned() {
            self.publish(keyset, loaded);
        }
    }

    /// Tells the log that another key signs than the one of which it was told last. A start tells
    /// nothing of keys that signed before.
    pub(super) fn tell_signer(&mut self, keyset: &KeysetName, by: By<'_>) {
        let now = self.now();
        let signer = self.signing_kid(keyset, now);
        let told = self.signers.insert(keyset.clone(), signer.clone());
        let (Some(kid), Some(told)) = (signer, told) else { return };
        let Some(loaded) = self.published.get(keyset).filter(|_| told.as_ref() != Some(&kid))
        else {
            return;
        };
        if let Some(record) = loaded.record_of(&kid) {
            let news = [news::of_activation(&kid, &record.life)];
            let set = self.files.hold_set(keyset, loaded.keyset(), now);
            news::tell(keyset, &news, by, (&set, loaded), now);
        }
    }

    /// The key of a ring that signs at `moment`.
    pub(super) fn signing_kid(&self, keyset: &KeysetName, moment: Time) -> Option<KeyId> {
        let ring = self.parts.rings.ring(keyset)?;
        Some(ring.signer_at(moment).ok()?.kid().clone())
    }

    /// Opens secrets before a request would have to.
    pub(super) fn warm(&self, keyset: &KeysetName, now: Time) {
        let Some(ring) = self.parts.rings.ring(keyset) else {
            return;
        };
        let what = Subject::Secrets(keyset.clone());
        match ring.warm(now, now + WARM_AHEAD) {
            Ok(()) => self.parts.health.clear(&what),
            Err(error) => {
                tracing::error!(%keyset, %error, "a secret does not open");
                self.parts.health.report(what, &error.to_string());
            }
        }
    }

    /// Takes what the thread of a file has to say.
    pub(super) fn take_report(&mut self, report: Report) {
        let (keyset, now) = (report.ticket.keyset.clone(), self.now());
        if self.files.take(report, now) {
            self.republish(&keyset);
            self.due.set(&keyset, Some(now));
        }
        self.note_revoked(&keyset);
    }

    /// Of keys that left the set and may be in its file still, it is told which were revoked.
    fn note_revoked(&mut self, keyset: &KeysetName) {
        let is_revoked = |kid: &KeyId| {
            let tombstone = self.parts.store.tombstone(keyset, kid);
            self.is_revoked_in_memory(keyset, kid)
                || tombstone.is_ok_and(|found| found.is_some_and(|it| it.revoked.is_some()))
        };
        let revoked: Vec<KeyId> = self.files.stale(keyset).into_iter().filter(is_revoked).collect();
        if !revoked.is_empty() {
            self.files.note_revoked(keyset, revoked);
        }
    }

    /// Stores that keys which a file lacks were not served until now, so that a restart does not
    /// count that time, and the time of the other sets counts on.
    pub(super) fn put_off_held(&mut self) {
        let now = self.now();
        for (keyset, keys) in self.files.held_for_long(now) {
            if self.revoking.contains_key(&keyset) {
                continue;
            }
            let intent = Intent::ServedFrom { keys: keys.clone(), from: now };
            match self.step_of_time(&keyset, &intent) {
                Ok(_) => self.files.made_up_for(&keyset, &keys, now),
                Err(StepError::Unserved) => {}
                Err(error) => {
                    tracing::error!(%keyset, %error, "cannot record that a file lacks keys");
                    self.retry_later(&keyset, &error);
                }
            }
        }
    }

    /// A key that was published long after the moment its record says has to wait that much
    /// longer: what counts is time in which it was served. Noted before it is published, since its
    /// activation may have passed meanwhile.
    pub(super) fn count_late_publication(&mut self, keyset: &KeysetName, recorded: Time) {
        let served = self.now();
        if served.since(recorded) > LATE && !planted::is_planted(Fault::SlowCommitCounted) {
            self.note_unserved(keyset, recorded, served);
        }
    }

    /// The moment by which the ring of a set goes now.
    pub(super) fn moment_of(&self, keyset: &KeysetName) -> Time {
        let now = self.now();
        let published = self.published.get(keyset);
        let frozen = published.and_then(|loaded| self.frozen(keyset, loaded));
        frozen.map_or(now, |frozen| frozen.min(now))
    }

    /// At which moment the ring of a set stands still of which it is not stored yet that it was not
    /// served for a while; not before what signs without a wait began to.
    fn frozen(&self, keyset: &KeysetName, loaded: &Loaded) -> Option<Time> {
        if planted::is_planted(Fault::DoubtUnfrozen) {
            return None;
        }
        let since = self.unserved.get(keyset)?.from;
        let lives = loaded.records.iter().map(|record| &record.life);
        let at_once = lives.filter(|life| !life.planned_by.waits());
        at_once.filter_map(|life| life.activates).chain([since]).max()
    }
}
