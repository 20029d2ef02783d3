//! Test support: separate DynamoDB tables per test, and helpers that place orders.

use aws_sdk_dynamodb::{
    Client,
    types::{AttributeValue, Put},
};
use domain::{Clock, Money, OrderId, PaymentId, UserId};
use events::OutboxEvent;
use orders::{
    NewOrder, Order, OrderPlacement, Orders, OrdersWithOutbox, SmsContact,
    testing::{self, OrderStores, OrderTables},
};

pub struct TestContext {
    pub orders: Orders,
    pub store: OrdersWithOutbox,
    pub placement: OrderPlacement,
    pub clock: Clock,
    client: Client,
    tables: OrderTables,
}

/// A placed order, with the arguments of its saga steps.
pub struct PlacedOrder {
    pub user_id: UserId,
    pub order_id: OrderId,
    pub payment_id: PaymentId,
    pub total: Money,
}

impl TestContext {
    pub async fn new() -> Self {
        let clock = Clock::system();
        let aws = aws_client::sdk_config().await;
        let client = Client::new(&aws);
        let tables = OrderTables::create(&aws).await;
        let OrderStores {
            orders,
            store,
            placement,
        } = tables.open(client.clone(), clock.clone());
        Self {
            orders,
            store,
            placement,
            clock,
            client,
            tables,
        }
    }

    /// The same tables with another clock.
    pub fn with_clock(&self, clock: Clock) -> OrderStores {
        self.tables.open(self.client.clone(), clock)
    }

    pub fn new_order(&self, user_id: UserId, key: &str) -> NewOrder {
        NewOrder {
            idempotency_key: key.to_owned(),
            sms_contact: Some(SmsContact {
                phone_number: "+819012345678".to_owned(),
                quiet_hours: None,
            }),
            ..testing::new_order(user_id, self.clock.now())
        }
    }

    /// The write of an item that must not exist, for `OrderPlacement::place_with`.
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
        let (order, _) = self.with_clock(clock).placement.place(&new).await.unwrap();
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
