//! Tests of notification-sender's mails about cancelled orders and refunds.

use domain::{FailureReason, Language, UserId};
use orders::Order;
use serde_json::Value;

use crate::{
    batch_item_failures,
    notification_sender::TestContext,
    now,
    order_events::{order_cancelled, payment_id, payment_refunded},
};

/// What happens to an order, in this sequence.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Refund,
    /// The order ends as failed.
    End,
}

impl TestContext {
    /// Places an order whose payment is claimed and that is closed to payment, and applies the steps.
    async fn compensate(&self, order_mails: bool, language: Language, steps: [Step; 2]) -> Order {
        let order = self
            .place_order_with("hanako@example.com", order_mails, language)
            .await;
        let (user_id, order_id) = (order.user_id, order.order_id);
        let (payment_id, context) = (payment_id(order_id), order.event_context());
        let claim = self.orders.claim_for_payment(user_id, order_id, &payment_id);
        claim.await.unwrap();
        self.orders.close_to_payment(user_id, order_id).await.unwrap();
        for step in steps {
            let is_applied = match step {
                Step::Refund => {
                    let total = order.total().unwrap();
                    let refund = self
                        .store
                        .record_refund(user_id, order_id, &payment_id, total, &context);
                    refund.await.unwrap().is_some()
                }
                Step::End => {
                    let reason = FailureReason::InternalError;
                    let end = self.store.fail(user_id, order_id, reason, &context);
                    end.await.unwrap().is_some()
                }
            };
            assert!(is_applied);
        }
        order
    }

    async fn deliver_once(&self, event: &Value) {
        assert_eq!(self.deliver(event).await, batch_item_failures(&[]));
    }
}

#[tokio::test]
async fn cancelled_order_sends_one_mail_in_the_language_of_the_order() {
    let context = TestContext::new().await;
    for (language, subject, note) in [
        (
            Language::En,
            "Your Matsuri order is cancelled",
            "You have not been charged.",
        ),
        (
            Language::Ja,
            "ご注文をキャンセルしました",
            "代金は請求されておりません。",
        ),
    ] {
        let before = context.sent_mails().await.len();
        let order = context
            .place_order_with("hanako@example.com", true, language)
            .await;
        let event = order_cancelled(&order);
        context.deliver_once(&event).await;
        context.deliver_once(&event).await;
        let mails = context.sent_mails().await;
        assert_eq!(mails.len(), before + 1);
        let mail = mails.last().unwrap();
        assert_eq!(mail["Subject"], subject);
        let (text, html) = (
            mail["BodyText"].as_str().unwrap(),
            mail["BodyHtml"].as_str().unwrap(),
        );
        assert!(text.contains(note), "{text}");
        assert!(html.contains("Lantern &#60;red&#62; &#38; small"), "{html}");
    }
}

/// The events of a refunded order arrive in any sequence, and twice.
#[tokio::test]
async fn cancelled_and_refunded_order_sends_one_mail_that_reports_both() {
    let context = TestContext::new().await;
    let order = context
        .compensate(true, Language::En, [Step::Refund, Step::End])
        .await;
    let (cancelled, refunded) = (order_cancelled(&order), payment_refunded(&order));
    for event in [&refunded, &cancelled, &refunded, &cancelled] {
        context.deliver_once(event).await;
    }
    let mails = context.sent_mails().await;
    let [mail] = &mails[..] else { panic!("{mails:#?}") };
    assert_eq!(mail["Subject"], "Your Matsuri order is cancelled");
    let text = mail["BodyText"].as_str().unwrap();
    assert!(
        text.contains("We have refunded your payment in full.") && !text.contains("not been charged"),
        "{text}"
    );
}

#[tokio::test]
async fn refund_after_the_end_of_the_order_sends_a_mail_of_its_own() {
    let context = TestContext::new().await;
    let order = context
        .compensate(true, Language::En, [Step::End, Step::Refund])
        .await;
    let event = payment_refunded(&order);
    context.deliver_once(&event).await;
    context.deliver_once(&event).await;
    let mails = context.sent_mails().await;
    let [mail] = &mails[..] else { panic!("{mails:#?}") };
    assert_eq!(mail["Subject"], "We have refunded your Matsuri order");
}

#[tokio::test]
async fn opted_out_customer_gets_no_mail_about_cancellations_and_refunds() {
    let context = TestContext::new().await;
    let order = context
        .compensate(false, Language::En, [Step::End, Step::Refund])
        .await;
    context.deliver_once(&order_cancelled(&order)).await;
    context.deliver_once(&payment_refunded(&order)).await;
    assert_eq!(context.sent_mails().await.len(), 0);
}

#[tokio::test]
async fn event_about_an_unknown_order_fails() {
    let context = TestContext::new().await;
    let mut order = context.place_order("hanako@example.com").await;
    order.user_id = UserId::new(now());
    for event in [order_cancelled(&order), payment_refunded(&order)] {
        assert_eq!(context.deliver(&event).await, batch_item_failures(&["0"]));
    }
}
