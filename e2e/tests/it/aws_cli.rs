//! The AWS CLI calls of the specification work against the local system.

use std::{fs, path::PathBuf};

use domain::ids::uuid_v7;
use serde_json::{Value, json};

use e2e::system::{TestSystem, aws::run_shell, eventually};

/// Creates a temporary dir for one test.
fn create_temp_dir(system: &TestSystem) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("matsuri-aws-cli-{}", uuid_v7(system.now())));
    fs::create_dir(&dir).unwrap();
    dir
}

#[tokio::test]
async fn lambda_invoke_runs_order_processor() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    system.wait_for_final_status(&customer, order_id).await;

    // The function receives this record when the queue delivers the event a second time.
    let event = system
        .wait_for_events(order_id.0, &["OrderCreated"])
        .await
        .remove(0);
    let record = json!({
        "messageId": uuid_v7(system.now()), "receiptHandle": "again", "body": event.to_string(),
        "attributes": {}, "messageAttributes": {}, "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:ap-northeast-1:000000000000:order-processing-queue",
        "awsRegion": "ap-northeast-1",
    });
    let dir = create_temp_dir(&system);
    fs::write(dir.join("event.json"), json!({"Records": [record]}).to_string()).unwrap();
    run_shell(
        &dir,
        "awslocal lambda invoke --function-name order-processor --payload file://event.json response.json",
    )
    .await;
    let response: Value = serde_json::from_slice(&fs::read(dir.join("response.json")).unwrap()).unwrap();
    assert_eq!(response, json!({"batchItemFailures": []}));
    fs::remove_dir_all(dir).unwrap();

    assert_eq!(system.payments(order_id).await.len(), 1);
    assert_eq!(system.stock_quantities(&lantern).await, (9, 0));
}

#[tokio::test]
async fn events_list_rules_returns_the_deployed_rules() {
    let system = TestSystem::shared();
    let dir = create_temp_dir(&system);
    let rules = run_shell(
        &dir,
        "awslocal events list-rules --event-bus-name ecommerce-event-bus",
    )
    .await;
    let rules: Value = serde_json::from_str(&rules).unwrap();
    for (name, file) in [
        (
            "order-processing-rule",
            include_str!("../../../events/rules/order-processing-rule.json"),
        ),
        (
            "notification-rule",
            include_str!("../../../events/rules/notification-rule.json"),
        ),
        (
            "receipt-rule",
            include_str!("../../../events/rules/receipt-rule.json"),
        ),
        (
            "stock-update-rule",
            include_str!("../../../events/rules/stock-update-rule.json"),
        ),
    ] {
        let rule = rules["Rules"]
            .as_array()
            .unwrap()
            .iter()
            .find(|rule| rule["Name"] == name)
            .expect(name);
        let deployed: Value = serde_json::from_str(rule["EventPattern"].as_str().unwrap()).unwrap();
        assert_eq!(deployed, serde_json::from_str::<Value>(file).unwrap(), "{name}");
        assert_eq!(rule["State"], "ENABLED");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn events_put_events_publishes_to_the_bus() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let id = uuid_v7(system.now());
    let entries = json!([{
        "Source": "core-api.users", "DetailType": "UserRegistered",
        "EventBusName": "ecommerce-event-bus", "Detail": json!({"correlation_id": id}).to_string(),
    }]);
    let dir = create_temp_dir(&system);
    let response = run_shell(&dir, &format!("awslocal events put-events --entries '{entries}'")).await;
    let response: Value = serde_json::from_str(&response).unwrap();
    assert_eq!(response["FailedEntryCount"], 0);
    system.wait_for_events(id, &["UserRegistered"]).await;
    fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn dynamodb_scan_returns_orders() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    let dir = create_temp_dir(&system);
    eventually("the order in the table", async || {
        let scan = run_shell(&dir, "awslocal dynamodb scan --table-name ecommerce-orders").await;
        let scan: Value = serde_json::from_str(&scan).unwrap();
        let items = scan["Items"].as_array().unwrap();
        let item = items
            .iter()
            .find(|item| item["order_id"]["S"] == order_id.to_string())?;
        assert_eq!(item["user_id"]["S"], customer.id);
        assert_eq!(item["total_amount"]["N"], "7500");
        assert!(item["ttl"]["N"].is_string());
        Some(())
    })
    .await;
    fs::remove_dir_all(dir).unwrap();
}
