//! Orders from the request to the order mail: completed orders, and orders that fail and are compensated.

use reqwest::Method;
use serde_json::{Value, json};

use e2e::system::{
    TestSystem, eventually, send,
    test_users::{email_address, status_history},
};

fn detail_types(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["detail-type"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn completed_order_commits_stock_charges_once_and_sends_a_mail() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let customer = system.customer().await;
    let lantern = system.create_product(7500, 10).await;

    let trace_id = "0af7651916cd43dd8448eb211c80319c";
    let request = system
        .core_api_request(Method::POST, "/v1/orders")
        .bearer_auth(&customer.token)
        .header("Idempotency-Key", "one")
        .header("traceparent", format!("00-{trace_id}-b7ad6b7169203331-01"))
        .json(&json!({"items": [{"product_id": lantern, "quantity": 2}], "payment_method": "pm_card_visa"}));
    let response = send(request).await;
    let location = response.headers["location"].to_str().unwrap().to_owned();
    let accepted = response.expect_status(202);
    let order_id = accepted["order_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(location, format!("/v1/orders/{order_id}"));
    assert_eq!(
        (
            &accepted["status"],
            &accepted["currency"],
            &accepted["total_amount"]
        ),
        (&json!("pending"), &json!("JPY"), &json!(15_000))
    );
    let line = json!({
        "product_id": lantern, "product_name": "Test lantern", "quantity": 2, "price": 7500,
        "tax_rate": "standard",
    });
    assert_eq!(accepted["items"], json!([line]));

    let order = system.wait_for_final_status(&customer, order_id).await;
    assert_eq!(status_history(&order), ["pending", "processing", "completed"]);
    assert_eq!(system.stock_quantities(&lantern).await, (8, 0));
    assert_eq!(
        system.get_reservation(order_id).await.expect_status(200)["status"],
        "committed"
    );

    let payments = system.payments(order_id).await;
    assert_eq!(payments.len(), 1);
    assert_eq!(
        (
            &payments[0]["status"],
            &payments[0]["amount"],
            &payments[0]["currency"]
        ),
        (&json!("succeeded"), &json!(15_000), &json!("jpy"))
    );

    let expected = [
        "OrderCreated",
        "StockReserved",
        "PaymentProcessed",
        "StockUpdated",
        "OrderCompleted",
    ];
    let events = system.wait_for_events(order_id.0, &expected).await;
    assert_eq!(detail_types(&events), expected);
    let traces: Vec<&str> = events
        .iter()
        .map(|event| &event["detail"]["traceparent"].as_str().unwrap()[3..35])
        .collect();
    assert_eq!(traces, [trace_id; 5], "all events belong to the request's trace");

    let address = format!("{}@example.com", customer.id);
    let mails = eventually("a mail", async || {
        Some(system.sent_mails(&address).await).filter(|m| !m.is_empty())
    })
    .await;
    assert_eq!(mails.len(), 1);
    let text = mails[0]["BodyText"].as_str().unwrap();
    assert!(
        text.contains("Test lantern") && text.contains(&order_id.to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn order_above_available_stock_fails_and_reserves_nothing() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let customer = system.customer().await;
    let (plenty, scarce) = (
        system.create_product(100, 10).await,
        system.create_product(100, 1).await,
    );
    let body = json!({
        "items": [{"product_id": plenty, "quantity": 2}, {"product_id": scarce, "quantity": 2}],
        "payment_method": "pm_card_visa",
    });
    let accepted = system
        .post_order(&customer, "one", &body)
        .await
        .expect_status(202);
    let order_id = accepted["order_id"].as_str().unwrap().parse().unwrap();

    let order = system.wait_for_final_status(&customer, order_id).await;
    assert_eq!(status_history(&order), ["pending", "failed"]);
    assert_eq!(order["reason"], "insufficient_stock");
    assert_eq!(system.stock_quantities(&plenty).await, (10, 0));
    assert_eq!(system.stock_quantities(&scarce).await, (1, 0));
    system.assert_payments_cancelled(order_id).await;
    let expected = ["OrderCreated", "OrderFailed"];
    let events = system.wait_for_events(order_id.0, &expected).await;
    assert_eq!(detail_types(&events), expected);
    let address = format!("{}@example.com", customer.id);
    eventually("a mail", async || {
        (system.sent_mails(&address).await.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn declined_payment_releases_the_stock() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let customer = system.customer().await;
    for (card, first) in [
        ("pm_card_chargeDeclined", true),
        ("pm_card_chargeDeclinedInsufficientFunds", false),
    ] {
        let lantern = system.create_product(7500, 10).await;
        let order_id = system.place_order(&customer, &lantern, 3, card).await;
        let order = system.wait_for_final_status(&customer, order_id).await;
        assert_eq!(status_history(&order), ["pending", "processing", "failed"]);
        assert_eq!(order["reason"], "payment_declined");
        assert_eq!(system.stock_quantities(&lantern).await, (10, 0));
        assert_eq!(
            system.get_reservation(order_id).await.expect_status(200)["status"],
            "released"
        );
        let payments = system.payments(order_id).await;
        assert!(
            payments.iter().all(|payment| payment["status"] != "succeeded"),
            "{payments:?}"
        );
        // Two outboxes publish these events independently, so wait for all of them.
        let expected = ["OrderCreated", "StockReserved", "StockReleased", "OrderFailed"];
        let events = system.wait_for_events(order_id.0, &expected).await;
        assert_eq!(detail_types(&events), expected);
        let address = format!("{}@example.com", customer.id);
        let mails = if first { 1 } else { 2 };
        eventually("a mail", async || {
            (system.sent_mails(&address).await.len() == mails).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn orders_are_listed_newest_first() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let lantern = system.create_product(100, 10).await;
    let mut placed = Vec::new();
    for _ in 0..3 {
        placed.insert(
            0,
            system
                .place_order(&customer, &lantern, 1, "pm_card_visa")
                .await
                .to_string(),
        );
    }
    let page = async |query: &str| {
        let path = format!("/v1/orders?limit=2{query}");
        send(
            system
                .core_api_request(Method::GET, &path)
                .bearer_auth(&customer.token),
        )
        .await
        .expect_status(200)
    };
    let ids = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().unwrap();
        items
            .iter()
            .map(|order| order["order_id"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = page("").await;
    assert_eq!(ids(&first), placed[..2]);
    let second = page(&format!("&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    assert_eq!(ids(&second), placed[2..]);
    assert_eq!(second["next_cursor"], Value::Null);
}

#[tokio::test]
async fn customer_who_opted_out_receives_only_receipts_in_the_chosen_language() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let customer = system.customer().await;
    let me = |method| {
        system
            .core_api_request(method, "/v1/me")
            .bearer_auth(&customer.token)
    };
    let account = send(me(Method::GET)).await;
    let etag = account.headers["etag"].clone();
    let change = json!({"preferences": {"order_mails": false, "language": "ja"}});
    let changed = send(me(Method::PATCH).header("if-match", etag).json(&change)).await;
    changed.expect_status(200);

    let lantern = system.create_product(7500, 10).await;
    let declined = system
        .place_order(&customer, &lantern, 1, "pm_card_chargeDeclined")
        .await;
    assert_eq!(
        system.wait_for_final_status(&customer, declined).await["status"],
        "failed"
    );
    system.wait_for_notifications(declined, &["OrderFailed"]).await;

    let paid = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    system.wait_for_final_status(&customer, paid).await;
    let mails = eventually("the receipt", async || {
        Some(system.sent_mails(&email_address(&customer.id)).await).filter(|mails| !mails.is_empty())
    })
    .await;
    let subjects: Vec<&Value> = mails.iter().map(|mail| &mail["Subject"]).collect();
    assert_eq!(subjects, ["ご注文が確定しました"]);
    let text = mails[0]["BodyText"].as_str().unwrap();
    assert!(text.contains(&paid.to_string()), "{text}");
    assert!(!text.contains("Thank you for your order"), "{text}");
}
