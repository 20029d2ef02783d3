//! Invariants of mails, SMS, queues, outboxes, saga executions and published events.

use std::collections::{BTreeMap, BTreeSet};

use ::orders::{Order, Payment as PaymentState};
use domain::{OrderId, OrderStatus};

use super::{
    super::{
        Check, Finding, Invariant, NotificationKind, ObservedEvent, OrderNotification, QueuePurpose, Warning,
    },
    CheckContext,
};

pub(super) fn checks(context: &CheckContext<'_>) -> [Check; 10] {
    let snapshot = context.snapshot;
    let mut events_by_order: BTreeMap<OrderId, Vec<&ObservedEvent>> = BTreeMap::new();
    for event in &snapshot.observed_events {
        events_by_order
            .entry(OrderId(event.correlation_id))
            .or_default()
            .push(event);
    }
    let events_of = |order: &Order| events_by_order.get(&order.order_id);
    [
        outcome_reported(
            context,
            Invariant::OutcomeMailSent,
            &snapshot.mails,
            expected_mails,
        ),
        reports_match_outcome(
            context,
            Invariant::MailMatchesOutcome,
            &snapshot.mails,
            expected_mails,
        ),
        outcome_reported(context, Invariant::OutcomeSmsSent, &snapshot.sms, expected_sms),
        reports_match_outcome(context, Invariant::SmsMatchesOutcome, &snapshot.sms, expected_sms),
        Check::expect_none(
            Invariant::NoDeadLetters,
            message_findings(context, QueuePurpose::DeadLetterQueue),
        ),
        Check::expect_none(
            Invariant::WorkQueuesEmpty,
            message_findings(context, QueuePurpose::Work),
        ),
        Check::expect_none(
            Invariant::OutboxesEmpty,
            snapshot.outbox.iter().map(|entry| {
                Finding::new(
                    &entry.event_id,
                    format!("{} in {}", entry.detail_type, entry.store),
                )
            }),
        ),
        Check::expect_all(
            Invariant::ExecutionsSucceeded,
            snapshot.executions.iter().map(|execution| {
                let is_parked = execution
                    .order_id
                    .is_some_and(|id| context.parked_orders.contains(&id));
                let is_valid = execution.status == "SUCCEEDED" || is_parked;
                (!is_valid).then(|| Finding::new(&execution.name, format!("is {}", execution.status)))
            }),
        ),
        Check::expect_all(
            Invariant::OutcomeEventPublished,
            context
                .final_orders()
                .filter(|_| !snapshot.observed_events.is_empty())
                .map(|order| {
                    let expected = outcome_event(order.status);
                    let is_published = events_of(order)
                        .is_some_and(|events| events.iter().any(|event| event.detail_type == expected));
                    (!is_published).then(|| {
                        Finding::new(
                            order.order_id,
                            format!("is {}, but no {expected} event was published", order.status),
                        )
                    })
                }),
        ),
        Check::expect_all(
            Invariant::SingleTracePerOrder,
            snapshot
                .orders
                .iter()
                .filter_map(|order| Some((order, events_of(order)?)))
                .map(|(order, events)| {
                    let own = order.traceparent.trace_id();
                    let foreign: BTreeSet<String> = events
                        .iter()
                        .filter(|event| event.trace_id != own)
                        .map(|event| format!("{} in trace {}", event.detail_type, event.trace_id))
                        .collect();
                    let detail = || format!("has trace {own}, but events of other traces: {foreign:?}");
                    (!foreign.is_empty()).then(|| Finding::new(order.order_id, detail()))
                }),
        ),
    ]
}

/// Reports orders with more mails or SMS than expected. Neither SES nor SNS deduplicates, so a crash after
/// one of them accepts a message and before the sender records it leads to a second message. Any other cause
/// is a defect.
pub(super) fn duplicates(context: &CheckContext<'_>) -> Vec<Warning> {
    let channels: [(_, _, ExpectedKinds); 2] = [
        (
            "orders with more than one mail",
            &context.snapshot.mails,
            expected_mails,
        ),
        (
            "orders with more than one SMS",
            &context.snapshot.sms,
            expected_sms,
        ),
    ];
    let warning = |(description, sent, expected_kinds): (_, &Vec<OrderNotification>, ExpectedKinds)| {
        let expected = |id: &OrderId| {
            let order = context.orders.get(id);
            order.map_or(1, |order| expected_kinds(order).len()).max(1)
        };
        let ids: Vec<String> = kinds_per_order(sent)
            .into_iter()
            .filter(|(id, kinds)| kinds.len() > expected(id))
            .map(|(id, kinds)| format!("{id}, {} times", kinds.len()))
            .collect();
        (!ids.is_empty()).then_some(Warning { description, ids })
    };
    channels.into_iter().filter_map(warning).collect()
}

/// The notifications that the customer of an order must receive over a channel. Each is of one of the listed
/// kinds.
type ExpectedKinds = fn(&Order) -> Vec<&'static [NotificationKind]>;

/// Checks that every final order has its notifications.
fn outcome_reported(
    context: &CheckContext<'_>,
    invariant: Invariant,
    sent: &[OrderNotification],
    expected_kinds: ExpectedKinds,
) -> Check {
    let sent = kinds_per_order(sent);
    let finding = |order: &Order| {
        let expected = expected_kinds(order).len();
        // A duplicate does not count for a notification of another kind.
        let kinds = sent.get(&order.order_id).into_iter().flatten();
        let found = kinds.collect::<BTreeSet<_>>().len();
        let is_valid = if expected == 0 {
            found == 0
        } else {
            found >= expected
        };
        let detail = || format!("is {}, and {found} of {expected} were sent", order.status);
        (!is_valid).then(|| Finding::new(order.order_id, detail()))
    };
    Check::expect_all(invariant, context.final_orders().map(finding))
}

/// Checks that every notification reports the outcome of its order.
fn reports_match_outcome(
    context: &CheckContext<'_>,
    invariant: Invariant,
    sent: &[OrderNotification],
    expected_kinds: ExpectedKinds,
) -> Check {
    let finding = |notification: &OrderNotification| {
        let order = notification.order_id.and_then(|id| context.orders.get(&id));
        let Some(order) = order else {
            let detail = format!("names order {:?}, which does not exist", notification.order_id);
            return Some(Finding::new("a notification", detail));
        };
        let may_send = expected_kinds(order)
            .iter()
            .any(|kinds| kinds.contains(&notification.kind));
        (order.status.is_final() && !may_send).then(|| {
            let detail = format!(
                "is {} (payment {:?}), but {:?} was reported",
                order.status, order.payment, notification.kind
            );
            Finding::new(order.order_id, detail)
        })
    };
    Check::expect_all(invariant, sent.iter().map(finding))
}

fn kinds_per_order(sent: &[OrderNotification]) -> BTreeMap<OrderId, Vec<NotificationKind>> {
    let mut kinds: BTreeMap<OrderId, Vec<NotificationKind>> = BTreeMap::new();
    for notification in sent {
        if let Some(id) = notification.order_id {
            kinds.entry(id).or_default().push(notification.kind);
        }
    }
    kinds
}

/// Customers who opted out of order mails receive receipts only.
fn expected_mails(order: &Order) -> Vec<&'static [NotificationKind]> {
    if order.order_mails == Some(false) && order.status != OrderStatus::Completed {
        return Vec::new();
    }
    outcome_kinds(order)
}

fn expected_sms(order: &Order) -> Vec<&'static [NotificationKind]> {
    match order.sms_contact {
        Some(_) => outcome_kinds(order),
        None => Vec::new(),
    }
}

/// The notifications about the outcome of an order. Each is of one of the listed kinds.
fn outcome_kinds(order: &Order) -> Vec<&'static [NotificationKind]> {
    use NotificationKind::{
        Cancelled, CancelledAndRefunded, Completed, Failed, FailedAndRefunded, RefundedAfterEnd,
    };
    let (not_charged, refunded, either): (&[_], &[_], &[_]) = match order.status {
        OrderStatus::Completed => return vec![&[Completed]],
        OrderStatus::Pending | OrderStatus::Processing => return Vec::new(),
        OrderStatus::Failed => (&[Failed], &[FailedAndRefunded], &[Failed, FailedAndRefunded]),
        OrderStatus::Cancelled => (
            &[Cancelled],
            &[CancelledAndRefunded],
            &[Cancelled, CancelledAndRefunded],
        ),
    };
    match order.payment {
        // The first notification was sent before the refund or after it.
        Some(PaymentState::Refunded) if order.refunded_after_end => vec![either, &[RefundedAfterEnd]],
        Some(PaymentState::Refunded) => vec![refunded],
        _ => vec![not_charged],
    }
}

fn outcome_event(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Completed => "OrderCompleted",
        OrderStatus::Cancelled => "OrderCancelled",
        OrderStatus::Failed | OrderStatus::Pending | OrderStatus::Processing => "OrderFailed",
    }
}

fn message_findings(context: &CheckContext<'_>, purpose: QueuePurpose) -> Vec<Finding> {
    let messages = context.snapshot.messages_in(purpose);
    let truncated = |body: &str| body.chars().take(300).collect::<String>();
    messages
        .map(|(queue, body)| Finding::new(queue, truncated(body)))
        .collect()
}
