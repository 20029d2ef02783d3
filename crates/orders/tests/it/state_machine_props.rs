//! Whatever is done to an order, in any sequence, twice and two at once, its item keeps the laws.
//!
//! `races` holds the pairs that exclude each other one by one; here sequences are made up that nobody thought of.

use domain::{EventId, OrderStatus, PaymentId};
use orders::{Order, Payment};
use proptest::{prelude::*, sample::select, test_runner::TestCaseResult};
use tokio::runtime::Runtime;

use crate::support::{PlacedOrder, TestContext};

/// What anybody does to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Cancel,
    Claim,
    /// By a second payment, of which the order must not know.
    ClaimWithAnotherPayment,
    RecordPayment,
    Close,
    RecordRefund,
    Complete,
    Fail,
    Restart,
    MarkForOperator,
}

const ACTIONS: [Action; 10] = [
    Action::Cancel,
    Action::Claim,
    Action::ClaimWithAnotherPayment,
    Action::RecordPayment,
    Action::Close,
    Action::RecordRefund,
    Action::Complete,
    Action::Fail,
    Action::Restart,
    Action::MarkForOperator,
];

impl TestContext {
    /// Does it. Whether it was refused is not of interest here: what the item says afterwards is.
    async fn attempt(&self, placed: &PlacedOrder, deed: Action) {
        let order = self.order(placed).await;
        match deed {
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
            Action::MarkForOperator => drop(self.orders.mark_for_operator(&order).await.unwrap()),
        }
    }
}

/// What must hold of an order at every moment.
fn check_invariants(order: &Order) -> TestCaseResult {
    let way: Vec<OrderStatus> = order.history.iter().map(|change| change.status).collect();
    prop_assert_eq!((way[0], way[way.len() - 1]), (OrderStatus::Pending, order.status));
    for step in way.windows(2) {
        prop_assert!(step[0].can_transition_to(step[1]), "{:?}", way);
    }
    prop_assert!(
        order.open.is_none() || !order.status.is_final(),
        "it has ended and is open"
    );
    prop_assert_eq!(order.payment.is_some(), order.payment_id.is_some());
    prop_assert_eq!(order.payment_id.is_some(), way.contains(&OrderStatus::Processing));
    match order.status {
        OrderStatus::Completed => {
            prop_assert!(!order.payment_closed);
            prop_assert_ne!(order.payment, Some(Payment::Refunded), "sold and given back");
        }
        OrderStatus::Failed => {
            prop_assert!(order.payment_closed && order.reason.is_some());
            prop_assert_ne!(order.payment, Some(Payment::Captured), "paid for nothing");
        }
        OrderStatus::Cancelled => prop_assert_eq!(order.payment, None, "money was near"),
        OrderStatus::Pending | OrderStatus::Processing => {}
    }
    prop_assert!(order.payment != Some(Payment::Refunded) || order.payment_closed);
    Ok(())
}

/// What must hold between one moment and a later one.
fn check_monotonic(before: &Order, after: &Order) -> TestCaseResult {
    if before.status.is_final() {
        prop_assert_eq!(before.status, after.status);
        prop_assert_eq!(before.final_event_id, after.final_event_id);
    }
    prop_assert!(after.history.starts_with(&before.history));
    prop_assert!(before.payment_id.is_none() || before.payment_id == after.payment_id);
    prop_assert!(
        after.payment_closed || !before.payment_closed,
        "it was opened to payment again"
    );
    prop_assert!(before.payment != Some(Payment::Refunded) || after.payment == before.payment);
    prop_assert!(after.restarts >= before.restarts);
    prop_assert!(
        before.open.is_some() || after.open.is_none(),
        "nothing brings it back"
    );
    Ok(())
}

/// The outbox tells of what happened, and of nothing twice.
async fn check_events(store: &TestContext, order: &Order) -> TestCaseResult {
    let mut told = store.events().await;
    told.sort();
    let mut expected = vec!["OrderCreated"];
    expected.extend(match order.status {
        OrderStatus::Completed => Some("OrderCompleted"),
        OrderStatus::Failed => Some("OrderFailed"),
        OrderStatus::Cancelled => Some("OrderCancelled"),
        OrderStatus::Pending | OrderStatus::Processing => None,
    });
    let has = |kind: &str| told.iter().any(|event| event == kind);
    match order.payment {
        Some(Payment::Captured) => expected.push("PaymentProcessed"),
        // A refund may come before the record of the payment, which is then left out.
        Some(Payment::Refunded) if has("PaymentProcessed") => {
            expected.extend(["PaymentProcessed", "PaymentRefunded"]);
        }
        Some(Payment::Refunded) => expected.push("PaymentRefunded"),
        Some(Payment::Claimed) | None => {}
    }
    expected.sort_unstable();
    prop_assert_eq!(told, expected);
    let ends = [OrderStatus::Completed, OrderStatus::Failed];
    let named: Option<EventId> = order.final_event_id;
    prop_assert_eq!(named.is_some(), ends.contains(&order.status));
    Ok(())
}

proptest! {
    // Each case is some dozens of real writes.
    #![proptest_config(ProptestConfig { cases: 64, max_shrink_iters: 256, ..ProptestConfig::default() })]

    /// Steps of one deed, or of two at once.
    #[test]
    fn every_sequence_keeps_the_laws(
        steps in prop::collection::vec((select(&ACTIONS[..]), prop::option::of(select(&ACTIONS[..]))), 1..14),
    ) {
        let outcome: TestCaseResult = Runtime::new().unwrap().block_on(async {
            let store = TestContext::new().await;
            let placed = store.place().await;
            let mut before = store.order(&placed).await;
            for (deed, beside) in steps {
                match beside {
                    Some(beside) => {
                        tokio::join!(store.attempt(&placed, deed), store.attempt(&placed, beside));
                    }
                    None => store.attempt(&placed, deed).await,
                }
                let after = store.order(&placed).await;
                check_invariants(&after)?;
                check_monotonic(&before, &after)?;
                before = after;
            }
            check_events(&store, &before).await
        });
        outcome?;
    }
}
