//! The saga matrix: every state of the order's saga under every fault. Each case is an order of its own, with a
//! customer and a product of its own, so all of them run side by side; whatever happens, the books must balance.

mod cases;

use std::{any::Any, panic::AssertUnwindSafe};

use domain::{OrderId, OrderStatus};
use e2e::{
    consistency::{Collector, SystemSnapshot},
    system::{TestSystem, eventually},
};
use fault_injection::{Rule, RuleId};
use futures::{FutureExt as _, future::join_all};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::await_quiescence::snapshot_when_quiescent;
use cases::{Case, DEFINITION, ExpectedOutcome, Scenario, cases, message_cases, wire_cases};

/// How many orders are under way at once: each wants a process of every function that it meets. Orders that only
/// wait to be parked do not count.
const MAX_CONCURRENT_ORDERS: u32 = 10;

/// The same where a fault makes a whole batch of messages come again, half a minute later. A message that shares its
/// batch with too many others' faults would end with the dead letters.
const MAX_CONCURRENT_MESSAGE_CASES: u32 = 4;

/// What every product has when its case begins.
const INITIAL_STOCK: i64 = 10;

/// A case that has been through.
struct FinishedCase {
    case: Case,
    order_id: OrderId,
    /// What went wrong with it; the last one is the case's own.
    rules: Vec<RuleId>,
}

#[tokio::test]
async fn every_state_under_every_fault() {
    run_cases(cases(DEFINITION).unwrap(), MAX_CONCURRENT_ORDERS).await;
}

#[tokio::test]
async fn every_request_under_every_fault() {
    run_cases(wire_cases(), MAX_CONCURRENT_ORDERS).await;
}

#[tokio::test]
async fn every_message_under_every_fault() {
    run_cases(message_cases(), MAX_CONCURRENT_MESSAGE_CASES).await;
}

/// Takes an order through each case, and fails with the names of those that did not end well.
async fn run_cases(cases: Vec<Case>, at_once: u32) {
    let system = TestSystem::exclusive().await;
    system.capture_events().await;
    let reader = Collector::from_env().await.unwrap();
    let number = cases.len();

    let slots = Semaphore::new(at_once as usize);
    let runs = cases.into_iter().map(async |case| {
        let _slot = match case.expected_outcome {
            ExpectedOutcome::Parked => None,
            ExpectedOutcome::Completed | ExpectedOutcome::Failed => {
                let wanted = if case.completes_its_batch() { at_once } else { 1 };
                Some(slots.acquire_many(wanted).await)
            }
        };
        let name = case.name.clone();
        let run = AssertUnwindSafe(run_case(&system, case)).catch_unwind().await;
        run.map_err(|panic| format!("{name}: {}", panic_message(&*panic)))
    });
    let runs: Vec<Result<FinishedCase, String>> = join_all(runs).await;

    let order_ids: Vec<OrderId> = runs.iter().flatten().map(|done| done.order_id).collect();
    let books = snapshot_when_quiescent(&reader, &order_ids, &[]).await;
    let mut wrong: Vec<String> = Vec::new();
    for run in runs {
        match run {
            Ok(done) => {
                let hits = remove_rules(&system, &done.rules).await;
                wrong.extend(verify_case(&done, hits, &books));
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
async fn run_case(system: &TestSystem, case: Case) -> FinishedCase {
    let customer = system.customer().await;
    let product = system.create_product(7500, INITIAL_STOCK).await;
    let mut rules = Vec::new();
    let set = async |rule: Option<Rule>, rules: &mut Vec<RuleId>| {
        if let Some(rule) = rule {
            rules.push(system.faults.add_rule(&rule).await.unwrap());
        }
    };
    set(case.setup_rule(&customer.id), &mut rules).await;
    set(case.fault_rule(&customer.id, None), &mut rules).await;
    let (quantity, payment_method) = match case.scenario {
        Scenario::HappyPath | Scenario::PinnedFailure(..) => (1, "pm_card_visa"),
        Scenario::PaymentDeclined => (1, "pm_card_chargeDeclined"),
        Scenario::InsufficientStock => (11, "pm_card_visa"),
    };
    let body = json!({
        "items": [{"product_id": product, "quantity": quantity}], "payment_method": payment_method,
    });
    // As clients do it: again under the same key, while nobody can say whether the order was taken.
    let order_id = eventually("an order to be accepted", async || {
        let answer = system.post_order(&customer, "key", &body).await;
        (answer.status != 503).then(|| {
            answer.expect_status(202)["order_id"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        })
    })
    .await;
    set(case.fault_rule(&customer.id, Some(order_id)), &mut rules).await;
    if case.expected_outcome == ExpectedOutcome::Parked {
        eventually(&format!("order {order_id} to be parked"), async || {
            let parked = system.queue_messages("order-parking-queue").await;
            let is_it = |letter: &serde_json::Value| {
                letter["Body"]
                    .as_str()
                    .is_some_and(|body| body.contains(&order_id.to_string()))
            };
            parked.iter().any(is_it).then_some(())
        })
        .await;
    } else {
        system.wait_for_final_status(&customer, order_id).await;
    }
    // What comes after the order's end may still be before its fault.
    let own = *rules.last().expect("a case has a fault");
    eventually(&format!("the fault of order {order_id}"), async || {
        (system.faults.hits(own).await.unwrap() > 0).then_some(())
    })
    .await;
    FinishedCase {
        case,
        order_id,
        rules,
    }
}

/// How often the last of the rules, the case's own, has hit. None of them is needed any more.
async fn remove_rules(system: &TestSystem, rules: &[RuleId]) -> u64 {
    let mut hits = 0;
    for rule in rules {
        hits = system.faults.hits(*rule).await.unwrap();
        system.faults.remove_rule(*rule).await.unwrap();
    }
    hits
}

/// What is wrong with a case's end, if anything is.
fn verify_case(
    FinishedCase { case, order_id, .. }: &FinishedCase,
    hits: u64,
    books: &SystemSnapshot,
) -> Option<String> {
    let books = books.for_orders(&[*order_id]);
    let mut wrong = Vec::new();
    let status = books.orders.first().map(|order| order.status);
    let is_parked = !books.parked_orders().is_empty();
    let is_as_expected = match case.expected_outcome {
        ExpectedOutcome::Completed => status == Some(OrderStatus::Completed) && !is_parked,
        ExpectedOutcome::Failed => status == Some(OrderStatus::Failed) && !is_parked,
        ExpectedOutcome::Parked => status != Some(OrderStatus::Completed) && is_parked,
    };
    if !is_as_expected {
        wrong.push(format!(
            "should be {:?}, is {status:?}, parked: {is_parked}",
            case.expected_outcome
        ));
    }
    if case.times.is_some_and(|times| hits != times) || (case.times.is_none() && hits < 2) {
        wrong.push(format!("the fault hit {hits} times"));
    }
    let mails = books.mails.len();
    if mails > 1 || (mails == 0 && !is_parked) {
        wrong.push(format!("{mails} mails were sent"));
    }
    let verdict = books.check_invariants(&[]);
    if !verdict.is_consistent() {
        wrong.push(verdict.to_string());
    }
    (!wrong.is_empty()).then(|| format!("{} (order {order_id}): {}", case.name, wrong.join("; ")))
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("it panicked")
}
