//! The API of stock-service, and stock adjustments by events from external systems.

use domain::ids::uuid_v7;
use serde_json::{Value, json};

use e2e::system::{TestSystem, aws::run_shell, eventually, send};

#[tokio::test]
async fn warehouse_event_adjusts_stock_once() {
    let system = TestSystem::shared();
    let lantern = system.create_product(100, 5).await;
    let at = system.now();
    let entry = |adjustment_id: uuid::Uuid, delta: i64| {
        let detail = json!({
            "event_id": uuid_v7(at), "schema_version": 1, "occurred_at": at,
            "correlation_id": adjustment_id, "causation_id": null,
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "data": {
                "adjustment_id": adjustment_id, "product_id": lantern, "delta": delta, "reason": "delivery",
            },
        });
        aws_sdk_eventbridge::types::PutEventsRequestEntry::builder()
            .event_bus_name("ecommerce-event-bus")
            .source("warehouse.tokyo")
            .detail_type("StockAdjustmentRequested")
            .detail(detail.to_string())
            .build()
    };
    let (delivery, loss) = (uuid_v7(at), uuid_v7(at));
    let bus = aws_sdk_eventbridge::Client::new(&aws_client::sdk_config().await);
    let events = bus
        .put_events()
        .entries(entry(delivery, 20))
        .entries(entry(delivery, 20))
        .entries(entry(loss, -3));
    events.send().await.expect("PutEvents must succeed");

    eventually("the adjusted stock", async || {
        (system.stock_quantities(&lantern).await == (22, 0)).then_some(())
    })
    .await;
    let repeated = json!({"adjustment_id": delivery, "delta": 20, "reason": "delivery"});
    let response = system
        .post_to_stock_service(&format!("/v1/stock/{lantern}/adjustments"), &repeated)
        .await;
    assert!(response.status.is_success(), "{response:?}");
    assert_eq!(
        system.stock_quantities(&lantern).await,
        (22, 0),
        "stock-service applies an adjustment id once, from the queue and from the API"
    );
}

#[tokio::test]
async fn reservation_expires_after_its_timeout() {
    let system = TestSystem::shared();
    let lantern = system.create_product(100, 5).await;
    let id = uuid_v7(system.now());
    let body = json!({
        "reservation_id": id, "expires_in_seconds": 1,
        "items": [{"product_id": lantern, "quantity": 2}, {"product_id": lantern, "quantity": 1}],
    });
    let reserved = system
        .post_to_stock_service("/v1/reservations", &body)
        .await
        .expect_status(201);
    assert_eq!(reserved["items"], json!([{"product_id": lantern, "quantity": 3}]));
    assert_eq!(system.stock_quantities(&lantern).await, (5, 3));
    eventually("the reservation to expire", async || {
        (system.stock_quantities(&lantern).await == (5, 0)).then_some(())
    })
    .await;
    let commit = system
        .post_to_stock_service(&format!("/v1/reservations/{id}/commit"), &Value::Null)
        .await;
    assert_eq!(commit.expect_problem(409), "reservation-expired");
}

/// The saga waits for the holder of the stock, then fails the order and leaves nothing behind.
#[tokio::test]
async fn order_fails_unpaid_while_another_reservation_holds_the_stock() {
    let system = TestSystem::shared();
    let lantern = system.create_product(100, 5).await;
    let holder = uuid_v7(system.now());
    let body = json!({
        "reservation_id": holder, "expires_in_seconds": 600,
        "items": [{"product_id": lantern, "quantity": 4}],
    });
    let reserved = system.post_to_stock_service("/v1/reservations", &body).await;
    reserved.expect_status(201);

    let customer = system.customer().await;
    let body = json!({"items": [{"product_id": lantern, "quantity": 2}], "payment_method": "pm_card_visa"});
    let placed = system
        .post_order(&customer, "one", &body)
        .await
        .expect_status(202);
    let order_id = placed["order_id"].as_str().unwrap().parse().unwrap();
    let order = system.wait_for_final_status(&customer, order_id).await;
    assert_eq!(
        (&order["status"], &order["reason"]),
        (&json!("failed"), &json!("insufficient_stock"))
    );
    system.assert_payments_cancelled(order_id).await;
    let reservation = system.get_reservation(order_id).await.expect_status(200);
    assert_eq!(
        reservation["status"], "released",
        "a reserve request that arrives late is rejected"
    );
    assert_eq!(system.stock_quantities(&lantern).await, (5, 4));
}

#[tokio::test]
async fn stock_service_accepts_service_tokens_only() {
    let system = TestSystem::shared();
    let lantern = system.create_product(100, 5).await;
    let url = format!("{}/v1/stock/{lantern}", system.stock_service_url);
    assert_eq!(
        send(system.http.get(&url)).await.expect_problem(401),
        "unauthorized"
    );
    for caller in [system.customer().await, system.admin().await] {
        assert_eq!(
            send(system.http.get(&url).bearer_auth(caller.token))
                .await
                .expect_problem(401),
            "unauthorized"
        );
    }
    // core-api in turn rejects service tokens.
    let orders = system
        .core_api_request(reqwest::Method::GET, "/v1/orders")
        .bearer_auth(system.service_caller().token);
    assert_eq!(send(orders).await.expect_problem(401), "unauthorized");
}

/// The available units in the alerts about a product.
async fn alerted_levels(system: &TestSystem, product: &str) -> Vec<i64> {
    let alerts = system.queue_messages("e2e-stock-alerts").await;
    let events = alerts.iter().filter_map(|message| {
        let notification: Value = serde_json::from_str(message["Body"].as_str()?).ok()?;
        serde_json::from_str::<Value>(notification["Message"].as_str()?).ok()
    });
    events
        .filter(|event| {
            event["detail-type"] == "StockLow" && event["detail"]["data"]["product_id"] == product
        })
        .filter_map(|event| event["detail"]["data"]["available"].as_i64())
        .collect()
}

#[tokio::test]
async fn operators_are_alerted_once_per_fall_below_the_threshold() {
    let system = TestSystem::shared();
    run_shell(
        &std::env::temp_dir(),
        "awslocal sqs create-queue --queue-name e2e-stock-alerts >/dev/null
         awslocal sns subscribe --topic-arn arn:aws:sns:ap-northeast-1:000000000000:stock-alerts --protocol sqs \
            --notification-endpoint arn:aws:sqs:ap-northeast-1:000000000000:e2e-stock-alerts >/dev/null",
    )
    .await;
    // The threshold is 10 units.
    let lantern = system.create_product(100, 12).await;
    let reserve = async |quantity: i64| {
        let body = json!({
            "reservation_id": uuid_v7(system.now()), "expires_in_seconds": 600,
            "items": [{"product_id": lantern, "quantity": quantity}],
        });
        let response = system.post_to_stock_service("/v1/reservations", &body).await;
        response.expect_status(201);
    };
    reserve(5).await;
    // Below the threshold, further reservations cause no alert.
    reserve(1).await;
    reserve(2).await;
    let delivery = json!({"adjustment_id": uuid_v7(system.now()), "delta": 20, "reason": "delivery"});
    let path = format!("/v1/stock/{lantern}/adjustments");
    let response = system.post_to_stock_service(&path, &delivery).await;
    assert!(response.status.is_success(), "{response:?}");
    reserve(15).await;
    let mut levels = eventually("the alerts about both falls", async || {
        let levels = alerted_levels(&system, &lantern).await;
        (levels.len() >= 2).then_some(levels)
    })
    .await;
    levels.sort_unstable();
    assert_eq!(levels, [7, 9]);
}
