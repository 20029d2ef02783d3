//! Unit tests of the checks: each corruption of a consistent snapshot violates exactly the expected
//! invariants.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use chrono::DateTime;
use domain::{
    Currency, CustomerSecret, FailureReason, OrderId, OrderStatus, PaymentAction, PaymentId, ProductId,
    Quantity, UserId,
};
use events::{TraceParent, order::OrderLine};
use orders::{Order, Payment as PaymentState, PaymentIssue, StatusChange};
use uuid::Uuid;

use super::{
    ClientObservation, Invariant, MailKind, ObservedEvent, OrderMail, OutboxEntry, Payment, ProductStock,
    Reservation, SagaExecution, SystemSnapshot,
};

const PRICE: i64 = 700;

/// The orders of the consistent snapshot, by outcome.
const COMPLETED: usize = 0;
const REFUNDED: usize = 1;
const DECLINED: usize = 2;
const CANCELLED: usize = 3;

fn id(number: usize) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number as u128)
}

fn order_id(number: usize) -> OrderId {
    OrderId(id(number))
}

fn product_id() -> ProductId {
    ProductId(id(1000))
}

fn user_id() -> UserId {
    UserId(id(2000))
}

fn order(number: usize, statuses: &[OrderStatus], payment: Option<PaymentState>) -> Order {
    let at = DateTime::UNIX_EPOCH;
    let status = *statuses.last().unwrap();
    Order {
        user_id: user_id(),
        order_id: order_id(number),
        status,
        currency: Currency::JPY,
        total_amount: PRICE * 2,
        items: vec![OrderLine {
            product_id: product_id(),
            product_name: "Lantern".to_owned(),
            quantity: Quantity::new(2).unwrap(),
            price: PRICE,
        }],
        payment_method: "pm_card_visa".to_owned(),
        contact_email: "customer@example.com".to_owned(),
        created_at: at,
        updated_at: at,
        history: statuses
            .iter()
            .map(|status| StatusChange { status: *status, at })
            .collect(),
        reason: (status == OrderStatus::Failed).then_some(FailureReason::InternalError),
        payment_id: payment.map(|_| PaymentId(format!("pi_{number}"))),
        payment,
        payment_action: None,
        payment_action_expires_at: None,
        payment_closed: status == OrderStatus::Failed,
        created_event_id: None,
        final_event_id: None,
        open: None,
        restarted_at: None,
        restart_limit: None,
        parked_at: None,
        restarts: 0,
        traceparent: TraceParent::root(at),
        ttl: 0,
        order_mails: None,
        mail_language: None,
        payment_issue: None,
    }
}

fn payment(number: usize, charged: bool, refunded: i64) -> Payment {
    Payment {
        id: format!("pi_{number}"),
        order_id: Some(order_id(number)),
        amount: PRICE * 2,
        charged,
        refunded,
        has_failed_refund: false,
        disputed: false,
    }
}

fn consistent_snapshot() -> (SystemSnapshot, Vec<ClientObservation>) {
    use OrderStatus::{Cancelled, Completed, Failed, Pending, Processing};
    let orders = vec![
        order(
            COMPLETED,
            &[Pending, Processing, Completed],
            Some(PaymentState::Captured),
        ),
        order(
            REFUNDED,
            &[Pending, Processing, Failed],
            Some(PaymentState::Refunded),
        ),
        order(
            DECLINED,
            &[Pending, Processing, Failed],
            Some(PaymentState::Claimed),
        ),
        order(CANCELLED, &[Pending, Cancelled], None),
    ];
    let reservation = |number: usize, status: &str| Reservation {
        id: id(number),
        status: status.to_owned(),
        quantities: vec![(product_id(), 2)],
    };
    let mail = |number: usize, kind: MailKind| OrderMail {
        order_id: Some(order_id(number)),
        kind,
    };
    let observed = |order: &Order| {
        let end = match order.status {
            Completed => "OrderCompleted",
            Cancelled => "OrderCancelled",
            _ => "OrderFailed",
        };
        ["OrderCreated", end].map(|kind| ObservedEvent {
            correlation_id: order.order_id.0,
            detail_type: kind.to_owned(),
            trace_id: order.traceparent.trace_id(),
        })
    };
    let observations = orders.iter().map(|order| ClientObservation {
        user_id: user_id(),
        idempotency_key: format!("key of {}", order.order_id),
        order_ids: BTreeSet::from([order.order_id]),
    });
    let observations = observations.collect();
    let snapshot = SystemSnapshot {
        products: vec![ProductStock {
            id: product_id(),
            adjusted: 10,
            committed: 2,
            open_reserved: 0,
            quantity: 8,
            reserved: 0,
        }],
        reservations: vec![
            reservation(COMPLETED, "committed"),
            reservation(REFUNDED, "released"),
            reservation(DECLINED, "released"),
        ],
        outbox: Vec::new(),
        payments: vec![
            payment(COMPLETED, true, 0),
            payment(REFUNDED, true, PRICE * 2),
            payment(DECLINED, false, 0),
        ],
        mails: vec![
            mail(COMPLETED, MailKind::Completed),
            mail(REFUNDED, MailKind::FailedAndRefunded),
            mail(DECLINED, MailKind::Failed),
        ],
        queues: [
            "order-processing-queue",
            "order-processing-dlq",
            "event-parking-queue",
            "order-parking-queue",
        ]
        .map(|name| (name.to_owned(), Vec::new()))
        .into(),
        executions: (0..4)
            .map(|number| SagaExecution {
                name: order_id(number).to_string(),
                order_id: Some(order_id(number)),
                status: "SUCCEEDED".to_owned(),
            })
            .collect(),
        observed_events: orders.iter().flat_map(observed).collect(),
        orders,
    };
    (snapshot, observations)
}

fn push_message(snapshot: &mut SystemSnapshot, queue: &str, body: &str) {
    snapshot.queues.get_mut(queue).unwrap().push(body.to_owned());
}

/// Changes a consistent snapshot or its observations so that they violate an invariant.
type Corruption = fn(&mut SystemSnapshot, &mut Vec<ClientObservation>);

fn violations_after(corrupt: Corruption) -> Vec<Invariant> {
    let (mut snapshot, mut observations) = consistent_snapshot();
    corrupt(&mut snapshot, &mut observations);
    snapshot.check_invariants(&observations).violated_invariants()
}

#[test]
fn consistent_snapshot_satisfies_all_invariants() {
    let (snapshot, observations) = consistent_snapshot();
    let report = snapshot.check_invariants(&observations);
    assert!(report.is_consistent() && report.warnings.is_empty(), "{report}");
    let invariants: Vec<Invariant> = report.checks.iter().map(|check| check.invariant).collect();
    assert_eq!(invariants, Invariant::ALL);
}

#[test]
fn flagged_order_may_lack_its_refund() {
    let violations = violations_after(|snapshot, _| {
        snapshot.payments[REFUNDED].has_failed_refund = true;
        snapshot.payments[REFUNDED].refunded = 0;
        snapshot.orders[REFUNDED].payment_issue = Some(PaymentIssue::RefundFailed);
    });
    assert_eq!(violations, []);
}

/// Each corruption with all invariants that it violates.
const CORRUPTIONS: [(Corruption, &[Invariant]); 40] = [
    (
        |snapshot, _| snapshot.payments[COMPLETED].disputed = true,
        &[Invariant::PaymentIssuesFlagged],
    ),
    (
        |snapshot, _| {
            snapshot.payments[REFUNDED].has_failed_refund = true;
            snapshot.payments[REFUNDED].refunded = 0;
        },
        &[
            Invariant::UncompletedChargesRefunded,
            Invariant::PaymentIssuesFlagged,
        ],
    ),
    (
        |_, observations| _ = observations[0].order_ids.insert(order_id(99)),
        &[
            Invariant::AcceptedOrdersExist,
            Invariant::OneOrderPerIdempotencyKey,
        ],
    ),
    (
        |_, observations| observations[0].order_ids = [order_id(99)].into(),
        &[Invariant::AcceptedOrdersExist, Invariant::NoUnacknowledgedOrders],
    ),
    (
        |_, observations| _ = observations.pop(),
        &[Invariant::NoUnacknowledgedOrders],
    ),
    (
        |snapshot, _| {
            snapshot.orders[CANCELLED].status = OrderStatus::Pending;
            snapshot.orders[CANCELLED].history.truncate(1);
        },
        &[Invariant::OrdersReachFinalStatus],
    ),
    (
        |snapshot, _| _ = snapshot.orders[COMPLETED].history.remove(1),
        &[Invariant::ValidTransitions],
    ),
    (
        |snapshot, _| _ = snapshot.orders[COMPLETED].history.pop(),
        &[Invariant::ValidTransitions],
    ),
    (
        |snapshot, _| _ = snapshot.orders[COMPLETED].history.remove(0),
        &[Invariant::ValidTransitions],
    ),
    (
        |snapshot, _| snapshot.products[0].quantity = 7,
        &[Invariant::QuantityMatchesMovements],
    ),
    (
        |snapshot, _| snapshot.products[0].committed = 4,
        &[Invariant::QuantityMatchesMovements],
    ),
    (
        |snapshot, _| snapshot.products[0].reserved = 2,
        &[Invariant::ReservedMatchesReservations],
    ),
    (
        |snapshot, _| snapshot.reservations[REFUNDED].status = "reserved".into(),
        &[Invariant::NoOrphanReservations],
    ),
    (
        |snapshot, _| {
            snapshot.reservations[DECLINED].status = "reserved".into();
            snapshot.reservations[DECLINED].id = id(99);
        },
        &[Invariant::NoOrphanReservations],
    ),
    (
        |snapshot, _| snapshot.reservations[COMPLETED].status = "reserved".into(),
        &[
            Invariant::NoOrphanReservations,
            Invariant::CompletedOrdersCommitStock,
        ],
    ),
    (
        |snapshot, _| snapshot.reservations[COMPLETED].status = "released".into(),
        &[Invariant::CompletedOrdersCommitStock],
    ),
    (
        |snapshot, _| snapshot.reservations[COMPLETED].quantities[0].1 = 1,
        &[Invariant::CompletedOrdersCommitStock],
    ),
    (
        |snapshot, _| _ = snapshot.reservations.remove(COMPLETED),
        &[Invariant::CompletedOrdersCommitStock],
    ),
    (
        |snapshot, _| snapshot.reservations[REFUNDED].status = "committed".into(),
        &[Invariant::CommittedStockHasCompletedOrder],
    ),
    (
        |snapshot, _| snapshot.payments[COMPLETED].charged = false,
        &[Invariant::CompletedOrdersChargedInFull],
    ),
    (
        |snapshot, _| snapshot.payments[COMPLETED].amount = 1,
        &[Invariant::CompletedOrdersChargedInFull],
    ),
    (
        |snapshot, _| snapshot.payments[COMPLETED].refunded = PRICE * 2,
        &[Invariant::CompletedOrdersChargedInFull],
    ),
    (
        |snapshot, _| snapshot.payments.push(payment(COMPLETED, true, 0)),
        &[Invariant::CompletedOrdersChargedInFull, Invariant::NoDoubleCharge],
    ),
    (
        |snapshot, _| snapshot.payments.push(payment(REFUNDED, true, PRICE * 2)),
        &[Invariant::NoDoubleCharge],
    ),
    (
        |snapshot, _| snapshot.payments[REFUNDED].refunded = 0,
        &[Invariant::UncompletedChargesRefunded],
    ),
    (
        |snapshot, _| snapshot.payments[REFUNDED].refunded = PRICE * 4,
        &[Invariant::UncompletedChargesRefunded],
    ),
    (
        |snapshot, _| {
            snapshot.payments[REFUNDED].order_id = None;
            snapshot.payments[REFUNDED].refunded = 0;
            snapshot.orders[REFUNDED].payment = None;
            snapshot.mails[REFUNDED].kind = MailKind::Failed;
        },
        &[Invariant::UncompletedChargesRefunded],
    ),
    (
        |snapshot, _| snapshot.payments[DECLINED].charged = true,
        &[
            Invariant::UncompletedChargesRefunded,
            Invariant::PaymentStateRecorded,
        ],
    ),
    (
        |snapshot, _| snapshot.orders[COMPLETED].payment = Some(PaymentState::Claimed),
        &[Invariant::PaymentStateRecorded],
    ),
    (
        |snapshot, _| _ = snapshot.mails.remove(COMPLETED),
        &[Invariant::OutcomeMailSent],
    ),
    (
        |snapshot, _| snapshot.mails[DECLINED].order_id = Some(order_id(CANCELLED)),
        &[Invariant::OutcomeMailSent, Invariant::MailMatchesOutcome],
    ),
    (
        |snapshot, _| snapshot.mails[COMPLETED].kind = MailKind::Failed,
        &[Invariant::MailMatchesOutcome],
    ),
    (
        |snapshot, _| snapshot.mails[DECLINED].kind = MailKind::FailedAndRefunded,
        &[Invariant::MailMatchesOutcome],
    ),
    (
        |snapshot, _| push_message(snapshot, "order-processing-dlq", "poison"),
        &[Invariant::NoDeadLetters],
    ),
    (
        |snapshot, _| push_message(snapshot, "event-parking-queue", "an event"),
        &[Invariant::NoDeadLetters],
    ),
    (
        |snapshot, _| push_message(snapshot, "order-processing-queue", "work"),
        &[Invariant::WorkQueuesEmpty],
    ),
    (
        |snapshot, _| {
            snapshot.outbox.push(OutboxEntry {
                store: "outbox.inventory_events".to_owned(),
                event_id: "1".to_owned(),
                detail_type: "StockLow".to_owned(),
                detail: "{}".to_owned(),
            });
        },
        &[Invariant::OutboxesEmpty],
    ),
    (
        |snapshot, _| snapshot.executions[0].status = "FAILED".into(),
        &[Invariant::ExecutionsSucceeded],
    ),
    (
        |snapshot, _| {
            snapshot
                .observed_events
                .retain(|observed| observed.detail_type != "OrderFailed")
        },
        &[Invariant::OutcomeEventPublished],
    ),
    (
        |snapshot, _| snapshot.observed_events[0].trace_id = "0".repeat(32),
        &[Invariant::SingleTracePerOrder],
    ),
];

#[test]
fn each_corruption_violates_the_expected_invariants() {
    let mut violated = BTreeSet::new();
    for (number, (corrupt, invariants)) in CORRUPTIONS.into_iter().enumerate() {
        assert_eq!(violations_after(corrupt), invariants, "corruption {number}");
        violated.extend(invariants);
    }
    assert_eq!(
        violated,
        BTreeSet::from_iter(&Invariant::ALL),
        "the corruptions cover every invariant"
    );
}

#[test]
fn parked_orders_may_be_in_any_state_and_cause_a_warning() {
    let (mut snapshot, observations) = consistent_snapshot();
    let order = &mut snapshot.orders[REFUNDED];
    order.status = OrderStatus::Processing;
    order.history.pop();
    order.payment = Some(PaymentState::Captured);
    let parked_message = format!(r#"{{"order_id":"{}"}}"#, order.order_id);
    snapshot.payments[REFUNDED].refunded = 0;
    snapshot.reservations[REFUNDED].status = "reserved".to_owned();
    snapshot.executions[REFUNDED].status = "FAILED".to_owned();
    snapshot.mails.remove(REFUNDED);
    push_message(&mut snapshot, "order-parking-queue", &parked_message);
    let report = snapshot.check_invariants(&observations);
    assert!(report.is_consistent(), "{report}");
    assert_eq!(report.warnings[0].ids, [order_id(REFUNDED).to_string()]);
}

/// Its execution has ended, and its stock is reserved.
#[test]
fn order_that_waits_for_its_customer_is_consistent() {
    let (mut snapshot, observations) = consistent_snapshot();
    let waiting = &mut snapshot.orders[DECLINED];
    waiting.status = OrderStatus::Processing;
    waiting.history.truncate(2);
    waiting.payment_closed = false;
    snapshot.mails.remove(DECLINED);
    snapshot.reservations[DECLINED].status = "reserved".to_owned();
    (snapshot.products[0].open_reserved, snapshot.products[0].reserved) = (2, 2);
    let violated = |snapshot: &SystemSnapshot| {
        let report = snapshot.check_invariants(&observations);
        report.violated_invariants()
    };
    assert_eq!(violated(&snapshot), [Invariant::OrdersReachFinalStatus]);
    snapshot.orders[DECLINED].payment_action = Some(PaymentAction {
        kind: "redirect_to_url".to_owned(),
        client_secret: CustomerSecret::new("pi_2_secret".to_owned()),
        redirect_url: None,
    });
    assert_eq!(violated(&snapshot), []);
}

#[test]
fn duplicate_mails_cause_a_warning() {
    let (mut snapshot, observations) = consistent_snapshot();
    snapshot.mails.push(snapshot.mails[COMPLETED].clone());
    let report = snapshot.check_invariants(&observations);
    assert!(report.is_consistent(), "{report}");
    assert_eq!(
        report.warnings[0].ids,
        [format!("{}, 2 times", order_id(COMPLETED))]
    );
}

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
            .check_invariants(&[])
            .is_consistent()
    );
    assert_eq!(
        snapshot
            .for_orders(&[order_id(REFUNDED)])
            .check_invariants(&[])
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
            .check_invariants(&[])
            .violated_invariants(),
        [Invariant::NoDeadLetters]
    );
}

#[test]
fn report_names_violations_and_findings() {
    let (mut snapshot, observations) = consistent_snapshot();
    snapshot.payments[REFUNDED].refunded = 0;
    let report = snapshot.check_invariants(&observations).to_string();
    assert!(
        report.contains("✗ charges without completed order, refunded in full"),
        "{report}"
    );
    assert!(
        report.contains(&format!(
            "pi_1  charged 1400 for order {}, refunded 0",
            order_id(REFUNDED)
        )),
        "{report}"
    );
    assert!(report.ends_with("INCONSISTENT\n"), "{report}");
    assert!(
        consistent_snapshot()
            .0
            .check_invariants(&[])
            .to_string()
            .ends_with("\nCONSISTENT\n")
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
fn fingerprint_changes_when_an_order_mail_message_or_event_changes() {
    let (snapshot, _) = consistent_snapshot();
    let changes: [fn(&mut SystemSnapshot); 4] = [
        |snapshot| snapshot.orders[COMPLETED].status = OrderStatus::Processing,
        |snapshot| _ = snapshot.mails.pop(),
        |snapshot| push_message(snapshot, "order-processing-queue", "work"),
        |snapshot| _ = snapshot.observed_events.pop(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = snapshot.clone();
        change(&mut changed);
        assert_ne!(changed.fingerprint(), snapshot.fingerprint(), "change {number}");
    }
}
