//! A database that is down, that loses connections, or that is too slow.

use std::{sync::Arc, time::Duration};

use database::testing::keys_dir;
use fault_injection::{
    NetworkFault, Rule, RuleEngine, Upstream,
    proxy::{self, PostgresTls},
};
use futures::future::{join_all, poll_immediate};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use stock_service::engine::{QUEUE_CAPACITY, SubmitError, commands::Release};
use tokio::net::TcpListener;

use crate::support::{TestApp, event_context, new_id, problem_slug, start_engine};

/// Recognises the write of a batch by the types of the events that it adds to the outbox.
const WRITE: &str = "Stock";

/// A proxy to the database that can drop connections.
struct DatabaseProxy(Arc<RuleEngine>);

impl DatabaseProxy {
    /// Starts a proxy, and returns it with a pool that connects through it.
    async fn start(pool: &PgPool) -> (Self, PgPool) {
        let options = pool.connect_options();
        let address = format!("{}:{}", options.get_host(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let rules = Arc::new(RuleEngine::default());
        let tls = PostgresTls::from_dir(&keys_dir()).unwrap();
        tokio::spawn(proxy::serve_postgres(listener, address, tls, Arc::clone(&rules)));
        let pool = PgPoolOptions::new()
            .acquire_timeout(Duration::from_secs(1))
            .connect_lazy_with(PgConnectOptions::clone(&options).host("127.0.0.1").port(port));
        (Self(rules), pool)
    }
}

/// Drops the responses to messages that contain `text`. The server has carried out a message when it
/// responds.
fn drop_responses(text: &str) -> Rule {
    Rule::for_operation(Upstream::Postgres, "message", NetworkFault::DropResponse).containing(text)
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn commit_with_lost_response_is_applied_once(pool: PgPool) {
    let (proxy, proxied_pool) = DatabaseProxy::start(&pool).await;
    let app = TestApp::start(&proxied_pool).await;
    let product = app.create_product_with_stock(100).await;
    let id = new_id();

    let dropped = proxy.0.add_rule(drop_responses(WRITE).limit_hits(1));
    assert_eq!(app.reserve(id, &[(product, 3)]).await.0, 201);
    assert_eq!(proxy.0.hits(dropped), Some(1), "the proxy dropped the response");
    assert_eq!(app.stock_level(product).await, (100, 3));

    let dropped = proxy.0.add_rule(drop_responses(WRITE).limit_hits(1));
    assert_eq!(app.commit(id).await.0, 200);
    assert_eq!(proxy.0.hits(dropped), Some(1), "the proxy dropped the response");
    assert_eq!(app.stock_level(product).await, (97, 0));

    // If every response is lost, the outcome is unknown; repeating the request returns the result.
    for text in [WRITE, "COMMIT"] {
        proxy.0.add_rule(drop_responses(text));
    }
    let adjustment = new_id();
    let (code, problem) = app.adjust(product, adjustment, -7).await;
    assert_eq!((code.as_u16(), problem_slug(&problem)), (503, "unavailable"));
    proxy.0.clear_rules();
    assert_eq!(app.adjust(product, adjustment, -7).await.0, 201);
    assert_eq!(app.stock_level(product).await, (90, 0));
    app.assert_consistent().await;
    assert_eq!(app.events("StockUpdated").await.len(), 3);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn returns_503_during_database_outage_and_recovers(pool: PgPool) {
    let (proxy, proxied_pool) = DatabaseProxy::start(&pool).await;
    let app = TestApp::start(&proxied_pool).await;
    let product = app.create_product_with_stock(100).await;

    for (operation, fault) in [
        ("connect", NetworkFault::Refuse),
        ("message", NetworkFault::Disconnect),
    ] {
        proxy
            .0
            .add_rule(Rule::for_operation(Upstream::Postgres, operation, fault));
    }
    let id = new_id();
    let lines = [(product, 3)];
    let response = tokio::time::timeout(Duration::from_secs(5), app.reserve(id, &lines)).await;
    let (code, problem) = response.expect("no response within 5 seconds");
    assert_eq!((code.as_u16(), problem_slug(&problem)), (503, "unavailable"));
    let show = app.get(&format!("/v1/stock/{product}")).await;
    assert_eq!((show.0.as_u16(), problem_slug(&show.1)), (503, "unavailable"));

    proxy.0.clear_rules();
    assert_eq!(app.reserve(id, &[(product, 3)]).await.0, 201);
    assert_eq!(app.stock_level(product).await, (100, 3));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn full_queue_rejects_and_queued_commands_complete(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let product = app.create_product_with_stock(100).await;
    let (engine, task) = start_engine(&app.service_pool, &app.clock, app.level_changes.clone());

    // A lock on the reservation's row blocks the first batch, so that the following commands stay queued.
    let held = new_id();
    app.reserve(held, &[(product, 1)]).await;
    let mut lock_transaction = pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM inventory.reservations WHERE reservation_id = $1 FOR UPDATE")
        .bind(held)
        .execute(&mut *lock_transaction)
        .await
        .unwrap();
    let release = || {
        Box::pin(engine.submit(Release {
            id: held,
            context: event_context(held),
        }))
    };
    let mut first = release();
    assert!(poll_immediate(&mut first).await.is_none());
    wait_for_blocked_transaction(&pool).await;

    let mut queued = Vec::new();
    for _ in 0..QUEUE_CAPACITY {
        let mut next = release();
        assert!(
            poll_immediate(&mut next).await.is_none(),
            "the queue is not full yet"
        );
        queued.push(next);
    }
    assert_eq!(poll_immediate(release()).await, Some(Err(SubmitError::QueueFull)));

    lock_transaction.rollback().await.unwrap();
    let first = first.await.unwrap();
    for output in join_all(queued).await {
        assert_eq!(output.as_ref(), Ok(&first));
    }
    assert_eq!(app.stock_level(product).await, (100, 0));

    // Dropping the last handle stops the batch loop.
    drop(engine);
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .expect("the batch loop did not stop in time")
        .unwrap();
}

/// Waits until a transaction of this test's database is blocked by a lock.
async fn wait_for_blocked_transaction(pool: &PgPool) {
    let blocked_count = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(blocked_count)
        .fetch_one(pool)
        .await
        .unwrap()
        == 0
    {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
