//! The bucket of receipts. A receipt is written once and never replaced.

use std::time::Duration;

use aws_client::SdkConfig;
use aws_sdk_s3::{
    Client,
    config::Builder,
    error::{DisplayErrorContext, ProvideErrorMetadata, SdkError},
    presigning::PresigningConfig,
    primitives::ByteStream,
};
use chrono::SubsecRound;
use domain::{CustomerSecret, OrderId, Timestamp};

/// How long a link is valid. The browser follows it at once.
pub const LINK_VALIDITY: Duration = Duration::from_secs(5 * 60);

/// The store of receipts. Clones share the clients.
#[derive(Clone, Debug)]
pub struct ReceiptStore {
    client: Client,
    /// Signs links to the address at which customers reach S3. It sends no requests.
    link_client: Client,
    bucket: String,
}

/// A link to a receipt. Who has it can read the receipt until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptLink {
    pub url: CustomerSecret,
    pub expires_at: Timestamp,
}

/// The result of writing a receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    New,
    /// An earlier call has written the order's receipt, which stays as it is.
    Before,
}

/// S3 returned an error or did not respond. Contains the messages of the SDK error and all its sources.
#[derive(Debug, thiserror::Error)]
#[error("receipt store request failed: {0}")]
pub struct StoreError(String);

impl StoreError {
    fn from_sdk(error: impl std::error::Error) -> Self {
        Self(DisplayErrorContext(error).to_string())
    }
}

impl ReceiptStore {
    /// The store in `bucket`. `link_endpoint` is the address at which customers reach S3, if it is not the
    /// one of `config`.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String, link_endpoint: Option<String>) -> Self {
        let client = |endpoint: Option<&str>| {
            let mut builder = Builder::from(config);
            if let Some(endpoint) = endpoint {
                // A local AWS has no DNS names of buckets.
                builder = builder.endpoint_url(endpoint).force_path_style(true);
            }
            Client::from_conf(builder.build())
        };
        Self {
            client: client(config.endpoint_url()),
            link_client: client(link_endpoint.as_deref().or(config.endpoint_url())),
            bucket,
        }
    }

    /// Stores the receipt of an order, unless there is one.
    pub async fn write(&self, order_id: OrderId, pdf: Vec<u8>) -> Result<Written, StoreError> {
        let written = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(key(order_id))
            .if_none_match("*")
            .content_type("application/pdf")
            .content_disposition(format!("inline; filename=\"receipt-{order_id}.pdf\""))
            .body(ByteStream::from(pdf))
            .send()
            .await;
        match written {
            Ok(_) => Ok(Written::New),
            Err(error) if error.code() == Some("PreconditionFailed") => Ok(Written::Before),
            Err(error) => Err(StoreError::from_sdk(error)),
        }
    }

    /// Whether the order's receipt has been written.
    pub async fn contains(&self, order_id: OrderId) -> Result<bool, StoreError> {
        let head = self.client.head_object().bucket(&self.bucket).key(key(order_id));
        match head.send().await {
            Ok(_) => Ok(true),
            Err(SdkError::ServiceError(error)) if error.err().is_not_found() => Ok(false),
            Err(error) => Err(StoreError::from_sdk(error)),
        }
    }

    /// A link to the order's receipt, valid from `now` for [`LINK_VALIDITY`]. The call makes no request.
    pub async fn link(&self, order_id: OrderId, now: Timestamp) -> Result<ReceiptLink, StoreError> {
        // The signature has a precision of seconds.
        let now = now.trunc_subsecs(0);
        let presigning = PresigningConfig::builder()
            .start_time(now.into())
            .expires_in(LINK_VALIDITY)
            .build()
            .expect("the validity is less than a week");
        let get = self
            .link_client
            .get_object()
            .bucket(&self.bucket)
            .key(key(order_id));
        let request = get.presigned(presigning).await.map_err(StoreError::from_sdk)?;
        Ok(ReceiptLink {
            url: CustomerSecret::new(request.uri().to_owned()),
            expires_at: now + LINK_VALIDITY,
        })
    }
}

fn key(order_id: OrderId) -> String {
    format!("{order_id}.pdf")
}
