//! Faults on command: between the programs of a disturbed system, and around each of its functions.
//!
//! A [`Rule`] says what goes wrong, where, for whom and how often. Tests set rules with [`Faults`], the client;
//! the program `faults` keeps them in a [`Plan`], and its proxies and the functions' wrapper (`faulty-bootstrap`)
//! ask that plan about every request and every invocation. Nothing of this is deployed to AWS, and the programs
//! that it disturbs know nothing of it.

mod client;
mod control;
mod plan;
pub mod proxy;
mod rule;
pub mod wrapper;

pub use client::Faults;
pub use control::router;
pub use plan::{Counts, Plan};
pub use rule::{At, FunctionFault, Rule, RuleId, Share, Upstream, WireFault};
