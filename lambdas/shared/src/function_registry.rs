//! One executable for several functions.
//!
//! Functions stay separate in AWS, each with its own role, memory, time-out and alarms, and share an artifact.
//! Lambda hands a process the function's `Handler` as `_HANDLER`.

use std::{future::Future, pin::Pin, process::ExitCode, sync::Arc};

use aws_config::SdkConfig;
use domain::Clock;
use lambda_runtime::{LambdaEvent, Runtime, service_fn};
use serde_json::Value;

use crate::{Environment, EnvironmentError, Handler, error::error_chain};

/// What a function is made of, before its first invocation.
#[derive(Clone, Debug)]
pub struct FunctionContext {
    /// The process's variables.
    pub environment: Environment,
    /// From this each AWS client is made.
    pub aws: SdkConfig,
    /// The time.
    pub clock: Clock,
}

/// Why a function could not be made. Lambda starts the process again for the next invocation.
pub type InitError = Box<dyn std::error::Error + Send + Sync>;

type InitFn = Box<dyn FnOnce(FunctionContext) -> Pin<Box<dyn Future<Output = Result<Handler, InitError>>>>>;

/// A family of functions.
#[derive(Default)]
pub struct FunctionRegistry {
    functions: Vec<Function>,
}

struct Function {
    name: &'static str,
    init: InitFn,
}

/// Why a program stopped before its first invocation, or after its last.
#[derive(Debug, thiserror::Error)]
enum RuntimeError {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error("logging cannot start; LOG_LEVEL is a filter such as `info`")]
    Logging(#[source] InitError),
    #[error("_HANDLER is `{found}`; this program knows: {known}")]
    UnknownFunction { found: String, known: String },
    #[error("the function {function} cannot start")]
    Init {
        function: &'static str,
        #[source]
        source: InitError,
    },
    #[error("the connection to Lambda is lost")]
    Runtime(#[source] InitError),
}

impl FunctionRegistry {
    /// A family without functions.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the function that is chosen by `_HANDLER` = `name`. `start` makes it: it reads its configuration,
    /// makes its clients and has each make a first real call, because the first costs far more than the rest
    /// and time before the first invocation is the cheapest there is.
    #[must_use]
    pub fn register<F, Fut>(mut self, name: &'static str, start: F) -> Self
    where
        F: FnOnce(FunctionContext) -> Fut + 'static,
        Fut: Future<Output = Result<Handler, InitError>> + 'static,
    {
        self.functions.push(Function {
            name,
            init: Box::new(|init| Box::pin(start(init))),
        });
        self
    }

    /// Starts the function that this process is, and serves its invocations one after the other. It comes back
    /// only when it cannot, with the reason in the log: a wrong variable, an unknown `_HANDLER`, a function
    /// that failed to start.
    pub async fn run(self) -> ExitCode {
        let Err(stopped) = self.serve().await else {
            return ExitCode::SUCCESS;
        };
        // When it is LOG_LEVEL that is wrong, logging has not started.
        let _ = telemetry::init(telemetry::DEFAULT_FILTER);
        tracing::error!(reason = error_chain(&stopped), "the program stops");
        ExitCode::FAILURE
    }

    async fn serve(self) -> Result<(), RuntimeError> {
        let environment = Environment::from_process();
        let level = environment
            .optional("LOG_LEVEL")?
            .unwrap_or_else(|| telemetry::DEFAULT_FILTER.to_owned());
        // The runtime would log every failure a second time, refusals as errors.
        telemetry::init(&format!("{level},lambda_runtime::layers::panic=off"))
            .map_err(RuntimeError::Logging)?;

        let Function { name, init: start } = self.find(&environment.required::<String>("_HANDLER")?)?;
        let aws = aws_client::lambda_sdk_config(
            environment.optional("AWS_REGION")?,
            environment.optional("AWS_ENDPOINT_URL")?,
        );
        let init = FunctionContext {
            environment,
            aws,
            clock: Clock::system(),
        };
        let handler = start(init).await.map_err(|source| RuntimeError::Init {
            function: name,
            source,
        })?;

        let handler = Arc::new(handler);
        let service = service_fn(move |event: LambdaEvent<Value>| {
            let handler = Arc::clone(&handler);
            async move { handler.serve(name, event).await }
        });
        Runtime::new(service).run().await.map_err(RuntimeError::Runtime)
    }

    fn find(self, handler: &str) -> Result<Function, RuntimeError> {
        let known = self
            .functions
            .iter()
            .map(|function| function.name)
            .collect::<Vec<_>>()
            .join(", ");
        let chosen = self
            .functions
            .into_iter()
            .find(|function| function.name == handler);
        chosen.ok_or_else(|| RuntimeError::UnknownFunction {
            found: handler.to_owned(),
            known,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_handler_is_told_which_there_are() {
        let never = |_| async { Err("not started in this test".into()) };
        let family = FunctionRegistry::new()
            .register("place_orders", never)
            .register("sell", never);
        let message = family
            .find("lend")
            .map(|function| function.name)
            .unwrap_err()
            .to_string();
        assert_eq!(message, "_HANDLER is `lend`; this program knows: buy, sell");
    }
}
