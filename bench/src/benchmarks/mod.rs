//! The figures, one file each; a figure's name is its file's.

mod authentication;
mod catalog;
mod cold_start;
mod cost;
mod load_spike;
mod memory;
mod order_latency;
mod order_throughput;
mod reservations;

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::{context::Context, report::Section};

/// Something that is measured. They stand on the page in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Benchmark {
    /// Reservations per second, against the obvious SQL.
    Reservations,
    /// Products and lists read per second, against a bare handler.
    Catalog,
    /// Start of a function's process to its first poll, against an empty function.
    ColdStart,
    /// Memory of the services, and how soon they are ready.
    Memory,
    /// From an order's acceptance to its completion, against a saga of empty functions.
    OrderLatency,
    /// Orders accepted per second, against the data store's own limit.
    OrderThroughput,
    /// What an order costs in AWS.
    Cost,
    /// Ten times the usual load for a minute.
    LoadSpike,
    /// Verifying tokens, and signing in.
    Authentication,
}

impl Benchmark {
    /// Every figure.
    pub const ALL: [Self; 9] = [
        Self::Reservations,
        Self::Catalog,
        Self::ColdStart,
        Self::Memory,
        Self::OrderLatency,
        Self::OrderThroughput,
        Self::Cost,
        Self::LoadSpike,
        Self::Authentication,
    ];

    /// Measures it.
    ///
    /// # Errors
    /// When something that it needs is not there, or does not answer as it should.
    pub async fn run(self, context: &Context) -> anyhow::Result<Section> {
        match self {
            Self::Reservations => reservations::run(context).await,
            Self::Catalog => catalog::run(context).await,
            Self::ColdStart => cold_start::run(context).await,
            Self::Memory => memory::run(context).await,
            Self::OrderLatency => order_latency::run(context).await,
            Self::OrderThroughput => order_throughput::run(context).await,
            Self::Cost => cost::run(context).await,
            Self::LoadSpike => load_spike::run(context).await,
            Self::Authentication => authentication::run(context).await,
        }
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no figure is hidden");
        f.write_str(value.get_name())
    }
}
