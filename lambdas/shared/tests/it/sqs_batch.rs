//! Partial batch responses for each way in which a message can fail.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chrono::TimeDelta;
use domain::{Clock, Timestamp};
use lambda_shared::{
    Handler, Invocation, InvocationFailure,
    sqs::{self, Disposition},
};
use serde_json::{Value, json};

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

#[derive(Debug, thiserror::Error)]
#[error("poison")]
struct Poison;

fn clock() -> Clock {
    Clock::from_fn(|| NOW)
}

fn sqs_event(bodies: &[&str]) -> Value {
    let record = |(id, body): (usize, &&str)| json!({"messageId": id.to_string(), "body": body});
    json!({"Records": bodies.iter().enumerate().map(record).collect::<Vec<_>>()})
}

async fn failed_message_ids(function: &Handler, payload: Value) -> Result<Vec<String>, InvocationFailure> {
    let deadline = NOW + TimeDelta::seconds(10);
    let response = function.call(Invocation { payload, deadline }).await?;
    let failures = response["batchItemFailures"].as_array().unwrap().iter();
    let mut ids: Vec<String> = failures
        .map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    Ok(ids)
}

#[tokio::test]
async fn response_lists_only_failed_messages() {
    let function = sqs::handler(clock(), 10, async |message| match message.body.as_str() {
        "poison" => Err(Poison),
        "panic" => panic!("a bug"),
        _ => Ok(()),
    });
    let failed = failed_message_ids(&function, sqs_event(&["good", "poison", "good", "panic"])).await;
    assert_eq!(failed.unwrap(), ["1", "3"]);
}

#[tokio::test]
async fn response_lists_deferred_messages() {
    let function = sqs::handler(clock(), 10, async |message| match message.body.as_str() {
        "early" => Ok::<_, Poison>(Disposition::Deferred),
        _ => Ok(Disposition::Processed),
    });
    let remaining = failed_message_ids(&function, sqs_event(&["good", "early"])).await;
    assert_eq!(remaining.unwrap(), ["1"]);
}

#[tokio::test]
async fn empty_batch_succeeds_and_message_without_body_fails() {
    let function = sqs::handler(clock(), 10, async |_| Ok::<_, Poison>(()));
    assert_eq!(
        failed_message_ids(&function, json!({"Records": []}))
            .await
            .unwrap(),
        [""; 0]
    );
    let without_body = json!({"Records": [{"messageId": "a"}]});
    assert_eq!(failed_message_ids(&function, without_body).await.unwrap(), ["a"]);
}

#[tokio::test(start_paused = true)]
async fn unfinished_messages_fail_shortly_before_the_deadline() {
    for concurrency in [1, 10] {
        let function = sqs::handler(clock(), concurrency, async |message| {
            if message.body == "stuck" {
                std::future::pending::<()>().await;
            }
            Ok::<_, Poison>(())
        });
        let started = tokio::time::Instant::now();
        let failed = failed_message_ids(&function, sqs_event(&["good", "stuck", "stuck"])).await;
        assert_eq!(failed.unwrap(), ["1", "2"]);
        assert!(
            started.elapsed().as_secs_f32() < 10.0,
            "the response must arrive before the deadline"
        );
    }
}

#[tokio::test]
async fn concurrency_limit_is_respected() {
    let (running, max_running) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let function = {
        let (running, max_running) = (Arc::clone(&running), Arc::clone(&max_running));
        sqs::handler(clock(), 3, move |_| {
            let (running, max_running) = (Arc::clone(&running), Arc::clone(&max_running));
            async move {
                max_running.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok::<_, Poison>(())
            }
        })
    };
    assert_eq!(
        failed_message_ids(&function, sqs_event(&["x"; 10]))
            .await
            .unwrap(),
        [""; 0]
    );
    assert_eq!(max_running.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn invalid_payload_error_shows_the_expected_format() {
    let function = sqs::handler(clock(), 10, async |_| Ok::<_, Poison>(()));
    for payload in [
        json!({"order_id": "17"}),
        json!([1]),
        json!("text"),
        json!({"Records": 3}),
        json!(null),
    ] {
        let failure = failed_message_ids(&function, payload).await.unwrap_err();
        assert_eq!(failure.name, "InvalidInput");
        assert!(
            failure.message.starts_with("this function expects an SQS event"),
            "{}",
            failure.message
        );
    }
}
