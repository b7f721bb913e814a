//! The public listener: JWK Sets and discovery, for anyone.

use actix_http::Request;
use actix_web::body::MessageBody;
use actix_web::dev::{RequestHead, Response};
use actix_web::http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue,
    IF_NONE_MATCH, USER_AGENT, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{self, Data, Path, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::ring::{Ring, ServedSet};
use serde::Serialize;

use super::{connection, problem};
use crate::api::{Code, Problem};
use crate::custody::Custody;
use crate::fetchers::{Fetch, Fetchers};
use crate::metrics::outcomes::Answer;

const ROOT: &str = "/.well-known/jwks.json";
const ALIAS: &str = "/jwks.json";
const OF_KEYSET: &str = "/{keyset}/.well-known/jwks.json";
const OPENID: &str = "/.well-known/openid-configuration";
const OPENID_OF_KEYSET: &str = "/{keyset}/.well-known/openid-configuration";
// RFC 8414, section 3.1: the well-known part stands before the issuer's path.
const OAUTH: &str = "/.well-known/oauth-authorization-server";
const OAUTH_OF_KEYSET: &str = "/.well-known/oauth-authorization-server/{keyset}";

/// Routes of the public listener.
pub fn configure(service: &mut ServiceConfig) {
    for path in [ROOT, ALIAS] {
        service.service(web::resource(path).to(root_set));
    }
    for path in [OPENID, OAUTH] {
        service.service(web::resource(path).to(root_discovery));
    }
    service.service(web::resource(OF_KEYSET).to(set));
    for path in [OPENID_OF_KEYSET, OAUTH_OF_KEYSET] {
        service.service(web::resource(path).to(discovery));
    }
}

/// The answer to what most ask for: a JWK Set that is served, by its path as it is written here. All
/// else is left to the routes.
pub(crate) fn at_once(
    request: &Request,
    custody: &Custody,
    fetchers: &Fetchers,
) -> Option<Response<connection::Answer>> {
    match request.path() {
        ROOT | ALIAS => {
            let root = &custody.config().public.root;
            set_at_once(request, custody, fetchers, root)
        }
        path => {
            let name = path.strip_suffix(ROOT)?.strip_prefix('/')?;
            set_at_once(request, custody, fetchers, &name.parse().ok()?)
        }
    }
}

fn set_at_once(
    request: &Request,
    custody: &Custody,
    fetchers: &Fetchers,
    keyset: &KeysetName,
) -> Option<Response<connection::Answer>> {
    connection::answer_at_once(request, || {
        let head = request.head();
        let ring = custody.ring(keyset).filter(|_| is_read(&head.method))?;
        let answer = served_set(head, fetchers, keyset, &ring, ring.served()?);
        Some(counted(custody, Some(keyset), answer))
    })
}

async fn root_set(
    request: HttpRequest,
    custody: Data<Custody>,
    fetchers: Data<Fetchers>,
) -> HttpResponse {
    let root = &custody.config().public.root;
    counted(&custody, Some(root), serve_set(request.head(), &custody, &fetchers, root))
}

async fn set(
    request: HttpRequest,
    custody: Data<Custody>,
    fetchers: Data<Fetchers>,
    name: Path<String>,
) -> HttpResponse {
    match KeysetName::try_from(name.into_inner()) {
        Ok(keyset) => {
            let answer = serve_set(request.head(), &custody, &fetchers, &keyset);
            counted(&custody, Some(&keyset), answer)
        }
        Err(_) => counted(&custody, None, problem::not_found().await),
    }
}

fn counted(custody: &Custody, keyset: Option<&KeysetName>, answer: HttpResponse) -> HttpResponse {
    custody.metrics().count_fetch(keyset, Answer::of_status(answer.status()));
    answer
}

fn serve_set(
    request: &RequestHead,
    custody: &Custody,
    fetchers: &Fetchers,
    keyset: &KeysetName,
) -> HttpResponse {
    if !is_read(&request.method) {
        return problem::method_not_allowed("GET, HEAD");
    }
    let ring = custody.ring(keyset);
    if let Some((ring, served)) = ring.as_ref().and_then(|ring| Some((ring, ring.served()?))) {
        return served_set(request, fetchers, keyset, ring, served);
    }
    if custody.config().keysets.contains_key(keyset) {
        // Never an empty set: many verifiers fail on one, and some keep it.
        let detail = format!("the key set {keyset} has no key yet");
        problem::respond(&Problem::new(Code::NoActiveKey, detail))
    } else {
        let detail = format!("there is no key set {keyset}");
        problem::respond(&Problem::new(Code::UnknownKeyset, detail))
    }
}

fn served_set(
    request: &RequestHead,
    fetchers: &Fetchers,
    keyset: &KeysetName,
    ring: &Ring,
    served: &ServedSet,
) -> HttpResponse {
    let condition = Condition::of(&request.headers, &served.version.etag);
    if condition.leaves_with_the_set(&request.method) {
        note(request, fetchers, keyset, ring);
    }
    let is_known = condition != Condition::Unmet;
    let mut response = if is_known {
        HttpResponse::new(StatusCode::NOT_MODIFIED)
    } else {
        HttpResponse::with_body(StatusCode::OK, served.body.clone().boxed())
    };
    let headers = response.headers_mut();
    // Both are texts of ours, and values of headers.
    if let Ok(etag) = HeaderValue::from_str(&served.version.etag) {
        headers.insert(ETAG, etag);
    }
    if let Ok(cache_control) = HeaderValue::from_maybe_shared(served.cache_control.clone()) {
        headers.insert(CACHE_CONTROL, cache_control);
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !is_known {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
    }
    response
}

/// What a client says of the version that it has (RFC 9110, section 13.1.2: a list, or `*`,
/// compared weakly).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    /// It has not got this one.
    Unmet,
    /// It has this one.
    Version,
    /// It has one, and does not say which.
    Any,
}

impl Condition {
    fn of(headers: &HeaderMap, etag: &str) -> Self {
        let values = headers.get_all(IF_NONE_MATCH);
        let texts = values.map(|value| value.to_str().unwrap_or(""));
        let mut condition = Self::Unmet;
        for tag in texts.flat_map(|text| text.split(',')).map(str::trim) {
            if tag.strip_prefix("W/").unwrap_or(tag) == etag {
                return Self::Version;
            }
            if tag == "*" {
                condition = Self::Any;
            }
        }
        condition
    }

    /// Whether the client has this version when it is answered. HEAD brings it nothing that it did
    /// not have.
    fn leaves_with_the_set(self, method: &Method) -> bool {
        match self {
            Self::Unmet => *method == Method::GET,
            Self::Version => true,
            Self::Any => false,
        }
    }
}

fn note(request: &RequestHead, fetchers: &Fetchers, keyset: &KeysetName, ring: &Ring) {
    let Some(watch) = fetchers.watch() else { return };
    let headers = &request.headers;
    let header = watch.header().and_then(|name| headers.get_all(name).last());
    let user_agent = headers.get(USER_AGENT);
    watch.note(&Fetch {
        keyset,
        ring,
        peer: request.peer_addr.map(|address| address.ip()),
        header: header.map(HeaderValue::as_bytes),
        user_agent: user_agent.map_or(b"", HeaderValue::as_bytes),
    });
}

/// What is said of an issuer: exactly what is there (OpenID Connect Discovery 1.0, section 3;
/// RFC 8414, section 2).
#[derive(Serialize)]
struct Discovery<'a> {
    issuer: &'a str,
    jwks_uri: String,
    response_types_supported: [&'a str; 1],
    subject_types_supported: [&'a str; 1],
    id_token_signing_alg_values_supported: Vec<&'a str>,
}

async fn root_discovery(request: HttpRequest, custody: Data<Custody>) -> HttpResponse {
    serve_discovery(&request, &custody, &custody.config().public.root, "").await
}

async fn discovery(
    request: HttpRequest,
    custody: Data<Custody>,
    name: Path<String>,
) -> HttpResponse {
    let path = format!("/{name}");
    match KeysetName::try_from(name.into_inner()) {
        Ok(keyset) => serve_discovery(&request, &custody, &keyset, &path).await,
        Err(_) => problem::not_found().await,
    }
}

async fn serve_discovery(
    request: &HttpRequest,
    custody: &Custody,
    keyset: &KeysetName,
    path: &str,
) -> HttpResponse {
    if !is_read(request.method()) {
        return problem::method_not_allowed("GET, HEAD");
    }
    let config = custody.config();
    let described = config.keysets.get(keyset);
    let (Some(described), true) =
        (described, config.discovery_path(keyset).as_deref() == Some(path))
    else {
        return problem::not_found().await;
    };
    let max_age = described.facts.jwks_max_age.as_secs();
    // After a changed algorithm the keys of the old one go on: for a while in signatures, longer
    // in tokens.
    let ring = custody.ring(keyset);
    let served = ring.as_ref().and_then(|ring| ring.served());
    let mut algorithms = served.map_or_else(Vec::new, |served| served.algorithms.clone());
    if algorithms.is_empty() {
        algorithms.push(described.facts.algorithm.jose_name());
    }
    HttpResponse::Ok()
        .insert_header((CACHE_CONTROL, format!("public, max-age={max_age}")))
        .insert_header((ACCESS_CONTROL_ALLOW_ORIGIN, "*"))
        .insert_header((X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .json(Discovery {
            issuer: &described.tokens.issuer,
            jwks_uri: format!("{}{path}{ROOT}", config.public.base_url),
            response_types_supported: ["id_token"],
            subject_types_supported: ["public"],
            id_token_signing_alg_values_supported: algorithms,
        })
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}
