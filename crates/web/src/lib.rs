//! What both HTTP services share: every error as a problem document, bounded and checked input, the bearer's
//! token, one trace, one log line and one measurement a request, health, and an orderly end.

mod bearer;
mod extract;
mod health;
mod metrics;
mod problem;
mod router;
mod serve;
mod trace;

pub use bearer::Bearer;
pub use extract::{Json, Path, Query};
pub use health::{Check, Readiness, health_routes};
pub use metrics::{MetricsError, metrics_routes};
pub use problem::{FieldError, Problem};
pub use router::with_defaults;
pub use serve::serve;
pub use trace::Trace;
