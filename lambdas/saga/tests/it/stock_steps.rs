//! Tests of the steps that call stock-service, while it is unreachable. The end-to-end tests cover its
//! responses.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, prelude::BASE64_STANDARD, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::Clock;
use lambda_shared::FunctionError;
use saga::{
    StockClient, complete_order::complete_order, release_stock::release_stock, reserve_stock::reserve_stock,
    update_stock::update_stock,
};
use secrets::Secret;
use serde_json::{Value, json};
use tokens::{ServiceSigningKey, ServiceTokenIssuer};

use crate::support::TestContext;

/// A signing key in the format of its secret.
pub fn signing_key_json() -> String {
    signing_key("test").0
}

/// A signing key in the format of its secret, and its public key as a JWK.
pub fn signing_key(kid: &str) -> (String, Value) {
    let pair = Ed25519KeyPair::generate().unwrap();
    let der = BASE64_STANDARD.encode(pair.to_pkcs8v1().unwrap().as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key());
    (
        json!({"kid": kid, "private_key_pem": pem}).to_string(),
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x}),
    )
}

/// A client for the discard port, where no server listens.
fn unreachable_stock_client() -> StockClient {
    let key: ServiceSigningKey = serde_json::from_str(&signing_key_json()).unwrap();
    let token_issuer = ServiceTokenIssuer::new(&key, "issuer", "audience", "test", Clock::system()).unwrap();
    StockClient::new("http://127.0.0.1:9".parse().unwrap(), Secret::fixed(token_issuer)).unwrap()
}

#[tokio::test]
async fn unreachable_stock_service_is_retryable() {
    let context = TestContext::new().await;
    let (state, stock) = (
        context.place_order("pm_card_visa").await,
        unreachable_stock_client(),
    );
    assert_eq!(
        reserve_stock(&stock, &state).await.unwrap_err().name(),
        "Unavailable"
    );
    assert_eq!(
        update_stock(&stock, &state).await.unwrap_err().name(),
        "Unavailable"
    );
}

#[tokio::test]
async fn order_is_closed_to_payment_before_its_stock_is_released() {
    let context = TestContext::new().await;
    let (state, stock) = (
        context.place_order("pm_card_visa").await,
        unreachable_stock_client(),
    );
    assert_eq!(
        release_stock(&context.orders, &stock, &state)
            .await
            .unwrap_err()
            .name(),
        "Unavailable"
    );
    assert!(context.load_order(&state).await.payment_closed);
}

#[tokio::test]
async fn stock_of_completed_order_is_kept() {
    let context = TestContext::new().await;
    let (state, stock) = (
        context.place_order("pm_card_visa").await,
        unreachable_stock_client(),
    );
    context.pay(&state).await.unwrap();
    complete_order(&context.store, &context.status_push, &state)
        .await
        .unwrap();
    // The step does not call stock-service: the call would fail.
    assert_eq!(
        release_stock(&context.orders, &stock, &state)
            .await
            .unwrap()
            .status,
        "kept"
    );
}

#[tokio::test]
async fn stock_of_nonexistent_order_is_left_to_expire() {
    let context = TestContext::new().await;
    let (state, stock) = (context.nonexistent_order().await, unreachable_stock_client());
    // The order id may belong to a completed order of another customer.
    assert_eq!(
        release_stock(&context.orders, &stock, &state)
            .await
            .unwrap()
            .status,
        "left_to_expire"
    );
}
