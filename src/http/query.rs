//! What a path takes behind its `?`.

use actix_web::HttpRequest;
use actix_web::web::Query;
use serde::de::DeserializeOwned;

use crate::api::{Code, Problem};

/// The query of a request as what its path takes.
///
/// # Errors
///
/// [`Code::InvalidRequest`], with what is wrong with it.
pub(super) fn query_of<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    let query = Query::<T>::from_query(request.query_string());
    query.map(Query::into_inner).map_err(|error| {
        let error = error.to_string();
        let why = error.strip_prefix("Query deserialize error: ").unwrap_or(&error);
        Problem::new(Code::InvalidRequest, format!("in the query: {why}"))
    })
}
