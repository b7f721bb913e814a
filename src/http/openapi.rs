//! What the internal and the admin listener take and give, as OpenAPI 3.1 documents.
//!
//! Each listener serves its own at [`PATH`], to anyone who can connect: the text is the same for
//! everyone, is part of the source, and says nothing of what is configured. Copies are in
//! `docs/openapi/`; a test keeps them, the routes and the codes equal to what is said here.

mod admin;
mod export;
mod fetchers;
mod incident;
mod internal;
mod operation;
mod plan;
mod problems;
mod signatures;

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::future::ready;
use std::rc::Rc;

use actix_web::HttpResponse;
use actix_web::dev::Handler;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::Bytes;
use utoipa::openapi::path::Paths;
use utoipa::openapi::schema::ObjectBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, License, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema, ToSchema};

use self::operation::Operation;
pub(super) use self::problems::name as code_name;
use super::problem;
use crate::api::Code;

/// Where a listener describes itself.
pub const PATH: &str = "/openapi.json";

/// The version of the API, which is in its paths; the program's own version is another.
const VERSION: &str = "1";

/// What holds for both listeners.
const COMMON: &str = "\
Whoever asks is known by the user or the primary group of its process on a Unix socket, which sends \
nothing for it; over TCP by a bearer token or, where the listener has TLS with a `client_ca`, by its \
certificate. What it may do is in the `[[callers]]` of the configuration.

A request body is JSON in UTF-8: one object, without members that are not named here, of at most \
64 KiB (a batch: 1 MiB). Its `Content-Type` is `application/json` or not stated. A query is \
ignored where none is named here. \
HEAD can be asked wherever GET can; another method gets 405 `method_not_allowed` with `Allow`, and a \
path that is not here 404 `not_found`.

Errors are problem details (RFC 9457) with a `code` that is never renamed. The codes of a status are \
in its `x-codes`. New members of answers, and new codes, can come within this version.";

/// The internal listener.
#[must_use]
pub fn internal() -> OpenApi {
    let about = "Tokens for callers.";
    document("jwksd, internal listener", about, internal::operations(), &[])
}

/// The admin listener.
#[must_use]
pub fn admin() -> OpenApi {
    let about = "To see, rotate, revoke, retire, import and export keys, to have the configuration read \
                 again, and to back up the store.\n\n\
                 A request names the listener as it is called, in `Host`: `localhost`, a loopback \
                 address, where it listens, a name of its certificate, or one of `[admin] hosts`. What a \
                 browser asks for a page of another site is refused.";
    let of_all = [Code::WrongHost, Code::CrossSite];
    document("jwksd, admin listener", about, admin::operations(), &of_all)
}

/// Hands out a document. Its text is made when somebody asks for it: most never do, and each worker
/// would make it at its start and keep it.
pub(super) fn serve(document: fn() -> OpenApi) -> impl Handler<(), Output = HttpResponse> {
    let made = Rc::new(OnceCell::new());
    move || {
        ready(match made.get_or_init(|| text(&document()).map(Bytes::from)) {
            Ok(text) => HttpResponse::Ok()
                .insert_header((CACHE_CONTROL, "no-store"))
                .insert_header((CONTENT_TYPE, "application/json"))
                .body(text.clone()),
            Err(error) => problem::respond(&problem::internal(error, None)),
        })
    }
}

/// A document as it is served.
///
/// # Errors
///
/// None that a test does not find: the documents do not depend on anything.
pub fn text(document: &OpenApi) -> Result<String, serde_json::Error> {
    Ok(document.to_pretty_json()? + "\n")
}

/// What the operations of a listener are, with the problems that any of them can have.
fn document(title: &str, about: &str, mut operations: Vec<Operation>, of_all: &[Code]) -> OpenApi {
    operations.push(itself());
    let mut paths = Paths::new();
    let mut schemas = BTreeMap::new();
    for operation in operations {
        operation.refuses(of_all).add(&mut paths, &mut schemas);
    }
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    let info = InfoBuilder::new()
        .title(title)
        .version(VERSION)
        .description(Some(format!("{about}\n\n{COMMON}")))
        .license(Some(license));
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("jwksd_...")
        .description(Some("Made by `jwksd callers token NAME`. For TCP alone."))
        .build();
    let certificate = SecurityScheme::MutualTls {
        description: Some(
            "A certificate of the listener's `client_ca`, with the caller's `san`.".to_owned(),
        ),
        deprecated: None,
        extensions: None,
    };
    let components = ComponentsBuilder::new()
        .schemas_from_iter(schemas)
        .security_scheme("token", SecurityScheme::Http(token))
        .security_scheme("certificate", certificate);
    let either = ["token", "certificate"].map(|name| SecurityRequirement::new(name, [""; 0]));
    OpenApiBuilder::new()
        .info(info.build())
        .paths(paths)
        .components(Some(components.build()))
        .security(Some(either))
        .build()
}

/// An OpenAPI document.
enum Document {}

impl ToSchema for Document {}

impl PartialSchema for Document {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        ObjectBuilder::new().description(Some("An OpenAPI document.")).into()
    }
}

fn itself() -> Operation {
    Operation::get(PATH, "describe", "This document")
        .says("The same for everyone, so nobody is asked who they are.")
        .gives::<Document>("This document.", serde_json::json!({"openapi": "3.1.0"}))
        .open()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use actix_web::App;
    use actix_web::http::Method;
    use actix_web::web::ServiceConfig;

    use super::*;

    fn served(
        routes: fn(&mut ServiceConfig) -> Vec<(Method, &'static str)>,
    ) -> BTreeSet<(String, String)> {
        let mut served = Vec::new();
        let _ = App::new().configure(|service| served = routes(service));
        let named = |(method, path): (Method, &str)| (method.to_string(), path.to_owned());
        served.into_iter().map(named).collect()
    }

    fn described(document: &OpenApi) -> BTreeSet<(String, String)> {
        let paths = serde_json::to_value(&document.paths).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in paths.as_object().unwrap() {
            for method in item.as_object().unwrap().keys() {
                described.insert((method.to_uppercase(), path.clone()));
            }
        }
        described
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        assert_eq!(served(crate::http::internal::routes), described(&internal()));
        assert_eq!(served(crate::http::admin::routes), described(&admin()));
    }
}
