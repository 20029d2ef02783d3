//! Each outcome has exactly one SMS, whatever happens to sms-sender.

use e2e::system::{TestSystem, eventually};
use fault_injection::Rule;
use futures::future::join_all;
use tokio::sync::Semaphore;

use super::saga_matrix::{
    batch_cases::{MAX_CONCURRENT_BATCH_FAULTS, batch_effect, may_send_a_mail_twice},
    cases::FAULTS,
};
use crate::failure_report::run_named_case;

/// Completes an order under a fault of sms-sender that hits once.
async fn complete_order_under(system: &TestSystem, rule: impl Fn(&str) -> Rule) {
    let (customer, number) = system.customer_with_sms().await;
    let lantern = system.create_product(7500, 1).await;
    let rule = system
        .faults
        .add_rule(&rule(&customer.id).limit_hits(1))
        .await
        .unwrap();
    let order_id = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    eventually("the SMS", async || {
        (system.sent_sms(&number).await.len() >= 2).then_some(())
    })
    .await;
    eventually("the fault to hit", async || {
        (system.faults.hits(rule).await.unwrap() == 1).then_some(())
    })
    .await;
    system.wait_until_sms_queue_is_done_with(order_id).await;
    let texts = system.sent_sms(&number).await;
    assert_eq!(texts.len(), 2, "the code and the outcome: {texts:?}");
    let dead_letters = system.queue_messages("sms-dlq").await;
    assert!(
        !dead_letters
            .iter()
            .any(|message| message.to_string().contains(&order_id.to_string())),
        "{dead_letters:?}"
    );
    system.faults.remove_rule(rule).await.unwrap();
}

#[tokio::test]
async fn outcome_has_one_sms_under_every_fault() {
    let system = &TestSystem::exclusive_to_fault_cases().await;
    let slots = &Semaphore::new(MAX_CONCURRENT_BATCH_FAULTS as usize);
    // SNS does not detect duplicates either: see `may_send_a_mail_twice`.
    let faults = FAULTS
        .into_iter()
        .filter(|(_, fault)| !may_send_a_mail_twice(*fault));
    let cases = faults.map(async |(name, fault)| {
        let _slots = slots.acquire_many(batch_effect(fault).slots()).await;
        let rule = |customer: &str| Rule::for_function("sms-sender", fault).containing(customer);
        run_named_case(format!("sms-sender: {name}"), complete_order_under(system, rule)).await;
    });
    join_all(cases).await;
}
