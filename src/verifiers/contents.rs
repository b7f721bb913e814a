//! PURE: what verifiers cannot live with in a JWK Set or a token, whatever they cache.

use std::fmt;

use serde::Serialize;

use jwksd_keystore::facts::KeyTypes;

use super::{AtJwt, Client, KeyKind, Situation};

/// The `typ` that some verifiers refuse, and others require.
const AT_JWT: &str = "at+jwt";

/// What a verifier cannot live with; the worst first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Choke {
    /// The keys: it refuses the whole set.
    Keys {
        /// Which.
        kind: KeyKind,
    },
    /// Keys that may stand in the set one day: it will refuse the whole set.
    MixedKeys {
        /// Which.
        kinds: Vec<KeyKind>,
    },
    /// A set of this length.
    Bytes {
        /// What it reads at most.
        most: usize,
    },
    /// As many keys whose tokens are alive at once: it fetches over and over, and may refuse some.
    LiveKids {
        /// How many it keeps.
        most: u32,
    },
    /// Tokens with `typ` `at+jwt`.
    AtJwt,
    /// Tokens with another `typ`.
    OtherThanAtJwt,
}

/// All that a verifier cannot live with.
#[must_use]
pub fn chokes(client: &Client, situation: &Situation<'_>) -> Vec<Choke> {
    let own = KeyKind::of(situation.facts.algorithm);
    let mut chokes = Vec::new();
    if client.chokes_on.contains(&own) {
        chokes.push(Choke::Keys { kind: own });
    }
    let others = client.chokes_on.iter().copied().filter(|kind| *kind != own);
    let kinds: Vec<KeyKind> = others.collect();
    if situation.facts.key_types == KeyTypes::Mixed && !kinds.is_empty() {
        chokes.push(Choke::MixedKeys { kinds });
    }
    if let Some(most) = client.body_limit.filter(|most| situation.bytes > *most) {
        chokes.push(Choke::Bytes { most });
    }
    let most_keys = client.cache.as_ref().and_then(|cache| cache.most_keys);
    if let Some(most) = most_keys.filter(|most| situation.live_kids > *most) {
        chokes.push(Choke::LiveKids { most });
    }
    match client.at_jwt {
        AtJwt::Refuses if situation.token_types.iter().any(|typ| typ == AT_JWT) => {
            chokes.push(Choke::AtJwt);
        }
        AtJwt::Requires if situation.token_types.iter().any(|typ| typ != AT_JWT) => {
            chokes.push(Choke::OtherThanAtJwt);
        }
        AtJwt::Takes | AtJwt::Refuses | AtJwt::Requires => {}
    }
    chokes
}

impl fmt::Display for Choke {
    /// What happens, as in "… by jose".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keys { kind } => write!(f, "JWK Sets with {} keys are refused", kind.name()),
            Self::MixedKeys { kinds } => {
                let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                let names = names.join(" or ");
                write!(f, "JWK Sets with {names} keys, which mixed_kty allows, are refused")
            }
            Self::Bytes { most } => write!(f, "no more than {most} bytes of a JWK Set are read"),
            Self::LiveKids { most } => write!(f, "no more than {most} keys are kept"),
            Self::AtJwt => write!(f, "tokens with typ {AT_JWT} are refused"),
            Self::OtherThanAtJwt => write!(f, "only tokens with typ {AT_JWT} are taken"),
        }
    }
}

#[cfg(test)]
mod tests {
    use jwksd_keystore::algorithm::Algorithm;

    use super::super::Catalogue;
    use super::super::tests::{facts, situation};
    use super::*;

    fn told(id: &str, situation: &Situation<'_>) -> Vec<Choke> {
        chokes(Catalogue::built_in().named(id).unwrap(), situation)
    }

    #[test]
    fn nobody_chokes_on_a_few_rsa_keys() {
        let facts = facts();
        for client in Catalogue::built_in().clients {
            assert_eq!(chokes(&client, &situation(&facts)), [], "{}", client.id);
        }
    }

    #[test]
    fn keys_of_a_kind_that_a_verifier_does_not_know_choke_it() {
        let mut facts = facts();
        facts.algorithm = Algorithm::EdDsa;
        let kind = KeyKind::Ed25519;
        assert_eq!(told("node-jose", &situation(&facts)), [Choke::Keys { kind }]);
        assert_eq!(told("python-jose", &situation(&facts)), [Choke::Keys { kind }]);
        assert_eq!(told("jwcrypto", &situation(&facts)), []);
    }

    #[test]
    fn mixed_kty_chokes_those_who_will_not_know_the_other_keys() {
        let mut facts = facts();
        facts.key_types = KeyTypes::Mixed;
        let kinds = vec![KeyKind::Ed25519, KeyKind::MlDsa];
        assert_eq!(told("node-jose", &situation(&facts)), [Choke::MixedKeys { kinds }]);
        facts.algorithm = Algorithm::MlDsa65;
        let (kind, kinds) = (KeyKind::MlDsa, vec![KeyKind::Ed25519]);
        let expected = [Choke::Keys { kind }, Choke::MixedKeys { kinds }];
        assert_eq!(told("node-jose", &situation(&facts)), expected);
    }

    #[test]
    fn a_set_may_be_as_long_as_a_verifier_reads_and_no_longer() {
        let facts = facts();
        let of = |bytes| Situation { bytes, ..situation(&facts) };
        assert_eq!(told("nimbus", &of(51_200)), []);
        assert_eq!(told("nimbus", &of(51_201)), [Choke::Bytes { most: 51_200 }]);
        assert_eq!(told("jose", &of(51_201)), []);
    }

    #[test]
    fn as_many_keys_may_have_live_tokens_as_a_verifier_keeps_and_no_more() {
        let facts = facts();
        let of = |live_kids| Situation { live_kids, ..situation(&facts) };
        assert_eq!(told("okta-jwt-verifier-node", &of(3)), []);
        assert_eq!(told("okta-jwt-verifier-node", &of(4)), [Choke::LiveKids { most: 3 }]);
        assert_eq!(told("express-jwt", &of(5)), []);
        assert_eq!(told("express-jwt", &of(6)), [Choke::LiveKids { most: 5 }]);
    }

    #[test]
    fn the_typ_of_tokens_is_wrong_for_some() {
        let facts = facts();
        let both = ["JWT".to_owned(), "at+jwt".to_owned()];
        let of = |token_types| Situation { token_types, ..situation(&facts) };
        assert_eq!(told("hono", &of(&both)), [Choke::AtJwt]);
        assert_eq!(told("hono", &of(&both[..1])), []);
        assert_eq!(told("oauth4webapi", &of(&both)), [Choke::OtherThanAtJwt]);
        assert_eq!(told("oauth4webapi", &of(&both[1..])), []);
    }
}
