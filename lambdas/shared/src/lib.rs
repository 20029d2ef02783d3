//! What every function on AWS Lambda needs, once.
//!
//! - [`Family`]: several functions in one executable. `_HANDLER` says which one a process is; configuration,
//!   clients and logging are made before the first invocation.
//! - [`Idempotency`]: an effect once per key, recorded in DynamoDB, with the first answer for whoever asks again.
//! - [`sqs`]: a batch of messages in which each fails or succeeds for itself.
//! - [`FunctionError`]: an error with a name that a state machine can match.
//! - [`trace`]: logs that stand in the trace of the event that they are about.
//! - [`Environment`]: typed configuration that names the variable when it is wrong.
//! - `testing` (a feature of that name): runs a function's program as Lambda does.
//!
//! What a function does is not in here, and nothing in here knows an order.
//!
//! # A family
//!
//! ```no_run
//! use lambda_shared::{Family, Handler, Init, InitError, sqs};
//!
//! #[derive(Debug, thiserror::Error)]
//! #[error("the message is empty")]
//! struct Empty;
//!
//! /// Runs once in a process: reads the configuration, makes clients, warms connections.
//! async fn start(init: Init) -> Result<Handler, InitError> {
//!     let greeting: String = init.environment.required("GREETING")?;
//!     Ok(sqs::handler(init.clock, 10, move |message| {
//!         let greeting = greeting.clone();
//!         async move {
//!             if message.body.is_empty() {
//!                 return Err(Empty);
//!             }
//!             tracing::info!(greeting, "a message arrived");
//!             Ok(())
//!         }
//!     }))
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> std::process::ExitCode {
//!     Family::new().function("greeter", start).run().await
//! }
//! ```

#![warn(missing_docs)]

mod catch_panic;
mod environment;
mod error;
mod function_registry;
mod handler;
pub mod idempotency;
pub mod sqs;
#[cfg(feature = "testing")]
pub mod testing;
pub mod trace_context;

pub use environment::{Environment, EnvironmentError};
pub use error::{FunctionError, InvocationFailure};
pub use function_registry::{FunctionContext, FunctionRegistry, InitError};
pub use handler::{Handler, Invocation};
pub use idempotency::Idempotency;
