//! core-api's HTTP API against a real PostgreSQL, DynamoDB and Redis. Each test has its own database and
//! tables. `cargo xtask test` sets the addresses of PostgreSQL (`DATABASE_URL`) and DynamoDB
//! (`AWS_ENDPOINT_URL`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod account_status;
mod accounts;
mod addresses;
mod admin;
mod authentication;
mod authorization;
mod cart_merging;
mod carts;
mod checkout;
mod circuit_breaker;
mod cloudfront;
mod failed_order_cart;
mod idempotency;
mod input_validation;
mod jwks_refresh;
mod mail_suppression;
mod openapi;
mod optimistic_concurrency;
mod order_limits;
mod order_listing;
mod order_mail_preferences;
mod order_sms_preferences;
mod orders;
mod payment_action;
mod phone;
mod process;
mod product_listing;
mod products;
mod rate_limit;
mod rate_limit_redis;
mod realtime;
mod receipts;
mod response_cache;
mod seed;
mod support;
mod tax_rates;
mod test_clock;
mod test_issuer;
mod test_user;
mod unsubscribe;
