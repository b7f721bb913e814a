//! PURE: what a file shall hold, and what of it another text has.

use jwksd_keystore::id::KeyId;
use serde::Deserialize;
use serde_json::Value;

/// A JWK Set as it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The JSON text.
    pub body: Vec<u8>,
    /// The kids in it.
    pub kids: Vec<KeyId>,
}

#[derive(Deserialize)]
struct Keys {
    keys: Vec<Value>,
}

/// The kids in `found`, whatever it is. A key that has the kid of one of `wanted`, but is not that
/// key, does not count.
pub(super) fn kids_in(found: &[u8], wanted: Option<&Content>) -> Vec<KeyId> {
    let keys =
        |text| serde_json::from_slice(text).map_or_else(|_| Vec::new(), |Keys { keys }| keys);
    let wanted = wanted.map_or_else(Vec::new, |content| keys(&content.body));
    let is_ours = |key: &Value| {
        let namesakes = wanted.iter().filter(|ours| ours["kid"] == key["kid"]);
        namesakes.into_iter().all(|ours| ours == key)
    };
    let kid = |key: &Value| key["kid"].as_str()?.to_owned().try_into().ok();
    keys(found).iter().filter(|key| is_ours(key)).filter_map(kid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kids(found: &str) -> Vec<String> {
        let body = br#"{"keys":[{"kid":"a","x":1},{"kid":"b","x":2}]}"#.to_vec();
        let kids = ["a", "b"].map(|kid| kid.to_owned().try_into().unwrap()).to_vec();
        let kids = kids_in(found.as_bytes(), Some(&Content { body, kids }));
        kids.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_key_is_there_when_all_of_it_is() {
        assert_eq!(kids(r#"{"keys":[{"x":2,"kid":"b"},{"kid":"c"}]}"#), ["b", "c"]);
        assert_eq!(
            kids(r#"{"keys":[{"kid":"a","x":3},{"kid":"b","x":2,"alg":"ES256"}]}"#),
            [""; 0]
        );
    }

    #[test]
    fn what_is_no_jwk_set_has_no_keys() {
        let deep = "[".repeat(100_000);
        for text in ["", "{", "[]", "{}", r#"{"keys":1}"#, r#"{"keys":[1,{"kid":2}]}"#, &deep] {
            assert_eq!(kids(text), [""; 0]);
        }
    }
}
