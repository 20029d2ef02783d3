//! Answers about the catalogue, kept for a moment: a shop window is looked at far more often than it is changed.
//!
//! How old an answer may be: a change made through this program is seen by every read that begins after it was
//! answered. A change made elsewhere (another instance, `core-api seed`) is seen [`KEPT_FOR`] later at the latest.
//! Nothing that decides reads from here: an order is priced, and a change is made, by the database.

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

/// How long an answer is given again.
pub const TTL: Duration = Duration::from_secs(1);

/// How much memory the answers may take, in bytes. A list of a hundred products has about 60 KB.
const CAPACITY_BYTES: u64 = 32 * 1024 * 1024;

/// What an answer takes besides its body, about, in bytes.
const ENTRY_OVERHEAD_BYTES: usize = 512;

/// Browsers and proxies may keep an answer, and ask each time whether it still holds: they learn nothing of changes.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// The answers.
pub struct ResponseCache {
    responses: moka::future::Cache<CacheKey, CachedResponse>,
    generation: AtomicU64,
}

/// What was asked, and how many changes had been made when it was. What was read before a change is never found after
/// it, not even when the reading took until then.
type CacheKey = (u64, Uri);

/// An answer in full.
#[derive(Clone)]
struct CachedResponse {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Default for ResponseCache {
    fn default() -> Self {
        let weight = |(_, uri): &CacheKey, answer: &CachedResponse| {
            let path = uri.path_and_query().map_or(0, |path| path.as_str().len());
            u32::try_from(answer.body.len() + path + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
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

/// Answers from the cache where it can. Who asks the same at the same time waits for one answer; one that is no
/// success is given to those and not kept.
pub async fn cache_responses(
    State(cache): State<Arc<ResponseCache>>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::GET {
        let changes = !request.method().is_safe();
        let response = next.run(request).await;
        // What was refused has changed nothing. What failed may have.
        if changes && !response.status().is_client_error() {
            cache.generation.fetch_add(1, Ordering::AcqRel);
        }
        return response;
    }
    let known = request.headers().typed_get::<IfNoneMatch>();
    let key = (cache.generation.load(Ordering::Acquire), request.uri().clone());
    let answer = match cache.responses.get(&key).await {
        Some(answer) => answer,
        None => {
            let making = async {
                let answer = CachedResponse::from_response(next.run(request).await).await;
                if answer.status == StatusCode::OK {
                    Ok(answer)
                } else {
                    Err(answer)
                }
            };
            let made = cache.responses.try_get_with(key, making).await;
            made.unwrap_or_else(Arc::unwrap_or_clone)
        }
    };
    answer.into_conditional_response(known.as_ref())
}

impl CachedResponse {
    /// The answer with what lets its reader ask again for less.
    async fn from_response(response: Response) -> Self {
        let (mut parts, body) = response.into_parts();
        // The handlers make their bodies in one piece.
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

    /// The answer to somebody who knows the versions `known` already.
    fn into_conditional_response(mut self, known: Option<&IfNoneMatch>) -> Response {
        let unchanged = known.is_some_and(|known| {
            self.headers
                .typed_get::<ETag>()
                .is_some_and(|etag| !known.precondition_passes(&etag))
        });
        let mut response = if unchanged {
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

/// The entity tag of what has no version of its own.
fn body_etag(body: &[u8]) -> ETag {
    // Ninety-six bits tell apart whatever this shop will ever answer.
    let digest = URL_SAFE_NO_PAD.encode(&Sha256::digest(body)[..12]);
    format!("\"{digest}\"")
        .parse()
        .expect("letters and digits in quotes are an entity tag")
}
