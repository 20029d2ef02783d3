//! The order service: prices an order request from the catalog and places it in the order store.

use database::DatabaseError;
use domain::{Currency, Money, OrderId, OrderStatus, ProductId, Quantity, UserId, money::MoneyError};
use dynamodb_table::DynamoDbError;
use event_publishing::RelayHandle;
use events::TraceParent;
use http_server::JsonObject;
use orders::{
    CancelError, NewOrder, Order, OrderItem, OrderPlacement, OrdersWithOutbox, PlaceError, SmsContact,
};
use serde::{Deserialize, Serialize};
use users::Preferences;
use utoipa::ToSchema;

use crate::{
    catalog::Catalog,
    order_limits::{AccountLimits, OrderLimits},
};

/// The minimum total of an order in yen: Stripe's minimum charge.
pub const MIN_TOTAL: i64 = 50;

/// The maximum total of an order in yen.
pub const MAX_TOTAL: i64 = Money::MAX_CHARGE;

/// A new order. Names and prices come from the catalog, not from the request.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "items": [{"product_id": "019d4657-0000-73a1-9745-63d479ca131d", "quantity": 2}],
    "payment_method": "pm_card_visa",
}))]
pub struct OrderRequest {
    /// 1 to 100 lines. Several lines may contain the same product.
    #[schema(value_type = Vec<LineRequest>, min_items = 1, max_items = 100)]
    pub items: LineRequests,
    /// The payment provider's id of the payment method.
    pub payment_method: PaymentMethod,
    /// The total that the customer has seen. The request is refused when the current total differs.
    #[serde(default)]
    #[schema(value_type = Option<ExpectedTotal>)]
    pub expected_total: Option<JsonObject<ExpectedTotal>>,
}

/// An amount that the customer expects to pay.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectedTotal {
    /// The amount in minor units.
    #[schema(example = 15000)]
    amount: i64,
    /// The currency (ISO 4217).
    #[schema(value_type = String, example = "JPY")]
    currency: Currency,
}

impl ExpectedTotal {
    #[must_use]
    pub fn is(self, total: Money) -> bool {
        (self.amount, self.currency) == (total.amount(), total.currency())
    }
}

/// A line of a new order.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LineRequest {
    #[schema(value_type = uuid::Uuid)]
    pub product_id: ProductId,
    /// The number of units.
    #[schema(value_type = u32, minimum = 1, maximum = 9999, example = 2)]
    pub quantity: Quantity,
}

/// The lines of an order: at least one, at most [`LineRequests::MAX`].
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Vec<JsonObject<LineRequest>>")]
pub struct LineRequests(Vec<LineRequest>);

/// The request has no lines, or more than [`LineRequests::MAX`].
#[derive(Debug, thiserror::Error)]
#[error("expected 1 to {} lines", LineRequests::MAX)]
pub struct InvalidLineCount;

impl LineRequests {
    /// So many lines, with product names of 800 bytes, take less than 100 KB. An item of DynamoDB can have
    /// 400 KB and an event 256 KB.
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

/// The payment provider's id of a payment method, for example `pm_card_visa`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, pattern = "^pm_[A-Za-z0-9_]{1,100}$", example = "pm_card_visa")]
pub struct PaymentMethod(String);

impl PaymentMethod {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a payment method id.
#[derive(Debug, thiserror::Error)]
#[error("expected pm_ and then 1 to 100 letters, digits and underscores")]
pub struct InvalidPaymentMethod;

impl TryFrom<String> for PaymentMethod {
    type Error = InvalidPaymentMethod;

    fn try_from(text: String) -> Result<Self, InvalidPaymentMethod> {
        let id = text.strip_prefix("pm_").ok_or(InvalidPaymentMethod)?;
        let is_alphanumeric = id
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if is_alphanumeric && (1..=100).contains(&id.len()) {
            Ok(Self(text))
        } else {
            Err(InvalidPaymentMethod)
        }
    }
}

/// The customer who places an order.
#[derive(Clone, Debug)]
pub struct Buyer {
    pub id: UserId,
    /// The e-mail address for order mails.
    pub email: String,
    /// Copied onto the order, where notification-sender reads them.
    pub preferences: Preferences,
    /// The verified telephone number of the account.
    pub phone_number: Option<String>,
    /// Decides which [`OrderLimits`] apply.
    pub email_verified: bool,
}

impl Buyer {
    /// Where the customer wants SMS about the order.
    #[must_use]
    pub fn sms_contact(&self) -> Option<SmsContact> {
        let phone_number = self.phone_number.clone().filter(|_| self.preferences.order_sms)?;
        Some(SmsContact {
            phone_number,
            quiet_hours: self.preferences.quiet_hours,
        })
    }
}

/// Why an order was not placed.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The positions of the lines whose products are not in the catalog, with the ids of these products.
    #[error("some products of the order do not exist")]
    UnknownProducts(Vec<(usize, ProductId)>),
    /// The total is less than [`MIN_TOTAL`] or more than [`MAX_TOTAL`].
    #[error("order total out of range")]
    TotalOutOfRange,
    /// Contains the current total, which is not the one that the customer expects.
    #[error("the total is {0}, not the expected one")]
    TotalChanged(Money),
    /// The order has more units than this maximum.
    #[error("an order of this account can have at most {0} units")]
    TooManyUnits(u32),
    #[error("the e-mail address of the account is not verified")]
    EmailNotVerified,
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Catalog(#[from] DatabaseError),
}

/// The customer's return did not continue the saga.
#[derive(Debug, thiserror::Error)]
pub enum PaymentActionError {
    #[error("the order does not exist")]
    NotFound,
    /// The payment requires no action, or another request has reported the return.
    #[error("the order awaits no action of its customer")]
    NotAwaited,
    #[error(transparent)]
    Store(#[from] DynamoDbError),
}

/// Places and cancels orders; the checkout of carts is in [`crate::carts`]. Clones share the underlying
/// clients.
#[derive(Clone, Debug)]
pub struct OrderService {
    pub(crate) catalog: Catalog,
    pub(crate) store: OrdersWithOutbox,
    pub(crate) placement: OrderPlacement,
    pub(crate) relay: RelayHandle,
    pub(crate) limits: OrderLimits,
}

impl OrderService {
    /// `relay` is notified of the events that each change commits to the outbox.
    #[must_use]
    pub fn new(
        catalog: Catalog,
        store: OrdersWithOutbox,
        placement: OrderPlacement,
        relay: RelayHandle,
        limits: OrderLimits,
    ) -> Self {
        Self {
            catalog,
            store,
            placement,
            relay,
            limits,
        }
    }

    /// Places an order at current prices. Repeating the call with the same idempotency key returns the same
    /// order.
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
            expected_total,
        } = request;
        let expected_total = expected_total.map(|JsonObject(expected)| expected);
        let limits = self.limits.for_buyer(&buyer)?;
        let (items, total) = match self.price_lines(&lines, expected_total, limits).await {
            Ok(priced) => priced,
            Err(OrderError::Catalog(error)) => return Err(error.into()),
            // If this request repeats one whose response was lost, its order exists, even if the products
            // have been withdrawn or repriced since.
            Err(error) => {
                let lines = lines.iter().map(|line| (line.product_id, line.quantity));
                let existing = self
                    .placement
                    .find_by_key_and_payload(buyer.id, &idempotency_key, &payment_method, lines)
                    .await?;
                return existing.ok_or(error);
            }
        };
        let new_order = NewOrder {
            user_id: buyer.id,
            sms_contact: buyer.sms_contact(),
            contact_email: buyer.email,
            items,
            total,
            payment_method,
            idempotency_key,
            traceparent,
            order_mails: buyer.preferences.order_mails,
            mail_language: buyer.preferences.language,
            max_open_orders: limits.max_open_orders,
        };
        let (order, event) = self.placement.place(&new_order).await?;
        self.relay.notify_committed(event.into_iter().collect());
        Ok(order)
    }

    /// Cancels an order: at once, or by its saga if the payment waits for the customer. The returned order is
    /// `processing` in the second case. The operation is idempotent.
    pub async fn cancel(&self, customer: UserId, order_id: OrderId) -> Result<Order, CancelError> {
        let find = async || {
            self.store
                .orders
                .find(customer, order_id)
                .await?
                .ok_or(CancelError::NotFound)
        };
        // Like all events of the order, the event belongs to the order's trace, not to the trace of this
        // request.
        let context = find().await?.event_context();
        match self.store.cancel(customer, order_id, context).await {
            Ok((order, event)) => {
                self.relay.notify_committed(event.into_iter().collect());
                Ok(order)
            }
            Err(CancelError::TooLate(OrderStatus::Cancelled)) => find().await,
            Err(error) => Err(error),
        }
    }

    /// Continues the saga of an order whose customer has returned from the action that the payment requires.
    pub async fn complete_payment_action(
        &self,
        customer: UserId,
        order_id: OrderId,
    ) -> Result<(), PaymentActionError> {
        let order = self.store.orders.find(customer, order_id).await?;
        let order = order.ok_or(PaymentActionError::NotFound)?;
        let event = self.store.complete_payment_action(&order).await?;
        self.relay
            .notify_committed(vec![event.ok_or(PaymentActionError::NotAwaited)?]);
        Ok(())
    }

    /// The lines with the current names and prices of their products, and the total.
    async fn price_lines(
        &self,
        lines: &[LineRequest],
        expected_total: Option<ExpectedTotal>,
        limits: AccountLimits,
    ) -> Result<(Vec<OrderItem>, Money), OrderError> {
        limits.check_units(lines.iter().map(|line| line.quantity))?;
        let ids: Vec<ProductId> = lines.iter().map(|line| line.product_id).collect();
        let prices = self.catalog.find_prices(&ids).await?;
        let (mut items, mut unknown) = (Vec::with_capacity(lines.len()), Vec::new());
        let mut total = Money::zero(Currency::JPY);
        for (position, line) in lines.iter().enumerate() {
            let Some(product) = prices.get(&line.product_id) else {
                unknown.push((position, line.product_id));
                continue;
            };
            total = total.checked_add(product.price.checked_mul(line.quantity)?)?;
            items.push(OrderItem {
                product_id: line.product_id,
                product_name: product.name.clone(),
                quantity: line.quantity,
                price: product.price.amount(),
                tax_rate: product.tax_rate,
            });
        }
        if !unknown.is_empty() {
            return Err(OrderError::UnknownProducts(unknown));
        }
        check_total(total, expected_total)?;
        Ok((items, total))
    }
}

/// Checks that an order can have this total, and that the customer expects it.
pub fn check_total(total: Money, expected: Option<ExpectedTotal>) -> Result<(), OrderError> {
    if expected.is_some_and(|expected| !expected.is(total)) {
        return Err(OrderError::TotalChanged(total));
    }
    if !(MIN_TOTAL..=MAX_TOTAL).contains(&total.amount()) {
        return Err(OrderError::TotalOutOfRange);
    }
    Ok(())
}

impl From<MoneyError> for OrderError {
    /// An amount that overflows [`Money`] exceeds [`MAX_TOTAL`] as well.
    fn from(_: MoneyError) -> Self {
        Self::TotalOutOfRange
    }
}
