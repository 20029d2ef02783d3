//! The benchmarks, one file each. The name of a benchmark is the name of its file.

mod authentication;
mod catalog;
mod cold_start;
mod connection_cost;
mod cost;
mod load_spike;
mod memory;
mod order_latency;
mod order_throughput;
mod realtime;
mod reservations;

use std::fmt;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use strum::VariantArray;

use crate::{context::Context, report::Section};

/// A benchmark. The report lists them in this order.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Benchmark {
    /// Reservations per second, against straightforward SQL
    Reservations,
    /// Products and lists read per second, against a bare HTTP server
    Catalog,
    /// Time from the start of a function's process to its first poll, against a function that does nothing
    ColdStart,
    /// Memory and startup time of the services
    Memory,
    /// Time from an order's acceptance to its completion, against a saga of functions that do nothing
    OrderLatency,
    /// Time from an order's completion to the message at its customer's WebSocket client, against a function
    /// that only posts to a connection
    Realtime,
    /// Orders accepted per second, against the limit of the data store
    OrderThroughput,
    /// AWS cost of an order
    Cost,
    /// AWS cost of WebSocket connections and messages, and their size
    ConnectionCost,
    /// Ten times the normal load for a minute
    LoadSpike,
    /// Token verification and login
    Authentication,
}

impl Benchmark {
    /// Runs the benchmark.
    ///
    /// # Errors
    /// Fails when a part of the system is missing or responds incorrectly.
    pub async fn run(self, context: &Context) -> anyhow::Result<Section> {
        match self {
            Self::Reservations => reservations::run(context).await,
            Self::Catalog => catalog::run(context).await,
            Self::ColdStart => cold_start::run(context).await,
            Self::Memory => memory::run(context).await,
            Self::OrderLatency => order_latency::run(context).await,
            Self::Realtime => realtime::run(context).await,
            Self::OrderThroughput => order_throughput::run(context).await,
            Self::Cost => cost::run(context).await,
            Self::ConnectionCost => connection_cost::run(context).await,
            Self::LoadSpike => load_spike::run(context).await,
            Self::Authentication => authentication::run(context).await,
        }
    }
}

impl fmt::Display for Benchmark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no benchmark is hidden");
        f.write_str(value.get_name())
    }
}
