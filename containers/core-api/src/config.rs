//! What the program is told by its environment, read once, at start. A value that is missing or wrong stops
//! it there, with the variable's name.

use std::net::IpAddr;

use axum::http::HeaderName;
use http_server::Network;
use secrecy::SecretString;

/// The configuration of the service.
#[derive(Clone, Debug, clap::Parser)]
pub struct Config {
    /// The TCP port of the HTTP API.
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub port: u16,

    /// The address that the HTTP API listens at.
    #[arg(long, env = "BIND_ADDRESS", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,

    /// Where products, accounts and events are.
    #[command(flatten)]
    pub database: DatabaseConfig,

    /// Who issues people's tokens: the front door.
    #[arg(long, env = "AUTH_ISSUER")]
    pub auth_issuer: String,

    /// Where the public keys (a JWKS) are that verify those tokens, if not below the issuer.
    #[arg(long, env = "AUTH_JWKS_URL")]
    pub auth_jwks_url: Option<String>,

    /// What those tokens are for.
    #[arg(long, env = "AUTH_AUDIENCE", default_value = "matsuri")]
    pub auth_audience: String,

    /// The name of the table of orders.
    #[arg(long, env = "ORDERS_TABLE", default_value = "ecommerce-orders")]
    pub orders_table: String,

    /// The name of the table of orders' events that wait to be published.
    #[arg(long, env = "OUTBOX_TABLE", default_value = "ecommerce-outbox")]
    pub outbox_table: String,

    /// The name of the table of idempotency keys.
    #[arg(long, env = "IDEMPOTENCY_TABLE", default_value = "ecommerce-idempotency")]
    pub idempotency_table: String,

    /// The name of the table of sessions, which carts are kept in.
    #[arg(long, env = "SESSIONS_TABLE", default_value = "ecommerce-sessions")]
    pub sessions_table: String,

    /// The name of the bus that events go to.
    #[arg(long, env = "EVENT_BUS", default_value = "ecommerce-event-bus")]
    pub event_bus: String,

    /// The name of the queue for events that the bus never took.
    #[arg(long, env = "EVENT_PARKING_QUEUE", default_value = "event-parking-queue")]
    pub event_parking_queue: String,

    /// Where all instances count together how much anybody asks for: `redis://host:port`, or `rediss://` with TLS. Without it
    /// each counts for itself.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<SecretString>,

    /// How many times as large every limit is. Tests and measurements ask for more than people do.
    #[arg(long, env = "RATE_LIMIT_MULTIPLIER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate_limit_factor: u32,

    /// The addresses and networks of the proxies that may say from where a request comes, separated by commas.
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,

    /// The header they say it in; its last entry counts.
    #[arg(long, env = "CLIENT_IP_HEADER", default_value = "x-forwarded-for")]
    pub client_address_header: HeaderName,

    /// For how many seconds after SIGTERM requests are still taken, until the load balancer has noticed.
    #[arg(long, env = "SHUTDOWN_DRAIN_SECONDS", default_value_t = 5)]
    pub shutdown_drain_seconds: u64,

    /// What is logged: a level, or a filter such as `info,sqlx=debug`.
    #[arg(long, env = "LOG_LEVEL", default_value = telemetry::DEFAULT_FILTER)]
    pub log_level: String,
}

impl Config {
    /// Where the public keys are that verify people's tokens.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        let below = || format!("{}/.well-known/jwks.json", self.auth_issuer.trim_end_matches('/'));
        self.auth_jwks_url.clone().unwrap_or_else(below)
    }
}

/// The database, which is all that the commands need.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/name`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: SecretString,
}
