//! Orders: placed, read, listed, taken back.

use domain::{FailureReason, PaymentId, UserId};
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp, TestResponse};

struct TestShop {
    app: TestApp,
    bowl: String,
    whisk: String,
}

impl TestShop {
    async fn start(pool: PgPool) -> Self {
        let app = TestApp::start(pool).await;
        let bowl = app.create_product("Tea bowl", 7_500).await;
        let whisk = app.create_product("Bamboo whisk", 2_200).await;
        Self { app, bowl, whisk }
    }

    fn two_bowls(&self) -> Value {
        json!({"items": [{"product_id": self.bowl, "quantity": 2}], "payment_method": "pm_card_visa"})
    }

    /// Places an order and gives its address.
    async fn place_order(&self, token: &str, key: &str) -> String {
        let placed = self
            .app
            .order_request(token, key, &self.two_bowls())
            .fetch()
            .await;
        assert_eq!(placed.status, 202, "{placed:?}");
        placed.header("location").to_owned()
    }

    async fn get(&self, token: &str, path: &str) -> TestResponse {
        self.app.get(path).bearer_auth(token).fetch().await
    }

    async fn cancel_order(&self, token: &str, order: &str) -> TestResponse {
        self.app
            .post(format!("{order}/cancel"))
            .bearer_auth(token)
            .fetch()
            .await
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn an_order_is_accepted_at_the_prices_of_the_moment(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let token = shop.app.customer().await.token();
    // One product stands on two lines, and each line stays as it was given.
    let body = json!({
        "items": [
            {"product_id": shop.bowl, "quantity": 2},
            {"product_id": shop.whisk, "quantity": 1},
            {"product_id": shop.bowl, "quantity": 1},
        ],
        "payment_method": "pm_card_visa",
    });
    let placed = shop.app.order_request(&token, "first", &body).fetch().await;
    assert_json_snapshot!(placed, {
        ".headers.location" => "/v1/orders/[id]", ".body.order_id" => "[id]",
        ".body.items[].product_id" => "[product]",
        ".body.created_at" => "[time]", ".body.updated_at" => "[time]",
    }, @r#"
    {
      "status": 202,
      "headers": {
        "content-type": "application/json",
        "location": "/v1/orders/[id]"
      },
      "body": {
        "created_at": "[time]",
        "currency": "JPY",
        "items": [
          {
            "price": 7500,
            "product_id": "[product]",
            "product_name": "Tea bowl",
            "quantity": 2
          },
          {
            "price": 2200,
            "product_id": "[product]",
            "product_name": "Bamboo whisk",
            "quantity": 1
          },
          {
            "price": 7500,
            "product_id": "[product]",
            "product_name": "Tea bowl",
            "quantity": 1
          }
        ],
        "order_id": "[id]",
        "status": "pending",
        "total_amount": 24700,
        "updated_at": "[time]"
      }
    }
    "#);
    assert_eq!(
        placed.header("location"),
        format!("/v1/orders/{}", placed.body_str("order_id"))
    );

    // Later prices and names are of no account to it.
    let product = format!("/v1/products/{}", shop.bowl);
    let dearer = json!({"price": 99_000, "name": "Antique tea bowl"});
    let changed = shop
        .app
        .patch(&product)
        .bearer_auth(&shop.app.admin_token)
        .header("If-Match", "*")
        .json(&dearer);
    assert_eq!(changed.fetch().await.status, 200);
    let mut read = shop.get(&token, placed.header("location")).await;
    let history = read.body.as_object_mut().unwrap().remove("history").unwrap();
    assert_eq!((read.status, &read.body), (200, &placed.body));
    assert_eq!(
        history,
        json!([{"status": "pending", "at": placed.body["created_at"]}])
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn an_accepted_order_is_told_of_in_the_trace_of_its_request(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = shop
        .app
        .order_request(&shop.app.customer().await.token(), "first", &shop.two_bowls())
        .header("traceparent", trace);
    let placed = request.fetch().await;

    let events = shop.app.order_outbox_events().await;
    let [(kind, event)] = &events[..] else {
        panic!("one event: {events:?}")
    };
    assert_eq!(kind, "OrderCreated");
    assert_eq!(event["correlation_id"], placed.body["order_id"]);
    let traceparent = event["traceparent"].as_str().unwrap();
    assert_eq!(traceparent[..36], trace[..36]);
    assert_ne!(traceparent, trace, "the span is the request's own");
    assert_json_snapshot!(event["data"], {
        ".order_id" => "[id]", ".user_id" => "[user]", ".items[].product_id" => "[product]",
        ".created_at" => "[time]",
    }, @r#"
    {
      "created_at": "[time]",
      "currency": "JPY",
      "items": [
        {
          "price": 7500,
          "product_id": "[product]",
          "product_name": "Tea bowl",
          "quantity": 2
        }
      ],
      "order_id": "[id]",
      "payment_method": "pm_card_visa",
      "total_amount": 15000,
      "user_id": "[user]"
    }
    "#);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn an_order_shows_its_way_and_why_it_failed(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let person = shop.app.customer().await;
    let token = person.token();
    let address = shop.place_order(&token, "first").await;
    let id = address.strip_prefix("/v1/orders/").unwrap().parse().unwrap();
    let user: UserId = person.id();

    let order = shop.app.orders.find(user, id).await.unwrap().unwrap();
    assert_eq!(order.contact_email, format!("{user}@example.com"));
    shop.app
        .orders
        .claim_for_payment(user, id, &PaymentId("pi_1".to_owned()))
        .await
        .unwrap();
    let processing = shop.get(&token, &address).await;
    assert_eq!(
        (&processing.body["status"], processing.body.get("reason")),
        (&json!("processing"), None)
    );

    let reason = FailureReason::PaymentDeclined;
    shop.app
        .orders
        .fail(user, id, reason, &order.event_context())
        .await
        .unwrap();
    assert_json_snapshot!(shop.get(&token, &address).await, {
        ".body.order_id" => "[id]", ".body.items[].product_id" => "[product]",
        ".body.created_at" => "[time]", ".body.updated_at" => "[time]", ".body.history[].at" => "[time]",
    }, @r#"
    {
      "status": 200,
      "headers": {
        "content-type": "application/json"
      },
      "body": {
        "created_at": "[time]",
        "currency": "JPY",
        "history": [
          {
            "at": "[time]",
            "status": "pending"
          },
          {
            "at": "[time]",
            "status": "processing"
          },
          {
            "at": "[time]",
            "status": "failed"
          }
        ],
        "items": [
          {
            "price": 7500,
            "product_id": "[product]",
            "product_name": "Tea bowl",
            "quantity": 2
          }
        ],
        "order_id": "[id]",
        "reason": "payment_declined",
        "status": "failed",
        "total_amount": 15000,
        "updated_at": "[time]"
      }
    }
    "#);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn an_order_can_be_taken_back_until_it_is_paid(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let person = shop.app.customer().await;
    let token = person.token();
    let address = shop.place_order(&token, "first").await;

    let cancelled = shop.cancel_order(&token, &address).await;
    assert_json_snapshot!(cancelled, {
        ".body.order_id" => "[id]", ".body.items[].product_id" => "[product]",
        ".body.created_at" => "[time]", ".body.updated_at" => "[time]", ".body.history[].at" => "[time]",
    }, @r#"
    {
      "status": 200,
      "headers": {
        "content-type": "application/json"
      },
      "body": {
        "created_at": "[time]",
        "currency": "JPY",
        "history": [
          {
            "at": "[time]",
            "status": "pending"
          },
          {
            "at": "[time]",
            "status": "cancelled"
          }
        ],
        "items": [
          {
            "price": 7500,
            "product_id": "[product]",
            "product_name": "Tea bowl",
            "quantity": 2
          }
        ],
        "order_id": "[id]",
        "status": "cancelled",
        "total_amount": 15000,
        "updated_at": "[time]"
      }
    }
    "#);
    let again = shop.cancel_order(&token, &address).await;
    assert_eq!(
        (again.status, &again.body),
        (200, &cancelled.body),
        "twice is once"
    );
    let events = shop.app.order_outbox_events().await;
    let kinds: Vec<&str> = events.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["OrderCreated", "OrderCancelled"]);
    let traces: Vec<&str> = events
        .iter()
        .map(|(_, event)| &event["traceparent"].as_str().unwrap()[..36])
        .collect();
    assert_eq!(traces[0], traces[1], "all of an order's events are of one trace");

    let address = shop.place_order(&token, "second").await;
    let id = address.strip_prefix("/v1/orders/").unwrap().parse().unwrap();
    shop.app
        .orders
        .claim_for_payment(person.id(), id, &PaymentId("pi_1".to_owned()))
        .await
        .unwrap();
    assert_json_snapshot!(shop.cancel_order(&token, &address).await, @r#"
    {
      "status": 409,
      "headers": {
        "content-type": "application/problem+json"
      },
      "body": {
        "detail": "The order is processing.",
        "order_status": "processing",
        "status": 409,
        "title": "Order can no longer be cancelled",
        "type": "https://matsuri.dev/problems/too-late-to-cancel"
      }
    }
    "#);
    assert_eq!(shop.get(&token, &address).await.body_str("status"), "processing");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn another_customers_order_is_as_good_as_none(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let (owner, stranger) = (
        shop.app.customer().await.token(),
        shop.app.customer().await.token(),
    );
    let theirs = shop.place_order(&owner, "first").await;
    let nobodys = "/v1/orders/00000000-0000-7000-8000-000000000000";

    let (read_theirs, read_nobodys) = (
        shop.get(&stranger, &theirs).await,
        shop.get(&stranger, nobodys).await,
    );
    assert_json_snapshot!(read_theirs, @r#"
    {
      "status": 404,
      "headers": {
        "content-type": "application/problem+json"
      },
      "body": {
        "detail": "The resource does not exist, or you may not access it.",
        "status": 404,
        "title": "Not found",
        "type": "https://matsuri.dev/problems/not-found"
      }
    }
    "#);
    assert_eq!(format!("{read_theirs:?}"), format!("{read_nobodys:?}"));
    let (cancel_theirs, cancel_nobodys) = (
        shop.cancel_order(&stranger, &theirs).await,
        shop.cancel_order(&stranger, nobodys).await,
    );
    assert_eq!(cancel_theirs.problem(), "404 not-found");
    assert_eq!(format!("{cancel_theirs:?}"), format!("{cancel_nobodys:?}"));
    let admin = shop.app.admin_token.clone();
    assert_eq!(
        shop.get(&admin, &theirs).await.status,
        404,
        "not even those who run the shop"
    );
    assert_eq!(shop.get(&stranger, "/v1/orders").await.body["items"], json!([]));
    assert_eq!(
        shop.get(&owner, &theirs).await.body_str("status"),
        "pending",
        "it is untouched"
    );
    assert_eq!(
        shop.get(&owner, "/v1/orders/not-an-id").await.problem(),
        "404 not-found"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn orders_are_listed_newest_first_page_by_page(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let (token, other) = (
        shop.app.customer().await.token(),
        shop.app.customer().await.token(),
    );
    let mut placed = Vec::new();
    for number in 0..5 {
        placed.insert(0, shop.place_order(&token, &format!("order {number}")).await);
    }
    shop.place_order(&other, "order").await;
    shop.place_order(&other, "another").await;

    let (mut met, mut query) = (Vec::new(), "?limit=2".to_owned());
    loop {
        let page = shop.get(&token, &format!("/v1/orders{query}")).await;
        for order in page.body["items"].as_array().unwrap() {
            met.push(format!("/v1/orders/{}", order["order_id"].as_str().unwrap()));
            assert!(order.get("history").is_none(), "a list is short");
        }
        let Some(next) = page.body["next_cursor"].as_str() else {
            break;
        };
        query = format!("?limit=2&cursor={next}");
        // A new order is before the page, and does not push anything onto the next one.
        shop.place_order(&token, &format!("after {}", met.len())).await;
    }
    assert_eq!(met, placed);

    let theirs = shop.get(&other, "/v1/orders?limit=1").await;
    let foreign = format!("/v1/orders?cursor={}", theirs.body_str("next_cursor"));
    assert_eq!(shop.get(&other, &foreign).await.status, 200);
    assert_eq!(shop.get(&token, &foreign).await.problem(), "400 invalid-cursor");
    for (query, problem) in [
        ("limit=0", "400 invalid-query"),
        ("limit=101", "400 invalid-query"),
        ("page=2", "400 invalid-query"),
    ] {
        assert_eq!(
            shop.get(&token, &format!("/v1/orders?{query}")).await.problem(),
            problem
        );
    }
}
