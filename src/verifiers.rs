//! PURE: the verifiers that are known, and what each does when keys change.
//!
//! What was measured and read is data, in `verifiers/catalogue.toml`; the rules make of it, for the
//! facts of a key set, who refuses good tokens after a rotation and who trusts a revoked key, and
//! for how long. A rule tells the worst that can happen, not what mostly does.

mod catalogue;
mod client;
mod contents;
mod effects;
mod lasting;
#[cfg(test)]
mod measurements;
mod revocation;
mod rotation;
#[cfg(test)]
mod simulation;

use std::time::Duration;

use jwksd_keystore::algorithm::Algorithm;
use jwksd_keystore::facts::Facts;

pub use catalogue::{ALL, Catalogue, UnknownVerifier};
pub use client::{
    AtJwt, Cache, Client, Keeps, KeyKind, Measured, OldKid, OnFailure, Platform, Seconds, Source,
    Trusts, Unit, UnknownKid,
};
pub use contents::{Choke, chokes};
pub use effects::{Against, Changes, Effects, Lastings, Mend, effects};
pub use lasting::{Lasting, grouped};
pub use revocation::{Trust, trusting, trusts};
pub use rotation::{least_verifier_cache, refuses};

/// How a JWK Set gets to a verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// From jwksd.
    Direct,
    /// Through a cache that others share, such as a CDN: a copy may be `jwks_max_age` old.
    SharedCache,
}

impl Route {
    /// How old a set may be when it gets there.
    #[must_use]
    pub const fn stale(self, facts: &Facts) -> Duration {
        match self {
            Self::Direct => Duration::ZERO,
            Self::SharedCache => facts.jwks_max_age,
        }
    }
}

/// What there is to know of a key set.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// What its operator states.
    pub facts: &'a Facts,
    /// The smallest gap of its schedule, where it has one.
    pub smallest_gap: Option<Duration>,
    /// How many keys can have live tokens at once.
    pub live_kids: u32,
    /// The most bytes of its JWK Set.
    pub bytes: usize,
    /// The `typ` headers that callers may ask for.
    pub token_types: &'a [String],
}

/// Who refuses a whole JWK Set with keys for `algorithm`.
pub fn choking<'a>(
    clients: impl IntoIterator<Item = &'a Client>,
    algorithm: Algorithm,
) -> Vec<&'a Client> {
    let kind = KeyKind::of(algorithm);
    clients.into_iter().filter(|client| client.chokes_on.contains(&kind)).collect()
}

#[cfg(test)]
mod tests {
    use jwksd_keystore::algorithm::RsaBits;
    use jwksd_keystore::facts::{FirstKey, KeyTypes};
    use jwksd_keystore::schedule::Rotation;

    use super::*;

    pub(super) fn facts() -> Facts {
        Facts {
            algorithm: Algorithm::Rs256(RsaBits::B2048),
            rotate: Rotation::Manual,
            jwks_max_age: Duration::from_mins(5),
            verifier_cache: Duration::from_hours(24),
            max_token_ttl: Duration::from_hours(1),
            clock_skew: Duration::from_mins(1),
            first_key: FirstKey::Generate,
            key_types: KeyTypes::One,
        }
    }

    pub(super) fn situation(facts: &Facts) -> Situation<'_> {
        Situation { facts, smallest_gap: None, live_kids: 2, bytes: 2_000, token_types: &[] }
    }

    pub(super) fn cache(keeps: Keeps, unknown_kid: UnknownKid) -> Cache {
        Cache {
            keeps,
            unit: Unit::Set,
            unknown_kid,
            trusts: None,
            results: None,
            on_failure: OnFailure::Expires,
            most_keys: None,
            conditional: None,
        }
    }

    #[test]
    fn nobody_chokes_on_rsa_and_fourteen_on_ml_dsa() {
        let clients = Catalogue::built_in().clients;
        let count = |algorithm| choking(&clients, algorithm).len();
        assert_eq!(count(Algorithm::Ps512(RsaBits::B4096)), 0);
        assert_eq!(count(Algorithm::Es256), 3);
        assert_eq!(count(Algorithm::Es512), 6);
        assert_eq!(count(Algorithm::EdDsa), 4);
        for algorithm in [Algorithm::MlDsa44, Algorithm::MlDsa65, Algorithm::MlDsa87] {
            assert_eq!(count(algorithm), 14);
        }
    }
}
