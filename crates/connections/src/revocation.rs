//! Revocations: which of a user's connections are no longer valid.

use chrono::TimeDelta;
use domain::{Timestamp, UserId};
use dynamodb_table::{DynamoDbError, applied, number};
use serde::Deserialize;

use crate::ConnectionsTable;

/// How long a revocation is stored. API Gateway closes a connection after two hours, and an access token is
/// valid for 15 minutes.
const RETENTION: TimeDelta = TimeDelta::days(1);

/// The time before which the access tokens of a user are invalid, and with them the connections that they
/// opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revocation(Option<Timestamp>);

/// Item of the table.
#[derive(Deserialize)]
struct RevocationItem {
    #[serde(with = "chrono::serde::ts_milliseconds")]
    tokens_valid_from: Timestamp,
}

impl Revocation {
    /// Whether the revocation ends the connections that an access token of this time has opened.
    #[must_use]
    pub fn applies_to(self, token_issued_at: Timestamp) -> bool {
        self.0
            .is_some_and(|tokens_valid_from| token_issued_at < tokens_valid_from)
    }
}

impl ConnectionsTable {
    /// Records that the user's tokens are valid from this time on. A later time that was recorded before
    /// stays.
    pub async fn revoke(&self, user_id: UserId, tokens_valid_from: Timestamp) -> Result<(), DynamoDbError> {
        let updated = self
            .table
            .start_update([item_key(user_id)])
            .update_expression("SET tokens_valid_from = :from, #ttl = :ttl")
            .condition_expression("attribute_not_exists(tokens_valid_from) OR tokens_valid_from < :from")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":from", number(tokens_valid_from.timestamp_millis()))
            .expression_attribute_values(":ttl", number((self.clock.now() + RETENTION).timestamp()))
            .send()
            .await;
        applied(updated).map(drop)
    }

    /// The user's revocation (strongly consistent read).
    pub async fn revocation(&self, user_id: UserId) -> Result<Revocation, DynamoDbError> {
        let item: Option<RevocationItem> = self.table.get([item_key(user_id)]).await?;
        Ok(Revocation(item.map(|item| item.tokens_valid_from)))
    }
}

fn item_key(user_id: UserId) -> String {
    format!("revoked#{user_id}")
}
