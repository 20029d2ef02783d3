//! Placing orders, once per idempotency key.

use aws_sdk_dynamodb::types::{Put, TransactWriteItem};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use domain::{OrderId, ProductId, Quantity, Timestamp, UserId};
use dynamodb_table::{DynamoDbError, Table, number, write};
use event_publishing::DynamoOutbox;
use events::{Envelope, OutboxEvent, order::OrderCreated};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{NewOrder, Order, OrderItem, Orders, OrdersWithOutbox, PlaceError};

const IDEMPOTENCY_KEY_TTL: TimeDelta = TimeDelta::hours(24);

/// Position of the idempotency key's write in the transaction.
const KEY_WRITE_INDEX: usize = 0;

/// Maximum attempts to place an order while the same customer places others.
const MAX_ATTEMPTS: u32 = 20;

/// Result of the transaction that places an order.
enum Placement {
    Placed(Box<Order>, OutboxEvent),
    /// The idempotency key has been used.
    KeyUsed,
    /// Another write was faster.
    Conflict,
    /// The customer has this many open orders, which is the maximum.
    TooManyOpenOrders(u32),
}

/// Item of the idempotency store.
#[derive(Debug, Serialize, Deserialize)]
struct KeyRecord {
    id: String,
    order_id: OrderId,
    /// Hash of the request, to detect a different order under the same key.
    payload_hash: String,
    /// Unix seconds. DynamoDB removes expired items within days, not at once, so reads check it as well.
    ttl: i64,
}

/// Places orders. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct OrderPlacement {
    pub(crate) orders: Orders,
    outbox: DynamoOutbox,
    /// The idempotency store. It also has the open orders of each account.
    pub(crate) idempotency: Table<1>,
}

impl OrderPlacement {
    /// `idempotency_table` is the name of a table with the key `id`.
    #[must_use]
    pub fn new(store: OrdersWithOutbox, idempotency_table: impl Into<String>) -> Self {
        let client = store.orders.table.client().clone();
        Self {
            orders: store.orders,
            outbox: store.outbox,
            idempotency: Table::new(client, idempotency_table, ["id"]),
        }
    }

    /// Places an order: writes the order, its event and the idempotency key in one transaction. Repeating the
    /// request with the same key returns the original order as it was when it was placed, and no event.
    pub async fn place(&self, new: &NewOrder) -> Result<(Order, Option<OutboxEvent>), PlaceError> {
        let mut attempt = 1;
        let refusal = loop {
            let order_id = OrderId::new(self.orders.clock.now());
            match self.write_order(order_id, new, None).await? {
                Placement::Placed(order, event) => return Ok((*order, Some(event))),
                // Another order of the customer may have been placed at the same time.
                Placement::Conflict if new.max_open_orders.is_some() && attempt < MAX_ATTEMPTS => {
                    attempt += 1
                }
                // After a used key: it expired between the two calls; a repeated request places a new order.
                Placement::Conflict | Placement::KeyUsed => break PlaceError::InProgress,
                Placement::TooManyOpenOrders(max) => break PlaceError::TooManyOpenOrders(max),
            }
        };
        let lines = new.items.iter().map(|item| (item.product_id, item.quantity));
        let original = self
            .find_by_key_and_payload(new.user_id, &new.idempotency_key, &new.payment_method, lines)
            .await?;
        Ok((original.ok_or(refusal)?, None))
    }

    /// Places an order together with the write of another item that names it, such as the cart that the order
    /// empties: DynamoDB applies both or neither.
    ///
    /// Returns `None` and changes nothing when the key has been used, when the condition of `other` is not
    /// met, or when a concurrent transaction was writing one of the items. The caller reads both again.
    pub async fn place_with(
        &self,
        order_id: OrderId,
        new: &NewOrder,
        other: Put,
    ) -> Result<Option<(Order, OutboxEvent)>, PlaceError> {
        match self.write_order(order_id, new, Some(other)).await? {
            Placement::Placed(order, event) => Ok(Some((*order, event))),
            Placement::KeyUsed | Placement::Conflict => Ok(None),
            Placement::TooManyOpenOrders(max) => {
                match self.find_by_key(new.user_id, &new.idempotency_key).await? {
                    Some(_) => Ok(None),
                    None => Err(PlaceError::TooManyOpenOrders(max)),
                }
            }
        }
    }

    /// Writes an order, its event, its idempotency key and the customer's open orders in one transaction,
    /// together with `other`.
    async fn write_order(
        &self,
        order_id: OrderId,
        new: &NewOrder,
        other: Option<Put>,
    ) -> Result<Placement, DynamoDbError> {
        let at = self.orders.clock.now();
        let mut order = Order::new(order_id, new, at);
        let event = order_created_event(&order, at);
        order.created_event_id = Some(event.event_id);
        let lines = order.items.iter().map(|item| (item.product_id, item.quantity));
        let key = KeyRecord {
            id: key_id(order.user_id, &new.idempotency_key),
            order_id,
            payload_hash: payload_hash(&order.payment_method, lines),
            ttl: (at + IDEMPOTENCY_KEY_TTL).timestamp(),
        };
        let mut puts = vec![
            self.put_key(&key, at)?,
            self.put_order(&order)?,
            self.outbox.put(&event, at)?,
        ];
        if let Some(max) = new.max_open_orders {
            match self.add_open_order(&order, max).await? {
                Some(put) => puts.push(put),
                None => return Ok(Placement::TooManyOpenOrders(max)),
            }
        }
        let writes: Vec<TransactWriteItem> = puts
            .into_iter()
            .chain(other)
            .map(|put| TransactWriteItem::builder().put(put).build())
            .collect();
        match write(self.idempotency.client(), &writes).await {
            Ok(()) => Ok(Placement::Placed(Box::new(order), event)),
            Err(DynamoDbError::ConditionsFailed(failed)) if failed.contains(&KEY_WRITE_INDEX) => {
                Ok(Placement::KeyUsed)
            }
            Err(DynamoDbError::ConditionsFailed(_) | DynamoDbError::Conflict) => Ok(Placement::Conflict),
            Err(error) => Err(error),
        }
    }

    /// Returns the order that the customer placed with this key and payload, as it was when it was placed.
    /// Used when the key exists, and when the lines can no longer be ordered: the first response may have
    /// been lost and the product removed since.
    ///
    /// Fails with [`PlaceError::KeyReused`] if the key was used with a different payload.
    pub async fn find_by_key_and_payload(
        &self,
        user_id: UserId,
        idempotency_key: &str,
        payment_method: &str,
        lines: impl Iterator<Item = (ProductId, Quantity)>,
    ) -> Result<Option<Order>, PlaceError> {
        let Some(record) = self.find_key_record(&key_id(user_id, idempotency_key)).await? else {
            return Ok(None);
        };
        if record.payload_hash != payload_hash(payment_method, lines) {
            return Err(PlaceError::KeyReused);
        }
        let order = self.orders.find(user_id, record.order_id).await?;
        Ok(order.map(Order::as_placed))
    }

    /// Returns the order that the customer placed with this key, as it was when it was placed, whatever its
    /// payload: for callers whose payload is gone once the order is placed (cart checkout).
    pub async fn find_by_key(
        &self,
        user_id: UserId,
        idempotency_key: &str,
    ) -> Result<Option<Order>, DynamoDbError> {
        let Some(record) = self.find_key_record(&key_id(user_id, idempotency_key)).await? else {
            return Ok(None);
        };
        let order = self.orders.find(user_id, record.order_id).await?;
        Ok(order.map(Order::as_placed))
    }

    /// Returns the unexpired record of a key.
    async fn find_key_record(&self, key_id: &str) -> Result<Option<KeyRecord>, DynamoDbError> {
        let now = self.orders.clock.now();
        self.idempotency.get_unexpired([key_id.to_owned()], now).await
    }

    fn put_key(&self, key: &KeyRecord, at: Timestamp) -> Result<Put, DynamoDbError> {
        let put = self
            .idempotency
            .put_write(key)?
            .condition_expression("attribute_not_exists(id) OR #ttl <= :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", number(at.timestamp()));
        Ok(put.build().expect("the write has a table and an item"))
    }

    fn put_order(&self, order: &Order) -> Result<Put, DynamoDbError> {
        let put = self.orders.table.put_write(order)?;
        let put = put.condition_expression("attribute_not_exists(order_id)");
        Ok(put.build().expect("the write has a table and an item"))
    }
}

fn order_created_event(order: &Order, at: Timestamp) -> OutboxEvent {
    let data = OrderCreated {
        order_id: order.order_id,
        user_id: order.user_id,
        currency: order.currency,
        total_amount: order.total_amount,
        items: order.items.iter().map(OrderItem::event_line).collect(),
        payment_method: order.payment_method.clone(),
        created_at: order.created_at,
    };
    OutboxEvent::from(&Envelope::new(data, at, order.event_context()))
}

/// Keys are scoped to the customer. They may contain any text, so the id uses a digest.
fn key_id(user_id: UserId, key: &str) -> String {
    format!(
        "orders#{user_id}#{}",
        BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(key))
    )
}

/// Digest of the customer's choices. Names and prices come from the catalog and may have changed since.
fn payload_hash(payment_method: &str, lines: impl Iterator<Item = (ProductId, Quantity)>) -> String {
    let mut digest = Sha256::new();
    digest.update(payment_method);
    for (product_id, quantity) in lines {
        digest.update(b"\0");
        digest.update(product_id.0.as_bytes());
        digest.update(quantity.get().to_be_bytes());
    }
    BASE64_URL_SAFE_NO_PAD.encode(digest.finalize())
}
