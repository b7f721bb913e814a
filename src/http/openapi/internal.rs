//! The operations of the internal listener.

use serde_json::json;

use super::operation::Operation;
use super::problems;
use crate::api::schema::KID;
use crate::api::{BatchRequest, BatchResponse, Code, TokenRequest, TokenResponse};

const TOKEN: &str = "eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCIsImtpZCI6Ii4uLiJ9.e30.c2lnbmF0dXJl";

pub(super) fn operations() -> Vec<Operation> {
    vec![sign_token(), sign_batch()]
}

fn sign_token() -> Operation {
    Operation::post("/v1/keysets/{keyset}/tokens", "signToken", "Sign a token")
        .says(
            "The daemon sets `iss`, `iat`, `exp`, `jti`, and `aud` where the caller gave none. The \
             grant is checked on the final token.",
        )
        .takes::<TokenRequest<'_>>(json!({"claims": {"sub": "123"}, "ttl": "15m"}))
        .gives::<TokenResponse>(
            "The token.",
            json!({"token": TOKEN, "kid": KID, "expires_at": "2026-11-22T03:15:00Z"}),
        )
        .refuses(&[
            Code::InvalidRequest,
            Code::InvalidClaims,
            Code::InvalidTtl,
            Code::InvalidTyp,
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::UnknownKeyset,
            Code::NotConfigured,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::Internal,
            Code::NoActiveKey,
            Code::AuditUnavailable,
        ])
}

fn sign_batch() -> Operation {
    let refused = problems::example(Code::InvalidTtl);
    Operation::post("/v1/keysets/{keyset}/tokens/batch", "signBatch", "Sign up to 1,000 tokens")
        .says(
            "What is wrong with one request is its own result, also where it is not what \
             `TokenRequest` says; the others are signed. Each is decided and recorded by itself.",
        )
        .takes::<BatchRequest<'_>>(json!({"requests": [
            {"claims": {"sub": "1"}, "ttl": "15m"},
            {"claims": {"sub": "2"}, "ttl": 7200},
        ]}))
        .gives::<BatchResponse>(
            "For each request, in their order, what it would have been answered alone.",
            json!({"results": [
                {"token": TOKEN, "kid": KID, "expires_at": "2026-11-22T03:15:00Z"},
                {"error": refused},
            ]}),
        )
        .refuses(&[
            Code::InvalidRequest,
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::UnknownKeyset,
            Code::NotConfigured,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::Internal,
            Code::AuditUnavailable,
            Code::Busy,
            Code::Stopping,
        ])
}
