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
use web::Breaker;

/// After so many calls in a row that fail, none is made for a while. The SDK makes a call three times.
const FAILURES: u32 = 6;
const REST: Duration = Duration::from_secs(1);

/// How long a call may take. It takes milliseconds, and seconds where everything is late; a request may take 25 s.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// How long making a connection may take.
const CONNECTS_WITHIN: Duration = Duration::from_secs(2);

/// The client of the account and region that `aws` tells of.
#[must_use]
pub fn client(aws: &cloud::SdkConfig) -> Client {
    Client::from_conf(config(aws).build())
}

/// How the client is made.
#[must_use]
pub fn config(aws: &cloud::SdkConfig) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECTS_WITHIN)
        .read_timeout(ANSWERS_WITHIN)
        .build();
    let config = Builder::from(aws).timeout_config(timeouts);
    match aws.http_client() {
        Some(inner) => config.http_client(Guarded {
            inner,
            breaker: Breaker::new("dynamodb", FAILURES, REST),
        }),
        None => config,
    }
}

/// Makes connectors behind a breaker.
#[derive(Clone, Debug)]
struct Guarded<T> {
    inner: T,
    breaker: Breaker,
}

impl HttpClient for Guarded<SharedHttpClient> {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Guarded {
            inner: self.inner.http_connector(settings, components),
            breaker: self.breaker.clone(),
        })
    }
}

/// It is not asked at the moment.
#[derive(Debug, thiserror::Error)]
#[error("DynamoDB has failed just now and is not asked for a moment")]
struct NotAsked;

impl HttpConnector for Guarded<SharedHttpConnector> {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Some(attempt) = self.breaker.admit(Instant::now()) else {
            // An error that the SDK does not retry.
            return HttpConnectorFuture::ready(Err(ConnectorError::other(NotAsked.into(), None)));
        };
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let answer = answer.await;
            match &answer {
                // A refusal is an answer.
                Ok(response) if response.status().as_u16() < 500 => attempt.succeeded(),
                Ok(_) | Err(_) => attempt.failed(Instant::now()),
            }
            answer
        })
    }
}
