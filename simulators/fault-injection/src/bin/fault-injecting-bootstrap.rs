//! The `bootstrap` of a function that can be disturbed. The function itself, `function`, lies beside it.

use anyhow::{Context, Result};
use fault_injection::function_wrapper::{self, RuntimeApiClient};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let lambda = RuntimeApiClient::new(
        required_env("AWS_LAMBDA_RUNTIME_API")?,
        &required_env("FAULTS_URL")?,
        &required_env("AWS_LAMBDA_FUNCTION_NAME")?,
    );
    let bootstrap = std::env::current_exe()?;
    let function = bootstrap.with_file_name("function");
    tokio::select! {
        ended = function_wrapper::run(lambda, &function) => ended,
        // The function goes with us: Lambda freezes or ends both.
        _ = terminate.recv() => Ok(()),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is where the environment is read, once"
)]
fn required_env(variable: &str) -> Result<String> {
    std::env::var(variable).with_context(|| format!("{variable} is not set"))
}
