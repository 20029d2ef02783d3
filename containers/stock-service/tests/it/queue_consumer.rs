//! The consumer of `stock-update-queue`, against a fake queue that speaks the SQS wire protocol and records
//! the deleted messages.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use axum::{Json, Router, extract::State, http::HeaderMap, http::StatusCode as Code, routing::post};
use domain::{Clock, ProductId};
use events::TraceParent;
use serde_json::{Value, json};
use sqlx::PgPool;
use stock_service::consumer::Consumer;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::support::{TestApp, new_id};

/// A fake SQS queue without visibility timeout: each message is received once unless it is sent again.
#[derive(Clone, Default)]
struct FakeQueue(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<Messages>,
    changed: Notify,
}

#[derive(Default)]
struct Messages {
    exists: bool,
    visible: VecDeque<(String, String)>,
    in_flight: Vec<String>,
    deleted: Vec<String>,
}

impl FakeQueue {
    /// Starts the queue's server and returns a client for it.
    async fn start(exists: bool) -> (Self, aws_sdk_sqs::Client) {
        let queue = Self::default();
        queue.0.state.lock().unwrap().exists = exists;
        let router = Router::new()
            .route("/", post(Self::handle_request))
            .with_state(queue.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("ap-northeast-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(format!("http://{}", listener.local_addr().unwrap()))
            .build();
        tokio::spawn(async move { axum::serve(listener, router).await });
        (queue, aws_sdk_sqs::Client::from_conf(config))
    }

    async fn handle_request(
        State(queue): State<Self>,
        headers: HeaderMap,
        body: String,
    ) -> (Code, Json<Value>) {
        let action = headers["x-amz-target"]
            .to_str()
            .unwrap()
            .rsplit('.')
            .next()
            .unwrap()
            .to_owned();
        let body: Value = serde_json::from_str(&body).unwrap();
        let response = match action.as_str() {
            "GetQueueUrl" if queue.0.state.lock().unwrap().exists => {
                json!({"QueueUrl": format!("http://sqs.test/{}", body["QueueName"].as_str().unwrap())})
            }
            "GetQueueUrl" => {
                let missing = json!({"__type": "com.amazonaws.sqs#QueueDoesNotExist"});
                return (Code::BAD_REQUEST, Json(missing));
            }
            "ReceiveMessage" => queue.receive().await,
            "DeleteMessageBatch" => queue.delete(&body),
            other => panic!("{other}"),
        };
        (Code::OK, Json(response))
    }

    async fn receive(&self) -> Value {
        loop {
            let changed = self.0.changed.notified();
            {
                let mut state = self.0.state.lock().unwrap();
                let count = state.visible.len().min(10);
                let messages: Vec<(String, String)> = state.visible.drain(..count).collect();
                state.in_flight.extend(messages.iter().map(|(id, _)| id.clone()));
                if count > 0 {
                    return json!({"Messages": messages.iter().map(|(id, body)| {
                        json!({"MessageId": id, "ReceiptHandle": id, "Body": body})
                    }).collect::<Vec<_>>()});
                }
            }
            changed.await;
        }
    }

    fn delete(&self, body: &Value) -> Value {
        let entries = body["Entries"].as_array().unwrap();
        let mut state = self.0.state.lock().unwrap();
        for entry in entries {
            let id = entry["ReceiptHandle"].as_str().unwrap().to_owned();
            state.in_flight.retain(|message| *message != id);
            state.deleted.push(id);
        }
        self.0.changed.notify_waiters();
        let done: Vec<Value> = entries.iter().map(|entry| json!({"Id": entry["Id"]})).collect();
        json!({"Successful": done, "Failed": []})
    }

    fn send(&self, id: &str, body: impl ToString) {
        self.0
            .state
            .lock()
            .unwrap()
            .visible
            .push_back((id.to_owned(), body.to_string()));
        self.0.changed.notify_waiters();
    }

    fn create(&self) {
        self.0.state.lock().unwrap().exists = true;
    }

    /// Waits until a message has been deleted.
    async fn wait_until_deleted(&self, id: &str) {
        let waiting = async {
            loop {
                let changed = self.0.changed.notified();
                if self
                    .0
                    .state
                    .lock()
                    .unwrap()
                    .deleted
                    .iter()
                    .any(|deleted| deleted == id)
                {
                    return;
                }
                changed.await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting)
            .await
            .expect("the message was not deleted in time");
    }

    fn in_flight(&self) -> Vec<String> {
        self.0.state.lock().unwrap().in_flight.clone()
    }
}

/// A running consumer.
struct RunningConsumer {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningConsumer {
    fn start(client: aws_sdk_sqs::Client, app: &TestApp) -> Self {
        let stop = CancellationToken::new();
        let consumer = Consumer::new(
            client,
            "stock-update-queue",
            app.engine.clone(),
            app.service_pool.clone(),
        );
        Self {
            task: tokio::spawn(consumer.run(stop.clone())),
            stop,
        }
    }

    /// Asserts that the consumer stops at once although its long poll would last for 20 seconds.
    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task)
            .await
            .expect("the consumer did not stop in time")
            .unwrap();
    }
}

/// An event as EventBridge delivers it to a queue.
fn eventbridge_message(detail_type: &str, correlation_id: Uuid, data: &Value) -> Value {
    let now = Clock::system().now();
    json!({
        "version": "0", "id": new_id(), "account": "000000000000", "region": "ap-northeast-1",
        "resources": [], "time": now, "source": "warehouse.tokyo", "detail-type": detail_type,
        "detail": {
            "event_id": new_id(), "schema_version": 1, "occurred_at": now, "correlation_id": correlation_id,
            "causation_id": null, "traceparent": TraceParent::root(now), "data": data,
        },
    })
}

fn product_created_message(product: ProductId) -> Value {
    let data = json!({
        "product_id": product, "version": 1, "name": "A lantern", "description": "", "translations": {},
        "price": 1200, "currency": "JPY", "category": "lanterns", "image_url": null,
    });
    eventbridge_message("ProductCreated", product.0, &data)
}

fn adjustment_message(product: ProductId, id: Uuid, delta: i64) -> Value {
    let data = json!({"adjustment_id": id, "product_id": product, "delta": delta, "reason": "delivered"});
    eventbridge_message("StockAdjustmentRequested", id, &data)
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn applies_each_product_and_adjustment_once(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let (queue, client) = FakeQueue::start(true).await;
    let running_consumer = RunningConsumer::start(client, &app);
    let product = app.create_product().await;

    queue.send("created", product_created_message(product));
    queue.wait_until_deleted("created").await;
    assert_eq!(app.stock_level(product).await, (0, 0));

    let (delivery, delivered) = (new_id(), adjustment_message(product, new_id(), 12));
    queue.send("delivery", adjustment_message(product, delivery, 30));
    queue.send("delivery again", adjustment_message(product, delivery, 30));
    queue.send("another delivery", &delivered);
    for message in ["delivery", "delivery again", "another delivery"] {
        queue.wait_until_deleted(message).await;
    }
    queue.send("created again", product_created_message(product));
    queue.wait_until_deleted("created again").await;
    assert_eq!(app.stock_level(product).await, (42, 0));
    assert_eq!(queue.in_flight(), Vec::<String>::new());

    // The resulting event has the message's correlation id and trace, and its event id as causation id.
    let updated = app.events("StockUpdated").await;
    let event = updated.iter().find(|event| event["data"]["delta"] == 12).unwrap();
    for (member, of) in [
        ("correlation_id", "correlation_id"),
        ("causation_id", "event_id"),
        ("traceparent", "traceparent"),
    ] {
        assert_eq!(event[member], delivered["detail"][of], "{member}");
    }
    assert_eq!(updated.len(), 2);
    running_consumer.stop().await;
    app.assert_consistent().await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn keeps_malformed_and_rejected_messages_in_the_queue(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let (queue, client) = FakeQueue::start(true).await;
    let product = app.create_product_with_stock(5).await;
    let mut newer = adjustment_message(product, new_id(), 1);
    newer["detail"]["schema_version"] = json!(2);
    let mut text = adjustment_message(product, new_id(), 1);
    text["detail"] = json!(text["detail"].to_string());

    let rejected = [
        ("not JSON", json!("x").to_string().replace('"', "")),
        (
            "another event",
            eventbridge_message("OrderCreated", new_id(), &json!({})).to_string(),
        ),
        ("a newer version", newer.to_string()),
        ("detail as text", text.to_string()),
        (
            "an unknown product",
            adjustment_message(ProductId(new_id()), new_id(), 1).to_string(),
        ),
        (
            "a product that does not exist",
            product_created_message(ProductId(new_id())).to_string(),
        ),
        (
            "more than available",
            adjustment_message(product, new_id(), -6).to_string(),
        ),
        ("zero delta", adjustment_message(product, new_id(), 0).to_string()),
        (
            "delta out of range",
            adjustment_message(product, new_id(), i64::MAX).to_string(),
        ),
    ];
    for (id, body) in &rejected {
        queue.send(id, body);
    }
    // A valid message in the same poll is processed nevertheless.
    queue.send("valid", adjustment_message(product, new_id(), 2));
    let running_consumer = RunningConsumer::start(client, &app);
    queue.wait_until_deleted("valid").await;
    running_consumer.stop().await;

    assert_eq!(
        queue.in_flight(),
        rejected.each_ref().map(|(id, _)| (*id).to_owned())
    );
    assert_eq!(app.stock_level(product).await, (7, 0));
    app.assert_consistent().await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn resumes_when_missing_queue_is_created(pool: PgPool) {
    let app = TestApp::start(&pool).await;
    let (queue, client) = FakeQueue::start(false).await;
    let consumer = Consumer::new(
        client.clone(),
        "stock-update-queue",
        app.engine.clone(),
        pool.clone(),
    );
    assert!(consumer.check().await.is_err());
    let running_consumer = RunningConsumer::start(client, &app);
    let product = app.create_product_with_stock(5).await;

    queue.send("delivery", adjustment_message(product, new_id(), 2));
    assert_eq!(
        app.stock_level(product).await,
        (5, 0),
        "HTTP requests are served while the queue is missing"
    );
    queue.create();
    queue.wait_until_deleted("delivery").await;
    assert!(consumer.check().await.is_ok());
    assert_eq!(app.stock_level(product).await, (7, 0));
    running_consumer.stop().await;
}
