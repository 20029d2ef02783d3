//! Conflicting operations on an order: exactly one succeeds, in either order.

use domain::{FailureReason, OrderStatus, PaymentId};
use orders::{CancelError, Claim, ClaimError, CloseError, CompleteError, FailError, Payment};

use crate::support::{PlacedOrder, TestContext};

impl TestContext {
    pub async fn claim(&self, placed: &PlacedOrder) -> Result<(), ClaimError> {
        self.orders
            .claim_for_payment(placed.user_id, placed.order_id, &placed.payment_id)
            .await
            .map(drop)
    }

    pub async fn cancel(&self, placed: &PlacedOrder) -> Result<(), CancelError> {
        let cause = self.order(placed).await.event_context();
        self.store
            .cancel(placed.user_id, placed.order_id, cause)
            .await
            .map(drop)
    }

    pub async fn close(&self, placed: &PlacedOrder) -> Result<Option<PaymentId>, CloseError> {
        self.orders
            .close_to_payment(placed.user_id, placed.order_id)
            .await
    }

    pub async fn complete(&self, placed: &PlacedOrder) -> Result<domain::EventId, CompleteError> {
        let cause = self.order(placed).await.event_context();
        self.store
            .complete(placed.user_id, placed.order_id, placed.total, &cause)
            .await
    }

    pub async fn fail(&self, placed: &PlacedOrder) -> Result<Option<domain::EventId>, FailError> {
        let cause = self.order(placed).await.event_context();
        self.store
            .fail(
                placed.user_id,
                placed.order_id,
                FailureReason::InternalError,
                &cause,
            )
            .await
    }

    pub async fn record_payment(&self, placed: &PlacedOrder) -> Result<bool, ClaimError> {
        let cause = self.order(placed).await.event_context();
        let PlacedOrder {
            user_id,
            order_id,
            payment_id,
            total,
        } = placed;
        self.store
            .record_payment(*user_id, *order_id, payment_id, *total, &cause)
            .await
            .map(|event| event.is_some())
    }

    pub async fn record_refund(&self, placed: &PlacedOrder) -> bool {
        let cause = self.order(placed).await.event_context();
        let PlacedOrder {
            user_id,
            order_id,
            payment_id,
            total,
        } = placed;
        self.store
            .record_refund(*user_id, *order_id, payment_id, *total, &cause)
            .await
            .unwrap()
            .is_some()
    }
}

#[tokio::test]
async fn each_step_of_an_order_is_applied_once() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    context.claim(&placed).await.unwrap();
    context.claim(&placed).await.unwrap();
    assert!(context.record_payment(&placed).await.unwrap());
    assert!(!context.record_payment(&placed).await.unwrap());
    let event = context.complete(&placed).await.unwrap();
    assert_eq!(context.complete(&placed).await.unwrap(), event);

    let order = context.order(&placed).await;
    let history: Vec<_> = order.status_history().map(|(status, _)| status).collect();
    assert_eq!(
        history,
        [
            OrderStatus::Pending,
            OrderStatus::Processing,
            OrderStatus::Completed
        ]
    );
    assert_eq!(order.payment, Some(Payment::Captured));
    assert_eq!(
        context.events().await,
        ["OrderCreated", "PaymentProcessed", "OrderCompleted"]
    );
}

#[tokio::test]
async fn cancelled_order_cannot_be_claimed_and_stays_cancelled() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    context.cancel(&placed).await.unwrap();
    assert!(matches!(context.claim(&placed).await, Err(ClaimError::Cancelled)));
    assert!(matches!(
        context.cancel(&placed).await,
        Err(CancelError::TooLate(OrderStatus::Cancelled))
    ));
    assert_eq!(context.fail(&placed).await.unwrap(), None);
    assert_eq!(context.order(&placed).await.status, OrderStatus::Cancelled);
    assert_eq!(context.events().await, ["OrderCreated", "OrderCancelled"]);
}

#[tokio::test]
async fn claimed_order_cannot_be_cancelled() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    context.claim(&placed).await.unwrap();
    assert!(matches!(
        context.cancel(&placed).await,
        Err(CancelError::TooLate(OrderStatus::Processing))
    ));
}

#[tokio::test]
async fn second_claim_returns_the_first_payment() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    context.claim(&placed).await.unwrap();
    let second = PaymentId("pi_second".to_owned());
    let claimed = context
        .orders
        .claim_for_payment(placed.user_id, placed.order_id, &second)
        .await;
    assert_eq!(
        claimed.unwrap(),
        Claim {
            payment_id: placed.payment_id.clone(),
            is_repeated: true,
        },
        "the first payment keeps the claim"
    );
    assert_eq!(context.order(&placed).await.payment_id, Some(placed.payment_id));
}

#[tokio::test]
async fn charged_order_can_fail_only_after_refund() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    context.claim(&placed).await.unwrap();
    assert!(context.record_payment(&placed).await.unwrap());
    assert!(matches!(context.fail(&placed).await, Err(FailError::Charged)));
    context.close(&placed).await.unwrap();
    assert!(matches!(context.fail(&placed).await, Err(FailError::Charged)));
    assert!(context.record_refund(&placed).await);
    assert!(context.fail(&placed).await.unwrap().is_some());
    assert!(!context.record_refund(&placed).await, "a late repetition");
    let order = context.order(&placed).await;
    assert_eq!(
        (order.payment, order.refunded_after_end),
        (Some(Payment::Refunded), false)
    );
}

#[tokio::test]
async fn order_records_that_its_refund_followed_its_end() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    context.claim(&placed).await.unwrap();
    context.close(&placed).await.unwrap();
    context.fail(&placed).await.unwrap();
    assert!(context.record_refund(&placed).await);
    assert!(!context.record_refund(&placed).await);
    let order = context.order(&placed).await;
    assert_eq!(
        (order.payment, order.refunded_after_end),
        (Some(Payment::Refunded), true)
    );
    assert_eq!(
        context.events().await,
        ["OrderCreated", "OrderFailed", "PaymentRefunded"]
    );
}

#[tokio::test]
async fn failed_order_rejects_payment() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    context.claim(&placed).await.unwrap();
    // As after the payment was cancelled at the provider.
    context.close(&placed).await.unwrap();
    context.fail(&placed).await.unwrap();
    assert!(matches!(
        context.record_payment(&placed).await,
        Err(ClaimError::Closed)
    ));
    assert_eq!(context.order(&placed).await.payment, Some(Payment::Claimed));
}

#[tokio::test]
async fn closed_order_cannot_be_claimed() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    assert_eq!(context.close(&placed).await.unwrap(), None);
    assert!(matches!(context.claim(&placed).await, Err(ClaimError::Closed)));
}

#[tokio::test]
async fn close_returns_the_claimed_payment() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    context.claim(&placed).await.unwrap();
    assert_eq!(
        context.close(&placed).await.unwrap(),
        Some(placed.payment_id.clone())
    );
    assert!(
        matches!(context.claim(&placed).await, Err(ClaimError::Closed)),
        "a late retry of the claim"
    );
    assert!(matches!(
        context.complete(&placed).await,
        Err(CompleteError::Closed(OrderStatus::Processing))
    ));
    assert!(context.record_refund(&placed).await);
    assert!(!context.record_refund(&placed).await);
    assert!(
        !context.record_payment(&placed).await.unwrap(),
        "a late record of the payment"
    );
    let event = context.fail(&placed).await.unwrap();
    assert_eq!(context.fail(&placed).await.unwrap(), event);
    assert_eq!(
        context.order(&placed).await.reason,
        Some(FailureReason::InternalError)
    );
    assert_eq!(
        context.events().await,
        ["OrderCreated", "PaymentRefunded", "OrderFailed"]
    );
}

#[tokio::test]
async fn completed_order_cannot_be_compensated() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    context.claim(&placed).await.unwrap();
    context.record_payment(&placed).await.unwrap();
    context.complete(&placed).await.unwrap();
    assert!(matches!(context.close(&placed).await, Err(CloseError::Completed)));
    assert!(matches!(context.fail(&placed).await, Err(FailError::Completed)));
    assert!(!context.record_refund(&placed).await);
    assert_eq!(context.order(&placed).await.status, OrderStatus::Completed);
}

#[tokio::test]
async fn order_without_a_captured_payment_cannot_be_completed() {
    let context = TestContext::new().await;
    let placed = context.place().await;
    context.claim(&placed).await.unwrap();
    assert!(matches!(
        context.complete(&placed).await,
        Err(CompleteError::Closed(OrderStatus::Processing))
    ));
    context.record_payment(&placed).await.unwrap();
    context.complete(&placed).await.unwrap();
}

#[tokio::test]
async fn concurrent_cancel_and_claim_have_one_winner() {
    let context = TestContext::new().await;
    for _ in 0..20 {
        let placed = context.place().await;
        let (cancelled, claimed) = tokio::join!(context.cancel(&placed), context.claim(&placed));
        let status = context.order(&placed).await.status;
        match (cancelled, claimed) {
            (Ok(()), Err(ClaimError::Cancelled)) => assert_eq!(status, OrderStatus::Cancelled),
            (Err(CancelError::TooLate(_)), Ok(())) => assert_eq!(status, OrderStatus::Processing),
            other => panic!("{other:?}"),
        }
    }
}
