//! The announcement of levels to `stock-push-queue`, against a fake queue that speaks the SQS wire protocol
//! and a Redis server.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, retry::RetryConfig};
use axum::{Json, Router, extract::State, http::HeaderMap, http::StatusCode as Code, routing::post};
use domain::ProductId;
use events::StockPushRequest;
use redis_client::testing::RedisServer;
use reqwest::StatusCode;
use serde_json::{Value, json};
use sqlx::PgPool;
use stock_service::live_stock::{Announcer, INTERVAL, SharedLevels, StockPushQueue};
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::support::{TestApp, new_id};

/// A fake SQS queue that keeps the messages it has accepted.
#[derive(Clone, Default)]
struct FakeQueue(Arc<Mutex<Messages>>);

#[derive(Default)]
struct Messages {
    accepted: Vec<StockPushRequest>,
    failure: Option<QueueFailure>,
    refused: u32,
}

#[derive(Clone, Copy)]
enum QueueFailure {
    /// Each call fails.
    Unavailable,
    /// Calls succeed, and each entry is refused.
    RefusesEntries,
}

impl FakeQueue {
    async fn start(&self) -> aws_sdk_sqs::Client {
        let router = Router::new()
            .route("/", post(Self::handle_request))
            .with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("ap-northeast-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
            .build();
        tokio::spawn(async move { axum::serve(listener, router).await });
        aws_sdk_sqs::Client::from_conf(config)
    }

    async fn handle_request(
        State(queue): State<Self>,
        headers: HeaderMap,
        body: String,
    ) -> (Code, Json<Value>) {
        let action = headers["x-amz-target"].to_str().unwrap().to_owned();
        let body: Value = serde_json::from_str(&body).unwrap();
        if action.ends_with("GetQueueUrl") {
            let url = format!("http://sqs.test/{}", body["QueueName"].as_str().unwrap());
            return (Code::OK, Json(json!({"QueueUrl": url})));
        }
        assert!(action.ends_with("SendMessageBatch"), "{action}");
        assert_eq!(body["QueueUrl"], "http://sqs.test/stock-push-queue");
        let entries = body["Entries"].as_array().unwrap();
        assert!((1..=10).contains(&entries.len()), "{entries:?}");
        let mut messages = queue.messages();
        match messages.failure {
            Some(QueueFailure::Unavailable) => {
                messages.refused += 1;
                (
                    Code::SERVICE_UNAVAILABLE,
                    Json(json!({"__type": "ServiceUnavailable"})),
                )
            }
            Some(QueueFailure::RefusesEntries) => {
                messages.refused += 1;
                let refused =
                    |entry: &Value| json!({"Id": entry["Id"], "Code": "InternalError", "SenderFault": false});
                let failed: Vec<Value> = entries.iter().map(refused).collect();
                (Code::OK, Json(json!({"Successful": [], "Failed": failed})))
            }
            None => {
                let mut accept = |entry: &Value| {
                    let body = entry["MessageBody"].as_str().unwrap();
                    messages.accepted.push(serde_json::from_str(body).unwrap());
                    json!({"Id": entry["Id"], "MessageId": new_id(), "MD5OfMessageBody": ""})
                };
                let accepted: Vec<Value> = entries.iter().map(&mut accept).collect();
                (Code::OK, Json(json!({"Successful": accepted, "Failed": []})))
            }
        }
    }

    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn announced(&self, product: ProductId) -> Vec<StockPushRequest> {
        let messages = self.messages();
        let of_product = messages
            .accepted
            .iter()
            .filter(|level| level.product_id == product);
        of_product.copied().collect()
    }

    /// Waits until the product's newest announcement says that this many units are available.
    async fn wait_for(&self, product: ProductId, available: i64) {
        wait_until(&format!("{available} available units"), || {
            let announced = self.announced(product);
            let newest = announced.iter().max_by_key(|level| level.version);
            newest.is_some_and(|level| level.available == available)
        })
        .await;
    }
}

async fn wait_until(expected: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {expected}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// A running announcer.
struct RunningAnnouncer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningAnnouncer {
    async fn start(app: &TestApp, queue: &FakeQueue, redis: Option<&RedisServer>) -> Self {
        let stop = CancellationToken::new();
        let announcer = Announcer::new(
            app.level_changes.clone(),
            StockPushQueue::new(queue.start().await, "stock-push-queue"),
            redis.map(|redis| SharedLevels::new(&redis.url()).unwrap()),
            app.service_pool.clone(),
            app.clock.clock(),
        );
        Self {
            task: tokio::spawn(announcer.run(stop.clone())),
            stop,
        }
    }

    async fn stop(self) {
        self.stop.cancel();
        let stopped = tokio::time::timeout(Duration::from_secs(10), self.task).await;
        stopped.expect("the announcer did not stop in time").unwrap();
    }

    fn kill(self) {
        self.task.abort();
    }
}

async fn reserve_one(app: &TestApp, product: ProductId) {
    let (status, body) = app.reserve(new_id(), &[(product, 1)]).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
}

/// Asserts that versions rise, and that no more levels were announced than the interval permits.
fn assert_bounded(announced: &[StockPushRequest], elapsed: Duration) {
    let versions: Vec<i64> = announced.iter().map(|level| level.version).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    let most = elapsed.as_millis() / INTERVAL.as_millis() + 1;
    assert!(
        announced.len() <= usize::try_from(most).unwrap(),
        "{} announcements in {elapsed:?}",
        announced.len()
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn every_burst_ends_with_its_last_level(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let queue = FakeQueue::default();
    let announcer = RunningAnnouncer::start(&app, &queue, None).await;
    let product = app.create_product_with_stock(1_000).await;
    let started = Instant::now();
    queue.wait_for(product, 1_000).await;
    for left in [900, 800] {
        for _ in 0..100 {
            reserve_one(&app, product).await;
        }
        queue.wait_for(product, left).await;
    }
    assert_bounded(&queue.announced(product), started.elapsed());
    announcer.stop().await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn only_visible_changes_are_announced(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let queue = FakeQueue::default();
    let announcer = RunningAnnouncer::start(&app, &queue, None).await;
    let [product, other] = [
        app.create_product_with_stock(5).await,
        app.create_product_with_stock(5).await,
    ];
    queue.wait_for(product, 5).await;
    let id = new_id();
    app.reserve(id, &[(product, 2)]).await;
    queue.wait_for(product, 3).await;
    let before = queue.announced(product);
    // The commit changes quantity and reserved units, and leaves the available ones.
    assert_eq!(app.commit(id).await.0, StatusCode::OK);
    reserve_one(&app, other).await;
    queue.wait_for(other, 4).await;
    assert_eq!(queue.announced(product), before);
    app.release(id).await;
    queue.wait_for(product, 5).await;
    announcer.stop().await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn instances_share_the_interval_through_redis(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let another = app.start_another().await;
    let (queue, redis) = (FakeQueue::default(), RedisServer::start().await);
    let announcers = [
        RunningAnnouncer::start(&app, &queue, Some(&redis)).await,
        RunningAnnouncer::start(&another, &queue, Some(&redis)).await,
    ];
    let product = app.create_product_with_stock(1_000).await;
    let started = Instant::now();
    queue.wait_for(product, 1_000).await;
    for _ in 0..100 {
        reserve_one(&app, product).await;
        reserve_one(&another, product).await;
    }
    queue.wait_for(product, 800).await;
    assert_bounded(&queue.announced(product), started.elapsed());
    for announcer in announcers {
        announcer.stop().await;
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn levels_are_announced_while_redis_is_away_and_after_it_is_back(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let (queue, redis) = (FakeQueue::default(), RedisServer::start().await);
    let announcer = RunningAnnouncer::start(&app, &queue, Some(&redis)).await;
    let product = app.create_product_with_stock(10).await;
    queue.wait_for(product, 10).await;
    redis.pause().await;
    reserve_one(&app, product).await;
    queue.wait_for(product, 9).await;
    redis.resume().await;
    let killed = redis.kill().await;
    reserve_one(&app, product).await;
    queue.wait_for(product, 8).await;
    let redis = killed.start().await;
    reserve_one(&app, product).await;
    queue.wait_for(product, 7).await;
    drop(redis);
    announcer.stop().await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn levels_wait_while_the_queue_fails(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let (queue, redis) = (FakeQueue::default(), RedisServer::start().await);
    let announcer = RunningAnnouncer::start(&app, &queue, Some(&redis)).await;
    let product = app.create_product_with_stock(10).await;
    queue.wait_for(product, 10).await;
    for (failure, left) in [(QueueFailure::Unavailable, 9), (QueueFailure::RefusesEntries, 8)] {
        queue.messages().failure = Some(failure);
        queue.messages().refused = 0;
        reserve_one(&app, product).await;
        wait_until("two refused attempts", || queue.messages().refused >= 2).await;
        queue.messages().failure = None;
        queue.wait_for(product, left).await;
    }
    announcer.stop().await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn level_of_a_killed_instance_is_announced_after_the_restart(pool: PgPool) {
    for redis in [None, Some(RedisServer::start().await)] {
        let app = TestApp::start(&pool).await;
        let queue = FakeQueue::default();
        let announcer = RunningAnnouncer::start(&app, &queue, redis.as_ref()).await;
        let product = app.create_product_with_stock(10).await;
        queue.wait_for(product, 10).await;
        // Killed after it has taken its turn in Redis, and before SQS has accepted the message.
        queue.messages().failure = Some(QueueFailure::Unavailable);
        reserve_one(&app, product).await;
        wait_until("an attempt", || queue.messages().refused > 0).await;
        announcer.kill();
        queue.messages().failure = None;

        let restarted = app.start_another().await;
        let announcer = RunningAnnouncer::start(&restarted, &queue, redis.as_ref()).await;
        queue.wait_for(product, 9).await;
        announcer.stop().await;
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn last_levels_are_announced_at_the_stop(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let queue = FakeQueue::default();
    let announcer = RunningAnnouncer::start(&app, &queue, None).await;
    let product = app.create_product_with_stock(10).await;
    queue.wait_for(product, 10).await;
    for _ in 0..3 {
        reserve_one(&app, product).await;
    }
    announcer.stop().await;
    let announced = queue.announced(product);
    assert_eq!(
        announced.last().map(|level| level.available),
        Some(7),
        "{announced:?}"
    );
}
