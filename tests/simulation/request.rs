//! What an admin asks for, so that it can be asked once more.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jwksd::administration::{AdminError, ImportOrder, Purpose};
use jwksd::api::{RevokeAllRequest, RevokeRequest, RotateRequest};
use jwksd::limits::Desk;
use jwksd::rotator::StepError;
use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::crypto;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::Replaceable;
use jwksd_keystore::time::Time;

use crate::daemon::Daemon;

/// A request about one key set.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Rotate { expect: KeyId, when: Wanted },
    Revoke { kid: KeyId },
    RevokeAll { expect: Option<KeyId> },
    Retire { kid: KeyId },
    Import { key: Arc<KeyFile>, may_replace: Replaceable },
    Trust { key: Arc<KeyFile>, until: Time },
}

/// A key that was made elsewhere.
pub(crate) struct KeyFile {
    /// What it is called here.
    pub(crate) kid: KeyId,
    text: String,
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kid.fmt(f)
    }
}

impl KeyFile {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        let pair = crypto::generate(algorithm).unwrap();
        let der = BASE64_STANDARD.encode(pair.secret.expose_to_tests());
        let text = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
        Self { kid: pair.thumbprint.into(), text }
    }

    fn order(&self, purpose: Purpose) -> ImportOrder {
        let file = self.text.clone().into_bytes().into();
        ImportOrder { file, passphrase: None, kid: None, purpose }
    }
}

/// When a rotation is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Waited,
    At(Time),
    Now,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The key that signs from then on.
    Rotated { to: KeyId, activates: Option<Time> },
    /// This key is in.
    In(KeyId),
    /// These keys are out.
    Gone(Vec<KeyId>),
    /// It is in effect, and may not be durable, or not in the audit.
    InEffect,
    /// Nothing was done, or nobody knows.
    Refused(String),
}

impl Request {
    pub(crate) fn send(&self, daemon: &Daemon, keyset: &KeysetName) -> Answer {
        let (admin, asker) = (&daemon.administration, daemon.asker(Desk::Admin));
        let reason = || "the simulation said so".to_owned();
        match self {
            Self::Rotate { expect, when } => {
                let request = RotateRequest {
                    expect_active: Some(expect.clone()),
                    now: *when == Wanted::Now,
                    at: match when {
                        Wanted::At(time) => Some(time.to_string()),
                        Wanted::Waited | Wanted::Now => None,
                    },
                };
                admin.rotate(&asker, keyset, &request).map_or_else(refused, |answer| {
                    let activates = answer.activates.map(|time| time.parse().unwrap());
                    Answer::Rotated { to: answer.to, activates }
                })
            }
            Self::Revoke { kid } => {
                let request = RevokeRequest { reason: reason() };
                let answer = admin.revoke(&asker, keyset, kid, request);
                answer.map_or_else(refused, |answer| Answer::Gone(answer.revoked))
            }
            Self::RevokeAll { expect } => {
                let request = RevokeAllRequest { reason: reason(), expect_active: expect.clone() };
                let answer = admin.revoke_all(&asker, keyset, request);
                answer.map_or_else(refused, |answer| Answer::Gone(answer.revoked))
            }
            Self::Retire { kid } => {
                let answer = admin.retire(&asker, keyset, kid);
                answer.map_or_else(refused, |answer| Answer::Gone(vec![answer.retired]))
            }
            Self::Import { key, may_replace } => {
                let purpose = Purpose::Sign { may_replace: *may_replace };
                let answer = admin.import(&asker, keyset, key.order(purpose));
                answer.map_or_else(refused, |answer| Answer::In(answer.kid))
            }
            Self::Trust { key, until } => {
                let order = key.order(Purpose::VerifyOnly { until: *until });
                let answer = admin.import(&asker, keyset, order);
                answer.map_or_else(refused, |answer| Answer::In(answer.kid))
            }
        }
    }
}

fn refused(error: AdminError) -> Answer {
    match error {
        AdminError::Step(StepError::NotDurable(_)) | AdminError::NotRecorded => Answer::InEffect,
        error => Answer::Refused(error.to_string()),
    }
}
