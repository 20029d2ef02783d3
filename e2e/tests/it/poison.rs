//! Messages that nobody can read end with the dead letters, and hold up nobody else.

use e2e::system::{System, eventually};

/// Puts poison into the queue and finds it in the dead letters, as it was.
async fn ends_with_the_dead_letters(queue: &str) {
    let system = System::shared().await;
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
    let dead = format!("{queue}-dlq");
    for poison in &poisons {
        eventually(&format!("{poison} in {dead}"), async || {
            let letters = system.messages(&dead).await;
            letters
                .iter()
                .any(|letter| letter["Body"] == poison.as_str())
                .then_some(())
        })
        .await;
    }
    // Whoever comes after the poison is served.
    let customer = system.customer().await;
    let lantern = system.product(100, 1).await;
    let order_id = system.order(&customer, &lantern, 1, "pm_card_visa").await;
    assert_eq!(system.settled(&customer, order_id).await["status"], "completed");
    let address = format!("{}@example.com", customer.id);
    eventually("a mail", async || {
        (system.mails(&address).await.len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_order_processing() {
    ends_with_the_dead_letters("order-processing-queue").await;
}

#[tokio::test]
async fn of_stock_updates() {
    ends_with_the_dead_letters("stock-update-queue").await;
}

#[tokio::test]
async fn of_notifications() {
    ends_with_the_dead_letters("notification-queue").await;
}
