//! `create-payment`: creates the order's payment at the provider, which moves no money. The first step.
//!
//! The provider checks the payment method, so an order with an invalid one fails before it reserves stock.
//! The payment goes on in the saga's state: `process-payment` claims the order for it, and `refund-payment`
//! cancels it if the order ends otherwise. A payment whose creation this step could not report stays
//! unconfirmed at the provider, and nothing can charge it.
//!
//! Idempotency: for the same order the provider returns the same payment, as long as it remembers the
//! idempotency key. Later it creates a second payment or declines the payment method; the order keeps the
//! payment that claimed it.

use std::sync::Arc;

use domain::PaymentId;
use lambda_shared::{FunctionContext, Handler, InitError};
use orders::Orders;

use crate::{
    SagaState, StepError, bootstrap,
    payments::{PaymentError, PaymentProvider},
    state::{CreatedPayment, step_handler},
};

/// Initialises the function.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let (orders, provider) =
        tokio::try_join!(bootstrap::orders(&context), bootstrap::payment_provider(&context))?;
    let provider = Arc::new(provider);
    Ok(step_handler(move |state| {
        let (orders, provider) = (orders.clone(), Arc::clone(&provider));
        async move {
            let payment_id = create_payment(&orders, &*provider, &state).await?;
            Ok(CreatedPayment { payment_id })
        }
    }))
}

/// Returns the order's payment. Fails with `PaymentDeclined` if the payment method is invalid and no payment
/// has claimed the order.
pub async fn create_payment(
    orders: &Orders,
    provider: &dyn PaymentProvider,
    state: &SagaState,
) -> Result<PaymentId, StepError> {
    let (user_id, order_id, total) = (state.user_id, state.order_id, state.total()?);
    let created = provider
        .create_intent(user_id, order_id, total, &state.payment_method)
        .await;
    match created {
        Ok(payment_id) => Ok(payment_id),
        // The payment method can become invalid after an earlier run created, and perhaps charged, a payment.
        Err(PaymentError::Declined { code }) => orders
            .find(user_id, order_id)
            .await?
            .and_then(|order| order.payment_id)
            .ok_or(StepError::PaymentDeclined(code)),
        Err(error) => Err(error.into()),
    }
}
