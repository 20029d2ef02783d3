//! Property tests of the order state machine: random sequences of actions, repeated and concurrent, keep the
//! invariants. The module `races` tests the known conflicting pairs one by one.

use domain::{OrderStatus, PaymentId};
use orders::{Order, OrderChange, Payment, PaymentStep};
use proptest::{prelude::*, sample::select, test_runner::TestCaseResult};
use tokio::runtime::Runtime;

use crate::support::{PlacedOrder, TestContext};

/// An action of the customer, the saga or the reconciler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Cancel,
    Claim,
    /// A claim with a second payment, which must not be stored.
    ClaimWithAnotherPayment,
    RecordPayment,
    Close,
    RecordRefund,
    Complete,
    Fail,
    Restart,
    Park,
    AwaitCustomer,
    CustomerReturns,
}

const ACTIONS: [Action; 12] = [
    Action::Cancel,
    Action::Claim,
    Action::ClaimWithAnotherPayment,
    Action::RecordPayment,
    Action::Close,
    Action::RecordRefund,
    Action::Complete,
    Action::Fail,
    Action::Restart,
    Action::Park,
    Action::AwaitCustomer,
    Action::CustomerReturns,
];

impl TestContext {
    /// Performs the action and ignores its result: the tests check only the stored order.
    async fn attempt(&self, placed: &PlacedOrder, action: Action) {
        let order = self.order(placed).await;
        match action {
            Action::Cancel => drop(self.cancel(placed).await),
            Action::Claim => drop(self.claim(placed).await),
            Action::ClaimWithAnotherPayment => {
                let another = PaymentId("pi_another".to_owned());
                let claim = self
                    .orders
                    .claim_for_payment(placed.user_id, placed.order_id, &another);
                drop(claim.await);
            }
            Action::RecordPayment => drop(self.record_payment(placed).await),
            Action::Close => drop(self.close(placed).await),
            Action::RecordRefund => drop(self.record_refund(placed).await),
            Action::Complete => drop(self.complete(placed).await),
            Action::Fail => drop(self.fail(placed).await),
            Action::Restart => drop(self.orders.increment_restarts(&order).await.unwrap()),
            Action::Park => drop(self.orders.park(&order).await.unwrap()),
            Action::AwaitCustomer => drop(self.await_payment_action(placed).await),
            Action::CustomerReturns => {
                drop(self.store.complete_payment_action(&order).await.unwrap());
            }
        }
    }
}

/// Invariants of an order at any time.
fn check_invariants(order: &Order) -> TestCaseResult {
    let statuses: Vec<OrderStatus> = order.status_history().map(|(status, _)| status).collect();
    prop_assert_eq!(
        (statuses[0], statuses[statuses.len() - 1]),
        (OrderStatus::Pending, order.status)
    );
    let times = |step: PaymentStep| {
        let entries = order.history.iter();
        entries
            .filter(|entry| entry.change == OrderChange::Payment(step))
            .count()
    };
    prop_assert_eq!(
        times(PaymentStep::Refunded),
        usize::from(order.payment == Some(Payment::Refunded))
    );
    prop_assert!(times(PaymentStep::Captured) <= 1);
    prop_assert!(order.payment != Some(Payment::Captured) || times(PaymentStep::Captured) == 1);
    for step in statuses.windows(2) {
        prop_assert!(step[0].can_transition_to(step[1]), "{:?}", statuses);
    }
    prop_assert!(
        order.open.is_none() || !order.status.is_final(),
        "an ended order is in the open-orders index"
    );
    prop_assert_eq!(order.payment.is_some(), order.payment_id.is_some());
    prop_assert_eq!(
        order.payment_id.is_some(),
        statuses.contains(&OrderStatus::Processing)
    );
    prop_assert!(
        !order.awaits_payment_action()
            || (order.status == OrderStatus::Processing
                && order.payment == Some(Payment::Claimed)
                && !order.payment_closed),
        "an order that cannot be paid waits for its customer"
    );
    match order.status {
        OrderStatus::Completed => {
            prop_assert!(!order.payment_closed);
            prop_assert_eq!(order.payment, Some(Payment::Captured));
        }
        OrderStatus::Failed => {
            prop_assert!(order.payment_closed && order.reason.is_some());
            prop_assert_ne!(
                order.payment,
                Some(Payment::Captured),
                "a failed order was charged"
            );
        }
        OrderStatus::Cancelled => {
            prop_assert_ne!(
                order.payment,
                Some(Payment::Captured),
                "a cancelled order was charged"
            );
            prop_assert_eq!(order.payment.is_some(), order.cancellation_requested);
        }
        OrderStatus::Pending | OrderStatus::Processing => {}
    }
    prop_assert!(order.payment != Some(Payment::Refunded) || order.payment_closed);
    prop_assert!(!order.cancellation_requested || order.payment_closed);
    Ok(())
}

/// Invariants between an earlier and a later state of an order.
fn check_monotonic(before: &Order, after: &Order) -> TestCaseResult {
    if before.status.is_final() {
        prop_assert_eq!(before.status, after.status);
        prop_assert_eq!(before.final_event_id, after.final_event_id);
    }
    prop_assert!(after.history.starts_with(&before.history));
    prop_assert!(before.payment_id.is_none() || before.payment_id == after.payment_id);
    prop_assert!(
        after.payment_closed || !before.payment_closed,
        "an order closed to payment was reopened"
    );
    prop_assert!(before.payment != Some(Payment::Refunded) || after.payment == before.payment);
    prop_assert!(after.restarts >= before.restarts);
    prop_assert!(
        before.payment_action_expires_at.is_none()
            || before.payment_action_expires_at == after.payment_action_expires_at
    );
    prop_assert!(
        before.open.is_some() || after.open.is_none(),
        "an order returned to the open-orders index"
    );
    Ok(())
}

/// The outbox contains exactly one event per change.
async fn check_events(context: &TestContext, order: &Order) -> TestCaseResult {
    let mut events = context.events().await;
    let completed_actions = events
        .iter()
        .filter(|event| *event == "PaymentActionCompleted")
        .count();
    prop_assert!(completed_actions <= order.restarts as usize);
    events.retain(|event| event != "PaymentActionCompleted");
    events.sort();
    let mut expected = vec!["OrderCreated"];
    expected.extend(match order.status {
        OrderStatus::Completed => Some("OrderCompleted"),
        OrderStatus::Failed => Some("OrderFailed"),
        OrderStatus::Cancelled => Some("OrderCancelled"),
        OrderStatus::Pending | OrderStatus::Processing => None,
    });
    let has = |kind: &str| events.iter().any(|event| event == kind);
    match order.payment {
        Some(Payment::Captured) => expected.push("PaymentProcessed"),
        // A refund may be recorded before the payment, which is then not recorded.
        Some(Payment::Refunded) if has("PaymentProcessed") => {
            expected.extend(["PaymentProcessed", "PaymentRefunded"]);
        }
        Some(Payment::Refunded) => expected.push("PaymentRefunded"),
        Some(Payment::Claimed) | None => {}
    }
    expected.sort_unstable();
    prop_assert_eq!(events, expected);
    // The saga does not end an order that its customer has cancelled before the claim.
    let is_ended_by_saga = match order.status {
        OrderStatus::Completed | OrderStatus::Failed => true,
        OrderStatus::Cancelled => order.payment.is_some(),
        OrderStatus::Pending | OrderStatus::Processing => false,
    };
    prop_assert_eq!(order.final_event_id.is_some(), is_ended_by_saga);
    Ok(())
}

proptest! {
    // Each case makes dozens of real writes.
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 256, ..ProptestConfig::default() })]

    /// Steps of one action, or of two concurrent ones.
    #[test]
    fn every_sequence_keeps_the_invariants(
        steps in prop::collection::vec((select(&ACTIONS[..]), prop::option::of(select(&ACTIONS[..]))), 1..14),
    ) {
        let outcome: TestCaseResult = Runtime::new().unwrap().block_on(async {
            let context = TestContext::new().await;
            let placed = context.place().await;
            let mut before = context.order(&placed).await;
            for (action, concurrent) in steps {
                match concurrent {
                    Some(concurrent) => {
                        tokio::join!(context.attempt(&placed, action), context.attempt(&placed, concurrent));
                    }
                    None => context.attempt(&placed, action).await,
                }
                let after = context.order(&placed).await;
                check_invariants(&after)?;
                check_monotonic(&before, &after)?;
                before = after;
            }
            check_events(&context, &before).await
        });
        outcome?;
    }
}
