//! A database that is down, that loses connections, or that is too slow.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::{join_all, poll_immediate};
use sqlx::{PgPool, postgres::PgPoolOptions};
use stock_service::engine::{QUEUE_CAPACITY, SubmitError, commands::Release};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::support::{TestApp, event_context, new_id, problem_slug, start_engine_with_task};

/// A TCP proxy to the database that can drop connections.
#[derive(Clone)]
struct DatabaseProxy {
    disconnected: Arc<AtomicBool>,
    /// Number of writes and commits that the proxy still forwards while dropping their responses.
    commit_responses_to_drop: Arc<AtomicUsize>,
}

impl DatabaseProxy {
    /// Starts a proxy, and returns it with a pool that connects through it.
    async fn start(pool: &PgPool) -> (Self, PgPool) {
        let proxy = Self {
            disconnected: Arc::default(),
            commit_responses_to_drop: Arc::default(),
        };
        let options = pool.connect_options();
        let server_address = (options.get_host().to_owned(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxied_pool = listener.local_addr().unwrap();
        let this = proxy.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if !this.disconnected.load(Ordering::SeqCst) {
                    let server = TcpStream::connect(server_address.clone()).await.unwrap();
                    tokio::spawn(this.clone().forward(client, server));
                }
            }
        });
        let options = (*options).clone().host("127.0.0.1").port(proxied_pool.port());
        let pool = PgPoolOptions::new()
            .acquire_timeout(Duration::from_secs(1))
            .connect_lazy_with(options);
        (proxy, pool)
    }

    /// Decrements the number of responses to drop; returns false if it is zero.
    fn take_response_to_drop(&self) -> bool {
        self.commit_responses_to_drop
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |remaining| {
                remaining.checked_sub(1)
            })
            .is_ok()
    }

    /// Forwards bytes in both directions until either side, or the test, closes the connection.
    async fn forward(self, mut client: TcpStream, mut server: TcpStream) {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let Ok(length @ 1..) = read else { return };
                    server.write_all(&up[..length]).await.unwrap();
                    // A write is recognised by the types of the events that it adds to the outbox.
                    let is_commit = up[..length]
                        .windows(6)
                        .any(|bytes| [b"COMMIT", b"StockR", b"StockU"].iter().any(|word| bytes == *word));
                    if is_commit && self.take_response_to_drop() {
                        // The server has committed when it responds; the client never receives the response.
                        let _ = server.read(&mut down).await;
                        return;
                    }
                }
                read = server.read(&mut down) => {
                    let Ok(length @ 1..) = read else { return };
                    let disconnected = self.disconnected.load(Ordering::SeqCst);
                    if disconnected || client.write_all(&down[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn commit_with_lost_response_is_applied_once(pool: PgPool) {
    let (proxy, proxied_pool) = DatabaseProxy::start(&pool).await;
    let app = TestApp::start(&proxied_pool).await;
    let product = app.create_product_with_stock(100).await;
    let id = new_id();

    proxy.commit_responses_to_drop.store(1, Ordering::SeqCst);
    assert_eq!(app.reserve(id, &[(product, 3)]).await.0, 201);
    assert_eq!(
        proxy.commit_responses_to_drop.load(Ordering::SeqCst),
        0,
        "the proxy dropped the response"
    );
    assert_eq!(app.stock_level(product).await, (100, 3));

    proxy.commit_responses_to_drop.store(1, Ordering::SeqCst);
    assert_eq!(app.commit(id).await.0, 200);
    assert_eq!(
        proxy.commit_responses_to_drop.load(Ordering::SeqCst),
        0,
        "the proxy dropped the response"
    );
    assert_eq!(app.stock_level(product).await, (97, 0));

    // If every response is lost, the outcome is unknown; repeating the request returns the result.
    proxy.commit_responses_to_drop.store(5, Ordering::SeqCst);
    let adjustment = new_id();
    let (code, problem) = app.adjust(product, adjustment, -7).await;
    assert_eq!((code.as_u16(), problem_slug(&problem)), (503, "unavailable"));
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

    proxy.disconnected.store(true, Ordering::SeqCst);
    let id = new_id();
    let lines = [(product, 3)];
    let response = tokio::time::timeout(Duration::from_secs(5), app.reserve(id, &lines)).await;
    let (code, problem) = response.expect("no response within 5 seconds");
    assert_eq!((code.as_u16(), problem_slug(&problem)), (503, "unavailable"));
    let show = app.get(&format!("/v1/stock/{product}")).await;
    assert_eq!((show.0.as_u16(), problem_slug(&show.1)), (503, "unavailable"));

    proxy.disconnected.store(false, Ordering::SeqCst);
    assert_eq!(app.reserve(id, &[(product, 3)]).await.0, 201);
    assert_eq!(app.stock_level(product).await, (100, 3));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn full_queue_rejects_and_queued_commands_complete(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let product = app.create_product_with_stock(100).await;
    let (engine, task) = start_engine_with_task(&app.service_pool, &app.clock);

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
