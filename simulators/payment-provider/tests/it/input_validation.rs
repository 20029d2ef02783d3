//! Invalid requests are rejected in Stripe's error format and have no effect.

use reqwest::Method;

use crate::support::TestApp;

#[tokio::test]
async fn errors_name_the_invalid_parameter() {
    let server = TestApp::start().await;
    let long = "x".repeat(501);
    let cases = [
        (("amount", ""), "parameter_invalid_empty", "amount"),
        (("amount", "0"), "parameter_invalid_integer", "amount"),
        (("amount", "-1500"), "parameter_invalid_integer", "amount"),
        (("amount", "15.00"), "parameter_invalid_integer", "amount"),
        (
            ("amount", "99999999999999999999999"),
            "parameter_invalid_integer",
            "amount",
        ),
        (("amount", "49"), "amount_too_small", "amount"),
        (("amount", "100000000"), "amount_too_large", "amount"),
        (("currency", "usd"), "", "currency"),
        (("currency", " "), "parameter_invalid_empty", "currency"),
        (
            ("payment_method", "pm_card_unknown"),
            "resource_missing",
            "payment_method",
        ),
        (("confirm", "yes"), "parameter_invalid_boolean", "confirm"),
        (
            ("payment_method_types[]", "ideal"),
            "payment_intent_invalid_parameter",
            "payment_method_types",
        ),
        (("metadata[]", "x"), "parameter_invalid_metadata", "metadata"),
        (
            ("metadata[note]", long.as_str()),
            "parameter_invalid_metadata",
            "metadata",
        ),
        (("return_url", "shop"), "url_invalid", "return_url"),
        (("return_url", "javascript:alert(1)"), "url_invalid", "return_url"),
        (("price", "1"), "parameter_unknown", "price"),
        (("metadata[a][b]x", "1"), "parameter_unknown", "metadata[a][b]x"),
    ];
    for (invalid, code, param) in cases {
        let params = [("amount", "1500"), ("currency", "jpy"), invalid];
        let response = server.client.post("/v1/payment_intents", &params).await;
        assert_eq!(
            response.error(),
            (400, "invalid_request_error", code, param),
            "{invalid:?}"
        );
    }
    for (missing, params) in [
        ("amount", [("currency", "jpy")]),
        ("currency", [("amount", "1500")]),
    ] {
        let response = server.client.post("/v1/payment_intents", &params).await;
        assert_eq!(
            response.error(),
            (400, "invalid_request_error", "parameter_missing", missing)
        );
    }
    assert_eq!(
        server.client.get("/v1/payment_intents").await.body["data"],
        serde_json::json!([])
    );
}

#[tokio::test]
async fn minimum_and_maximum_amounts_are_accepted() {
    let server = TestApp::start().await;
    for amount in ["50", "99999999"] {
        let params = [
            ("amount", amount),
            ("currency", "jpy"),
            ("payment_method_types[0]", "card"),
        ];
        assert_eq!(
            server.client.post("/v1/payment_intents", &params).await.status,
            200
        );
    }
}

#[tokio::test]
async fn missing_resources_and_unknown_routes_are_errors() {
    let server = TestApp::start().await;
    let client = &server.client;
    let missing = (404, "invalid_request_error", "resource_missing", "intent");
    assert_eq!(client.find_payment("pi_none").await.error(), missing);
    assert_eq!(client.confirm("pi_none").await.error(), missing);
    assert_eq!(
        client
            .post("/v1/payment_intents/pi_none/cancel", &[])
            .await
            .error(),
        missing
    );
    let refund = client.post("/v1/refunds", &[("payment_intent", "pi_none")]).await;
    assert_eq!(
        refund.error(),
        (400, "invalid_request_error", "resource_missing", "payment_intent")
    );
    let unknown = (404, "invalid_request_error", "", "");
    assert_eq!(client.get("/v1/charges").await.error(), unknown);
    assert_eq!(client.get("/v1/payment_intents/%ff").await.error(), unknown);
    let delete = client
        .send(client.request(Method::DELETE, "/v1/payment_intents/pi_none"))
        .await;
    assert_eq!(delete.error(), unknown);
}

#[tokio::test]
async fn requests_without_a_test_key_are_unauthorized() {
    let server = TestApp::start().await;
    let client = &server.client;
    let list = || client.unauthenticated_request(Method::GET, "/v1/payment_intents");
    let rejected = [
        list(),
        list().bearer_auth(""),
        list().bearer_auth("sk_test_"),
        list().bearer_auth("sk_live_key"),
        list().header("authorization", "Basic !"),
        list().header("authorization", "sk_test_key"),
        list().basic_auth("user", Some("sk_test_key")),
    ];
    for request in rejected {
        let response = client.send(request).await;
        assert_eq!(response.error(), (401, "invalid_request_error", "", ""));
        assert!(
            !response.body.to_string().contains("key\""),
            "the key is not echoed"
        );
    }
    assert_eq!(
        client
            .send(list().basic_auth("sk_test_key", Some("")))
            .await
            .status,
        200
    );
    assert_eq!(
        client
            .send(client.unauthenticated_request(Method::GET, "/health"))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn only_small_form_encoded_bodies_are_accepted() {
    let server = TestApp::start().await;
    let client = &server.client;
    let post = || client.request(Method::POST, "/v1/payment_intents");

    let json = client
        .send(post().json(&serde_json::json!({ "amount": 1500 })))
        .await;
    assert_eq!(json.error(), (400, "invalid_request_error", "", ""));
    let invalid_form = client.send(
        post()
            .header("content-type", "application/x-www-form-urlencoded")
            .body(vec![0xff; 99]),
    );
    assert_eq!(invalid_form.await.error().0, 400);
    let large = client
        .send(post().form(&[("metadata[note]", "x".repeat(600_000))]))
        .await;
    assert_eq!(large.error(), (413, "invalid_request_error", "", ""));
    let empty_key = client
        .send(post().header("idempotency-key", "").form(&[("amount", "1500")]))
        .await;
    assert_eq!(empty_key.error().0, 400);
    let long_key = client
        .post_with_key(&"k".repeat(256), "/v1/payment_intents", &[])
        .await;
    assert_eq!(long_key.error().0, 400);
}
