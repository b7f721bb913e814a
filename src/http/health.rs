//! Whether the daemon lives, and whether all is well. Says no reasons: those are for admins.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{self, Data, ServiceConfig};

use super::problem::method_not_allowed;
use crate::health::Health;

/// `/healthz` and `/readyz`.
pub fn configure(service: &mut ServiceConfig) {
    let refused = || web::to(|| async { method_not_allowed("GET, HEAD") });
    service
        .service(web::resource("/healthz").get(alive).head(alive).default_service(refused()))
        .service(web::resource("/readyz").get(ready).head(ready).default_service(refused()));
}

pub(super) async fn alive() -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).body("ok\n")
}

async fn ready(health: Data<Arc<Health>>) -> HttpResponse {
    let (mut response, body) = if health.is_ready() {
        (HttpResponse::Ok(), "ready\n")
    } else {
        (HttpResponse::ServiceUnavailable(), "not ready\n")
    };
    response.insert_header((CACHE_CONTROL, "no-store")).body(body)
}
