//! What happens between the lines of a turn and its signatures. Before each signature the clock is
//! read, so the test is told by a clock of its own that this is the moment.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use jwksd_keystore::id::Revision;
use jwksd_keystore::lifecycle::{Life, Number, Origin, PlannedBy};
use jwksd_keystore::ring::Signing;
use jwksd_keystore::seal::MasterKeys;
use jwksd_keystore::store::Record;
use jwksd_keystore::time::Time;
use serde_json::Value;
use serde_json::value::RawValue;
use tempfile::TempDir;

use super::*;
use crate::api::Ttl;
use crate::audit::{Audit, OnFailure, Settings};
use crate::clock::{Clock, LifecycleClock, ManualClock};
use crate::custody::Peer;
use crate::limits::{Desk, Limits};
use crate::metrics::Metrics;
use crate::policy::Refusal;
use crate::rings::Rings;

const NOW: Time = Time::from_millis(1_795_316_400_000);
const HOUR: Duration = Duration::from_hours(1);

const CONFIG: &str = r#"
[store]
path = "store"
master_key = "master.key"
[public]
listen = "127.0.0.1:0"
base_url = "http://127.0.0.1:8080"
root = "default"
[internal]
listen = "unix:sign.sock"
[admin]
listen = "unix:admin.sock"
[keysets.default]
algorithm = "ES256"
rotate = "manual"
issuer = "http://127.0.0.1:8080"
audience = "api.example.com"
max_token_ttl = "1h"
[[callers]]
name = "local"
uid = 7
grants = [{ keyset = "*", actions = ["sign-token"] }]
"#;

/// A clock that tells when it is read.
struct Told {
    time: ManualClock,
    reading: Mutex<Box<dyn FnMut() + Send>>,
}

impl Clock for Told {
    fn wall(&self) -> Time {
        (self.reading.lock().unwrap())();
        self.time.wall()
    }

    fn since_boot(&self) -> Duration {
        self.time.since_boot()
    }
}

struct Fixture {
    dir: TempDir,
    keyset: KeysetName,
    master_keys: Arc<MasterKeys>,
    records: Vec<Record>,
    rings: Arc<Rings>,
    clock: Arc<Told>,
    audit: Arc<Audit>,
    custody: Arc<Custody>,
}

impl Fixture {
    /// Keys that activate at these times, the first of which signs.
    fn new(activations: &[Time]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let keyset: KeysetName = "default".parse().unwrap();
        let file = MasterKeys::generate_file().unwrap();
        let master_keys = Arc::new(MasterKeys::parse(&file).unwrap());
        let record = |(number, activates)| {
            let pair = crypto::generate(Algorithm::Es256).unwrap();
            let life = life(number, activates);
            Record::of_new_key(&keyset, life, Revision(1), pair, &master_keys).unwrap()
        };
        let records: Vec<_> = (1..).zip(activations.iter().copied()).map(record).collect();

        let config = config(CONFIG);
        let time = ManualClock::new(NOW);
        let clock = Arc::new(Told { time, reading: Mutex::new(Box::new(|| ())) });
        let rings = Arc::new(Rings::default());
        let own_clock = || Arc::new(ManualClock::new(NOW));
        let (path, on_failure) = (dir.path().join("audit.jsonl"), OnFailure::Refuse);
        let settings = Settings { path, on_failure, full_size: 1 << 30 };
        let audit = Audit::open(settings, master_keys.clone(), own_clock()).unwrap();
        let lifecycle = LifecycleClock::new(clock.clone(), NOW, Duration::from_mins(1));
        let limits = Limits::new(own_clock(), &config.callers);
        let metrics = Arc::new(Metrics::new(NOW, &config));
        let (lifecycle, audit) = (Arc::new(lifecycle), Arc::new(audit));
        let custody =
            Custody::new(config, rings.clone(), lifecycle, audit.clone(), limits, metrics);
        let custody = Arc::new(custody);
        let fixture = Self { dir, keyset, master_keys, records, rings, clock, audit, custody };
        fixture.rings.publish(&fixture.keyset, fixture.ring(&fixture.records));
        fixture
    }

    fn ring(&self, records: &[Record]) -> Arc<Ring> {
        let config = config(CONFIG);
        let facts = &config.keysets[&self.keyset].facts;
        let (keyset, keys) = (&self.keyset, &self.master_keys);
        Arc::new(Ring::new(keyset, records, Some(facts), Signing::On, keys, None))
    }

    fn kid(&self, number: usize) -> &KeyId {
        &self.records[number - 1].kid
    }

    /// Does something at the reading of the clock that comes before the signature of this place, or
    /// at each.
    fn before_signature(&self, at: Option<usize>, mut act: impl FnMut() + Send + 'static) {
        let path = self.dir.path().to_owned();
        let mut seen = 0;
        *self.clock.reading.lock().unwrap() = Box::new(move || {
            if !recorded(&path).is_empty() {
                seen += 1;
                if at.is_none_or(|at| seen == at + 1) {
                    act();
                }
            }
        });
    }

    fn asker(&self) -> Asker {
        let caller = self.custody.caller_by_peer(Peer { uid: 7, gid: 7 }).unwrap();
        self.custody.begin(caller, Desk::Internal, "r".to_owned()).unwrap()
    }

    fn sign(&self, count: usize) -> Vec<Result<SignedToken, TokenError>> {
        let claims: Box<RawValue> = serde_json::from_str("{}").unwrap();
        let wanted = |index| {
            let request = TokenRequest { claims: &claims, ttl: Ttl::Seconds(60), typ: None };
            InBatch { index, request }
        };
        let requests: Vec<_> = (0..count).map(wanted).collect();
        self.custody.sign_in_batch(&self.asker(), &self.keyset, &requests)
    }

    /// The kids that signed, in the order of the requests.
    fn signers(&self, count: usize) -> Vec<KeyId> {
        self.sign(count).into_iter().map(|outcome| outcome.unwrap().kid).collect()
    }
}

fn config(text: &str) -> Config {
    Config::parse(text, Path::new("config.toml"), NOW).unwrap()
}

fn life(number: u64, activates: Time) -> Life {
    Life {
        number: Number(number),
        algorithm: Algorithm::Es256,
        created: NOW,
        published: NOW,
        served_from: NOW,
        stale_max_age: Duration::ZERO,
        activates: Some(activates),
        planned_by: PlannedBy::FirstKey,
        longest_ttl: HOUR,
        may_have_signed: false,
        ended: None,
        retires: None,
        origin: Origin::Generated,
        exported: None,
    }
}

/// The lines about tokens in this folder.
fn recorded(dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(dir.join("audit.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["action"] == "sign-token").collect()
}

fn jti(token: &SignedToken) -> String {
    use base64::Engine;
    use base64::prelude::BASE64_URL_SAFE_NO_PAD;
    let payload = token.token.split('.').nth(1).unwrap();
    let payload = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

#[test]
fn all_lines_of_a_turn_are_in_the_file_before_its_first_signature() {
    let fixture = Fixture::new(&[NOW]);
    let (path, least) = (fixture.dir.path().to_owned(), Arc::new(AtomicUsize::new(usize::MAX)));
    let seen = least.clone();
    fixture.before_signature(None, move || {
        seen.fetch_min(recorded(&path).len(), Ordering::Relaxed);
    });
    let signed = fixture.sign(10);
    assert_eq!(least.load(Ordering::Relaxed), 10);
    let lines = recorded(fixture.dir.path());
    assert_eq!(lines.len(), 10);
    for (index, (token, line)) in signed.iter().zip(&lines).enumerate() {
        assert_eq!(line["jti"], jti(token.as_ref().unwrap()));
        assert_eq!(line["request_id"], format!("r.{index}"));
        assert_eq!(line["decision"], "allowed");
    }
}

#[test]
fn a_key_that_is_revoked_between_its_lines_and_its_signatures_signs_no_more() {
    for at in [0, 4, 9] {
        let fixture = Fixture::new(&[NOW, NOW + HOUR]);
        // The standby is promoted, and the key before is gone.
        let promoted = Life { activates: Some(NOW), ..fixture.records[1].life.clone() };
        let promoted = Record { life: promoted, ..fixture.records[1].clone() };
        let (after, rings) = (fixture.ring(&[promoted]), fixture.rings.clone());
        let keyset = fixture.keyset.clone();
        fixture.before_signature(Some(at), move || rings.publish(&keyset, after.clone()));
        let signed: Vec<SignedToken> = fixture.sign(10).into_iter().map(Result::unwrap).collect();
        let (first, rest) = signed.split_at(at);
        assert!(first.iter().all(|token| token.kid == *fixture.kid(1)), "{at}");
        assert!(rest.iter().all(|token| token.kid == *fixture.kid(2)), "{at}");
        // What signed stands in a line with its own key; the lines that nothing was signed for stay.
        let lines = recorded(fixture.dir.path());
        assert_eq!(lines.len(), 10 + rest.len());
        for token in &signed {
            let line = lines.iter().find(|line| line["jti"] == jti(token)).unwrap();
            assert_eq!(line["kid"], token.kid.as_str());
        }
    }
}

#[test]
fn an_activation_counts_from_the_next_token_of_a_turn() {
    let fixture = Fixture::new(&[NOW, NOW + HOUR]);
    let clock = Arc::downgrade(&fixture.clock);
    let later = move || clock.upgrade().unwrap().time.advance(HOUR);
    fixture.before_signature(Some(3), later);
    let signers = fixture.signers(5);
    assert!(signers[..3].iter().all(|kid| kid == fixture.kid(1)));
    assert!(signers[3..].iter().all(|kid| kid == fixture.kid(2)));
}

#[test]
fn a_grant_that_is_taken_away_counts_from_the_next_token_of_a_turn() {
    let fixture = Fixture::new(&[NOW]);
    let custody = Arc::downgrade(&fixture.custody);
    let without = CONFIG.replace("sign-token", "read");
    let reload = move || custody.upgrade().unwrap().put_in_force(config(&without));
    fixture.before_signature(Some(2), reload);
    let outcomes = fixture.sign(4);
    assert!(outcomes[..2].iter().all(Result::is_ok));
    for outcome in &outcomes[2..] {
        let refused =
            matches!(outcome, Err(TokenError::Denied(Denied::Refused(Refusal::NoGrant { .. }))));
        assert!(refused, "{outcome:?}");
    }
    let lines = recorded(fixture.dir.path());
    let refused: Vec<_> = lines.iter().filter(|line| line["decision"] == "refused").collect();
    assert_eq!(refused.iter().map(|it| &it["request_id"]).collect::<Vec<_>>(), ["r.2", "r.3"]);
}

#[test]
fn a_refusal_that_cannot_be_recorded_is_answered_as_that() {
    let fixture = Fixture::new(&[NOW]);
    let narrow = r#"actions = ["sign-token"], max_ttl = "30s""#;
    fixture.custody.put_in_force(config(&CONFIG.replace(r#"actions = ["sign-token"]"#, narrow)));
    let refused = |outcome: &Result<_, _>| {
        matches!(outcome, Err(TokenError::Denied(Denied::Refused(Refusal::Ttl { .. }))))
    };
    assert!(fixture.sign(2).iter().all(refused));
    fixture.audit.close();
    for outcome in fixture.sign(2) {
        let unrecorded = matches!(outcome, Err(TokenError::Denied(Denied::Audit(_))));
        assert!(unrecorded, "{outcome:?}");
    }
}

#[test]
fn what_is_signed_in_a_turn_is_counted_once() {
    let fixture = Fixture::new(&[NOW]);
    fixture.signers(7);
    let totals = fixture.custody.metrics().totals();
    assert_eq!(totals[&fixture.keyset], (7, 0));
}

#[test]
fn a_turn_is_short_where_a_signature_is_slow() {
    let quick = signatures_in_a_turn(Algorithm::Es256);
    assert!(signatures_in_a_turn(Algorithm::Rs256(RsaBits::B2048)) < quick);
    assert_eq!(signatures_in_a_turn(Algorithm::Rs256(RsaBits::B4096)).get(), 1);
}
