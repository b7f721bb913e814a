//! What comes, as it is told; and that it does.

use hyper::Method;
use jwksd::api::plan::{Phase, PhaseState, Plan, PlannedEventKind as Kind, PlannedState, Why};
use jwksd_keystore::time::Time;

use crate::app::{CALLERS, DAY, KEYSETS, START, TestApp, To};

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
    let until: Time = plan.until.parse().unwrap();
    assert_eq!(until.since(START), DAY * 90);
    let names: Vec<_> = plan.keysets.iter().map(|keyset| keyset.name.as_str()).collect();
    assert_eq!(names, ["default", "second"]);
}
