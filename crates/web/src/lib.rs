//! What both HTTP services share: every error as a problem document, bounded and checked input, the bearer's
//! token, where a request comes from, how many there may be, one trace, one log line and one measurement of each,
//! health, and an orderly end; and what they stand on when something else fails.

mod address;
mod bearer;
mod breaker;
mod capacity;
mod extract;
mod harden;
mod health;
mod metrics;
mod object;
mod problem;
mod router;
mod serve;
mod trace;

pub use address::{InvalidNetwork, Network, Peer, Proxies};
pub use bearer::{Bearer, token};
pub use breaker::{Attempt, Breaker};
pub use capacity::Capacity;
pub use extract::{Json, Path, Query};
pub use health::{Check, Readiness, health_routes};
pub use metrics::{MetricsError, metrics_routes};
pub use object::Object;
pub use problem::{FieldError, Problem};
pub use router::with_defaults;
pub use serve::{accept, serve};
pub use trace::Trace;
