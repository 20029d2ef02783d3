//! Made-up books: sound ones balance, and each rule finds what breaks it, and no other rule what does not concern it.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;

use chrono::DateTime;
use domain::{Currency, FailureReason, OrderId, OrderStatus, PaymentId, ProductId, Quantity, UserId};
use events::{TraceParent, order::OrderLine};
use orders::{Order, Payment as Known, StatusChange};
use uuid::Uuid;

use super::{Books, Claim, Execution, Heard, Mail, News, Payment, Product, Reservation, Rule, Waiting};

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

fn sound() -> (Books, Vec<Claim>) {
    use OrderStatus::{Cancelled, Completed, Failed, Pending, Processing};
    let orders = vec![
        order(COMPLETED, &[Pending, Processing, Completed], Some(Known::Taken)),
        order(REFUNDED, &[Pending, Processing, Failed], Some(Known::Refunded)),
        order(DECLINED, &[Pending, Processing, Failed], Some(Known::Claimed)),
        order(CANCELLED, &[Pending, Cancelled], None),
    ];
    let reservation = |number: usize, status: &str| Reservation {
        id: id(number),
        status: status.to_owned(),
        pieces: vec![(product_id(), 2)],
    };
    let mail = |number: usize, news: News| Mail {
        order_id: Some(order_id(number)),
        news,
    };
    let heard = |order: &Order| {
        let end = match order.status {
            Completed => "OrderCompleted",
            Cancelled => "OrderCancelled",
            _ => "OrderFailed",
        };
        ["OrderCreated", end].map(|kind| Heard {
            correlation_id: order.order_id.0,
            detail_type: kind.to_owned(),
            trace_id: order.traceparent.trace_id(),
        })
    };
    let claims = orders.iter().map(|order| Claim {
        user_id: user_id(),
        key: format!("key of {}", order.order_id),
        order_ids: BTreeSet::from([order.order_id]),
    });
    let claims = claims.collect();
    let books = Books {
        products: vec![Product {
            id: product_id(),
            brought: 10,
            sold: 2,
            held: 0,
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
            mail(COMPLETED, News::Completed),
            mail(REFUNDED, News::FailedAndRefunded),
            mail(DECLINED, News::Failed),
        ],
        queues: [
            "order-processing-queue",
            "order-processing-queue-dlq",
            "event-parking-queue",
            "order-parking-queue",
        ]
        .map(|name| (name.to_owned(), Vec::new()))
        .into(),
        executions: (0..4)
            .map(|number| Execution {
                name: order_id(number).to_string(),
                order_id: Some(order_id(number)),
                status: "SUCCEEDED".to_owned(),
            })
            .collect(),
        heard: orders.iter().flat_map(heard).collect(),
        orders,
    };
    (books, claims)
}

fn put(books: &mut Books, queue: &str, body: &str) {
    books.queues.get_mut(queue).unwrap().push(body.to_owned());
}

/// Breaks one rule in sound books, in one way.
type Break = fn(&mut Books, &mut Vec<Claim>);

fn broken(breaking: Break) -> Vec<Rule> {
    let (mut books, mut claims) = sound();
    breaking(&mut books, &mut claims);
    books.balance(&claims).broken()
}

#[test]
fn sound_books_balance() {
    let (books, claims) = sound();
    let verdict = books.balance(&claims);
    assert!(verdict.is_balanced() && verdict.notes.is_empty(), "{verdict}");
    let rules: Vec<Rule> = verdict.checks.iter().map(|check| check.rule).collect();
    assert_eq!(rules, Rule::ALL);
}

/// What is broken, and every rule that must find it.
const BREAKS: [(Break, &[Rule]); 38] = [
    (
        |_, claims| _ = claims[0].order_ids.insert(order_id(99)),
        &[Rule::AcceptedIsThere, Rule::OneOrderForOneKey],
    ),
    (
        |_, claims| claims[0].order_ids = [order_id(99)].into(),
        &[Rule::AcceptedIsThere, Rule::NoUnknownOrder],
    ),
    (|_, claims| _ = claims.pop(), &[Rule::NoUnknownOrder]),
    (
        |books, _| {
            books.orders[CANCELLED].status = OrderStatus::Pending;
            books.orders[CANCELLED].history.truncate(1);
        },
        &[Rule::OrderEnded],
    ),
    (
        |books, _| _ = books.orders[COMPLETED].history.remove(1),
        &[Rule::LawfulHistory],
    ),
    (
        |books, _| _ = books.orders[COMPLETED].history.pop(),
        &[Rule::LawfulHistory],
    ),
    (
        |books, _| _ = books.orders[COMPLETED].history.remove(0),
        &[Rule::LawfulHistory],
    ),
    (|books, _| books.products[0].quantity = 7, &[Rule::QuantityAddsUp]),
    (|books, _| books.products[0].sold = 4, &[Rule::QuantityAddsUp]),
    (|books, _| books.products[0].reserved = 2, &[Rule::ReservedAddsUp]),
    (
        |books, _| books.reservations[REFUNDED].status = "reserved".into(),
        &[Rule::NothingHeldForNobody],
    ),
    (
        |books, _| {
            books.reservations[DECLINED].status = "reserved".into();
            books.reservations[DECLINED].id = id(99);
        },
        &[Rule::NothingHeldForNobody],
    ),
    (
        |books, _| books.reservations[COMPLETED].status = "reserved".into(),
        &[Rule::NothingHeldForNobody, Rule::CompletedIsSold],
    ),
    (
        |books, _| books.reservations[COMPLETED].status = "released".into(),
        &[Rule::CompletedIsSold],
    ),
    (
        |books, _| books.reservations[COMPLETED].pieces[0].1 = 1,
        &[Rule::CompletedIsSold],
    ),
    (
        |books, _| _ = books.reservations.remove(COMPLETED),
        &[Rule::CompletedIsSold],
    ),
    (
        |books, _| books.reservations[REFUNDED].status = "committed".into(),
        &[Rule::SoldIsCompleted],
    ),
    (
        |books, _| books.payments[COMPLETED].charged = false,
        &[Rule::CompletedIsCharged],
    ),
    (
        |books, _| books.payments[COMPLETED].amount = 1,
        &[Rule::CompletedIsCharged],
    ),
    (
        |books, _| books.payments[COMPLETED].refunded = PRICE * 2,
        &[Rule::CompletedIsCharged],
    ),
    (
        |books, _| books.payments.push(payment(COMPLETED, true, 0)),
        &[Rule::CompletedIsCharged, Rule::ChargedOnce],
    ),
    (
        |books, _| books.payments.push(payment(REFUNDED, true, PRICE * 2)),
        &[Rule::ChargedOnce],
    ),
    (
        |books, _| books.payments[REFUNDED].refunded = 0,
        &[Rule::ChargeReturned],
    ),
    (
        |books, _| books.payments[REFUNDED].refunded = PRICE * 4,
        &[Rule::ChargeReturned],
    ),
    (
        |books, _| {
            books.payments[REFUNDED].order_id = None;
            books.payments[REFUNDED].refunded = 0;
            books.orders[REFUNDED].payment = None;
            books.mails[REFUNDED].news = News::Failed;
        },
        &[Rule::ChargeReturned],
    ),
    (
        |books, _| books.payments[DECLINED].charged = true,
        &[Rule::ChargeReturned, Rule::PaymentIsRecorded],
    ),
    (
        |books, _| books.orders[COMPLETED].payment = Some(Known::Claimed),
        &[Rule::PaymentIsRecorded],
    ),
    (|books, _| _ = books.mails.remove(COMPLETED), &[Rule::MailSent]),
    (
        |books, _| books.mails[DECLINED].order_id = Some(order_id(CANCELLED)),
        &[Rule::MailSent, Rule::MailIsTrue],
    ),
    (
        |books, _| books.mails[COMPLETED].news = News::Failed,
        &[Rule::MailIsTrue],
    ),
    (
        |books, _| books.mails[DECLINED].news = News::FailedAndRefunded,
        &[Rule::MailIsTrue],
    ),
    (
        |books, _| put(books, "order-processing-queue-dlq", "poison"),
        &[Rule::NoDeadLetter],
    ),
    (
        |books, _| put(books, "event-parking-queue", "an event"),
        &[Rule::NoDeadLetter],
    ),
    (
        |books, _| put(books, "order-processing-queue", "work"),
        &[Rule::NoMessageLeft],
    ),
    (
        |books, _| {
            books.outbox.push(Waiting {
                store: "event_outbox",
                event_id: "1".to_owned(),
                detail_type: "StockLow".to_owned(),
                detail: "{}".to_owned(),
            });
        },
        &[Rule::NoEventLeft],
    ),
    (
        |books, _| books.executions[0].status = "FAILED".into(),
        &[Rule::ExecutionEnded],
    ),
    (
        |books, _| books.heard.retain(|heard| heard.detail_type != "OrderFailed"),
        &[Rule::EndAnnounced],
    ),
    (
        |books, _| books.heard[0].trace_id = "0".repeat(32),
        &[Rule::OneTrace],
    ),
];

#[test]
fn every_rule_finds_what_breaks_it() {
    let mut proven = BTreeSet::new();
    for (number, (breaking, rules)) in BREAKS.into_iter().enumerate() {
        assert_eq!(broken(breaking), rules, "break {number}");
        proven.extend(rules);
    }
    assert_eq!(
        proven,
        BTreeSet::from_iter(&Rule::ALL),
        "every rule was broken at least once"
    );
}

#[test]
fn a_parked_order_may_be_anywhere_and_is_noted() {
    let (mut books, claims) = sound();
    let order = &mut books.orders[REFUNDED];
    order.status = OrderStatus::Processing;
    order.history.pop();
    order.payment = Some(Known::Taken);
    let letter = format!(r#"{{"order_id":"{}"}}"#, order.order_id);
    books.payments[REFUNDED].refunded = 0;
    books.reservations[REFUNDED].status = "reserved".to_owned();
    books.executions[REFUNDED].status = "FAILED".to_owned();
    books.mails.remove(REFUNDED);
    put(&mut books, "order-parking-queue", &letter);
    let verdict = books.balance(&claims);
    assert!(verdict.is_balanced(), "{verdict}");
    assert_eq!(verdict.notes[0].ids, [order_id(REFUNDED).to_string()]);
}

#[test]
fn a_second_mail_is_noted_and_no_loss() {
    let (mut books, claims) = sound();
    books.mails.push(books.mails[COMPLETED].clone());
    let verdict = books.balance(&claims);
    assert!(verdict.is_balanced(), "{verdict}");
    assert_eq!(
        verdict.notes[0].ids,
        [format!("{}, 2 times", order_id(COMPLETED))]
    );
}

#[test]
fn others_orders_do_not_matter_where_they_are_not_asked_for() {
    let (mut books, _) = sound();
    books.payments[REFUNDED].refunded = 0;
    put(&mut books, "order-processing-queue-dlq", "somebody's poison");
    assert!(
        books
            .of(&[order_id(COMPLETED), order_id(CANCELLED)])
            .balance(&[])
            .is_balanced()
    );
    assert_eq!(
        books.of(&[order_id(REFUNDED)]).balance(&[]).broken(),
        [Rule::ChargeReturned]
    );
    put(
        &mut books,
        "order-processing-queue-dlq",
        &format!("poison for {}", order_id(COMPLETED)),
    );
    assert_eq!(
        books.of(&[order_id(COMPLETED)]).balance(&[]).broken(),
        [Rule::NoDeadLetter]
    );
}

#[test]
fn a_verdict_names_what_it_found() {
    let (mut books, claims) = sound();
    books.payments[REFUNDED].refunded = 0;
    let verdict = books.balance(&claims).to_string();
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
    assert!(sound().0.balance(&[]).to_string().ends_with("\nBALANCED\n"));
}
