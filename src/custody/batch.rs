//! The tokens of one turn of a batch: decided at one look at the clock, recorded with a line for each
//! and one write for all, then signed one by one.
//!
//! Between a line and its signature must not change what both were decided by: the configuration, the
//! certificate of the caller, the ring, the key that signs. Right before each signature they are looked
//! at again; where any of them changed, all that is not signed yet is decided anew, and gets another
//! line. What the first line says was never signed then.

use std::fmt::Write;
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use jwksd_keystore::algorithm::{Algorithm, Curve, Family, RsaBits};
use jwksd_keystore::crypto::{self, CryptoError};
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::lifecycle::Now;
use jwksd_keystore::ring::{Ring, Signer};

use super::draft::Draft;
use super::ids::Id;
use super::{Asker, Custody, SignedToken, TokenError};
use crate::api::TokenRequest;
use crate::audit::Recorder;
use crate::config::{Config, TokenSettings};
use crate::gate::{Allowed, Denied, Sheet};
use crate::policy::{Action, Caller};

/// One request of a batch.
#[derive(Debug)]
pub struct InBatch<'a> {
    /// Its place in the batch.
    pub index: usize,
    /// What is asked for.
    pub request: TokenRequest<'a>,
}

/// How many signatures a turn of a batch has: about a millisecond of them. So what a turn costs is little
/// beside them, and no other batch waits for longer than for a signature with a large key.
#[must_use]
pub fn signatures_in_a_turn(algorithm: Algorithm) -> NonZero<usize> {
    let count = match algorithm.family() {
        Family::Ed25519 => 100,
        Family::Ec(Curve::P256) => 60,
        Family::Rsa(_, RsaBits::B2048)
        | Family::Ec(Curve::P384 | Curve::P521)
        | Family::MlDsa(_) => 4,
        Family::Rsa(_, RsaBits::B3072 | RsaBits::B4096) => 1,
    };
    NonZero::new(count).unwrap_or(NonZero::<usize>::MIN)
}

impl Custody {
    /// How many requests for tokens of this key set are a turn of a batch.
    #[must_use]
    pub fn turn(&self, keyset: &KeysetName) -> NonZero<usize> {
        let (ring, now) = (self.rings.ring(keyset), self.clock.now());
        let signer = ring.as_ref().and_then(|ring| ring.signer_at(now.lifecycle).ok());
        signer.map_or(NonZero::<usize>::MIN, |signer| signatures_in_a_turn(signer.algorithm()))
    }

    /// Signs the tokens of one turn of a batch, on a thread that gives way. Each request is decided,
    /// recorded and answered as if it was made alone. What came of them is in their order.
    pub fn sign_in_batch(
        &self,
        asker: &Asker,
        keyset: &KeysetName,
        requests: &[InBatch<'_>],
    ) -> Vec<Result<SignedToken, TokenError>> {
        let outcomes = requests.iter().map(|_| None).collect();
        Turn { custody: self, asker, keyset, requests, outcomes }.carried_out()
    }
}

/// The requests of a turn, and what became of them.
struct Turn<'t> {
    custody: &'t Custody,
    asker: &'t Asker,
    keyset: &'t KeysetName,
    requests: &'t [InBatch<'t>],
    /// Of each request; nothing while it is to be decided, perhaps anew.
    outcomes: Vec<Option<Result<SignedToken, TokenError>>>,
}

/// What tokens are decided by.
struct Stand {
    config: Arc<Config>,
    caller: Arc<Caller>,
    /// Where the ring is, or another that took its place.
    place: Arc<ArcSwap<Ring>>,
    ring: Arc<Ring>,
    /// The key that signs.
    kid: KeyId,
    /// For how long its tokens live at most.
    longest: Duration,
    now: Now,
}

/// What was decided, and takes effect once its sheet is recorded.
#[derive(Default)]
struct Decisions<'s> {
    allowed: Vec<Decided<'s>>,
    /// The places of the requests that were refused.
    refused: Vec<(usize, TokenError)>,
}

/// A token that may be signed.
struct Decided<'s> {
    /// The place of its request in the turn.
    place: usize,
    draft: Draft<'s>,
    allowed: Allowed<'s>,
}

impl<'t> Turn<'t> {
    fn carried_out(mut self) -> Vec<Result<SignedToken, TokenError>> {
        while self.outcomes.iter().any(Option::is_none) {
            match self.stand() {
                Some(stand) => self.sign_while_it_stands(&stand),
                None => self.ask_one_by_one(),
            }
        }
        self.outcomes.into_iter().flatten().collect()
    }

    /// What holds now; nothing where no request would get a token.
    fn stand(&self) -> Option<Stand> {
        let Custody { config, rings, clock, .. } = self.custody;
        let config = config.load_full();
        let caller = self.custody.caller_in_force(self.asker)?;
        caller.may(Action::SignToken, self.keyset).ok()?;
        config.keysets.get(self.keyset)?;
        let (place, now) = (rings.place(self.keyset)?, clock.now());
        let ring = place.load_full();
        let signer = ring.signer_at(now.lifecycle).ok()?;
        let (kid, longest) = (signer.kid().clone(), ring.longest_ttl_of(signer));
        Some(Stand { config, caller, place, ring, kid, longest, now })
    }

    /// Whether what was decided can still be signed.
    fn is_standing(&self, stand: &Stand, signer: &Signer) -> bool {
        let Custody { config, clock, .. } = self.custody;
        let certificate = self.asker.certificate.as_ref();
        let now = clock.now().lifecycle;
        stand.ring.signer_at(now).is_ok_and(|at_now| std::ptr::eq(at_now, signer))
            && certificate.is_none_or(|certificate| certificate.names().is_ok())
            && Arc::ptr_eq(&config.load(), &stand.config)
            && Arc::ptr_eq(&stand.place.load(), &stand.ring)
    }

    /// Where there is no token for whoever asks, each hears, and has recorded, why.
    fn ask_one_by_one(&mut self) {
        for (wanted, outcome) in self.requests.iter().zip(&mut self.outcomes) {
            if outcome.is_none() {
                let asker = self.custody.asker_in_batch(self.asker, wanted.index);
                *outcome = Some(self.custody.sign_token(&asker, self.keyset, &wanted.request));
            }
        }
    }

    /// Decides and records all that is open, and signs it until something changes.
    fn sign_while_it_stands(&mut self, stand: &Stand) {
        let configured = stand.config.keysets.get(self.keyset);
        let signer = stand.ring.signer_at(stand.now.lifecycle);
        let (Some(configured), Ok(signer)) = (configured, signer) else { return };
        let (gate, room) = (&self.custody.gate, self.requests.len());
        let mut sheet = gate.sheet(&stand.caller, self.keyset, room);
        let decided = match self.decide(stand, &configured.tokens, &mut sheet) {
            Ok(decided) => decided,
            Err(error) => return self.fail_open(|| error.into()),
        };
        let permit = match sheet.record(Recorder::GivesWay, stand.now.wall) {
            Ok(permit) => permit,
            Err(error) => return self.fail_open(|| Denied::Audit(error.again()).into()),
        };
        for (place, error) in decided.refused {
            self.fail(place, error);
        }
        let mut count = 0;
        for Decided { place, draft, allowed } in decided.allowed {
            if !self.is_standing(stand, signer) {
                break;
            }
            let (permit, grant) = permit.of(&allowed);
            match draft.signed(signer, &configured.tokens, &permit, grant) {
                Ok(token) => {
                    count += 1;
                    self.tell(place, &token);
                    self.conclude(place, Ok(token));
                }
                Err(error) => self.fail(place, error.into()),
            }
        }
        let (metrics, name) = (self.custody.metrics(), self.asker.name());
        metrics.count_signed_in_batch(self.keyset, name, signer.algorithm(), count);
    }

    /// Decides about all that is open, on the sheet.
    fn decide<'s>(
        &mut self,
        stand: &'s Stand,
        settings: &'s TokenSettings,
        sheet: &mut Sheet<'s, '_>,
    ) -> Result<Decisions<'s>, CryptoError>
    where
        't: 's,
    {
        let requests = self.requests;
        let mut ids = vec![Id::default(); requests.len()];
        crypto::fill_with_random(ids.as_flattened_mut())?;
        let (mut decided, mut request_id) = (Decisions::default(), String::new());
        for (place, (wanted, id)) in requests.iter().zip(&ids).enumerate() {
            if self.is_concluded(place) {
                continue;
            }
            request_id.clear();
            // Writing to a String cannot fail.
            let _ = write!(request_id, "{}.{}", self.asker.request_id, wanted.index);
            let draft = Draft::of(&wanted.request, settings, stand.longest, stand.now.wall, id);
            let allowed = draft.and_then(|draft| {
                let record = draft.record(&stand.kid, &request_id, Recorder::GivesWay);
                let allowed = draft.decided(|token| sheet.decide(token, record))?;
                Ok(Decided { place, draft, allowed })
            });
            match allowed {
                Ok(allowed) => decided.allowed.push(allowed),
                Err(error @ TokenError::Denied(Denied::Refused(_))) => {
                    decided.refused.push((place, error));
                }
                Err(error) => self.fail(place, error),
            }
        }
        Ok(decided)
    }

    fn tell(&self, place: usize, signed: &SignedToken) {
        let (keyset, kid, caller) = (self.keyset, &signed.kid, self.asker.name());
        let index = self.requests.get(place).map_or(0, |wanted| wanted.index);
        let request_id = format_args!("{}.{index}", self.asker.request_id);
        tracing::debug!(event = "signed", %keyset, %kid, caller, %request_id, "signed");
    }

    fn is_concluded(&self, place: usize) -> bool {
        self.outcomes.get(place).is_none_or(Option::is_some)
    }

    fn conclude(&mut self, place: usize, outcome: Result<SignedToken, TokenError>) {
        if let Some(open) = self.outcomes.get_mut(place) {
            *open = Some(outcome);
        }
    }

    /// There is no token for this request.
    fn fail(&mut self, place: usize, error: TokenError) {
        if let Some(wanted) = self.requests.get(place) {
            let asker = self.custody.asker_in_batch(self.asker, wanted.index);
            self.custody.conclude_unsigned(&asker, self.keyset, &error);
        }
        self.conclude(place, Err(error));
    }

    fn fail_open(&mut self, error: impl Fn() -> TokenError) {
        for place in 0..self.requests.len() {
            if !self.is_concluded(place) {
                self.fail(place, error());
            }
        }
    }
}

#[cfg(test)]
mod tests;
