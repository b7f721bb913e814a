//! The internal listener: tokens for callers.

use actix_web::http::Method;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::body::{passed_over, received_json};
use super::identity::{RequestIds, identify, still};
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
    body: Payload,
) -> HttpResponse {
    match token(&request, &custody, &ids, keyset.into_inner(), body).await {
        Ok(token) => HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(token),
        Err(problem) => problem::respond(&problem),
    }
}

async fn token(
    request: &HttpRequest,
    custody: &Custody,
    ids: &RequestIds,
    keyset: String,
    body: Payload,
) -> Result<TokenResponse, Problem> {
    let asker = match identify(request, custody, ids) {
        Ok(asker) => asker,
        Err(problem) => {
            passed_over(request, body).await;
            return Err(problem);
        }
    };
    let request_id = asker.request_id.clone();
    let with_id = |problem: Problem| Problem { request_id: Some(request_id.clone()), ..problem };
    let body = received_json(request, body).await.map_err(&with_id)?;
    let asker = still(asker, custody).map_err(&with_id)?;
    let wanted: TokenRequest<'_> = parsed(&body).map_err(&with_id)?;
    let keyset = super::admin::keyset_name(keyset).map_err(&with_id)?;
    let signed = custody
        .sign_token(&asker, &keyset, &wanted)
        .map_err(|error| with_id(problem::of_token(&error, &request_id)))?;
    Ok(told(signed))
}

/// A token as callers see it.
pub(super) fn told(signed: SignedToken) -> TokenResponse {
    TokenResponse { token: signed.token, kid: signed.kid, expires_at: signed.expires.to_string() }
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
