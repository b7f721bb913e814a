//! What callers may ask for. It owns the way to the keys: identity, gate, ring, in this order.
//!
//! It knows no HTTP, no store and no waiting: a token costs one look at the clock, the gate and the
//! ring.

mod batch;
mod draft;
mod ids;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::crypto::{self, CryptoError};
use jwksd_keystore::facts::Span;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::planted::{self, Fault};
use jwksd_keystore::ring::{Ring, SignError};
use jwksd_keystore::time::Time;

pub use self::batch::{InBatch, signatures_in_a_turn};
use self::draft::Draft;
use self::ids::Ids;
use crate::api::TokenRequest;
use crate::audit::{Audit, Recorder};
use crate::claims::ClaimsError;
use crate::clock::LifecycleClock;
use crate::config::{Config, TokenSettings};
use crate::gate::{Act, Denied, Gate, Permit};
use crate::limits::{Allowance, BatchSlot, Desk, Limits, Over, Slot};
use crate::metrics::Metrics;
use crate::metrics::histogram::Stopwatch;
use crate::metrics::outcomes::{Outcome, Turned};
use crate::policy::{Action, Caller, Identity};
use crate::rings::Rings;
use crate::san::San;
use crate::tls::PeerCertificate;

/// The way to the keys.
pub struct Custody {
    config: ArcSwap<Config>,
    rings: Arc<Rings>,
    clock: Arc<LifecycleClock>,
    audit: Arc<Audit>,
    gate: Gate,
    limits: Limits,
    metrics: Arc<Metrics>,
    ids: Ids,
}

/// What a connection tells about who is at its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The effective user of the process.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
}

/// A caller that was recognised, with the request that it makes.
#[derive(Clone)]
pub struct Asker {
    caller: Arc<Caller>,
    /// The id of the request.
    pub request_id: String,
    recorder: Recorder,
    certificate: Option<Arc<PeerCertificate>>,
    allowance: Arc<Allowance>,
    /// It is under way for as long as anything is done for it, also where its caller hung up.
    slot: Arc<Slot>,
}

/// Why names in a certificate are nobody's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOneCaller {
    /// No caller has any of them.
    #[error("no caller in the configuration has a san of the client certificate")]
    Nobody,
    /// It must not be a matter of their order who is meant.
    #[error("the names in the client certificate are those of several callers")]
    Several,
}

/// A signed token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedToken {
    /// The compact JWS.
    pub token: String,
    /// The key that signed it.
    pub kid: KeyId,
    /// Its `exp`.
    pub expires: Time,
    /// What it was signed with.
    pub algorithm: Algorithm,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No such key set.
    #[error("there is no key set {0}")]
    UnknownKeyset(KeysetName),
    /// The set is missing from the configuration.
    #[error("the key set {0} is not in the configuration; it only serves its last keys")]
    NotConfigured(KeysetName),
    /// The claims cannot be signed.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// Not a lifetime.
    #[error("ttl must be whole seconds, at least 1, as a number or as text such as \"15m\"")]
    NotATtl,
    /// The lifetime is longer than the key set allows.
    #[error("ttl {} is longer than the {} that the key set allows", Span(*.asked), Span(*.longest))]
    TtlTooLong {
        /// What was asked.
        asked: Duration,
        /// What is allowed.
        longest: Duration,
    },
    /// The key set does not allow this `typ`.
    #[error("typ {asked:?} is not one of {}", .allowed.join(", "))]
    Type {
        /// What was asked.
        asked: String,
        /// What is allowed.
        allowed: Vec<String>,
    },
    /// The gate denied it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The ring could not sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The caller asks for more than it may.
    #[error(transparent)]
    Over(#[from] Over),
    /// There is no randomness for `jti`.
    #[error(transparent)]
    Random(#[from] CryptoError),
}

impl Custody {
    /// The way to the keys in `rings`.
    #[must_use]
    pub fn new(
        config: Config,
        rings: Arc<Rings>,
        clock: Arc<LifecycleClock>,
        audit: Arc<Audit>,
        limits: Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let gate = Gate::new(audit.clone());
        let (config, ids) = (ArcSwap::from_pointee(config), Ids::default());
        Self { config, rings, clock, audit, gate, limits, metrics, ids }
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Puts another configuration in force. The rotator does this, after it took it over.
    pub fn put_in_force(&self, config: Config) {
        self.limits.put_in_force(&config.callers);
        self.metrics.put_in_force(&config);
        self.config.store(Arc::new(config));
    }

    /// What is counted and measured.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// The ring of a key set, for what is public anyway.
    #[must_use]
    pub fn ring(&self, keyset: &KeysetName) -> Option<Arc<Ring>> {
        self.rings.ring(keyset)
    }

    /// The caller at the other end of a Unix socket: by its user, else by its group.
    #[must_use]
    pub fn caller_by_peer(&self, peer: Peer) -> Option<Arc<Caller>> {
        let config = self.config.load();
        let known = |identity: &Identity| {
            config.callers.iter().find(|caller| caller.identity == *identity).cloned()
        };
        known(&Identity::Uid(peer.uid)).or_else(|| known(&Identity::Gid(peer.gid)))
    }

    /// The caller that holds a bearer token. Takes the same time whichever caller it is.
    #[must_use]
    pub fn caller_by_token(&self, token: &str) -> Option<Arc<Caller>> {
        let presented = crypto::sha256(token.as_bytes());
        let config = self.config.load();
        let mut known = None;
        for caller in &config.callers {
            if let Identity::TokenSha256(digest) = &caller.identity
                && crypto::equal_in_constant_time(digest, &presented)
            {
                known = Some(caller.clone());
            }
        }
        known
    }

    /// The caller that a certificate with these names is of.
    ///
    /// # Errors
    ///
    /// [`NotOneCaller`].
    pub fn caller_by_names(&self, names: &[San]) -> Result<Arc<Caller>, NotOneCaller> {
        let config = self.config.load();
        let is_meant = |caller: &&Arc<Caller>| match &caller.identity {
            Identity::San(san) => names.contains(san),
            Identity::Uid(_) | Identity::Gid(_) | Identity::TokenSha256(_) => false,
        };
        let mut meant = config.callers.iter().filter(is_meant);
        match (meant.next(), meant.next()) {
            (None, _) => Err(NotOneCaller::Nobody),
            (Some(caller), None) => Ok(caller.clone()),
            (Some(_), Some(_)) => Err(NotOneCaller::Several),
        }
    }

    /// Begins a request of `caller`, recognised at `desk`. It is under way until what is returned,
    /// and every slot of it, is dropped.
    ///
    /// # Errors
    ///
    /// [`Over`], which is recorded.
    pub fn begin(
        &self,
        caller: Arc<Caller>,
        desk: Desk,
        request_id: String,
    ) -> Result<Asker, Over> {
        let allowance = self.limits.of(&caller.name, desk);
        let slot = allowance.begin().inspect_err(|over| {
            let now = self.clock.now().wall;
            self.gate.note_over(&caller, desk, &over.to_string(), &request_id, now);
            self.metrics.count_turned_away(&caller.name, desk, Turned::of_over(over));
        })?;
        let (recorder, slot) = (Recorder::Worker, Arc::new(slot));
        Ok(Asker { caller, request_id, recorder, certificate: None, allowance, slot })
    }

    /// Counts a request of someone unknown.
    ///
    /// # Errors
    ///
    /// [`Over`]: there are too many of them.
    pub fn take_unknown_caller(&self, desk: Desk) -> Result<(), Over> {
        self.audit.count_unknown_caller(self.clock.now().wall);
        let taken = self.limits.take_unknown(desk);
        let why = taken.as_ref().err().map_or(Turned::UnknownCaller, Turned::of_over);
        self.metrics.count_stranger(desk, why);
        taken
    }

    /// Whether a batch of tokens may be begun. What holds for all of its requests is decided and
    /// recorded once.
    ///
    /// # Errors
    ///
    /// [`TokenError`]: there would be no token at all.
    pub fn admit_batch(&self, asker: &Asker, keyset: &KeysetName) -> Result<BatchSlot, TokenError> {
        let config = self.config.load();
        let admitted = self.admit(&config, asker, keyset);
        let admitted = admitted.and_then(|_| Ok(asker.allowance.begin_batch()?));
        admitted.inspect_err(|error| self.note_batch_refused(asker, keyset, error))
    }

    /// Counts a batch of `count` requests against the rate of its caller.
    ///
    /// # Errors
    ///
    /// [`TokenError::Over`].
    pub fn take_batch(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
        count: usize,
    ) -> Result<(), TokenError> {
        let taken = asker.allowance.take_rest_of(count).map_err(TokenError::Over);
        taken.inspect_err(|error| self.note_batch_refused(asker, keyset, error))
    }

    fn note_batch_refused(&self, asker: &Asker, keyset: &KeysetName, error: &TokenError) {
        self.note(asker, keyset, error);
        if let TokenError::Over(over) = error {
            let (caller, why) = (asker.name(), Turned::of_over(over));
            self.metrics.count_turned_away(caller, Desk::Internal, why);
        }
    }

    /// The asker of one request of a batch: the caller as the configuration in force has it, so
    /// that a grant, or the CA of a certificate, which was taken away does not outlive the reload
    /// by the rest of a batch.
    #[must_use]
    pub fn asker_in_batch(&self, asker: &Asker, index: usize) -> Asker {
        let nobody = || Arc::new(Caller { grants: Vec::new(), ..Caller::clone(&asker.caller) });
        Asker {
            caller: self.caller_in_force(asker).unwrap_or_else(nobody),
            request_id: asker.request_id_in_batch(index),
            recorder: Recorder::GivesWay,
            certificate: asker.certificate.clone(),
            allowance: asker.allowance.clone(),
            slot: asker.slot.clone(),
        }
    }

    /// Makes the asker what the configuration in force has, when its request is there at last: what was
    /// taken away since it began counts no more. `None` if it is nobody now.
    #[must_use]
    pub fn bring_in_force(&self, asker: &mut Asker) -> Option<()> {
        asker.caller = self.caller_in_force(asker)?;
        Some(())
    }

    fn caller_in_force(&self, asker: &Asker) -> Option<Arc<Caller>> {
        let is_same = |caller: &&Arc<Caller>| caller.identity == asker.caller.identity;
        if let Some(certificate) = &asker.certificate {
            let named = self.caller_by_names(certificate.names().ok()?).ok();
            return named.filter(|caller| is_same(&caller));
        }
        self.config.load().callers.iter().find(is_same).cloned()
    }

    /// Signs a token.
    ///
    /// # Errors
    ///
    /// [`TokenError`]; nothing was signed.
    pub fn sign_token(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
        request: &TokenRequest<'_>,
    ) -> Result<SignedToken, TokenError> {
        let watch = Stopwatch::start();
        let signed = self.sign_permitted(asker, keyset, request);
        if let Ok(signed) = &signed {
            let span = (asker.recorder == Recorder::Worker).then(|| watch.elapsed());
            self.metrics.count_signed(keyset, asker.name(), signed.algorithm, span);
        }
        signed.inspect_err(|error| self.conclude_unsigned(asker, keyset, error))
    }

    /// Counts, and records where the gate did not, that there is no token.
    fn conclude_unsigned(&self, asker: &Asker, keyset: &KeysetName, error: &TokenError) {
        let config = self.config.load();
        let algorithm = config.keysets.get(keyset).map(|set| set.facts.algorithm);
        self.metrics.count_unsigned(keyset, asker.name(), algorithm, outcome_of(error));
        self.note(asker, keyset, error);
    }

    /// Records what the gate did not.
    fn note(&self, asker: &Asker, keyset: &KeysetName, error: &TokenError) {
        if !matches!(error, TokenError::Denied(_)) {
            // What the gate refused, it recorded. That nothing was signed here needs no permit.
            self.record_refusal(asker, keyset, &error.to_string());
        }
    }

    fn record_refusal(&self, asker: &Asker, keyset: &KeysetName, reason: &str) {
        let (now, id) = (self.clock.now().wall, &asker.request_id);
        self.gate.note_refusal(&asker.caller, keyset, reason, id, asker.recorder, now);
    }

    fn sign_permitted(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
        request: &TokenRequest<'_>,
    ) -> Result<SignedToken, TokenError> {
        let config = self.config.load();
        let (settings, ring) = self.admit(&config, asker, keyset)?;
        let ring = ring.ok_or(SignError::NoSigner)?;
        let (now, id) = (self.clock.now(), self.ids.next()?);
        let signer = ring.signer_at(now.lifecycle)?;
        let mut longest = ring.longest_ttl_of(signer);
        if planted::is_planted(Fault::LifetimeRaisedUncommitted) {
            longest = config.keysets[keyset].facts.max_token_ttl;
        }
        let draft = Draft::of(request, settings, longest, now.wall, &id)?;
        let record = draft.record(signer.kid(), &asker.request_id, asker.recorder);
        let permitted =
            draft.decided(|token| self.gate.token(&asker.caller, keyset, token, record));
        let (permit, grant) = permitted?;
        let token = draft.signed(signer, settings, &permit, grant)?;
        let (kid, caller, request_id) = (&token.kid, asker.name(), asker.request_id.as_str());
        tracing::debug!(event = "signed", %keyset, %kid, caller, request_id, "signed");
        Ok(token)
    }

    /// What is the same for all tokens of a caller in a key set: whether it may sign there, and
    /// what with.
    fn admit<'c>(
        &self,
        config: &'c Config,
        asker: &Asker,
        keyset: &KeysetName,
    ) -> Result<(&'c TokenSettings, Option<Arc<Ring>>), TokenError> {
        if let Err(refusal) = asker.caller.may(Action::SignToken, keyset) {
            self.record_refusal(asker, keyset, &refusal.to_string());
            return Err(Denied::from(refusal).into());
        }
        let ring = self.rings.ring(keyset);
        match (config.keysets.get(keyset), ring) {
            (Some(configured), ring) => Ok((&configured.tokens, ring)),
            (None, Some(_)) => Err(TokenError::NotConfigured(keyset.clone())),
            (None, None) => Err(TokenError::UnknownKeyset(keyset.clone())),
        }
    }

    /// Decides about an act of administration and records it.
    ///
    /// # Errors
    ///
    /// [`Denied`].
    pub fn permit(
        &self,
        asker: &Asker,
        action: Action,
        name: &str,
        keyset: Option<&KeysetName>,
        kid: Option<&KeyId>,
        detail: Option<&str>,
    ) -> Result<Permit, Denied> {
        let (now, request_id) = (self.clock.now().wall, asker.request_id.as_str());
        let act = Act { now, action, name, keyset, kid, detail, request_id };
        self.gate.act(&asker.caller, act).inspect_err(|denied| {
            let why = match denied {
                Denied::Refused(_) => Turned::NotAllowed,
                Denied::Audit(_) => Turned::NotRecorded,
            };
            self.metrics.count_turned_away(asker.name(), Desk::Admin, why);
        })
    }

    /// Whether a caller may do something, where nothing is done yet and so nothing is recorded.
    #[must_use]
    pub fn may(&self, asker: &Asker, action: Action, keyset: &KeysetName) -> bool {
        asker.caller.may(action, keyset).is_ok()
    }

    /// The same for what is about the daemon as a whole.
    #[must_use]
    pub fn may_operate(&self, asker: &Asker) -> bool {
        asker.caller.may_operate().is_ok()
    }
}

impl Asker {
    /// The same, recognised by a certificate.
    #[must_use]
    pub fn with_certificate(self, certificate: Arc<PeerCertificate>) -> Self {
        Self { certificate: Some(certificate), ..self }
    }

    /// The id of a request of the batch that this is the request for.
    #[must_use]
    pub fn request_id_in_batch(&self, index: usize) -> String {
        format!("{}.{index}", self.request_id)
    }

    /// What keeps its request under way.
    #[must_use]
    pub fn slot(&self) -> Arc<Slot> {
        self.slot.clone()
    }

    /// The caller's name in the audit.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.caller.name
    }
}

/// What an error comes to, for whoever counts.
fn outcome_of(error: &TokenError) -> Outcome {
    match error {
        TokenError::Denied(Denied::Refused(_)) => Outcome::NotAllowed,
        TokenError::Claims(_)
        | TokenError::NotATtl
        | TokenError::TtlTooLong { .. }
        | TokenError::Type { .. } => Outcome::Invalid,
        TokenError::UnknownKeyset(_) | TokenError::NotConfigured(_) => Outcome::NotConfigured,
        TokenError::Over(_) => Outcome::Limited,
        TokenError::Denied(Denied::Audit(_)) | TokenError::Sign(SignError::NoSigner) => {
            Outcome::Unavailable
        }
        TokenError::Sign(SignError::Seal(_) | SignError::Crypto(_)) | TokenError::Random(_) => {
            Outcome::Failed
        }
    }
}
