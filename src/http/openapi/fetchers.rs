//! The operation that tells who has fetched what.

use serde_json::{Value, json};

use super::admin::STANDBY;
use super::operation::Operation;
use crate::api::schema::{self, KID};
use crate::api::{Code, Fetchers};

pub(super) fn fetchers() -> Operation {
    Operation::get("/v1/fetchers", "listFetchers", "Who has fetched which version of the JWK Sets")
        .says(
            "Kept in memory since the start, for as long as any verifier may keep the set, in bounded \
             room. It is what fetchers say of themselves. Only 200 and 304 of the public listener \
             count, not copies that others serve.",
        )
        .may_ask::<schema::KeysetName>("keyset", "Only this key set.")
        .gives::<Fetchers>("The fetchers.", example())
        .refuses(&[
            Code::InvalidRequest,
            Code::UnknownCaller,
            Code::NotAllowed,
            Code::UnknownKeyset,
            Code::Internal,
            Code::StoreUnavailable,
            Code::Stopping,
        ])
}

fn example() -> Value {
    let (now, before) = ("\"xDYt0oWHpJH4bF0z4cVZ1g\"", "\"3sN6OoGK4v1p0a0aF0VZ0w\"");
    let fetcher = |who, user_agent, last, fetches, has, version| {
        json!({
            "who": who,
            "user_agent": user_agent,
            "last": last,
            "fetches": fetches,
            "has": has,
            "seen_version": version,
        })
    };
    json!({
        "since": "2026-11-20T08:00:00Z",
        "keysets": [{
            "name": "default",
            "version": now,
            "active": KID,
            "standby": STANDBY,
            "window": "1d1h6m",
            "known": 2,
            "current": 1,
            "without_active": 0,
            "without_standby": 1,
            "forgotten": 0,
            "fetchers": [
                fetcher("192.0.2.0/24", "PyJWT", "2026-11-22T02:10:00Z", 3, "without-standby", before),
                fetcher("2001:db8:1::/48", "jose/6.2", "2026-11-22T09:29:41Z", 530, "current", now),
            ],
        }],
    })
}
