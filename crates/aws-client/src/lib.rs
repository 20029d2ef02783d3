//! The AWS SDK configuration of all services and functions: region, timeouts, retries, TLS.
//!
//! Endpoint, region and credentials come from the SDK's standard environment variables (`AWS_ENDPOINT_URL`,
//! `AWS_REGION`, `AWS_ACCESS_KEY_ID` …).

use std::time::Duration;

pub use aws_config::SdkConfig;
use aws_config::{
    BehaviorVersion, Region, environment::EnvironmentVariableCredentialsProvider,
    meta::region::RegionProviderChain, retry::RetryConfig, timeout::TimeoutConfig,
};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::{
    Builder,
    tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode},
};
use aws_smithy_runtime_api::client::{
    http::{HttpClient, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector},
    runtime_components::RuntimeComponents,
};

/// The region when the environment sets none: Tokyo.
const DEFAULT_REGION: Region = Region::from_static("ap-northeast-1");

/// The root certificates of Amazon Trust Services, which AWS recommends to clients that do not use the
/// operating system's trust store (<https://www.amazontrust.com/repository/>). Parsing the system's 140
/// certificates took a considerable part of a function's cold start, and no other authority issues
/// certificates for AWS endpoints.
const AMAZON_ROOT_CERTIFICATES: &str = include_str!("amazon-trust-services.pem");

/// The SDK configuration of a container. Reads the environment and may query the instance metadata service
/// for credentials: call it once, at startup.
pub async fn sdk_config() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(RegionProviderChain::default_provider().or_else(DEFAULT_REGION))
        .http_client(http_client())
        .timeout_config(timeout_config())
        .retry_config(retry_config())
        .load()
        .await
}

/// The SDK configuration of a Lambda function. Lambda passes the credentials in environment variables, so
/// other credential providers (profiles, web identity, instance metadata) are left out: setting them up took
/// a fifth of a cold start.
#[must_use]
pub fn lambda_sdk_config(region: Option<String>, endpoint_url: Option<String>) -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(region.map_or(DEFAULT_REGION, Region::new))
        .credentials_provider(SharedCredentialsProvider::new(
            EnvironmentVariableCredentialsProvider::new(),
        ))
        .http_client(http_client())
        .timeout_config(timeout_config())
        .retry_config(retry_config());
    config.set_endpoint_url(endpoint_url);
    config.build()
}

fn timeout_config() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        // The longest call is an SQS long poll: 20 s plus the response.
        .read_timeout(Duration::from_secs(25))
        .build()
}

fn retry_config() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(3)
}

fn http_client() -> SharedHttp {
    let tls = TlsContext::builder()
        .with_trust_store(TrustStore::empty().with_pem_certificate(AMAZON_ROOT_CERTIFICATES))
        .build()
        .expect("a TLS context with only a trust store is valid");
    SharedHttp(
        Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls)
            .build_https(),
    )
}

/// One connection pool and one set of trusted certificates for all SDK clients of a process. By default each
/// client parses the system's certificates twice, for a connector that only validates the settings and for
/// the one that it uses, which dominates a function's cold start.
#[derive(Debug)]
struct SharedHttp(SharedHttpClient);

impl HttpClient for SharedHttp {
    // The trait's other methods only validate the settings with a connector of their own: the defaults skip
    // it.
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.0.http_connector(settings, components)
    }
}
