//! The operation that tells how much is signed.

use serde_json::json;

use super::operation::Operation;
use crate::api::{Code, Signatures};

pub(super) fn signatures() -> Operation {
    Operation::get("/v1/signatures", "listSignatures", "How much is signed")
        .says(
            "Running totals since the start of the daemon, of the key sets that the caller may read. The \
             listener for metrics tells more.",
        )
        .gives::<Signatures>(
            "The totals.",
            json!({
                "since": "2026-11-22T03:00:00Z",
                "keysets": [{"name": "default", "signed": 1234, "refused": 5}],
            }),
        )
        .refuses(&[Code::UnknownCaller, Code::Internal, Code::Stopping])
}
