//! Every problem with an example of how it is told.

use serde_json::{Value, json};

use crate::api::schema::KID;
use crate::api::{Code, Problem};

/// The code as it is written in a problem.
pub(in crate::http) fn name(code: Code) -> String {
    match json!(code) {
        Value::String(name) => name,
        other => other.to_string(),
    }
}

/// A problem with this code.
pub(super) fn example(code: Code) -> Value {
    let active = match code {
        Code::ExpectActiveRequired | Code::ActiveChanged => KID.parse().ok(),
        _ => None,
    };
    let request_id = match code {
        // Told before anyone was recognised.
        Code::NotFound
        | Code::MethodNotAllowed
        | Code::UnknownCaller
        | Code::WrongHost
        | Code::CrossSite => None,
        _ => Some("26596b9df5f2b0f8-12".to_owned()),
    };
    let retry_after = match code {
        Code::RateLimited | Code::TooManyAtOnce => Some(1),
        _ => None,
    };
    json!(Problem { request_id, active, retry_after, ..Problem::new(code, detail(code)) })
}

fn detail(code: Code) -> &'static str {
    match code {
        Code::NotFound => "see the documentation for the paths there are",
        Code::MethodNotAllowed => "this path takes POST",
        Code::InvalidRequest => "the body: missing field `ttl` at line 1 column 13",
        Code::BodyTooLarge => "the limit is 65536 bytes",
        Code::UnsupportedMediaType => {
            "send it with Content-Type: application/json (curl: --json instead of -d)"
        }
        Code::InvalidClaims => "the daemon sets \"iss\" itself",
        Code::InvalidTtl => "ttl 2h is longer than the 1h that the key set allows",
        Code::InvalidTyp => "typ \"secevent+jwt\" is not one of JWT, at+jwt",
        Code::InvalidKey => {
            "the RSA key has 1024 bits, which is too weak; 2048, 3072 and 4096 are taken"
        }
        Code::PassphraseRequired => "the file is encrypted, and no passphrase was given",
        Code::WrongPassphrase => "the passphrase is wrong, or the file is damaged",
        Code::UnknownCaller => "the bearer token is not known",
        Code::NotAllowed => {
            "no grant of this caller allows sign-token on this key set, if there is one"
        }
        Code::WrongHost => {
            "\"jwksd.example.com\" is no name of the admin listener; if it should be one, put it \
             among the hosts of [admin] in the configuration, and reload"
        }
        Code::CrossSite => "a page of another site makes this browser ask; nothing was looked at",
        Code::UnknownKeyset => "there is no key set other",
        Code::UnknownKey => "there is no key nobody in the key set",
        Code::NotConfigured => {
            "the key set old is not in the configuration; it only serves its last keys"
        }
        Code::NoActiveKey => "the key set has no active key",
        Code::ExpectActiveRequired => {
            "give expect_active, the kid that signs now: \
             kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
        }
        Code::ActiveChanged => {
            "another key is active than the one expected: \
             kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k is"
        }
        Code::TooEarly => "verifiers may not have seen the standby before 2026-11-23T03:06:00Z",
        Code::WrongState => "the key is active: rotate first, or revoke it",
        Code::KeyUsed => "the key is in the key set already, as main-2026",
        Code::StandbyExported => {
            "the standby was exported at 2026-11-22T03:00:00Z, so verifiers may have it in place and \
             not its replacement: if they do not, force it (`--force`)"
        }
        Code::JwkSetFull => {
            "the JWK Set would have 51900 bytes, room for the next two keys included, and some \
             verifiers read only 51200: try again when keys have retired"
        }
        Code::NotDurable => {
            "the key is out of the JWK Set and signs no more while this process runs; should the \
             daemon stop before the store works again, revoke it anew"
        }
        Code::NotRecorded => "the revocation is durable, but the audit could not record it",
        Code::RevocationPending => {
            "a revocation of this key set is not durable yet and comes first"
        }
        Code::StoreUnavailable => "the store is not available; the daemon's log has the cause",
        Code::AuditUnavailable => {
            "the audit is not available, so nothing was done; the daemon's log has the cause"
        }
        Code::InvalidConfig => "keysets.default.rotate: not a schedule",
        Code::Busy => "16 batches are waiting already; try again in a moment",
        Code::RateLimited => "over the limit of 10000 requests in a second, a batch of n being n",
        Code::TooManyAtOnce => "256 requests of this caller are under way, as many as may be",
        Code::Stopping => "the daemon is stopping",
        Code::Internal => "the daemon failed; its log has the cause",
    }
}
