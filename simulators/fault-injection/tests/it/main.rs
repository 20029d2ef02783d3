//! Tests of the control API, of the proxies with stub upstreams, and of the wrapper around a small function.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod control_api;
mod function_wrapper;
mod http_proxy;
mod postgres_proxy;
