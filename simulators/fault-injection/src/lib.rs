//! Faults on command: between the programs of a disturbed system, and around each of its functions.
//!
//! A [`Rule`] says what goes wrong, where, for whom and how often. Tests set rules with [`Faults`], the client;
//! the program `faults` keeps them in a [`Plan`], and its proxies and the functions' wrapper (`fault-injecting-bootstrap`)
//! ask that plan about every request and every invocation. Nothing of this is deployed to AWS, and the programs
//! that it disturbs know nothing of it.

mod client;
mod control_api;
pub mod function_wrapper;
pub mod proxy;
mod rule;
mod rule_engine;

pub use client::FaultClient;
pub use control_api::router;
pub use rule::{FunctionFault, NetworkFault, Rule, RuleId, Sampling, Target, Upstream};
pub use rule_engine::{OperationCounts, RuleEngine};
