//! Extractors for JSON bodies, paths and queries that reject invalid input with a problem document.

use axum::{
    body::Bytes,
    extract::{
        FromRequest, FromRequestParts, Request,
        rejection::{BytesRejection, PathRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_path_to_error::Segment;

use crate::{FieldError, JsonObject, Problem};

/// A JSON request or response body. A request body must be a JSON object.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                "Unsupported media type",
            )
            .detail("Send JSON with the header Content-Type: application/json."));
        }
        Self::from_bytes(
            &Bytes::from_request(request, state)
                .await
                .map_err(body_read_error)?,
        )
    }
}

impl<T: DeserializeOwned> Json<T> {
    /// Parses a body that was already read. Fails with the same problems as the extractor.
    pub fn from_bytes(body: &[u8]) -> Result<Self, Problem> {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let JsonObject(value) =
            serde_path_to_error::deserialize(&mut reader).map_err(|error| deserialize_error(&error))?;
        reader.end().map_err(|error| malformed_json(&error))?;
        Ok(Self(value))
    }
}

/// Whether `Content-Type` is `application/json`, or an `application` type with the suffix `+json` (RFC 6839),
/// with any parameters.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(content_type) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let media_type = content_type
        .split_once(';')
        .map_or(content_type, |(media_type, _parameters)| media_type)
        .trim()
        .to_ascii_lowercase();
    media_type == "application/json"
        || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

fn body_read_error(rejection: BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "Request body too large",
        )
        .detail("A request body can have at most 64 KiB.");
    }
    Problem::new(
        StatusCode::BAD_REQUEST,
        "unreadable-body",
        "Request body could not be read",
    )
    .detail("The connection closed before the whole body was received.")
}

/// 400 when the body is not JSON; 422 with a JSON pointer when it is JSON of the wrong shape.
fn deserialize_error(error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let inner = error.inner();
    if !inner.is_data() {
        return malformed_json(inner);
    }
    let detail = inner.to_string();
    // The JSON pointer already locates the error, and it also fits a body that was assembled from several
    // parts.
    let position = format!(" at line {} column {}", inner.line(), inner.column());
    let detail = detail.strip_suffix(&position).unwrap_or(&detail).to_owned();
    Problem::invalid_body(&[FieldError {
        pointer: json_pointer(error.path()),
        detail,
    }])
}

fn malformed_json(error: &serde_json::Error) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed-json", "Malformed JSON").detail(format!("{error}."))
}

fn json_pointer(path: &serde_path_to_error::Path) -> String {
    let escape = |key: &str| key.replace('~', "~0").replace('/', "~1");
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", escape(key)),
            Segment::Enum { variant } => format!("/{}", escape(variant)),
            Segment::Unknown => String::new(),
        })
        .collect()
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

/// Path parameters. A parameter that does not parse cannot name an existing resource, so it is rejected with
/// 404.
#[derive(Clone, Copy, Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(_)) => Err(Problem::not_found()),
            Err(error) => Err(Problem::internal(&error)),
        }
    }
}

/// Query parameters. An invalid query string is rejected with 400.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Query::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|error: QueryRejection| {
                Problem::new(StatusCode::BAD_REQUEST, "invalid-query", "Invalid query string")
                    .detail(format!("{}.", error.body_text()))
            })
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn accepts_json_media_types_only() {
        let accepts = |content_type: &'static str| {
            let value = HeaderValue::from_static(content_type);
            is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, value)]))
        };
        for json in [
            "application/json",
            "application/json; charset=utf-8",
            "Application/JSON ;charset=utf-8",
            "application/merge-patch+json",
        ] {
            assert!(accepts(json), "{json}");
        }
        for other in [
            "",
            "text/plain",
            "text/json",
            "text/json+json",
            "application/jsonp",
            "text/plain; application/json",
        ] {
            assert!(!accepts(other), "{other}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
