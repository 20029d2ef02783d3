//! SMS about orders, through the deployed functions: one per outcome, to verified numbers only, not during
//! quiet hours.

use domain::OrderId;
use e2e::system::{ApiCaller, TestSystem, eventually, test_users::email_address};
use fault_injection::{NetworkFault, Rule, Upstream};
use serde_json::json;

async fn order_with_status(
    system: &TestSystem,
    customer: &ApiCaller,
    payment_method: &str,
    status: &str,
) -> OrderId {
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(customer, &lantern, 1, payment_method).await;
    let order = system.wait_for_final_status(customer, order_id).await;
    assert_eq!(order["status"], status);
    order_id
}

/// Waits for the SMS number `count` to a number, and returns all texts.
async fn wait_for_sms(system: &TestSystem, number: &str, count: usize) -> Vec<String> {
    eventually(&format!("SMS number {count} to {number}"), async || {
        let texts = system.sent_sms(number).await;
        (texts.len() >= count).then_some(texts)
    })
    .await
}

fn short_number(order_id: OrderId) -> String {
    order_id.to_string()[28..].to_uppercase()
}

#[tokio::test]
async fn each_outcome_sends_one_sms_to_the_verified_number() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let (customer, number) = system.customer_with_sms().await;
    let completed = order_with_status(&system, &customer, "pm_card_visa", "completed").await;
    let texts = wait_for_sms(&system, &number, 2).await;
    let text = format!(
        "Matsuri: your order {} (¥7,500) is complete. Thank you!",
        short_number(completed)
    );
    assert_eq!(texts[1], text);

    system
        .change_preferences(&customer, json!({"language": "ja"}))
        .await;
    let failed = order_with_status(&system, &customer, "pm_card_chargeDeclined", "failed").await;
    let texts = wait_for_sms(&system, &number, 3).await;
    assert!(
        texts[2].contains(&short_number(failed)) && texts[2].contains("は承れませんでした"),
        "{texts:?}"
    );

    // A cancelled order.
    let lantern = system.create_product(7500, 10).await;
    let cancelled = system
        .place_order(&customer, &lantern, 1, "pm_card_threeDSecure2Required")
        .await;
    system.wait_for_next_action(&customer, cancelled).await;
    system.cancel_order(&customer, cancelled).await;
    system.wait_for_final_status(&customer, cancelled).await;
    let texts = wait_for_sms(&system, &number, 4).await;
    assert!(texts[3].contains("をキャンセルしました"), "{texts:?}");

    // SNS may deliver a message again.
    let events = system.wait_for_events(completed.0, &["OrderCompleted"]).await;
    let event = events
        .iter()
        .find(|event| event["detail-type"] == "OrderCompleted");
    for _ in 0..3 {
        system
            .send_message("sms-queue", &event.unwrap().to_string())
            .await;
    }
    for order_id in [completed, failed, cancelled] {
        system.wait_until_sms_queue_is_done_with(order_id).await;
    }
    assert_eq!(system.sent_sms(&number).await.len(), 4);
}

#[tokio::test]
async fn customer_who_wants_no_sms_gets_none() {
    let system = TestSystem::shared();
    let (customer, number) = system.customer_with_sms().await;
    system
        .change_preferences(&customer, json!({"order_sms": false}))
        .await;
    let order_id = order_with_status(&system, &customer, "pm_card_visa", "completed").await;
    eventually("the mail", async || {
        (system.sent_mails(&email_address(&customer.id)).await.len() == 1).then_some(())
    })
    .await;
    system.wait_until_sms_queue_is_done_with(order_id).await;
    assert_eq!(system.sent_sms(&number).await.len(), 1, "only the code");
}

#[tokio::test]
async fn sms_arrives_when_quiet_hours_end() {
    let system = TestSystem::shared();
    let (customer, number) = system.customer_with_sms().await;
    let (quiet_hours, end) = system.short_quiet_hours();
    system
        .change_preferences(&customer, json!({"quiet_hours": quiet_hours}))
        .await;
    let order_id = order_with_status(&system, &customer, "pm_card_visa", "completed").await;
    let completed_at = system.now();
    wait_for_sms(&system, &number, 2).await;
    // On a slow machine the order may complete after the end, and then proves nothing.
    assert!(
        system.now() >= end,
        "{} is before {end}, completed at {completed_at}",
        system.now()
    );
    system.wait_until_sms_queue_is_done_with(order_id).await;
    assert_eq!(system.sent_sms(&number).await.len(), 2);
}

#[tokio::test]
async fn sms_is_late_and_not_lost_while_sns_is_away() {
    let system = TestSystem::shared();
    let (customer, number) = system.customer_with_sms().await;
    let rule = Rule::for_operation(Upstream::Aws, "sns.Publish", NetworkFault::Refuse)
        .containing(&number[1..])
        .limit_hits(1);
    let rule = system.faults.add_rule(&rule).await.unwrap();
    let order_id = order_with_status(&system, &customer, "pm_card_visa", "completed").await;
    wait_for_sms(&system, &number, 2).await;
    assert_eq!(system.faults.hits(rule).await.unwrap(), 1);
    system.faults.remove_rule(rule).await.unwrap();
    system.wait_until_sms_queue_is_done_with(order_id).await;
    assert_eq!(system.sent_sms(&number).await.len(), 2);
}

#[tokio::test]
async fn code_of_another_account_verifies_nothing() {
    let system = TestSystem::shared();
    let (customer, other) = (system.customer().await, system.customer().await);
    let number = system.unused_phone_number();
    system.put_phone(&customer, &number).await.expect_status(202);
    let code = system.wait_for_phone_code(&number).await;
    let refused = system.enter_phone_code(&other, &code).await;
    let problem = refused.expect_status(422);
    assert_eq!(problem["type"], "https://matsuri.dev/problems/invalid-phone-code");
    let account = system.enter_phone_code(&customer, &code).await.expect_status(200);
    assert_eq!(account["phone_number"], number);
}
