//! Parts and fingerprints of snapshots.

use domain::OrderStatus;

use super::{CANCELLED, COMPLETED, REFUNDED, consistent_snapshot, order_id, push_message};
use crate::consistency::{Invariant, Observations, SystemSnapshot};

#[test]
fn for_orders_ignores_other_orders() {
    let (mut snapshot, _) = consistent_snapshot();
    snapshot.payments[REFUNDED].refunded = 0;
    push_message(
        &mut snapshot,
        "order-processing-dlq",
        "a message of another order",
    );
    assert!(
        snapshot
            .for_orders(&[order_id(COMPLETED), order_id(CANCELLED)])
            .check_invariants(&Observations::default())
            .is_consistent()
    );
    assert_eq!(
        snapshot
            .for_orders(&[order_id(REFUNDED)])
            .check_invariants(&Observations::default())
            .violated_invariants(),
        [Invariant::UncompletedChargesRefunded]
    );
    push_message(
        &mut snapshot,
        "order-processing-dlq",
        &format!("a message of order {}", order_id(COMPLETED)),
    );
    assert_eq!(
        snapshot
            .for_orders(&[order_id(COMPLETED)])
            .check_invariants(&Observations::default())
            .violated_invariants(),
        [Invariant::NoDeadLetters]
    );
}

#[test]
fn fingerprint_ignores_the_order_of_items_and_test_queues() {
    let (snapshot, _) = consistent_snapshot();
    let mut same = snapshot.clone();
    same.orders.reverse();
    same.mails.reverse();
    same.queues
        .insert("e2e-everything".to_owned(), vec!["an event".to_owned()]);
    assert_eq!(same.fingerprint(), snapshot.fingerprint());
}

#[test]
fn fingerprint_changes_when_an_order_mail_sms_message_or_event_changes() {
    let (snapshot, _) = consistent_snapshot();
    let changes: [fn(&mut SystemSnapshot); 5] = [
        |snapshot| snapshot.orders[COMPLETED].status = OrderStatus::Processing,
        |snapshot| _ = snapshot.mails.pop(),
        |snapshot| _ = snapshot.sms.pop(),
        |snapshot| push_message(snapshot, "order-processing-queue", "work"),
        |snapshot| _ = snapshot.observed_events.pop(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = snapshot.clone();
        change(&mut changed);
        assert_ne!(changed.fingerprint(), snapshot.fingerprint(), "change {number}");
    }
}
