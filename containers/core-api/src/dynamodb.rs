//! The client of DynamoDB, behind a circuit breaker: while DynamoDB does not answer, orders and carts are refused at once, and
//! the room that they would wait in is there for the catalogue. PostgreSQL has no such breaker, because nothing here works
//! without it, and whoever waits for one of its connections does so within a bound.

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

/// After so many calls in a row that fail, none is made for a while. The SDK makes a call three times.
const FAILURE_THRESHOLD: u32 = 6;
const OPEN_DURATION: Duration = Duration::from_secs(1);

/// How long a call may take. It takes milliseconds, and seconds where everything is late; a request may take 25 s.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long making a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The client of the account and region that `aws` tells of.
#[must_use]
pub fn client(aws: &aws_client::SdkConfig) -> Client {
    Client::from_conf(config_builder(aws).build())
}

/// How the client is made.
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

/// Makes connectors behind a breaker.
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

/// It is not asked at the moment.
#[derive(Debug, thiserror::Error)]
#[error("DynamoDB has failed just now and is not asked for a moment")]
struct CircuitOpen;

impl HttpConnector for BreakerConnector<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some(attempt) = self.breaker.try_acquire(Instant::now()) else {
            // An error that the SDK does not retry.
            return HttpConnectorFuture::ready(Err(ConnectorError::other(CircuitOpen.into(), None)));
        };
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await;
            match &answer {
                // A refusal is an answer.
                Ok(response) if response.status().as_u16() < 500 => attempt.record_success(),
                Ok(_) | Err(_) => attempt.record_failure(Instant::now()),
            }
            answer
        })
    }
}
