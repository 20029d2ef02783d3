//! `refund-payment`: makes sure that the customer is not charged. The first compensation step.
//!
//! 1. The step closes the order to payment permanently. After that no run of `process-payment` can claim the
//!    order, and only a run that has claimed it confirms a payment. So an order without a payment id was not
//!    charged.
//! 2. The step reads the payment's status at the provider. It refunds a charged payment and cancels an open
//!    one, so that a delayed confirmation fails at the provider. If that confirmation arrives before the
//!    cancellation, the provider reports the payment as charged, and the step refunds it.
//! 3. After a refund, the order records it and the step publishes `PaymentRefunded`.
//! 4. The step also cancels the payment that `create-payment` has created, if it has not claimed the order.
//!    Nothing can confirm it any more.
//!
//! Idempotency: a closed order stays closed, a cancelled payment stays cancelled, and the provider refunds at
//! most what it charged.

use std::sync::Arc;

use domain::PaymentId;
use lambda_shared::{FunctionContext, Handler, InitError};
use orders::{CloseError, OrdersWithOutbox};
use serde::Serialize;

use crate::{
    OutboxPublisher, SagaState, StepError, bootstrap,
    payments::{PaymentProvider, PaymentStatus},
    state::step_handler,
};

/// The result of the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum RefundOutcome {
    /// The payment was charged and refunded.
    Refunded {
        /// The payment's id at the provider.
        payment_id: PaymentId,
    },
    /// The payment was not charged, and the provider cancelled it.
    Cancelled {
        /// The payment's id at the provider.
        payment_id: PaymentId,
    },
    /// The order has no payment.
    NothingCharged,
}

/// Initialises the function.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let (store, provider) = tokio::try_join!(
        bootstrap::orders_with_outbox(&context),
        bootstrap::payment_provider(&context)
    )?;
    let publisher = bootstrap::outbox_publisher(&context, &store.outbox)?;
    let provider = Arc::new(provider);
    Ok(step_handler(move |state| {
        let (store, publisher, provider) = (store.clone(), publisher.clone(), Arc::clone(&provider));
        async move { refund_payment(&store, &*provider, &publisher, &state).await }
    }))
}

/// Fails with `OrderAlreadyCompleted` when the order is completed and must not be compensated, and with
/// `Unavailable` as long as the payment may still be charged.
pub async fn refund_payment(
    store: &OrdersWithOutbox,
    provider: &dyn PaymentProvider,
    publisher: &OutboxPublisher,
    state: &SagaState,
) -> Result<RefundOutcome, StepError> {
    let (user_id, order_id, total) = (state.user_id, state.order_id, state.total()?);

    let claimed = match store.orders.close_to_payment(user_id, order_id).await {
        Ok(claimed) => claimed,
        // An order that does not exist cannot have been claimed for payment.
        Err(CloseError::NotFound) => None,
        Err(error) => return Err(error.into()),
    };
    let created = state.intent.as_ref().map(|intent| &intent.payment_id);
    if let Some(created) = created.filter(|created| claimed.as_ref() != Some(created)) {
        end_payment(provider, created).await?;
    }
    let Some(payment_id) = claimed else {
        return Ok(RefundOutcome::NothingCharged);
    };
    match end_payment(provider, &payment_id).await? {
        EndedPayment::Cancelled => Ok(RefundOutcome::Cancelled { payment_id }),
        EndedPayment::Charged => {
            provider.refund(order_id, &payment_id, total).await?;
            let event = store
                .record_refund(user_id, order_id, &payment_id, total, &state.event_context())
                .await?;
            if let Some(event) = event {
                publisher.publish_or_log(&event).await;
            }
            Ok(RefundOutcome::Refunded { payment_id })
        }
    }
}

/// A payment that can no longer be confirmed.
enum EndedPayment {
    Charged,
    Cancelled,
}

/// Cancels the payment unless it is charged. Fails with `Unavailable` if it is still open afterwards.
async fn end_payment(provider: &dyn PaymentProvider, payment: &PaymentId) -> Result<EndedPayment, StepError> {
    let status = match provider.find(payment).await? {
        PaymentStatus::Open => provider.cancel(payment).await?,
        status => status,
    };
    match status {
        PaymentStatus::Charged => Ok(EndedPayment::Charged),
        PaymentStatus::Cancelled => Ok(EndedPayment::Cancelled),
        PaymentStatus::Open => Err(StepError::unavailable(
            "the payment provider",
            "the payment is still open",
        )),
    }
}
