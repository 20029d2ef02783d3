//! Unsubscribing from order mails with the link in a mail, through the API gateway.

use e2e::system::{TestSystem, send, test_users::email_address};
use reqwest::Method;

#[tokio::test]
async fn link_in_a_mail_stops_further_mails_except_receipts() {
    let system = TestSystem::shared();
    system.capture_events().await;
    let customer = system.customer().await;
    let address = email_address(&customer.id);
    let lantern = system.create_product(7500, 10).await;
    let fail_order = async || {
        let order_id = system
            .place_order(&customer, &lantern, 1, "pm_card_chargeDeclined")
            .await;
        system.wait_for_final_status(&customer, order_id).await;
        system.wait_for_notifications(order_id, &["OrderFailed"]).await;
    };
    let wants_mails = async || {
        let request = system.core_api_request(Method::GET, "/v1/me");
        let account = send(request.bearer_auth(&customer.token))
            .await
            .expect_status(200);
        account["preferences"]["order_mails"] == true
    };

    fail_order().await;
    let mails = system.sent_mails(&address).await;
    let text = mails[0]["BodyText"].as_str().unwrap();
    let start = format!("{}/v1/unsubscribe?token=", system.gateway_url);
    let link = text.lines().find(|line| line.starts_with(&start)).unwrap();

    // The local API gateway replaces the content type; containers/core-api/tests checks it.
    let page = send(system.http.get(link)).await.expect_status(200);
    assert!(page.as_str().unwrap().contains("<form method"), "{page}");
    assert!(wants_mails().await, "the page changes nothing");

    // As a mail program does it (RFC 8058).
    let one_click = || system.http.post(link).form(&[("List-Unsubscribe", "One-Click")]);
    send(one_click()).await.expect_status(200);
    send(one_click()).await.expect_status(200);
    assert!(!wants_mails().await);
    fail_order().await;
    assert_eq!(system.sent_mails(&address).await.len(), 1);

    let paid = system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    system.wait_for_final_status(&customer, paid).await;
    system.wait_for_notifications(paid, &["OrderCompleted"]).await;
    let mails = system.sent_mails(&address).await;
    assert_eq!(mails.len(), 2);
    assert_eq!(mails[1]["Subject"], "Your Matsuri order is complete");
    assert!(!mails[1].to_string().contains("/v1/unsubscribe"), "{}", mails[1]);

    let forged = format!(
        "{}{}",
        &link[..link.len() - 1],
        if link.ends_with('A') { 'B' } else { 'A' }
    );
    let refused = send(system.http.post(forged)).await.expect_status(400);
    assert_eq!(refused["title"], "Invalid unsubscribe link");
}
