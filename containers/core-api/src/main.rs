//! Wires core-api together and runs it until it is told to stop; and the commands that prepare what it needs.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use aws_sdk_eventbridge::error::DisplayErrorContext;
use clap::Parser;
use core_api::{
    accounts::AccountStatusCache,
    carts::Carts,
    catalog::{self, Catalog, SeedProduct},
    config::{Config, DatabaseConfig},
    dynamodb,
    http::{self, AppState},
    jwks_refresh::JwksRefresher,
    order_service::OrderService,
    rate_limit::RateLimiter,
};
use domain::{Clock, UserId};
use event_publishing::{ParkingQueue, PostgresOutbox, Publisher, Relay};
use futures::{FutureExt, future::join_all};
use http_server::{Readiness, ReadinessCheck, TrustedProxies};
use mimalloc::MiMalloc;
use orders::{Orders, Tables};
use sqlx::PgPool;
use tokens::{Role, TokenVerifier};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use users::{DisplayName, EmailAddress, Users};

/// Each request has several boxes of more than a kilobyte, which glibc's allocator looks for anew each time.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// A request holds a connection for the time of its statements only.
const MAX_DATABASE_CONNECTIONS: u32 = 10;

/// How long events that wait may take to leave after the last request.
const OUTBOX_FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Catalogue, accounts, carts and orders over HTTP.
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Without a command it serves, as its environment says."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Brings the database's schema up to date.
    Migrate {
        #[command(flatten)]
        database: DatabaseConfig,
    },
    /// Brings the catalogue to what a file says.
    Seed {
        #[command(flatten)]
        database: DatabaseConfig,
        /// A JSON array of products.
        file: PathBuf,
    },
    /// Makes an account, or changes what one may do: how the first administrator comes to be.
    ///
    /// It has no password; its person chooses one by `password/forgot`.
    Account {
        #[command(flatten)]
        database: DatabaseConfig,
        /// Whose; a new one if it is not given.
        #[arg(long)]
        id: Option<UserId>,
        /// Where mail reaches them.
        #[arg(long)]
        email: String,
        /// How they want to be called.
        #[arg(long, default_value = "Matsuri")]
        name: String,
        /// What they may do: `customer`, `support` or `admin`.
        #[arg(long, value_parser = parse_user_role)]
        role: Role,
    },
    /// Prints the OpenAPI document.
    Openapi,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        None => serve(Config::parse()).await,
        Some(Command::Migrate { database }) => database::migrate(&connect_database(&database)?)
            .await
            .context("the migrations did not run"),
        Some(Command::Seed { database, file }) => seed(&connect_database(&database)?, &file).await,
        Some(Command::Account {
            database,
            id,
            email,
            name,
            role,
        }) => upsert_account(&connect_database(&database)?, id, &email, &name, role).await,
        Some(Command::Openapi) => print(&http::openapi_document().to_pretty_json()?),
    }
}

async fn seed(pool: &PgPool, file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let products: Vec<SeedProduct> =
        serde_json::from_str(&text).with_context(|| format!("{} is not a catalogue", file.display()))?;
    let done = catalog::seed(pool, &Clock::system(), &products)
        .await
        .context("the catalogue is as it was")?;
    print(&done.to_string())
}

async fn upsert_account(
    pool: &PgPool,
    id: Option<UserId>,
    email: &str,
    name: &str,
    role: Role,
) -> anyhow::Result<()> {
    let (email, name) = (EmailAddress::parse(email)?, DisplayName::parse(name)?);
    let clock = Clock::system();
    let id = id.unwrap_or_else(|| UserId::new(clock.now()));
    Users::new(pool.clone(), clock)
        .upsert_account(id, &email, &name, role)
        .await
        .context("the accounts are as they were")?;
    print(&id.to_string())
}

/// Programs have no accounts.
fn parse_user_role(name: &str) -> Result<Role, String> {
    let roles = Role::ALL.into_iter().filter(|role| *role != Role::Service);
    let mut named = roles.filter(|role| role.to_string() == name);
    named
        .next()
        .ok_or_else(|| "expected customer, support or admin".to_owned())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    telemetry::init(&config.log_level).map_err(|error| anyhow::anyhow!("LOG_LEVEL: {error}"))?;
    let metrics = http_server::metrics_routes()?;
    let clock = Clock::system();
    let (verifier, wishes) =
        TokenVerifier::with_key_refresh(&config.auth_issuer, &config.auth_audience, clock.clone());
    let keys = JwksRefresher::new(config.jwks_url(), verifier.clone(), wishes)?;
    let pool = connect_database(&config.database)?;
    let aws = aws_client::sdk_config().await;
    let dynamo = dynamodb::client(&aws);
    let bus = aws_sdk_eventbridge::Client::new(&aws);

    let publisher = Publisher::new(bus.clone(), &config.event_bus);
    let parking = ParkingQueue::new(aws_sdk_sqs::Client::new(&aws), &config.event_parking_queue);
    let tables = Tables {
        orders: config.orders_table,
        outbox: config.outbox_table,
        idempotency: config.idempotency_table,
    };
    let carts = Carts::new(dynamo.clone(), config.sessions_table, clock.clone());
    let orders = Orders::new(dynamo, tables, clock.clone());
    let (product_relay, product_events) = Relay::new(
        PostgresOutbox::new(pool.clone()),
        publisher.clone(),
        parking.clone(),
        clock.clone(),
    );
    let (order_relay, order_events) = Relay::new(orders.outbox().clone(), publisher, parking, clock.clone());
    let users = Users::new(pool.clone(), clock.clone());
    let catalogue = Catalog::new(pool, product_events, clock.clone());
    let checkout = OrderService::new(catalogue.clone(), orders.clone(), order_events);

    let readiness = Readiness::default();
    let checks = readiness_checks(
        catalogue.clone(),
        orders.clone(),
        bus,
        config.event_bus,
        verifier.clone(),
    );
    let limits = RateLimiter::new(config.rate_limit_factor, config.redis_url.as_ref(), clock.clone())
        .context("REDIS_URL is no address of Redis")?;
    let app = AppState {
        carts,
        catalog: catalogue,
        order_service: checkout,
        rate_limiter: limits,
        orders,
        trusted_proxies: TrustedProxies::new(config.trusted_proxies, config.client_address_header),
        account_status: AccountStatusCache::new(users.clone()),
        users,
        verifier,
    };
    let health = http_server::health_routes(readiness.clone(), checks);
    let router = http::routes(app).merge(health).merge(metrics);
    let listener = TcpListener::bind((config.bind_address, config.port))
        .await
        .with_context(|| format!("cannot listen on PORT {}", config.port))?;

    tokio::spawn(keys.run());
    let stop_relays = CancellationToken::new();
    let relays = [product_relay, order_relay].map(|relay| tokio::spawn(relay.run(stop_relays.clone())));
    let drain = Duration::from_secs(config.shutdown_drain_seconds);
    http_server::serve(
        listener,
        http_server::with_common_middleware(router, clock),
        readiness,
        drain,
    )
    .await
    .context("serving ended")?;

    stop_relays.cancel();
    if tokio::time::timeout(OUTBOX_FLUSH_TIMEOUT, join_all(relays))
        .await
        .is_err()
    {
        // They are in their outboxes; the next instance's relay finds them there.
        tracing::warn!("some events have not been published");
    }
    tracing::info!("stopped");
    Ok(())
}

fn connect_database(database: &DatabaseConfig) -> anyhow::Result<PgPool> {
    let config = database::Config {
        url: database.database_url.clone(),
        max_connections: MAX_DATABASE_CONNECTIONS,
    };
    database::connect_lazy(&config).context("DATABASE_URL is not a PostgreSQL address")
}

/// What `/ready` asks.
fn readiness_checks(
    catalogue: Catalog,
    orders: Orders,
    bus: aws_sdk_eventbridge::Client,
    bus_name: String,
    verifier: TokenVerifier,
) -> Vec<(&'static str, ReadinessCheck)> {
    let database: ReadinessCheck = Arc::new(move || {
        let catalogue = catalogue.clone();
        async move { catalogue.ping().await.map_err(|error| error.to_string()) }.boxed()
    });
    let table: ReadinessCheck = Arc::new(move || {
        let orders = orders.clone();
        async move { orders.check().await.map_err(|error| error.to_string()) }.boxed()
    });
    let bus: ReadinessCheck = Arc::new(move || {
        let asked = bus.describe_event_bus().name(&bus_name).send();
        async move {
            asked
                .await
                .map(|_| ())
                .map_err(|error| DisplayErrorContext(error).to_string())
        }
        .boxed()
    });
    let keys: ReadinessCheck = Arc::new(move || {
        let here = verifier.has_keys();
        async move { here.then_some(()).ok_or_else(|| "none was read yet".to_owned()) }.boxed()
    });
    vec![
        ("database", database),
        ("orders-table", table),
        ("event-bus", bus),
        ("jwks", keys),
    ]
}

/// Commands answer on standard output.
fn print(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").context("nobody listens")
}
