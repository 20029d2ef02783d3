//! The telephone number of an account: codes and their bounds.

use chrono::TimeDelta;
use domain::{Clock, OrderId};
use events::PhoneCodeRequest;
use insta::assert_json_snapshot;
use orders::SmsContact;
use serde_json::{Value, json};
use sqlx::PgPool;

use crate::{
    support::{RequestBuilderExt, TestApp, TestAppConfig, TestResponse},
    test_clock::TestClock,
    test_user::TestUser,
};

pub const NUMBER: &str = "+819012345678";
pub const OTHER_NUMBER: &str = "+819087654321";

impl TestApp {
    /// A customer whose access token is valid for days.
    async fn lasting_customer(&self) -> TestUser {
        let user = TestUser::customer().with_claims(|claims| claims.exp += 7 * 24 * 3600);
        user.register(&self.pool).await
    }

    pub async fn put_phone(&self, user: &TestUser, number: &str) -> TestResponse {
        let request = self.put("/v1/me/phone").bearer_auth(user.token());
        request.json(&json!({"phone_number": number})).fetch().await
    }

    async fn enter_code(&self, user: &TestUser, code: &str) -> TestResponse {
        let request = self.post("/v1/me/phone/verification").bearer_auth(user.token());
        request.json(&json!({"code": code})).fetch().await
    }

    pub async fn delete_phone(&self, user: &TestUser) -> TestResponse {
        self.delete("/v1/me/phone")
            .bearer_auth(user.token())
            .fetch()
            .await
    }

    pub async fn change_preferences(&self, user: &TestUser, preferences: Value) -> TestResponse {
        let request = self.patch("/v1/me").bearer_auth(user.token());
        let request = request.header("If-Match", "*");
        request.json(&json!({"preferences": preferences})).fetch().await
    }

    pub async fn account(&self, user: &TestUser) -> Value {
        self.get("/v1/me").bearer_auth(user.token()).fetch().await.body
    }

    /// Takes the next request from the queue of sms-sender.
    async fn take_code_request(&self) -> PhoneCodeRequest {
        let sqs = aws_sdk_sqs::Client::new(&aws_client::sdk_config().await);
        let url = sqs
            .get_queue_url()
            .queue_name(&self.sms_queue)
            .send()
            .await
            .unwrap();
        let url = url.queue_url.unwrap();
        let received = sqs.receive_message().queue_url(&url).wait_time_seconds(5);
        let message = received.send().await.unwrap().messages.unwrap().remove(0);
        let delete = sqs.delete_message().queue_url(&url);
        let delete = delete.receipt_handle(message.receipt_handle.unwrap());
        delete.send().await.unwrap();
        serde_json::from_str(&message.body.unwrap()).unwrap()
    }

    /// Requests a code for the number and returns it.
    pub async fn request_code(&self, user: &TestUser, number: &str) -> String {
        let response = self.put_phone(user, number).await;
        assert_eq!(response.status, 202, "{response:?}");
        let request = self.take_code_request().await;
        assert_eq!(request.phone_number, number);
        request.code
    }

    pub async fn verify(&self, user: &TestUser, number: &str) {
        let code = self.request_code(user, number).await;
        let response = self.enter_code(user, &code).await;
        assert_eq!(response.status, 200, "{response:?}");
    }

    /// Places an order over the API and returns its id.
    pub async fn order(&self, user: &TestUser, key: &str) -> OrderId {
        let bowl = self.create_product("Tea bowl", 7_500).await;
        let request =
            json!({"items": [{"product_id": bowl, "quantity": 1}], "payment_method": "pm_card_visa"});
        let placed = self.order_request(&user.token(), key, &request).fetch().await;
        assert_eq!(placed.status, 202, "{placed:?}");
        placed.body_str("order_id").parse().unwrap()
    }

    pub async fn sms_contact(&self, user: &TestUser, order_id: OrderId) -> Option<SmsContact> {
        let order = self.orders.find(user.id(), order_id).await.unwrap();
        order.unwrap().sms_contact
    }
}

/// A code other than `code`.
fn wrong_code(code: &str) -> &'static str {
    if code == "000000" { "111111" } else { "000000" }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn code_verifies_the_number_that_it_was_sent_to(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let response = app.put_phone(&user, NUMBER).await;
    assert_json_snapshot!(response, {".body.expires_at" => "[time]"}, @r#"
    {
      "status": 202,
      "headers": {
        "content-type": "application/json"
      },
      "body": {
        "expires_at": "[time]",
        "phone_number": "+819012345678"
      }
    }
    "#);
    let request = app.take_code_request().await;
    assert_eq!(request.phone_number, NUMBER);
    assert!(
        request.code.len() == 6 && request.code.bytes().all(|byte| byte.is_ascii_digit()),
        "{}",
        request.code
    );
    assert_eq!(app.account(&user).await["phone_number"], Value::Null);

    let verified = app.enter_code(&user, &request.code).await;
    assert_eq!(
        (verified.status, &verified.body["phone_number"]),
        (200, &json!(NUMBER))
    );
    assert_eq!(app.account(&user).await, verified.body);
    assert_eq!(
        app.enter_code(&user, &request.code).await.problem(),
        "422 invalid-phone-code",
        "a code is valid once"
    );

    // A second number replaces the first one when it is verified.
    let code = app.request_code(&user, OTHER_NUMBER).await;
    assert_eq!(app.account(&user).await["phone_number"], NUMBER);
    assert_eq!(app.enter_code(&user, &code).await.status, 200);
    assert_eq!(app.account(&user).await["phone_number"], OTHER_NUMBER);

    let log = app
        .get("/v1/audit")
        .bearer_auth(&app.admin_token)
        .query(&[("subject", user.id().to_string())]);
    let log = log.fetch().await.body.to_string();
    assert!(
        log.contains("phone_code_requested") && log.contains("phone_number_verified"),
        "{log}"
    );
    assert!(!log.contains("+8190") && !log.contains(&code), "{log}");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn code_can_be_tried_five_times(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let code = app.request_code(&user, NUMBER).await;
    for attempts_left in [4, 3, 2, 1, 0] {
        let response = app.enter_code(&user, wrong_code(&code)).await;
        assert_eq!(response.problem(), "422 invalid-phone-code");
        assert_eq!(response.body["attempts_left"], attempts_left);
    }
    let response = app.enter_code(&user, &code).await;
    assert_eq!(response.problem(), "422 invalid-phone-code");
    assert_eq!(app.account(&user).await["phone_number"], Value::Null);

    let first = app.request_code(&user, NUMBER).await;
    let second = app.request_code(&user, NUMBER).await;
    if first != second {
        assert_eq!(app.enter_code(&user, &first).await.body["attempts_left"], 4);
    }
    assert_eq!(app.enter_code(&user, &second).await.status, 200);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn concurrent_attempts_are_counted(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let code = app.request_code(&user, NUMBER).await;
    let wrong = wrong_code(&code);
    let attempts = (0..12).map(|_| app.enter_code(&user, wrong));
    let responses = futures::future::join_all(attempts).await;
    let mut left: Vec<i64> = responses
        .iter()
        .map(|response| response.body["attempts_left"].as_i64().unwrap())
        .filter(|left| *left > 0)
        .collect();
    left.sort_unstable();
    assert_eq!(left, [1, 2, 3, 4]);
    assert_eq!(app.enter_code(&user, &code).await.status, 422);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn code_expires_and_belongs_to_one_account(pool: PgPool) {
    let clock = TestClock::running();
    let app = TestApp::start_with_clock(pool, clock.clock()).await;
    let (user, other) = (app.customer().await, app.customer().await);
    let code = app.request_code(&user, NUMBER).await;
    assert_eq!(
        app.enter_code(&other, &code).await.problem(),
        "422 invalid-phone-code"
    );
    let others_code = app.request_code(&other, OTHER_NUMBER).await;
    if code != others_code {
        assert_eq!(
            app.enter_code(&other, &code).await.problem(),
            "422 invalid-phone-code"
        );
    }

    clock.advance(TimeDelta::seconds(601));
    assert_eq!(
        app.enter_code(&user, &code).await.problem(),
        "422 invalid-phone-code"
    );

    // The number of another account has the same responses.
    app.verify(&other, OTHER_NUMBER).await;
    app.verify(&user, OTHER_NUMBER).await;
    assert_eq!(app.account(&user).await["phone_number"], OTHER_NUMBER);
    assert_eq!(app.account(&other).await["phone_number"], OTHER_NUMBER);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn codes_are_bounded_per_account_and_per_number(pool: PgPool) {
    let clock = TestClock::running();
    let app = TestApp::start_with_clock(pool, clock.clock()).await;
    let user = app.lasting_customer().await;
    let number = |position: usize| format!("+81901000{position:04}");
    for position in 0..5 {
        app.request_code(&user, &number(position)).await;
    }
    let refused = app.put_phone(&user, &number(5)).await;
    assert_eq!(refused.problem(), "429 too-many-phone-codes");
    assert_eq!(refused.header("retry-after"), "3600");
    clock.advance(TimeDelta::minutes(61));
    for position in 0..5 {
        app.request_code(&user, &number(position)).await;
    }
    clock.advance(TimeDelta::minutes(61));
    assert_eq!(app.put_phone(&user, &number(5)).await.status, 429);
    clock.advance(TimeDelta::hours(22));
    app.request_code(&user, &number(5)).await;

    for _ in 0..5 {
        app.request_code(&app.lasting_customer().await, NUMBER).await;
    }
    let refused = app.put_phone(&app.lasting_customer().await, NUMBER).await;
    assert_eq!(refused.problem(), "429 too-many-phone-codes");
    // The bound of a number outlives the accounts that requested its codes.
    sqlx::query("UPDATE accounts.users SET email = NULL, deleted_at = now() WHERE role = 'customer'")
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(
        app.put_phone(&app.lasting_customer().await, NUMBER).await.status,
        429
    );
    clock.advance(TimeDelta::hours(24));
    app.request_code(&app.lasting_customer().await, NUMBER).await;
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn codes_are_bounded_in_all(pool: PgPool) {
    let clock = TestClock::running();
    let config = TestAppConfig {
        clock: clock.clock(),
        max_phone_codes_per_hour: 3,
        ..TestAppConfig::default()
    };
    let app = TestApp::start_with_config(pool, config).await;
    let mut customers = Vec::new();
    for _ in 0..10 {
        customers.push(app.lasting_customer().await);
    }
    // In the first round the database connections are still being opened, one after another.
    for _ in 0..4 {
        let requests = customers.iter().enumerate().map(async |(position, customer)| {
            let number = format!("+8190111111{position:02}");
            app.put_phone(customer, &number).await.status
        });
        let mut statuses = futures::future::join_all(requests).await;
        statuses.sort_unstable();
        assert_eq!(statuses, [202, 202, 202, 429, 429, 429, 429, 429, 429, 429]);
        clock.advance(TimeDelta::minutes(61));
    }
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn invalid_numbers_and_codes_are_rejected(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    let number_rule = "the number of a mobile telephone with its country code and without blanks, such as \
                       +819012345678";
    for number in [
        "09012345678",
        "+81 90-1234-5678",
        "+81312345678",
        "+81990123456",
        "",
    ] {
        let response = app.put_phone(&user, number).await;
        assert_eq!(
            response.problem(),
            format!("422 invalid-body /phone_number: expected {number_rule}"),
            "{number}"
        );
    }
    for code in ["", "12345", "1234567", "12345x", "１２３４５６", "12 345"] {
        let response = app.enter_code(&user, code).await;
        assert_eq!(
            response.problem(),
            "422 invalid-body /code: expected 6 digits",
            "{code}"
        );
    }
    for body in [
        json!({}),
        json!([]),
        json!({"phone_number": 90}),
        json!({"phone_number": null}),
    ] {
        let request = app.put("/v1/me/phone").bearer_auth(user.token()).json(&body);
        assert_eq!(request.fetch().await.status, 422, "{body}");
    }
    let unused = app.enter_code(&user, "123456").await;
    assert_eq!(unused.problem(), "422 invalid-phone-code");
    assert_eq!(unused.body["attempts_left"], 0);
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn deleted_account_leaves_no_number(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let user = app.customer().await;
    app.verify(&user, NUMBER).await;
    app.change_preferences(&user, json!({"order_sms": true})).await;
    let order_id = app.order(&user, "key").await;
    let cancel = app
        .post(format!("/v1/orders/{order_id}/cancel"))
        .bearer_auth(user.token());
    assert_eq!(cancel.fetch().await.status, 200);
    app.request_code(&user, OTHER_NUMBER).await;

    let deleted = app.delete("/v1/me").bearer_auth(user.token()).fetch().await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    let order = app.orders.find(user.id(), order_id).await.unwrap().unwrap();
    assert!(order.is_anonymous() && order.sms_contact.is_none(), "{order:?}");
    for table in ["users", "phone_verifications", "phone_codes_sent", "audit_log"] {
        let rows: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
            "SELECT to_jsonb(t)::text FROM accounts.{table} t"
        )))
        .fetch_all(&app.pool)
        .await
        .unwrap();
        assert!(!rows.concat().contains("+8190"), "{table}: {rows:?}");
    }
    // A request that was authenticated before the deletion.
    let now = Clock::system().now();
    let entry = users::NewAuditEntry {
        actor: None,
        action: "phone_code_requested",
        subject: None,
        client_ip: None,
        trace_id: None,
        details: json!({"at": now}),
    };
    let late = app.users.create_phone_code(user.id(), NUMBER, 500, &entry).await;
    assert!(
        matches!(late, Err(users::PhoneCodeError::AccountNotFound)),
        "{late:?}"
    );
}
