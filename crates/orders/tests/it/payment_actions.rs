//! Orders that wait for their customer to authenticate the payment.

use chrono::TimeDelta;
use domain::{Clock, CustomerSecret, OrderId, OrderStatus, PaymentAction, PaymentId};
use orders::{CancelError, ClaimError, CompleteError, MAX_RESTARTS, Orders, Payment};

use crate::support::{PlacedOrder, TestContext};

const TIME_LIMIT: TimeDelta = TimeDelta::minutes(10);

fn action() -> PaymentAction {
    PaymentAction {
        kind: "redirect_to_url".to_owned(),
        client_secret: CustomerSecret::new("pi_1_secret".to_owned()),
        redirect_url: None,
    }
}

impl TestContext {
    pub async fn await_payment_action(&self, placed: &PlacedOrder) -> Result<(), ClaimError> {
        await_with(&self.orders, placed, &placed.payment_id).await
    }

    /// An order whose claimed payment waits for the customer.
    async fn place_waiting(&self) -> PlacedOrder {
        let placed = self.place().await;
        self.claim(&placed).await.unwrap();
        self.await_payment_action(&placed).await.unwrap();
        placed
    }

    async fn complete_payment_action(&self, placed: &PlacedOrder) -> bool {
        let order = self.order(placed).await;
        let completed = self.store.complete_payment_action(&order).await;
        completed.unwrap().is_some()
    }
}

async fn await_with(orders: &Orders, placed: &PlacedOrder, payment: &PaymentId) -> Result<(), ClaimError> {
    orders
        .await_payment_action(placed.user_id, placed.order_id, payment, &action(), TIME_LIMIT)
        .await
}

#[tokio::test]
async fn second_request_does_not_extend_the_time() {
    let context = TestContext::new().await;
    let placed = context.place_waiting().await;
    let expires_at = context.order(&placed).await.payment_action_expires_at.unwrap();
    let later = |minutes| {
        let clock = Clock::from_fn(move || Clock::system().now() + TimeDelta::minutes(minutes));
        context.with_clock(clock).orders
    };
    assert!(context.complete_payment_action(&placed).await);
    await_with(&later(9), &placed, &placed.payment_id).await.unwrap();
    let order = context.order(&placed).await;
    assert_eq!(order.payment_action, Some(action()));
    assert_eq!(order.payment_action_expires_at, Some(expires_at));
    assert!(order.awaits_payment_action_at(expires_at - TimeDelta::seconds(1)));
    assert!(!order.awaits_payment_action_at(expires_at));
    assert!(matches!(
        await_with(&later(11), &placed, &placed.payment_id).await,
        Err(ClaimError::ActionExpired)
    ));
}

#[tokio::test]
async fn waiting_order_is_overdue_after_its_time_or_its_return() {
    let context = TestContext::new().await;
    let (expired, returned) = (context.place_waiting().await, context.place_waiting().await);
    let overdue = async |minutes| -> Vec<OrderId> {
        let clock = Clock::from_fn(move || Clock::system().now() + TimeDelta::minutes(minutes));
        let now = clock.now();
        let open = context
            .with_clock(clock)
            .orders
            .open_orders(now, 10)
            .await
            .unwrap();
        assert_eq!(open.count, 2, "an order that waits is open");
        open.overdue.into_iter().map(|(_, order_id)| order_id).collect()
    };
    assert_eq!(overdue(9).await, []);
    assert!(context.complete_payment_action(&returned).await);
    assert_eq!(overdue(9).await, [returned.order_id]);
    assert_eq!(overdue(11).await, [expired.order_id, returned.order_id]);
}

#[tokio::test]
async fn each_request_of_an_action_is_completed_once() {
    let context = TestContext::new().await;
    let placed = context.place_waiting().await;
    let order = context.order(&placed).await;
    let (first, second) = tokio::join!(
        context.store.complete_payment_action(&order),
        context.store.complete_payment_action(&order)
    );
    let completed = [first.unwrap(), second.unwrap()];
    assert_eq!(completed.iter().flatten().count(), 1);
    assert!(!context.complete_payment_action(&placed).await);
    assert_eq!(context.events().await, ["OrderCreated", "PaymentActionCompleted"]);

    let order = context.order(&placed).await;
    assert_eq!(order.payment_action, None, "the secret is removed");
    assert_eq!((order.restarts, order.restart_limit()), (1, MAX_RESTARTS + 1));
    assert!(order.restarted_at.is_some());
    context.await_payment_action(&placed).await.unwrap();
    assert!(context.complete_payment_action(&placed).await);
    let order = context.order(&placed).await;
    assert_eq!(
        (order.restarts, order.restart_limit()),
        (2, MAX_RESTARTS + 2),
        "a continuation uses no restart of order-reconciler"
    );
}

#[tokio::test]
async fn completion_of_an_order_that_was_restarted_meanwhile_is_void() {
    let context = TestContext::new().await;
    let placed = context.place_waiting().await;
    let read_before = context.order(&placed).await;
    assert!(context.orders.increment_restarts(&read_before).await.unwrap());
    let completed = context.store.complete_payment_action(&read_before).await;
    assert_eq!(
        completed.unwrap(),
        None,
        "the restarted saga looks at the payment"
    );
}

#[tokio::test]
async fn secret_is_removed_when_the_payment_is_recorded_or_the_order_closes() {
    let context = TestContext::new().await;
    let paid = context.place_waiting().await;
    assert!(context.record_payment(&paid).await.unwrap());
    let closed = context.place_waiting().await;
    context.close(&closed).await.unwrap();
    let failed = context.place_waiting().await;
    context.fail(&failed).await.unwrap();
    for placed in [&paid, &closed, &failed] {
        assert_eq!(context.order(placed).await.payment_action, None);
        assert!(!context.complete_payment_action(placed).await);
    }
}

#[tokio::test]
async fn cancelled_waiting_order_is_cancelled_by_its_compensation() {
    let context = TestContext::new().await;
    let placed = context.place_waiting().await;
    for _ in 0..2 {
        context.cancel(&placed).await.unwrap();
    }
    let order = context.order(&placed).await;
    assert_eq!(order.status, OrderStatus::Processing);
    assert!(
        order.payment_closed && !order.awaits_payment_action(),
        "{order:?}"
    );
    assert_eq!((order.restarts, order.restart_limit()), (1, MAX_RESTARTS + 1));
    assert!(matches!(context.claim(&placed).await, Err(ClaimError::Closed)));
    assert!(matches!(
        context.await_payment_action(&placed).await,
        Err(ClaimError::Closed)
    ));

    let event = context.fail(&placed).await.unwrap();
    assert_eq!(context.fail(&placed).await.unwrap(), event);
    let order = context.order(&placed).await;
    assert_eq!(
        (order.status, order.reason, order.open, order.final_event_id),
        (OrderStatus::Cancelled, None, None, event)
    );
    assert!(matches!(
        context.cancel(&placed).await,
        Err(CancelError::TooLate(OrderStatus::Cancelled))
    ));
    assert!(matches!(
        context.record_payment(&placed).await,
        Err(ClaimError::Closed)
    ));
    assert_eq!(
        context.events().await,
        ["OrderCreated", "PaymentActionCompleted", "OrderCancelled"]
    );
}

/// The customer completes the action, and cancels before the payment is cancelled.
#[tokio::test]
async fn charge_of_an_order_that_is_being_cancelled_has_to_be_refunded() {
    let context = TestContext::new().await;
    let placed = context.place_waiting().await;
    context.cancel(&placed).await.unwrap();
    assert!(context.record_payment(&placed).await.unwrap());
    assert!(matches!(
        context.complete(&placed).await,
        Err(CompleteError::Closed(OrderStatus::Processing))
    ));
    context.fail(&placed).await.unwrap_err();
    assert!(context.record_refund(&placed).await);
    context.fail(&placed).await.unwrap();
    let order = context.order(&placed).await;
    assert_eq!(
        (order.status, order.payment),
        (OrderStatus::Cancelled, Some(Payment::Refunded))
    );
}

#[tokio::test]
async fn either_the_cancellation_or_the_return_ends_a_wait() {
    let context = TestContext::new().await;
    for _ in 0..10 {
        let placed = context.place_waiting().await;
        let (cancelled, has_returned) =
            tokio::join!(context.cancel(&placed), context.complete_payment_action(&placed));
        let order = context.order(&placed).await;
        assert_eq!(order.restarts, 1);
        assert_eq!(cancelled.is_ok(), !has_returned, "{cancelled:?}");
        assert_eq!(order.cancellation_requested, !has_returned);
        if has_returned {
            assert!(matches!(
                context.cancel(&placed).await,
                Err(CancelError::TooLate(OrderStatus::Processing))
            ));
        }
    }
}

/// A delayed write of process-payment.
#[tokio::test]
async fn action_is_awaited_only_while_the_order_can_be_paid() {
    let context = TestContext::new().await;
    let pending = context.place().await;
    context.await_payment_action(&pending).await.unwrap();
    let paid = context.place_waiting().await;
    context.record_payment(&paid).await.unwrap();
    context.await_payment_action(&paid).await.unwrap();
    let closed = context.place_waiting().await;
    context.close(&closed).await.unwrap();
    assert!(matches!(
        context.await_payment_action(&closed).await,
        Err(ClaimError::Closed)
    ));
    let other = context.place().await;
    context.claim(&other).await.unwrap();
    await_with(&context.orders, &other, &PaymentId("pi_other".to_owned()))
        .await
        .unwrap();
    for placed in [&pending, &paid, &closed, &other] {
        assert!(!context.order(placed).await.awaits_payment_action());
    }
}
