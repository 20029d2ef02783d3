//! Test support: separate DynamoDB tables per test, and helpers that place orders.

use aws_sdk_dynamodb::{
    Client,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        Projection, ProjectionType, Put, ScalarAttributeType,
    },
};
use domain::{
    Clock, Currency, Language, Money, OrderId, PaymentId, ProductId, Quantity, TaxRate, UserId, ids::uuid_v7,
};
use events::{OutboxEvent, TraceParent};
use orders::{NewOrder, OPEN_ORDERS_INDEX, Order, OrderItem, Orders, SmsContact, Tables};

pub struct TestContext {
    pub orders: Orders,
    pub clock: Clock,
    client: Client,
    tables: Tables,
}

/// A placed order, with the arguments of its saga steps.
pub struct PlacedOrder {
    pub user_id: UserId,
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    pub total: Money,
}

impl TestContext {
    /// The same tables with another clock.
    pub fn with_clock(&self, clock: Clock) -> Orders {
        Orders::new(self.client.clone(), self.tables.clone(), clock)
    }

    pub async fn new() -> Self {
        let clock = Clock::system();
        let client = Client::new(&aws_client::sdk_config().await);
        let name = |table: &str| format!("{table}-{}", uuid_v7(clock.now()));
        let tables = Tables {
            orders: name("orders"),
            outbox: name("outbox"),
            idempotency: name("idempotency"),
        };
        create_orders_table(&client, &tables.orders).await;
        create_table(&client, &tables.outbox, "event_id").await;
        create_table(&client, &tables.idempotency, "id").await;
        Self {
            orders: Orders::new(client.clone(), tables.clone(), clock.clone()),
            clock,
            client,
            tables,
        }
    }

    pub fn new_order(&self, user_id: UserId, key: &str) -> NewOrder {
        let at = self.clock.now();
        let item = OrderItem {
            product_id: ProductId::new(at),
            product_name: "Paper lantern".to_owned(),
            quantity: Quantity::new(2).unwrap(),
            price: 750,
            tax_rate: TaxRate::Standard,
        };
        NewOrder {
            user_id,
            contact_email: "customer@example.com".to_owned(),
            items: vec![item],
            total: Money::new(1500, Currency::JPY).unwrap(),
            payment_method: "pm_card_visa".to_owned(),
            idempotency_key: key.to_owned(),
            traceparent: TraceParent::root(at),
            order_mails: true,
            mail_language: Language::En,
            sms_contact: Some(SmsContact {
                phone_number: "+819012345678".to_owned(),
                quiet_hours: None,
            }),
            max_open_orders: None,
        }
    }

    /// The write of an item that must not exist, for `Orders::place_with`.
    pub fn other_item(&self) -> Put {
        Put::builder()
            .table_name(&self.tables.idempotency)
            .item("id", AttributeValue::S("other".to_owned()))
            .condition_expression("attribute_not_exists(id)")
            .build()
            .unwrap()
    }

    pub async fn place(&self) -> PlacedOrder {
        self.place_at(self.clock.clone()).await
    }

    /// Places an order at the time of `clock`.
    pub async fn place_at(&self, clock: Clock) -> PlacedOrder {
        let user_id = UserId::new(self.clock.now());
        let new = self.new_order(user_id, "key");
        let (order, _) = self.with_clock(clock).place(&new).await.unwrap();
        let payment_id = PaymentId(format!("pi_{}", order.order_id));
        PlacedOrder {
            user_id,
            order_id: order.order_id,
            payment_id,
            total: new.total,
        }
    }

    pub async fn order(&self, placed: &PlacedOrder) -> Order {
        self.orders
            .find(placed.user_id, placed.order_id)
            .await
            .unwrap()
            .unwrap()
    }

    /// Detail types of the events in the outbox.
    pub async fn events(&self) -> Vec<String> {
        let scan = self.client.scan().table_name(&self.tables.outbox);
        let items: Vec<_> = scan.into_paginator().items().send().try_collect().await.unwrap();
        let mut events: Vec<OutboxEvent> = serde_dynamo::from_items(items).unwrap();
        events.sort_by_key(|event| event.event_id);
        events.into_iter().map(|event| event.detail_type).collect()
    }
}

async fn create_table(client: &Client, table: &str, name: &str) {
    let request = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .attribute_definitions(string_attribute(name))
        .key_schema(key_element(name, KeyType::Hash));
    request
        .send()
        .await
        .expect("AWS_ENDPOINT_URL must point to a local AWS: run `cargo xtask test`");
}

async fn create_orders_table(client: &Client, table: &str) {
    let projection = Projection::builder()
        .projection_type(ProjectionType::Include)
        .non_key_attributes("waits_until");
    let index = GlobalSecondaryIndex::builder()
        .index_name(OPEN_ORDERS_INDEX)
        .key_schema(key_element("open", KeyType::Hash))
        .key_schema(key_element("order_id", KeyType::Range))
        .projection(projection.build());
    let request = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(["user_id", "order_id", "open"].map(string_attribute).into()))
        .key_schema(key_element("user_id", KeyType::Hash))
        .key_schema(key_element("order_id", KeyType::Range))
        .global_secondary_indexes(index.build().unwrap());
    request
        .send()
        .await
        .expect("AWS_ENDPOINT_URL must point to a local AWS: run `cargo xtask test`");
}

fn string_attribute(name: &str) -> AttributeDefinition {
    let definition = AttributeDefinition::builder().attribute_name(name);
    definition.attribute_type(ScalarAttributeType::S).build().unwrap()
}

fn key_element(name: &str, kind: KeyType) -> KeySchemaElement {
    let element = KeySchemaElement::builder().attribute_name(name);
    element.key_type(kind).build().unwrap()
}
