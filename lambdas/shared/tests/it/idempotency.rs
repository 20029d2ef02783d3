//! One test or more for each row of the table in the documentation of `lambda_shared::idempotency`.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use chrono::TimeDelta;
use domain::{Clock, Timestamp};
use lambda_shared::{Idempotency, idempotency::IdempotencyError};

use crate::support::TestTable;

/// An operation that counts its runs, with a clock that the test advances.
struct TestContext {
    table: TestTable,
    idempotency: Idempotency,
    seconds: Arc<AtomicI64>,
    runs: AtomicU32,
}

#[derive(Debug, thiserror::Error)]
#[error("the operation failed")]
struct OperationFailed;

type RunResult<E> = Result<String, IdempotencyError<E>>;

impl TestContext {
    async fn new() -> Self {
        let table = TestTable::create().await;
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let now = Arc::clone(&seconds);
        let clock = Clock::from_fn(move || Timestamp::from_timestamp(now.load(Ordering::SeqCst), 0).unwrap());
        let hour = TimeDelta::hours(1);
        let idempotency = Idempotency::new(table.client.clone(), &table.name, "mailer", hour, clock);
        Self {
            table,
            idempotency,
            seconds,
            runs: AtomicU32::new(0),
        }
    }

    fn advance_seconds(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// The deadline of an invocation that starts now.
    fn deadline(&self) -> Timestamp {
        Timestamp::from_timestamp(self.seconds.load(Ordering::SeqCst) + 10, 0).unwrap()
    }

    async fn run(&self, payload: &str) -> RunResult<Infallible> {
        let operation = || async { Ok(format!("run {}", self.runs.fetch_add(1, Ordering::SeqCst) + 1)) };
        self.idempotency
            .run_once("order-17", payload.into(), self.deadline(), operation)
            .await
    }

    async fn record_attribute(&self, attribute: &str) -> Option<String> {
        self.table.attribute("mailer#order-17", attribute).await
    }
}

#[tokio::test]
async fn later_call_returns_the_stored_response() {
    let context = TestContext::new().await;
    assert_eq!(context.run("tea").await.unwrap(), "run 1");
    assert_eq!(
        context.record_attribute("status").await.as_deref(),
        Some("completed")
    );
    assert_eq!(context.record_attribute("in_progress_expiry").await, None);

    context.advance_seconds(3_599);
    assert_eq!(context.run("tea").await.unwrap(), "run 1");
}

#[tokio::test]
async fn concurrent_call_returns_in_progress() {
    let context = TestContext::new().await;
    let second = Arc::new(tokio::sync::Mutex::new(None));
    let first = context
        .idempotency
        .run_once("order-17", "tea".into(), context.deadline(), || async {
            *second.lock().await = Some(context.run("tea").await);
            Ok::<_, Infallible>("the first".to_owned())
        })
        .await;
    assert_eq!(first.unwrap(), "the first");
    let second = second.lock().await.take().unwrap();
    assert!(matches!(second, Err(IdempotencyError::InProgress)), "{second:?}");
    assert_eq!(context.run("tea").await.unwrap(), "the first");
}

#[tokio::test]
async fn one_of_many_concurrent_calls_runs() {
    let context = TestContext::new().await;
    let results = futures::future::join_all((0..20).map(|_| context.run("tea"))).await;
    assert_eq!(context.runs.load(Ordering::SeqCst), 1);
    for result in results {
        assert!(
            matches!(&result, Ok(run) if run == "run 1")
                || matches!(result, Err(IdempotencyError::InProgress))
        );
    }
}

#[tokio::test]
async fn different_payload_is_rejected_while_running_and_after_completion() {
    let context = TestContext::new().await;
    let first = context
        .idempotency
        .run_once("order-17", "tea".into(), context.deadline(), || async {
            assert!(matches!(
                context.run("coffee").await,
                Err(IdempotencyError::PayloadMismatch)
            ));
            Ok::<_, Infallible>("sent".to_owned())
        });
    assert_eq!(first.await.unwrap(), "sent");
    assert!(matches!(
        context.run("coffee").await,
        Err(IdempotencyError::PayloadMismatch)
    ));
    assert_eq!(context.runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn key_of_a_dead_process_is_taken_over_after_its_deadline() {
    let context = TestContext::new().await;
    let stuck = context
        .idempotency
        .run_once("order-17", "tea".into(), context.deadline(), || async {
            context.runs.fetch_add(100, Ordering::SeqCst);
            std::future::pending::<Result<String, Infallible>>().await
        });
    let started = async {
        while context.runs.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = stuck => panic!("a pending operation cannot complete"),
        () = started => {} // drops the running operation
    }

    assert!(matches!(
        context.run("tea").await,
        Err(IdempotencyError::InProgress)
    ));
    context.advance_seconds(10);
    assert!(matches!(
        context.run("coffee").await,
        Err(IdempotencyError::PayloadMismatch)
    ));
    assert_eq!(context.run("tea").await.unwrap(), "run 101");
}

#[tokio::test]
async fn expired_record_is_ignored_before_dynamodb_deletes_it() {
    let context = TestContext::new().await;
    assert_eq!(context.run("tea").await.unwrap(), "run 1");
    context.advance_seconds(3_600);
    assert!(context.record_attribute("response").await.is_some());
    assert_eq!(context.run("coffee").await.unwrap(), "run 2");
}

#[tokio::test]
async fn failed_operation_leaves_no_record_and_can_be_retried() {
    let context = TestContext::new().await;
    let failed: RunResult<OperationFailed> = context
        .idempotency
        .run_once("order-17", "tea".into(), context.deadline(), || async {
            Err(OperationFailed)
        })
        .await;
    assert!(matches!(
        failed,
        Err(IdempotencyError::Operation(OperationFailed))
    ));
    assert_eq!(context.record_attribute("status").await, None);
    assert_eq!(context.run("tea").await.unwrap(), "run 1");
}

#[tokio::test]
async fn late_completion_does_not_overwrite_the_new_owner() {
    let context = TestContext::new().await;
    let late = context
        .idempotency
        .run_once("order-17", "tea".into(), context.deadline(), || async {
            context.advance_seconds(11);
            assert_eq!(context.run("tea").await.unwrap(), "run 1");
            Ok::<_, Infallible>("too late".to_owned())
        });
    assert_eq!(
        late.await.unwrap(),
        "too late",
        "the effect has happened, so the call succeeds"
    );
    assert_eq!(context.run("tea").await.unwrap(), "run 1");
}

#[tokio::test]
async fn late_failure_does_not_delete_the_record_of_the_new_owner() {
    let context = TestContext::new().await;
    let late: RunResult<OperationFailed> = context
        .idempotency
        .run_once("order-17", "tea".into(), context.deadline(), || async {
            context.advance_seconds(11);
            assert_eq!(context.run("tea").await.unwrap(), "run 1");
            Err(OperationFailed)
        })
        .await;
    assert!(matches!(late, Err(IdempotencyError::Operation(OperationFailed))));
    assert_eq!(context.run("tea").await.unwrap(), "run 1");
}

/// Each process has its own client and shares only the table.
#[tokio::test]
async fn processes_share_records_through_the_table() {
    let context = TestContext::new().await;
    let other = Idempotency::new(
        aws_sdk_dynamodb::Client::new(&aws_client::sdk_config().await),
        &context.table.name,
        "mailer",
        TimeDelta::hours(1),
        Clock::from_fn(|| Timestamp::from_timestamp(1_800_000_000, 0).unwrap()),
    );
    let first = context
        .idempotency
        .run_once("order-17", "tea".into(), context.deadline(), || async {
            let concurrent: RunResult<Infallible> = other
                .run_once("order-17", "tea".into(), context.deadline(), || async {
                    unreachable!("the operation is in progress")
                })
                .await;
            assert!(
                matches!(concurrent, Err(IdempotencyError::InProgress)),
                "{concurrent:?}"
            );
            Ok::<_, Infallible>("sent".to_owned())
        });
    assert_eq!(first.await.unwrap(), "sent");
    let later: RunResult<Infallible> = other
        .run_once("order-17", "tea".into(), context.deadline(), || async {
            unreachable!("the operation has completed")
        })
        .await;
    assert_eq!(later.unwrap(), "sent");
}

#[tokio::test]
async fn keys_are_separate_per_function() {
    let context = TestContext::new().await;
    assert_eq!(context.run("tea").await.unwrap(), "run 1");
    let other = Idempotency::new(
        context.table.client.clone(),
        &context.table.name,
        "printer",
        TimeDelta::hours(1),
        Clock::system(),
    );
    let printed = other.run_once("order-17", "a label".into(), context.deadline(), || async {
        Ok::<_, Infallible>(7)
    });
    assert_eq!(printed.await.unwrap(), 7);
}

#[tokio::test]
async fn operation_does_not_run_when_the_table_is_unavailable() {
    let context = TestContext::new().await;
    let without_table = Idempotency::new(
        context.table.client.clone(),
        "there-is-no-such-table",
        "mailer",
        TimeDelta::hours(1),
        Clock::system(),
    );
    let result: RunResult<Infallible> = without_table
        .run_once("order-17", "tea".into(), context.deadline(), || async {
            unreachable!("the operation must not run")
        })
        .await;
    assert!(matches!(result, Err(IdempotencyError::Store(_))), "{result:?}");
}
