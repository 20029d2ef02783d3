//! The state that the state machine passes to every step.

use std::future::Future;

use domain::{Currency, EventId, Money, OrderId, PaymentId, ProductId, Quantity, UserId};
use events::{EventContext, TraceParent};
use lambda_shared::{Handler, Invocation, trace_context};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::StepError;

/// The saga's input and the results of its steps so far.
#[derive(Clone, Debug, Deserialize)]
pub struct SagaState {
    /// The order's id, which is also its stock reservation's id.
    pub order_id: OrderId,
    /// The customer.
    pub user_id: UserId,
    /// The currency of `total_amount`.
    pub currency: Currency,
    /// The order total in minor units.
    pub total_amount: i64,
    /// The order lines. Several lines may have the same product.
    pub items: Vec<LineItem>,
    /// The payment provider's id of the payment method.
    pub payment_method: String,
    /// The trace of the order.
    pub traceparent: TraceParent,
    /// The correlation id of the saga's events: the order id.
    pub correlation_id: Uuid,
    /// The id of the event that started the saga.
    pub causation_id: Option<Uuid>,
    /// The result of create-payment. `None` in executions that were started before that step existed.
    #[serde(default)]
    pub intent: Option<CreatedPayment>,
    /// The result of complete-order.
    #[serde(default)]
    pub completion: Option<OrderOutcome>,
    /// The result of fail-order.
    #[serde(default)]
    pub failure: Option<OrderOutcome>,
    /// The error that started the compensation.
    #[serde(default)]
    pub error: Option<CaughtError>,
}

/// A payment that exists at the provider and is not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedPayment {
    /// The payment's id at the provider.
    pub payment_id: PaymentId,
}

/// A product and quantity of the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineItem {
    /// The product.
    pub product_id: ProductId,
    /// The number of units.
    pub quantity: Quantity,
}

/// The result of the step that ended the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderOutcome {
    /// The event of the order's final status, in the outbox. `None` when the step wrote no event.
    pub event_id: Option<EventId>,
}

/// An error that Step Functions caught and added to the state.
#[derive(Clone, Debug, Deserialize)]
pub struct CaughtError {
    /// A step's error name or a predefined one of Step Functions, such as `States.Timeout`.
    #[serde(rename = "Error")]
    pub name: String,
}

impl SagaState {
    /// The order total. Fails with `InvalidInput` when it is out of range.
    pub fn total(&self) -> Result<Money, StepError> {
        Money::new(self.total_amount, self.currency).map_err(StepError::invalid_input)
    }

    /// The context of the events that a step publishes.
    #[must_use]
    pub fn event_context(&self) -> EventContext {
        EventContext {
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            traceparent: self.traceparent,
        }
    }
}

/// A handler that parses the saga state, adds the order's trace to the log and runs `work`.
pub(crate) fn step_handler<F, Fut, R>(work: F) -> Handler
where
    F: Fn(SagaState) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, StepError>> + Send + 'static,
    R: Serialize,
{
    Handler::new(move |Invocation { payload, .. }| {
        let step = serde_json::from_value::<SagaState>(payload).map(|state| {
            let event_context = state.event_context();
            (event_context, work(state))
        });
        async move {
            let (event_context, running) = step.map_err(StepError::invalid_input)?;
            trace_context::attach(&event_context);
            running.await
        }
    })
}

#[cfg(test)]
mod tests {
    use lambda_shared::FunctionError;
    use serde_json::json;

    use super::*;

    fn input() -> serde_json::Value {
        json!({
            "order_id": "019a0000-0000-7000-8000-000000000001",
            "user_id": "019a0000-0000-7000-8000-000000000002",
            "currency": "JPY",
            "total_amount": 15_000,
            "items": [{"product_id": "019a0000-0000-7000-8000-000000000003", "quantity": 2}],
            "payment_method": "pm_card_visa",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "correlation_id": "019a0000-0000-7000-8000-000000000001",
            "causation_id": "019a0000-0000-7000-8000-000000000004",
        })
    }

    #[test]
    fn parses_the_state_before_and_after_compensation() {
        let initial: SagaState = serde_json::from_value(input()).unwrap();
        assert_eq!((initial.completion, &initial.intent), (None, &None));
        assert_eq!(
            initial.event_context().traceparent.trace_id(),
            "0af7651916cd43dd8448eb211c80319c"
        );

        let mut compensated = input();
        compensated["intent"] = json!({"payment_id": "pi_1"});
        compensated["reservation"] = json!({"status": "reserved", "expires_at": null});
        compensated["error"] =
            json!({"Error": "PaymentDeclined", "Cause": "{\"errorType\":\"PaymentDeclined\"}"});
        compensated["failure"] = json!({"event_id": null});
        let compensated: SagaState = serde_json::from_value(compensated).unwrap();
        assert_eq!(compensated.error.unwrap().name, "PaymentDeclined");
        assert_eq!(
            compensated.intent.unwrap().payment_id,
            PaymentId("pi_1".to_owned())
        );
        assert_eq!(compensated.failure, Some(OrderOutcome { event_id: None }));
    }

    #[tokio::test]
    async fn invalid_state_fails_with_invalid_input() {
        let handler =
            step_handler(async |_: SagaState| -> Result<(), StepError> { panic!("the step must not run") });
        for (field, invalid) in [("items", json!([{"quantity": 0}])), ("order_id", json!("17"))] {
            let mut payload = input();
            payload[field] = invalid;
            let deadline = domain::Timestamp::UNIX_EPOCH;
            let failure = handler.call(Invocation { payload, deadline }).await.unwrap_err();
            assert_eq!(failure.name, "InvalidInput", "{field}");
        }
    }

    #[test]
    fn total_out_of_range_fails_with_invalid_input() {
        let mut state: SagaState = serde_json::from_value(input()).unwrap();
        state.total_amount = -1;
        assert_eq!(state.total().unwrap_err().name(), "InvalidInput");
    }
}
