//! How connections begin and end: tickets, bounds, and the revocation of a user's tokens.

use chrono::TimeDelta;
use connections::{Connection, ConnectionsTable, TicketHolder};
use domain::{Clock, Timestamp, UserId};
use e2e::system::{ApiCaller, TestSystem, TestUser, WebSocketClient, eventually, send};
use reqwest::{Method, StatusCode};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

/// The connections table, for a program with this clock.
async fn table(clock: Clock) -> ConnectionsTable {
    let client = aws_sdk_dynamodb::Client::new(&aws_client::sdk_config().await);
    ConnectionsTable::new(client, "ecommerce-connections", clock)
}

fn user_id(caller: &ApiCaller) -> UserId {
    caller.id.parse().unwrap()
}

async fn connection_ids(caller: &ApiCaller) -> Vec<String> {
    let connections = table(Clock::system())
        .await
        .of_user(user_id(caller))
        .await
        .unwrap();
    connections
        .into_iter()
        .map(|connection| connection.connection_id)
        .collect()
}

async fn assert_alive(client: &mut WebSocketClient) {
    let pong = client
        .request(json!({"action": "ping"}), "alive")
        .await
        .pop()
        .unwrap();
    assert_eq!(pong["type"], "PONG");
}

/// The status of a handshake that must fail. The local AWS answers 500 while it throttles the authorizer.
async fn refused_handshake(system: &TestSystem, query: &str) -> StatusCode {
    eventually("the refusal of a handshake", async || {
        match system.handshake(query).await {
            Ok(_) => panic!("the handshake with {query} succeeded"),
            Err(status) => (status != 500).then_some(status),
        }
    })
    .await
}

#[tokio::test]
async fn ticket_opens_one_connection() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let (ticket, mut client) = eventually("a connection", async || {
        let ticket = system.ticket(&customer).await;
        let client = system.handshake(&format!("?ticket={ticket}")).await.ok()?;
        Some((ticket, client))
    })
    .await;
    let again = refused_handshake(&system, &format!("?ticket={ticket}")).await;
    assert_eq!(again, 403);
    assert_alive(&mut client).await;
}

#[tokio::test]
async fn missing_forged_and_expired_tickets_are_refused() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    assert_eq!(refused_handshake(&system, "").await, 401);
    assert_eq!(refused_handshake(&system, "?ticket=").await, 401);
    // A token or a user id is no ticket.
    for forged in [&customer.token, &customer.id, &"A".repeat(43)] {
        let status = refused_handshake(&system, &format!("?ticket={forged}")).await;
        assert_eq!(status, 403, "{forged}");
    }
    let past = Clock::from_fn(|| Clock::system().now() - TimeDelta::seconds(31));
    let holder = TicketHolder {
        user_id: user_id(&customer),
        token_issued_at: system.now(),
    };
    let expired = table(past).await.issue_ticket(holder).await.unwrap();
    let query = format!("?ticket={}", expired.ticket.expose_secret());
    assert_eq!(refused_handshake(&system, &query).await, 403);
    assert_eq!(connection_ids(&customer).await, [""; 0]);
}

/// A client with a ticket connects as the user of the ticket, and gets nothing of other users.
#[tokio::test]
async fn ticket_is_bound_to_its_user() {
    let system = TestSystem::shared();
    let (hanako, other) = (system.customer().await, system.customer().await);
    let mut client = system.connect(&hanako).await;
    assert_alive(&mut client).await;
    assert_eq!(connection_ids(&hanako).await.len(), 1);
    assert_eq!(connection_ids(&other).await.len(), 0);
    let service = system.service_caller();
    for token in ["", "forged", service.token.as_str()] {
        let request = system.core_api_request(Method::POST, "/v1/realtime/ticket");
        assert_eq!(send(request.bearer_auth(token)).await.status, 401);
    }
}

#[tokio::test]
async fn user_has_a_bounded_number_of_connections() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(system.connect(&customer).await);
    }
    let ticket = system.ticket(&customer).await;
    refused_handshake(&system, &format!("?ticket={ticket}")).await;
    for client in &mut clients {
        assert_alive(client).await;
    }
    clients.pop().unwrap().close().await;
    system.connect(&customer).await;
}

#[tokio::test]
async fn closed_connections_are_removed() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let client = system.connect(&customer).await;
    assert_eq!(connection_ids(&customer).await.len(), 1);
    client.close().await;
    eventually("the end of the connection", async || {
        connection_ids(&customer).await.is_empty().then_some(())
    })
    .await;
    // The function that is to remove a connection may fail. Then the next push does.
    let now = system.now();
    let gone = Connection {
        connection_id: format!("gone-{}", customer.id),
        user_id: user_id(&customer),
        address: "203.0.113.1".to_owned(),
        token_issued_at: now,
        opened_at: now - TimeDelta::minutes(1),
        ttl: (now + TimeDelta::minutes(5)).timestamp(),
        muted: Default::default(),
        products: Default::default(),
    };
    table(Clock::system()).await.register(&gone).await.unwrap();
    let mut client = system.connect(&customer).await;
    let lantern = system.create_product(100, 1).await;
    system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    client.receive_until(|message| message["is_final"] == true).await;
    eventually("the removal of the gone connection", async || {
        (connection_ids(&customer).await.len() == 1).then_some(())
    })
    .await;
}

/// A signed-in user with two connections.
struct SignedIn {
    user: TestUser,
    caller: ApiCaller,
    refresh_token: String,
    clients: [WebSocketClient; 2],
}

async fn signed_in(system: &TestSystem) -> SignedIn {
    let user = system.register_user().await;
    let session = system.sign_in(&user).await;
    let me = system
        .get_gateway("/v1/me", &session.access_token)
        .await
        .expect_status(200);
    let caller = ApiCaller {
        id: me["id"].as_str().unwrap().to_owned(),
        token: session.access_token,
    };
    let clients = [system.connect(&caller).await, system.connect(&caller).await];
    SignedIn {
        user,
        caller,
        refresh_token: session.refresh_token,
        clients,
    }
}

/// Both connections are closed, and a ticket from before opens none.
async fn assert_signed_out(system: &TestSystem, signed_in: SignedIn, ticket: &str) {
    for mut client in signed_in.clients {
        assert_eq!(client.receive_until_closed().await, [Value::Null; 0]);
    }
    let caller = &signed_in.caller;
    eventually("the end of all connections", async || {
        connection_ids(caller).await.is_empty().then_some(())
    })
    .await;
    refused_handshake(system, &format!("?ticket={ticket}")).await;
    assert_eq!(connection_ids(caller).await, [""; 0]);
    eventually("the refusal of a ticket", async || {
        (system.request_ticket(caller).await.status == 401).then_some(())
    })
    .await;
}

#[tokio::test]
async fn signing_out_everywhere_closes_all_connections() {
    let system = TestSystem::shared();
    let signed_in = signed_in(&system).await;
    let other = system.customer().await;
    let mut other_client = system.connect(&other).await;
    let ticket = system.ticket(&signed_in.caller).await;
    let logout = json!({"refresh_token": signed_in.refresh_token, "everywhere": true});
    system
        .post_gateway("/v1/auth/logout", &logout)
        .await
        .expect_status(204);
    let (user, id) = (signed_in.user.clone(), signed_in.caller.id.clone());
    assert_signed_out(&system, signed_in, &ticket).await;
    assert_alive(&mut other_client).await;
    // The user signs in again and connects.
    let session = system.sign_in(&user).await;
    let caller = ApiCaller {
        id,
        token: session.access_token,
    };
    assert_alive(&mut system.connect(&caller).await).await;
}

#[tokio::test]
async fn new_password_closes_all_connections() {
    let system = TestSystem::shared();
    let signed_in = signed_in(&system).await;
    let ticket = system.ticket(&signed_in.caller).await;
    let forgot = json!({"email": signed_in.user.email});
    system
        .post_gateway("/v1/auth/password/forgot", &forgot)
        .await
        .expect_status(202);
    let token = system
        .link_token(&signed_in.user.email, "Choose a new password", "reset")
        .await;
    let reset = json!({"token": token, "password": "another correct horse staple"});
    system
        .post_gateway("/v1/auth/password/reset", &reset)
        .await
        .expect_status(204);
    assert_signed_out(&system, signed_in, &ticket).await;
}

#[tokio::test]
async fn deleted_account_loses_its_connections() {
    let system = TestSystem::shared();
    let signed_in = signed_in(&system).await;
    let ticket = system.ticket(&signed_in.caller).await;
    let delete = system.core_api_request(Method::DELETE, "/v1/me");
    send(delete.bearer_auth(&signed_in.caller.token))
        .await
        .expect_status(204);
    assert_signed_out(&system, signed_in, &ticket).await;
}

/// A client that is silent for too long counts as gone, also if its connection still exists.
#[tokio::test]
async fn silent_connection_is_closed_by_the_next_push() {
    let system = TestSystem::shared();
    let customer = system.customer().await;
    let mut silent = system.connect(&customer).await;
    let table = table(Clock::system()).await;
    let [connection] = &table.of_user(user_id(&customer)).await.unwrap()[..] else {
        panic!("one connection must exist")
    };
    let expired = Connection {
        ttl: Timestamp::timestamp(&system.now()),
        ..connection.clone()
    };
    table.register(&expired).await.unwrap();
    let lantern = system.create_product(100, 1).await;
    system.place_order(&customer, &lantern, 1, "pm_card_visa").await;
    assert_eq!(silent.receive_until_closed().await, [Value::Null; 0]);
}
