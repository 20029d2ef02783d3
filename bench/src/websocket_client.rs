//! A client of the WebSocket API.

use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

use crate::api_client::{ApiClient, Customer};

/// How long a message may take.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);

/// An open connection.
pub struct WebSocketClient(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl WebSocketClient {
    /// Opens a connection with a new ticket.
    ///
    /// # Errors
    /// Fails when core-api issues no ticket or the handshake is refused.
    pub async fn connect(api: &ApiClient, customer: &Customer) -> anyhow::Result<Self> {
        let url = api.websocket_url_with_ticket(customer).await?;
        let (stream, _) = connect_async(url)
            .await
            .context("the WebSocket handshake failed")?;
        Ok(Self(stream))
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// Fails when the connection is closed or nothing arrives in time.
    pub async fn receive(&mut self) -> anyhow::Result<Value> {
        loop {
            let frame = timeout(MESSAGE_TIMEOUT, self.0.next())
                .await
                .context("no message arrived on the connection")?;
            match frame {
                Some(Ok(Message::Text(text))) => return Ok(serde_json::from_str(&text)?),
                Some(Ok(Message::Close(_))) | None => bail!("the connection was closed"),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
            }
        }
    }

    /// Waits for a message that `is_wanted` accepts, and drops the others.
    ///
    /// # Errors
    /// Fails like [`Self::receive`].
    pub async fn receive_until(&mut self, is_wanted: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        loop {
            let message = self.receive().await?;
            if is_wanted(&message) {
                return Ok(message);
            }
        }
    }

    /// # Errors
    /// Fails when the connection is closed.
    pub async fn send(&mut self, message: &Value) -> anyhow::Result<()> {
        Ok(self.0.send(Message::text(message.to_string())).await?)
    }

    /// Closes the connection as a browser does.
    ///
    /// # Errors
    /// Fails when the connection is closed.
    pub async fn close(mut self) -> anyhow::Result<()> {
        self.0.close(None).await?;
        while let Some(Ok(_)) = self.0.next().await {}
        Ok(())
    }
}
