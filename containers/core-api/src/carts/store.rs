//! The store of carts: the DynamoDB table `ecommerce-sessions`.

use std::time::Duration;

use aws_sdk_dynamodb::{
    Client,
    types::{Put, TransactWriteItem},
};
use backon::{ExponentialBuilder, Retryable};
use chrono::TimeDelta;
use domain::{Clock, OrderId, Timestamp};
use dynamodb_table::{DynamoDbError, Table, number, write};
use serde::{Deserialize, Serialize};

use super::{
    CartId, CartToken,
    cart::{Cart, CartFull, CartLine},
};

/// A cart expires this long after its last change.
const CART_TTL: TimeDelta = TimeDelta::days(30);

/// The retries of a change of a cart that concurrent requests change as well. Together they take some two
/// seconds.
pub(super) const CONTENTION_RETRIES: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(5))
    .with_max_delay(Duration::from_millis(100))
    .with_max_times(20)
    .with_jitter();

/// The store of carts. Clones share the client.
#[derive(Clone, Debug)]
pub struct Carts {
    pub(super) table: Table<1>,
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
    #[error(transparent)]
    DynamoDb(#[from] DynamoDbError),
}

impl CartError {
    pub(super) fn is_contended(&self) -> bool {
        matches!(self, Self::Contended)
    }
}

/// The DynamoDB item of a cart.
#[derive(Serialize, Deserialize)]
struct CartRecord {
    session_id: String,
    version: i64,
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

impl Carts {
    #[must_use]
    pub fn new(client: Client, table: impl Into<String>, clock: Clock) -> Self {
        Self {
            table: Table::new(client, table, ["session_id"]),
            clock,
        }
    }

    /// Reads a cart with strong consistency. Returns an empty cart when none is stored or it has expired.
    pub async fn read(&self, id: &CartId) -> Result<Cart, CartError> {
        let Some(record) = self.find_record(id).await? else {
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
        let record = self.find_record(&CartId::for_token(token)).await?;
        Ok(record.filter(|record| self.is_unexpired(record)).map(Cart::from))
    }

    async fn find_record(&self, id: &CartId) -> Result<Option<CartRecord>, DynamoDbError> {
        self.table.get([id.as_str().to_owned()]).await
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
        let try_update = async || {
            let before = self.read(id).await?;
            let mut cart = before.clone();
            change(&mut cart)?;
            if cart != before {
                self.write_if_unchanged(id, &mut cart).await?;
            }
            Ok(cart)
        };
        try_update
            .retry(CONTENTION_RETRIES)
            .when(CartError::is_contended)
            .await
    }

    /// Merges the anonymous cart of `token` into the cart `id`. One transaction writes the merged cart and
    /// deletes the anonymous one, so a repeated request does not add the lines twice. Both stay as they are
    /// if the lines do not fit.
    pub async fn merge_anonymous(&self, id: &CartId, token: &CartToken) -> Result<(), CartError> {
        (|| self.try_merge_anonymous(id, token))
            .retry(CONTENTION_RETRIES)
            .when(CartError::is_contended)
            .await
    }

    async fn try_merge_anonymous(&self, id: &CartId, token: &CartToken) -> Result<(), CartError> {
        // The anonymous cart is read first: when it is gone, the other cart already contains its lines.
        let Some(anonymous) = self.find_by_token(token).await? else {
            return Ok(());
        };
        let anonymous_version = anonymous.version.expect("a stored cart has a version");
        let mut cart = self.read(id).await?;
        if let Err(full) = cart.merge_lines(&anonymous.lines) {
            // A concurrent request may have merged them in between.
            return Err(match self.find_by_token(token).await? {
                Some(unchanged) if unchanged == anonymous => full.into(),
                _ => CartError::Contended,
            });
        }
        let (put, _) = self.conditional_put(id, &cart)?;
        let delete = self
            .table
            .delete_write([CartId::for_token(token).as_str().to_owned()])
            .condition_expression("#version = :version")
            .expression_attribute_names("#version", "version")
            .expression_attribute_values(":version", number(anonymous_version))
            .build()
            .expect("the write has a table and a key");
        let writes = [
            TransactWriteItem::builder().put(put).build(),
            TransactWriteItem::builder().delete(delete).build(),
        ];
        self.write(&writes).await
    }

    pub async fn delete(&self, id: &CartId) -> Result<(), CartError> {
        Ok(self.table.delete([id.as_str().to_owned()]).await?)
    }

    /// Writes a cart if the stored version is still the one that was read, and fails with
    /// [`CartError::Contended`] otherwise.
    async fn write_if_unchanged(&self, id: &CartId, cart: &mut Cart) -> Result<(), CartError> {
        let (put, version) = self.conditional_put(id, cart)?;
        self.write(&[TransactWriteItem::builder().put(put).build()])
            .await?;
        cart.version = Some(version);
        Ok(())
    }

    async fn write(&self, writes: &[TransactWriteItem]) -> Result<(), CartError> {
        match write(self.table.client(), writes).await {
            Err(DynamoDbError::ConditionsFailed(_) | DynamoDbError::Conflict) => Err(CartError::Contended),
            written => Ok(written?),
        }
    }

    /// The conditional write of a cart, and the version that it stores.
    pub(super) fn conditional_put(&self, id: &CartId, cart: &Cart) -> Result<(Put, i64), DynamoDbError> {
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
        let put = self.table.put_write(&record)?;
        let put = match cart.version {
            None => put.condition_expression("attribute_not_exists(session_id)"),
            Some(read_version) => put
                .condition_expression("#version = :version")
                .expression_attribute_names("#version", "version")
                .expression_attribute_values(":version", number(read_version)),
        };
        Ok((put.build().expect("the write has a table and an item"), version))
    }
}
