//! Every row of the table in the library's documentation.

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

/// A piece of work that counts its runs, in a time that only moves when it is told to.
struct TestContext {
    table: TestTable,
    idempotency: Idempotency,
    seconds: Arc<AtomicI64>,
    runs: AtomicU32,
}

#[derive(Debug, thiserror::Error)]
#[error("the work failed")]
struct WorkFailed;

type RunResult<E> = Result<String, IdempotencyError<E>>;

impl TestContext {
    async fn new() -> Self {
        let table = TestTable::create().await;
        let seconds = Arc::new(AtomicI64::new(1_800_000_000));
        let now = Arc::clone(&seconds);
        let clock = Clock::from_fn(move || Timestamp::from_timestamp(now.load(Ordering::SeqCst), 0).unwrap());
        let hour = TimeDelta::hours(1);
        let mails = Idempotency::new(table.client.clone(), &table.name, "mailer", hour, clock);
        Self {
            table,
            idempotency: mails,
            seconds,
            runs: AtomicU32::new(0),
        }
    }

    fn advance_seconds(&self, seconds: i64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// The end of an invocation that begins now.
    fn deadline(&self) -> Timestamp {
        Timestamp::from_timestamp(self.seconds.load(Ordering::SeqCst) + 10, 0).unwrap()
    }

    async fn run_mail(&self, payload: &str) -> RunResult<Infallible> {
        let send = || async { Ok(format!("run {}", self.runs.fetch_add(1, Ordering::SeqCst) + 1)) };
        self.idempotency
            .run_once("order-17", &payload, self.deadline(), send)
            .await
    }

    async fn record_attribute(&self, attribute: &str) -> Option<String> {
        self.table.attribute("mailer#order-17", attribute).await
    }
}

#[tokio::test]
async fn later_the_stored_answer_is_given_again() {
    let world = TestContext::new().await;
    assert_eq!(world.run_mail("tea").await.unwrap(), "run 1");
    assert_eq!(
        world.record_attribute("status").await.as_deref(),
        Some("completed")
    );
    assert_eq!(world.record_attribute("in_progress_expiry").await, None);

    world.advance_seconds(3_599);
    assert_eq!(world.run_mail("tea").await.unwrap(), "run 1");
}

#[tokio::test]
async fn at_once_twice_one_works_and_the_other_is_told_to_come_again() {
    let world = TestContext::new().await;
    let second = Arc::new(tokio::sync::Mutex::new(None));
    let first = world
        .idempotency
        .run_once("order-17", &"tea", world.deadline(), || async {
            *second.lock().await = Some(world.run_mail("tea").await);
            Ok::<_, Infallible>("the first".to_owned())
        })
        .await;
    assert_eq!(first.unwrap(), "the first");
    let second = second.lock().await.take().unwrap();
    assert!(matches!(second, Err(IdempotencyError::InProgress)), "{second:?}");
    assert_eq!(world.run_mail("tea").await.unwrap(), "the first");
}

#[tokio::test]
async fn of_many_at_once_exactly_one_works() {
    let world = TestContext::new().await;
    let answers = futures::future::join_all((0..20).map(|_| world.run_mail("tea"))).await;
    assert_eq!(world.runs.load(Ordering::SeqCst), 1);
    for answer in answers {
        assert!(
            matches!(&answer, Ok(run) if run == "run 1")
                || matches!(answer, Err(IdempotencyError::InProgress))
        );
    }
}

#[tokio::test]
async fn another_payload_is_refused_whether_the_work_is_done_or_not() {
    let world = TestContext::new().await;
    let begun = world
        .idempotency
        .run_once("order-17", &"tea", world.deadline(), || async {
            assert!(matches!(
                world.run_mail("coffee").await,
                Err(IdempotencyError::PayloadMismatch)
            ));
            Ok::<_, Infallible>("sent".to_owned())
        });
    assert_eq!(begun.await.unwrap(), "sent");
    assert!(matches!(
        world.run_mail("coffee").await,
        Err(IdempotencyError::PayloadMismatch)
    ));
    assert_eq!(world.runs.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_work_of_a_process_that_is_gone_is_taken_over_when_its_time_is_up() {
    let world = TestContext::new().await;
    let stuck = world
        .idempotency
        .run_once("order-17", &"tea", world.deadline(), || async {
            world.runs.fetch_add(100, Ordering::SeqCst);
            std::future::pending::<Result<String, Infallible>>().await
        });
    let begun = async {
        while world.runs.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = stuck => panic!("it never ends"),
        () = begun => {} // and is dropped in the middle
    }

    assert!(matches!(
        world.run_mail("tea").await,
        Err(IdempotencyError::InProgress)
    ));
    world.advance_seconds(10);
    assert!(matches!(
        world.run_mail("coffee").await,
        Err(IdempotencyError::PayloadMismatch)
    ));
    assert_eq!(world.run_mail("tea").await.unwrap(), "run 101");
}

#[tokio::test]
async fn a_record_past_its_time_counts_as_none_although_it_is_still_there() {
    let world = TestContext::new().await;
    assert_eq!(world.run_mail("tea").await.unwrap(), "run 1");
    world.advance_seconds(3_600);
    assert!(world.record_attribute("response").await.is_some());
    assert_eq!(world.run_mail("coffee").await.unwrap(), "run 2");
}

#[tokio::test]
async fn a_failure_leaves_no_record_and_the_work_can_be_repeated() {
    let world = TestContext::new().await;
    let failed: RunResult<WorkFailed> = world
        .idempotency
        .run_once("order-17", &"tea", world.deadline(), || async { Err(WorkFailed) })
        .await;
    assert!(matches!(failed, Err(IdempotencyError::Work(WorkFailed))));
    assert_eq!(world.record_attribute("status").await, None);
    assert_eq!(world.run_mail("tea").await.unwrap(), "run 1");
}

#[tokio::test]
async fn work_that_outlives_its_time_cannot_overwrite_its_successor() {
    let world = TestContext::new().await;
    let late = world
        .idempotency
        .run_once("order-17", &"tea", world.deadline(), || async {
            world.advance_seconds(11);
            assert_eq!(world.run_mail("tea").await.unwrap(), "run 1");
            Ok::<_, Infallible>("too late".to_owned())
        });
    assert_eq!(
        late.await.unwrap(),
        "too late",
        "its effect is there, so it may say so"
    );
    assert_eq!(world.run_mail("tea").await.unwrap(), "run 1");
}

#[tokio::test]
async fn work_that_fails_after_its_time_cannot_remove_its_successor() {
    let world = TestContext::new().await;
    let late: RunResult<WorkFailed> = world
        .idempotency
        .run_once("order-17", &"tea", world.deadline(), || async {
            world.advance_seconds(11);
            assert_eq!(world.run_mail("tea").await.unwrap(), "run 1");
            Err(WorkFailed)
        })
        .await;
    assert!(matches!(late, Err(IdempotencyError::Work(WorkFailed))));
    assert_eq!(world.run_mail("tea").await.unwrap(), "run 1");
}

/// Each process has a client of its own, and nothing but the table in common with the others.
#[tokio::test]
async fn processes_of_one_function_know_of_each_others_work() {
    let world = TestContext::new().await;
    let other = Idempotency::new(
        aws_sdk_dynamodb::Client::new(&aws_client::sdk_config().await),
        &world.table.name,
        "mailer",
        TimeDelta::hours(1),
        Clock::from_fn(|| Timestamp::from_timestamp(1_800_000_000, 0).unwrap()),
    );
    let begun = world
        .idempotency
        .run_once("order-17", &"tea", world.deadline(), || async {
            let beside: RunResult<Infallible> = other
                .run_once("order-17", &"tea", world.deadline(), || async {
                    unreachable!("it is under way")
                })
                .await;
            assert!(matches!(beside, Err(IdempotencyError::InProgress)), "{beside:?}");
            Ok::<_, Infallible>("sent".to_owned())
        });
    assert_eq!(begun.await.unwrap(), "sent");
    let later: RunResult<Infallible> = other
        .run_once("order-17", &"tea", world.deadline(), || async {
            unreachable!("it is done")
        })
        .await;
    assert_eq!(later.unwrap(), "sent");
}

#[tokio::test]
async fn functions_that_share_a_table_do_not_share_keys() {
    let world = TestContext::new().await;
    assert_eq!(world.run_mail("tea").await.unwrap(), "run 1");
    let other = Idempotency::new(
        world.table.client.clone(),
        &world.table.name,
        "printer",
        TimeDelta::hours(1),
        Clock::system(),
    );
    let printed = other.run_once("order-17", &"a label", world.deadline(), || async {
        Ok::<_, Infallible>(7)
    });
    assert_eq!(printed.await.unwrap(), 7);
}

#[tokio::test]
async fn without_its_records_nothing_is_done() {
    let world = TestContext::new().await;
    let nowhere = Idempotency::new(
        world.table.client.clone(),
        "there-is-no-such-table",
        "mailer",
        TimeDelta::hours(1),
        Clock::system(),
    );
    let answer: RunResult<Infallible> = nowhere
        .run_once("order-17", &"tea", world.deadline(), || async {
            unreachable!("the work must not begin")
        })
        .await;
    assert!(matches!(answer, Err(IdempotencyError::Store(_))), "{answer:?}");
}
