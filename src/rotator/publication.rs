//! What the rotator makes visible: rings, at once and only after what they show is durable,
//! revocations excepted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::{Intent, Number};
use jwksd_keystore::ring::{Ring, Signing};
use jwksd_keystore::store::Loaded;
use jwksd_keystore::time::Time;

use super::changes::after;
use super::{Command, Rotator, WARM_AHEAD};

/// From which delay between commit and publication on a key's wait is counted anew.
pub(super) const LATE: Duration = Duration::from_secs(1);

impl Rotator {
    /// Publishes the ring of `loaded`.
    pub(super) fn publish(&mut self, keyset: &KeysetName, loaded: Loaded) {
        let signing = if self.facts.contains_key(keyset) { Signing::On } else { Signing::Off };
        let previous = self.parts.rings.ring(keyset);
        let ring = Ring::new(
            keyset,
            &loaded.records,
            loaded.head.facts.as_ref(),
            signing,
            &self.parts.master_keys,
            previous.as_deref(),
        )
        .frozen_at(self.in_doubt.get(keyset).copied());
        self.parts.rings.publish(keyset, Arc::new(ring));
        self.published.insert(keyset.clone(), loaded);
        let now = self.now();
        self.warm(keyset, now);
    }

    /// Publishes a ring again, after what it depends on besides the store has changed.
    pub(super) fn republish(&mut self, keyset: &KeysetName) {
        if let Some(loaded) = self.published.get(keyset).cloned() {
            self.publish(keyset, loaded);
        }
    }

    /// Opens secrets before a request would have to.
    pub(super) fn warm(&self, keyset: &KeysetName, now: Time) {
        let Some(ring) = self.parts.rings.ring(keyset) else {
            return;
        };
        let what = format!("secret of key set {keyset}");
        match ring.warm(now, now + WARM_AHEAD) {
            Ok(()) => self.parts.health.clear(&what),
            Err(error) => {
                tracing::error!(%keyset, %error, "a secret does not open");
                self.parts.health.report(what, error.to_string());
            }
        }
    }

    /// A key that was published long after the moment its record says has to wait that much
    /// longer: what counts is time in which it was served.
    pub(super) fn count_late_publication(&mut self, keyset: &KeysetName, recorded: Time) {
        let served = self.now();
        if served.since(recorded) > LATE {
            let intent = Intent::Unserved { from: recorded, to: served };
            self.intents.insert(keyset.clone(), intent);
        }
    }

    /// A revocation takes effect in memory at once, whatever the store can do: on the set as it
    /// is published, earlier revocations that are not durable yet included.
    pub(super) fn take_effect_in_memory(&mut self, keyset: &KeysetName, command: &Command) {
        let Some(published) = self.published.get(keyset).cloned() else {
            return;
        };
        let number = |kid: &KeyId| published.record_of(kid).map(|record| record.life.number);
        let intent = match command {
            Command::Revoke { kid, .. } => number(kid).map(Intent::Revoke),
            Command::RevokeAll { expect, .. } => {
                let expect = expect.as_ref().map_or(Some(Number::NONE), number);
                expect.map(|expect| Intent::RevokeAll { expect })
            }
            Command::Rotate { .. } | Command::Retire { .. } => None,
        };
        let now = self.parts.clock.now();
        let plan = intent.map(|intent| self.plan(keyset, &published, &intent, now));
        if let Some(Ok(plan)) = plan
            && !plan.steps.is_empty()
        {
            self.publish(keyset, after(&published, &plan.steps, HashMap::new()));
        }
    }
}
