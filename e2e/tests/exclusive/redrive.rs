//! `cargo xtask redrive` retries messages of dead-letter queues, parked orders and parked events, and loses
//! none of them.

use std::collections::BTreeSet;

use domain::OrderId;
use e2e::system::{ApiCaller, TestSystem, aws::run_shell, eventually};
use orders::Orders;
use serde_json::{Value, json};

use crate::cancellation::set_order_delivery;

/// Runs the redrive command and returns its JSON report.
async fn redrive(queue: &str) -> Value {
    let report = run_command(&format!(r#""$XTASK" redrive {queue} --yes --json"#)).await;
    serde_json::from_str(&report).expect("the report is JSON")
}

async fn run_command(line: &str) -> String {
    run_shell(&std::env::temp_dir(), line).await
}

async fn message_bodies(system: &TestSystem, queue: &str) -> Vec<String> {
    let messages = system.queue_messages(queue).await;
    messages
        .iter()
        .map(|message| message["Body"].as_str().expect("a message has a body").to_owned())
        .collect()
}

async fn mail_count(system: &TestSystem, customer: &ApiCaller) -> usize {
    system
        .sent_mails(&format!("{}@example.com", customer.id))
        .await
        .len()
}

async fn configure_consumer(function: &str, queue: &str, handler: &str, visibility: u32) {
    run_command(&format!(
        "awslocal lambda update-function-configuration --function-name {function} --handler {handler}
         url=$(awslocal sqs get-queue-url --queue-name {queue} --query QueueUrl --output text)
         awslocal sqs set-queue-attributes --queue-url $url --attributes VisibilityTimeout={visibility}"
    ))
    .await;
}

#[tokio::test]
async fn redriven_dead_letter_is_processed_after_its_cause_is_fixed() {
    let system = TestSystem::exclusive().await;
    let customer = system.customer().await;
    let lantern = system.create_product(100, 5).await;

    // Deploy a function that cannot start. The short visibility timeout exhausts the receive count within
    // seconds.
    let (function, queue) = ("notification-sender", "notification-queue");
    configure_consumer(function, queue, "not-a-function", 1).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    let dead_letter = eventually("the dead letter", async || {
        let dead_letters = message_bodies(&system, "notification-dlq").await;
        dead_letters
            .into_iter()
            .find(|body| body.contains(&order_id.to_string()))
    })
    .await;
    configure_consumer(function, queue, function, 30).await;
    assert_eq!(mail_count(&system, &customer).await, 0);

    let report = redrive("notification-dlq").await;
    let first = report["first"].as_array().expect("the report has a preview");
    let order = json!(order_id.to_string());
    assert!(
        first
            .iter()
            .any(|message| message["order_id"] == order && message["type"] == "OrderCompleted"),
        "{report}"
    );
    eventually("the mail", async || {
        (mail_count(&system, &customer).await == 1).then_some(())
    })
    .await;
    assert!(
        !message_bodies(&system, "notification-dlq")
            .await
            .contains(&dead_letter)
    );
}

#[tokio::test]
async fn redriven_message_sends_its_sms() {
    let system = TestSystem::exclusive().await;
    let (customer, number) = system.customer_with_sms().await;
    let lantern = system.create_product(100, 5).await;
    configure_consumer("sms-sender", "sms-queue", "not-a-function", 1).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    eventually("the dead letter", async || {
        let dead_letters = message_bodies(&system, "sms-dlq").await;
        let is_about = |body: &String| body.contains(&order_id.to_string());
        dead_letters.iter().any(is_about).then_some(())
    })
    .await;
    configure_consumer("sms-sender", "sms-queue", "sms-sender", 30).await;
    assert_eq!(system.sent_sms(&number).await.len(), 1, "only the code");

    redrive("sms-dlq").await;
    eventually("the SMS", async || {
        (system.sent_sms(&number).await.len() == 2).then_some(())
    })
    .await;
}

/// Places an order whose saga never starts, by purging the message that would start it. Returns the order's
/// event.
async fn create_stuck_order(system: &TestSystem, customer: &ApiCaller) -> (OrderId, Value) {
    let lantern = system.create_product(100, 5).await;
    set_order_delivery(false).await;
    let order_id = system.place_order(customer, &lantern, 2, "pm_card_visa").await;
    let event = eventually("the order's event", async || {
        let events = message_bodies(system, "order-processing-queue").await;
        events
            .into_iter()
            .find(|event| event.contains(&order_id.to_string()))
    })
    .await;
    run_command(
        "url=$(awslocal sqs get-queue-url --queue-name order-processing-queue --query QueueUrl --output text)
         awslocal sqs purge-queue --queue-url $url",
    )
    .await;
    set_order_delivery(true).await;
    (order_id, serde_json::from_str(&event).expect("an event is JSON"))
}

/// Parks an order as order-reconciler does. Changes nothing if the reconciler was faster and the order has
/// ended.
async fn park(system: &TestSystem, customer: &ApiCaller, order_id: OrderId) {
    let dynamo = aws_sdk_dynamodb::Client::new(&aws_client::sdk_config().await);
    let orders = Orders::new(dynamo, "ecommerce-orders", system.clock.clone());
    let user_id = customer.id.parse().expect("a customer id is a UUID");
    let order = orders.find(user_id, order_id).await.unwrap().unwrap();
    orders.park(&order).await.unwrap();
}

#[tokio::test]
async fn redriven_parked_order_completes() {
    let system = TestSystem::exclusive().await;
    let customer = system.customer().await;
    let (order_id, event) = create_stuck_order(&system, &customer).await;
    park(&system, &customer, order_id).await;
    let mut state = event["detail"]["data"].clone();
    for member in ["traceparent", "correlation_id", "causation_id"] {
        state[member] = event["detail"][member].clone();
    }
    // The redrive must drop these results of earlier steps.
    state["failure"] = json!({"event_id": null});
    state["compensation_error"] = json!({"Error": "Unavailable", "Cause": "for long"});
    let parked = json!({"order_id": order_id, "execution": "arn", "state": state});
    system
        .send_message("order-parking-queue", &parked.to_string())
        .await;

    let report = redrive("order-parking-queue").await;
    assert_eq!((&report["redriven"], &report["left"]), (&json!(1), &json!(0)));
    assert_eq!(report["first"][0]["order_id"], order_id.to_string());
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
    eventually("the mail", async || {
        (mail_count(&system, &customer).await == 1).then_some(())
    })
    .await;
    assert!(message_bodies(&system, "order-parking-queue").await.is_empty());
}

/// The saga has sent the message, and order-reconciler has not parked the order yet.
#[tokio::test]
async fn message_of_an_order_that_is_not_parked_stays_in_its_queue() {
    let system = TestSystem::exclusive().await;
    let customer = system.customer().await;
    let lantern = system.create_product(100, 5).await;
    let order_id = system
        .place_order(&customer, &lantern, 1, "pm_card_threeDSecure2Required")
        .await;
    let next_action = system.wait_for_next_action(&customer, order_id).await;
    let state = json!({"user_id": customer.id, "order_id": order_id});
    let message = json!({"order_id": order_id, "execution": "arn", "state": state}).to_string();
    system.send_message("order-parking-queue", &message).await;

    let output = run_command(r#""$XTASK" redrive order-parking-queue --yes --json || echo FAILED"#).await;
    assert!(
        output.ends_with("FAILED\n") && output.contains(r#""left": 1"#),
        "{output}"
    );
    assert_eq!(message_bodies(&system, "order-parking-queue").await, [message]);

    system.authenticate(&next_action, "approve").await;
    system.wait_for_final_status(&customer, order_id).await;
    let report = redrive("order-parking-queue").await;
    assert_eq!((&report["redriven"], &report["left"]), (&json!(1), &json!(0)));
    assert!(message_bodies(&system, "order-parking-queue").await.is_empty());
}

#[tokio::test]
async fn redrive_publishes_parked_events_and_keeps_malformed_messages() {
    let system = TestSystem::exclusive().await;
    let customer = system.customer().await;
    // The order starts only when this event is published.
    let (order_id, event) = create_stuck_order(&system, &customer).await;
    let entry = json!({
        "EventBusName": "ecommerce-event-bus", "Source": event["source"], "DetailType": event["detail-type"],
        "Detail": event["detail"].to_string(),
    });
    system.send_message("event-parking-queue", "not an event").await;
    system
        .send_message("event-parking-queue", &entry.to_string())
        .await;

    let output = run_command(r#""$XTASK" redrive event-parking-queue --yes --json || echo FAILED"#).await;
    assert!(
        output.ends_with("FAILED\n") && output.contains(r#""left": 1"#),
        "{output}"
    );
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
    assert_eq!(
        message_bodies(&system, "event-parking-queue").await,
        ["not an event"]
    );
}

#[tokio::test]
async fn interrupted_redrive_loses_no_message() {
    let system = TestSystem::exclusive().await;
    run_command("dead=$(awslocal sqs create-queue --queue-name trial-dlq --query QueueUrl --output text)
         arn=arn:aws:sqs:ap-northeast-1:000000000000:trial-dlq
         policy='{\"deadLetterTargetArn\":\"'$arn'\",\"maxReceiveCount\":\"5\"}'
         printf '{\"RedrivePolicy\":\"%s\"}' \"$(printf %s \"$policy\" | sed 's/\"/\\\\\"/g')\" >trial-attributes.json
         awslocal sqs create-queue --queue-name trial --attributes file://trial-attributes.json
         for number in 1 2 3 4 5 6 7 8 9 10 11 12; do
           awslocal sqs send-message --queue-url $dead --message-body \"message $number\" \
             --message-attributes '{\"Colour\":{\"DataType\":\"String\",\"StringValue\":\"red\"}}'
         done")
    .await;
    let sent: BTreeSet<String> = (1..=12).map(|number| format!("message {number}")).collect();

    // Redrive two messages per second, and interrupt after three seconds.
    run_command(r#"timeout --signal=INT 3 "$XTASK" redrive trial-dlq --yes --rate 2 || true"#).await;
    let (moved, left) = (
        message_bodies(&system, "trial").await,
        message_bodies(&system, "trial-dlq").await,
    );
    assert!(
        !moved.is_empty() && moved.len() <= 8,
        "at least one message moved, within the rate limit: {moved:?}"
    );
    assert_eq!(
        moved.len() + left.len(),
        12,
        "each message is in exactly one queue"
    );
    assert_eq!(moved.into_iter().chain(left).collect::<BTreeSet<_>>(), sent);

    let report = redrive("trial-dlq").await;
    assert_eq!(
        report["waiting"], report["redriven"],
        "the interrupted redrive made its messages visible again"
    );
    let arrived = message_bodies(&system, "trial").await;
    assert_eq!(arrived.len(), 12);
    assert_eq!(arrived.into_iter().collect::<BTreeSet<_>>(), sent);
    let attributes = "url=$(awslocal sqs get-queue-url --queue-name trial --query QueueUrl --output text)
        awslocal sqs receive-message --queue-url $url --message-attribute-names All \
          --query Messages[0].MessageAttributes.Colour.StringValue --output text";
    assert_eq!(run_command(attributes).await, "red\n");

    assert_eq!(
        redrive("trial-dlq").await["waiting"],
        0,
        "redriving an empty queue succeeds"
    );
    let unknown = run_command(r#""$XTASK" redrive nothing 2>&1 || true"#).await;
    assert!(
        unknown.contains("there is no queue nothing") && unknown.contains("order-parking-queue"),
        "{unknown}"
    );
}
