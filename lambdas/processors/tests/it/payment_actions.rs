//! Tests of order-processor and order-reconciler with orders that wait for their customer to authenticate the
//! payment.

use aws_sdk_sfn::types::StateMachineType;
use chrono::TimeDelta;
use domain::{CustomerSecret, FailureReason, PaymentAction, PaymentId};
use events::OutboxEvent;
use lambda_shared::testing::FunctionProcess;
use orders::Order;
use serde_json::{Value, json};

use crate::{
    batch_item_failures, now,
    order_reconciler::{TestContext, run_counts, run_once},
    sqs_event,
};

impl TestContext {
    /// A state machine whose executions end at once, as those of waiting orders do.
    async fn with_ending_executions() -> Self {
        Self::with_state_machine(StateMachineType::Standard, json!({"Type": "Succeed"})).await
    }

    /// Places an order whose first execution has ended and which waits for its customer since `age`, with a
    /// time limit of ten minutes.
    async fn place_waiting_order(&self, age: TimeDelta) -> Order {
        let (order, _) = self.place_order(age).await;
        self.start_saga(&order).await;
        self.wait_until_executions_end().await;
        let payment_id = PaymentId("pi_1".to_owned());
        let orders = self.orders_with_age(age).orders;
        orders
            .claim_for_payment(order.user_id, order.order_id, &payment_id)
            .await
            .unwrap();
        let action = PaymentAction {
            kind: "redirect_to_url".to_owned(),
            client_secret: CustomerSecret::new("pi_1_secret".to_owned()),
            redirect_url: None,
        };
        let time_limit = TimeDelta::minutes(10);
        orders
            .await_payment_action(order.user_id, order.order_id, &payment_id, &action, time_limit)
            .await
            .unwrap();
        self.load_order(&order).await
    }

    async fn complete_payment_action(&self, order: &Order) -> Value {
        let store = self.orders_with_age(TimeDelta::zero()).store;
        let completed = store.complete_payment_action(&self.load_order(order).await).await;
        message(&completed.unwrap().unwrap())
    }
}

/// The event as EventBridge sends it to the queue.
fn message(event: &OutboxEvent) -> Value {
    let detail: Value = serde_json::from_str(&event.detail).unwrap();
    json!({"source": event.source, "detail-type": event.detail_type, "detail": detail})
}

async fn process(processor: &FunctionProcess, event: &Value) {
    let response = processor.invoke(sqs_event(&[event.to_string()])).await;
    assert_eq!(response.unwrap(), batch_item_failures(&[]));
}

#[tokio::test]
async fn completed_action_starts_the_next_execution_once() {
    let context = TestContext::with_ending_executions().await;
    let order = context.place_waiting_order(TimeDelta::zero()).await;
    let processor = context.start_function("order-processor", "").await;
    let event = context.complete_payment_action(&order).await;
    process(&processor, &event).await;
    process(&processor, &event).await;
    let (first, second) = (order.order_id.to_string(), format!("{}-2", order.order_id));
    assert_eq!(context.execution_names(None).await, [first, second.clone()]);
    let input = context.execution_input(&second).await;
    assert_eq!(
        (
            &input["order_id"],
            &input["payment_method"],
            &input["traceparent"]
        ),
        (
            &json!(order.order_id),
            &json!("pm_card_visa"),
            &json!(order.traceparent)
        )
    );
    let state: saga::SagaState = serde_json::from_value(input).unwrap();
    assert_eq!(state.items.len(), 1);
}

#[tokio::test]
async fn completed_action_of_an_ended_order_starts_nothing() {
    let context = TestContext::with_ending_executions().await;
    let order = context.place_waiting_order(TimeDelta::zero()).await;
    let event = context.complete_payment_action(&order).await;
    let store = context.orders_with_age(TimeDelta::zero()).store;
    let reason = FailureReason::InternalError;
    store
        .fail(order.user_id, order.order_id, reason, &order.event_context())
        .await
        .unwrap();
    let processor = context.start_function("order-processor", "").await;
    process(&processor, &event).await;
    assert_eq!(context.execution_names(None).await, [order.order_id.to_string()]);
}

#[tokio::test]
async fn lost_event_of_a_completed_action_is_made_up_for() {
    let context = TestContext::with_ending_executions().await;
    let order = context.place_waiting_order(TimeDelta::zero()).await;
    let event = context.complete_payment_action(&order).await;
    let reconciler = context.start_reconciler().await;
    assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 0));
    let processor = context.start_function("order-processor", "").await;
    process(&processor, &event).await;
    let (first, second) = (order.order_id.to_string(), format!("{}-2", order.order_id));
    assert_eq!(context.execution_names(None).await, [first, second]);
    assert_eq!(
        context.load_order(&order).await.restarts,
        1,
        "the missing execution was counted before"
    );
}

#[tokio::test]
async fn waiting_order_is_skipped_until_its_time_has_passed() {
    let context = TestContext::with_ending_executions().await;
    let waiting = context.place_waiting_order(TimeDelta::minutes(9)).await;
    let reconciler = context.start_reconciler().await;
    for _ in 0..2 {
        assert_eq!(run_once(&reconciler).await, run_counts(0, 0, 0));
    }
    let expired = context.place_waiting_order(TimeDelta::minutes(11)).await;
    assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 0));
    let mut names = [
        waiting.order_id.to_string(),
        expired.order_id.to_string(),
        format!("{}-2", expired.order_id),
    ];
    names.sort();
    assert_eq!(context.execution_names(None).await, names);
}

/// The waiting orders are older than the stuck one, and more than a run reads. A run that read one of them
/// would count it as failed.
#[tokio::test]
async fn waiting_orders_do_not_delay_a_stuck_one() {
    let context = TestContext::with_ending_executions().await;
    for _ in 0..250 {
        let waits_until = now() + TimeDelta::minutes(5);
        context
            .put_unreadable_order(TimeDelta::minutes(5), Some(waits_until))
            .await;
    }
    let (stuck, _) = context.place_order(TimeDelta::minutes(1)).await;
    let reconciler = context.start_reconciler().await;
    assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 0));
    assert_eq!(context.execution_names(None).await, [stuck.order_id.to_string()]);
}

/// An Express execution cannot be described. A customer who returns often uses no restart of the reconciler.
#[tokio::test]
async fn continuations_do_not_count_towards_the_restart_limit() {
    let end = json!({"Type": "Succeed"});
    let context = TestContext::with_state_machine(StateMachineType::Express, end).await;
    let (order, _) = context.place_order(TimeDelta::hours(1)).await;
    let payment_id = PaymentId("pi_1".to_owned());
    let orders = context.orders_with_age(TimeDelta::zero()).orders;
    orders
        .claim_for_payment(order.user_id, order.order_id, &payment_id)
        .await
        .unwrap();
    for _ in 0..5 {
        let action = PaymentAction {
            kind: "redirect_to_url".to_owned(),
            client_secret: CustomerSecret::new("pi_1_secret".to_owned()),
            redirect_url: None,
        };
        orders
            .await_payment_action(
                order.user_id,
                order.order_id,
                &payment_id,
                &action,
                TimeDelta::minutes(10),
            )
            .await
            .unwrap();
        context.complete_payment_action(&order).await;
    }
    let reconciler = context.start_reconciler().await;
    assert_eq!(
        run_once(&reconciler).await,
        run_counts(1, 0, 0),
        "restarted, not parked"
    );
}
