//! mail-feedback under every fault: a report of SES is never lost.

use e2e::system::{TestSystem, eventually, mail_feedback::bounce_event, test_users::email_address};
use fault_injection::{Rule, Upstream};
use futures::future::join_all;
use mail_suppressions::address_digest;
use tokio::sync::Semaphore;

use super::saga_matrix::{
    batch_cases::{BatchEffect, MAX_CONCURRENT_BATCH_FAULTS, batch_effect},
    cases::{FAULTS, NETWORK_FAULTS},
};
use crate::failure_report::run_named_case;

/// Publishes a report under a fault that hits once, and waits until the address is suppressed.
async fn suppress_under(system: &TestSystem, rule: impl Fn(&str) -> Rule) {
    let (customer, admin) = (system.customer().await, system.admin().await);
    let address = email_address(&customer.id);
    let rule = rule(&address).limit_hits(1);
    let rule = system.faults.add_rule(&rule).await.unwrap();
    system
        .publish_mail_event(&bounce_event("Permanent", &address))
        .await;
    eventually(&format!("{address} to be suppressed"), async || {
        let found = system.mail_suppression(&admin, &customer.id).await;
        (found["suppressed"] == true).then_some(())
    })
    .await;
    eventually("the fault to hit", async || {
        (system.faults.hits(rule).await.unwrap() == 1).then_some(())
    })
    .await;
    eventually("the message to leave the queue", async || {
        let waiting = system.queue_messages("mail-feedback-queue").await;
        let is_waiting = waiting
            .iter()
            .any(|message| message.to_string().contains(&address));
        (!is_waiting).then_some(())
    })
    .await;
    let dead_letters = system.queue_messages("mail-feedback-dlq").await;
    assert!(
        !dead_letters
            .iter()
            .any(|message| message.to_string().contains(&address)),
        "{dead_letters:?}"
    );
    system.faults.remove_rule(rule).await.unwrap();
}

#[tokio::test]
async fn report_is_processed_under_every_fault() {
    let system = &TestSystem::exclusive_to_fault_cases().await;
    let slots = &Semaphore::new(MAX_CONCURRENT_BATCH_FAULTS as usize);
    let functions = FAULTS.into_iter().map(|(name, fault)| {
        let rule = move |address: &str| Rule::for_function("mail-feedback", fault).containing(address);
        (
            name,
            batch_effect(fault),
            Box::new(rule) as Box<dyn Fn(&str) -> Rule>,
        )
    });
    let network = NETWORK_FAULTS.into_iter().map(|(name, fault)| {
        let rule = move |address: &str| {
            Rule::for_operation(Upstream::Aws, "DynamoDB.PutItem", fault).containing(address_digest(address))
        };
        (
            name,
            BatchEffect::Repeats,
            Box::new(rule) as Box<dyn Fn(&str) -> Rule>,
        )
    });
    let cases = functions.chain(network).map(async |(name, effect, rule)| {
        let _slots = slots.acquire_many(effect.slots()).await;
        run_named_case(format!("mail-feedback: {name}"), suppress_under(system, rule)).await;
    });
    join_all(cases).await;
}
