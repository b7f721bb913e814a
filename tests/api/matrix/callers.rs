//! Who may ask for what, before and after a change of the callers: it takes effect at the next
//! request, also of a connection that is open already, and goes back as it came.

use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use jwksd::api::{Code, Problem, ReloadResponse};
use jwksd::config::Listen;
use jwksd_keystore::crypto::{hex, sha256};
use serde_json::json;
use tokio::net::TcpStream;

use super::{DOWN, SET};
use crate::app::{CALLERS, KEYSETS, TestApp, keyset_named};

const TOKEN: &str = "jwksd_one";
const OTHER_TOKEN: &str = "jwksd_two";

/// What a caller tries: each would fail for another reason if it were allowed, or sign.
#[derive(Clone, Copy, Debug)]
enum Act {
    Sign(&'static str),
    Read,
    Rotate,
    Revoke,
}

/// What a caller may do, one answer for each of [`ACTS`]; `None` is a good one.
type Answers = [Option<Code>; 8];

const ACTS: [Act; 8] = [
    Act::Sign(r#"{"claims":{},"ttl":"1h"}"#),
    Act::Sign(r#"{"claims":{"aud":"other"},"ttl":"1h"}"#),
    Act::Sign(r#"{"claims":{"tenant":"b"},"ttl":"1m"}"#),
    Act::Sign(r#"{"claims":{},"ttl":"1m","typ":"at+jwt"}"#),
    Act::Sign(r#"{"claims":{"aud":"shop-api","tenant":"a"},"ttl":"1m"}"#),
    Act::Read,
    Act::Rotate,
    Act::Revoke,
];

const NO: Option<Code> = Some(Code::NotAllowed);
const NOBODY: Answers = [Some(Code::UnknownCaller); 8];
const NOTHING: Answers = [NO; 8];
const SIGNS: Answers = [None, None, None, None, None, NO, NO, NO];
const ALL: Answers =
    [None, None, None, None, None, None, Some(Code::TooEarly), Some(Code::UnknownKey)];

/// One change of a caller, and what its two tokens are worth after it.
struct Row {
    name: &'static str,
    /// The grants of the caller with the first token, and of the one with the other.
    callers: [Option<&'static str>; 2],
    one: Answers,
    two: Answers,
}

const BASE: Row = Row {
    name: "the base configuration",
    callers: [
        Some(r#"{ keyset = "shop", actions = ["sign-token", "read", "rotate", "revoke"] }"#),
        None,
    ],
    one: ALL,
    two: NOBODY,
};

const ROWS: [Row; 11] = [
    Row { name: "removed", callers: [None, None], one: NOBODY, two: NOBODY },
    Row { name: "another added", callers: [BASE.callers[0], SIGN_ONLY], one: ALL, two: SIGNS },
    Row { name: "token rotated", callers: [None, BASE.callers[0]], one: NOBODY, two: ALL },
    Row { name: "no grant left", callers: [Some(""), None], one: NOTHING, two: NOBODY },
    Row { name: "only signs", callers: [SIGN_ONLY, None], one: SIGNS, two: NOBODY },
    Row {
        name: "only reads",
        callers: [Some(r#"{ keyset = "shop", actions = ["read"] }"#), None],
        one: [NO, NO, NO, NO, NO, None, NO, NO],
        two: NOBODY,
    },
    Row {
        name: "another key set",
        callers: [Some(r#"{ keyset = "default", actions = ["sign-token", "read"] }"#), None],
        one: NOTHING,
        two: NOBODY,
    },
    Row {
        name: "narrowed audiences",
        callers: [
            Some(r#"{ keyset = "s*", actions = ["sign-token"], audiences = ["shop-api"] }"#),
            None,
        ],
        one: [None, NO, None, None, None, NO, NO, NO],
        two: NOBODY,
    },
    Row {
        name: "shorter tokens",
        callers: [Some(r#"{ keyset = "*", actions = ["sign-token"], max_ttl = "15m" }"#), None],
        one: [NO, NO, None, None, None, NO, NO, NO],
        two: NOBODY,
    },
    Row {
        name: "one typ",
        callers: [
            Some(r#"{ keyset = "shop", actions = ["sign-token"], token_types = ["JWT"] }"#),
            None,
        ],
        one: [None, None, None, NO, None, NO, NO, NO],
        two: NOBODY,
    },
    Row {
        name: "a forced claim",
        callers: [
            Some(r#"{ keyset = "shop", actions = ["sign-token"], force = { tenant = "a" } }"#),
            None,
        ],
        one: [None, None, NO, None, None, NO, NO, NO],
        two: NOBODY,
    },
];

const SIGN_ONLY: Option<&str> = Some(r#"{ keyset = "shop", actions = ["sign-token"] }"#);

#[actix_web::test]
async fn a_change_of_the_callers_takes_effect_at_the_next_request_and_goes_back_as_it_came() {
    for row in &ROWS {
        let mut app = TestApp::with(&keysets(), &BASE.text()).await;
        let mut open = Open::to(&app).await;
        open.expect(&BASE, row.name).await;

        app.configure(&keysets(), &row.text());
        reload(&app).await;
        open.expect(row, "on an open connection").await;
        Open::to(&app).await.expect(row, "after a reload").await;
        app.configure(&keysets(), &BASE.text());
        reload(&app).await;
        open.expect(&BASE, row.name).await;

        app.configure(&keysets(), &row.text());
        app.restart_after(DOWN).await;
        Open::to(&app).await.expect(row, "after a restart").await;
        app.configure(&keysets(), &BASE.text());
        app.crash_and_restart_after(DOWN).await;
        Open::to(&app).await.expect(&BASE, row.name).await;
    }
}

fn keysets() -> String {
    let shop = keyset_named(SET);
    format!("{KEYSETS}{}", shop.replace("api.example.com", "shop-api"))
}

async fn reload(app: &TestApp) {
    let changed: ReloadResponse = app.admin_post("/v1/reload", json!({})).await.unwrap();
    assert_eq!(changed.changed, [], "callers are no facts of a key set");
}

impl Row {
    fn text(&self) -> String {
        let mut text = CALLERS.to_owned();
        for ((name, token), grants) in
            [("one", TOKEN), ("two", OTHER_TOKEN)].iter().zip(self.callers)
        {
            let Some(grants) = grants else { continue };
            let digest = hex(&sha256(token.as_bytes()));
            text += &format!(
                "\n[[callers]]\nname = \"{name}\"\ntoken_sha256 = \"{digest}\"\ngrants = [{grants}]\n"
            );
        }
        text
    }
}

/// Connections that stay open, but to a caller that nobody knows: to the internal listener and to the
/// admin listener.
struct Open {
    places: [Listen; 2],
    internal: SendRequest<Full<Bytes>>,
    admin: SendRequest<Full<Bytes>>,
    active: String,
}

impl Open {
    async fn to(app: &TestApp) -> Self {
        let places = [app.daemon.internal_tcp.clone(), app.daemon.admin_tcp.clone()];
        Self {
            internal: connect(&places[0]).await,
            admin: connect(&places[1]).await,
            places,
            active: app.show(SET).await.active.unwrap().to_string(),
        }
    }

    /// Tries everything with both tokens.
    async fn expect(&mut self, row: &Row, when: &str) {
        for (token, expected) in [(TOKEN, &row.one), (OTHER_TOKEN, &row.two)] {
            for (act, expected) in ACTS.iter().zip(expected) {
                let answer = self.ask(*act, token).await;
                assert_eq!(answer, *expected, "{}, {when}: {act:?} with {token}", row.name);
            }
        }
    }

    async fn ask(&mut self, act: Act, token: &str) -> Option<Code> {
        let set = format!("/v1/keysets/{SET}");
        let past = json!({"expect_active": self.active, "at": "2020-01-01T00:00:00Z"}).to_string();
        let (sender, method, path, body) = match act {
            Act::Sign(body) => (&mut self.internal, "POST", set + "/tokens", body.to_owned()),
            Act::Read => (&mut self.admin, "GET", set, String::new()),
            Act::Rotate => (&mut self.admin, "POST", set + "/rotate", past),
            Act::Revoke => {
                let body = json!({"reason": "a test"}).to_string();
                (&mut self.admin, "POST", set + "/keys/unheard-of/revoke", body)
            }
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {token}"))
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        if sender.ready().await.is_err() {
            let place = &self.places[usize::from(!matches!(act, Act::Sign(_)))];
            *sender = connect(place).await;
            sender.ready().await.unwrap();
        }
        let response = sender.send_request(request).await.unwrap();
        let is_good = response.status().is_success();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        if is_good {
            return None;
        }
        let problem: Problem = serde_json::from_slice(&body).unwrap();
        Some(problem.code)
    }
}

async fn connect(place: &Listen) -> SendRequest<Full<Bytes>> {
    let Listen::Tcp(address) = place else { panic!("not an address") };
    let stream = TcpStream::connect(address).await.unwrap();
    let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}
