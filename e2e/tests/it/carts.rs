//! A cart, from a stranger's hands to the order, by the front door.

use domain::OrderId;
use reqwest::Method;
use serde_json::{Value, json};

use e2e::system::{Person, System, send};

/// What is in a cart, as products and quantities.
fn contents(cart: &Value) -> Vec<(&str, u64)> {
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

async fn put(system: &System, product: &str, quantity: u32, headers: &[(&str, &str)]) -> Value {
    let mut request = system.door(Method::PUT, &format!("/v1/cart/items/{product}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request.json(&json!({"quantity": quantity})))
        .await
        .expect(200)
}

async fn read(system: &System, headers: &[(&str, &str)]) -> Value {
    let mut request = system.door(Method::GET, "/v1/cart");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(request).await.expect(200)
}

#[tokio::test]
async fn a_strangers_cart_becomes_their_order_when_they_sign_in() {
    let system = System::shared().await;
    let (lantern, drum) = (system.product(700, 10).await, system.product(4000, 5).await);
    let cart = put(&system, &lantern, 2, &[]).await;
    let token = cart["cart_token"]
        .as_str()
        .expect("a stranger's cart has a token");
    let stranger = [("cart-token", token)];
    put(&system, &drum, 1, &stranger).await;
    let cart = read(&system, &stranger).await;
    assert_eq!(contents(&cart).len(), 2);
    assert_eq!(cart["total_amount"], 5400);
    assert!(
        contents(&read(&system, &[]).await).is_empty(),
        "a cart is opened by its token alone"
    );

    let hanako = system.visitor().await;
    let session = system.sign_in(&hanako).await;
    let bearer = format!("Bearer {}", session.access_token);
    let mine = [("authorization", bearer.as_str())];
    put(&system, &lantern, 1, &mine).await;
    let merged = read(&system, &[mine[0], stranger[0]]).await;
    let mut contents_of_merged = contents(&merged);
    contents_of_merged.sort_by_key(|(_, quantity)| *quantity);
    assert_eq!(
        contents_of_merged,
        [(drum.as_str(), 1), (lantern.as_str(), 3)],
        "what was in both is together"
    );
    assert!(
        contents(&read(&system, &stranger).await).is_empty(),
        "it was merged once"
    );

    let check_out = async |key: &str| {
        let request = system
            .door(Method::POST, "/v1/cart/checkout")
            .bearer_auth(&session.access_token)
            .header("idempotency-key", key);
        send(request.json(&json!({"payment_method": "pm_card_visa"}))).await
    };
    let order = check_out("one").await.expect(202);
    assert_eq!(check_out("one").await.expect(202)["order_id"], order["order_id"]);
    assert_eq!(order["total_amount"], 6100);
    assert!(contents(&read(&system, &mine).await).is_empty());
    let empty = check_out("two").await;
    assert_eq!(empty.status, 409, "{empty:?}");

    let me = system.get_door("/v1/me", &session.access_token).await.expect(200);
    let hanako_herself = Person {
        id: me["id"].as_str().unwrap().to_owned(),
        token: session.access_token.clone(),
    };
    let order_id: OrderId = order["order_id"].as_str().unwrap().parse().unwrap();
    let settled = system.settled(&hanako_herself, order_id).await;
    assert_eq!(settled["status"], "completed");
    assert_eq!(system.stock(&lantern).await, (7, 0));
    assert_eq!(system.stock(&drum).await, (4, 0));
    let mail = system
        .letters(&hanako.email, "Your Matsuri order is complete", 1)
        .await;
    assert!(
        mail[0]["BodyText"]
            .as_str()
            .unwrap()
            .contains(&order_id.to_string())
    );
}
