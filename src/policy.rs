//! PURE: may this caller do this?
//!
//! Grants only add: what no grant allows is refused, and nobody is exempt, root included.

use std::collections::BTreeSet;
use std::time::Duration;

use jwksd_keystore::facts::Span;
use jwksd_keystore::id::KeysetName;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::limits::Settings;
use crate::san::San;

/// What a caller can be granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Get a token signed.
    SignToken,
    /// See keys, their states and times.
    Read,
    /// Rotate, retire keys early, and have keys sign certificates of themselves.
    Rotate,
    /// Revoke keys.
    Revoke,
    /// Take in keys to sign with.
    Import,
    /// Serve the public halves of keys that sign elsewhere.
    ImportTrust,
    /// Act on the daemon as a whole: reload, back up the store.
    Operate,
}

impl Action {
    /// The name in the configuration and the audit.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignToken => "sign-token",
            Self::Read => "read",
            Self::Rotate => "rotate",
            Self::Revoke => "revoke",
            Self::Import => "import",
            Self::ImportTrust => "import-trust",
            Self::Operate => "operate",
        }
    }
}

/// Someone who may ask for something.
#[derive(Clone, Debug, PartialEq)]
pub struct Caller {
    /// The name in the audit.
    pub name: String,
    /// How it is known.
    pub identity: Identity,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// How much it may ask for.
    pub limits: Settings,
}

/// How a caller is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// The user of the process at the other end of a Unix socket.
    Uid(u32),
    /// The group of that process.
    Gid(u32),
    /// The SHA-256 digest of a bearer token.
    TokenSha256([u8; 32]),
    /// A name in the client certificate.
    San(San),
}

/// What a caller may do in which key sets.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// Where.
    pub keysets: KeysetPattern,
    /// What.
    pub actions: BTreeSet<Action>,
    /// The audiences that a token may name; `None` for any, and for none.
    pub audiences: Option<Vec<String>>,
    /// The longest lifetime of a token; `None` for that of the key set.
    pub max_ttl: Option<Duration>,
    /// The `typ` headers; `None` for those of the key set.
    pub token_types: Option<Vec<String>>,
    /// Claims that every token has.
    pub force: Vec<(String, Value)>,
}

/// A key set's name, or the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysetPattern {
    /// This one.
    Exactly(KeysetName),
    /// All whose name begins so; all of them if it is empty.
    Prefix(String),
}

impl KeysetPattern {
    /// Whether the key set is meant.
    #[must_use]
    pub fn matches(&self, keyset: &KeysetName) -> bool {
        match self {
            Self::Exactly(name) => name == keyset,
            Self::Prefix(prefix) => keyset.as_str().starts_with(prefix),
        }
    }

    /// Whether every key set is meant.
    #[must_use]
    pub fn is_all(&self) -> bool {
        matches!(self, Self::Prefix(prefix) if prefix.is_empty())
    }
}

/// A token as it would be signed.
#[derive(Clone, Copy)]
pub struct FinalToken<'a> {
    /// Its audiences, the key set's own included where the caller named none.
    pub audiences: &'a [String],
    /// Its lifetime.
    pub ttl: Duration,
    /// Its `typ`.
    pub typ: &'a str,
    /// Its other claims by name.
    pub claims: &'a dyn Fn(&str) -> Claim,
}

/// What a caller says of a claim.
#[derive(Clone, Debug, PartialEq)]
pub enum Claim {
    /// Nothing.
    Absent,
    /// This.
    Value(Value),
    /// Something under a name that a careless parser takes for the claim's.
    Lookalike,
}

/// Why something was refused. Says nothing that the caller did not ask about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No grant names `operate` on all key sets.
    #[error("no grant of this caller allows operate, which takes keyset = \"*\"")]
    NotOperating,
    /// No grant names this action on this key set.
    #[error("no grant of this caller allows {} on this key set, if there is one", action.name())]
    NoGrant {
        /// What was asked.
        action: Action,
    },
    /// An audience is not in the grant.
    #[error("the grant does not allow the audience {0:?}")]
    Audience(String),
    /// The grant names audiences and the token none.
    #[error("the grant names audiences, so the token must name one of them")]
    NoAudience,
    /// The lifetime is longer than the grant's.
    #[error("the grant allows a ttl of at most {}", Span(*max))]
    Ttl {
        /// The longest.
        max: Duration,
    },
    /// The `typ` is not in the grant.
    #[error("the grant does not allow the typ {0:?}")]
    TokenType(String),
    /// A claim differs from what the grant forces.
    #[error("the grant forces another value of the claim {0:?}")]
    ForcedClaim(String),
}

impl Caller {
    /// Whether the caller may do `action` on `keyset`.
    ///
    /// # Errors
    ///
    /// [`Refusal::NoGrant`].
    pub fn may(&self, action: Action, keyset: &KeysetName) -> Result<(), Refusal> {
        let allowed = |grant: &Grant| grant.allows(action, keyset);
        if self.grants.iter().any(allowed) { Ok(()) } else { Err(Refusal::NoGrant { action }) }
    }

    /// Whether the caller may act on the daemon as a whole.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotOperating`].
    pub fn may_operate(&self) -> Result<(), Refusal> {
        let action = Action::Operate;
        let allowed = |grant: &Grant| grant.actions.contains(&action) && grant.keysets.is_all();
        if self.grants.iter().any(allowed) { Ok(()) } else { Err(Refusal::NotOperating) }
    }

    /// The first grant that allows `token` in full.
    ///
    /// # Errors
    ///
    /// Why the first grant for signing in this key set does not allow it.
    pub fn may_sign(&self, keyset: &KeysetName, token: FinalToken<'_>) -> Result<&Grant, Refusal> {
        let mut refusal = None;
        for grant in self.grants.iter().filter(|grant| grant.allows(Action::SignToken, keyset)) {
            match grant.admits(token) {
                Ok(()) => return Ok(grant),
                Err(reason) => refusal = refusal.or(Some(reason)),
            }
        }
        Err(refusal.unwrap_or(Refusal::NoGrant { action: Action::SignToken }))
    }
}

impl Grant {
    fn allows(&self, action: Action, keyset: &KeysetName) -> bool {
        self.actions.contains(&action) && self.keysets.matches(keyset)
    }

    fn admits(&self, token: FinalToken<'_>) -> Result<(), Refusal> {
        self.admits_audiences(token.audiences)?;
        if let Some(max) = self.max_ttl.filter(|&max| token.ttl > max) {
            return Err(Refusal::Ttl { max });
        }
        let allowed = |types: &Vec<String>| types.iter().any(|typ| typ == token.typ);
        if !self.token_types.as_ref().is_none_or(allowed) {
            return Err(Refusal::TokenType(token.typ.to_owned()));
        }
        for (name, forced) in &self.force {
            match (token.claims)(name) {
                Claim::Absent => {}
                Claim::Value(value) if value == *forced => {}
                Claim::Value(_) | Claim::Lookalike => {
                    return Err(Refusal::ForcedClaim(name.clone()));
                }
            }
        }
        Ok(())
    }

    fn admits_audiences(&self, audiences: &[String]) -> Result<(), Refusal> {
        let Some(allowed) = &self.audiences else {
            return Ok(());
        };
        if audiences.is_empty() {
            return Err(Refusal::NoAudience);
        }
        match audiences.iter().find(|audience| !allowed.contains(audience)) {
            Some(other) => Err(Refusal::Audience(other.clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn grant(keysets: KeysetPattern, actions: &[Action]) -> Grant {
        Grant {
            keysets,
            actions: actions.iter().copied().collect(),
            audiences: None,
            max_ttl: None,
            token_types: None,
            force: Vec::new(),
        }
    }

    fn exactly(name: &str) -> KeysetPattern {
        KeysetPattern::Exactly(name.parse().unwrap())
    }

    fn caller(grants: Vec<Grant>) -> Caller {
        let limits = Settings::default();
        Caller { name: "c".into(), identity: Identity::Uid(1), grants, limits }
    }

    fn sign(
        caller: &Caller,
        audiences: &[&str],
        ttl: u64,
        typ: &str,
        claims: &Value,
    ) -> Result<(), Refusal> {
        let audiences: Vec<String> = audiences.iter().map(|&a| a.to_owned()).collect();
        let token = FinalToken {
            audiences: &audiences,
            ttl: Duration::from_secs(ttl),
            typ,
            claims: &|name| claims.get(name).cloned().map_or(Claim::Absent, Claim::Value),
        };
        caller.may_sign(&"shop".parse().unwrap(), token).map(|_| ())
    }

    #[test]
    fn nothing_is_allowed_without_a_grant_for_it() {
        let shop: KeysetName = "shop".parse().unwrap();
        let refused = Err(Refusal::NoGrant { action: Action::Revoke });
        assert_eq!(caller(vec![]).may(Action::Revoke, &shop), refused);
        let signer = caller(vec![grant(exactly("shop"), &[Action::SignToken])]);
        assert_eq!(signer.may(Action::Revoke, &shop), refused);
        assert_eq!(signer.may(Action::SignToken, &shop), Ok(()));
        assert!(signer.may(Action::SignToken, &"shop2".parse().unwrap()).is_err());
    }

    #[test]
    fn an_action_is_called_as_the_configuration_calls_it() {
        let actions = [
            (Action::SignToken, "sign-token"),
            (Action::Read, "read"),
            (Action::Rotate, "rotate"),
            (Action::Revoke, "revoke"),
            (Action::Import, "import"),
            (Action::ImportTrust, "import-trust"),
            (Action::Operate, "operate"),
        ];
        for (action, name) in actions {
            assert_eq!((action.name(), serde_json::to_value(action).unwrap()), (name, name.into()));
        }
    }

    #[test]
    fn a_prefix_covers_the_names_that_begin_with_it() {
        let tenants = KeysetPattern::Prefix("tenant-".into());
        assert!(tenants.matches(&"tenant-1".parse().unwrap()));
        assert!(!tenants.matches(&"tenan".parse().unwrap()));
        assert!(KeysetPattern::Prefix(String::new()).is_all());
    }

    #[test]
    fn operate_needs_a_grant_on_all_key_sets() {
        let narrow = caller(vec![grant(exactly("shop"), &[Action::Operate])]);
        let refusal = narrow.may_operate().unwrap_err().to_string();
        assert_eq!(refusal, "no grant of this caller allows operate, which takes keyset = \"*\"");
        let all = KeysetPattern::Prefix(String::new());
        assert_eq!(caller(vec![grant(all, &[Action::Operate])]).may_operate(), Ok(()));
    }

    #[test]
    fn every_audience_must_be_allowed_and_one_be_named() {
        let mut narrow = grant(exactly("shop"), &[Action::SignToken]);
        narrow.audiences = Some(vec!["a".into(), "b".into()]);
        let caller = caller(vec![narrow]);
        let none = json!({});
        assert_eq!(sign(&caller, &["a", "b"], 1, "JWT", &none), Ok(()));
        let refused = Err(Refusal::Audience("c".into()));
        assert_eq!(sign(&caller, &["a", "c"], 1, "JWT", &none), refused);
        assert_eq!(sign(&caller, &[], 1, "JWT", &none), Err(Refusal::NoAudience));
    }

    #[test]
    fn lifetime_type_and_forced_claims_are_checked() {
        let mut narrow = grant(exactly("shop"), &[Action::SignToken]);
        narrow.max_ttl = Some(Duration::from_mins(1));
        narrow.token_types = Some(vec!["at+jwt".into()]);
        narrow.force = vec![("tenant".into(), json!(7))];
        let caller = caller(vec![narrow]);
        let sign = |ttl, typ, claims: Value| sign(&caller, &[], ttl, typ, &claims);
        assert_eq!(sign(60, "at+jwt", json!({})), Ok(()));
        assert_eq!(sign(60, "at+jwt", json!({"tenant": 7})), Ok(()));
        assert_eq!(
            sign(61, "at+jwt", json!({})),
            Err(Refusal::Ttl { max: Duration::from_mins(1) })
        );
        assert_eq!(sign(60, "JWT", json!({})), Err(Refusal::TokenType("JWT".into())));
        let refused = Err(Refusal::ForcedClaim("tenant".into()));
        assert_eq!(sign(60, "at+jwt", json!({"tenant": "7"})), refused);
    }

    #[test]
    fn one_grant_must_allow_the_token_in_full() {
        let mut short = grant(exactly("shop"), &[Action::SignToken]);
        short.max_ttl = Some(Duration::from_mins(1));
        let mut other = grant(exactly("shop"), &[Action::SignToken]);
        other.audiences = Some(vec!["b".into()]);
        let caller = caller(vec![short, other]);
        let none = json!({});
        assert_eq!(sign(&caller, &["a"], 60, "JWT", &none), Ok(()));
        assert_eq!(sign(&caller, &["b"], 90, "JWT", &none), Ok(()));
        assert!(sign(&caller, &["a"], 90, "JWT", &none).is_err());
    }
}
