//! Checkout: a cart becomes an order.
//!
//! One transaction writes the order and empties the cart, on the condition that the cart is still at the
//! version that was read. So a crash leaves either the cart or the order, a cart is ordered once however late
//! and however often the request is repeated, and an item that is added meanwhile makes the checkout read the
//! cart again.
//!
//! The emptied cart names the order. The next request that reads the cart looks at the order: when it has
//! failed, one write returns its lines and removes the name. `docs/adr/0018-checkout-transaction.md` gives
//! the reasons.

use backon::Retryable;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use database::DatabaseError;
use domain::{OrderId, OrderStatus, ProductId, UserId};
use dynamodb_table::DynamoDbError;
use events::TraceParent;
use futures::future::try_join_all;
use http_server::JsonObject;
use orders::{NewOrder, Order, Orders, PlaceError};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::{Cart, CartError, CartId, Carts, PricedCart, cart::CartLine, store::CONTENTION_RETRIES};
use crate::{
    order_limits::AccountLimits,
    order_service::{Buyer, ExpectedTotal, OrderError, OrderService, PaymentMethod, check_total},
};

/// The payment of a cart.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutRequest {
    /// The payment provider's id of the payment method.
    pub payment_method: PaymentMethod,
    /// The total that the customer has seen. The checkout is refused when the current total differs.
    #[serde(default)]
    #[schema(value_type = Option<ExpectedTotal>)]
    pub expected_total: Option<JsonObject<ExpectedTotal>>,
}

/// Why a checkout failed. The cart is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    #[error("the cart is empty")]
    Empty,
    /// These products were removed from the catalog.
    #[error("some products of the cart are not in the catalog")]
    Withdrawn(Vec<ProductId>),
    /// Contains the present cart, which has lines with too little stock.
    #[error("some products of the cart are not in stock")]
    InsufficientStock(PricedCart),
    /// Contains the present cart, whose total is not the expected one.
    #[error("the total is not the expected one")]
    TotalChanged(PricedCart),
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(transparent)]
    Cart(#[from] CartError),
}

impl From<PlaceError> for CheckoutError {
    fn from(error: PlaceError) -> Self {
        Self::Order(error.into())
    }
}

impl From<DynamoDbError> for CheckoutError {
    fn from(error: DynamoDbError) -> Self {
        PlaceError::from(error).into()
    }
}

impl From<DatabaseError> for CheckoutError {
    fn from(error: DatabaseError) -> Self {
        Self::Order(error.into())
    }
}

impl OrderService {
    /// Orders the lines in the buyer's cart and empties the cart. Repeating the call with the same key
    /// returns the same order.
    pub async fn checkout(
        &self,
        carts: &Carts,
        buyer: Buyer,
        request: CheckoutRequest,
        idempotency_key: &str,
        traceparent: TraceParent,
    ) -> Result<Order, CheckoutError> {
        let idempotency_key = order_idempotency_key(idempotency_key);
        let payment_method = request.payment_method.as_str();
        let expected_total = request.expected_total.map(|JsonObject(expected)| expected);
        let try_checkout = || {
            self.try_checkout(
                carts,
                &buyer,
                payment_method,
                expected_total,
                &idempotency_key,
                traceparent,
            )
        };
        try_checkout
            .retry(CONTENTION_RETRIES)
            .when(|error| matches!(error, CheckoutError::Cart(CartError::Contended)))
            .await
    }

    /// Fails with [`CartError::Contended`] if a concurrent request has changed the cart.
    async fn try_checkout(
        &self,
        carts: &Carts,
        buyer: &Buyer,
        payment_method: &str,
        expected_total: Option<ExpectedTotal>,
        idempotency_key: &str,
        traceparent: TraceParent,
    ) -> Result<Order, CheckoutError> {
        let id = CartId::for_user(buyer.id);
        let mut cart = carts.read(&id).await?;
        let checked = self.check_cart(&cart, buyer, expected_total).await;
        // The key is read last: a request that repeats another one, even at the same time, gets its order,
        // whatever the checks found.
        if let Some(order) = self.placement.find_by_key(buyer.id, idempotency_key).await? {
            return if order.payment_method == payment_method {
                Ok(order)
            } else {
                Err(PlaceError::KeyReused.into())
            };
        }
        let (priced, limits) = checked?;
        let new_order = NewOrder {
            user_id: buyer.id,
            contact_email: buyer.email.clone(),
            items: priced.order_lines(),
            total: priced.total,
            payment_method: payment_method.to_owned(),
            idempotency_key: idempotency_key.to_owned(),
            traceparent,
            order_mails: buyer.preferences.order_mails,
            mail_language: buyer.preferences.language,
            sms_contact: buyer.sms_contact(),
            max_open_orders: limits.max_open_orders,
        };
        let order_id = OrderId::new(carts.clock.now());
        cart.move_to_order(order_id);
        let (emptied_cart, _) = carts.conditional_put(&id, &cart)?;
        let placed = self
            .placement
            .place_with(order_id, &new_order, emptied_cart)
            .await?;
        let (order, event) = placed.ok_or(CartError::Contended)?;
        self.relay.notify_committed(vec![event]);
        Ok(order)
    }

    /// Returns the priced cart and the buyer's limits if all of the cart can be ordered for the expected
    /// total.
    async fn check_cart(
        &self,
        cart: &Cart,
        buyer: &Buyer,
        expected_total: Option<ExpectedTotal>,
    ) -> Result<(PricedCart, AccountLimits), CheckoutError> {
        if cart.lines.is_empty() {
            return Err(CheckoutError::Empty);
        }
        let limits = self.limits.for_buyer(buyer)?;
        limits.check_units(cart.lines.iter().map(|line| line.quantity))?;
        let priced = PricedCart::load(cart, &self.catalog).await?;
        let withdrawn = priced.withdrawn();
        if !withdrawn.is_empty() {
            return Err(CheckoutError::Withdrawn(withdrawn));
        }
        match check_total(priced.total, expected_total) {
            Err(OrderError::TotalChanged(_)) => Err(CheckoutError::TotalChanged(priced)),
            Err(error) => Err(error.into()),
            Ok(()) if priced.short_lines().next().is_some() => Err(CheckoutError::InsufficientStock(priced)),
            Ok(()) => Ok((priced, limits)),
        }
    }
}

impl Carts {
    /// Returns the lines of failed orders to the cart that they were placed from, and forgets the orders that
    /// have ended.
    pub async fn restore_failed_orders(&self, orders: &Orders, user_id: UserId) -> Result<(), CheckoutError> {
        let id = CartId::for_user(user_id);
        let placed = self.read(&id).await?.placed_orders;
        let found = try_join_all(placed.iter().map(|order_id| orders.find(user_id, *order_id))).await?;
        let ended: Vec<(OrderId, Vec<CartLine>)> = placed
            .into_iter()
            .zip(found)
            .filter_map(|(order_id, order)| match order {
                Some(order) if !order.status.is_final() => None,
                Some(order) if order.status == OrderStatus::Failed => Some((order_id, cart_lines(&order))),
                // An order that DynamoDB has removed after its retention has ended as well.
                _ => Some((order_id, Vec::new())),
            })
            .collect();
        if ended.is_empty() {
            return Ok(());
        }
        self.update_with(&id, |cart| {
            for (order_id, returned) in &ended {
                cart.finish_order(*order_id, returned);
            }
            Ok(())
        })
        .await?;
        Ok(())
    }
}

fn cart_lines(order: &Order) -> Vec<CartLine> {
    order
        .items
        .iter()
        .map(|item| CartLine {
            product_id: item.product_id,
            quantity: item.quantity,
        })
        .collect()
}

/// The idempotency key of the order. It contains a NUL, which no Idempotency-Key header can contain, so it
/// never equals the key of an order that was placed directly.
fn order_idempotency_key(key: &str) -> String {
    format!("cart\0{}", BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(key)))
}
