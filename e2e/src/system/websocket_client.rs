//! A WebSocket client of the realtime API.

use std::time::Duration;

use connections::ConnectionsTable;
use domain::UserId;
use futures::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message},
};

use super::{
    ApiCaller, ApiResponse, TestSystem,
    asyncapi::{Direction, assert_documented},
    env_var, eventually, send,
};

/// How long a test waits for a message or for the end of a connection.
const RECEIVE_TIMEOUT: Duration = Duration::from_secs(120);

/// An open connection.
pub struct WebSocketClient(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl TestSystem {
    /// Asks core-api for a ticket.
    pub async fn request_ticket(&self, caller: &ApiCaller) -> ApiResponse {
        let request = self.core_api_request(Method::POST, "/v1/realtime/ticket");
        send(request.bearer_auth(&caller.token)).await
    }

    /// A ticket for a connection.
    pub async fn ticket(&self, caller: &ApiCaller) -> String {
        let response = eventually("a ticket", async || {
            let response = self.request_ticket(caller).await;
            (response.status != 503).then_some(response)
        })
        .await;
        let body = response.expect_status(201);
        assert_eq!(body["url"], env_var("WS_API_URL"));
        body["ticket"].as_str().expect("a ticket is text").to_owned()
    }

    /// Opens a connection with this query.
    pub async fn open_websocket(&self, query: &str) -> Result<WebSocketClient, Error> {
        let (stream, _) = connect_async(format!("{}{query}", env_var("WS_API_URL"))).await?;
        Ok(WebSocketClient(stream))
    }

    /// Opens a connection with this query, and returns the status of a handshake that fails.
    pub async fn handshake(&self, query: &str) -> Result<WebSocketClient, StatusCode> {
        self.open_websocket(query).await.map_err(|error| match error {
            Error::Http(response) => response.status(),
            error => panic!("the handshake failed: {error}"),
        })
    }

    /// Waits until the caller has a connection, and closes all of them as API Gateway does after two hours.
    pub async fn close_connections(&self, caller: &ApiCaller) {
        let user_id = caller.id.parse().expect("the caller is a user");
        eventually("a connection that can be closed", async || {
            let closed = self.try_close_connections(user_id).await?;
            (closed > 0).then_some(())
        })
        .await;
    }

    /// Closes all connections of a user with `DeleteConnection`. Returns how many were open, or `None` if the
    /// local AWS did not respond.
    pub async fn try_close_connections(&self, user_id: UserId) -> Option<usize> {
        let client = aws_sdk_dynamodb::Client::new(&aws_client::sdk_config().await);
        let table = ConnectionsTable::new(client, "ecommerce-connections", self.clock.clone());
        let stage_url = env_var("WS_API_URL").replacen("ws", "http", 1);
        let mut closed = 0;
        for connection in table.of_user(user_id).await.ok()? {
            let url = format!("{stage_url}/@connections/{}", connection.connection_id);
            let response = self.http.delete(url).send().await.ok()?;
            closed += usize::from(response.status() == StatusCode::NO_CONTENT);
        }
        Some(closed)
    }

    /// Opens a connection. A function that the local AWS throttles fails the handshake, so it is repeated.
    pub async fn connect(&self, caller: &ApiCaller) -> WebSocketClient {
        eventually("a connection", async || {
            let ticket = self.ticket(caller).await;
            self.handshake(&format!("?ticket={ticket}")).await.ok()
        })
        .await
    }
}

impl WebSocketClient {
    async fn send_frame(&mut self, frame: Message) {
        self.0.send(frame).await.expect("the connection is open");
    }

    /// Sends a message, unless the server has closed the connection.
    pub async fn try_send(&mut self, message: &Value) -> bool {
        self.0.send(Message::text(message.to_string())).await.is_ok()
    }

    /// Waits for the next message, or returns `None` when the connection ends.
    async fn receive(&mut self) -> Option<Value> {
        let text = timeout(RECEIVE_TIMEOUT, self.receive_text()).await;
        let text = text.expect("something arrives on the connection in time")?;
        let message = serde_json::from_str(&text).expect("every message is JSON");
        if !is_gateway_error(&message) {
            assert_documented(Direction::FromServer, &message);
        }
        Some(message)
    }

    /// Waits for the next text, or returns `None` when the connection ends. A cancelled call loses no text.
    pub async fn receive_text(&mut self) -> Option<String> {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => return Some(text.to_string()),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    /// Waits for a message that `is_wanted` accepts, and returns it with those before it.
    pub async fn receive_until(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            let Some(message) = self.receive().await else {
                panic!("the connection was closed after {messages:?}")
            };
            messages.push(message);
            if messages.last().is_some_and(&is_wanted) {
                return messages;
            }
        }
    }

    /// Waits for the end of the connection, and returns the messages before it.
    pub async fn receive_until_closed(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Some(message) = self.receive().await {
            messages.push(message);
        }
        messages
    }

    /// Sends a message with a `request_id`, and returns the response and the messages before it.
    pub async fn request(&mut self, mut message: Value, request_id: &str) -> Vec<Value> {
        message["request_id"] = json!(request_id);
        assert_documented(Direction::FromClient, &message);
        self.exchange(Message::text(message.to_string()), |received| {
            received["request_id"] == request_id
        })
        .await
    }

    /// Sends a frame, and returns the response and the messages before it. Sends it again if API Gateway
    /// could not pass it to the function, for example because the local AWS throttled it.
    pub async fn exchange(&mut self, frame: Message, is_response: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            self.send_frame(frame.clone()).await;
            messages.extend(
                self.receive_until(|message| is_response(message) || is_gateway_error(message))
                    .await,
            );
            if !messages.last().is_some_and(is_gateway_error) {
                return messages;
            }
            messages.pop();
        }
    }

    /// Closes the connection as a browser does.
    pub async fn close(mut self) {
        self.0.close(None).await.expect("the connection is open");
        while let Some(Ok(_)) = self.0.next().await {}
    }
}

/// Whether API Gateway itself sent the message, because it could not pass one to the function or the function
/// failed. AWS sends the documented `gatewayError`, the local AWS the error of the function.
pub fn is_gateway_error(message: &Value) -> bool {
    message["type"].is_null() && (message["message"].is_string() || message["errorMessage"].is_string())
}
