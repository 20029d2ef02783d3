//! A database that is down, that breaks off, or that does not keep up.

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

/// The way to the database, which can be broken.
#[derive(Clone)]
struct DatabaseProxy {
    disconnected: Arc<AtomicBool>,
    /// How many writes and commits are still to be forwarded of which the answer is lost.
    commit_responses_to_drop: Arc<AtomicUsize>,
}

impl DatabaseProxy {
    /// A line, and a pool at its near end.
    async fn start(pool: &PgPool) -> (Self, PgPool) {
        let line = Self {
            disconnected: Arc::default(),
            commit_responses_to_drop: Arc::default(),
        };
        let options = pool.connect_options();
        let far = (options.get_host().to_owned(), options.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = listener.local_addr().unwrap();
        let this = line.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if !this.disconnected.load(Ordering::SeqCst) {
                    let server = TcpStream::connect(far.clone()).await.unwrap();
                    tokio::spawn(this.clone().forward(client, server));
                }
            }
        });
        let options = (*options).clone().host("127.0.0.1").port(near.port());
        let pool = PgPoolOptions::new()
            .acquire_timeout(Duration::from_secs(1))
            .connect_lazy_with(options);
        (line, pool)
    }

    /// Carries bytes both ways until either side, or the test, ends it.
    async fn forward(self, mut client: TcpStream, mut server: TcpStream) {
        let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
        loop {
            tokio::select! {
                read = client.read(&mut up) => {
                    let Ok(length @ 1..) = read else { return };
                    server.write_all(&up[..length]).await.unwrap();
                    // A write is known by the types of the events that it puts into the outbox.
                    let is_commit = up[..length].windows(6).any(|bytes| bytes == b"COMMIT" || bytes == b"StockR" || bytes == b"StockU");
                    let lose = |left: usize| left.checked_sub(1);
                    if is_commit && self.commit_responses_to_drop.fetch_update(Ordering::SeqCst, Ordering::SeqCst, lose).is_ok() {
                        // The server has committed once it answers. The client never hears it.
                        let _ = server.read(&mut down).await;
                        return;
                    }
                }
                read = server.read(&mut down) => {
                    let Ok(length @ 1..) = read else { return };
                    if self.disconnected.load(Ordering::SeqCst) || client.write_all(&down[..length]).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_commit_whose_answer_is_lost_counts_once(pool: PgPool) {
    let (line, near) = DatabaseProxy::start(&pool).await;
    let shop = TestApp::start(&near).await;
    let product = shop.create_product_with_stock(100).await;
    let id = new_id();

    line.commit_responses_to_drop.store(1, Ordering::SeqCst);
    assert_eq!(shop.reserve(id, &[(product, 3)]).await.0, 201);
    assert_eq!(
        line.commit_responses_to_drop.load(Ordering::SeqCst),
        0,
        "the line was broken"
    );
    assert_eq!(shop.stock_level(product).await, (100, 3));

    line.commit_responses_to_drop.store(1, Ordering::SeqCst);
    assert_eq!(shop.commit(id).await.0, 200);
    assert_eq!(
        line.commit_responses_to_drop.load(Ordering::SeqCst),
        0,
        "the line was broken"
    );
    assert_eq!(shop.stock_level(product).await, (97, 0));

    // When it is lost over and over, nobody can say, and a later request is told.
    line.commit_responses_to_drop.store(5, Ordering::SeqCst);
    let adjustment = new_id();
    let (code, problem) = shop.adjust(product, adjustment, -7).await;
    assert_eq!((code.as_u16(), problem_slug(&problem)), (503, "unavailable"));
    assert_eq!(shop.adjust(product, adjustment, -7).await.0, 201);
    assert_eq!(shop.stock_level(product).await, (90, 0));
    shop.assert_consistent().await;
    assert_eq!(shop.events("StockUpdated").await.len(), 3);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_database_that_is_down_is_said_at_once_and_recovered_from(pool: PgPool) {
    let (line, near) = DatabaseProxy::start(&pool).await;
    let shop = TestApp::start(&near).await;
    let product = shop.create_product_with_stock(100).await;

    line.disconnected.store(true, Ordering::SeqCst);
    let id = new_id();
    let lines = [(product, 3)];
    let soon = tokio::time::timeout(Duration::from_secs(5), shop.reserve(id, &lines)).await;
    let (code, problem) = soon.expect("an answer soon");
    assert_eq!((code.as_u16(), problem_slug(&problem)), (503, "unavailable"));
    let show = shop.get(&format!("/v1/stock/{product}")).await;
    assert_eq!((show.0.as_u16(), problem_slug(&show.1)), (503, "unavailable"));

    line.disconnected.store(false, Ordering::SeqCst);
    assert_eq!(shop.reserve(id, &[(product, 3)]).await.0, 201);
    assert_eq!(shop.stock_level(product).await, (100, 3));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_queue_that_is_full_refuses_and_what_waits_is_decided_in_the_end(pool: PgPool) {
    let shop = TestApp::start(&pool).await;
    let product = shop.create_product_with_stock(100).await;
    let (engine, task) = start_engine_with_task(&pool, &shop.clock);

    // Somebody holds the reservation's row, so the first batch stands still and the rest has to wait.
    let held = new_id();
    shop.reserve(held, &[(product, 1)]).await;
    let mut holder = pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM reservations WHERE reservation_id = $1 FOR UPDATE")
        .bind(held)
        .execute(&mut *holder)
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

    let mut waiting = Vec::new();
    for _ in 0..QUEUE_CAPACITY {
        let mut next = release();
        assert!(poll_immediate(&mut next).await.is_none(), "there is room");
        waiting.push(next);
    }
    assert_eq!(poll_immediate(release()).await, Some(Err(SubmitError::QueueFull)));

    holder.rollback().await.unwrap();
    let first = first.await.unwrap();
    for answer in join_all(waiting).await {
        assert_eq!(answer.as_ref(), Ok(&first));
    }
    assert_eq!(shop.stock_level(product).await, (100, 0));

    // The batches end when nobody can ask for one any more.
    drop(engine);
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .expect("the end")
        .unwrap();
}

/// Until a transaction waits for a lock in this test's database.
async fn wait_for_blocked_transaction(pool: &PgPool) {
    let waiting = "SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while sqlx::query_scalar::<_, i64>(waiting)
        .fetch_one(pool)
        .await
        .unwrap()
        == 0
    {}
}
