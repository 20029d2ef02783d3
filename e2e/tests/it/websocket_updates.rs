//! WebSocket clients follow orders: each change arrives on every connection of the customer, in order, and
//! also after the connection was lost for a while.

use domain::{OrderId, OrderStatus};
use e2e::{
    realtime::{OrderUpdate, OrderView},
    system::{ApiCaller, TestSystem, WebSocketClient, eventually},
};
use fault_injection::{FunctionFault, Rule};
use serde_json::{Value, json};

/// Receives updates of the order until `is_enough`.
async fn follow(
    view: &mut OrderView,
    client: &mut WebSocketClient,
    order_id: OrderId,
    is_enough: impl Fn(&OrderView) -> bool,
) {
    while !is_enough(view) {
        let update = client.receive_until(is_update).await.pop().unwrap();
        assert_eq!(
            update["order_id"],
            order_id.to_string(),
            "an update of another order"
        );
        apply(view, &update);
    }
}

fn is_update(message: &Value) -> bool {
    message["type"] == "ORDER_STATUS_UPDATE"
}

fn apply(view: &mut OrderView, message: &Value) {
    let update = OrderUpdate::parse(message).unwrap().unwrap();
    view.apply(&update).unwrap();
}

fn subscribe(order_id: OrderId, last_sequence: u32) -> Value {
    json!({"action": "subscribe", "orders": [{"order_id": order_id, "last_sequence": last_sequence}]})
}

async fn place_order(system: &TestSystem, customer: &ApiCaller, method: &str) -> OrderId {
    let lantern = system.create_product(7500, 10).await;
    system.place_order(customer, &lantern, 1, method).await
}

const COMPLETED: [&str; 4] = ["pending", "processing", "captured", "completed"];

#[tokio::test]
async fn each_device_sees_an_order_from_pending_to_completed() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let (mut phone, mut laptop) = (system.connect(&customer).await, system.connect(&customer).await);
    let order_id = place_order(&system, &customer, "pm_card_visa").await;
    for device in [&mut phone, &mut laptop] {
        let mut view = OrderView::default();
        follow(&mut view, device, order_id, |view| view.is_final).await;
        assert_eq!(view.names(), COMPLETED);
        assert_eq!(view.status, Some(OrderStatus::Completed));
    }
}

#[tokio::test]
async fn failed_and_cancelled_orders_are_pushed() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let mut client = system.connect(&customer).await;
    let order_id = place_order(&system, &customer, "pm_card_chargeDeclined").await;
    let update = client
        .receive_until(|message| message["is_final"] == true)
        .await
        .pop()
        .unwrap();
    assert_eq!(
        (&update["order_id"], &update["status"], &update["reason"]),
        (&json!(order_id), &json!("failed"), &json!("payment_declined"))
    );

    let order_id = place_order(&system, &customer, "pm_card_threeDSecure2Required").await;
    system.wait_for_next_action(&customer, order_id).await;
    system.cancel_order(&customer, order_id).await.expect_status(202);
    let is_end = |message: &Value| message["order_id"] == json!(order_id) && message["is_final"] == true;
    let update = client.receive_until(is_end).await.pop().unwrap();
    assert_eq!(update["status"], "cancelled");
}

#[tokio::test]
async fn client_resumes_after_a_lost_connection_with_what_it_has_missed() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let mut client = system.connect(&customer).await;
    let order_id = place_order(&system, &customer, "pm_card_threeDSecure2Required").await;
    let mut view = OrderView::default();
    follow(&mut view, &mut client, order_id, |view| {
        view.names().ends_with(&["action_required"])
    })
    .await;
    assert_eq!(view.names(), ["pending", "processing", "action_required"]);
    drop(client);

    let action = system.wait_for_next_action(&customer, order_id).await;
    system.authenticate(&action, "approve").await;
    system.wait_for_final_status(&customer, order_id).await;

    let mut client = system.connect(&customer).await;
    let mut received = client
        .request(subscribe(order_id, view.last_sequence()), "resume")
        .await;
    let response = received.pop().unwrap();
    let missed = received.pop().unwrap();
    assert_eq!(
        missed["changes"][0]["sequence"], 4,
        "only what the client has missed: {missed}"
    );
    apply(&mut view, &missed);
    assert_eq!(view.names()[..3], ["pending", "processing", "action_required"]);
    assert!(view.names().ends_with(&["captured", "completed"]), "{view:?}");
    let position = json!([{"order_id": order_id, "sequence": view.last_sequence()}]);
    assert_eq!(
        (&response["type"], &response["orders"], &response["not_found"]),
        (&json!("SUBSCRIBED"), &position, &json!([]))
    );

    let mut again = client
        .request(subscribe(order_id, view.last_sequence()), "again")
        .await;
    assert_eq!(again.pop().unwrap()["type"], "SUBSCRIBED");
    assert!(
        again.iter().all(|message| message["changes"][0]["sequence"] == 1),
        "a client that has seen everything gets nothing but late pushes: {again:?}"
    );
}

#[tokio::test]
async fn muted_order_sends_nothing_until_the_client_subscribes_again() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let mut client = system.connect(&customer).await;
    let order_id = place_order(&system, &customer, "pm_card_threeDSecure2Required").await;
    let mut view = OrderView::default();
    follow(&mut view, &mut client, order_id, |view| {
        view.names().ends_with(&["action_required"])
    })
    .await;
    let unsubscribe = json!({"action": "unsubscribe", "orders": [order_id]});
    let response = client.request(unsubscribe, "mute").await.pop().unwrap();
    assert_eq!(
        (&response["type"], &response["orders"]),
        (&json!("UNSUBSCRIBED"), &json!([order_id]))
    );
    let action = system.wait_for_next_action(&customer, order_id).await;
    system.authenticate(&action, "approve").await;
    system.wait_for_final_status(&customer, order_id).await;
    // A push of the muted order would arrive before the other order's end.
    let other = place_order(&system, &customer, "pm_card_visa").await;
    let received = client
        .receive_until(|message| message["order_id"] == json!(other) && message["is_final"] == true)
        .await;
    let updates: Vec<&Value> = received
        .iter()
        .filter(|message| message["order_id"] == json!(order_id))
        .collect();
    assert!(
        updates.iter().all(|update| update["is_final"] == false),
        "{updates:?}"
    );
    client.request(subscribe(order_id, 0), "unmute").await;
}

/// A push that the platform loses, repeats or delays.
#[tokio::test]
async fn faults_of_status_push_lose_nothing_and_show_nothing_twice() {
    let system = TestSystem::shared();
    for fault in [
        FunctionFault::ErrorBefore,
        FunctionFault::ErrorAfter,
        FunctionFault::CrashBefore,
        FunctionFault::CrashAfter,
        FunctionFault::DuplicateConcurrent,
        FunctionFault::DuplicateSequential,
    ] {
        let customer = system.customer().await;
        let mut client = system.connect(&customer).await;
        let rule = Rule::for_function("status-push", fault).containing(&customer.id);
        let rule = system.faults.add_rule(&rule.limit_hits(2)).await.unwrap();
        let order_id = place_order(&system, &customer, "pm_card_visa").await;
        let mut view = OrderView::default();
        follow(&mut view, &mut client, order_id, |view| view.is_final).await;
        assert_eq!(view.names(), COMPLETED, "{fault:?}");
        assert!(system.faults.hits(rule).await.unwrap() > 0, "{fault:?}");
        system.faults.remove_rule(rule).await.unwrap();
    }
}

/// Each message in the queue leads to the present state, whatever the message says.
#[tokio::test]
async fn late_duplicate_and_reordered_messages_show_each_change_once() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let order_id = place_order(&system, &customer, "pm_card_visa").await;
    system.wait_for_final_status(&customer, order_id).await;
    let mut client = system.connect(&customer).await;
    let request = json!({
        "order_id": order_id, "user_id": customer.id,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    });
    for _ in 0..5 {
        system
            .send_message("status-push-queue", &request.to_string())
            .await;
    }
    let mut view = OrderView::default();
    for _ in 0..5 {
        let update = client.receive_until(|_| true).await.pop().unwrap();
        apply(&mut view, &update);
    }
    assert_eq!(view.names(), COMPLETED);
    eventually("an empty queue", async || {
        system
            .queue_messages("status-push-queue")
            .await
            .iter()
            .all(|message| {
                !message["Body"]
                    .as_str()
                    .unwrap_or_default()
                    .contains(&order_id.to_string())
            })
            .then_some(())
    })
    .await;
}
