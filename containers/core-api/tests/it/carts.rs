//! Carts: filled, looked at, merged.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use chrono::TimeDelta;
use domain::Clock;
use insta::{assert_json_snapshot, assert_snapshot};
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp, TestResponse};

/// Whose cart.
#[derive(Clone, Copy)]
enum CartCredentials<'a> {
    Anonymous,
    CartToken(&'a str),
    User(&'a str),
    UserAndCart(&'a str, &'a str),
}

impl CartCredentials<'_> {
    fn apply_to(self, request: RequestBuilder) -> RequestBuilder {
        match self {
            Self::Anonymous => request,
            Self::CartToken(token) => request.header("Cart-Token", token),
            Self::User(token) => request.bearer_auth(token),
            Self::UserAndCart(person, cart) => request.bearer_auth(person).header("Cart-Token", cart),
        }
    }
}

async fn get_cart(app: &TestApp, by: CartCredentials<'_>) -> TestResponse {
    by.apply_to(app.get("/v1/cart")).fetch().await
}

async fn put_item(app: &TestApp, by: CartCredentials<'_>, product: &str, quantity: u32) -> TestResponse {
    by.apply_to(app.put(format!("/v1/cart/items/{product}")))
        .json(&json!({"quantity": quantity}))
        .fetch()
        .await
}

async fn remove_item(app: &TestApp, by: CartCredentials<'_>, product: &str) -> TestResponse {
    by.apply_to(app.delete(format!("/v1/cart/items/{product}")))
        .fetch()
        .await
}

/// What is in a cart: the products' quantities by their ids.
fn quantities(answer: &TestResponse) -> Vec<(String, u64)> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["items"]
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
async fn a_cart_is_shown_at_the_prices_and_with_the_stock_of_the_moment(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let token = app.customer().await.token();
    let me = CartCredentials::User(&token);
    let (bowl, whisk) = (
        app.create_product("Tea bowl", 7_500).await,
        app.create_product("Whisk", 2_200).await,
    );
    let kettle = app.create_product("Kettle", 16_800).await;
    let scoop = app.create_product("Scoop", 900).await;
    app.set_stock(&bowl, 10).await;
    app.set_stock(&whisk, 3).await;
    app.set_stock(&kettle, 0).await;
    put_item(&app, me, &bowl, 2).await;
    put_item(&app, me, &whisk, 5).await;
    put_item(&app, me, &kettle, 1).await;
    put_item(&app, me, &scoop, 4).await;

    let dearer = app
        .patch(format!("/v1/products/{bowl}"))
        .bearer_auth(&app.admin_token);
    let dearer = dearer.header("If-Match", "*").json(&json!({"price": 8_000}));
    assert_eq!(dearer.fetch().await.status, 200);
    let removal = app
        .delete(format!("/v1/products/{scoop}"))
        .bearer_auth(&app.admin_token);
    assert_eq!(removal.header("If-Match", "*").fetch().await.status, 204);
    assert_json_snapshot!(get_cart(&app, me).await, {".body.items[].product_id" => "[product]"}, @r#"
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
        assert_eq!(remove_item(&app, me, &whisk).await.status, 204, "twice is once");
    }
    put_item(&app, me, &bowl, 1).await;
    let cart = get_cart(&app, me).await;
    assert_eq!(quantities(&cart), [(bowl, 1), (kettle, 1), (scoop, 4)]);
    assert_eq!(cart.body["total_amount"], 24_800);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_cart_of_nobody_is_opened_by_its_token_alone(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::Anonymous).await),
        [],
        "looking makes none"
    );
    let first = put_item(&app, CartCredentials::Anonymous, &bowl, 2).await;
    let token = first.body_str("cart_token");
    assert_eq!(first.header("cart-token"), token);

    let mine = CartCredentials::CartToken(&token);
    let again = put_item(&app, mine, &bowl, 3).await;
    assert_eq!(
        (again.body.get("cart_token"), again.headers.get("cart-token")),
        (None, None)
    );
    assert_eq!(quantities(&get_cart(&app, mine).await), [(bowl.clone(), 3)]);
    let other = put_item(&app, CartCredentials::Anonymous, &bowl, 1).await;
    assert_ne!(other.body_str("cart_token"), token);
    assert_eq!(
        quantities(&get_cart(&app, mine).await),
        [(bowl.clone(), 3)],
        "each their own"
    );

    // What was made up opens nothing, and nothing is put where others might look for it.
    let made_up = "A".repeat(43);
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::CartToken(&made_up)).await),
        []
    );
    let put_there = put_item(&app, CartCredentials::CartToken(&made_up), &bowl, 1).await;
    assert_ne!(put_there.body_str("cart_token"), made_up);
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::CartToken(&made_up)).await),
        []
    );

    // Who reads the table cannot open the cart.
    let items = app
        .dynamo
        .scan()
        .table_name(&app.sessions_table)
        .send()
        .await
        .unwrap();
    assert!(!format!("{items:?}").contains(&token));

    assert_eq!(remove_item(&app, mine, &bowl).await.status, 204);
    assert_eq!(quantities(&get_cart(&app, mine).await), []);
    assert_eq!(
        remove_item(&app, CartCredentials::Anonymous, &bowl).await.status,
        204
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn who_signs_in_finds_what_they_had_in_their_cart_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (bowl, whisk) = (
        app.create_product("Tea bowl", 7_500).await,
        app.create_product("Whisk", 2_200).await,
    );
    let token = app.customer().await.token();
    put_item(&app, CartCredentials::User(&token), &bowl, 9_998).await;
    let cart = put_item(&app, CartCredentials::Anonymous, &bowl, 5)
        .await
        .body_str("cart_token");
    put_item(&app, CartCredentials::CartToken(&cart), &whisk, 2).await;

    // Its token is sent along with whatever comes next, ten times at once.
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        tasks.spawn(
            CartCredentials::UserAndCart(&token, &cart)
                .apply_to(app.get("/v1/cart"))
                .fetch(),
        );
    }
    let both = [(bowl.clone(), 9_999), (whisk.clone(), 2)];
    for answer in tasks.join_all().await {
        assert_eq!(quantities(&answer), both);
    }
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::User(&token)).await),
        both
    );
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::CartToken(&cart)).await),
        [],
        "it is nobody's any more"
    );

    // Also when what comes next puts something in or takes something out.
    let second = put_item(&app, CartCredentials::Anonymous, &whisk, 1)
        .await
        .body_str("cart_token");
    let answer = put_item(&app, CartCredentials::UserAndCart(&token, &second), &bowl, 1).await;
    assert_eq!(quantities(&answer), [(bowl.clone(), 1), (whisk.clone(), 3)]);
    let third = put_item(&app, CartCredentials::Anonymous, &bowl, 1)
        .await
        .body_str("cart_token");
    assert_eq!(
        remove_item(&app, CartCredentials::UserAndCart(&token, &third), &whisk)
            .await
            .status,
        204
    );
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::User(&token)).await),
        [(bowl, 2)]
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_cart_holds_fifty_products_and_loses_none_that_are_put_in_at_once(pool: PgPool) {
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
    for answer in tasks.join_all().await {
        assert_eq!(answer.status, 200, "{answer:?}");
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
        "more of the same"
    );

    let cart = put_item(&app, CartCredentials::Anonymous, &products[51], 1)
        .await
        .body_str("cart_token");
    put_item(&app, CartCredentials::CartToken(&cart), &products[1], 4).await;
    let merged = quantities(&get_cart(&app, CartCredentials::UserAndCart(&token, &cart)).await);
    assert_eq!((merged.len(), merged[1].1), (50, 5), "as far as there is room");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn a_cart_that_nobody_touched_for_a_month_is_gone_whether_removed_or_not(pool: PgPool) {
    let days = Arc::new(AtomicI64::new(0));
    let hands = days.clone();
    let system = Clock::system();
    let clock = Clock::from_fn(move || system.now() + TimeDelta::days(hands.load(Ordering::SeqCst)));
    let app = TestApp::start_with_clock(pool, clock).await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let cart = put_item(&app, CartCredentials::Anonymous, &bowl, 2)
        .await
        .body_str("cart_token");
    days.store(29, Ordering::SeqCst);
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::CartToken(&cart)).await),
        [(bowl.clone(), 2)]
    );
    days.store(31, Ordering::SeqCst);
    assert_eq!(
        quantities(&get_cart(&app, CartCredentials::CartToken(&cart)).await),
        []
    );
    let items = app
        .dynamo
        .scan()
        .table_name(&app.sessions_table)
        .send()
        .await
        .unwrap();
    let ttl = items.items()[0]["ttl"].as_n().unwrap().parse::<i64>().unwrap();
    assert_eq!(
        (ttl - Clock::system().now().timestamp() + 43_200) / 86_400,
        30,
        "DynamoDB is told when"
    );
    let another = put_item(&app, CartCredentials::CartToken(&cart), &bowl, 1).await;
    assert_ne!(another.body_str("cart_token"), cart, "nobody takes it up again");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn what_must_not_come_into_a_cart(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let token = app.customer().await.token();
    let mut table = String::new();
    for (case, body) in [
        ("none", json!({"quantity": 0})),
        ("fewer than none", json!({"quantity": -1})),
        ("too many", json!({"quantity": 10_000})),
        ("a part", json!({"quantity": 0.5})),
        ("a text", json!({"quantity": "1"})),
        ("nothing said", json!({})),
        ("a price", json!({"quantity": 1, "price": 1})),
        ("a list", json!([])),
    ] {
        let answer = app
            .put(format!("/v1/cart/items/{bowl}"))
            .bearer_auth(&token)
            .json(&body)
            .fetch()
            .await;
        writeln!(table, "{case:<16} {}", answer.problem()).unwrap();
    }
    let unknown = "00000000-0000-7000-8000-000000000000";
    for product in [unknown, "bowl"] {
        writeln!(
            table,
            "{:<16} {}",
            "no product",
            put_item(&app, CartCredentials::User(&token), product, 1)
                .await
                .problem()
        )
        .unwrap();
    }
    for cart in ["", "cart", &"A".repeat(44), &"!".repeat(43), &"A".repeat(5_000)] {
        writeln!(
            table,
            "{:<16} {}",
            "no cart token",
            get_cart(&app, CartCredentials::CartToken(cart)).await.problem()
        )
        .unwrap();
    }
    let two = app
        .get("/v1/cart")
        .header("Cart-Token", "A".repeat(43))
        .header("Cart-Token", "B".repeat(43));
    writeln!(table, "{:<16} {}", "two cart tokens", two.fetch().await.problem()).unwrap();
    let bad = CartCredentials::UserAndCart("no.such.token", &"A".repeat(43)).apply_to(app.get("/v1/cart"));
    writeln!(table, "{:<16} {}", "a bad token", bad.fetch().await.problem()).unwrap();
    assert_snapshot!(table, @r#"
    none             422 invalid-body /quantity: a quantity is a whole number from 1 to 9999
    fewer than none  422 invalid-body /quantity: invalid value: integer `-1`, expected u32
    too many         422 invalid-body /quantity: a quantity is a whole number from 1 to 9999
    a part           422 invalid-body /quantity: invalid type: floating point `0.5`, expected u32
    a text           422 invalid-body /quantity: invalid type: string "1", expected u32
    nothing said     422 invalid-body : missing field `quantity`
    a price          422 invalid-body /price: unknown field `price`, expected `quantity`
    a list           422 invalid-body : invalid type: sequence, expected an object
    no product       404 not-found
    no product       404 not-found
    no cart token    400 invalid-cart-token
    no cart token    400 invalid-cart-token
    no cart token    400 invalid-cart-token
    no cart token    400 invalid-cart-token
    no cart token    400 invalid-cart-token
    two cart tokens  400 invalid-cart-token
    a bad token      401 unauthorized
    "#);
    let items = app
        .dynamo
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
