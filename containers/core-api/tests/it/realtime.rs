//! Tickets of the WebSocket API.

use chrono::TimeDelta;
use sqlx::PgPool;

use crate::{
    support::{RequestBuilderExt, TestApp},
    test_clock::TestClock,
};

#[sqlx::test(migrator = "database::MIGRATOR")]
async fn ticket_names_its_user_and_is_valid_once_within_thirty_seconds(pool: PgPool) {
    let clock = TestClock::frozen();
    let app = TestApp::start_with_clock(pool, clock.clock()).await;
    let user = app.customer().await;
    let issue = async || {
        let request = app.post("/v1/realtime/ticket").bearer_auth(user.token());
        let response = request.fetch().await;
        assert_eq!(response.status, 201, "{response:?}");
        assert_eq!(response.body["url"], "wss://realtime.test/live");
        (response.body_str("ticket"), response.body_str("expires_at"))
    };
    let (first, expires_at) = issue().await;
    let (second, _) = issue().await;
    assert_ne!(first, second);
    assert_eq!(first.len(), 43);
    let lifetime = expires_at.parse::<domain::Timestamp>().unwrap() - clock.clock().now();
    assert!(
        TimeDelta::seconds(29) < lifetime && lifetime <= TimeDelta::seconds(30),
        "{lifetime}"
    );

    let holder = app.connections.redeem_ticket(&first).await.unwrap().unwrap();
    assert_eq!(holder.user_id, user.id());
    assert_eq!(app.connections.redeem_ticket(&first).await.unwrap(), None);
    clock.advance(TimeDelta::seconds(30));
    assert_eq!(
        app.connections.redeem_ticket(&second).await.unwrap(),
        None,
        "expired"
    );
}
