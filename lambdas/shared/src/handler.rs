//! What runs once per invocation.

use std::{fmt, future::Future, time::Instant};

use domain::Timestamp;
use futures::future::BoxFuture;
use lambda_runtime::LambdaEvent;
use serde::Serialize;
use serde_json::Value;
use tracing::{Instrument, field::Empty, info_span};

use crate::{FunctionError, InvocationFailure, catch_panic::catch_panic};

/// One call of a function.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// What the caller sent.
    pub payload: Value,
    /// When Lambda ends the process if the invocation has not come to its end.
    pub deadline: Timestamp,
}

/// A function, ready to be invoked.
pub struct Handler(HandlerFn);

type HandlerFn =
    Box<dyn Fn(Invocation) -> BoxFuture<'static, Result<Value, InvocationFailure>> + Send + Sync>;

/// The answer cannot be written as JSON.
#[derive(Debug, thiserror::Error)]
#[error("the answer is not JSON")]
struct SerializeError(#[source] serde_json::Error);

impl Handler {
    /// A function that does `work` with each invocation. Everything that it needs was made before.
    ///
    /// ```
    /// # use lambda_shared::{Failure, FunctionError, Handler, Invocation};
    /// # use domain::Timestamp;
    /// # #[derive(Debug, thiserror::Error)] #[error("no")] struct No;
    /// # impl FunctionError for No {
    /// #     fn name(&self) -> &'static str { "No" }
    /// #     fn is_refusal(&self) -> bool { false }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let double = Handler::new(async |invocation: Invocation| -> Result<_, No> {
    ///     Ok(invocation.payload.as_i64().ok_or(No)? * 2)
    /// });
    /// let answer = double.call(Invocation { payload: 21.into(), deadline: Timestamp::UNIX_EPOCH }).await;
    /// assert_eq!(answer, Ok(42.into()));
    /// # }
    /// ```
    pub fn new<F, Fut, R, E>(work: F) -> Self
    where
        F: Fn(Invocation) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<R, E>> + Send + 'static,
        R: Serialize,
        E: FunctionError,
    {
        Self(Box::new(move |invocation| {
            let working = work(invocation);
            Box::pin(async move { Ok(serde_json::to_value(working.await?).map_err(SerializeError)?) })
        }))
    }

    /// Runs the function once. A panic is a failure like others.
    pub async fn call(&self, invocation: Invocation) -> Result<Value, InvocationFailure> {
        catch_panic(async { (self.0)(invocation).await }).await?
    }

    /// Runs the function for Lambda, and logs one line about it.
    pub(crate) async fn serve(
        &self,
        function: &str,
        event: LambdaEvent<Value>,
    ) -> Result<Value, InvocationFailure> {
        let started = Instant::now();
        let LambdaEvent { payload, context } = event;
        let span = info_span!(
            "invocation",
            function,
            request_id = context.request_id,
            trace_id = Empty,
            correlation_id = Empty,
            causation_id = Empty,
        );
        let invocation = Invocation {
            payload,
            deadline: deadline_from_millis(context.deadline),
        };
        async {
            let outcome = self.call(invocation).await;
            let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
            match &outcome {
                Ok(_) => tracing::info!(duration_ms, "the invocation succeeded"),
                Err(failure) => {
                    let (error_name, reason) = (failure.name, &failure.message);
                    if failure.is_business_error {
                        tracing::info!(
                            duration_ms,
                            error_name,
                            reason,
                            "the invocation ended in a refusal"
                        );
                    } else {
                        tracing::error!(duration_ms, error_name, reason, "the invocation failed");
                    }
                }
            }
            outcome
        }
        .instrument(span)
        .await
    }
}

/// Lambda tells its deadline in milliseconds since 1970.
fn deadline_from_millis(deadline_ms: u64) -> Timestamp {
    i64::try_from(deadline_ms)
        .ok()
        .and_then(Timestamp::from_timestamp_millis)
        .unwrap_or(Timestamp::MAX_UTC)
}

impl FunctionError for SerializeError {
    fn name(&self) -> &'static str {
        "InvalidAnswer"
    }

    fn is_business_error(&self) -> bool {
        false
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_a_failure_with_a_name() {
        let broken = Handler::new(async |invocation: Invocation| -> Result<(), SerializeError> {
            panic!("cannot bear {}", invocation.payload)
        });
        let failure = broken
            .call(Invocation {
                payload: 13.into(),
                deadline: deadline_from_millis(0),
            })
            .await
            .unwrap_err();
        assert_eq!((failure.name, failure.is_business_error), ("Panicked", false));
        assert!(failure.message.ends_with("cannot bear 13"), "{}", failure.message);
    }

    #[test]
    fn a_deadline_is_in_milliseconds() {
        assert_eq!(
            deadline_from_millis(1_800_000_000_123).to_rfc3339(),
            "2027-01-15T08:00:00.123+00:00"
        );
    }
}
