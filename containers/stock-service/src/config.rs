//! Configuration from environment variables, read once at start. A missing or invalid value stops the service
//! with an error that names the variable.

use std::{net::IpAddr, path::PathBuf};

use database::DatabaseArguments;
use secrecy::SecretString;

/// The configuration of stock-service.
#[derive(Clone, Debug, clap::Parser)]
#[command(
    version,
    about = "The only writer of stock. Configured by environment variables."
)]
pub struct Config {
    /// TCP port of the HTTP API.
    #[arg(long, env = "PORT", default_value_t = 3002)]
    pub port: u16,

    /// IP address that the HTTP API listens on.
    #[arg(long, env = "BIND_ADDRESS", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,

    #[command(flatten)]
    pub database: DatabaseArguments,

    /// Path of the JWKS with the public keys that verify service tokens. Changes of the file are followed.
    #[arg(long, env = "AUTH_JWKS_PATH")]
    pub auth_jwks_path: PathBuf,

    /// Expected issuer (`iss`) of service tokens.
    #[arg(long, env = "AUTH_ISSUER", default_value = "https://services.matsuri.local")]
    pub auth_issuer: String,

    /// Expected audience (`aud`) of service tokens.
    #[arg(long, env = "AUTH_AUDIENCE", default_value = "matsuri")]
    pub auth_audience: String,

    /// Name of the SQS queue with new products and stock adjustments.
    #[arg(long, env = "STOCK_UPDATE_QUEUE", default_value = "stock-update-queue")]
    pub stock_update_queue: String,

    /// Name of the EventBridge bus that events are published to.
    #[arg(long, env = "EVENT_BUS", default_value = "ecommerce-event-bus")]
    pub event_bus: String,

    /// Name of the SQS parking queue for events that could not be published.
    #[arg(long, env = "EVENT_PARKING_QUEUE", default_value = "event-parking-queue")]
    pub event_parking_queue: String,

    /// Name of the SQS queue for levels that are pushed to WebSocket clients.
    #[arg(long, env = "STOCK_PUSH_QUEUE", default_value = "stock-push-queue")]
    pub stock_push_queue: String,

    /// The Redis through which all instances together bound the pushes of a level: `redis://host:port`, or
    /// `rediss://` for TLS. Without it each instance bounds its own.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<SecretString>,

    /// A product is low when at most this many units are available.
    #[arg(
        long,
        env = "STOCK_LOW_THRESHOLD",
        default_value_t = 10,
        value_parser = clap::value_parser!(i64).range(0..),
    )]
    pub stock_low_threshold: i64,

    /// Seconds after SIGTERM during which requests are still accepted, so that the load balancer can
    /// deregister us.
    #[arg(long, env = "SHUTDOWN_DRAIN_SECONDS", default_value_t = 5)]
    pub shutdown_drain_seconds: u64,

    /// Log filter: a level, or directives such as `info,sqlx=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = telemetry::DEFAULT_FILTER)]
    pub log_level: String,
}
