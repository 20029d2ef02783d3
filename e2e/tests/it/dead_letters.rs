//! Malformed messages move to the dead-letter queue and do not delay other messages. Their copies outlive the
//! queue.

use e2e::system::{TestSystem, aws::run_shell, eventually};

/// Sends malformed messages to the queue, and asserts that they arrive unchanged in its dead-letter queue.
async fn assert_moves_to_dlq(queue: &str) {
    let system = TestSystem::shared();
    let malformed = [
        format!("not JSON, at {}", system.now()),
        format!(
            r#"{{"detail-type":"UnknownEvent","at":"{}","detail":{{}}}}"#,
            system.now()
        ),
    ];
    for message in &malformed {
        system.send_message(queue, message).await;
    }
    let dlq = format!("{}-dlq", queue.trim_end_matches("-queue"));
    for message in &malformed {
        eventually(&format!("{message} in {dlq}"), async || {
            let dead_letters = system.queue_messages(&dlq).await;
            dead_letters
                .iter()
                .any(|dead_letter| dead_letter["Body"] == message.as_str())
                .then_some(())
        })
        .await;
    }
    // An order that is placed afterwards completes.
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
async fn order_processing_queue_moves_malformed_messages_to_dlq() {
    assert_moves_to_dlq("order-processing-queue").await;
}

#[tokio::test]
async fn stock_update_queue_moves_malformed_messages_to_dlq() {
    assert_moves_to_dlq("stock-update-queue").await;
}

#[tokio::test]
async fn mail_feedback_queue_moves_malformed_messages_to_dlq() {
    assert_moves_to_dlq("mail-feedback-queue").await;
}

#[tokio::test]
async fn receipt_queue_moves_malformed_messages_to_dlq() {
    assert_moves_to_dlq("receipt-queue").await;
}

#[tokio::test]
async fn notification_queue_moves_malformed_messages_to_dlq() {
    assert_moves_to_dlq("notification-queue").await;
}

#[tokio::test]
async fn sms_queue_moves_malformed_messages_to_dlq() {
    assert_moves_to_dlq("sms-queue").await;
}

#[tokio::test]
async fn status_push_queue_moves_malformed_messages_to_dlq() {
    assert_moves_to_dlq("status-push-queue").await;
}

#[tokio::test]
async fn stock_push_queue_moves_malformed_messages_to_dlq() {
    assert_moves_to_dlq("stock-push-queue").await;
}

#[tokio::test]
async fn dead_letter_messages_are_copied_to_a_table() {
    let system = TestSystem::shared();
    let message = format!("not JSON, to be copied at {}", system.now());
    system.send_message("stock-update-dlq", &message).await;
    eventually("a copy of the message", async || {
        let copies = run_shell(
            &std::env::temp_dir(),
            "awslocal lambda invoke --function-name dead-letter-archiver /dev/null >/dev/null
             awslocal dynamodb scan --table-name ecommerce-dead-letters --output json",
        )
        .await;
        copies.contains(&message).then_some(())
    })
    .await;
}
