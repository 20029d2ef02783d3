//! HTTP server building blocks that core-api, stock-service and the auth functions share: problem documents,
//! validating extractors, bearer tokens, client IP addresses, request limits, security headers, load
//! shedding, circuit breakers, traces, metrics, health routes and graceful shutdown.

mod bearer_token;
mod circuit_breaker;
mod client_ip;
mod cloudfront;
pub mod extract;
mod health;
mod json_object;
mod load_shed;
mod metrics;
mod problem;
mod request_limits;
mod router;
mod security_headers;
mod serve;
mod trace;

pub use bearer_token::{Bearer, bearer_token};
pub use circuit_breaker::{Attempt, CircuitBreaker};
pub use client_ip::{Network, ParseNetworkError, TrustedProxies};
pub use cloudfront::{
    CloudFrontMode, OriginSecrets, ParseCloudFrontModeError, ParseOriginSecretsError, require_cloudfront,
};
pub use extract::{Json, Path, Query};
pub use health::{Readiness, ReadinessCheck, health_routes};
pub use json_object::JsonObject;
pub use load_shed::{ConcurrencyLimit, shed_load};
pub use metrics::{MetricsError, metrics_routes};
pub use problem::{FieldError, Problem};
pub use router::with_common_middleware;
pub use serve::{serve, serve_connections};
pub use trace::TraceContext;
