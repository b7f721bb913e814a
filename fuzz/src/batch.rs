//! The body of a batch, as the internal listener takes it.

use hyper::Request;
use hyper::header::{AUTHORIZATION, HOST};
use jwksd::api::{
    BATCH_LIMIT, BatchRequest, BatchResponse, BatchResult, Code, Problem, TokenRequest,
};
use jwksd::http::{BATCH_BODY_LIMIT, BODY_LIMIT};
use jwksd_keystore::id::KeysetName;

use super::daemon::{self, After, Answer, Daemon, Listener};
use super::{sign, token};

/// Each request of a batch is answered as it would be alone.
///
/// # Panics
///
/// When that does not hold.
pub fn run(data: &[u8]) {
    daemon::with(|daemon| {
        for caller in ["all", "narrow"] {
            let bearer = format!("Bearer {}", daemon::bearer_token(caller));
            let request = Request::post("/v1/keysets/default/tokens/batch")
                .header(HOST, "localhost")
                .header(AUTHORIZATION, bearer)
                .body(data.to_vec().into())
                .unwrap();
            check(daemon, caller, data, &daemon.ask(Listener::Internal, &request));
        }
        After::AsBefore
    });
}

/// Checks the answer to a batch in the key set `default`.
///
/// # Panics
///
/// When it is not what must be.
pub fn check(daemon: &Daemon, caller: &str, body: &[u8], answer: &Answer) {
    let wanted = serde_json::from_slice::<BatchRequest<'_>>(body);
    let wanted = wanted.ok().filter(|_| body.len() <= BATCH_BODY_LIMIT);
    let Some(requests) = wanted.map(|batch| batch.requests).filter(|r| r.len() <= BATCH_LIMIT)
    else {
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap();
        assert!(matches!(problem.code, Code::InvalidRequest | Code::BodyTooLarge), "{problem:?}");
        return;
    };
    assert_eq!(answer.status, 200, "{answer:?}");
    let response: BatchResponse = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(response.results.len(), requests.len());
    let keyset: KeysetName = "default".parse().unwrap();
    for (index, (request, result)) in requests.iter().zip(&response.results).enumerate() {
        let alone = alone(daemon, &keyset, caller, request.get());
        match result {
            BatchResult::Token(signed) => {
                assert_eq!(alone, Ok(()));
                let request = serde_json::from_str(request.get()).unwrap();
                token::check(daemon, &keyset, caller, &request, &signed.token);
            }
            BatchResult::Error { error } => {
                assert_eq!(alone, Err(error.code));
                assert_eq!(error.status, error.code.status());
                let id = error.request_id.as_deref().unwrap();
                assert!(id.ends_with(&format!(".{index}")), "{id}");
            }
        }
    }
}

/// What comes of a request that is not in a batch.
fn alone(daemon: &Daemon, keyset: &KeysetName, caller: &str, request: &str) -> Result<(), Code> {
    if request.len() > BODY_LIMIT {
        return Err(Code::BodyTooLarge);
    }
    let request: TokenRequest<'_> =
        serde_json::from_str(request).map_err(|_| Code::InvalidRequest)?;
    sign::sign(daemon, keyset, caller, &request)
}
