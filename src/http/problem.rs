//! What went wrong, as `application/problem+json`. The cause goes to the log, never to the caller.

use actix_web::body::BoxBody;
use actix_web::dev::ServiceResponse;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use actix_web::http::{Method, StatusCode};
use actix_web::web::Data;
use actix_web::{HttpResponse, HttpResponseBuilder};
use jwksd_keystore::export::ExportError as FormError;
use jwksd_keystore::import::ImportError;
use jwksd_keystore::lifecycle::Refusal;
use jwksd_keystore::ring::SignError;
use jwksd_keystore::store::StoreError;
use jwksd_keystore::store::backup::BackupError;

use super::identity::RequestIds;
use super::openapi::code_name;
use crate::administration::{AdminError, ExportError};
use crate::api::{Code, Problem};
use crate::audit::AuditError;
use crate::custody::TokenError;
use crate::gate::Denied;
use crate::limits::Over;
use crate::pool::NotTaken;
use crate::rotator::{ReloadError, StepError};

/// When a batch that found no place may try again. Batches of the quick algorithms make room within
/// that time, and trying costs little.
const RETRY_AFTER_SECONDS: &str = "1";

/// The response that tells a problem.
#[must_use]
pub fn respond(problem: &Problem) -> HttpResponse {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = HttpResponseBuilder::new(status);
    response.insert_header((CACHE_CONTROL, "no-store"));
    if problem.code == Code::UnknownCaller {
        response.insert_header((WWW_AUTHENTICATE, "Bearer"));
    }
    if let Some(seconds) = problem.retry_after {
        response.insert_header((RETRY_AFTER, seconds));
    } else if problem.code == Code::Busy {
        response.insert_header((RETRY_AFTER, RETRY_AFTER_SECONDS));
    }
    let mut response = response.content_type("application/problem+json").body(body_of(problem));
    response.extensions_mut().insert(problem.clone());
    response
}

fn body_of(problem: &Problem) -> Vec<u8> {
    serde_json::to_vec(problem).unwrap_or_default()
}

/// Where callers are known, every problem has the id of its request, and at debug a line in the log:
/// one that was refused before anyone was recognised gets its id here. No id of a caller's own is
/// taken, since it would stand in the audit beside those of others.
pub(super) fn named(answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    if !answer.status().is_client_error() && !answer.status().is_server_error() {
        return answer;
    }
    let Some(ids) = answer.request().app_data::<Data<RequestIds>>().cloned() else {
        return answer;
    };
    let Some(problem) = answer.response().extensions().get::<Problem>().cloned() else {
        return answer;
    };
    let had_id = problem.request_id.is_some();
    let problem = noted(problem, &ids, answer.request().method(), answer.request().path());
    if had_id { answer } else { answer.map_body(|_, _| BoxBody::new(body_of(&problem))) }
}

/// The same before there is an answer.
pub(super) fn noted(
    mut problem: Problem,
    ids: &RequestIds,
    method: &Method,
    path: &str,
) -> Problem {
    let request_id = problem.request_id.get_or_insert_with(|| ids.next()).as_str();
    tracing::debug!(
        event = "refused",
        request_id,
        code = code_name(problem.code),
        status = problem.status,
        method = method.as_str(),
        path,
        "refused"
    );
    problem
}

/// Nothing is here.
pub async fn not_found() -> HttpResponse {
    respond(&Problem::new(Code::NotFound, "see the documentation for the paths there are"))
}

/// Another method is wanted.
#[must_use]
pub fn method_not_allowed(allowed: &'static str) -> HttpResponse {
    let detail = format!("this path takes {allowed}");
    let mut response = respond(&Problem::new(Code::MethodNotAllowed, detail));
    let value = actix_web::http::header::HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, value);
    response
}

/// Why there is no token.
#[must_use]
pub fn of_token(error: &TokenError, request_id: &str) -> Problem {
    let code = match error {
        TokenError::UnknownKeyset(_) => Code::UnknownKeyset,
        TokenError::NotConfigured(_) => Code::NotConfigured,
        TokenError::Claims(_) => Code::InvalidClaims,
        TokenError::NotATtl | TokenError::TtlTooLong { .. } => Code::InvalidTtl,
        TokenError::Type { .. } => Code::InvalidTyp,
        TokenError::Denied(denied) => return of_denial(denied, request_id),
        TokenError::Over(over) => return of_over(over),
        TokenError::Sign(SignError::NoSigner) => Code::NoActiveKey,
        TokenError::Sign(SignError::Seal(_) | SignError::Crypto(_)) | TokenError::Random(_) => {
            return internal(error, Some(request_id));
        }
    };
    Problem::new(code, error.to_string())
}

/// Why a caller has to wait.
#[must_use]
pub fn of_over(over: &Over) -> Problem {
    let code = match over {
        Over::Rate { .. } | Over::Unknown { .. } => Code::RateLimited,
        Over::InFlight { .. } | Over::Batches => Code::TooManyAtOnce,
    };
    let retry_after = Some(over.retry_after());
    Problem { retry_after, ..Problem::new(code, over.to_string()) }
}

/// Why a batch was not begun.
#[must_use]
pub fn of_not_taken(error: NotTaken) -> Problem {
    let code = match error {
        NotTaken::Full => Code::Busy,
        NotTaken::Stopping => Code::Stopping,
    };
    Problem::new(code, error.to_string())
}

/// Why an admin did not get what was asked.
#[must_use]
pub fn of_admin(error: &AdminError, request_id: &str) -> Problem {
    let code = match error {
        AdminError::Denied(denied) => return of_denial(denied, request_id),
        AdminError::Step(error) => return of_step(error, request_id),
        AdminError::Key(error) => of_key(error),
        AdminError::Reading | AdminError::Reports | AdminError::Planning | AdminError::Listing => {
            Code::Busy
        }
        AdminError::AuditUnreadable(_) => return internal(error, Some(request_id)),
        AdminError::Store(error) | AdminError::Reload(ReloadError::Store(error)) => {
            return of_store(error, request_id);
        }
        AdminError::Export(error) => return of_export(error, request_id),
        AdminError::Backup(BackupError::Store(error)) => return of_store(error, request_id),
        AdminError::Backup(error) => return internal(error, Some(request_id)),
        AdminError::UnknownKeyset(_) => Code::UnknownKeyset,
        AdminError::ExpectActive(active) => {
            let problem = Problem::new(Code::ExpectActiveRequired, error.to_string());
            return Problem { active: Some(active.clone()), ..problem };
        }
        AdminError::NowAndAt
        | AdminError::NotAnInstant(_)
        | AdminError::Reason
        | AdminError::Last
        | AdminError::Verifier(_) => Code::InvalidRequest,
        AdminError::NotRecorded => Code::NotRecorded,
        AdminError::Config(_)
        | AdminError::Tls(_)
        | AdminError::Reload(ReloadError::Refused { .. }) => Code::InvalidConfig,
        AdminError::Reload(ReloadError::Audit(error)) => return unrecorded(error, request_id),
        AdminError::Reload(ReloadError::Stopping) => Code::Stopping,
    };
    Problem::new(code, error.to_string())
}

fn of_export(error: &ExportError, request_id: &str) -> Problem {
    let code = match error {
        ExportError::Subject(_)
        | ExportError::LongKid
        | ExportError::Days
        | ExportError::Form(FormError::NotOfOpenSsh(_)) => Code::InvalidRequest,
        ExportError::Left(_) | ExportError::NotPublished | ExportError::OnlyVerifies => {
            Code::WrongState
        }
        ExportError::Form(FormError::Encode(_)) | ExportError::Certificate(_) => {
            return internal(error, Some(request_id));
        }
    };
    Problem::new(code, error.to_string())
}

fn of_denial(denied: &Denied, request_id: &str) -> Problem {
    match denied {
        Denied::Refused(refusal) => Problem::new(Code::NotAllowed, refusal.to_string()),
        Denied::Audit(error) => unrecorded(error, request_id),
    }
}

fn unrecorded(error: &AuditError, request_id: &str) -> Problem {
    tracing::error!(request_id, %error, "refused, since the audit cannot record it");
    let detail = "the audit is not available, so nothing was done; the daemon's log has the cause";
    Problem::new(Code::AuditUnavailable, detail)
}

fn of_step(error: &StepError, request_id: &str) -> Problem {
    let code = match error {
        StepError::Refused { refusal, active } => {
            let detail = match active {
                Some(kid) => format!("{refusal}: {kid} is"),
                None => refusal.to_string(),
            };
            let problem = Problem::new(of_refusal(refusal), detail);
            return Problem { active: active.clone(), ..problem };
        }
        StepError::UnknownKey(_) => Code::UnknownKey,
        StepError::UnknownKeyset(_) => Code::UnknownKeyset,
        StepError::Store(error) => return of_store(error, request_id),
        StepError::Key(error) => of_key(error),
        StepError::Used(_) => Code::KeyUsed,
        StepError::JwkSetFull { .. } => Code::JwkSetFull,
        StepError::Audit => Code::AuditUnavailable,
        StepError::NotDurable(_) => {
            tracing::error!(request_id, %error, "a revocation is not durable");
            let detail = "the key is out of the JWK Set and signs no more while this process runs; \
                          should the daemon stop before the store works again, revoke it anew";
            return Problem::new(Code::NotDurable, detail);
        }
        StepError::RevocationPending => Code::RevocationPending,
        StepError::Unserved | StepError::Stopping => Code::Stopping,
        StepError::NeedsKey | StepError::NoKeyPair(_) | StepError::Record(_) => {
            return internal(error, Some(request_id));
        }
    };
    Problem::new(code, error.to_string())
}

/// All that an [`ImportError`] says of a file are sizes and places.
fn of_key(error: &ImportError) -> Code {
    if *error == ImportError::PassphraseNeeded {
        Code::PassphraseRequired
    } else if *error == ImportError::WrongPassphrase {
        Code::WrongPassphrase
    } else {
        Code::InvalidKey
    }
}

fn of_refusal(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::NotConfigured => Code::NotConfigured,
        Refusal::NoSigner => Code::NoActiveKey,
        Refusal::ActiveChanged { .. } => Code::ActiveChanged,
        Refusal::TooEarly { .. } => Code::TooEarly,
        Refusal::NoSuchKey => Code::UnknownKey,
        Refusal::RetireActive | Refusal::RetirePending => Code::WrongState,
        Refusal::StandbyExported { .. } => Code::StandbyExported,
        Refusal::TrustEnd { .. } => Code::InvalidRequest,
        Refusal::KeyTypeChanged { .. } => Code::InvalidConfig,
    }
}

fn of_store(error: &StoreError, request_id: &str) -> Problem {
    match error {
        StoreError::Missing(_)
        | StoreError::Locked(_)
        | StoreError::Conflict
        | StoreError::Unknown(_)
        | StoreError::Unavailable(_) => {
            tracing::error!(request_id, %error, "the store is not available");
            Problem::new(
                Code::StoreUnavailable,
                "the store is not available; the daemon's log has the cause",
            )
        }
        StoreError::Used
        | StoreError::Occupied(_)
        | StoreError::Damaged { .. }
        | StoreError::OtherMasterKey { .. }
        | StoreError::UnknownFormat { .. } => internal(error, Some(request_id)),
    }
}

pub(super) fn internal(error: &dyn std::error::Error, request_id: Option<&str>) -> Problem {
    tracing::error!(request_id, %error, "a request failed");
    Problem::new(Code::Internal, "the daemon failed; its log has the cause")
}
