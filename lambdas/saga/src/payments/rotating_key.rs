//! A payment provider whose API key is rotated while the process runs.

use async_trait::async_trait;
use domain::{Money, OrderId, PaymentId, UserId};
use secrets::Secret;

use super::{
    Confirmation, PaymentError, PaymentProvider, PaymentStatus,
    stripe::{PaymentDescription, Stripe},
};

/// Calls the provider with the current API key. `T` is a client for one key.
///
/// A refused call has no effect, so it is repeated with the new key if the key has changed.
pub struct RotatingKey<T>(Secret<T>);

impl<T> RotatingKey<T> {
    /// `client` parses a key and creates its client.
    #[must_use]
    pub fn new(client: Secret<T>) -> Self {
        Self(client)
    }
}

/// Calls the provider, and once more if it refuses the key and the secret contains another one.
macro_rules! with_current_key {
    ($self:ident, $client:ident => $call:expr) => {{
        let $client = $self.0.current().await;
        match $call.await {
            Err(error) if error.is_refused_key() => match $self.0.read_again(&$client).await {
                Some($client) => $call.await,
                None => Err(error),
            },
            result => result,
        }
    }};
}

impl RotatingKey<Stripe> {
    /// As [`Stripe::describe`].
    pub async fn describe(&self, payment: &PaymentId) -> Result<PaymentDescription, PaymentError> {
        with_current_key!(self, client => client.describe(payment))
    }

    /// As [`Stripe::is_refunded`].
    pub async fn is_refunded(&self, payment: &PaymentId, amount: Money) -> Result<bool, PaymentError> {
        with_current_key!(self, client => client.is_refunded(payment, amount))
    }
}

#[async_trait]
impl<T: PaymentProvider> PaymentProvider for RotatingKey<T> {
    async fn create_intent(
        &self,
        user: UserId,
        order: OrderId,
        amount: Money,
        payment_method: &str,
    ) -> Result<PaymentId, PaymentError> {
        with_current_key!(self, client => client.create_intent(user, order, amount, payment_method))
    }

    async fn confirm(
        &self,
        order: OrderId,
        payment: &PaymentId,
        return_url: &str,
    ) -> Result<Confirmation, PaymentError> {
        with_current_key!(self, client => client.confirm(order, payment, return_url))
    }

    async fn find_confirmation(&self, payment: &PaymentId) -> Result<Option<Confirmation>, PaymentError> {
        with_current_key!(self, client => client.find_confirmation(payment))
    }

    async fn find(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        with_current_key!(self, client => client.find(payment))
    }

    async fn refund(&self, order: OrderId, payment: &PaymentId, amount: Money) -> Result<(), PaymentError> {
        with_current_key!(self, client => client.refund(order, payment, amount))
    }

    async fn cancel(&self, payment: &PaymentId) -> Result<PaymentStatus, PaymentError> {
        with_current_key!(self, client => client.cancel(payment))
    }
}
