//! Support for end-to-end tests and for `cargo xtask chaos`: API clients, consistency checks and process
//! control.
//!
//! The crate uses the system's public APIs, and it reads stores, queues and the payment provider directly. No
//! deployed service depends on it.

pub mod consistency;
pub mod process_control;
pub mod realtime;
pub mod system;
