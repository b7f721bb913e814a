//! PURE: the claims of a token, from what the caller gave and what the daemon adds.
//!
//! The caller's claims arrive in the token byte for byte. So everything that two JSON parsers could
//! read differently is refused: duplicate names at any depth, and text that is not Unicode.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use jwksd_keystore::time::Time;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::policy::Claim;

/// Claims that only the daemon sets.
pub const OWN_CLAIMS: [&str; 4] = ["iss", "iat", "exp", "jti"];

/// Claims that verifiers act on (RFC 7519, section 4.1).
const REGISTERED_CLAIMS: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// The claims that a caller gave: a JSON object, checked and kept as it was written.
#[derive(Debug)]
pub struct CallerClaims<'a> {
    /// What is between the braces.
    inner: &'a str,
    members: Vec<(Cow<'a, str>, &'a RawValue)>,
}

/// What the daemon adds.
#[derive(Clone, Copy, Debug)]
pub struct Added<'a> {
    /// `iss`.
    pub issuer: &'a str,
    /// `iat`.
    pub issued: Time,
    /// `exp`.
    pub expires: Time,
    /// `jti`.
    pub id: &'a str,
    /// `aud`, where the caller gave none.
    pub audiences: &'a [String],
    /// What the caller's grant forces.
    pub forced: &'a [(String, Value)],
}

/// Claims that cannot be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimsError {
    /// Not an object, not JSON, or not Unicode.
    #[error("claims must be a JSON object: {0}")]
    NotAnObject(String),
    /// A name stands twice in one object, or differs from another only in the case of letters.
    #[error("the name {0:?} stands twice in one object of the claims, if case is not regarded")]
    Duplicate(String),
    /// Only the daemon sets it.
    #[error("the daemon sets {0:?} itself")]
    Owned(&'static str),
    /// It differs from a name that counts only in the case of letters, and some parsers (Go's
    /// `encoding/json` into a struct) take one for the other.
    #[error("the name {0:?} can be taken for {1:?}: some parsers do not tell them apart")]
    Lookalike(String, &'static str),
    /// A registered claim is not of the type that RFC 7519 gives it.
    #[error("the claim {name:?} must be {wanted} (RFC 7519, section {section})")]
    Type {
        /// The claim.
        name: &'static str,
        /// What it must be.
        wanted: &'static str,
        /// Where that is said.
        section: &'static str,
    },
}

impl<'a> CallerClaims<'a> {
    /// Checks the claims.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong.
    pub fn parse(json: &'a RawValue) -> Result<Self, ClaimsError> {
        let text = json.get().trim();
        let inner = text
            .strip_prefix('{')
            .and_then(|text| text.strip_suffix('}'))
            .ok_or_else(|| ClaimsError::NotAnObject("it is something else".into()))?;
        check_unambiguous(text)?;
        let members = Members::deserialize(&mut serde_json::Deserializer::from_str(text))
            .map_err(|error| ClaimsError::NotAnObject(error.to_string()))?
            .0;
        let claims = Self { inner: inner.trim(), members };
        claims.check_registered()?;
        Ok(claims)
    }

    /// What the caller says of a claim.
    #[must_use]
    pub fn claim(&self, name: &str) -> Claim {
        let is_like = |(member, _): &(Cow<'_, str>, _)| folded(member) == folded(name);
        match self.value(name) {
            Some(value) => Claim::Value(value),
            None if self.members.iter().any(is_like) => Claim::Lookalike,
            None => Claim::Absent,
        }
    }

    /// The value of a claim.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<Value> {
        self.raw(name).and_then(|raw| serde_json::from_str(raw.get()).ok())
    }

    /// `sub`, if there is one.
    #[must_use]
    pub fn subject(&self) -> Option<String> {
        self.value("sub").and_then(|sub| sub.as_str().map(str::to_owned))
    }

    /// The audiences that the caller named; `None` if it gave no `aud`.
    #[must_use]
    pub fn audiences(&self) -> Option<Vec<String>> {
        match self.value("aud")? {
            Value::String(one) => Some(vec![one]),
            Value::Array(many) => {
                Some(many.iter().filter_map(|one| one.as_str().map(str::to_owned)).collect())
            }
            _ => None,
        }
    }

    /// The payload of the token: what the daemon adds, then the caller's own bytes.
    #[must_use]
    pub fn payload(&self, added: Added<'_>) -> Vec<u8> {
        let mut payload = format!(
            r#"{{"iss":{},"iat":{},"exp":{},"jti":{}"#,
            Value::from(added.issuer),
            added.issued.as_secs(),
            added.expires.as_secs(),
            Value::from(added.id),
        );
        match added.audiences {
            _ if self.raw("aud").is_some() => {}
            [] => {}
            [one] => payload.extend([r#","aud":"#, &Value::from(one.as_str()).to_string()]),
            many => payload.extend([r#","aud":"#, &Value::from(many).to_string()]),
        }
        for (name, value) in added.forced.iter().filter(|(name, _)| self.raw(name).is_none()) {
            payload.extend([",", &Value::from(name.as_str()).to_string(), ":", &value.to_string()]);
        }
        if !self.inner.is_empty() {
            payload.push(',');
            payload.push_str(self.inner);
        }
        payload.push('}');
        payload.into_bytes()
    }

    fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, raw)| *raw)
    }

    fn check_registered(&self) -> Result<(), ClaimsError> {
        for name in REGISTERED_CLAIMS {
            let is_like = |member: &str| member != name && folded(member) == name;
            if let Some((member, _)) = self.members.iter().find(|(member, _)| is_like(member)) {
                return Err(ClaimsError::Lookalike(member.to_string(), name));
            }
        }
        if let Some(owned) = OWN_CLAIMS.into_iter().find(|name| self.raw(name).is_some()) {
            return Err(ClaimsError::Owned(owned));
        }
        let wrong = |name, wanted, section| Err(ClaimsError::Type { name, wanted, section });
        if self.value("sub").is_some_and(|sub| !sub.is_string()) {
            return wrong("sub", "a string", "4.1.2");
        }
        if self.value("nbf").is_some_and(|nbf| !nbf.is_number()) {
            return wrong("nbf", "a number", "4.1.5");
        }
        match self.value("aud") {
            None | Some(Value::String(_)) => Ok(()),
            Some(Value::Array(many)) if !many.is_empty() && many.iter().all(Value::is_string) => {
                Ok(())
            }
            Some(_) => wrong("aud", "a string or a list of at least one string", "4.1.3"),
        }
    }
}

/// The members of an object in their order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<BorrowedName<'de>>()? {
                    members.push((name.0, map.next_value()?));
                }
                Ok(Members(members))
            }
        }
        input.deserialize_map(InOrder)
    }
}

#[derive(Deserialize)]
struct BorrowedName<'a>(#[serde(borrow)] Cow<'a, str>);

/// A name as a parser sees it that does not regard case. Two characters beyond ASCII fold to ASCII
/// letters: the long s, and the sign for kelvin, whose lower case is k.
fn folded(name: &str) -> String {
    name.chars().flat_map(char::to_lowercase).map(|c| if c == 'ſ' { 's' } else { c }).collect()
}

/// Walks through all of the text and refuses duplicate names and text that is not Unicode.
fn check_unambiguous(text: &str) -> Result<(), ClaimsError> {
    let mut duplicate = None;
    let mut input = serde_json::Deserializer::from_str(text);
    match (Unambiguous { duplicate: &mut duplicate }).deserialize(&mut input) {
        Ok(()) => Ok(()),
        Err(error) => match duplicate {
            Some(name) => Err(ClaimsError::Duplicate(name)),
            None => Err(ClaimsError::NotAnObject(error.to_string())),
        },
    }
}

struct Unambiguous<'a> {
    duplicate: &'a mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Unambiguous<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, input: D) -> Result<(), D::Error> {
        input.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Unambiguous<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<(), S::Error> {
        while seq.next_element_seed(Unambiguous { duplicate: self.duplicate })?.is_some() {}
        Ok(())
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !names.insert(folded(&name)) {
                *self.duplicate = Some(name);
                return Err(M::Error::custom("duplicate name"));
            }
            map.next_value_seed(Unambiguous { duplicate: self.duplicate })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn raw(text: &str) -> Box<RawValue> {
        serde_json::from_str(text).unwrap()
    }

    fn error(text: &str) -> ClaimsError {
        CallerClaims::parse(&raw(text)).unwrap_err()
    }

    fn payload(text: &str, audiences: &[&str], forced: &[(String, Value)]) -> String {
        let raw = raw(text);
        let audiences: Vec<String> = audiences.iter().map(|&a| a.to_owned()).collect();
        let payload = CallerClaims::parse(&raw).unwrap().payload(Added {
            issuer: "https://i",
            issued: Time::from_millis(1999),
            expires: Time::from_millis(9000),
            id: "j",
            audiences: &audiences,
            forced,
        });
        String::from_utf8(payload).unwrap()
    }

    #[test]
    fn the_callers_claims_arrive_byte_for_byte() {
        let text = r#"{ "n":1.0e2, "s" : "\u00e9\/" ,"big":12345678901234567890123 }"#;
        assert_eq!(
            payload(text, &["a"], &[]),
            concat!(
                r#"{"iss":"https://i","iat":1,"exp":9,"jti":"j","aud":"a","#,
                r#""n":1.0e2, "s" : "\u00e9\/" ,"big":12345678901234567890123}"#
            )
        );
    }

    #[test]
    fn the_default_audience_counts_only_where_the_caller_named_none() {
        assert!(payload("{}", &["a", "b"], &[]).ends_with(r#","aud":["a","b"]}"#));
        assert!(payload("{}", &[], &[]).ends_with(r#""jti":"j"}"#));
        let own = payload(r#"{"aud":["x"]}"#, &["a"], &[]);
        assert!(own.ends_with(r#""jti":"j","aud":["x"]}"#), "{own}");
    }

    #[test]
    fn forced_claims_are_added_once() {
        let forced = [("tenant".to_owned(), json!({"id": 7}))];
        assert!(payload("{}", &[], &forced).ends_with(r#","tenant":{"id":7}}"#));
        let own = payload(r#"{"tenant":{"id":7}}"#, &[], &forced);
        assert_eq!(own.matches("tenant").count(), 1);
    }

    #[test]
    fn duplicate_names_are_refused_at_every_depth() {
        assert_eq!(error(r#"{"a":1,"a":2}"#), ClaimsError::Duplicate("a".into()));
        assert_eq!(error(r#"{"a":1,"\u0061":2}"#), ClaimsError::Duplicate("a".into()));
        assert_eq!(error(r#"{"a":[{"b":{"c":1,"c":1}}]}"#), ClaimsError::Duplicate("c".into()));
    }

    #[test]
    fn names_that_differ_only_in_case_are_not_told_apart() {
        for (claims, like) in [
            (r#"{"EXP":99999999999}"#, "exp"),
            (r#"{"Iss":"x"}"#, "iss"),
            (r#"{"Aud":"x"}"#, "aud"),
            (r#"{"\u017fub":"x"}"#, "sub"),
            (r#"{"NBF":1}"#, "nbf"),
        ] {
            assert!(
                matches!(error(claims), ClaimsError::Lookalike(_, of) if of == like),
                "{claims}"
            );
        }
        assert_eq!(error(r#"{"role":1,"Role":2}"#), ClaimsError::Duplicate("Role".into()));
        assert_eq!(error(r#"{"a":{"b":1,"B":2}}"#), ClaimsError::Duplicate("B".into()));
        let raw = raw(r#"{"Tenant":"t2"}"#);
        assert_eq!(CallerClaims::parse(&raw).unwrap().claim("tenant"), Claim::Lookalike);
    }

    #[test]
    fn what_the_daemon_owns_is_refused_however_it_is_spelt() {
        assert_eq!(error(r#"{"iss":"x"}"#), ClaimsError::Owned("iss"));
        assert_eq!(error(r#"{"\u0065xp":1}"#), ClaimsError::Owned("exp"));
        assert_eq!(error(r#"{"jti":null}"#), ClaimsError::Owned("jti"));
        assert_eq!(error(r#"{"iat":1}"#), ClaimsError::Owned("iat"));
    }

    #[test]
    fn registered_claims_have_the_types_of_the_rfc() {
        for wrong in [r#"{"sub":1}"#, r#"{"aud":1}"#, r#"{"aud":[]}"#, r#"{"aud":["a",1]}"#] {
            assert!(matches!(error(wrong), ClaimsError::Type { .. }), "{wrong}");
        }
        assert!(matches!(error(r#"{"nbf":"now"}"#), ClaimsError::Type { name: "nbf", .. }));
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for wrong in ["1", "[]", "\"{}\"", "null", r#"{"a":"\ud800"}"#] {
            assert!(matches!(error(wrong), ClaimsError::NotAnObject(_)), "{wrong}");
        }
    }
}
