//! The `bootstrap` of a function under fault injection. It runs the unchanged function, the file `function`
//! beside it.

use anyhow::{Context, Result};
use fault_injection::function_wrapper::{self, RuntimeApiClient, WrappedFunction};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let function = WrappedFunction {
        name: required_env("AWS_LAMBDA_FUNCTION_NAME")?,
        executable: std::env::current_exe()?.with_file_name("function"),
    };
    let runtime_api = RuntimeApiClient::new(
        required_env("AWS_LAMBDA_RUNTIME_API")?,
        &required_env("FAULTS_URL")?,
        &function.name,
    );
    tokio::select! {
        result = function_wrapper::run(runtime_api, &function) => result,
        // The function's process ends with this one: Lambda freezes or stops both.
        _ = terminate.recv() => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the only place that reads the environment, once at startup"
)]
fn required_env(variable: &str) -> Result<String> {
    std::env::var(variable).with_context(|| format!("{variable} is not set"))
}
