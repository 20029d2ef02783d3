//! The error of every handler: a problem document.
//!
//! The conversion of an error into an [`ApiError`] is beside the handlers that return it. Here are those
//! that handlers of several files return.

use axum::{
    http::StatusCode,
    response::{IntoResponse, Response},
};
use database::DatabaseError;
use dynamodb_table::DynamoDbError;
use http_server::Problem;
use secrets::SecretError;

use crate::cursor::InvalidCursor;

/// The problem document that a failed request gets.
#[derive(Debug)]
pub struct ApiError(Problem);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(problem)
    }
}

impl From<InvalidCursor> for ApiError {
    fn from(_: InvalidCursor) -> Self {
        Self(
            Problem::new(StatusCode::BAD_REQUEST, "invalid-cursor", "Invalid cursor")
                .detail("Send `next_cursor` unchanged, to the list and with the filters that returned it."),
        )
    }
}

impl From<DatabaseError> for ApiError {
    fn from(error: DatabaseError) -> Self {
        Self(database_problem(&error))
    }
}

impl From<DynamoDbError> for ApiError {
    fn from(error: DynamoDbError) -> Self {
        Self(if error.is_unavailable() {
            Problem::dependency_unavailable(&error)
        } else {
            Problem::internal(&error)
        })
    }
}

impl From<SecretError> for ApiError {
    fn from(error: SecretError) -> Self {
        Self(Problem::dependency_unavailable(&error))
    }
}

/// 503 when PostgreSQL is unavailable, 500 for every other error of a query.
pub fn database_problem(error: &DatabaseError) -> Problem {
    if error.is_unavailable() {
        Problem::dependency_unavailable(error)
    } else {
        Problem::internal(error)
    }
}
