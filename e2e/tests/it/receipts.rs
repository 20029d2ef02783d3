//! Receipts of completed orders: their content, who gets them, and that each order has one.

use chrono::{DateTime, FixedOffset, Utc};
use domain::OrderId;
use e2e::system::{
    ApiCaller, TestSystem, eventually,
    test_users::{email_address, status_history},
};
use lopdf::Document;
use serde_json::{Value, json};

/// Places an order of a product at each rate and waits until it has completed: two teas of 1,080 yen, whose
/// tax is 8/108, and three lanterns of 3,333 yen, whose tax is 10/110.
async fn complete_mixed_order(system: &TestSystem, customer: &ApiCaller) -> (OrderId, Value) {
    let product = |name: &str, price: i64, tax_rate: &str| {
        json!({
            "name": name, "description": "", "price": price, "tax_rate": tax_rate, "category": "test-products",
        })
    };
    let tea = product("宇治新茶 浅蒸し煎茶 80g", 1_080, "reduced");
    let lantern = product("Paper lantern", 3_333, "standard");
    let (tea, lantern) = (
        system.create_product_with(tea, 10).await,
        system.create_product_with(lantern, 10).await,
    );
    let body = json!({
        "items": [{"product_id": tea, "quantity": 2}, {"product_id": lantern, "quantity": 3}],
        "payment_method": "pm_card_visa",
    });
    let accepted = system.post_order_with_retry(customer, "mixed", &body).await;
    let accepted = accepted.expect_status(202);
    let order_id = accepted["order_id"].as_str().unwrap().parse().unwrap();
    let order = system.wait_for_final_status(customer, order_id).await;
    assert_eq!(status_history(&order), ["pending", "processing", "completed"]);
    (order_id, order)
}

/// The texts of a PDF, one for each that was drawn.
async fn fetch_texts(url: &str) -> Vec<String> {
    let response = reqwest::get(url).await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/pdf");
    let document = Document::load_mem(&response.bytes().await.unwrap()).unwrap();
    let text = document.extract_text(&[1]).unwrap();
    text.lines().map(|line| line.trim_end().to_owned()).collect()
}

#[tokio::test]
async fn completed_order_has_a_receipt_with_the_tax_of_each_rate() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let (order_id, order) = complete_mixed_order(&system, &customer).await;
    // 9,999 × 10/110 = 909, and 2,160 × 8/108 = 160.
    let tax = |rate: &str, percent: u8, total: i64, tax: i64| json!({"tax_rate": rate, "percent": percent, "total_amount": total, "tax_amount": tax});
    let taxes = json!([tax("standard", 10, 9_999, 909), tax("reduced", 8, 2_160, 160)]);
    assert_eq!(order["taxes"], taxes);
    assert_eq!(order["total_amount"], 12_159);

    let texts = fetch_texts(&system.wait_for_receipt(&customer, order_id).await).await;
    let completed_at: DateTime<Utc> = order["updated_at"].as_str().unwrap().parse().unwrap();
    let in_japan = completed_at.with_timezone(&FixedOffset::east_opt(9 * 3600).unwrap());
    let date = in_japan.format("%Y年%-m月%-d日").to_string();
    for expected in [
        &[
            "領収書",
            "適格簡易請求書",
            &order_id.to_string(),
            "領収書番号",
            &date,
        ][..],
        &["領収金額（税込）", "¥12,159"],
        &[
            "株式会社まつり",
            "〒111-0032 東京都台東区浅草二丁目3番1号",
            "登録番号 T1234567890123",
        ],
        &["宇治新茶 浅蒸し煎茶 80g", "※8％", "2", "¥1,080", "¥2,160"],
        &["Paper lantern", "10％", "3", "¥3,333", "¥9,999"],
        &[
            "10％対象",
            "¥9,999",
            "¥909",
            "8％対象※",
            "¥2,160",
            "¥160",
            "合計",
            "¥12,159",
            "¥1,069",
        ],
    ] {
        let found = texts.windows(expected.len()).any(|window| window == expected);
        assert!(found, "{expected:?} is not in {texts:#?}");
    }

    let address = email_address(&customer.id);
    let mails = eventually("a mail", async || {
        Some(system.sent_mails(&address).await).filter(|mails| !mails.is_empty())
    })
    .await;
    let link = format!("https://matsuri.example/orders/{order_id}");
    let text = mails[0]["BodyText"].as_str().unwrap();
    assert!(text.contains(&link), "{text}");
}

#[tokio::test]
async fn receipt_belongs_to_the_customer_of_a_completed_order() {
    let system = TestSystem::shared();
    let (customer, other) = (system.customer().await, system.customer().await);
    let (order_id, _) = complete_mixed_order(&system, &customer).await;
    system.wait_for_receipt(&customer, order_id).await;
    let foreign = system.get_receipt(&other, order_id).await;
    assert_eq!(foreign.expect_problem(404), "not-found");

    let lantern = system.create_product(500, 1).await;
    let failed = system
        .place_order(&customer, &lantern, 1, "pm_card_chargeDeclined")
        .await;
    system.wait_for_final_status(&customer, failed).await;
    let refused = system.get_receipt(&customer, failed).await;
    assert_eq!(refused.body["order_status"], "failed");
    assert_eq!(refused.expect_problem(409), "order-not-completed");
}

#[tokio::test]
async fn repeated_event_leaves_the_receipt_as_it_is() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let customer = system.customer().await;
    let (order_id, _) = complete_mixed_order(&system, &customer).await;
    let events = system.wait_for_events(order_id.0, &["OrderCompleted"]).await;
    let completed = events
        .iter()
        .find(|event| event["detail-type"] == "OrderCompleted");
    let completed = completed.unwrap().to_string();
    system.wait_for_receipt(&customer, order_id).await;
    let versions = system.receipt_versions(order_id).await;
    assert_eq!(versions.len(), 1);

    for _ in 0..3 {
        system.send_message("receipt-queue", &completed).await;
    }
    eventually("the repeated events to be consumed", async || {
        let waiting = system.queue_messages("receipt-queue").await;
        let is_waiting = waiting
            .iter()
            .any(|message| message["Body"].as_str().unwrap().contains(&order_id.to_string()));
        (!is_waiting).then_some(())
    })
    .await;
    assert_eq!(system.receipt_versions(order_id).await, versions);
}
