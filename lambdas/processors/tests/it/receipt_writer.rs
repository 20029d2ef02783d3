//! Tests of receipt-writer: one receipt per completed order.

use aws_sdk_s3::{
    Client as S3,
    types::{BucketLocationConstraint, CreateBucketConfiguration},
};
use domain::{Clock, Currency, Language, PaymentId, UserId, ids::uuid_v7};
use events::order::OrderCompleted;
use lambda_shared::testing::FunctionProcess;
use orders::{
    NewOrder, Order, OrderPlacement, Orders, OrdersWithOutbox,
    testing::{OrderStores, OrderTables, new_order_of_two},
};
use serde_json::{Value, json};

use crate::{EXECUTABLE, batch_item_failures, eventbridge_event, now, sqs_event};

struct TestContext {
    s3: S3,
    bucket: String,
    orders: Orders,
    store: OrdersWithOutbox,
    placement: OrderPlacement,
    orders_table: String,
    writer: FunctionProcess,
}

/// The variables of a function with this issuer's name.
fn variables<'a>(orders_table: &'a str, bucket: &'a str, issuer: &'a str) -> [(&'a str, &'a str); 5] {
    [
        ("ORDERS_TABLE", orders_table),
        ("RECEIPTS_BUCKET", bucket),
        ("RECEIPT_ISSUER_NAME", issuer),
        ("RECEIPT_ISSUER_ADDRESS", "東京都台東区浅草1-1-1"),
        ("RECEIPT_ISSUER_REGISTRATION_NUMBER", "T1234567890123"),
    ]
}

impl TestContext {
    async fn new() -> Self {
        let aws = aws_client::sdk_config().await;
        let tables = OrderTables::create(&aws).await;
        let (s3, bucket) = (S3::new(&aws), format!("test-{}", uuid_v7(now())));
        let region = BucketLocationConstraint::from(aws.region().unwrap().as_ref());
        let location = CreateBucketConfiguration::builder().location_constraint(region);
        let create = s3.create_bucket().bucket(&bucket);
        create
            .create_bucket_configuration(location.build())
            .send()
            .await
            .unwrap();
        let orders_table = tables.orders.clone();
        let variables = variables(&orders_table, &bucket, "株式会社まつり");
        let writer = FunctionProcess::start(EXECUTABLE, "receipt-writer", &variables)
            .await
            .unwrap();
        let OrderStores {
            orders,
            store,
            placement,
        } = tables.open(aws_sdk_dynamodb::Client::new(&aws), Clock::system());
        Self {
            orders,
            store,
            placement,
            s3,
            bucket,
            orders_table,
            writer,
        }
    }

    async fn place_order(&self) -> Order {
        let new = NewOrder {
            mail_language: Language::Ja,
            ..new_order_of_two("提灯", 1_650, UserId::new(now()), now())
        };
        self.placement.place(&new).await.unwrap().0
    }

    async fn complete(&self, order: &Order) {
        let (user_id, order_id) = (order.user_id, order.order_id);
        let (payment, total, context) = (
            PaymentId("pi_1".to_owned()),
            order.total().unwrap(),
            order.event_context(),
        );
        let claimed = self.orders.claim_for_payment(user_id, order_id, &payment).await;
        claimed.unwrap();
        let paid = self
            .store
            .record_payment(user_id, order_id, &payment, total, &context)
            .await;
        paid.unwrap();
        let completed = self.store.complete(user_id, order_id, total, &context).await;
        completed.unwrap();
    }

    /// The receipt of the order, if there is one.
    async fn receipt(&self, order: &Order) -> Option<Vec<u8>> {
        let key = format!("{}.pdf", order.order_id);
        let object = self
            .s3
            .get_object()
            .bucket(&self.bucket)
            .key(key)
            .send()
            .await
            .ok()?;
        Some(object.body.collect().await.unwrap().to_vec())
    }
}

fn completed_event(order: &Order) -> Value {
    let data = OrderCompleted {
        order_id: order.order_id,
        user_id: order.user_id,
        currency: Currency::JPY,
        total_amount: order.total_amount,
        completed_at: now(),
    };
    eventbridge_event(data, order.order_id.0)
}

#[tokio::test]
async fn receipt_is_written_once_and_stays_when_the_issuer_moves() {
    let context = TestContext::new().await;
    let order = context.place_order().await;
    context.complete(&order).await;
    let batch = sqs_event(&[completed_event(&order).to_string()]);
    let response = context.writer.invoke(batch.clone()).await.unwrap();
    assert_eq!(response, batch_item_failures(&[]));
    let first = context.receipt(&order).await.unwrap();
    assert!(first.starts_with(b"%PDF-"));

    let variables = variables(&context.orders_table, &context.bucket, "株式会社まつり本舗");
    let later = FunctionProcess::start(EXECUTABLE, "receipt-writer", &variables).await;
    let response = later.unwrap().invoke(batch).await.unwrap();
    assert_eq!(response, batch_item_failures(&[]));
    assert_eq!(context.receipt(&order).await.unwrap(), first);
}

#[tokio::test]
async fn message_fails_without_a_completed_order() {
    let context = TestContext::new().await;
    let (completed, open) = (context.place_order().await, context.place_order().await);
    context.complete(&completed).await;
    let mut unknown = completed.clone();
    unknown.user_id = UserId::new(now());
    let batch = sqs_event(&[
        completed_event(&open).to_string(),
        completed_event(&completed).to_string(),
        completed_event(&unknown).to_string(),
        json!({"detail-type": "OrderCompleted"}).to_string(),
    ]);
    let response = context.writer.invoke(batch).await.unwrap();
    let mut failed: Vec<&str> = response["batchItemFailures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| failure["itemIdentifier"].as_str().unwrap())
        .collect();
    failed.sort_unstable();
    assert_eq!(failed, ["0", "2", "3"]);
    assert!(context.receipt(&open).await.is_none());
    assert!(context.receipt(&completed).await.is_some());
}

#[tokio::test]
async fn invalid_issuer_stops_the_function_at_its_start() {
    let mut invalid = variables("orders", "bucket", "株式会社まつり");
    invalid[4].1 = "1234567890123";
    let started = FunctionProcess::start(EXECUTABLE, "receipt-writer", &invalid).await;
    assert!(started.is_err());
    let without_name = variables("orders", "bucket", "");
    let started = FunctionProcess::start(EXECUTABLE, "receipt-writer", &without_name).await;
    assert!(started.is_err());
}
