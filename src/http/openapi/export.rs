//! The operations that give public keys to verifiers.

use serde_json::json;

use super::admin::STANDBY;
use super::operation::Operation;
use crate::api::schema::JwkSet;
use crate::api::{Code, ExportRequest, ExportResponse};

pub(super) fn export() -> Operation {
    let path = "/v1/keysets/{keyset}/keys/{kid}/export";
    Operation::post(path, "exportKey", "The public half of a key, for a verifier that holds it")
        .says(
            "`x509` and `csr` have the key sign, and want the action `rotate`, the others `read`. \
             That a pending key was given out is durable before the answer.",
        )
        .takes::<ExportRequest>(json!({"format": "pem"}))
        .gives::<ExportResponse>(
            "The key, and until when it has to be in place.",
            json!({
                "keyset": "default",
                "kid": STANDBY,
                "format": "pem",
                "state": "pending",
                "text": "-----BEGIN PUBLIC KEY-----\n\
                         MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
                         -----END PUBLIC KEY-----\n",
                "exported": "2026-11-22T03:00:00Z",
                "in_place_by": "2026-12-01T03:00:00Z",
                "signs_since": null,
                "needed_until": null,
            }),
        )
        .refuses(&[
            Code::InvalidRequest,
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::UnknownKeyset,
            Code::UnknownKey,
            Code::NotConfigured,
            Code::WrongState,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::Internal,
            Code::RevocationPending,
            Code::StoreUnavailable,
            Code::AuditUnavailable,
            Code::Stopping,
        ])
}

pub(super) fn export_set() -> Operation {
    let path = "/v1/keysets/{keyset}/export";
    Operation::post(path, "exportSet", "The JWK Set, as it is published")
        .says("A body is not looked at.")
        .gives::<JwkSet>(
            "The JWK Set.",
            json!({"keys": [{
                "kty": "OKP",
                "use": "sig",
                "alg": "EdDSA",
                "kid": STANDBY,
                "crv": "Ed25519",
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            }]}),
        )
        .refuses(&[
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::UnknownKeyset,
            Code::Internal,
            Code::NoActiveKey,
            Code::Stopping,
        ])
}
