//! Sequences of whole requests to the three listeners, with time and faults in between.
//!
//! Each section is a request: a line `METHOD LISTENER PATH [CALLER]`, lines of headers, an empty line
//! and the body; or one of `advance SECONDS`, `store fails`, `store works`, and `configure` with key
//! sets in the lines after it. In paths and bodies `{active}`, `{standby}` and `{last}` stand for the
//! kids of the key set `default`, `{64k}` and `{1m}` for as much text as a body may have.

use std::borrow::Cow;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST,
    HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, StatusCode, Uri};
use jwksd::api::{Code, Problem, TokenRequest, TokenResponse};
use jwksd::clock::Clock;
use jwksd::http::{BATCH_BODY_LIMIT, BODY_LIMIT};
use jwksd_keystore::id::KeysetName;
use serde_json::Value;

use super::daemon::{self, After, Answer, Daemon, Listener};
use super::input::sections;
use super::{batch, token};

/// The most sections that are looked at.
const LONGEST: usize = 8;

/// The most headers of a request, and the longest path: the HTTP library refuses more by itself.
const MOST_HEADERS: usize = 64;
const LONGEST_PATH: usize = 60_000;

/// What frames a request is not the input's to say. `tests/api` has such requests.
const FRAMING: [HeaderName; 8] =
    [CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

/// The furthest that time moves at once, in seconds.
const FURTHEST: u64 = 400 * 24 * 3600;

/// Members of a JWK that hold a private half (RFC 7518, section 6; RFC 9964, section 3).
const PRIVATE: [&str; 9] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"];

/// A request as it was read.
struct Request<'a> {
    method: Method,
    listener: Listener,
    path: String,
    uri: Uri,
    caller: Option<&'a str>,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

/// No request is answered with a fault of the daemon, and every refusal is a problem that says what
/// its status says.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    daemon::with(|daemon| {
        let mut after = After::AsBefore;
        for section in sections(data).into_iter().take(LONGEST) {
            if step(daemon, section) == After::Changed {
                after = After::Changed;
            }
        }
        after
    });
}

fn step(daemon: &Daemon, section: &[u8]) -> After {
    let end = section.iter().position(|&byte| byte == b'\n').unwrap_or(section.len());
    let (line, rest) = section.split_at(end);
    let Ok(line) = std::str::from_utf8(line) else { return After::AsBefore };
    let words: Vec<&str> = line.split(' ').collect();
    match words[..] {
        ["advance", seconds] => {
            let seconds: u64 = seconds.parse().unwrap_or(1);
            daemon.advance(Duration::from_secs(seconds.min(FURTHEST)));
        }
        ["store", state] => daemon.rows.set_failing(state == "fails"),
        ["configure"] => daemon.configure_anew(&String::from_utf8_lossy(rest)),
        _ => return request(daemon, &words, rest),
    }
    After::Changed
}

fn request(daemon: &Daemon, words: &[&str], rest: &[u8]) -> After {
    let Some(request) = Request::parse(daemon, words, rest) else { return After::AsBefore };
    let answer = daemon.ask(request.listener, &request.built());
    check(daemon, &request, &answer);
    // What is refused changes nothing; a revocation may be in effect although it is not durable.
    let is_act = request.listener == Listener::Admin && request.method == Method::POST;
    if is_act && !answer.status.is_client_error() {
        daemon.settle();
        return After::Changed;
    }
    After::AsBefore
}

impl<'a> Request<'a> {
    fn parse(daemon: &Daemon, words: &[&'a str], rest: &[u8]) -> Option<Self> {
        let [method, listener, path, caller @ ..] = words else { return None };
        let listener = match *listener {
            "internal" => Listener::Internal,
            "admin" => Listener::Admin,
            _ => Listener::Public,
        };
        let mut headers = Vec::new();
        let mut body = rest.strip_prefix(b"\n").unwrap_or_default();
        while !body.is_empty() {
            let end = body.iter().position(|&byte| byte == b'\n').unwrap_or(body.len());
            let (line, after) = body.split_at(end);
            body = after.strip_prefix(b"\n").unwrap_or_default();
            if line.is_empty() {
                break;
            }
            let header = header(line).filter(|(name, _)| !FRAMING.contains(name));
            headers.extend(header.filter(|_| headers.len() < MOST_HEADERS));
        }
        let path = filled(daemon, path.as_bytes());
        let path = String::from_utf8(path.into_owned()).ok()?;
        let is_path = path.starts_with('/') && path.len() <= LONGEST_PATH;
        let uri = Uri::try_from(path.as_str()).ok().filter(|_| is_path)?;
        let method = Method::from_bytes(method.as_bytes()).ok();
        Some(Self {
            method: method.filter(|method| *method != Method::CONNECT)?,
            listener,
            path,
            uri,
            caller: caller.first().copied(),
            headers,
            body: filled(daemon, body).into_owned(),
        })
    }
}

impl Request<'_> {
    fn built(&self) -> hyper::Request<Full<Bytes>> {
        let mut request = hyper::Request::new(self.body.clone().into());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        let bearer = self.caller.map(|name| format!("Bearer {}", daemon::bearer_token(name)));
        if let Some(Ok(bearer)) = bearer.map(HeaderValue::try_from) {
            headers.insert(AUTHORIZATION, bearer);
        }
        request
    }
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let (name, value) = line.split_at(colon);
    let value = HeaderValue::from_bytes(value[1..].trim_ascii()).ok()?;
    Some((HeaderName::from_bytes(name).ok()?, value))
}

/// The text with what its placeholders stand for.
fn filled<'t>(daemon: &Daemon, text: &'t [u8]) -> Cow<'t, [u8]> {
    let Some(as_text) = std::str::from_utf8(text).ok().filter(|text| text.contains('{')) else {
        return text.into();
    };
    let [last, active, standby] = kids(daemon);
    let mut filled = as_text
        .replace("{last}", &last)
        .replace("{active}", &active)
        .replace("{standby}", &standby);
    for (name, limit) in [("{64k}", BODY_LIMIT), ("{1m}", BATCH_BODY_LIMIT)] {
        if filled.contains(name) {
            filled = filled.replacen(name, &"x".repeat(limit), 1);
        }
    }
    filled.into_bytes().into()
}

/// The kids before that which signs, of it, and of the last: as published, since the store may fail.
fn kids(daemon: &Daemon) -> [String; 3] {
    let keyset = "default".parse().unwrap();
    let Some(ring) = daemon.custody.ring(&keyset) else { return [const { String::new() }; 3] };
    let body = ring.served().map_or(&b"null"[..], |served| &served.body);
    let set: Value = serde_json::from_slice(body).unwrap();
    let keys = set["keys"].as_array().map_or(&[][..], Vec::as_slice);
    let kids: Vec<&str> = keys.iter().filter_map(|jwk| jwk["kid"].as_str()).collect();
    let active = ring.signer_at(daemon.clock.wall()).ok().map(|signer| signer.kid().as_str());
    let index = active.and_then(|active| kids.iter().position(|kid| *kid == active));
    let last = index.and_then(|index| index.checked_sub(1)).map(|index| kids[index]);
    [last, active, kids.last().copied()].map(|kid| kid.unwrap_or("none").to_owned())
}

fn check(daemon: &Daemon, request: &Request<'_>, answer: &Answer) {
    let what = || format!("{} {}: {answer:?}", request.method, request.path);
    if request.method == Method::HEAD {
        // The same as for GET, without the body.
        assert!(answer.body.is_empty(), "{}", what());
        assert!(answer.status.as_u16() < 500 || answer.status == 503, "{}", what());
        return;
    }
    let is_readiness = request.listener == Listener::Public && request.uri.path() == "/readyz";
    if answer.status == StatusCode::SERVICE_UNAVAILABLE && is_readiness {
        assert_eq!(answer.body, "not ready\n", "{}", what());
    } else if answer.status.is_client_error() || answer.status.is_server_error() {
        check_problem(answer, &what());
    } else {
        assert!(matches!(answer.status.as_u16(), 200 | 304), "{}", what());
        check_good(daemon, request, answer, &what());
    }
}

fn check_problem(answer: &Answer, what: &str) {
    assert_eq!(answer.header(CONTENT_TYPE), "application/problem+json", "{what}");
    assert_eq!(answer.header(CACHE_CONTROL), "no-store", "{what}");
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((problem.status, problem.status), (problem.code.status(), answer.status.as_u16()));
    assert_eq!(problem.title, problem.code.title(), "{what}");
    assert!(!problem.detail.is_empty(), "{what}");
    // Each that is a fault of the daemon is documented as one that passes.
    assert_ne!(problem.code, Code::Internal, "{what}");
    assert!(problem.status < 500 || problem.status == 503, "{what}");
}

fn check_good(daemon: &Daemon, request: &Request<'_>, answer: &Answer, what: &str) {
    if answer.status == StatusCode::NOT_MODIFIED {
        assert!(answer.body.is_empty(), "{what}");
        return;
    }
    if answer.header(CONTENT_TYPE) == "application/jwk-set+json" {
        let set: Value = serde_json::from_slice(&answer.body).unwrap();
        let keys = set["keys"].as_array().unwrap();
        assert!(!keys.is_empty(), "{what}");
        let is_public = |jwk: &Value| PRIVATE.iter().all(|member| jwk.get(member).is_none());
        assert!(keys.iter().all(is_public), "{what}");
    }
    if request.listener != Listener::Internal {
        return;
    }
    let caller = request.caller.unwrap_or("all");
    let Some(name) = request.uri.path().strip_prefix("/v1/keysets/") else { panic!("{what}") };
    if let Some(name) = name.strip_suffix("/tokens") {
        let keyset: KeysetName = decoded(name).parse().unwrap();
        let wanted: TokenRequest<'_> = serde_json::from_slice(&request.body).unwrap();
        let signed: TokenResponse = serde_json::from_slice(&answer.body).unwrap();
        token::check(daemon, &keyset, caller, &wanted, &signed.token);
    } else if decoded(name) == "default/tokens/batch" {
        batch::check(daemon, caller, &request.body, answer);
    }
}

/// A path without the escapes of characters that key sets' names have.
fn decoded(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out += before;
        let Some((digits, after)) = after.split_at_checked(2) else { break };
        out.extend(u8::from_str_radix(digits, 16).map(char::from));
        rest = after;
    }
    out + rest
}
