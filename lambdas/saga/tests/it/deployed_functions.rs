//! The program as it is deployed: what Lambda, the state machine and a reader of its logs see of it.

use lambda_shared::testing::{ExitedDuringInit, FunctionProcess};
use saga::SagaState;
use serde_json::{Value, json};

use crate::{stock_steps::signing_key_json, support::TestContext};

const EXECUTABLE: &str = env!("CARGO_BIN_EXE_saga");

/// Makes a secret, and gives its name.
async fn create_secret(world: &TestContext, kind: &str, value: &str) -> String {
    let name = format!("{}/{kind}", world.bus);
    let secrets = aws_sdk_secretsmanager::Client::new(&world.aws);
    secrets
        .create_secret()
        .name(&name)
        .secret_string(value)
        .send()
        .await
        .unwrap();
    name
}

async fn start_process_payment(world: &TestContext) -> FunctionProcess {
    let key = create_secret(world, "payment-api-key", "sk_test_saga").await;
    let variables = [
        ("ORDERS_TABLE", world.tables.orders.as_str()),
        ("OUTBOX_TABLE", &world.tables.outbox),
        ("EVENT_BUS", &world.bus),
        ("PAYMENT_API_URL", &world.stripe_url),
        ("PAYMENT_API_KEY_SECRET", &key),
    ];
    FunctionProcess::start(EXECUTABLE, "process-payment", &variables)
        .await
        .unwrap()
}

fn state_json(state: &SagaState) -> Value {
    json!({
        "order_id": state.order_id,
        "user_id": state.user_id,
        "currency": state.currency,
        "total_amount": state.total_amount,
        "items": state.items,
        "payment_method": state.payment_method,
        "traceparent": state.traceparent,
        "correlation_id": state.correlation_id,
        "causation_id": state.causation_id,
        "reservation": {"status": "reserved"},
    })
}

#[tokio::test]
async fn errors_reach_the_state_machine_under_their_bare_names() {
    let world = TestContext::new().await;
    let payment = start_process_payment(&world).await;

    let declined = state_json(&world.place_order("pm_card_chargeDeclinedInsufficientFunds").await);
    let error = payment.invoke(declined).await.unwrap_err();
    assert_eq!(error.error_type, "PaymentDeclined");
    assert_eq!(
        error.error_message,
        "the payment was declined (insufficient_funds)"
    );

    let broken = state_json(&world.place_order("pm_broken").await);
    assert_eq!(
        payment.invoke(broken).await.unwrap_err().error_type,
        "Unavailable"
    );
    assert_eq!(
        payment
            .invoke(json!({"order_id": 17}))
            .await
            .unwrap_err()
            .error_type,
        "InvalidInput"
    );

    let good = world.place_order("pm_card_visa").await;
    let answer = payment.invoke(state_json(&good)).await.unwrap();
    assert_eq!(
        answer,
        json!({"payment_id": world.load_order(&good).await.payment_id})
    );
}

#[tokio::test]
async fn each_invocation_is_one_line_in_the_order_s_trace() {
    let world = TestContext::new().await;
    let payment = start_process_payment(&world).await;
    let good = world.place_order("pm_card_visa").await;
    let declined = world.place_order("pm_card_chargeDeclined").await;
    payment.invoke(state_json(&good)).await.unwrap();
    payment.invoke(state_json(&declined)).await.unwrap_err();

    let line = async |state: &SagaState| -> Value {
        let lines = payment.wait_for_log(&state.order_id.to_string()).await;
        let [line] = &lines[..] else { panic!("{lines:#?}") };
        assert!(!line.contains("pm_card"), "payment methods stay out of the logs");
        serde_json::from_str(line).unwrap()
    };

    let paid = line(&good).await;
    assert_eq!(
        (&paid["level"], &paid["message"]),
        (&json!("INFO"), &json!("the invocation succeeded"))
    );
    assert!(paid["duration_ms"].is_u64(), "{paid}");
    let span = &paid["spans"][0];
    assert_eq!(span["trace_id"], good.traceparent.trace_id());
    assert_eq!(span["correlation_id"], good.order_id.to_string());
    assert_eq!(span["function"], "process-payment");

    // A business answer is no error, so it raises no alarm.
    let refused = line(&declined).await;
    assert_eq!(
        (&refused["level"], &refused["error_name"]),
        (&json!("INFO"), &json!("PaymentDeclined"))
    );
}

#[tokio::test]
async fn the_functions_of_the_goods_start_and_call() {
    let world = TestContext::new().await;
    let key = create_secret(&world, "service-signing-key", &signing_key_json()).await;
    let variables = [
        ("ORDERS_TABLE", world.tables.orders.as_str()),
        ("OUTBOX_TABLE", &world.tables.outbox),
        ("STOCK_SERVICE_URL", "http://127.0.0.1:9"),
        ("SERVICE_SIGNING_KEY_SECRET", &key),
    ];
    for function in ["reserve-stock", "update-stock", "release-stock"] {
        let sandbox = FunctionProcess::start(EXECUTABLE, function, &variables)
            .await
            .unwrap();
        let error = sandbox
            .invoke(state_json(&world.place_order("pm_card_visa").await))
            .await
            .unwrap_err();
        assert_eq!(error.error_type, "Unavailable", "{function}");
        assert!(
            error.error_message.starts_with("stock-service failed: "),
            "{}",
            error.error_message
        );
    }
}

#[tokio::test]
async fn the_functions_of_the_order_s_end_start_and_answer() {
    let world = TestContext::new().await;
    let variables = [
        ("ORDERS_TABLE", world.tables.orders.as_str()),
        ("OUTBOX_TABLE", &world.tables.outbox),
        ("EVENT_BUS", &world.bus),
    ];
    let mut state = state_json(&world.place_order("pm_card_visa").await);

    let fail = FunctionProcess::start(EXECUTABLE, "fail-order", &variables)
        .await
        .unwrap();
    state["error"] = json!({"Error": "InsufficientStock", "Cause": "{}"});
    state["failure"] = fail.invoke(state.clone()).await.unwrap();
    let event_id = state["failure"]["event_id"].clone();
    assert!(event_id.is_string());

    let complete = FunctionProcess::start(EXECUTABLE, "complete-order", &variables)
        .await
        .unwrap();
    assert_eq!(
        complete.invoke(state.clone()).await.unwrap_err().error_type,
        "OrderClosed"
    );

    let send = FunctionProcess::start(EXECUTABLE, "send-notification", &variables)
        .await
        .unwrap();
    assert_eq!(
        send.invoke(state.clone()).await.unwrap(),
        json!({"published": event_id})
    );
    assert_eq!(send.invoke(state).await.unwrap(), json!({"published": null}));
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let Err(ExitedDuringInit(said)) = FunctionProcess::start(EXECUTABLE, "teleport-goods", &[]).await else {
        panic!("it started")
    };
    assert!(
        said.contains("_HANDLER is `teleport-goods`; this program knows: reserve-stock, process-payment"),
        "{said}"
    );

    let Err(ExitedDuringInit(said)) =
        FunctionProcess::start(EXECUTABLE, "fail-order", &[("ORDERS_TABLE", "orders")]).await
    else {
        panic!("it started")
    };
    assert!(said.contains("the variable OUTBOX_TABLE is not set"), "{said}");

    let Err(ExitedDuringInit(said)) =
        FunctionProcess::start(EXECUTABLE, "fail-order", &[("LOG_LEVEL", "saga=loud")]).await
    else {
        panic!("it started")
    };
    assert!(said.contains("LOG_LEVEL"), "{said}");
}
