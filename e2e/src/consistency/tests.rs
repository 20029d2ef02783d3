//! Made-up books: sound ones balance, and each rule finds what breaks it, and no other rule what does not concern it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use chrono::DateTime;
use domain::{Currency, FailureReason, OrderId, OrderStatus, PaymentId, ProductId, Quantity, UserId};
use events::{TraceParent, order::OrderLine};
use orders::{Order, Payment as Known, StatusChange};
use uuid::Uuid;

use super::{
    ClientObservation, Invariant, MailKind, ObservedEvent, OrderMail, OutboxEntry, Payment, ProductStock,
    Reservation, SagaExecution, SystemSnapshot,
};

const PRICE: i64 = 700;

/// The orders of the sound books, by what became of them.
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

fn order(number: usize, way: &[OrderStatus], payment: Option<Known>) -> Order {
    let at = DateTime::UNIX_EPOCH;
    let status = *way.last().unwrap();
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
        contact_email: "somebody@example.com".to_owned(),
        created_at: at,
        updated_at: at,
        history: way
            .iter()
            .map(|status| StatusChange { status: *status, at })
            .collect(),
        reason: (status == OrderStatus::Failed).then_some(FailureReason::InternalError),
        payment_id: payment.map(|_| PaymentId(format!("pi_{number}"))),
        payment,
        payment_closed: status == OrderStatus::Failed,
        created_event_id: None,
        final_event_id: None,
        open: None,
        restarted_at: None,
        restarts: 0,
        traceparent: TraceParent::root(at),
        ttl: 0,
    }
}

fn payment(number: usize, charged: bool, refunded: i64) -> Payment {
    Payment {
        id: format!("pi_{number}"),
        order_id: Some(order_id(number)),
        amount: PRICE * 2,
        charged,
        refunded,
    }
}

fn consistent_snapshot() -> (SystemSnapshot, Vec<ClientObservation>) {
    use OrderStatus::{Cancelled, Completed, Failed, Pending, Processing};
    let orders = vec![
        order(
            COMPLETED,
            &[Pending, Processing, Completed],
            Some(Known::Captured),
        ),
        order(REFUNDED, &[Pending, Processing, Failed], Some(Known::Refunded)),
        order(DECLINED, &[Pending, Processing, Failed], Some(Known::Claimed)),
        order(CANCELLED, &[Pending, Cancelled], None),
    ];
    let reservation = |number: usize, status: &str| Reservation {
        id: id(number),
        status: status.to_owned(),
        quantities: vec![(product_id(), 2)],
    };
    let mail = |number: usize, news: MailKind| OrderMail {
        order_id: Some(order_id(number)),
        kind: news,
    };
    let heard = |order: &Order| {
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
    let claims = orders.iter().map(|order| ClientObservation {
        user_id: user_id(),
        idempotency_key: format!("key of {}", order.order_id),
        order_ids: BTreeSet::from([order.order_id]),
    });
    let claims = claims.collect();
    let books = SystemSnapshot {
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
        observed_events: orders.iter().flat_map(heard).collect(),
        orders,
    };
    (books, claims)
}

fn push_message(books: &mut SystemSnapshot, queue: &str, body: &str) {
    books.queues.get_mut(queue).unwrap().push(body.to_owned());
}

/// Breaks one rule in sound books, in one way.
type Corruption = fn(&mut SystemSnapshot, &mut Vec<ClientObservation>);

fn violations_after(breaking: Corruption) -> Vec<Invariant> {
    let (mut books, mut claims) = consistent_snapshot();
    breaking(&mut books, &mut claims);
    books.check_invariants(&claims).violated_invariants()
}

#[test]
fn sound_books_balance() {
    let (books, claims) = consistent_snapshot();
    let verdict = books.check_invariants(&claims);
    assert!(verdict.is_consistent() && verdict.notes.is_empty(), "{verdict}");
    let rules: Vec<Invariant> = verdict.checks.iter().map(|check| check.rule).collect();
    assert_eq!(rules, Invariant::ALL);
}

/// What is broken, and every rule that must find it.
const CORRUPTIONS: [(Corruption, &[Invariant]); 38] = [
    (
        |_, claims| _ = claims[0].order_ids.insert(order_id(99)),
        &[
            Invariant::AcceptedOrdersExist,
            Invariant::OneOrderPerIdempotencyKey,
        ],
    ),
    (
        |_, claims| claims[0].order_ids = [order_id(99)].into(),
        &[Invariant::AcceptedOrdersExist, Invariant::NoUnacknowledgedOrders],
    ),
    (|_, claims| _ = claims.pop(), &[Invariant::NoUnacknowledgedOrders]),
    (
        |books, _| {
            books.orders[CANCELLED].status = OrderStatus::Pending;
            books.orders[CANCELLED].history.truncate(1);
        },
        &[Invariant::OrdersReachFinalStatus],
    ),
    (
        |books, _| _ = books.orders[COMPLETED].history.remove(1),
        &[Invariant::ValidTransitions],
    ),
    (
        |books, _| _ = books.orders[COMPLETED].history.pop(),
        &[Invariant::ValidTransitions],
    ),
    (
        |books, _| _ = books.orders[COMPLETED].history.remove(0),
        &[Invariant::ValidTransitions],
    ),
    (
        |books, _| books.products[0].quantity = 7,
        &[Invariant::QuantityMatchesMovements],
    ),
    (
        |books, _| books.products[0].committed = 4,
        &[Invariant::QuantityMatchesMovements],
    ),
    (
        |books, _| books.products[0].reserved = 2,
        &[Invariant::ReservedMatchesReservations],
    ),
    (
        |books, _| books.reservations[REFUNDED].status = "reserved".into(),
        &[Invariant::NoOrphanReservations],
    ),
    (
        |books, _| {
            books.reservations[DECLINED].status = "reserved".into();
            books.reservations[DECLINED].id = id(99);
        },
        &[Invariant::NoOrphanReservations],
    ),
    (
        |books, _| books.reservations[COMPLETED].status = "reserved".into(),
        &[
            Invariant::NoOrphanReservations,
            Invariant::CompletedOrdersCommitStock,
        ],
    ),
    (
        |books, _| books.reservations[COMPLETED].status = "released".into(),
        &[Invariant::CompletedOrdersCommitStock],
    ),
    (
        |books, _| books.reservations[COMPLETED].quantities[0].1 = 1,
        &[Invariant::CompletedOrdersCommitStock],
    ),
    (
        |books, _| _ = books.reservations.remove(COMPLETED),
        &[Invariant::CompletedOrdersCommitStock],
    ),
    (
        |books, _| books.reservations[REFUNDED].status = "committed".into(),
        &[Invariant::CommittedStockHasCompletedOrder],
    ),
    (
        |books, _| books.payments[COMPLETED].charged = false,
        &[Invariant::CompletedOrdersChargedInFull],
    ),
    (
        |books, _| books.payments[COMPLETED].amount = 1,
        &[Invariant::CompletedOrdersChargedInFull],
    ),
    (
        |books, _| books.payments[COMPLETED].refunded = PRICE * 2,
        &[Invariant::CompletedOrdersChargedInFull],
    ),
    (
        |books, _| books.payments.push(payment(COMPLETED, true, 0)),
        &[Invariant::CompletedOrdersChargedInFull, Invariant::NoDoubleCharge],
    ),
    (
        |books, _| books.payments.push(payment(REFUNDED, true, PRICE * 2)),
        &[Invariant::NoDoubleCharge],
    ),
    (
        |books, _| books.payments[REFUNDED].refunded = 0,
        &[Invariant::UncompletedChargesRefunded],
    ),
    (
        |books, _| books.payments[REFUNDED].refunded = PRICE * 4,
        &[Invariant::UncompletedChargesRefunded],
    ),
    (
        |books, _| {
            books.payments[REFUNDED].order_id = None;
            books.payments[REFUNDED].refunded = 0;
            books.orders[REFUNDED].payment = None;
            books.mails[REFUNDED].kind = MailKind::Failed;
        },
        &[Invariant::UncompletedChargesRefunded],
    ),
    (
        |books, _| books.payments[DECLINED].charged = true,
        &[
            Invariant::UncompletedChargesRefunded,
            Invariant::PaymentStateRecorded,
        ],
    ),
    (
        |books, _| books.orders[COMPLETED].payment = Some(Known::Claimed),
        &[Invariant::PaymentStateRecorded],
    ),
    (
        |books, _| _ = books.mails.remove(COMPLETED),
        &[Invariant::OutcomeMailSent],
    ),
    (
        |books, _| books.mails[DECLINED].order_id = Some(order_id(CANCELLED)),
        &[Invariant::OutcomeMailSent, Invariant::MailMatchesOutcome],
    ),
    (
        |books, _| books.mails[COMPLETED].kind = MailKind::Failed,
        &[Invariant::MailMatchesOutcome],
    ),
    (
        |books, _| books.mails[DECLINED].kind = MailKind::FailedAndRefunded,
        &[Invariant::MailMatchesOutcome],
    ),
    (
        |books, _| push_message(books, "order-processing-dlq", "poison"),
        &[Invariant::NoDeadLetters],
    ),
    (
        |books, _| push_message(books, "event-parking-queue", "an event"),
        &[Invariant::NoDeadLetters],
    ),
    (
        |books, _| push_message(books, "order-processing-queue", "work"),
        &[Invariant::WorkQueuesEmpty],
    ),
    (
        |books, _| {
            books.outbox.push(OutboxEntry {
                store: "event_outbox",
                event_id: "1".to_owned(),
                detail_type: "StockLow".to_owned(),
                detail: "{}".to_owned(),
            });
        },
        &[Invariant::OutboxesEmpty],
    ),
    (
        |books, _| books.executions[0].status = "FAILED".into(),
        &[Invariant::ExecutionsSucceeded],
    ),
    (
        |books, _| {
            books
                .observed_events
                .retain(|heard| heard.detail_type != "OrderFailed")
        },
        &[Invariant::OutcomeEventPublished],
    ),
    (
        |books, _| books.observed_events[0].trace_id = "0".repeat(32),
        &[Invariant::SingleTracePerOrder],
    ),
];

#[test]
fn every_rule_finds_what_breaks_it() {
    let mut proven = BTreeSet::new();
    for (number, (breaking, rules)) in CORRUPTIONS.into_iter().enumerate() {
        assert_eq!(violations_after(breaking), rules, "break {number}");
        proven.extend(rules);
    }
    assert_eq!(
        proven,
        BTreeSet::from_iter(&Invariant::ALL),
        "every rule was broken at least once"
    );
}

#[test]
fn a_parked_order_may_be_anywhere_and_is_noted() {
    let (mut books, claims) = consistent_snapshot();
    let order = &mut books.orders[REFUNDED];
    order.status = OrderStatus::Processing;
    order.history.pop();
    order.payment = Some(Known::Captured);
    let letter = format!(r#"{{"order_id":"{}"}}"#, order.order_id);
    books.payments[REFUNDED].refunded = 0;
    books.reservations[REFUNDED].status = "reserved".to_owned();
    books.executions[REFUNDED].status = "FAILED".to_owned();
    books.mails.remove(REFUNDED);
    push_message(&mut books, "order-parking-queue", &letter);
    let verdict = books.check_invariants(&claims);
    assert!(verdict.is_consistent(), "{verdict}");
    assert_eq!(verdict.notes[0].ids, [order_id(REFUNDED).to_string()]);
}

#[test]
fn a_second_mail_is_noted_and_no_loss() {
    let (mut books, claims) = consistent_snapshot();
    books.mails.push(books.mails[COMPLETED].clone());
    let verdict = books.check_invariants(&claims);
    assert!(verdict.is_consistent(), "{verdict}");
    assert_eq!(
        verdict.notes[0].ids,
        [format!("{}, 2 times", order_id(COMPLETED))]
    );
}

#[test]
fn others_orders_do_not_matter_where_they_are_not_asked_for() {
    let (mut books, _) = consistent_snapshot();
    books.payments[REFUNDED].refunded = 0;
    push_message(&mut books, "order-processing-dlq", "somebody's poison");
    assert!(
        books
            .for_orders(&[order_id(COMPLETED), order_id(CANCELLED)])
            .check_invariants(&[])
            .is_consistent()
    );
    assert_eq!(
        books
            .for_orders(&[order_id(REFUNDED)])
            .check_invariants(&[])
            .violated_invariants(),
        [Invariant::UncompletedChargesRefunded]
    );
    push_message(
        &mut books,
        "order-processing-dlq",
        &format!("poison for {}", order_id(COMPLETED)),
    );
    assert_eq!(
        books
            .for_orders(&[order_id(COMPLETED)])
            .check_invariants(&[])
            .violated_invariants(),
        [Invariant::NoDeadLetters]
    );
}

#[test]
fn a_verdict_names_what_it_found() {
    let (mut books, claims) = consistent_snapshot();
    books.payments[REFUNDED].refunded = 0;
    let verdict = books.check_invariants(&claims).to_string();
    assert!(
        verdict.contains("✗ charges without completed order, refunded in full"),
        "{verdict}"
    );
    assert!(
        verdict.contains(&format!(
            "pi_1  took 1400 for {}, gave back 0",
            order_id(REFUNDED)
        )),
        "{verdict}"
    );
    assert!(verdict.ends_with("NOT BALANCED\n"), "{verdict}");
    assert!(
        consistent_snapshot()
            .0
            .check_invariants(&[])
            .to_string()
            .ends_with("\nBALANCED\n")
    );
}
