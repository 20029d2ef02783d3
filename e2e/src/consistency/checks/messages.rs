//! Invariants of mails, queues, outboxes, saga executions and published events.

use std::collections::{BTreeMap, BTreeSet};

use ::orders::{Order, Payment as PaymentState};
use domain::{OrderId, OrderStatus};

use super::{
    super::{Check, Finding, Invariant, MailKind, ObservedEvent, QueuePurpose, Warning},
    CheckContext,
};

pub(super) fn checks(context: &CheckContext<'_>) -> [Check; 8] {
    let snapshot = context.snapshot;
    let mails = mails_per_order(context);
    let mut events_by_order: BTreeMap<OrderId, Vec<&ObservedEvent>> = BTreeMap::new();
    for event in &snapshot.observed_events {
        events_by_order
            .entry(OrderId(event.correlation_id))
            .or_default()
            .push(event);
    }
    let events_of = |order: &Order| events_by_order.get(&order.order_id);
    [
        Check::expect_all(
            Invariant::OutcomeMailSent,
            context.final_orders().map(|order| {
                let expected = expected_mails(order).len();
                // A duplicate does not count for a mail of another kind.
                let sent = mails.get(&order.order_id).into_iter().flatten();
                let kinds = sent.collect::<BTreeSet<_>>().len();
                let detail = || format!("is {}, and {kinds} of {expected} mails were sent", order.status);
                let is_valid = if expected == 0 {
                    kinds == 0
                } else {
                    kinds >= expected
                };
                (!is_valid).then(|| Finding::new(order.order_id, detail()))
            }),
        ),
        Check::expect_all(
            Invariant::MailMatchesOutcome,
            snapshot.mails.iter().map(|mail| {
                let order = mail.order_id.and_then(|id| context.orders.get(&id));
                match order {
                    None => Some(Finding::new(
                        "a mail",
                        format!("names order {:?}, which does not exist", mail.order_id),
                    )),
                    Some(order) if order.status.is_final() && !may_send(order, mail.kind) => {
                        let detail = format!(
                            "is {} (payment {:?}), but the mail reports {:?}",
                            order.status, order.payment, mail.kind
                        );
                        Some(Finding::new(order.order_id, detail))
                    }
                    Some(_) => None,
                }
            }),
        ),
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

/// Reports orders with more mails than expected. SES does not deduplicate, so a crash after SES accepts a
/// mail and before the sender records it leads to a second one. Any other cause is a defect.
pub(super) fn duplicate_mails(context: &CheckContext<'_>) -> Option<Warning> {
    let expected = |id: &OrderId| {
        context
            .orders
            .get(id)
            .map_or(1, |order| expected_mails(order).len())
    };
    let repeated: Vec<String> = mails_per_order(context)
        .into_iter()
        .filter(|(id, sent)| sent.len() > expected(id).max(1))
        .map(|(id, sent)| format!("{id}, {} times", sent.len()))
        .collect();
    (!repeated.is_empty()).then_some(Warning {
        description: "orders with more than one mail",
        ids: repeated,
    })
}

fn mails_per_order(context: &CheckContext<'_>) -> BTreeMap<OrderId, Vec<MailKind>> {
    let mut mails: BTreeMap<OrderId, Vec<MailKind>> = BTreeMap::new();
    for mail in &context.snapshot.mails {
        if let Some(id) = mail.order_id {
            mails.entry(id).or_default().push(mail.kind);
        }
    }
    mails
}

/// The mails that the customer must receive. Each is of one of the listed kinds.
fn expected_mails(order: &Order) -> Vec<&'static [MailKind]> {
    use MailKind::{Cancelled, CancelledAndRefunded, Completed, Failed, FailedAndRefunded, RefundedAfterEnd};
    let (not_charged, refunded, either): (&[_], &[_], &[_]) = match order.status {
        OrderStatus::Completed => return vec![&[Completed]],
        OrderStatus::Pending | OrderStatus::Processing => return Vec::new(),
        // Customers who opted out of order mails receive receipts only.
        _ if order.order_mails == Some(false) => return Vec::new(),
        OrderStatus::Failed => (&[Failed], &[FailedAndRefunded], &[Failed, FailedAndRefunded]),
        OrderStatus::Cancelled => (
            &[Cancelled],
            &[CancelledAndRefunded],
            &[Cancelled, CancelledAndRefunded],
        ),
    };
    match order.payment {
        // The first mail was sent before the refund or after it.
        Some(PaymentState::Refunded) if order.refunded_after_end => vec![either, &[RefundedAfterEnd]],
        Some(PaymentState::Refunded) => vec![refunded],
        _ => vec![not_charged],
    }
}

fn may_send(order: &Order, kind: MailKind) -> bool {
    expected_mails(order).iter().any(|kinds| kinds.contains(&kind))
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
