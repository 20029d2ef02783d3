//! Tickets, the bounds of connections, and failures of the management API.

use chrono::TimeDelta;
use connections::TicketHolder;
use domain::UserId;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::gateway::{Gateway, MAX_PER_ADDRESS, MAX_PER_USER, new_address, now};

async fn authorize(gateway: &Gateway, ticket: &str) -> Value {
    let event = json!({
        "type": "REQUEST",
        "methodArn": "arn:aws:execute-api:ap-northeast-1:000000000000:api/live/$connect",
        "queryStringParameters": {"ticket": ticket},
    });
    gateway.authorizer.invoke(event).await.unwrap()
}

#[tokio::test]
async fn concurrent_uses_of_a_ticket_admit_one() {
    let gateway = Gateway::start().await;
    let holder = TicketHolder {
        user_id: UserId::new(now()),
        token_issued_at: now(),
    };
    let issued = gateway.table.issue_ticket(holder).await.unwrap();
    let ticket = issued.ticket.expose_secret();
    let uses: Vec<_> = futures::future::join_all((0..8).map(|_| gateway.table.redeem_ticket(ticket))).await;
    let admitted = uses
        .into_iter()
        .filter(|used| used.as_ref().unwrap().is_some())
        .count();
    assert_eq!(admitted, 1);
    let response = authorize(&gateway, ticket).await;
    assert_eq!(response["policyDocument"]["Statement"][0]["Effect"], "Deny");

    let issued = gateway.table.issue_ticket(holder).await.unwrap();
    let response = authorize(&gateway, issued.ticket.expose_secret()).await;
    assert_eq!(response["policyDocument"]["Statement"][0]["Effect"], "Allow");
    let expected = json!({
        "user_id": holder.user_id,
        "token_issued_at": holder.token_issued_at.timestamp_millis().to_string(),
    });
    assert_eq!(response["context"], expected);
}

#[tokio::test]
async fn connections_are_bounded_per_user_and_per_address() {
    let gateway = Gateway::start().await;
    let (address, issued_at) = (new_address(), now());
    let user = UserId::new(now());
    for _ in 0..MAX_PER_USER {
        gateway.connect(user, issued_at, &address).await.unwrap();
    }
    assert_eq!(gateway.connect(user, issued_at, &new_address()).await, Err(429));
    for _ in MAX_PER_USER..MAX_PER_ADDRESS {
        gateway
            .connect(UserId::new(now()), issued_at, &address)
            .await
            .unwrap();
    }
    let other = UserId::new(now());
    assert_eq!(gateway.connect(other, issued_at, &address).await, Err(429));
    gateway.connect(other, issued_at, &new_address()).await.unwrap();
    // Connections whose clients are gone do not count.
    for mut connection in gateway.connections(user).await {
        connection.ttl = now().timestamp();
        gateway.table.register(&connection).await.unwrap();
    }
    gateway.connect(user, issued_at, &address).await.unwrap();
}

/// A connection lives as long as its client sends messages.
#[tokio::test]
async fn each_message_prolongs_the_connection() {
    let gateway = Gateway::start().await;
    let (user, issued_at) = (UserId::new(now()), now());
    let id = gateway.connect(user, issued_at, &new_address()).await.unwrap();
    let seconds_left = async || {
        let [connection] = gateway.connections(user).await.try_into().unwrap();
        connection.ttl - now().timestamp()
    };
    assert!((90..=120).contains(&seconds_left().await));
    let [mut connection] = gateway.connections(user).await.try_into().unwrap();
    connection.ttl = now().timestamp() + 1;
    gateway.table.register(&connection).await.unwrap();
    // The second message is in the window of the first.
    for _ in 0..2 {
        gateway
            .receive(&id, user, issued_at, &json!({"action": "ping"}))
            .await;
        assert!((90..=120).contains(&seconds_left().await));
    }
}

#[tokio::test]
async fn push_to_a_connection_that_is_opening_keeps_it() {
    let gateway = Gateway::start().await;
    let (user, issued_at) = (UserId::new(now()), now());
    let order_id = gateway.place_order(user).await;
    let id = gateway.connect(user, issued_at, &new_address()).await.unwrap();
    // API Gateway has not finished the handshake.
    gateway.api.state().open.clear();
    assert!(gateway.push(user, order_id).await);
    let [mut connection] = gateway.connections(user).await.try_into().unwrap();
    connection.opened_at -= TimeDelta::seconds(31);
    gateway.table.register(&connection).await.unwrap();
    assert!(gateway.push(user, order_id).await);
    assert_eq!(gateway.connections(user).await, [], "{id} is gone");
}

/// `status-push` has recorded the revocation, and its list of connections did not contain this one yet.
#[tokio::test]
async fn push_closes_a_connection_that_the_revocation_missed() {
    let gateway = Gateway::start().await;
    let (user, issued_at) = (UserId::new(now()), now());
    let order_id = gateway.place_order(user).await;
    let id = gateway.connect(user, issued_at, &new_address()).await.unwrap();
    let valid_from = issued_at + TimeDelta::milliseconds(1);
    gateway.table.revoke(user, valid_from).await.unwrap();
    assert!(gateway.push(user, order_id).await);
    assert_eq!(gateway.connections(user).await, []);
    assert!(!gateway.api.state().open.contains(&id), "{id} is closed");
    assert_eq!(gateway.api.state().received, []);
}

#[tokio::test]
async fn push_is_repeated_while_the_management_api_is_down() {
    let gateway = Gateway::start().await;
    let (user, issued_at) = (UserId::new(now()), now());
    let order_id = gateway.place_order(user).await;
    gateway.connect(user, issued_at, &new_address()).await.unwrap();
    gateway.api.state().is_down = true;
    assert!(!gateway.push(user, order_id).await);
    assert!(
        !gateway
            .revoke_tokens(user, issued_at + TimeDelta::milliseconds(1))
            .await
    );
    assert_eq!(gateway.connections(user).await.len(), 1);
    gateway.api.state().is_down = false;
    assert!(gateway.push(user, order_id).await);
    assert_eq!(
        gateway.connections(user).await,
        [],
        "the revocation was recorded before"
    );
    assert_eq!(gateway.api.state().received, []);
}

#[tokio::test]
async fn malformed_messages_in_the_queue_fail() {
    let gateway = Gateway::start().await;
    for message in [
        json!("text"),
        json!({"detail-type": "StockLow", "detail": {}}),
        json!({"detail-type": "OrderCreated", "detail": {}}),
    ] {
        assert!(!gateway.deliver(&message).await, "{message}");
    }
}
