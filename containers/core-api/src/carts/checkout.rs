//! A cart becomes an order.
//!
//! The cart says that it is being ordered, under which key and what of it, before the order is placed, and is emptied
//! of that once the order stands. Each of these is one write that is conditional on the cart's version:
//!
//! - the same key again finds either the claim, and goes on with the same lines, or the order;
//! - another key at the same time is told to wait, because the same goods would be ordered twice;
//! - who finds the order placed and the claim still there empties the cart; who comes later finds no claim.

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

/// How often the cart is looked at again that another was faster at.
const MAX_ATTEMPTS: u32 = 20;

/// After this time nobody works on an attempt any more: a request has ended long before.
const CLAIM_STALE_AFTER: TimeDelta = TimeDelta::seconds(60);

/// An attempt that is taken up again after this time is begun anew, so that nobody takes it for abandoned meanwhile.
const CLAIM_RENEW_AFTER: TimeDelta = TimeDelta::seconds(20);

/// Why a cart did not become an order.
#[derive(Debug, thiserror::Error)]
pub enum CheckoutError {
    /// There is nothing in it.
    #[error("the cart is empty")]
    Empty,
    /// It is being ordered under another key.
    #[error("the cart is being ordered by another request")]
    InProgress,
    /// See [`OrderError`].
    #[error(transparent)]
    Order(#[from] OrderError),
    /// See [`CartError`].
    #[error(transparent)]
    Cart(#[from] CartError),
}

impl From<StoreError> for CheckoutError {
    fn from(error: StoreError) -> Self {
        Self::Order(OrderError::Place(error.into()))
    }
}

impl Carts {
    /// Orders what is in the buyer's cart, and empties the cart of it. The same key again gives the same order.
    pub async fn checkout(
        &self,
        checkout: &OrderService,
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
                Some(abandoned) => {
                    // Its order may stand all the same.
                    let placed = orders
                        .find_by_key(user_id, &order_idempotency_key(&abandoned.key))
                        .await?;
                    self.finish_checkout(&id, &abandoned.key, placed.as_ref()).await?;
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
            let placed = checkout
                .place(buyer.clone(), request, order_idempotency_key(&key), trace)
                .await;
            match placed {
                Ok(order) => {
                    self.finish_checkout(&id, &key, Some(&order)).await?;
                    return Ok(order);
                }
                // Nothing is ordered: the cart is its owner's again, to change and try once more.
                Err(refusal @ (OrderError::UnknownProducts(_) | OrderError::TotalOutOfRange)) => {
                    self.finish_checkout(&id, &key, None).await?;
                    return Err(refusal.into());
                }
                // Nobody knows. The claim stays for the next attempt with this key to find out.
                Err(error) => return Err(error.into()),
            }
        }
        Err(CartError::Contended.into())
    }

    /// Ends the attempt under `key`, taking out of the cart what its order holds if there is one. Who finds it ended
    /// has nothing to do.
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

    /// Ends an attempt that nobody works on any more, so that a cart does not show for long what is ordered already.
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

/// The key under which the order is placed. No header can say it, so no order that was sent as such has it.
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
        .expect("a claim has a line, and no more than a cart, which holds fewer than an order")
}
