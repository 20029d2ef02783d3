//! What comes twice, late, or out of order changes nothing.

use std::collections::BTreeMap;

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use domain::OrderId;
use e2e::{
    consistency::{Collector, SystemSnapshot},
    system::{TestSystem, eventually},
};
use fault_injection::{FunctionFault, Rule};
use serde_json::Value;

use crate::await_quiescence::snapshot_when_quiescent;

/// Buyers who pay, whose card is declined, and who want more than there is.
const ORDER_KINDS: [(u32, &str); 3] = [
    (1, "pm_card_visa"),
    (1, "pm_card_chargeDeclined"),
    (11, "pm_card_visa"),
];

/// How many of each.
const ROUNDS: usize = 4;

/// How many events EventBridge takes at once.
const MAX_ENTRIES_PER_CALL: usize = 10;

/// What may not change, whatever comes again.
fn comparable_state(books: &SystemSnapshot) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut books = books.clone();
    books.orders.sort_by_key(|order| order.order_id);
    books.executions.sort_by(|a, b| a.name.cmp(&b.name));
    let orders = format!("{:#?}", books.orders);
    let mails = books.mails.len();
    (orders, books.products, books.reservations, books.payments, mails)
}

/// Everything that was said about the orders and their products, the last first.
async fn captured_events(system: &TestSystem, order_ids: &[OrderId], products: &[String]) -> Vec<Value> {
    let words: Vec<String> = order_ids
        .iter()
        .map(OrderId::to_string)
        .chain(products.iter().cloned())
        .collect();
    let mut events: Vec<Value> = system
        .queue_messages("e2e-everything")
        .await
        .iter()
        .filter_map(|message| message["Body"].as_str())
        .filter(|body| words.iter().any(|word| body.contains(word)))
        .map(|body| serde_json::from_str(body).unwrap())
        .collect();
    events.sort_by_key(|event| std::cmp::Reverse(event["detail"]["occurred_at"].as_str().map(str::to_owned)));
    events
}

/// Says it again, in this order.
async fn republish(events: &[Value]) {
    let bus = aws_sdk_eventbridge::Client::new(&aws_client::sdk_config().await);
    for batch in events.chunks(MAX_ENTRIES_PER_CALL) {
        let entries = batch.iter().map(|event| {
            PutEventsRequestEntry::builder()
                .event_bus_name("ecommerce-event-bus")
                .source(event["source"].as_str().unwrap())
                .detail_type(event["detail-type"].as_str().unwrap())
                .detail(event["detail"].to_string())
                .build()
        });
        let answer = bus
            .put_events()
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.failed_entry_count(), 0);
    }
}

/// Starts each order's saga anew with what it began with, under another name, as a person or a reconciler might.
async fn restart_sagas(order_ids: &[OrderId]) {
    let sagas = aws_sdk_sfn::Client::new(&aws_client::sdk_config().await);
    let machines = sagas.list_state_machines().send().await.unwrap();
    let saga = machines
        .state_machines()
        .iter()
        .find(|machine| machine.name() == "order-saga");
    let arn = saga.unwrap().state_machine_arn();
    for order_id in order_ids {
        let first = arn.replace(":stateMachine:", ":execution:") + &format!(":{order_id}");
        let first = sagas
            .describe_execution()
            .execution_arn(first)
            .send()
            .await
            .unwrap();
        let again = sagas
            .start_execution()
            .state_machine_arn(arn)
            .name(format!("{order_id}-again"))
            .set_input(first.input);
        again.send().await.unwrap();
    }
}

#[tokio::test]
async fn twice_late_and_out_of_order_change_nothing() {
    let system = TestSystem::exclusive().await;
    system.capture_events().await;
    let reader = Collector::from_env().await.unwrap();

    // A third of all their messages and steps is delivered twice, at once or in turn.
    let (mut order_ids, mut products, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    for (seed, (quantity, payment_method)) in ORDER_KINDS.repeat(ROUNDS).into_iter().enumerate() {
        let customer = system.customer().await;
        let product = system.create_product(7500, 10).await;
        for (fault, probability) in [
            (FunctionFault::DuplicateConcurrent, 0.2),
            (FunctionFault::DuplicateSequential, 0.2),
        ] {
            let rule = Rule::for_all_functions(fault).containing(&customer.id);
            rules.push(
                system
                    .faults
                    .add_rule(&rule.with_probability(probability, seed as u64))
                    .await
                    .unwrap(),
            );
        }
        order_ids.push(
            system
                .place_order(&customer, &product, quantity, payment_method)
                .await,
        );
        products.push(product);
    }
    let before = snapshot_when_quiescent(&reader, &order_ids, &products).await;
    let verdict = before.check_invariants(&[]);
    assert!(verdict.is_consistent(), "{verdict}");
    assert_eq!(before.mails.len(), order_ids.len(), "one mail each");
    let mut twice = 0;
    for rule in rules {
        twice += system.faults.hits(rule).await.unwrap();
        system.faults.remove_rule(rule).await.unwrap();
    }
    assert!(
        twice > order_ids.len() as u64 / 2,
        "{twice} deliveries came twice"
    );

    // Everything that was said is said again, the end of each order before its beginning.
    let events = captured_events(&system, &order_ids, &products).await;
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &events {
        *kinds.entry(event["detail-type"].as_str().unwrap()).or_default() += 1;
    }
    for kind in ["OrderCreated", "OrderCompleted", "OrderFailed", "ProductCreated"] {
        assert!(kinds.contains_key(kind), "{kinds:?}");
    }
    republish(&events).await;
    eventually("everything to be heard again", async || {
        let heard = captured_events(&system, &order_ids, &products).await.len();
        (heard >= 2 * events.len()).then_some(())
    })
    .await;
    let after = snapshot_when_quiescent(&reader, &order_ids, &products).await;
    assert_eq!(comparable_state(&after), comparable_state(&before));

    // The sagas run again from their beginning: goods are reserved after their release, payments taken after their
    // refusal.
    restart_sagas(&order_ids).await;
    let after = snapshot_when_quiescent(&reader, &order_ids, &products).await;
    assert_eq!(after.executions.len(), 2 * order_ids.len());
    assert_eq!(comparable_state(&after), comparable_state(&before));
    let verdict = after.check_invariants(&[]);
    assert!(verdict.is_consistent(), "{verdict}");
}
