//! The idempotency store: runs an operation once per key.
//!
//! Queues deliver messages twice, functions time out after their effect, callers retry.
//! [`Idempotency::run_once`] runs an operation for a key and stores its response in DynamoDB. A later call
//! with the same key gets the stored response; a concurrent call gets an error and must retry.
//!
//! | state when a second call arrives | result of the second call |
//! |---|---|
//! | the first call completed | the stored response |
//! | the first call is running | [`IdempotencyError::InProgress`] |
//! | the first call's process died | the operation runs again, after the first call's deadline |
//! | the first call failed | the operation runs again: a failure leaves no record |
//! | the key belongs to another payload | [`IdempotencyError::PayloadMismatch`], in each state |
//! | the record has expired | the operation runs as if there were no record |
//!
//! # Payloads
//!
//! A payload is the received message as JSON, before it is parsed into a type: with all its members, also
//! those that this version does not know. The serialised form of a type changes when a deployment adds a
//! member, and a message that was delivered before and after the deployment would then be refused. Messages
//! are equal when they are the same JSON. Their bytes may differ, because EventBridge forwards JSON values
//! and neither keeps white space nor the order of members.
//!
//! Which part of a message every delivery of it repeats depends on the envelope:
//!
//! | message | payload |
//! |---|---|
//! | event from EventBridge, directly or through SNS | its `detail` |
//! | message that a program sends to a queue | its body, which SQS repeats, also after a redrive |
//!
//! The envelope of an event differs when an archive replays it, and when the outbox relay publishes it twice.
//!
//! # Expiry
//!
//! A call whose deadline has passed counts as dead. DynamoDB deletes expired items only some time after their
//! `ttl`, so this module checks the `ttl` itself.
//!
//! # Limits
//!
//! A process can die after the effect and before its record; the operation then runs twice. If the called
//! system detects duplicates itself (a conditional write, a payment provider's idempotency key, the name of a
//! Step Functions execution), use that instead.
//!
//! # Table
//!
//! Partition key `id` (string), TTL attribute `ttl`. Attributes of a record:
//!
//! | attribute | type | content |
//! |---|---|---|
//! | `id` | S | `<function>#<key>` |
//! | `status` | S | `in_progress` or `completed` |
//! | `payload_hash` | S | SHA-256 of the payload's JSON with sorted members, hexadecimal |
//! | `owner` | S | id of the call that claimed the key |
//! | `in_progress_expiry` | N | the call's deadline in milliseconds since 1970; only while in progress |
//! | `response` | S | the response's JSON; only when completed |
//! | `ttl` | N | seconds since 1970 |

mod store;

use std::future::Future;

use aws_sdk_dynamodb::Client;
use chrono::TimeDelta;
use domain::{Clock, Timestamp, ids::uuid_v7};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::error_chain;
use store::{Claim, ClaimOutcome, RecordTable};

/// The idempotency store of one function. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Idempotency {
    table: RecordTable,
    function: &'static str,
    retention: TimeDelta,
    clock: Clock,
}

/// Why [`Idempotency::run_once`] returned no response.
#[derive(Debug, thiserror::Error)]
pub enum IdempotencyError<E> {
    /// Another call with the same key is running. Retry later.
    #[error("another call with the same idempotency key is in progress")]
    InProgress,
    /// The key was used with another payload. A retry fails again.
    #[error("the idempotency key was used with another payload")]
    PayloadMismatch,
    /// The operation failed. A retry runs it again.
    #[error(transparent)]
    Operation(E),
    /// The idempotency table cannot be read or written. The operation did not run.
    #[error("the idempotency store failed")]
    Store(#[source] StoreError),
}

/// DynamoDB failed, or a stored response cannot be parsed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(String);

impl Idempotency {
    /// The store of the function `function` in the DynamoDB table `table`. A record expires `retention` after
    /// the operation completed.
    ///
    /// Choose a retention that exceeds the age of the latest possible duplicate: a queue keeps a message up
    /// to 14 days, and operators redrive dead-letter queues and replay event archives even later.
    pub fn new(
        client: Client,
        table: impl Into<String>,
        function: &'static str,
        retention: TimeDelta,
        clock: Clock,
    ) -> Self {
        Self {
            table: RecordTable::new(client, table.into()),
            function,
            retention,
            clock,
        }
    }

    /// Reads a record that does not exist, to open the connection before the first invocation.
    pub async fn warm_up(&self) -> Result<(), StoreError> {
        self.table.warm_up().await
    }

    /// Runs `operation` once for `key`. Returns its response, or the stored response of the first call.
    ///
    /// `payload` must be equal in each call with the same key. `deadline` is when this invocation times out:
    /// no other call takes over the key before it.
    ///
    /// If the operation succeeded and its response cannot be stored, `run_once` logs a warning and returns
    /// the response: an error would make the caller retry and repeat the effect.
    ///
    /// ```no_run
    /// # use chrono::TimeDelta; use domain::{Clock, Timestamp};
    /// # use lambda_shared::{Idempotency, idempotency::IdempotencyError};
    /// # use serde_json::Value;
    /// # async fn example(client: aws_sdk_dynamodb::Client, deadline: Timestamp, message: Value)
    /// # -> Result<(), IdempotencyError<std::io::Error>> {
    /// let store = Idempotency::new(client, "idempotency", "mailer", TimeDelta::days(90), Clock::system());
    /// let message_id: String =
    ///     store.run_once("order-17", message, deadline, || async { send_mail().await }).await?;
    /// # Ok(()) }
    /// # async fn send_mail() -> Result<String, std::io::Error> { unimplemented!() }
    /// ```
    pub async fn run_once<R, E, Fut>(
        &self,
        key: &str,
        payload: Value,
        deadline: Timestamp,
        operation: impl FnOnce() -> Fut,
    ) -> Result<R, IdempotencyError<E>>
    where
        R: Serialize + DeserializeOwned,
        Fut: Future<Output = Result<R, E>>,
    {
        let now = self.clock.now();
        let claim = Claim {
            id: format!("{}#{key}", self.function),
            owner: uuid_v7(now).to_string(),
            payload_hash: payload_hash(payload),
            deadline,
            ttl: now + self.retention,
        };
        match self
            .table
            .claim(&claim, now)
            .await
            .map_err(IdempotencyError::Store)?
        {
            ClaimOutcome::Claimed => {}
            ClaimOutcome::InProgress => return Err(IdempotencyError::InProgress),
            ClaimOutcome::PayloadMismatch => return Err(IdempotencyError::PayloadMismatch),
            ClaimOutcome::Completed(response) => {
                return parse_response(&response).map_err(IdempotencyError::Store);
            }
        }
        match operation().await {
            Ok(response) => {
                self.record_response(&claim, &response).await;
                Ok(response)
            }
            Err(error) => {
                if let Err(store_error) = self.table.release(&claim).await {
                    tracing::warn!(
                        reason = error_chain(&store_error),
                        "the idempotency key of a failed operation was not released: a retry waits until \
                         the deadline"
                    );
                }
                Err(IdempotencyError::Operation(error))
            }
        }
    }

    async fn record_response<R: Serialize>(&self, claim: &Claim, response: &R) {
        let ttl = self.clock.now() + self.retention;
        let recorded = match serde_json::to_string(response) {
            Ok(json) => self.table.complete(claim, json, ttl).await,
            Err(error) => Err(StoreError(error_chain(&error))),
        };
        match recorded {
            Ok(true) => {}
            Ok(false) => tracing::warn!(
                "the operation completed after its deadline: another call has taken over its idempotency key"
            ),
            Err(store_error) => tracing::warn!(
                reason = error_chain(&store_error),
                "the operation's response was not stored: a duplicate after the deadline runs it again"
            ),
        }
    }
}

fn payload_hash(mut payload: Value) -> String {
    payload.sort_all_objects();
    Sha256::digest(payload.to_string())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn parse_response<R: DeserializeOwned>(response: &str) -> Result<R, StoreError> {
    serde_json::from_str(response).map_err(|error| StoreError(error_chain(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash_of(json: &str) -> String {
        payload_hash(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn payloads_are_equal_when_they_are_the_same_json() {
        let first = hash_of(r#"{"id": "17", "data": {"a": 1, "b": [2, 1]}}"#);
        assert_eq!(hash_of(r#"{"data":{"b":[2,1],"a":1},"id":"17"}"#), first);
        for other in [
            r#"{"id": "17", "data": {"a": 1, "b": [1, 2]}}"#,
            r#"{"id": "17", "data": {"a": 1, "b": [2, 1]}, "new": null}"#,
            r#"{"id": 17, "data": {"a": 1, "b": [2, 1]}}"#,
        ] {
            assert_ne!(hash_of(other), first, "{other}");
        }
    }
}
