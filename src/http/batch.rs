//! Batches: many tokens for one request, signed by the [`crate::pool`].
//!
//! The listener's worker looks only at the outermost JSON; what is in a request of the batch is
//! read, decided and recorded where it is signed.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use jwksd_keystore::id::KeysetName;

use super::identity::{RequestIds, identify};
use super::internal::{parsed, told};
use super::{BATCH_BODY_LIMIT, BODY_LIMIT, problem};
use crate::api::{
    BATCH_LIMIT, BatchRequest, BatchResponse, BatchResult, Code, Problem, TokenRequest,
    TokenResponse,
};
use crate::custody::{Asker, Custody};
use crate::pool::{Pool, Work};

/// `POST /v1/keysets/{keyset}/tokens/batch`
pub(super) async fn sign(
    request: HttpRequest,
    custody: Data<Custody>,
    pool: Data<Pool>,
    ids: Data<RequestIds>,
    keyset: Path<String>,
    body: Payload,
) -> HttpResponse {
    let asker = match identify(&request, &custody, &ids) {
        // A large body is read only for someone known.
        Err(problem) => return problem::respond(&problem),
        Ok(asker) => asker,
    };
    let request_id = asker.request_id.clone();
    match signed(asker, custody.into_inner(), &pool, keyset.into_inner(), body).await {
        Ok(answer) => HttpResponse::Ok()
            .insert_header((CACHE_CONTROL, "no-store"))
            .insert_header((CONTENT_TYPE, "application/json"))
            .body(answer),
        Err(problem) => problem::respond(&Problem { request_id: Some(request_id), ..problem }),
    }
}

async fn signed(
    asker: Asker,
    custody: Arc<Custody>,
    pool: &Pool,
    keyset: String,
    body: Payload,
) -> Result<Vec<u8>, Problem> {
    let body = received(body).await?;
    let requests = requests(&body)?;
    let keyset = super::admin::keyset_name(keyset)?;
    custody.admit_batch(&asker, &keyset).map_err(|error| problem::of_token(&error))?;
    let batch = Batch { custody, asker, keyset, requests };
    let answer = pool.take(batch).map_err(problem::of_not_taken)?;
    // While this waits, a caller that hangs up drops it, and the pool leaves the rest.
    let answer = answer.await.map_err(|error| problem::internal(&error))?;
    answer.map_err(|error| problem::internal(&error))
}

async fn received(body: Payload) -> Result<Bytes, Problem> {
    match body.to_bytes_limited(BATCH_BODY_LIMIT).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) => Err(Problem::new(Code::InvalidRequest, "the body could not be read")),
        Err(_) => Err(too_large(BATCH_BODY_LIMIT)),
    }
}

fn too_large(limit: usize) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the limit is {limit} bytes"))
}

/// The requests of a batch, each a part of the body.
fn requests(body: &Bytes) -> Result<Vec<Bytes>, Problem> {
    let batch: BatchRequest<'_> = parsed(body)?;
    let count = batch.requests.len();
    if count > BATCH_LIMIT {
        let detail = format!("the batch has {count} requests, the limit is {BATCH_LIMIT}");
        return Err(Problem::new(Code::BodyTooLarge, detail));
    }
    Ok(batch.requests.iter().map(|one| body.slice_ref(one.get().as_bytes())).collect())
}

/// A batch of tokens, as work for the pool.
struct Batch {
    custody: Arc<Custody>,
    asker: Asker,
    keyset: KeysetName,
    requests: Vec<Bytes>,
}

impl Work for Batch {
    type Done = BatchResult;
    type Answer = Result<Vec<u8>, serde_json::Error>;

    fn count(&self) -> usize {
        self.requests.len()
    }

    fn item(&self, index: usize) -> BatchResult {
        let asker = self.custody.asker_in_batch(&self.asker, index);
        match self.token(&asker, index) {
            Ok(token) => BatchResult::Token(token),
            Err(problem) => error_of(&asker, problem),
        }
    }

    fn refusal(&self, index: usize) -> BatchResult {
        let asker = self.custody.asker_in_batch(&self.asker, index);
        error_of(&asker, Problem::new(Code::Stopping, "this request was not begun"))
    }

    fn answer(&self, results: Vec<BatchResult>) -> Self::Answer {
        serde_json::to_vec(&BatchResponse { results })
    }
}

impl Batch {
    /// The same as for a single request.
    fn token(&self, asker: &Asker, index: usize) -> Result<TokenResponse, Problem> {
        let request: &[u8] = self.requests.get(index).map_or(&[], |request| request);
        if request.len() > BODY_LIMIT {
            return Err(too_large(BODY_LIMIT));
        }
        let wanted: TokenRequest<'_> = parsed(request)?;
        let signed = self.custody.sign_token(asker, &self.keyset, &wanted);
        signed.map(told).map_err(|error| problem::of_token(&error))
    }
}

fn error_of(asker: &Asker, problem: Problem) -> BatchResult {
    let request_id = Some(asker.request_id.clone());
    BatchResult::Error { error: Problem { request_id, ..problem } }
}
