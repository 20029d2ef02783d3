//! Tests of order-processor: one saga execution per `OrderCreated` event.

use aws_config::SdkConfig;
use aws_sdk_sfn::{Client, types::StateMachineType};
use domain::{Currency, OrderId, ProductId, Quantity, UserId, ids::uuid_v7};
use dynamodb_table::testing::create_table;
use events::order::{OrderCreated, OrderLine};
use lambda_shared::testing::{ExitedDuringInit, FunctionProcess};
use serde_json::{Value, json};

use crate::{EXECUTABLE, batch_item_failures, eventbridge_event, now, sqs_event};

struct TestContext {
    aws: SdkConfig,
    table: String,
    step_functions: Client,
    state_machine_arn: String,
    processor: FunctionProcess,
}

impl TestContext {
    async fn new(kind: StateMachineType) -> Self {
        let aws: SdkConfig = aws_client::sdk_config().await;
        let table = create_table(&aws, &["id"]).await;
        let step_functions = Client::new(&aws);
        let state_machine_arn = step_functions
            .create_state_machine()
            .name(&table)
            .r#type(kind)
            .role_arn("arn:aws:iam::000000000000:role/saga")
            .definition(json!({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}).to_string())
            .send()
            .await
            .unwrap()
            .state_machine_arn;
        let variables = [
            ("IDEMPOTENCY_TABLE", table.as_str()),
            // `payment_actions` tests the events for which the function reads orders.
            ("ORDERS_TABLE", "unused"),
            ("STATE_MACHINE_ARN", &state_machine_arn),
        ];
        let processor = FunctionProcess::start(EXECUTABLE, "order-processor", &variables)
            .await
            .unwrap();
        Self {
            aws,
            table,
            step_functions,
            state_machine_arn,
            processor,
        }
    }

    async fn process(&self, events: &[&Value]) -> Value {
        let bodies: Vec<String> = events.iter().map(ToString::to_string).collect();
        self.processor.invoke(sqs_event(&bodies)).await.unwrap()
    }

    async fn execution_count(&self) -> usize {
        let list = self
            .step_functions
            .list_executions()
            .state_machine_arn(&self.state_machine_arn);
        let executions: Vec<_> = list.into_paginator().items().send().try_collect().await.unwrap();
        executions.len()
    }

    async fn record_count(&self) -> usize {
        let scan = aws_sdk_dynamodb::Client::new(&self.aws).scan();
        let scan = scan.table_name(&self.table).consistent_read(true);
        let records: Vec<_> = scan.into_paginator().items().send().try_collect().await.unwrap();
        records.len()
    }

    /// The input of the only execution.
    async fn execution_input(&self) -> String {
        let list = self
            .step_functions
            .list_executions()
            .state_machine_arn(&self.state_machine_arn)
            .send()
            .await
            .unwrap();
        let [execution] = &list.executions[..] else {
            panic!("{list:?}")
        };
        let describe = self
            .step_functions
            .describe_execution()
            .execution_arn(&execution.execution_arn);
        describe.send().await.unwrap().input.unwrap()
    }
}

fn order_created() -> (OrderId, Value) {
    let at = now();
    let line = |quantity| OrderLine {
        product_id: ProductId::new(at),
        product_name: "Paper lantern".to_owned(),
        quantity: Quantity::new(quantity).unwrap(),
        price: 750,
    };
    let order = OrderCreated {
        order_id: OrderId::new(at),
        user_id: UserId::new(at),
        currency: Currency::JPY,
        total_amount: 2_250,
        items: vec![line(2), line(1)],
        payment_method: "pm_card_visa".to_owned(),
        created_at: at,
    };
    (order.order_id, eventbridge_event(order.clone(), order.order_id.0))
}

#[tokio::test]
async fn saga_input_is_the_state_that_the_steps_parse() {
    let context = TestContext::new(StateMachineType::Standard).await;
    let (order_id, event) = order_created();
    assert_eq!(context.process(&[&event]).await, batch_item_failures(&[]));

    let input = context.execution_input().await;
    let state: saga::SagaState = serde_json::from_str(&input).unwrap();
    let (detail, data) = (&event["detail"], &event["detail"]["data"]);
    assert_eq!(state.order_id, order_id);
    assert_eq!(json!(state.user_id), data["user_id"]);
    assert_eq!((state.total_amount, state.items.len()), (2_250, 2));
    assert_eq!(json!(state.traceparent), detail["traceparent"]);
    assert_eq!(json!(state.correlation_id), detail["correlation_id"]);
    assert_eq!(
        json!(state.causation_id),
        detail["event_id"],
        "the event must be the cause of the saga"
    );
    assert!(
        !input.contains("Paper lantern"),
        "the steps do not need product names"
    );
}

#[tokio::test]
async fn duplicate_event_starts_no_second_saga() {
    let context = TestContext::new(StateMachineType::Standard).await;
    let (_, event) = order_created();
    assert_eq!(
        context.process(&[&event, &event, &event]).await,
        batch_item_failures(&[])
    );
    assert_eq!(context.process(&[&event]).await, batch_item_failures(&[]));
    assert_eq!(context.execution_count().await, 1);
    assert_eq!(
        context.record_count().await,
        0,
        "a Standard state machine needs no idempotency record"
    );
}

/// MiniStack rejects duplicate execution names of Express state machines, unlike AWS. So the test also checks
/// the idempotency record.
#[tokio::test]
async fn express_state_machine_uses_the_idempotency_store() {
    let context = TestContext::new(StateMachineType::Express).await;
    let (_, event) = order_created();
    // A delivery during another one fails, stays in the queue and succeeds later.
    context.process(&[&event, &event, &event]).await;
    assert_eq!(context.process(&[&event]).await, batch_item_failures(&[]));
    assert_eq!(
        (context.execution_count().await, context.record_count().await),
        (1, 1)
    );
}

#[tokio::test]
async fn poison_messages_fail_individually() {
    let context = TestContext::new(StateMachineType::Standard).await;
    let (_, good) = order_created();
    let (_, mut newer) = order_created();
    newer["detail"]["schema_version"] = json!(2);
    let (_, mut no_quantity) = order_created();
    no_quantity["detail"]["data"]["items"][0]["quantity"] = json!(0);
    let (_, mut other) = order_created();
    other["detail-type"] = json!("OrderCancelled");
    let text = json!("not an event");

    let response = context
        .process(&[&text, &good, &newer, &no_quantity, &other])
        .await;
    let mut failed: Vec<&str> = response["batchItemFailures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|failure| failure["itemIdentifier"].as_str().unwrap())
        .collect();
    failed.sort_unstable();
    assert_eq!(failed, ["0", "2", "3", "4"]);
    assert_eq!(context.execution_count().await, 1);
}

#[tokio::test]
async fn manual_invocation_requires_an_sqs_event() {
    let context = TestContext::new(StateMachineType::Standard).await;
    let (_, event) = order_created();
    let manual = json!({"Records": [{"messageId": "1", "body": event.to_string()}]});
    assert_eq!(
        context.processor.invoke(manual).await.unwrap(),
        json!({"batchItemFailures": []})
    );

    for invalid in [event, json!({}), json!([]), json!(null)] {
        let error = context.processor.invoke(invalid).await.unwrap_err();
        assert_eq!(error.error_type, "InvalidInput");
        assert!(
            error
                .error_message
                .starts_with("this function expects an SQS event"),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn message_log_has_the_order_trace() {
    let context = TestContext::new(StateMachineType::Standard).await;
    let (order_id, event) = order_created();
    context.process(&[&event]).await;
    let lines = context.processor.wait_for_log("the order saga was started").await;
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    let message = &line["spans"][1];
    assert_eq!(message["correlation_id"], order_id.to_string());
    let trace_id = message["trace_id"].as_str().unwrap();
    assert!(
        event["detail"]["traceparent"]
            .as_str()
            .unwrap()
            .contains(trace_id)
    );
}

#[tokio::test]
async fn initialisation_fails_without_the_state_machine() {
    let missing = format!(
        "arn:aws:states:ap-northeast-1:000000000000:stateMachine:{}",
        uuid_v7(now())
    );
    let variables = [
        ("IDEMPOTENCY_TABLE", "table"),
        ("ORDERS_TABLE", "table"),
        ("STATE_MACHINE_ARN", missing.as_str()),
    ];
    let Err(ExitedDuringInit(output)) =
        FunctionProcess::start(EXECUTABLE, "order-processor", &variables).await
    else {
        panic!("the function started")
    };
    assert!(
        output.contains("the function order-processor cannot be initialised"),
        "{output}"
    );
}
