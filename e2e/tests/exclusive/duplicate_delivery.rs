//! Duplicate, late and out-of-order deliveries change nothing.

use std::collections::BTreeMap;

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use domain::OrderId;
use e2e::{
    consistency::{Collector, EVENT_CAPTURE_QUEUE, Observations, SystemSnapshot},
    system::{TestSystem, eventually},
};
use fault_injection::{FunctionFault, Rule};
use serde_json::Value;

use crate::{await_quiescence::snapshot_when_quiescent, failure_report::assert_consistent};

/// Quantity and payment method of an order that completes, one with a declined card, and one above the stock.
const ORDER_KINDS: [(u32, &str); 3] = [
    (1, "pm_card_visa"),
    (1, "pm_card_chargeDeclined"),
    (11, "pm_card_visa"),
];

/// How many orders of each detail_type are placed.
const ROUNDS: usize = 4;

/// The limit of `PutEvents`.
const MAX_ENTRIES_PER_CALL: usize = 10;

/// The part of a snapshot that duplicate deliveries must not change, in a stable order.
fn comparable_state(snapshot: &SystemSnapshot) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut snapshot = snapshot.clone();
    snapshot.orders.sort_by_key(|order| order.order_id);
    snapshot.products.sort_by_key(|product| product.id);
    snapshot.reservations.sort_by_key(|reservation| reservation.id);
    snapshot.payments.sort_by(|a, b| a.id.cmp(&b.id));
    let orders = format!("{:#?}", snapshot.orders);
    let mails = snapshot.mails.len();
    (
        orders,
        snapshot.products,
        snapshot.reservations,
        snapshot.payments,
        mails,
    )
}

/// All captured events about the orders and their products, the latest first.
async fn captured_events(system: &TestSystem, order_ids: &[OrderId], products: &[String]) -> Vec<Value> {
    let texts: Vec<String> = order_ids
        .iter()
        .map(OrderId::to_string)
        .chain(products.iter().cloned())
        .collect();
    let mut events: Vec<Value> = system
        .queue_messages(EVENT_CAPTURE_QUEUE)
        .await
        .iter()
        .filter_map(|message| message["Body"].as_str())
        .filter(|body| texts.iter().any(|text| body.contains(text)))
        .map(|body| serde_json::from_str(body).unwrap())
        .collect();
    let occurred_at = |event: &Value| event["detail"]["occurred_at"].as_str().map(str::to_owned);
    events.sort_by_key(|event| std::cmp::Reverse(occurred_at(event)));
    events
}

/// Publishes the events again, in this order.
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
        let response = bus
            .put_events()
            .set_entries(Some(entries.collect()))
            .send()
            .await
            .unwrap();
        assert_eq!(response.failed_entry_count(), 0);
    }
}

/// Starts a second saga execution for each order, with the input of the first one.
async fn restart_sagas(order_ids: &[OrderId]) {
    let sagas = aws_sdk_sfn::Client::new(&aws_client::sdk_config().await);
    let machines = sagas.list_state_machines().into_paginator().items().send();
    let machines: Vec<_> = machines.try_collect().await.unwrap();
    let saga = machines.iter().find(|machine| machine.name() == "order-saga");
    let arn = saga.unwrap().state_machine_arn();
    for order_id in order_ids {
        let first = arn.replace(":stateMachine:", ":execution:") + &format!(":{order_id}");
        let first = sagas
            .describe_execution()
            .execution_arn(first)
            .send()
            .await
            .unwrap();
        let second = sagas
            .start_execution()
            .state_machine_arn(arn)
            .name(format!("{order_id}-again"))
            .set_input(first.input);
        second.send().await.unwrap();
    }
}

#[tokio::test]
async fn duplicate_late_and_reordered_deliveries_change_nothing() {
    let system = TestSystem::exclusive().await;
    system.capture_events().await;
    let collector = Collector::from_env().await.unwrap();

    // About a third of all messages and steps of the orders is delivered duplicates, concurrently or
    // sequentially.
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
    let before = snapshot_when_quiescent(&collector, &order_ids, &products).await;
    assert_consistent(&before.check_invariants(&Observations::default()));
    assert_eq!(before.mails.len(), order_ids.len(), "every order has one mail");
    let mut duplicates = 0;
    for rule in rules {
        duplicates += system.faults.hits(rule).await.unwrap();
        system.faults.remove_rule(rule).await.unwrap();
    }
    assert!(
        duplicates > order_ids.len() as u64 / 2,
        "only {duplicates} deliveries were duplicated"
    );

    // Publish all events again, the outcome of each order before its creation.
    let events = captured_events(&system, &order_ids, &products).await;
    let mut detail_types: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &events {
        *detail_types
            .entry(event["detail-type"].as_str().unwrap())
            .or_default() += 1;
    }
    for detail_type in ["OrderCreated", "OrderCompleted", "OrderFailed", "ProductCreated"] {
        assert!(detail_types.contains_key(detail_type), "{detail_types:?}");
    }
    republish(&events).await;
    eventually("all events to be captured again", async || {
        let captured = captured_events(&system, &order_ids, &products).await.len();
        (captured >= 2 * events.len()).then_some(())
    })
    .await;
    let after = snapshot_when_quiescent(&collector, &order_ids, &products).await;
    assert_eq!(comparable_state(&after), comparable_state(&before));

    // Run all sagas again from the start: they must not reserve released stock again, nor charge a declined
    // payment.
    restart_sagas(&order_ids).await;
    let after = snapshot_when_quiescent(&collector, &order_ids, &products).await;
    assert_eq!(after.executions.len(), 2 * order_ids.len());
    assert_eq!(comparable_state(&after), comparable_state(&before));
    assert_consistent(&after.check_invariants(&Observations::default()));
}
