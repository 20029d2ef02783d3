//! Order commands of the customer: place and cancel.

use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use domain::{OrderId, OrderStatus, ProductId, Quantity, Timestamp, UserId};
use events::{
    Envelope, EventContext, OutboxEvent,
    order::{OrderCancelled, OrderCreated},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    CancelError, NewOrder, Order, OrderItem, Orders, PlaceError, SmsContact, StoreError,
    error::WriteRejection,
    store::{OrderUpdate, WriteOutcome},
};

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

impl Orders {
    /// Places an order: writes the order, its event and the idempotency key in one transaction. Repeating the
    /// request with the same key returns the original order as it was when it was placed, and no event.
    pub async fn place(&self, new: &NewOrder) -> Result<(Order, Option<OutboxEvent>), PlaceError> {
        let mut attempt = 1;
        let refusal = loop {
            let order_id = OrderId::new(self.clock.now());
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
    ) -> Result<Placement, StoreError> {
        let at = self.clock.now();
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
        let writes = puts
            .into_iter()
            .chain(other)
            .map(|put| TransactWriteItem::builder().put(put).build())
            .collect();
        let sent = self
            .client
            .transact_write_items()
            .set_transact_items(Some(writes))
            .send()
            .await;
        match sent.map_err(WriteRejection::from) {
            Ok(_) => Ok(Placement::Placed(Box::new(order), event)),
            Err(WriteRejection::ConditionsFailed(failed)) if failed.contains(&KEY_WRITE_INDEX) => {
                Ok(Placement::KeyUsed)
            }
            Err(WriteRejection::ConditionsFailed(_) | WriteRejection::Conflict) => Ok(Placement::Conflict),
            Err(WriteRejection::Failed(error)) => Err(error),
        }
    }

    /// Cancels an order. Returns it with the event added to the outbox.
    ///
    /// An order whose payment has not been claimed is cancelled at once. If the payment waits for the
    /// customer, the order is closed to payment, and its status stays `processing` until the execution of the
    /// saga that the event starts has cancelled the payment and released the stock. A repetition returns no
    /// event until then.
    pub async fn cancel(
        &self,
        user_id: UserId,
        order_id: OrderId,
        context: EventContext,
    ) -> Result<(Order, Option<OutboxEvent>), CancelError> {
        let at = self.clock.now();
        let data = OrderCancelled {
            order_id,
            user_id,
            cancelled_at: at,
        };
        let event = OutboxEvent::from(&Envelope::new(data, at, context));
        let update = OrderUpdate::for_order(user_id, order_id)
            .transition_to(OrderStatus::Cancelled, at)
            .require_status(&[OrderStatus::Pending]);
        match self.try_write((user_id, order_id), update, Some(&event)).await? {
            WriteOutcome::NotFound => Err(CancelError::NotFound),
            WriteOutcome::Rejected(order) => self.cancel_waiting(*order).await,
            WriteOutcome::Applied => match self.find(user_id, order_id).await? {
                Some(order) => Ok((order, Some(event))),
                None => Err(CancelError::NotFound),
            },
        }
    }

    /// Ends the order mails about a customer's open orders, except receipts. Later orders get the preference
    /// of the account when they are placed.
    pub async fn stop_order_mails(&self, user_id: UserId) -> Result<(), StoreError> {
        for order in self.list_all(user_id).await? {
            if order.status.is_final() || order.order_mails == Some(false) {
                continue;
            }
            let update = OrderUpdate::for_order(user_id, order.order_id).set("order_mails", false);
            self.try_write((user_id, order.order_id), update, None).await?;
        }
        Ok(())
    }

    /// Changes the telephone number of a customer's orders that have one. `None` ends the SMS about them. An
    /// order that has ended may also cause an SMS: about a refund.
    pub async fn change_phone_number(
        &self,
        user_id: UserId,
        phone_number: Option<&str>,
    ) -> Result<(), StoreError> {
        for order in self.list_all(user_id).await? {
            let Some(contact) = order.sms_contact else {
                continue;
            };
            let update = OrderUpdate::for_order(user_id, order.order_id);
            let update = match phone_number {
                None => update.remove("sms_contact"),
                Some(phone_number) => {
                    let contact = SmsContact {
                        phone_number: phone_number.to_owned(),
                        ..contact
                    };
                    update.require_present("sms_contact").set("sms_contact", contact)
                }
            };
            self.try_write((user_id, order.order_id), update, None).await?;
        }
        Ok(())
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
        let order = self.find(user_id, record.order_id).await?;
        Ok(order.map(Order::as_placed))
    }

    /// Returns the order that the customer placed with this key, as it was when it was placed, whatever its
    /// payload: for callers whose payload is gone once the order is placed (cart checkout).
    pub async fn find_by_key(
        &self,
        user_id: UserId,
        idempotency_key: &str,
    ) -> Result<Option<Order>, StoreError> {
        let Some(record) = self.find_key_record(&key_id(user_id, idempotency_key)).await? else {
            return Ok(None);
        };
        let order = self.find(user_id, record.order_id).await?;
        Ok(order.map(Order::as_placed))
    }

    /// Returns the unexpired record of a key.
    async fn find_key_record(&self, key_id: &str) -> Result<Option<KeyRecord>, StoreError> {
        let response = self
            .client
            .get_item()
            .table_name(&self.tables.idempotency)
            .key("id", AttributeValue::S(key_id.to_owned()))
            .consistent_read(true)
            .send()
            .await
            .map_err(StoreError::from_sdk)?;
        let Some(item) = response.item else {
            return Ok(None);
        };
        let record: KeyRecord = serde_dynamo::from_item(item)?;
        Ok((record.ttl > self.clock.now().timestamp()).then_some(record))
    }

    fn put_key(&self, key: &KeyRecord, at: Timestamp) -> Result<Put, StoreError> {
        Put::builder()
            .table_name(&self.tables.idempotency)
            .set_item(Some(serde_dynamo::to_item(key)?))
            .condition_expression("attribute_not_exists(id) OR #ttl <= :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", AttributeValue::N(at.timestamp().to_string()))
            .build()
            .map_err(StoreError::from_sdk)
    }

    fn put_order(&self, order: &Order) -> Result<Put, StoreError> {
        Put::builder()
            .table_name(&self.tables.orders)
            .set_item(Some(serde_dynamo::to_item(order)?))
            .condition_expression("attribute_not_exists(order_id)")
            .build()
            .map_err(StoreError::from_sdk)
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
