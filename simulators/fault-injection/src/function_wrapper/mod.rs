//! The function wrapper: it receives invocations from Lambda's runtime API, injects faults, and passes the
//! invocations to the unchanged function through a runtime API of its own.

mod function_process;
mod runtime_api_client;

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, Result, bail};
use hyper::body::Bytes;
use tokio::time::timeout;

use crate::FunctionFault;
use function_process::{FunctionProcess, StartOutcome};
pub use runtime_api_client::RuntimeApiClient;
use runtime_api_client::{Invocation, InvocationResult};

/// The unchanged function.
#[derive(Debug)]
pub struct WrappedFunction {
    /// The name of the Lambda function.
    pub name: String,
    pub executable: PathBuf,
}

/// Runs the function. Returns only with an error: Lambda, the function or a fault rule has ended the sandbox.
pub async fn run(runtime_api: RuntimeApiClient, function: &WrappedFunction) -> Result<()> {
    let mut process = match FunctionProcess::start(function).await? {
        StartOutcome::Ready(process) => process,
        StartOutcome::InitFailed(result) => {
            runtime_api.report_init_error(result).await?;
            bail!("the function's initialisation failed");
        }
    };
    loop {
        let invocation = runtime_api.next_invocation().await?;
        let fault = runtime_api.fetch_fault(&invocation).await?;
        let result = match fault {
            None => process.invoke(&invocation).await?,
            Some(fault) => invoke_with_fault(&mut process, function, &invocation, fault).await?,
        };
        runtime_api.report_result(&invocation, result).await?;
    }
}

async fn invoke_with_fault(
    process: &mut FunctionProcess,
    function: &WrappedFunction,
    invocation: &Invocation,
    fault: FunctionFault,
) -> Result<InvocationResult> {
    match fault {
        FunctionFault::ErrorBefore => Ok(service_exception()),
        FunctionFault::ErrorAfter => {
            process.invoke(invocation).await?;
            Ok(service_exception())
        }
        FunctionFault::TimeoutBefore => Ok(sandbox_timeout()),
        FunctionFault::TimeoutAfter => {
            process.invoke(invocation).await?;
            Ok(sandbox_timeout())
        }
        FunctionFault::HangBefore => std::future::pending().await,
        FunctionFault::HangAfter => {
            process.invoke(invocation).await?;
            std::future::pending().await
        }
        FunctionFault::Throttle => Ok(error_result("Lambda.TooManyRequestsException", "Rate Exceeded.")),
        FunctionFault::DuplicateSequential => {
            process.invoke(invocation).await?;
            process.invoke(invocation).await
        }
        FunctionFault::DuplicateConcurrent => {
            let StartOutcome::Ready(mut twin) = FunctionProcess::start(function).await? else {
                bail!("a second process of the function did not start");
            };
            let (first, second) = tokio::join!(process.invoke(invocation), twin.invoke(invocation));
            first?;
            second
        }
        FunctionFault::CrashBefore => kill_function(process).await,
        FunctionFault::CrashDuring(milliseconds) => {
            // A result that arrives before the crash is dropped, too.
            let _ = timeout(Duration::from_millis(milliseconds), process.invoke(invocation)).await;
            kill_function(process).await
        }
        FunctionFault::CrashAfter => {
            process.invoke(invocation).await?;
            kill_function(process).await
        }
    }
}

/// Kills the function and ends the sandbox with an error. Lambda then sees that the runtime has exited.
async fn kill_function(process: &mut FunctionProcess) -> Result<InvocationResult> {
    process.kill().await.context("cannot kill the function")?;
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
