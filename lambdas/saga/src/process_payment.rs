//! `process-payment`: charges the order's total.
//!
//! 1. The step creates a payment at the provider, which moves no money.
//! 2. The step claims the order for this payment. The claim fails when the customer has cancelled the order
//!    or a compensation has closed it. After the claim the payment can be found from the order, even when
//!    this process dies.
//! 3. The step confirms the payment, and the provider charges it.
//! 4. The order records the payment, and the step publishes `PaymentProcessed`.
//!
//! Idempotency: for the same order the provider returns the same payment and confirms it once, the claim
//! stays, and the order records the payment once. When the provider's response to the first request was an
//! error, or the provider has forgotten its idempotency key, it creates a second payment or declines the
//! payment method. The order keeps the id of the payment that claimed it, and the step confirms only that
//! one.

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

/// The result of the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfirmedPayment {
    /// The payment's id at the provider.
    pub payment_id: PaymentId,
}

/// Initialises the function.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let (orders, provider) = tokio::try_join!(
        bootstrap::order_store(&context),
        bootstrap::payment_provider(&context)
    )?;
    let publisher = bootstrap::outbox_publisher(&context, &orders)?;
    let provider = Arc::new(provider);
    Ok(step_handler(move |state| {
        let (orders, publisher, provider) = (orders.clone(), publisher.clone(), Arc::clone(&provider));
        async move { process_payment(&orders, &*provider, &publisher, &state).await }
    }))
}

/// With `PaymentDeclined` and `OrderCancelled`, no money has moved. After every other error money may have
/// moved, and `refund-payment` determines whether it has.
pub async fn process_payment(
    orders: &Orders,
    provider: &dyn PaymentProvider,
    publisher: &OutboxPublisher,
    state: &SagaState,
) -> Result<ConfirmedPayment, StepError> {
    let (user_id, order_id, total) = (state.user_id, state.order_id, state.total()?);

    let created = provider
        .create_intent(user_id, order_id, total, &state.payment_method)
        .await;
    let candidate = match created {
        Ok(payment_id) => payment_id,
        // The payment method can become invalid after an earlier run created, and perhaps charged, a payment.
        Err(PaymentError::Declined { code }) => orders
            .find(user_id, order_id)
            .await?
            .and_then(|order| order.payment_id)
            .ok_or(StepError::PaymentDeclined(code))?,
        Err(error) => return Err(error.into()),
    };
    let payment_id = orders.claim_for_payment(user_id, order_id, &candidate).await?;
    provider.confirm(order_id, &payment_id).await?;

    let event = orders
        .record_payment(user_id, order_id, &payment_id, total, &state.event_context())
        .await?;
    if let Some(event) = event {
        publisher.publish_or_log(&event).await;
    }
    Ok(ConfirmedPayment { payment_id })
}
