//! The rate limiting middleware: it finds the policy and the key of a request, rejects the request when the
//! limit is exceeded, and adds the `RateLimit` headers to the response
//! (draft-ietf-httpapi-ratelimit-headers).

use std::{
    convert::Infallible,
    fmt::Write as _,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{FutureExt, future::BoxFuture};
use http_server::{Problem, TrustedProxies};
use pin_project_lite::pin_project;
use tokens::TokenVerifier;
use tower_layer::Layer;
use tower_service::Service;

use crate::rate_limit::{
    RateLimit, RateLimitKey, RateLimiter,
    gcra::Decision,
    policy::{self, Policy},
};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Applies the rate limits to the routes that it wraps. Clones share the state; axum clones the layer per
/// request.
#[derive(Clone, Debug)]
pub struct RateLimitLayer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rate_limiter: RateLimiter,
    trusted_proxies: TrustedProxies,
    verifier: TokenVerifier,
}

impl RateLimitLayer {
    /// `trusted_proxies` determines the client IP address of a request, and `verifier` the user.
    #[must_use]
    pub fn new(rate_limiter: RateLimiter, trusted_proxies: TrustedProxies, verifier: TokenVerifier) -> Self {
        Self(Arc::new(Inner {
            rate_limiter,
            trusted_proxies,
            verifier,
        }))
    }
}

impl Inner {
    /// The policy that applies to a request, and the key that the request is counted by. `None` when the
    /// route has no rate limit.
    fn policy_and_key(&self, request: &Request) -> Option<(&'static Policy, RateLimitKey)> {
        let path = request.extensions().get::<MatchedPath>()?;
        let limits = policy::route_limits(request.method(), path.as_str())?;
        let by_address = || {
            let client_ip = self
                .trusted_proxies
                .client_ip(request.headers(), request.extensions());
            (limits.per_address, RateLimitKey::for_address(client_ip))
        };
        let Some(per_user) = limits.per_user else {
            return Some(by_address());
        };
        // The handler verifies the token again and reports the error if it is invalid.
        let claims =
            http_server::bearer_token(request.headers()).and_then(|token| self.verifier.verify(token).ok());
        match claims.and_then(|claims| claims.sub.parse().ok()) {
            Some(user_id) => Some((per_user, RateLimitKey::User(user_id))),
            None => Some(by_address()),
        }
    }
}

impl<S> Layer<S> for RateLimitLayer {
    type Service = RateLimitService<S>;

    fn layer(&self, inner: S) -> RateLimitService<S> {
        RateLimitService {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service that [`RateLimitLayer`] makes.
#[derive(Clone, Debug)]
pub struct RateLimitService<S> {
    inner: S,
    layer: RateLimitLayer,
}

impl<S> Service<Request> for RateLimitService<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RateLimitFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Inner { rate_limiter, .. } = &*self.layer.0;
        let Some((policy, key)) = self.layer.0.policy_and_key(&request) else {
            return RateLimitFuture::Inner {
                response: self.inner.call(request),
                headers: None,
            };
        };
        let limit = rate_limiter.limit(policy);
        match rate_limiter.check(limit, key) {
            Ok(decision @ Decision::Allowed { .. }) => RateLimitFuture::Inner {
                response: self.inner.call(request),
                headers: Some(RateLimitHeaders::new(limit, decision)),
            },
            Ok(decision @ Decision::Rejected { .. }) => RateLimitFuture::Rejected {
                response: Some(too_many_requests(limit, decision)),
            },
            Err(remote_check) => {
                // `poll_ready` was called on `self.inner`, so that instance takes the call and its clone
                // stays here.
                let clone = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, clone);
                let (rate_limiter, limit) = (rate_limiter.clone(), limit.clone());
                let response = async move {
                    let decision = rate_limiter.check_remote(&limit, key, remote_check).await;
                    if let Decision::Rejected { .. } = decision {
                        return Ok(too_many_requests(&limit, decision));
                    }
                    let mut response = inner.call(request).await?;
                    RateLimitHeaders::new(&limit, decision).insert_into(&mut response);
                    Ok(response)
                };
                RateLimitFuture::Remote {
                    response: response.boxed(),
                }
            }
        }
    }
}

pin_project! {
    /// The future of [`RateLimitService`]. Only requests that need a call to Redis are boxed.
    #[project = Projected]
    pub enum RateLimitFuture<F> {
        /// The request was allowed locally: the inner service's response, and the headers to add to it.
        Inner { #[pin] response: F, headers: Option<RateLimitHeaders> },
        /// Redis decides; the inner service is called afterwards.
        Remote { response: BoxFuture<'static, Result<Response, Infallible>> },
        /// The rate limit is exceeded.
        Rejected { response: Option<Response> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for RateLimitFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Inner { response, headers } => {
                let mut response = match ready!(response.poll(context)) {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                if let Some(headers) = headers.take() {
                    headers.insert_into(&mut response);
                }
                Poll::Ready(Ok(response))
            }
            Projected::Remote { response } => response.poll_unpin(context),
            Projected::Rejected { response } => Poll::Ready(Ok(response
                .take()
                .expect("a future is not polled after it has completed"))),
        }
    }
}

/// The values of the `RateLimit-Policy` and `RateLimit` headers.
#[derive(Debug)]
pub struct RateLimitHeaders {
    policy: HeaderValue,
    state: HeaderValue,
}

impl RateLimitHeaders {
    fn new(limit: &RateLimit, decision: Decision) -> Self {
        let (remaining, reset) = match decision {
            Decision::Allowed { remaining, next_in } => (remaining, next_in),
            Decision::Rejected { retry_after } => (0, retry_after),
        };
        let mut state = String::with_capacity(40);
        write!(
            state,
            "\"{}\";r={remaining};t={}",
            limit.policy.name,
            ceil_seconds(reset)
        )
        .expect("writing to a string does not fail");
        Self {
            policy: limit.policy_header.clone(),
            state: HeaderValue::try_from(state).expect("policy names and digits are a valid header value"),
        }
    }

    fn insert_into(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(RATELIMIT_POLICY, self.policy);
        headers.insert(RATELIMIT, self.state);
    }
}

fn too_many_requests(limit: &RateLimit, decision: Decision) -> Response {
    let retry_after = match decision {
        Decision::Rejected { retry_after } => ceil_seconds(retry_after),
        Decision::Allowed { .. } => 0,
    };
    let mut response = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "quota-exceeded",
        "Rate limit exceeded",
    )
    .detail(format!(
        "The request was not processed. Try again in {retry_after} s."
    ))
    .extension("violated-policies", vec![limit.policy.name])
    .header(header::RETRY_AFTER, HeaderValue::from(retry_after))
    .into_response();
    RateLimitHeaders::new(limit, decision).insert_into(&mut response);
    response
}

/// The duration in seconds, rounded up, so that a retry after it is never too early.
fn ceil_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
