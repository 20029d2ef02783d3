//! End-to-end tests: they call the public APIs of the running system, and then check the stores, the queues,
//! the payment provider and the sent mails.
//!
//! `cargo xtask test` starts a separate system for them and passes its addresses in environment variables.
//! Tests that need the system for themselves are in `tests/exclusive`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod authentication;
mod aws_cli;
mod cancellation;
mod carts;
mod dead_letters;
mod input_validation;
mod mail_feedback;
mod oauth_sign_in;
mod order_lifecycle;
mod payment_authentication;
mod payment_events;
mod payments;
mod realtime_js;
mod receipts;
mod role_rights;
mod security;
mod sms;
mod stock;
mod token_forgery;
mod unsubscribe;
mod websocket_connections;
mod websocket_messages;
mod websocket_stock;
mod websocket_updates;
