//! Batches: many tokens for one request, signed by the [`crate::pool`].
//!
//! The listener's worker looks only at the outermost JSON; what is in a request of the batch is
//! read, decided and recorded where it is signed.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use jwksd_keystore::id::KeysetName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{check_type, received, too_large};
use super::identity::{RequestIds, identify};
use super::internal::{parsed, told};
use super::{BATCH_BODY_LIMIT, BODY_LIMIT, problem};
use crate::api::{
    BATCH_LIMIT, BatchRequest, BatchResponse, BatchResult, Code, Problem, TokenRequest,
    TokenResponse,
};
use crate::custody::{Asker, Custody};
use crate::limits::BatchSlot;
use crate::metrics::outcomes::BatchOutcome;
use crate::pool::{NotTaken, Pool, Work};

/// How many batches may be in hand: received, signed, or answered. Each takes a body and an answer,
/// so this bounds the memory of them all.
const MOST_IN_HAND: usize = 32;

/// What is handed to the kernel at once: an answer is in hand until little of it is left.
const PIECE: usize = 16 * 1024;

/// What batches are signed with, shared by all workers of the listener.
pub struct Service {
    room: Arc<Semaphore>,
    pool: Pool,
}

impl Service {
    /// Batches are signed by `pool`.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { room: Arc::new(Semaphore::new(MOST_IN_HAND)), pool }
    }
}

/// `POST /v1/keysets/{keyset}/tokens/batch`
pub(super) async fn sign(
    request: HttpRequest,
    custody: Data<Custody>,
    service: Data<Service>,
    ids: Data<RequestIds>,
    keyset: Path<String>,
    body: Payload,
) -> HttpResponse {
    let asker = match identify(&request, &custody, &ids) {
        Err(problem) => return problem::respond(&problem),
        Ok(asker) => asker,
    };
    let request_id = asker.request_id.clone();
    let custody = custody.into_inner();
    let keyset = keyset.into_inner();
    // Dropped with this when the caller hangs up, and counted as abandoned then.
    let measured = custody.metrics().batch(KeysetName::try_from(keyset.clone()).ok());
    match signed(&request, asker, custody, &service, keyset, body).await {
        Ok(answer) => {
            measured.ends(BatchOutcome::Answered);
            HttpResponse::Ok()
                .insert_header((CACHE_CONTROL, "no-store"))
                .insert_header((CONTENT_TYPE, "application/json"))
                .body(answer)
        }
        Err(problem) => {
            let is_busy = problem.code == Code::Busy;
            measured.ends(if is_busy { BatchOutcome::Busy } else { BatchOutcome::Refused });
            problem::respond(&Problem { request_id: Some(request_id), ..problem })
        }
    }
}

async fn signed(
    request: &HttpRequest,
    asker: Asker,
    custody: Arc<Custody>,
    service: &Service,
    keyset: String,
    body: Payload,
) -> Result<Answer, Problem> {
    // A large body is read only for someone who may sign, and where there is room for it.
    let keyset = super::admin::keyset_name(keyset)?;
    let slot = custody.admit_batch(&asker, &keyset);
    let slot = slot.map_err(|error| problem::of_token(&error, &asker.request_id))?;
    check_type(request.headers())?;
    let room = service.room.clone().try_acquire_owned();
    let room = room.map_err(|_| problem::of_not_taken(NotTaken::Full))?;
    let body = received(request, body, BATCH_BODY_LIMIT).await?;
    let requests = requests(&body)?;
    let taken = custody.take_batch(&asker, &keyset, requests.len());
    taken.map_err(|error| problem::of_token(&error, &asker.request_id))?;
    let request_id = asker.request_id.clone();
    let batch = Batch { custody, asker, keyset, requests };
    let answer = service.pool.take(batch).map_err(problem::of_not_taken)?;
    // While this waits, a caller that hangs up drops it, and the pool leaves the rest.
    let answer = answer.await.map_err(|error| problem::internal(&error, Some(&request_id)))?;
    let rest = Bytes::from(answer.map_err(|error| problem::internal(&error, Some(&request_id)))?);
    Ok(Answer { rest, _room: room, _slot: slot })
}

/// An answer that is sent piece by piece, and takes its room until then.
struct Answer {
    rest: Bytes,
    _room: OwnedSemaphorePermit,
    _slot: BatchSlot,
}

impl MessageBody for Answer {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let piece = self.rest.len().min(PIECE);
        Poll::Ready((piece > 0).then(|| Ok(self.rest.split_to(piece))))
    }
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
        signed.map(told).map_err(|error| problem::of_token(&error, &asker.request_id))
    }
}

fn error_of(asker: &Asker, problem: Problem) -> BatchResult {
    let request_id = Some(asker.request_id.clone());
    BatchResult::Error { error: Problem { request_id, ..problem } }
}
