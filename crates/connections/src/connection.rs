//! Open connections: registration, heartbeat, message limit, muted orders, and the lists of a user's and of
//! an address's connections.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::{
    operation::update_item::builders::UpdateItemFluentBuilder,
    types::{AttributeValue, Select},
};
use chrono::TimeDelta;
use domain::{OrderId, ProductId, Timestamp, UserId};
use dynamodb_table::{DynamoDbError, all_items, applied, number, text};
use serde::{Deserialize, Serialize, de::IgnoredAny};

use crate::ConnectionsTable;

/// The index of connections by user.
pub const USER_INDEX: &str = "user_id-index";

/// The index of connections by client address.
pub const ADDRESS_INDEX: &str = "address-index";

/// The number of orders that a connection can mute.
pub const MAX_MUTED_ORDERS: usize = 100;

/// The number of products that a connection can watch.
pub const MAX_WATCHED_PRODUCTS: usize = 50;

/// API Gateway waits at most 29 seconds for the function that registers a connection.
const MAX_HANDSHAKE_DURATION: TimeDelta = TimeDelta::seconds(30);

/// An open connection: item of the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    pub connection_id: String,
    pub user_id: UserId,
    /// The client's IPv4 address or /64 network of IPv6 addresses.
    pub address: String,
    /// When the access token was issued with which the user got the ticket.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub token_issued_at: Timestamp,
    /// When the handshake began.
    #[serde(with = "chrono::serde::ts_milliseconds")]
    pub opened_at: Timestamp,
    /// When the client counts as gone unless it sends a message, in Unix seconds.
    pub ttl: i64,
    /// Orders of which the client does not want updates.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub muted: BTreeSet<OrderId>,
    /// Products whose levels the client wants. The indexes do not contain them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub products: BTreeSet<ProductId>,
}

/// How many messages a connection may send: `messages` in each window of `window`.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimit {
    pub messages: u32,
    pub window: TimeDelta,
}

/// The result of [`ConnectionsTable::record_message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatOutcome {
    /// The connection may go on.
    Alive,
    /// The connection has sent too many messages in this window.
    TooManyMessages,
    /// The connection is not registered: it was closed.
    Unknown,
}

impl Connection {
    /// Whether the handshake may still be in progress. Until its end, API Gateway reports the connection as
    /// gone.
    #[must_use]
    pub fn may_be_opening(&self, now: Timestamp) -> bool {
        now < self.opened_at + MAX_HANDSHAKE_DURATION
    }

    /// Whether the client has sent no message for too long.
    #[must_use]
    pub fn has_expired(&self, now: Timestamp) -> bool {
        self.ttl <= now.timestamp()
    }
}

impl ConnectionsTable {
    /// Registers a connection.
    pub async fn register(&self, connection: &Connection) -> Result<(), DynamoDbError> {
        self.table.put(connection).await
    }

    /// Removes a connection. Idempotent.
    pub async fn remove(&self, connection_id: &str) -> Result<(), DynamoDbError> {
        self.table.delete([connection_id.to_owned()]).await
    }

    /// The connections of a user, also those that have expired (eventually consistent read).
    pub async fn of_user(&self, user_id: UserId) -> Result<Vec<Connection>, DynamoDbError> {
        let query = self
            .table
            .start_query()
            .index_name(USER_INDEX)
            .key_condition_expression("user_id = :user")
            .expression_attribute_values(":user", text(user_id));
        all_items(query).await
    }

    /// Whether the address has at least `max` connections (eventually consistent read).
    pub async fn address_is_full(&self, address: &str, max: u32) -> Result<bool, DynamoDbError> {
        let mut pages = self
            .table
            .start_query()
            .index_name(ADDRESS_INDEX)
            .select(Select::Count)
            .key_condition_expression("address = :address")
            .filter_expression("#ttl > :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":address", text(address))
            .expression_attribute_values(":now", number(self.clock.now().timestamp()))
            .into_paginator()
            .send();
        let mut count = 0;
        while let Some(page) = pages.next().await {
            count += page?.count;
            if u32::try_from(count).is_ok_and(|count| count >= max) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Counts a message of the connection and prolongs its `ttl` by `idle_timeout`.
    pub async fn record_message(
        &self,
        connection_id: &str,
        limit: MessageLimit,
        idle_timeout: TimeDelta,
    ) -> Result<HeartbeatOutcome, DynamoDbError> {
        let now = self.clock.now();
        let window = now.timestamp_millis().div_euclid(limit.window.num_milliseconds());
        let update = |expression: &str, condition: &str| {
            self.table
                .start_update([connection_id.to_owned()])
                .update_expression(expression)
                .condition_expression(condition)
                .expression_attribute_names("#ttl", "ttl")
                .expression_attribute_names("#window", "window")
                .expression_attribute_values(":ttl", number((now + idle_timeout).timestamp()))
                .expression_attribute_values(":window", number(window))
                .expression_attribute_values(":one", number(1))
        };
        // First: the messages of a client that only keeps its connection open are farther apart than a
        // window.
        let begun = update(
            "SET #ttl = :ttl, #window = :window, messages = :one",
            "attribute_exists(connection_id) AND (attribute_not_exists(#window) OR #window < :window)",
        )
        .send()
        .await;
        if applied(begun)? {
            return Ok(HeartbeatOutcome::Alive);
        }
        // The clock of another process may be ahead, so that its window is the next one.
        let counted = update(
            "SET #ttl = :ttl, messages = messages + :one",
            "#window >= :window AND messages < :max",
        )
        .expression_attribute_values(":max", number(limit.messages.into()))
        .send()
        .await;
        if applied(counted)? {
            return Ok(HeartbeatOutcome::Alive);
        }
        let item: Option<IgnoredAny> = self.table.get([connection_id.to_owned()]).await?;
        Ok(match item {
            Some(_) => HeartbeatOutcome::TooManyMessages,
            None => HeartbeatOutcome::Unknown,
        })
    }

    /// Mutes orders on a connection. Returns `false` if the connection would mute more than
    /// [`MAX_MUTED_ORDERS`] orders.
    pub async fn mute(&self, connection_id: &str, orders: &[OrderId]) -> Result<bool, DynamoDbError> {
        let free = i64::try_from(MAX_MUTED_ORDERS.saturating_sub(orders.len())).unwrap_or(0);
        let muted = self
            .update_set(connection_id, "ADD muted", orders)
            .condition_expression(
                "attribute_exists(connection_id) AND (attribute_not_exists(muted) OR size(muted) <= :free)",
            )
            .expression_attribute_values(":free", number(free))
            .send()
            .await;
        applied(muted)
    }

    /// The products that a connection watches (strongly consistent read). Empty if the connection is not
    /// registered.
    pub async fn products(&self, connection_id: &str) -> Result<BTreeSet<ProductId>, DynamoDbError> {
        #[derive(Default, Deserialize)]
        struct Products {
            #[serde(default)]
            products: BTreeSet<ProductId>,
        }
        let item: Option<Products> = self.table.get([connection_id.to_owned()]).await?;
        Ok(item.unwrap_or_default().products)
    }

    /// Adds products to those that a connection watches. Returns `false` if the connection is not registered
    /// or would watch more than [`MAX_WATCHED_PRODUCTS`] products.
    pub async fn add_products(
        &self,
        connection_id: &str,
        products: &BTreeSet<ProductId>,
    ) -> Result<bool, DynamoDbError> {
        let free = i64::try_from(MAX_WATCHED_PRODUCTS.saturating_sub(products.len())).unwrap_or(0);
        let added = self
            .update_set(connection_id, "ADD products", products)
            .condition_expression(
                "attribute_exists(connection_id) AND (attribute_not_exists(products) OR size(products) <= :free)",
            )
            .expression_attribute_values(":free", number(free))
            .send()
            .await;
        applied(added)
    }

    /// Removes products from those that a connection watches.
    pub async fn remove_products(
        &self,
        connection_id: &str,
        products: &[ProductId],
    ) -> Result<(), DynamoDbError> {
        let removed = self
            .update_set(connection_id, "DELETE products", products)
            .condition_expression("attribute_exists(products)")
            .send()
            .await;
        applied(removed).map(drop)
    }

    /// Ends the muting of orders on a connection.
    pub async fn unmute(&self, connection_id: &str, orders: &[OrderId]) -> Result<(), DynamoDbError> {
        let unmuted = self
            .update_set(connection_id, "DELETE muted", orders)
            .condition_expression("attribute_exists(muted)")
            .send()
            .await;
        applied(unmuted).map(drop)
    }

    /// An update of a set, such as `ADD muted`.
    fn update_set(
        &self,
        connection_id: &str,
        action: &str,
        ids: impl IntoIterator<Item: ToString>,
    ) -> UpdateItemFluentBuilder {
        let ids = ids.into_iter().map(|id| id.to_string()).collect();
        self.table
            .start_update([connection_id.to_owned()])
            .update_expression(format!("{action} :ids"))
            .expression_attribute_values(":ids", AttributeValue::Ss(ids))
    }
}
