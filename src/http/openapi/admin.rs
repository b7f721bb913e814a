//! The operations of the admin listener.

use serde_json::{Value, json};

use super::export::{export, export_set};
use super::fetchers::fetchers;
use super::incident::{audit, incident, keyset_incident};
use super::operation::Operation;
use super::plan::plan;
use super::signatures::signatures;
use crate::api::schema::KID;
use crate::api::{
    BACKUP_HEADER, BackupHolds, Code, ImportRequest, ImportResponse, Keyset, KeysetList,
    ReloadResponse, RetireResponse, RevokeAllRequest, RevokeRequest, RevokeResponse, RotateRequest,
    RotateResponse, Status,
};

pub(super) const STANDBY: &str = "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        list(),
        show(),
        rotate(),
        revoke_all(),
        revoke(),
        retire(),
        import(),
        incident(),
        keyset_incident(),
        export(),
        export_set(),
        reload(),
        back_up(),
        status(),
        plan(),
        fetchers(),
        signatures(),
        audit(),
    ]
}

fn list() -> Operation {
    Operation::get("/v1/keysets", "listKeysets", "The key sets that the caller may read")
        .gives::<KeysetList>("The key sets.", json!({"keysets": [keyset()]}))
        .leads_to("show", "showKeyset", &[("keyset", "$response.body#/keysets/0/name")], None)
        .refuses(&[Code::UnknownCaller, Code::Internal, Code::StoreUnavailable, Code::Stopping])
}

fn show() -> Operation {
    let of_set = ("keyset", "$request.path.keyset");
    let active = "$response.body#/active";
    Operation::get("/v1/keysets/{keyset}", "showKeyset", "One key set")
        .says("Its keys with their states and times, and what happens next.")
        .gives::<Keyset>("The key set.", keyset())
        .leads_to("rotate", "rotate", &[of_set], Some(json!({"expect_active": active})))
        .leads_to(
            "revokeAll",
            "revokeAll",
            &[of_set],
            Some(json!({"reason": "host was stolen", "expect_active": active})),
        )
        .leads_to(
            "revoke",
            "revokeKey",
            &[of_set, ("kid", active)],
            Some(json!({"reason": "host was stolen"})),
        )
        .leads_to("retire", "retireKey", &[of_set, ("kid", "$response.body#/keys/0/kid")], None)
        .leads_to(
            "export",
            "exportKey",
            &[of_set, ("kid", "$response.body#/standby")],
            Some(json!({"format": "pem"})),
        )
        .leads_to("exportSet", "exportSet", &[of_set], None)
        .leads_to("incident", "incident", &[of_set, ("kid", active)], None)
        .leads_to("keysetIncident", "keysetIncident", &[of_set], None)
        .refuses(&[
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::UnknownKeyset,
            Code::Internal,
            Code::StoreUnavailable,
            Code::Stopping,
        ])
}

fn rotate() -> Operation {
    Operation::post("/v1/keysets/{keyset}/rotate", "rotate", "Let the standby sign")
        .says(
            "Without `now` and `at`: as soon as every verifier has seen it. Give one of the two at \
             most. `expect_active` must be given, so that a retry after a lost answer does nothing \
             twice; without it the answer is 428, with the kid in `active`.",
        )
        .takes::<RotateRequest>(json!({"expect_active": KID}))
        .gives::<RotateResponse>(
            "It is planned, or done.",
            json!({
                "keyset": "default",
                "already": false,
                "from": KID,
                "to": STANDBY,
                "activates": "2026-11-23T03:06:00Z",
                "refused_until": null,
                "fetchers": {
                    "known": 12,
                    "without_standby": 3,
                    "forgotten": 0,
                    "since": "2026-11-20T08:00:00Z",
                },
            }),
        )
        .leads_to(
            "retire",
            "retireKey",
            &[("keyset", "$request.path.keyset"), ("kid", "$response.body#/from")],
            None,
        )
        .refuses(&[
            Code::InvalidRequest,
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::UnknownKeyset,
            Code::UnknownKey,
            Code::NotConfigured,
            Code::ActiveChanged,
            Code::TooEarly,
            Code::InvalidConfig,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::ExpectActiveRequired,
            Code::Internal,
            Code::NoActiveKey,
            Code::RevocationPending,
            Code::StoreUnavailable,
            Code::AuditUnavailable,
            Code::Stopping,
        ])
}

/// What both revocations can answer.
const REVOCATION: [Code; 10] = [
    Code::InvalidRequest,
    Code::UnknownCaller,
    Code::NotAllowed,
    Code::UnknownKeyset,
    Code::UnknownKey,
    Code::BodyTooLarge,
    Code::UnsupportedMediaType,
    Code::Internal,
    Code::NotDurable,
    Code::NotRecorded,
];

fn revoke_all() -> Operation {
    let path = "/v1/keysets/{keyset}/revoke-all";
    Operation::post(path, "revokeAll", "All keys out at once, for good; a fresh one signs")
        .says(
            "`expect_active` must be given where a key signs, so that a retry after a lost answer \
             spares the fresh key; without it the answer is 428, with the kid in `active`.",
        )
        .takes::<RevokeAllRequest>(json!({"reason": "host was stolen", "expect_active": KID}))
        .gives::<RevokeResponse>("They are revoked.", revoked(&[KID, STANDBY]))
        .refuses(&REVOCATION)
        .refuses(&[
            Code::ActiveChanged,
            Code::ExpectActiveRequired,
            Code::RevocationPending,
            Code::StoreUnavailable,
            Code::Stopping,
        ])
}

fn revoke() -> Operation {
    let path = "/v1/keysets/{keyset}/keys/{kid}/revoke";
    Operation::post(path, "revokeKey", "A key out at once, for good")
        .says("If it signed, the standby signs now. Verifiers that cached it trust it meanwhile.")
        .takes::<RevokeRequest>(json!({"reason": "host was stolen"}))
        .gives::<RevokeResponse>("It is revoked.", revoked(&[KID]))
        .refuses(&REVOCATION)
        .refuses(&[Code::Stopping])
}

fn retire() -> Operation {
    let path = "/v1/keysets/{keyset}/keys/{kid}/retire";
    Operation::post(path, "retireKey", "A verify-only key out before its time")
        .says("A body is not looked at.")
        .gives::<RetireResponse>(
            "It left the JWK Set.",
            json!({
                "keyset": "default",
                "retired": KID,
                "already": false,
                "cuts_off_until": "2026-11-22T04:01:00Z",
            }),
        )
        .refuses(&[
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::UnknownKeyset,
            Code::UnknownKey,
            Code::WrongState,
            Code::Internal,
            Code::RevocationPending,
            Code::StoreUnavailable,
            Code::AuditUnavailable,
            Code::Stopping,
        ])
}

fn import() -> Operation {
    let path = "/v1/keysets/{keyset}/import";
    Operation::post(path, "importKey", "Take in a key that was made elsewhere")
        .says(
            "It takes the place of the standby, is published, and waits like one that was made here; \
             in a set that waits for its first key it signs at once. With `verify_only_until` it \
             never signs here: tokens of another issuer verify. The same again is answered with \
             `already`. Nothing of the key file is in an answer, the log or the audit. Bodies may have \
             192 KiB here.",
        )
        .takes::<ImportRequest<'_>>(json!({
            "key": "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
            "verify_only_until": "2026-12-24T03:00:00Z",
        }))
        .gives::<ImportResponse>(
            "It is in the JWK Set.",
            json!({
                "keyset": "default",
                "kid": KID,
                "number": 3,
                "algorithm": "EdDSA",
                "state": "verify-only",
                "already": false,
                "published": "2026-11-22T03:00:00Z",
                "activates": null,
                "retires": "2026-12-24T03:00:00Z",
                "replaced": [],
                "warnings": [],
            }),
        )
        .refuses(&[
            Code::InvalidRequest,
            Code::InvalidKey,
            Code::PassphraseRequired,
            Code::WrongPassphrase,
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::UnknownKeyset,
            Code::UnknownKey,
            Code::NotConfigured,
            Code::KeyUsed,
            Code::StandbyExported,
            Code::JwkSetFull,
            Code::InvalidConfig,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::Internal,
            Code::NoActiveKey,
            Code::RevocationPending,
            Code::StoreUnavailable,
            Code::AuditUnavailable,
            Code::Busy,
            Code::Stopping,
        ])
}

fn reload() -> Operation {
    Operation::post("/v1/reload", "reload", "Read the configuration again")
        .says("If anything is wrong with it, the old one stays in force. A body is not looked at.")
        .gives::<ReloadResponse>(
            "It is in force, but for what needs a restart.",
            json!({
                "changed": ["default"],
                "removed": [],
                "needs_restart": [],
                "callers_added": ["login"],
                "callers_removed": [],
                "warnings": [],
            }),
        )
        .refuses(&[
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::InvalidConfig,
            Code::Internal,
            Code::StoreUnavailable,
            Code::AuditUnavailable,
            Code::Stopping,
        ])
}

fn back_up() -> Operation {
    Operation::post("/v1/store/backup", "backUp", "All key sets at one moment, sealed, in one file")
        .says(
            "Only with the master key can anything be read from it or changed in it; the master key is \
             not in it. `jwksd store verify` and `jwksd store restore` take it. A body is not looked at.",
        )
        .gives_bytes("The backup.")
        .tells::<BackupHolds>(
            BACKUP_HEADER,
            "What it holds.",
            &json!({"taken": "2026-11-22T03:00:00Z", "commit": 17, "keysets": 2, "keys": 5}),
        )
        .refuses(&[
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::Internal,
            Code::StoreUnavailable,
            Code::AuditUnavailable,
            Code::Stopping,
        ])
}

fn status() -> Operation {
    Operation::get("/v1/status", "status", "Is all well?")
        .gives::<Status>(
            "What is not well; that is no error of the request.",
            json!({
                "version": "0.1.0",
                "ready": true,
                "problems": [],
                "warnings": ["public.tls certificate: expires at 2026-12-01T00:00:00Z"],
                "checks": [
                    {"name": "store", "state": "ok", "reason": null},
                    {
                        "name": "certificate",
                        "state": "warning",
                        "reason": "expires at 2026-12-01T00:00:00Z",
                        "listener": "public.tls",
                    },
                ],
            }),
        )
        .refuses(&[Code::UnknownCaller, Code::NotAllowed, Code::Stopping])
}

fn keyset() -> Value {
    let key = |kid, number, state, activates, by| {
        let signs_next = "2026-12-01T03:00:00Z";
        let (in_place_by, needed_until) = match state {
            "pending" => (Some(signs_next), None),
            _ => (None, Some("2026-12-01T04:01:00Z")),
        };
        json!({
            "kid": kid,
            "number": number,
            "state": state,
            "origin": "generated",
            "algorithm": "RS256-2048",
            "published": "2026-11-22T03:00:00Z",
            "activates": activates,
            "planned_by": by,
            "ended": null,
            "retires": null,
            "left": null,
            "reason": null,
            "exported": null,
            "in_place_by": in_place_by,
            "needed_until": needed_until,
        })
    };
    let monthly = "schedule \"0 3 1 * *\" in UTC";
    json!({
        "name": "default",
        "revision": 3,
        "configured": true,
        "algorithm": "RS256-2048",
        "publish_ahead": "1d6m",
        "rotate": "\"0 3 1 * *\" in UTC",
        "active": KID,
        "standby": STANDBY,
        "keys": [
            key(KID, 1, "active", "2026-11-22T03:00:00Z", "first key"),
            key(STANDBY, 2, "pending", "2026-12-01T03:00:00Z", monthly),
        ],
        "next": [{"at": "2026-12-01T03:00:00Z", "kid": STANDBY, "event": "activates"}],
    })
}

fn revoked(kids: &[&str]) -> Value {
    json!({
        "keyset": "default",
        "revoked": kids,
        "already": false,
        "active": "9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI",
        "trusted_until": "2026-11-23T03:06:00Z",
    })
}
