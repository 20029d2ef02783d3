//! Ordering: what a customer asks for, priced by the catalogue, put into the order store.

use domain::{Currency, Money, OrderId, OrderStatus, ProductId, Quantity, UserId, money::MoneyError};
use event_publishing::RelayHandle;
use events::{TraceParent, order::OrderLine};
use http_server::JsonObject;
use orders::{CancelError, NewOrder, Order, Orders, PlaceError};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::catalog::Catalog;

/// The least that one order may cost, in yen: Stripe's minimum charge.
pub const MIN_TOTAL: i64 = 50;

/// The most that one order may cost, in yen: Stripe's limit of eight digits.
pub const MAX_TOTAL: i64 = 99_999_999;

/// An order as a customer asks for it. Names and prices are not theirs to say.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "items": [{"product_id": "019d4657-0000-73a1-9745-63d479ca131d", "quantity": 2}],
    "payment_method": "pm_card_visa",
}))]
pub struct OrderRequest {
    /// What is bought: 1 to 100 lines. A product may be on several of them.
    #[schema(value_type = Vec<LineRequest>, min_items = 1, max_items = 100)]
    pub items: LineRequests,
    /// The payment provider's name of what pays.
    pub payment_method: PaymentMethod,
}

/// A line of an order as a customer asks for it.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LineRequest {
    /// Which product.
    #[schema(value_type = uuid::Uuid)]
    pub product_id: ProductId,
    /// How many pieces of it.
    #[schema(value_type = u32, minimum = 1, maximum = 9999, example = 2)]
    pub quantity: Quantity,
}

/// The lines of an order: at least one, at most [`LineRequests::MAX`].
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Vec<JsonObject<LineRequest>>")]
pub struct LineRequests(Vec<LineRequest>);

/// Too many lines, or none.
#[derive(Debug, thiserror::Error)]
#[error("expected 1 to {} lines", LineRequests::MAX)]
pub struct InvalidLineCount;

impl LineRequests {
    /// As many as fit into one event and one DynamoDB item with room to spare.
    pub const MAX: usize = 100;
}

impl TryFrom<Vec<LineRequest>> for LineRequests {
    type Error = InvalidLineCount;

    fn try_from(lines: Vec<LineRequest>) -> Result<Self, InvalidLineCount> {
        if (1..=Self::MAX).contains(&lines.len()) {
            Ok(Self(lines))
        } else {
            Err(InvalidLineCount)
        }
    }
}

impl TryFrom<Vec<JsonObject<LineRequest>>> for LineRequests {
    type Error = InvalidLineCount;

    fn try_from(lines: Vec<JsonObject<LineRequest>>) -> Result<Self, InvalidLineCount> {
        let lines: Vec<_> = lines.into_iter().map(|JsonObject(line)| line).collect();
        lines.try_into()
    }
}

/// The payment provider's name of a payment method, such as `pm_card_visa`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^pm_[A-Za-z0-9_]{1,100}$", example = "pm_card_visa")]
pub struct PaymentMethod(String);

impl PaymentMethod {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text that names no payment method.
#[derive(Debug, thiserror::Error)]
#[error("expected pm_ and then 1 to 100 letters, digits and underscores")]
pub struct InvalidPaymentMethod;

impl TryFrom<String> for PaymentMethod {
    type Error = InvalidPaymentMethod;

    fn try_from(text: String) -> Result<Self, InvalidPaymentMethod> {
        let name = text.strip_prefix("pm_").ok_or(InvalidPaymentMethod)?;
        let plain = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if plain && (1..=100).contains(&name.len()) {
            Ok(Self(text))
        } else {
            Err(InvalidPaymentMethod)
        }
    }
}

/// Who orders.
#[derive(Clone, Debug)]
pub struct Buyer {
    /// The customer.
    pub id: UserId,
    /// Where mail about the order goes.
    pub email: String,
}

/// Why an order was not placed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The lines at these positions name products that the catalogue does not have.
    #[error("products of the order do not exist")]
    UnknownProducts(Vec<(usize, ProductId)>),
    /// The whole costs less than [`MIN_TOTAL`] or more than [`MAX_TOTAL`].
    #[error("the order's total cannot be paid")]
    TotalOutOfRange,
    /// See [`PlaceError`].
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// The catalogue's database failed.
    #[error("the catalogue's database failed")]
    Catalog(#[from] sqlx::Error),
}

/// Where orders are placed and taken back. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct OrderService {
    catalog: Catalog,
    orders: Orders,
    relay: RelayHandle,
}

impl OrderService {
    /// Prices come from `catalogue`, orders go into `orders`, and their events are handed to `relay`.
    #[must_use]
    pub fn new(catalog: Catalog, orders: Orders, relay: RelayHandle) -> Self {
        Self {
            catalog,
            orders,
            relay,
        }
    }

    /// Places an order at the prices of this moment. The same key again gives the same order as it was then.
    pub async fn place(
        &self,
        buyer: Buyer,
        request: OrderRequest,
        idempotency_key: String,
        traceparent: TraceParent,
    ) -> Result<Order, OrderError> {
        let OrderRequest {
            items: LineRequests(lines),
            payment_method: PaymentMethod(payment_method),
        } = request;
        let (items, total) = match self.price_lines(&lines).await {
            Ok(priced) => priced,
            Err(OrderError::Catalog(error)) => return Err(error.into()),
            // If this repeats a request whose answer was lost, the order stands, whatever its product does now.
            Err(refusal) => {
                let lines = lines.iter().map(|line| (line.product_id, line.quantity));
                let before = self
                    .orders
                    .find_by_key_and_payload(buyer.id, &idempotency_key, &payment_method, lines)
                    .await?;
                return before.ok_or(refusal);
            }
        };
        let new = NewOrder {
            user_id: buyer.id,
            contact_email: buyer.email,
            items,
            total,
            payment_method,
            idempotency_key,
            traceparent,
        };
        let (order, event) = self.orders.place(&new).await?;
        self.relay.notify_committed(event.into_iter().collect());
        Ok(order)
    }

    /// Takes an order back. Doing so twice changes nothing.
    pub async fn cancel(&self, customer: UserId, order_id: OrderId) -> Result<Order, CancelError> {
        let find = async || {
            self.orders
                .find(customer, order_id)
                .await?
                .ok_or(CancelError::NotFound)
        };
        // Its event belongs to the order's trace, as all of the order's do, and not to that of this request.
        let cause = find().await?.event_context();
        match self.orders.cancel(customer, order_id, cause).await {
            Ok((order, event)) => {
                self.relay.notify_committed(vec![event]);
                Ok(order)
            }
            Err(CancelError::TooLate(OrderStatus::Cancelled)) => find().await,
            Err(error) => Err(error),
        }
    }

    /// The lines with what the catalogue says of their products at this moment, and what they cost together.
    async fn price_lines(&self, lines: &[LineRequest]) -> Result<(Vec<OrderLine>, Money), OrderError> {
        let ids: Vec<ProductId> = lines.iter().map(|line| line.product_id).collect();
        let offers = self.catalog.find_prices(&ids).await?;
        let (mut items, mut unknown) = (Vec::with_capacity(lines.len()), Vec::new());
        let mut total = Money::zero(Currency::JPY);
        for (position, line) in lines.iter().enumerate() {
            let Some(offer) = offers.get(&line.product_id) else {
                unknown.push((position, line.product_id));
                continue;
            };
            total = total.checked_add(offer.price.checked_mul(line.quantity)?)?;
            items.push(OrderLine {
                product_id: line.product_id,
                product_name: offer.name.clone(),
                quantity: line.quantity,
                price: offer.price.amount(),
            });
        }
        if !unknown.is_empty() {
            return Err(OrderError::UnknownProducts(unknown));
        }
        if !(MIN_TOTAL..=MAX_TOTAL).contains(&total.amount()) {
            return Err(OrderError::TotalOutOfRange);
        }
        Ok((items, total))
    }
}

impl From<MoneyError> for OrderError {
    /// What is beyond the arithmetic is beyond the limit as well.
    fn from(_: MoneyError) -> Self {
        Self::TotalOutOfRange
    }
}
