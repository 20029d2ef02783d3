//! Notification preferences are copied from the account onto each new order.

use domain::{Language, OrderId};
use serde_json::json;
use sqlx::PgPool;

use crate::support::{RequestBuilderExt, TestApp};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn order_keeps_the_preferences_at_the_time_of_placing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let bowl = app.create_product("Tea bowl", 7_500).await;
    let request = json!({"items": [{"product_id": bowl, "quantity": 1}], "payment_method": "pm_card_visa"});
    let place = async |key: &str| -> OrderId {
        let placed = app.order_request(&user.token(), key, &request).fetch().await;
        assert_eq!(placed.status, 202, "{placed:?}");
        let location = placed.header("location").to_owned();
        location.strip_prefix("/v1/orders/").unwrap().parse().unwrap()
    };
    let stored_preferences = async |order_id: OrderId| {
        let order = app.orders.find(user.id(), order_id).await.unwrap().unwrap();
        (order.order_mails, order.mail_language)
    };

    let before = place("before").await;
    let patch = json!({"preferences": {"order_mails": false, "language": "ja"}});
    let patched = app
        .patch("/v1/me")
        .bearer_auth(user.token())
        .header("If-Match", "*")
        .json(&patch)
        .fetch()
        .await;
    assert_eq!(patched.status, 200, "{patched:?}");
    let after = place("after").await;

    assert_eq!(stored_preferences(before).await, (Some(true), Some(Language::En)));
    assert_eq!(stored_preferences(after).await, (Some(false), Some(Language::Ja)));
}
