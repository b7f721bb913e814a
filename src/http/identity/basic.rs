//! HTTP Basic for people at a browser (RFC 7617), with a bearer token as the password and any name:
//! a page cannot make the browser send a bearer token by itself.
//!
//! Only to look at things, and only where a browser asks. What a browser remembers can be used by
//! every page that finds a way to make it ask; so no Basic ever changes anything.

use actix_web::HttpRequest;
use actix_web::http::header::AUTHORIZATION;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::{Connection, Peer, Shown};
use crate::http::browser;
use crate::limits::Desk;

/// What a browser is told, so that it asks for a password.
pub(in crate::http) const CHALLENGE: &str = "Basic realm=\"jwksd admin\", charset=\"UTF-8\"";

/// Whether a password may come with this request, so that one is asked for where it is missing.
pub(in crate::http) fn is_offered(request: &HttpRequest) -> bool {
    let desk = Connection::of(request).and_then(|connection| connection.desk());
    let is_known_otherwise =
        request.conn_data::<Peer>().is_some() || request.conn_data::<Shown>().is_some();
    desk == Some(Desk::Admin) && !is_known_otherwise && browser::looks(request)
}

/// The password, where one may come.
pub(super) fn password(request: &HttpRequest) -> Option<Zeroizing<String>> {
    let value = request.headers().get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") || !is_offered(request) {
        return None;
    }
    let decoded = Zeroizing::new(STANDARD.decode(encoded.trim()).ok()?);
    let (_, password) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(Zeroizing::new(password.to_owned()))
}
