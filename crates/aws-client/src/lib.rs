//! How every program of ours talks to AWS. Where to, and as whom, its environment says in the standard
//! variables of the SDK (`AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID` …).

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

/// Where the platform runs unless it is told otherwise: Tokyo.
const DEFAULT_REGION: Region = Region::from_static("ap-northeast-1");

/// The certificates at the root of everything that AWS serves: its own authority's, all of those that it recommends to
/// whoever does not trust the whole machine's (<https://www.amazontrust.com/repository/>). Reading the machine's hundred
/// and forty was a good part of a function's cold start, and none of the others has a say about AWS.
const AMAZON_ROOT_CERTIFICATES: &str = include_str!("amazon-trust-services.pem");

/// The configuration from which each service's client is made. Reads the environment and may ask the
/// machine's metadata for credentials; call it once, at start.
pub async fn sdk_config() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .region(RegionProviderChain::default_provider().or_else(DEFAULT_REGION))
        .http_client(http_client())
        .timeout_config(timeout_config())
        .retry_config(retry_config())
        .load()
        .await
}

/// The same for a function, which knows where to from its own environment, where Lambda puts its credentials as well. To be
/// ready for all the other places where they might be (profiles, a web identity, the machine's metadata) was a fifth of a
/// cold start.
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
        // A queue's long poll is the longest call there is: 20 s and its way back.
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
        .expect("a trust store is all that is asked for");
    SharedHttp(
        Builder::new()
            .tls_provider(Provider::Rustls(CryptoMode::AwsLc))
            .tls_context(tls)
            .build_https(),
    )
}

/// One pool of connections and one set of trusted certificates for all clients of a program. By itself each client
/// parses the machine's certificates twice: for a connector that it makes on trial, and for the one that it uses. A
/// function's cold start is the time that this takes.
#[derive(Debug)]
struct SharedHttp(SharedHttpClient);

impl HttpClient for SharedHttp {
    // All else that the trait offers is the trial.
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.0.http_connector(settings, components)
    }
}
