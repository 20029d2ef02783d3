//! Unsubscribe links in order mails.

use domain::{Clock, OrderId, UserId};
use orders::{NewOrder, testing::new_order};
use reqwest::Response;
use serde_json::json;
use sqlx::PgPool;

use crate::{
    support::{RequestBuilderExt, TestApp, unsubscribe_keys},
    test_user::TestUser,
};

fn link(user_id: UserId) -> String {
    format!("/v1/unsubscribe?token={}", unsubscribe_keys().sign(user_id))
}

impl TestApp {
    async fn wants_order_mails(&self, user: &TestUser) -> bool {
        let account = self.get("/v1/me").bearer_auth(user.token()).fetch().await;
        account.body["preferences"]["order_mails"].as_bool().unwrap()
    }

    async fn click(&self, user_id: UserId) -> Response {
        // As RFC 8058 requires of mail programs.
        let request = self
            .post(link(user_id))
            .form(&[("List-Unsubscribe", "One-Click")]);
        request.send().await.unwrap()
    }

    async fn place_order(&self, user_id: UserId, key: &str) -> OrderId {
        let new = NewOrder {
            idempotency_key: key.to_owned(),
            ..new_order(user_id, Clock::system().now())
        };
        self.placement.place(&new).await.unwrap().0.order_id
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn one_click_unsubscribes_once(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let japanese = json!({"preferences": {"language": "ja"}});
    let patch = app
        .patch("/v1/me")
        .bearer_auth(user.token())
        .header("If-Match", "*");
    assert_eq!(patch.json(&japanese).fetch().await.status, 200);

    for _ in 0..2 {
        let response = app.click(user.id()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        assert!(response.text().await.unwrap().contains("no more mails"));
    }
    assert!(!app.wants_order_mails(&user).await);
    let account = app.get("/v1/me").bearer_auth(user.token()).fetch().await;
    assert_eq!(
        account.body["preferences"]["language"], "ja",
        "other preferences stay"
    );
    let log = app
        .get(format!(
            "/v1/audit?action=order_mails_unsubscribed&subject={}",
            user.id()
        ))
        .bearer_auth(&app.admin_token)
        .fetch()
        .await;
    assert_eq!(log.body["items"].as_array().unwrap().len(), 1, "{log:?}");
    assert!(!log.body.to_string().contains(&unsubscribe_keys().sign(user.id())));
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn page_with_the_button_changes_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let page = app.get(link(user.id())).send().await.unwrap();
    assert_eq!(page.status(), 200);
    let policy = page.headers()["content-security-policy"].to_str().unwrap();
    assert!(
        policy.contains("default-src 'none'") && policy.contains("form-action 'self'"),
        "{policy}"
    );
    assert_eq!(page.headers()["cache-control"], "no-store");
    assert_eq!(page.headers()["referrer-policy"], "no-referrer");
    let html = page.text().await.unwrap();
    assert!(html.contains("<form method=\"post\"><button>"), "{html}");
    assert!(app.wants_order_mails(&user).await);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn forged_link_is_refused(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (user, other) = (app.customer().await, app.customer().await);
    let (token, other_token) = (
        unsubscribe_keys().sign(user.id()),
        unsubscribe_keys().sign(other.id()),
    );
    let swapped = format!("{}{}", &token[..22], &other_token[22..]);
    for forged in ["", "x", &token[..40], &swapped, &user.id().to_string()] {
        let path = format!("/v1/unsubscribe?token={forged}");
        for request in [app.get(&path), app.post(&path)] {
            assert_eq!(request.fetch().await.problem(), "400 invalid-unsubscribe-link");
        }
    }
    assert_eq!(app.post("/v1/unsubscribe").fetch().await.status, 400);
    assert!(app.wants_order_mails(&user).await && app.wants_order_mails(&other).await);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn open_orders_of_the_customer_send_no_more_mails(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (user, other) = (app.customer().await, app.customer().await);
    let ended = app.place_order(user.id(), "ended").await;
    let context = app
        .orders
        .find(user.id(), ended)
        .await
        .unwrap()
        .unwrap()
        .event_context();
    app.store.cancel(user.id(), ended, context).await.unwrap();
    let open = app.place_order(user.id(), "open").await;
    let of_other = app.place_order(other.id(), "other").await;

    assert_eq!(app.click(user.id()).await.status(), 200);
    let wants_mails = async |user_id, order_id| {
        let order = app.orders.find(user_id, order_id).await.unwrap().unwrap();
        order.order_mails.unwrap()
    };
    assert!(!wants_mails(user.id(), open).await);
    assert!(wants_mails(user.id(), ended).await);
    assert!(wants_mails(other.id(), of_other).await);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn link_of_a_deleted_account_has_no_effect(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let deleted = app.delete("/v1/me").bearer_auth(user.token()).fetch().await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert_eq!(app.click(user.id()).await.status(), 200);
}
