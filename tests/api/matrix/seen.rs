//! What can be seen of the key set from outside, with the numbers of keys in place of their kids.

use std::collections::BTreeMap;

use jwksd::api::{Code, EventKind, Keyset};
use jwksd_keystore::time::Time;
use serde_json::{Value, json};

use super::{JWKS, SET};
use crate::app::TestApp;
use crate::token::parts;

/// What can be seen of the key set.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// The key that signs.
    pub(super) signs: Result<u64, Code>,
    /// `iss` and `aud` of its tokens.
    pub(super) tokens: Option<[String; 2]>,
    /// The keys in the JWK Set.
    pub(super) published: Vec<u64>,
    /// In `Cache-Control`, in seconds.
    pub(super) max_age: Option<u64>,
    /// The longest `ttl` that is granted.
    pub(super) longest_ttl: Option<String>,
    /// What comes next, to which key.
    pub(super) next: Vec<(Time, EventKind, u64)>,
    /// When an admin may rotate without the risk that a verifier refuses a token.
    pub(super) waited: Option<Time>,
}

/// Looks at the key set from all sides, and changes nothing.
pub(super) async fn look(app: &TestApp) -> Seen {
    let (signs, tokens) = signer(app).await;
    let answer = app.get(JWKS).await;
    let max_age = answer.header("cache-control").strip_prefix("public, max-age=");
    let max_age = max_age.map(|seconds| seconds.parse().unwrap());
    let Ok(shown) = app.admin_get::<Keyset>(&format!("/v1/keysets/{SET}")).await else {
        panic!("the key set was never there");
    };
    let number = |kid: &str| numbers(&shown)[kid];
    let kids = answer.json()["keys"].as_array().cloned().unwrap_or_default();
    let mut next: Vec<_> = shown
        .next
        .iter()
        .map(|event| (utc(&event.at), event.event, number(event.kid.as_str())))
        .collect();
    next.sort_by_key(|(at, _, number)| (*at, *number));
    let active = shown.active.as_ref().map(|kid| number(kid.as_str()));
    assert_eq!(active, signs.ok(), "who signs and who is shown as active are one");
    Seen {
        signs,
        tokens,
        published: kids.iter().map(|key| number(key["kid"].as_str().unwrap())).collect(),
        max_age,
        longest_ttl: longest_ttl(app).await,
        next,
        waited: waited(app, &shown).await,
    }
}

/// The key that signs, and `iss` and `aud` of its token.
pub(super) async fn signer(app: &TestApp) -> (Result<u64, Code>, Option<[String; 2]>) {
    match app.try_sign(SET, json!({"claims": {}, "ttl": 1})).await {
        Ok(signed) => {
            let shown = app.show(SET).await;
            let claims = parts(&signed.token).claims();
            let claim = |name: &str| claims[name].as_str().unwrap().to_owned();
            let number = numbers(&shown)[signed.kid.as_str()];
            (Ok(number), Some([claim("iss"), claim("aud")]))
        }
        Err(problem) => (Err(problem.code), None),
    }
}

/// What a refusal says is the longest; a token of exactly that lifetime is granted.
async fn longest_ttl(app: &TestApp) -> Option<String> {
    let ask = |ttl: &str| app.try_sign(SET, json!({"claims": {}, "ttl": ttl}));
    let problem = ask("366d").await.unwrap_err();
    let words = problem.detail.split_once("is longer than the ")?.1;
    let longest = words.split_once(' ').unwrap().0.to_owned();
    ask(&longest).await.unwrap();
    Some(longest)
}

/// What the refusal of a rotation in the past says is the earliest.
async fn waited(app: &TestApp, shown: &Keyset) -> Option<Time> {
    let active = shown.active.as_ref()?;
    let body = json!({"expect_active": active, "at": "2020-01-01T00:00:00Z"});
    let path = format!("/v1/keysets/{SET}/rotate");
    let problem = app.admin_post::<Value>(&path, body).await.unwrap_err();
    assert_eq!(problem.code, Code::TooEarly, "{problem:?}");
    Some(utc(problem.detail.rsplit_once(' ').unwrap().1))
}

fn numbers(shown: &Keyset) -> BTreeMap<&str, u64> {
    shown.keys.iter().map(|key| (key.kid.as_str(), key.number)).collect()
}

/// An instant as the API writes it.
pub(super) fn utc(text: &str) -> Time {
    text.parse().unwrap()
}
