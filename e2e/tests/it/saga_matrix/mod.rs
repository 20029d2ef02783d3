//! The saga matrix: every state of the order's saga under every fault. Each case is an order of its own, with a
//! customer and a product of its own, so all of them run side by side; whatever happens, the books must balance.

mod cases;

use std::{any::Any, panic::AssertUnwindSafe};

use domain::{OrderId, OrderStatus};
use e2e::{
    books::{Books, Reader},
    system::{System, eventually},
};
use faults::{Rule, RuleId};
use futures::{FutureExt as _, future::join_all};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::quiet::quiet;
use cases::{Case, DEFINITION, End, Way, cases, message_cases, wire_cases};

/// How many orders are under way at once: each wants a process of every function that it meets. Orders that only
/// wait to be parked do not count.
const AT_ONCE: u32 = 10;

/// The same where a fault makes a whole batch of messages come again, half a minute later. A message that shares its
/// batch with too many others' faults would end with the dead letters.
const MESSAGES_AT_ONCE: u32 = 4;

/// What every product has when its case begins.
const OPENING_STOCK: i64 = 10;

/// A case that has been through.
struct Done {
    case: Case,
    order_id: OrderId,
    /// What went wrong with it; the last one is the case's own.
    rules: Vec<RuleId>,
}

#[tokio::test]
async fn every_state_under_every_fault() {
    survive(cases(DEFINITION).unwrap(), AT_ONCE).await;
}

#[tokio::test]
async fn every_request_under_every_fault() {
    survive(wire_cases(), AT_ONCE).await;
}

#[tokio::test]
async fn every_message_under_every_fault() {
    survive(message_cases(), MESSAGES_AT_ONCE).await;
}

/// Takes an order through each case, and fails with the names of those that did not end well.
async fn survive(cases: Vec<Case>, at_once: u32) {
    let system = System::alone().await;
    system.listen().await;
    let reader = Reader::from_environment().await.unwrap();
    let number = cases.len();

    let slots = Semaphore::new(at_once as usize);
    let runs = cases.into_iter().map(async |case| {
        let _slot = match case.end {
            End::Parked => None,
            End::Completed | End::Failed => {
                let wanted = if case.ends_its_batch() { at_once } else { 1 };
                Some(slots.acquire_many(wanted).await)
            }
        };
        let name = case.name.clone();
        let run = AssertUnwindSafe(run(&system, case)).catch_unwind().await;
        run.map_err(|panic| format!("{name}: {}", said(&*panic)))
    });
    let runs: Vec<Result<Done, String>> = join_all(runs).await;

    let order_ids: Vec<OrderId> = runs.iter().flatten().map(|done| done.order_id).collect();
    let books = quiet(&reader, &order_ids, &[]).await;
    let mut wrong: Vec<String> = Vec::new();
    for run in runs {
        match run {
            Ok(done) => {
                let hits = hits(&system, &done.rules).await;
                wrong.extend(judge(&done, hits, &books));
            }
            Err(failure) => wrong.push(failure),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {number} cases:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// Takes an order through a case, to its end.
async fn run(system: &System, case: Case) -> Done {
    let customer = system.customer().await;
    let product = system.product(7500, OPENING_STOCK).await;
    let mut rules = Vec::new();
    let set = async |rule: Option<Rule>, rules: &mut Vec<RuleId>| {
        if let Some(rule) = rule {
            rules.push(system.faults.set(&rule).await.unwrap());
        }
    };
    set(case.on_the_way(&customer.id), &mut rules).await;
    set(case.fault(&customer.id, None), &mut rules).await;
    let (quantity, payment_method) = match case.way {
        Way::Good | Way::Failing(..) => (1, "pm_card_visa"),
        Way::Declined => (1, "pm_card_chargeDeclined"),
        Way::Short => (11, "pm_card_visa"),
    };
    let body = json!({
        "items": [{"product_id": product, "quantity": quantity}], "payment_method": payment_method,
    });
    // As clients do it: again under the same key, while nobody can say whether the order was taken.
    let order_id = eventually("an order to be accepted", async || {
        let answer = system.post_order(&customer, "key", &body).await;
        (answer.status != 503).then(|| answer.expect(202)["order_id"].as_str().unwrap().parse().unwrap())
    })
    .await;
    set(case.fault(&customer.id, Some(order_id)), &mut rules).await;
    if case.end == End::Parked {
        eventually(&format!("order {order_id} to be parked"), async || {
            let parked = system.messages("order-parking-queue").await;
            let is_it = |letter: &serde_json::Value| {
                letter["Body"]
                    .as_str()
                    .is_some_and(|body| body.contains(&order_id.to_string()))
            };
            parked.iter().any(is_it).then_some(())
        })
        .await;
    } else {
        system.settled(&customer, order_id).await;
    }
    // What comes after the order's end may still be before its fault.
    let own = *rules.last().expect("a case has a fault");
    eventually(&format!("the fault of order {order_id}"), async || {
        (system.faults.hits(own).await.unwrap() > 0).then_some(())
    })
    .await;
    Done {
        case,
        order_id,
        rules,
    }
}

/// How often the last of the rules, the case's own, has hit. None of them is needed any more.
async fn hits(system: &System, rules: &[RuleId]) -> u64 {
    let mut hits = 0;
    for rule in rules {
        hits = system.faults.hits(*rule).await.unwrap();
        system.faults.lift(*rule).await.unwrap();
    }
    hits
}

/// What is wrong with a case's end, if anything is.
fn judge(Done { case, order_id, .. }: &Done, hits: u64, books: &Books) -> Option<String> {
    let books = books.of(&[*order_id]);
    let mut wrong = Vec::new();
    let status = books.orders.first().map(|order| order.status);
    let is_parked = !books.parked().is_empty();
    let is_as_expected = match case.end {
        End::Completed => status == Some(OrderStatus::Completed) && !is_parked,
        End::Failed => status == Some(OrderStatus::Failed) && !is_parked,
        End::Parked => status != Some(OrderStatus::Completed) && is_parked,
    };
    if !is_as_expected {
        wrong.push(format!(
            "should be {:?}, is {status:?}, parked: {is_parked}",
            case.end
        ));
    }
    if case.times.is_some_and(|times| hits != times) || (case.times.is_none() && hits < 2) {
        wrong.push(format!("the fault hit {hits} times"));
    }
    let mails = books.mails.len();
    if mails > 1 || (mails == 0 && !is_parked) {
        wrong.push(format!("{mails} mails were sent"));
    }
    let verdict = books.balance(&[]);
    if !verdict.is_balanced() {
        wrong.push(verdict.to_string());
    }
    (!wrong.is_empty()).then(|| format!("{} (order {order_id}): {}", case.name, wrong.join("; ")))
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
}
