//! The bounds of open orders per account and of units per order.

use core_api::order_limits::{AccountLimits, OrderLimits};
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    support::{RequestBuilderExt, TestApp, TestAppConfig, TestResponse},
    test_user::TestUser,
};

const VERIFIED: AccountLimits = AccountLimits {
    max_units: 20,
    max_open_orders: Some(5),
};

const UNVERIFIED: AccountLimits = AccountLimits {
    max_units: 5,
    max_open_orders: Some(3),
};

/// core-api with limits and one product.
struct TestShop {
    app: TestApp,
    bowl: String,
}

impl TestShop {
    async fn start(pool: PgPool, unverified: Option<AccountLimits>) -> Self {
        let config = TestAppConfig {
            order_limits: OrderLimits {
                verified: VERIFIED,
                unverified,
            },
            ..TestAppConfig::default()
        };
        let app = TestApp::start_with_config(pool, config).await;
        let bowl = app.create_product("Tea bowl", 7_500).await;
        app.set_stock(&bowl, 1_000).await;
        Self { app, bowl }
    }

    async fn verified_customer(&self) -> TestUser {
        let user = self.app.customer().await;
        sqlx::query("UPDATE accounts.users SET email_verified_at = now() WHERE id = $1")
            .bind(user.id().0)
            .execute(&self.app.pool)
            .await
            .unwrap();
        user
    }

    fn bowls(&self, quantity: u32) -> Value {
        json!({
            "items": [{"product_id": self.bowl, "quantity": quantity}],
            "payment_method": "pm_card_visa",
        })
    }

    async fn order(&self, token: &str, key: &str, quantity: u32) -> TestResponse {
        let request = self.app.order_request(token, key, &self.bowls(quantity));
        request.fetch().await
    }

    async fn put_item(&self, token: &str, quantity: u32) {
        let put = self.app.put(format!("/v1/cart/items/{}", self.bowl));
        let put = put.bearer_auth(token).json(&json!({"quantity": quantity}));
        assert_eq!(put.fetch().await.status, 200);
    }

    async fn checkout(&self, token: &str, key: &str) -> TestResponse {
        self.app
            .post("/v1/cart/checkout")
            .bearer_auth(token)
            .header("Idempotency-Key", key)
            .json(&json!({"payment_method": "pm_card_visa"}))
            .fetch()
            .await
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn parallel_requests_cannot_exceed_the_limit_of_open_orders(pool: PgPool) {
    let shop = TestShop::start(pool, Some(UNVERIFIED)).await;
    let customer = shop.app.customer().await;
    let token = customer.token();
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..12 {
        let request = shop
            .app
            .order_request(&token, &format!("key {number}"), &shop.bowls(1));
        tasks.spawn(async move { (number, request.fetch().await) });
    }
    let (accepted, refused): (Vec<_>, Vec<_>) = tasks
        .join_all()
        .await
        .into_iter()
        .partition(|(_, response)| response.status == 202);
    assert_eq!(accepted.len(), 3, "{refused:?}");
    for (_, response) in &refused {
        assert_eq!(response.problem(), "409 too-many-open-orders");
        assert_eq!(response.body["max_open_orders"], 3);
    }
    assert_eq!(shop.app.orders.list_all(customer.id()).await.unwrap().len(), 3);

    let (number, first) = &accepted[0];
    let again = shop.order(&token, &format!("key {number}"), 1).await;
    assert_eq!(
        (again.status, &again.body),
        (202, &first.body),
        "a repeated request gets its order"
    );

    // A checkout counts as well, and leaves the cart unchanged.
    shop.put_item(&token, 2).await;
    assert_eq!(
        shop.checkout(&token, "cart").await.problem(),
        "409 too-many-open-orders"
    );
    let cart = shop.app.get("/v1/cart").bearer_auth(&token).fetch().await;
    assert_eq!(cart.body["items"][0]["quantity"], 2);

    // An order that has ended makes room for one more.
    let cancel = shop.app.post(format!("{}/cancel", first.header("location")));
    assert_eq!(cancel.bearer_auth(&token).fetch().await.status, 200);
    assert_eq!(shop.checkout(&token, "cart").await.status, 202);
    assert_eq!(
        shop.order(&token, "one more", 1).await.problem(),
        "409 too-many-open-orders"
    );

    // Other accounts are not affected.
    let other = shop.app.customer().await.token();
    assert_eq!(shop.order(&other, "key", 1).await.status, 202);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn limits_of_verified_accounts_are_higher(pool: PgPool) {
    let shop = TestShop::start(pool, Some(UNVERIFIED)).await;
    let verified = shop.verified_customer().await.token();
    for number in 0..5 {
        let placed = shop.order(&verified, &format!("key {number}"), 20).await;
        assert_eq!(placed.status, 202, "{placed:?}");
    }
    assert_eq!(
        shop.order(&verified, "one more", 1).await.problem(),
        "409 too-many-open-orders"
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn units_of_an_order_are_limited(pool: PgPool) {
    let shop = TestShop::start(pool, Some(UNVERIFIED)).await;
    let token = shop.app.customer().await.token();
    // The units of all lines count.
    let line = json!({"product_id": shop.bowl, "quantity": 3});
    let body = json!({"items": [line, line], "payment_method": "pm_card_visa"});
    let refused = shop.app.order_request(&token, "key", &body).fetch().await;
    assert_eq!(refused.problem(), "409 too-many-units");
    assert_eq!(refused.body["max_units"], 5);

    shop.put_item(&token, 6).await;
    assert_eq!(shop.checkout(&token, "key").await.problem(), "409 too-many-units");
    shop.put_item(&token, 5).await;
    assert_eq!(shop.checkout(&token, "key").await.status, 202);
    assert_eq!(shop.order(&token, "key", 5).await.status, 202);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn verification_can_be_required(pool: PgPool) {
    let shop = TestShop::start(pool, None).await;
    let unverified = shop.app.customer().await.token();
    shop.put_item(&unverified, 1).await;
    for refused in [
        shop.order(&unverified, "key", 1).await,
        shop.checkout(&unverified, "key").await,
    ] {
        assert_eq!(refused.problem(), "403 email-not-verified");
    }
    let verified = shop.verified_customer().await.token();
    assert_eq!(shop.order(&verified, "key", 1).await.status, 202);
}
