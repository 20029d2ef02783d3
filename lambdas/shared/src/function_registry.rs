//! Several functions in one executable.
//!
//! The functions share a deployment artifact and stay separate in AWS, each with its own role, memory,
//! timeout and alarms. Lambda passes the function's `Handler` setting to the process as `_HANDLER`.

use std::{future::Future, pin::Pin, process::ExitCode, sync::Arc};

use aws_config::SdkConfig;
use domain::Clock;
use lambda_runtime::{LambdaEvent, Runtime, service_fn};
use serde_json::Value;

use crate::{Environment, EnvironmentError, Handler, error::error_chain};

/// The inputs of a function's initialisation.
#[derive(Clone, Debug)]
pub struct FunctionContext {
    /// The environment variables of the process.
    pub environment: Environment,
    /// The configuration of all AWS clients.
    pub aws: SdkConfig,
    /// The system clock.
    pub clock: Clock,
}

/// Why a function's initialisation failed. Lambda restarts the process for the next invocation.
pub type InitError = Box<dyn std::error::Error + Send + Sync>;

type InitFn = Box<dyn FnOnce(FunctionContext) -> Pin<Box<dyn Future<Output = Result<Handler, InitError>>>>>;

/// The functions of an executable.
#[derive(Default)]
pub struct FunctionRegistry {
    functions: Vec<Function>,
}

struct Function {
    name: &'static str,
    init: InitFn,
}

/// Why the process stopped before its first or after its last invocation.
#[derive(Debug, thiserror::Error)]
enum RuntimeError {
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    #[error("logging cannot start: LOG_LEVEL must be a filter such as `info`")]
    Logging(#[source] InitError),
    #[error("_HANDLER is `{requested}`, but this executable has only these functions: {registered}")]
    UnknownFunction { requested: String, registered: String },
    #[error("the function {function} cannot be initialised")]
    Init {
        function: &'static str,
        #[source]
        source: InitError,
    },
    #[error("the connection to the Lambda runtime API failed")]
    Runtime(#[source] InitError),
}

impl FunctionRegistry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the function that `_HANDLER=name` selects. `init` reads its configuration, creates its clients
    /// and makes a first call with each. The first call of a client is far slower than the others, and Lambda
    /// gives the initialisation more CPU than an invocation.
    #[must_use]
    pub fn register<F, Fut>(mut self, name: &'static str, init: F) -> Self
    where
        F: FnOnce(FunctionContext) -> Fut + 'static,
        Fut: Future<Output = Result<Handler, InitError>> + 'static,
    {
        self.functions.push(Function {
            name,
            init: Box::new(|context| Box::pin(init(context))),
        });
        self
    }

    /// Initialises the function that `_HANDLER` selects and serves its invocations one at a time. Returns
    /// only on an error, which it logs: an invalid variable, an unknown `_HANDLER`, a failed initialisation.
    pub async fn run(self) -> ExitCode {
        let Err(error) = self.serve().await else {
            return ExitCode::SUCCESS;
        };
        // If LOG_LEVEL was invalid, logging has not started yet. Otherwise this call fails and changes
        // nothing.
        let _ = telemetry::init(telemetry::DEFAULT_FILTER);
        tracing::error!(reason = error_chain(&error), "the function process stopped");
        ExitCode::FAILURE
    }

    async fn serve(self) -> Result<(), RuntimeError> {
        let environment = Environment::from_process();
        let level = environment
            .optional("LOG_LEVEL")?
            .unwrap_or_else(|| telemetry::DEFAULT_FILTER.to_owned());
        // The Lambda runtime would log every failure again, business errors at level ERROR.
        telemetry::init(&format!("{level},lambda_runtime::layers::panic=off"))
            .map_err(RuntimeError::Logging)?;

        let Function { name, init } = self.find(&environment.required::<String>("_HANDLER")?)?;
        let aws = aws_client::lambda_sdk_config(
            environment.optional("AWS_REGION")?,
            environment.optional("AWS_ENDPOINT_URL")?,
        );
        let context = FunctionContext {
            environment,
            aws,
            clock: Clock::system(),
        };
        let handler = init(context).await.map_err(|source| RuntimeError::Init {
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
        let registered = self
            .functions
            .iter()
            .map(|function| function.name)
            .collect::<Vec<_>>()
            .join(", ");
        let function = self
            .functions
            .into_iter()
            .find(|function| function.name == handler);
        function.ok_or_else(|| RuntimeError::UnknownFunction {
            requested: handler.to_owned(),
            registered,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_handler_error_lists_the_registered_functions() {
        let init = |_| async { Err("not started in this test".into()) };
        let registry = FunctionRegistry::new()
            .register("reserve-stock", init)
            .register("refund", init);
        let message = registry
            .find("ship-order")
            .map(|function| function.name)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message,
            "_HANDLER is `ship-order`, but this executable has only these functions: reserve-stock, refund"
        );
    }
}
