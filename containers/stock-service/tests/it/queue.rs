//! The consumer of `stock-update-queue`, against a queue that speaks SQS's wire protocol and shows what
//! was deleted from it.

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

use crate::shop::{Shop, new_id};

/// A queue. What is received stays in flight for good, so each message comes once unless it is sent again.
#[derive(Clone, Default)]
struct Queue(Arc<Inner>);

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

impl Queue {
    /// Starts the queue's server, and a client of it.
    async fn start(exists: bool) -> (Self, aws_sdk_sqs::Client) {
        let queue = Self::default();
        queue.0.state.lock().unwrap().exists = exists;
        let router = Router::new()
            .route("/", post(Self::answer))
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

    async fn answer(State(queue): State<Self>, headers: HeaderMap, body: String) -> (Code, Json<Value>) {
        let action = headers["x-amz-target"]
            .to_str()
            .unwrap()
            .rsplit('.')
            .next()
            .unwrap()
            .to_owned();
        let body: Value = serde_json::from_str(&body).unwrap();
        let answer = match action.as_str() {
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
        (Code::OK, Json(answer))
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
    async fn deleted(&self, id: &str) {
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
            .expect("the message is deleted");
    }

    fn in_flight(&self) -> Vec<String> {
        self.0.state.lock().unwrap().in_flight.clone()
    }
}

/// The consumer at work, until the test ends it.
struct Work {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Work {
    fn start(client: aws_sdk_sqs::Client, shop: &Shop) -> Self {
        let stop = CancellationToken::new();
        let consumer = Consumer::new(
            client,
            "stock-update-queue",
            shop.engine.clone(),
            shop.pool.clone(),
        );
        Self {
            task: tokio::spawn(consumer.run(stop.clone())),
            stop,
        }
    }

    /// It ends although its poll would last for twenty seconds more.
    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(Duration::from_secs(5), self.task)
            .await
            .expect("the end")
            .unwrap();
    }
}

/// An event as EventBridge puts it into a queue.
fn event(detail_type: &str, correlation_id: Uuid, data: &Value) -> Value {
    let now = Clock::system().now();
    json!({
        "version": "0", "id": new_id(), "account": "000000000000", "region": "ap-northeast-1", "resources": [],
        "time": now, "source": "warehouse.tokyo", "detail-type": detail_type,
        "detail": {
            "event_id": new_id(), "schema_version": 1, "occurred_at": now, "correlation_id": correlation_id,
            "causation_id": null, "traceparent": TraceParent::root(now), "data": data,
        },
    })
}

fn product_created(product: ProductId) -> Value {
    let data = json!({
        "product_id": product, "version": 1, "name": "A lantern", "description": "", "translations": {},
        "price": 1200, "currency": "JPY", "category": "lanterns", "image_url": null,
    });
    event("ProductCreated", product.0, &data)
}

fn adjustment(product: ProductId, id: Uuid, delta: i64) -> Value {
    let data = json!({"adjustment_id": id, "product_id": product, "delta": delta, "reason": "delivered"});
    event("StockAdjustmentRequested", id, &data)
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn new_products_and_adjustments_are_taken_once(pool: PgPool) {
    let shop = Shop::open(&pool).await;
    let (queue, client) = Queue::start(true).await;
    let work = Work::start(client, &shop);
    let product = shop.new_product().await;

    queue.send("created", product_created(product));
    queue.deleted("created").await;
    assert_eq!(shop.level(product).await, (0, 0));

    let (delivery, delivered) = (new_id(), adjustment(product, new_id(), 12));
    queue.send("delivery", adjustment(product, delivery, 30));
    queue.send("delivery again", adjustment(product, delivery, 30));
    queue.send("another delivery", &delivered);
    for message in ["delivery", "delivery again", "another delivery"] {
        queue.deleted(message).await;
    }
    queue.send("created again", product_created(product));
    queue.deleted("created again").await;
    assert_eq!(shop.level(product).await, (42, 0));
    assert_eq!(queue.in_flight(), Vec::<String>::new());

    // What follows from an event belongs to its transaction and trace, and names it as its cause.
    let updated = shop.events("StockUpdated").await;
    let told = updated.iter().find(|event| event["data"]["delta"] == 12).unwrap();
    for (member, of) in [
        ("correlation_id", "correlation_id"),
        ("causation_id", "event_id"),
        ("traceparent", "traceparent"),
    ] {
        assert_eq!(told[member], delivered["detail"][of], "{member}");
    }
    assert_eq!(updated.len(), 2);
    work.end().await;
    shop.assert_sums().await;
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn what_is_malformed_or_refused_stays_in_the_queue(pool: PgPool) {
    let shop = Shop::open(&pool).await;
    let (queue, client) = Queue::start(true).await;
    let product = shop.product_with(5).await;
    let mut newer = adjustment(product, new_id(), 1);
    newer["detail"]["schema_version"] = json!(2);
    let mut text = adjustment(product, new_id(), 1);
    text["detail"] = json!(text["detail"].to_string());

    let unwanted = [
        ("not JSON", json!("x").to_string().replace('"', "")),
        (
            "another event",
            event("OrderCreated", new_id(), &json!({})).to_string(),
        ),
        ("a newer version", newer.to_string()),
        ("detail as text", text.to_string()),
        (
            "an unknown product",
            adjustment(ProductId(new_id()), new_id(), 1).to_string(),
        ),
        (
            "a product that never was",
            product_created(ProductId(new_id())).to_string(),
        ),
        ("too many taken", adjustment(product, new_id(), -6).to_string()),
        ("no change", adjustment(product, new_id(), 0).to_string()),
        (
            "beyond any number",
            adjustment(product, new_id(), i64::MAX).to_string(),
        ),
    ];
    for (id, body) in &unwanted {
        queue.send(id, body);
    }
    // In the middle of them is one that is wanted: it comes in the same poll.
    queue.send("wanted", adjustment(product, new_id(), 2));
    let work = Work::start(client, &shop);
    queue.deleted("wanted").await;
    work.end().await;

    assert_eq!(
        queue.in_flight(),
        unwanted.each_ref().map(|(id, _)| (*id).to_owned())
    );
    assert_eq!(shop.level(product).await, (7, 0));
    shop.assert_sums().await;
}

#[sqlx::test(migrator = "database::MIGRATIONS")]
async fn a_queue_that_is_missing_is_waited_for(pool: PgPool) {
    let shop = Shop::open(&pool).await;
    let (queue, client) = Queue::start(false).await;
    let consumer = Consumer::new(
        client.clone(),
        "stock-update-queue",
        shop.engine.clone(),
        pool.clone(),
    );
    assert!(consumer.check().await.is_err());
    let work = Work::start(client, &shop);
    let product = shop.product_with(5).await;

    queue.send("delivery", adjustment(product, new_id(), 2));
    assert_eq!(
        shop.level(product).await,
        (5, 0),
        "requests are served in the meantime"
    );
    queue.create();
    queue.deleted("delivery").await;
    assert!(consumer.check().await.is_ok());
    assert_eq!(shop.level(product).await, (7, 0));
    work.end().await;
}
