//! The operation that tells what comes.

use serde_json::{Value, json};

use super::admin::STANDBY;
use super::operation::Operation;
use crate::api::Code;
use crate::api::plan::{Plan, PlanDays, PlanVerifiers};
use crate::api::schema::{self, KID};

pub(super) fn plan() -> Operation {
    Operation::get("/v1/plan", "plan", "What was and what comes")
        .says(
            "The rules are asked ahead of time, so this is what the daemon will do as long as nobody \
             asks for anything and it is up. Where it is more than one answer holds, `notes` says \
             until when it is told.",
        )
        .may_ask::<PlanDays>("days", "How far ahead, in days.")
        .may_ask::<schema::KeysetName>("keyset", "Only this key set.")
        .may_list::<PlanVerifiers>(
            "verifiers",
            "Of which verifiers `refusing` tells; without it, of those that the configuration names.",
        )
        .gives::<Plan>("The key sets.", example())
        .refuses(&[
            Code::InvalidRequest,
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::UnknownKeyset,
            Code::Internal,
            Code::StoreUnavailable,
            Code::Stopping,
        ])
}

fn example() -> Value {
    let (start, next) = ("2026-11-22T03:00:00Z", "2026-12-01T03:00:00Z");
    let phase = |state, from, until, expected| json!({"state": state, "from": from, "until": until, "expected": expected});
    let key = |kid, number, state, phases| {
        json!({
            "kid": kid,
            "number": number,
            "state": state,
            "algorithm": "RS256-2048",
            "origin": "generated",
            "phases": phases,
        })
    };
    let event = |at, kid, number, event, why, expected| {
        json!({
            "at": at,
            "kid": kid,
            "number": number,
            "event": event,
            "why": why,
            "expected": expected,
        })
    };
    let none = Value::Null;
    json!({
        "now": "2026-11-22T09:30:00Z",
        "until": "2026-12-06T09:30:00Z",
        "keysets": [{
            "name": "default",
            "active": KID,
            "keys": [
                key(json!(KID), 0, "active", json!([
                    phase("active", start, next, false),
                    phase("verify-only", next, "2026-12-01T04:01:00Z", false),
                ])),
                key(json!(STANDBY), 1, "pending", json!([
                    phase("pending", start, next, false),
                    phase("active", next, "2027-01-01T03:00:00Z", false),
                ])),
                key(none.clone(), 2, "expected", json!([
                    phase("pending", next, "2027-01-01T03:00:00Z", true),
                ])),
            ],
            "events": [
                event(start, json!(KID), 0, "publish", "first-key", false),
                event(start, json!(KID), 0, "activate", "first-key", false),
                event(start, json!(STANDBY), 1, "publish", "standby", false),
                event(next, json!(STANDBY), 1, "activate", "schedule", false),
                event(next, json!(KID), 0, "end", "successor", false),
                event(next, none, 2, "publish", "standby", true),
                event("2026-12-01T04:01:00Z", json!(KID), 0, "retire", "expired", true),
            ],
            "notes": [],
            "refusing": [],
        }],
    })
}
