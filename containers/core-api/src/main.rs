//! The core-api binary: wires the service together and runs it until SIGTERM, and the subcommands that
//! prepare its data.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use aws_sdk_eventbridge::error::DisplayErrorContext;
use clap::Parser;
use connections::ConnectionsTable;
use core_api::{
    accounts::AccountStatusCache,
    carts::Carts,
    catalog::{self, Catalog, SeedProduct},
    config::{Config, RolePasswords},
    dynamodb,
    http::{self, AppState, Realtime},
    jwks_refresh::JwksRefresher,
    order_service::OrderService,
    origin_secrets,
    phone_codes::PhoneCodes,
    rate_limit::RateLimiter,
    receipts::Receipts,
    unsubscribe_links::UnsubscribeLinks,
};
use database::DatabaseArguments;
use domain::{Clock, UserId};
use event_publishing::{AccountOutbox, CatalogOutbox, DynamoOutbox, ParkingQueue, Publisher, Relay};
use futures::{FutureExt, future::join_all};
use http_server::{CloudFrontMode, Readiness, ReadinessCheck, TrustedProxies};
use mail_suppressions::MailSuppressions;
use mimalloc::MiMalloc;
use orders::{OrderPlacement, Orders, OrdersWithOutbox};
use receipts::ReceiptStore;
use sqlx::PgPool;
use tokens::{Role, TokenVerifier};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use users::{DisplayName, EmailAddress, Users};

/// Each request makes several allocations larger than one kilobyte, which glibc's allocator serves slowly.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The size of the connection pool. A request holds a connection only while its statements run.
const MAX_DATABASE_CONNECTIONS: u32 = 10;

/// The time for publishing the outbox's events after the last request.
const OUTBOX_FLUSH_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves the catalog, accounts, carts and orders over HTTP
#[derive(Parser)]
#[command(
    version,
    about,
    after_help = "Without a command it runs the HTTP server, configured by environment variables."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Apply the database migrations and set the passwords of the programs' roles
    Migrate {
        #[command(flatten)]
        database: DatabaseArguments,
        #[command(flatten)]
        passwords: RolePasswords,
    },
    /// Insert or update products from a file
    Seed {
        #[command(flatten)]
        database: DatabaseArguments,
        /// A JSON file with an array of products
        file: PathBuf,
    },
    /// Create an account or change its role, for example to create the first administrator
    ///
    /// A new account has no password. The user sets one by requesting a password reset.
    Account {
        #[command(flatten)]
        database: DatabaseArguments,
        /// The id of the account [default: a new id]
        #[arg(long)]
        id: Option<UserId>,
        /// The e-mail address
        #[arg(long)]
        email: String,
        /// The display name
        #[arg(long, default_value = "Matsuri")]
        name: String,
        /// The role: `customer`, `support` or `admin`
        #[arg(long, value_parser = parse_user_role)]
        role: Role,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        None => serve(Config::parse()).await,
        Some(Command::Migrate { database, passwords }) => {
            migrate(&connect_database(&database, &Clock::system()).await?, &passwords).await
        }
        Some(Command::Seed { database, file }) => {
            seed(&connect_database(&database, &Clock::system()).await?, &file).await
        }
        Some(Command::Account {
            database,
            id,
            email,
            name,
            role,
        }) => {
            upsert_account(
                &connect_database(&database, &Clock::system()).await?,
                id,
                &email,
                &name,
                role,
            )
            .await
        }
    }
}

async fn migrate(pool: &PgPool, passwords: &RolePasswords) -> anyhow::Result<()> {
    database::migrate(pool)
        .await
        .context("cannot apply the database migrations")?;
    for (role, password) in passwords.iter() {
        database::set_password(pool, role, password)
            .await
            .with_context(|| format!("cannot set the password of the role {}", role.name()))?;
    }
    Ok(())
}

async fn seed(pool: &PgPool, file: &Path) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let products: Vec<SeedProduct> = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a valid catalog file", file.display()))?;
    let summary = catalog::seed(pool, &Clock::system(), &products)
        .await
        .context("cannot seed the catalog; nothing was changed")?;
    print(&summary.to_string())
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
        .context("cannot write the account; nothing was changed")?;
    print(&id.to_string())
}

/// Parses the role of an account. `service` is not accepted because services have no accounts.
fn parse_user_role(name: &str) -> Result<Role, String> {
    let role = name.parse().ok().filter(|role| *role != Role::Service);
    role.ok_or_else(|| "expected customer, support or admin".to_owned())
}

async fn serve(config: Config) -> anyhow::Result<()> {
    telemetry::init(&config.log_level).map_err(|error| anyhow::anyhow!("LOG_LEVEL: {error}"))?;
    let metrics = http_server::metrics_routes()?;
    let clock = Clock::system();
    let (verifier, key_refresh_requests) =
        TokenVerifier::with_key_refresh(&config.auth_issuer, &config.auth_audience, clock.clone());
    let jwks_refresher = JwksRefresher::new(config.jwks_url(), verifier.clone(), key_refresh_requests)?;
    let pool = connect_database(&config.database, &clock).await?;
    let aws = aws_client::sdk_config().await;
    let origin_secrets = match config.cloudfront {
        CloudFrontMode::Unused => None,
        CloudFrontMode::Accepted | CloudFrontMode::Required => {
            let client = aws_sdk_secretsmanager::Client::new(&aws);
            let loaded = origin_secrets::load(client, config.cloudfront_origin_secret, clock.clone());
            Some(loaded.await.context("CLOUDFRONT_ORIGIN_SECRET cannot be used")?)
        }
    };
    let dynamodb = dynamodb::client(&aws);
    let eventbridge = aws_sdk_eventbridge::Client::new(&aws);

    let publisher = Publisher::new(eventbridge.clone(), &config.event_bus);
    let sqs = aws_sdk_sqs::Client::new(&aws);
    let parking_queue = ParkingQueue::new(sqs.clone(), &config.event_parking_queue);
    let carts = Carts::new(dynamodb.clone(), config.sessions_table, clock.clone());
    let mail_suppressions =
        MailSuppressions::new(dynamodb.clone(), config.mail_suppressions_table, clock.clone());
    let realtime = Realtime {
        table: ConnectionsTable::new(dynamodb.clone(), config.connections_table, clock.clone()),
        websocket_api_url: config.websocket_api_url,
    };
    let orders = Orders::new(dynamodb.clone(), config.orders_table, clock.clone());
    let orders_with_outbox = OrdersWithOutbox {
        orders: orders.clone(),
        outbox: DynamoOutbox::new(dynamodb, config.outbox_table),
    };
    let (product_relay, product_events) = Relay::new(
        CatalogOutbox::new(pool.clone()),
        publisher.clone(),
        parking_queue.clone(),
        clock.clone(),
    );
    // The auth functions commit account events; only sweeps publish them.
    let (account_relay, _) = Relay::new(
        AccountOutbox::new(pool.clone()),
        publisher.clone(),
        parking_queue.clone(),
        clock.clone(),
    );
    let (order_relay, order_events) = Relay::new(
        orders_with_outbox.outbox.clone(),
        publisher,
        parking_queue,
        clock.clone(),
    );
    let users = Users::new(pool.clone(), clock.clone());
    let catalog = Catalog::new(pool, product_events, clock.clone());
    let order_service = OrderService::new(
        catalog.clone(),
        orders_with_outbox.clone(),
        OrderPlacement::new(orders_with_outbox, config.idempotency_table),
        order_events,
        config.order_limits.into(),
    );

    let link_endpoint = config.receipt_link_endpoint.as_ref();
    let receipt_store = ReceiptStore::new(
        &aws,
        config.receipts_bucket,
        link_endpoint.map(|url| url.as_str().trim_end_matches('/').to_owned()),
    );
    let receipts = Receipts::new(orders.clone(), receipt_store, clock.clone());

    let readiness = Readiness::default();
    let checks = readiness_checks(
        catalog.clone(),
        orders.clone(),
        eventbridge,
        config.event_bus,
        verifier.clone(),
    );
    let rate_limiter = RateLimiter::new(
        config.rate_limit_multiplier,
        config.redis_url.as_ref(),
        clock.clone(),
    )
    .context("REDIS_URL is not a Redis URL")?;
    let app = AppState {
        carts,
        catalog,
        order_service,
        rate_limiter,
        receipts,
        orders,
        realtime,
        trusted_proxies: TrustedProxies::new(config.trusted_proxies, config.client_ip_header)
            .with_cloudfront(origin_secrets.clone()),
        required_origin_secrets: origin_secrets.filter(|_| config.cloudfront == CloudFrontMode::Required),
        account_status: AccountStatusCache::new(users.clone()),
        mail_suppressions,
        phone_codes: PhoneCodes::new(
            users.clone(),
            sqs,
            config.sms_queue,
            config.max_phone_codes_per_hour,
            clock.clone(),
        ),
        unsubscribe_links: UnsubscribeLinks::new(
            aws_sdk_secretsmanager::Client::new(&aws),
            config.unsubscribe_keys_secret,
            clock.clone(),
        ),
        users,
        verifier,
    };
    let health = http_server::health_routes(readiness.clone(), checks);
    let router = http::routes(app).merge(health).merge(metrics);
    let listener = TcpListener::bind((config.bind_address, config.port))
        .await
        .with_context(|| format!("cannot listen on port {} (PORT)", config.port))?;

    tokio::spawn(jwks_refresher.run());
    let stop_relays = CancellationToken::new();
    let relays =
        [product_relay, account_relay, order_relay].map(|relay| tokio::spawn(relay.run(stop_relays.clone())));
    let drain = Duration::from_secs(config.shutdown_drain_seconds);
    http_server::serve(
        listener,
        http_server::with_common_middleware(router, clock),
        readiness,
        drain,
    )
    .await
    .context("the HTTP server failed")?;

    stop_relays.cancel();
    if tokio::time::timeout(OUTBOX_FLUSH_TIMEOUT, join_all(relays))
        .await
        .is_err()
    {
        // The events remain in the outboxes, from which the relay of another instance publishes them.
        tracing::warn!("shutdown timeout: some outbox events are not published yet");
    }
    tracing::info!("stopped");
    Ok(())
}

async fn connect_database(database: &DatabaseArguments, clock: &Clock) -> anyhow::Result<PgPool> {
    let config = database
        .config(MAX_DATABASE_CONNECTIONS, clock)
        .await
        .context("DATABASE_CREDENTIALS_SECRET cannot be used")?;
    let pool = database::connect_lazy(&config)
        .await
        .context("DATABASE_URL or DATABASE_CA_FILE is invalid")?;
    tokio::spawn(database::follow_secret([pool.clone()], config));
    Ok(pool)
}

/// The dependencies that `/ready` checks.
fn readiness_checks(
    catalog: Catalog,
    orders: Orders,
    eventbridge: aws_sdk_eventbridge::Client,
    bus_name: String,
    verifier: TokenVerifier,
) -> Vec<(&'static str, ReadinessCheck)> {
    let database: ReadinessCheck = Arc::new(move || {
        let catalog = catalog.clone();
        async move { catalog.ping().await.map_err(|error| error.to_string()) }.boxed()
    });
    let orders_table: ReadinessCheck = Arc::new(move || {
        let orders = orders.clone();
        async move { orders.check().await.map_err(|error| error.to_string()) }.boxed()
    });
    let event_bus: ReadinessCheck = Arc::new(move || {
        let request = eventbridge.describe_event_bus().name(&bus_name).send();
        async move {
            request
                .await
                .map(|_| ())
                .map_err(|error| DisplayErrorContext(error).to_string())
        }
        .boxed()
    });
    let jwks: ReadinessCheck = Arc::new(move || {
        let has_keys = verifier.has_keys();
        async move {
            has_keys
                .then_some(())
                .ok_or_else(|| "the JWKS has not been fetched yet".to_owned())
        }
        .boxed()
    });
    vec![
        ("database", database),
        ("orders-table", orders_table),
        ("event-bus", event_bus),
        ("jwks", jwks),
    ]
}

/// Prints the result of a subcommand.
fn print(text: &str) -> anyhow::Result<()> {
    writeln!(io::stdout(), "{text}").context("cannot write to standard output")
}
