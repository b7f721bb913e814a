//! What must hold of every token: it verifies with what is published, and its payload says what was
//! asked and what the daemon adds, in words that no two parsers read differently.

use std::collections::HashSet;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jwksd::api::TokenRequest;
use jwksd::clock::Clock;
use jwksd_keystore::algorithm::{Algorithm, RsaBits};
use jwksd_keystore::crypto;
use jwksd_keystore::id::{KeyId, KeysetName};
use jwksd_keystore::jwk::PublicKey;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Value, json};

use super::daemon::Daemon;

/// The claims that only the daemon sets.
const OWN: [&str; 4] = ["iss", "iat", "exp", "jti"];

/// Checks a token of a caller that was signed now.
///
/// # Panics
///
/// When it is not what must be.
pub fn check(
    daemon: &Daemon,
    keyset: &KeysetName,
    caller: &str,
    request: &TokenRequest<'_>,
    token: &str,
) {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, payload, signature] = parts[..] else { panic!("{token}") };
    let decode = |part: &str| BASE64_URL_SAFE_NO_PAD.decode(part).unwrap();
    let header: Value = serde_json::from_slice(&decode(header)).unwrap();
    assert_eq!(header["typ"], request.typ.as_deref().unwrap_or("JWT"));
    check_signature(daemon, keyset, &header, token, &decode(signature));
    check_payload(daemon, keyset, caller, request, &decode(payload));
}

fn check_signature(
    daemon: &Daemon,
    keyset: &KeysetName,
    header: &Value,
    token: &str,
    signature: &[u8],
) {
    let ring = daemon.custody.ring(keyset).unwrap();
    let set: Value = serde_json::from_slice(&ring.served().unwrap().body).unwrap();
    let keys = set["keys"].as_array().unwrap();
    let jwk = keys.iter().find(|jwk| jwk["kid"] == header["kid"]).unwrap();
    assert_eq!(jwk["alg"], header["alg"]);
    let public: PublicKey = serde_json::from_value(jwk.clone()).unwrap();
    let algorithm = Algorithm::named(header["alg"].as_str().unwrap(), RsaBits::B2048).unwrap();
    let (message, _) = token.rsplit_once('.').unwrap();
    assert_eq!(crypto::verify(algorithm, &public, message.as_bytes(), signature), Ok(()));
}

fn check_payload(
    daemon: &Daemon,
    keyset: &KeysetName,
    caller: &str,
    request: &TokenRequest<'_>,
    payload: &[u8],
) {
    let payload = std::str::from_utf8(payload).unwrap();
    if let Err(error) = serde_json::from_str::<Unambiguous>(payload) {
        panic!("{error}: {payload}");
    }
    let asked = request.claims.get().trim();
    let asked = asked.strip_prefix('{').unwrap().strip_suffix('}').unwrap().trim();
    let between = if asked.is_empty() { "" } else { "," };
    let added = payload.strip_suffix(&format!("{between}{asked}}}"));
    let added = added.unwrap_or_else(|| panic!("{asked} is not as it was in {payload}"));
    let added: Value = serde_json::from_str(&format!("{added}}}")).unwrap();
    assert!(OWN.iter().all(|name| added.get(name).is_some()), "{payload}");

    let claims: Value = serde_json::from_str(payload).unwrap();
    let settings = &daemon.custody.config().keysets[keyset];
    let (issued, expires) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert_eq!(claims["iss"], settings.tokens.issuer.as_str());
    assert_eq!(issued, daemon.clock.wall().as_secs());
    assert!((1..=settings.facts.max_token_ttl.as_secs()).contains(&(expires - issued)));
    let has_audience = claims["aud"].is_string() || claims["aud"].is_array();
    assert!(has_audience || settings.tokens.audiences.is_empty(), "{payload}");
    if caller == "narrow" {
        assert_eq!((&claims["tenant"], &claims["level"]), (&json!("a"), &json!(1.5)));
        assert!(expires - issued <= 300);
    }
}

/// The kid in the header of a token.
pub fn kid(token: &str) -> KeyId {
    let header = token.split('.').next().unwrap();
    let header = BASE64_URL_SAFE_NO_PAD.decode(header).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    header["kid"].as_str().unwrap().parse().unwrap()
}

/// JSON in which no object has two names that differ in nothing but the case of ASCII letters.
struct Unambiguous;

impl<'de> Deserialize<'de> for Unambiguous {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Unambiguous;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_str<E>(self, _: &str) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_unit<E>(self) -> Result<Unambiguous, E> {
        Ok(Unambiguous)
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Unambiguous, S::Error> {
        while seq.next_element::<Unambiguous>()?.is_some() {}
        Ok(Unambiguous)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Unambiguous, M::Error> {
        let mut names = HashSet::new();
        while let Some((name, _)) = map.next_entry::<String, Unambiguous>()? {
            if !names.insert(name.to_ascii_lowercase()) {
                return Err(M::Error::custom(format!("{name:?} stands twice")));
            }
        }
        Ok(Unambiguous)
    }
}
