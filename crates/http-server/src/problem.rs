//! Problem documents: RFC 9457, for every error of every route and of the framework itself.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};

/// Where a problem type's slug hangs.
const TYPE_BASE: &str = "https://matsuri.dev/problems/";

/// An error as a client sees it.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What is wrong with one part of a body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// Where: a JSON pointer (RFC 6901).
    pub pointer: String,
    /// What, and what would be right.
    pub detail: String,
}

impl Problem {
    /// A problem of the type `slug`, with the title that all problems of this type have.
    #[must_use]
    pub fn new(status: StatusCode, slug: &'static str, title: &'static str) -> Self {
        Self {
            status,
            slug,
            title,
            detail: String::new(),
            extensions: Map::new(),
            headers: Vec::new(),
        }
    }

    /// What happened this time, and what to do about it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// A member of this type's own.
    #[must_use]
    pub fn extension(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(member.to_owned(), value.into());
        self
    }

    /// A header that goes with it.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// 422: the body is JSON, but says what cannot be.
    #[must_use]
    pub fn invalid_body(errors: &[FieldError]) -> Self {
        let errors: Vec<Value> = errors
            .iter()
            .map(|error| serde_json::json!({"pointer": error.pointer, "detail": error.detail}))
            .collect();
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "invalid-body",
            "Invalid request body",
        )
        .detail("Correct the fields that `errors` lists and send the request again.")
        .extension("errors", errors)
    }

    /// 404, also for what exists but is not the asker's.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found")
            .detail("The resource does not exist, or you may not access it.")
    }

    /// 403: known, and not allowed.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed")
            .detail("Your role does not have the required permission.")
    }

    /// 503: something that this needs is down or too busy. Worth another try after `Retry-After` seconds.
    #[must_use]
    pub fn unavailable() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Service unavailable",
        )
        .detail("Try again shortly.")
        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 503: there is no room for another request at the moment.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Service overloaded",
        )
        .detail("The request was not processed. Try again shortly.")
        .header(header::RETRY_AFTER, HeaderValue::from_static("1"))
    }

    /// 500: logs the error with all that led to it, and shows none of it.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a request failed");
        Self::internal_error()
    }

    pub(crate) fn internal_error() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal-error",
            "Internal server error",
        )
        .detail("The error was logged. Try again later.")
    }
}

impl Problem {
    /// The parts of an answer, for programs that are no axum service: status, headers and body. The body's type
    /// is among the headers.
    #[must_use]
    pub fn into_parts(self) -> (StatusCode, Vec<(HeaderName, HeaderValue)>, String) {
        // The standard's members win over extensions of the same name.
        let mut members = self.extensions;
        members.insert("type".into(), format!("{TYPE_BASE}{}", self.slug).into());
        members.insert("title".into(), self.title.into());
        members.insert("status".into(), self.status.as_u16().into());
        members.insert("detail".into(), self.detail.into());
        let body = Value::Object(members).to_string();
        let mut headers = self.headers;
        let kind = HeaderValue::from_static("application/problem+json");
        headers.push((header::CONTENT_TYPE, kind));
        (self.status, headers, body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, headers, body) = self.into_parts();
        let mut response = (status, body).into_response();
        // The body's own type is text/plain otherwise.
        response.headers_mut().remove(header::CONTENT_TYPE);
        response.headers_mut().extend(headers);
        response
    }
}
