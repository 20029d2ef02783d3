//! Tests of the deployed executable: error names, responses and log lines.

use lambda_shared::testing::{ExitedDuringInit, FunctionProcess};
use saga::SagaState;
use serde_json::{Value, json};

use crate::{
    stock_steps::signing_key_json,
    support::{RETURN_URL, TestContext},
};

pub const EXECUTABLE: &str = env!("CARGO_BIN_EXE_saga");

/// Creates a secret and returns its name.
pub async fn create_secret(context: &TestContext, kind: &str, value: &str) -> String {
    let name = format!("{}/{kind}", context.event_bus);
    let secrets = aws_sdk_secretsmanager::Client::new(&context.aws);
    secrets
        .create_secret()
        .name(&name)
        .secret_string(value)
        .send()
        .await
        .unwrap();
    name
}

async fn start_process_payment(context: &TestContext) -> FunctionProcess {
    let key = create_secret(context, "payment-api-key", "sk_test_saga").await;
    let variables = [
        ("ORDERS_TABLE", context.tables.orders.as_str()),
        ("OUTBOX_TABLE", &context.tables.outbox),
        ("EVENT_BUS", &context.event_bus),
        ("PAYMENT_API_URL", &context.stripe_url),
        ("PAYMENT_API_KEY_SECRET", &key),
        ("PAYMENT_RETURN_URL", RETURN_URL),
        ("PAYMENT_ACTION_TIMEOUT_SECONDS", "600"),
        ("STATUS_PUSH_QUEUE_URL", &context.status_push_queue),
    ];
    FunctionProcess::start(EXECUTABLE, "process-payment", &variables)
        .await
        .unwrap()
}

pub fn state_json(state: &SagaState) -> Value {
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
async fn error_type_is_the_step_error_name() {
    let context = TestContext::new().await;
    let payment = start_process_payment(&context).await;

    let declined = state_json(
        &context
            .place_order("pm_card_chargeDeclinedInsufficientFunds")
            .await,
    );
    let error = payment.invoke(declined).await.unwrap_err();
    assert_eq!(error.error_type, "PaymentDeclined");
    assert_eq!(
        error.error_message,
        "the payment was declined (insufficient_funds)"
    );

    let broken = state_json(&context.place_order("pm_broken").await);
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

    let good = context.place_order("pm_card_visa").await;
    let answer = payment.invoke(state_json(&good)).await.unwrap();
    assert_eq!(
        answer,
        json!({"payment_id": context.load_order(&good).await.payment_id, "status": "charged"})
    );
}

#[tokio::test]
async fn each_invocation_logs_one_line_with_the_order_trace() {
    let context = TestContext::new().await;
    let payment = start_process_payment(&context).await;
    let good = context.place_order("pm_card_visa").await;
    let declined = context.place_order("pm_card_chargeDeclined").await;
    payment.invoke(state_json(&good)).await.unwrap();
    payment.invoke(state_json(&declined)).await.unwrap_err();

    let line = async |state: &SagaState| -> Value {
        let lines = payment.wait_for_log(&state.order_id.to_string()).await;
        let [line] = &lines[..] else { panic!("{lines:#?}") };
        assert!(!line.contains("pm_card"), "payment methods must not be logged");
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

    // A business error has the level INFO, so it raises no alarm.
    let rejected = line(&declined).await;
    assert_eq!(
        (&rejected["level"], &rejected["error_name"]),
        (&json!("INFO"), &json!("PaymentDeclined"))
    );
}

#[tokio::test]
async fn stock_functions_start_and_call_stock_service() {
    let context = TestContext::new().await;
    let key = create_secret(&context, "service-signing-key", &signing_key_json()).await;
    let variables = [
        ("ORDERS_TABLE", context.tables.orders.as_str()),
        ("OUTBOX_TABLE", &context.tables.outbox),
        ("STOCK_SERVICE_URL", "http://127.0.0.1:9"),
        ("SERVICE_SIGNING_KEY_SECRET", &key),
    ];
    for function in ["reserve-stock", "update-stock", "release-stock"] {
        let sandbox = FunctionProcess::start(EXECUTABLE, function, &variables)
            .await
            .unwrap();
        let error = sandbox
            .invoke(state_json(&context.place_order("pm_card_visa").await))
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
async fn completion_functions_start_and_respond() {
    let context = TestContext::new().await;
    let variables = [
        ("ORDERS_TABLE", context.tables.orders.as_str()),
        ("OUTBOX_TABLE", &context.tables.outbox),
        ("EVENT_BUS", &context.event_bus),
        ("STATUS_PUSH_QUEUE_URL", &context.status_push_queue),
    ];
    let mut state = state_json(&context.place_order("pm_card_visa").await);

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
async fn initialisation_errors_name_the_cause() {
    let Err(ExitedDuringInit(output)) = FunctionProcess::start(EXECUTABLE, "no-such-function", &[]).await
    else {
        panic!("the function started")
    };
    assert!(
        output.contains(
            "_HANDLER is `no-such-function`, but this executable has only these functions: create-payment, \
             reserve-stock, process-payment"
        ),
        "{output}"
    );

    let Err(ExitedDuringInit(output)) =
        FunctionProcess::start(EXECUTABLE, "fail-order", &[("ORDERS_TABLE", "orders")]).await
    else {
        panic!("the function started")
    };
    assert!(
        output.contains("the environment variable OUTBOX_TABLE is not set"),
        "{output}"
    );

    let Err(ExitedDuringInit(output)) =
        FunctionProcess::start(EXECUTABLE, "fail-order", &[("LOG_LEVEL", "saga=loud")]).await
    else {
        panic!("the function started")
    };
    assert!(output.contains("LOG_LEVEL"), "{output}");
}
