//! Integration tests of the deployed functions and of their data stores, against PostgreSQL (`DATABASE_URL`)
//! and a local AWS (`AWS_ENDPOINT_URL`). `cargo xtask test` starts both and sets the variables.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod auth_flows;
mod cloudfront;
mod login_throttle;
mod oauth;
mod secret_rotation;
mod sessions;
mod signing_keys;
mod support;
mod table_rights;
mod test_clock;
