//! Fault injection for end-to-end tests: proxies between the services of a test system, and a wrapper around
//! each of its functions.
//!
//! A [`Rule`] defines which fault is injected, where, into which requests and how often. Tests add rules with
//! [`FaultClient`]. The server `fault-injection` keeps them in a [`RuleEngine`]. Its proxies and the function
//! wrapper (`fault-injecting-bootstrap`) ask the engine about every request and every invocation. Nothing of
//! this crate is deployed to AWS, and the services and functions under test are unchanged.

mod aws_call;
mod client;
mod control_api;
pub mod function_wrapper;
pub mod proxy;
mod rule;
mod rule_engine;

pub use aws_call::AwsCall;
pub use client::FaultClient;
pub use control_api::router;
pub use rule::{FunctionFault, NetworkFault, Rule, RuleId, Sampling, Target, Upstream};
pub use rule_engine::{OperationCounts, RuleEngine};
