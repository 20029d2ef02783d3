//! The payment provider port: charges, refunds and cancels payments.
//!
//! [`PaymentProvider`] is a trait because the provider is a third party; [`stripe::Stripe`] implements it.
//! This module makes no decisions about orders.
//!
//! A payment has two steps, so that every charged payment can be found from its order.
//! [`PaymentProvider::create_intent`] creates the payment at the provider and moves no money. The saga then
//! stores the payment's id on the order and calls [`PaymentProvider::confirm`], which charges it. Every call
//! is idempotent: it looks for the effect of earlier calls at the provider, and the provider detects
//! repetitions by idempotency keys derived from the order id.

use async_trait::async_trait;
use domain::{Money, OrderId, PaymentAction, PaymentId, UserId};

pub mod rotating_key;
pub mod stripe;
pub mod stripe_signature;

/// A payment provider that charges customers.
#[async_trait]
pub trait PaymentProvider: Send + Sync {
    /// Creates a payment of `amount` with `payment_method`. No money moves. A repeated call for the same
    /// order returns the same payment, unless the provider's response to the first call was an error.
    ///
    /// Fails with [`PaymentError::Declined`] when the provider does not know the payment method.
    async fn create_intent(
        &self,
        user: UserId,
        order: OrderId,
        amount: Money,
        payment_method: &str,
    ) -> Result<PaymentId, PaymentError>;

    /// Charges the payment, or finds what the customer must do before the provider charges it. The result is
    /// the payment's present state, also when an earlier call has confirmed it. After an action on another
    /// page, the provider sends the customer to `return_url`.
    ///
    /// Fails with [`PaymentError::Declined`] also when the customer has failed to authenticate. After
    /// [`PaymentError::Unavailable`] the payment may or may not be charged: repeat the call, or check with
    /// [`find`](Self::find).
    async fn confirm(
        &self,
        order: OrderId,
        payment: &PaymentId,
        return_url: &str,
    ) -> Result<Confirmation, PaymentError>;

    /// The present result of an earlier confirmation; `None` if there was none. Unlike a repeated
    /// [`confirm`](Self::confirm), it never starts the customer's action again.
    ///
    /// Fails as [`confirm`](Self::confirm) does.
    async fn find_confirmation(&self, payment: &PaymentId) -> Result<Option<Confirmation>, PaymentError>;

    /// The payment's current status.
    async fn find(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError>;

    /// Refunds the whole payment, which charged `amount`. Returns `Ok` also when it has already been
    /// refunded, and when the refund is still pending.
    async fn refund(&self, order: OrderId, payment: &PaymentId, amount: Money) -> Result<(), PaymentError>;

    /// Cancels an uncharged payment permanently and returns its status. [`PaymentStatus::Charged`] means that
    /// a confirmation came first: refund the payment. [`PaymentStatus::Open`] means that it cannot be
    /// cancelled at the moment: repeat the call.
    async fn cancel(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError>;
}

/// The result of a confirmation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Confirmation {
    Charged,
    /// The customer must act before the payment is charged, for example authenticate with the bank.
    ActionRequired(PaymentAction),
}

/// A payment's status at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Not charged. A confirmation can charge it.
    Open,
    /// Charged. The status stays the same after a refund.
    Charged,
    /// Not charged, and a confirmation can no longer charge it.
    Cancelled,
}

/// Why a call to the payment provider failed.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The payment method was declined. A retry is declined again.
    #[error("the payment was declined ({code})")]
    Declined {
        /// The provider's decline code, such as `insufficient_funds`.
        code: String,
    },
    /// The provider sent no response, or one that does not tell the result. Retry with the same arguments.
    #[error("the payment provider is unavailable")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The request is invalid, or not allowed in the payment's current status. A retry fails again.
    #[error("the payment provider rejected the request (status {status}, {code})")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The provider's error code.
        code: String,
    },
    /// The payment does not exist at the provider.
    #[error("the payment does not exist at the payment provider")]
    NotFound,
}

impl PaymentError {
    /// Whether the provider refused the API key: it is unknown, has been rolled, or lacks a right.
    fn is_refused_key(&self) -> bool {
        matches!(
            self,
            Self::Rejected {
                status: 401 | 403,
                ..
            }
        )
    }
}
