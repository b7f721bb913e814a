//! Errors as RFC 9457 problem details with a stable `code`.

use jwksd_keystore::id::KeyId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::schema;

/// What a program can act on. Codes are never renamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// No such path.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body is not the JSON that is wanted.
    InvalidRequest,
    /// The body is larger than the path takes, or a batch has too many requests.
    BodyTooLarge,
    /// The body is said to be something else than JSON.
    UnsupportedMediaType,
    /// The claims cannot be signed.
    InvalidClaims,
    /// The lifetime is not one, or longer than the key set allows.
    InvalidTtl,
    /// The key set does not allow this `typ`.
    InvalidTyp,
    /// The key file holds no key, a weak or broken one, or one that the key set cannot have.
    InvalidKey,
    /// The key file is encrypted, and no passphrase came with it.
    PassphraseRequired,
    /// The passphrase does not open the key file.
    WrongPassphrase,
    /// Nobody known.
    UnknownCaller,
    /// Known, but not allowed.
    NotAllowed,
    /// The admin listener has another name.
    WrongHost,
    /// A page of another site asks.
    CrossSite,
    /// No such key set.
    UnknownKeyset,
    /// No such key in the set.
    UnknownKey,
    /// The key set is missing from the configuration and only serves its last keys.
    NotConfigured,
    /// The key set has no active key.
    NoActiveKey,
    /// `expect_active` is missing.
    ExpectActiveRequired,
    /// Another key is active than the one expected.
    ActiveChanged,
    /// Verifiers may not have seen the standby at that time.
    TooEarly,
    /// The key is in a state that does not allow it.
    WrongState,
    /// The key, or another of its kid, is or was in the key set.
    KeyUsed,
    /// The standby was given out to verifiers that fetch nothing, so only force replaces it.
    StandbyExported,
    /// With one key more, some verifiers would not read the JWK Set.
    JwkSetFull,
    /// It took effect in memory, is not durable yet, and is being retried.
    NotDurable,
    /// It is durable, but the audit could not record it.
    NotRecorded,
    /// A revocation of this key set is not durable yet and comes first.
    RevocationPending,
    /// The store could not do it; nothing was changed.
    StoreUnavailable,
    /// The audit could not record it, so it was not done.
    AuditUnavailable,
    /// The configuration on disk is wrong; the old one stays in force.
    InvalidConfig,
    /// As many batches are waiting as may. To be tried again after `Retry-After`.
    Busy,
    /// The caller asks for more in a second than it may. To be tried again after `Retry-After`.
    RateLimited,
    /// The caller has as much under way as it may. To be tried again after `Retry-After`.
    TooManyAtOnce,
    /// The daemon is stopping.
    Stopping,
    /// A fault of the daemon. The cause is in its log.
    Internal,
}

/// The body of an error: `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// What a program can act on.
    pub code: Code,
    /// What went wrong, for people.
    pub title: String,
    /// What went wrong this time, for people.
    pub detail: String,
    /// What the lines of the audit and of the log about the request are found by. Always there, but for
    /// the public listener.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The kid that signs, where that is what was missing or wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<schema::KeyId>)]
    pub active: Option<KeyId>,
    /// After how many seconds to try again, where that is known: what `Retry-After` says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem with the status that belongs to its code.
    #[must_use]
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            status: code.status(),
            code,
            title: code.title().to_owned(),
            detail: detail.into(),
            request_id: None,
            active: None,
            retry_after: None,
        }
    }

    /// The problem for people: the title too, where the detail does not say it all.
    #[must_use]
    pub fn in_one_line(&self) -> String {
        match self.code {
            Code::UnknownKeyset
            | Code::UnknownKey
            | Code::NotConfigured
            | Code::NoActiveKey
            | Code::ActiveChanged
            | Code::TooEarly
            | Code::WrongState
            | Code::InvalidKey
            | Code::PassphraseRequired
            | Code::WrongPassphrase
            | Code::KeyUsed
            | Code::StandbyExported
            | Code::JwkSetFull
            | Code::StoreUnavailable
            | Code::AuditUnavailable
            | Code::Internal => self.detail.clone(),
            Code::NotFound
            | Code::MethodNotAllowed
            | Code::InvalidRequest
            | Code::BodyTooLarge
            | Code::UnsupportedMediaType
            | Code::InvalidClaims
            | Code::InvalidTtl
            | Code::InvalidTyp
            | Code::UnknownCaller
            | Code::NotAllowed
            | Code::WrongHost
            | Code::CrossSite
            | Code::ExpectActiveRequired
            | Code::NotDurable
            | Code::NotRecorded
            | Code::RevocationPending
            | Code::InvalidConfig
            | Code::Busy
            | Code::RateLimited
            | Code::TooManyAtOnce
            | Code::Stopping => format!("{}: {}", self.title, self.detail),
        }
    }
}

impl Code {
    /// The HTTP status (RFC 9110, section 15; 428 and 429 are RFC 6585).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::InvalidRequest
            | Self::InvalidClaims
            | Self::InvalidTtl
            | Self::InvalidTyp
            | Self::InvalidKey
            | Self::PassphraseRequired
            | Self::WrongPassphrase => 400,
            Self::UnknownCaller => 401,
            Self::NotAllowed | Self::CrossSite => 403,
            Self::NotFound | Self::UnknownKeyset | Self::UnknownKey => 404,
            Self::MethodNotAllowed => 405,
            Self::NotConfigured
            | Self::ActiveChanged
            | Self::TooEarly
            | Self::WrongState
            | Self::KeyUsed
            | Self::StandbyExported
            | Self::JwkSetFull
            | Self::InvalidConfig => 409,
            Self::BodyTooLarge => 413,
            Self::UnsupportedMediaType => 415,
            Self::WrongHost => 421,
            Self::ExpectActiveRequired => 428,
            Self::RateLimited | Self::TooManyAtOnce => 429,
            Self::Internal => 500,
            Self::NoActiveKey
            | Self::NotDurable
            | Self::NotRecorded
            | Self::RevocationPending
            | Self::StoreUnavailable
            | Self::AuditUnavailable
            | Self::Busy
            | Self::Stopping => 503,
        }
    }

    /// What the code means, for people.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::NotFound => "nothing is here",
            Self::MethodNotAllowed => "this method is not for this path",
            Self::InvalidRequest => "the request is not what this path takes",
            Self::BodyTooLarge => "the body is larger than this path takes",
            Self::UnsupportedMediaType => "this path takes JSON",
            Self::InvalidClaims => "these claims cannot be signed",
            Self::InvalidTtl => "this ttl cannot be had",
            Self::InvalidTyp => "this typ cannot be had",
            Self::InvalidKey => "the key cannot be taken",
            Self::PassphraseRequired => "the key file is encrypted",
            Self::WrongPassphrase => "the passphrase does not open the key file",
            Self::UnknownCaller => "the caller is not known",
            Self::NotAllowed => "the caller may not do this",
            Self::WrongHost => "the request is for another host",
            Self::CrossSite => "a page of another site asks",
            Self::UnknownKeyset => "there is no such key set",
            Self::UnknownKey => "there is no such key in the key set",
            Self::NotConfigured => "the key set is missing from the configuration",
            Self::NoActiveKey => "the key set has no active key",
            Self::ExpectActiveRequired => "say in expect_active which kid signs now",
            Self::ActiveChanged => "another key is active than the one expected",
            Self::TooEarly => "verifiers may not have seen the standby by then",
            Self::WrongState => "the key is not in a state for this",
            Self::KeyUsed => "the key or its kid is or was in the key set",
            Self::StandbyExported => "the standby was given out to verifiers",
            Self::JwkSetFull => "the JWK Set would be longer than verifiers read",
            Self::NotDurable => "in effect, but not durable yet; it is being retried",
            Self::NotRecorded => "done, but the audit could not record it",
            Self::RevocationPending => "a revocation that is not durable yet comes first",
            Self::StoreUnavailable => "the store is not available; nothing was changed",
            Self::AuditUnavailable => "the audit is not available, so nothing was done",
            Self::InvalidConfig => "the configuration is wrong; the old one stays in force",
            Self::Busy => "the daemon has enough to do",
            Self::RateLimited => "the caller asks for more than it may",
            Self::TooManyAtOnce => "the caller has enough under way",
            Self::Stopping => "the daemon is stopping",
            Self::Internal => "the daemon failed; its log has the cause",
        }
    }
}
