//! The public half of a key, for verifiers that do not fetch a JWK Set.
//!
//! Who got a pending key so has to have it in place when it activates: that it was given out is
//! durable before it is.

use std::time::Duration;

use jwksd_keystore::export::{self, ExportError as FormError};
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::Refusal;
use jwksd_keystore::ring::{Ring, Signer};
use jwksd_keystore::time::Time;
use serde_json::value::RawValue;

use super::{AdminError, Administration, actor};
use crate::api::{self, ExportRequest, KeyState};
use crate::custody::Asker;
use crate::gate::Permit;
use crate::pki::PkiError;
use crate::pki::names::Subject;
use crate::pki::signing_key::{MAX_DAYS, SigningKey};
use crate::policy::Action;
use crate::rotator::{Command, StepError};
use crate::san::NameError;

const DEFAULT_DAYS: u32 = 365;

/// Why a key was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The common name cannot be in a certificate.
    #[error("the subject: {0}")]
    Subject(NameError),
    /// The kid cannot be in a certificate.
    #[error("the kid has more than 64 characters, so it cannot be the subject: give one")]
    LongKid,
    /// Not a lifetime of a certificate.
    #[error("days: give 1 to {MAX_DAYS}")]
    Days,
    /// The key is not to be put anywhere.
    #[error("the key was {0}: it must not be put anywhere")]
    Left(&'static str),
    /// It is not published, or no more.
    #[error("the key is not published")]
    NotPublished,
    /// A certificate takes a signature.
    #[error("the key only verifies: it can sign neither a certificate nor a request for one")]
    OnlyVerifies,
    /// The key has no such form.
    #[error(transparent)]
    Form(#[from] FormError),
    /// The certificate could not be made.
    #[error(transparent)]
    Certificate(#[from] PkiError),
}

/// What is to be made.
enum Form {
    Jwk,
    Pem,
    OpenSsh,
    Certificate { subject: Subject, lifetime: Duration },
    Request { subject: Subject },
}

impl Administration {
    /// The public half of a key in the form that was asked for. The first time that this is one of a
    /// pending key, that is durable before the answer.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn export(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
        kid: &KeyId,
        request: &ExportRequest,
    ) -> Result<api::ExportResponse, AdminError> {
        let form = Form::of(request, kid)?;
        let (action, detail) = (form.action(), form.detail(request));
        let permit = self.permit(asker, action, "export", keyset, Some(kid), Some(&detail))?;
        let key = self.exportable(keyset, kid)?;
        let text = self.formed(keyset, &key, &form)?;
        let key = match key.state {
            KeyState::Pending => self.noted(asker, permit, keyset, kid)?,
            _ => key,
        };
        Ok(answer(keyset, key, request, text))
    }

    /// The JWK Set as it is served.
    ///
    /// # Errors
    ///
    /// [`AdminError`].
    pub fn export_set(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
    ) -> Result<Box<RawValue>, AdminError> {
        self.permit(asker, Action::Read, "export", keyset, None, Some("as jwks"))?;
        let ring = self.custody.ring(keyset);
        let ring = ring.ok_or_else(|| AdminError::UnknownKeyset(keyset.clone()))?;
        let served = ring.served().and_then(|set| serde_json::from_slice(&set.body).ok());
        served.ok_or_else(|| refused(Refusal::NoSigner))
    }

    /// A key that is published, whatever it may do.
    fn exportable(&self, keyset: &KeysetName, kid: &KeyId) -> Result<api::Key, AdminError> {
        let set = self.view(&self.custody.config(), keyset)?;
        let key = set.keys.into_iter().find(|key| key.kid == *kid);
        let key = key.ok_or_else(|| StepError::UnknownKey(kid.clone()))?;
        match key.state {
            KeyState::Pending | KeyState::Active | KeyState::VerifyOnly => Ok(key),
            KeyState::Retired => Err(ExportError::Left("retired").into()),
            KeyState::Revoked => Err(ExportError::Left("revoked").into()),
        }
    }

    fn formed(
        &self,
        keyset: &KeysetName,
        key: &api::Key,
        form: &Form,
    ) -> Result<String, AdminError> {
        // A revocation may be in effect that the store does not know yet.
        let ring = self.custody.ring(keyset).ok_or(ExportError::NotPublished)?;
        let published = ring.published(&key.kid).ok_or(ExportError::NotPublished)?;
        let signing_key = || {
            let signer = self.signer(keyset, key, &ring)?;
            Ok::<_, AdminError>(SigningKey::new(signer, published).map_err(ExportError::from)?)
        };
        let text = match form {
            Form::Jwk => export::jwk(published).map_err(ExportError::from),
            Form::Pem => export::pem(&published.public).map_err(ExportError::from),
            Form::OpenSsh => {
                export::openssh(&published.public, &key.kid).map_err(ExportError::from)
            }
            Form::Certificate { subject, lifetime } => {
                let (since, now) = (self.published_at(keyset, &key.kid)?, self.clock.now().wall);
                signing_key()?
                    .certificate(subject, since, *lifetime, now)
                    .map_err(ExportError::from)
            }
            Form::Request { subject } => signing_key()?.request(subject).map_err(ExportError::from),
        };
        Ok(text?)
    }

    fn signer<'r>(
        &self,
        keyset: &KeysetName,
        key: &api::Key,
        ring: &'r Ring,
    ) -> Result<&'r Signer, AdminError> {
        if key.state == KeyState::VerifyOnly {
            return Err(ExportError::OnlyVerifies.into());
        }
        match ring.signer(&key.kid) {
            Some(signer) => Ok(signer),
            None if self.custody.config().keysets.contains_key(keyset) => {
                Err(ExportError::OnlyVerifies.into())
            }
            None => Err(refused(Refusal::NotConfigured)),
        }
    }

    fn published_at(&self, keyset: &KeysetName, kid: &KeyId) -> Result<Time, AdminError> {
        let loaded = self.store.load(keyset)?;
        let record = loaded.record_of(kid).ok_or(ExportError::NotPublished)?;
        Ok(record.life.published)
    }

    /// Makes it durable that a pending key is given out; returns the key as it is then.
    fn noted(
        &self,
        asker: &Asker,
        permit: Permit,
        keyset: &KeysetName,
        kid: &KeyId,
    ) -> Result<api::Key, AdminError> {
        let command = Command::NoteExport { kid: kid.clone() };
        self.rotator.command(permit, keyset, command, actor(asker))?;
        self.exportable(keyset, kid)
    }
}

impl Form {
    fn of(request: &ExportRequest, kid: &KeyId) -> Result<Self, ExportError> {
        let subject = |asked: &Option<String>| match asked {
            Some(text) => text.parse().map_err(ExportError::Subject),
            // All else that is asked of a subject, a kid is.
            None => kid.as_str().parse().map_err(|_| ExportError::LongKid),
        };
        Ok(match request {
            ExportRequest::Jwk {} => Self::Jwk,
            ExportRequest::Pem {} => Self::Pem,
            ExportRequest::Openssh {} => Self::OpenSsh,
            ExportRequest::X509 { subject: asked, days } => {
                Self::Certificate { subject: subject(asked)?, lifetime: lifetime(*days)? }
            }
            ExportRequest::Csr { subject: asked } => Self::Request { subject: subject(asked)? },
        })
    }

    /// To have a key sign under a name of one's choice is more than to read.
    const fn action(&self) -> Action {
        match self {
            Self::Jwk | Self::Pem | Self::OpenSsh => Action::Read,
            Self::Certificate { .. } | Self::Request { .. } => Action::Rotate,
        }
    }

    /// What the audit says of it.
    fn detail(&self, request: &ExportRequest) -> String {
        let form = request.format();
        match self {
            Self::Jwk | Self::Pem | Self::OpenSsh => format!("as {form}"),
            Self::Certificate { subject, .. } | Self::Request { subject } => {
                format!("as {form} of {}", subject.as_str())
            }
        }
    }
}

fn lifetime(days: Option<u64>) -> Result<Duration, ExportError> {
    const DAY: Duration = Duration::from_hours(24);
    match u32::try_from(days.unwrap_or(DEFAULT_DAYS.into())) {
        Ok(days @ 1..=MAX_DAYS) => Ok(DAY * days),
        _ => Err(ExportError::Days),
    }
}

fn refused(refusal: Refusal) -> AdminError {
    StepError::Refused { refusal, active: None }.into()
}

fn answer(
    keyset: &KeysetName,
    key: api::Key,
    request: &ExportRequest,
    text: String,
) -> api::ExportResponse {
    let signs_since = if key.state == KeyState::Active { key.activates } else { None };
    api::ExportResponse {
        keyset: keyset.clone(),
        kid: key.kid,
        format: request.format().to_owned(),
        state: key.state,
        text,
        exported: key.exported,
        in_place_by: key.in_place_by,
        signs_since,
        needed_until: key.needed_until,
    }
}
