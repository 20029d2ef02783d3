//! The limits at the door: whose request it is, whether it may come in, and what its answer tells of the limit
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

/// Applies the limits to the routes that it is laid around. Cloning, which axum does for each request, shares it.
#[derive(Clone, Debug)]
pub struct RateLimitLayer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rate_limiter: RateLimiter,
    trusted_proxies: TrustedProxies,
    verifier: TokenVerifier,
}

impl RateLimitLayer {
    /// `proxies` say from where a request comes, and `verifier` whose it is.
    #[must_use]
    pub fn new(limits: RateLimiter, proxies: TrustedProxies, verifier: TokenVerifier) -> Self {
        Self(Arc::new(Inner {
            rate_limiter: limits,
            trusted_proxies: proxies,
            verifier,
        }))
    }
}

impl Inner {
    /// Which limit a request counts towards, and for whom.
    fn policy_and_key(&self, request: &Request) -> Option<(&'static Policy, RateLimitKey)> {
        let path = request.extensions().get::<MatchedPath>()?;
        let rule = policy::route_limits(request.method(), path.as_str())?;
        let address = || {
            RateLimitKey::for_address(
                self.trusted_proxies
                    .client_ip(request.headers(), request.extensions()),
            )
        };
        let Some(of_person) = rule.per_user else {
            return Some((rule.per_address, address()));
        };
        // The handler looks at the token again, and says what is wrong with it.
        let claims =
            http_server::bearer_token(request.headers()).and_then(|token| self.verifier.verify(token).ok());
        match claims.and_then(|claims| claims.sub.parse().ok()) {
            Some(id) => Some((of_person, RateLimitKey::User(id))),
            None => Some((rule.per_address, address())),
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

/// A service behind the limits.
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
    type Future = ThrottledFuture<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let Some((policy, who)) = self.layer.0.policy_and_key(&request) else {
            return ThrottledFuture::Inner {
                answer: self.inner.call(request),
                told: None,
            };
        };
        let limit = self.layer.0.rate_limiter.limit(policy);
        match self.layer.0.rate_limiter.check(limit, who) {
            Ok(verdict @ Decision::Allowed { .. }) => ThrottledFuture::Inner {
                told: Some(RateLimitHeaders::new(limit, verdict)),
                answer: self.inner.call(request),
            },
            Ok(refused) => ThrottledFuture::Refusal {
                refusal: Some(too_many_requests(limit, refused)),
            },
            Err(question) => {
                // What was made ready is what is called.
                let spare = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, spare);
                let (limits, limit) = (self.layer.0.rate_limiter.clone(), limit.clone());
                let answer = async move {
                    let verdict = limits.check_remote(&limit, who, question).await;
                    if let Decision::Rejected { .. } = verdict {
                        return Ok(too_many_requests(&limit, verdict));
                    }
                    let mut response = inner.call(request).await?;
                    RateLimitHeaders::new(&limit, verdict).insert_into(&mut response);
                    Ok(response)
                };
                ThrottledFuture::Asking {
                    answer: answer.boxed(),
                }
            }
        }
    }
}

pin_project! {
    /// An answer on its way through the limits. Only what Redis has to be asked about is boxed.
    #[project = Projected]
    pub enum ThrottledFuture<F> {
        /// The service's answer, which is told of the limit.
        Inner { #[pin] answer: F, told: Option<RateLimitHeaders> },
        /// Redis is being asked.
        Asking { answer: BoxFuture<'static, Result<Response, Infallible>> },
        /// The limit is reached.
        Refusal { refusal: Option<Response> },
    }
}

impl<F: Future<Output = Result<Response, Infallible>>> Future for ThrottledFuture<F> {
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            Projected::Inner { answer, told } => {
                let mut response = match ready!(answer.poll(context)) {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                if let Some(told) = told.take() {
                    told.insert_into(&mut response);
                }
                Poll::Ready(Ok(response))
            }
            Projected::Asking { answer } => answer.poll_unpin(context),
            Projected::Refusal { refusal } => {
                Poll::Ready(Ok(refusal.take().expect("an answer is asked for once")))
            }
        }
    }
}

/// What an answer tells of its limit.
#[derive(Debug)]
pub struct RateLimitHeaders {
    policy: HeaderValue,
    state: HeaderValue,
}

impl RateLimitHeaders {
    fn new(limit: &RateLimit, verdict: Decision) -> Self {
        let (remaining, next) = match verdict {
            Decision::Allowed {
                remaining,
                next_in: next,
            } => (remaining, next),
            Decision::Rejected { retry_after: after } => (0, after),
        };
        let mut state = String::with_capacity(40);
        // Writing to memory does not fail.
        let _ = write!(
            state,
            "\"{}\";r={remaining};t={}",
            limit.policy.name,
            ceil_seconds(next)
        );
        Self {
            policy: limit.policy_header.clone(),
            state: HeaderValue::try_from(state).expect("names and digits are a header's value"),
        }
    }

    fn insert_into(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(RATELIMIT_POLICY, self.policy);
        headers.insert(RATELIMIT, self.state);
    }
}

fn too_many_requests(limit: &RateLimit, verdict: Decision) -> Response {
    let after = match verdict {
        Decision::Rejected { retry_after: after } => ceil_seconds(after),
        Decision::Allowed { .. } => 0,
    };
    let mut response = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "quota-exceeded",
        "Rate limit exceeded",
    )
    .detail(format!("The request was not processed. Try again in {after} s."))
    .extension("violated-policies", vec![limit.policy.name])
    .header(header::RETRY_AFTER, HeaderValue::from(after))
    .into_response();
    RateLimitHeaders::new(limit, verdict).insert_into(&mut response);
    response
}

/// Whole seconds after which the time has come for certain.
fn ceil_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
