//! The management API of API Gateway, which sends messages to connections and closes them.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_sdk_apigatewaymanagement::{
    Client,
    config::{Builder, timeout::TimeoutConfig},
    error::{DisplayErrorContext, SdkError},
    operation::{delete_connection::DeleteConnectionError, post_to_connection::PostToConnectionError},
    primitives::Blob,
};

use crate::server_message::ServerMessage;

/// The time limit of a call with its repetitions. A call takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct ManagementApi(Client);

/// Whether a connection received a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Sent,
    /// The connection is closed.
    Gone,
}

/// API Gateway refused a call or did not respond. The text contains the whole source chain.
#[derive(Debug, thiserror::Error)]
#[error("the management API of the connections failed: {0}")]
pub struct ManagementApiError(String);

impl ManagementApi {
    /// The management API of one stage at `url`.
    pub fn new(aws: &SdkConfig, url: String) -> Self {
        let timeouts = TimeoutConfig::builder().operation_timeout(TIMEOUT).build();
        let config = Builder::from(aws).endpoint_url(url).timeout_config(timeouts);
        Self(Client::from_conf(config.build()))
    }

    pub async fn send(
        &self,
        connection_id: &str,
        message: &ServerMessage<'_>,
    ) -> Result<Delivery, ManagementApiError> {
        let body = serde_json::to_vec(message).expect("all map keys of a message are strings");
        let sent = self
            .0
            .post_to_connection()
            .connection_id(connection_id)
            .data(Blob::new(body))
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Delivery::Sent),
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), PostToConnectionError::GoneException(_)) =>
            {
                Ok(Delivery::Gone)
            }
            Err(error) => Err(ManagementApiError(DisplayErrorContext(error).to_string())),
        }
    }

    /// Closes a connection. Idempotent.
    pub async fn close(&self, connection_id: &str) -> Result<(), ManagementApiError> {
        let closed = self
            .0
            .delete_connection()
            .connection_id(connection_id)
            .send()
            .await;
        match closed {
            Ok(_) => Ok(()),
            Err(SdkError::ServiceError(error))
                if matches!(error.err(), DeleteConnectionError::GoneException(_)) =>
            {
                Ok(())
            }
            Err(error) => Err(ManagementApiError(DisplayErrorContext(error).to_string())),
        }
    }
}
