//! What a client may send on a connection: malformed and hostile messages, and a client that floods.

use std::time::Instant;

use e2e::system::{TestSystem, WebSocketClient};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// Sends a frame and returns the error message with which the server answers.
async fn refusal(client: &mut WebSocketClient, frame: Message) -> (String, String) {
    let received = client.exchange(frame, |_| true).await;
    let [message] = &received[..] else {
        panic!("more than the response: {received:?}")
    };
    assert_eq!(message["type"], "ERROR", "{message}");
    let text = |member: &str| message[member].as_str().unwrap().to_owned();
    (text("code"), text("detail"))
}

fn nested(depth: usize) -> String {
    format!(r#"{{"action":{}{}}}"#, "[".repeat(depth), "]".repeat(depth))
}

#[tokio::test]
async fn hostile_messages_are_refused_and_leave_the_connection_open() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let mut client = system.connect(&customer).await;
    let large = json!({"action": "ping", "request_id": "x".repeat(128 * 1024)}).to_string();
    for (frame, code) in [
        (Message::text("ping"), "malformed-message"),
        (Message::text(r#"{"action":"ping""#), "malformed-message"),
        (Message::text(nested(500)), "malformed-message"),
        // The local AWS passes a binary message on as text; AWS marks it as Base64.
        (Message::binary(vec![0xff, 0x00, 0x80]), "malformed-message"),
        (Message::text(large), "message-too-large"),
        (Message::text(r#"{"action":"buy"}"#), "unknown-action"),
        (Message::text(r#"{"action":"$connect"}"#), "unknown-action"),
        (
            Message::text(r#"{"action":"subscribe","orders":[]}"#),
            "invalid-message",
        ),
        (
            Message::text(r#"{"action":"ping","user_id":"1"}"#),
            "invalid-message",
        ),
    ] {
        let (found, detail) = refusal(&mut client, frame.clone()).await;
        assert_eq!(found, code, "{frame:?}");
        assert!(detail.ends_with('.') && detail.len() < 400, "{detail}");
    }
    let pong = client
        .request(json!({"action": "ping"}), "alive")
        .await
        .pop()
        .unwrap();
    assert_eq!(pong["type"], "PONG");
}

#[tokio::test]
async fn client_that_floods_is_closed() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let mut client = system.connect(&customer).await;
    let started = Instant::now();
    for _ in 0..200 {
        if !client.try_send(&json!({"action": "ping"})).await {
            break;
        }
    }
    let received = client.receive_until_closed().await;
    let pongs = received
        .iter()
        .filter(|message| message["type"] == "PONG")
        .count();
    // A window lasts ten seconds. The messages may touch one more than fit into the time.
    let windows = started.elapsed().as_secs() / 10 + 2;
    assert!(
        pongs as u64 <= 30 * windows,
        "more than 30 messages in a window were answered: {pongs} in {windows} windows"
    );
    assert_eq!(received.last().unwrap()["code"], "rate-limited", "{received:?}");
    // The customer can connect again.
    let mut client = system.connect(&customer).await;
    let pong = client
        .request(json!({"action": "ping"}), "alive")
        .await
        .pop()
        .unwrap();
    assert_eq!(pong["type"], "PONG");
}

#[tokio::test]
async fn orders_of_other_customers_do_not_exist() {
    let system = TestSystem::shared();
    let (hanako, other) = (system.customer().await, system.customer().await);
    let lantern = system.create_product(7500, 10).await;
    let order_id = system.place_order(&hanako, &lantern, 1, "pm_card_visa").await;
    system.wait_for_final_status(&hanako, order_id).await;
    let mut client = system.connect(&other).await;
    let subscribe = json!({"action": "subscribe", "orders": [{"order_id": order_id}]});
    let received = client.request(subscribe, "foreign").await;
    let [response] = &received[..] else {
        panic!("more than the response: {received:?}")
    };
    assert_eq!(
        (&response["orders"], &response["not_found"]),
        (&json!([]), &json!([order_id]))
    );
    // A second order of the other customer is the first thing that arrives.
    let own = system.place_order(&other, &lantern, 1, "pm_card_visa").await;
    let second = system.place_order(&hanako, &lantern, 1, "pm_card_visa").await;
    system.wait_for_final_status(&hanako, second).await;
    let received = client.receive_until(|message| message["is_final"] == true).await;
    let foreign: Vec<&Value> = received
        .iter()
        .filter(|message| message["order_id"] != own.to_string())
        .collect();
    assert_eq!(foreign, [&Value::Null; 0]);
}
