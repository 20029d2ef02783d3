//! Tests of the template for rules that AWS enforces and the emulator does not. They read the template as
//! text and need no running system.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod api_routes;
mod authorizer;
mod network;
mod notifications;
mod payment_action;
mod receipts;
mod retention;
mod send_rate;
mod template;
