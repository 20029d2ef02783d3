//! The saga matrix: every state of the order saga under every fault. Each case has its own order, customer
//! and product, so the cases run concurrently. After each case the system must be consistent.

mod authentication_cases;
pub mod batch_cases;
pub mod cases;

use std::panic::AssertUnwindSafe;

use domain::{OrderId, OrderStatus};
use e2e::{
    consistency::{Collector, Observations, SystemSnapshot},
    system::{TestSystem, eventually, logs_hint},
};
use fault_injection::{Rule, RuleId};
use futures::{FutureExt as _, future::join_all};
use serde_json::json;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::{
    await_quiescence::snapshot_when_quiescent,
    failure_report::{panic_message, run_named_case, violations},
};
use authentication_cases::{
    authentication_cases, cancellation_cases, cancellation_message_cases, continuation_message_cases,
};
use batch_cases::{BatchEffect, Consumer, MAX_CONCURRENT_BATCH_FAULTS, message_cases};
use cases::{
    Case, DEFINITION, ExpectedOutcome, RuleTiming, Scenario, request_cases, state_cases, stored_error_cases,
};

/// Limits how many orders of all tests run at the same time: each needs a process of every function of its
/// saga. Orders that only wait to be parked do not count.
static ORDER_SLOTS: Semaphore = Semaphore::const_new(16);

// The slots of faults in batches of each function's messages.
static ORDER_PROCESSOR_SLOTS: Semaphore = Semaphore::const_new(MAX_CONCURRENT_BATCH_FAULTS as usize);
static NOTIFICATION_SENDER_SLOTS: Semaphore = Semaphore::const_new(MAX_CONCURRENT_BATCH_FAULTS as usize);
static RECEIPT_WRITER_SLOTS: Semaphore = Semaphore::const_new(MAX_CONCURRENT_BATCH_FAULTS as usize);

/// The initial stock of each case's product, in units.
const INITIAL_STOCK: i64 = 10;

/// A case whose order has reached its outcome.
struct FinishedCase {
    case: Case,
    order_id: OrderId,
    /// The rule of the scenario.
    setup_rule: Option<RuleId>,
    /// The rule of the fault under test.
    fault_rule: Option<RuleId>,
}

#[tokio::test]
async fn every_state_under_every_fault() {
    run_cases(state_cases(DEFINITION).unwrap()).await;
}

#[tokio::test]
async fn every_request_under_every_fault() {
    run_cases(request_cases()).await;
}

#[tokio::test]
async fn every_payment_request_with_a_stored_server_error() {
    run_cases(stored_error_cases()).await;
}

#[tokio::test]
async fn every_message_under_every_fault() {
    let cases = message_cases()
        .into_iter()
        .chain(continuation_message_cases())
        .chain(cancellation_message_cases());
    run_cases(cases.collect()).await;
}

#[tokio::test]
async fn every_part_of_an_authentication_under_every_fault() {
    run_cases(authentication_cases()).await;
}

#[tokio::test]
async fn every_part_of_a_cancelled_authentication_under_every_fault() {
    run_cases(cancellation_cases()).await;
}

/// Runs all cases, and fails with a description of each failed case.
async fn run_cases(cases: Vec<Case>) {
    let system = TestSystem::exclusive_to_fault_cases().await;
    system.capture_events().await;
    let collector = Collector::from_env().await.unwrap();
    let case_count = cases.len();

    let runs = cases.into_iter().map(async |case| {
        let _batch_slots = match case.batch {
            Some((consumer, effect)) => Some(batch_slots(consumer, effect).await),
            None => None,
        };
        let _order_slot = match case.expected_outcome {
            ExpectedOutcome::Parked => None,
            ExpectedOutcome::Completed | ExpectedOutcome::Failed | ExpectedOutcome::Cancelled => {
                Some(ORDER_SLOTS.acquire().await)
            }
        };
        let name = case.name.clone();
        let run = AssertUnwindSafe(run_named_case(name.clone(), run_case(&system, case)));
        let result = run.catch_unwind().await;
        result.map_err(|panic| format!("{name}: {}", panic_message(&*panic)))
    });
    let results: Vec<Result<FinishedCase, String>> = join_all(runs).await;

    let order_ids: Vec<OrderId> = results
        .iter()
        .flatten()
        .map(|finished| finished.order_id)
        .collect();
    let snapshot = snapshot_when_quiescent(&collector, &order_ids, &[]).await;
    let mut failures: Vec<String> = Vec::new();
    for result in results {
        match result {
            Ok(finished) => {
                if let Some(rule) = finished.setup_rule {
                    remove_rule(&system, rule).await;
                }
                let hits = match finished.fault_rule {
                    Some(rule) => Some(remove_rule(&system, rule).await),
                    None => None,
                };
                failures.extend(verify_case(&finished, hits, &snapshot));
            }
            Err(failure) => failures.push(failure),
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {case_count} cases failed:\n\n{}\n\n{}",
        failures.len(),
        failures.join("\n\n"),
        logs_hint()
    );
}

/// Waits until a fault may hit batches of the function's messages.
async fn batch_slots(consumer: Consumer, effect: BatchEffect) -> SemaphorePermit<'static> {
    let slots = match consumer {
        Consumer::OrderProcessor => &ORDER_PROCESSOR_SLOTS,
        Consumer::NotificationSender => &NOTIFICATION_SENDER_SLOTS,
        Consumer::ReceiptWriter => &RECEIPT_WRITER_SLOTS,
    };
    let count = match effect {
        BatchEffect::Repeats => 1,
        BatchEffect::Completes => MAX_CONCURRENT_BATCH_FAULTS,
    };
    slots
        .acquire_many(count)
        .await
        .expect("the semaphore is never closed")
}

/// Places the case's order with its faults, and waits for the outcome and for a hit of the fault under test.
async fn run_case(system: &TestSystem, case: Case) -> FinishedCase {
    let customer = system.customer_with_stored_number().await;
    let product = system.create_product(7500, INITIAL_STOCK).await;
    let add_rule = async |rule: Option<Rule>| match rule {
        Some(rule) => Some(system.faults.add_rule(&rule).await.unwrap()),
        None => None,
    };
    let setup_rule = add_rule(case.setup_rule(&customer.id)).await;
    let early_fault_rule = add_rule(case.fault_rule(RuleTiming::BeforeTheOrder, &customer.id)).await;
    let (quantity, payment_method) = (case.scenario.quantity(), case.scenario.payment_method());
    let body = json!({
        "items": [{"product_id": product, "quantity": quantity}], "payment_method": payment_method,
    });
    // Clients repeat the request with the same key while the API cannot tell whether it accepted the order.
    let order_id: OrderId = eventually("the order to be accepted", async || {
        let response = system.post_order(&customer, "key", &body).await;
        (response.status != 503).then(|| {
            response.expect_status(202)["order_id"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap()
        })
    })
    .await;
    let late_rule = case.fault_rule(RuleTiming::AfterTheOrder, &order_id.to_string());
    let mut fault_rule = early_fault_rule.or(add_rule(late_rule).await);
    if case.scenario.waits_for_customer() {
        let next_action = system.wait_for_next_action(&customer, order_id).await;
        let payments = system.payments(order_id).await;
        let payment_id = payments[0]["id"].as_str().unwrap();
        let rule = case
            .fault_rule(RuleTiming::WhileWaiting, &customer.id)
            .or(case.fault_rule(RuleTiming::WhileWaitingForPayment, payment_id));
        fault_rule = fault_rule.or(add_rule(rule).await);
        if case.scenario == Scenario::AuthenticatedPayment {
            system.authenticate(&next_action, "approve").await;
        } else {
            eventually("the cancellation to be accepted", async || {
                let response = system.cancel_order(&customer, order_id).await;
                [200, 202].contains(&response.status.as_u16()).then_some(())
            })
            .await;
        }
    }
    if case.expected_outcome == ExpectedOutcome::Parked {
        eventually(&format!("order {order_id} to be parked"), async || {
            let parked = system.queue_messages("order-parking-queue").await;
            let names_order = |message: &serde_json::Value| {
                message["Body"]
                    .as_str()
                    .is_some_and(|body| body.contains(&order_id.to_string()))
            };
            parked.iter().any(names_order).then_some(())
        })
        .await;
    } else {
        system.wait_for_final_status(&customer, order_id).await;
    }
    // A fault in the notification may hit after the order's final status.
    if let Some(rule) = fault_rule {
        eventually(&format!("the fault of order {order_id} to hit"), async || {
            (system.faults.hits(rule).await.unwrap() > 0).then_some(())
        })
        .await;
    }
    FinishedCase {
        case,
        order_id,
        setup_rule,
        fault_rule,
    }
}

/// Removes a rule, and returns how often it has hit.
async fn remove_rule(system: &TestSystem, rule: RuleId) -> u64 {
    let hits = system.faults.hits(rule).await.unwrap();
    system.faults.remove_rule(rule).await.unwrap();
    hits
}

/// Describes the problems of a finished case: an unexpected outcome, hits of its rule, mails or SMS, and
/// violated invariants.
fn verify_case(
    FinishedCase { case, order_id, .. }: &FinishedCase,
    hits: Option<u64>,
    snapshot: &SystemSnapshot,
) -> Option<String> {
    let snapshot = snapshot.for_orders(&[*order_id]);
    let mut problems = Vec::new();
    let status = snapshot.orders.first().map(|order| order.status);
    let is_parked = !snapshot.parked_orders().is_empty();
    let is_as_expected = match case.expected_outcome {
        ExpectedOutcome::Completed => status == Some(OrderStatus::Completed) && !is_parked,
        ExpectedOutcome::Failed => status == Some(OrderStatus::Failed) && !is_parked,
        ExpectedOutcome::Cancelled => status == Some(OrderStatus::Cancelled) && !is_parked,
        ExpectedOutcome::Parked => status != Some(OrderStatus::Completed) && is_parked,
    };
    if !is_as_expected {
        problems.push(format!(
            "expected outcome {:?}, but the status is {status:?} (parked: {is_parked})",
            case.expected_outcome
        ));
    }
    if let Some(hits) = hits
        && case.times.map_or(hits < 2, |times| hits != times)
    {
        problems.push(format!(
            "the fault hit {hits} times, expected {}",
            case.times
                .map_or("at least 2".to_owned(), |times| times.to_string())
        ));
    }
    let expected_count = match case.expected_outcome {
        ExpectedOutcome::Completed | ExpectedOutcome::Failed | ExpectedOutcome::Cancelled => 1..=1,
        ExpectedOutcome::Parked => 0..=1,
    };
    for (channel, sent) in [("mails", &snapshot.mails), ("SMS", &snapshot.sms)] {
        if !expected_count.contains(&sent.len()) {
            let count = sent.len();
            problems.push(format!(
                "{count} {channel} were sent, expected {expected_count:?}"
            ));
        }
    }
    let report = snapshot.check_invariants(&Observations::default());
    if !report.is_consistent() {
        problems.push(format!(
            "invariants are violated (columns: expected, found):\n{}",
            violations(&report).trim_end()
        ));
    }
    (!problems.is_empty()).then(|| format!("{} (order {order_id}):\n{}", case.name, problems.join("\n")))
}
