//! PURE: which verifiers cannot live with which algorithm, as measured with 53 of them.
//!
//! Each was given a good RS256 key with a key of the algorithm beside it in the JWK Set, and then
//! refused good RS256 tokens too: it gives up the whole set. Where a kind of key was not measured
//! or harmed nobody, nothing is said.

use jwksd_keystore::algorithm::{Algorithm, Curve, Family};

/// How many verifiers were measured.
pub const MEASURED: usize = 53;

/// A kind of key, and who refuses a whole JWK Set that has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of key, as people call it.
    pub key: &'static str,
    /// Names and, where it matters, versions.
    pub verifiers: &'static [&'static str],
}

const EC: Refusal =
    Refusal { key: "EC", verifiers: &["python-jose", "auth0-python", "fastapi-azure-auth"] };

const P521: Refusal = Refusal {
    key: "P-521",
    verifiers: &[
        "python-jose",
        "auth0-python",
        "fastapi-azure-auth",
        "jwt-authorizer",
        "oidc-jwt-validator",
        "jsonwebtoken 9 (Rust)",
    ],
};

const ED25519: Refusal = Refusal {
    key: "Ed25519",
    verifiers: &["node-jose", "python-jose", "auth0-python", "fastapi-azure-auth"],
};

const ML_DSA: Refusal = Refusal {
    key: "ML-DSA",
    verifiers: &[
        "node-jose",
        "python-jose",
        "auth0-python",
        "drf-oidc-auth",
        "fastapi-azure-auth",
        "jwskate",
        "jwt-authorizer",
        "jwks_client_rs",
        "oidc-jwt-validator",
        "jsonwebtoken 9 (Rust)",
        "jsonwebtoken 10 (Rust)",
        "axum-jwt-auth",
        "go-oidc 2",
    ],
};

/// Who refuses a set with keys for `algorithm`; `None` where nobody is known to.
#[must_use]
pub fn refusal(algorithm: Algorithm) -> Option<Refusal> {
    match algorithm.family() {
        Family::Rsa(..) => None,
        Family::Ec(Curve::P256 | Curve::P384) => Some(EC),
        Family::Ec(Curve::P521) => Some(P521),
        Family::Ed25519 => Some(ED25519),
        Family::MlDsa(_) => Some(ML_DSA),
    }
}

#[cfg(test)]
mod tests {
    use jwksd_keystore::algorithm::RsaBits;

    use super::*;

    #[test]
    fn nobody_refuses_rsa_and_thirteen_refuse_ml_dsa() {
        let count = |algorithm| refusal(algorithm).map(|refusal| refusal.verifiers.len());
        assert_eq!(count(Algorithm::Ps512(RsaBits::B4096)), None);
        assert_eq!(count(Algorithm::Es256), Some(3));
        assert_eq!(count(Algorithm::Es512), Some(6));
        assert_eq!(count(Algorithm::EdDsa), Some(4));
        for algorithm in [Algorithm::MlDsa44, Algorithm::MlDsa65, Algorithm::MlDsa87] {
            assert_eq!(count(algorithm), Some(13));
        }
    }
}
