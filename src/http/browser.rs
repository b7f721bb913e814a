//! PURE: what a browser says of its own about a request: which page makes it ask (Fetch Metadata
//! Request Headers; RFC 6454, section 7). Other programs say nothing of it.

use actix_web::HttpRequest;
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue, ORIGIN};

/// Where the console is.
pub(super) const CONSOLE: &str = "/console/";

/// What people type or follow to get there.
pub(super) const ENTRANCES: [&str; 3] = ["/", "/console", CONSOLE];

const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Whether someone at a browser looks at something: at the console, or at what it fetches.
pub(super) fn looks(request: &HttpRequest) -> bool {
    let path = request.path();
    let is_console = ENTRANCES.contains(&path) || path.starts_with(CONSOLE);
    is_read(request) && (is_console || request.headers().contains_key(SITE))
}

/// Whether it says that another page asks than one of `host`. A link to the console may be followed
/// from anywhere: the page shows nothing to where it came from, and cannot be put into a frame.
pub(super) fn is_from_elsewhere(request: &HttpRequest, host: &str) -> bool {
    let is_other_site = |site: &HeaderValue| site != "same-origin" && site != "none";
    let is_other_origin = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
        !origin.is_some_and(|(_, asker)| asker.eq_ignore_ascii_case(host))
    };
    let headers = request.headers();
    let is_elsewhere = headers.get_all(SITE).any(is_other_site);
    headers.get_all(ORIGIN).any(is_other_origin) || (is_elsewhere && !is_link(request))
}

fn is_link(request: &HttpRequest) -> bool {
    let says = |name, value| only(request.headers(), &name) == Some(value);
    let leads_there = ENTRANCES.contains(&request.path());
    is_read(request) && leads_there && says(MODE, "navigate") && says(DEST, "document")
}

fn is_read(request: &HttpRequest) -> bool {
    matches!(*request.method(), Method::GET | Method::HEAD)
}

/// The value of a header that must not stand twice.
pub(super) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name);
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    /// A request with headers written `name: value`.
    fn request(method: Method, path: &str, headers: &[&str]) -> HttpRequest {
        let request = TestRequest::with_uri(path).method(method);
        let headers = headers.iter().map(|header| header.split_once(": ").unwrap());
        headers.fold(request, TestRequest::append_header).to_http_request()
    }

    fn is_from_elsewhere_on(method: Method, path: &str, headers: &[&str]) -> bool {
        is_from_elsewhere(&request(method, path, headers), "localhost:8081")
    }

    #[test]
    fn what_says_nothing_of_a_page_comes_from_no_other() {
        for method in [Method::GET, Method::POST] {
            assert!(!is_from_elsewhere_on(method, "/v1/reload", &["user-agent: curl/8"]));
        }
    }

    #[test]
    fn a_page_of_its_own_may_ask_and_others_may_not() {
        let path = "/v1/keysets";
        let own: [&[&str]; 5] = [
            &["sec-fetch-site: same-origin"],
            &["sec-fetch-site: none"],
            &["origin: http://localhost:8081"],
            &["origin: http://LOCALHOST:8081"],
            &["sec-fetch-site: same-origin", "origin: https://localhost:8081"],
        ];
        let others: [&[&str]; 9] = [
            &["sec-fetch-site: cross-site"],
            // Another port of the same machine is the same site.
            &["sec-fetch-site: same-site"],
            &["sec-fetch-site: "],
            &["sec-fetch-site: same-origin", "sec-fetch-site: cross-site"],
            &["origin: null"],
            &["origin: http://localhost:8082"],
            &["origin: http://localhost"],
            &["origin: http://evil.example/localhost:8081"],
            &["sec-fetch-site: same-origin", "origin: http://evil.example"],
        ];
        for method in [Method::GET, Method::POST] {
            for headers in own {
                assert!(!is_from_elsewhere_on(method.clone(), path, headers), "{headers:?}");
            }
            for headers in others {
                assert!(is_from_elsewhere_on(method.clone(), path, headers), "{headers:?}");
            }
        }
    }

    #[test]
    fn links_lead_to_the_console_and_to_nothing_else() {
        let link =
            ["sec-fetch-site: cross-site", "sec-fetch-mode: navigate", "sec-fetch-dest: document"];
        for path in ENTRANCES {
            assert!(!is_from_elsewhere_on(Method::GET, path, &link), "{path}");
            assert!(is_from_elsewhere_on(Method::POST, path, &link), "{path}");
            assert!(is_from_elsewhere_on(Method::GET, path, &link[..2]), "{path}");
        }
        let frame =
            ["sec-fetch-site: cross-site", "sec-fetch-mode: navigate", "sec-fetch-dest: iframe"];
        assert!(is_from_elsewhere_on(Method::GET, CONSOLE, &frame));
        for path in ["/console/console.js", "/v1/keysets", "/openapi.json"] {
            assert!(is_from_elsewhere_on(Method::GET, path, &link), "{path}");
        }
    }

    #[test]
    fn whoever_looks_at_the_console_is_at_a_browser_and_others_say_that_they_are() {
        let looks_at = |method, path, headers| looks(&request(method, path, headers));
        for path in ["/", "/console", "/console/", "/console/console.js"] {
            assert!(looks_at(Method::GET, path, &[]), "{path}");
        }
        assert!(!looks_at(Method::GET, "/v1/keysets", &[]));
        assert!(looks_at(Method::HEAD, "/v1/keysets", &["sec-fetch-site: same-origin"]));
        assert!(!looks_at(Method::POST, "/v1/reload", &["sec-fetch-site: same-origin"]));
        assert!(!looks_at(Method::POST, "/console/", &["sec-fetch-site: same-origin"]));
    }
}
