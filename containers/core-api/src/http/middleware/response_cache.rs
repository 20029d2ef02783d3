//! A short-lived response cache for catalog reads, which are far more frequent than changes.
//!
//! Staleness: every read that begins after this instance has answered a change sees that change. A change
//! made elsewhere (another instance, `core-api seed`) becomes visible at most [`TTL`] later. Decisions never
//! use this cache: orders are priced and changes are checked against the database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use http_server::Problem;
use sha2::{Digest, Sha256};

/// How long a cached response is served.
pub const TTL: Duration = Duration::from_secs(1);

/// The maximum memory for cached responses, in bytes. A list of 100 products has about 60 KB.
const CAPACITY_BYTES: u64 = 32 * 1024 * 1024;

/// The approximate size of a cached response besides its body, in bytes.
const ENTRY_OVERHEAD_BYTES: usize = 512;

/// `Cache-Control: no-cache`: browsers and proxies may store a response but must revalidate it before each
/// use, because they do not learn of changes.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// The cached responses.
pub struct ResponseCache {
    responses: moka::future::Cache<CacheKey, CachedResponse>,
    /// The number of changes that this instance has answered.
    generation: AtomicU64,
}

/// The generation at which the request arrived, and its URI. After a change the generation is higher, so a
/// response that was read before the change is not found, even if the read finished after it.
type CacheKey = (u64, Uri);

#[derive(Clone)]
struct CachedResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Default for ResponseCache {
    fn default() -> Self {
        let weight = |(_, uri): &CacheKey, response: &CachedResponse| {
            let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
            u32::try_from(response.body.len() + path + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
        };
        Self {
            responses: moka::future::Cache::builder()
                .max_capacity(CAPACITY_BYTES)
                .weigher(weight)
                .time_to_live(TTL)
                .build(),
            generation: AtomicU64::default(),
        }
    }
}

/// Serves GET requests from the cache where possible. Concurrent requests for the same URI share one call of
/// the handler. They also share an unsuccessful response, which is not cached.
pub async fn cache_responses(
    State(cache): State<Arc<ResponseCache>>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::GET {
        let is_change = !request.method().is_safe();
        let response = next.run(request).await;
        // A rejected request (4xx) has changed nothing. A failed one (5xx) may have.
        if is_change && !response.status().is_client_error() {
            cache.generation.fetch_add(1, Ordering::AcqRel);
        }
        return response;
    }
    let if_none_match = request.headers().typed_get::<IfNoneMatch>();
    let key = (cache.generation.load(Ordering::Acquire), request.uri().clone());
    let response = match cache.responses.get(&key).await {
        Some(response) => response,
        None => {
            let load = async {
                let response = CachedResponse::from_response(next.run(request).await).await;
                if response.status == StatusCode::OK {
                    Ok(response)
                } else {
                    Err(response)
                }
            };
            let loaded = cache.responses.try_get_with(key, load).await;
            loaded.unwrap_or_else(Arc::unwrap_or_clone)
        }
    };
    response.into_conditional_response(if_none_match.as_ref())
}

impl CachedResponse {
    /// Reads the whole response and adds the headers that let a client revalidate it.
    async fn from_response(response: Response) -> Self {
        let (mut parts, body) = response.into_parts();
        // The handlers' bodies are in memory already, so no size limit is needed.
        let body = match to_bytes(body, usize::MAX).await {
            Ok(body) => body,
            Err(error) => {
                parts = Problem::internal(&error).into_response().into_parts().0;
                Bytes::new()
            }
        };
        if parts.status == StatusCode::OK {
            parts.headers.insert(header::CACHE_CONTROL, REVALIDATE);
            if !parts.headers.contains_key(header::ETAG) {
                parts.headers.typed_insert(body_etag(&body));
            }
        }
        Self {
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// The response, or 304 without a body when the client already has this version.
    fn into_conditional_response(mut self, if_none_match: Option<&IfNoneMatch>) -> Response {
        let not_modified = if_none_match.is_some_and(|if_none_match| {
            self.headers
                .typed_get::<ETag>()
                .is_some_and(|etag| !if_none_match.precondition_passes(&etag))
        });
        let mut response = if not_modified {
            self.headers.remove(header::CONTENT_TYPE);
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = Response::new(Body::from(self.body));
            *response.status_mut() = self.status;
            response
        };
        *response.headers_mut() = self.headers;
        response
    }
}

/// The entity tag of a response whose handler sets none: a digest of the body.
fn body_etag(body: &[u8]) -> ETag {
    // 96 bits make a collision practically impossible.
    let digest = URL_SAFE_NO_PAD.encode(&Sha256::digest(body)[..12]);
    format!("\"{digest}\"")
        .parse()
        .expect("base64url in quotes is a valid entity tag")
}
