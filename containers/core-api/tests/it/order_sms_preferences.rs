//! The preferences of SMS about orders: who can want SMS, quiet hours, and the orders that copy both.

use domain::QuietHours;
use orders::SmsContact;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    phone::{NUMBER, OTHER_NUMBER},
    support::{RequestBuilderExt, TestApp},
};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn sms_need_a_verified_number(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let refused = app.change_preferences(&user, json!({"order_sms": true})).await;
    assert_eq!(refused.problem(), "409 phone-number-required");
    app.request_code(&user, NUMBER).await;
    let refused = app.change_preferences(&user, json!({"order_sms": true})).await;
    assert_eq!(refused.problem(), "409 phone-number-required");

    app.verify(&user, NUMBER).await;
    let quiet_hours = json!({"start": "22:00", "end": "08:00", "time_zone": "Asia/Tokyo"});
    let patch = json!({"order_sms": true, "quiet_hours": quiet_hours});
    let changed = app.change_preferences(&user, patch).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    assert_eq!(
        changed.body["preferences"],
        json!({"order_mails": true, "order_sms": true, "quiet_hours": quiet_hours, "language": "en"})
    );

    assert_eq!(app.delete_phone(&user).await.status, 204);
    assert_eq!(app.delete_phone(&user).await.status, 204);
    let account = app.account(&user).await;
    assert_eq!(
        (&account["phone_number"], &account["preferences"]["order_sms"]),
        (&Value::Null, &json!(false))
    );
    let impossible = sqlx::query(r#"UPDATE accounts.users SET preferences = '{"order_sms": true}'"#);
    assert!(impossible.execute(&app.pool).await.is_err());
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn invalid_quiet_hours_are_rejected(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let hours = |start: &str, end: &str, zone: &str| json!({"start": start, "end": end, "time_zone": zone});
    for (quiet_hours, detail) in [
        (
            hours("22:00", "22:00", "UTC"),
            "start and end are equal; send null for no quiet hours",
        ),
        (
            hours("20:00", "08:30", "UTC"),
            "quiet hours have at most 12 hours",
        ),
        (
            hours("9:00", "10:00", "UTC"),
            "expected times from 00:00 to 23:59, such as 22:00",
        ),
        (
            hours("22:00", "08:00", "JST"),
            "expected the name of a time zone in the IANA database, such as Asia/Tokyo",
        ),
        (json!([]), "invalid type: sequence, expected an object"),
        (json!({"start": "22:00"}), "missing field `end`"),
    ] {
        let response = app
            .change_preferences(&user, json!({"quiet_hours": quiet_hours}))
            .await;
        let problem = response.problem();
        assert!(
            problem.starts_with("422 invalid-body /preferences/quiet_hours") && problem.ends_with(detail),
            "{problem}"
        );
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn order_copies_number_and_quiet_hours_if_sms_are_wanted(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    app.verify(&user, NUMBER).await;
    let unwanted = app.order(&user, "unwanted").await;
    let quiet_hours = QuietHours::new("23:00", "07:00", "Europe/London").unwrap();
    let patch = json!({"order_sms": true, "quiet_hours": quiet_hours});
    assert_eq!(app.change_preferences(&user, patch).await.status, 200);
    let wanted = app.order(&user, "wanted").await;
    let contact = |number: &str| {
        Some(SmsContact {
            phone_number: number.to_owned(),
            quiet_hours: Some(quiet_hours),
        })
    };
    assert_eq!(app.sms_contact(&user, unwanted).await, None);
    assert_eq!(app.sms_contact(&user, wanted).await, contact(NUMBER));

    // A checkout copies them as well.
    let bowl = app.create_product("Tea bowl", 7_500).await;
    app.set_stock(&bowl, 1).await;
    let put = app
        .put(format!("/v1/cart/items/{bowl}"))
        .bearer_auth(user.token());
    assert_eq!(put.json(&json!({"quantity": 1})).fetch().await.status, 200);
    let checkout = app.post("/v1/cart/checkout").bearer_auth(user.token());
    let checkout = checkout.header("Idempotency-Key", "checkout");
    let placed = checkout
        .json(&json!({"payment_method": "pm_card_visa"}))
        .fetch()
        .await;
    assert_eq!(placed.status, 202, "{placed:?}");
    let from_cart = placed.body_str("order_id").parse().unwrap();
    assert_eq!(app.sms_contact(&user, from_cart).await, contact(NUMBER));

    // Orders follow the account's number, also those that have ended.
    let cancel = app
        .post(format!("/v1/orders/{from_cart}/cancel"))
        .bearer_auth(user.token());
    assert_eq!(cancel.fetch().await.status, 200);
    app.verify(&user, OTHER_NUMBER).await;
    assert_eq!(app.sms_contact(&user, wanted).await, contact(OTHER_NUMBER));
    assert_eq!(app.sms_contact(&user, from_cart).await, contact(OTHER_NUMBER));
    assert_eq!(app.sms_contact(&user, unwanted).await, None);
    let export = app
        .get("/v1/me/export")
        .bearer_auth(user.token())
        .fetch()
        .await
        .body;
    assert_eq!(export["account"]["phone_number"], OTHER_NUMBER);
    assert_eq!(export["orders"][0]["phone_number"], OTHER_NUMBER);
    assert_eq!(export["orders"][2]["phone_number"], Value::Null);

    assert_eq!(app.delete_phone(&user).await.status, 204);
    assert_eq!(app.sms_contact(&user, wanted).await, None);
    assert_eq!(app.sms_contact(&user, from_cart).await, None);
    let order = app.orders.find(user.id(), wanted).await.unwrap().unwrap();
    assert_eq!(order.history.len(), 1, "the order is otherwise unchanged");
}
