//! Messages that nobody can read end with the dead letters, and hold up nobody else.

use e2e::system::{TestSystem, eventually};

/// Puts poison into the queue and finds it in the dead letters, as it was.
async fn assert_moves_to_dlq(queue: &str) {
    let system = TestSystem::shared().await;
    let poisons = [
        format!("not JSON, at {}", system.now()),
        format!(
            r#"{{"detail-type":"Unheard","at":"{}","detail":{{}}}}"#,
            system.now()
        ),
    ];
    for poison in &poisons {
        system.send_message(queue, poison).await;
    }
    let dead = format!("{}-dlq", queue.trim_end_matches("-queue"));
    for poison in &poisons {
        eventually(&format!("{poison} in {dead}"), async || {
            let letters = system.queue_messages(&dead).await;
            letters
                .iter()
                .any(|letter| letter["Body"] == poison.as_str())
                .then_some(())
        })
        .await;
    }
    // Whoever comes after the poison is served.
    let customer = system.customer().await;
    let lantern = system.create_product(100, 1).await;
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    assert_eq!(
        system.wait_for_final_status(&customer, order_id).await["status"],
        "completed"
    );
    let address = format!("{}@example.com", customer.id);
    eventually("a mail", async || {
        (system.sent_mails(&address).await.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_order_processing() {
    assert_moves_to_dlq("order-processing-queue").await;
}

#[tokio::test]
async fn of_stock_updates() {
    assert_moves_to_dlq("stock-update-queue").await;
}

#[tokio::test]
async fn of_notifications() {
    assert_moves_to_dlq("notification-queue").await;
}
