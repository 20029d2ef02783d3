//! Batches whose messages fail in every way.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use chrono::TimeDelta;
use domain::{Clock, Timestamp};
use lambda_shared::{Handler, Invocation, InvocationFailure, sqs};
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
    let answer = function.call(Invocation { payload, deadline }).await?;
    let failures = answer["batchItemFailures"].as_array().unwrap().iter();
    let mut ids: Vec<String> = failures
        .map(|failure| failure["itemIdentifier"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    Ok(ids)
}

#[tokio::test]
async fn only_what_failed_is_named() {
    let function = sqs::handler(clock(), 10, async |message| match message.body.as_str() {
        "poison" => Err(Poison),
        "panic" => panic!("a bug"),
        _ => Ok(()),
    });
    let named = failed_message_ids(&function, sqs_event(&["good", "poison", "good", "panic"])).await;
    assert_eq!(named.unwrap(), ["1", "3"]);
}

#[tokio::test]
async fn an_empty_batch_and_an_empty_message() {
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
async fn what_is_not_done_shortly_before_the_deadline_is_left_in_the_queue() {
    for concurrency in [1, 10] {
        let function = sqs::handler(clock(), concurrency, async |message| {
            if message.body == "stuck" {
                std::future::pending::<()>().await;
            }
            Ok::<_, Poison>(())
        });
        let started = tokio::time::Instant::now();
        let named = failed_message_ids(&function, sqs_event(&["good", "stuck", "stuck"])).await;
        assert_eq!(named.unwrap(), ["1", "2"]);
        assert!(
            started.elapsed().as_secs_f32() < 10.0,
            "the answer comes before the deadline"
        );
    }
}

#[tokio::test]
async fn no_more_run_at_once_than_may() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let function = {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        sqs::handler(clock(), 3, move |_| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
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
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_is_no_batch_is_refused_with_a_word_on_what_would_be() {
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
            failure.message.starts_with("this function takes an SQS event"),
            "{}",
            failure.message
        );
    }
}
