//! The listener for metrics: numbers, and what is not well, for whoever watches the daemon.
//!
//! Nobody is asked who it is here. What is told names key sets and callers, and no secret.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{Data, ServiceConfig};

use super::health::alive;
use super::problem;
use super::routes::Routes;
use crate::administration::Administration;
use crate::api::{Code, Problem};
use crate::metrics::exposition::CONTENT_TYPE;
use crate::view;

/// `/metrics`, `/readyz` and `/healthz`.
pub fn configure(service: &mut ServiceConfig) {
    let routes = Routes::of(service);
    let _served = routes.get("/metrics", metrics).get("/readyz", ready).get("/healthz", alive);
}

async fn metrics(administration: Data<Arc<Administration>>) -> HttpResponse {
    match administration.metrics.text() {
        Ok(text) => HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, "no-store"))
            .content_type(CONTENT_TYPE)
            .body(text),
        Err(error) => {
            tracing::error!(%error, "the metrics cannot be written");
            problem::respond(&Problem::new(Code::Internal, "see the log of the daemon"))
        }
    }
}

/// As `/readyz` of the public listener, with each check and its reason.
async fn ready(administration: Data<Arc<Administration>>) -> HttpResponse {
    let readiness = view::readiness(&administration.health.findings());
    let mut response =
        if readiness.ready { HttpResponse::Ok() } else { HttpResponse::ServiceUnavailable() };
    response.insert_header((CACHE_CONTROL, "no-store")).json(readiness)
}
