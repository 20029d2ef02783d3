//! What stands around a function: it takes events from Lambda's runtime API, and hands them to the unchanged
//! function by a runtime API of its own, as the plan has it.

mod lambda;
mod process;

use std::{path::Path, time::Duration};

use anyhow::{Context as _, Result, bail};
use hyper::body::Bytes;
use tokio::time::timeout;

use crate::FunctionFault;
pub use lambda::Lambda;
use lambda::{Answer, Event};
use process::{Process, Started};

/// Runs the function, until Lambda or a rule ends it. It comes back only when it cannot go on.
pub async fn run(lambda: Lambda, program: &Path) -> Result<()> {
    let mut function = match Process::start(program).await? {
        Started::Ready(function) => function,
        Started::Refused(answer) => {
            lambda.init_error(answer).await?;
            bail!("the function did not start");
        }
    };
    loop {
        let event = lambda.next().await?;
        let fault = lambda.fault(&event).await?;
        let answer = match fault {
            None => function.invoke(&event).await?,
            Some(fault) => disturbed(&mut function, program, &event, fault).await?,
        };
        lambda.answer(&event, answer).await?;
    }
}

async fn disturbed(
    function: &mut Process,
    program: &Path,
    event: &Event,
    fault: FunctionFault,
) -> Result<Answer> {
    match fault {
        FunctionFault::ErrorBefore => Ok(service_fault()),
        FunctionFault::ErrorAfter => {
            function.invoke(event).await?;
            Ok(service_fault())
        }
        FunctionFault::TimeOutBefore => Ok(time_out()),
        FunctionFault::TimeOutAfter => {
            function.invoke(event).await?;
            Ok(time_out())
        }
        FunctionFault::HangBefore => std::future::pending().await,
        FunctionFault::HangAfter => {
            function.invoke(event).await?;
            std::future::pending().await
        }
        FunctionFault::Throttle => Ok(error("Lambda.TooManyRequestsException", "Rate Exceeded.")),
        FunctionFault::DuplicateInTurn => {
            function.invoke(event).await?;
            function.invoke(event).await
        }
        FunctionFault::DuplicateAtOnce => {
            let Started::Ready(mut twin) = Process::start(program).await? else {
                bail!("the function started once and not again");
            };
            let (first, second) = tokio::join!(function.invoke(event), twin.invoke(event));
            first?;
            second
        }
        FunctionFault::CrashBefore => killed(function).await,
        FunctionFault::CrashDuring(milliseconds) => {
            // Whether it answered sooner is all the same.
            let _ = timeout(Duration::from_millis(milliseconds), function.invoke(event)).await;
            killed(function).await
        }
        FunctionFault::CrashAfter => {
            function.invoke(event).await?;
            killed(function).await
        }
    }
}

/// The end of the function is the end of its sandbox: Lambda sees that the runtime is gone.
async fn killed(function: &mut Process) -> Result<Answer> {
    function.kill().await.context("the function cannot be killed")?;
    bail!("a rule of the test killed the function")
}

/// What Lambda reports when it is its own fault.
fn service_fault() -> Answer {
    error(
        "Lambda.ServiceException",
        "A rule of the test fails the invocation.",
    )
}

/// What Lambda reports of a function that did not answer in time. Here MiniStack's name for it.
fn time_out() -> Answer {
    error("Sandbox.Timedout", "Task timed out by a rule of the test")
}

fn error(name: &str, message: &str) -> Answer {
    let body = serde_json::json!({"errorType": name, "errorMessage": message});
    Answer::error(Bytes::from(body.to_string()))
}
