//! The body of a request for a token, asked for by callers with different grants.

use jwksd::api::{Code, TokenRequest};
use jwksd::http::problem;
use jwksd_keystore::id::KeysetName;

use super::daemon::{self, After, Daemon};
use super::token;

/// What is signed is what was asked for; what is refused is refused with a reason of the caller's.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    let Ok(request) = serde_json::from_slice::<TokenRequest<'_>>(data) else { return };
    daemon::with(|daemon| {
        for caller in ["all", "signer", "narrow"] {
            for keyset in ["default", "other"] {
                let keyset = keyset.parse().unwrap();
                if let Err(code) = sign(daemon, &keyset, caller, &request) {
                    assert!((400..500).contains(&code.status()), "{code:?}");
                }
            }
        }
        After::AsBefore
    });
}

/// Signs and checks a token.
pub fn sign(
    daemon: &Daemon,
    keyset: &KeysetName,
    caller: &str,
    request: &TokenRequest<'_>,
) -> Result<(), Code> {
    let signed = daemon.custody.sign_token(&daemon.asker(caller), keyset, request);
    let signed = signed.map_err(|error| problem::of_token(&error, "fuzz").code)?;
    assert_eq!(token::kid(&signed.token), signed.kid);
    token::check(daemon, keyset, caller, request, &signed.token);
    Ok(())
}
