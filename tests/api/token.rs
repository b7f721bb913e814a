//! What a verifier makes of a token, with the served set alone.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::crypto;
use jwksd_keystore::jwk::PublicKey;
use serde_json::Value;

use crate::app::TestApp;

pub(crate) struct Parts {
    pub(crate) header: Value,
    pub(crate) payload: String,
    signed: String,
    signature: Vec<u8>,
}

pub(crate) fn parts(token: &str) -> Parts {
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, payload) = signed.split_once('.').unwrap();
    Parts {
        header: serde_json::from_slice(&decode(header)).unwrap(),
        payload: String::from_utf8(decode(payload)).unwrap(),
        signed: signed.to_owned(),
        signature: decode(signature),
    }
}

impl Parts {
    pub(crate) fn claims(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap()
    }
}

/// Whether the token verifies with the root set as served now.
pub(crate) async fn verifies(app: &TestApp, token: &str) -> bool {
    verifies_at(app, "/.well-known/jwks.json", token).await
}

/// Whether the token verifies with the set that is served at `path` now.
pub(crate) async fn verifies_at(app: &TestApp, path: &str, token: &str) -> bool {
    let parts = parts(token);
    let answer = app.get(path).await;
    if answer.status != 200 {
        return false;
    }
    let set = answer.json();
    let key = set["keys"].as_array().unwrap().iter().find(|key| key["kid"] == parts.header["kid"]);
    key.filter(|key| key["alg"] == parts.header["alg"]).is_some_and(|key| {
        let public: PublicKey = serde_json::from_value(key.clone()).unwrap();
        let is_of = |a: &Algorithm| key["alg"] == a.jose_name() && public.fits(*a);
        Algorithm::ALL.into_iter().find(is_of).is_some_and(|algorithm| {
            let signed = parts.signed.as_bytes();
            crypto::verify(algorithm, &public, signed, &parts.signature).is_ok()
        })
    })
}
