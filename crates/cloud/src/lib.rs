//! How every program of ours talks to AWS. Where to, and as whom, the SDK itself reads from its standard
//! variables (`AWS_ENDPOINT_URL`, `AWS_REGION`, the credentials' chain).

use std::time::Duration;

use aws_config::{
    BehaviorVersion, Region, SdkConfig, meta::region::RegionProviderChain, retry::RetryConfig,
    timeout::TimeoutConfig,
};

/// Where the platform runs unless it is told otherwise: Tokyo.
const DEFAULT_REGION: Region = Region::from_static("ap-northeast-1");

/// The configuration from which each service's client is made. Reads the environment and may ask the
/// machine's metadata for credentials; call it once, at start.
pub async fn sdk_config() -> SdkConfig {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        // A queue's long poll is the longest call there is: 20 s and its way back.
        .read_timeout(Duration::from_secs(25))
        .build();
    aws_config::defaults(BehaviorVersion::latest())
        .region(RegionProviderChain::default_provider().or_else(DEFAULT_REGION))
        .timeout_config(timeouts)
        .retry_config(RetryConfig::standard().with_max_attempts(3))
        .load()
        .await
}
