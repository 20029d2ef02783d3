//! Taking money and giving it back.
//!
//! The other side is a third party, so it is a trait; [`stripe::Stripe`] is how it is done. What is in here
//! decides nothing about an order: it asks the provider, and says in four words what came of it.
//!
//! A payment has two steps, so that no order is charged that its store knows nothing of: first the payment is
//! made known to the provider and moves no money ([`PaymentProvider::create_intent`]), then, once its id is
//! recorded with the order, it is confirmed. Every call may be repeated and has its effect once: the provider
//! recognises a repetition by a key made of the order's id.

use async_trait::async_trait;
use domain::{Money, OrderId, PaymentId};

pub mod stripe;

/// A provider that charges customers for us.
#[async_trait]
pub trait PaymentProvider: Send + Sync {
    /// Makes a payment of `amount` with the customer's `payment_method` known to the provider. No money
    /// moves. The same order gets the same payment again.
    ///
    /// A payment method that the provider does not know is [`PaymentError::Declined`].
    async fn create_intent(
        &self,
        order: OrderId,
        amount: Money,
        payment_method: &str,
    ) -> Result<PaymentId, PaymentError>;

    /// Charges the payment. It is `Ok` only when the money is taken, now or by an earlier call.
    ///
    /// After [`PaymentError::Unavailable`] it is not known whether the money was taken: repeat the call, or
    /// ask with [`find`](Self::find).
    async fn confirm(&self, order: OrderId, payment: &PaymentId) -> Result<(), PaymentError>;

    /// Where the payment stands now.
    async fn find(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError>;

    /// Gives back all that was charged. `Ok` as well when it was given back before.
    async fn refund(&self, order: OrderId, payment: &PaymentId) -> Result<(), PaymentError>;

    /// Closes a payment that was not charged, so that it never can be; answers where the payment stands
    /// afterwards. [`PaymentStatus::Charged`] says that a confirmation came first: refund it.
    /// [`PaymentStatus::Open`] says that it could not be closed just now: repeat the call.
    async fn cancel(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError>;
}

/// Where a payment stands at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Nothing was charged so far; a confirmation may still charge it.
    Open,
    /// The money was taken. It stays so after a refund.
    Charged,
    /// Nothing was charged, and nothing can be any more.
    Cancelled,
}

/// Why the provider did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// The payment method was refused: a business answer, which a retry does not change.
    #[error("the payment was declined ({code})")]
    Declined {
        /// The provider's word for the reason, such as `insufficient_funds`.
        code: String,
    },
    /// There was no answer, or none that says what happened. Worth a retry with the same arguments.
    #[error("the payment provider gave no usable answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The provider understood the request and it is wrong, or not possible as the payment stands. Never
    /// worth a retry.
    #[error("the payment provider refused the request (status {status}, {code})")]
    Rejected {
        /// The HTTP status.
        status: u16,
        /// The provider's word for the reason.
        code: String,
    },
    /// The provider knows no such payment.
    #[error("the payment provider knows no such payment")]
    NotFound,
}
