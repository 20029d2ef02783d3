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
    cart::{CartLine, Claim},
    store::Written,
};
use crate::ordering::{Buyer, Checkout, LineRequest, Lines, OrderError, OrderRequest, PaymentMethod};

/// How often the cart is looked at again that another was faster at.
const ATTEMPTS: u32 = 20;

/// After this time nobody works on an attempt any more: a request has ended long before.
const ABANDONED_AFTER: TimeDelta = TimeDelta::seconds(60);

/// An attempt that is taken up again after this time is begun anew, so that nobody takes it for abandoned meanwhile.
const RENEWED_AFTER: TimeDelta = TimeDelta::seconds(20);

/// Why a cart did not become an order.
#[derive(Debug, thiserror::Error)]
pub enum CheckOutError {
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

impl From<StoreError> for CheckOutError {
    fn from(error: StoreError) -> Self {
        Self::Order(OrderError::Place(error.into()))
    }
}

impl Carts {
    /// Orders what is in the buyer's cart, and empties the cart of it. The same key again gives the same order.
    pub async fn check_out(
        &self,
        checkout: &Checkout,
        orders: &Orders,
        buyer: Buyer,
        payment_method: PaymentMethod,
        idempotency_key: &str,
        trace: TraceParent,
    ) -> Result<Order, CheckOutError> {
        let id = CartId::of_user(buyer.id);
        let key = BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(idempotency_key));
        let user_id = buyer.id;
        for attempt in 0..ATTEMPTS {
            self.wait(attempt).await;
            let mut cart = self.read(&id).await?;
            let claim = match cart.claim.clone() {
                Some(mut claim) if claim.key == key => {
                    if self.clock.now() >= claim.at + RENEWED_AFTER {
                        claim.at = self.clock.now();
                        cart.claim = Some(claim.clone());
                        if self.write(&id, &mut cart).await? == Written::Outdated {
                            continue;
                        }
                    }
                    claim
                }
                Some(other) if self.clock.now() < other.at + ABANDONED_AFTER => {
                    return Err(CheckOutError::InProgress);
                }
                Some(abandoned) => {
                    // Its order may stand all the same.
                    let placed = orders.placed_under(user_id, &order_key(&abandoned.key)).await?;
                    self.settle(&id, &abandoned.key, placed.as_ref()).await?;
                    continue;
                }
                None => {
                    if let Some(order) = orders.placed_under(user_id, &order_key(&key)).await? {
                        return if order.payment_method == payment_method.as_str() {
                            Ok(order)
                        } else {
                            Err(OrderError::Place(PlaceError::KeyReused).into())
                        };
                    }
                    if cart.lines.is_empty() {
                        return Err(CheckOutError::Empty);
                    }
                    let claim = Claim {
                        key: key.clone(),
                        payment_method: payment_method.as_str().to_owned(),
                        lines: cart.lines.clone(),
                        at: self.clock.now(),
                    };
                    cart.claim = Some(claim.clone());
                    if self.write(&id, &mut cart).await? == Written::Outdated {
                        continue;
                    }
                    claim
                }
            };
            if claim.payment_method != payment_method.as_str() {
                return Err(OrderError::Place(PlaceError::KeyReused).into());
            }
            let request = OrderRequest {
                items: lines(&claim.lines),
                payment_method: payment_method.clone(),
            };
            let placed = checkout
                .place(buyer.clone(), request, order_key(&key), trace)
                .await;
            match placed {
                Ok(order) => {
                    self.settle(&id, &key, Some(&order)).await?;
                    return Ok(order);
                }
                // Nothing is ordered: the cart is its owner's again, to change and try once more.
                Err(refusal @ (OrderError::UnknownProducts(_) | OrderError::Total)) => {
                    self.settle(&id, &key, None).await?;
                    return Err(refusal.into());
                }
                // Nobody knows. The claim stays for the next attempt with this key to find out.
                Err(error) => return Err(error.into()),
            }
        }
        Err(CartError::Busy.into())
    }

    /// Ends the attempt under `key`, taking out of the cart what its order holds if there is one. Who finds it ended
    /// has nothing to do.
    async fn settle(&self, id: &CartId, key: &str, order: Option<&Order>) -> Result<(), CartError> {
        let ordered: Vec<CartLine> = order
            .iter()
            .flat_map(|order| &order.items)
            .map(|item| CartLine {
                product_id: item.product_id,
                quantity: item.quantity,
            })
            .collect();
        self.change(id, |cart| {
            if cart.claim.take_if(|claim| claim.key == key).is_some() {
                cart.take_out(&ordered);
            }
            Ok(())
        })
        .await
        .map(|_| ())
    }

    /// Ends an attempt that nobody works on any more, so that a cart does not show for long what is ordered already.
    pub async fn settle_abandoned(&self, orders: &Orders, user_id: UserId) -> Result<(), CheckOutError> {
        let id = CartId::of_user(user_id);
        if let Some(claim) = self.read(&id).await?.claim
            && self.clock.now() >= claim.at + ABANDONED_AFTER
        {
            let placed = orders.placed_under(user_id, &order_key(&claim.key)).await?;
            self.settle(&id, &claim.key, placed.as_ref()).await?;
        }
        Ok(())
    }
}

/// The key under which the order is placed. No header can say it, so no order that was sent as such has it.
fn order_key(key: &str) -> String {
    format!("cart\0{key}")
}

fn lines(lines: &[CartLine]) -> Lines {
    let lines: Vec<LineRequest> = lines
        .iter()
        .map(|line| LineRequest {
            product_id: line.product_id,
            quantity: line.quantity,
        })
        .collect();
    Lines::try_from(lines)
        .expect("a claim has a line, and no more than a cart, which holds fewer than an order")
}
