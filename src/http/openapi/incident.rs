//! The operations that tell what an incident needs, and the end of the audit.

use serde_json::{Value, json};

use super::admin::STANDBY;
use super::operation::Operation;
use crate::api::schema::{KID, LastLines};
use crate::api::{AuditTail, Code, Incident, KeysetIncident};

/// What both reports can answer.
const REPORT: [Code; 7] = [
    Code::UnknownCaller,
    Code::NotAllowed,
    Code::UnknownKeyset,
    Code::Internal,
    Code::StoreUnavailable,
    Code::Busy,
    Code::Stopping,
];

pub(super) fn incident() -> Operation {
    let path = "/v1/keysets/{keyset}/keys/{kid}/incident";
    Operation::get(path, "incident", "What an incident needs to know of a key")
        .says(
            "Of a key that is or was in the set, before or after its revocation, of which it changes \
             nothing. It comes from the audit, which is read for at most ten seconds, from its newest \
             line back; `audit` says how far. Callers' names and audiences are other people's texts.",
        )
        .gives::<Incident>("What is known, and what to do.", of_key())
        .refuses(&REPORT)
        .refuses(&[Code::UnknownKey])
}

pub(super) fn keyset_incident() -> Operation {
    let path = "/v1/keysets/{keyset}/incident";
    Operation::get(path, "keysetIncident", "What an incident needs to know of all keys of a set")
        .says(
            "Of those in the JWK Set, and of those that were revoked and that verifiers may trust \
             still.",
        )
        .gives::<KeysetIncident>(
            "What is known, and what to do.",
            json!({"keyset": "default", "revoking": revoking(&[KID, STANDBY]), "keys": [of_key()]}),
        )
        .refuses(&REPORT)
}

pub(super) fn audit() -> Operation {
    Operation::get("/v1/audit", "audit", "The newest lines of the audit")
        .says("As they are written, the oldest of them first. To look is no line in it.")
        .may_ask::<LastLines>("last", "How many lines; 50 if not given.")
        .gives::<AuditTail>(
            "The lines.",
            json!({"lines": [{
                "line": 7,
                "previous": "n4bQgYhMfWWaL-qgxVrQFaO_TxsrC4Is0V1sFbDwCgg",
                "time": "2026-11-22T03:00:00Z",
                "caller": "backend",
                "action": "sign-token",
                "decision": "allowed",
                "keyset": "default",
                "kid": KID,
            }]}),
        )
        .refuses(&[
            Code::InvalidRequest,
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::Internal,
            Code::AuditUnavailable,
            Code::Stopping,
        ])
}

fn revoking(kids: &[&str]) -> Value {
    json!({
        "revoked": kids,
        "active": null,
        "fresh": true,
        "refused_until": "2026-11-23T03:06:00Z",
        "trusted_until": "2026-11-23T03:06:00Z",
    })
}

fn of_key() -> Value {
    let used = |name| {
        json!([{
            "name": name,
            "tokens": 12,
            "first": "2026-11-21T03:00:00Z",
            "last": "2026-11-22T02:59:00Z",
            "last_expiry": "2026-11-22T03:14:00Z",
        }])
    };
    json!({
        "keyset": "default",
        "kid": KID,
        "state": "active",
        "origin": "generated",
        "at": "2026-11-22T03:00:00Z",
        "signed_from": "2026-11-01T03:00:00Z",
        "signed_until": null,
        "left": null,
        "reason": null,
        "tokens": {
            "count": 12,
            "unexpired": 3,
            "first": "2026-11-21T03:00:00Z",
            "last": "2026-11-22T02:59:00Z",
            "last_expiry": "2026-11-22T03:14:00Z",
            "last_possible_expiry": "2026-11-22T04:00:00Z",
            "callers": used("backend"),
            "for_other_callers": 0,
            "audiences": used("api.example.com"),
            "for_other_audiences": 0,
        },
        "exports": {"since": null, "count": 0, "newest": []},
        "trust": {
            "until": "2026-11-23T03:06:00Z",
            "verifiers": [
                {"lasts": "until it is restarted", "until": null, "names": ["Spring Security"]},
                {"lasts": "for 15m", "until": "2026-11-22T03:15:00Z", "names": ["jose"]},
            ],
            "fetchers": {
                "since": "2026-11-01T00:00:00Z",
                "known": 7,
                "holding": 1,
                "named": [{
                    "who": "192.0.2.0/24",
                    "user_agent": "node",
                    "last": "2026-11-22T02:58:00Z",
                }],
            },
        },
        "backups": {"count": 1, "last": "2026-11-22T01:00:00Z"},
        "audit": {
            "complete": true,
            "lines": 31,
            "oldest_line": 7,
            "since": "2026-11-01T03:00:00Z",
            "gaps": [],
        },
        "revoking": {
            "revoked": [KID],
            "active": STANDBY,
            "fresh": false,
            "refused_until": null,
            "trusted_until": "2026-11-23T03:06:00Z",
        },
        "steps": [{
            "what": "take the key out of the JWK Set, at once and for good",
            "command": format!("jwksd keys revoke default {KID} --reason \"stolen\""),
        }],
    })
}
