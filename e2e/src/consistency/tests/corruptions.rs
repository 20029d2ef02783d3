//! Each corruption of a consistent snapshot violates exactly the expected invariants.

use std::collections::BTreeSet;

use domain::{FailureReason, OrderStatus};
use orders::{HistoryEntry, OrderChange, Payment as PaymentState, PaymentIssue, PaymentStep};
use strum::VariantArray as _;

use super::{
    CANCELLED, COMPLETED, DECLINED, FOLLOWED, MAIL_ABOUT_REFUND, PRICE, REFUNDED, consistent_snapshot, id,
    order_id, payment, push_message, receipt,
};
use crate::{
    consistency::{
        Authentication, ConnectedCustomer, Invariant, NotificationKind, Observations, OutboxEntry,
        ReceiptContent, SystemSnapshot,
    },
    realtime::OrderView,
};

/// Changes a consistent snapshot or its observations so that they violate an invariant.
type Corruption = fn(&mut SystemSnapshot, &mut Observations);

fn violations_after(corrupt: Corruption) -> Vec<Invariant> {
    let (mut snapshot, mut observations) = consistent_snapshot();
    corrupt(&mut snapshot, &mut observations);
    snapshot.check_invariants(&observations).violated_invariants()
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

#[test]
fn late_or_missing_authentication_may_time_out() {
    for authentication in [Authentication::ApprovedLate, Authentication::Unanswered] {
        let (mut snapshot, mut observations) = consistent_snapshot();
        observations.requests[DECLINED].authentication = Some(authentication);
        snapshot.orders[DECLINED].reason = Some(FailureReason::AuthenticationTimeout);
        let report = snapshot.check_invariants(&observations);
        assert!(report.is_consistent(), "{authentication:?}: {report}");
    }
}

/// A client does not ask for a finished order again.
#[test]
fn connected_customer_may_miss_what_follows_the_end() {
    let violations = violations_after(|snapshot, _| {
        let history = &mut snapshot.orders[FOLLOWED].history;
        let at = history[0].at;
        let change = OrderChange::Payment(PaymentStep::Refunded);
        history.push(HistoryEntry { at, change });
    });
    assert_eq!(violations, []);
}

fn connected_customer(observations: &mut Observations) -> &mut ConnectedCustomer {
    &mut observations.connected_customers[0]
}

/// The order of the connected customer, as the client saw it.
fn view(observations: &mut Observations) -> &mut OrderView {
    let orders = &mut connected_customer(observations).orders;
    orders.get_mut(&order_id(FOLLOWED)).unwrap()
}

fn receipt_content(snapshot: &mut SystemSnapshot) -> &mut ReceiptContent {
    snapshot.receipts[0].content.as_mut().unwrap()
}

/// Each corruption with all invariants that it violates.
const CORRUPTIONS: [(Corruption, &[Invariant]); 74] = [
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
        |_, observations| _ = observations.requests[0].order_ids.insert(order_id(99)),
        &[
            Invariant::AcceptedOrdersExist,
            Invariant::OneOrderPerIdempotencyKey,
        ],
    ),
    (
        |_, observations| observations.requests[0].order_ids = [order_id(99)].into(),
        &[Invariant::AcceptedOrdersExist, Invariant::NoUnacknowledgedOrders],
    ),
    (
        |_, observations| _ = observations.requests.remove(REFUNDED),
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
        |_, observations| observations.requests[COMPLETED].authentication = Some(Authentication::Refused),
        &[Invariant::OutcomeMatchesAuthentication],
    ),
    (
        |_, observations| observations.requests[COMPLETED].authentication = Some(Authentication::Unanswered),
        &[Invariant::OutcomeMatchesAuthentication],
    ),
    (
        |snapshot, observations| {
            observations.requests[DECLINED].authentication = Some(Authentication::Approved);
            snapshot.orders[DECLINED].reason = Some(FailureReason::AuthenticationTimeout);
        },
        &[Invariant::OutcomeMatchesAuthentication],
    ),
    (
        |snapshot, observations| {
            observations.requests[DECLINED].authentication = Some(Authentication::Unanswered);
            snapshot.orders[DECLINED].reason = Some(FailureReason::PaymentDeclined);
        },
        &[Invariant::OutcomeMatchesAuthentication],
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
            snapshot.mails[REFUNDED].kind = NotificationKind::Failed;
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
        |snapshot, _| _ = snapshot.mails.remove(CANCELLED),
        &[Invariant::OutcomeMailSent],
    ),
    (
        |snapshot, _| _ = snapshot.mails.remove(MAIL_ABOUT_REFUND),
        &[Invariant::OutcomeMailSent],
    ),
    (
        |snapshot, _| snapshot.mails[MAIL_ABOUT_REFUND].kind = NotificationKind::Failed,
        &[Invariant::OutcomeMailSent],
    ),
    (
        |snapshot, _| snapshot.mails[CANCELLED].kind = NotificationKind::CancelledAndRefunded,
        &[Invariant::MailMatchesOutcome],
    ),
    (
        |snapshot, _| snapshot.orders[CANCELLED].order_mails = Some(false),
        &[Invariant::OutcomeMailSent, Invariant::MailMatchesOutcome],
    ),
    (
        |snapshot, _| snapshot.mails[DECLINED].order_id = Some(order_id(CANCELLED)),
        &[Invariant::OutcomeMailSent, Invariant::MailMatchesOutcome],
    ),
    (
        |snapshot, _| snapshot.mails[COMPLETED].kind = NotificationKind::Failed,
        &[Invariant::MailMatchesOutcome],
    ),
    (
        |snapshot, _| snapshot.mails[DECLINED].kind = NotificationKind::FailedAndRefunded,
        &[Invariant::MailMatchesOutcome],
    ),
    (
        |snapshot, _| _ = snapshot.sms.remove(COMPLETED),
        &[Invariant::OutcomeSmsSent],
    ),
    (|snapshot, _| _ = snapshot.sms.pop(), &[Invariant::OutcomeSmsSent]),
    (
        |snapshot, _| snapshot.orders[COMPLETED].sms_contact = None,
        &[Invariant::OutcomeSmsSent, Invariant::SmsMatchesOutcome],
    ),
    (
        |snapshot, _| snapshot.sms[COMPLETED].kind = NotificationKind::Failed,
        &[Invariant::SmsMatchesOutcome],
    ),
    (
        |snapshot, _| snapshot.sms[COMPLETED].order_id = None,
        &[Invariant::OutcomeSmsSent, Invariant::SmsMatchesOutcome],
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
    (
        |snapshot, _| _ = snapshot.receipts.pop(),
        &[Invariant::CompletedOrdersHaveReceipt],
    ),
    (
        |snapshot, _| snapshot.receipts[0].versions = 2,
        &[Invariant::CompletedOrdersHaveReceipt],
    ),
    (
        |snapshot, _| snapshot.receipts[0].content = None,
        &[Invariant::CompletedOrdersHaveReceipt],
    ),
    (
        |snapshot, _| receipt_content(snapshot).number = order_id(REFUNDED),
        &[Invariant::CompletedOrdersHaveReceipt],
    ),
    (
        |snapshot, _| receipt_content(snapshot).total += 1,
        &[Invariant::CompletedOrdersHaveReceipt],
    ),
    (
        |snapshot, _| receipt_content(snapshot).tax -= 1,
        &[Invariant::CompletedOrdersHaveReceipt],
    ),
    (
        |snapshot, _| snapshot.receipts[0].order_id = Some(order_id(REFUNDED)),
        &[
            Invariant::CompletedOrdersHaveReceipt,
            Invariant::ReceiptsOfCompletedOrders,
        ],
    ),
    (
        |snapshot, _| snapshot.receipts.push(receipt(REFUNDED)),
        &[Invariant::ReceiptsOfCompletedOrders],
    ),
    (
        |snapshot, _| snapshot.receipts.push(receipt(99)),
        &[Invariant::ReceiptsOfCompletedOrders],
    ),
    (
        |_, observations| _ = view(observations).changes.pop(),
        &[Invariant::ConnectedCustomersSawHistory],
    ),
    (
        |_, observations| _ = view(observations).changes.remove(0),
        &[Invariant::ConnectedCustomersSawHistory],
    ),
    (
        |_, observations| view(observations).changes.reverse(),
        &[Invariant::ConnectedCustomersSawHistory],
    ),
    (
        |_, observations| {
            let last = view(observations).changes[1].clone();
            view(observations).changes.push(last);
        },
        &[Invariant::ConnectedCustomersSawHistory],
    ),
    (
        |_, observations| view(observations).status = Some(OrderStatus::Completed),
        &[Invariant::ConnectedCustomersSawHistory],
    ),
    (
        |_, observations| view(observations).reason = Some(FailureReason::PaymentDeclined),
        &[Invariant::ConnectedCustomersSawHistory],
    ),
    (
        |_, observations| view(observations).is_final = false,
        &[Invariant::ConnectedCustomersSawHistory],
    ),
    (
        |_, observations| connected_customer(observations).orders.clear(),
        &[Invariant::ConnectedCustomersSawHistory],
    ),
    (
        |_, observations| {
            let invalid_messages = &mut connected_customer(observations).invalid_messages;
            invalid_messages.push((order_id(FOLLOWED), "a gap".to_owned()));
        },
        &[Invariant::NoInvalidUpdates],
    ),
    (
        |_, observations| {
            let orders = &mut connected_customer(observations).orders;
            orders.insert(order_id(COMPLETED), OrderView::default());
        },
        &[Invariant::NoForeignUpdates],
    ),
    (
        |_, observations| {
            let orders = &mut connected_customer(observations).orders;
            orders.insert(order_id(99), OrderView::default());
        },
        &[Invariant::NoForeignUpdates],
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
        BTreeSet::from_iter(Invariant::VARIANTS),
        "the corruptions cover every invariant"
    );
}
