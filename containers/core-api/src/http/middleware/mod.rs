//! axum middleware of the API.

pub mod rate_limit;
pub mod response_cache;
