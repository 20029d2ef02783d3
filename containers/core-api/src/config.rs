//! The configuration: environment variables, read once at startup. A missing or invalid value stops the
//! service with an error that names the variable.

use std::net::IpAddr;

use axum::http::HeaderName;
use database::{DatabaseArguments, Role};
use http_server::{CloudFrontMode, Network};
use secrecy::SecretString;
use url::Url;

use crate::order_limits::{AccountLimits, OrderLimits};

/// The configuration of the service.
#[derive(Clone, Debug, clap::Parser)]
pub struct Config {
    /// The TCP port of the HTTP API
    #[arg(long, env = "PORT", default_value_t = 3000)]
    pub port: u16,

    /// The IP address that the HTTP API listens on
    #[arg(long, env = "BIND_ADDRESS", default_value = "0.0.0.0")]
    pub bind_address: IpAddr,

    #[command(flatten)]
    pub database: DatabaseArguments,

    /// The issuer of user tokens: the URL of the API gateway
    #[arg(long, env = "AUTH_ISSUER")]
    pub auth_issuer: String,

    /// The URL of the JWKS that verifies user tokens [default: `<AUTH_ISSUER>/.well-known/jwks.json`]
    #[arg(long, env = "AUTH_JWKS_URL")]
    pub auth_jwks_url: Option<String>,

    /// The required audience of user tokens
    #[arg(long, env = "AUTH_AUDIENCE", default_value = "matsuri")]
    pub auth_audience: String,

    /// The DynamoDB table of orders
    #[arg(long, env = "ORDERS_TABLE", default_value = "ecommerce-orders")]
    pub orders_table: String,

    /// The DynamoDB table of the outbox of order events
    #[arg(long, env = "OUTBOX_TABLE", default_value = "ecommerce-outbox")]
    pub outbox_table: String,

    /// The DynamoDB table of idempotency keys
    #[arg(long, env = "IDEMPOTENCY_TABLE", default_value = "ecommerce-idempotency")]
    pub idempotency_table: String,

    /// The DynamoDB table of sessions, which also stores the carts
    #[arg(long, env = "SESSIONS_TABLE", default_value = "ecommerce-sessions")]
    pub sessions_table: String,

    /// The DynamoDB table of e-mail addresses to which no mail is sent
    #[arg(
        long,
        env = "MAIL_SUPPRESSIONS_TABLE",
        default_value = "ecommerce-mail-suppressions"
    )]
    pub mail_suppressions_table: String,

    /// The S3 bucket of receipts
    #[arg(long, env = "RECEIPTS_BUCKET", default_value = "ecommerce-receipts")]
    pub receipts_bucket: String,

    /// The address of S3 in links to receipts, if customers reach S3 at another address than the service
    #[arg(long, env = "RECEIPT_LINK_ENDPOINT")]
    pub receipt_link_endpoint: Option<Url>,

    /// The DynamoDB table of the connections and tickets of the WebSocket API
    #[arg(long, env = "CONNECTIONS_TABLE", default_value = "ecommerce-connections")]
    pub connections_table: String,

    /// The URL of the WebSocket API: the output `WebSocketApiUrl` of the SAM template
    #[arg(long, env = "WS_API_URL")]
    pub websocket_api_url: Url,

    /// The EventBridge bus that events are published to
    #[arg(long, env = "EVENT_BUS", default_value = "ecommerce-event-bus")]
    pub event_bus: String,

    /// The SQS queue for events that EventBridge permanently rejects
    #[arg(long, env = "EVENT_PARKING_QUEUE", default_value = "event-parking-queue")]
    pub event_parking_queue: String,

    /// The SQS queue of the function sms-sender, for codes that verify telephone numbers
    #[arg(long, env = "SMS_QUEUE", default_value = "sms-queue")]
    pub sms_queue: String,

    /// The maximum number of these codes in an hour, of all accounts
    #[arg(long, env = "MAX_PHONE_CODES_PER_HOUR", default_value_t = 500)]
    pub max_phone_codes_per_hour: u32,

    /// The Redis with the rate limit counters that all instances share: `redis://host:port`, or `rediss://`
    /// for TLS. Without it each instance counts separately
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Option<SecretString>,

    /// Multiplies every rate limit, for tests and benchmarks
    #[arg(
        long,
        env = "RATE_LIMIT_MULTIPLIER",
        default_value_t = 1,
        value_parser = clap::value_parser!(u32).range(1..=1_000_000)
    )]
    pub rate_limit_multiplier: u32,

    #[command(flatten)]
    pub order_limits: OrderLimitsConfig,

    /// The addresses and networks of the proxies whose client IP header is trusted, separated by commas
    #[arg(long, env = "TRUSTED_PROXIES", value_delimiter = ',')]
    pub trusted_proxies: Vec<Network>,

    /// The header in which trusted proxies send the client's IP address; the last entry counts
    #[arg(long, env = "CLIENT_IP_HEADER", default_value = "x-forwarded-for")]
    pub client_ip_header: HeaderName,

    /// Whether requests come through CloudFront: `unused`, `accepted` (or directly) or `required`
    #[arg(long, env = "CLOUDFRONT", default_value = "unused")]
    pub cloudfront: CloudFrontMode,

    /// The name of the secret in Secrets Manager that CloudFront sends, read if CloudFront is used
    #[arg(
        long,
        env = "CLOUDFRONT_ORIGIN_SECRET",
        default_value = "ecommerce/cloudfront-origin"
    )]
    pub cloudfront_origin_secret: String,

    /// The name of the secret in Secrets Manager with the keys that verify unsubscribe links
    #[arg(
        long,
        env = "UNSUBSCRIBE_KEYS_SECRET",
        default_value = "ecommerce/unsubscribe-keys"
    )]
    pub unsubscribe_keys_secret: String,

    /// The time in seconds for which the service accepts requests after SIGTERM, so that the load balancer
    /// notices
    #[arg(long, env = "SHUTDOWN_DRAIN_SECONDS", default_value_t = 5)]
    pub shutdown_drain_seconds: u64,

    /// The log filter: a level, or directives such as `info,sqlx=debug`
    #[arg(long, env = "LOG_LEVEL", default_value = telemetry::DEFAULT_FILTER)]
    pub log_level: String,
}

impl Config {
    /// The URL of the JWKS that verifies user tokens.
    #[must_use]
    pub fn jwks_url(&self) -> String {
        self.auth_jwks_url.clone().unwrap_or_else(|| {
            let issuer = self.auth_issuer.trim_end_matches('/');
            format!("{issuer}/.well-known/jwks.json")
        })
    }
}

/// How much an account may order.
#[derive(Clone, Debug, clap::Args)]
pub struct OrderLimitsConfig {
    /// The maximum number of open orders of an account; 0 means any number
    #[arg(long, env = "MAX_OPEN_ORDERS", default_value_t = 10)]
    max_open_orders: u32,

    /// The maximum number of units in an order
    #[arg(long, env = "MAX_UNITS_PER_ORDER", default_value_t = 200)]
    max_units_per_order: u32,

    /// `MAX_OPEN_ORDERS` of an account whose e-mail address is not verified
    #[arg(long, env = "UNVERIFIED_MAX_OPEN_ORDERS", default_value_t = 2)]
    unverified_max_open_orders: u32,

    /// `MAX_UNITS_PER_ORDER` of an account whose e-mail address is not verified
    #[arg(long, env = "UNVERIFIED_MAX_UNITS_PER_ORDER", default_value_t = 20)]
    unverified_max_units_per_order: u32,

    /// Whether an account can order only after its e-mail address was verified
    #[arg(long, env = "REQUIRE_VERIFIED_EMAIL", default_value_t = false, action = clap::ArgAction::Set)]
    require_verified_email: bool,
}

impl From<OrderLimitsConfig> for OrderLimits {
    fn from(config: OrderLimitsConfig) -> Self {
        let limits = |max_open_orders, max_units| AccountLimits {
            max_units,
            max_open_orders: Some(max_open_orders).filter(|max| *max > 0),
        };
        let unverified = limits(
            config.unverified_max_open_orders,
            config.unverified_max_units_per_order,
        );
        Self {
            verified: limits(config.max_open_orders, config.max_units_per_order),
            unverified: Some(unverified).filter(|_| !config.require_verified_email),
        }
    }
}

/// The passwords of the programs' database roles. A role without a password cannot log in.
#[derive(Clone, Debug, clap::Args)]
pub struct RolePasswords {
    /// The new password of the role core_api [default: unchanged]
    #[arg(long, env = "CORE_API_DATABASE_PASSWORD", hide_env_values = true)]
    pub core_api_password: Option<SecretString>,

    /// The new password of the role stock_service [default: unchanged]
    #[arg(long, env = "STOCK_SERVICE_DATABASE_PASSWORD", hide_env_values = true)]
    pub stock_service_password: Option<SecretString>,

    /// The new password of the role auth, of the auth functions [default: unchanged]
    #[arg(long, env = "AUTH_DATABASE_PASSWORD", hide_env_values = true)]
    pub auth_password: Option<SecretString>,
}

impl RolePasswords {
    /// The roles that get a new password.
    pub fn iter(&self) -> impl Iterator<Item = (Role, &SecretString)> {
        let passwords = [
            (Role::CoreApi, &self.core_api_password),
            (Role::StockService, &self.stock_service_password),
            (Role::Auth, &self.auth_password),
        ];
        passwords
            .into_iter()
            .filter_map(|(role, password)| Some((role, password.as_ref()?)))
    }
}
