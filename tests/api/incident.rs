//! What is told of a key that was stolen, before and after its revocation; and the end of the audit.

use std::time::Duration;

use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE};
use jwksd::api::{
    AuditTail, Code, ImportResponse, Incident, IncidentUse, KeyState, KeysetIncident,
    RevokeResponse, Revoking,
};
use jwksd::audit::verify::verify;
use jwksd::client::{Client, ClientError};
use jwksd_keystore::crypto::{hex, sha256};
use serde_json::{Value, json};

use crate::app::{
    CALLERS, DAY, HOUR, KEYSETS, PUBLISH_AHEAD, START, TestApp, To, caller_of, send_to,
};
use crate::import::fresh;

/// A second caller, over TCP.
const TOKEN: &str = "jwksd_shop";

fn callers() -> String {
    let digest = hex(&sha256(TOKEN.as_bytes()));
    format!(
        "{CALLERS}\n[[callers]]\nname = \"shop\"\ntoken_sha256 = \"{digest}\"\n\
         grants = [{{ keyset = \"*\", actions = [\"sign-token\"] }}]\n"
    )
}

impl TestApp {
    async fn incident(&self, kid: &str) -> Incident {
        let path = format!("/v1/keysets/default/keys/{kid}/incident");
        let incident: Incident = self.admin_get(&path).await.unwrap();
        for step in &incident.steps {
            assert!(!step.what.contains("  "), "not one sentence: {}", step.what);
        }
        incident
    }

    async fn sign_for(&self, audience: &str, ttl: &str) {
        let claims = json!({"claims": {"aud": audience}, "ttl": ttl});
        self.try_sign("default", claims).await.unwrap();
    }

    /// Signs as the second caller.
    async fn sign_as_shop(&self, path: &str, body: Value) {
        let bearer = format!("Bearer {TOKEN}");
        let headers = [(AUTHORIZATION, &*bearer), (CONTENT_TYPE, "application/json")];
        let body = serde_json::to_vec(&body).unwrap();
        let place = &self.daemon.internal_tcp;
        let answer = send_to(place, Method::POST, path, &headers, body).await;
        assert_eq!(answer.status.as_u16(), 200);
    }

    /// The audit's lines of an action.
    fn lines_of(&self, action: &str) -> Vec<Value> {
        self.audit().into_iter().filter(|line| line["action"] == action).collect()
    }
}

fn numbers(uses: &[IncidentUse]) -> Vec<(&str, u64)> {
    uses.iter().map(|of| (of.name.as_deref().unwrap_or("-"), of.tokens)).collect()
}

fn commands(incident: &Incident) -> Vec<&str> {
    incident.steps.iter().filter_map(|step| step.command.as_deref()).collect()
}

#[actix_web::test]
async fn tokens_are_counted_by_caller_and_audience_across_restarts_and_batches() {
    let mut app = TestApp::with(KEYSETS, &callers()).await;
    let kid = app.kid(KeyState::Active).await;
    app.sign_for("a.example", "15m").await;
    app.restart_after(HOUR).await;
    app.sign_for("b.example", "1h").await;
    app.sign_as_shop("/v1/keysets/default/tokens", json!({"claims": {}, "ttl": 60})).await;
    let refused = json!({"claims": {"iss": "me"}, "ttl": 60});
    app.try_sign("default", refused).await.unwrap_err();
    let one = json!({"claims": {"aud": ["a.example", "b.example", "a.example"]}, "ttl": "30m"});
    let wrong = json!({"claims": {}, "ttl": "2h"});
    let batch = json!({"requests": [one, wrong, one]});
    app.sign_as_shop("/v1/keysets/default/tokens/batch", batch).await;
    app.crash_and_restart_after(Duration::from_mins(30)).await;

    let incident = app.incident(&kid).await;
    let tokens = &incident.tokens;
    assert_eq!((tokens.count, tokens.unexpired), (5, 1));
    assert_eq!(numbers(&tokens.callers), [("shop", 3), ("local", 2)]);
    let audiences = [("a.example", 3), ("b.example", 3), ("api.example.com", 1)];
    assert_eq!(numbers(&tokens.audiences), audiences);
    assert_eq!(tokens.first.as_deref(), Some(&*START.to_string()));
    assert_eq!(tokens.last.as_deref(), Some(&*(START + HOUR).to_string()));
    assert_eq!(tokens.last_expiry.as_deref(), Some(&*(START + 2 * HOUR).to_string()));
    assert_eq!(tokens.last_possible_expiry.as_deref(), Some(&*(app.now() + HOUR).to_string()));
    assert_eq!(incident.signed_from.as_deref(), Some(&*START.to_string()));
    assert_eq!((incident.signed_until, incident.state), (None, KeyState::Active));
    assert!(incident.audit.complete, "{:?}", incident.audit);
    assert_eq!(incident.trust.until, (app.now() + PUBLISH_AHEAD).to_string());
}

#[actix_web::test]
async fn a_key_keeps_its_own_count_after_a_rotation_and_after_it_retired() {
    let app = TestApp::start().await;
    let old = app.kid(KeyState::Active).await;
    app.sign("default").await;
    app.advance(Duration::from_hours(9 * 24)).await;
    let new = app.kid(KeyState::Active).await;
    assert_ne!(old, new);
    app.sign("default").await;
    app.sign("default").await;
    app.advance(HOUR + Duration::from_mins(1)).await;

    let old = app.incident(&old).await;
    assert_eq!((old.tokens.count, old.state), (1, KeyState::Retired));
    assert_eq!(
        (old.signed_until.as_deref(), old.tokens.unexpired),
        (Some("2026-12-01T03:00:00Z"), 0)
    );
    assert_eq!(old.left.as_deref(), Some("2026-12-01T04:01:00Z"));
    let new = app.incident(&new).await;
    assert_eq!((new.tokens.count, new.signed_from.as_deref()), (2, Some("2026-12-01T03:00:00Z")));
    for incident in [&old, &new] {
        assert!(incident.audit.complete, "{:?}", incident.audit);
    }
}

#[actix_web::test]
async fn verifiers_that_trust_a_key_for_longer_than_those_that_fetch_as_stated_are_to_be_restarted()
{
    let app = TestApp::start().await;
    let kid = app.kid(KeyState::Active).await;
    let incident = app.incident(&kid).await;
    let restart = incident.steps.iter().find(|step| step.what.starts_with("restart those"));
    let said = &restart.unwrap().what;
    assert!(said.contains(&format!("until {}; of those", incident.trust.until)), "{said}");
    // For ever, and for seven days; not for less than a day.
    assert!(said.contains("get-jwks") && said.contains("fastify-jwt-jwks"), "{said}");
    assert!(!said.contains("PyJWT (PyJWKClient),") && !said.contains("Istio"), "{said}");
    assert!(incident.steps.iter().all(|step| !step.what.contains("  ")), "{:?}", incident.steps);
}

/// The last member is `None` where a key is made, whose kid nobody knows beforehand.
fn told(answer: &RevokeResponse, old: &[String]) -> (Vec<String>, String, Option<String>) {
    let revoked = answer.revoked.iter().map(ToString::to_string).collect();
    let active = answer.active.as_ref().map(ToString::to_string);
    (revoked, answer.trusted_until.clone(), active.filter(|kid| old.contains(kid)))
}

fn rehearsed(revoking: &Revoking) -> (Vec<String>, String, Option<String>) {
    let revoked = revoking.revoked.iter().map(ToString::to_string).collect();
    assert_eq!(revoking.fresh, revoking.active.is_none());
    let active = revoking.active.as_ref().map(ToString::to_string);
    (revoked, revoking.trusted_until.clone(), active)
}

#[actix_web::test]
async fn what_is_told_beforehand_is_what_a_revocation_does() {
    let app = TestApp::start().await;
    app.advance(2 * DAY).await;
    let first = app.kid(KeyState::Active).await;
    app.sign("default").await;
    app.rotate(json!({"expect_active": first, "now": true})).await.unwrap();
    app.advance(Duration::from_mins(10)).await;
    // Verify-only; the standby, which has not waited; the one that signs; one that left.
    let mut kids = vec![first];
    for state in [KeyState::Pending, KeyState::Active] {
        app.sign("default").await;
        let kid = app.kid(state).await;
        kids.push(kid);
    }
    let retired = app.kid(KeyState::Active).await;
    for kid in kids {
        let before = app.show("default").await;
        let old: Vec<String> = before.keys.iter().map(|key| key.kid.to_string()).collect();
        let beforehand = app.incident(&kid).await;
        let again = app.show("default").await;
        assert_eq!(before, again, "a report must change nothing");
        let answer: RevokeResponse = app.revoke(&kid).await.unwrap();
        let revoking = beforehand.revoking.as_ref().unwrap();
        assert_eq!(rehearsed(revoking), told(&answer, &old));
        let after = app.incident(&kid).await;
        assert_eq!(after.revoking, None);
        assert_eq!((after.state, after.reason.as_deref()), (KeyState::Revoked, Some("stolen")));
        assert_eq!(after.tokens.count, beforehand.tokens.count);
        assert_eq!(after.tokens.callers, beforehand.tokens.callers);
        assert_eq!(after.tokens.audiences, beforehand.tokens.audiences);
        assert_eq!(after.tokens.last_expiry, beforehand.tokens.last_expiry);
        assert_eq!(after.trust, beforehand.trust);
        assert_eq!(after.signed_from, beforehand.signed_from);
        // What is to be done stays to be done, but for the revocation.
        let rest = &beforehand.steps[2..beforehand.steps.len() - 1];
        assert_eq!(rest, &after.steps[..after.steps.len() - 1]);
        app.advance(Duration::from_mins(1)).await;
        // A second revocation moves nothing.
        let again: RevokeResponse = app.revoke(&kid).await.unwrap();
        assert_eq!((again.already, again.trusted_until), (true, answer.trusted_until));
    }
    assert_eq!(app.incident(&retired).await.state, KeyState::Revoked);
}

#[actix_web::test]
async fn what_is_told_beforehand_of_all_keys_is_what_their_revocation_does() {
    let app = TestApp::start().await;
    app.sign("default").await;
    let path = "/v1/keysets/default/incident";
    let beforehand: KeysetIncident = app.admin_get(path).await.unwrap();
    assert_eq!(beforehand.keys.len(), 2);
    let active = app.kid(KeyState::Active).await;
    let body = json!({"reason": "stolen", "expect_active": active});
    let answer: RevokeResponse = app.revoke_all(body).await.unwrap();
    let old: Vec<String> = beforehand.keys.iter().map(|key| key.kid.to_string()).collect();
    let revoking = beforehand.revoking.unwrap();
    assert_eq!(rehearsed(&revoking), told(&answer, &old));
    assert_eq!(revoking.refused_until, Some((app.now() + PUBLISH_AHEAD).to_string()));

    let after: KeysetIncident = app.admin_get(path).await.unwrap();
    let states: Vec<KeyState> = after.keys.iter().map(|key| key.state).collect();
    let fresh = [KeyState::Active, KeyState::Pending];
    assert_eq!(states, [&[KeyState::Revoked; 2][..], &fresh].concat());
    assert_eq!(
        app.lines_of("incident").iter().filter(|line| line["decision"] == "done").count(),
        2
    );
    // When nobody trusts them any more, they are no matter of this set.
    app.advance(2 * DAY).await;
    let later: KeysetIncident = app.admin_get(path).await.unwrap();
    assert_eq!(later.keys.len(), 2);
}

#[actix_web::test]
async fn a_key_that_left_before_is_told_to_be_marked_and_trusted_since_it_left() {
    let app = TestApp::start().await;
    let old = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": old, "now": true})).await.unwrap();
    app.advance(HOUR + Duration::from_mins(1)).await;
    let left = app.now();
    app.advance(3 * HOUR).await;
    let before = app.incident(&old).await;
    assert_eq!(before.state, KeyState::Retired);
    assert!(before.steps[0].what.contains("marked as revoked"), "{:?}", before.steps);
    let answer: RevokeResponse = app.revoke(&old).await.unwrap();
    let revoking = before.revoking.unwrap();
    assert_eq!((&revoking.revoked, &revoking.active), (&answer.revoked, &answer.active));
    assert_eq!(revoking.trusted_until, answer.trusted_until);
    assert_eq!(answer.trusted_until, (left + PUBLISH_AHEAD).to_string());
}

#[actix_web::test]
async fn a_standby_that_never_signed_has_no_tokens_and_all_is_known_of_it() {
    let app = TestApp::start().await;
    let standby = app.kid(KeyState::Pending).await;
    app.sign("default").await;
    let _: RevokeResponse = app.revoke(&standby).await.unwrap();
    let incident = app.incident(&standby).await;
    assert_eq!((incident.tokens.count, incident.signed_from), (0, None));
    assert_eq!(incident.tokens.last_possible_expiry, None);
    assert!(incident.audit.complete, "{:?}", incident.audit);
    let lines = app.lines_of("incident");
    assert_eq!(lines[0]["kid"], standby.as_str());
    assert_eq!(lines[0]["reason"], "signed no token that the audit knows of");
}

#[actix_web::test]
async fn of_a_key_that_is_trusted_nothing_is_known_and_that_is_said() {
    let app = TestApp::start().await;
    let import = json!({"key": fresh("a"), "verify_only_until": "2026-12-24T03:00:00Z"});
    let trusted = app.admin_post("/v1/keysets/default/import", import).await;
    let trusted: ImportResponse = trusted.unwrap();
    let incident = app.incident(trusted.kid.as_str()).await;
    assert_eq!((incident.signed_from, incident.audit.complete), (None, false));
    assert!(incident.audit.gaps[0].contains("signs elsewhere"), "{:?}", incident.audit);
    let answer: RevokeResponse = app.revoke(trusted.kid.as_str()).await.unwrap();
    assert_eq!(answer.active, incident.revoking.unwrap().active);
}

#[actix_web::test]
async fn no_command_takes_a_kid_for_an_option() {
    let app = TestApp::start().await;
    let import = json!({"key": fresh("--all"), "verify_only_until": "2026-12-24T03:00:00Z"});
    let trusted = app.admin_post("/v1/keysets/default/import", import).await;
    let trusted: ImportResponse = trusted.unwrap();
    assert_eq!(trusted.kid.as_str(), "--all");
    let incident = app.incident("--all").await;
    let commands = commands(&incident);
    assert_eq!(commands[0], "jwksd keys revoke --reason \"stolen\" -- default --all");
    assert_eq!(commands.last(), Some(&"jwksd keys incident -- default --all"));
}

#[actix_web::test]
async fn a_key_that_never_was_has_no_report() {
    let app = TestApp::start().await;
    let of = async |path: &str| app.admin_get::<Value>(path).await.unwrap_err().code;
    assert_eq!(of("/v1/keysets/default/keys/unheard-of/incident").await, Code::UnknownKey);
    assert_eq!(of("/v1/keysets/other/keys/unheard-of/incident").await, Code::UnknownKeyset);
    assert_eq!(of("/v1/keysets/other/incident").await, Code::UnknownKeyset);
}

#[actix_web::test]
async fn what_is_missing_of_the_audit_is_said() {
    let mut app = TestApp::start().await;
    let kid = app.kid(KeyState::Active).await;
    for _ in 0..4 {
        app.sign("default").await;
    }
    app.daemon_down(Duration::ZERO).await;
    let path = app.audit_path();
    let text = std::fs::read_to_string(&path).unwrap();
    let rows: Vec<&str> = text.split_inclusive('\n').collect();
    let all = rows.iter().enumerate().filter(|(_, row)| row.contains("sign-token"));
    let signatures: Vec<usize> = all.map(|(index, _)| index).collect();
    let (cut, damaged) = (signatures[1], signatures[2]);
    let with = |index: usize, row: &&str| match index {
        _ if index == cut => String::new(),
        _ if index == damaged => "{\"line\":7,\"previous\":\n".to_owned(),
        _ => (*row).to_owned(),
    };
    let changed: String = rows.iter().enumerate().map(|(index, row)| with(index, row)).collect();
    std::fs::write(&path, changed).unwrap();
    app.restart_after(Duration::ZERO).await;
    let incident = app.incident(&kid).await;
    assert_eq!((incident.tokens.count, incident.audit.complete), (2, false));
    let gaps = incident.audit.gaps.join("; ");
    assert!(gaps.contains("2 lines are missing"), "{gaps}");
    assert!(gaps.contains("1 rows of the audit cannot be read"), "{gaps}");

    // All of it was taken away, and another begins.
    app.daemon_down(HOUR).await;
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(path.with_added_extension("checkpoint")).unwrap();
    app.restart_after(Duration::ZERO).await;
    app.sign("default").await;
    let incident = app.incident(&kid).await;
    assert_eq!((incident.tokens.count, incident.audit.complete), (1, false));
    assert_eq!(incident.audit.since.as_deref(), Some(&*app.now().to_string()));
    assert_eq!(incident.signed_from.as_deref(), Some(&*START.to_string()));
    assert!(incident.audit.gaps[0].contains("reaches back to line 1,"), "{:?}", incident.audit);
}

#[actix_web::test]
async fn without_an_audit_the_rest_is_told() {
    let mut app = TestApp::start().await;
    let kid = app.kid(KeyState::Active).await;
    app.restart_with_a_full_audit().await;
    let incident = app.incident(&kid).await;
    assert_eq!((incident.tokens.count, incident.audit.complete), (0, false));
    assert!(incident.audit.gaps[0].contains("no audit"), "{:?}", incident.audit);
    assert!(incident.revoking.is_some());
}

#[actix_web::test]
async fn a_revocation_waits_for_no_report_and_is_recorded_with_what_the_key_signed() {
    let app = TestApp::start().await;
    let kid = app.kid(KeyState::Active).await;
    app.sign("default").await;
    let incidents = &app.daemon.administration.incidents;
    let held = incidents.hold_up();
    let path = format!("/v1/keysets/default/keys/{kid}/revoke");
    let answer = app.admin_post(&path, json!({"reason": "stolen"})).await;
    let answer: RevokeResponse = answer.unwrap();
    assert_eq!(answer.revoked[0].as_str(), kid);
    assert!(!app.served_kids().await.contains(&kid));
    // Nor does anyone else.
    app.sign("default").await;
    let active = app.kid(KeyState::Active).await;
    let path = "/v1/keysets/default/rotate";
    let _: Value = app.admin_post(path, json!({"expect_active": active})).await.unwrap();
    assert!(app.lines_of("incident").is_empty());
    drop(held);
    app.settle().await;

    let lines = app.lines_of("incident");
    assert_eq!(lines.len(), 1);
    let (line, at) = (&lines[0], app.now());
    assert_eq!((&line["caller"], &line["decision"]), (&json!("jwksd"), &json!("done")));
    assert_eq!((&line["keyset"], &line["kid"]), (&json!("default"), &json!(kid)));
    let told = format!(
        "signed 1 token from {at} to {at} for 1 caller and 1 audience, the last expires at {}",
        at + Duration::from_mins(15)
    );
    assert_eq!(line["reason"], told);
    assert_eq!(line["request_id"], app.lines_of("revoke")[0]["request_id"]);
    let report = verify(&app.audit_path(), Some(&app.master_keys)).unwrap();
    assert!(report.damage.is_empty() && report.notes.is_empty(), "{report:?}");
}

#[actix_web::test]
async fn no_more_reports_wait_than_may() {
    let app = TestApp::start().await;
    let kid = app.kid(KeyState::Active).await;
    let held = app.daemon.administration.incidents.hold_up();
    let path = format!("/v1/keysets/default/keys/{kid}/incident");
    let (told, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..5 {
        let client = Client::new(app.daemon.admin.clone(), None);
        let (path, told) = (path.clone(), told.clone());
        actix_web::rt::spawn(async move { told.send(client.get::<Incident>(&path).await) });
    }
    match answers.recv().await.unwrap() {
        Err(ClientError::Problem(problem)) => assert_eq!(problem.code, Code::Busy),
        other => panic!("{other:?}"),
    }
    drop(held);
    for _ in 0..4 {
        assert!(answers.recv().await.unwrap().is_ok());
    }
}

#[actix_web::test]
async fn whoever_may_read_sees_a_report_and_nobody_else() {
    let app = TestApp::with(KEYSETS, &caller_of("\"read\"")).await;
    let kid = app.kid(KeyState::Active).await;
    let incident = app.incident(&kid).await;
    assert!(incident.revoking.is_some());
    assert!(commands(&incident)[0].starts_with(&format!("jwksd keys revoke default {kid} ")));
    let path = format!("/v1/keysets/default/keys/{kid}/incident");
    let app = TestApp::with(KEYSETS, &caller_of("\"revoke\", \"operate\"")).await;
    let refused = app.admin_get::<Incident>(&path).await.unwrap_err();
    assert_eq!(refused.code, Code::NotAllowed);
    let refused =
        app.admin_get::<KeysetIncident>("/v1/keysets/default/incident").await.unwrap_err();
    assert_eq!(refused.code, Code::NotAllowed);
    assert_eq!(app.lines_of("incident").len(), 2);
}

#[actix_web::test]
async fn exports_and_backups_are_told_with_what_to_do_about_them() {
    let app = TestApp::start().await;
    let standby = app.kid(KeyState::Pending).await;
    let export = format!("/v1/keysets/default/keys/{standby}/export");
    let _: Value = app.admin_post(&export, json!({"format": "pem"})).await.unwrap();
    let _: Value = app.admin_post("/v1/keysets/default/export", json!({})).await.unwrap();
    app.ask(To::Admin, Method::POST, "/v1/store/backup", &[], b"").await;
    let incident = app.incident(&standby).await;
    assert_eq!(incident.exports.since.as_deref(), Some(&*START.to_string()));
    let forms: Vec<&str> = incident.exports.newest.iter().map(|it| &*it.form).collect();
    assert_eq!((incident.exports.count, forms), (2, vec!["jwks", "pem"]));
    assert_eq!((incident.backups.count, incident.backups.last), (1, Some(START.to_string())));
    let by_hand =
        incident.steps.iter().any(|step| step.what.starts_with("take the key out by hand"));
    assert!(by_hand, "{:?}", incident.steps);
    let answer: RevokeResponse = app.revoke(&standby).await.unwrap();
    assert_eq!(answer.exported.iter().map(ToString::to_string).collect::<Vec<_>>(), [standby]);
    let active = app.kid(KeyState::Active).await;
    let answer: RevokeResponse = app.revoke(&active).await.unwrap();
    assert!(answer.exported.is_empty());
}

#[actix_web::test]
async fn fetchers_that_did_not_fetch_since_a_revocation_are_told() {
    let app = TestApp::start().await;
    let kid = app.kid(KeyState::Active).await;
    app.get("/.well-known/jwks.json").await;
    let _: RevokeResponse = app.revoke(&kid).await.unwrap();
    let fetchers = app.incident(&kid).await.trust.fetchers.unwrap();
    assert_eq!((fetchers.known, fetchers.holding, fetchers.named.len()), (1, 1, 1));
    app.get("/.well-known/jwks.json").await;
    let fetchers = app.incident(&kid).await.trust.fetchers.unwrap();
    assert_eq!((fetchers.known, fetchers.holding), (1, 0));
}

#[actix_web::test]
async fn verifiers_that_trust_a_key_for_long_are_named_and_the_others_when_they_are_done() {
    let app = TestApp::start().await;
    let kid = app.kid(KeyState::Active).await;
    let _: RevokeResponse = app.revoke(&kid).await.unwrap();
    let until_ten_minutes = async || {
        let trust = app.incident(&kid).await.trust;
        let of_jose = |names: &Vec<String>| names.iter().any(|name| name.starts_with("jose ("));
        let jose = trust.verifiers.iter().find(|group| of_jose(&group.names)).cloned();
        (jose.and_then(|group| group.until), trust.verifiers.iter().any(|it| it.until.is_none()))
    };
    // Ten minutes of its own, and five in a cache between.
    let until = (START + Duration::from_mins(15)).to_string();
    assert_eq!(until_ten_minutes().await, (Some(until), true));
    app.advance(Duration::from_mins(15)).await;
    assert_eq!(until_ten_minutes().await, (None, true));
}

#[actix_web::test]
async fn the_newest_lines_are_given_and_looking_at_them_is_none() {
    let app = TestApp::start().await;
    for _ in 0..3 {
        app.sign("default").await;
    }
    let before = app.audit();
    let tail = async |path: &str| -> Vec<Value> {
        let tail: AuditTail = app.admin_get(path).await.unwrap();
        tail.lines.iter().map(|line| serde_json::from_str(line.get()).unwrap()).collect()
    };
    assert_eq!(tail("/v1/audit").await, before);
    assert_eq!(tail("/v1/audit?last=2").await, before[before.len() - 2..]);
    assert_eq!(tail("/v1/audit?last=500").await, before);
    assert_eq!(app.audit(), before);
    for wrong in ["last=0", "last=501", "last=-1", "last=x", "first=1"] {
        let refused = app.admin_get::<Value>(&format!("/v1/audit?{wrong}")).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidRequest, "{wrong}");
    }
    let app = TestApp::with(KEYSETS, &caller_of("\"read\", \"sign-token\"")).await;
    let refused = app.admin_get::<Value>("/v1/audit").await.unwrap_err();
    assert_eq!(refused.code, Code::NotAllowed);
    assert_eq!(app.audit().last().unwrap()["action"], "audit-tail");
}
