//! Keeps pages of other sites away from the admin listener: a browser shows whatever identity it
//! has (a client certificate, a password that it was told, the way through a forwarded socket) to
//! every page that makes it ask.
//!
//! Two rules, for all routes. The listener is asked by a name of its own, so that a name of someone
//! else cannot be made to lead here (DNS rebinding). And a browser that says that a page elsewhere
//! asks is refused.
//!
//! The listener for metrics is held to the first rule where only this machine reaches it: no page shall
//! read from there what is kept from the network. Elsewhere it may have any name, since whoever
//! reaches it may read it, and those who scrape it call it what they like.

use std::sync::Arc;

use actix_web::body::BoxBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{
    HOST, HeaderName, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use actix_web::middleware::Next;

use super::admin::Admin;
use super::browser;
use super::connection::Audience;
use super::identity::basic;
use super::problem;
use crate::administration::Administration;
use crate::api::{Code, Problem};
use crate::config::Listen;
use crate::hosts::Host;
use crate::san::LONGEST_DNS_NAME;

const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Refuses what pages of other sites ask of the admin listener and of that for metrics, and has browsers
/// keep their answers to their own pages. Other listeners are not looked at.
///
/// # Errors
///
/// None of its own.
pub async fn own_pages_only(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let Some(admin) = request.app_data::<Admin>() else { return next.call(request).await };
    let mut response = match refusal(&request, admin) {
        Some(problem) => request.into_response(problem::respond(&problem)),
        None => next.call(request).await?,
    };
    let asks_for_password =
        response.status() == StatusCode::UNAUTHORIZED && basic::is_offered(response.request());
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    if asks_for_password {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(basic::CHALLENGE));
    }
    Ok(response)
}

fn refusal(request: &ServiceRequest, admin: &Arc<Administration>) -> Option<Problem> {
    let is_for_monitors = request.app_data::<Audience>() == Some(&Audience::Monitors);
    if is_for_monitors && !is_for_this_machine(request) {
        return None;
    }
    let config = admin.custody.config();
    let places = if is_for_monitors { &config.metrics } else { &config.admin };
    let host = browser::only(request.headers(), &HOST).unwrap_or_default();
    // A client that takes the listener for a proxy names it a second time (RFC 9112, section 3.2.2).
    let target = request.uri().authority().map_or(host, |authority| authority.as_str());
    let is_own = |asked| Host::of_authority(asked).is_some_and(|host| owns(admin, places, &host));
    if let Some(other) = [target, host].into_iter().find(|asked| !is_own(asked)) {
        let other: String = other.chars().take(LONGEST_DNS_NAME).collect();
        tracing::debug!(host = other, "refused what was asked of another host");
        let detail = format!(
            "{other:?} is no name of this listener; if it should be one, put it among the hosts of \
             [admin] in the configuration, and reload"
        );
        return Some(Problem::new(Code::WrongHost, detail));
    }
    (!is_for_monitors && browser::is_from_elsewhere(request.request(), host)).then(|| {
        let detail = "a page of another site makes this browser ask; nothing was looked at";
        Problem::new(Code::CrossSite, detail)
    })
}

/// Whether it came to a TCP place that nobody on another machine reaches. Over a Unix socket it came from
/// a program that was let in, such as an agent that knows the daemon by a name of its own.
fn is_for_this_machine(request: &ServiceRequest) -> bool {
    let is_tcp = request.peer_addr().is_some();
    is_tcp && request.app_config().local_addr().ip().to_canonical().is_loopback()
}

/// Whether the listener has this name: it leads to the asker's own machine, or stands where the
/// listener listens, in its certificate, or in the configuration.
fn owns(admin: &Administration, places: &[Listen], host: &Host) -> bool {
    let listens_there = |place: &Listen| match place {
        Listen::Tcp(address) => Host::of_authority(address).as_ref() == Some(host),
        Listen::Unix(_) => false,
    };
    host.is_loopback()
        || places.iter().any(listens_there)
        || admin.custody.config().admin_hosts.contains(host)
        || admin.tls.admin.as_ref().is_some_and(|tls| tls.is_for(host))
}
