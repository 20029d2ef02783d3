//! Carts: adding and removing items, cart tokens, totals, expiry.

use std::fmt::Write;

use chrono::TimeDelta;
use domain::Clock;
use insta::{assert_json_snapshot, assert_snapshot};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    support::{RequestBuilderExt, TestApp, TestResponse},
    test_clock::TestClock,
};

/// What a request to the cart carries.
#[derive(Clone, Copy)]
pub enum CartCredentials<'a> {
    Anonymous,
    CartToken(&'a str),
    User(&'a str),
    UserAndCart(&'a str, &'a str),
}

impl CartCredentials<'_> {
    pub fn apply_to(self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Anonymous => request,
            Self::CartToken(token) => request.header("Cart-Token", token),
            Self::User(token) => request.bearer_auth(token),
            Self::UserAndCart(user, cart) => request.bearer_auth(user).header("Cart-Token", cart),
        }
    }
}

pub async fn get_cart(app: &TestApp, credentials: CartCredentials<'_>) -> TestResponse {
    credentials.apply_to(app.get("/v1/cart")).fetch().await
}

pub async fn put_item(
    app: &TestApp,
    credentials: CartCredentials<'_>,
    product: &str,
    quantity: u32,
) -> TestResponse {
    credentials
        .apply_to(app.put(format!("/v1/cart/items/{product}")))
        .json(&json!({"quantity": quantity}))
        .fetch()
        .await
}

pub async fn remove_item(app: &TestApp, credentials: CartCredentials<'_>, product: &str) -> TestResponse {
    credentials
        .apply_to(app.delete(format!("/v1/cart/items/{product}")))
        .fetch()
        .await
}

/// The product ids and quantities in a cart.
pub fn quantities(response: &TestResponse) -> Vec<(String, u64)> {
    assert_eq!(response.status, 200, "{response:?}");
    response.body["items"]
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

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn cart_shows_current_prices_and_availability(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let token = app.customer().await.token();
    let credentials = CartCredentials::User(&token);
    let (bowl, whisk) = (
        app.create_product("Tea bowl", 7_500).await,
        app.create_product("Whisk", 2_200).await,
    );
    let kettle = app.create_product("Kettle", 16_800).await;
    let scoop = app.create_product("Scoop", 900).await;
    app.set_stock(&bowl, 10).await;
    app.set_stock(&whisk, 3).await;
    app.set_stock(&kettle, 0).await;
    put_item(&app, credentials, &bowl, 2).await;
    put_item(&app, credentials, &whisk, 5).await;
    put_item(&app, credentials, &kettle, 1).await;
    put_item(&app, credentials, &scoop, 4).await;

    let price_change = app
        .patch(format!("/v1/products/{bowl}"))
        .bearer_auth(&app.admin_token);
    let price_change = price_change
        .header("If-Match", "*")
        .json(&json!({"price": 8_000}));
    assert_eq!(price_change.fetch().await.status, 200);
    let removal = app
        .delete(format!("/v1/products/{scoop}"))
        .bearer_auth(&app.admin_token);
    assert_eq!(removal.header("If-Match", "*").fetch().await.status, 204);
    assert_json_snapshot!(get_cart(&app, credentials).await, {".body.items[].product_id" => "[product]"}, @r#"
    {
      "status": 200,
      "headers": {
        "content-type": "application/json"
      },
      "body": {
        "currency": "JPY",
        "items": [
          {
            "availability": "in_stock",
            "available": 2,
            "price": 8000,
            "product_id": "[product]",
            "product_name": "Tea bowl",
            "quantity": 2
          },
          {
            "availability": "insufficient",
            "available": 3,
            "price": 2200,
            "product_id": "[product]",
            "product_name": "Whisk",
            "quantity": 5
          },
          {
            "availability": "out_of_stock",
            "available": 0,
            "price": 16800,
            "product_id": "[product]",
            "product_name": "Kettle",
            "quantity": 1
          },
          {
            "availability": "withdrawn",
            "available": 0,
            "price": null,
            "product_id": "[product]",
            "product_name": null,
            "quantity": 4
          }
        ],
        "total_amount": 43800
      }
    }
    "#);

    for _ in 0..2 {
        assert_eq!(
            remove_item(&app, credentials, &whisk).await.status,
            204,
            "removing an item is idempotent"
        );
    }
    put_item(&app, credentials, &bowl, 1).await;
    let cart = get_cart(&app, credentials).await;
    assert_eq!(quantities(&cart), [(bowl, 1), (kettle, 1), (scoop, 4)]);
    assert_eq!(cart.body["total_amount"], 24_800);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn anonymous_cart_requires_its_cart_token(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::Anonymous).await),
        [],
        "reading creates no cart"
    );
    let first = put_item(&app, CartCredentials::Anonymous, &bowl, 2).await;
    let token = first.body_str("cart_token");
    assert_eq!(first.header("cart-token"), token);

    let credentials = CartCredentials::CartToken(&token);
    let again = put_item(&app, credentials, &bowl, 3).await;
    assert_eq!(
        (again.body.get("cart_token"), again.headers.get("cart-token")),
        (None, None)
    );
    assert_eq!(
        quantities(&get_cart(&app, credentials).await),
        [(bowl.clone(), 3)]
    );
    let other = put_item(&app, CartCredentials::Anonymous, &bowl, 1).await;
    assert_ne!(other.body_str("cart_token"), token);
    assert_eq!(
        quantities(&get_cart(&app, credentials).await),
        [(bowl.clone(), 3)],
        "the carts are separate"
    );

    // A forged token finds no cart, and adding an item does not create a cart under that token.
    let forged = "A".repeat(43);
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::CartToken(&forged)).await),
        []
    );
    let added = put_item(&app, CartCredentials::CartToken(&forged), &bowl, 1).await;
    assert_ne!(added.body_str("cart_token"), forged);
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::CartToken(&forged)).await),
        []
    );

    // The table does not contain the cart token.
    let items = app
        .dynamodb
        .scan()
        .table_name(&app.sessions_table)
        .send()
        .await
        .unwrap();
    assert!(!format!("{items:?}").contains(&token));

    assert_eq!(remove_item(&app, credentials, &bowl).await.status, 204);
    assert_eq!(quantities(&get_cart(&app, credentials).await), []);
    assert_eq!(
        remove_item(&app, CartCredentials::Anonymous, &bowl).await.status,
        204
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn limits_cart_to_fifty_products_and_keeps_concurrent_additions(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let token = app.customer().await.token();
    let mut products = Vec::new();
    for number in 0..52 {
        products.push(app.create_product(&format!("Bowl {number}"), 100).await);
    }
    for product in &products[..40] {
        put_item(&app, CartCredentials::User(&token), product, 1).await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for product in &products[40..50] {
        let request = app
            .put(format!("/v1/cart/items/{product}"))
            .json(&json!({"quantity": 1}));
        tasks.spawn(CartCredentials::User(&token).apply_to(request).fetch());
    }
    for response in tasks.join_all().await {
        assert_eq!(response.status, 200, "{response:?}");
    }
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::User(&token)).await).len(),
        50
    );
    let refused = put_item(&app, CartCredentials::User(&token), &products[50], 1).await;
    assert_eq!(refused.problem(), "409 cart-full");
    assert_eq!(
        put_item(&app, CartCredentials::User(&token), &products[0], 2)
            .await
            .status,
        200,
        "a product in the cart can change its quantity"
    );
}

/// The largest cart at the largest price: its total is exact in JavaScript, whose numbers are doubles.
#[sqlx::test(migrator = "database::MIGRATOR")]
async fn the_largest_total_of_a_cart_is_exact_as_a_double(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let token = app.customer().await.token();
    for number in 0..50 {
        let product = app.create_product(&format!("Bowl {number}"), 99_999_999).await;
        put_item(&app, CartCredentials::User(&token), &product, 9_999).await;
    }
    let cart = get_cart(&app, CartCredentials::User(&token)).await;
    let total = cart.body["total_amount"].as_i64().unwrap();
    assert_eq!(total, 50 * 9_999 * 99_999_999);
    assert!(total <= 9_007_199_254_740_991, "2^53 - 1");
    let too_expensive =
        json!({"name": "Crown", "description": "", "price": 100_000_000, "category": "tea-ware"});
    let refused = app
        .post("/v1/products")
        .bearer_auth(&app.admin_token)
        .json(&too_expensive);
    assert_eq!(
        refused.fetch().await.problem(),
        "422 invalid-body /price: a price is at least 0 and at most 99999999 minor units"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn idle_cart_expires_after_thirty_days_even_before_ttl_deletion(pool: PgPool) {
    let clock = TestClock::running();
    let app = TestApp::start_with_clock(pool, clock.clock()).await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let cart = put_item(&app, CartCredentials::Anonymous, &bowl, 2)
        .await
        .body_str("cart_token");
    clock.advance(TimeDelta::days(29));
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::CartToken(&cart)).await),
        [(bowl.clone(), 2)]
    );
    clock.advance(TimeDelta::days(2));
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::CartToken(&cart)).await),
        []
    );
    let items = app
        .dynamodb
        .scan()
        .table_name(&app.sessions_table)
        .send()
        .await
        .unwrap();
    let ttl = items.items()[0]["ttl"].as_n().unwrap().parse::<i64>().unwrap();
    assert_eq!(
        (ttl - Clock::system().now().timestamp() + 43_200) / 86_400,
        30,
        "the item's TTL attribute is set"
    );
    let another = put_item(&app, CartCredentials::CartToken(&cart), &bowl, 1).await;
    assert_ne!(
        another.body_str("cart_token"),
        cart,
        "an expired cart is not reused"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn rejects_invalid_cart_requests(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let token = app.customer().await.token();
    let mut table = String::new();
    for (case, body) in [
        ("zero", json!({"quantity": 0})),
        ("negative", json!({"quantity": -1})),
        ("too large", json!({"quantity": 10_000})),
        ("fraction", json!({"quantity": 0.5})),
        ("text", json!({"quantity": "1"})),
        ("missing", json!({})),
        ("price", json!({"quantity": 1, "price": 1})),
        ("list", json!([])),
    ] {
        let response = app
            .put(format!("/v1/cart/items/{bowl}"))
            .bearer_auth(&token)
            .json(&body)
            .fetch()
            .await;
        writeln!(table, "{case:<16} {}", response.problem()).unwrap();
    }
    let unknown = "00000000-0000-7000-8000-000000000000";
    for product in [unknown, "bowl"] {
        writeln!(
            table,
            "{:<16} {}",
            "unknown product",
            put_item(&app, CartCredentials::User(&token), product, 1)
                .await
                .problem()
        )
        .unwrap();
    }
    for cart_token in ["", "cart", &"A".repeat(44), &"!".repeat(43), &"A".repeat(5_000)] {
        writeln!(
            table,
            "{:<16} {}",
            "malformed token",
            get_cart(&app, CartCredentials::CartToken(cart_token))
                .await
                .problem()
        )
        .unwrap();
    }
    let two_tokens = app
        .get("/v1/cart")
        .header("Cart-Token", "A".repeat(43))
        .header("Cart-Token", "B".repeat(43));
    writeln!(
        table,
        "{:<16} {}",
        "two tokens",
        two_tokens.fetch().await.problem()
    )
    .unwrap();
    let invalid_bearer =
        CartCredentials::UserAndCart("no.such.token", &"A".repeat(43)).apply_to(app.get("/v1/cart"));
    writeln!(
        table,
        "{:<16} {}",
        "invalid bearer",
        invalid_bearer.fetch().await.problem()
    )
    .unwrap();
    assert_snapshot!(table, @r#"
    zero             422 invalid-body /quantity: a quantity is a whole number from 1 to 9999
    negative         422 invalid-body /quantity: invalid value: integer `-1`, expected u32
    too large        422 invalid-body /quantity: a quantity is a whole number from 1 to 9999
    fraction         422 invalid-body /quantity: invalid type: floating point `0.5`, expected u32
    text             422 invalid-body /quantity: invalid type: string "1", expected u32
    missing          422 invalid-body : missing field `quantity`
    price            422 invalid-body /price: unknown field `price`, expected `quantity`
    list             422 invalid-body : invalid type: sequence, expected an object
    unknown product  404 not-found
    unknown product  404 not-found
    malformed token  400 invalid-cart-token
    malformed token  400 invalid-cart-token
    malformed token  400 invalid-cart-token
    malformed token  400 invalid-cart-token
    malformed token  400 invalid-cart-token
    two tokens       400 invalid-cart-token
    invalid bearer   401 unauthorized
    "#);
    let items = app
        .dynamodb
        .scan()
        .table_name(&app.sessions_table)
        .send()
        .await
        .unwrap();
    assert_eq!(items.count, 0);
    assert_eq!(
        get_cart(&app, CartCredentials::User(&token)).await.body["items"],
        Value::Array(vec![])
    );
}
