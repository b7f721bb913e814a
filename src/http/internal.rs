//! The internal listener: tokens for callers.

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{self, Bytes, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};

use super::identity::{RequestIds, identify};
use super::problem;
use crate::api::{Code, Problem, TokenRequest, TokenResponse};
use crate::custody::{Custody, SignedToken};

/// Routes of the internal listener.
pub fn configure(service: &mut ServiceConfig) {
    service.service(
        web::resource("/v1/keysets/{keyset}/tokens")
            .post(sign_token)
            .default_service(web::to(|| async { problem::method_not_allowed("POST") })),
    );
    service.service(
        web::resource("/v1/keysets/{keyset}/tokens/batch")
            .post(super::batch::sign)
            .default_service(web::to(|| async { problem::method_not_allowed("POST") })),
    );
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
    let body = received(body).map_err(&with_id)?;
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

/// The body, if it was within the limit.
pub(super) fn received(body: Result<Bytes, actix_web::Error>) -> Result<Bytes, Problem> {
    body.map_err(|error| match error.as_response_error().status_code().as_u16() {
        413 => Problem::new(Code::BodyTooLarge, "the limit is 65536 bytes"),
        _ => Problem::new(Code::InvalidRequest, "the body could not be read"),
    })
}

/// The body as what the path takes.
pub(super) fn parsed<'a, T: serde::Deserialize<'a>>(body: &'a [u8]) -> Result<T, Problem> {
    serde_json::from_slice(body)
        .map_err(|error| Problem::new(Code::InvalidRequest, format!("the body: {error}")))
}
