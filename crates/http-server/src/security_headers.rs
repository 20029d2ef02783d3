//! The security headers of every response.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::Response,
};

/// The headers of OWASP's REST Security Cheat Sheet. The API returns data only: a browser must not cache a
/// response, execute it, frame it or guess its type.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"),
    ),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    // The load balancer terminates TLS. Browsers ignore this header on a response over plain HTTP.
    (
        header::STRICT_TRANSPORT_SECURITY,
        HeaderValue::from_static("max-age=63072000; includeSubDomains"),
    ),
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
];

/// Adds the security headers. A header that the handler has set stays as it is.
pub(crate) fn add_security_headers(response: &mut Response) {
    let headers = response.headers_mut();
    headers.reserve(SECURITY_HEADERS.len());
    for (name, value) in SECURITY_HEADERS {
        headers.entry(name).or_insert(value);
    }
}
