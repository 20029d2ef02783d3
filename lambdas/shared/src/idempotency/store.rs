//! The idempotency records in DynamoDB. Every write is conditional, and a write that the SDK repeats because
//! its response was lost has the same result as the first one.

use std::collections::HashMap;

use aws_sdk_dynamodb::{
    Client,
    error::{DisplayErrorContext, SdkError},
    operation::{delete_item::DeleteItemError, put_item::PutItemError, update_item::UpdateItemError},
    types::{AttributeValue, ReturnValuesOnConditionCheckFailure},
};
use domain::Timestamp;

use super::StoreError;

const IN_PROGRESS: &str = "in_progress";
const COMPLETED: &str = "completed";

#[derive(Clone, Debug)]
pub(super) struct RecordTable {
    client: Client,
    name: String,
}

/// A call's claim to an idempotency key.
pub(super) struct Claim {
    pub(super) id: String,
    pub(super) owner: String,
    pub(super) payload_hash: String,
    pub(super) deadline: Timestamp,
    pub(super) ttl: Timestamp,
}

/// The result of a claim.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClaimOutcome {
    /// This call owns the key and must run the operation.
    Claimed,
    /// Another call owns the key, and its deadline has not passed.
    InProgress,
    /// The operation has completed. Contains the JSON of its response.
    Completed(String),
    /// The key belongs to another payload.
    PayloadMismatch,
}

impl RecordTable {
    pub(super) fn new(client: Client, name: String) -> Self {
        Self { client, name }
    }

    pub(super) async fn warm_up(&self) -> Result<(), StoreError> {
        let missing_record = self
            .client
            .get_item()
            .table_name(&self.name)
            .key("id", string_attribute("#"));
        missing_record.send().await.map(drop).map_err(store_error)
    }

    /// Claims the key, unless an operation has completed or is running. Takes over the key of a call whose
    /// deadline has passed, but only with the same payload, because that call may have had its effect.
    pub(super) async fn claim(&self, claim: &Claim, now: Timestamp) -> Result<ClaimOutcome, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(&self.name)
            .item("id", string_attribute(&claim.id))
            .item("status", string_attribute(IN_PROGRESS))
            .item("payload_hash", string_attribute(&claim.payload_hash))
            .item("owner", string_attribute(&claim.owner))
            .item(
                "in_progress_expiry",
                number_attribute(claim.deadline.timestamp_millis()),
            )
            .item("ttl", number_attribute(claim.ttl.timestamp()))
            .condition_expression(
                "attribute_not_exists(id) OR #ttl <= :now_s OR \
                 (#status = :in_progress AND in_progress_expiry <= :now_ms AND payload_hash = :hash)",
            )
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_names("#status", "status")
            .expression_attribute_values(":now_s", number_attribute(now.timestamp()))
            .expression_attribute_values(":now_ms", number_attribute(now.timestamp_millis()))
            .expression_attribute_values(":in_progress", string_attribute(IN_PROGRESS))
            .expression_attribute_values(":hash", string_attribute(&claim.payload_hash))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match put.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(ClaimOutcome::Claimed),
            Err(PutItemError::ConditionalCheckFailedException(rejection)) => {
                Ok(outcome_from_record(rejection.item.unwrap_or_default(), claim))
            }
            Err(error) => Err(store_error(error)),
        }
    }

    /// Stores the response. Returns `false` when another call has taken over the key.
    pub(super) async fn complete(
        &self,
        claim: &Claim,
        response: String,
        ttl: Timestamp,
    ) -> Result<bool, StoreError> {
        let update = self
            .client
            .update_item()
            .table_name(&self.name)
            .key("id", string_attribute(&claim.id))
            .update_expression(
                "SET #status = :completed, #response = :response, #ttl = :ttl REMOVE in_progress_expiry",
            )
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#status", "status")
            .expression_attribute_names("#response", "response")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":completed", string_attribute(COMPLETED))
            .expression_attribute_values(":response", AttributeValue::S(response))
            .expression_attribute_values(":ttl", number_attribute(ttl.timestamp()))
            .expression_attribute_values(":owner", string_attribute(&claim.owner))
            .send()
            .await;
        match update.map_err(SdkError::into_service_error) {
            Ok(_) => Ok(true),
            Err(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(false),
            Err(error) => Err(store_error(error)),
        }
    }

    /// Deletes the record, unless another call has taken over the key.
    pub(super) async fn release(&self, claim: &Claim) -> Result<(), StoreError> {
        let delete = self
            .client
            .delete_item()
            .table_name(&self.name)
            .key("id", string_attribute(&claim.id))
            .condition_expression("#owner = :owner")
            .expression_attribute_names("#owner", "owner")
            .expression_attribute_values(":owner", string_attribute(&claim.owner))
            .send()
            .await;
        match delete.map_err(SdkError::into_service_error) {
            Ok(_) | Err(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(()),
            Err(error) => Err(store_error(error)),
        }
    }
}

/// The result of a claim that `record` prevented. A record without a response counts as in progress, and so
/// does an empty one: some DynamoDB emulators do not return the item when the condition fails.
fn outcome_from_record(mut record: HashMap<String, AttributeValue>, claim: &Claim) -> ClaimOutcome {
    let is = |name: &str, value: &str| {
        record
            .get(name)
            .and_then(|v| v.as_s().ok())
            .is_some_and(|v| v == value)
    };
    // The SDK repeats a write whose response was lost, and the repetition finds the record of the first
    // write.
    if is("owner", &claim.owner) {
        return ClaimOutcome::Claimed;
    }
    if record.contains_key("payload_hash") && !is("payload_hash", &claim.payload_hash) {
        return ClaimOutcome::PayloadMismatch;
    }
    match record.remove("response") {
        Some(AttributeValue::S(response)) => ClaimOutcome::Completed(response),
        _ => ClaimOutcome::InProgress,
    }
}

fn string_attribute(value: &str) -> AttributeValue {
    AttributeValue::S(value.to_owned())
}

fn number_attribute(value: i64) -> AttributeValue {
    AttributeValue::N(value.to_string())
}

/// The messages of SDK errors are in their source chain, which `DisplayErrorContext` includes.
fn store_error(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError(DisplayErrorContext(error).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(owner: &str) -> Claim {
        Claim {
            id: "mailer#order-17".into(),
            owner: owner.into(),
            payload_hash: "hash".into(),
            deadline: Timestamp::UNIX_EPOCH,
            ttl: Timestamp::UNIX_EPOCH,
        }
    }

    fn record(attributes: &[(&str, &str)]) -> HashMap<String, AttributeValue> {
        attributes
            .iter()
            .map(|(name, value)| ((*name).to_owned(), string_attribute(value)))
            .collect()
    }

    #[test]
    fn own_record_counts_as_claimed_after_a_lost_response() {
        let own = record(&[("owner", "me"), ("payload_hash", "hash"), ("status", IN_PROGRESS)]);
        assert_eq!(
            outcome_from_record(own.clone(), &claim("me")),
            ClaimOutcome::Claimed
        );
        assert_eq!(
            outcome_from_record(own, &claim("another")),
            ClaimOutcome::InProgress
        );
    }

    #[test]
    fn missing_record_in_the_rejection_counts_as_in_progress() {
        assert_eq!(
            outcome_from_record(HashMap::new(), &claim("me")),
            ClaimOutcome::InProgress
        );
    }
}
