//! mail-feedback under every fault: a report of SES is never lost.

use e2e::system::{TestSystem, eventually, mail_feedback::bounce_event, test_users::email_address};
use fault_injection::{NetworkFault, Rule, Upstream};
use futures::{StreamExt, stream};
use mail_suppressions::address_digest;

use crate::{
    failure_report::run_named_case,
    saga_matrix::cases::{FAULTS, NETWORK_FAULTS},
};

/// A message that shares its batch with too many faulty ones would reach the dead-letter queue.
const MAX_CONCURRENT_CASES: usize = 4;

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
    let system = &TestSystem::exclusive().await;
    let functions = FAULTS.into_iter().map(|(name, fault)| {
        let rule = move |address: &str| Rule::for_function("mail-feedback", fault).containing(address);
        (name, Box::new(rule) as Box<dyn Fn(&str) -> Rule>)
    });
    let network = NETWORK_FAULTS
        .into_iter()
        .map(|(name, fault): (_, NetworkFault)| {
            let rule = move |address: &str| {
                Rule::for_operation(Upstream::Aws, "DynamoDB.PutItem", fault)
                    .containing(address_digest(address))
            };
            (name, Box::new(rule) as Box<dyn Fn(&str) -> Rule>)
        });
    stream::iter(functions.chain(network))
        .map(|(name, rule)| run_named_case(format!("mail-feedback: {name}"), suppress_under(system, rule)))
        .buffer_unordered(MAX_CONCURRENT_CASES)
        .collect::<Vec<()>>()
        .await;
}
