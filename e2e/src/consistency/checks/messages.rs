//! Mails, queues, outboxes, runs of the saga, and what was said on the bus.

use std::collections::{BTreeMap, BTreeSet};

use ::orders::{Order, Payment as Known};
use domain::{OrderId, OrderStatus};

use super::{
    super::{Check, Finding, Invariant, MailKind, ObservedEvent, QueuePurpose, Warning},
    CheckContext,
};

pub(super) fn checks(desk: &CheckContext<'_>) -> [Check; 8] {
    let books = desk.snapshot;
    let mails = mails_per_order(desk);
    let mut heard: BTreeMap<OrderId, Vec<&ObservedEvent>> = BTreeMap::new();
    for event in &books.observed_events {
        heard
            .entry(OrderId(event.correlation_id))
            .or_default()
            .push(event);
    }
    let heard_of = |order: &Order| heard.get(&order.order_id);
    [
        Check::expect_all(
            Invariant::OutcomeMailSent,
            desk.final_orders().map(|order| {
                let (wanted, sent) = (
                    expects_mail(order),
                    mails.get(&order.order_id).copied().unwrap_or(0),
                );
                let detail = || format!("is {}, and {sent} mails were sent", order.status);
                (wanted != (sent > 0)).then(|| Finding::new(order.order_id, detail()))
            }),
        ),
        Check::expect_all(
            Invariant::MailMatchesOutcome,
            books.mails.iter().map(|mail| {
                let order = mail.order_id.and_then(|id| desk.orders.get(&id));
                match order {
                    None => Some(Finding::new(
                        "a mail",
                        format!("tells of {:?}, which is no order", mail.order_id),
                    )),
                    Some(order) if order.status.is_final() && expected_mail(order) != Some(mail.kind) => {
                        let detail = format!(
                            "is {} ({:?}), and was told {:?}",
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
            message_findings(desk, QueuePurpose::DeadLetterQueue),
        ),
        Check::expect_none(
            Invariant::WorkQueuesEmpty,
            message_findings(desk, QueuePurpose::Work),
        ),
        Check::expect_none(
            Invariant::OutboxesEmpty,
            books.outbox.iter().map(|waiting| {
                Finding::new(
                    &waiting.event_id,
                    format!("{} in {}", waiting.detail_type, waiting.store),
                )
            }),
        ),
        Check::expect_all(
            Invariant::ExecutionsSucceeded,
            books.executions.iter().map(|execution| {
                let is_parked = execution
                    .order_id
                    .is_some_and(|id| desk.parked_orders.contains(&id));
                let is_well = execution.status == "SUCCEEDED" || is_parked;
                (!is_well).then(|| Finding::new(&execution.name, format!("is {}", execution.status)))
            }),
        ),
        Check::expect_all(
            Invariant::OutcomeEventPublished,
            desk.final_orders()
                .filter(|_| !books.observed_events.is_empty())
                .map(|order| {
                    let wanted = outcome_event(order.status);
                    let said = heard_of(order)
                        .is_some_and(|all| all.iter().any(|event| event.detail_type == wanted));
                    (!said).then(|| {
                        Finding::new(
                            order.order_id,
                            format!("is {}, and no {wanted} was heard", order.status),
                        )
                    })
                }),
        ),
        Check::expect_all(
            Invariant::SingleTracePerOrder,
            books
                .orders
                .iter()
                .filter_map(|order| Some((order, heard_of(order)?)))
                .map(|(order, events)| {
                    let own = order.traceparent.trace_id();
                    let strange: BTreeSet<String> = events
                        .iter()
                        .filter(|event| event.trace_id != own)
                        .map(|event| format!("{} of {}", event.detail_type, event.trace_id))
                        .collect();
                    let detail = || format!("is of trace {own}: {strange:?}");
                    (!strange.is_empty()).then(|| Finding::new(order.order_id, detail()))
                }),
        ),
    ]
}

/// Mails that say what another has said. SES knows no repetitions, so a crash between its taking the mail and our
/// record of that may send a second; every other cause would be a mistake.
pub(super) fn duplicate_mails(desk: &CheckContext<'_>) -> Option<Warning> {
    let repeated: Vec<String> = mails_per_order(desk)
        .into_iter()
        .filter(|(_, sent)| *sent > 1)
        .map(|(id, sent)| format!("{id}, {sent} times"))
        .collect();
    (!repeated.is_empty()).then_some(Warning {
        what: "orders whose customer was told more than once",
        ids: repeated,
    })
}

fn mails_per_order(desk: &CheckContext<'_>) -> BTreeMap<OrderId, usize> {
    let mut mails = BTreeMap::new();
    for id in desk.snapshot.mails.iter().filter_map(|mail| mail.order_id) {
        *mails.entry(id).or_default() += 1;
    }
    mails
}

fn expects_mail(order: &Order) -> bool {
    expected_mail(order).is_some()
}

/// What the customer of an order that has ended is told.
fn expected_mail(order: &Order) -> Option<MailKind> {
    match (order.status, order.payment) {
        (OrderStatus::Completed, _) => Some(MailKind::Completed),
        (OrderStatus::Failed, Some(Known::Refunded)) => Some(MailKind::FailedAndRefunded),
        (OrderStatus::Failed, _) => Some(MailKind::Failed),
        (OrderStatus::Pending | OrderStatus::Processing | OrderStatus::Cancelled, _) => None,
    }
}

fn outcome_event(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Completed => "OrderCompleted",
        OrderStatus::Cancelled => "OrderCancelled",
        OrderStatus::Failed | OrderStatus::Pending | OrderStatus::Processing => "OrderFailed",
    }
}

fn message_findings(desk: &CheckContext<'_>, purpose: QueuePurpose) -> Vec<Finding> {
    let letters = desk.snapshot.messages_in(purpose);
    let beginning = |body: &str| body.chars().take(300).collect::<String>();
    letters
        .map(|(queue, body)| Finding::new(queue, beginning(body)))
        .collect()
}
