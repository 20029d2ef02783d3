//! Mails, queues, outboxes, runs of the saga, and what was said on the bus.

use std::collections::{BTreeMap, BTreeSet};

use ::orders::{Order, Payment as Known};
use domain::{OrderId, OrderStatus};

use super::{
    super::{Check, Finding, Heard, News, Note, Purpose, Rule},
    Desk,
};

pub(super) fn checks(desk: &Desk<'_>) -> [Check; 8] {
    let books = desk.books;
    let mails = mails(desk);
    let mut heard: BTreeMap<OrderId, Vec<&Heard>> = BTreeMap::new();
    for event in &books.heard {
        heard
            .entry(OrderId(event.correlation_id))
            .or_default()
            .push(event);
    }
    let heard_of = |order: &Order| heard.get(&order.order_id);
    [
        Check::each(
            Rule::MailSent,
            desk.settled().map(|order| {
                let (wanted, sent) = (
                    wants_mail(order),
                    mails.get(&order.order_id).copied().unwrap_or(0),
                );
                let detail = || format!("is {}, and {sent} mails were sent", order.status);
                (wanted != (sent > 0)).then(|| Finding::new(order.order_id, detail()))
            }),
        ),
        Check::each(
            Rule::MailIsTrue,
            books.mails.iter().map(|mail| {
                let order = mail.order_id.and_then(|id| desk.orders.get(&id));
                match order {
                    None => Some(Finding::new(
                        "a mail",
                        format!("tells of {:?}, which is no order", mail.order_id),
                    )),
                    Some(order) if order.status.is_final() && news(order) != Some(mail.news) => {
                        let detail = format!(
                            "is {} ({:?}), and was told {:?}",
                            order.status, order.payment, mail.news
                        );
                        Some(Finding::new(order.order_id, detail))
                    }
                    Some(_) => None,
                }
            }),
        ),
        Check::none(Rule::NoDeadLetter, letters(desk, Purpose::DeadLetters)),
        Check::none(Rule::NoMessageLeft, letters(desk, Purpose::Work)),
        Check::none(
            Rule::NoEventLeft,
            books.outbox.iter().map(|waiting| {
                Finding::new(
                    &waiting.event_id,
                    format!("{} in {}", waiting.detail_type, waiting.store),
                )
            }),
        ),
        Check::each(
            Rule::ExecutionEnded,
            books.executions.iter().map(|execution| {
                let is_parked = execution.order_id.is_some_and(|id| desk.parked.contains(&id));
                let is_well = execution.status == "SUCCEEDED" || is_parked;
                (!is_well).then(|| Finding::new(&execution.name, format!("is {}", execution.status)))
            }),
        ),
        Check::each(
            Rule::EndAnnounced,
            desk.settled().filter(|_| !books.heard.is_empty()).map(|order| {
                let wanted = announcement(order.status);
                let said =
                    heard_of(order).is_some_and(|all| all.iter().any(|event| event.detail_type == wanted));
                (!said).then(|| {
                    Finding::new(
                        order.order_id,
                        format!("is {}, and no {wanted} was heard", order.status),
                    )
                })
            }),
        ),
        Check::each(
            Rule::OneTrace,
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
pub(super) fn repeated_mails(desk: &Desk<'_>) -> Option<Note> {
    let repeated: Vec<String> = mails(desk)
        .into_iter()
        .filter(|(_, sent)| *sent > 1)
        .map(|(id, sent)| format!("{id}, {sent} times"))
        .collect();
    (!repeated.is_empty()).then_some(Note {
        what: "orders whose customer was told more than once",
        ids: repeated,
    })
}

fn mails(desk: &Desk<'_>) -> BTreeMap<OrderId, usize> {
    let mut mails = BTreeMap::new();
    for id in desk.books.mails.iter().filter_map(|mail| mail.order_id) {
        *mails.entry(id).or_default() += 1;
    }
    mails
}

fn wants_mail(order: &Order) -> bool {
    news(order).is_some()
}

/// What the customer of an order that has ended is told.
fn news(order: &Order) -> Option<News> {
    match (order.status, order.payment) {
        (OrderStatus::Completed, _) => Some(News::Completed),
        (OrderStatus::Failed, Some(Known::Refunded)) => Some(News::FailedAndRefunded),
        (OrderStatus::Failed, _) => Some(News::Failed),
        (OrderStatus::Pending | OrderStatus::Processing | OrderStatus::Cancelled, _) => None,
    }
}

fn announcement(status: OrderStatus) -> &'static str {
    match status {
        OrderStatus::Completed => "OrderCompleted",
        OrderStatus::Cancelled => "OrderCancelled",
        OrderStatus::Failed | OrderStatus::Pending | OrderStatus::Processing => "OrderFailed",
    }
}

fn letters(desk: &Desk<'_>, purpose: Purpose) -> Vec<Finding> {
    let letters = desk.books.messages(purpose);
    let beginning = |body: &str| body.chars().take(300).collect::<String>();
    letters
        .map(|(queue, body)| Finding::new(queue, beginning(body)))
        .collect()
}
