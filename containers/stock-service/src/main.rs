//! Builds stock-service from its configuration and runs it until SIGTERM.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use clap::Parser;
use domain::Clock;
use event_publishing::{InventoryOutbox, ParkingQueue, Publisher, Relay};
use futures::FutureExt;
use http_server::{Readiness, ReadinessCheck};
use sqlx::{
    Executor, PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use stock_service::{
    config::Config,
    consumer::Consumer,
    engine::{self, Engine},
    expiry,
    http::{self, AppState},
    jwks_file::JwksFile,
    live_stock::{Announcer, LevelChanges, SharedLevels, StockPushQueue},
};
use tokens::TokenVerifier;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Pool size for queries and the expiry sweep; the engine has a dedicated connection.
const MAX_CONNECTIONS: u32 = 8;

/// Pool size of the outbox relay.
const RELAY_MAX_CONNECTIONS: u32 = 2;

/// Timeout of each background task at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let config = Config::parse();
    telemetry::init(&config.log_level).map_err(|error| anyhow::anyhow!("LOG_LEVEL: {error}"))?;
    let metrics = http_server::metrics_routes()?;
    let clock = Clock::system();
    let (verifier, key_refresh_requests) =
        TokenVerifier::with_key_refresh(&config.auth_issuer, &config.auth_audience, clock.clone());
    let jwks_file = JwksFile::load(config.auth_jwks_path, verifier.clone()).context("AUTH_JWKS_PATH")?;
    let database = config.database.config(MAX_CONNECTIONS, &clock).await;
    let database = database.context("DATABASE_CREDENTIALS_SECRET cannot be used")?;
    let pool = database::connect_lazy(&database).await;
    let pool = pool.context("DATABASE_URL or DATABASE_CA_FILE is invalid")?;
    let relay_pool = relay_pool(&pool);
    let aws = aws_client::sdk_config().await;

    let publisher = Publisher::new(aws_sdk_eventbridge::Client::new(&aws), &config.event_bus);
    let sqs = aws_sdk_sqs::Client::new(&aws);
    let parking_queue = ParkingQueue::new(sqs.clone(), &config.event_parking_queue);
    let outbox = InventoryOutbox::new(relay_pool.clone());
    let (relay, relay_handle) = Relay::new(outbox, publisher, parking_queue, clock.clone());
    let level_changes = LevelChanges::default();
    let shared_levels = config.redis_url.as_ref().map(SharedLevels::new).transpose();
    let announcer = Announcer::new(
        level_changes.clone(),
        StockPushQueue::new(sqs.clone(), config.stock_push_queue),
        shared_levels.context("REDIS_URL is not a Redis URL")?,
        pool.clone(),
        clock.clone(),
    );
    let threshold = config.stock_low_threshold;
    let (engine, mut batch_loop) =
        Engine::start(&pool, threshold, clock.clone(), relay_handle, level_changes);
    let consumer = Consumer::new(sqs, &config.stock_update_queue, engine.clone(), pool.clone());

    let readiness = Readiness::default();
    let health = http_server::health_routes(
        readiness.clone(),
        readiness_checks(pool.clone(), consumer.clone()),
    );
    let app = AppState {
        engine: engine.clone(),
        pool: pool.clone(),
        clock: clock.clone(),
        verifier,
    };
    let router =
        http_server::with_common_middleware(http::routes(app).merge(health).merge(metrics), clock.clone());
    let listener = TcpListener::bind((config.bind_address, config.port))
        .await
        .with_context(|| format!("cannot listen on PORT {}", config.port))?;

    let (stop_work, stop_publishing) = (CancellationToken::new(), CancellationToken::new());
    tokio::spawn(database::follow_secret([pool.clone(), relay_pool], database));
    tokio::spawn(jwks_file.follow(key_refresh_requests));
    let publishers = [
        tokio::spawn(relay.run(stop_publishing.clone())),
        tokio::spawn(announcer.run(stop_publishing.clone())),
    ];
    let work = [
        tokio::spawn(consumer.run(stop_work.clone())),
        tokio::spawn(expiry::run(engine, pool, clock, stop_work.clone())),
    ];

    let drain = Duration::from_secs(config.shutdown_drain_seconds);
    tokio::select! {
        served = http_server::serve(listener, router, readiness, drain) => {
            served.context("HTTP server failed")?;
        }
        // The batch loop runs until all engine handles are dropped, so an earlier end is a failure.
        _ = &mut batch_loop => anyhow::bail!("the engine stopped unexpectedly"),
    }

    // Shutdown order: producers of commands first, then the engine, then what publishes its
    // events and levels.
    stop_work.cancel();
    for task in work {
        await_task(task).await;
    }
    await_task(batch_loop).await;
    stop_publishing.cancel();
    for task in publishers {
        await_task(task).await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Pool of the relay, with asynchronous commits: after a crash of PostgreSQL, deleted outbox entries may
/// reappear and their events are published twice, which consumers must tolerate anyway. In return neither the
/// relay nor the engine's batches wait for the relay's disk writes.
fn relay_pool(pool: &PgPool) -> PgPool {
    PgPoolOptions::clone(pool.options())
        .max_connections(RELAY_MAX_CONNECTIONS)
        .after_connect(|connection, _| {
            async move {
                let statement = "SET synchronous_commit TO off";
                connection.execute(statement).await.map(drop)
            }
            .boxed()
        })
        .connect_lazy_with(PgConnectOptions::clone(&pool.connect_options()))
}

/// Checks of `/ready`.
fn readiness_checks(pool: PgPool, consumer: Consumer) -> Vec<(&'static str, ReadinessCheck)> {
    let database: ReadinessCheck = Arc::new(move || {
        let pool = pool.clone();
        async move { engine::ping(&pool).await.map_err(|error| error.to_string()) }.boxed()
    });
    let sqs: ReadinessCheck = Arc::new(move || {
        let consumer = consumer.clone();
        async move { consumer.check().await.map_err(|error| error.to_string()) }.boxed()
    });
    vec![("database", database), ("stock-update-queue", sqs)]
}

async fn await_task(task: JoinHandle<()>) {
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, task).await.is_err() {
        tracing::warn!("a background task did not stop in time");
    }
}
