//! Orders whose payment the customer must authenticate (3D Secure).

use chrono::TimeDelta;
use domain::{CustomerSecret, FailureReason, OrderId, PaymentAction, PaymentId};
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::Role;

use crate::{
    orders::TestShop,
    support::{RequestBuilderExt, TestResponse},
    test_user::TestUser,
};

const SECRET: &str = "pi_1_secret_2";
const PAGE: &str = "https://bank.example/authenticate/3";

/// An order that waits for its customer.
struct WaitingOrder {
    shop: TestShop,
    customer: TestUser,
    path: String,
}

impl WaitingOrder {
    async fn place(pool: PgPool) -> Self {
        let shop = TestShop::start(pool).await;
        let customer = shop.app.customer().await;
        let path = shop.place_order(&customer.token(), "key").await;
        let waiting = Self { shop, customer, path };
        waiting.await_action().await;
        waiting
    }

    fn order_id(&self) -> OrderId {
        self.path.strip_prefix("/v1/orders/").unwrap().parse().unwrap()
    }

    /// Requires the customer's authentication, as process-payment does.
    async fn await_action(&self) {
        let (user_id, order_id, payment_id) =
            (self.customer.id(), self.order_id(), PaymentId("pi_1".to_owned()));
        let orders = &self.shop.app.orders;
        orders
            .claim_for_payment(user_id, order_id, &payment_id)
            .await
            .unwrap();
        let action = PaymentAction {
            kind: "redirect_to_url".to_owned(),
            client_secret: CustomerSecret::new(SECRET.to_owned()),
            redirect_url: Some(CustomerSecret::new(PAGE.to_owned())),
        };
        orders
            .await_payment_action(user_id, order_id, &payment_id, &action, TimeDelta::minutes(10))
            .await
            .unwrap();
    }

    async fn return_from_action(&self, user: &TestUser) -> TestResponse {
        let request = self.shop.app.post(format!("{}/payment-action/return", self.path));
        request.bearer_auth(user.token()).fetch().await
    }

    /// The events about completed actions.
    async fn completed_actions(&self) -> Vec<Value> {
        let events = self.shop.app.order_outbox_events().await.into_iter();
        events
            .filter(|(detail_type, _)| detail_type == "PaymentActionCompleted")
            .map(|(_, detail)| detail)
            .collect()
    }
}

fn assert_shows_no_secret(what: &str, body: &Value) {
    let text = body.to_string();
    assert!(!text.contains(SECRET) && !text.contains(PAGE), "{what}: {text}");
    assert!(!text.contains("next_action"), "{what}: {text}");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn customer_sees_the_action_and_its_end(pool: PgPool) {
    let waiting = WaitingOrder::place(pool).await;
    let shown = waiting.shop.get(&waiting.customer.token(), &waiting.path).await;
    let stored = waiting
        .shop
        .app
        .orders
        .find(waiting.customer.id(), waiting.order_id())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        shown.body["next_action"],
        json!({
            "type": "redirect_to_url", "redirect_url": PAGE, "client_secret": SECRET,
            "expires_at": stored.payment_action_expires_at,
        })
    );
    assert!(!format!("{stored:?}").contains(SECRET), "a log could contain it");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn no_other_user_and_no_list_sees_the_action(pool: PgPool) {
    let waiting = WaitingOrder::place(pool).await;
    let shop = &waiting.shop;
    for role in [Role::Customer, Role::Support, Role::Admin] {
        let other = shop.app.user_with_role(role).await;
        assert_eq!(
            shop.get(&other.token(), &waiting.path).await.problem(),
            "404 not-found"
        );
        assert_eq!(
            waiting.return_from_action(&other).await.problem(),
            "404 not-found"
        );
        let lists = [
            "/v1/orders".to_owned(),
            format!("/v1/users/{}", waiting.customer.id()),
        ];
        for path in lists {
            assert_shows_no_secret(&path, &shop.get(&other.token(), &path).await.body);
        }
    }
    let audit = shop.get(&shop.app.admin_token, "/v1/audit").await;
    assert_shows_no_secret("the audit log", &audit.body);

    let token = waiting.customer.token();
    for path in ["/v1/orders", "/v1/me/export"] {
        let response = shop.get(&token, path).await;
        assert!(
            response
                .body
                .to_string()
                .contains(&waiting.order_id().to_string()),
            "{response:?}"
        );
        assert_shows_no_secret(path, &response.body);
    }
    let path = shop.place_order(&token, "key").await;
    assert_eq!(path, waiting.path, "the repeated request has the same order");
    for (detail_type, detail) in shop.app.order_outbox_events().await {
        assert_shows_no_secret(&detail_type, &detail);
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn return_continues_the_saga_once(pool: PgPool) {
    let waiting = WaitingOrder::place(pool).await;
    let customer = &waiting.customer;
    assert_eq!(waiting.return_from_action(customer).await.status, 202);
    let completed = waiting.completed_actions().await;
    assert_eq!(completed.len(), 1);
    assert_eq!(
        completed[0]["data"],
        json!({"order_id": waiting.order_id(), "user_id": customer.id(), "restarts": 1})
    );
    let shown = waiting.shop.get(&customer.token(), &waiting.path).await;
    assert_shows_no_secret("the order after the return", &shown.body);
    assert_eq!(
        waiting.return_from_action(customer).await.problem(),
        "409 no-payment-action"
    );
    assert_eq!(waiting.completed_actions().await.len(), 1);

    // The customer had not finished: the saga requires the action again.
    waiting.await_action().await;
    assert_eq!(waiting.return_from_action(customer).await.status, 202);
    assert_eq!(waiting.completed_actions().await[1]["data"]["restarts"], 2);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn waiting_order_is_cancelled_by_its_saga(pool: PgPool) {
    let waiting = WaitingOrder::place(pool).await;
    let (app, customer) = (&waiting.shop.app, &waiting.customer);
    let cancel = async || {
        let request = app.post(format!("{}/cancel", waiting.path));
        request.bearer_auth(customer.token()).fetch().await
    };
    for _ in 0..2 {
        let cancelling = cancel().await;
        assert_eq!(
            (cancelling.status, &cancelling.body["status"]),
            (202, &json!("processing"))
        );
        assert_shows_no_secret("the response", &cancelling.body);
        assert_eq!(
            waiting.completed_actions().await.len(),
            1,
            "one execution is started"
        );
    }
    assert_eq!(
        waiting.return_from_action(customer).await.problem(),
        "409 no-payment-action"
    );

    let order = app
        .orders
        .find(customer.id(), waiting.order_id())
        .await
        .unwrap()
        .unwrap();
    app.store
        .fail(
            customer.id(),
            order.order_id,
            FailureReason::InternalError,
            &order.event_context(),
        )
        .await
        .unwrap();
    let cancelled = cancel().await;
    assert_eq!(
        (cancelled.status, &cancelled.body["status"]),
        (200, &json!("cancelled"))
    );
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn orders_without_an_action_have_no_return(pool: PgPool) {
    let shop = TestShop::start(pool).await;
    let customer = shop.app.customer().await;
    let path = shop.place_order(&customer.token(), "key").await;
    for (path, problem) in [
        (path.as_str(), "409 no-payment-action"),
        ("/v1/orders/019a0000-0000-7000-8000-000000000001", "404 not-found"),
    ] {
        let request = shop.app.post(format!("{path}/payment-action/return"));
        let response = request.bearer_auth(customer.token()).fetch().await;
        assert_eq!(response.problem(), problem);
    }
}
