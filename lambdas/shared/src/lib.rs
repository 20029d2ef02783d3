//! The runtime of all Lambda functions: startup, error names, idempotency, partial batch responses.
//!
//! - [`FunctionRegistry`]: several functions in one executable. `_HANDLER` selects the function of a process;
//!   configuration, clients and logging are initialised before the first invocation.
//! - [`Idempotency`]: runs an operation once per key and stores its response in DynamoDB.
//! - `http` (feature of the same name): answers requests of an HTTP API with an axum router.
//! - [`sqs`]: handles a batch of SQS messages and reports the failed ones (partial batch response).
//! - [`FunctionError`]: an error with a stable name that a state machine can match.
//! - [`trace_context`]: adds the trace of an event to the log lines about it.
//! - [`client_network`]: the network of a client's address, by which limits count.
//! - [`Environment`]: typed configuration from environment variables.
//! - `testing` (feature of the same name): runs a function's executable like Lambda does.
//!
//! Business logic does not belong in this crate.
//!
//! # Example
//!
//! ```no_run
//! use lambda_shared::{FunctionContext, FunctionRegistry, Handler, InitError, sqs};
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("the message is empty")]
//! struct EmptyMessage;
//!
//! /// Runs once per process: reads the configuration, creates clients, opens connections.
//! async fn init(context: FunctionContext) -> Result<Handler, InitError> {
//!     let greeting: String = context.environment.required("GREETING")?;
//!     Ok(sqs::handler(context.clock, 10, move |message| {
//!         let greeting = greeting.clone();
//!         async move {
//!             if message.body.is_empty() {
//!                 return Err(EmptyMessage);
//!             }
//!             tracing::info!(greeting, "a message arrived");
//!             Ok(())
//!         }
//!     }))
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> std::process::ExitCode {
//!     FunctionRegistry::new().register("greeter", init).run().await
//! }
//! ```

#![warn(missing_docs)]

mod catch_panic;
mod client_network;
mod environment;
mod error;
mod function_registry;
mod handler;
#[cfg(feature = "http")]
pub mod http;
pub mod idempotency;
pub mod sqs;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace_context;

pub use client_network::client_network;
pub use environment::{Environment, EnvironmentError};
pub use error::{FunctionError, InvocationFailure};
pub use function_registry::{FunctionContext, FunctionRegistry, InitError};
pub use handler::{Handler, Invocation};
pub use idempotency::Idempotency;
