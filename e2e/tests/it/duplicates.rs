//! What comes twice, late, or out of order changes nothing.

use std::collections::BTreeMap;

use aws_sdk_eventbridge::types::PutEventsRequestEntry;
use domain::OrderId;
use e2e::{
    books::{Books, Reader},
    system::{System, eventually},
};
use faults::{FunctionFault, Rule};
use serde_json::Value;

use crate::quiet::quiet;

/// Buyers who pay, whose card is declined, and who want more than there is.
const BUYERS: [(u32, &str); 3] = [
    (1, "pm_card_visa"),
    (1, "pm_card_chargeDeclined"),
    (11, "pm_card_visa"),
];

/// How many of each.
const ROUNDS: usize = 4;

/// How many events EventBridge takes at once.
const AT_ONCE: usize = 10;

/// What may not change, whatever comes again.
fn lines(books: &Books) -> impl PartialEq + std::fmt::Debug + use<> {
    let mut books = books.clone();
    books.orders.sort_by_key(|order| order.order_id);
    books.executions.sort_by(|a, b| a.name.cmp(&b.name));
    let orders = format!("{:#?}", books.orders);
    let mails = books.mails.len();
    (orders, books.products, books.reservations, books.payments, mails)
}

/// Everything that was said about the orders and their products, the last first.
async fn said(system: &System, order_ids: &[OrderId], products: &[String]) -> Vec<Value> {
    let words: Vec<String> = order_ids
        .iter()
        .map(OrderId::to_string)
        .chain(products.iter().cloned())
        .collect();
    let mut events: Vec<Value> = system
        .messages("e2e-everything")
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
async fn say_again(events: &[Value]) {
    let bus = aws_sdk_eventbridge::Client::new(&cloud::sdk_config().await);
    for batch in events.chunks(AT_ONCE) {
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
async fn start_again(order_ids: &[OrderId]) {
    let sagas = aws_sdk_sfn::Client::new(&cloud::sdk_config().await);
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
    let system = System::alone().await;
    system.listen().await;
    let reader = Reader::from_environment().await.unwrap();

    // A third of all their messages and steps is delivered twice, at once or in turn.
    let (mut order_ids, mut products, mut rules) = (Vec::new(), Vec::new(), Vec::new());
    for (seed, (quantity, payment_method)) in BUYERS.repeat(ROUNDS).into_iter().enumerate() {
        let customer = system.customer().await;
        let product = system.product(7500, 10).await;
        for (fault, probability) in [
            (FunctionFault::DuplicateAtOnce, 0.2),
            (FunctionFault::DuplicateInTurn, 0.2),
        ] {
            let rule = Rule::every_function(fault).mentioning(&customer.id);
            rules.push(
                system
                    .faults
                    .set(&rule.share(probability, seed as u64))
                    .await
                    .unwrap(),
            );
        }
        order_ids.push(system.order(&customer, &product, quantity, payment_method).await);
        products.push(product);
    }
    let before = quiet(&reader, &order_ids, &products).await;
    let verdict = before.balance(&[]);
    assert!(verdict.is_balanced(), "{verdict}");
    assert_eq!(before.mails.len(), order_ids.len(), "one mail each");
    let mut twice = 0;
    for rule in rules {
        twice += system.faults.hits(rule).await.unwrap();
        system.faults.lift(rule).await.unwrap();
    }
    assert!(
        twice > order_ids.len() as u64 / 2,
        "{twice} deliveries came twice"
    );

    // Everything that was said is said again, the end of each order before its beginning.
    let events = said(&system, &order_ids, &products).await;
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &events {
        *kinds.entry(event["detail-type"].as_str().unwrap()).or_default() += 1;
    }
    for kind in ["OrderCreated", "OrderCompleted", "OrderFailed", "ProductCreated"] {
        assert!(kinds.contains_key(kind), "{kinds:?}");
    }
    say_again(&events).await;
    eventually("everything to be heard again", async || {
        let heard = said(&system, &order_ids, &products).await.len();
        (heard >= 2 * events.len()).then_some(())
    })
    .await;
    let after = quiet(&reader, &order_ids, &products).await;
    assert_eq!(lines(&after), lines(&before));

    // The sagas run again from their beginning: goods are reserved after their release, payments taken after their
    // refusal.
    start_again(&order_ids).await;
    let after = quiet(&reader, &order_ids, &products).await;
    assert_eq!(after.executions.len(), 2 * order_ids.len());
    assert_eq!(lines(&after), lines(&before));
    let verdict = after.balance(&[]);
    assert!(verdict.is_balanced(), "{verdict}");
}
