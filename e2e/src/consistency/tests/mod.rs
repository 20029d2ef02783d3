//! Unit tests of the checks. This module builds a consistent snapshot, which the tests change.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod corruptions;
mod reports;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet};

use chrono::DateTime;
use domain::{
    Currency, FailureReason, OrderId, OrderStatus, PaymentId, ProductId, Quantity, TaxRate, UserId,
};
use events::TraceParent;
use orders::{HistoryEntry, Order, OrderChange, OrderItem, Payment as PaymentState, SmsContact};
use uuid::Uuid;

use super::{
    Authentication, ClientObservation, ConnectedCustomer, NotificationKind, Observations, ObservedEvent,
    OrderNotification, Payment, ProductStock, ReceiptContent, Reservation, SagaExecution, StoredReceipt,
    SystemSnapshot,
};
use crate::realtime::OrderView;

const PRICE: i64 = 700;

/// The orders of the consistent snapshot, by outcome.
const COMPLETED: usize = 0;
const REFUNDED: usize = 1;
const DECLINED: usize = 2;
const CANCELLED: usize = 3;
const REFUNDED_AFTER_END: usize = 4;
/// The order of the connected customer.
const FOLLOWED: usize = 5;

/// The mail about the refund that followed the end of its order.
const MAIL_ABOUT_REFUND: usize = 5;

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

fn connected_user_id() -> UserId {
    UserId(id(2001))
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
        items: vec![OrderItem {
            product_id: product_id(),
            product_name: "Lantern".to_owned(),
            quantity: Quantity::new(2).unwrap(),
            price: PRICE,
            tax_rate: TaxRate::Standard,
        }],
        payment_method: "pm_card_visa".to_owned(),
        contact_email: "customer@example.com".to_owned(),
        created_at: at,
        updated_at: at,
        history: statuses
            .iter()
            .map(|status| HistoryEntry {
                at,
                change: OrderChange::Status(*status),
            })
            .collect(),
        reason: (status == OrderStatus::Failed).then_some(FailureReason::InternalError),
        payment_id: payment.map(|_| PaymentId(format!("pi_{number}"))),
        payment,
        payment_action: None,
        payment_action_expires_at: None,
        waits_until: None,
        payment_closed: status == OrderStatus::Failed,
        cancellation_requested: false,
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
        sms_contact: None,
        refunded_after_end: false,
        payment_issue: None,
    }
}

fn sms_contact() -> SmsContact {
    SmsContact {
        phone_number: "+819012345678".to_owned(),
        quiet_hours: None,
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

/// The receipt of an order with this number.
fn receipt(number: usize) -> StoredReceipt {
    StoredReceipt {
        key: format!("{}.pdf", order_id(number)),
        order_id: Some(order_id(number)),
        versions: 1,
        content: Some(ReceiptContent {
            number: order_id(number),
            total: PRICE * 2,
            tax: PRICE * 2 * 10 / 110,
        }),
    }
}

fn consistent_snapshot() -> (SystemSnapshot, Observations) {
    use OrderStatus::{Cancelled, Completed, Failed, Pending, Processing};
    let orders = vec![
        Order {
            sms_contact: Some(sms_contact()),
            ..order(
                COMPLETED,
                &[Pending, Processing, Completed],
                Some(PaymentState::Captured),
            )
        },
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
        Order {
            refunded_after_end: true,
            sms_contact: Some(sms_contact()),
            ..order(
                REFUNDED_AFTER_END,
                &[Pending, Processing, Failed],
                Some(PaymentState::Refunded),
            )
        },
        Order {
            user_id: connected_user_id(),
            ..order(FOLLOWED, &[Pending, Cancelled], None)
        },
    ];
    let reservation = |number: usize, status: &str| Reservation {
        id: id(number),
        status: status.to_owned(),
        quantities: vec![(product_id(), 2)],
    };
    let notification = |number: usize, kind: NotificationKind| OrderNotification {
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
    let requests = orders.iter().map(|order| ClientObservation {
        user_id: order.user_id,
        idempotency_key: format!("key of {}", order.order_id),
        order_ids: BTreeSet::from([order.order_id]),
        authentication: (order.status == Completed).then_some(Authentication::Approved),
    });
    let followed = &orders[FOLLOWED];
    let view = OrderView {
        changes: followed.history.clone(),
        status: Some(followed.status),
        reason: followed.reason,
        is_final: true,
    };
    let observations = Observations {
        requests: requests.collect(),
        connected_customers: vec![ConnectedCustomer {
            user_id: connected_user_id(),
            orders: BTreeMap::from([(followed.order_id, view)]),
            invalid_messages: Vec::new(),
        }],
    };
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
            reservation(REFUNDED_AFTER_END, "released"),
        ],
        outbox: Vec::new(),
        payments: vec![
            payment(COMPLETED, true, 0),
            payment(REFUNDED, true, PRICE * 2),
            payment(DECLINED, false, 0),
            payment(REFUNDED_AFTER_END, true, PRICE * 2),
        ],
        mails: vec![
            notification(COMPLETED, NotificationKind::Completed),
            notification(REFUNDED, NotificationKind::FailedAndRefunded),
            notification(DECLINED, NotificationKind::Failed),
            notification(CANCELLED, NotificationKind::Cancelled),
            notification(REFUNDED_AFTER_END, NotificationKind::Failed),
            notification(REFUNDED_AFTER_END, NotificationKind::RefundedAfterEnd),
            notification(FOLLOWED, NotificationKind::Cancelled),
        ],
        sms: vec![
            notification(COMPLETED, NotificationKind::Completed),
            notification(REFUNDED_AFTER_END, NotificationKind::Failed),
            notification(REFUNDED_AFTER_END, NotificationKind::RefundedAfterEnd),
        ],
        receipts: vec![receipt(COMPLETED)],
        queues: [
            "order-processing-queue",
            "order-processing-dlq",
            "event-parking-queue",
            "order-parking-queue",
        ]
        .map(|name| (name.to_owned(), Vec::new()))
        .into(),
        executions: (0..orders.len())
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
