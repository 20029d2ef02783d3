//! `refund-payment`: sees to it that the order's customer has all their money. The first compensation.
//!
//! 1. The order is closed to payment, for good. Whoever has not claimed it now never will, and whoever has not
//!    claimed never confirms; so without a payment on the order nothing was charged.
//! 2. The provider is asked where the payment stands. What was charged is given back; what was not is
//!    cancelled, and a confirmation that is still on its way fails there. When that confirmation wins, the
//!    provider says so, and the money is given back after all.
//! 3. When money was given back, the order records it, and `PaymentRefunded` goes out.
//!
//! Again: closed stays closed, cancelled stays cancelled, and the provider gives back once.

use std::sync::Arc;

use domain::PaymentId;
use lambda_shared::{FunctionContext, Handler, InitError};
use orders::{CloseError, Orders};
use serde::Serialize;

use crate::{
    OutboxPublisher, SagaState, StepError, bootstrap,
    payments::{PaymentProvider, PaymentStatus},
    state::step_handler,
};

/// How it came that the customer has all their money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum RefundOutcome {
    /// It was taken and given back.
    Refunded {
        /// The payment at the provider.
        payment_id: PaymentId,
    },
    /// It was not taken, and cannot be any more.
    Cancelled {
        /// The payment at the provider.
        payment_id: PaymentId,
    },
    /// There never was a payment.
    NothingCharged,
}

/// Makes the function.
pub async fn init(init: FunctionContext) -> Result<Handler, InitError> {
    let (orders, provider) =
        tokio::try_join!(bootstrap::order_store(&init), bootstrap::payment_provider(&init))?;
    let announcer = bootstrap::outbox_publisher(&init, &orders)?;
    let provider = Arc::new(provider);
    Ok(step_handler(move |state| {
        let (orders, announcer, provider) = (orders.clone(), announcer.clone(), Arc::clone(&provider));
        async move { refund_payment(&orders, &*provider, &announcer, &state).await }
    }))
}

/// Does the step. Fails with `OrderAlreadyCompleted` when there is nothing to compensate, and with
/// `Unavailable` until it is certain where the money is.
pub async fn refund_payment(
    orders: &Orders,
    provider: &dyn PaymentProvider,
    announcer: &OutboxPublisher,
    state: &SagaState,
) -> Result<RefundOutcome, StepError> {
    let (user_id, order_id, total) = (state.user_id, state.order_id, state.total()?);

    let payment_id = match orders.close_to_payment(user_id, order_id).await {
        Ok(Some(payment_id)) => payment_id,
        // What does not exist cannot have been claimed.
        Ok(None) | Err(CloseError::NotFound) => return Ok(RefundOutcome::NothingCharged),
        Err(error) => return Err(error.into()),
    };
    let standing = match provider.find(&payment_id).await? {
        PaymentStatus::Open => provider.cancel(&payment_id).await?,
        settled => settled,
    };
    match standing {
        PaymentStatus::Open => Err(StepError::unavailable(
            "the payment provider",
            "the payment is still open",
        )),
        PaymentStatus::Cancelled => Ok(RefundOutcome::Cancelled { payment_id }),
        PaymentStatus::Charged => {
            provider.refund(order_id, &payment_id).await?;
            let event = orders
                .record_refund(user_id, order_id, &payment_id, total, &state.event_context())
                .await?;
            if let Some(event) = event {
                announcer.publish_or_log(&event).await;
            }
            Ok(RefundOutcome::Refunded { payment_id })
        }
    }
}
