//! Bounces and complaints: SES reports them, the address gets no more mails, and support sees it.

use domain::OrderId;
use e2e::system::{
    ApiCaller, TestSystem, eventually,
    mail_feedback::{bounce_event, complaint_event},
    test_users::email_address,
};
use serde_json::{Value, json};

/// Places an order that completes, and waits until notification-sender has processed it.
async fn complete_order(system: &TestSystem, customer: &ApiCaller) -> OrderId {
    let lantern = system.create_product(100, 1).await;
    let order_id = system.place_order(customer, &lantern, 1, "pm_card_visa").await;
    system.wait_for_final_status(customer, order_id).await;
    system.wait_for_notifications(order_id, &["OrderCompleted"]).await;
    order_id
}

async fn wait_for_suppression(system: &TestSystem, customer: &ApiCaller) -> Value {
    let admin = system.admin().await;
    eventually("the address to be suppressed", async || {
        let found = system.mail_suppression(&admin, &customer.id).await;
        (found["suppressed"] == true).then_some(found)
    })
    .await
}

#[tokio::test]
async fn bounced_address_gets_no_mail_until_support_permits_it() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let customer = system.customer().await;
    let address = email_address(&customer.id);
    complete_order(&system, &customer).await;
    assert_eq!(system.sent_mails(&address).await.len(), 1);

    // A full mailbox has no effect. The later report shows that the first one was processed or is retried.
    system
        .publish_mail_event(&bounce_event("Transient", &address))
        .await;
    system
        .publish_mail_event(&bounce_event("Permanent", &address))
        .await;
    let suppression = wait_for_suppression(&system, &customer).await;
    assert_eq!(suppression["reason"], "bounce");
    complete_order(&system, &customer).await;
    assert_eq!(system.sent_mails(&address).await.len(), 1);

    let admin = system.admin().await;
    system.remove_mail_suppression(&admin, &customer.id).await;
    let nothing = json!({"suppressed": false, "reason": null, "since": null});
    assert_eq!(system.mail_suppression(&admin, &customer.id).await, nothing);
    complete_order(&system, &customer).await;
    assert_eq!(system.sent_mails(&address).await.len(), 2);
}

#[tokio::test]
async fn complaint_stops_mails_about_orders() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let customer = system.customer().await;
    let address = email_address(&customer.id);
    system.publish_mail_event(&complaint_event(&address)).await;
    let suppression = wait_for_suppression(&system, &customer).await;
    assert_eq!(suppression["reason"], "complaint");
    complete_order(&system, &customer).await;
    assert_eq!(system.sent_mails(&address).await.len(), 0);
}

/// The auth functions request their mails from notification-sender, too.
#[tokio::test]
async fn suppressed_address_gets_no_account_mail() {
    let system = TestSystem::shared();
    let user = system.register_user().await;
    system.wait_for_mail(&user.email, "Welcome", 1).await;
    system
        .publish_mail_event(&bounce_event("Permanent", &user.email.to_uppercase()))
        .await;
    let session = system.sign_in(&user).await;
    let account = system.get_gateway("/v1/me", &session.access_token).await;
    let id = account.expect_status(200)["id"].as_str().unwrap().to_owned();
    let customer = ApiCaller {
        id,
        token: session.access_token,
    };
    wait_for_suppression(&system, &customer).await;

    let body = json!({"email": user.email});
    let path = "/v1/auth/password/forgot";
    system.post_gateway(path, &body).await.expect_status(202);
    // The next request is for another user: its mail shows that the queue moves.
    let other = system.register_user().await;
    system.wait_for_mail(&other.email, "Welcome", 1).await;
    eventually("an empty notification queue", async || {
        let waiting = system.queue_messages("notification-queue").await;
        let is_processed = !waiting
            .iter()
            .any(|message| message.to_string().contains(&user.email));
        is_processed.then_some(())
    })
    .await;
    assert_eq!(system.sent_mails(&user.email).await.len(), 1);
}
