//! Support sees whether mails to an account's address are suppressed, and permits them again.

use mail_suppressions::SuppressionReason;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokens::Role;

use crate::support::{RequestBuilderExt, TestApp};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn support_sees_and_removes_the_suppression_of_an_address(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let (user, support) = (app.customer().await, app.user_with_role(Role::Support).await);
    let path = format!("/v1/users/{}/mail-suppression", user.id());
    let read = async || app.get(&path).bearer_auth(support.token()).fetch().await;
    let nothing = json!({"suppressed": false, "reason": null, "since": null});
    assert_eq!(read().await.body, nothing);

    let account = app.get("/v1/me").bearer_auth(user.token()).fetch().await;
    let address = account.body_str("email");
    let add = app.mail_suppressions.add(&address, SuppressionReason::Complaint);
    add.await.unwrap();
    let suppressed = read().await;
    assert_eq!(
        (&suppressed.body["suppressed"], &suppressed.body["reason"]),
        (&json!(true), &json!("complaint"))
    );
    assert_ne!(suppressed.body["since"], Value::Null);

    for _ in 0..2 {
        let removed = app.delete(&path).bearer_auth(support.token()).fetch().await;
        assert_eq!(removed.status, 204, "{removed:?}");
    }
    assert_eq!(read().await.body, nothing);
    let log = app
        .get(format!(
            "/v1/audit?action=mail_suppression_removed&subject={}",
            user.id()
        ))
        .bearer_auth(&app.admin_token)
        .fetch()
        .await;
    assert_eq!(log.body["items"][0]["actor"], json!(support.id()), "{log:?}");
    assert!(!log.body.to_string().contains(&address), "{log:?}");
}

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn unknown_account_is_not_found(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let path = "/v1/users/00000000-0000-7000-8000-000000000000/mail-suppression";
    for request in [app.get(path), app.delete(path)] {
        let response = request.bearer_auth(&app.admin_token).fetch().await;
        assert_eq!(response.problem(), "404 not-found");
    }
}
