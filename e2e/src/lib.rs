//! The running system from outside: what tests and `cargo xtask chaos` do to it and see of it.
//!
//! Everything here comes in by the public door or looks into a store, a queue or the provider's books.
//! Nothing here is part of what is deployed.

pub mod consistency;
pub mod process_control;
pub mod system;
