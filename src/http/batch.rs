//! Batches: many tokens for one request, signed by the [`crate::pool`].
//!
//! The listener's worker looks only at the outermost JSON; what is in a request of the batch is
//! read, decided and recorded where it is signed.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::num::NonZero;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix_web::body::{BodySize, MessageBody};
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{Bytes, Data, Path, Payload};
use actix_web::{HttpRequest, HttpResponse};
use jwksd_keystore::id::KeysetName;
use jwksd_keystore::time::Time;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{check_type, received, too_large};
use super::identity::{RequestIds, identify};
use super::internal::{json_onto, parsed};
use super::{BATCH_BODY_LIMIT, BODY_LIMIT, problem};
use crate::api::{
    BATCH_LIMIT, BatchRequest, BatchResponse, BatchResult, Code, Problem, TokenRequest,
};
use crate::custody::{Asker, Custody, InBatch, SignedToken};
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
    let rest = answer.map_err(|error| problem::internal(&error, Some(&request_id)))?;
    let length = rest.iter().map(Bytes::len).sum();
    Ok(Answer { length, rest, _room: room, _slot: slot })
}

/// An answer that is sent piece by piece, and takes its room until then.
struct Answer {
    length: usize,
    /// As they came from the turns.
    rest: VecDeque<Bytes>,
    _room: OwnedSemaphorePermit,
    _slot: BatchSlot,
}

impl MessageBody for Answer {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.length as u64)
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let Some(first) = self.rest.front_mut() else { return Poll::Ready(None) };
        let piece = first.split_to(first.len().min(PIECE));
        if first.is_empty() {
            self.rest.pop_front();
        }
        Poll::Ready(Some(Ok(piece)))
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
    /// A part of the answer, from the beginning or end of which, or a comma, to the next.
    type Done = Result<Vec<u8>, serde_json::Error>;
    type Answer = Result<VecDeque<Bytes>, serde_json::Error>;

    fn count(&self) -> usize {
        self.requests.len()
    }

    fn turn(&self) -> NonZero<usize> {
        self.custody.turn(&self.keyset)
    }

    fn items(&self, items: Range<usize>) -> Self::Done {
        let (mut wanted, mut unread) = (Vec::with_capacity(items.len()), Vec::new());
        for index in items.clone() {
            match self.wanted(index) {
                Ok(request) => wanted.push(InBatch { index, request }),
                Err(problem) => unread.push((index, problem)),
            }
        }
        let signed = self.custody.sign_in_batch(&self.asker, &self.keyset, &wanted);
        let (mut signed, mut unread) = (signed.into_iter(), unread.into_iter().peekable());
        let mut results = Results::of(self.count(), items.len());
        for index in items {
            if let Some((_, problem)) = unread.next_if(|(of, _)| *of == index) {
                results.push_error(index, self.with_id(index, problem))?;
                continue;
            }
            match signed.next() {
                Some(Ok(token)) => results.push_token(index, &token),
                Some(Err(error)) => {
                    let problem = problem::of_token(&error, &self.request_id(index));
                    results.push_error(index, self.with_id(index, problem))?;
                }
                None => {}
            }
        }
        Ok(results.text)
    }

    fn refusal(&self, items: Range<usize>) -> Self::Done {
        let mut results = Results::of(self.count(), items.len());
        for index in items {
            let problem = Problem::new(Code::Stopping, "this request was not begun");
            results.push_error(index, self.with_id(index, problem))?;
        }
        Ok(results.text)
    }

    fn answer(&self, done: Vec<Self::Done>) -> Self::Answer {
        if done.is_empty() {
            let empty = serde_json::to_vec(&BatchResponse { results: Vec::new() })?;
            return Ok(VecDeque::from([Bytes::from(empty)]));
        }
        done.into_iter().map(|text| Ok(Bytes::from(text?))).collect()
    }
}

impl Batch {
    fn wanted(&self, index: usize) -> Result<TokenRequest<'_>, Problem> {
        let request: &[u8] = self.requests.get(index).map_or(&[], |request| request);
        if request.len() > BODY_LIMIT {
            return Err(too_large(BODY_LIMIT));
        }
        parsed(request)
    }

    fn request_id(&self, index: usize) -> String {
        self.asker.request_id_in_batch(index)
    }

    fn with_id(&self, index: usize, problem: Problem) -> Problem {
        Problem { request_id: Some(self.request_id(index)), ..problem }
    }
}

/// The text of a [`BatchResponse`], or of a part of it: that of its beginning, or a comma, comes before
/// each result, and that of its end after the last.
struct Results {
    text: Vec<u8>,
    count: usize,
    /// The last `expires_at`: of most tokens of a batch it is the same.
    expires: Option<(Time, String)>,
}

/// So many bytes a result has, most of the time.
const USUAL_RESULT: usize = 768;

impl Results {
    /// Nothing yet of a response of `count` results; `room` for some.
    fn of(count: usize, room: usize) -> Self {
        Self { text: Vec::with_capacity(room * USUAL_RESULT), count, expires: None }
    }

    /// Puts a [`BatchResult::Token`] there.
    fn push_token(&mut self, index: usize, signed: &SignedToken) {
        self.begin(index);
        let same = self.expires.take().filter(|(time, _)| *time == signed.expires);
        let (_, text) = self
            .expires
            .insert(same.unwrap_or_else(|| (signed.expires, signed.expires.to_string())));
        json_onto(&mut self.text, signed, text.as_str());
        self.end(index);
    }

    fn push_error(&mut self, index: usize, error: Problem) -> serde_json::Result<()> {
        self.begin(index);
        serde_json::to_writer(&mut self.text, &BatchResult::Error { error })?;
        self.end(index);
        Ok(())
    }

    fn begin(&mut self, index: usize) {
        let before: &[u8] = if index == 0 { br#"{"results":["# } else { b"," };
        self.text.extend_from_slice(before);
    }

    fn end(&mut self, index: usize) {
        if index + 1 == self.count {
            self.text.extend_from_slice(b"]}");
        }
    }
}

#[cfg(test)]
mod tests {
    use jwksd_keystore::algorithm::Algorithm;

    use super::*;
    use crate::http::internal::told;

    fn signed(token: &str, expires: u64) -> SignedToken {
        SignedToken {
            token: token.to_owned(),
            kid: "a-_.~k".parse().unwrap(),
            expires: Time::from_millis(expires),
            algorithm: Algorithm::Es256,
        }
    }

    #[test]
    fn what_is_written_by_parts_is_what_the_type_of_the_answer_is() {
        let tokens = [signed("a.b.c", 1000), signed("d-_.e.f", 1000), signed("g.h.i", 999_000)];
        let problem = || Problem::new(Code::InvalidTtl, "a \"ttl\"\n");
        let (mut first, mut second) = (Results::of(4, 2), Results::of(4, 2));
        first.push_token(0, &tokens[0]);
        first.push_token(1, &tokens[1]);
        second.push_error(2, problem()).unwrap();
        second.push_token(3, &tokens[2]);
        let text = [first.text, second.text].concat();
        let [one, two, last] = tokens.map(|token| BatchResult::Token(told(token)));
        let results = vec![one, two, BatchResult::Error { error: problem() }, last];
        let expected = serde_json::to_string(&BatchResponse { results }).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }
}
