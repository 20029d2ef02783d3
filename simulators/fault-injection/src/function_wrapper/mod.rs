//! The function wrapper: it receives invocations from Lambda's runtime API, injects faults, and passes the
//! invocations to the unchanged function through a runtime API of its own.

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

/// Runs the function. Returns only with an error: Lambda, the function or a fault rule has ended the sandbox.
pub async fn run(runtime_api: RuntimeApiClient, executable: &Path) -> Result<()> {
    let mut function = match FunctionProcess::start(executable).await? {
        StartOutcome::Ready(function) => function,
        StartOutcome::InitFailed(result) => {
            runtime_api.report_init_error(result).await?;
            bail!("the function's initialisation failed");
        }
    };
    loop {
        let invocation = runtime_api.next_invocation().await?;
        let fault = runtime_api.fetch_fault(&invocation).await?;
        let result = match fault {
            None => function.invoke(&invocation).await?,
            Some(fault) => invoke_with_fault(&mut function, executable, &invocation, fault).await?,
        };
        runtime_api.report_result(&invocation, result).await?;
    }
}

async fn invoke_with_fault(
    function: &mut FunctionProcess,
    executable: &Path,
    invocation: &Invocation,
    fault: FunctionFault,
) -> Result<InvocationResult> {
    match fault {
        FunctionFault::ErrorBefore => Ok(service_exception()),
        FunctionFault::ErrorAfter => {
            function.invoke(invocation).await?;
            Ok(service_exception())
        }
        FunctionFault::TimeoutBefore => Ok(sandbox_timeout()),
        FunctionFault::TimeoutAfter => {
            function.invoke(invocation).await?;
            Ok(sandbox_timeout())
        }
        FunctionFault::HangBefore => std::future::pending().await,
        FunctionFault::HangAfter => {
            function.invoke(invocation).await?;
            std::future::pending().await
        }
        FunctionFault::Throttle => Ok(error_result("Lambda.TooManyRequestsException", "Rate Exceeded.")),
        FunctionFault::DuplicateSequential => {
            function.invoke(invocation).await?;
            function.invoke(invocation).await
        }
        FunctionFault::DuplicateConcurrent => {
            let StartOutcome::Ready(mut twin) = FunctionProcess::start(executable).await? else {
                bail!("a second process of the function did not start");
            };
            let (first, second) = tokio::join!(function.invoke(invocation), twin.invoke(invocation));
            first?;
            second
        }
        FunctionFault::CrashBefore => kill_function(function).await,
        FunctionFault::CrashDuring(milliseconds) => {
            // A result that arrives before the crash is dropped, too.
            let _ = timeout(Duration::from_millis(milliseconds), function.invoke(invocation)).await;
            kill_function(function).await
        }
        FunctionFault::CrashAfter => {
            function.invoke(invocation).await?;
            kill_function(function).await
        }
    }
}

/// Kills the function and ends the sandbox with an error. Lambda then sees that the runtime has exited.
async fn kill_function(function: &mut FunctionProcess) -> Result<InvocationResult> {
    function.kill().await.context("cannot kill the function")?;
    bail!("a fault rule killed the function")
}

/// The error that Lambda reports for its own failures.
fn service_exception() -> InvocationResult {
    error_result("Lambda.ServiceException", "A fault rule fails the invocation.")
}

/// The error for a function that did not respond in time, with the name that MiniStack uses.
fn sandbox_timeout() -> InvocationResult {
    error_result("Sandbox.Timedout", "Task timed out by a fault rule")
}

fn error_result(name: &str, message: &str) -> InvocationResult {
    let body = serde_json::json!({"errorType": name, "errorMessage": message});
    InvocationResult::error(Bytes::from(body.to_string()))
}
