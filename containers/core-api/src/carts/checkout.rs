//! Checkout: a cart becomes an order.
//!
//! Before the order is placed, a claim is written into the cart: the idempotency key and the lines that are
//! ordered. After the order is placed, one write removes the claim and the ordered lines. Both writes are
//! conditional on the cart's version:
//!
//! - A repeated request with the same key finds the claim and continues with the same lines, or finds the
//!   order.
//! - A concurrent request with another key is rejected, because it would order the same lines twice.
//! - When the order exists but its claim is still there, the next request removes the claim and the ordered
//!   lines. Later requests find no claim.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::TimeDelta;
use domain::UserId;
use events::TraceParent;
use orders::{Order, Orders, PlaceError, StoreError};
use sha2::{Digest, Sha256};

use super::{
    CartError, CartId, Carts,
    cart::{CartLine, CheckoutClaim},
    store::WriteOutcome,
};
use crate::order_service::{
    Buyer, LineRequest, LineRequests, OrderError, OrderRequest, OrderService, PaymentMethod,
};

/// The number of attempts when concurrent requests change the cart.
const MAX_ATTEMPTS: u32 = 20;

/// A claim of this age is stale: the request timeout ended its request long before.
const CLAIM_STALE_AFTER: TimeDelta = TimeDelta::seconds(60);

/// A repeated request renews a claim of this age, so that it does not become stale during the request.
const CLAIM_RENEW_AFTER: TimeDelta = TimeDelta::seconds(20);

/// Why a checkout failed.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    #[error("the cart is empty")]
    Empty,
    /// A request with another idempotency key is checking out the cart.
    #[error("another request is checking out the cart")]
    InProgress,
    #[error(transparent)]
    Order(#[from] OrderError),
    #[error(transparent)]
    Cart(#[from] CartError),
}

impl From<StoreError> for CheckoutError {
    fn from(error: StoreError) -> Self {
        Self::Order(OrderError::Place(error.into()))
    }
}

impl Carts {
    /// Orders the lines in the buyer's cart and removes them from the cart. Repeating the call with the same
    /// key returns the same order.
    pub async fn checkout(
        &self,
        order_service: &OrderService,
        orders: &Orders,
        buyer: Buyer,
        payment_method: PaymentMethod,
        idempotency_key: &str,
        trace: TraceParent,
    ) -> Result<Order, CheckoutError> {
        let id = CartId::for_user(buyer.id);
        let key = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(idempotency_key));
        let user_id = buyer.id;
        for attempt in 0..MAX_ATTEMPTS {
            self.back_off(attempt).await;
            let mut cart = self.read(&id).await?;
            let claim = match cart.claim.clone() {
                Some(mut claim) if claim.key == key => {
                    if self.clock.now() >= claim.at + CLAIM_RENEW_AFTER {
                        claim.at = self.clock.now();
                        cart.claim = Some(claim.clone());
                        if self.write_if_unchanged(&id, &mut cart).await? == WriteOutcome::Conflict {
                            continue;
                        }
                    }
                    claim
                }
                Some(other) if self.clock.now() < other.at + CLAIM_STALE_AFTER => {
                    return Err(CheckoutError::InProgress);
                }
                Some(stale) => {
                    // Its order may have been placed nevertheless.
                    let placed = orders
                        .find_by_key(user_id, &order_idempotency_key(&stale.key))
                        .await?;
                    self.finish_checkout(&id, &stale.key, placed.as_ref()).await?;
                    continue;
                }
                None => {
                    if let Some(order) = orders.find_by_key(user_id, &order_idempotency_key(&key)).await? {
                        return if order.payment_method == payment_method.as_str() {
                            Ok(order)
                        } else {
                            Err(OrderError::Place(PlaceError::KeyReused).into())
                        };
                    }
                    if cart.lines.is_empty() {
                        return Err(CheckoutError::Empty);
                    }
                    let claim = CheckoutClaim {
                        key: key.clone(),
                        payment_method: payment_method.as_str().to_owned(),
                        lines: cart.lines.clone(),
                        at: self.clock.now(),
                    };
                    cart.claim = Some(claim.clone());
                    if self.write_if_unchanged(&id, &mut cart).await? == WriteOutcome::Conflict {
                        continue;
                    }
                    claim
                }
            };
            if claim.payment_method != payment_method.as_str() {
                return Err(OrderError::Place(PlaceError::KeyReused).into());
            }
            let request = OrderRequest {
                items: to_line_requests(&claim.lines),
                payment_method: payment_method.clone(),
            };
            let placed = order_service
                .place(buyer.clone(), request, order_idempotency_key(&key), trace)
                .await;
            match placed {
                Ok(order) => {
                    self.finish_checkout(&id, &key, Some(&order)).await?;
                    return Ok(order);
                }
                // Nothing was ordered: release the cart, so that its owner can change it and try again.
                Err(error @ (OrderError::UnknownProducts(_) | OrderError::TotalOutOfRange)) => {
                    self.finish_checkout(&id, &key, None).await?;
                    return Err(error.into());
                }
                // It is unknown whether the order exists. The claim stays, so that a retry with this key
                // finds out.
                Err(error) => return Err(error.into()),
            }
        }
        Err(CartError::Contended.into())
    }

    /// Removes the claim with `key` and, if there is an order, the ordered lines. Does nothing when the claim
    /// has already been removed.
    async fn finish_checkout(&self, id: &CartId, key: &str, order: Option<&Order>) -> Result<(), CartError> {
        let ordered: Vec<CartLine> = order
            .iter()
            .flat_map(|order| &order.items)
            .map(|item| CartLine {
                product_id: item.product_id,
                quantity: item.quantity,
            })
            .collect();
        self.update_with(id, |cart| {
            if cart.claim.take_if(|claim| claim.key == key).is_some() {
                cart.subtract(&ordered);
            }
            Ok(())
        })
        .await
        .map(|_| ())
    }

    /// Finishes a stale checkout, so that the cart does not show lines that have been ordered.
    pub async fn finish_stale_checkout(&self, orders: &Orders, user_id: UserId) -> Result<(), CheckoutError> {
        let id = CartId::for_user(user_id);
        if let Some(claim) = self.read(&id).await?.claim
            && self.clock.now() >= claim.at + CLAIM_STALE_AFTER
        {
            let placed = orders
                .find_by_key(user_id, &order_idempotency_key(&claim.key))
                .await?;
            self.finish_checkout(&id, &claim.key, placed.as_ref()).await?;
        }
        Ok(())
    }
}

/// The idempotency key of the order. It contains a NUL, which no Idempotency-Key header can contain, so it
/// never equals the key of an order that was placed directly.
fn order_idempotency_key(key: &str) -> String {
    format!("cart\0{key}")
}

fn to_line_requests(lines: &[CartLine]) -> LineRequests {
    let lines: Vec<LineRequest> = lines
        .iter()
        .map(|line| LineRequest {
            product_id: line.product_id,
            quantity: line.quantity,
        })
        .collect();
    LineRequests::try_from(lines)
        .expect("a claim has between one line and the maximum of a cart, which is below that of an order")
}
