//! The rate limiting middleware: it finds the policy and the key of a request, rejects the request when the
//! limit is exceeded, and adds the `RateLimit` headers to the response
//! (draft-ietf-httpapi-ratelimit-headers).

use std::{fmt::Write as _, time::Duration};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http_server::Problem;

use crate::{
    http::{AppState, SharedState},
    rate_limit::{
        RateLimit, RateLimitKey,
        gcra::Decision,
        policy::{self, Policy},
    },
};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Middleware that applies the rate limits.
pub async fn limit_rate(State(app): State<SharedState>, request: Request, next: Next) -> Response {
    let Some((policy, key)) = policy_and_key(&app, &request) else {
        return next.run(request).await;
    };
    let limit = app.rate_limiter.limit(policy);
    let decision = match app.rate_limiter.check(limit, key) {
        Ok(decision) => decision,
        Err(remote_check) => app.rate_limiter.check_remote(limit, key, remote_check).await,
    };
    if let Decision::Rejected { .. } = decision {
        return too_many_requests(limit, decision);
    }
    let mut response = next.run(request).await;
    RateLimitHeaders::new(limit, decision).insert_into(&mut response);
    response
}

/// The policy that applies to a request, and the key that the request is counted by. `None` when the route
/// has no rate limit.
fn policy_and_key(app: &AppState, request: &Request) -> Option<(&'static Policy, RateLimitKey)> {
    let path = request.extensions().get::<MatchedPath>()?;
    let limits = policy::route_limits(request.method(), path.as_str())?;
    let by_address = || {
        let client_ip = app
            .trusted_proxies
            .client_ip(request.headers(), request.extensions());
        (limits.per_address, RateLimitKey::for_address(client_ip))
    };
    let Some(per_user) = limits.per_user else {
        return Some(by_address());
    };
    // The handler verifies the token again and reports the error if it is invalid.
    let claims =
        http_server::bearer_token(request.headers()).and_then(|token| app.verifier.verify(token).ok());
    match claims.and_then(|claims| claims.sub.parse().ok()) {
        Some(user_id) => Some((per_user, RateLimitKey::User(user_id))),
        None => Some(by_address()),
    }
}

/// The values of the `RateLimit-Policy` and `RateLimit` headers.
struct RateLimitHeaders {
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
