//! What the program is told by its environment, read once, at start. A value that is missing or wrong stops
//! it there, with the variable's name.

use std::{net::IpAddr, path::PathBuf};

use secrecy::SecretString;

/// The configuration of stock-service.
#[derive(Clone, Debug, clap::Parser)]
#[command(version, about = "The only writer of stock. Configured by the environment.")]
pub struct Config {
    /// The TCP port of the HTTP API.
    #[arg(long, env = "PORT", default_value_t = 3002)]
    pub port: u16,

    /// The address that the HTTP API listens at.
    #[arg(long, env = "BIND_ADDRESS", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,

    /// `postgres://user:password@host:port/name`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,

    /// The file with the public keys (a JWKS) that verify our own programs' tokens.
    #[arg(long, env = "AUTH_JWKS_PATH")]
    pub auth_jwks_path: PathBuf,

    /// Who issues those tokens.
    #[arg(long, env = "AUTH_ISSUER", default_value = "https://services.matsuri.local")]
    pub auth_issuer: String,

    /// What those tokens are for.
    #[arg(long, env = "AUTH_AUDIENCE", default_value = "matsuri")]
    pub auth_audience: String,

    /// The name of the queue with changes from elsewhere.
    #[arg(long, env = "STOCK_UPDATE_QUEUE", default_value = "stock-update-queue")]
    pub stock_update_queue: String,

    /// The name of the bus that events go to.
    #[arg(long, env = "EVENT_BUS", default_value = "ecommerce-event-bus")]
    pub event_bus: String,

    /// The name of the queue for events that the bus never took.
    #[arg(long, env = "EVENT_PARKING_QUEUE", default_value = "event-parking-queue")]
    pub event_parking_queue: String,

    /// A product is low when this many pieces or fewer can be bought.
    #[arg(long, env = "STOCK_LOW_THRESHOLD", default_value_t = 10, value_parser = clap::value_parser!(i64).range(0..))]
    pub stock_low_threshold: i64,

    /// For how many seconds after SIGTERM requests are still taken, until the load balancer has noticed.
    #[arg(long, env = "SHUTDOWN_DRAIN_SECONDS", default_value_t = 5)]
    pub shutdown_drain_seconds: u64,

    /// What is logged: a level, or a filter such as `info,sqlx=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = telemetry::DEFAULT_FILTER)]
    pub log_level: String,
}
