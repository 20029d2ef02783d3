//! The steps that ask stock-service, where it cannot be reached. What it answers is tested end to end.

use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine, prelude::BASE64_STANDARD};
use domain::Clock;
use lambda_shared::FunctionError;
use saga::{
    StockClient, complete_order::complete_order, process_payment::process_payment,
    release_stock::release_stock, reserve_stock::reserve_stock, update_stock::update_stock,
};
use tokens::{ServiceSigningKey, ServiceTokenIssuer};

use crate::support::TestContext;

/// A signing key as Secrets Manager keeps it.
pub fn signing_key_json() -> String {
    let der = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
    let der = BASE64_STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    serde_json::json!({"kid": "test", "private_key_pem": pem}).to_string()
}

/// Nobody listens on the discard port.
fn unreachable_stock_client() -> StockClient {
    let key: ServiceSigningKey = serde_json::from_str(&signing_key_json()).unwrap();
    let signer = ServiceTokenIssuer::new(&key, "issuer", "audience", "test", Clock::system()).unwrap();
    StockClient::new("http://127.0.0.1:9".parse().unwrap(), signer).unwrap()
}

#[tokio::test]
async fn a_service_out_of_reach_is_worth_another_try() {
    let world = TestContext::new().await;
    let (state, stock) = (
        world.place_order("pm_card_visa").await,
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
async fn an_order_is_closed_before_its_goods_go_back() {
    let world = TestContext::new().await;
    let (state, stock) = (
        world.place_order("pm_card_visa").await,
        unreachable_stock_client(),
    );
    assert_eq!(
        release_stock(&world.orders, &stock, &state)
            .await
            .unwrap_err()
            .name(),
        "Unavailable"
    );
    assert!(world.load_order(&state).await.payment_closed);
}

#[tokio::test]
async fn the_goods_of_a_completed_order_do_not_go_back() {
    let world = TestContext::new().await;
    let (state, stock) = (
        world.place_order("pm_card_visa").await,
        unreachable_stock_client(),
    );
    process_payment(&world.orders, &world.stripe, &world.publisher, &state)
        .await
        .unwrap();
    complete_order(&world.orders, &state).await.unwrap();
    // stock-service is not even asked, or the step would fail.
    assert_eq!(
        release_stock(&world.orders, &stock, &state).await.unwrap().status,
        "kept"
    );
}

#[tokio::test]
async fn goods_for_an_order_that_does_not_exist_are_left_to_expire() {
    let world = TestContext::new().await;
    let (state, stock) = (world.nonexistent_order().await, unreachable_stock_client());
    // The id may be that of a completed order of another customer.
    assert_eq!(
        release_stock(&world.orders, &stock, &state).await.unwrap().status,
        "left_to_expire"
    );
}
