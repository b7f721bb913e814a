//! The internal listener: tokens for callers.

use std::fmt::Display;

use actix_http::Request;
use actix_web::body::MessageBody;
use actix_web::dev;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Data, Path, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use jwksd_keystore::id::KeysetName;

use super::BODY_LIMIT;
use super::body::{check_type, passed_over_on, received_over};
use super::connection::{self, AtOnce, Connection};
use super::identity::{RequestIds, Sender, identify, still};
use super::openapi;
use super::problem;
use super::routes::Routes;
#[cfg(test)]
use crate::api::TokenResponse;
use crate::api::{Code, Problem, TokenRequest};
use crate::custody::{Asker, Custody, SignedToken};
use crate::json::Object;

/// Room in an answer for what is not the token.
const ROOM_BESIDES: usize = 256;

/// Routes of the internal listener.
pub fn configure(service: &mut ServiceConfig) {
    routes(service);
}

pub(super) fn routes(service: &mut ServiceConfig) -> Vec<(Method, &'static str)> {
    Routes::of(service)
        .post("/v1/keysets/{keyset}/tokens", sign_token)
        .post("/v1/keysets/{keyset}/tokens/batch", super::batch::sign)
        .get(openapi::PATH, openapi::serve(openapi::internal))
        .served()
}

/// The answer to a request for one token, by its path as it is written here. All else is left to the
/// routes.
pub(crate) fn at_once(
    request: Request,
    custody: &Data<Custody>,
    ids: &Data<RequestIds>,
) -> Result<AtOnce, Request> {
    let Some(keyset) = keyset_of(&request) else { return Err(request) };
    if Sender::from(&request).shows_what_is_nobodys(custody) {
        return Err(request);
    }
    let (custody, ids) = (custody.clone(), ids.clone());
    connection::answer_without_route(request, |mut request, connection| async move {
        let body = request.take_payload();
        let sender = Sender::from(&request);
        let asked = Asked {
            // Nobody is known by a password here.
            asker: sender.identify(&custody, &ids, || None),
            keyset: Ok(keyset),
            is_json: check_type(&request.head().headers),
            body,
        };
        answer(
            token(asked, &custody, &connection)
                .await
                .map_err(|problem| problem::noted(problem, &ids, request.method(), request.path())),
        )
    })
}

/// The key set that a token is asked of, if that is what is asked.
fn keyset_of(request: &Request) -> Option<KeysetName> {
    let path = Some(request.path()).filter(|_| *request.method() == Method::POST)?;
    path.strip_prefix("/v1/keysets/")?.strip_suffix("/tokens")?.parse().ok()
}

async fn sign_token(
    request: HttpRequest,
    custody: Data<Custody>,
    ids: Data<RequestIds>,
    keyset: Path<String>,
    body: Payload,
) -> HttpResponse {
    let Some(connection) = Connection::of(&request) else {
        return problem::respond(&Problem::new(Code::Busy, "there are too many connections"));
    };
    let asked = Asked {
        asker: identify(&request, &custody, &ids),
        keyset: super::admin::keyset_name(keyset.into_inner()),
        is_json: check_type(request.headers()),
        body: body.into_inner(),
    };
    answer(token(asked, &custody, connection).await)
}

/// A request for a token, from when its head is there.
struct Asked {
    asker: Result<Asker, Problem>,
    keyset: Result<KeysetName, Problem>,
    is_json: Result<(), Problem>,
    body: dev::Payload,
}

fn answer(signed: Result<SignedToken, Problem>) -> HttpResponse {
    match signed {
        Ok(token) => {
            let mut response = HttpResponse::with_body(StatusCode::OK, json(&token).boxed());
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(problem) => problem::respond(&problem),
    }
}

async fn token(
    Asked { asker, keyset, is_json, body }: Asked,
    custody: &Custody,
    connection: &Connection,
) -> Result<SignedToken, Problem> {
    let mut asker = match asker {
        Ok(asker) => asker,
        Err(problem) => {
            passed_over_on(connection, body).await;
            return Err(problem);
        }
    };
    // It is received all the same where it is no JSON, so that the connection goes on.
    let body = received_over(connection, body, BODY_LIMIT).await;
    let signed = is_json.and(body).and_then(|body| signed(&mut asker, keyset, &body, custody));
    signed.map_err(|problem| Problem { request_id: Some(asker.request_id), ..problem })
}

fn signed(
    asker: &mut Asker,
    keyset: Result<KeysetName, Problem>,
    body: &[u8],
    custody: &Custody,
) -> Result<SignedToken, Problem> {
    still(asker, custody)?;
    let wanted: TokenRequest<'_> = parsed(body)?;
    let signed = custody.sign_token(asker, &keyset?, &wanted);
    signed.map_err(|error| problem::of_token(&error, &asker.request_id))
}

/// The text of a [`TokenResponse`].
fn json(signed: &SignedToken) -> Vec<u8> {
    let mut text = Vec::with_capacity(signed.token.len() + ROOM_BESIDES);
    json_onto(&mut text, signed, signed.expires);
    text
}

/// The same at the end of `text`, with the text of its `expires`.
pub(super) fn json_onto(text: &mut Vec<u8>, signed: &SignedToken, expires: impl Display) {
    let mut object = Object::begin(text);
    // Base64url and dots.
    object.plain("token", &signed.token);
    object.text("kid", signed.kid.as_str());
    object.plain("expires_at", expires);
    object.end();
}

/// A token as callers see it.
#[cfg(test)]
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

#[cfg(test)]
mod tests {
    use jwksd_keystore::algorithm::Algorithm;
    use jwksd_keystore::time::Time;

    use super::*;

    #[test]
    fn an_answer_is_written_as_serde_would_write_it() {
        for millis in [0, 1_795_000_000_000, u64::MAX] {
            let signed = SignedToken {
                token: "a-_.b.c".into(),
                kid: "k._~-".parse().unwrap(),
                expires: Time::from_millis(millis),
                algorithm: Algorithm::Es256,
            };
            let written = json(&signed);
            assert_eq!(written, serde_json::to_vec(&told(signed)).unwrap());
        }
    }
}
