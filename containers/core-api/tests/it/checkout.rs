//! Checkout: a cart becomes an order exactly once.

use std::{collections::BTreeSet, fmt::Write, time::Duration};

use domain::UserId;
use insta::assert_snapshot;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp, TestResponse};

/// core-api with two products and a customer.
pub struct TestShop {
    pub app: TestApp,
    pub token: String,
    pub user_id: UserId,
    pub bowl: String,
    pub whisk: String,
}

impl TestShop {
    pub async fn start(pool: PgPool) -> Self {
        let app = TestApp::start(pool).await;
        let bowl = app.create_product("Tea bowl", 7_500).await;
        let whisk = app.create_product("Bamboo whisk", 2_200).await;
        app.set_stock(&bowl, 1_000).await;
        app.set_stock(&whisk, 1_000).await;
        let user = app.customer().await;
        Self {
            app,
            token: user.token(),
            user_id: user.id(),
            bowl,
            whisk,
        }
    }

    pub async fn put_item(&self, product: &str, quantity: u32) {
        let put = self
            .app
            .put(format!("/v1/cart/items/{product}"))
            .bearer_auth(&self.token);
        assert_eq!(put.json(&json!({"quantity": quantity})).fetch().await.status, 200);
    }

    pub fn checkout_request(&self, key: &str, payment_method: &str) -> RequestBuilder {
        self.app
            .post("/v1/cart/checkout")
            .bearer_auth(&self.token)
            .header("Idempotency-Key", key)
            .json(&json!({"payment_method": payment_method}))
    }

    pub async fn checkout(&self, key: &str) -> TestResponse {
        self.checkout_request(key, "pm_card_visa").fetch().await
    }

    pub async fn cart_items(&self) -> Vec<(String, u64)> {
        let cart = self.app.get("/v1/cart").bearer_auth(&self.token).fetch().await;
        cart.body["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| {
                (
                    item["product_id"].as_str().unwrap().to_owned(),
                    item["quantity"].as_u64().unwrap(),
                )
            })
            .collect()
    }

    async fn order_count(&self) -> usize {
        self.app.orders.list_all(self.user_id).await.unwrap().len()
    }

    async fn set_price(&self, product: &str, price: i64) {
        let change = self
            .app
            .patch(format!("/v1/products/{product}"))
            .bearer_auth(&self.app.admin_token)
            .header("If-Match", "*")
            .json(&json!({"price": price}));
        assert_eq!(change.fetch().await.status, 200);
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn checkout_places_an_order_and_empties_the_cart(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    shop.put_item(&shop.bowl, 2).await;
    shop.put_item(&shop.whisk, 1).await;
    let placed = shop.checkout("key").await;
    assert_eq!(placed.status, 202, "{placed:?}");
    assert_eq!(
        (&placed.body["total_amount"], &placed.body["status"]),
        (&json!(17_200), &json!("pending"))
    );
    assert_eq!(shop.cart_items().await, []);
    let read = shop.app.get(placed.header("location")).bearer_auth(&shop.token);
    let read = read.fetch().await;
    assert_eq!(read.body["items"], placed.body["items"]);
    assert_eq!(read.body["items"].as_array().unwrap().len(), 2);
    let events = shop.app.order_outbox_events().await;
    assert_eq!(
        events.len(),
        1,
        "checkout publishes the same event as POST /v1/orders"
    );
    assert_eq!(events[0].0, "OrderCreated");
    assert_eq!(shop.checkout("another key").await.problem(), "409 cart-empty");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn same_key_returns_the_same_order_after_the_cart_changed(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    shop.put_item(&shop.bowl, 2).await;
    let first = shop.checkout("key").await;
    shop.put_item(&shop.whisk, 3).await;
    for _ in 0..3 {
        let again = shop.checkout("key").await;
        assert_eq!(format!("{again:?}"), format!("{first:?}"));
    }
    assert_eq!(
        shop.cart_items().await,
        [(shop.whisk.clone(), 3)],
        "an item added after checkout stays in the cart"
    );

    let removal = shop.app.delete(format!("/v1/products/{}", shop.bowl));
    let removal = removal.bearer_auth(&shop.app.admin_token).header("If-Match", "*");
    assert_eq!(removal.fetch().await.status, 204);
    let again = shop.checkout("key").await;
    assert_eq!(
        format!("{again:?}"),
        format!("{first:?}"),
        "also after its product was removed"
    );
    let other_card = shop.checkout_request("key", "pm_card_mastercard").fetch().await;
    assert_eq!(other_card.problem(), "422 idempotency-key-reused");

    // Checkout and POST /v1/orders have separate idempotency keys.
    let body =
        json!({"items": [{"product_id": shop.whisk, "quantity": 1}], "payment_method": "pm_card_visa"});
    let direct = shop.app.order_request(&shop.token, "key", &body).fetch().await;
    assert_eq!(direct.status, 202);
    assert_ne!(direct.body["order_id"], first.body["order_id"]);
    assert_eq!(shop.order_count().await, 2);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn twenty_concurrent_checkouts_with_one_key_place_one_order(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    shop.put_item(&shop.bowl, 2).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        tasks.spawn(shop.checkout_request("the same", "pm_card_visa").fetch());
    }
    let (accepted, refused): (Vec<_>, Vec<_>) = tasks
        .join_all()
        .await
        .into_iter()
        .partition(|response| response.status == 202);
    assert!(!accepted.is_empty());
    for response in &accepted {
        assert_eq!(response.body, accepted[0].body);
    }
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!((shop.order_count().await, shop.cart_items().await), (1, vec![]));
    assert_eq!(shop.checkout("the same").await.body, accepted[0].body);
}

/// A client may create a new key for each click on the button.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn twenty_concurrent_checkouts_with_different_keys_place_one_order(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    for round in 0..3 {
        shop.put_item(&shop.bowl, 2).await;
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..20 {
            tasks.spawn(
                shop.checkout_request(&format!("{round} {number}"), "pm_card_visa")
                    .fetch(),
            );
        }
        let responses = tasks.join_all().await;
        let accepted = responses.iter().filter(|response| response.status == 202).count();
        assert_eq!(accepted, 1, "{responses:?}");
        let problems: BTreeSet<String> = responses
            .iter()
            .filter(|response| response.status != 202)
            .map(TestResponse::problem)
            .collect();
        assert_eq!(problems, BTreeSet::from(["409 cart-empty".to_owned()]));
        assert_eq!(
            (shop.order_count().await, shop.cart_items().await),
            (round + 1, vec![])
        );
    }
}

/// Items are added while checkouts run. Each item is either ordered once or still in the cart.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn items_added_during_checkout_are_neither_lost_nor_ordered_twice(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let mut products = Vec::new();
    for number in 0..10 {
        products.push(shop.app.create_product(&format!("Bowl {number}"), 100).await);
        shop.app.set_stock(&products[number], 10).await;
    }
    shop.put_item(&shop.bowl, 1).await;
    let add_items = async {
        for product in &products {
            shop.put_item(product, 1).await;
        }
    };
    let check_out = async {
        for number in 0..8 {
            let response = shop.checkout(&format!("key {number}")).await;
            assert!(matches!(response.status, 202 | 409), "{response:?}");
        }
    };
    tokio::join!(add_items, check_out);
    let mut seen: Vec<String> = shop
        .cart_items()
        .await
        .into_iter()
        .map(|(product, _)| product)
        .collect();
    for order in shop.app.orders.list_all(shop.user_id).await.unwrap() {
        seen.extend(order.items.iter().map(|item| item.product_id.to_string()));
    }
    seen.sort();
    products.push(shop.bowl.clone());
    products.sort();
    assert_eq!(seen, products);
}

/// The client disconnects at any point of the checkout, which cancels the request. Then its idempotency
/// record expires, and the customer checks out again with another key.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn interrupted_checkout_is_ordered_once_even_without_its_idempotency_record(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    for round in 0..30 {
        shop.put_item(&shop.bowl, 2).await;
        let request = shop.checkout_request(&format!("first {round}"), "pm_card_visa");
        let _interrupted = tokio::time::timeout(Duration::from_millis(round), request.send()).await;
        shop.app.expire_idempotency_records().await;
        let second = shop.checkout(&format!("second {round}")).await;
        assert!(
            second.status == 202 || second.problem() == "409 cart-empty",
            "{second:?}"
        );
        assert_eq!(shop.cart_items().await, []);
        let orders = shop.app.orders.list_all(shop.user_id).await.unwrap();
        assert_eq!(orders.len() as u64, round + 1);
        assert_eq!(orders[0].items[0].quantity.get(), 2);
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn checkout_is_refused_when_the_total_is_not_the_expected_one(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    shop.put_item(&shop.bowl, 2).await;
    let checkout = async |key: &str, amount: i64| {
        let body = json!({
            "payment_method": "pm_card_visa",
            "expected_total": {"amount": amount, "currency": "JPY"},
        });
        let request = shop.checkout_request(key, "pm_card_visa").json(&body);
        request.fetch().await
    };
    shop.set_price(&shop.bowl, 8_000).await;
    let refused = checkout("key", 15_000).await;
    assert_eq!(refused.problem(), "409 total-changed");
    let cart = shop.app.get("/v1/cart").bearer_auth(&shop.token).fetch().await;
    assert_eq!(
        refused.body["cart"], cart.body,
        "the problem contains the present cart"
    );
    assert_eq!(cart.body["total_amount"], 16_000);
    assert_eq!(shop.cart_items().await, [(shop.bowl.clone(), 2)]);
    assert_eq!(shop.order_count().await, 0);

    let placed = checkout("key", 16_000).await;
    assert_eq!(
        (placed.status, &placed.body["total_amount"]),
        (202, &json!(16_000))
    );
    shop.set_price(&shop.bowl, 9_000).await;
    let again = checkout("key", 16_000).await;
    assert_eq!(
        format!("{again:?}"),
        format!("{placed:?}"),
        "a repeated request gets its order, whatever the prices are by then"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn checkout_is_refused_for_what_the_cart_shows_as_out_of_stock(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let kettle = shop.app.create_product("Kettle", 16_800).await;
    shop.app.set_stock(&shop.whisk, 2).await;
    shop.put_item(&shop.bowl, 1).await;
    shop.put_item(&shop.whisk, 3).await;
    shop.put_item(&kettle, 1).await;
    let refused = shop.checkout("key").await;
    assert_eq!(refused.problem(), "409 insufficient-stock");
    assert_eq!(refused.body["product_ids"], json!([shop.whisk, kettle]));
    let cart = shop.app.get("/v1/cart").bearer_auth(&shop.token).fetch().await;
    assert_eq!(
        refused.body["cart"], cart.body,
        "the problem contains the present cart"
    );
    assert_eq!(
        shop.cart_items().await,
        [
            (shop.bowl.clone(), 1),
            (shop.whisk.clone(), 3),
            (kettle.clone(), 1)
        ]
    );
    assert_eq!(shop.order_count().await, 0);

    shop.app.set_stock(&shop.whisk, 3).await;
    shop.app.set_stock(&kettle, 1).await;
    assert_eq!(shop.checkout("key").await.status, 202);
    assert_eq!(shop.cart_items().await, []);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn failed_checkout_leaves_the_cart_unchanged(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let gift = shop.app.create_product("Sticker", 0).await;
    shop.put_item(&gift, 1).await;
    assert_eq!(shop.checkout("key").await.problem(), "409 total-out-of-range");
    assert_eq!(shop.cart_items().await, [(gift.clone(), 1)]);

    shop.put_item(&shop.bowl, 1).await;
    let removal = shop.app.delete(format!("/v1/products/{gift}"));
    let removal = removal.bearer_auth(&shop.app.admin_token).header("If-Match", "*");
    assert_eq!(removal.fetch().await.status, 204);
    let refused = shop.checkout("key").await;
    assert_eq!(refused.problem(), "409 products-unavailable");
    assert_eq!(refused.body["product_ids"], json!([gift]));
    assert_eq!(shop.order_count().await, 0);

    // After the correction, the same key places the order.
    let path = format!("/v1/cart/items/{gift}");
    assert_eq!(
        shop.app
            .delete(path)
            .bearer_auth(&shop.token)
            .fetch()
            .await
            .status,
        204
    );
    let placed = shop.checkout("key").await;
    assert_eq!(
        (placed.status, &placed.body["total_amount"]),
        (202, &json!(7_500))
    );
    assert_eq!(shop.cart_items().await, []);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn checkout_merges_the_anonymous_cart(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    shop.put_item(&shop.bowl, 1).await;
    let anonymous = shop.app.put(format!("/v1/cart/items/{}", shop.bowl));
    let anonymous = anonymous.json(&json!({"quantity": 2})).fetch().await;
    let cart = anonymous.body_str("cart_token");
    let mut placed = Vec::new();
    for _ in 0..2 {
        let request = shop
            .checkout_request("key", "pm_card_visa")
            .header("Cart-Token", &cart);
        placed.push(request.fetch().await);
    }
    assert_eq!(placed[0].body["items"][0]["quantity"], 3, "{placed:?}");
    assert_eq!(placed[1].body, placed[0].body);
    assert_eq!((shop.order_count().await, shop.cart_items().await), (1, vec![]));

    let unauthenticated = shop
        .app
        .post("/v1/cart/checkout")
        .header("Cart-Token", &cart)
        .header("Idempotency-Key", "key")
        .json(&json!({"payment_method": "pm_card_visa"}));
    assert_eq!(
        unauthenticated.fetch().await.problem(),
        "401 unauthorized",
        "a cart token alone cannot check out"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_invalid_checkout_requests(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    shop.put_item(&shop.bowl, 1).await;
    let mut table = String::new();
    for (case, body) in [
        ("no payment method", json!({})),
        ("a card number", json!({"payment_method": "4242424242424242"})),
        (
            "a total",
            json!({"payment_method": "pm_card_visa", "total_amount": 1}),
        ),
        ("lines", json!({"payment_method": "pm_card_visa", "items": []})),
        (
            "a user",
            json!({"payment_method": "pm_card_visa", "user_id": "x"}),
        ),
        (
            "a bare total",
            json!({"payment_method": "pm_card_visa", "expected_total": 7_500}),
        ),
        ("null", Value::Null),
    ] {
        let response = shop
            .app
            .post("/v1/cart/checkout")
            .bearer_auth(&shop.token)
            .header("Idempotency-Key", "key")
            .json(&body)
            .fetch()
            .await;
        writeln!(table, "{case:<18} {}", response.problem()).unwrap();
    }
    let without_key = shop
        .app
        .post("/v1/cart/checkout")
        .bearer_auth(&shop.token)
        .json(&json!({"payment_method": "pm_card_visa"}));
    writeln!(table, "{:<18} {}", "no key", without_key.fetch().await.problem()).unwrap();
    assert_snapshot!(table, @r"
    no payment method  422 invalid-body : missing field `payment_method`
    a card number      422 invalid-body /payment_method: expected pm_ and then 1 to 100 letters, digits and underscores
    a total            422 invalid-body /total_amount: unknown field `total_amount`, expected `payment_method` or `expected_total`
    lines              422 invalid-body /items: unknown field `items`, expected `payment_method` or `expected_total`
    a user             422 invalid-body /user_id: unknown field `user_id`, expected `payment_method` or `expected_total`
    a bare total       422 invalid-body /expected_total: invalid type: integer `7500`, expected an object
    null               422 invalid-body : invalid type: null, expected an object
    no key             400 idempotency-key-required
    ");
    assert_eq!((shop.order_count().await, shop.cart_items().await.len()), (0, 1));
}
