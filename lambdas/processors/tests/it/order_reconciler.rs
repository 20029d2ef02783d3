//! Every situation in which an order may be found, and what becomes of it.

use aws_config::SdkConfig;
use aws_sdk_dynamodb::{
    Client as DynamoDb,
    types::{
        AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType,
        Projection, ProjectionType, ScalarAttributeType,
    },
};
use aws_sdk_sfn::{
    Client as StepFunctions,
    types::{ExecutionStatus, StateMachineType},
};
use chrono::TimeDelta;
use domain::{Clock, Currency, Money, ProductId, Quantity, UserId, ids::uuid_v7};
use events::TraceParent;
use lambda_shared::testing::{FunctionProcess, create_table};
use orders::{NewOrder, OPEN_ORDERS_INDEX, Order, OrderItem, Orders, Tables};
use serde_json::{Value, json};

use crate::{EXECUTABLE, batch_item_failures, now, sqs_event};

struct TestContext {
    tables: Tables,
    dynamo: DynamoDb,
    step_functions: StepFunctions,
    state_machine_arn: String,
    sqs: aws_sdk_sqs::Client,
    parking_queue_url: String,
}

impl TestContext {
    /// A state machine of which an execution runs until it is told to stop.
    async fn new() -> Self {
        let waiting = json!({"Type": "Wait", "Seconds": 86_400, "End": true});
        Self::with_state_machine(StateMachineType::Standard, waiting).await
    }

    async fn with_state_machine(kind: StateMachineType, only_state: Value) -> Self {
        let aws = aws_client::sdk_config().await;
        let tables = Tables {
            orders: create_orders_table(&aws).await,
            outbox: create_table(&aws, &["event_id"]).await,
            idempotency: create_table(&aws, &["id"]).await,
        };
        let (sagas, sqs) = (StepFunctions::new(&aws), aws_sdk_sqs::Client::new(&aws));
        let definition = json!({"StartAt": "Only", "States": {"Only": only_state}});
        let machine = sagas
            .create_state_machine()
            .name(&tables.orders)
            .r#type(kind)
            .role_arn("arn:aws:iam::000000000000:role/saga")
            .definition(definition.to_string())
            .send()
            .await;
        let queue = sqs.create_queue().queue_name(&tables.orders).send().await;
        Self {
            dynamo: DynamoDb::new(&aws),
            state_machine_arn: machine.unwrap().state_machine_arn,
            parking_queue_url: queue.unwrap().queue_url.unwrap(),
            tables,
            step_functions: sagas,
            sqs,
        }
    }

    async fn start_function(&self, handler: &str, stuck_after: &str) -> FunctionProcess {
        let variables = [
            ("IDEMPOTENCY_TABLE", self.tables.idempotency.as_str()),
            ("ORDERS_TABLE", &self.tables.orders),
            ("ORDER_PARKING_QUEUE_URL", &self.parking_queue_url),
            ("STATE_MACHINE_ARN", &self.state_machine_arn),
            ("ORDER_STUCK_THRESHOLD_SECONDS", stuck_after),
        ];
        FunctionProcess::start(EXECUTABLE, handler, &variables)
            .await
            .unwrap()
    }

    /// The reconciler of orders of whatever age.
    async fn start_reconciler(&self) -> FunctionProcess {
        self.start_function("order-reconciler", "0").await
    }

    fn orders_with_age(&self, age: TimeDelta) -> Orders {
        let clock = Clock::from_fn(move || Clock::system().now() - age);
        Orders::new(self.dynamo.clone(), self.tables.clone(), clock)
    }

    /// An order placed so long ago, and the event that told of it.
    async fn place_order(&self, age: TimeDelta) -> (Order, Value) {
        let at = now();
        let item = OrderItem {
            product_id: ProductId::new(at),
            product_name: "Paper lantern".to_owned(),
            quantity: Quantity::new(2).unwrap(),
            price: 750,
        };
        let new = NewOrder {
            user_id: UserId::new(at),
            contact_email: "someone@example.com".to_owned(),
            items: vec![item],
            total: Money::new(1_500, Currency::JPY).unwrap(),
            payment_method: "pm_card_visa".to_owned(),
            idempotency_key: "key".to_owned(),
            traceparent: TraceParent::root(at),
        };
        let (order, event) = self.orders_with_age(age).place(&new).await.unwrap();
        let event = event.unwrap();
        let detail: Value = serde_json::from_str(&event.detail).unwrap();
        let event = json!({"source": event.source, "detail-type": event.detail_type, "detail": detail});
        (order, event)
    }

    async fn load_order(&self, order: &Order) -> Order {
        let orders = self.orders_with_age(TimeDelta::zero());
        orders.find(order.user_id, order.order_id).await.unwrap().unwrap()
    }

    fn execution_arn(&self, name: &str) -> String {
        format!(
            "{}:{name}",
            self.state_machine_arn.replace(":stateMachine:", ":execution:")
        )
    }

    async fn start_saga(&self, order: &Order) {
        let starting = self
            .step_functions
            .start_execution()
            .state_machine_arn(&self.state_machine_arn);
        starting.name(order.order_id.to_string()).send().await.unwrap();
    }

    /// Ends every execution that runs.
    async fn stop_running_executions(&self) {
        for name in self.execution_names(Some(ExecutionStatus::Running)).await {
            let stop = self
                .step_functions
                .stop_execution()
                .execution_arn(self.execution_arn(&name));
            stop.send().await.unwrap();
        }
    }

    /// The names of executions, in their order.
    async fn execution_names(&self, status: Option<ExecutionStatus>) -> Vec<String> {
        let list = self
            .step_functions
            .list_executions()
            .state_machine_arn(&self.state_machine_arn);
        let listed = list.set_status_filter(status).send().await.unwrap();
        let mut names: Vec<String> = listed.executions.into_iter().map(|one| one.name).collect();
        names.sort();
        names
    }

    /// Waits until nothing runs any more.
    async fn wait_until_executions_end(&self) {
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
        panic!("an execution does not end");
    }

    async fn execution_input(&self, name: &str) -> Value {
        let described = self
            .step_functions
            .describe_execution()
            .execution_arn(self.execution_arn(name));
        serde_json::from_str(&described.send().await.unwrap().input.unwrap()).unwrap()
    }

    /// What lies in the parking queue, which is empty afterwards.
    async fn receive_parked(&self) -> Vec<Value> {
        let receive = self.sqs.receive_message().queue_url(&self.parking_queue_url);
        let received = receive.max_number_of_messages(10).send().await.unwrap();
        let messages = received.messages.unwrap_or_default().into_iter();
        messages
            .map(|message| serde_json::from_str(&message.body.unwrap()).unwrap())
            .collect()
    }
}

/// A table of orders with its index.
async fn create_orders_table(aws: &SdkConfig) -> String {
    let name = format!("test-{}", uuid_v7(now()));
    let text = |name: &str| {
        let definition = AttributeDefinition::builder().attribute_name(name);
        definition.attribute_type(ScalarAttributeType::S).build().unwrap()
    };
    let key = |name: &str, kind| {
        let element = KeySchemaElement::builder().attribute_name(name);
        element.key_type(kind).build().unwrap()
    };
    let index = GlobalSecondaryIndex::builder()
        .index_name(OPEN_ORDERS_INDEX)
        .key_schema(key("open", KeyType::Hash))
        .key_schema(key("order_id", KeyType::Range))
        .projection(
            Projection::builder()
                .projection_type(ProjectionType::KeysOnly)
                .build(),
        );
    let table = DynamoDb::new(aws)
        .create_table()
        .table_name(&name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(["user_id", "order_id", "open"].map(text).into()))
        .key_schema(key("user_id", KeyType::Hash))
        .key_schema(key("order_id", KeyType::Range))
        .global_secondary_indexes(index.build().unwrap());
    table.send().await.unwrap();
    name
}

/// What a run did: restarted, parked, failed.
async fn run_once(reconciler: &FunctionProcess) -> (Value, Value, Value) {
    let run = reconciler.invoke(json!({})).await.unwrap();
    (
        run["restarted"].clone(),
        run["parked"].clone(),
        run["failed"].clone(),
    )
}

fn run_counts(restarted: u64, parked: u64, failed: u64) -> (Value, Value, Value) {
    (json!(restarted), json!(parked), json!(failed))
}

#[tokio::test]
async fn an_order_whose_event_was_lost_gets_its_saga() {
    let world = TestContext::new().await;
    let (order, event) = world.place_order(TimeDelta::zero()).await;
    let reconciler = world.start_reconciler().await;
    assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 0));
    assert_eq!(world.execution_names(None).await, [order.order_id.to_string()]);
    assert_eq!(
        world.load_order(&order).await.restarts,
        0,
        "it is the first start"
    );

    assert_eq!(run_once(&reconciler).await, run_counts(0, 0, 0), "its saga runs");
    let processor = world.start_function("order-processor", "").await;
    let late = processor.invoke(sqs_event(&[event.to_string()])).await;
    assert_eq!(
        late.unwrap(),
        batch_item_failures(&[]),
        "the event comes after all"
    );
    assert_eq!(world.execution_names(None).await.len(), 1);
}

#[tokio::test]
async fn a_saga_that_died_is_started_again_with_the_same_input() {
    let world = TestContext::new().await;
    let (order, event) = world.place_order(TimeDelta::zero()).await;
    let processor = world.start_function("order-processor", "").await;
    processor.invoke(sqs_event(&[event.to_string()])).await.unwrap();
    let reconciler = world.start_reconciler().await;
    assert_eq!(run_once(&reconciler).await, run_counts(0, 0, 0), "its saga runs");

    world.stop_running_executions().await;
    assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 0));
    let (first, second) = (order.order_id.to_string(), format!("{}-2", order.order_id));
    assert_eq!(
        world.execution_names(Some(ExecutionStatus::Running)).await,
        std::slice::from_ref(&second)
    );
    let input = world.execution_input(&second).await;
    assert_eq!(input, world.execution_input(&first).await);
    assert_eq!(
        input["traceparent"],
        json!(order.traceparent),
        "one trace from the request on"
    );
}

#[tokio::test]
async fn an_order_that_stays_stuck_is_parked_once() {
    let world = TestContext::new().await;
    let (order, _) = world.place_order(TimeDelta::zero()).await;
    world.start_saga(&order).await;
    let reconciler = world.start_reconciler().await;
    for _ in 0..3 {
        world.stop_running_executions().await;
        assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 0));
        assert_eq!(run_once(&reconciler).await, run_counts(0, 0, 0), "its saga runs");
    }
    world.stop_running_executions().await;
    assert_eq!(run_once(&reconciler).await, run_counts(0, 1, 0));
    assert_eq!(run_once(&reconciler).await, run_counts(0, 0, 0));

    let [message] = &world.receive_parked().await[..] else {
        panic!("one message")
    };
    let last = format!("{}-4", order.order_id);
    assert_eq!(message["order_id"], json!(order.order_id));
    assert_eq!(message["execution"], json!(world.execution_arn(&last)));
    assert_eq!(message["state"], world.execution_input(&last).await);
    assert_eq!(world.execution_names(None).await.len(), 4);
    let open = reconciler.invoke(json!({})).await.unwrap();
    assert_eq!(open["open"], 0, "it is a person's");
}

#[tokio::test]
async fn an_order_that_its_saga_parked_is_not_parked_a_second_time() {
    let parked = json!({"Type": "Fail", "Error": "OrderParked"});
    let world = TestContext::with_state_machine(StateMachineType::Standard, parked).await;
    let (order, _) = world.place_order(TimeDelta::zero()).await;
    world.start_saga(&order).await;
    let reconciler = world.start_reconciler().await;
    for restarted in [1, 1, 1, 0] {
        world.wait_until_executions_end().await;
        assert_eq!(
            run_once(&reconciler).await,
            run_counts(restarted, 1 - restarted, 0)
        );
    }
    assert_eq!(world.receive_parked().await, [Value::Null; 0]);
    assert_eq!(world.load_order(&order).await.open, None);
}

#[tokio::test]
async fn a_start_that_was_lost_after_it_was_counted_is_made_up_for() {
    let world = TestContext::new().await;
    let (order, _) = world.place_order(TimeDelta::zero()).await;
    world.start_saga(&order).await;
    world.stop_running_executions().await;
    let counted = world
        .orders_with_age(TimeDelta::zero())
        .increment_restarts(&order)
        .await;
    assert!(counted.unwrap(), "and here the process ends");

    assert_eq!(
        run_once(&world.start_reconciler().await).await,
        run_counts(1, 0, 0)
    );
    let second = format!("{}-2", order.order_id);
    assert_eq!(
        world.execution_names(Some(ExecutionStatus::Running)).await,
        [second]
    );
    assert_eq!(world.load_order(&order).await.restarts, 1);
}

#[tokio::test]
async fn young_orders_and_orders_that_have_ended_are_left_alone() {
    let world = TestContext::new().await;
    let (young, _) = world.place_order(TimeDelta::seconds(60)).await;
    let (cancelled, _) = world.place_order(TimeDelta::hours(2)).await;
    let orders = world.orders_with_age(TimeDelta::zero());
    let cancelling = orders.cancel(cancelled.user_id, cancelled.order_id, cancelled.event_context());
    cancelling.await.unwrap();

    let reconciler = world.start_function("order-reconciler", "600").await;
    let run = reconciler.invoke(json!({})).await.unwrap();
    assert_eq!((&run["open"], &run["restarted"]), (&json!(1), &json!(0)));
    let age = run["oldest_age_seconds"].as_u64().unwrap();
    assert!((60..600).contains(&age), "{age}");
    assert_eq!(world.execution_names(None).await, [""; 0]);
    assert_eq!(world.load_order(&young).await, young);
}

/// An Express state machine tells nothing of its executions, so the time since the last start has to do.
#[tokio::test]
async fn where_executions_are_not_known_the_age_decides() {
    let waiting = json!({"Type": "Wait", "Seconds": 86_400, "End": true});
    let world = TestContext::with_state_machine(StateMachineType::Express, waiting).await;
    let (order, _) = world.place_order(TimeDelta::hours(1)).await;
    let reconciler = world.start_function("order-reconciler", "600").await;
    assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 0));
    assert_eq!(
        world.execution_names(None).await,
        [format!("{}-2", order.order_id)]
    );
    assert_eq!(
        run_once(&reconciler).await,
        run_counts(0, 0, 0),
        "it has ten minutes from here on"
    );
    assert_eq!(world.load_order(&order).await.restarts, 1);
}

#[tokio::test]
async fn an_order_that_cannot_be_read_does_not_keep_the_others_waiting() {
    let world = TestContext::new().await;
    let (order, _) = world.place_order(TimeDelta::zero()).await;
    let text = |text: String| AttributeValue::S(text);
    let broken = uuid_v7(now() - TimeDelta::hours(1)).to_string();
    let put = world.dynamo.put_item().table_name(&world.tables.orders);
    put.item("user_id", text(broken.clone()))
        .item("order_id", text(broken))
        .item("open", text("0".to_owned()))
        .send()
        .await
        .unwrap();

    let reconciler = world.start_reconciler().await;
    assert_eq!(run_once(&reconciler).await, run_counts(1, 0, 1));
    assert_eq!(world.execution_names(None).await, [order.order_id.to_string()]);
    assert!(
        !reconciler
            .wait_for_log("could not be dealt with")
            .await
            .is_empty()
    );
}

#[tokio::test]
async fn each_run_tells_its_metrics() {
    let world = TestContext::new().await;
    world.place_order(TimeDelta::hours(1)).await;
    world.place_order(TimeDelta::zero()).await;
    let reconciler = world.start_reconciler().await;
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
    assert_eq!(directive["Metrics"].as_array().unwrap().len(), 4);
}
