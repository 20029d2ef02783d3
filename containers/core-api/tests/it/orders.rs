//! Orders: place, read, cancel.

use domain::{FailureReason, PaymentId, UserId};
use insta::assert_json_snapshot;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp, TestResponse};

/// core-api with two products.
pub struct TestShop {
    pub app: TestApp,
    bowl: String,
    whisk: String,
}

impl TestShop {
    pub async fn start(pool: PgPool) -> Self {
        let app = TestApp::start(pool).await;
        let bowl = app.create_product("Tea bowl", 7_500).await;
        let whisk = app.create_product("Bamboo whisk", 2_200).await;
        Self { app, bowl, whisk }
    }

    fn two_bowls(&self) -> Value {
        json!({"items": [{"product_id": self.bowl, "quantity": 2}], "payment_method": "pm_card_visa"})
    }

    /// Places an order and returns its path.
    pub async fn place_order(&self, token: &str, key: &str) -> String {
        let placed = self
            .app
            .order_request(token, key, &self.two_bowls())
            .fetch()
            .await;
        assert_eq!(placed.status, 202, "{placed:?}");
        placed.header("location").to_owned()
    }

    pub async fn get(&self, token: &str, path: &str) -> TestResponse {
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
async fn order_keeps_the_names_and_prices_of_its_placement(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let token = shop.app.customer().await.token();
    // One product is on two lines; both lines are kept.
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
            "quantity": 2,
            "tax_rate": "standard"
          },
          {
            "price": 2200,
            "product_id": "[product]",
            "product_name": "Bamboo whisk",
            "quantity": 1,
            "tax_rate": "standard"
          },
          {
            "price": 7500,
            "product_id": "[product]",
            "product_name": "Tea bowl",
            "quantity": 1,
            "tax_rate": "standard"
          }
        ],
        "order_id": "[id]",
        "status": "pending",
        "taxes": [
          {
            "percent": 10,
            "tax_amount": 2245,
            "tax_rate": "standard",
            "total_amount": 24700
          }
        ],
        "total_amount": 24700,
        "updated_at": "[time]"
      }
    }
    "#);
    assert_eq!(
        placed.header("location"),
        format!("/v1/orders/{}", placed.body_str("order_id"))
    );

    // Later changes to name and price do not affect the order.
    let product = format!("/v1/products/{}", shop.bowl);
    let change = json!({"price": 99_000, "name": "Antique tea bowl"});
    let changed = shop
        .app
        .patch(&product)
        .bearer_auth(&shop.app.admin_token)
        .header("If-Match", "*")
        .json(&change);
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
async fn order_created_event_continues_the_requests_trace(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let request = shop
        .app
        .order_request(&shop.app.customer().await.token(), "first", &shop.two_bowls())
        .header("traceparent", trace);
    let placed = request.fetch().await;

    let events = shop.app.order_outbox_events().await;
    let [(detail_type, event)] = &events[..] else {
        panic!("expected one event: {events:?}")
    };
    assert_eq!(detail_type, "OrderCreated");
    assert_eq!(event["correlation_id"], placed.body["order_id"]);
    let traceparent = event["traceparent"].as_str().unwrap();
    assert_eq!(traceparent[..36], trace[..36]);
    assert_ne!(traceparent, trace, "the request has a span of its own");
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
async fn order_shows_its_history_and_failure_reason(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let user = shop.app.customer().await;
    let token = user.token();
    let path = shop.place_order(&token, "first").await;
    let id = path.strip_prefix("/v1/orders/").unwrap().parse().unwrap();
    let user_id: UserId = user.id();

    let order = shop.app.orders.find(user_id, id).await.unwrap().unwrap();
    assert_eq!(order.contact_email, format!("{user_id}@example.com"));
    shop.app
        .orders
        .claim_for_payment(user_id, id, &PaymentId("pi_1".to_owned()))
        .await
        .unwrap();
    let processing = shop.get(&token, &path).await;
    assert_eq!(
        (&processing.body["status"], processing.body.get("reason")),
        (&json!("processing"), None)
    );

    let reason = FailureReason::PaymentDeclined;
    shop.app
        .store
        .fail(user_id, id, reason, &order.event_context())
        .await
        .unwrap();
    assert_json_snapshot!(shop.get(&token, &path).await, {
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
            "quantity": 2,
            "tax_rate": "standard"
          }
        ],
        "order_id": "[id]",
        "reason": "payment_declined",
        "status": "failed",
        "taxes": [
          {
            "percent": 10,
            "tax_amount": 1363,
            "tax_rate": "standard",
            "total_amount": 15000
          }
        ],
        "total_amount": 15000,
        "updated_at": "[time]"
      }
    }
    "#);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn order_can_be_cancelled_until_payment_starts(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let user = shop.app.customer().await;
    let token = user.token();
    let path = shop.place_order(&token, "first").await;

    let cancelled = shop.cancel_order(&token, &path).await;
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
            "quantity": 2,
            "tax_rate": "standard"
          }
        ],
        "order_id": "[id]",
        "status": "cancelled",
        "taxes": [
          {
            "percent": 10,
            "tax_amount": 1363,
            "tax_rate": "standard",
            "total_amount": 15000
          }
        ],
        "total_amount": 15000,
        "updated_at": "[time]"
      }
    }
    "#);
    let again = shop.cancel_order(&token, &path).await;
    assert_eq!(
        (again.status, &again.body),
        (200, &cancelled.body),
        "cancelling is idempotent"
    );
    let events = shop.app.order_outbox_events().await;
    let detail_types: Vec<&str> = events
        .iter()
        .map(|(detail_type, _)| detail_type.as_str())
        .collect();
    assert_eq!(detail_types, ["OrderCreated", "OrderCancelled"]);
    let traces: Vec<&str> = events
        .iter()
        .map(|(_, event)| &event["traceparent"].as_str().unwrap()[..36])
        .collect();
    assert_eq!(traces[0], traces[1], "all events of an order belong to one trace");

    let path = shop.place_order(&token, "second").await;
    let id = path.strip_prefix("/v1/orders/").unwrap().parse().unwrap();
    shop.app
        .orders
        .claim_for_payment(user.id(), id, &PaymentId("pi_1".to_owned()))
        .await
        .unwrap();
    assert_json_snapshot!(shop.cancel_order(&token, &path).await, @r#"
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
    assert_eq!(shop.get(&token, &path).await.body_str("status"), "processing");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn another_customers_order_is_not_found(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let (owner, other) = (
        shop.app.customer().await.token(),
        shop.app.customer().await.token(),
    );
    let others_order = shop.place_order(&owner, "first").await;
    let nonexistent = "/v1/orders/00000000-0000-7000-8000-000000000000";

    let (read_other, read_nonexistent) = (
        shop.get(&other, &others_order).await,
        shop.get(&other, nonexistent).await,
    );
    assert_json_snapshot!(read_other, @r#"
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
    assert_eq!(format!("{read_other:?}"), format!("{read_nonexistent:?}"));
    let (cancel_other, cancel_nonexistent) = (
        shop.cancel_order(&other, &others_order).await,
        shop.cancel_order(&other, nonexistent).await,
    );
    assert_eq!(cancel_other.problem(), "404 not-found");
    assert_eq!(format!("{cancel_other:?}"), format!("{cancel_nonexistent:?}"));
    let admin = shop.app.admin_token.clone();
    assert_eq!(
        shop.get(&admin, &others_order).await.status,
        404,
        "administrators cannot read it either"
    );
    assert_eq!(shop.get(&other, "/v1/orders").await.body["items"], json!([]));
    assert_eq!(
        shop.get(&owner, &others_order).await.body_str("status"),
        "pending",
        "the order is unchanged"
    );
    assert_eq!(
        shop.get(&owner, "/v1/orders/not-an-id").await.problem(),
        "404 not-found"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn order_is_refused_when_its_total_is_not_the_expected_one(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let token = shop.app.customer().await.token();
    let expecting = |amount: i64| {
        let mut body = shop.two_bowls();
        body["expected_total"] = json!({"amount": amount, "currency": "JPY"});
        body
    };
    let refused = shop
        .app
        .order_request(&token, "key", &expecting(14_999))
        .fetch()
        .await;
    assert_json_snapshot!(refused, @r#"
    {
      "status": 409,
      "headers": {
        "content-type": "application/problem+json"
      },
      "body": {
        "detail": "The current total is `total`. Nothing was ordered.",
        "status": 409,
        "title": "The total is not the expected one",
        "total": {
          "amount": 15000,
          "currency": "JPY"
        },
        "type": "https://matsuri.dev/problems/total-changed"
      }
    }
    "#);
    let placed = shop
        .app
        .order_request(&token, "key", &expecting(15_000))
        .fetch()
        .await;
    assert_eq!(placed.status, 202, "{placed:?}");

    // The repeated request gets its order, although the price has changed since.
    let change = shop
        .app
        .patch(format!("/v1/products/{}", shop.bowl))
        .bearer_auth(&shop.app.admin_token)
        .header("If-Match", "*")
        .json(&json!({"price": 8_000}));
    assert_eq!(change.fetch().await.status, 200);
    let again = shop
        .app
        .order_request(&token, "key", &expecting(15_000))
        .fetch()
        .await;
    assert_eq!(format!("{again:?}"), format!("{placed:?}"));

    let mut dollars = expecting(16_000);
    dollars["expected_total"]["currency"] = json!("USD");
    assert_eq!(
        shop.app
            .order_request(&token, "dollars", &dollars)
            .fetch()
            .await
            .problem(),
        "422 invalid-body /expected_total/currency: unknown variant `USD`, expected `JPY`"
    );
    assert_eq!(
        shop.get(&token, "/v1/orders").await.body["items"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}
