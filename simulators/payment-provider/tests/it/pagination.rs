//! Listing payments and refunds page by page, as the end-to-end consistency checks do.

use serde_json::Value;

use crate::support::{ApiClient, TestApp};

async fn list_all_ids(client: &ApiClient, path: &str) -> Vec<String> {
    let (mut ids, mut query) = (Vec::<String>::new(), String::new());
    loop {
        let page = client.get(&format!("{path}?limit=2{query}")).await.body;
        assert_eq!(
            (&page["object"], &page["url"]),
            (&Value::from("list"), &Value::from(path))
        );
        ids.extend(
            page["data"]
                .as_array()
                .unwrap()
                .iter()
                .map(|resource| resource["id"].as_str().unwrap().to_owned()),
        );
        if page["has_more"] == false {
            return ids;
        }
        query = format!("&starting_after={}", ids.last().unwrap());
    }
}

#[tokio::test]
async fn lists_are_newest_first_without_gaps_or_duplicates() {
    let server = TestApp::start().await;
    let client = &server.client;
    assert!(list_all_ids(client, "/v1/payment_intents").await.is_empty());

    let (mut payments, mut refunds) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let id = client.create_payment("pm_card_visa").await;
        client.confirm(&id).await;
        refunds.push(client.post("/v1/refunds", &[("payment_intent", &id)]).await.id());
        payments.push(id);
    }
    let refunds_of_payment = client
        .get(&format!("/v1/refunds?payment_intent={}", payments[1]))
        .await
        .body;
    assert_eq!(refunds_of_payment["data"].as_array().unwrap().len(), 1);
    assert_eq!(refunds_of_payment["data"][0]["id"], refunds[1].as_str());

    payments.reverse();
    refunds.reverse();
    assert_eq!(list_all_ids(client, "/v1/payment_intents").await, payments);
    assert_eq!(list_all_ids(client, "/v1/refunds").await, refunds);
}

#[tokio::test]
async fn invalid_page_parameters_are_rejected() {
    let server = TestApp::start().await;
    for query in [
        "limit=0",
        "limit=101",
        "limit=-1",
        "limit=ten",
        "limit=",
        "offset=3",
    ] {
        assert_eq!(
            server
                .client
                .get(&format!("/v1/payment_intents?{query}"))
                .await
                .error()
                .0,
            400,
            "{query}"
        );
    }
    let response = server.client.get("/v1/refunds?starting_after=re_none").await;
    assert_eq!(
        response.error(),
        (400, "invalid_request_error", "resource_missing", "starting_after")
    );
}
