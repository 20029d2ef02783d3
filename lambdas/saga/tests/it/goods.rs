//! The steps that ask stock-service, where it cannot be reached. What it answers is tested end to end.

use access_tokens::{ServiceKey, ServiceSigner};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::{Engine, prelude::BASE64_STANDARD};
use domain::Clock;
use lambda_shared::FunctionError;
use saga::{
    StockService, complete_order::complete_order, process_payment::process_payment,
    release_stock::release_stock, reserve_stock::reserve_stock, update_stock::update_stock,
};

use crate::world::World;

/// A signing key as Secrets Manager keeps it.
pub fn signing_key() -> String {
    let der = Ed25519KeyPair::generate().unwrap().to_pkcs8v1().unwrap();
    let der = BASE64_STANDARD.encode(der.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    serde_json::json!({"kid": "test", "private_key_pem": pem}).to_string()
}

/// Nobody listens on the discard port.
fn out_of_reach() -> StockService {
    let key: ServiceKey = serde_json::from_str(&signing_key()).unwrap();
    let signer = ServiceSigner::new(&key, "issuer", "audience", "test", Clock::system()).unwrap();
    StockService::new("http://127.0.0.1:9".parse().unwrap(), signer).unwrap()
}

#[tokio::test]
async fn a_service_out_of_reach_is_worth_another_try() {
    let world = World::new().await;
    let (state, stock) = (world.place("pm_card_visa").await, out_of_reach());
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
    let world = World::new().await;
    let (state, stock) = (world.place("pm_card_visa").await, out_of_reach());
    assert_eq!(
        release_stock(&world.orders, &stock, &state)
            .await
            .unwrap_err()
            .name(),
        "Unavailable"
    );
    assert!(world.order(&state).await.payment_closed);
}

#[tokio::test]
async fn the_goods_of_a_completed_order_do_not_go_back() {
    let world = World::new().await;
    let (state, stock) = (world.place("pm_card_visa").await, out_of_reach());
    process_payment(&world.orders, &world.stripe, &world.announcer, &state)
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
    let world = World::new().await;
    let (state, stock) = (world.made_up().await, out_of_reach());
    // The id may be that of a completed order of another customer.
    assert_eq!(
        release_stock(&world.orders, &stock, &state).await.unwrap().status,
        "left_to_expire"
    );
}
