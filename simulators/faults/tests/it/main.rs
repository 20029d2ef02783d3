//! The proxies against small upstreams, and the wrapper around a small function.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod control;
mod http;
mod postgres;
mod wrapper;
