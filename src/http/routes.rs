//! Routes of a listener, told apart by method: what a path does not take is answered with 405.

use actix_web::dev::Handler;
use actix_web::http::Method;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, Responder};

use super::problem;

/// Adds routes to a listener, and remembers them.
pub struct Routes<'a> {
    service: &'a mut ServiceConfig,
    served: Vec<(Method, &'static str)>,
}

impl<'a> Routes<'a> {
    /// Adds to `service`.
    #[must_use]
    pub fn of(service: &'a mut ServiceConfig) -> Self {
        Self { service, served: Vec::new() }
    }

    /// Something to look at. HEAD gets the same without the body (RFC 9110, section 9.3.2).
    #[must_use]
    pub fn get<H, A>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<A>,
        A: FromRequest + 'static,
        H::Output: Responder + 'static,
    {
        let refused = web::to(|| async { problem::method_not_allowed("GET, HEAD") });
        let resource = web::resource(path).get(handler.clone()).head(handler);
        self.service.service(resource.default_service(refused));
        self.served.push((Method::GET, path));
        self
    }

    /// Something to be done.
    #[must_use]
    pub fn post<H, A>(mut self, path: &'static str, handler: H) -> Self
    where
        H: Handler<A>,
        A: FromRequest + 'static,
        H::Output: Responder + 'static,
    {
        let refused = web::to(|| async { problem::method_not_allowed("POST") });
        let resource = web::resource(path).post(handler);
        self.service.service(resource.default_service(refused));
        self.served.push((Method::POST, path));
        self
    }

    /// What was added: HEAD goes without saying.
    #[must_use]
    pub fn served(self) -> Vec<(Method, &'static str)> {
        self.served
    }
}
