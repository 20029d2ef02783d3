//! A cart from its creation by an unauthenticated client to the order, through the API gateway.

use domain::OrderId;
use reqwest::Method;
use serde_json::{Value, json};

use e2e::system::{ApiCaller, TestSystem, send};

/// The products and quantities in a cart.
fn cart_contents(cart: &Value) -> Vec<(&str, u64)> {
    let items = cart["items"].as_array().expect("a cart has items");
    items
        .iter()
        .map(|item| {
            (
                item["product_id"].as_str().unwrap(),
                item["quantity"].as_u64().unwrap(),
            )
        })
        .collect()
}

async fn put_cart_item(system: &TestSystem, product: &str, quantity: u32, headers: &[(&str, &str)]) -> Value {
    let mut request = system.gateway_request(Method::PUT, &format!("/v1/cart/items/{product}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request.json(&json!({"quantity": quantity})))
        .await
        .expect_status(200)
}

async fn get_cart(system: &TestSystem, headers: &[(&str, &str)]) -> Value {
    let mut request = system.gateway_request(Method::GET, "/v1/cart");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request).await.expect_status(200)
}

#[tokio::test]
async fn unauthenticated_cart_merges_into_the_account_and_is_ordered() {
    let system = TestSystem::shared();
    let (lantern, drum) = (
        system.create_product(700, 10).await,
        system.create_product(4000, 5).await,
    );
    let cart = put_cart_item(&system, &lantern, 2, &[]).await;
    let token = cart["cart_token"]
        .as_str()
        .expect("an unauthenticated cart has a token");
    let unauthenticated = [("cart-token", token)];
    put_cart_item(&system, &drum, 1, &unauthenticated).await;
    let cart = get_cart(&system, &unauthenticated).await;
    assert_eq!(cart_contents(&cart).len(), 2);
    assert_eq!(cart["total_amount"], 5400);
    assert!(
        cart_contents(&get_cart(&system, &[]).await).is_empty(),
        "without a cart token, the client gets another cart"
    );

    let hanako = system.register_user().await;
    let session = system.sign_in(&hanako).await;
    let bearer = format!("Bearer {}", session.access_token);
    let authenticated = [("authorization", bearer.as_str())];
    put_cart_item(&system, &lantern, 1, &authenticated).await;
    let merged = get_cart(&system, &[authenticated[0], unauthenticated[0]]).await;
    let mut contents_of_merged = cart_contents(&merged);
    contents_of_merged.sort_by_key(|(_, quantity)| *quantity);
    assert_eq!(
        contents_of_merged,
        [(drum.as_str(), 1), (lantern.as_str(), 3)],
        "the merged cart contains the items of both carts"
    );
    assert!(
        cart_contents(&get_cart(&system, &unauthenticated).await).is_empty(),
        "the merge empties the unauthenticated cart"
    );

    let checkout = async |key: &str| {
        let request = system
            .gateway_request(Method::POST, "/v1/cart/checkout")
            .bearer_auth(&session.access_token)
            .header("idempotency-key", key);
        send(request.json(&json!({"payment_method": "pm_card_visa"}))).await
    };
    let order = checkout("one").await.expect_status(202);
    assert_eq!(
        checkout("one").await.expect_status(202)["order_id"],
        order["order_id"]
    );
    assert_eq!(order["total_amount"], 6100);
    assert!(cart_contents(&get_cart(&system, &authenticated).await).is_empty());
    let empty = checkout("two").await;
    assert_eq!(empty.status, 409, "{empty:?}");

    let me = system
        .get_gateway("/v1/me", &session.access_token)
        .await
        .expect_status(200);
    let caller = ApiCaller {
        id: me["id"].as_str().unwrap().to_owned(),
        token: session.access_token.clone(),
    };
    let order_id: OrderId = order["order_id"].as_str().unwrap().parse().unwrap();
    let final_order = system.wait_for_final_status(&caller, order_id).await;
    assert_eq!(final_order["status"], "completed");
    assert_eq!(system.stock_quantities(&lantern).await, (7, 0));
    assert_eq!(system.stock_quantities(&drum).await, (4, 0));
    let mail = system
        .wait_for_mail(&hanako.email, "Your Matsuri order is complete", 1)
        .await;
    assert!(
        mail[0]["BodyText"]
            .as_str()
            .unwrap()
            .contains(&order_id.to_string())
    );
}

#[tokio::test]
async fn a_declined_order_returns_its_lines_to_the_cart() {
    let system = TestSystem::shared();
    let lantern = system.create_product(700, 10).await;
    let customer = system.customer().await;
    let bearer = format!("Bearer {}", customer.token);
    let authenticated = [("authorization", bearer.as_str())];
    put_cart_item(&system, &lantern, 2, &authenticated).await;
    let checkout = async |key: &str, payment_method: &str| {
        let request = system
            .gateway_request(Method::POST, "/v1/cart/checkout")
            .bearer_auth(&customer.token)
            .header("idempotency-key", key);
        let expected_total = json!({"amount": 1400, "currency": "JPY"});
        let body = json!({"payment_method": payment_method, "expected_total": expected_total});
        let order = send(request.json(&body)).await.expect_status(202);
        let order_id: OrderId = order["order_id"].as_str().unwrap().parse().unwrap();
        system.wait_for_final_status(&customer, order_id).await
    };
    assert_eq!(
        checkout("declined", "pm_card_chargeDeclined").await["status"],
        "failed"
    );
    for _ in 0..2 {
        let cart = get_cart(&system, &authenticated).await;
        assert_eq!(cart_contents(&cart), [(lantern.as_str(), 2)]);
    }
    assert_eq!(checkout("paid", "pm_card_visa").await["status"], "completed");
    assert!(cart_contents(&get_cart(&system, &authenticated).await).is_empty());
    assert_eq!(system.stock_quantities(&lantern).await, (8, 0));
}
