//! Fuzz targets of core-api: request bodies, pagination cursors and the header Idempotency-Key.

use std::sync::LazyLock;

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, Request, StatusCode},
    response::IntoResponse,
};
use core_api::{
    catalog::ProductDetails,
    cursor,
    http::{IdempotencyKey, ProductPatch},
    order_service::{LineRequests, OrderRequest},
};
use domain::OrderId;
use futures::executor::block_on;
use http_server::{Json, Problem};
use serde_json::Value;

static PRODUCT: LazyLock<ProductDetails> = LazyLock::new(|| {
    let product = br#"{
        "name": "Kettle", "description": "Of iron.", "price": 16800, "category": "tea-ware",
        "translations": {"ja": {"name": "Tetsubin", "description": "Iron."}}
    }"#;
    let Ok(Json(details)) = Json::from_bytes(product) else {
        unreachable!("the product above is valid")
    };
    details
});

/// Accepted orders, products and product patches satisfy the validation rules. Every rejection is a client
/// error.
pub fn bodies(bytes: &[u8]) {
    match Json::<OrderRequest>::from_bytes(bytes) {
        Ok(Json(_)) => {
            let body: Value = serde_json::from_slice(bytes).expect("an accepted order is JSON");
            let lines = body["items"].as_array().map_or(0, Vec::len);
            assert!((1..=LineRequests::MAX).contains(&lines));
        }
        Err(problem) => assert_client_error(problem),
    }
    match Json::<ProductDetails>::from_bytes(bytes) {
        Ok(Json(details)) => assert_product_round_trip(&details),
        Err(problem) => assert_client_error(problem),
    }
    match Json::<ProductPatch>::from_bytes(bytes).and_then(|Json(patch)| patch.apply_to(&PRODUCT)) {
        Ok(changed) => assert_product_round_trip(&changed),
        Err(problem) => assert_client_error(problem),
    }
}

/// Serialising and parsing a product returns the same product.
fn assert_product_round_trip(details: &ProductDetails) {
    let json = serde_json::to_vec(details).expect("a product serialises to JSON");
    let Ok(Json(parsed)) = Json::<ProductDetails>::from_bytes(&json) else {
        unreachable!("a serialised product must be valid")
    };
    let value =
        |details: &ProductDetails| serde_json::to_value(details).expect("a product serialises to JSON");
    assert_eq!(value(&parsed), value(details));
}

fn assert_client_error(problem: Problem) {
    let status = problem.into_response().status();
    assert!(
        matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY),
        "{status}"
    );
}

/// A cursor can be decoded only for the list that encoded it, and returns the encoded value.
pub fn cursors(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let list = ("orders of", "user-1");
    assert!(
        cursor::decode::<OrderId>(&list, text).is_err(),
        "a forged cursor was accepted"
    );
    let encoded = cursor::encode(&list, &text);
    assert_eq!(cursor::decode::<String>(&list, &encoded).as_deref(), Ok(text));
    assert!(cursor::decode::<String>(&("orders of", "user-2"), &encoded).is_err());
    assert!(cursor::decode::<Value>(&list, &encoded[1..]).is_err());
}

/// An accepted Idempotency-Key has 1 to 255 printable ASCII characters and is unchanged.
pub fn headers(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else {
        return;
    };
    let mut request = Request::new(());
    request.headers_mut().insert("idempotency-key", value);
    let (mut parts, ()) = request.into_parts();
    match block_on(IdempotencyKey::from_request_parts(&mut parts, &())) {
        Ok(IdempotencyKey(key)) => {
            assert_eq!(key.as_bytes(), bytes);
            assert!((1..=255).contains(&key.len()) && key.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
        }
        Err(problem) => assert_client_error(problem),
    }
}
