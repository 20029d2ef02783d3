//! The DynamoDB client with a circuit breaker. While DynamoDB does not respond, requests for orders and carts
//! fail immediately instead of occupying the concurrency that catalog requests need. PostgreSQL needs no
//! circuit breaker: every request depends on it, and the connection pool bounds the wait for a connection.

use std::time::{Duration, Instant};

use aws_sdk_dynamodb::{
    Client,
    config::{Builder, SharedHttpClient, timeout::TimeoutConfig},
};
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector},
    orchestrator::HttpRequest,
    result::ConnectorError,
    runtime_components::RuntimeComponents,
};
use http_server::CircuitBreaker;

/// The number of consecutive failures that open the circuit. The SDK attempts each call three times.
const FAILURE_THRESHOLD: u32 = 6;
const OPEN_DURATION: Duration = Duration::from_secs(1);

/// The timeout of a call. Calls take milliseconds, or seconds under load; the timeout of a whole request is
/// 25 s.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

#[must_use]
pub fn client(aws: &aws_client::SdkConfig) -> Client {
    Client::from_conf(config_builder(aws).build())
}

/// The configuration of the client, to which tests add their endpoint.
#[must_use]
pub fn config_builder(aws: &aws_client::SdkConfig) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .build();
    let config = Builder::from(aws).timeout_config(timeouts);
    match aws.http_client() {
        Some(inner) => config.http_client(BreakerConnector {
            inner,
            breaker: CircuitBreaker::new("dynamodb", FAILURE_THRESHOLD, OPEN_DURATION),
        }),
        None => config,
    }
}

/// An HTTP client whose connectors are guarded by a circuit breaker, and such a connector.
#[derive(Clone, Debug)]
struct BreakerConnector<T> {
    inner: T,
    breaker: CircuitBreaker,
}

impl HttpClient for BreakerConnector<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(BreakerConnector {
            inner: self.inner.http_connector(settings, components),
            breaker: self.breaker.clone(),
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("circuit breaker is open after repeated DynamoDB failures")]
struct CircuitOpen;

impl HttpConnector for BreakerConnector<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some(attempt) = self.breaker.try_acquire(Instant::now()) else {
            // The SDK does not retry an error of this kind.
            return HttpConnectorFuture::ready(Err(ConnectorError::other(CircuitOpen.into(), None)));
        };
        let response = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let result = response.await;
            match &result {
                // A 4xx response shows that DynamoDB works.
                Ok(response) if response.status().as_u16() < 500 => attempt.record_success(),
                Ok(_) | Err(_) => attempt.record_failure(Instant::now()),
            }
            result
        })
    }
}
