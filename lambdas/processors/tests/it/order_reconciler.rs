//! Tests of order-reconciler: one test for each state of an order and its saga.

use aws_sdk_dynamodb::{Client as DynamoDb, types::AttributeValue};
use aws_sdk_sfn::{
    Client as StepFunctions,
    types::{ExecutionStatus, StateMachineType},
};
use chrono::TimeDelta;
use domain::{Clock, Timestamp, UserId, ids::uuid_v7};
use lambda_shared::testing::FunctionProcess;
use orders::{
    Order,
    testing::{OrderStores, OrderTables, new_order},
};
use serde_json::{Value, json};

use crate::{EXECUTABLE, batch_item_failures, now, sqs_event};

pub struct TestContext {
    tables: OrderTables,
    dynamo: DynamoDb,
    step_functions: StepFunctions,
    state_machine_arn: String,
    sqs: aws_sdk_sqs::Client,
    parking_queue_url: String,
}

impl TestContext {
    /// A Standard state machine whose executions run until they are stopped.
    pub async fn new() -> Self {
        let wait_state = json!({"Type": "Wait", "Seconds": 86_400, "End": true});
        Self::with_state_machine(StateMachineType::Standard, wait_state).await
    }

    pub async fn with_state_machine(kind: StateMachineType, only_state: Value) -> Self {
        let aws = aws_client::sdk_config().await;
        let tables = OrderTables::create(&aws).await;
        let (step_functions, sqs) = (StepFunctions::new(&aws), aws_sdk_sqs::Client::new(&aws));
        let definition = json!({"StartAt": "Only", "States": {"Only": only_state}});
        let state_machine = step_functions
            .create_state_machine()
            .name(&tables.orders)
            .r#type(kind)
            .role_arn("arn:aws:iam::000000000000:role/saga")
            .definition(definition.to_string())
            .send()
            .await;
        let parking_queue = sqs.create_queue().queue_name(&tables.orders).send().await;
        Self {
            dynamo: DynamoDb::new(&aws),
            state_machine_arn: state_machine.unwrap().state_machine_arn,
            parking_queue_url: parking_queue.unwrap().queue_url.unwrap(),
            tables,
            step_functions,
            sqs,
        }
    }

    pub async fn start_function(&self, handler: &str, stuck_threshold: &str) -> FunctionProcess {
        let variables = [
            ("IDEMPOTENCY_TABLE", self.tables.idempotency.as_str()),
            ("ORDERS_TABLE", &self.tables.orders),
            ("ORDER_PARKING_QUEUE_URL", &self.parking_queue_url),
            ("STATE_MACHINE_ARN", &self.state_machine_arn),
            ("ORDER_STUCK_THRESHOLD_SECONDS", stuck_threshold),
        ];
        FunctionProcess::start(EXECUTABLE, handler, &variables)
            .await
            .unwrap()
    }

    /// A reconciler that treats every open order as stuck.
    pub async fn start_reconciler(&self) -> FunctionProcess {
        self.start_function("order-reconciler", "0").await
    }

    pub fn orders_with_age(&self, age: TimeDelta) -> OrderStores {
        let clock = Clock::from_fn(move || Clock::system().now() - age);
        self.tables.open(self.dynamo.clone(), clock)
    }

    /// Places an order with the given age and returns it with its `OrderCreated` event.
    pub async fn place_order(&self, age: TimeDelta) -> (Order, Value) {
        let new = new_order(UserId::new(now()), now());
        let (order, event) = self.orders_with_age(age).placement.place(&new).await.unwrap();
        let event = event.unwrap();
        let detail: Value = serde_json::from_str(&event.detail).unwrap();
        let event = json!({"source": event.source, "detail-type": event.detail_type, "detail": detail});
        (order, event)
    }

    /// Puts an item of this age that the index of open orders lists, but that is no complete order.
    pub async fn put_unreadable_order(&self, age: TimeDelta, waits_until: Option<Timestamp>) {
        let id = AttributeValue::S(uuid_v7(now() - age).to_string());
        let put = self.dynamo.put_item().table_name(&self.tables.orders);
        let mut put = put
            .item("user_id", id.clone())
            .item("order_id", id)
            .item("open", AttributeValue::S("0".to_owned()));
        if let Some(until) = waits_until {
            put = put.item("waits_until", AttributeValue::S(until.to_rfc3339()));
        }
        put.send().await.unwrap();
    }

    pub async fn load_order(&self, order: &Order) -> Order {
        let orders = self.orders_with_age(TimeDelta::zero()).orders;
        orders.find(order.user_id, order.order_id).await.unwrap().unwrap()
    }

    fn execution_arn(&self, name: &str) -> String {
        format!(
            "{}:{name}",
            self.state_machine_arn.replace(":stateMachine:", ":execution:")
        )
    }

    pub async fn start_saga(&self, order: &Order) {
        let request = self
            .step_functions
            .start_execution()
            .state_machine_arn(&self.state_machine_arn);
        request.name(order.order_id.to_string()).send().await.unwrap();
    }

    pub async fn stop_running_executions(&self) {
        for name in self.execution_names(Some(ExecutionStatus::Running)).await {
            let stop = self
                .step_functions
                .stop_execution()
                .execution_arn(self.execution_arn(&name));
            stop.send().await.unwrap();
        }
    }

    /// The names of the executions, sorted.
    pub async fn execution_names(&self, status: Option<ExecutionStatus>) -> Vec<String> {
        let list = self
            .step_functions
            .list_executions()
            .state_machine_arn(&self.state_machine_arn);
        let listed = list.set_status_filter(status).into_paginator().items().send();
        let listed: Vec<_> = listed.try_collect().await.unwrap();
        let mut names: Vec<String> = listed.into_iter().map(|execution| execution.name).collect();
        names.sort();
        names
    }

    pub async fn wait_until_executions_end(&self) {
        for _ in 0..600 {
            if self
                .execution_names(Some(ExecutionStatus::Running))
                .await
                .is_empty()
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("an execution did not end within 30 s");
    }

    pub async fn execution_input(&self, name: &str) -> Value {
        let request = self
            .step_functions
            .describe_execution()
            .execution_arn(self.execution_arn(name));
        serde_json::from_str(&request.send().await.unwrap().input.unwrap()).unwrap()
    }

    /// Redrives a parked order as `xtask redrive` does.
    async fn redrive(&self, order: &Order) {
        let update = self.dynamo.update_item().table_name(&self.tables.orders);
        update
            .key("user_id", AttributeValue::S(order.user_id.to_string()))
            .key("order_id", AttributeValue::S(order.order_id.to_string()))
            .update_expression("REMOVE parked_at")
            .send()
            .await
            .unwrap();
    }

    /// Receives the messages in the parking queue, which is empty afterwards.
    async fn receive_parked(&self) -> Vec<Value> {
        let receive = self.sqs.receive_message().queue_url(&self.parking_queue_url);
        let received = receive.max_number_of_messages(10).send().await.unwrap();
        let messages = received.messages.unwrap_or_default().into_iter();
        messages
            .map(|message| serde_json::from_str(&message.body.unwrap()).unwrap())
            .collect()
    }
}

/// Runs the reconciler and returns the numbers of restarted, parked and failed orders.
pub async fn run_once(reconciler: &FunctionProcess) -> (Value, Value, Value) {
    let run = reconciler.invoke(json!({})).await.unwrap();
    (
        run["restarted"].clone(),
        run["parked"].clone(),
        run["failed"].clone(),
    )
}

pub fn run_counts(restarted: u64, parked: u64, failed: u64) -> (Value, Value, Value) {
    (json!(restarted), json!(parked), json!(failed))
}

#[tokio::test]
async fn saga_is_started_when_the_event_was_lost() {
    let context = TestContext::new().await;
    let (order, event) = context.place_order(TimeDelta::zero()).await;
    let reconciler = context.start_reconciler().await;
    assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 0));
    assert_eq!(context.execution_names(None).await, [order.order_id.to_string()]);
    assert_eq!(
        context.load_order(&order).await.restarts,
        0,
        "the first start is not a restart"
    );

    assert_eq!(
        run_once(&reconciler).await,
        run_counts(0, 0, 0),
        "the saga is running"
    );
    let processor = context.start_function("order-processor", "").await;
    let late = processor.invoke(sqs_event(&[event.to_string()])).await;
    assert_eq!(
        late.unwrap(),
        batch_item_failures(&[]),
        "a late event must not start a second saga"
    );
    assert_eq!(context.execution_names(None).await.len(), 1);
}

#[tokio::test]
async fn dead_saga_is_restarted_with_the_same_input() {
    let context = TestContext::new().await;
    let (order, event) = context.place_order(TimeDelta::zero()).await;
    let processor = context.start_function("order-processor", "").await;
    processor.invoke(sqs_event(&[event.to_string()])).await.unwrap();
    let reconciler = context.start_reconciler().await;
    assert_eq!(
        run_once(&reconciler).await,
        run_counts(0, 0, 0),
        "the saga is running"
    );

    context.stop_running_executions().await;
    assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 0));
    let (first, second) = (order.order_id.to_string(), format!("{}-2", order.order_id));
    assert_eq!(
        context.execution_names(Some(ExecutionStatus::Running)).await,
        std::slice::from_ref(&second)
    );
    let input = context.execution_input(&second).await;
    assert_eq!(input, context.execution_input(&first).await);
    assert_eq!(
        input["traceparent"],
        json!(order.traceparent),
        "the restarted saga must keep the trace of the request"
    );
}

#[tokio::test]
async fn order_is_parked_once_after_the_last_restart() {
    let context = TestContext::new().await;
    let (order, _) = context.place_order(TimeDelta::zero()).await;
    context.start_saga(&order).await;
    let reconciler = context.start_reconciler().await;
    for _ in 0..3 {
        context.stop_running_executions().await;
        assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 0));
        assert_eq!(
            run_once(&reconciler).await,
            run_counts(0, 0, 0),
            "the saga is running"
        );
    }
    context.stop_running_executions().await;
    assert_eq!(run_once(&reconciler).await, run_counts(0, 1, 0));
    assert_eq!(run_once(&reconciler).await, run_counts(0, 0, 0));

    let [message] = &context.receive_parked().await[..] else {
        panic!("expected one message in the parking queue")
    };
    let last = format!("{}-4", order.order_id);
    assert_eq!(message["order_id"], json!(order.order_id));
    assert_eq!(message["execution"], json!(context.execution_arn(&last)));
    assert_eq!(message["state"], context.execution_input(&last).await);
    assert_eq!(context.execution_names(None).await.len(), 4);
    let run = reconciler.invoke(json!({})).await.unwrap();
    assert_eq!(
        (&run["open"], &run["parked_total"]),
        (&json!(0), &json!(1)),
        "a parked order is counted apart from the open ones"
    );
}

#[tokio::test]
async fn order_parked_by_its_saga_is_not_parked_again() {
    let fail_state = json!({"Type": "Fail", "Error": "OrderParked"});
    let context = TestContext::with_state_machine(StateMachineType::Standard, fail_state).await;
    let (order, _) = context.place_order(TimeDelta::zero()).await;
    context.start_saga(&order).await;
    let reconciler = context.start_reconciler().await;
    for restarted in [1, 1, 1, 0] {
        context.wait_until_executions_end().await;
        assert_eq!(
            run_once(&reconciler).await,
            run_counts(restarted, 1 - restarted, 0)
        );
    }
    assert_eq!(context.receive_parked().await, [Value::Null; 0]);
    assert!(context.load_order(&order).await.is_parked());
}

/// The redriven saga dies at once, as an Express execution does after five minutes.
#[tokio::test]
async fn redriven_order_is_restarted_and_parked_again() {
    let fail_state = json!({"Type": "Fail", "Error": "States.Timeout"});
    let context = TestContext::with_state_machine(StateMachineType::Standard, fail_state).await;
    let (order, _) = context.place_order(TimeDelta::hours(5)).await;
    let orders = context.orders_with_age(TimeDelta::zero()).orders;
    assert!(orders.park(&order).await.unwrap());
    let reconciler = context.start_reconciler().await;
    let run = reconciler.invoke(json!({})).await.unwrap();
    assert_eq!((&run["parked_total"], &run["redriven"]), (&json!(1), &json!(0)));
    let age = run["oldest_parked_age_seconds"].as_u64().unwrap();
    assert!((18_000..20_000).contains(&age), "{age}");
    assert_eq!(
        context.execution_names(None).await,
        [""; 0],
        "an operator has to redrive it"
    );

    context.redrive(&order).await;
    let run = reconciler.invoke(json!({})).await.unwrap();
    assert_eq!(run["redriven"], 1);
    // The first start has no predecessor and is not a restart.
    for restarted in [1, 1, 1, 1, 0] {
        context.wait_until_executions_end().await;
        assert_eq!(
            run_once(&reconciler).await,
            run_counts(restarted, 1 - restarted, 0)
        );
    }
    assert_eq!(context.receive_parked().await.len(), 1);
    let parked = context.load_order(&order).await;
    assert!(parked.is_parked() && parked.parked_at.is_some(), "{parked:?}");
}

#[tokio::test]
async fn start_lost_after_its_count_is_repeated() {
    let context = TestContext::new().await;
    let (order, _) = context.place_order(TimeDelta::zero()).await;
    context.start_saga(&order).await;
    context.stop_running_executions().await;
    let counted = context
        .orders_with_age(TimeDelta::zero())
        .orders
        .increment_restarts(&order)
        .await;
    assert!(
        counted.unwrap(),
        "the restart must be counted before the simulated crash"
    );

    assert_eq!(
        run_once(&context.start_reconciler().await).await,
        run_counts(1, 0, 0)
    );
    let second = format!("{}-2", order.order_id);
    assert_eq!(
        context.execution_names(Some(ExecutionStatus::Running)).await,
        [second]
    );
    assert_eq!(context.load_order(&order).await.restarts, 1);
}

#[tokio::test]
async fn recent_and_ended_orders_are_skipped() {
    let context = TestContext::new().await;
    let (young, _) = context.place_order(TimeDelta::seconds(60)).await;
    let (cancelled, _) = context.place_order(TimeDelta::hours(2)).await;
    let store = context.orders_with_age(TimeDelta::zero()).store;
    let cancelling = store.cancel(cancelled.user_id, cancelled.order_id, cancelled.event_context());
    cancelling.await.unwrap();

    let reconciler = context.start_function("order-reconciler", "600").await;
    let run = reconciler.invoke(json!({})).await.unwrap();
    assert_eq!((&run["open"], &run["restarted"]), (&json!(1), &json!(0)));
    let age = run["oldest_age_seconds"].as_u64().unwrap();
    assert!((60..600).contains(&age), "{age}");
    assert_eq!(context.execution_names(None).await, [""; 0]);
    assert_eq!(context.load_order(&young).await, young);
}

/// Step Functions does not report Express executions, so the time since the last start decides.
#[tokio::test]
async fn express_sagas_are_restarted_by_age() {
    let wait_state = json!({"Type": "Wait", "Seconds": 86_400, "End": true});
    let context = TestContext::with_state_machine(StateMachineType::Express, wait_state).await;
    let (order, _) = context.place_order(TimeDelta::hours(1)).await;
    let reconciler = context.start_function("order-reconciler", "600").await;
    assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 0));
    assert_eq!(
        context.execution_names(None).await,
        [format!("{}-2", order.order_id)]
    );
    assert_eq!(
        run_once(&reconciler).await,
        run_counts(0, 0, 0),
        "the threshold of ten minutes must start again"
    );
    assert_eq!(context.load_order(&order).await.restarts, 1);
}

#[tokio::test]
async fn unreadable_order_does_not_block_the_others() {
    let context = TestContext::new().await;
    let (order, _) = context.place_order(TimeDelta::zero()).await;
    context.put_unreadable_order(TimeDelta::hours(1), None).await;
    let reconciler = context.start_reconciler().await;
    assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 1));
    assert_eq!(context.execution_names(None).await, [order.order_id.to_string()]);
    assert!(
        !reconciler
            .wait_for_log("could not be reconciled")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn each_run_emits_its_metrics() {
    let context = TestContext::new().await;
    context.place_order(TimeDelta::hours(1)).await;
    context.place_order(TimeDelta::zero()).await;
    let reconciler = context.start_reconciler().await;
    run_once(&reconciler).await;
    let lines = reconciler.wait_for_log("_aws").await;
    let line: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["OrdersOpen"], 2);
    assert_eq!(line["OrdersRestarted"], 2);
    assert_eq!(line["OrdersParked"], 0);
    assert!(
        (3_600..4_000).contains(&line["OldestOpenOrderAge"].as_i64().unwrap()),
        "{line}"
    );
    let directive = &line["_aws"]["CloudWatchMetrics"][0];
    assert_eq!(
        (&directive["Namespace"], &directive["Dimensions"]),
        (&json!("Matsuri/Orders"), &json!([[]]))
    );
    assert_eq!(directive["Metrics"].as_array().unwrap().len(), 6);
}
