//! A token that is asked for, as it would be signed: what the gate decides about.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jwksd_keystore::id::KeyId;
use jwksd_keystore::ring::{SignError, Signer};
use jwksd_keystore::time::Time;

use super::ids::Id;
use super::{SignedToken, TokenError};
use crate::api::{TokenRequest, Ttl};
use crate::audit::Recorder;
use crate::claims::{Added, CallerClaims};
use crate::config::TokenSettings;
use crate::duration;
use crate::gate::{Permit, TokenRecord};
use crate::policy::{FinalToken, Grant};

/// The `typ` of a token whose caller asks for none (RFC 7519, section 5.1).
const DEFAULT_TYPE: &str = "JWT";

/// A token as it would be signed.
pub(super) struct Draft<'a> {
    claims: CallerClaims<'a>,
    audiences: Cow<'a, [String]>,
    typ: &'a str,
    ttl: Duration,
    now: Time,
    issued: Time,
    expires: Time,
    jti: String,
}

impl<'a> Draft<'a> {
    /// What becomes of a request at `now`, where a token lives for `longest` at most; `id` is what it
    /// is told by.
    ///
    /// # Errors
    ///
    /// What is wrong with the request.
    pub(super) fn of(
        request: &'a TokenRequest<'_>,
        settings: &'a TokenSettings,
        longest: Duration,
        now: Time,
        id: &Id,
    ) -> Result<Self, TokenError> {
        let claims = CallerClaims::parse(request.claims)?;
        let typ = requested_type(request, settings)?;
        let ttl = requested_ttl(&request.ttl, longest)?;
        // Whole seconds, rounded down: a verifier whose clock is a moment behind must not see a
        // token from its future.
        let issued = Time::from_millis(now.as_secs() * 1000);
        let named = claims.audiences().map(Cow::Owned);
        Ok(Self {
            audiences: named.unwrap_or(Cow::Borrowed(&settings.audiences)),
            claims,
            typ,
            ttl,
            now,
            issued,
            expires: issued + ttl,
            jti: BASE64_URL_SAFE_NO_PAD.encode(id),
        })
    }

    /// Has it decided about.
    pub(super) fn decided<T>(&self, decide: impl FnOnce(FinalToken<'_>) -> T) -> T {
        let claims = |name: &str| self.claims.claim(name);
        let Self { audiences, ttl, typ, .. } = self;
        decide(FinalToken { audiences, ttl: *ttl, typ, claims: &claims })
    }

    /// What is recorded of it.
    pub(super) fn record<'r>(
        &'r self,
        kid: &'r KeyId,
        request_id: &'r str,
        recorder: Recorder,
    ) -> TokenRecord<'r> {
        TokenRecord {
            now: self.now,
            kid,
            jti: &self.jti,
            sub: self.claims.subject(),
            exp: self.expires.as_secs(),
            request_id,
            recorder,
        }
    }

    /// Signs it with the key that the permit is for.
    ///
    /// # Errors
    ///
    /// [`SignError`].
    pub(super) fn signed(
        &self,
        signer: &Signer,
        settings: &TokenSettings,
        _permit: &Permit,
        grant: &Grant,
    ) -> Result<SignedToken, SignError> {
        let payload = self.claims.payload(Added {
            issuer: &settings.issuer,
            issued: self.issued,
            expires: self.expires,
            id: &self.jti,
            audiences: &self.audiences,
            forced: &grant.force,
        });
        let token = signer.sign(self.typ, &payload)?;
        let (kid, algorithm) = (signer.kid().clone(), signer.algorithm());
        Ok(SignedToken { token, kid, expires: self.expires, algorithm })
    }
}

fn requested_type<'a>(
    request: &'a TokenRequest<'_>,
    settings: &TokenSettings,
) -> Result<&'a str, TokenError> {
    let asked = request.typ.as_deref().unwrap_or(DEFAULT_TYPE);
    if settings.types.iter().any(|allowed| allowed == asked) {
        Ok(asked)
    } else {
        Err(TokenError::Type { asked: asked.to_owned(), allowed: settings.types.to_vec() })
    }
}

fn requested_ttl(ttl: &Ttl, longest: Duration) -> Result<Duration, TokenError> {
    let asked = match ttl {
        Ttl::Seconds(seconds) => Duration::from_secs(*seconds),
        Ttl::Text(text) => duration::parse(text).map_err(|_| TokenError::NotATtl)?,
    };
    if asked.is_zero() || asked.subsec_millis() != 0 {
        Err(TokenError::NotATtl)
    } else if asked > longest {
        Err(TokenError::TtlTooLong { asked, longest })
    } else {
        Ok(asked)
    }
}
