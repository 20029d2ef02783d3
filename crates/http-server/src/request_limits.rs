//! Limits the size of a request's URI and headers. The body's limit is axum's `DefaultBodyLimit`.

use axum::http::{HeaderMap, StatusCode, Uri};

use crate::Problem;

/// The longest path and query. A product list with every filter and a cursor needs a tenth of it.
const MAX_URI_BYTES: usize = 4096;

/// The most header fields. A browser behind two proxies sends thirty.
const MAX_HEADERS: usize = 64;

/// The most bytes in the names and values of all headers. The longest access token has 4 KiB.
const MAX_HEADER_BYTES: usize = 16 * 1024;

/// Refuses a request whose URI (414) or headers (431) are too large.
pub(crate) fn check_request_head(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let uri_bytes = uri
        .path_and_query()
        .map_or(0, |path_and_query| path_and_query.as_str().len());
    if uri_bytes > MAX_URI_BYTES {
        return Err(
            Problem::new(StatusCode::URI_TOO_LONG, "uri-too-long", "URI too long")
                .detail("Path and query can have at most 4 KiB together."),
        );
    }
    let header_bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len())
        .sum();
    if headers.len() > MAX_HEADERS || header_bytes > MAX_HEADER_BYTES {
        return Err(Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers-too-large",
            "Request headers too large",
        )
        .detail("A request can have at most 64 header fields and 16 KiB of headers."));
    }
    Ok(())
}
