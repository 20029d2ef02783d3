//! Carts in DynamoDB, in the table `ecommerce-sessions`.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    error::DisplayErrorContext,
    operation::transact_write_items::TransactWriteItemsError,
    types::{AttributeValue, Delete, Put, TransactWriteItem},
};
use chrono::TimeDelta;
use domain::{Clock, Timestamp};
use serde::{Deserialize, Serialize};

use super::{
    CartId, CartToken,
    cart::{Cart, CartFull, CartLine, CheckoutClaim},
};

/// How long a cart is kept that nobody touches.
const CART_TTL: TimeDelta = TimeDelta::days(30);

/// How often a change is decided again that another was faster than.
const MAX_ATTEMPTS: u32 = 20;

/// How much longer is waited before each of these.
const BACKOFF_STEP: Duration = Duration::from_millis(5);

/// The store of carts. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Carts {
    client: Client,
    table: String,
    pub(super) clock: Clock,
}

/// Why a cart could not be had or changed.
#[derive(Debug, thiserror::Error)]
pub enum CartError {
    /// See [`Full`].
    #[error(transparent)]
    Full(#[from] CartFull),
    /// Others changed the cart again and again.
    #[error("the cart is being changed by others")]
    Contended,
    /// DynamoDB refused or did not answer.
    #[error("the store of carts failed: {0}")]
    Unavailable(String),
    /// An item has not the shape of a cart.
    #[error("an item of the store of carts cannot be read")]
    InvalidItem(#[from] serde_dynamo::Error),
}

impl CartError {
    /// The SDK's errors tell what happened only along their source chain.
    fn from_sdk(error: impl std::error::Error) -> Self {
        Self::Unavailable(DisplayErrorContext(error).to_string())
    }
}

/// A cart as the table keeps it.
#[derive(Serialize, Deserialize)]
struct CartRecord {
    session_id: String,
    version: u64,
    lines: Vec<CartLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim: Option<CheckoutClaim>,
    updated_at: Timestamp,
    /// Seconds since 1970. DynamoDB removes expired items within days, not at once, so it is checked as well.
    ttl: i64,
}

impl From<CartRecord> for Cart {
    fn from(item: CartRecord) -> Self {
        Self {
            lines: item.lines,
            claim: item.claim,
            version: Some(item.version),
        }
    }
}

/// How a conditional write went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// As it was decided.
    Applied,
    /// Somebody else has written since the cart was read.
    Conflict,
}

impl Carts {
    /// The carts in this table.
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>, clock: Clock) -> Self {
        Self {
            client,
            table: table.into(),
            clock,
        }
    }

    /// A cart as the last write left it; an empty one when there is none, or its time is over.
    pub async fn read(&self, id: &CartId) -> Result<Cart, CartError> {
        let Some(item) = self.fetch_record(id).await? else {
            return Ok(Cart::default());
        };
        let version = Some(item.version);
        let current = Some(item).filter(|item| self.is_unexpired(item));
        Ok(Cart {
            version,
            ..current.map(Cart::from).unwrap_or_default()
        })
    }

    /// The cart that a token opens; none when it opens nothing, because nobody was given it or its time is over.
    pub async fn find_by_token(&self, token: &CartToken) -> Result<Option<Cart>, CartError> {
        let item = self.fetch_record(&CartId::for_token(token)).await?;
        Ok(item.filter(|item| self.is_unexpired(item)).map(Cart::from))
    }

    async fn fetch_record(&self, id: &CartId) -> Result<Option<CartRecord>, CartError> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("session_id", AttributeValue::S(id.as_str().to_owned()))
            .consistent_read(true)
            .send()
            .await
            .map_err(CartError::from_sdk)?;
        Ok(answer.item.map(serde_dynamo::from_item).transpose()?)
    }

    fn is_unexpired(&self, item: &CartRecord) -> bool {
        item.ttl > self.clock.now().timestamp()
    }

    /// Changes a cart, deciding again whenever somebody else was faster.
    pub async fn update_with(
        &self,
        id: &CartId,
        decide: impl Fn(&mut Cart) -> Result<(), CartFull>,
    ) -> Result<Cart, CartError> {
        for attempt in 0..MAX_ATTEMPTS {
            self.back_off(attempt).await;
            let before = self.read(id).await?;
            let mut cart = before.clone();
            decide(&mut cart)?;
            if cart == before || self.write_if_unchanged(id, &mut cart).await? == WriteOutcome::Applied {
                return Ok(cart);
            }
        }
        Err(CartError::Contended)
    }

    /// The cart `id` with what the cart that `token` opens has held until now. Both are written in one transaction,
    /// the one fuller and the other gone, so that it is added once, however often it is asked for.
    pub async fn merge_anonymous(&self, id: &CartId, token: &CartToken) -> Result<Cart, CartError> {
        let other = CartId::for_token(token);
        for attempt in 0..MAX_ATTEMPTS {
            self.back_off(attempt).await;
            // In this order: whoever finds it gone reads the cart that it was added to.
            let Some(anonymous) = self.find_by_token(token).await? else {
                return self.read(id).await;
            };
            let mut cart = self.read(id).await?;
            cart.merge_lines(&anonymous.lines);
            let (put, version) = self.conditional_put(id, &cart)?;
            let delete = Delete::builder()
                .table_name(&self.table)
                .key("session_id", AttributeValue::S(other.as_str().to_owned()))
                .condition_expression("#version = :version")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(
                    ":version",
                    number_attribute(anonymous.version.unwrap_or_default()),
                )
                .build()
                .map_err(CartError::from_sdk)?;
            let sent = self
                .client
                .transact_write_items()
                .transact_items(TransactWriteItem::builder().put(put).build())
                .transact_items(TransactWriteItem::builder().delete(delete).build())
                .send()
                .await;
            match sent {
                Ok(_) => {
                    cart.version = Some(version);
                    return Ok(cart);
                }
                Err(error) if is_version_conflict(error.as_service_error()) => {}
                Err(error) => return Err(CartError::from_sdk(error)),
            }
        }
        Err(CartError::Contended)
    }

    /// Removes a cart with all that is in it.
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

    /// Writes a cart where it still is as it was read.
    pub(super) async fn write_if_unchanged(
        &self,
        id: &CartId,
        cart: &mut Cart,
    ) -> Result<WriteOutcome, CartError> {
        let (put, version) = self.conditional_put(id, cart)?;
        let sent = self
            .client
            .put_item()
            .table_name(put.table_name())
            .set_item(Some(put.item().clone()))
            .set_condition_expression(put.condition_expression().map(str::to_owned))
            .set_expression_attribute_names(put.expression_attribute_names().cloned())
            .set_expression_attribute_values(put.expression_attribute_values().cloned())
            .send()
            .await;
        match sent {
            Ok(_) => {
                cart.version = Some(version);
                Ok(WriteOutcome::Applied)
            }
            Err(error) => match error.as_service_error() {
                Some(refusal)
                    if refusal.is_conditional_check_failed_exception()
                        || refusal.is_transaction_conflict_exception() =>
                {
                    Ok(WriteOutcome::Conflict)
                }
                _ => Err(CartError::from_sdk(error)),
            },
        }
    }

    /// The conditional write of a cart, and the version that it makes.
    fn conditional_put(&self, id: &CartId, cart: &Cart) -> Result<(Put, u64), CartError> {
        let now = self.clock.now();
        let version = cart.version.map_or(1, |version| version + 1);
        let item = CartRecord {
            session_id: id.as_str().to_owned(),
            version,
            lines: cart.lines.clone(),
            claim: cart.claim.clone(),
            updated_at: now,
            ttl: (now + CART_TTL).timestamp(),
        };
        let put = Put::builder()
            .table_name(&self.table)
            .set_item(Some(serde_dynamo::to_item(item)?));
        let put = match cart.version {
            None => put.condition_expression("attribute_not_exists(session_id)"),
            Some(read) => put
                .condition_expression("#version = :version")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":version", number_attribute(read)),
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

/// Whether a transaction was refused because somebody else was faster.
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
