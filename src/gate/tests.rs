//! What the gate lets through, and what it leaves on record.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jwksd_keystore::seal::MasterKeys;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::audit::{OnFailure, Settings};
use crate::clock::ManualClock;
use crate::policy::{Claim, Identity, KeysetPattern};

const NOW: Time = Time::from_millis(1_795_000_000_000);

/// A gate, its audit, and a caller who may get tokens of half a minute, read, rotate and revoke in
/// the key set `shop`.
struct Fixture {
    dir: TempDir,
    audit: Arc<Audit>,
    gate: Gate,
    caller: Caller,
    shop: KeysetName,
    other: KeysetName,
    kid: KeyId,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        Self::with_audit(dir, path, OnFailure::Refuse)
    }

    /// Nothing can be recorded.
    fn full(on_failure: OnFailure) -> Self {
        Self::with_audit(tempfile::tempdir().unwrap(), "/dev/full".into(), on_failure)
    }

    fn with_audit(dir: TempDir, path: PathBuf, on_failure: OnFailure) -> Self {
        let settings = Settings { path, on_failure, full_size: 1 << 30 };
        let master_keys = MasterKeys::parse(&MasterKeys::generate_file().unwrap()).unwrap();
        let clock = Arc::new(ManualClock::new(NOW));
        let audit = Arc::new(Audit::open(settings, Arc::new(master_keys), clock).unwrap());
        let grant = Grant {
            keysets: KeysetPattern::Exactly("shop".parse().unwrap()),
            actions: [Action::SignToken, Action::Read, Action::Rotate, Action::Revoke].into(),
            audiences: None,
            max_ttl: Some(Duration::from_secs(30)),
            token_types: None,
            force: Vec::new(),
        };
        let caller = Caller {
            name: "till".into(),
            identity: Identity::Uid(1),
            grants: vec![grant],
            limits: crate::limits::Settings::default(),
        };
        Self {
            dir,
            gate: Gate::new(audit.clone()),
            audit,
            caller,
            shop: "shop".parse().unwrap(),
            other: "other".parse().unwrap(),
            kid: "key-1".parse().unwrap(),
        }
    }

    /// What was recorded since the audit was opened.
    fn recorded(&self) -> Vec<Value> {
        recorded_in(self.dir.path()).split_off(1)
    }

    /// The one line that was recorded, without its place in the audit.
    fn line(&self) -> Value {
        let mut lines = self.recorded();
        assert_eq!(lines.len(), 1, "{lines:?}");
        without_place(lines.remove(0))
    }

    fn token(&self, ttl: u64) -> Result<(Permit, &Grant), Denied> {
        self.gate.token(&self.caller, &self.shop, token(ttl, &audiences()), self.record())
    }

    fn record(&self) -> TokenRecord<'_> {
        TokenRecord {
            now: NOW,
            kid: &self.kid,
            jti: "token-1",
            sub: Some("alice"),
            exp: 1_795_000_030,
            request_id: "request-1",
            recorder: Recorder::Worker,
        }
    }

    fn act(&self, action: Action, keyset: Option<&KeysetName>) -> Result<Permit, Denied> {
        let act = Act {
            now: NOW,
            action,
            name: "what-exactly",
            keyset,
            kid: Some(&self.kid),
            detail: Some("how"),
            request_id: "request-1",
        };
        self.gate.act(&self.caller, act)
    }
}

fn recorded_in(dir: &Path) -> Vec<Value> {
    let text = fs::read_to_string(dir.join("audit.jsonl")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn without_place(mut line: Value) -> Value {
    let object = line.as_object_mut().unwrap();
    object.retain(|name, _| !matches!(name.as_str(), "time" | "line" | "previous"));
    line
}

fn audiences() -> [String; 1] {
    ["bank".to_owned()]
}

fn token(ttl: u64, audiences: &[String]) -> FinalToken<'_> {
    let ttl = Duration::from_secs(ttl);
    FinalToken { audiences, ttl, typ: "JWT", claims: &|_| Claim::Absent }
}

const TOO_LONG: &str = "the grant allows a ttl of at most 30s";

fn token_line(decision: &str) -> Value {
    json!({
        "caller": "till", "action": "sign-token", "decision": decision, "keyset": "shop",
        "kid": "key-1", "jti": "token-1", "sub": "alice", "aud": ["bank"], "exp": 1_795_000_030,
        "request_id": "request-1",
    })
}

fn refused_token_line() -> Value {
    let mut line = token_line("refused");
    line["reason"] = TOO_LONG.into();
    line
}

fn is_refused<T>(outcome: &Result<T, Denied>) -> bool {
    matches!(outcome, Err(Denied::Refused(_)))
}

fn is_unrecorded<T>(outcome: &Result<T, Denied>) -> bool {
    matches!(outcome, Err(Denied::Audit(_)))
}

#[test]
fn a_token_that_is_allowed_is_on_record_as_it_would_be_signed() {
    let fixture = Fixture::new();
    let (permit, grant) = fixture.token(30).unwrap();
    assert_eq!(permit.recorded(), Recorded::Yes);
    assert!(std::ptr::eq(grant, &raw const fixture.caller.grants[0]));
    assert_eq!(fixture.line(), token_line("allowed"));
}

#[test]
fn a_token_that_is_refused_is_on_record_with_the_reason() {
    let fixture = Fixture::new();
    let refused = fixture.token(31);
    assert!(is_refused(&refused), "{refused:?}");
    assert_eq!(fixture.line(), refused_token_line());
}

#[test]
fn a_token_that_cannot_be_recorded_has_no_permit() {
    let outcome = Fixture::full(OnFailure::Refuse).token(30).map(|_| ());
    assert!(is_unrecorded(&outcome), "{outcome:?}");
}

#[test]
fn a_permit_says_that_the_audit_lacks_the_decision_where_it_may() {
    let fixture = Fixture::full(OnFailure::Continue);
    assert_eq!(fixture.token(30).unwrap().0.recorded(), Recorded::No);
    assert!(is_refused(&fixture.token(31)));
}

#[test]
fn what_was_decided_on_a_sheet_is_recorded_together() {
    let fixture = Fixture::new();
    let mut sheet = fixture.gate.sheet(&fixture.caller, &fixture.shop, 2);
    let audiences = audiences();
    let allowed = sheet.decide(token(30, &audiences), fixture.record()).unwrap();
    assert!(is_refused(&sheet.decide(token(31, &audiences), fixture.record())));
    assert_eq!(fixture.recorded(), Vec::<Value>::new());
    let (permit, grant) = sheet.record(Recorder::Worker, NOW).unwrap().of(&allowed);
    assert_eq!(permit.recorded(), Recorded::Yes);
    assert!(std::ptr::eq(grant, &raw const fixture.caller.grants[0]));
    let lines: Vec<_> = fixture.recorded().into_iter().map(without_place).collect();
    assert_eq!(lines, [token_line("allowed"), refused_token_line()]);
}

#[test]
fn a_sheet_that_cannot_be_recorded_has_no_permit() {
    let fixture = Fixture::full(OnFailure::Refuse);
    let mut sheet = fixture.gate.sheet(&fixture.caller, &fixture.shop, 1);
    sheet.decide(token(30, &audiences()), fixture.record()).unwrap();
    assert!(sheet.record(Recorder::Worker, NOW).is_err());
}

#[test]
fn an_act_that_is_allowed_is_on_the_disk_with_its_details() {
    let fixture = Fixture::new();
    let syncs = || fixture.audit.figures().syncs.snapshot().count;
    let before = syncs();
    let permit = fixture.act(Action::Rotate, Some(&fixture.shop)).unwrap();
    assert!(syncs() > before);
    assert_eq!(permit.recorded(), Recorded::Yes);
    let line = json!({
        "caller": "till", "action": "what-exactly", "decision": "allowed", "keyset": "shop",
        "kid": "key-1", "reason": "how", "request_id": "request-1",
    });
    assert_eq!(fixture.line(), line);
}

#[test]
fn an_act_that_is_refused_is_on_record_with_the_reason_in_place_of_its_details() {
    let fixture = Fixture::new();
    let refused = fixture.act(Action::Rotate, Some(&fixture.other));
    assert!(is_refused(&refused), "{refused:?}");
    let line = json!({
        "caller": "till", "action": "what-exactly", "decision": "refused", "keyset": "other",
        "kid": "key-1", "request_id": "request-1",
        "reason": "no grant of this caller allows rotate on this key set, if there is one",
    });
    assert_eq!(fixture.line(), line);
}

#[test]
fn an_act_on_the_daemon_as_a_whole_takes_the_grant_for_that() {
    let mut fixture = Fixture::new();
    assert!(is_refused(&fixture.act(Action::Operate, None)));
    fixture.caller.grants[0].actions.insert(Action::Operate);
    assert!(is_refused(&fixture.act(Action::Operate, None)));
    fixture.caller.grants[0].keysets = KeysetPattern::Prefix(String::new());
    assert_eq!(fixture.act(Action::Operate, None).unwrap().recorded(), Recorded::Yes);
}

#[test]
fn acts_that_are_refused_again_and_again_do_not_fill_the_disk() {
    let fixture = Fixture::new();
    for _ in 0..100 {
        assert!(is_refused(&fixture.act(Action::Rotate, Some(&fixture.other))));
    }
    assert_eq!(fixture.recorded().len(), 60);
}

#[test]
fn only_reading_and_revoking_go_ahead_unrecorded_and_are_counted() {
    let fixture = Fixture::full(OnFailure::Refuse);
    let shop = Some(&fixture.shop);
    let rotation = fixture.act(Action::Rotate, shop);
    assert!(is_unrecorded(&rotation), "{rotation:?}");
    for (action, count) in [(Action::Read, 1), (Action::Revoke, 2)] {
        assert_eq!(fixture.act(action, shop).unwrap().recorded(), Recorded::No);
        assert_eq!(fixture.audit.figures().unrecorded(), count);
    }
}

#[test]
fn what_is_refused_stays_refused_where_that_cannot_be_recorded() {
    let fixture = Fixture::full(OnFailure::Refuse);
    for action in [Action::Read, Action::Revoke, Action::Rotate] {
        assert!(is_refused(&fixture.act(action, Some(&fixture.other))));
    }
    fixture.gate.note_over(&fixture.caller, Desk::Admin, "too much", "request-1", NOW);
    assert_eq!(fixture.audit.figures().unrecorded(), 0);
}

#[test]
fn who_asks_for_more_than_it_may_is_on_record() {
    let fixture = Fixture::new();
    for (desk, action) in [(Desk::Internal, "sign-token"), (Desk::Admin, "administer")] {
        fixture.gate.note_over(&fixture.caller, desk, "too much", "request-1", NOW);
        let line = json!({
            "caller": "till", "action": action, "decision": "refused", "reason": "too much",
            "request_id": "request-1",
        });
        assert_eq!(without_place(fixture.recorded().pop().unwrap()), line);
    }
}

#[test]
fn a_token_that_could_not_be_had_is_on_record() {
    let fixture = Fixture::new();
    let (caller, shop) = (&fixture.caller, &fixture.shop);
    fixture.gate.note_refusal(caller, shop, "no key", "request-1", Recorder::GivesWay, NOW);
    let line = json!({
        "caller": "till", "action": "sign-token", "decision": "refused", "keyset": "shop",
        "reason": "no key", "request_id": "request-1",
    });
    assert_eq!(fixture.line(), line);
}
