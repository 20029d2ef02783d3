//! The e-mail addresses to which no mail is sent any more: a mail to them bounced permanently, or its
//! recipient complained about it.
//!
//! The table contains digests instead of addresses. `mail-feedback` adds entries, `notification-sender` reads
//! them before each mail, and core-api shows them to support, who can remove one.

use aws_sdk_dynamodb::Client;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use domain::{Clock, Timestamp};
use dynamodb_table::{DynamoDbError, Table};
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

/// The table of suppressed addresses. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct MailSuppressions {
    table: Table<1>,
    clock: Clock,
}

impl MailSuppressions {
    #[must_use]
    pub fn new(client: Client, table: String, clock: Clock) -> Self {
        Self {
            table: Table::new(client, table, ["address_digest"]),
            clock,
        }
    }

    /// Suppresses an address. An entry that exists stays as it is.
    pub async fn add(&self, address: &str, reason: SuppressionReason) -> Result<(), DynamoDbError> {
        let entry = Suppression {
            address_digest: address_digest(address),
            reason,
            suppressed_at: self.clock.now(),
        };
        self.table.put_if_absent(&entry).await.map(drop)
    }

    /// The entry of an address. `None` if mails to it may be sent.
    pub async fn find(&self, address: &str) -> Result<Option<Suppression>, DynamoDbError> {
        self.table.get([address_digest(address)]).await
    }

    /// Removes the entry of an address, so that mails to it are sent again.
    pub async fn remove(&self, address: &str) -> Result<(), DynamoDbError> {
        self.table.delete([address_digest(address)]).await
    }
}

/// The SHA-256 of the address in lower case, in base64url. Mail systems that distinguish upper case are so
/// rare that all spellings of an address count as one.
#[must_use]
pub fn address_digest(address: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(address.trim().to_lowercase()))
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
