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

use access_tokens::Verifier;
use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{FutureExt, future::BoxFuture};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;
use web::{Problem, Proxies};

use crate::limits::{
    Limit, Limits, Who,
    bucket::Verdict,
    policy::{self, Policy},
};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Applies the limits to the routes that it is laid around. Cloning, which axum does for each request, shares it.
#[derive(Clone, Debug)]
pub struct Throttle(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Limits,
    proxies: Proxies,
    verifier: Verifier,
}

impl Throttle {
    /// `proxies` say from where a request comes, and `verifier` whose it is.
    #[must_use]
    pub fn new(limits: Limits, proxies: Proxies, verifier: Verifier) -> Self {
        Self(Arc::new(Inner {
            limits,
            proxies,
            verifier,
        }))
    }
}

impl Inner {
    /// Which limit a request counts towards, and for whom.
    fn counted(&self, request: &Request) -> Option<(&'static Policy, Who)> {
        let path = request.extensions().get::<MatchedPath>()?;
        let rule = policy::rule(request.method(), path.as_str())?;
        let address = || Who::at(self.proxies.client(request.headers(), request.extensions()));
        let Some(of_person) = rule.person else {
            return Some((rule.address, address()));
        };
        // The handler looks at the token again, and says what is wrong with it.
        let claims = web::token(request.headers()).and_then(|token| self.verifier.verify(token).ok());
        match claims.and_then(|claims| claims.sub.parse().ok()) {
            Some(id) => Some((of_person, Who::Person(id))),
            None => Some((rule.address, address())),
        }
    }
}

impl<S> Layer<S> for Throttle {
    type Service = Throttled<S>;

    fn layer(&self, inner: S) -> Throttled<S> {
        Throttled {
            inner,
            throttle: self.clone(),
        }
    }
}

/// A service behind the limits.
#[derive(Clone, Debug)]
pub struct Throttled<S> {
    inner: S,
    throttle: Throttle,
}

impl<S> Service<Request> for Throttled<S>
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
        let Some((policy, who)) = self.throttle.0.counted(&request) else {
            return ThrottledFuture::Inner {
                answer: self.inner.call(request),
                told: None,
            };
        };
        let limit = self.throttle.0.limits.limit(policy);
        match self.throttle.0.limits.count(limit, who) {
            Ok(verdict @ Verdict::Admitted { .. }) => ThrottledFuture::Inner {
                told: Some(Told::new(limit, verdict)),
                answer: self.inner.call(request),
            },
            Ok(refused) => ThrottledFuture::Refusal {
                refusal: Some(refuse(limit, refused)),
            },
            Err(question) => {
                // What was made ready is what is called.
                let spare = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, spare);
                let (limits, limit) = (self.throttle.0.limits.clone(), limit.clone());
                let answer = async move {
                    let verdict = limits.ask(&limit, who, question).await;
                    if let Verdict::Refused { .. } = verdict {
                        return Ok(refuse(&limit, verdict));
                    }
                    let mut response = inner.call(request).await?;
                    Told::new(&limit, verdict).tell(&mut response);
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
        Inner { #[pin] answer: F, told: Option<Told> },
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
                    told.tell(&mut response);
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
pub struct Told {
    policy: HeaderValue,
    state: HeaderValue,
}

impl Told {
    fn new(limit: &Limit, verdict: Verdict) -> Self {
        let (remaining, next) = match verdict {
            Verdict::Admitted { remaining, next } => (remaining, next),
            Verdict::Refused { after } => (0, after),
        };
        let mut state = String::with_capacity(40);
        // Writing to memory does not fail.
        let _ = write!(
            state,
            "\"{}\";r={remaining};t={}",
            limit.policy.name,
            seconds(next)
        );
        Self {
            policy: limit.told.clone(),
            state: HeaderValue::try_from(state).expect("names and digits are a header's value"),
        }
    }

    fn tell(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(RATELIMIT_POLICY, self.policy);
        headers.insert(RATELIMIT, self.state);
    }
}

fn refuse(limit: &Limit, verdict: Verdict) -> Response {
    let after = match verdict {
        Verdict::Refused { after } => seconds(after),
        Verdict::Admitted { .. } => 0,
    };
    let mut response = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "quota-exceeded",
        "Too many requests",
    )
    .detail(format!("Nothing was done. Try again in {after} s."))
    .with("violated-policies", vec![limit.policy.name])
    .header(header::RETRY_AFTER, HeaderValue::from(after))
    .into_response();
    Told::new(limit, verdict).tell(&mut response);
    response
}

/// Whole seconds after which the time has come for certain.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
