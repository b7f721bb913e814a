//! What comes, as it is told; and that it does.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hyper::Method;
use jwksd::api::plan::{
    Phase, PhaseState, Plan, PlannedEventKind as Kind, PlannedKeyset, PlannedState, Why,
};
use jwksd::api::{
    Code, ExportResponse, ImportResponse, KeyState, ReloadResponse, RetireResponse, RotateResponse,
};
use jwksd::sink;
use jwksd_keystore::time::Time;
use serde_json::json;

use crate::app::{CALLERS, DAY, HOUR, KEYSETS, START, TestApp, To};

const SECOND: &str = r#"
[keysets.second]
algorithm = "EdDSA"
rotate = "manual"
issuer = "http://127.0.0.1:8080/second"
max_token_ttl = "1h"
"#;

async fn plan(app: &TestApp, query: &str) -> Plan {
    app.admin_get(&format!("/v1/plan{query}")).await.unwrap()
}

/// The plan of the usual key set.
async fn of_default(app: &TestApp, days: u16) -> PlannedKeyset {
    plan(app, &format!("?keyset=default&days={days}")).await.keysets.remove(0)
}

fn time(text: &str) -> Time {
    text.parse().unwrap()
}

fn phase(state: PhaseState, from: &str, until: &str, expected: bool) -> Phase {
    Phase { state, from: from.to_owned(), until: Some(until.to_owned()), expected }
}

#[actix_web::test]
async fn the_plan_goes_on_from_what_is_stored_to_keys_that_are_not_made() {
    let app = TestApp::start().await;
    app.advance(DAY).await;
    let plan = plan(&app, "?days=30&keyset=default").await;
    assert_eq!(plan.now, (START + DAY).to_string());
    assert_eq!(plan.until, (START + DAY * 31).to_string());
    let keyset = &plan.keysets[0];
    let (start, december) = ("2026-11-22T03:00:00Z", "2026-12-01T03:00:00Z");
    let events: Vec<_> = keyset
        .events
        .iter()
        .map(|e| (e.at.as_str(), e.number, e.kid.is_some(), e.event, e.why, e.expected))
        .collect();
    assert_eq!(
        events,
        [
            (start, 0, true, Kind::Publish, Why::FirstKey, false),
            (start, 0, true, Kind::Activate, Why::FirstKey, false),
            (start, 1, true, Kind::Publish, Why::Standby, false),
            (december, 1, true, Kind::Activate, Why::Schedule, false),
            (december, 0, true, Kind::End, Why::Successor, false),
            (december, 2, false, Kind::Publish, Why::Standby, true),
            ("2026-12-01T04:01:00Z", 0, true, Kind::Retire, Why::Expired, true),
        ]
    );
    let january = "2027-01-01T03:00:00Z";
    let keys: Vec<_> =
        keyset.keys.iter().map(|key| (key.number, key.state, key.phases.clone())).collect();
    assert_eq!(
        keys,
        [
            (
                0,
                PlannedState::Active,
                vec![
                    phase(PhaseState::Active, start, december, false),
                    phase(PhaseState::VerifyOnly, december, "2026-12-01T04:01:00Z", false),
                ]
            ),
            (
                1,
                PlannedState::Pending,
                vec![
                    phase(PhaseState::Pending, start, december, false),
                    phase(PhaseState::Active, december, january, false),
                ]
            ),
            (2, PlannedState::Expected, vec![phase(PhaseState::Pending, december, january, true)]),
        ]
    );
    assert_eq!(keyset.active, keyset.keys[0].kid);
    assert!(keyset.notes.is_empty(), "{:?}", keyset.notes);
}

#[actix_web::test]
async fn a_query_that_is_wrong_is_refused_and_without_one_the_plan_is_of_all_for_90_days() {
    let app = TestApp::with(&format!("{KEYSETS}{SECOND}"), CALLERS).await;
    for (query, status, words) in [
        ("?days=0", 400, "days must be from 1 to 400"),
        ("?days=401", 400, "days must be from 1 to 400"),
        ("?days=x", 400, "days must be from 1 to 400"),
        ("?day=3", 400, "unknown field `day`"),
        ("?keyset=none", 404, "there is no key set none"),
        ("?keyset=No", 404, "is not a key set's name"),
    ] {
        let path = format!("/v1/plan{query}");
        let problem = app.ask(To::Admin, Method::GET, &path, &[], b"").await.problem();
        assert_eq!(problem.status, status, "{query}: {problem:?}");
        assert!(problem.detail.contains(words), "{query}: {problem:?}");
    }
    let plan = plan(&app, "").await;
    assert_eq!(time(&plan.until).since(START), DAY * 90);
    let names: Vec<_> = plan.keysets.iter().map(|keyset| keyset.name.as_str()).collect();
    assert_eq!(names, ["default", "second"]);
}

#[actix_web::test]
async fn key_sets_that_the_caller_may_not_read_are_left_out() {
    let callers =
        CALLERS.replace("keyset = \"*\"", "keyset = \"second\"").replace(", \"operate\"", "");
    let app = TestApp::with(&format!("{KEYSETS}{SECOND}"), &callers).await;
    let names: Vec<_> =
        plan(&app, "").await.keysets.into_iter().map(|keyset| keyset.name).collect();
    assert_eq!(names, ["second".parse().unwrap()]);
    let refused = app.ask(To::Admin, Method::GET, "/v1/plan?keyset=default", &[], b"").await;
    assert_eq!(refused.problem().status, 403);
    let line = app.audit().into_iter().rfind(|line| line["action"] == "plan").unwrap();
    assert_eq!((&line["keyset"], &line["decision"]), (&json!("default"), &json!("refused")));
}

// --- what is told comes true

/// What each key may do, by its number.
type States = BTreeMap<u64, PhaseState>;

/// What the plan says that the keys may do at an instant.
fn told_at(keyset: &PlannedKeyset, now: Time) -> States {
    let is_now = |phase: &&Phase| {
        let ends = phase.until.as_deref().map(time);
        time(&phase.from) <= now && ends.is_none_or(|ends| now < ends)
    };
    let state = |key: &jwksd::api::plan::PlannedKey| {
        Some((key.number, key.phases.iter().find(is_now)?.state))
    };
    keyset.keys.iter().filter_map(state).collect()
}

/// What the keys may do.
async fn shown(app: &TestApp) -> States {
    let keys = app.show("default").await.keys.into_iter();
    let state = |key: jwksd::api::Key| {
        let state = match key.state {
            KeyState::Pending => PhaseState::Pending,
            KeyState::Active => PhaseState::Active,
            KeyState::VerifyOnly => PhaseState::VerifyOnly,
            KeyState::Retired | KeyState::Revoked => return None,
        };
        Some((key.number, state))
    };
    keys.filter_map(state).collect()
}

fn told_until(keyset: &PlannedKeyset, end: Time) -> Vec<(String, u64, Kind, Why)> {
    let events = keyset.events.iter().filter(|event| time(&event.at) <= end);
    events.map(|event| (event.at.clone(), event.number, event.event, event.why)).collect()
}

/// Lets all come that is told for so many days, looks before and at each instant, and asks for the
/// plan once more when all that has come was.
async fn comes_true(app: &TestApp, days: u16) -> PlannedKeyset {
    let told = of_default(app, days).await;
    let now = app.now();
    let instants = told.events.iter().map(|event| time(&event.at)).filter(|&at| at > now);
    for at in instants.collect::<BTreeSet<_>>() {
        for at in [at.before(Duration::from_millis(1)), at] {
            app.advance(at.since(app.now())).await;
            assert_eq!(shown(app).await, told_at(&told, at), "at {at}: {told:#?}");
        }
    }
    let end = app.now();
    let after = of_default(app, 1).await;
    assert_eq!(told_until(&after, end), told_until(&told, end));
    told
}

fn count(keyset: &PlannedKeyset, event: Kind, why: Why) -> usize {
    keyset.events.iter().filter(|each| each.event == event && each.why == why).count()
}

async fn reload(app: &TestApp) {
    let _: ReloadResponse = app.admin_post("/v1/reload", json!({})).await.unwrap();
    app.settle().await;
}

#[actix_web::test]
async fn scheduled_rotations_come_as_they_are_told() {
    let app = TestApp::start().await;
    let told = comes_true(&app, 150).await;
    assert_eq!(count(&told, Kind::Activate, Why::Schedule), 5);
}

#[actix_web::test]
async fn rotations_in_a_zone_whose_clock_is_set_come_as_they_are_told() {
    // In the night of the 28th of March 2027 there is no half past two in Berlin.
    let zone = "rotate = \"30 2 * * SUN\"\ntime_zone = \"Europe/Berlin\"";
    let app = TestApp::with(&KEYSETS.replace("rotate = \"0 3 1 * *\"", zone), CALLERS).await;
    app.advance(DAY * 100).await;
    let told = comes_true(&app, 45).await;
    let activations = told.events.iter().filter(|event| event.event == Kind::Activate);
    let instants: Vec<&str> = activations.map(|event| event.at.as_str()).collect();
    for at in ["2027-03-21T01:30:00Z", "2027-03-28T01:00:00Z", "2027-04-04T00:30:00Z"] {
        assert!(instants.contains(&at), "{at}: {instants:?}");
    }
}

#[actix_web::test]
async fn what_an_admin_planned_for_later_comes_and_the_scheduled_rotation_does_not() {
    let app = TestApp::start().await;
    let (at, skipped) = ("2026-12-10T12:00:00Z", "2026-12-01T03:00:00Z");
    let answer = app
        .rotate(json!({"expect_active": app.kid(KeyState::Active).await, "at": at}))
        .await
        .unwrap();
    assert_eq!(answer.skips.as_deref(), Some(skipped));
    let told = comes_true(&app, 60).await;
    assert_eq!(told.notes.len(), 1, "{:?}", told.notes);
    assert!(told.notes[0].contains(at) && told.notes[0].contains(skipped), "{:?}", told.notes);
    assert!(told.events.iter().all(|event| event.at != skipped), "{:?}", told.events);
    assert_eq!(count(&told, Kind::Activate, Why::Admin), 1);

    // Earlier than the schedule, and by the schedule, nothing is left out.
    let active = app.show("default").await.active;
    let answer: RotateResponse = app.rotate(json!({"expect_active": active})).await.unwrap();
    assert_eq!(answer.skips, None);
    comes_true(&app, 60).await;
}

#[actix_web::test]
async fn rotations_without_a_wait_revocations_and_early_retirements_are_in_the_past_of_the_plan() {
    let app = TestApp::start().await;
    app.advance(DAY * 2).await;
    let first = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": first, "now": true})).await.unwrap();
    let path = format!("/v1/keysets/default/keys/{first}/retire");
    let _: RetireResponse = app.admin_post(&path, json!({})).await.unwrap();
    app.advance(HOUR).await;
    let second = app.kid(KeyState::Active).await;
    let _: serde_json::Value = app.revoke(&second).await.unwrap();
    let _: serde_json::Value = app.revoke(&first).await.unwrap();
    let told = comes_true(&app, 60).await;
    for (event, why) in [
        (Kind::Activate, Why::AdminNow),
        (Kind::Retire, Why::Admin),
        (Kind::Activate, Why::Revocation),
    ] {
        assert_eq!(count(&told, event, why), 1, "{event:?}: {:?}", told.events);
    }
    let revoked: Vec<_> = told.events.iter().filter(|event| event.event == Kind::Revoke).collect();
    assert_eq!(revoked.iter().map(|event| event.number).collect::<Vec<_>>(), [0, 1]);
    assert!(revoked.iter().all(|event| event.reason.as_deref() == Some("stolen")));
    assert!(told.keys[..2].iter().all(|key| key.state == PlannedState::Revoked));
}

#[actix_web::test]
async fn keys_from_elsewhere_and_exported_ones_come_as_they_are_told() {
    let app = TestApp::start().await;
    let until = (START + DAY * 20).to_string();
    let jwk = json!({
        "kty": "EC", "crv": "P-256", "kid": "theirs",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    let body = json!({"key": jwk.to_string(), "verify_only_until": until});
    let _: ImportResponse = app.admin_post("/v1/keysets/default/import", body).await.unwrap();
    let standby = app.kid(KeyState::Pending).await;
    let path = format!("/v1/keysets/default/keys/{standby}/export");
    let _: ExportResponse = app.admin_post(&path, json!({"format": "pem"})).await.unwrap();
    let told = comes_true(&app, 60).await;
    assert_eq!(count(&told, Kind::Publish, Why::Trust), 1);
    let end = told.events.iter().find(|event| event.why == Why::TrustedUntil).unwrap();
    assert_eq!((&end.at, end.expected), (&until, false));
    assert_eq!(told.keys[2].phases.len(), 1);
}

#[actix_web::test]
async fn what_changed_facts_come_to_is_told() {
    let facts = "max_token_ttl = \"1h\"\njwks_max_age = \"2d\"";
    let app = TestApp::with(&KEYSETS.replace("max_token_ttl = \"1h\"", facts), CALLERS).await;
    app.advance(DAY).await;
    // Copies of two days are about; tokens live for longer from now on.
    app.edit("jwks_max_age = \"2d\"", "jwks_max_age = \"5m\"");
    app.edit("max_token_ttl = \"1h\"", "max_token_ttl = \"12h\"");
    reload(&app).await;
    let first = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": first, "now": true})).await.unwrap();
    let active = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": active})).await.unwrap();
    comes_true(&app, 60).await;
}

#[actix_web::test]
async fn of_a_set_that_left_the_configuration_only_the_end_comes() {
    let app = TestApp::with(&format!("{KEYSETS}{SECOND}"), CALLERS).await;
    app.advance(DAY).await;
    app.configure(&SECOND.replace("second", "third"), CALLERS);
    app.edit("root = \"default\"", "root = \"third\"");
    reload(&app).await;
    let told = comes_true(&app, 60).await;
    assert!(told.notes[0].starts_with("not in the configuration"), "{:?}", told.notes);
    assert_eq!(told.active, None);
    assert_eq!(count(&told, Kind::End, Why::Removed), 1);
    assert_eq!(count(&told, Kind::Retire, Why::Expired), 1);
    assert_eq!(count(&told, Kind::Leave, Why::Replaced), 1);
    assert!(of_default(&app, 400).await.keys.iter().all(|key| key.kid.is_some()));
}

#[actix_web::test]
async fn a_key_that_waits_for_its_file_is_not_told_to_sign() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("missing/jwks.json");
    let keysets = format!("{KEYSETS}jwks_file = \"{}\"\n", file.display());
    let app = TestApp::with_files(dir, &keysets, sink::Means::default()).await;
    let told = comes_true(&app, 60).await;
    assert_eq!(count(&told, Kind::Activate, Why::Schedule), 0);
    assert_eq!(told.keys.len(), 2);
    let standby = app.kid(KeyState::Pending).await;
    let words = format!("{standby} does not start to sign before {} has it", file.display());
    assert!(told.notes.contains(&words), "{:?}", told.notes);
}

#[actix_web::test]
async fn a_set_that_waits_for_its_first_key_or_rotates_by_hand_says_so() {
    let waiting = SECOND.replace("rotate", "first_key = \"import\"\nrotate");
    let app = TestApp::with(&format!("{KEYSETS}{waiting}"), CALLERS).await;
    let told = plan(&app, "?keyset=second").await.keysets.remove(0);
    assert!(told.keys.is_empty() && told.events.is_empty(), "{told:?}");
    assert!(told.notes[0].ends_with("jwksd keys import second FILE"), "{:?}", told.notes);

    let by_hand = KEYSETS.replace("0 3 1 * *", "manual");
    let app = TestApp::with(&by_hand, CALLERS).await;
    let words = "it rotates only when asked: jwksd keys rotate default (not before \
                 2026-11-23T03:06:00Z, unless with --now)";
    assert_eq!(comes_true(&app, 400).await.notes, [words]);
    let active = app.kid(KeyState::Active).await;
    app.rotate(json!({"expect_active": active})).await.unwrap();
    let told = comes_true(&app, 400).await;
    assert!(told.notes[0].contains("as an admin planned, and after that only when asked"));
}

#[actix_web::test]
async fn while_the_clocks_disagree_the_plan_says_whose_instants_it_tells() {
    let app = TestApp::start().await;
    app.clock.set_wall(START + HOUR);
    let told = of_default(&app, 30).await;
    assert!(told.notes[0].contains("1h apart"), "{:?}", told.notes);
    app.clock.set_wall(START);
    comes_true(&app, 30).await;
}

#[actix_web::test]
async fn what_is_more_than_one_answer_holds_is_cut_and_says_so() {
    let dense = "rotate = \"0 * * * *\"\nverifier_cache = \"1s\"\njwks_max_age = \"1s\"";
    let keysets =
        KEYSETS.replace("rotate = \"0 3 1 * *\"", &format!("{dense}\nclock_skew = \"0s\""));
    let keysets = keysets.replace("rotate = \"0 * *", "rotate = \"0 */2 *").replace("1h", "1m");
    let app = TestApp::with(&keysets, CALLERS).await;
    let told = of_default(&app, 400).await;
    assert_eq!(told.keys.iter().filter(|key| key.kid.is_none()).count(), 400);
    let note = told.notes.iter().find(|note| note.contains("more than one answer holds")).unwrap();
    let cut = note.split_whitespace().find_map(|word| word.trim_end_matches(':').parse().ok());
    let cut: Time = cut.unwrap();
    assert_eq!(cut.since(START), HOUR * 2 * 400 + HOUR);
    assert!(told.events.iter().all(|event| time(&event.at) < cut));
    comes_true(&app, 2).await;
}

#[actix_web::test]
async fn where_enough_plans_are_being_made_the_next_is_refused_until_there_is_room() {
    let app = TestApp::with(&format!("{KEYSETS}{SECOND}"), CALLERS).await;
    let administration = app.daemon.administration.clone();
    let room = &administration.planning;
    let made = u32::try_from(room.available_permits() - 1).unwrap();
    let others = room.try_acquire_many(made).unwrap();
    let refused = app.ask(To::Admin, Method::GET, "/v1/plan", &[], b"").await.problem();
    assert_eq!((refused.status, refused.code), (503, Code::Busy));
    assert_eq!(plan(&app, "?keyset=second").await.keysets.len(), 1);
    drop(others);
    assert_eq!(plan(&app, "").await.keysets.len(), 2);
}

async fn rotate(app: &TestApp) {
    let active = plan(app, "").await.keysets[0].active.clone();
    app.rotate(json!({"expect_active": active})).await.unwrap();
}

/// Each group: until when, behind a shared cache too, and how many.
fn refusing(plan: Plan) -> Vec<(u64, String, String, Vec<String>)> {
    let all = plan.keysets.into_iter().flat_map(|keyset| keyset.refusing);
    all.map(|of| (of.number, of.until.unwrap(), of.until_behind_cache.unwrap(), of.verifiers))
        .collect()
}

#[actix_web::test]
async fn verifiers_that_will_refuse_new_keys_are_told_with_until_when() {
    let hasty = KEYSETS.replace("max_token_ttl", "verifier_cache = \"10m\"\nmax_token_ttl");
    let app = TestApp::with(&hasty, CALLERS).await;
    // The schedule gives its standby more time than verifier_cache asks for.
    assert_eq!(refusing(plan(&app, "?verifiers=all").await), []);
    rotate(&app).await;
    // It signs at 03:16.
    let until = |time: &str| format!("2026-11-2{time}:00Z");
    let expected = |ids: &[&str], [direct, behind]: [&str; 2]| {
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        (1, until(direct), until(behind), ids)
    };
    let day = ["fastapi-azure-auth", "drf-oidc-auth", "tibco-ems"];
    let all = refusing(plan(&app, "").await);
    assert_eq!(
        all,
        [
            expected(&day, ["3T03:00", "3T03:05"]),
            expected(&["aws-api-gateway"], ["2T05:00", "2T05:05"]),
            expected(&["axum-jwt-auth"], ["2T04:00", "2T04:05"]),
            expected(&["istio"], ["2T03:20", "2T03:25"]),
        ]
    );
    assert_eq!(refusing(plan(&app, "?verifiers=all").await), all);
    let chosen = refusing(plan(&app, "?verifiers=istio,pyjwt,axum-jwt-auth").await);
    assert_eq!(chosen, all[2..]);
    for query in ["?verifiers=envoi", "?verifiers=", "?verifiers=envoy,"] {
        let problem = app.admin_get::<Plan>(&format!("/v1/plan{query}")).await.unwrap_err();
        assert_eq!(problem.code, Code::InvalidRequest, "{query}");
    }
}

#[actix_web::test]
async fn verifiers_that_still_refuse_the_key_that_signs_are_told_until_they_do_not() {
    let app = TestApp::start().await;
    assert_eq!(refusing(plan(&app, "?verifiers=all").await), [], "a first key");
    let active = plan(&app, "").await.keysets[0].active.clone();
    app.rotate(json!({"expect_active": active, "now": true})).await.unwrap();
    app.advance(HOUR * 3).await;
    let until = |time: &str| format!("2026-11-23T{time}:00Z");
    let day = ["fastapi-azure-auth", "drf-oidc-auth", "tibco-ems"].map(str::to_owned).to_vec();
    let fetches_once = vec!["fastify-jwt-jwks".to_owned()];
    let told = refusing(plan(&app, "?verifiers=all").await);
    assert!(told.iter().all(|(.., verifiers)| *verifiers == day || *verifiers == fetches_once));
    assert!(told.contains(&(1, until("03:00"), until("03:05"), day)), "{told:?}");
    app.advance(HOUR * 24 * 7).await;
    assert_eq!(refusing(plan(&app, "?verifiers=all").await), []);
}

#[actix_web::test]
async fn the_plan_tells_of_the_verifiers_that_the_configuration_names() {
    let hasty = "verifier_cache = \"10m\"\nverifiers = [\"istio\", \"pyjwt\"]\nmax_token_ttl";
    let app = TestApp::with(&KEYSETS.replace("max_token_ttl", hasty), CALLERS).await;
    rotate(&app).await;
    let told = refusing(plan(&app, "").await);
    assert_eq!(told.into_iter().map(|(.., ids)| ids).collect::<Vec<_>>(), [["istio"]]);
    let told = refusing(plan(&app, "?verifiers=all").await);
    assert_eq!(told.len(), 4);
}
