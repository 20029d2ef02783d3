//! Events of the payment provider after the saga: disputes and refunds that fail later.

use aws_sdk_dynamodb::{Client, types::AttributeValue};
use domain::OrderId;
use e2e::system::{TestSystem, eventually, test_users::email_address};
use fault_injection::{FunctionFault, Rule};
use serde_json::json;

/// Whether the index that operators read lists the order under this issue.
async fn is_flagged(order_id: OrderId, issue: &str) -> bool {
    let response = Client::new(&aws_client::sdk_config().await)
        .query()
        .table_name("ecommerce-orders")
        .index_name("payment-issues-index")
        .key_condition_expression("payment_issue = :issue AND order_id = :order")
        .expression_attribute_values(":issue", AttributeValue::S(issue.to_owned()))
        .expression_attribute_values(":order", AttributeValue::S(order_id.to_string()))
        .send()
        .await
        .unwrap();
    response.count == 1
}

async fn wait_until_flagged(order_id: OrderId, issue: &str) {
    eventually(
        &format!("order {order_id} to be flagged as {issue}"),
        async || is_flagged(order_id, issue).await.then_some(()),
    )
    .await;
}

#[tokio::test]
async fn disputed_order_is_flagged() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let order_id = system
        .place_order(&customer, &lantern, 1, "pm_card_createDispute")
        .await;
    let order = system.wait_for_final_status(&customer, order_id).await;
    assert_eq!(order["status"], "completed");
    wait_until_flagged(order_id, "disputed").await;
}

#[tokio::test]
async fn order_whose_refund_fails_later_is_flagged() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    let fault = Rule::for_function("update-stock", FunctionFault::ErrorAfter).containing(&customer.id);
    let rule = system.faults.add_rule(&fault).await.unwrap();
    let order_id = system
        .place_order(&customer, &lantern, 1, "pm_card_refundFail")
        .await;
    let order = system.wait_for_final_status(&customer, order_id).await;
    system.faults.remove_rule(rule).await.unwrap();
    assert_eq!(order["status"], "failed");
    wait_until_flagged(order_id, "refund_failed").await;
}

/// The mail about the end says that the customer was not charged, so the refund has a mail of its own.
#[tokio::test]
async fn charge_after_the_end_is_refunded_and_mailed() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;
    // The event about the charge is not accepted before the order has ended.
    let fault = Rule::for_function("payment-webhook", FunctionFault::ErrorBefore).containing(&customer.id);
    let rule = system.faults.add_rule(&fault).await.unwrap();
    let order_id = system
        .place_order(&customer, &lantern, 1, "pm_charged_after_cancel")
        .await;
    let order = system.wait_for_final_status(&customer, order_id).await;
    assert_eq!(order["status"], "failed");
    let address = email_address(&customer.id);
    let failed = system
        .wait_for_mail(&address, "About your Matsuri order", 1)
        .await;
    assert!(
        failed[0]["BodyText"]
            .as_str()
            .unwrap()
            .contains("You have not been charged."),
        "{failed:#?}"
    );
    system.faults.remove_rule(rule).await.unwrap();

    wait_until_flagged(order_id, "late_charge").await;
    system
        .wait_for_notifications(order_id, &["OrderFailed", "PaymentRefunded"])
        .await;
    let mails = system.sent_mails(&address).await;
    let subjects: Vec<&str> = mails
        .iter()
        .map(|mail| mail["Subject"].as_str().unwrap())
        .collect();
    assert_eq!(subjects.len(), 2, "{subjects:?}");
    let refunded = mails
        .iter()
        .find(|mail| mail["Subject"] == "We have refunded your Matsuri order")
        .expect("a mail about the refund");
    assert!(
        refunded["BodyText"]
            .as_str()
            .unwrap()
            .contains("We have refunded your payment in full."),
        "{refunded:#?}"
    );
    let payments = system.payments(order_id).await;
    let refunds = system.refunds(payments[0]["id"].as_str().unwrap()).await;
    assert_eq!((payments.len(), refunds.len()), (1, 1));
    assert_eq!(refunds[0]["amount"], 7500);
}

#[tokio::test]
async fn unsigned_event_is_rejected() {
    let system = TestSystem::shared();
    let event = json!({
        "id": "evt_forged", "type": "charge.dispute.created",
        "data": {"object": {"id": "dp_1", "payment_intent": "pi_1"}},
    });
    let response = system.post_gateway("/v1/webhooks/payment-provider", &event).await;
    assert_eq!(response.status.as_u16(), 400, "{}", response.body);
}
