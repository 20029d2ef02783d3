//! The store of carts: the DynamoDB table `ecommerce-sessions`.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::DisplayErrorContext,
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, Delete, Put, TransactWriteItem},
};
use chrono::TimeDelta;
use domain::{Clock, OrderId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    CartId, CartToken,
    cart::{Cart, CartFull, CartLine},
};

/// A cart expires this long after its last change.
const CART_TTL: TimeDelta = TimeDelta::days(30);

/// The number of attempts to write a cart that concurrent requests change as well.
const MAX_ATTEMPTS: u32 = 20;

/// The delay before the second attempt; each further attempt waits one step longer.
const BACKOFF_STEP: Duration = Duration::from_millis(5);

/// The store of carts. Clones share the client.
#[derive(Clone, Debug)]
pub struct Carts {
    client: Client,
    table: String,
    pub(super) clock: Clock,
}

/// Why a cart could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum CartError {
    #[error(transparent)]
    Full(#[from] CartFull),
    /// Concurrent requests changed the cart during every attempt.
    #[error("too many concurrent changes to the cart")]
    Contended,
    /// DynamoDB returned an error or did not respond.
    #[error("cart store failed: {0}")]
    Unavailable(String),
    #[error("invalid cart item in the cart store")]
    InvalidItem(#[from] serde_dynamo::Error),
}

impl CartError {
    /// Formats the whole source chain, because the top-level message of an SDK error does not state the
    /// cause.
    fn from_sdk(error: impl std::error::Error) -> Self {
        Self::Unavailable(DisplayErrorContext(error).to_string())
    }
}

/// The DynamoDB item of a cart.
#[derive(Serialize, Deserialize)]
struct CartRecord {
    session_id: String,
    version: u64,
    lines: Vec<CartLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    placed_orders: Vec<OrderId>,
    updated_at: Timestamp,
    /// The expiry in seconds since the Unix epoch. Readers check it too, because DynamoDB deletes expired
    /// items days later.
    ttl: i64,
}

impl From<CartRecord> for Cart {
    fn from(record: CartRecord) -> Self {
        Self {
            lines: record.lines,
            placed_orders: record.placed_orders,
            version: Some(record.version),
        }
    }
}

/// The outcome of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteOutcome {
    Applied,
    /// The stored version is not the one that was read.
    Conflict,
}

impl Carts {
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>, clock: Clock) -> Self {
        Self {
            client,
            table: table.into(),
            clock,
        }
    }

    /// Reads a cart with strong consistency. Returns an empty cart when none is stored or it has expired.
    pub async fn read(&self, id: &CartId) -> Result<Cart, CartError> {
        let Some(record) = self.fetch_record(id).await? else {
            return Ok(Cart::default());
        };
        // A write replaces an expired item, so it needs that item's version.
        let version = Some(record.version);
        let unexpired = Some(record).filter(|record| self.is_unexpired(record));
        Ok(Cart {
            version,
            ..unexpired.map(Cart::from).unwrap_or_default()
        })
    }

    /// The anonymous cart of a token. Returns `None` when the token was never issued or the cart has expired.
    pub async fn find_by_token(&self, token: &CartToken) -> Result<Option<Cart>, CartError> {
        let record = self.fetch_record(&CartId::for_token(token)).await?;
        Ok(record.filter(|record| self.is_unexpired(record)).map(Cart::from))
    }

    async fn fetch_record(&self, id: &CartId) -> Result<Option<CartRecord>, CartError> {
        let output = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("session_id", AttributeValue::S(id.as_str().to_owned()))
            .consistent_read(true)
            .send()
            .await
            .map_err(CartError::from_sdk)?;
        Ok(output.item.map(serde_dynamo::from_item).transpose()?)
    }

    fn is_unexpired(&self, record: &CartRecord) -> bool {
        record.ttl > self.clock.now().timestamp()
    }

    /// Reads a cart, applies `change` and writes it. On a version conflict the whole operation is repeated.
    pub async fn update_with(
        &self,
        id: &CartId,
        change: impl Fn(&mut Cart) -> Result<(), CartFull>,
    ) -> Result<Cart, CartError> {
        for attempt in 0..MAX_ATTEMPTS {
            self.back_off(attempt).await;
            let before = self.read(id).await?;
            let mut cart = before.clone();
            change(&mut cart)?;
            if cart == before || self.write_if_unchanged(id, &mut cart).await? == WriteOutcome::Applied {
                return Ok(cart);
            }
        }
        Err(CartError::Contended)
    }

    /// Merges the anonymous cart of `token` into the cart `id`. One transaction writes the merged cart and
    /// deletes the anonymous one, so a repeated request does not add the lines twice. Both stay as they are
    /// if the lines do not fit.
    pub async fn merge_anonymous(&self, id: &CartId, token: &CartToken) -> Result<(), CartError> {
        let anonymous_id = CartId::for_token(token);
        for attempt in 0..MAX_ATTEMPTS {
            self.back_off(attempt).await;
            // The anonymous cart is read first: when it is gone, the other cart already contains its lines.
            let Some(anonymous) = self.find_by_token(token).await? else {
                return Ok(());
            };
            let anonymous_version = anonymous.version.expect("a stored cart has a version");
            let mut cart = self.read(id).await?;
            if let Err(full) = cart.merge_lines(&anonymous.lines) {
                // A concurrent request may have merged them in between.
                match self.find_by_token(token).await? {
                    Some(unchanged) if unchanged == anonymous => return Err(full.into()),
                    _ => continue,
                }
            }
            let (put, _) = self.conditional_put(id, &cart)?;
            let delete = Delete::builder()
                .table_name(&self.table)
                .key("session_id", AttributeValue::S(anonymous_id.as_str().to_owned()))
                .condition_expression("#version = :version")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":version", number_attribute(anonymous_version))
                .build()
                .map_err(CartError::from_sdk)?;
            let result = self
                .client
                .transact_write_items()
                .transact_items(TransactWriteItem::builder().put(put).build())
                .transact_items(TransactWriteItem::builder().delete(delete).build())
                .send()
                .await;
            match result {
                Ok(_) => return Ok(()),
                Err(error) if is_version_conflict(error.as_service_error()) => {}
                Err(error) => return Err(CartError::from_sdk(error)),
            }
        }
        Err(CartError::Contended)
    }

    pub async fn delete(&self, id: &CartId) -> Result<(), CartError> {
        self.client
            .delete_item()
            .table_name(&self.table)
            .key("session_id", AttributeValue::S(id.as_str().to_owned()))
            .send()
            .await
            .map(|_| ())
            .map_err(CartError::from_sdk)
    }

    /// Writes a cart if the stored version is still the one that was read.
    async fn write_if_unchanged(&self, id: &CartId, cart: &mut Cart) -> Result<WriteOutcome, CartError> {
        let (put, version) = self.conditional_put(id, cart)?;
        let result = self
            .client
            .put_item()
            .table_name(put.table_name())
            .set_item(Some(put.item().clone()))
            .set_condition_expression(put.condition_expression().map(str::to_owned))
            .set_expression_attribute_names(put.expression_attribute_names().cloned())
            .set_expression_attribute_values(put.expression_attribute_values().cloned())
            .send()
            .await;
        match result {
            Ok(_) => {
                cart.version = Some(version);
                Ok(WriteOutcome::Applied)
            }
            Err(error) => match error.as_service_error() {
                Some(error)
                    if error.is_conditional_check_failed_exception()
                        || error.is_transaction_conflict_exception() =>
                {
                    Ok(WriteOutcome::Conflict)
                }
                _ => Err(CartError::from_sdk(error)),
            },
        }
    }

    /// The conditional write of a cart, and the version that it stores.
    pub(super) fn conditional_put(&self, id: &CartId, cart: &Cart) -> Result<(Put, u64), CartError> {
        let now = self.clock.now();
        let version = cart.version.map_or(1, |version| version + 1);
        let record = CartRecord {
            session_id: id.as_str().to_owned(),
            version,
            lines: cart.lines.clone(),
            placed_orders: cart.placed_orders.clone(),
            updated_at: now,
            ttl: (now + CART_TTL).timestamp(),
        };
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(serde_dynamo::to_item(record)?));
        let put = match cart.version {
            None => put.condition_expression("attribute_not_exists(session_id)"),
            Some(read_version) => put
                .condition_expression("#version = :version")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":version", number_attribute(read_version)),
        };
        Ok((put.build().map_err(CartError::from_sdk)?, version))
    }

    pub(super) async fn back_off(&self, attempt: u32) {
        if attempt > 0 {
            tokio::time::sleep(BACKOFF_STEP * attempt).await;
        }
    }
}

fn number_attribute(value: u64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// Whether a transaction failed because a concurrent request had changed one of the items.
fn is_version_conflict(error: Option<&TransactWriteItemsError>) -> bool {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) = error else {
        return false;
    };
    cancelled.cancellation_reasons().iter().any(|reason| {
        matches!(
            reason.code(),
            Some("ConditionalCheckFailed" | "TransactionConflict")
        )
    })
}
