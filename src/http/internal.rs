//! The internal listener: tokens for callers.

use actix_web::http::Method;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use actix_web::web::{Bytes, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::identity::{RequestIds, identify};
use super::openapi;
use super::problem;
use super::routes::Routes;
use crate::api::{Code, Problem, TokenRequest, TokenResponse};
use crate::custody::{Custody, SignedToken};

/// Routes of the internal listener.
pub fn configure(service: &mut ServiceConfig) {
    routes(service);
}

pub(super) fn routes(service: &mut ServiceConfig) -> Vec<(Method, &'static str)> {
    Routes::of(service)
        .post("/v1/keysets/{keyset}/tokens", sign_token)
        .post("/v1/keysets/{keyset}/tokens/batch", super::batch::sign)
        .get(openapi::PATH, openapi::serve(&openapi::internal()))
        .served()
}

async fn sign_token(
    request: HttpRequest,
    custody: Data<Custody>,
    ids: Data<RequestIds>,
    keyset: Path<String>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    match token(&request, &custody, &ids, keyset.into_inner(), body) {
        Ok(token) => HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(token),
        Err(problem) => problem::respond(&problem),
    }
}

fn token(
    request: &HttpRequest,
    custody: &Custody,
    ids: &RequestIds,
    keyset: String,
    body: Result<Bytes, actix_web::Error>,
) -> Result<TokenResponse, Problem> {
    let asker = identify(request, custody, ids)?;
    let with_id =
        |problem: Problem| Problem { request_id: Some(asker.request_id.clone()), ..problem };
    let body = received(request, body).map_err(&with_id)?;
    let wanted: TokenRequest<'_> = parsed(&body).map_err(&with_id)?;
    let keyset = super::admin::keyset_name(keyset).map_err(&with_id)?;
    let signed = custody
        .sign_token(&asker, &keyset, &wanted)
        .map_err(|error| with_id(problem::of_token(&error)))?;
    Ok(told(signed))
}

/// A token as callers see it.
pub(super) fn told(signed: SignedToken) -> TokenResponse {
    TokenResponse { token: signed.token, kid: signed.kid, expires_at: signed.expires.to_string() }
}

/// The body, if it is JSON and was within the limit.
pub(super) fn received(
    request: &HttpRequest,
    body: Result<Bytes, actix_web::Error>,
) -> Result<Bytes, Problem> {
    check_type(request)?;
    body.map_err(|error| match error.as_response_error().status_code().as_u16() {
        413 => Problem::new(Code::BodyTooLarge, "the limit is 65536 bytes"),
        _ => Problem::new(Code::InvalidRequest, "the body could not be read"),
    })
}

/// A body of a type that is not stated counts as JSON. What is stated must be JSON: all that a
/// browser sends to another site without asking there first is something else.
pub(super) fn check_type(request: &HttpRequest) -> Result<(), Problem> {
    let is_json = |value: &HeaderValue| {
        let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
        essence.trim_ascii().eq_ignore_ascii_case(b"application/json")
    };
    if request.headers().get_all(CONTENT_TYPE).all(is_json) {
        Ok(())
    } else {
        let detail = "send it with Content-Type: application/json (curl: --json instead of -d)";
        Err(Problem::new(Code::UnsupportedMediaType, detail))
    }
}

/// The body as what the path takes.
pub(super) fn parsed<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    // serde would take a list for the members of an object, in the order of our source.
    if body.trim_ascii_start().starts_with(b"[") {
        return Err(Problem::new(Code::InvalidRequest, "the body: a list, not an object"));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::new(Code::InvalidRequest, format!("the body: {error}")))
}
