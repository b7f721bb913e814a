//! An immutable snapshot of one key set: what is served, and what signs when.
//!
//! A ring picks its signer by the time it is asked at, so it goes on rotating while the store is
//! down. Secrets are opened at first use, and opened keys are shared between rings.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;

use crate::algorithm::Algorithm;
use crate::crypto::{CryptoError, SigningKey, sha256};
use crate::facts::Facts;
use crate::id::{KeyId, KeysetName, Revision};
use crate::jwk::{JwkSet, PublicJwk};
use crate::lifecycle::{Number, State};
use crate::seal::{MasterKeys, Place, SealError};
use crate::store::{Record, SealedSecret};
use crate::time::Time;

/// Room for a signature of up to 256 bytes in base64, and the dots. What is longer still fits.
const SIGNATURE_ROOM: usize = 352;

/// A snapshot of one key set.
pub struct Ring {
    signers: Vec<Signer>,
    published: JwkSet,
    served: Option<ServedSet>,
    max_token_ttl: Duration,
    publish_ahead: Duration,
    frozen: Option<Time>,
}

/// A JWK Set, ready to be sent.
#[derive(Debug)]
pub struct ServedSet {
    /// The JSON text. Shared, so that an answer does not copy it.
    pub body: Bytes,
    /// Which version it is.
    pub version: Arc<Version>,
    /// The JOSE names of the algorithms of its keys, each once.
    pub algorithms: Vec<&'static str>,
    /// For how long it may be reused, as `Cache-Control` says it (RFC 9111, section 5.2.2).
    pub cache_control: Bytes,
}

/// What tells a version of a JWK Set from others. Shared, since it is asked about when its ring is
/// long gone.
#[derive(Debug, PartialEq, Eq)]
pub struct Version {
    /// The strong entity tag of the text, with its quotes (RFC 9110, section 8.8.3).
    pub etag: String,
    /// The kids of its keys.
    pub kids: Vec<KeyId>,
}

/// Whether the ring of a set signs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signing {
    /// The set is in the configuration.
    On,
    /// The set is missing from the configuration: its last keys are only served.
    Off,
}

/// A key that signs from its activation on, where that is planned.
pub struct Signer {
    number: Number,
    activates: Option<Time>,
    /// The earliest activation by which every verifier has seen the key.
    waited: Option<Time>,
    longest_ttl: Duration,
    key: Arc<SealedKey>,
}

/// A signing key, opened at first use.
struct SealedKey {
    keyset: KeysetName,
    number: Number,
    kid: KeyId,
    algorithm: Algorithm,
    secret: SealedSecret,
    master_keys: Arc<MasterKeys>,
    opened: OnceLock<SigningKey>,
    /// That of the `typ` that was first asked for.
    header: OnceLock<Header>,
}

/// The header of tokens of a `typ`, encoded.
struct Header {
    /// The `typ`, then the header: side by side, since each token looks at both.
    text: String,
    typ_length: usize,
}

/// Why nothing was signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// No key of the set may sign now.
    #[error("the key set has no active key")]
    NoSigner,
    /// The secret does not open.
    #[error("the secret of the active key does not open: {0}")]
    Seal(#[from] SealError),
    /// The library failed.
    #[error(transparent)]
    Crypto(#[from] CryptoError),
}

impl Ring {
    /// The ring of a set: everything living is served, everything not ended can sign. Keys that
    /// `previous` has opened stay open.
    #[must_use]
    pub fn new(
        keyset: &KeysetName,
        records: &[Record],
        facts: Option<&Facts>,
        signing: Signing,
        master_keys: &Arc<MasterKeys>,
        previous: Option<&Self>,
    ) -> Self {
        let signers = match signing {
            Signing::Off => Vec::new(),
            Signing::On => records
                .iter()
                .filter_map(|record| Signer::of(keyset, record, facts, master_keys, previous))
                .collect(),
        };
        let published = JwkSet { keys: records.iter().map(Record::jwk).collect() };
        Self {
            signers,
            served: facts.and_then(|facts| ServedSet::of(&published, facts.jwks_max_age)),
            published,
            max_token_ttl: facts.map_or(Duration::ZERO, |facts| facts.max_token_ttl),
            publish_ahead: facts.map_or(Duration::ZERO, |facts| facts.waits().publish_ahead()),
            frozen: None,
        }
    }

    /// The same ring, but whoever signs at `moment` signs from then on too: while it is not known
    /// what the store holds, a key must not start to sign that the store may have taken out.
    #[must_use]
    pub fn frozen_at(self, moment: Option<Time>) -> Self {
        Self { frozen: moment, ..self }
    }

    /// What is served; `None` while there is no key, since verifiers choke on an empty set.
    #[must_use]
    pub fn served(&self) -> Option<&ServedSet> {
        self.served.as_ref()
    }

    /// The published key with this kid.
    #[must_use]
    pub fn published(&self, kid: &KeyId) -> Option<&PublicJwk> {
        self.published.keys.iter().find(|key| key.kid == *kid)
    }

    /// The key with this kid, if it signs or may ever sign.
    #[must_use]
    pub fn signer(&self, kid: &KeyId) -> Option<&Signer> {
        self.signers.iter().find(|signer| signer.kid() == kid)
    }

    /// The key that signs at `now`: the newest whose activation has come.
    ///
    /// # Errors
    ///
    /// [`SignError::NoSigner`].
    pub fn signer_at(&self, now: Time) -> Result<&Signer, SignError> {
        let now = self.standing_still(now);
        self.signers
            .iter()
            .filter(|signer| signer.activates.is_some_and(|activates| activates <= now))
            .max_by_key(|signer| signer.number)
            .ok_or(SignError::NoSigner)
    }

    /// The kid of the key that signs next, by the rule of
    /// [`Keyset::standby_at`](crate::lifecycle::Keyset::standby_at). None in a set that does not sign.
    #[must_use]
    pub fn standby_at(&self, now: Time) -> Option<&KeyId> {
        let now = self.standing_still(now);
        let is_pending =
            |signer: &&Signer| signer.activates.is_none_or(|activates| activates > now);
        let has_waited = |signer: &&Signer| signer.waited.is_some_and(|waited| waited <= now);
        let pending = || self.signers.iter().filter(is_pending);
        let standby = pending().rfind(has_waited).or_else(|| pending().next());
        standby.map(Signer::kid)
    }

    /// How long a key is published before it signs: whoever keeps the set as stated has fetched it
    /// within this time.
    #[must_use]
    pub fn publish_ahead(&self) -> Duration {
        self.publish_ahead
    }

    fn standing_still(&self, now: Time) -> Time {
        self.frozen.map_or(now, |frozen| frozen.min(now))
    }

    /// The longest lifetime of a token that `signer`, one of this ring, signs: what is in force, but
    /// never more than the key's record says.
    #[must_use]
    pub fn longest_ttl_of(&self, signer: &Signer) -> Duration {
        signer.longest_ttl.min(self.max_token_ttl)
    }

    /// Opens the secrets of the keys that sign at `now` or at latest at `soon`, so that no request
    /// pays for it.
    ///
    /// # Errors
    ///
    /// The first secret that does not open.
    pub fn warm(&self, now: Time, soon: Time) -> Result<(), SignError> {
        let current = self.signer_at(now).ok().map(|signer| signer.number);
        for signer in &self.signers {
            let next = signer.activates.is_some_and(|at| at > now && at <= soon);
            if next || Some(signer.number) == current {
                signer.key.open()?;
            }
        }
        Ok(())
    }
}

impl Signer {
    fn of(
        keyset: &KeysetName,
        record: &Record,
        facts: Option<&Facts>,
        master_keys: &Arc<MasterKeys>,
        previous: Option<&Ring>,
    ) -> Option<Self> {
        if record.life.state_at(Time::EPOCH) == State::VerifyOnly {
            return None;
        }
        let secret = record.secret.as_ref()?;
        let shared = previous.and_then(|ring| {
            let same = |signer: &&Signer| signer.key.is(record.life.number, secret.revision);
            ring.signers.iter().find(same).map(|signer| signer.key.clone())
        });
        let key = shared.unwrap_or_else(|| {
            Arc::new(SealedKey {
                keyset: keyset.clone(),
                number: record.life.number,
                kid: record.kid.clone(),
                algorithm: record.life.algorithm,
                secret: secret.clone(),
                master_keys: master_keys.clone(),
                opened: OnceLock::new(),
                header: OnceLock::new(),
            })
        });
        Some(Self {
            number: record.life.number,
            activates: record.life.activates,
            waited: facts.map(|facts| record.life.waited_at(facts)),
            longest_ttl: record.life.longest_ttl,
            key,
        })
    }

    /// Its kid.
    #[must_use]
    pub fn kid(&self) -> &KeyId {
        &self.key.kid
    }

    /// What it signs with.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.key.algorithm
    }

    /// Signs `payload` as a compact JWS (RFC 7515, section 7.1) whose header is exactly `alg`,
    /// `kid` and `typ`. Header, kid and signature come from this one key.
    ///
    /// # Errors
    ///
    /// [`SignError::Seal`] when its secret does not open, [`SignError::Crypto`].
    pub fn sign(&self, typ: &str, payload: &[u8]) -> Result<String, SignError> {
        let signing_key = self.key.open()?;
        let header = self.key.header(typ);
        let payload_room = base64::encoded_len(payload.len(), false).unwrap_or_default();
        let mut token = String::with_capacity(header.len() + payload_room + SIGNATURE_ROOM);
        token.push_str(&header);
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(payload, &mut token);
        let signature = signing_key.sign(token.as_bytes())?;
        token.push('.');
        BASE64_URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    /// Signs a `TBSCertificate` (RFC 5280, section 4.1) or a `CertificationRequestInfo` (RFC 2986,
    /// section 4.1), in DER, for a certificate of this key or a request for one; nothing else, and
    /// nothing that could be a token. RSA signs with PKCS #1 v1.5 and the hash of its algorithm. A
    /// secret that was not open before is not kept open.
    ///
    /// # Errors
    ///
    /// As [`Signer::sign`].
    pub fn certify(&self, to_be_signed: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(match self.key.opened.get() {
            Some(opened) => opened.certify(to_be_signed)?,
            None => self.key.opened_anew()?.certify(to_be_signed)?,
        })
    }
}

impl SealedKey {
    fn is(&self, number: Number, revision: Revision) -> bool {
        self.number == number && self.secret.revision == revision
    }

    fn open(&self) -> Result<&SigningKey, SignError> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let opened = self.opened_anew()?;
        Ok(self.opened.get_or_init(|| opened))
    }

    fn opened_anew(&self) -> Result<SigningKey, SignError> {
        let place = Place {
            keyset: &self.keyset,
            number: self.number,
            kid: &self.kid,
            algorithm: self.algorithm,
            revision: self.secret.revision,
        };
        let secret = self.master_keys.open(&self.secret.sealed, &place)?;
        Ok(SigningKey::new(self.algorithm, &secret)?)
    }

    /// Nearly all tokens of a key have one `typ`, so the header with the first is kept.
    fn header(&self, typ: &str) -> Cow<'_, str> {
        let of_first = || Header { text: self.header_anew(typ, typ), typ_length: typ.len() };
        let first = self.header.get_or_init(of_first);
        match first.text.split_at(first.typ_length) {
            (same, header) if same == typ => Cow::Borrowed(header),
            _ => Cow::Owned(self.header_anew("", typ)),
        }
    }

    /// The header, behind `prefix`.
    fn header_anew(&self, prefix: &str, typ: &str) -> String {
        let (alg, kid) = (self.algorithm.jose_name(), self.kid.as_str());
        // `alg`, `kid` and `typ` need no escape: the first is ours, the others are checked names.
        let header = format!(r#"{{"alg":"{alg}","typ":"{typ}","kid":"{kid}"}}"#);
        let mut text = prefix.to_owned();
        BASE64_URL_SAFE_NO_PAD.encode_string(header, &mut text);
        text
    }
}

impl ServedSet {
    fn of(jwks: &JwkSet, max_age: Duration) -> Option<Self> {
        if jwks.keys.is_empty() {
            return None;
        }
        let body = serde_json::to_vec(jwks).ok()?;
        let kids = jwks.keys.iter().map(|key| key.kid.clone()).collect();
        let etag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&sha256(&body)[..16]));
        let mut algorithms = Vec::new();
        for name in jwks.keys.iter().map(|key| key.algorithm.jose_name()) {
            if !algorithms.contains(&name) {
                algorithms.push(name);
            }
        }
        let version = Arc::new(Version { etag, kids });
        let cache_control = format!("public, max-age={}", max_age.as_secs()).into();
        Some(Self { body: body.into(), version, algorithms, cache_control })
    }
}

#[cfg(test)]
mod tests {
    use p256::ecdsa::signature::Verifier;

    use super::*;
    use crate::crypto;
    use crate::facts::tests::facts;
    use crate::jwk::PublicKey;
    use crate::lifecycle::{Keyset, Life, Origin, PlannedBy};
    use crate::seal::tests::master_keys;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn life(number: u64, activates: Option<u64>) -> Life {
        Life {
            number: Number(number),
            algorithm: Algorithm::Es256,
            created: at(0),
            published: at(0),
            served_from: at(0),
            stale_max_age: Duration::ZERO,
            activates: activates.map(at),
            planned_by: PlannedBy::Nobody,
            longest_ttl: Duration::from_mins(30),
            may_have_signed: false,
            ended: None,
            retires: None,
            origin: Origin::Generated,
            exported: None,
        }
    }

    struct Fixture {
        keyset: KeysetName,
        master_keys: Arc<MasterKeys>,
        records: Vec<Record>,
    }

    impl Fixture {
        fn new(lives: impl IntoIterator<Item = Life>) -> Self {
            let keyset: KeysetName = "default".parse().unwrap();
            let master_keys = Arc::new(master_keys());
            let record = |life: Life| {
                let pair = crypto::generate(life.algorithm).unwrap();
                Record::of_new_key(&keyset, life, Revision(1), pair, &master_keys).unwrap()
            };
            let records = lives.into_iter().map(record).collect();
            Self { keyset, master_keys, records }
        }

        fn ring(&self, signing: Signing, previous: Option<&Ring>) -> Ring {
            let facts = facts("0 3 1 * *");
            let (keyset, keys) = (&self.keyset, &self.master_keys);
            Ring::new(keyset, &self.records, Some(&facts), signing, keys, previous)
        }

        fn kids(&self) -> Vec<KeyId> {
            self.records.iter().map(|record| record.kid.clone()).collect()
        }
    }

    #[test]
    fn the_signer_changes_at_the_moment_without_a_new_ring() {
        let fixture = Fixture::new([life(1, Some(10)), life(2, Some(20)), life(3, None)]);
        let ring = fixture.ring(Signing::On, None);
        let number = |now| ring.signer_at(at(now)).map(|signer| signer.number.0);
        assert_eq!(number(9), Err(SignError::NoSigner));
        assert_eq!(number(10), Ok(1));
        assert_eq!(number(19), Ok(1));
        assert_eq!(number(20), Ok(2));
        assert_eq!(number(u64::MAX), Ok(2));
    }

    #[test]
    fn a_frozen_ring_goes_on_with_the_signer_it_had() {
        let fixture = Fixture::new([life(1, Some(10)), life(2, Some(20))]);
        let ring = fixture.ring(Signing::On, None).frozen_at(Some(at(19)));
        let number = |now| ring.signer_at(at(now)).map(|signer| signer.number.0);
        assert_eq!(number(9), Err(SignError::NoSigner));
        assert_eq!(number(u64::MAX), Ok(1));
    }

    #[test]
    fn the_standby_is_the_one_that_the_rules_name_at_every_instant() {
        let mut late = life(4, None);
        late.served_from = at(5_000_000);
        let mut trusted = life(5, None);
        (trusted.ended, trusted.origin) = (Some(at(0)), Origin::Trusted);
        let lives = [life(1, Some(10)), life(2, Some(90_000_000)), life(3, None), late, trusted];
        let fixture = Fixture::new(lives.clone());
        let (facts, ring) = (facts("0 3 1 * *"), fixture.ring(Signing::On, None));
        let set = Keyset { lives: lives.to_vec(), ..Keyset::default() };
        let mut named = Vec::new();
        for now in (0..120_000_000).step_by(1_000_000).map(at) {
            let standby = ring.standby_at(now).cloned();
            let number = set.standby_at(&facts, now).map(|life| life.number);
            let of = |number: Number| fixture.records.iter().find(|r| r.life.number == number);
            assert_eq!(standby.as_ref(), number.and_then(of).map(|record| &record.kid), "{now}");
            named.extend(number);
        }
        named.dedup();
        assert_eq!(named, [1, 2, 3, 4].map(Number));
        assert_eq!(ring.frozen_at(Some(at(20))).standby_at(at(u64::MAX)), Some(&fixture.kids()[1]));
        assert_eq!(fixture.ring(Signing::Off, None).standby_at(at(0)), None);
    }

    #[test]
    fn a_key_is_the_standby_until_the_moment_at_which_it_signs() {
        let fixture = Fixture::new([life(1, Some(10))]);
        let ring = fixture.ring(Signing::On, None);
        assert_eq!(ring.standby_at(at(9)), Some(&fixture.kids()[0]));
        assert_eq!(ring.standby_at(at(10)), None);
    }

    #[test]
    fn a_ring_says_how_long_its_keys_wait() {
        let ring = Fixture::new([]).ring(Signing::On, None);
        assert_eq!(ring.publish_ahead(), facts("0 3 1 * *").waits().publish_ahead());
    }

    #[test]
    fn an_ended_key_is_served_and_never_signs() {
        let mut ended = life(1, Some(10));
        ended.ended = Some(at(15));
        let fixture = Fixture::new([ended]);
        let ring = fixture.ring(Signing::On, None);
        assert_eq!(ring.signer_at(at(12)).err(), Some(SignError::NoSigner));
        let set: serde_json::Value = serde_json::from_slice(&ring.served().unwrap().body).unwrap();
        assert_eq!(set["keys"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn a_set_that_is_off_is_served_and_never_signs() {
        let ring = Fixture::new([life(1, Some(10))]).ring(Signing::Off, None);
        assert_eq!(ring.signer_at(at(12)).err(), Some(SignError::NoSigner));
        assert!(ring.served().is_some());
    }

    #[test]
    fn an_empty_set_is_not_served() {
        assert!(Fixture::new([]).ring(Signing::On, None).served().is_none());
    }

    #[test]
    fn a_token_verifies_with_the_served_key_of_its_kid() {
        let fixture = Fixture::new([life(1, Some(10)), life(2, Some(20))]);
        let ring = fixture.ring(Signing::On, None);
        let token = ring.signer_at(at(15)).unwrap().sign("JWT", br#"{"sub":"1"}"#).unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let (header, payload) = signed.split_once('.').unwrap();
        let header: serde_json::Value = serde_json::from_slice(&decode(header)).unwrap();
        let kid = fixture.records[0].kid.as_str();
        assert_eq!(header, serde_json::json!({"alg": "ES256", "typ": "JWT", "kid": kid}));
        assert_eq!(decode(payload), br#"{"sub":"1"}"#);
        let public = &fixture.records[0].public;
        assert_eq!(
            crypto::verify(Algorithm::Es256, public, signed.as_bytes(), &decode(signature)),
            Ok(())
        );
    }

    #[test]
    fn the_header_has_the_typ_that_was_asked_for_each_time() {
        let fixture = Fixture::new([life(1, Some(10))]);
        let ring = fixture.ring(Signing::On, None);
        let kid = fixture.records[0].kid.as_str();
        for typ in ["at+jwt", "JWT", "at+jwt", "JWT"] {
            let token = ring.signer_at(at(15)).unwrap().sign(typ, b"{}").unwrap();
            let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
            let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
            assert_eq!(header, serde_json::json!({"alg": "ES256", "typ": typ, "kid": kid}));
        }
    }

    #[test]
    fn the_header_with_the_first_typ_is_kept() {
        let fixture = Fixture::new([life(1, Some(10))]);
        let ring = fixture.ring(Signing::On, None);
        let key = &ring.signers[0].key;
        assert!(matches!(key.header("JWT"), Cow::Borrowed(_)));
        assert!(matches!(key.header("at+jwt"), Cow::Owned(_)));
        assert!(matches!(key.header("JWT"), Cow::Borrowed(_)));
    }

    #[test]
    fn each_algorithm_is_named_once() {
        let other = Life { algorithm: Algorithm::Es384, ..life(3, None) };
        let fixture = Fixture::new([life(1, Some(10)), life(2, None), other]);
        let ring = fixture.ring(Signing::On, None);
        assert_eq!(ring.served().unwrap().algorithms, ["ES256", "ES384"]);
    }

    #[test]
    fn bytes_and_tag_change_only_when_keys_come_or_go() {
        let mut fixture = Fixture::new([life(1, Some(10)), life(2, None)]);
        let first = fixture.ring(Signing::On, None);
        fixture.records[1].life.activates = Some(at(99));
        let planned = fixture.ring(Signing::On, Some(&first));
        assert_eq!(first.served().unwrap().body, planned.served().unwrap().body);
        assert_eq!(first.served().unwrap().version, planned.served().unwrap().version);
        fixture.records.pop();
        let shorter = fixture.ring(Signing::On, Some(&planned));
        let (etag, kids) = (&first.served().unwrap().version.etag, fixture.kids());
        assert_ne!(*etag, shorter.served().unwrap().version.etag);
        assert_eq!(shorter.served().unwrap().version.kids, kids);
    }

    #[test]
    fn a_key_whose_activation_is_not_planned_never_signs_a_token() {
        let fixture = Fixture::new([life(1, Some(10)), life(2, None)]);
        let ring = fixture.ring(Signing::On, None);
        ring.warm(at(20), at(u64::MAX)).unwrap();
        assert_eq!(ring.signer_at(at(u64::MAX)).unwrap().number, Number(1));
        assert!(ring.signer(&fixture.records[1].kid).unwrap().key.opened.get().is_none());
    }

    #[test]
    fn a_key_that_may_sign_certifies_and_is_not_kept_open_for_it() {
        let mut ended = life(1, Some(10));
        ended.ended = Some(at(15));
        let fixture = Fixture::new([ended, life(2, Some(15)), life(3, None)]);
        let ring = fixture.ring(Signing::On, None);
        let [ended, active, standby] = [0, 1, 2].map(|index| &fixture.records[index]);
        assert!(ring.signer(&ended.kid).is_none());
        let der = [0x30, 1, 2, 3];
        for record in [active, standby] {
            let signer = ring.signer(&record.kid).unwrap();
            let signature = signer.certify(&der).unwrap();
            let PublicKey::Ec { x, y, .. } = &record.public else { panic!() };
            let point = [&[4], x.as_slice(), y.as_slice()].concat();
            let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point).unwrap();
            let signature = p256::ecdsa::Signature::from_der(&signature).unwrap();
            assert!(key.verify(&der, &signature).is_ok());
            assert!(signer.key.opened.get().is_none());
        }
        assert!(fixture.ring(Signing::Off, None).signer(&active.kid).is_none());
    }

    #[test]
    fn what_is_published_is_found_by_its_kid() {
        let mut fixture = Fixture::new([life(1, Some(10)), life(2, None)]);
        let ring = fixture.ring(Signing::Off, None);
        for record in &fixture.records {
            assert_eq!(ring.published(&record.kid), Some(&record.jwk()));
        }
        let gone = fixture.records.pop().unwrap();
        assert!(fixture.ring(Signing::On, Some(&ring)).published(&gone.kid).is_none());
    }

    #[test]
    fn the_keys_that_sign_now_or_soon_are_opened() {
        let activations = [10, 10, 20, 21];
        let lives = (1..).zip(activations).map(|(number, at)| life(number, Some(at)));
        let ring = Fixture::new(lives).ring(Signing::On, None);
        ring.warm(at(10), at(20)).unwrap();
        let opened: Vec<bool> =
            ring.signers.iter().map(|signer| signer.key.opened.get().is_some()).collect();
        assert_eq!(opened, [false, true, true, false]);
    }

    #[test]
    fn an_opened_key_is_shared_with_the_next_ring() {
        let fixture = Fixture::new([life(1, Some(10)), life(2, Some(500))]);
        let first = fixture.ring(Signing::On, None);
        first.warm(at(10), at(20)).unwrap();
        let next = fixture.ring(Signing::On, Some(&first));
        let opened: Vec<bool> =
            next.signers.iter().map(|signer| signer.key.opened.get().is_some()).collect();
        assert_eq!(opened, [true, false]);
        assert!(Arc::ptr_eq(&first.signers[0].key, &next.signers[0].key));
    }

    #[test]
    fn the_longest_lifetime_is_the_smaller_of_record_and_configuration() {
        let fixture = Fixture::new([life(1, Some(10))]);
        let ring = fixture.ring(Signing::On, None);
        let signer = ring.signer_at(at(10)).unwrap();
        assert_eq!(ring.longest_ttl_of(signer), Duration::from_mins(30));
    }
}
