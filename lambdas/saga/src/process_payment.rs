//! `process-payment`: takes the order's price.
//!
//! 1. The provider is told of the payment; no money moves.
//! 2. The order is claimed for this payment. Here the customer's cancellation and a compensation are met, and
//!    from here on the payment can be found from the order, whatever becomes of this process.
//! 3. The provider is told to take the money.
//! 4. The order records that it was taken, and `PaymentProcessed` goes out.
//!
//! Again: the provider gives the same payment to the same order and confirms it once; the claim holds; the
//! record is made once. A provider that has forgotten the first request makes a second payment of it, or takes
//! the payment method no more: then the order still names its first payment, and that is the one confirmed.

use std::sync::Arc;

use domain::PaymentId;
use lambda_shared::{FunctionContext, Handler, InitError};
use orders::Orders;
use serde::Serialize;

use crate::{
    OutboxPublisher, SagaState, StepError, bootstrap,
    payments::{PaymentError, PaymentProvider},
    state::step_handler,
};

/// What was paid with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfirmedPayment {
    /// The payment at the provider.
    pub payment_id: PaymentId,
}

/// Makes the function.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let (orders, provider) =
        tokio::try_join!(bootstrap::order_store(&init), bootstrap::payment_provider(&init))?;
    let announcer = bootstrap::outbox_publisher(&init, &orders)?;
    let provider = Arc::new(provider);
    Ok(step_handler(move |state| {
        let (orders, announcer, provider) = (orders.clone(), announcer.clone(), Arc::clone(&provider));
        async move { process_payment(&orders, &*provider, &announcer, &state).await }
    }))
}

/// Does the step. `PaymentDeclined` and `OrderCancelled` are certain not to have moved money; after every
/// other failure that is open, and for the refund to find out.
pub async fn process_payment(
    orders: &Orders,
    provider: &dyn PaymentProvider,
    announcer: &OutboxPublisher,
    state: &SagaState,
) -> Result<ConfirmedPayment, StepError> {
    let (user_id, order_id, total) = (state.user_id, state.order_id, state.total()?);

    let created = provider
        .create_intent(order_id, total, &state.payment_method)
        .await;
    let known = match created {
        Ok(created) => created,
        // A method may be gone that was good for the order's payment: that one may have been taken.
        Err(PaymentError::Declined { code }) => orders
            .find(user_id, order_id)
            .await?
            .and_then(|order| order.payment_id)
            .ok_or(StepError::PaymentDeclined(code))?,
        Err(error) => return Err(error.into()),
    };
    let payment_id = orders.claim_for_payment(user_id, order_id, &known).await?;
    provider.confirm(order_id, &payment_id).await?;

    let event = orders
        .record_payment(user_id, order_id, &payment_id, total, &state.event_context())
        .await?;
    if let Some(event) = event {
        announcer.publish_or_log(&event).await;
    }
    Ok(ConfirmedPayment { payment_id })
}
