//! What the state machine hands to every step.

use std::future::Future;

use domain::{Currency, EventId, Money, OrderId, ProductId, Quantity, UserId};
use events::{EventContext, TraceParent};
use lambda_shared::{Handler, Invocation, trace_context};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::StepError;

/// The saga's input, and what its steps have answered so far.
#[derive(Clone, Debug, Deserialize)]
pub struct SagaState {
    /// The order. Its reservation has the same id.
    pub order_id: OrderId,
    /// Its customer.
    pub user_id: UserId,
    /// What the amount is in.
    pub currency: Currency,
    /// The whole price in minor units.
    pub total_amount: i64,
    /// The lines, as the customer gave them: one product may stand on several.
    pub items: Vec<LineItem>,
    /// The payment provider's name of what pays.
    pub payment_method: String,
    /// The trace that the order belongs to.
    pub traceparent: TraceParent,
    /// The order's id, for the events that the saga brings about.
    pub correlation_id: Uuid,
    /// The event that started the saga.
    pub causation_id: Option<Uuid>,
    /// What complete-order answered.
    #[serde(default)]
    pub completion: Option<OrderOutcome>,
    /// What fail-order answered.
    #[serde(default)]
    pub failure: Option<OrderOutcome>,
    /// Why the saga turned back.
    #[serde(default)]
    pub error: Option<CaughtError>,
}

/// A line of the order, as far as stock is concerned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineItem {
    /// What is bought.
    pub product_id: ProductId,
    /// How many pieces.
    pub quantity: Quantity,
}

/// The answer of the step that ended the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderOutcome {
    /// The event that tells of it and waits in the outbox; none when there is nothing to tell.
    pub event_id: Option<EventId>,
}

/// An error as Step Functions puts it into the state.
#[derive(Clone, Debug, Deserialize)]
pub struct CaughtError {
    /// A step's error name, or one of Step Functions' own.
    #[serde(rename = "Error")]
    pub name: String,
}

impl SagaState {
    /// The price.
    pub fn total(&self) -> Result<Money, StepError> {
        Money::new(self.total_amount, self.currency).map_err(StepError::invalid_input)
    }

    /// The cause of what a step brings about.
    #[must_use]
    pub fn event_context(&self) -> EventContext {
        EventContext {
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            traceparent: self.traceparent,
        }
    }
}

/// A function that does `work` with the state it is handed, in the order's trace.
pub(crate) fn step_handler<F, Fut, R>(work: F) -> Handler
where
    F: Fn(SagaState) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, StepError>> + Send + 'static,
    R: Serialize,
{
    Handler::new(move |Invocation { payload, .. }| {
        let working = serde_json::from_value::<SagaState>(payload).map(|state| {
            let cause = state.event_context();
            (cause, work(state))
        });
        async move {
            let (cause, working) = working.map_err(StepError::invalid_input)?;
            trace_context::attach(&cause);
            working.await
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
    fn reads_the_state_at_every_stage() {
        let fresh: SagaState = serde_json::from_value(input()).unwrap();
        assert_eq!(fresh.completion, None);
        assert_eq!(
            fresh.event_context().traceparent.trace_id(),
            "0af7651916cd43dd8448eb211c80319c"
        );

        let mut late = input();
        late["reservation"] = json!({"status": "reserved", "expires_at": null});
        late["error"] = json!({"Error": "PaymentDeclined", "Cause": "{\"errorType\":\"PaymentDeclined\"}"});
        late["failure"] = json!({"event_id": null});
        let late: SagaState = serde_json::from_value(late).unwrap();
        assert_eq!(late.error.unwrap().name, "PaymentDeclined");
        assert_eq!(late.failure, Some(OrderOutcome { event_id: None }));
    }

    #[tokio::test]
    async fn what_is_no_state_is_refused_for_good() {
        let untouched =
            step_handler(async |_: SagaState| -> Result<(), StepError> { panic!("the step must not run") });
        for (member, wrong) in [("items", json!([{"quantity": 0}])), ("order_id", json!("17"))] {
            let mut payload = input();
            payload[member] = wrong;
            let deadline = domain::Timestamp::UNIX_EPOCH;
            let failure = untouched
                .call(Invocation { payload, deadline })
                .await
                .unwrap_err();
            assert_eq!(failure.name, "InvalidInput", "{member}");
        }
    }

    #[test]
    fn a_price_out_of_range_is_refused_for_good() {
        let mut state: SagaState = serde_json::from_value(input()).unwrap();
        state.total_amount = -1;
        assert_eq!(state.total().unwrap_err().name(), "InvalidInput");
    }
}
