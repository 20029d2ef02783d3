//! An effect once per key.
//!
//! Queues deliver twice, functions time out after their effect, callers retry. [`Idempotency::once`] runs a
//! piece of work for a key and remembers its answer in DynamoDB; whoever comes with the same key later gets
//! that answer, and whoever comes at the same time is told to come again.
//!
//! | a second call finds | and gets |
//! |---|---|
//! | the work done | the stored answer |
//! | the work under way | [`OnceError::InProgress`] |
//! | the work begun by a process that is gone | the work, once more |
//! | the work failed | the work, once more: a failure leaves no record |
//! | another payload under the key | [`OnceError::PayloadMismatch`], however the first call ended |
//! | a record past its time | the work, as if there had been none |
//!
//! That a process is gone is known from the time that its invocation had left when it began. DynamoDB removes
//! what is past its `ttl` some time later, so the record's end is checked here and not left to it.
//!
//! # What it does not promise
//!
//! Between an effect and its record a process can die, and then the effect happens twice. An effect on a
//! system that itself recognises repetitions (a conditional write, a provider's idempotency key, an execution's
//! name) should rely on that instead.
//!
//! # The table
//!
//! Partition key `id` (string), TTL on `ttl`. A record:
//!
//! | attribute | | |
//! |---|---|---|
//! | `id` | S | `<function>#<key>` |
//! | `status` | S | `in_progress` or `completed` |
//! | `payload_hash` | S | SHA-256 of the payload's JSON, in hexadecimal digits |
//! | `owner` | S | which call began it |
//! | `in_progress_expiry` | N | milliseconds since 1970; while in progress |
//! | `response` | S | the answer's JSON, once completed |
//! | `ttl` | N | seconds since 1970 |

mod store;

use std::future::Future;

use aws_sdk_dynamodb::Client;
use chrono::TimeDelta;
use domain::{Clock, Timestamp, ids::uuid_v7};
use serde::{Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

use crate::error::error_chain;
use store::{Claim, ClaimOutcome, RecordTable};

/// Records of one function's work. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Idempotency {
    table: RecordTable,
    function: &'static str,
    retention: TimeDelta,
    clock: Clock,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum IdempotencyError<E> {
    /// The same work is under way elsewhere. Come again.
    #[error("the same work is under way elsewhere")]
    InProgress,
    /// The key was used with another payload. It will not help to come again.
    #[error("the key was used with another payload before")]
    PayloadMismatch,
    /// The work itself failed, and may be tried again.
    #[error(transparent)]
    Work(E),
    /// The records cannot be reached. Nothing was done.
    #[error("the idempotency records cannot be reached")]
    Store(#[source] StoreError),
}

/// DynamoDB failed, or holds something else than a record of ours.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(String);

impl Idempotency {
    /// Records of the function named `function`, in `table`, kept for `retention` after the work is done.
    ///
    /// Choose a retention that is longer than any repetition may be late: a queue keeps a message up to 14
    /// days, and a person may redrive a dead-letter queue or replay an archive later still.
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

    /// Reads a record that is not there, so that the connection is made before it is needed.
    pub async fn warm_up(&self) -> Result<(), StoreError> {
        self.table.warm_up().await
    }

    /// Does `work` once for `key`, and answers what it answered then.
    ///
    /// `payload` is what the key stands for, as it would be repeated; it is compared by its JSON, so it must
    /// not contain a map without an order. `deadline` is when this invocation is over at the latest: until
    /// then nobody else begins the same work.
    ///
    /// When the work is done and cannot be recorded, its answer is given all the same and a warning logged:
    /// the effect is there, and an error would only bring it about once more.
    ///
    /// ```no_run
    /// # use chrono::TimeDelta; use domain::{Clock, Timestamp};
    /// # use lambda_shared::{Idempotency, idempotency::OnceError};
    /// # async fn example(client: aws_sdk_dynamodb::Client, deadline: Timestamp, mail: &str)
    /// # -> Result<(), OnceError<std::io::Error>> {
    /// let mails = Idempotency::new(client, "idempotency", "mailer", TimeDelta::days(90), Clock::system());
    /// let message_id: String = mails.once("order-17", &mail, deadline, || async { send(mail).await }).await?;
    /// # Ok(()) }
    /// # async fn send(_: &str) -> Result<String, std::io::Error> { unimplemented!() }
    /// ```
    pub async fn run_once<P, R, E, Fut>(
        &self,
        key: &str,
        payload: &P,
        deadline: Timestamp,
        work: impl FnOnce() -> Fut,
    ) -> Result<R, IdempotencyError<E>>
    where
        P: Serialize,
        R: Serialize + DeserializeOwned,
        Fut: Future<Output = Result<R, E>>,
    {
        let now = self.clock.now();
        let claim = Claim {
            id: format!("{}#{key}", self.function),
            owner: uuid_v7(now).to_string(),
            payload_hash: payload_hash(payload).map_err(IdempotencyError::Store)?,
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
        match work().await {
            Ok(answer) => {
                self.record_response(&claim, &answer).await;
                Ok(answer)
            }
            Err(error) => {
                if let Err(store) = self.table.release(&claim).await {
                    let reason = error_chain(&store);
                    tracing::warn!(reason, "work that failed can be repeated only after its deadline");
                }
                Err(IdempotencyError::Work(error))
            }
        }
    }

    async fn record_response<R: Serialize>(&self, claim: &Claim, answer: &R) {
        let ttl = self.clock.now() + self.retention;
        let recorded = match serde_json::to_string(answer) {
            Ok(response) => self.table.complete(claim, response, ttl).await,
            Err(error) => Err(StoreError(error_chain(&error))),
        };
        match recorded {
            Ok(true) => {}
            Ok(false) => tracing::warn!("work outlived its invocation and was begun once more meanwhile"),
            Err(store) => tracing::warn!(
                reason = error_chain(&store),
                "work was done and not recorded: a repetition after its deadline does it once more"
            ),
        }
    }
}

fn payload_hash(payload: &impl Serialize) -> Result<String, StoreError> {
    let json = serde_json::to_vec(payload).map_err(|error| StoreError(error_chain(&error)))?;
    Ok(Sha256::digest(json)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn parse_response<R: DeserializeOwned>(response: &str) -> Result<R, StoreError> {
    serde_json::from_str(response).map_err(|error| StoreError(error_chain(&error)))
}
