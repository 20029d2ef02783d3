//! What both HTTP services share: every error as a problem document, bounded and checked input, the bearer's
//! token, where a request comes from, how many there may be, one trace, one log line and one measurement of each,
//! health, and an orderly end; and what they stand on when something else fails.

mod bearer_token;
mod circuit_breaker;
mod client_ip;
mod extract;
mod health;
mod json_object;
mod load_shed;
mod metrics;
mod problem;
mod router;
mod security_headers;
mod serve;
mod trace;

pub use bearer_token::{Bearer, bearer_token};
pub use circuit_breaker::{Attempt, CircuitBreaker};
pub use client_ip::{Network, ParseNetworkError, PeerAddr, TrustedProxies};
pub use extract::{Json, Path, Query};
pub use health::{Readiness, ReadinessCheck, health_routes};
pub use json_object::JsonObject;
pub use load_shed::LoadShedLayer;
pub use metrics::{MetricsError, metrics_routes};
pub use problem::{FieldError, Problem};
pub use router::with_common_middleware;
pub use serve::{serve, serve_connections};
pub use trace::TraceContext;
