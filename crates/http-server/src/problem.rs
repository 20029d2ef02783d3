//! Problem documents (RFC 9457): the format of every error response.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value};

/// A problem's `type` is this URL followed by its slug.
const TYPE_BASE: &str = "https://matsuri.dev/problems/";

/// An error response.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    extensions: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// One error in a request body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The JSON pointer (RFC 6901) of the invalid value.
    pub pointer: String,
    /// What is wrong with the value, or what was expected.
    pub detail: String,
}

impl Problem {
    /// A problem of the type `slug`. All problems of one type have the same title.
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

    /// Sets `detail`: what is wrong with this request, and what the client can do about it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds an extension member. It cannot replace the members that RFC 9457 defines.
    #[must_use]
    pub fn extension(mut self, member: &str, value: impl Into<Value>) -> Self {
        self.extensions.insert(member.to_owned(), value.into());
        self
    }

    /// Adds a response header.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// 422: the body is JSON with invalid values. The extension `errors` lists them.
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

    /// 404: the resource does not exist, or belongs to another user.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found")
            .detail("The resource does not exist, or you may not access it.")
    }

    /// 403: the caller is authenticated and lacks the permission.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Forbidden")
            .detail("Your role does not have the required permission.")
    }

    /// 403: the request did not come through CloudFront, but through the address of its origin.
    #[must_use]
    pub fn direct_access() -> Self {
        Self::new(StatusCode::FORBIDDEN, "direct-access", "Direct access refused")
            .detail("Send the request to the public address of this API.")
    }

    /// 503: a dependency is down or too slow. The client may retry after `Retry-After` seconds.
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

    /// 503: logs the error of the dependency with its source chain. The response contains none of it.
    pub fn dependency_unavailable(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "a dependency is unavailable");
        Self::unavailable()
    }

    /// 503: load shedding refused the request.
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

    /// 500: logs the error with its source chain. The response contains none of it.
    pub fn internal(error: &(dyn std::error::Error + 'static)) -> Self {
        tracing::error!(error, "request failed with an internal error");
        Self::internal_error()
    }

    /// 500, without logging.
    pub(crate) fn internal_error() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal-error",
            "Internal server error",
        )
        .detail("The error was logged. Try again later.")
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // Inserted last, so that the members of RFC 9457 replace extensions of the same name.
        let mut members = self.extensions;
        members.insert("type".into(), format!("{TYPE_BASE}{}", self.slug).into());
        members.insert("title".into(), self.title.into());
        members.insert("status".into(), self.status.as_u16().into());
        members.insert("detail".into(), self.detail.into());
        let mut response = (self.status, Value::Object(members).to_string()).into_response();
        let headers = response.headers_mut();
        // It replaces text/plain, which axum sets for a text.
        let content_type = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.extend(self.headers);
        response
    }
}
