//! What stands around a function: it takes events from Lambda's runtime API, and hands them to the unchanged
//! function by a runtime API of its own, as the plan has it.

mod function_process;
mod runtime_api_client;

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use hyper::body::Bytes;
use tokio::time::timeout;

use crate::FunctionFault;
use function_process::{FunctionProcess, StartOutcome};
pub use runtime_api_client::RuntimeApiClient;
use runtime_api_client::{Invocation, InvocationResult};

/// Runs the function, until Lambda or a rule ends it. It comes back only when it cannot go on.
pub async fn run(lambda: RuntimeApiClient, program: &Path) -> Result<()> {
    let mut function = match FunctionProcess::start(program).await? {
        StartOutcome::Ready(function) => function,
        StartOutcome::InitFailed(answer) => {
            lambda.report_init_error(answer).await?;
            bail!("the function did not start");
        }
    };
    loop {
        let event = lambda.next_invocation().await?;
        let fault = lambda.fetch_fault(&event).await?;
        let answer = match fault {
            None => function.invoke(&event).await?,
            Some(fault) => invoke_with_fault(&mut function, program, &event, fault).await?,
        };
        lambda.report_result(&event, answer).await?;
    }
}

async fn invoke_with_fault(
    function: &mut FunctionProcess,
    program: &Path,
    event: &Invocation,
    fault: FunctionFault,
) -> Result<InvocationResult> {
    match fault {
        FunctionFault::ErrorBefore => Ok(service_exception()),
        FunctionFault::ErrorAfter => {
            function.invoke(event).await?;
            Ok(service_exception())
        }
        FunctionFault::TimeoutBefore => Ok(sandbox_timeout()),
        FunctionFault::TimeoutAfter => {
            function.invoke(event).await?;
            Ok(sandbox_timeout())
        }
        FunctionFault::HangBefore => std::future::pending().await,
        FunctionFault::HangAfter => {
            function.invoke(event).await?;
            std::future::pending().await
        }
        FunctionFault::Throttle => Ok(error_result("Lambda.TooManyRequestsException", "Rate Exceeded.")),
        FunctionFault::DuplicateSequential => {
            function.invoke(event).await?;
            function.invoke(event).await
        }
        FunctionFault::DuplicateConcurrent => {
            let StartOutcome::Ready(mut twin) = FunctionProcess::start(program).await? else {
                bail!("the function started once and not again");
            };
            let (first, second) = tokio::join!(function.invoke(event), twin.invoke(event));
            first?;
            second
        }
        FunctionFault::CrashBefore => kill_function(function).await,
        FunctionFault::CrashDuring(milliseconds) => {
            // Whether it answered sooner is all the same.
            let _ = timeout(Duration::from_millis(milliseconds), function.invoke(event)).await;
            kill_function(function).await
        }
        FunctionFault::CrashAfter => {
            function.invoke(event).await?;
            kill_function(function).await
        }
    }
}

/// The end of the function is the end of its sandbox: Lambda sees that the runtime is gone.
async fn kill_function(function: &mut FunctionProcess) -> Result<InvocationResult> {
    function.kill().await.context("the function cannot be killed")?;
    bail!("a rule of the test killed the function")
}

/// What Lambda reports when it is its own fault.
fn service_exception() -> InvocationResult {
    error_result(
        "Lambda.ServiceException",
        "A rule of the test fails the invocation.",
    )
}

/// What Lambda reports of a function that did not answer in time. Here MiniStack's name for it.
fn sandbox_timeout() -> InvocationResult {
    error_result("Sandbox.Timedout", "Task timed out by a rule of the test")
}

fn error_result(name: &str, message: &str) -> InvocationResult {
    let body = serde_json::json!({"errorType": name, "errorMessage": message});
    InvocationResult::error(Bytes::from(body.to_string()))
}
