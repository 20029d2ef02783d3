//! `process-payment`: charges the order's total.
//!
//! 1. The payment exists at the provider since `create-payment`, and no money has moved. An execution that
//!    was started before that step existed has no payment in its state, and this step creates it.
//! 2. The step claims the order for this payment. The claim fails when the customer has cancelled the order
//!    or a compensation has closed it. After the claim the payment can be found from the order, even when
//!    this process dies.
//! 3. The step confirms the payment, and the provider charges it or requires the customer to act, for example
//!    to authenticate with the bank (3D Secure).
//! 4. The order records the payment, and the step publishes `PaymentProcessed`. Or the order records the
//!    action, and the saga ends. The customer's return or the provider's event starts its next execution, in
//!    which this step finds the payment charged, declined, or still waiting
//!    (`docs/adr/0022-three-d-secure.md`).
//!
//! Idempotency: for the same order the provider returns the same payment and confirms it once, the claim
//! stays, and the order records the payment once. When the provider's response to the first request was an
//! error, or the provider has forgotten its idempotency key, it creates a second payment or declines the
//! payment method. The order keeps the id of the payment that claimed it, and the step confirms only that
//! one.

use std::sync::Arc;

use chrono::TimeDelta;
use domain::PaymentId;
use lambda_shared::{FunctionContext, Handler, InitError};
use orders::{Claim, OrdersWithOutbox};
use reqwest::Url;
use serde::Serialize;

use crate::{
    OutboxPublisher, SagaState, StatusPush, StepError, bootstrap,
    create_payment::create_payment,
    payments::{Confirmation, PaymentProvider},
    state::step_handler,
};

/// The result of the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PaymentOutcome {
    /// The payment's id at the provider.
    pub payment_id: PaymentId,
    pub status: OutcomeStatus,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeStatus {
    Charged,
    /// The customer must act first. The saga ends, and the order stays open.
    ActionRequired,
}

/// Settings of the action that a payment can require of the customer.
#[derive(Clone, Debug)]
pub struct ActionSettings {
    /// The shop's page to which the provider sends the customer afterwards. The order's id is added to it.
    pub return_url: Url,
    /// How long the customer may take.
    pub time_limit: TimeDelta,
}

/// Initialises the function, with the shop's page in `PAYMENT_RETURN_URL` and the customer's time limit in
/// `PAYMENT_ACTION_TIMEOUT_SECONDS`.
pub async fn init(context: FunctionContext) -> Result<Handler, InitError> {
    let (store, provider) = tokio::try_join!(
        bootstrap::orders_with_outbox(&context),
        bootstrap::payment_provider(&context)
    )?;
    let publisher = bootstrap::outbox_publisher(&context, &store.outbox)?;
    let status_push = bootstrap::status_push(&context)?;
    let provider = Arc::new(provider);
    let time_limit_seconds: u32 = context.environment.required("PAYMENT_ACTION_TIMEOUT_SECONDS")?;
    let actions = ActionSettings {
        return_url: context.environment.required("PAYMENT_RETURN_URL")?,
        time_limit: TimeDelta::seconds(i64::from(time_limit_seconds)),
    };
    Ok(step_handler(move |state| {
        let (store, publisher, provider) = (store.clone(), publisher.clone(), Arc::clone(&provider));
        let (status_push, actions) = (status_push.clone(), actions.clone());
        async move { process_payment(&store, &*provider, &publisher, &status_push, &actions, &state).await }
    }))
}

/// With `PaymentDeclined` and `OrderCancelled`, no money has moved. After every other error money may have
/// moved. In each case `refund-payment` makes sure that none moves later.
pub async fn process_payment(
    store: &OrdersWithOutbox,
    provider: &dyn PaymentProvider,
    publisher: &OutboxPublisher,
    status_push: &StatusPush,
    actions: &ActionSettings,
    state: &SagaState,
) -> Result<PaymentOutcome, StepError> {
    let orders = &store.orders;
    let (user_id, order_id, total) = (state.user_id, state.order_id, state.total()?);

    let candidate = match &state.intent {
        Some(intent) => intent.payment_id.clone(),
        None => create_payment(orders, provider, state).await?,
    };
    let Claim {
        payment_id,
        is_repeated,
    } = orders.claim_for_payment(user_id, order_id, &candidate).await?;
    let confirm = async {
        // A second confirmation would start the customer's action again.
        let earlier = match is_repeated {
            true => provider.find_confirmation(&payment_id).await?,
            false => None,
        };
        match earlier {
            Some(confirmation) => Ok(confirmation),
            None => {
                let mut return_url = actions.return_url.clone();
                return_url
                    .query_pairs_mut()
                    .append_pair("order_id", &order_id.to_string());
                provider.confirm(order_id, &payment_id, return_url.as_str()).await
            }
        }
    };
    // The customer sees the claim while the payment is being confirmed. A repetition of the step requests the
    // push again: the first one may have ended before its request.
    let (confirmation, ()) = tokio::join!(confirm, status_push.request(state));
    let confirmation = confirmation?;
    if let Confirmation::ActionRequired(action) = confirmation {
        orders
            .await_payment_action(user_id, order_id, &payment_id, &action, actions.time_limit)
            .await?;
        // A customer who completed the action before this write found no awaited action to end.
        let (present, ()) = tokio::join!(
            provider.find_confirmation(&payment_id),
            status_push.request(state)
        );
        if present? != Some(Confirmation::Charged) {
            return Ok(PaymentOutcome {
                payment_id,
                status: OutcomeStatus::ActionRequired,
            });
        }
    }

    let event = store
        .record_payment(user_id, order_id, &payment_id, total, &state.event_context())
        .await?;
    if let Some(event) = event {
        publisher.publish_or_log(&event).await;
    }
    Ok(PaymentOutcome {
        payment_id,
        status: OutcomeStatus::Charged,
    })
}
