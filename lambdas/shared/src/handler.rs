//! The handler of a function's invocations.

use std::{fmt, future::Future, time::Instant};

use domain::Timestamp;
use futures::future::BoxFuture;
use lambda_runtime::LambdaEvent;
use serde::Serialize;
use serde_json::Value;
use tracing::{Instrument, field::Empty, info_span};

use crate::{FunctionError, InvocationFailure, catch_panic::catch_panic};

/// One invocation of a function.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// The JSON that the caller sent.
    pub payload: Value,
    /// When the invocation times out and Lambda kills the process.
    pub deadline: Timestamp,
}

/// An initialised function.
pub struct Handler(HandlerFn);

type HandlerFn =
    Box<dyn Fn(Invocation) -> BoxFuture<'static, Result<Value, InvocationFailure>> + Send + Sync>;

/// The response cannot be serialised as JSON.
#[derive(Debug, thiserror::Error)]
#[error("the response cannot be serialised as JSON")]
struct SerializeError(#[source] serde_json::Error);

impl Handler {
    /// A function that runs `work` for each invocation.
    ///
    /// ```
    /// # use lambda_shared::{FunctionError, Handler, Invocation};
    /// # use domain::Timestamp;
    /// # #[derive(Debug, thiserror::Error)] #[error("not a number")] struct NotANumber;
    /// # impl FunctionError for NotANumber {
    /// #     fn name(&self) -> &'static str { "NotANumber" }
    /// #     fn is_business_error(&self) -> bool { false }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let double = Handler::new(async |invocation: Invocation| -> Result<_, NotANumber> {
    ///     Ok(invocation.payload.as_i64().ok_or(NotANumber)? * 2)
    /// });
    /// let response = double.call(Invocation { payload: 21.into(), deadline: Timestamp::UNIX_EPOCH }).await;
    /// assert_eq!(response, Ok(42.into()));
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
            let response = work(invocation);
            Box::pin(async move { Ok(serde_json::to_value(response.await?).map_err(SerializeError)?) })
        }))
    }

    /// Runs the function once. A panic becomes an [`InvocationFailure`].
    pub async fn call(&self, invocation: Invocation) -> Result<Value, InvocationFailure> {
        catch_panic(async { (self.0)(invocation).await }).await?
    }

    /// Runs the function for one Lambda invocation and logs one line with its result.
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
                            "the invocation ended with a business error"
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

/// Lambda's deadline, which is in milliseconds since 1970. A value out of range counts as no deadline.
fn deadline_from_millis(deadline_ms: u64) -> Timestamp {
    i64::try_from(deadline_ms)
        .ok()
        .and_then(Timestamp::from_timestamp_millis)
        .unwrap_or(Timestamp::MAX_UTC)
}

impl FunctionError for SerializeError {
    fn name(&self) -> &'static str {
        "InvalidResponse"
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
    async fn panic_becomes_a_named_failure() {
        let handler = Handler::new(async |invocation: Invocation| -> Result<(), SerializeError> {
            panic!("unlucky number {}", invocation.payload)
        });
        let failure = handler
            .call(Invocation {
                payload: 13.into(),
                deadline: deadline_from_millis(0),
            })
            .await
            .unwrap_err();
        assert_eq!((failure.name, failure.is_business_error), ("Panicked", false));
        assert!(
            failure.message.ends_with("unlucky number 13"),
            "{}",
            failure.message
        );
    }

    #[test]
    fn deadline_is_in_milliseconds() {
        assert_eq!(
            deadline_from_millis(1_800_000_000_123).to_rfc3339(),
            "2027-01-15T08:00:00.123+00:00"
        );
    }
}
