//! Test support: isolated outboxes, event buses, queues and clocks.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use aws_sdk_dynamodb::types::TransactWriteItem;
use aws_sdk_eventbridge::types::Target;
use domain::{Clock, EventId, Timestamp, ids::uuid_v7};
use dynamodb_table::testing::create_table;
use event_publishing::{
    AccountOutbox, CatalogOutbox, DynamoOutbox, InventoryOutbox, Outbox, ParkingQueue, Publisher,
};
use events::OutboxEvent;
use sqlx::PgPool;

/// An outbox of any kind that tests can commit events to.
pub enum TestOutbox {
    Catalog(PgPool),
    Inventory(PgPool),
    Account(PgPool),
    Dynamo(aws_sdk_dynamodb::Client, String),
}

impl TestOutbox {
    pub async fn dynamo() -> Self {
        let aws = aws_client::sdk_config().await;
        let table = create_table(&aws, &["event_id"]).await;
        let client = aws_sdk_dynamodb::Client::new(&aws);
        Self::Dynamo(client, table)
    }

    pub fn outbox(&self) -> Box<dyn Outbox> {
        match self {
            Self::Catalog(pool) => Box::new(CatalogOutbox::new(pool.clone())),
            Self::Inventory(pool) => Box::new(InventoryOutbox::new(pool.clone())),
            Self::Account(pool) => Box::new(AccountOutbox::new(pool.clone())),
            Self::Dynamo(client, table) => Box::new(DynamoOutbox::new(client.clone(), table)),
        }
    }

    /// Returns the DynamoDB outbox by value, as the relay needs it.
    pub fn into_dynamo_outbox(self) -> DynamoOutbox {
        match self {
            Self::Dynamo(client, table) => DynamoOutbox::new(client, table),
            _ => panic!("this test uses DynamoDB"),
        }
    }

    pub async fn commit(&self, event: &OutboxEvent, at: Timestamp) {
        let events = std::slice::from_ref(event);
        match self {
            Self::Catalog(pool) => {
                let mut transaction = pool.begin().await.unwrap();
                CatalogOutbox::enqueue(&mut transaction, events, at)
                    .await
                    .unwrap();
                transaction.commit().await.unwrap();
            }
            Self::Inventory(pool) => {
                let mut transaction = pool.begin().await.unwrap();
                InventoryOutbox::enqueue(&mut transaction, events, at)
                    .await
                    .unwrap();
                transaction.commit().await.unwrap();
            }
            Self::Account(pool) => {
                let mut transaction = pool.begin().await.unwrap();
                AccountOutbox::enqueue(&mut transaction, events, at)
                    .await
                    .unwrap();
                transaction.commit().await.unwrap();
            }
            Self::Dynamo(client, table) => {
                let put = DynamoOutbox::new(client.clone(), table).put(event, at).unwrap();
                let item = TransactWriteItem::builder().put(put).build();
                client
                    .transact_write_items()
                    .transact_items(item)
                    .send()
                    .await
                    .unwrap();
            }
        }
    }
}

pub fn test_event(at: Timestamp) -> OutboxEvent {
    let event_id = EventId::new(at);
    OutboxEvent {
        event_id,
        source: "core-api.orders".to_owned(),
        detail_type: "OrderCreated".to_owned(),
        detail: serde_json::json!({"event_id": event_id}).to_string(),
        occurred_at: domain::clock::truncate_to_micros(at),
    }
}

/// The system clock plus an offset that the test sets.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn set_seconds_ahead(&self, seconds: i64) {
        self.0.store(seconds, Ordering::SeqCst);
    }

    pub fn clock(&self) -> Clock {
        let seconds_ahead = self.0.clone();
        Clock::from_fn(move || {
            Clock::system().now() + chrono::TimeDelta::seconds(seconds_ahead.load(Ordering::SeqCst))
        })
    }
}

/// A separate parking queue per test.
pub struct TestParkingQueue {
    pub queue: ParkingQueue,
    sqs: aws_sdk_sqs::Client,
    url: String,
}

impl TestParkingQueue {
    pub async fn new() -> Self {
        let sqs = aws_sdk_sqs::Client::new(&aws_client::sdk_config().await);
        let name = format!("parking-{}", uuid_v7(Clock::system().now()));
        let created = sqs.create_queue().queue_name(&name).send().await.unwrap();
        Self {
            queue: ParkingQueue::new(sqs.clone(), name),
            sqs,
            url: created.queue_url.unwrap(),
        }
    }

    /// A parking queue that does not exist.
    pub async fn missing() -> Self {
        let mut parking = Self::new().await;
        parking.queue = ParkingQueue::new(parking.sqs.clone(), "missing-queue");
        parking
    }

    /// Receives the bodies of the parked events.
    pub async fn drain(&self) -> Vec<serde_json::Value> {
        let receive = self.sqs.receive_message().queue_url(&self.url);
        let received = receive.max_number_of_messages(10).send().await.unwrap();
        let messages = received.messages.unwrap_or_default().into_iter();
        messages
            .map(|message| serde_json::from_str(&message.body.unwrap()).unwrap())
            .collect()
    }
}

/// An event bus, and a queue that receives all its events.
pub struct TestBus {
    pub publisher: Publisher,
    sqs: aws_sdk_sqs::Client,
    queue_url: String,
}

impl TestBus {
    pub async fn new() -> Self {
        let config = aws_client::sdk_config().await;
        let (client, sqs) = (
            aws_sdk_eventbridge::Client::new(&config),
            aws_sdk_sqs::Client::new(&config),
        );
        let name = format!("bus-{}", uuid_v7(Clock::system().now()));
        client.create_event_bus().name(&name).send().await.unwrap();
        let queue = sqs.create_queue().queue_name(&name).send().await.unwrap();
        let rule = client.put_rule().event_bus_name(&name).name(&name);
        rule.event_pattern(r#"{"source":[{"prefix":""}]}"#)
            .send()
            .await
            .unwrap();
        let arn = format!("arn:aws:sqs:ap-northeast-1:000000000000:{name}");
        let target = Target::builder().id("queue").arn(arn).build().unwrap();
        client
            .put_targets()
            .event_bus_name(&name)
            .rule(&name)
            .targets(target)
            .send()
            .await
            .unwrap();
        let queue_url = queue.queue_url().unwrap().to_owned();
        Self {
            publisher: Publisher::new(client, name),
            sqs,
            queue_url,
        }
    }

    /// Waits for the next event on the bus.
    pub async fn next_event(&self) -> serde_json::Value {
        for _ in 0..6 {
            let request = self
                .sqs
                .receive_message()
                .queue_url(&self.queue_url)
                .wait_time_seconds(10);
            if let Some(message) = request.send().await.unwrap().messages().first() {
                return serde_json::from_str(message.body().unwrap()).unwrap();
            }
        }
        panic!("no event on the bus within a minute");
    }

    /// A publisher whose endpoint refuses connections.
    pub async fn unreachable() -> Publisher {
        let config = aws_client::sdk_config().await;
        let config = aws_sdk_eventbridge::config::Builder::from(&config)
            // Port 9 ("discard") has no listener.
            .endpoint_url("http://127.0.0.1:9")
            .retry_config(aws_sdk_eventbridge::config::retry::RetryConfig::disabled())
            .build();
        Publisher::new(aws_sdk_eventbridge::Client::from_conf(config), "nowhere")
    }
}
