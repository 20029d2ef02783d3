//! Of two that exclude each other, one wins, whichever comes first.

use domain::{FailureReason, OrderStatus, PaymentId};
use orders::{CancelError, ClaimError, CloseError, CompleteError, FailError, Payment};

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
        self.orders
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
        self.orders
            .complete(placed.user_id, placed.order_id, placed.total, &cause)
            .await
    }

    pub async fn fail(&self, placed: &PlacedOrder) -> Result<Option<domain::EventId>, FailError> {
        let cause = self.order(placed).await.event_context();
        self.orders
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
        self.orders
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
        self.orders
            .record_refund(*user_id, *order_id, payment_id, *total, &cause)
            .await
            .unwrap()
            .is_some()
    }
}

#[tokio::test]
async fn an_order_goes_its_way_and_each_step_counts_once() {
    let store = TestContext::new().await;
    let placed = store.place().await;
    store.claim(&placed).await.unwrap();
    store.claim(&placed).await.unwrap();
    assert!(store.record_payment(&placed).await.unwrap());
    assert!(!store.record_payment(&placed).await.unwrap());
    let event = store.complete(&placed).await.unwrap();
    assert_eq!(store.complete(&placed).await.unwrap(), event);

    let order = store.order(&placed).await;
    let history: Vec<_> = order.history.iter().map(|change| change.status).collect();
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
        store.events().await,
        ["OrderCreated", "PaymentProcessed", "OrderCompleted"]
    );
}

#[tokio::test]
async fn a_cancelled_order_is_not_paid_and_stays_cancelled() {
    let store = TestContext::new().await;
    let placed = store.place().await;
    store.cancel(&placed).await.unwrap();
    assert!(matches!(store.claim(&placed).await, Err(ClaimError::Cancelled)));
    assert!(matches!(
        store.cancel(&placed).await,
        Err(CancelError::TooLate(OrderStatus::Cancelled))
    ));
    assert_eq!(store.fail(&placed).await.unwrap(), None);
    assert_eq!(store.order(&placed).await.status, OrderStatus::Cancelled);
    assert_eq!(store.events().await, ["OrderCreated", "OrderCancelled"]);
}

#[tokio::test]
async fn an_order_that_is_being_paid_cannot_be_cancelled() {
    let store = TestContext::new().await;
    let placed = store.place().await;
    store.claim(&placed).await.unwrap();
    assert!(matches!(
        store.cancel(&placed).await,
        Err(CancelError::TooLate(OrderStatus::Processing))
    ));
}

#[tokio::test]
async fn an_order_has_one_payment() {
    let store = TestContext::new().await;
    let placed = store.place().await;
    store.claim(&placed).await.unwrap();
    let second = PaymentId("pi_second".to_owned());
    let claimed = store
        .orders
        .claim_for_payment(placed.user_id, placed.order_id, &second)
        .await;
    assert_eq!(claimed.unwrap(), placed.payment_id, "the first one's");
    assert_eq!(store.order(&placed).await.payment_id, Some(placed.payment_id));
}

#[tokio::test]
async fn an_order_whose_money_was_taken_fails_only_once_it_is_given_back() {
    let store = TestContext::new().await;
    let placed = store.place().await;
    store.claim(&placed).await.unwrap();
    assert!(store.record_payment(&placed).await.unwrap());
    assert!(matches!(store.fail(&placed).await, Err(FailError::Charged)));
    store.close(&placed).await.unwrap();
    assert!(matches!(store.fail(&placed).await, Err(FailError::Charged)));
    assert!(store.record_refund(&placed).await);
    assert!(store.fail(&placed).await.unwrap().is_some());
}

#[tokio::test]
async fn an_order_that_has_failed_is_not_paid_any_more() {
    let store = TestContext::new().await;
    let placed = store.place().await;
    store.claim(&placed).await.unwrap();
    // Its payment was cancelled at the provider.
    store.close(&placed).await.unwrap();
    store.fail(&placed).await.unwrap();
    assert!(matches!(
        store.record_payment(&placed).await,
        Err(ClaimError::Closed)
    ));
    assert_eq!(store.order(&placed).await.payment, Some(Payment::Claimed));
}

#[tokio::test]
async fn no_payment_is_claimed_after_compensation_has_closed_the_order() {
    let store = TestContext::new().await;
    let placed = store.place().await;
    assert_eq!(store.close(&placed).await.unwrap(), None);
    assert!(matches!(store.claim(&placed).await, Err(ClaimError::Closed)));
}

#[tokio::test]
async fn compensation_learns_of_the_payment_that_was_claimed_before_it() {
    let store = TestContext::new().await;
    let placed = store.place().await;
    store.claim(&placed).await.unwrap();
    assert_eq!(
        store.close(&placed).await.unwrap(),
        Some(placed.payment_id.clone())
    );
    assert!(
        matches!(store.claim(&placed).await, Err(ClaimError::Closed)),
        "a late retry of the claim"
    );
    assert!(matches!(
        store.complete(&placed).await,
        Err(CompleteError::Closed(OrderStatus::Processing))
    ));
    assert!(store.record_refund(&placed).await);
    assert!(!store.record_refund(&placed).await);
    assert!(
        !store.record_payment(&placed).await.unwrap(),
        "a late record of the payment"
    );
    let event = store.fail(&placed).await.unwrap();
    assert_eq!(store.fail(&placed).await.unwrap(), event);
    assert_eq!(
        store.order(&placed).await.reason,
        Some(FailureReason::InternalError)
    );
    assert_eq!(
        store.events().await,
        ["OrderCreated", "PaymentRefunded", "OrderFailed"]
    );
}

#[tokio::test]
async fn a_completed_order_is_never_compensated() {
    let store = TestContext::new().await;
    let placed = store.place().await;
    store.claim(&placed).await.unwrap();
    store.complete(&placed).await.unwrap();
    assert!(matches!(store.close(&placed).await, Err(CloseError::Completed)));
    assert!(matches!(store.fail(&placed).await, Err(FailError::Completed)));
    assert!(!store.record_refund(&placed).await);
    assert_eq!(store.order(&placed).await.status, OrderStatus::Completed);
}

#[tokio::test]
async fn cancelling_and_claiming_at_once_leaves_one_winner() {
    let store = TestContext::new().await;
    for _ in 0..20 {
        let placed = store.place().await;
        let (cancelled, claimed) = tokio::join!(store.cancel(&placed), store.claim(&placed));
        let status = store.order(&placed).await.status;
        match (cancelled, claimed) {
            (Ok(()), Err(ClaimError::Cancelled)) => assert_eq!(status, OrderStatus::Cancelled),
            (Err(CancelError::TooLate(_)), Ok(())) => assert_eq!(status, OrderStatus::Processing),
            other => panic!("{other:?}"),
        }
    }
}
