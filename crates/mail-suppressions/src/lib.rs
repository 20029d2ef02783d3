//! The e-mail addresses to which no mail is sent any more: a mail to them bounced permanently, or its
//! recipient complained about it.
//!
//! The table contains digests instead of addresses. `mail-feedback` adds entries, `notification-sender` reads
//! them before each mail, and core-api shows them to support, who can remove one.

use aws_sdk_dynamodb::{
    Client, error::DisplayErrorContext, operation::put_item::PutItemError, types::AttributeValue,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why an address is suppressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SuppressionReason {
    /// A mail to the address was rejected permanently.
    Bounce,
    /// The recipient has marked a mail as spam.
    Complaint,
}

/// An entry of the table `ecommerce-mail-suppressions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppression {
    /// The key of the entry, see [`address_digest`].
    address_digest: String,
    pub reason: SuppressionReason,
    pub suppressed_at: Timestamp,
}

/// DynamoDB failed or contains invalid data.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB returned an error or did not respond.
    #[error("the request to the table of suppressed addresses failed: {0}")]
    Unavailable(String),
    /// An item cannot be converted.
    #[error("invalid item in the table of suppressed addresses")]
    Unreadable(#[from] serde_dynamo::Error),
}

/// The table of suppressed addresses. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct MailSuppressions {
    client: Client,
    table: String,
    clock: Clock,
}

impl MailSuppressions {
    #[must_use]
    pub fn new(client: Client, table: String, clock: Clock) -> Self {
        Self { client, table, clock }
    }

    /// Suppresses an address. An entry that exists stays as it is.
    pub async fn add(&self, address: &str, reason: SuppressionReason) -> Result<(), StoreError> {
        let entry = Suppression {
            address_digest: address_digest(address),
            reason,
            suppressed_at: self.clock.now(),
        };
        let put = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(serde_dynamo::to_item(entry)?))
            .condition_expression("attribute_not_exists(address_digest)")
            .send()
            .await;
        match put {
            Ok(_) => Ok(()),
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(PutItemError::is_conditional_check_failed_exception) =>
            {
                Ok(())
            }
            Err(error) => Err(unavailable(error)),
        }
    }

    /// The entry of an address. `None` if mails to it may be sent.
    pub async fn find(&self, address: &str) -> Result<Option<Suppression>, StoreError> {
        let response = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("address_digest", key(address))
            .consistent_read(true)
            .send()
            .await
            .map_err(unavailable)?;
        Ok(response.item.map(serde_dynamo::from_item).transpose()?)
    }

    /// Removes the entry of an address, so that mails to it are sent again.
    pub async fn remove(&self, address: &str) -> Result<(), StoreError> {
        let deleted = self
            .client
            .delete_item()
            .table_name(&self.table)
            .key("address_digest", key(address))
            .send()
            .await;
        deleted.map(drop).map_err(unavailable)
    }
}

/// The SHA-256 of the address in lower case, in base64url. Mail systems that distinguish upper case are so
/// rare that all spellings of an address count as one.
#[must_use]
pub fn address_digest(address: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(address.trim().to_lowercase()))
}

fn key(address: &str) -> AttributeValue {
    AttributeValue::S(address_digest(address))
}

/// SDK errors carry their details only in the source chain.
fn unavailable(error: impl std::error::Error) -> StoreError {
    StoreError::Unavailable(DisplayErrorContext(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_ignores_the_spelling_of_an_address() {
        let digest = address_digest("hanako@example.com");
        assert_eq!(address_digest(" Hanako@EXAMPLE.com\n"), digest);
        assert_ne!(address_digest("taro@example.com"), digest);
        assert!(!digest.contains("hanako"));
    }
}
