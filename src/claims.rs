//! PURE: the claims of a token, from what the caller gave and what the daemon adds.
//!
//! The caller's claims arrive in the token byte for byte. So everything that two JSON parsers could
//! read differently is refused: duplicate names at any depth, and text that is not Unicode.

mod json;

use jwksd_keystore::time::Time;
use serde_json::Value;
use serde_json::value::RawValue;

use self::json::{Json, Members, Unfit, are_alike};
use crate::json::Object;
use crate::policy::Claim;

/// Claims that only the daemon sets.
pub const OWN_CLAIMS: [&str; 4] = ["iss", "iat", "exp", "jti"];

/// Claims that verifiers act on (RFC 7519, section 4.1).
const REGISTERED_CLAIMS: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// For what the daemon adds, room is made ahead. What takes more still fits.
const ROOM_FOR_OURS: usize = 256;

/// The claims that a caller gave: a JSON object, checked and kept as it was written.
#[derive(Debug)]
pub struct CallerClaims<'a> {
    /// What is between the braces.
    inner: &'a str,
    members: Members<'a>,
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
            .ok_or_else(not_an_object)?;
        let members = match Json::read(text) {
            Ok(Json::Object(members)) => members,
            Ok(_) => return Err(not_an_object()),
            Err(Unfit::Duplicate(name)) => return Err(ClaimsError::Duplicate(name)),
            Err(Unfit::NotJson(error)) => return Err(ClaimsError::NotAnObject(error.to_string())),
        };
        let claims = Self { inner: inner.trim(), members };
        claims.check_registered()?;
        Ok(claims)
    }

    /// What the caller says of a claim.
    #[must_use]
    pub fn claim(&self, name: &str) -> Claim {
        match self.member(name) {
            Some(value) => Claim::Value(Value::from(value)),
            None if self.members.iter().any(|(member, _)| are_alike(member, name)) => {
                Claim::Lookalike
            }
            None => Claim::Absent,
        }
    }

    /// `sub`, if there is one.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.member("sub").and_then(Json::as_text)
    }

    /// The audiences that the caller named; `None` if it gave no `aud`.
    #[must_use]
    pub fn audiences(&self) -> Option<Vec<String>> {
        let audiences = match self.member("aud")? {
            Json::List(many) => many.as_slice(),
            one => std::slice::from_ref(one),
        };
        Some(audiences.iter().filter_map(Json::as_text).map(str::to_owned).collect())
    }

    /// The payload of the token: what the daemon adds, then the caller's own bytes.
    #[must_use]
    pub fn payload(&self, added: Added<'_>) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.inner.len() + ROOM_FOR_OURS);
        let mut object = Object::begin(&mut payload);
        object.text("iss", added.issuer);
        object.number("iat", added.issued.as_secs());
        object.number("exp", added.expires.as_secs());
        object.text("jti", added.id);
        match added.audiences {
            _ if self.member("aud").is_some() => {}
            [] => {}
            [one] => object.text("aud", one),
            many => object.texts("aud", many.iter().map(String::as_str)),
        }
        for (name, value) in added.forced.iter().filter(|(name, _)| self.member(name).is_none()) {
            // What was JSON is JSON again.
            let _ = object.json(name, value);
        }
        object.members(self.inner);
        object.end();
        payload
    }

    fn member(&self, name: &str) -> Option<&Json<'a>> {
        self.members.iter().find(|(member, _)| member == name).map(|(_, value)| value)
    }

    fn check_registered(&self) -> Result<(), ClaimsError> {
        for name in REGISTERED_CLAIMS {
            let is_like = |member: &str| member != name && are_alike(member, name);
            if let Some((member, _)) = self.members.iter().find(|(member, _)| is_like(member)) {
                return Err(ClaimsError::Lookalike(member.to_string(), name));
            }
        }
        if let Some(owned) = OWN_CLAIMS.into_iter().find(|name| self.member(name).is_some()) {
            return Err(ClaimsError::Owned(owned));
        }
        let wrong = |name, wanted, section| Err(ClaimsError::Type { name, wanted, section });
        if self.member("sub").is_some_and(|sub| sub.as_text().is_none()) {
            return wrong("sub", "a string", "4.1.2");
        }
        if self.member("nbf").is_some_and(|nbf| !matches!(nbf, Json::Number(_))) {
            return wrong("nbf", "a number", "4.1.5");
        }
        let is_text = |json: &Json<'_>| json.as_text().is_some();
        match self.member("aud") {
            None | Some(Json::Text(_)) => Ok(()),
            Some(Json::List(many)) if !many.is_empty() && many.iter().all(is_text) => Ok(()),
            Some(_) => wrong("aud", "a string or a list of at least one string", "4.1.3"),
        }
    }
}

fn not_an_object() -> ClaimsError {
    ClaimsError::NotAnObject("it is something else".into())
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
